"""Fits: polynomials are reproduced, least squares against numpy, Lawson against linear programming, streaming."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.polynomial import chebyshev
from scipy.optimize import linprog

from construct.errors import InputError
from construct.manifolds import Circle, Cube, Sphere, SwissRoll
from construct.measurement import cover_of
from construct.ridge import fit
from construct.ridge.approximator import RidgeBasis
from construct.ridge.coordinates import coordinates_of
from construct.ridge.directions import Lattice
from construct.ridge.fit import Fitting, adapted, choose
from construct.ridge.maps import shift_of
from construct.ridge.sampling import Sample
from construct.ridge.support import support

MANIFOLDS = [Circle(), Sphere(2, ambient=5), SwissRoll(), Cube(2)]


def basis_on(manifold, degree, shape="principal"):
    coordinates = coordinates_of(manifold, 0)
    family = Lattice(coordinates.count, degree, shape)
    largest = support(manifold, coordinates, family.vectors, cover_of(manifold, 2000)).max()
    scales = np.full(coordinates.count, (1 - shift_of(degree)) / largest)
    return RidgeBasis(manifold, coordinates, degree, family, np.arange(family.count), scales)


def sample_of(basis, function, count, seed=1):
    y = basis.coordinates.of(basis.manifold.sample(count, seed))
    return Sample(y, function(y))


def design(basis, order, y):
    """The constant and the atoms in order, by numpy's Chebyshev series: nothing of the library."""
    forms = (y.numpy() * basis.scales) @ basis.family.integers[basis.numbers[order]].T
    a = np.clip(shift_of(basis.degree) + forms, -1, 1)
    atoms = 1 + chebyshev.chebval(a, [0] * basis.degree + [1])
    return np.concatenate([np.ones((len(y), 1)), atoms], axis=1)


def residual(found):
    assert found.residual is not None
    return found.residual


def wavy(y):
    return torch.exp(torch.sin(2 * y[:, 0])) + y[:, -1] * y[:, 0]


@settings(max_examples=20)
@given(st.sampled_from(MANIFOLDS), st.sampled_from([1, 2, 3, 4, 6]), st.integers(0, 10**6))
def test_polynomials_of_the_degree_are_reproduced(manifold, degree, seed):
    basis = basis_on(manifold, degree)
    rng = np.random.default_rng(seed)
    powers = Lattice(basis.coordinates.count, degree).integers
    weights = rng.normal(size=len(powers))

    def polynomial(y):
        return torch.from_numpy((y.numpy()[:, None, :] ** powers).prod(axis=2) @ weights)

    chosen = choose(basis, sample_of(basis, polynomial, 1500))
    order = chosen.order[: chosen.rank(1e-14)]  # the usual cut gives up what is small on M, on the roll up to 1e-6
    found = Fitting(basis, order, sample_of(basis, polynomial, 3000, seed=2)).fit(len(order), steps=1)
    x = manifold.sample(2000, seed=3)
    want = polynomial(basis.coordinates.of(x))
    assert float((found(x) - want).abs().max()) <= 1e-9 * float(want.abs().max())
    assert residual(found) <= 1e-9 * float(want.abs().max())


@pytest.mark.parametrize("manifold", MANIFOLDS, ids=lambda m: type(m).__name__)
def test_errors_of_all_beginnings_are_those_of_least_squares(manifold):
    basis = basis_on(manifold, 4)
    chosen = choose(basis, sample_of(basis, wavy, 1500))
    order, sample = chosen.order[: chosen.rank()], sample_of(basis, wavy, 2000, seed=2)
    errors = Fitting(basis, order, sample).errors()
    assert len(errors) == len(order) + 1
    matrix, values = design(basis, order, sample.y), sample.values.numpy()
    for count in range(len(order) + 1):
        part = matrix[:, : count + 1]
        want = np.abs(values - part @ np.linalg.lstsq(part, values, rcond=None)[0]).max()
        assert errors[count] == pytest.approx(want, rel=1e-6)
    plain = Fitting(basis, order, sample).fit(3, steps=0)
    assert residual(plain) == pytest.approx(errors[3], rel=1e-9)


def minimax(matrix, values):
    """The smallest largest error, by linear programming."""
    rows, size = matrix.shape
    ones = np.ones((rows, 1))
    bounds = np.concatenate([np.hstack([matrix, -ones]), np.hstack([-matrix, -ones])])
    cost = np.r_[np.zeros(size), 1.0]
    return linprog(cost, bounds, np.r_[values, -values], bounds=[(None, None)] * (size + 1)).fun


@pytest.mark.parametrize(("manifold", "degree", "count"), [(Circle(), 3, 5), (Cube(2), 3, 8), (Sphere(2), 2, 7)])
def test_reweighting_comes_near_the_smallest_largest_error(manifold, degree, count):
    basis = basis_on(manifold, degree)
    order, sample = choose(basis, sample_of(basis, wavy, 800)).order[:count], sample_of(basis, wavy, 500, seed=2)
    fitting = Fitting(basis, order, sample)
    first, found = fitting.fit(count, steps=0), fitting.fit(count)
    least = minimax(design(basis, order, sample.y), sample.values.numpy())
    assert least * (1 - 1e-7) <= residual(found) <= 1.1 * least
    assert residual(found) < residual(first)
    # what is returned is what the residual is of
    assert float((fitting.sample.values - atoms_sum(found, sample.y)).abs().max()) == pytest.approx(residual(found))


def atoms_sum(found, y):
    return found.constant + found.basis.atoms(y) @ found.coefficients


def test_a_goal_ends_the_reweighting():
    basis = basis_on(Circle(), 6)
    order, sample = choose(basis, sample_of(basis, wavy, 800)).order[:9], sample_of(basis, wavy, 800, seed=2)
    fitting = Fitting(basis, order, sample)
    plain, best = residual(fitting.fit(9, steps=0)), residual(fitting.fit(9))
    between = (plain * best) ** 0.5
    assert best <= residual(fitting.fit(9, goal=between)) <= between
    hopeless = fitting.fit(9, goal=best / 100)
    assert best / 100 < residual(hopeless) <= plain


@pytest.mark.parametrize("steps", [0, 6])
def test_what_is_not_kept_in_memory_comes_out_the_same(steps, monkeypatch):
    basis = basis_on(Sphere(2), 6)
    chosen = choose(basis, sample_of(basis, wavy, 900))
    order, sample = chosen.order[: chosen.rank()], sample_of(basis, wavy, 5000, seed=2)
    kept = Fitting(basis, order, sample)
    errors, found = kept.errors(), kept.fit(30, steps=steps)
    monkeypatch.setattr(fit, "ENTRIES", 1000)
    streamed = Fitting(basis, order, sample)
    assert streamed._kept is None and kept._kept is not None
    assert streamed.errors() == pytest.approx(errors, rel=1e-6)
    again = streamed.fit(30, steps=steps)
    assert residual(again) == pytest.approx(residual(found), rel=1e-6)
    assert again.coefficients.numpy() == pytest.approx(found.coefficients.numpy(), rel=1e-4, abs=1e-8)


def test_coefficients_belong_to_their_directions():
    """The order of a fit is not that of the numbers: with both the same function comes out."""
    basis = basis_on(Cube(2), 3)
    order, sample = np.array([7, 2, 9, 4]), sample_of(basis, wavy, 500)
    found = Fitting(basis, order, sample).fit(4, steps=0)
    assert found.basis.numbers.tolist() == [2, 4, 7, 9]
    matrix = design(basis, order, sample.y)
    want = np.linalg.lstsq(matrix, sample.values.numpy(), rcond=None)[0]
    assert found.constant == pytest.approx(want[0], rel=1e-7)
    assert found.coefficients.numpy() == pytest.approx(want[1:][np.argsort(order)], rel=1e-7)


def test_directions_chosen_for_a_target_need_fewer():
    basis = basis_on(Sphere(2), 6, "octahedron")

    def ridge(y):
        return torch.cos(3 * y[:, 0] - y[:, 1])

    sample, fresh = sample_of(basis, ridge, 1200), sample_of(basis, ridge, 3000, seed=2)
    some, all_of_it = adapted(basis, sample, 20), choose(basis, sample)
    assert len(set(some.order.tolist())) == 20
    greedy, blind = (Fitting(basis, chosen.order[:20], fresh).errors() for chosen in (some, all_of_it))
    assert greedy[-1] < blind[-1] / 3
    # every step takes the direction that lowers the sum of squares most
    matrix, values = design(basis, np.arange(basis.count), sample.y), sample.values.numpy()
    left = values - values.mean()
    first = matrix[:, 1:] - matrix[:, 1:].mean(axis=0)
    norms = np.linalg.norm(first, axis=0)
    gain = np.abs(left @ first) / np.where(norms > 1e-9, norms, np.inf)
    assert gain[some.order[0]] == pytest.approx(gain.max(), rel=1e-9)


def test_dependent_directions_are_found():
    """On the circle polynomials of degree p have dimension 2 p + 1, the constant among them."""
    for degree in (2, 3, 6, 9):
        basis = basis_on(Circle(), degree)
        assert choose(basis, sample_of(basis, wavy, 500)).rank() == 2 * degree
    one = basis_on(Circle(), 6).subset(np.array([0]))  # alpha = 0: a constant
    assert choose(one, sample_of(one, wavy, 50)).rank() <= 1


def test_too_few_points_are_refused():
    basis = basis_on(Circle(), 3)
    with pytest.raises(InputError, match="sample: expected more than 8 points, got"):
        Fitting(basis, np.arange(7), sample_of(basis, wavy, 8))
