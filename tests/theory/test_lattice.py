"""The formulas on the lattice construction against counts, inverted matrices and fits of their own."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.polynomial import Chebyshev

from construct.cells.approximator import reach_of
from construct.errors import InputError
from construct.ridge.maps import shift_of
from construct.theory.lattice import (
    LatticeGeometry,
    Singularity,
    adaptive_cells,
    adaptive_exponent,
    atoms_per_cell,
    bad_cells,
    bad_distance,
    ball_share,
    coefficient_bound,
    good_spacing,
    lattice_blocks,
    lattice_cells,
    lattice_depth,
    lattice_heads,
    lattice_sizes,
    lattice_width,
    monomial_cost,
    uniform_exponent,
    uniform_spacing,
)

CIRCLE = LatticeGeometry(
    dim=1, coordinates=2, ambient=2, volume=2 * math.pi, share=ball_share(1, 0.5), largest=0.5, extent=1.0
)
CUSP = Singularity(smoothness=0.5, order=2, bound=1.0, cone=0.5, holder=1.0, dim=0.0, content=4.0)

# -- cells ------------------------------------------------------------------------------------------------------------


@given(st.floats(0.01, 1.9))
def test_a_ball_of_the_circle_holds_its_share(rho):
    assert 4 * math.asin(rho / 2) >= ball_share(1, rho) * rho  # the arc of a chord rho to both sides, reach 1


@given(st.floats(0.01, 1.9))
def test_a_ball_of_the_sphere_holds_its_share(rho):
    assert math.pi * rho**2 >= ball_share(2, rho) * rho**2  # a cap is as large as the disc of its chord


def test_cells_by_hand():
    assert lattice_cells(CIRCLE, 0.1) == math.floor(25 * 2 * math.pi / (2 * math.sqrt(1 - 1 / 16) * 0.1))
    assert lattice_cells(replace(CIRCLE, volume=1.0, share=1.0), 0.25) == 100


@given(st.floats(1e-8, 10), st.floats(0.1, 3), st.floats(0.1, 10))
def test_the_uniform_spacing_has_the_error(epsilon, beta, bound):
    spacing = uniform_spacing(CIRCLE, beta, bound, epsilon)
    error = bound * (CIRCLE.diameter * spacing) ** beta
    assert error <= epsilon * (1 + 1e-9)
    assert spacing == CIRCLE.largest or math.isclose(error, epsilon, rel_tol=1e-9)


@settings(max_examples=60)
@given(st.floats(1e-6, 0.5), st.floats(1.01, 4))
def test_more_cells_for_a_smaller_error(epsilon, factor):
    assert adaptive_cells(CIRCLE, CUSP, epsilon / factor) >= adaptive_cells(CIRCLE, CUSP, epsilon)


@settings(max_examples=60)
@given(st.floats(1e-4, 0.5), st.floats(1e-6, 0.5))
def test_cells_that_are_good_by_the_hypotheses_are_not_counted(epsilon, spacing):
    across = CIRCLE.diameter * spacing
    near = bad_distance(CIRCLE, CUSP, epsilon, spacing)
    t = near * (1 + 1e-9)
    assert across <= CUSP.cone * t and CUSP.bound * t ** (0.5 - 3) * across**3 <= epsilon
    if CUSP.holder * across**0.5 <= epsilon * (1 - 1e-9):
        assert bad_cells(CIRCLE, CUSP, epsilon, spacing) == 0.0 and spacing <= good_spacing(CIRCLE, CUSP, epsilon)


def summed(geometry, s, epsilon):
    """The sum of the theorem, in a loop of its own."""
    r, d, q, beta = geometry.coordinates, geometry.dim, s.order, s.smoothness
    rho, total = geometry.largest, 5**r * geometry.volume / (geometry.share * geometry.largest**d)
    while s.holder * (2 * math.sqrt(r) * rho) ** beta > epsilon:
        star = 2 * math.sqrt(r) * rho
        t = max(star / s.cone, (s.bound * star ** (q + 1) / epsilon) ** (1 / (q + 1 - beta)))
        volume = min(geometry.volume, s.content * (t + rho) ** (d - s.dim))
        total += (2 ** (r + 1) - 1) * 5**r * volume / (geometry.share * rho**d)
        rho /= 2
    return total


@pytest.mark.parametrize("order", [1, 2, 4])
@pytest.mark.parametrize("octave", [1, 5, 9])
def test_the_sum_over_levels(order, octave):
    s = replace(CUSP, order=order, dim=0.5)
    assert math.isclose(adaptive_cells(CIRCLE, s, 2.0**-octave), summed(CIRCLE, s, 2.0**-octave), rel_tol=1e-3)


@pytest.mark.parametrize(("dim", "singular", "beta", "order"), [(1, 0.0, 0.5, 1), (1, 0.5, 0.5, 2), (2, 1.0, 0.75, 2)])
def test_exponents_of_the_bound(dim, singular, beta, order):
    """Over twenty octaves of eps, far out, where the larger term is alone."""
    geometry = LatticeGeometry(dim, dim, dim, 1.0, 1.0, 1.0, 1.0)
    s = Singularity(beta, order, 1.0, 0.5, 1.0, singular, 1.0)
    octaves = np.arange(80, 100)
    counts = [math.log2(adaptive_cells(geometry, s, 2.0**-k)) for k in octaves.tolist()]
    slope = np.polyfit(octaves, counts, 1)[0]
    assert abs(slope - adaptive_exponent(dim, singular, beta, order)) < 0.01


def test_exponents():
    assert uniform_exponent(2, 0.5) == 4.0
    assert adaptive_exponent(2, 1.0, 0.5, 2) == 2.0
    assert adaptive_exponent(2, 0.0, 0.5, 2) == pytest.approx(2 / 3)


# -- sizes ------------------------------------------------------------------------------------------------------------


def test_sizes_by_hand():
    assert [lattice_blocks(p) for p in (2, 3, 6, 8, 9, 24)] == [3, 3, 4, 5, 4, 6]
    assert [lattice_depth(m) for m in (1, 2, 3, 4, 5, 9)] == [3, 4, 5, 5, 6, 7]
    assert lattice_heads(3, 6) == (5, 9) and lattice_heads(3, 6, projected=True) == (8, 12)
    assert lattice_width(3, 3) == 17
    assert [atoms_per_cell(p, r) for p, r in ((2, 1), (3, 2), (6, 3))] == [3, 10, 84]


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_only_tokens_weights_and_non_zeros_depend_on_the_cells(one, other):
    first, second = (vars(lattice_sizes(CIRCLE, 3, cells, spacing=0.5)) for cells in (one, other))
    same = {name for name in first if first[name] == second[name]}
    assert {"blocks", "heads", "total_heads", "ffn_depth", "embedding_dim"} <= same
    assert first["tokens"] - second["tokens"] == 10 * (one - other)
    assert first["parameters"] - second["parameters"] == 10 * (one - other)


def test_the_largest_weight_holds_codes_and_coefficients():
    few = lattice_sizes(CIRCLE, 3, 1, spacing=0.5)
    assert few.weight_bound == max(8.0, 14**2 / 4, 24 * 3)
    deep = lattice_sizes(CIRCLE, 3, 1, spacing=0.5, finest=0.5**11)
    assert deep.weight_bound == 24 * (2**10 / 0.5 + 1)
    assert lattice_sizes(CIRCLE, 3, 1, spacing=0.5, coefficient=1e9).weight_bound == 1e9


# -- coefficients -----------------------------------------------------------------------------------------------------


def costs_in_one_variable(p):
    """By inverting a matrix of values at Chebyshev points, in floating point."""
    stretch = reach_of(p) // p * (1 - shift_of(p)) / reach_of(p)
    u = np.cos(np.pi * (np.arange(p + 1) + 0.5) / (p + 1))
    atoms = np.stack([1 + Chebyshev.basis(p)(shift_of(p) + stretch * a * u) for a in range(p + 1)], axis=1)
    made = np.linalg.solve(atoms, u[:, None] ** np.arange(p + 1))
    return np.abs(made).sum(axis=0)


@pytest.mark.parametrize("p", [2, 3, 4, 6])
def test_costs_of_monomials(p):
    costs = costs_in_one_variable(p)
    for order in range(p + 1):
        assert monomial_cost(p, 1, order) == pytest.approx(costs[: order + 1].max(), rel=1e-6)
    assert monomial_cost(p, 1) == monomial_cost(p, 1, p) <= monomial_cost(p, 2) * (1 + 1e-12)


def test_coefficients_of_both_theorems():
    cost = monomial_cost(3, 2, 1)
    assert coefficient_bound(CIRCLE, 3, 1, 2.0, 0.25) == pytest.approx(2 * cost * math.exp(2 * math.sqrt(2) * 0.25))
    assert coefficient_bound(CIRCLE, 3, 1, 2.0, 0.25, 0.5) == pytest.approx(4 * cost * math.exp(0.75))


# -- guards -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dim": 0}, "dim: expected"),
        ({"coordinates": 0}, "coordinates: expected"),
        ({"ambient": 0}, "ambient: expected"),
        ({"volume": 0.0}, "volume: expected"),
        ({"share": -1.0}, "share: expected"),
        ({"largest": math.inf}, "largest: expected"),
        ({"extent": math.nan}, "extent: expected"),
    ],
)
def test_geometries_that_are_none(change, message):
    with pytest.raises(InputError, match=message):
        replace(CIRCLE, **change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"smoothness": 1.5}, r"smoothness: expected a number in \(0, 1\]"),
        ({"smoothness": 0.0}, "smoothness: expected"),
        ({"cone": 2.0}, r"cone: expected a number in \(0, 1\]"),
        ({"bound": 0.0}, "bound: expected"),
        ({"holder": -1.0}, "holder: expected"),
        ({"content": 0.0}, "content: expected"),
        ({"order": -1}, "order: expected"),
        ({"order": 0, "smoothness": 1.0}, r"order: expected q with q \+ 1 > beta = 1"),
        ({"dim": -0.5}, "dim: expected a number >= 0"),
    ],
)
def test_singularities_that_are_none(change, message):
    with pytest.raises(InputError, match=message):
        replace(CUSP, **change)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ball_share(1, 2.0), r"ratio: expected a number in \(0, 2\)"),
        (lambda: ball_share(0, 1.0), "dim: expected"),
        (lambda: lattice_cells(CIRCLE, 0.6), r"spacing: expected at most rho_0 = 0\.5"),
        (lambda: lattice_cells(CIRCLE, 0.0), "spacing: expected"),
        (lambda: adaptive_cells(CIRCLE, replace(CUSP, dim=1.0), 0.1), "singularity: expected a set of a dim"),
        (lambda: adaptive_cells(CIRCLE, CUSP, 0.1, 0.0), "first: expected"),
        (lambda: adaptive_cells(CIRCLE, CUSP, 0.1, 0.7), "spacing: expected at most"),
        (lambda: adaptive_cells(CIRCLE, replace(CUSP, smoothness=1e-3), 0.01), "epsilon: expected one for at most 9"),
        (lambda: uniform_spacing(CIRCLE, 0.5, 1.0, 0.0), "epsilon: expected"),
        (lambda: lattice_blocks(1), "degree: expected a product of twos and threes of at least 2, got 1"),
        (lambda: lattice_blocks(5), "degree: expected a product of twos and threes"),
        (lambda: monomial_cost(3, 1, 4), "order: expected"),
        (lambda: lattice_heads(0, 3), "windows: expected"),
        (lambda: coefficient_bound(CIRCLE, 3, 1, 0.0, 1.0), "size: expected"),
        (lambda: coefficient_bound(CIRCLE, 3, 1, 1.0, 0.0), "spacing: expected"),
        (lambda: coefficient_bound(CIRCLE, 3, 1, 1.0, 1.0, -1.0), "cone: expected"),
    ],
)  # fmt: skip
def test_arguments_that_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
