"""Fitting nodes: on the manifold, in the ball, up to its rim and to the edges of the manifold."""

from __future__ import annotations

import math

import pytest
import torch

from construct.atlas import atlas_for
from construct.errors import InputError
from construct.local import LocalSpace, PolynomialSpace, SplineSpace, fitting_nodes
from construct.manifolds import (
    Circle,
    Cube,
    FlatTorus,
    Helix,
    KleinBottle,
    Manifold,
    MoebiusStrip,
    SpecialOrthogonal3,
    Sphere,
    Torus,
)

CASES: list[tuple[Manifold, int | None]] = [
    (Circle(), 8),
    (Circle(ambient=20), 3),
    (Sphere(2), 4),
    (Sphere(2, 2.0, ambient=7), 12),
    (Sphere(3), 8),
    (FlatTorus(2), 16),
    (FlatTorus(3), 64),
    (Torus(), 45),
    (Helix(), 14),
    (MoebiusStrip(), 8),
    (KleinBottle(), 50),
    (SpecialOrthogonal3(), 60),
    (Cube(1), 1),
    (Cube(2), 1),
    (Cube(4), 1),
    (Cube(2), 4),
]


def spaces(dim: int) -> list[LocalSpace]:
    return [PolynomialSpace(dim, 4 if dim < 3 else 2), SplineSpace(dim, 3 if dim < 3 else 2)]


@pytest.mark.parametrize(("manifold", "charts"), CASES, ids=lambda v: v.name if isinstance(v, Manifold) else str(v))
def test_nodes_are_points_of_the_balls(manifold: Manifold, charts: int | None) -> None:
    atlas = atlas_for(manifold, charts=charts)
    for space in spaces(manifold.dim):
        nodes = fitting_nodes(atlas, space)
        n, q = nodes.mask.shape
        assert nodes.x.shape == (n, q, manifold.ambient) and nodes.z.shape == (n, q, manifold.dim)
        assert bool(torch.isfinite(nodes.x).all()) and bool(torch.isfinite(nodes.z).all())
        assert bool(manifold.contains(nodes.x[nodes.mask], 1e-7).all())
        chord = (nodes.x - atlas.centres.unsqueeze(1)).norm(dim=-1)
        assert float(chord[nodes.mask].max()) <= atlas.radius * (1 + 1e-8)
        every = torch.arange(n)
        z = torch.stack([atlas.chart_coordinates(nodes.x[k])[:, k] for k in every])
        assert float((z - nodes.z)[nodes.mask].abs().max()) < 1e-8
        assert float(nodes.z.abs().max()) <= 1.0
        enough = 1 if manifold.has_boundary and isinstance(space, SplineSpace) else 2
        assert int(nodes.mask.sum(1).min()) >= enough * min(space.count, 40)


@pytest.mark.parametrize("dim", [1, 2, 3])
@pytest.mark.parametrize("degree", [3, 7, 8, 12])
def test_the_rim_is_among_the_nodes(dim: int, degree: int) -> None:
    atlas = atlas_for(Sphere(dim) if dim > 1 else Circle())
    nodes = fitting_nodes(atlas, PolynomialSpace(dim, degree))
    chord = (nodes.x - atlas.centres.unsqueeze(1)).norm(dim=-1) / atlas.radius
    rim = (chord > 1 - 1e-6) & nodes.mask
    assert bool((rim.sum(1) >= (2 if dim == 1 else 2 * degree + 1)).all())
    assert bool(nodes.mask.all())


def test_the_rim_of_a_curved_surface_is_reached_in_every_direction() -> None:
    atlas = atlas_for(Torus(), charts=45)
    nodes = fitting_nodes(atlas, PolynomialSpace(2, 6))
    chord = (nodes.x - atlas.centres.unsqueeze(1)).norm(dim=-1) / atlas.radius
    rim = nodes.mask & (chord > 1 - 1e-5)
    angle = torch.atan2(nodes.z[..., 1], nodes.z[..., 0])
    for n in range(atlas.count):
        found = angle[n, rim[n]].sort().values
        gaps = torch.cat((found.diff(), found[:1] + 2 * math.pi - found[-1:]))
        assert float(gaps.max()) < 0.5


def test_edges_are_among_the_nodes() -> None:
    manifold = MoebiusStrip()
    nodes = fitting_nodes(atlas_for(manifold, charts=8), PolynomialSpace(2, 6))
    v = manifold.coordinates(nodes.x)[..., 1].abs()
    on_edge = (v > manifold.half_width - 1e-7) & nodes.mask
    assert bool((on_edge.sum(1) > 5).all())


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_corners_of_the_cube_are_nodes(dim: int) -> None:
    for space in spaces(dim):
        nodes = fitting_nodes(atlas_for(Cube(dim)), space)
        corners = (nodes.z.abs() == 1).all(-1).sum()
        assert int(corners) == 2**dim


def test_density_and_determinism() -> None:
    atlas = atlas_for(Sphere(2), charts=12)
    space = PolynomialSpace(2, 5)
    assert torch.equal(fitting_nodes(atlas, space).x, fitting_nodes(atlas, space).x)
    assert fitting_nodes(atlas, space, density=2).mask.shape[1] > 3 * fitting_nodes(atlas, space).mask.shape[1]


def test_guards() -> None:
    atlas = atlas_for(Sphere(2), charts=12)
    with pytest.raises(InputError, match="space: expected the dimension 2"):
        fitting_nodes(atlas, PolynomialSpace(1, 4))
    with pytest.raises(InputError, match="density: expected"):
        fitting_nodes(atlas, PolynomialSpace(2, 4), density=0.0)
