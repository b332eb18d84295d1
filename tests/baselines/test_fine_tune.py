"""Fine-tuning of constructed networks: it can repair a disturbed one, and never makes one worse."""

from typing import Any

import pytest
import torch

import construct
from construct import targets
from construct.baselines.trained.budget import budget
from construct.baselines.trained.finetune import FineTuned, Tuner, fine_tune, points
from construct.errors import InputError
from construct.manifolds import Circle, Sphere

F = targets.target("exp_sin")
M = Circle()
QUICK: dict[str, Any] = {"seconds": None, "steps": 20, "samples": 120, "batch": 40, "learning_rates": (1e-4,)}


@pytest.fixture(scope="module")
def net() -> construct.Network:
    return construct.approximate(F, M, epsilon=1e-1)  # a Jacobian takes time with the square of the tokens


@pytest.fixture(scope="module")
def bad(net: construct.Network) -> construct.Network:
    return disturbed(net)


@pytest.fixture(scope="module")
def repaired(bad: construct.Network) -> FineTuned:
    return fine_tune(bad, F, M, **QUICK)


def disturbed(net: construct.Network) -> construct.Network:
    """The coefficient heads' values (block 4) off by up to 1 %."""
    import copy

    other = copy.deepcopy(net)
    with other.edit() as transformer:
        value = transformer.stack[3].attention.value
        draw = torch.Generator().manual_seed(0)
        value.mul_(1 + 0.01 * (2 * torch.rand(value.shape, generator=draw, dtype=value.dtype) - 1))
    return other


def test_a_disturbed_network_is_repaired(net: construct.Network, bad: construct.Network, repaired: FineTuned) -> None:
    found = repaired
    start, good = construct.measure(bad, F, M, samples=2000), construct.measure(net, F, M, samples=2000)
    assert start.sup > 1.2 * good.sup  # otherwise there is nothing to repair
    assert found.after.sup < found.before.sup and found.gain > 1
    assert found.after.rms < 1.2 * good.rms
    # what is reported is what the returned network does, in both executions
    again = construct.measure(found.net, F, M, samples=2000)
    assert again.sup == pytest.approx(found.after.sup, rel=0.05)
    x = M.sample(50, seed=9)
    sparse = found.net(x)
    try:
        found.net.execution = "dense"
        assert torch.allclose(found.net(x), sparse, atol=1e-9)
    finally:
        found.net.execution = "sparse"


def test_the_original_is_left_alone(net: construct.Network, bad: construct.Network, repaired: FineTuned) -> None:
    found, before = repaired, disturbed(net).parameters()  # the disturbance is seeded
    assert all(torch.equal(p, q) for p, q in zip(bad.parameters(), before, strict=True))
    assert not any(p.requires_grad for p in [*bad.parameters(), *found.net.parameters()])
    assert net.claim is not None and bad.claim is None and found.net.claim is None


@pytest.mark.parametrize("parameters", ["values", "all"])
def test_only_what_was_chosen_changes_and_zeros_stay(
    bad: construct.Network, repaired: FineTuned, parameters: str
) -> None:
    short = {**QUICK, "steps": 5}
    found = repaired if parameters == "values" else fine_tune(bad, F, M, parameters=parameters, **short)
    assert found.after.sup <= found.before.sup
    changed = 0
    for (name, old), new in zip(bad.named_parameters(), found.net.parameters(), strict=True):
        assert torch.equal(old == 0, new == 0)
        if parameters == "values" and not name.endswith(".value"):
            assert torch.equal(old, new)
        changed += int((old != new).sum())
    assert changed <= found.variables
    # moving gates makes heads leak, so that with "all" the start may be the best
    assert changed > 0 or (parameters == "all" and found.phase == "start")


def test_a_network_is_never_made_worse(net: construct.Network) -> None:
    found = fine_tune(net, F, M, **{**QUICK, "steps": 6, "learning_rates": (1e-2,)})
    assert found.after.sup <= found.before.sup
    if found.phase == "start":
        assert all(torch.equal(p, q) for p, q in zip(net.parameters(), found.net.parameters(), strict=True))


@pytest.mark.parametrize("parameters", ["values", "all"])
def test_the_jacobian_is_that_of_the_dense_network(net: construct.Network, parameters: str) -> None:
    """Central differences of the dense execution with changed weights."""
    import copy

    other = copy.deepcopy(net)
    data = points(other, F, M, 20, 0)
    tuner = Tuner(other, parameters, (*data, *data), budget(None, 1))
    jacobian = tuner.jacobian(tuner.change)
    dense = copy.deepcopy(other).requires_grad_(False)
    h = 1e-6
    names = [(name, tuple(int(i) for i in index)) for name, mask in tuner.masks.items() for index in mask.nonzero()]
    assert jacobian.shape == (20, len(names))
    weights = dict(dense.transformer.named_parameters())
    sensitive = [k for k, (name, _) in enumerate(names) if name.endswith(".value")]
    for k in sensitive[:: max(1, len(sensitive) // 8)]:
        name, index = names[k]
        origin = weights[name][index].item()
        values = []
        for sign in (1, -1):
            weights[name][index] = origin * (1 + sign * h)
            values.append(dense.transformer(data[0]))
        weights[name][index] = origin
        expected = (values[0] - values[1]) / (2 * h)
        assert torch.allclose(jacobian[:, k], expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"net": torch.nn.Linear(2, 1)}, r"net: expected a construct.Network, got Linear\("),
        ({"manifold": Sphere(dim=2)}, r"manifold: expected a construct.manifolds.Manifold in R\^2, got Sphere"),
        ({"parameters": "queries"}, "parameters: expected one of"),
        ({"learning_rates": ()}, "learning_rates: expected at least one"),
        ({"learning_rates": (0.0,)}, "learning_rates: expected a finite real number > 0, got 0.0"),
        ({"samples": 0}, "samples: expected an integer >= 1, got 0"),
        ({"batch": 0}, "batch: expected an integer >= 1, got 0"),
        ({"seconds": None, "steps": None}, "seconds: expected a limit"),
        ({"seed": -1}, "seed: expected an integer >= 0, got -1"),
    ],
)
def test_bad_arguments_are_refused(net: construct.Network, changes: dict[str, Any], text: str) -> None:
    arguments = {"net": net, "target": F, "manifold": M, **QUICK, **changes}
    with pytest.raises(InputError, match=text):
        fine_tune(**arguments)
