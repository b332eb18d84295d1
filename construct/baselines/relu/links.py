"""Fewest links of a continuous piecewise-linear function in a tube: minimum-link path, greedy with windows.

The tube is the set between two polylines lo < hi over the same abscissae. Imai and Iri (1986) and Suri (1986): go as
far as one line can. At its end the extreme line L has touched one side last, say lo at p, and leaves through the
other, hi at q. The next link meets L between p and q, on the far side of which L keeps it from both boundaries: so it
is any line that is >= lo from p on and <= hi from q on, and it too goes as far as it can. Every link reaches at least
as far as the same link of any other path, hence the number is the smallest possible *for this tube*.

The lines y = a + b (x - x_ref) that satisfy the constraints so far are a convex polygon in the (a, b) plane. At the
next abscissa their values fill an interval, attained at two vertices; if it misses [lo, hi] the nearer vertex is the
extreme line, otherwise [lo, hi] clips the polygon there. The two vertices move one way round as x grows, so the work
is proportional to the number of abscissae.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from construct.arrays import Float
from construct.validation import invalid

STEEP = 4.0
Line = tuple[float, float, float]
"""x_ref, a, b of y = a + b (x - x_ref)."""


@dataclass(frozen=True)
class Polyline:
    """A continuous piecewise-linear function from start on: `slopes` (L,), `knots` (L - 1,), `value` at the start."""

    start: float
    value: float
    knots: Float
    slopes: Float

    def __call__(self, x: Float) -> Float:
        """Values at x (P,)."""
        jumps = np.diff(self.slopes)
        hinges = np.maximum(x[:, None] - self.knots[None], 0.0) @ jumps
        return np.asarray(self.value + self.slopes[0] * (x - self.start) + hinges)


def fewest_links(x: Float, low: Float, high: Float, most: int | None = None) -> Polyline | None:
    """The continuous piecewise-linear function with the fewest links between low and high, linear between the x.

    Args:
        x: (N,) increasing, N >= 2;  low, high: (N,), low < high.
        most: give up (None) as soon as more links are needed.

    Raises:
        InputError: shapes, an order or an entry that is not finite.
    """
    _check(x, low, high)
    height = STEEP * float(high.max() - low.min())
    steepest = height / float(np.diff(x).min())
    lines: list[Line] = []
    lower_from, upper_from, reference = 0, 0, float(x[0])
    region = Region(float(low[0]), float(high[0]), steepest)
    while most is None or len(lines) < most:
        side = 0  # through which boundary the extreme line leaves
        for j in range(min(lower_from, upper_from), len(x)):
            d = float(x[j]) - reference
            least, largest = region.extremes(d)
            if j >= upper_from and region.value(least, d) > high[j]:
                side, vertex = 1, least
            elif j >= lower_from and region.value(largest, d) < low[j]:
                side, vertex = -1, largest
            if side:
                break
            if j >= upper_from:
                region.clip(largest, 1.0, d, float(high[j]))
            if j >= lower_from:
                region.clip(region.extremes(d)[0], -1.0, d, -float(low[j]))
        if not side:
            return _joined(float(x[0]), [*lines, (reference, *region.middle())])
        a, b = region.a[vertex], region.b[vertex]
        lines.append((reference, a, b))
        # the last contact with the boundary opposite to the exit, then the exit between x_(j-1) and x_j
        start = lower_from if side > 0 else upper_from
        line = a + b * (x[start : j + 1] - reference)
        slack = line[:-1] - low[start:j] if side > 0 else high[start:j] - line[:-1]
        touch = start + int(len(slack) - 1 - slack[::-1].argmin())
        bound = high if side > 0 else low
        over = side * float(line[-1] - bound[j])
        under = max(0.0, side * float(bound[j - 1] - line[-2]))
        leave = float(x[j - 1] + (x[j] - x[j - 1]) * under / (under + over))
        level = a + b * (leave - reference)
        lower_from, upper_from, reference = (touch, j, leave) if side > 0 else (j, touch, leave)
        region = Region(*((level - height, level) if side > 0 else (level, level + height)), steepest)
    return None


class Region:
    """A convex polygon of lines (a, b) as a ring of vertices; `clip` cuts a half-plane off.

    It starts as the rectangle low <= a <= high, |b| <= steepest.
    """

    def __init__(self, low: float, high: float, steepest: float) -> None:
        self.a, self.b = [low, high, high, low], [-steepest, -steepest, steepest, steepest]
        self.after, self.before = [1, 2, 3, 0], [3, 0, 1, 2]
        self.low = self.high = 0

    def value(self, vertex: int, d: float) -> float:
        """a + b d, the value of the line at abscissa x_ref + d."""
        return self.a[vertex] + self.b[vertex] * d

    def extremes(self, d: float) -> tuple[int, int]:
        """Vertices with the smallest and the largest value at d: climbs, since the values have one hill."""
        self.low, self.high = self._climb(self.low, d, -1.0), self._climb(self.high, d, 1.0)
        return self.low, self.high

    def _climb(self, vertex: int, d: float, sign: float) -> int:
        height = sign * self.value(vertex, d)
        for ring in (self.after, self.before):
            start = vertex
            while True:
                other = ring[vertex]
                reached = sign * self.value(other, d)
                # equal values are walked over: a cut through a vertex leaves it twice
                if reached < height or other == start:
                    break
                vertex, height = other, reached
        return vertex

    def clip(self, top: int, sign: float, d: float, bound: float) -> None:
        """Keep `sign (a + b d) <= bound`; `top` is the vertex where the left side is largest, some vertex is kept."""
        if sign * self.value(top, d) <= bound:
            return
        right, left = top, top
        dropped = {top}
        while sign * self.value(right, d) > bound:
            dropped.add(right)
            right = self.after[right]
        while sign * self.value(left, d) > bound:
            dropped.add(left)
            left = self.before[left]
        new = (self._cut(left, self.after[left], sign, d, bound), self._cut(right, self.before[right], sign, d, bound))
        self.after[left], self.before[new[0]] = new[0], left
        self.after[new[0]], self.before[new[1]] = new[1], new[0]
        self.after[new[1]], self.before[right] = right, new[1]
        self.low = new[0] if self.low in dropped else self.low
        self.high = new[0] if self.high in dropped else self.high

    def _cut(self, kept: int, dropped: int, sign: float, d: float, bound: float) -> int:
        """A new vertex on the edge between a kept and a dropped one."""
        inside, outside = bound - sign * self.value(kept, d), sign * self.value(dropped, d) - bound
        t = inside / (inside + outside)
        self.a.append(self.a[kept] + t * (self.a[dropped] - self.a[kept]))
        self.b.append(self.b[kept] + t * (self.b[dropped] - self.b[kept]))
        self.after.append(-1)
        self.before.append(-1)
        return len(self.a) - 1

    def middle(self) -> tuple[float, float]:
        """The mean of the vertices."""
        ring = [self.low]
        while self.after[ring[-1]] != self.low:
            ring.append(self.after[ring[-1]])
        return sum(self.a[v] for v in ring) / len(ring), sum(self.b[v] for v in ring) / len(ring)


def _joined(start: float, lines: list[Line]) -> Polyline:
    """The function whose links lie on these lines, each meeting the one before."""
    knots = []
    for (x0, a0, b0), (x1, a1, b1) in pairwise(lines):
        # x1 is the exit of the line before: a0 + b0 (x - x0) = a1 + b1 (x - x1)
        level = a0 + b0 * (x1 - x0)
        knots.append(x1 + (level - a1) / (b1 - b0) if b1 != b0 else x1)
    x0, a, b = lines[0]
    slopes = np.array([slope for _, _, slope in lines])
    return Polyline(start, a + b * (start - x0), np.array(knots), slopes)


def _check(x: Float, low: Float, high: Float) -> None:
    if x.ndim != 1 or len(x) < 2 or low.shape != x.shape or high.shape != x.shape:
        raise invalid("x, low, high", "one shape (N,), N >= 2", got=f"{x.shape}, {low.shape}, {high.shape}")
    if not (np.isfinite(x).all() and np.isfinite(low).all() and np.isfinite(high).all()):
        raise invalid("x, low, high", "finite numbers", got="NaN or infinity")
    if not (np.diff(x) > 0).all():
        raise invalid("x", "increasing abscissae", got="some that are not")
    if not (low < high).all():
        raise invalid("low", "values below high", got=f"{int((low >= high).sum())} of {len(x)} that are not")
