"""What can be seen of a target before anything is built: jumps, and features too narrow for a sample.

Jumps. Of neighbouring points of a net those pairs are kept between which the values depart most from a straight line,
and divided again and again, at the golden section, towards the larger difference. What is smooth, or steep, or merely
Hölder, differs less and less; a jump stays. Its two sides are the nearest points that float64 tells apart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

import torch
from scipy.spatial import cKDTree
from torch import Tensor

from construct.manifolds import Manifold
from construct.manifolds.canonical import canonical_form
from construct.measurement.covers import cover_of
from construct.measurement.features import narrow_features
from construct.measurement.seeds import derived_seed
from construct.targets import evaluate_target

NET_POINTS = 4096
LEAST_PAIRS = 64
MOST_DIVISIONS = 160  # 0.62^160 = 1e-33
STRAIGHT_AFTER = 6  # divisions, after which
STRAIGHT = 0.1  # less departure from a straight line, in differences of the ends, is no jump: that has 0.38
GOLDEN = 0.381966
NEAR, TOUCHING = 1e-7, 4e-15  # distances, in units of the largest coordinate
RINGS, NEAREST = 24, 1e-9  # about a point, from its surroundings down to that distance in units of the size of M
KEPT = 0.9  # of the difference over NEAR: what a jump still has when its sides touch
VISIBLE = 1e-6  # of the largest value: lower jumps are rounding

_known: WeakKeyDictionary[Manifold, tuple[Tensor, Tensor, Tensor]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Jump:
    """Two points of M next to each other, left and right (D,), at which the target has different values."""

    left: Tensor
    right: Tensor
    values: tuple[float, float]

    @property
    def height(self) -> float:
        return abs(self.values[1] - self.values[0])

    def __str__(self) -> str:
        place = ", ".join(f"{v:.6g}" for v in self.left[:8].tolist()) + (", ..." if len(self.left) > 8 else "")
        return f"a jump from {self.values[0]:.6g} to {self.values[1]:.6g} at x = ({place})"


@dataclass(frozen=True)
class Survey:
    """watched: points (m, D) that every error search looks at, besides its own. jumps: the highest first."""

    watched: Tensor
    jumps: tuple[Jump, ...] = ()

    def watching(self, points: Tensor) -> Survey:
        """The same with more points (n, D)."""
        return replace(self, watched=torch.cat([self.watched, points]))


def survey(target: Callable[..., Any], manifold: Manifold, radius: float | None) -> Survey:
    """What a look at the target shows; radius: of the cover that is looked at anyway, None if there is none.

    Raises:
        InputError: what `evaluate_target` refuses.
    """
    jumps = find_jumps(target, manifold)
    sides = [side for jump in jumps for side in (jump.left, jump.right)]
    watched = torch.stack(sides) if sides else torch.empty(0, manifold.ambient, dtype=torch.float64)
    narrow = narrow_features(target, manifold, manifold.size if radius is None else radius)
    return Survey(torch.cat([watched, manifold.embed(narrow)]), jumps)


def find_jumps(target: Callable[..., Any], manifold: Manifold) -> tuple[Jump, ...]:
    """The jumps that a net of `NET_POINTS` points brings to light, the highest first."""

    points, first, second = _neighbours(manifold)
    return _bisected(target, manifold, points, first, second)


def jumps_near(target: Callable[..., Any], manifold: Manifold, point: Tensor) -> tuple[Jump, ...]:
    """The jumps between a point (D,) of M and points about it at all distances, the highest first: what a net has
    missed, and a search for the worst point has not."""
    flat, centre = canonical_form(manifold), manifold.restrict(point[None])
    generator = torch.Generator().manual_seed(derived_seed(0, "survey"))
    rays = 4 * manifold.dim
    direction = torch.randn(rays, flat.ambient, generator=generator, dtype=torch.float64)
    direction = torch.cat([direction, -direction]) / direction.norm(dim=1).repeat(2)[:, None]
    size = manifold.size * NEAREST ** torch.linspace(0.1, 1.0, RINGS, dtype=torch.float64)
    around = flat.project((centre[None] + size[:, None, None] * direction).reshape(-1, flat.ambient))
    points = torch.cat([centre, around])
    rings = torch.arange(1, len(points)).reshape(RINGS, -1)
    first = torch.cat([torch.zeros(rings.numel(), dtype=torch.int64), rings[1:].reshape(-1)])
    second = torch.cat([rings.reshape(-1), rings[:-1].reshape(-1)])  # the centre and the next ring, along each ray
    return _bisected(target, manifold, points, first, second)


def _bisected(
    target: Callable[..., Any], manifold: Manifold, points: Tensor, first: Tensor, second: Tensor
) -> tuple[Jump, ...]:
    """The jumps between pairs of points (n, k), the highest first."""

    def values(y: Tensor) -> Tensor:
        return evaluate_target(target, manifold.embed(y))

    f = values(points)
    a, b, fa, fb = points[first], points[second], f[first], f[second]
    scale = float(points.abs().max())
    visible = VISIBLE * float(f.abs().max())
    far = (fb - fa).abs()  # the difference when the sides were NEAR last
    for division in range(MOST_DIVISIONS):
        apart = (b - a).norm(dim=1)
        open_ = apart > TOUCHING * scale
        if not len(a) or not bool(open_.any()):
            break
        m = manifold.restrict(manifold.project(manifold.embed(a + GOLDEN * (b - a))))
        fm = values(m)
        differs, bent = (fb - fa).abs(), (fm - fa - GOLDEN * (fb - fa)).abs()
        to_left = (fm - fa).abs() > (fb - fm).abs()
        nearer = torch.where(to_left, (m - a).norm(dim=1), (b - m).norm(dim=1))
        # a midpoint that does not come between (another sheet of M, or rounding at the end) ends the search of its pair
        moved = open_ & (nearer < apart)
        b, fb = torch.where((moved & to_left)[:, None], m, b), torch.where(moved & to_left, fm, fb)
        a, fa = torch.where((moved & ~to_left)[:, None], m, a), torch.where(moved & ~to_left, fm, fa)
        far = torch.where((b - a).norm(dim=1) > NEAR * scale, (fb - fa).abs(), far)
        kept = bent.argsort(descending=True)[: max(LEAST_PAIRS, len(a) // 2)]
        suspect = (bent >= STRAIGHT * differs) & (differs > visible) if division >= STRAIGHT_AFTER else bent > 0
        kept = kept[suspect[kept] & (moved | ~open_ | ((b - a).norm(dim=1) <= 4 * TOUCHING * scale))[kept]]
        a, b, fa, fb, far = a[kept], b[kept], fa[kept], fb[kept], far[kept]
    height = (fb - fa).abs()
    found = (height > KEPT * far) & (height > visible) & ((b - a).norm(dim=1) <= 4 * TOUCHING * scale)
    order = [int(i) for i in height.argsort(descending=True) if found[i]]
    left, right = manifold.embed(a), manifold.embed(b)
    return tuple(Jump(left[i], right[i], (float(fa[i]), float(fb[i]))) for i in order)


def _neighbours(manifold: Manifold) -> tuple[Tensor, Tensor, Tensor]:
    """Points (n, k) of a net, or of a sample where no net is small enough, and which of them are nearest to each
    other, every pair once. Kept for the next call."""
    if manifold not in _known:
        _known[manifold] = _net_and_pairs(manifold)
    return _known[manifold]


def _net_and_pairs(manifold: Manifold) -> tuple[Tensor, Tensor, Tensor]:
    cover = cover_of(manifold, NET_POINTS)
    if cover is not None and len(cover.points) >= NET_POINTS / 4:
        points = cover.points
    else:
        points = canonical_form(manifold).sample(NET_POINTS, derived_seed(0, "survey"))
    count = 2 * manifold.dim + 1
    near = torch.from_numpy(cKDTree(points.numpy()).query(points.numpy(), k=count)[1])
    first = torch.arange(len(near))[:, None].expand(-1, count - 1).reshape(-1)
    ends = torch.stack([first, near[:, 1:].reshape(-1)], dim=1).sort(dim=1).values.unique(dim=0)
    ends = ends[ends[:, 0] != ends[:, 1]]
    return points, ends[:, 0], ends[:, 1]
