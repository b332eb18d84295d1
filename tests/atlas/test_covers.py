"""Covers: the covering radius is proved, not sampled; dense samples must never contradict it."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from construct.atlas import atlas_for, find_cover, proved_radius
from construct.atlas.covering import equal_arcs, farthest_points, optimised
from construct.atlas.nets import NetLadder
from construct.errors import InputError
from construct.manifolds import (
    Circle,
    Cube,
    FlatTorus,
    Helix,
    KleinBottle,
    Manifold,
    MoebiusStrip,
    ProjectedManifold,
    SpecialOrthogonal3,
    Sphere,
    Torus,
    TrefoilKnot,
)
from construct.manifolds.canonical import canonical_form

SAMPLES = 20_000


def sampled_radius(manifold: Manifold, centres: Tensor) -> float:
    """The largest distance of a sampled point to its nearest centre: a lower bound of the covering radius."""
    x = manifold.sample(SAMPLES, seed=11)
    return max(float(torch.cdist(part, centres).amin(1).max()) for part in x.split(4000))


CASES = [
    (Circle(), 5),
    (Circle(2.0, ambient=30), 7),
    (Sphere(2), 12),
    (Sphere(2), 17),
    (Sphere(3), 9),
    (FlatTorus(2), 16),
    (FlatTorus(2), 13),
    (Torus(), 60),
    (TrefoilKnot(), 31),
    (Helix(), 14),
    (MoebiusStrip(), 8),
    (KleinBottle(), 60),
    (SpecialOrthogonal3(), 60),
    (Cube(2), 9),
]


@pytest.mark.parametrize(("manifold", "charts"), CASES, ids=lambda v: v.name if isinstance(v, Manifold) else str(v))
def test_balls_of_the_proved_radius_cover(manifold: Manifold, charts: int) -> None:
    centres, radius = find_cover(manifold, charts=charts)
    assert centres.shape == (charts, manifold.ambient)
    assert bool(manifold.contains(centres).all())
    found = sampled_radius(manifold, centres)
    assert found <= radius
    # and the proof is not idle: a radius 15 % smaller is refuted by samples
    assert found > 0.85 * radius


def test_icosahedron() -> None:
    centres, radius = find_cover(Sphere(2), charts=12)
    assert radius == pytest.approx(0.640852, abs=1e-6)
    gaps = (centres.unsqueeze(1) - centres).norm(dim=-1) + 9 * torch.eye(12)
    assert float(gaps.amin(1).max() - gaps.amin(1).min()) < 1e-8


@pytest.mark.parametrize("charts", [3, 8, 20])
def test_proved_radius_of_a_known_cover(charts: int) -> None:
    """A polygon covers the circle with 2 sin(pi/2k): the net's bound is above, by little."""
    centres, exact = find_cover(Circle(), charts=charts)
    assert exact == pytest.approx(2 * math.sin(math.pi / (2 * charts)), rel=1e-12)
    assert exact * (1 - 1e-12) <= proved_radius(Circle(), centres) <= 1.01 * exact


def test_fewest_charts_for_a_radius() -> None:
    for manifold, wanted in ((Circle(), 0.3), (Sphere(2), 0.5), (MoebiusStrip(), 0.4)):
        centres, radius = find_cover(manifold, wanted)
        assert radius <= wanted
        assert sampled_radius(manifold, centres) <= radius
    assert len(find_cover(Circle(), 0.3)[0]) == 11  # 2 sin(pi/20) = 0.313 > 0.3 >= 2 sin(pi/22)


def test_lloyd_steps_never_worsen_farthest_points() -> None:
    nets = NetLadder(Torus())
    points, slack = nets.finest(4000)
    order, gaps = farthest_points(points, 50)
    assert bool((gaps.diff() <= 0).all())
    assert len(set(order.tolist())) == 50
    assert optimised(nets, 50)[1] <= float(gaps[-1]) + slack


def test_equal_arcs_have_equal_chords_on_a_helix() -> None:
    gaps = equal_arcs(NetLadder(Helix()), 20).diff(dim=0).norm(dim=-1)
    assert float(gaps.max() - gaps.min()) < 1e-3 * float(gaps.max())


def test_covers_are_deterministic_and_do_not_see_the_isometry() -> None:
    centres, radius = find_cover(Torus(), charts=50)
    again, same = find_cover(Torus(), charts=50)
    assert torch.equal(centres, again) and radius == same
    embedded = Torus(ambient=40, seed=3)
    moved, moved_radius = find_cover(embedded, charts=50)
    assert moved_radius == radius
    torch.testing.assert_close(embedded.restrict(moved), centres, rtol=0, atol=1e-12)


def test_canonical_form() -> None:
    embedded = KleinBottle(ambient=25, seed=1)
    plain = canonical_form(embedded)
    assert plain.ambient == 4 and canonical_form(plain) is plain
    x = plain.sample(50, seed=0)
    torch.testing.assert_close(embedded.embed(x), embedded.sample(50, seed=0), rtol=0, atol=1e-12)
    assert bool(((x >= plain.box[0] - 1e-12) & (x <= plain.box[1] + 1e-12)).all())
    assert embedded.ambient == 25 and embedded.frame.shape == (25, 4)


def test_nets_of_the_ladder_grow() -> None:
    nets = NetLadder(Sphere(2))
    sizes = [len(nets.finest(size)[0]) for size in (300, 1000, 10_000)]
    assert sizes == sorted(sizes) and all(s <= w for s, w in zip(sizes, (300, 1000, 10_000), strict=True))
    points, radius = nets.finest(10_000, 0.3)
    assert radius <= 0.3 and len(points) < 1000
    snapped = nets.snap(points[:7] + 1e-9, 10**5)
    assert float((snapped - points[:7]).norm(dim=-1).max()) <= nets.finest(10**5)[1]


def test_guards() -> None:
    with pytest.raises(InputError, match=r"charts: expected enough to cover sphere .*, got 2, whose balls"):
        find_cover(Sphere(2), charts=2)
    with pytest.raises(InputError, match="charts: expected an integer >= 1, got 0"):
        find_cover(Sphere(2), charts=0)
    with pytest.raises(InputError, match="max_core_radius: expected"):
        find_cover(Sphere(2), -0.5)
    with pytest.raises(InputError, match="centres: expected a tensor of shape"):
        proved_radius(Sphere(2), torch.zeros(3, 2, dtype=torch.float64))


def test_fewest_charts_respect_the_limit_when_only_a_projection_is_known() -> None:
    """The proof's net is coarser than the search's here: a cover that only the search admits must not be used.

    The projection fixes the origin, so the set that it describes is the sphere with an isolated point.
    """
    sphere = ProjectedManifold(lambda x: x / x.norm(dim=-1, keepdim=True).clamp_min(1e-12), 2, 3, 1.0, [1.0] * 3)
    atlas = atlas_for(sphere)
    assert atlas.core_radius < atlas.radius < sphere.chart_radius_bound


@pytest.mark.parametrize("count", [1, 7, 300])
def test_farthest_points_are_those_of_the_plain_algorithm(count: int) -> None:
    """Distances are renewed near a new point only; the choice is the same to the last bit."""
    points = torch.randn(2000, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    chosen, gaps = farthest_points(points, count)
    expected = [int((points - points.mean(0)).norm(dim=-1).argmax())]
    distance = (points - points[expected[0]]).square().sum(-1)
    while len(expected) < count:
        expected.append(int(distance.argmax()))
        distance = torch.minimum(distance, (points - points[expected[-1]]).square().sum(-1))
    assert chosen.tolist() == expected and float(gaps[-1]) == float(distance.max().sqrt())
