"""How many charts a manifold takes at least, whatever the cover: by points that no ball holds two of."""

from __future__ import annotations

from construct.manifolds import Manifold
from construct.measurement import cover_of
from construct.progress import tick
from construct.validation import positive_integer

POINTS = 20_000


def least_charts(manifold: Manifold, most: int) -> int:
    """A lower bound of the number of charts of any atlas of M, at most `most`.

    Balls of charts have radii below `manifold.chart_radius_bound`: points of M farther apart than twice that lie in
    different ones. They are taken from a net, each the farthest from those before.
    """
    most, net = positive_integer(most, "most"), cover_of(manifold, POINTS)
    if net is None:
        return 1
    points, count = net.points, 1
    distance = (points - points[0]).norm(dim=1)
    while count < most and float(distance.max()) > 2 * manifold.chart_radius_bound:
        tick()
        count += 1
        distance = distance.minimum((points - points[int(distance.argmax())]).norm(dim=1))
    return count
