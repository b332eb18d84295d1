"""What the statements on the ridge construction are checked with, against independent oracles in floating point."""

import math

import numpy as np
import pytest
import torch
from flint import arb, fmpq, fmpq_poly
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.polynomial import Chebyshev, Polynomial

from construct.ridge.directions import Lattice
from construct.ridge.maps import shift_of
from construct.ridge.waves import Waves
from construct.transformer.module import Transformer
from proofs_as_code.statements.ridge import cells, derivatives, lemma, networks, octahedron, shared, support, waves

# -- ranks ------------------------------------------------------------------------------------------------------------


def sampled_rank(k: int, p: int, delta: float) -> int:
    """Rank of the atoms at random points of [-1, 1]^k, by singular values."""
    vectors = Lattice(k, p).integers / p
    points = np.random.default_rng(0).uniform(-1, 1, (400, k))
    atoms = 1 + Chebyshev.basis(p)(delta + points @ vectors.T)
    values = np.linalg.svd(atoms, compute_uv=False)
    return int((values > 1e-10 * values[0]).sum())


@pytest.mark.parametrize("k", [1, 2])
@pytest.mark.parametrize(("p", "delta"), [(3, 0.25), (3, 0.5), (4, 0.0), (6, 0.5), (6, 0.125)])
def test_exact_ranks_are_those_of_floating_point(k: int, p: int, delta: float) -> None:
    space, numerator = lemma.Space(k, p), int(8 * delta)
    found = lemma.check_at(space, fmpq(1), False, fmpq(numerator, 8)).worst_point
    assert found["rank"] == sampled_rank(k, p, delta)


def test_ranks_over_a_number_field() -> None:
    roots = np.real(Chebyshev.basis(9).deriv(5).roots())
    assert abs(roots[roots > 0].min() - 0.199939) < 1e-6
    for k in (1, 2):
        found = lemma.check_spans(lemma.Space(k, 9), fmpq(1), False, lemma.near_zero()).worst_point
        assert found["rank"] == math.comb(k + 9, k) - math.comb(k + 4, 5)
    companion = lemma.field_of(lemma.near_zero())[1]
    value, power = 0 * companion, lemma.field_of(lemma.near_zero())[0]
    for coefficient in lemma.near_zero().coeffs():
        value, power = value + power * coefficient, power * companion
    assert all(entry == 0 for entry in value.entries())
    with pytest.raises(AssertionError, match="irreducible"):
        lemma.field_of(fmpq_poly([-1, 0, 1]))


@pytest.mark.parametrize(("name", "p"), [("circle", 3), ("sphere", 3), ("torus", 3), ("torus", 4), ("torus", 5)])
def test_sizes_of_restricted_polynomials(name: str, p: int) -> None:
    count = 2 * lemma.Space(2 if name == "circle" else 3, p).size
    points = np.array([[float(c.p) / float(c.q) for c in point] for point in lemma.points_on(name, count, 3)])
    on = {
        "circle": lambda x: (x**2).sum(axis=1) - 1,
        "sphere": lambda x: (x**2).sum(axis=1) - 1,
        "torus": lambda x: (np.hypot(x[:, 0], x[:, 1]) - 2) ** 2 + x[:, 2] ** 2 - 1,
    }[name]
    assert np.abs(on(points)).max() < 1e-12
    exponents = Lattice(points.shape[1], p).integers
    monomials = np.prod((points[:, None, :] / 2) ** exponents[None], axis=2)
    assert lemma.restricted_size(name, p) == np.linalg.matrix_rank(monomials, tol=1e-9)


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("p", [1, 2, 3, 4, 5, 6])
def test_the_least_octahedron(k: int, p: int) -> None:
    """Ranks of the monomials at its members, and one order below."""
    exponents, least = Lattice(k, p).integers, octahedron.least_order(lemma.Space(k, p))
    for order in {least, max(1, least - 1)}:
        members = Lattice(k, order, "octahedron").integers / order
        monomials = np.prod(members[:, None, :] ** exponents[None], axis=2)
        assert (np.linalg.matrix_rank(monomials, tol=1e-9) == len(exponents)) == (order == least)


# -- derivatives ------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(st.sampled_from([2, 3, 4, 6, 8, 9, 12]), st.integers(1, 255))
def test_signs_change_where_there_are_zeros(p: int, numerator: int) -> None:
    b = numerator / 256
    found = derivatives.check_signs(p, fmpq(numerator, 256)).worst_point["l"]
    zeros = [Chebyshev.basis(p).deriv(order).roots() if order else Chebyshev.basis(p).roots() for order in range(p)]
    margin = min(np.abs(z.real - b).min(initial=1.0) for z in zeros)
    if margin > 1e-6:
        assert found == [order for order, z in enumerate(zeros) if ((z.real > 1e-6) & (z.real < b)).sum() % 2]


# -- support functions ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(support.SPACINGS))
@pytest.mark.parametrize("embedded", [False, True])
def test_support_functions_are_attained(name: str, embedded: bool) -> None:
    manifold = support.manifold_of(name, embedded)
    w = np.random.default_rng(1).standard_normal(manifold.ambient)
    exact = float(support.support_of(manifold, [arb(float(v)) for v in w]).mid())
    seen = float((manifold.sample(200_000, seed=2).numpy() @ w).max())
    assert 0.995 * exact < seen <= exact * (1 + 1e-12)


# -- networks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_the_formula_is_that_of_the_approximator_and_of_the_module(seed: int) -> None:
    net = networks.Net(4, (0, 2), 6, 2, "octahedron", False, seed)
    narrow = waves.Narrow(4, (0, 2), 6, (2,), 16, bool(seed % 2), seed)
    x = [fmpq(seed - 2, 3), fmpq(1, 7), fmpq(5, 8), fmpq(-1, 2)]
    point = torch.tensor([[float(v.p) / float(v.q) for v in x]], dtype=torch.float64)
    for approximator, weights, directions in (
        (net.approximator(), net.program().compile(net.approximator().manifold.box.numpy()), None),
        (
            narrow.approximator(),
            narrow.program().compile(narrow.approximator().manifold.box.numpy()),
            narrow.directions()[narrow.approximator().basis.numbers],
        ),
    ):
        exact = networks.formula(approximator, x, directions)
        value = float(exact.p) / float(exact.q)
        assert abs(value - float(approximator(point)[0])) < 1e-12
        assert abs(value - float(Transformer(weights)(point)[0])) < 1e-11


@pytest.mark.parametrize("seed", range(4))
def test_the_formula_of_several_charts_is_that_of_the_approximator_and_of_the_module(seed: int) -> None:
    charts = shared.Charts(waves.Narrow(3, (0, 2), 6, (2,), 8, bool(seed % 2), seed), 3)
    found, x = charts.approximator(), [fmpq(seed - 2, 5), fmpq(1, 7), fmpq(3, 8)]
    point = torch.tensor([[float(v.p) / float(v.q) for v in x]], dtype=torch.float64)
    exact = shared.shared_formula(charts, found, x)
    value = float(exact.p) / float(exact.q)
    assert abs(value - float(found(point)[0])) < 1e-12
    assert abs(value - float(Transformer(charts.weights()[1])(point)[0])) < 1e-11
    rho = [float(v.p) / float(v.q) for v in shared.telescoped(shared.balls(found, x))]
    assert np.abs(found.partition(point)[0].numpy() - rho).max() < 1e-12


@settings(deadline=None, max_examples=30)
@given(st.integers(3, 9), st.data())
def test_waves_are_triangles(doublings: int, data: st.DataObject) -> None:
    folds = tuple(sorted(data.draw(st.sets(st.integers(1, doublings - 1), min_size=1, max_size=3))))
    net = waves.Narrow(9, tuple(range(len(folds) + 1)), 3, folds, 2**doublings, data.draw(st.booleans()), 0)
    assert np.array_equal(net.directions(), Waves(folds, 2**doublings, net.signed).vectors)


# -- cells ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("q", range(5))
def test_taylor_polynomials_miss_by_what_is_claimed(q: int) -> None:
    """The largest share of |x - a|^beta on a grid is below 1 and, far away, near it."""
    beta, w = q + 0.5, np.concatenate([np.linspace(0, 2, 4001), np.geomspace(2, 1e4, 400)])
    w = w[np.abs(w - 1) > 1e-3]
    Q = Polynomial([float(c.p) / float(c.q) for c in cells.quotient(q, fmpq(2 * q + 1, 2)).coeffs()])
    share = np.abs((w - 1) ** (q + 1) * Q(w)) / np.abs(w * w - 1) ** beta
    assert share.max() <= 1 + 1e-9 and share[-1] > 0.99
    near = 1.1  # against Taylor's formula itself
    terms = [math.prod((beta - i) / (i + 1) for i in range(j)) * (near**2 - 1) ** j for j in range(q + 1)]
    assert abs(near ** (2 * q + 1) - sum(terms) - (near - 1) ** (q + 1) * Q(near)) < 1e-12


@given(st.lists(st.integers(-4, 4), min_size=1, max_size=4), st.booleans())
def test_polynomials_that_are_nowhere_negative(coefficients: list[int], finite: bool) -> None:
    low = 0 if finite else 1
    p = fmpq_poly(coefficients)
    grid = np.concatenate([np.linspace(low, low + 1, 2001), *([] if finite else [np.geomspace(2, 1e6, 500)])])
    values = np.polynomial.polynomial.polyval(grid, coefficients)
    if cells.nowhere_negative_from(p, low, finite):
        assert values.min() >= -1e-9
    assert cells.nowhere_negative_from(p * p, low, finite)
    if values.min() < -1e-3:
        assert not cells.nowhere_negative_from(p, low, finite)


@pytest.mark.parametrize("p", [2, 3, 6])
def test_monomials_by_atoms(p: int) -> None:
    solved, u = cells.monomials_by_atoms(p, p + 1), np.linspace(-1, 1, 9)
    delta = shift_of(p)
    atoms = np.stack([1 + Chebyshev.basis(p)(delta + (1 - delta) / p * t * u) for t in range(p + 1)])
    for j in range(p + 1):
        weights = np.array([float(solved[t, j].p) / float(solved[t, j].q) for t in range(p + 1)])
        assert np.abs(weights @ atoms - u**j).max() < 1e-9


@pytest.mark.parametrize(("q", "number"), [(0, 0), (1, 3), (2, 40), (3, 7)])
def test_errors_of_blends(q: int, number: int) -> None:
    """The bound over a whole cell against the blend of Taylor polynomials at points of it."""
    beta, x = q + 0.5, np.linspace(number, number + 1, 400)[1:-1]

    def taylor(node: int) -> np.ndarray:
        terms = (math.prod((beta - i) / (i + 1) for i in range(j)) for j in range(q + 1))
        return sum(c * float(node) ** (beta - j) * (x - node) ** j for j, c in enumerate(terms)) if node else 0 * x

    share = x - number
    seen = np.abs(x**beta - (1 - share) * taylor(number) - share * taylor(number + 1)).max()
    found = cells.check_holder(cells.Cell(q, 3, number)).measured
    assert seen - 1e-9 <= found <= 1
