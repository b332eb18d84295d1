"""How finely a manifold has been looked at: the points of a net, of which a covering radius is proved.

Every point of M is within `radius` of a point of the cover. So nothing that is wider than that, in the unit of x,
escapes a measurement that looks at all of it, and what is narrower may.
"""

from __future__ import annotations

import math
from weakref import WeakKeyDictionary

from construct.errors import InputError
from construct.manifolds import Manifold, Net
from construct.manifolds.canonical import canonical_form
from construct.validation import invalid, positive_integer, positive_real

MOST_POINTS = 2**22
"""Most points of a cover that is asked for by its resolution."""

_known: WeakKeyDictionary[Manifold, dict[tuple[int, float | None], Net | None]] = WeakKeyDictionary()


def cover_of(manifold: Manifold, most: int, resolution: float | None = None) -> Net | None:
    """The finest net of at most `most` points (n, k), in canonical coordinates; with a `resolution` one of at most
    that radius, whatever it takes.

    None where no net of `most` points is known (of projections in a large space). Kept for the next call.

    Raises:
        InputError: a resolution that takes more than `MOST_POINTS` points, or of which no net is known.
    """
    most = positive_integer(most, "most")
    resolution = None if resolution is None else positive_real(resolution, "resolution")
    kept = _known.setdefault(manifold, {})
    key = most, resolution
    if key not in kept:
        finest = _finest(manifold, most)
        enough = resolution is None or (finest is not None and finest.radius <= resolution)
        kept[key] = finest if enough else _of_radius(manifold, finest, positive_real(resolution, "resolution"))
    return kept[key]


def _finest(manifold: Manifold, most: int) -> Net | None:
    """Nets from the coarsest on, each of about twice as many points; of those small enough the finest, and once more
    with what that leaves."""
    flat, finest = canonical_form(manifold), None
    spacing = 2 * manifold.size
    try:
        while len((found := flat.net(spacing)).points) <= most:
            if finest is None or found.radius < finest.radius:
                finest = found
            spacing = min(spacing, found.radius) * 2 ** (-1 / manifold.dim)
        if finest is None:
            return None
        found = flat.net(finest.radius * (len(finest.points) / most) ** (1 / manifold.dim))
    except InputError:  # more numbers than a net may have
        return finest
    assert finest is not None
    return found if found.radius < finest.radius and len(found.points) <= most else finest


def _of_radius(manifold: Manifold, finest: Net | None, resolution: float) -> Net:
    """The net of a radius, where it is affordable: its number of points grows like radius^-d."""
    affordable = f"a resolution that takes at most {MOST_POINTS:,} points on {manifold!r}"
    if finest is None:
        raise invalid("resolution", affordable, got=f"{resolution:g}, for which no net is known")
    needed = math.ceil(len(finest.points) * (finest.radius / resolution) ** manifold.dim)
    if needed > 2 * MOST_POINTS:
        raise invalid("resolution", affordable, got=f"{resolution:g}, which takes about {needed:,}")
    try:
        found = canonical_form(manifold).net(resolution)
    except InputError as error:
        raise invalid("resolution", affordable, got=f"{resolution:g}, which takes about {needed:,}") from error
    if len(found.points) > MOST_POINTS:
        raise invalid("resolution", affordable, got=f"{resolution:g}, which takes {len(found.points):,}")
    return found
