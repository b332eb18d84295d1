"""Planning of lattice networks: within epsilon on points that it has not seen, few numbers, and clear refusals."""

import math

import numpy as np
import pytest
import torch

import construct
from construct import BudgetExceeded, EpsilonNotReached, InputError
from construct.cells.approximator import CellApproximator
from construct.cells.fit import dictionary, fit_all, primitive, reweighted, select
from construct.cells.points import grouped, keyed
from construct.errors import TimeoutReached
from construct.manifolds import Circle, Cube, SpecialOrthogonal3
from tests.cells.drawn import drawn

CIRCLE, INTERVAL = Circle(), Cube(1)


def kink(x):
    return (x[..., 0] - 0.3).abs()


def spike(x):
    return torch.exp(-(((x[..., 0] - 0.37) / 0.004) ** 2)) + 0.3 * x[..., 0]


def planned(target, manifold, epsilon, **options):
    return construct.approximate(target, manifold, epsilon, construction="lattice", progress=False, **options)


@pytest.mark.parametrize(
    ("target", "manifold", "epsilon", "most"), [(kink, CIRCLE, 3e-2, 160), (spike, INTERVAL, 1e-2, 400)]
)
def test_the_error_is_within_epsilon_on_points_that_planning_has_not_seen(target, manifold, epsilon, most):
    net = planned(target, manifold, epsilon)
    x = manifold.sample(50_000, 12345)
    near = 0.3 + 0.7 * torch.linspace(-1, 1, 20_001, dtype=torch.float64) ** 5
    if manifold is INTERVAL:
        x = torch.cat([x, near[:, None]])
    assert float((net(x) - target(x)).abs().max()) <= epsilon
    assert net.claim is not None and net.claim.kind == "measured" and net.claim.bound <= epsilon
    assert net.architecture.nonzero_parameters <= most
    made = net.approximator
    assert isinstance(made, CellApproximator)
    assert float(made.coefficients.abs().max()) <= 32
    chosen = [trial for trial in net.origin.history if trial.outcome == "chosen"]
    assert [trial.cost for trial in chosen] == [net.architecture.stored_numbers]
    assert "windows" in chosen[0].note and chosen[0].degree == made.degree


def test_blocks_and_heads_do_not_depend_on_epsilon():
    coarse, fine = planned(kink, INTERVAL, 5e-2).architecture, planned(kink, INTERVAL, 5e-3).architecture
    assert (coarse.blocks, coarse.total_heads, coarse.ffn_depth) == (fine.blocks, fine.total_heads, fine.ffn_depth)
    assert coarse.stored_numbers < fine.stored_numbers


def test_the_same_seed_makes_the_same_network():
    one, other = (planned(kink, INTERVAL, 5e-2, seed=3) for _ in range(2))
    assert torch.equal(one.approximator.coefficients, other.approximator.coefficients)
    assert np.array_equal(one.approximator.basis.directions, other.approximator.basis.directions)


def test_a_float32_network_is_planned_with_few_levels():
    net = planned(kink, INTERVAL, 3e-2, dtype=torch.float32)
    x = INTERVAL.sample(5000, 9)
    assert net.dtype == torch.float32
    assert float((net(x.float()).double() - kink(x)).abs().max()) <= 3e-2
    assert net.approximator.basis.levels.max() <= 8


def test_what_cannot_be_met_is_refused():
    with pytest.raises(InputError, match="epsilon: expected"):
        planned(kink, CIRCLE, None)
    with pytest.raises(InputError, match="manifold: expected one that spans at most"):
        planned(kink, SpecialOrthogonal3(), 1e-1)
    with pytest.raises(BudgetExceeded, match="max_parameters"):
        planned(kink, INTERVAL, 1e-2, max_parameters=500)
    with pytest.raises(TimeoutReached) as stopped:
        planned(lambda x: torch.sin(400 * x[..., 0]) * torch.cos(300 * x[..., 1]), Cube(2), 1e-3, timeout=2.0)
    assert stopped.value.best <= 3 or stopped.value.best == math.inf
    jumping = lambda x: (x[..., 0] > 0.1).double()  # noqa: E731
    with pytest.raises(EpsilonNotReached, match="jump"):
        planned(jumping, INTERVAL, 1e-2)


# -- parts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dim", [1, 2, 3, 5])
def test_primitive_directions_have_both_signs_and_no_common_divisor(dim):
    found = primitive(dim)
    assert len(np.unique(found, axis=0)) == len(found) > 0
    assert (np.gcd.reduce(found, axis=1) == 1).all()
    rows = set(map(tuple, found.tolist()))
    assert all(tuple(-v for v in row) in rows for row in rows)
    assert np.linalg.matrix_rank(found) == dim


def test_a_dictionary_has_its_place_on_the_points_and_no_enormous_codes():
    rng = np.random.default_rng(0)
    u = rng.normal(size=(50, 3))
    choices = dictionary(u, 24, primitive(3))
    assert np.abs(u @ choices.T).max() <= 24 + 1e-9 and (choices == 0).all(axis=1).any()
    assert np.abs(dictionary(1e-9 * u, 24, primitive(3))).max() <= 2 * 2 * 24


def test_least_squares_one_atom_at_a_time_is_least_squares_in_the_end():
    rng = np.random.default_rng(1)
    atoms, wanted = rng.normal(size=(40, 12)), rng.normal(size=40)
    order, errors = select(atoms, wanted, 0.0, 12)
    assert sorted(order) == list(range(12)) and len(errors) == 12
    best = atoms @ np.linalg.lstsq(atoms, wanted, rcond=None)[0]
    assert errors[-1] == pytest.approx(np.abs(best - wanted).max(), rel=1e-6)
    drops = [np.linalg.norm(atoms[:, [j]] @ np.linalg.lstsq(atoms[:, [j]], wanted, rcond=None)[0] - wanted)
             for j in range(12)]  # fmt: skip
    assert order[0] == int(np.argmin(drops))


def test_minimax_of_a_parabola_by_a_line_is_known():
    x = np.linspace(0, 1, 401)
    coefficients, error = reweighted(np.stack([np.ones_like(x), x], axis=1), x**2, steps=400)
    assert error == pytest.approx(1 / 8, rel=2e-2)  # Chebyshev: the line x - 1/8
    assert coefficients == pytest.approx([-1 / 8, 1], abs=2e-2)


def test_all_coefficients_are_found_again():
    made = drawn(4, "sphere", 3, None, 12)
    x = made.manifold.sample(4000, 3)
    plain = CellApproximator(made.basis, made.coefficients)
    fit = fit_all(made.basis, made.basis.units(x), plain(x))
    assert fit.largest <= 1e-5
    fresh = made.manifold.sample(2000, 7)
    assert float((fit.approximator(fresh) - plain(fresh)).abs().max()) <= 1e-4


@pytest.mark.parametrize("size", [5, 10**12])
def test_rows_are_told_apart_however_large_they_are(size):
    rng = np.random.default_rng(size % 97)
    rows = rng.integers(-size, size, (200, 4))
    rows = np.concatenate([rows, rows[:50]])
    (keys,) = keyed(rows)
    wanted = np.unique(rows, axis=0, return_inverse=True)[1].ravel()
    assert np.array_equal(np.unique(keys, return_inverse=True)[1].ravel(), wanted)
    found, places = grouped(rows)
    assert np.array_equal(found, np.unique(rows, axis=0))
    assert all((rows[place] == row).all() for row, place in zip(found, places, strict=True))
    assert sorted(np.concatenate(places).tolist()) == list(range(len(rows)))


def test_a_rigorous_bound_is_proved():
    net = planned(construct.targets.target("cusp"), CIRCLE, 2.5e-1, bound="rigorous")
    assert net.claim is not None and net.claim.kind == "rigorous" and net.claim.bound <= 2.5e-1
    assert net.certificate is not None and net.certificate.bound == net.claim.bound
    assert net.origin is not None and net.origin.construction == "lattice"
    x = CIRCLE.sample(20_000, 4)
    assert float((net(x) - construct.targets.target("cusp")(x)).abs().max()) <= net.claim.bound


@pytest.mark.parametrize("size", [0.0, 1e200, 1e-200])
def test_targets_of_any_size(size):
    def target(x):
        return size * (x[..., 0] - 0.3).abs()

    epsilon = 0.1 * (size or 1.0)
    net, x = planned(target, INTERVAL, epsilon), INTERVAL.sample(2000, 5)
    assert float((net(x) - target(x)).abs().max()) <= epsilon
    assert net.origin is not None and net.origin.construction == "lattice"
