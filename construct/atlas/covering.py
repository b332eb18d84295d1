"""Covers of a manifold by balls of one radius, with a proved covering radius.

A structured cover (platonic solids, grids of a torus, ...) comes with its radius in closed form. Any other is
a k-centre problem on a net: farthest-point insertion (Gonzalez 1985, at most twice the optimum; equal arcs on
a curve), then, except on curves, Lloyd steps that move every centre to the centre of the smallest ball around
its cell (Badoiu and Clarkson 2003). Sampling would leave holes; here every point of M is within `radius` of a
net point, so the largest distance from the net to the nearest centre plus that radius bounds the distance of
every point of M.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from scipy.spatial import cKDTree
from torch import Tensor

from construct.atlas.nets import NetLadder, nearest
from construct.errors import InputError
from construct.manifolds import Manifold
from construct.progress import tick
from construct.validation import invalid, positive_integer, positive_real, shaped

COVER_MARGIN = 1.005
"""A cover is admissible if this multiple of its radius is below the chart radius bound: room for a collar."""
LLOYD_STEPS = 30
PATIENCE = 6
BALL_STEPS = 10
FIRST_STEP = 3
LLOYD_GAIN = 0.78
"""Lloyd steps usually do with this share of the charts that farthest points need."""
MAX_STRUCTURED = 20_000
MAX_GREEDY = 5_000
SEARCH_POINTS = 4_000
SEARCH_POINTS_PER_CHART = 100
PROOF_POINTS = 150_000
FINEST = 1 / 150
FINEST_CURVE = 1 / 2000
"""Proof nets need not be finer than this part of the covering radius."""


def proved_radius(manifold: Manifold, centres: Tensor) -> float:
    """A proved bound on sup_(x in M) min_n |x - c_n| for centres (n, D), from a net of M."""
    centres = manifold.restrict(shaped(centres, "centres", manifold.ambient))
    return _proved(NetLadder(manifold), centres)


def _proved(nets: NetLadder, centres: Tensor) -> float:
    coarse, _ = nets.finest(1000)
    guess = float(nearest(coarse, centres)[0].max())
    fine, slack = nets.finest(PROOF_POINTS, guess * (FINEST if nets.manifold.dim > 1 else FINEST_CURVE))
    return (float(nearest(fine, centres)[0].max()) + slack) * (1 + 1e-12)


def farthest_points(points: Tensor, count: int, gap: float = 0.0) -> tuple[Tensor, Tensor]:
    """Farthest-point insertion on points (m, D): numbers of the chosen ones (k,), and the covering radius of
    the points after each insertion (k,). Stops at `count` or when the radius is at most `gap`. Deterministic.
    """
    start = int((points - points.mean(0)).norm(dim=-1).argmax())
    chosen, gaps = [start], list[float]()
    distance = (points - points[start]).square().sum(-1)
    tree = cKDTree(points.numpy())
    while True:
        tick(len(chosen) / count)
        far = int(distance.argmax())
        gaps.append(math.sqrt(float(distance[far])))
        if len(chosen) >= count or gaps[-1] <= gap or gaps[-1] == 0.0:
            break
        chosen.append(far)
        # no point farther than the gap from the new one can have become nearer to the chosen ones
        near = tree.query_ball_point(points[far].numpy(), gaps[-1] * (1 + 1e-9))
        if len(near) > len(points) // 4:
            distance = torch.minimum(distance, (points - points[far]).square().sum(-1))
        else:
            index = torch.as_tensor(near)
            distance[index] = torch.minimum(distance[index], (points[index] - points[far]).square().sum(-1))
    return torch.tensor(chosen), torch.tensor(gaps, dtype=torch.float64)


def equal_arcs(nets: NetLadder, charts: int) -> Tensor:
    """Centres (n, k) of n arcs of equal length of a curve."""
    manifold = nets.manifold
    low, high = manifold.coordinate_bounds[0].tolist()
    if math.isnan(low):  # no coordinates
        return _walked_arcs(nets, charts)
    u = torch.linspace(low, high, 20_000 + 50 * charts, dtype=torch.float64).unsqueeze(-1)
    length = torch.cat((u.new_zeros(1), manifold.point(u).diff(dim=0).norm(dim=-1).cumsum(0)))
    wanted = (torch.arange(charts, dtype=torch.float64) + 0.5) / charts * length[-1]
    return manifold.point(u[torch.searchsorted(length, wanted)])


def _walked_arcs(nets: NetLadder, charts: int) -> Tensor:
    """The same along the components of a curve, each with its share of the charts, one at least; maybe fewer or more
    than `charts` in all, if there are many components."""
    walks, centres = nets.walks, []
    lengths = [torch.cat((w.new_zeros(1), w.diff(dim=0).norm(dim=-1).cumsum(0))) for w in walks]
    total = sum(float(length[-1]) for length in lengths)
    left = charts
    for walk, length in zip(walks, lengths, strict=True):
        count = max(1, round(left * float(length[-1]) / total)) if total > 0 else 1
        left, total = left - count, total - float(length[-1])
        wanted = (torch.arange(count, dtype=torch.float64) + 0.5) / count * length[-1]
        at = torch.searchsorted(length, wanted).clamp(1, max(1, len(length) - 1))
        if len(walk) == 1:
            centres.append(walk)
            continue
        share = (wanted - length[at - 1]) / (length[at] - length[at - 1])
        centres.append(nets.manifold.project(torch.lerp(walk[at - 1], walk[at], share.unsqueeze(-1))))
    return torch.cat(centres)


def refine(nets: NetLadder, points: Tensor, centres: Tensor, *, steps: int = LLOYD_STEPS) -> Tensor:
    """Lloyd steps for the k-centre problem on points (m, k) from centres (n, k); never a worse cover of them.

    Centres stay on M: they are points of the finest net.
    """
    best, best_gap = centres, float(nearest(points, centres)[0].max())
    current, idle = centres, 0
    for step in range(steps):
        tick(step / steps)
        _, cell = nearest(points, current)
        current = nets.snap(enclosing_centres(points, cell, current), PROOF_POINTS)
        gap = float(nearest(points, current)[0].max())
        idle = 0 if gap < 0.998 * best_gap else idle + 1
        if gap < best_gap:
            best, best_gap = current, gap
        if idle >= PATIENCE:
            break
    return best


def enclosing_centres(points: Tensor, cell: Tensor, centres: Tensor) -> Tensor:
    """Approximate centres (n, k) of the smallest balls around the cells {points[cell == n]}: from the given
    centres, steps of length 1/(j+1) towards the farthest point. A cell without points keeps its centre.
    """
    for j in range(FIRST_STEP, FIRST_STEP + BALL_STEPS):
        tick()
        distance = (points - centres[cell]).square().sum(-1)
        largest = torch.full((len(centres),), -1.0, dtype=points.dtype).scatter_reduce_(0, cell, distance, "amax")
        hits = (distance == largest[cell]).nonzero().squeeze(-1).flip(0)
        far = centres.clone()
        far[cell[hits]] = points[hits]
        centres = centres + (far - centres) / (j + 1)
    return centres


def structured(manifold: Manifold, most: int) -> Iterator[tuple[Tensor, float]]:
    """The structured covers of the manifold with at most that many charts, in increasing number."""
    for found in manifold.covers():
        if len(found.centres) > most:
            return
        yield found.centres, float(found.radius)


def optimised(nets: NetLadder, charts: int) -> tuple[Tensor, float]:
    """A cover by exactly that many balls: (centres (n, k) in canonical coordinates, proved radius)."""
    if nets.manifold.dim == 1:
        centres = equal_arcs(nets, charts)
        return centres, _proved(nets, centres)
    points, _ = nets.finest(max(SEARCH_POINTS, SEARCH_POINTS_PER_CHART * charts))
    order, _ = farthest_points(points, charts)
    if len(order) < charts:
        raise invalid("charts", f"at most {len(order)}, the points of the net", charts)
    centres = refine(nets, points, points[order])
    return centres, _proved(nets, centres)


def find_cover(
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
        limit = min(limit, positive_real(max_core_radius, "max_core_radius"))
    nets = NetLadder(manifold)
    if charts is None:
        return fewest(manifold, nets, limit)
    centres, radius = _with_count(manifold, nets, positive_integer(charts, "charts"))
    if radius > limit:
        bound = manifold.chart_radius_bound
        expected = f"enough to cover {manifold.name} by balls of radius {limit:.6g} (chart radius bound {bound:.6g})"
        raise invalid("charts", expected, got=f"{charts}, whose balls have radius {radius:.6g}")
    return centres, radius


def _with_count(manifold: Manifold, nets: NetLadder, charts: int) -> tuple[Tensor, float]:
    for centres, radius in structured(manifold, charts):
        if len(centres) == charts:
            return centres, radius
    centres, radius = optimised(nets, charts)
    return manifold.embed(centres), radius


def fewest(manifold: Manifold, nets: NetLadder, limit: float) -> tuple[Tensor, float]:
    """The cover of proved radius <= limit with the fewest charts that was found, structured or optimised.

    The count of the optimised covers is bracketed to 7 %.
    """
    before, best = 0, None
    for centres, radius in structured(manifold, MAX_STRUCTURED):
        if radius <= limit:
            best = (centres, radius)
            break
        before = len(centres)
    most = len(best[0]) - 1 if best is not None else MAX_GREEDY
    if best is not None and most <= before:
        return best
    points, slack = nets.finest(SEARCH_POINTS * 8, limit / 20)
    order, gaps = farthest_points(points, most, gap=0.9 * limit - slack)
    if float(gaps[-1]) + slack <= limit:
        radius = _proved(nets, points[order])
        if radius <= limit:  # the proof has a net of its own, whose slack may be larger
            best = manifold.embed(points[order]), radius
    failed, count = 0, max(1, round(LLOYD_GAIN * len(order)))
    while best is None or len(best[0]) - failed > max(1, len(best[0]) // 14):
        centres, radius = optimised(nets, count)
        if radius <= limit:
            best = manifold.embed(centres), radius
        else:
            failed = count
        if best is None:
            count = round(1.3 * count) + 1
            if count > MAX_GREEDY:
                raise _too_many(manifold, limit)
        else:
            count = (failed + len(best[0])) // 2 if failed else max(1, round(0.85 * len(best[0])))
    return best


def _too_many(manifold: Manifold, limit: float) -> InputError:
    """The error about what made the radius so small: the manifold's reach, or the radius that was asked for."""
    if limit >= manifold.chart_radius_bound / COVER_MARGIN:
        expected = f"one that {MAX_GREEDY:,} balls cover whose radius is below its reach"
        return invalid("manifold", expected, got=f"{manifold!r}: a larger reach, if that is true, needs fewer")
    return invalid("max_core_radius", f"one with which {MAX_GREEDY:,} balls cover {manifold.name}", got=f"{limit:.6g}")
