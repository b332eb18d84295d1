"""The lower bound of the number of charts, against atlases and closed forms."""

import math

import pytest

from construct.atlas import candidate_atlases, least_charts
from construct.compact.counting import NUMBERS_PER_CHART, nonzeros
from construct.errors import InputError
from construct.local import PolynomialSpace
from construct.manifolds import (
    Circle,
    Cube,
    Helix,
    Manifold,
    MoebiusStrip,
    SpecialOrthogonal3,
    Sphere,
    SwissRoll,
    Torus,
)

MANIFOLDS = [Circle(), Circle(ambient=5), Cube(1), Cube(3), Helix(), MoebiusStrip(), Sphere(2), SwissRoll(), Torus()]


@pytest.mark.parametrize("manifold", [*MANIFOLDS, SpecialOrthogonal3()], ids=lambda m: f"{m.name}{m.ambient}")
def test_no_atlas_has_fewer_charts_and_no_network_fewer_numbers(manifold: Manifold) -> None:
    atlas = next(candidate_atlases(manifold, 1000))
    assert 1 <= least_charts(manifold, 1000) <= atlas.count
    assert nonzeros(atlas, PolynomialSpace(manifold.dim, 0)) >= NUMBERS_PER_CHART * atlas.count


@pytest.mark.parametrize("minor", [0.5, 0.9])
def test_a_thin_torus_takes_many(minor: float) -> None:
    """Along the outer circle alone, of radius 1 + r, chords of twice the bound subtend this angle."""
    torus = Torus(1.0, minor)
    bound = torus.chart_radius_bound
    angle = 2 * math.asin(bound / (1 + minor))
    assert least_charts(torus, 10_000) >= 0.5 * 2 * math.pi / angle
    assert least_charts(torus, 3) == 3
    with pytest.raises(InputError, match="most: expected an integer >= 1, got 0"):
        least_charts(torus, 0)
