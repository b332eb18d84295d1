"""Support functions of M: how large a linear form becomes on it, proved as far as M's covering radii are.

Two bounds hold, and the smaller one is taken. From the box, `sum_i |w_i| max |y_i|`. From a net of M with covering
radius h: a largest point x* of `<w, x>` is within h of a point z of the net. Where M has no boundary, w is normal to
M at x*, and `<w, x* - z> <= |w| |x* - z|^2 / (2 reach)` (Federer 1959, Theorem 4.8(7)); else `<w, x* - z> <= |w| h`.
A manifold whose Lipschitz constants are estimated has estimated radii: then the bound is one, too, and the clip is what
keeps the network equal to its formula.
"""

from __future__ import annotations

import numpy as np

from construct.arrays import Float
from construct.manifolds import Manifold, Net
from construct.ridge.coordinates import Coordinates

ROUNDING = 1 + 1e-12
DIRECTIONS_AT_ONCE = 256


def support(manifold: Manifold, coordinates: Coordinates, directions: Float, net: Net | None) -> Float:
    """Bounds (n,) of `|<alpha, y>|` on M for directions alpha (n, k); the net's points are canonical coordinates."""
    largest = np.abs(coordinates.ends(manifold) - coordinates.centre).max(axis=0)
    box = np.abs(directions * coordinates.scale) @ largest * ROUNDING
    if net is None:
        return box
    size = coordinates.slopes(directions)
    beyond = size * net.radius
    if not manifold.has_boundary and manifold.reach.kind != "numeric":
        beyond = np.minimum(beyond, size * net.radius**2 / (2 * float(manifold.reach)))
    y = coordinates.within(manifold, net.points).numpy()
    parts = np.array_split(directions, max(1, len(directions) // DIRECTIONS_AT_ONCE))
    products = (y @ part.T for part in parts)
    seen = np.concatenate([np.abs(product, out=product).max(axis=0) for product in products])
    return np.minimum(box, (seen + beyond) * ROUNDING)
