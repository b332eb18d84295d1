"""Covers and charts whose radii and scales differ from chart to chart, against naive formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from construct.atlas import Atlas, ChartCoordinates, Cover, find_cover
from construct.errors import InputError, OffManifoldError
from construct.local import PiecewiseApproximator, PolynomialSpace
from construct.manifolds import Circle, Manifold, Sphere

MANIFOLDS: dict[str, Manifold] = {
    "circle": Circle(1.5),
    "sphere": Sphere(2),
    "circle in R^7": Circle(ambient=7, seed=1),
    "sphere in R^9": Sphere(2, ambient=9, seed=2),
}
CENTRES = {name: find_cover(manifold, charts=7) for name, manifold in MANIFOLDS.items()}

drawn = given(name=st.sampled_from(list(MANIFOLDS)), seed=st.integers(0, 10**6))


def uniform(seed: int, *shape: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).random(shape))


def unequal(name: str, seed: int) -> Atlas:
    """Core radii from the covering radius, which is enough to cover, up to half of the room below the bound."""
    manifold, (centres, core) = MANIFOLDS[name], CENTRES[name]
    room = manifold.chart_radius_bound - core
    core_radii = core + 0.5 * room * uniform(seed, len(centres))
    radii = core_radii + (0.01 + 0.48 * uniform(seed + 1, len(centres))) * room
    scales = radii * (0.3 + 0.7 * uniform(seed + 2, len(centres)))
    charts = ChartCoordinates(manifold, centres, manifold.tangent_basis(centres), scales)
    return Atlas(Cover(manifold, centres, core_radii, radii), charts)


def weights(cover: Cover, x: Tensor) -> np.ndarray:
    """Bumps (n,) at one point, from their formula."""
    found = []
    for c, core, r in zip(cover.centres, cover.core_radii.tolist(), cover.radii.tolist(), strict=True):
        found.append(max(0.0, (r**2 - math.fsum(((x - c) ** 2).tolist())) / (r**2 - core**2)))
    return np.array(found)


@drawn
@settings(max_examples=25, deadline=None)
def test_partitions(name: str, seed: int) -> None:
    atlas = unequal(name, seed)
    cover = atlas.cover
    x = atlas.manifold.sample(400, seed)
    rho, smooth = cover.partition(x), cover.smooth_partition(x, 3)
    distance = torch.cdist(x, cover.centres, compute_mode="donot_use_mm_for_euclid_dist")
    for values, radii in ((rho, cover.radii), (smooth, cover.default_inner_radii)):
        assert float((values.sum(-1) - 1).abs().max()) < 1e-12
        assert bool((values[distance > radii * (1 + 1e-12)] == 0).all()) and float(values.min()) >= 0
    torch.testing.assert_close(cover.squared_distance(x), distance**2, rtol=1e-9, atol=1e-12)
    for point, found, smoothed in zip(1.01 * x[:5], cover.partition(1.01 * x[:5]), smooth, strict=False):
        clamped = np.minimum(1.0, np.concatenate([[0.0], weights(cover, point).cumsum()]))
        np.testing.assert_allclose(found.numpy(), np.diff(clamped), atol=1e-11)
        assert bool((cover.core_radii < cover.default_inner_radii).all()) and smoothed.shape == (cover.count,)
    own = [max(0.0, 1 - float(d / r) ** 2) ** 3 for d, r in zip(distance[0], cover.default_inner_radii, strict=True)]
    np.testing.assert_allclose(smooth[0].numpy(), np.array(own) / sum(own), atol=1e-10)


@drawn
@settings(max_examples=25, deadline=None)
def test_neighbours_are_the_pairs_of_balls_that_meet(name: str, seed: int) -> None:
    manifold = MANIFOLDS[name]
    centres = manifold.sample(40, seed)
    radii = 0.02 + 0.4 * uniform(seed, 40)
    cover = Cover(manifold, centres, 0.5 * radii, radii)
    gaps = (centres.unsqueeze(1) - centres).norm(dim=-1)
    met = (gaps < radii.unsqueeze(1) + radii).triu(1)
    assert cover.neighbours.tolist() == met.nonzero().tolist()
    assert cover.most_earlier_neighbours == int(met.sum(0).max())


@drawn
@settings(max_examples=25, deadline=None)
def test_coordinates_and_inverse(name: str, seed: int) -> None:
    atlas = unequal(name, seed)
    charts, d = atlas.coordinates, atlas.manifold.dim
    z = (2 * uniform(seed + 3, charts.count, 6, d) - 1) * 0.6 / math.sqrt(d)
    x = charts.inverse(z)
    back = charts.chart_coordinates(x.flatten(0, 1)).reshape(charts.count, 6, charts.count, d)
    each = torch.arange(charts.count)
    torch.testing.assert_close(back[each, :, each], z, rtol=0, atol=1e-9)
    naive = [
        frame.T @ (x[0, 0] - c) / s for frame, c, s in zip(charts.frames, charts.centres, charts.scales, strict=True)
    ]
    torch.testing.assert_close(back[0, 0], torch.stack(naive), rtol=0, atol=1e-11)


@pytest.mark.parametrize("name", list(MANIFOLDS))
@pytest.mark.parametrize("dense", [True, False])
def test_the_blend_is_the_sum_over_all_charts(name: str, dense: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("construct.local.piecewise.DENSE_CHARTS", 10**6 if dense else 0)
    atlas = unequal(name, 5)
    space = PolynomialSpace(atlas.manifold.dim, 3)
    coefficients = uniform(6, atlas.count, space.count)
    x = atlas.manifold.sample(200, 7)
    each = space.evaluate(atlas.chart_coordinates(x).clamp(-1, 1))
    expected = (atlas.partition(x) * (each * coefficients).sum(-1)).sum(-1)
    torch.testing.assert_close(PiecewiseApproximator(atlas, space, coefficients)(x), expected, rtol=0, atol=1e-12)


def test_bumps_of_chosen_charts() -> None:
    cover = unequal("sphere", 3).cover
    squared = cover.squared_distance(cover.manifold.sample(5, 0))
    charts = torch.tensor([4, 0, 6])
    assert torch.equal(cover.bumps(squared[2, charts], charts), cover.bumps(squared)[2, charts])


def test_common_values_need_equal_charts() -> None:
    atlas = unequal("sphere", 4)
    for name in ("radius", "core_radius", "scale", "default_inner_radius"):
        with pytest.raises(InputError, match=rf"^{name}: expected the same value in every chart, got 0\.\d+\.\.[01]"):
            getattr(atlas, name)
    assert ".." in repr(atlas) and ".." in repr(atlas.cover) and "charts=7" in repr(atlas.coordinates)


def test_guards() -> None:
    atlas = unequal("sphere", 8)
    cover, charts = atlas.cover, atlas.coordinates
    manifold, centres, cores, radii = cover.manifold, cover.centres, cover.core_radii, cover.radii
    swapped = torch.where(torch.arange(7) == 2, radii, cores)
    with pytest.raises(InputError, match=r"radius: expected more than core_radius = .* > 0, got .* in chart 2"):
        Cover(manifold, centres, swapped, radii)
    with pytest.raises(InputError, match=r"radii: expected a float64 CPU tensor of shape \(7,\), got .* \(6,\)"):
        Cover(manifold, centres, cores, radii[1:])
    with pytest.raises(InputError, match="core_radii: expected finite entries, got 7 that are NaN"):
        Cover(manifold, centres, cores * math.nan, radii)
    with pytest.raises(InputError, match=r"centres: expected a tensor of shape \(n, 3\), n >= 1"):
        Cover(manifold, centres[:0], cores[:0], radii[:0])
    with pytest.raises(OffManifoldError, match="centres: expected points on sphere, got 7 of 7 that are not"):
        ChartCoordinates(manifold, 1.2 * centres, charts.frames, charts.scales)
    with pytest.raises(InputError, match=r"scale: expected a number > 0, got 0\.0"):
        ChartCoordinates(manifold, centres, charts.frames, 0 * charts.scales)
    with pytest.raises(InputError, match=r"z: expected a tensor of shape \(7, q, 2\)"):
        charts.inverse(torch.zeros(6, 1, 2, dtype=torch.float64))
    with pytest.raises(InputError, match=r"scale: expected at most radius = .* in chart 6"):
        scales = torch.where(torch.arange(7) == 6, 1.1 * radii, charts.scales)
        Atlas(cover, ChartCoordinates(manifold, centres, charts.frames, scales))
    with pytest.raises(InputError, match="coordinates: expected charts with the manifold and the centres of the cover"):
        flipped = centres.flip(0)
        Atlas(cover, ChartCoordinates(manifold, flipped, manifold.tangent_basis(flipped), charts.scales))
    with pytest.raises(InputError, match=r"inner_radius: expected between core_radius = .* in chart 3"):
        inner = torch.where(torch.arange(7) == 3, radii, 0.5 * (cores + radii))
        cover.smooth_partition(centres, 1, inner)


def nested(name: str, seed: int) -> Cover:
    """Balls of very different radii, some about one point."""
    manifold = MANIFOLDS[name]
    centres = manifold.sample(12, seed)
    centres[1:5] = centres[0]
    order = torch.from_numpy(np.random.default_rng(seed).permutation(12))
    radii = (0.8 * manifold.chart_radius_bound * 10.0 ** (-3 * uniform(seed + 1, 12)))[order]
    return Cover(manifold, centres[order], radii * (0.9 + 0.09 * uniform(seed + 2, 12)), radii)


@drawn
@settings(max_examples=15, deadline=None)
def test_prefix_pairs_make_the_same_partition(name: str, seed: int) -> None:
    """rho_n with the cut-offs of the prefix pairs alone, against that with all earlier ones, in all of R^D."""
    cover = nested(name, seed)
    kept = {tuple(pair) for pair in cover.prefix_pairs.tolist()}
    assert kept <= {tuple(pair) for pair in cover.neighbours.tolist()}
    generator = torch.Generator().manual_seed(seed)
    x = cover.centres.repeat(40, 1)
    x = x + 10 ** (-4 * torch.rand(len(x), 1, generator=generator, dtype=torch.float64)) * torch.randn(
        x.shape, generator=generator, dtype=torch.float64
    )
    for point in x[:: max(1, len(x) // 120)]:
        w = weights(cover, point)
        for n in range(cover.count):
            sums = w[:n].sum(), sum(w[m] for m in range(n) if (m, n) in kept)
            full, some = (min(1.0, s + w[n]) - min(1.0, s) for s in sums)
            assert abs(full - some) < 1e-12


def test_of_balls_about_one_point_only_the_last_is_in_a_prefix() -> None:
    circle = Circle()
    radii = torch.tensor([0.01, 0.1, 0.5, 1.2], dtype=torch.float64)
    cover = Cover(circle, circle.sample(1, 0).repeat(4, 1), 0.95 * radii, radii)
    assert len(cover.neighbours) == 6
    assert cover.prefix_pairs.tolist() == [[0, 1], [1, 2], [2, 3]]
    even = Cover(circle, circle.sample(9, 0), torch.full((9,), 0.4).double(), torch.full((9,), 0.5).double())
    assert cover.neighbours is not cover.prefix_pairs and even.prefix_pairs is even.neighbours


@pytest.mark.parametrize("name", list(MANIFOLDS))
def test_an_atlas_of_balls(name: str) -> None:
    manifold, (centres, core) = MANIFOLDS[name], CENTRES[name]
    radii = core * 1.02 + 0.3 * (manifold.chart_radius_bound - core) * uniform(3, len(centres))
    atlas = Atlas.of_balls(manifold, centres, radii / 1.02, radii)
    assert not atlas.even and torch.equal(atlas.cover.radii, radii)
    x = manifold.sample(500, 4)
    assert bool(atlas.cover.covers(x).all()) and not bool(atlas.cover.covers(3 * x).any())
    inside = atlas.squared_distance(x) <= radii**2
    assert float(atlas.chart_coordinates(x).abs().amax(-1)[inside].max()) <= 1 + 1e-12
    one = Atlas.of_balls(manifold, centres[:1], radii[:1] / 1.02, radii[:1])
    assert one.even and one.radius == float(radii[0])
    hole = atlas.cover.covers(x) & ~one.cover.covers(x)
    assert bool(hole.any())
