"""What every rival promises: called on points, counted, refused with a reason. And our own networks among them."""

import importlib.util
import math

import pytest
import torch

import construct
from construct import BudgetExceeded, EpsilonNotReached, InputError, baselines
from construct.baselines import BaselineCounts, Method
from construct.baselines.base import Baseline
from construct.manifolds import Circle, Cube, Sphere

CIRCLE = Circle()
MISSING = {"kan": "kan", "sparse_grid": "Tasmanian", "kernel_ridge": "sklearn", "gaussian_process": "sklearn",
           "nearest_neighbours": "sklearn"}  # fmt: skip


def target(x):
    """Not constant in one dimension, either."""
    return torch.exp(x[..., 0]) * torch.sin(2 * x[..., -1] + 1)


def method_and_manifold(name):
    if name in MISSING and importlib.util.find_spec(MISSING[name]) is None:
        pytest.skip(f"{MISSING[name]} is not installed")
    method = baselines.method(name, seconds=None, steps=60, samples=500) if name in TRAINED else baselines.method(name)
    try:
        method.check(CIRCLE)
    except InputError:
        return method, Cube(1)
    return method, CIRCLE


TRAINED = baselines.method_names("trained")


@pytest.mark.parametrize("name", baselines.method_names())
def test_the_smallest_size_of_every_method(name):
    method, M = method_and_manifold(name)
    ladder = method.ladder(M)
    assert len(ladder) >= 2 and all(isinstance(size, dict) for size in ladder)
    found = method.fit(target, M, ladder[0], seed=1)
    assert (found.method, found.family) == (name, method.family) and found.manifold is M
    x = M.sample(24, 3)
    values = found(x.reshape(2, 12, -1))
    assert values.shape == (2, 12) and values.dtype == torch.float64 and bool(torch.isfinite(values).all())
    assert torch.allclose(values.reshape(-1), found(x), atol=1e-12)
    assert found(x.float()).dtype == torch.float32 and found(x[:0]).shape == (0,)
    counts = found.counts
    assert 0 < counts.nonzero <= counts.dense and counts.depth >= 1 and counts.multiply_adds > 0
    assert found.seconds > 0 and name in repr(found) and f"{counts.nonzero:,}" in repr(found)
    assert counts.stored == counts.nonzero + counts.chosen and f"{counts.stored:,} stored" in repr(found)
    # exponents, unit vectors of the inputs, a gap, cells and directions, axes and degrees of a tree
    picked = {"global_polynomial", "ridge", "ridge_5", "ridge_sparse", "lattice", "adaptive_chebyshev"}
    assert counts.chosen == 0 or name in picked
    assert construct.measure(found, target, M, samples=500, rounds=0).sup < 30.0


@pytest.mark.parametrize("name", baselines.method_names())
def test_every_method_refuses_bad_settings_and_points(name):
    method, M = method_and_manifold(name)
    with pytest.raises(InputError, match="settings"):
        method.fit(target, M, {"colour": 3})
    found = method.fit(target, M, method.ladder(M)[0], seed=1)
    with pytest.raises(InputError, match="x"):
        found(torch.zeros(3, M.ambient + 1, dtype=torch.float64))
    with pytest.raises(InputError, match="x"):
        found(torch.full((1, M.ambient), math.nan, dtype=torch.float64))


class Constant(Method):
    """Error 1/n with n numbers: what `build` does is then known."""

    name = "constant"
    family = "classical"
    description = "for this test"

    def ladder(self, manifold):
        return [{"n": n} for n in (1, 2, 4, 8)]

    def fit(self, target, manifold, settings, *, seed=0, dtype=torch.float64, device="cpu", progress=None):
        n = settings["n"]
        function = lambda x: target(x) + 1.0 / n  # noqa: E731
        return Baseline(self.name, self.family, settings, BaselineCounts(n, n, 1, n), 0.0, function, manifold)


def test_build_takes_the_first_size_that_is_good_enough():
    found = Constant().build(target, CIRCLE, 0.3)
    assert found.settings == {"n": 4} and found.measured is not None
    assert found.measured.sup == pytest.approx(0.25)


def test_build_takes_the_best_within_a_budget():
    assert Constant().build(target, CIRCLE, budget=5).settings == {"n": 4}
    assert Constant().build(target, CIRCLE, budget=10**6).settings == {"n": 8}


def test_build_remembers_what_it_tried():
    found = Constant().build(target, CIRCLE, 0.3)
    assert [(t.note, t.outcome) for t in found.history] == [
        ("n 1", "above epsilon"), ("n 2", "above epsilon"), ("n 4", "chosen")
    ]  # fmt: skip
    assert [t.cost for t in found.history] == [1, 2, 4] and "n 2" in str(found.history)
    within = Constant().build(target, CIRCLE, budget=5).history
    assert [t.outcome for t in within] == ["within budget", "within budget", "chosen", "over budget"]
    assert not Constant().fit(target, CIRCLE, {"n": 2}).history


def test_build_says_what_it_cannot_do():
    with pytest.raises(
        EpsilonNotReached, match=r"epsilon: expected an error that constant reaches in 4 trials on Circle"
    ) as caught:
        Constant().build(target, CIRCLE, 0.01)
    assert caught.value.best == pytest.approx(0.125)
    with pytest.raises(BudgetExceeded, match="budget: expected a budget within which there is a candidate of compact"):
        baselines.build("compact", target, CIRCLE, budget=20)
    text = r"budget: expected at least 4, the parameters of knots 0, .* shallow_spline .*, got 3"
    with pytest.raises(BudgetExceeded, match=text):
        baselines.build("shallow_spline", target, Cube(1), budget=3)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({}, "epsilon"),
        ({"epsilon": 0.1, "budget": 10}, "epsilon"),
        ({"epsilon": -0.1}, "epsilon"),
        ({"epsilon": math.nan}, "epsilon"),
        ({"budget": 0}, "budget"),
        ({"budget": 2.5}, "budget"),
        ({"epsilon": 0.1, "dtype": torch.float16}, "dtype"),
        ({"epsilon": 0.1, "seed": -1}, "seed"),
    ],
)
def test_build_refuses_bad_arguments(arguments, name):
    with pytest.raises(InputError, match=name):
        Constant().build(target, CIRCLE, **arguments)


def test_build_refuses_a_bad_target_or_manifold():
    with pytest.raises(InputError, match="target"):
        Constant().build(lambda x: x, CIRCLE, 0.1)
    with pytest.raises(InputError, match="manifold"):
        Constant().build(target, "circle", 0.1)  # type: ignore[arg-type]


def test_names_and_get():
    assert set(baselines.method_names()) == {n for f in baselines.FAMILIES for n in baselines.method_names(f)}
    with pytest.raises(InputError, match="name"):
        baselines.method("perceptron")
    with pytest.raises(InputError, match="family"):
        baselines.method_names("quantum")


# -- ours --------------------------------------------------------------------------------------------------------------


def test_our_network_keeps_its_counts_and_its_claim():
    found = baselines.build("compact", target, CIRCLE, 1e-2)
    report = found.model.architecture
    assert found.measured is not None and found.measured.sup == pytest.approx(found.model.claim.bound, rel=1e-3)
    assert found.measured.sup <= 1e-2 and found.model.claim.bound <= 1e-2
    assert (found.counts.nonzero, found.counts.dense) == (report.nonzero_parameters, report.parameters)
    assert (found.counts.chosen, found.counts.stored) == (report.chosen_entries, report.stored_numbers)
    assert found.counts.depth == report.blocks and found.settings["degree"] == found.model.origin.sizes.degree
    assert found.history is found.model.origin.history and [t.outcome for t in found.history].count("chosen") == 1


def test_our_network_within_a_budget():
    found = baselines.build("compact", target, CIRCLE, budget=300)
    assert found.counts.nonzero <= 300 and found.measured is not None
    more = baselines.build("compact", target, CIRCLE, budget=450)
    assert more.measured is not None and more.measured.sup < found.measured.sup


def test_a_rough_target_states_its_smoothness():
    rough = construct.targets.target("cusp")
    assert baselines.method("compact").fit(rough, CIRCLE, {"epsilon": 0.3}).model.approximator.space.count > 0
    assert baselines.method("compact", smoothness=0.5).fit(target, CIRCLE, {"epsilon": 0.5}).counts.nonzero > 0


@pytest.mark.parametrize("M", [CIRCLE, Sphere(2)], ids=["circle", "sphere"])
def test_multiply_adds_of_the_dense_formula(M):
    """Against a count along the formula, head by head."""
    net = construct.approximate(target, M, charts=4, degree=3)
    l, w = net.transformer.hidden0.shape  # noqa: E741
    count = 0
    for block in net.transformer.stack:
        for _ in range(block.attention.query.shape[0]):
            count += 3 * l * w * w + l * l * w + l * l * w  # queries, keys, values; scores; sums of values
        count += sum(l * layer.weight.numel() for layer in block.ffn.affine)
    assert net.multiply_adds("dense") == count
    assert 0 < net.multiply_adds() < count / 20


def test_multiply_adds_of_the_steps_grow_with_the_network():
    sizes = [construct.approximate(target, CIRCLE, charts=4, degree=p).multiply_adds() for p in (2, 5, 8)]
    assert sizes == sorted(sizes) and sizes[0] < sizes[-1]


def test_multiply_adds_refuse_what_they_cannot_count():
    net = construct.approximate(target, CIRCLE, charts=4, degree=2)
    with pytest.raises(InputError, match="execution"):
        net.multiply_adds("fast")  # type: ignore[arg-type]
    sealed = net.multiply_adds()
    assert net.requires_grad_().multiply_adds() == sealed  # of the steps that it is folded to when it is sealed again
