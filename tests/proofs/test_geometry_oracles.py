"""What the statements on products, geometry, partitions and rivals are checked with, against independent oracles."""

import math

import numpy as np
import pytest
import torch
from flint import arb, fmpq, fmpq_poly
from hypothesis import given, settings
from hypothesis import strategies as st

from construct import manifolds
from proofs_as_code import rational
from proofs_as_code.statements.atlas import atlas_covers, geometry, partition, reach
from proofs_as_code.statements.baselines import yarotsky
from proofs_as_code.statements.execution import sparse
from proofs_as_code.statements.program import trees
from proofs_as_code.subdivision import bounded, centred, evaluate

# -- bisection --------------------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(-8, 8), min_size=2, max_size=6))
def test_the_largest_value_of_a_polynomial_is_bracketed(coefficients):
    polynomial = fmpq_poly(coefficients)
    grid = np.linspace(-1, 1, 4001)
    largest = np.polynomial.polynomial.polyval(grid, coefficients).max()
    above, below = largest + 1e-4 * max(1, abs(largest)), largest - 1e-4 * max(1, abs(largest))
    found = bounded(centred(polynomial), [(-1.0, 1.0)], above)
    assert found.proved and largest - 1e-12 <= found.bound <= above
    refuted = bounded(centred(polynomial), [(-1.0, 1.0)], below)
    assert not refuted.proved and refuted.bound > below
    assert abs(float(evaluate(polynomial, arb(0.5)).mid()) - float(polynomial(fmpq(1, 2)))) < 1e-12


def test_nan_and_an_exhausted_budget_are_not_proofs():
    assert not bounded(lambda cell: arb("nan"), [(0.0, 1.0)], 1.0).proved
    assert not bounded(lambda cell: cell[0] - cell[0], [(0.0, 1.0)], 1e-9, most=10).proved
    assert math.isnan(bounded(lambda cell: arb("nan"), [(0.0, 1.0)], 1.0).bound)


# -- trees ------------------------------------------------------------------------------------------------------


@given(st.lists(st.fractions(-3, 3, max_denominator=9), min_size=1, max_size=6))
def test_interpolation_finds_the_polynomial(coefficients):
    polynomial = fmpq_poly([fmpq(c.numerator, c.denominator) for c in coefficients])
    points = [fmpq(k, 3) - 1 for k in range(len(coefficients))]
    assert trees.interpolated(points, [polynomial(p) for p in points]) == polynomial


def test_certificates_of_registers():
    chebyshev, powers = trees.target_polynomials("chebyshev", 9), trees.target_polynomials("powers", 9)
    assert all(trees.within_one(p) for p in chebyshev[1:] + powers[1:])
    u = fmpq_poly([0, 1])
    for wrong in (2 * u, fmpq(9, 8) * u, 1 + u, fmpq(11, 10) * u * u):
        assert not trees.within_one(wrong)
    z = np.linspace(-1, 1, 50)
    for k, p in enumerate(chebyshev):
        assert np.allclose([float(p(fmpq(*v.as_integer_ratio()))) for v in z.tolist()], np.cos(k * np.arccos(z)))


# -- geometry ---------------------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(st.tuples(rational.dyadics(3, 4), rational.dyadics(3, 4)))
def test_rational_points_lie_on_their_manifolds(t):
    x = torch.tensor([[float(a) for a in reach.sphere_point(list(t), fmpq(3, 2))]], dtype=torch.float64)
    assert bool(manifolds.manifold("sphere", radius=1.5).contains(x, 1e-12).all())
    point, normal = reach.torus_point(fmpq(2), fmpq(3, 4), list(t))
    torus = manifolds.manifold("torus", major=2.0, minor=0.75)
    y = torch.tensor([[float(a) for a in point]], dtype=torch.float64)
    assert bool(torus.contains(y, 1e-12).all())
    n = torch.tensor([float(a) for a in normal], dtype=torch.float64)
    assert float((torus.tangent_basis(y)[0].T @ n).abs().max()) < 1e-12 and abs(float(n.norm()) - 1) < 1e-12


@pytest.mark.parametrize("case", sorted(atlas_covers.CASES))
def test_balls_of_a_cell_contain_the_points_of_the_manifold(case):
    """Every sampled point lies in the image of a cell of the box, and cell balls contain what the library computes."""
    manifold = atlas_covers.CASES[case][0]()
    pieces = atlas_covers.pieces(manifold)
    rng = np.random.default_rng(0)
    for at, box in pieces:
        u = [float(rng.uniform(low, high)) for low, high in box]
        x = at([arb(value) for value in u])
        assert bool(manifold.contains(torch.tensor([[float(a.mid()) for a in x]], dtype=torch.float64), 1e-10).all())
        wide = at([arb(value - 0.1).union(arb(value + 0.1)) for value in u])
        assert all(ball.contains(inner) for ball, inner in zip(wide, x, strict=True))
    if case != "sphere":
        (at, _), sample = pieces[0], manifold.sample(5, seed=0)
        for x, u in zip(sample, manifold.coordinates(sample), strict=True):
            assert np.allclose([float(a.mid()) for a in at([arb(value) for value in u.tolist()])], x.numpy(), atol=1e-9)


def test_covering_and_its_refutation_by_a_sampled_point():
    atlas = atlas_covers.atlas_of("sphere", 12)
    x = atlas.manifold.sample(20_000, seed=1)
    sampled = float(torch.cdist(x, atlas.centres).amin(1).max())
    proved = atlas_covers.covering_enclosure(atlas.manifold, atlas.centres.numpy(), atlas.core_radius * (1 + 1e-6))
    assert proved.proved and sampled <= proved.bound
    assert not atlas_covers.covering_enclosure(atlas.manifold, atlas.centres.numpy(), 0.99 * sampled).proved


# -- networks against the library's own evaluation --------------------------------------------------------------


@pytest.mark.parametrize("case", sorted(partition.CASES))
def test_exact_partition_is_the_atlas_partition(case):
    atlas = partition.built(case)[0]
    x = atlas.manifold.sample(3, seed=4)
    for point, wanted in zip(x, atlas.partition(x), strict=True):
        _, rho = partition.network_weights(case, [rational.rational(v) for v in point.tolist()])
        assert np.allclose([float(r) for r in rho], wanted.numpy(), atol=1e-11)


@pytest.mark.parametrize("construction", geometry.CONSTRUCTIONS)
def test_exact_chart_coordinates_are_the_atlas_coordinates(construction):
    parts = geometry.built(construction, "sphere")
    x = parts.atlas.manifold.sample(1, seed=5)
    state = geometry.run(parts, [rational.rational(v) for v in x[0].tolist()])[0]
    found = [[float(state[int(t), 0]) for t in row] for row in geometry.chart_tokens(parts)]
    assert np.allclose(found, parts.atlas.chart_coordinates(x)[0].clamp(-1, 1).numpy(), atol=1e-12)


def test_pairs_kept_are_those_with_a_positive_score_somewhere():
    """By brute force over the corners, for heads with one row of data: what is kept and loud is not more than kept."""
    parts = sparse.random_heads(3)
    kept = parts.active()
    worst, _, count = sparse.dropped_scores(parts, kept)
    assert worst == 0 and count > 0
    loud, _, _ = sparse.dropped_scores(parts, set())
    assert loud > 0 and len(kept) < 5 * sparse.TOKENS**2


# -- the rival --------------------------------------------------------------------------------------------------


def relu_network(layers, x):
    """Naive floating point."""
    values = np.asarray(x, dtype=np.float64)
    for index, (weight, bias) in enumerate(layers):
        values = weight @ (np.maximum(values, 0) if index else values) + bias
    return float(values[0])


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 8), st.floats(0, 1), st.floats(-1, 1), st.integers(-1, 3))
def test_squares_and_products_of_the_rival(m, x, y, log_bound):
    square = relu_network(yarotsky.square_layers(m), [x])
    knots = np.arange(2**m + 1) / 2**m
    assert square == pytest.approx(float(np.interp(x, knots, knots**2)), abs=1e-13)
    bound = 2.0**log_bound
    product = relu_network(yarotsky.product_layers(m, bound), [bound * x, bound * y])
    error = product - bound**2 * x * y
    assert -(bound**2) * (4.0**-m + 1e-12) <= error <= 1e-12 * bound**2
    exact = yarotsky.preactivations(yarotsky.square_layers(m), [rational.rational(x)])[-1][0]
    assert float(exact) == pytest.approx(square, abs=1e-13)


def test_a_kink_inside_a_cell_is_noticed():
    """Six compositions are not affine on the cells of five: the error over [0, 1] must not be read off them."""
    assert yarotsky.square_error(6, 2**5) is None
    assert yarotsky.square_error(5, 2**6) is not None


@pytest.mark.parametrize(
    ("case", "charts", "radius"),
    [
        ("circle", 5, 1.5 * 2 * math.sin(math.pi / 10)),
        ("sphere", 4, math.sqrt(4 / 3)),
        ("sphere", 6, math.sqrt(2 - 2 / math.sqrt(3))),
        ("sphere", 12, math.sqrt(2 - 2 * math.sqrt((5 + 2 * math.sqrt(5)) / 15))),
    ],
)
def test_core_radii_in_closed_form(case, charts, radius):
    assert atlas_covers.atlas_of(case, charts).core_radius == pytest.approx(radius, rel=2e-9)
