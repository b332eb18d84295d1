"""Fewest links of a continuous piecewise-linear function in a tube: minimum-link path, greedy with windows.

The tube is the set between two polylines lo < hi over the same abscissae. Imai and Iri (1986) and Suri (1986): go as
far as one line can. At its end the extreme line L has touched one side last, say lo at p, and leaves through the
other, hi at q. The next link meets L between p and q, on the far side of which L keeps it from both boundaries: so it
is any line that is >= lo from p on and <= hi from q on, and it too goes as far as it can. Every link reaches at least
as far as the same link of any other path, hence the number is the smallest possible *for this tube*.

The lines y = a + b (x - x_ref) that satisfy the constraints so far are a convex polygon in the (a, b) plane, which each
abscissa clips; the extreme line is the vertex with the smallest or largest value at the first abscissa out of reach.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from construct.errors import InputError
from construct.tokens.codes import Float

Polygon = list[tuple[float, float]]
STEEP = 4.0


@dataclass(frozen=True)
class Polyline:
    """A continuous piecewise-linear function on [start, stop]: `slopes` (L,), `knots` (L - 1,), `value` at the start."""

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
    steepest = STEEP * (high.max() - low.min()) / np.diff(x).min()
    lines: list[tuple[float, float, float]] = []  # x_ref, a, b
    lower_from, upper_from, first, reference = 0, 0, 0, float(x[0])
    polygon = [(low[0], -steepest), (high[0], -steepest), (high[0], steepest), (low[0], steepest)]
    while True:
        if most is not None and len(lines) >= most:
            return None
        side = 0  # through which side the extreme line leaves
        for j in range(min(lower_from, upper_from), len(x)):
            d = float(x[j]) - reference
            before = polygon
            if j >= lower_from:
                polygon = _clipped(polygon, -1.0, -d, -float(low[j]))
                side = -1 if not polygon else 0
            if polygon and j >= upper_from:
                polygon = _clipped(polygon, 1.0, d, float(high[j]))
                side = 1 if not polygon else 0
            if side:
                break
        if not side:
            a = sum(v[0] for v in polygon) / len(polygon)
            b = sum(v[1] for v in polygon) / len(polygon)
            return _joined(float(x[0]), [*lines, (reference, a, b)])
        if side > 0 and j >= lower_from:  # the bound of the other side holds in x_j, but not on the way out
            before = _clipped(before, -1.0, -d, -float(low[j])) or before
        a, b = min(before, key=lambda v: side * (v[0] + v[1] * d))
        lines.append((reference, a, b))
        line = a + b * (x[: j + 1] - reference)
        # the last contact with the side opposite to the exit, then the exit between x_(j-1) and x_j
        start = lower_from if side > 0 else upper_from
        slack = (line - low[: j + 1])[start:j] if side > 0 else (high[: j + 1] - line)[start:j]
        touch = start + int(len(slack) - 1 - slack[::-1].argmin())
        bound = high if side > 0 else low
        over = side * (line[j] - bound[j])
        under = max(0.0, side * (bound[j - 1] - line[j - 1]))
        leave = float(x[j - 1] + (x[j] - x[j - 1]) * under / (under + over)) if under + over > 0 else float(x[j - 1])
        reference, level = leave, float(a + b * (leave - reference))
        lower_from, upper_from = (touch, j) if side > 0 else (j, touch)
        # at the exit the next link is on the inner side of L
        far = STEEP * (high.max() - low.min())
        span = (level - far, level) if side > 0 else (level, level + far)
        polygon = [(span[0], -steepest), (span[1], -steepest), (span[1], steepest), (span[0], steepest)]


def _clipped(polygon: Polygon, p: float, q: float, bound: float) -> Polygon:
    """The part of a convex polygon where p a + q b <= bound; empty where there is none."""
    values = [p * a + q * b - bound for a, b in polygon]
    if max(values) <= 0.0:
        return polygon
    if min(values) > 0.0:
        return []
    out: Polygon = []
    for k, ((a, b), value) in enumerate(zip(polygon, values, strict=True)):
        (c, d), other = polygon[k - 1], values[k - 1]
        if (value > 0.0) != (other > 0.0):
            t = other / (other - value)
            out.append((c + t * (a - c), d + t * (b - d)))
        if value <= 0.0:
            out.append((a, b))
    return out


def _joined(start: float, lines: list[tuple[float, float, float]]) -> Polyline:
    """The function whose links lie on these lines, each meeting the one before."""
    knots = []
    for (x0, a0, b0), (x1, a1, b1) in zip(lines, lines[1:], strict=False):
        # x1 is the exit of the line before: a0 + b0 (x - x0) = a1 + b1 (x - x1)
        level = a0 + b0 * (x1 - x0)
        knots.append(x1 + (level - a1) / (b1 - b0) if b1 != b0 else x1)
    x0, a, b = lines[0]
    slopes = np.array([slope for _, _, slope in lines])
    return Polyline(start, a + b * (start - x0), np.array(knots), slopes)


def _check(x: Float, low: Float, high: Float) -> None:
    if x.ndim != 1 or len(x) < 2 or low.shape != x.shape or high.shape != x.shape:
        raise InputError(f"x, low, high: expected the same shape (N,), N >= 2, got {x.shape}, {low.shape}, {high.shape}")
    if not (np.isfinite(x).all() and np.isfinite(low).all() and np.isfinite(high).all()):
        raise InputError("x, low, high: expected finite numbers, got NaN or infinity")
    if not (np.diff(x) > 0).all():
        raise InputError("x: expected increasing abscissae, got some that are not")
    if not (low < high).all():
        raise InputError(f"low: expected below high, got {int((low >= high).sum())} of {len(x)} that are not")
