"""Atlas: checked data, charts, neighbours and the two partitions of unity, against naive formulas."""

from __future__ import annotations

import functools
import itertools
import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from construct.atlas import Atlas, ambient_neighbours, atlas_for, candidate_atlases, default_ratio, telescope
from construct.errors import InputError, OffManifoldError
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

CASES: dict[str, tuple[Manifold, int]] = {
    "circle": (Circle(), 8),
    "embedded circle": (Circle(ambient=20, seed=4), 6),
    "sphere": (Sphere(2), 12),
    "sphere of radius 3": (Sphere(2, 3.0), 6),
    "3-sphere": (Sphere(3), 24),
    "flat torus": (FlatTorus(2, (1.0, 0.7)), 40),
    "torus": (Torus(), 60),
    "helix": (Helix(), 14),
    "moebius": (MoebiusStrip(), 10),
    "klein bottle": (KleinBottle(), 60),
    "rotations": (SpecialOrthogonal3(), 60),
    "cube": (Cube(2), 1),
    "cube in cells": (Cube(2), 9),
}


@functools.cache
def atlas_of(name: str) -> Atlas:
    manifold, charts = CASES[name]
    return atlas_for(manifold, charts=charts)


def naive_partition(atlas: Atlas, x: Tensor) -> list[float]:
    """The telescoping partition at one point x (D,), from its formula."""
    inner, outer = atlas.core_radius**2, atlas.radius**2
    total, result = 0.0, []
    for c in atlas.centres:
        w = max(0.0, (outer - math.fsum(((x - c) ** 2).tolist())) / (outer - inner))
        result.append(min(1.0, total + w) - min(1.0, total))
        total += w
    return result


@pytest.mark.parametrize("name", CASES)
def test_partition_is_one_on_the_manifold_and_lives_in_the_balls(name: str) -> None:
    atlas = atlas_of(name)
    x = atlas.manifold.sample(4000, seed=5)
    rho = atlas.partition(x)
    assert float((rho.sum(-1) - 1).abs().max()) < 1e-12
    assert float(rho.min()) >= 0.0
    assert bool((rho[atlas.squared_distance(x).sqrt() > atlas.radius * (1 + 1e-12)] == 0).all())


@pytest.mark.parametrize("name", CASES)
def test_partition_is_the_naive_formula(name: str) -> None:
    atlas = atlas_of(name)
    x = atlas.manifold.sample(20, seed=6) * 1.01  # a little off the manifold too
    expected = torch.tensor([naive_partition(atlas, point) for point in x], dtype=torch.float64)
    torch.testing.assert_close(atlas.partition(x), expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize("name", CASES)
def test_neighbours_are_all_pairs_of_balls_that_meet(name: str) -> None:
    atlas = atlas_of(name)
    gaps = (atlas.centres.unsqueeze(1) - atlas.centres).norm(dim=-1)
    expected = [[m, n] for m in range(atlas.count) for n in range(m + 1, atlas.count) if gaps[m, n] < 2 * atlas.radius]
    assert atlas.neighbours.tolist() == expected
    earlier = [sum(pair[1] == n for pair in expected) for n in range(atlas.count)]
    assert atlas.most_earlier_neighbours == max(earlier)


def test_a_neighbour_left_out_breaks_the_partition() -> None:
    """The negative twin: prefix sums over a graph with one edge missing exceed 1."""
    atlas = atlas_of("sphere")
    x = atlas.manifold.sample(20_000, seed=7)
    w = atlas.bumps(atlas.squared_distance(x))
    for drop, broken in ((None, False), (0, True)):
        total = torch.zeros(len(x), dtype=torch.float64)
        for n in range(atlas.count):
            pairs = [int(m) for k, (m, j) in enumerate(atlas.neighbours.tolist()) if j == n and k != drop]
            s = w[:, pairs].sum(-1)
            total += (1 - s).clamp_min(0) - (1 - s - w[:, n]).clamp_min(0)
        assert (float(total.max()) > 1.1) == broken


@given(st.lists(st.floats(0, 3), min_size=1, max_size=30))
def test_telescope_sums_to_the_clamped_sum(weights: list[float]) -> None:
    w = torch.tensor(weights, dtype=torch.float64)
    rho = telescope(w)
    assert float(rho.min()) >= 0.0
    assert float(rho.sum()) == pytest.approx(min(1.0, math.fsum(weights)), abs=1e-13)
    assert bool((rho <= w + 1e-13).all())


@pytest.mark.parametrize("name", CASES)
def test_scale_bounds_the_chart_coordinates(name: str) -> None:
    atlas = atlas_of(name)
    x = atlas.manifold.sample(20_000, seed=8)
    inside = atlas.squared_distance(x) <= atlas.radius**2
    z = atlas.chart_coordinates(x)
    assert atlas.scale <= atlas.radius * (1 + 1e-12)
    largest = float(z.abs().amax(-1)[inside].max())
    assert largest <= 1 + 1e-9
    assert largest > 0.85  # not idle either


@pytest.mark.parametrize("name", ["circle", "sphere", "sphere of radius 3", "3-sphere", "rotations"])
def test_scale_is_attained_on_symmetric_spaces(name: str) -> None:
    """At the rim |V^T (x - c)| = r sqrt(1 - r^2/(4 R^2)) in every direction."""
    atlas = atlas_of(name)
    d = atlas.manifold.dim
    axes = torch.eye(d, dtype=torch.float64).expand(atlas.count, d, d) * (1 - 1e-9)
    x = atlas.inverse(axes)
    chord = (x - atlas.centres.unsqueeze(1)).norm(dim=-1)
    torch.testing.assert_close(chord, torch.full_like(chord, atlas.radius), rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", CASES)
def test_charts_and_inverse(name: str) -> None:
    atlas = atlas_of(name)
    d = atlas.manifold.dim
    z = 0.5 / math.sqrt(d) * (2 * torch.rand(atlas.count, 5, d, dtype=torch.float64, generator=torch.Generator()) - 1)
    x = atlas.inverse(z)
    n = torch.arange(atlas.count)
    back = atlas.chart_coordinates(x.reshape(-1, x.shape[-1])).reshape(atlas.count, 5, atlas.count, d)[n, :, n]
    torch.testing.assert_close(back, z, rtol=0, atol=1e-9)
    distances = atlas.squared_distance(x.reshape(-1, x.shape[-1]))
    torch.testing.assert_close(
        distances, torch.cdist(x.reshape(-1, x.shape[-1]), atlas.centres) ** 2, rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize("order", [1, 2, 4])
def test_smooth_partition(order: int) -> None:
    atlas = atlas_for(Sphere(2), charts=12, ratio=1.5)
    x = atlas.manifold.sample(5000, seed=9)
    inner = atlas.default_inner_radius
    assert atlas.core_radius < inner < atlas.radius
    rho = atlas.smooth_partition(x, order)
    assert float((rho.sum(-1) - 1).abs().max()) < 1e-12
    assert bool((rho[atlas.squared_distance(x).sqrt() >= inner] == 0).all())
    b = [max(0.0, 1 - float((x[0] - c).square().sum()) / inner**2) ** order for c in atlas.centres]
    torch.testing.assert_close(rho[0], torch.tensor(b, dtype=torch.float64) / sum(b), rtol=1e-12, atol=1e-15)
    assert bool((atlas.smooth_partition(10 * x, order) == 0).all())  # finite far away


def test_smooth_partition_guards() -> None:
    atlas = atlas_of("sphere")
    x = atlas.manifold.sample(3, seed=0)
    with pytest.raises(InputError, match="inner_radius: expected between core_radius"):
        atlas.smooth_partition(x, 2, atlas.radius)
    with pytest.raises(InputError, match="order: expected an integer >= 1, got 0"):
        atlas.smooth_partition(x, 0)


# -- construction and guards ---------------------------------------------------------------------------


def replaced(atlas: Atlas, **changes: Any) -> Atlas:
    names = ("manifold", "centres", "frames", "core_radius", "radius", "scale")
    return Atlas.uniform(**{**{name: getattr(atlas, name) for name in names}, **changes})


def test_atlas_refuses_bad_data() -> None:
    atlas = atlas_of("sphere")
    with pytest.raises(InputError, match=r"radius: expected less than 1\.41421.*got 1\.5"):
        replaced(atlas, radius=1.5)
    with pytest.raises(InputError, match="radius: expected more than core_radius"):
        replaced(atlas, radius=atlas.core_radius)
    with pytest.raises(InputError, match="scale: expected at most radius"):
        replaced(atlas, scale=2 * atlas.radius)
    with pytest.raises(InputError, match="frames: expected orthonormal columns"):
        replaced(atlas, frames=2 * atlas.frames)
    with pytest.raises(InputError, match="frames: expected columns that span the tangent spaces"):
        replaced(atlas, frames=atlas.frames.roll(1, 0))
    with pytest.raises(OffManifoldError, match="centres: expected points on sphere, got 12 of 12"):
        replaced(atlas, centres=1.1 * atlas.centres)
    with pytest.raises(InputError, match="centres: expected a float64 CPU tensor"):
        replaced(atlas, centres=atlas.centres.float())
    with pytest.raises(InputError, match="centres: expected finite"):
        replaced(atlas, centres=atlas.centres * math.nan)
    with pytest.raises(InputError, match="x: expected a float64 tensor of shape"):
        atlas.partition(torch.zeros(4, dtype=torch.float64))
    with pytest.raises(InputError, match="x: expected a float64 tensor"):
        atlas.partition(torch.zeros(4, 3))


def test_atlas_for_guards() -> None:
    with pytest.raises(InputError, match=r"radius: expected less than 1,.*got 1\.2"):
        atlas_for(Torus(), radius=1.2)
    with pytest.raises(InputError, match="charts: expected enough"):
        atlas_for(Sphere(2), charts=12, radius=0.3)
    with pytest.raises(InputError, match="ratio: expected greater than 1"):
        atlas_for(Sphere(2), ratio=1.0)


def test_atlas_for_a_radius() -> None:
    atlas = atlas_for(Sphere(2), radius=0.5)
    assert atlas.radius == 0.5 and atlas.core_radius <= 0.5 / 1.02
    wide = atlas_for(Sphere(2), charts=12, radius=1.2)
    assert wide.count == 12 and wide.radius == 1.2 and wide.core_radius == pytest.approx(0.640852, abs=1e-6)
    cube = atlas_for(Cube(3))
    assert cube.count == 1 and cube.scale == 1.0 and cube.core_radius == pytest.approx(math.sqrt(3))
    assert "Atlas(cube, charts=1" in repr(cube)


@pytest.mark.parametrize("manifold", [Circle(), Sphere(2), Torus(), MoebiusStrip(), Cube(2)], ids=lambda m: m.name)
def test_candidates_grow_geometrically(manifold: Manifold) -> None:
    atlases = list(candidate_atlases(manifold, 90))
    counts = [a.count for a in atlases]
    assert all(a < b for a, b in itertools.pairwise(counts))
    assert all(a.core_radius > b.core_radius for a, b in itertools.pairwise(atlases))
    assert all(b <= max(a + 3, 1.8 * a) for a, b in itertools.pairwise(counts))
    assert all(a.radius < manifold.chart_radius_bound for a in atlases)
    assert all(a.radius / a.core_radius <= default_ratio(a.count) + 1e-12 for a in atlases)


def test_first_candidate_comes_whatever_the_limit() -> None:
    (only,) = list(candidate_atlases(Torus(), 3))
    assert only.count > 30


def test_neighbours_of_one_chart() -> None:
    assert ambient_neighbours(torch.zeros(1, 3, dtype=torch.float64), torch.ones(1, dtype=torch.float64)).shape == (
        0,
        2,
    )


def test_points_off_the_linear_hull() -> None:
    """In R^D the distance to the hull of M counts too, and the chart coordinates do not see it."""
    manifold = Circle(ambient=20, seed=4)
    atlas = atlas_of("embedded circle")
    x = torch.randn(30, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    expected = (x.unsqueeze(1) - atlas.centres).square().sum(-1)
    torch.testing.assert_close(atlas.squared_distance(x), expected, rtol=1e-12, atol=0)
    z = torch.einsum("nDd,pnD->pnd", atlas.frames, x.unsqueeze(1) - atlas.centres) / atlas.scale
    torch.testing.assert_close(atlas.chart_coordinates(x), z, rtol=0, atol=1e-12)
    y, off = atlas.split(manifold.sample(5, seed=0))
    assert y.shape == (5, 2) and float(off.max()) < 1e-30
