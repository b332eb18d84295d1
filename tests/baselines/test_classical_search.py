"""Sampling, the search for hyper-parameters, and the basis of polynomials on a manifold."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from construct.baselines.classical.polynomials import Undersampled, chebyshev_rows, independent_products
from construct.baselines.classical.tuning import Point, grid_search, pattern_search
from construct.baselines.sampling import PURPOSES, scattered, stream, well_spread
from construct.errors import InputError
from construct.manifolds import Circle, Cube, Helix, Manifold, SpecialOrthogonal3, Sphere, SwissRoll, Torus

# -- sampling ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("manifold", [Sphere(2, ambient=5), Cube(2), SwissRoll()], ids=lambda m: m.name)
@pytest.mark.parametrize("purpose", PURPOSES)
def test_samples_lie_on_the_manifold(manifold: Manifold, purpose: str) -> None:
    x = scattered(manifold, 101, 3, purpose)
    assert x.shape == (101, manifold.ambient) and x.dtype == torch.float64
    assert bool(manifold.contains(x).all())
    assert torch.equal(x, scattered(manifold, 101, 3, purpose))


def test_the_edge_of_a_cube_is_seen_and_the_inside_too() -> None:
    x = scattered(Cube(2), 400, 0, "validation")
    on_edge = int((x.abs().amax(dim=1) == 1).sum())
    assert 40 <= on_edge <= 100  # at most every fourth is thrown, most throws leave the cube
    assert not bool((Cube(2).sample(400, 0).abs() == 1).any())  # which a plain sample does not


@given(st.integers(0, 2**20))
def test_no_two_purposes_share_points_nor_does_the_measurement(seed: int) -> None:
    streams = {stream(seed, purpose) for purpose in PURPOSES} | {seed, seed + 1}
    assert len(streams) == len(PURPOSES) + 2
    assert all(0 <= number < 2**63 for number in streams)


@pytest.mark.parametrize("manifold", [Sphere(2), Cube(3)], ids=lambda m: m.name)
def test_well_spread_points_are_inserted_at_falling_distances(manifold: Manifold) -> None:
    x = well_spread(manifold, 60, 1)
    distance = torch.cdist(x, x)
    inserted = torch.stack([distance[i, :i].min() for i in range(1, 60)])
    assert bool((inserted.diff() <= 1e-12).all())
    uniform = manifold.sample(60, 1)
    apart = torch.cdist(uniform, uniform).fill_diagonal_(math.inf).min()
    assert inserted[-1] > 3 * apart


# -- search --------------------------------------------------------------------------------------------------


@given(st.floats(-3, 3), st.floats(-3, 3), st.integers(30, 60))
@settings(max_examples=30)
def test_pattern_search_finds_the_bottom_of_a_bowl(a: float, b: float, evaluations: int) -> None:
    scores: list[float] = []

    def score(point: Point) -> float:
        scores.append((math.log(point["x"]) - a) ** 2 + 0.1 * (math.log(point["y"]) - b) ** 2)
        return scores[-1]

    found = pattern_search(score, {"x": 1.0, "y": 1.0}, {"x": math.e, "y": math.e}, evaluations)
    assert len(scores) <= evaluations
    assert found.score == min(scores)
    assert abs(math.log(found.point["x"]) - a) < 0.5 and abs(math.log(found.point["y"]) - b) < 0.5


@given(st.floats(0.1, 10), st.floats(1.01, 4))
def test_pattern_search_stays_within_its_bounds(low: float, ratio: float) -> None:
    seen: list[float] = []

    def score(point: Point) -> float:
        seen.append(point["x"])
        return point["x"]  # falls towards the lower bound and beyond

    bounds = {"x": (low, low * ratio)}
    found = pattern_search(score, {"x": low * math.sqrt(ratio)}, {"x": 2.0}, 40, bounds)
    assert min(seen) >= low and max(seen) <= low * ratio
    assert found.point["x"] < low * 1.11  # steps end at 1.05


def test_a_score_that_is_not_a_number_never_wins() -> None:
    scores = {1.0: math.nan, 2.0: 5.0, 3.0: math.inf, 4.0: 4.0}
    found = grid_search(lambda point: scores[point["x"]], {"x": list(scores)})
    assert found.point == {"x": 4.0} and found.score == 4.0
    hopeless = grid_search(lambda point: math.nan, {"x": [1.0, 2.0]})
    assert hopeless.point == {"x": 1.0} and hopeless.score == math.inf


def test_grid_search_looks_at_every_combination() -> None:
    seen: set[tuple[float, ...]] = set()

    def score(point: Point) -> float:
        seen.add(tuple(point.values()))
        return 0.0

    grid_search(score, {"x": [1.0, 2.0], "y": [3.0, 4.0, 5.0]})
    assert len(seen) == 6


# -- polynomials on a manifold -------------------------------------------------------------------------------


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=5), st.integers(0, 12))
def test_chebyshev_is_cos_of_multiples(z: list[float], degree: int) -> None:
    table = chebyshev_rows(np.array(z), degree)
    expected = np.cos(np.arange(degree + 1)[:, None] * np.arccos(np.array(z)))
    assert np.abs(table - expected).max() < 1e-10


def hypersurface(k: int, q: int, p: int) -> int:
    """Dimension of the polynomials of degree <= p on an irreducible hypersurface of degree q in R^k."""
    return math.comb(p + k, k) - (math.comb(p - q + k, k) if p >= q else 0)


@pytest.mark.parametrize(
    ("manifold", "degree", "expected"),
    [
        (Circle(), 24, 49),
        (Circle(ambient=6), 9, 19),
        (Sphere(2), 5, 36),
        (Sphere(2), 20, hypersurface(3, 2, 20)),  # 21^2
        (Sphere(3), 7, hypersurface(4, 2, 7)),
        (Torus(), 12, hypersurface(3, 4, 12)),  # a quartic surface
        (SpecialOrthogonal3(), 4, 1 + 9 + 25 + 49 + 81),  # Peter and Weyl: sum of (2 l + 1)^2
        (Cube(2), 9, math.comb(11, 2)),
        (Helix(), 2, 9),  # transcendental, but x^2 + y^2 = 1
        (Sphere(2), 0, 1),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_the_basis_has_the_size_of_the_hilbert_function(manifold: Manifold, degree: int, expected: int) -> None:
    y = manifold.restrict(scattered(manifold, max(1000, 3 * expected), 0, "thinning")).numpy()
    basis = independent_products(y, degree)
    assert basis.indices.shape == (expected, manifold.canonical)
    assert len(np.unique(basis.indices, axis=0)) == expected and basis.indices.sum(axis=1).max() == degree


def test_the_basis_spans_all_polynomials_of_its_degree() -> None:
    y = Sphere(2).sample(800, 5).numpy()
    basis = independent_products(y, 6).products(y)
    rng = np.random.default_rng(0)
    for _ in range(10):
        a, b, c = rng.integers(0, 3, 3)
        monomial = y[:, 0] ** a * y[:, 1] ** b * y[:, 2] ** c
        fitted = basis @ np.linalg.lstsq(basis, monomial, rcond=None)[0]
        assert np.abs(fitted - monomial).max() < 1e-10
    outside = y[:, 0] ** 7
    assert np.abs(basis @ np.linalg.lstsq(basis, outside, rcond=None)[0] - outside).max() > 1e-4


def test_too_few_points_and_too_many_coefficients_are_refused() -> None:
    y = Cube(2).sample(50, 0).numpy()
    with pytest.raises(Undersampled):
        independent_products(y, 9)
    with pytest.raises(InputError, match="degree: expected at most 20"):
        independent_products(y, 9, most=20)
