"""Ridge networks as a user asks for them: epsilon is met, sizes by hand, budgets, ends from outside, files."""

from typing import Any

import numpy as np
import pytest
import torch

import construct
from construct import BudgetExceeded, EpsilonNotReached, InputError, PlanningInterrupted, TimeoutReached
from construct.manifolds import Circle, Cube, MoebiusStrip, Sphere, SwissRoll, Torus
from construct.planning import Search
from construct.problem import Problem, Sizes
from construct.ridge import planner
from construct.ridge.approximator import RidgeApproximator
from construct.ridge.candidates import Candidates
from construct.ridge.directions import Lattice
from construct.ridge.layouts import dense_parameters, needed_numbers
from construct.ridge.waves import Waves
from tests.transformer.networks import exp_sin

CIRCLE = Circle()


def ridge(target: Any, manifold: Any, epsilon: float | None = None, **options: Any) -> Any:
    return construct.approximate(target, manifold, epsilon, construction="ridge", progress=False, **options)


def claim_of(net):
    assert net.claim is not None
    return net.claim


def fresh_error(net, target, manifold, seed=4321):
    x = manifold.sample(20_000, seed=seed)
    return float((net(x.to(net.dtype)).double() - target(x)).abs().max())


def gentle(x):
    return torch.cos(x[..., 0]) + x[..., 1] * x[..., 2] / 4


CASES = [
    (exp_sin, CIRCLE, 1e-2, 62),
    (exp_sin, CIRCLE, 1e-6, 94),
    (exp_sin, Sphere(2, ambient=8), 1e-2, 90),
    (exp_sin, Cube(2), 1e-2, 104),
    (gentle, Torus(), 1e-2, 130),
    (gentle, MoebiusStrip(), 1e-2, 60),
]


@pytest.mark.parametrize(("target", "manifold", "epsilon", "most"), CASES, ids=lambda v: getattr(v, "name", None))
def test_epsilon_is_met_on_points_that_planning_has_not_seen(target, manifold, epsilon, most):
    net = ridge(target, manifold, epsilon)
    assert fresh_error(net, target, manifold) <= claim_of(net).bound * 1.02
    assert claim_of(net).bound <= epsilon
    k = net.approximator.basis.coordinates.count
    assert net.architecture.embedding_dim == k + 4
    assert net.architecture.stored_numbers == needed_numbers(net.approximator) <= most
    assert net.architecture.parameters == dense_parameters(net.approximator)


@pytest.mark.parametrize("manifold", [CIRCLE, Sphere(2, ambient=5), Cube(2)], ids=lambda v: type(v).__name__)
def test_width_five_meets_epsilon_too(manifold):
    net = ridge(exp_sin, manifold, 1e-2, embedding_dim=5)
    assert net.architecture.embedding_dim == 5 and isinstance(net.approximator.basis.family, Waves)
    assert fresh_error(net, exp_sin, manifold) <= 1e-2
    free = ridge(exp_sin, manifold, 1e-2)
    assert isinstance(free.approximator.basis.family, Lattice)
    assert free.architecture.stored_numbers < net.architecture.stored_numbers <= free.architecture.stored_numbers + 90


def rough(x):
    return (x[..., 0] - 0.3).abs()


def test_more_epsilon_never_takes_more_numbers():
    numbers = [ridge(exp_sin, CIRCLE, epsilon).architecture.stored_numbers for epsilon in (1e-1, 1e-3, 1e-5)]
    assert numbers == sorted(numbers)
    net = ridge(rough, CIRCLE, 1e-1)
    assert fresh_error(net, rough, CIRCLE) <= 1e-1


@pytest.mark.parametrize("width", [5, "free"])
@pytest.mark.parametrize("value", [3.0, 0.0, -1e-3])
def test_constants_need_one_coefficient(width, value):
    net = ridge(lambda x: 0 * x[..., 0] + value, CIRCLE, 1e-6, embedding_dim=width)
    assert net.approximator.degree == 1 and net.approximator.basis.count == 0
    assert net.approximator.parameters == (value != 0)
    assert fresh_error(net, lambda x: 0 * x[..., 0] + value, CIRCLE) <= 1e-12


@pytest.mark.parametrize("width", [5, "free"])
def test_linear_targets_need_no_map(width):
    sphere = Sphere(2, ambient=6)

    def linear(x):
        return x[..., 0] - 2 * x[..., 5] + 1

    net = ridge(linear, sphere, 1e-8, embedding_dim=width)
    assert net.approximator.degree == 1 and fresh_error(net, linear, sphere) <= 1e-8
    assert net.architecture.stored_numbers <= (65 if width == 5 else 30)


def test_degree_by_hand_takes_the_next_that_a_chain_has():
    for asked, degree in ((1, 1), (5, 6), (9, 9), (10, 12)):
        net = ridge(exp_sin, CIRCLE, degree=asked)
        assert net.origin.sizes == Sizes(1, 1, degree) and len(net.origin.history) == 0
        assert claim_of(net).epsilon is None
        assert net.approximator.basis.count == 2 * degree  # all that are independent on the circle
    default: Any = construct.approximate(exp_sin, CIRCLE, degree=5, progress=False)
    assert default.origin.construction == "ridge"
    assert ridge(exp_sin, CIRCLE, degree=4, embedding_dim=5).architecture.embedding_dim == 5
    with pytest.raises(InputError, match="degree: expected at most 108 for the ridge construction, got 109"):
        ridge(exp_sin, CIRCLE, degree=109)


def test_budgets_bound_the_dense_count():
    net = ridge(exp_sin, CIRCLE, 1e-4)
    enough = net.architecture.parameters
    assert ridge(exp_sin, CIRCLE, 1e-4, max_parameters=enough).architecture.parameters <= enough
    with pytest.raises(BudgetExceeded) as caught:
        ridge(exp_sin, CIRCLE, 1e-4, max_parameters=enough // 2)
    assert caught.value.best > 1e-4  # of networks within the budget
    plan = caught.value.plan
    assert plan is not None and dense_parameters(plan.approximator) <= enough // 2
    with pytest.raises(BudgetExceeded):
        ridge(exp_sin, CIRCLE, degree=9, max_parameters=200)


def test_what_no_degree_reaches_is_said_with_the_best_found():
    def needle(x):
        return 1 / (1 + ((x[..., 0] - 0.3) / 1e-3) ** 2)

    with pytest.raises(EpsilonNotReached, match=r"too slowly|degree") as caught:
        ridge(needle, Cube(2), 1e-3, seed=1)
    assert 1e-3 < caught.value.best < 2
    plan = caught.value.plan
    assert plan is not None and isinstance(plan.approximator, RidgeApproximator)


def test_the_history_says_what_was_tried():
    history = ridge(exp_sin, Sphere(2), 1e-3).origin.history
    outcomes = [trial.outcome for trial in history]
    assert outcomes.count("chosen") == 1 and "above epsilon" in outcomes
    chosen = history[outcomes.index("chosen")]
    assert chosen.error <= 1e-3 and "directions" in chosen.note
    assert chosen.kind == "measured" and {trial.kind for trial in history} >= {"fitted", "measured"}


@pytest.mark.parametrize("width", [5, "free"])
def test_the_same_network_twice_and_from_a_file(width, tmp_path):
    first, again = (ridge(exp_sin, CIRCLE, 1e-3, embedding_dim=width, seed=3) for _ in range(2))
    x = CIRCLE.sample(500, seed=1)
    assert torch.equal(first(x), again(x)) and first.origin.weights == again.origin.weights
    first.save(tmp_path / "net.safetensors")
    loaded: Any = construct.load(tmp_path / "net.safetensors")
    assert torch.equal(loaded(x), first(x))
    assert loaded.architecture == first.architecture and loaded.claim == first.claim
    assert loaded.origin.construction == "ridge" and loaded.origin.sizes == first.origin.sizes
    assert float((first(x) - first.approximator(x)).abs().max()) <= 1e-12
    far = 1e3 * torch.randn(50, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    outside = first(far, outside="evaluate")
    assert float((outside - first.approximator(far)).abs().max()) <= 1e-9


def test_single_precision():
    net = ridge(exp_sin, CIRCLE, 1e-3, dtype=torch.float32)
    assert net.dtype == torch.float32 and fresh_error(net, exp_sin, CIRCLE) <= 1e-3
    with pytest.raises(EpsilonNotReached, match="float32"):
        ridge(exp_sin, CIRCLE, 1e-9, dtype=torch.float32)


def test_a_deadline_carries_what_was_found():
    with pytest.raises(TimeoutReached) as caught:
        ridge(exp_sin, Torus(), 1e-10, timeout=0.7)
    assert caught.value.plan is None or caught.value.best < 10


def test_an_interrupt_carries_a_plan(monkeypatch):
    fitted = planner.RidgePlanner._fitted

    def interrupted(self, candidate, *arguments):
        if candidate.degree > 4:
            raise KeyboardInterrupt
        return fitted(self, candidate, *arguments)

    monkeypatch.setattr(planner.RidgePlanner, "_fitted", interrupted)
    with pytest.raises(PlanningInterrupted) as caught:
        ridge(exp_sin, CIRCLE, 1e-5)
    plan = caught.value.plan
    assert plan is not None and plan.error == caught.value.best
    x = CIRCLE.sample(1000, seed=2)
    assert float((plan.approximator(x) - exp_sin(x)).abs().max()) <= caught.value.best * 4  # fitted on few points


def test_directions_chosen_for_the_target():
    sphere = Sphere(2)

    def wave(x):
        return torch.cos(3 * x[..., 0] - x[..., 1] + 0.5)

    plain, sparse = (ridge(wave, sphere, 1e-4, sparse=flag) for flag in (False, True))
    assert fresh_error(sparse, wave, sphere) <= 1e-4
    assert sparse.architecture.stored_numbers < plain.architecture.stored_numbers


def test_scales_keep_every_form_of_the_basis_within_bounds():
    """|delta + <alpha, v y>| <= 1 on M for all members of the family that are looked at, so that no clip is active."""
    for manifold in (SwissRoll(), Sphere(2, ambient=4), Cube(2)):
        problem = Problem(exp_sin, manifold, 1e-2)
        found = Candidates(problem, Search(problem, "a test"))
        family = Lattice(found.coordinates.count, 6, "octahedron")
        basis = found._basis(family, 6, np.arange(family.count))
        y = found.coordinates.of(manifold.sample(20_000, seed=8)).numpy()
        forms = (y * basis.scales) @ family.vectors.T
        largest = np.abs(forms).max()
        assert 0.9 * (1 - basis.shift) <= largest <= 1 - basis.shift
