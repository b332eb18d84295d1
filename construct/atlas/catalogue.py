"""Atlases for a manifold: one by specification, or a sequence with more and more charts for a planner."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from construct.atlas.atlas import Atlas, injective_below
from construct.atlas.covering import COVER_MARGIN, MAX_GREEDY, fewest, find_cover, optimised, structured
from construct.atlas.extent import tangent_extent
from construct.atlas.nets import NetLadder
from construct.manifolds import Manifold
from construct.validation import invalid, positive_integer, positive_real

THIN, WIDE = 1.02, 1.05
THIN_UP_TO = 64
GROWTH = 1.3
MOST_CHARTS = 100_000
"""By hand: more than fit into any network that can be evaluated."""
WORTH = 0.98
"""An optimised cover has to shrink the core radius by this factor to become a candidate."""


def default_ratio(charts: int) -> float:
    """radius / core_radius: 1.02 for up to 64 charts, then 1.05.

    A thin collar shrinks the balls, hence the errors, but the slope of w_n grows like 1/((ratio^2 - 1)
    core^2), and with it the largest weight and the rounding of dist^2: 25/core^2 at 1.02, 10/core^2 at 1.05.
    """
    return THIN if charts <= THIN_UP_TO else WIDE


def atlas_for(
    manifold: Manifold,
    *,
    charts: int | None = None,
    core_radius: float | None = None,
    radius: float | None = None,
    ratio: float | None = None,
) -> Atlas:
    """An atlas of `manifold`.

    Args:
        charts: exact number of charts; default: the fewest found for the radii.
        core_radius: largest covering radius admitted.
        radius: ball radius, below manifold.chart_radius_bound; excludes ratio when core_radius or charts is
            given too.
        ratio: radius/core_radius > 1; default `default_ratio`, or less where the bound leaves less room.

    Raises:
        InputError: a radius beyond the chart radius bound, or no cover that fits.
    """
    bound = manifold.chart_radius_bound
    if charts is not None:
        charts = positive_integer(charts, "charts", maximum=MOST_CHARTS)
    for name, given in (("core_radius", core_radius), ("radius", radius)):
        if given is not None and not positive_real(given, name) < bound:
            raise invalid(name, injective_below(manifold), got=f"{given:.6g}")
    if ratio is not None and not positive_real(ratio, "ratio") > 1.0:
        raise invalid("ratio", "greater than 1", ratio)
    limit = core_radius
    if radius is not None:
        room = radius / (ratio or (COVER_MARGIN if charts is not None else THIN))
        limit = room if limit is None else min(limit, room)
    centres, core = find_cover(manifold, limit, charts)
    if radius is None:
        radius = collar(core, bound, ratio or default_ratio(len(centres)))
    return tangent_atlas(manifold, centres, core, radius)


def tangent_atlas(
    manifold: Manifold, centres: Tensor, core_radius: float, radius: float, nets: NetLadder | None = None
) -> Atlas:
    """The atlas of balls around centres (n, D): the frames are the manifold's tangent bases, the scale is their
    `tangent_extent`.
    """
    frames = manifold.tangent_basis(centres)
    scale = tangent_extent(manifold, centres, frames, radius, nets)
    return Atlas.uniform(manifold, centres, frames, core_radius, radius, scale)


def collar(core_radius: float, bound: float, ratio: float) -> float:
    """Ball radius: ratio * core_radius, or half way to the bound where that leaves less room."""
    wanted = core_radius * ratio
    return wanted if wanted < bound else 0.5 * (core_radius + bound)


def candidate_atlases(
    manifold: Manifold, max_charts: int = 1000, *, ratio: float | None = None, growth: float = GROWTH
) -> Iterator[Atlas]:
    """Atlases with more and more charts and smaller and smaller core radii, from the fewest charts on.

    Counts grow by about `growth`; a structured cover in the window is taken, otherwise an optimised one.
    Lazy. The first comes in any case, even where `max_charts` does not admit it.
    """
    max_charts = positive_integer(max_charts, "max_charts")
    if not growth > 1.0:
        raise invalid("growth", "greater than 1", growth)
    nets = NetLadder(manifold)
    for centres, core in _candidate_covers(manifold, nets, max_charts, growth):
        radius = collar(core, manifold.chart_radius_bound, ratio or default_ratio(len(centres)))
        yield tangent_atlas(manifold, centres, core, radius, nets)


def _candidate_covers(
    manifold: Manifold, nets: NetLadder, max_charts: int, growth: float
) -> Iterator[tuple[Tensor, float]]:
    """Covers (centres (n, D), proved radius) with strictly growing counts and strictly falling radii."""
    limit = manifold.chart_radius_bound / COVER_MARGIN
    centres, core = fewest(manifold, nets, limit)
    regular = [found for found in structured(manifold, max_charts) if found[1] <= limit]
    target = len(centres)
    while True:
        yield centres, core
        last, smallest = len(centres), core
        following = None
        while following is None:
            if target >= min(max_charts, MAX_GREEDY):
                return
            target = min(max(target + 1, round(target * growth)), max_charts)
            window = [found for found in regular if last < len(found[0]) <= target and found[1] < smallest]
            if window:
                following = window[-1]
            else:
                found = optimised(nets, target)
                if found[1] < WORTH * smallest:
                    following = manifold.embed(found[0]), found[1]
        centres, core = following
        target = len(centres)
