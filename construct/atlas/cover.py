"""Covers of a manifold by balls of one radius, with a proved covering radius.

A structured cover (platonic solids, grids of a torus, ...) comes with its radius in closed form. Any other is a
k-centre problem on a net: farthest-point insertion (Gonzalez 1985, at most twice the optimum), then a few Lloyd steps
that move every centre to the centre of the smallest ball around its cell (Badoiu and Clarkson 2003). Sampling would
leave holes; here every point of M is within `net.radius` of a net point, so the largest distance from the net to the
nearest centre plus `net.radius` bounds the distance of every point of M.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from construct.atlas.nets import canonical_form, nearest, net_of_size
from construct.errors import InputError
from construct.manifolds import Manifold

COVER_MARGIN = 1.005
"""A cover is admissible when this multiple of its radius is below the chart radius bound: room for a collar."""
LLOYD_STEPS = 12
BALL_STEPS = 24
MAX_STRUCTURED = 20_000
MAX_GREEDY = 5_000
SEARCH_POINTS = 20_000
PROOF_POINTS = 150_000


def proved_radius(manifold: Manifold, centres: Tensor, *, points: int = PROOF_POINTS) -> float:
    """A proved bound on sup_(x in M) min_n |x - c_n| for centres (n, D), from a net of about that many points."""
    if centres.ndim != 2 or centres.shape[-1] != manifold.ambient:
        raise InputError(f"centres must have the shape (n, {manifold.ambient}); got {tuple(centres.shape)}")
    plain, centres = canonical_form(manifold), manifold.restrict(centres)
    guess = float(nearest(_coarse_net(plain)[0], centres)[0].max())
    fine, slack = net_of_size(plain, max(guess / 4, 1e-6), points, floor=max(guess, 1e-6) / 150)
    return (float(nearest(fine, centres)[0].max()) + slack) * (1 + 1e-12)


def _coarse_net(manifold: Manifold) -> tuple[Tensor, float]:
    spacing = 0.25 * min(manifold.chart_radius_bound, float(2 * manifold.box.norm()))
    return net_of_size(manifold, spacing, 2_000, floor=spacing / 50)


def farthest_points(points: Tensor, count: int, gap: float = 0.0) -> tuple[Tensor, Tensor]:
    """Farthest-point insertion on points (m, D): numbers of the chosen ones (k,), and the covering radius of the
    points after each insertion (k,). Stops at `count` or when the radius is at most `gap`. Deterministic.
    """
    start = int((points - points.mean(0)).norm(dim=-1).argmax())
    chosen, gaps = [start], []
    distance = (points - points[start]).square().sum(-1)
    while True:
        far = int(distance.argmax())
        gaps.append(math.sqrt(float(distance[far])))
        if len(chosen) >= count or gaps[-1] <= gap or gaps[-1] == 0.0:
            break
        chosen.append(far)
        distance = torch.minimum(distance, (points - points[far]).square().sum(-1))
    return torch.tensor(chosen), torch.tensor(gaps, dtype=torch.float64)


def refine(manifold: Manifold, points: Tensor, centres: Tensor, *, steps: int = LLOYD_STEPS) -> Tensor:
    """Lloyd steps for the k-centre problem on points (m, D) from centres (n, D) on M; never a worse cover."""
    best = current = centres
    best_gap = math.inf
    for _ in range(steps):
        distance, cell = nearest(points, current)
        gap = float(distance.max())
        if gap < best_gap:
            best, best_gap = current, gap
        current = manifold.project(enclosing_centres(points, cell, current))
    gap = float(nearest(points, current)[0].max())
    return current if gap < best_gap else best


def enclosing_centres(points: Tensor, cell: Tensor, centres: Tensor) -> Tensor:
    """Approximate centres (n, D) of the smallest balls around the cells {points[cell == n]}, by steps of length
    1/(k+1) towards the farthest point; a cell without points keeps its centre.
    """
    for k in range(1, BALL_STEPS + 1):
        distance = (points - centres[cell]).square().sum(-1)
        largest = torch.full((len(centres),), -1.0, dtype=points.dtype).scatter_reduce_(0, cell, distance, "amax")
        hits = (distance == largest[cell]).nonzero().squeeze(-1).flip(0)
        far = centres.clone()
        far[cell[hits]] = points[hits]
        centres = centres + (far - centres) / (k + 1)
    return centres


def structured(manifold: Manifold, most: int) -> Iterator[tuple[Tensor, float]]:
    """The structured covers of the manifold with at most that many charts, in increasing number."""
    for found in manifold.covers():
        if len(found.centres) > most:
            return
        yield found.centres, float(found.radius)


def optimised(manifold: Manifold, charts: int, *, points: int = PROOF_POINTS) -> tuple[Tensor, float]:
    """A cover by exactly that many balls from farthest points and Lloyd steps: (centres (n, D), proved radius)."""
    plain = canonical_form(manifold)
    _, gaps = farthest_points(_coarse_net(plain)[0], charts)
    wanted = max(SEARCH_POINTS // 4, 60 * charts)
    net, _ = net_of_size(plain, max(float(gaps[-1]) / 3, 1e-6), wanted, floor=1e-9)
    order, _ = farthest_points(net, charts)
    if len(order) < charts:
        raise InputError(f"charts must be at most the {len(order)} points of the net; got {charts}")
    centres = refine(plain, net, net[order])
    return manifold.embed(centres), proved_radius(plain, centres, points=points)


def cover(
    manifold: Manifold, max_core_radius: float | None = None, charts: int | None = None
) -> tuple[Tensor, float]:
    """Centres (n, D) and a proved covering radius: every point of M is within it of a centre.

    Args:
        max_core_radius: the largest covering radius wanted; default: what the chart radius bound admits.
        charts: exact number of charts; default: as few as found for the radius.

    Raises:
        InputError: no cover with that many charts is that fine, or more than MAX_GREEDY charts were needed.
    """
    limit = manifold.chart_radius_bound / COVER_MARGIN
    if max_core_radius is not None:
        if not 0.0 < max_core_radius:
            raise InputError(f"max_core_radius must be positive; got {max_core_radius}")
        limit = min(limit, float(max_core_radius))
    if charts is not None:
        if charts < 1:
            raise InputError(f"charts must be an integer, at least 1; got {charts}")
        found = _with_count(manifold, charts)
        if found[1] > limit:
            raise InputError(
                f"charts must be more: {charts} balls cover {manifold.name} with radius {found[1]:.6g}, more than "
                f"the admissible {limit:.6g} (chart radius bound {manifold.chart_radius_bound:.6g})"
            )
        return found
    return fewest(manifold, limit)


def _with_count(manifold: Manifold, charts: int) -> tuple[Tensor, float]:
    for centres, radius in structured(manifold, charts):
        if len(centres) == charts:
            return centres, radius
    return optimised(manifold, charts)


def fewest(manifold: Manifold, limit: float) -> tuple[Tensor, float]:
    """The cover of proved radius <= limit with the fewest charts that was found, structured or optimised."""
    before, regular = 0, None
    for centres, radius in structured(manifold, MAX_STRUCTURED):
        if radius <= limit:
            regular = (centres, radius)
            break
        before = len(centres)
    most = len(regular[0]) - 1 if regular is not None else MAX_GREEDY
    if regular is not None and most <= before:
        return regular
    plain = canonical_form(manifold)
    net, slack = net_of_size(plain, limit / 3, SEARCH_POINTS, floor=limit / 20)
    order, gaps = farthest_points(net, most, gap=0.9 * limit - slack)
    best = regular
    if float(gaps[-1]) + slack <= limit:
        best = manifold.embed(net[order]), proved_radius(plain, net[order])
    # Lloyd steps gain 10 to 25 % of the radius, so fewer charts than farthest points need may do
    for count in _descending(len(order)):
        centres, radius = optimised(manifold, count, points=PROOF_POINTS // 3)
        if radius > limit:
            break
        best = centres, radius
    if best is None:
        raise InputError(
            f"max_core_radius must be larger: a cover of {manifold.name} by balls of radius {limit:.6g} takes more "
            f"than {MAX_GREEDY} charts"
        )
    return best


def _descending(start: int) -> Iterator[int]:
    """Chart counts from start down to 1 in steps of about 7 %."""
    count = start
    while count >= 1:
        yield count
        count -= max(1, count // 14)
