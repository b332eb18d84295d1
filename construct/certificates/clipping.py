"""What is known where a cut-off is positive: bounds restricted to the ball of a chart, and the cost of clipping.

At points with b > 0, `g <= g + lambda b` for any lambda >= 0. The best lambda cancels the slopes, so what a bound over
the whole cell has too much is of second order in the size of the cell.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from flint import arb

from construct.certificates.charts import Chart
from construct.certificates.enclosures import Enclosure, shifted
from construct.certificates.jets import ONE, ZERO, JetSpace, lagrange_range


def restricted(space: JetSpace, g: Enclosure, cutoff: Enclosure, half: Sequence[arb]) -> arb:
    """An upper bound of g over the part of the cell with cutoff > 0."""
    moved = g.plus(cutoff, _multiplier(g, cutoff, half))
    return lagrange_range(space, moved.centre, moved.spread, half).upper()


def _multiplier(g: Enclosure, cutoff: Enclosure, half: Sequence[arb]) -> arb:
    """The lambda >= 0 for which the slopes of `g + lambda cutoff` are smallest, as a plain number."""
    top = bottom = 0.0
    for i, h in enumerate(half):
        a, b, w = float(g.centre[1 + i].mid()), float(cutoff.centre[1 + i].mid()), float(h.mid()) ** 2
        top, bottom = top - a * b * w, bottom + b * b * w
    return arb(max(0.0, top / bottom)) if bottom > 0 and math.isfinite(top / bottom) else ZERO


def excess(space: JetSpace, chart: Chart, z: list[Enclosure], cutoff: Enclosure, half: Sequence[arb]) -> arb:
    """What clipping may cost where the cell reaches beyond |z| = 1 at points with b > 0.

    There clip(z_i) is within `beyond_i` of z_i; from z to clip(z) one coordinate after the other.
    space: of the cut-off.
    """
    beyond = [ZERO] * len(z)
    for i, (pair, coordinate) in enumerate(zip(z, chart.coordinates, strict=True)):
        for sign, limit in ((1, coordinate.high), (-1, -coordinate.low)):
            thin = [sign * v for v in pair.centre[: space.size]]
            wide = [sign * v for v in pair.spread[: space.size]]
            thin[0], wide[0] = thin[0] - limit, wide[0] - limit
            plain = lagrange_range(space, thin, wide, half).upper()
            if plain <= 0:
                continue
            inside = restricted(space, Enclosure(thin, wide), cutoff, half)
            beyond[i] = beyond[i].max(plain.min(inside) if inside.is_finite() else plain)
    parts = (e * _slope(chart, z, beyond, i) for i, e in enumerate(beyond) if not e <= 0)
    return sum(parts, ZERO)


def _slope(chart: Chart, z: list[Enclosure], beyond: list[arb], i: int) -> arb:
    """sup |d_i P| over the cell's z and what is within `beyond` of it, from the expansion about its centre."""
    points = [pair.centre[0] for pair in z]
    reach = [(pair.spread[0] - p).abs_upper() + more for pair, p, more in zip(z, points, beyond, strict=True)]
    if chart.knots:
        return _knotted_slope(chart, [abs(p) + r for p, r in zip(points, reach, strict=True)], i)
    total = ZERO
    for b, c in shifted(chart.terms, points, chart.degree).items():
        if b[i]:
            weight = ONE * b[i]
            for j, e in enumerate(b):
                weight *= reach[j] ** (e - (j == i))
            total += abs(c).upper() * weight
    return total


def _knotted_slope(chart: Chart, largest: list[arb], i: int) -> arb:
    """The same for a spline, term by term; largest: bounds of |z_i|."""
    sizes, slopes = list(largest), [ONE if j == i else ZERO for j in range(len(largest))]
    for j, slope, shift in chart.knots:
        sizes.append(abs(slope) * largest[j] + abs(shift))
        slopes.append(abs(slope) if j == i else ZERO)
    total = ZERO
    for exponent, coefficient in chart.terms:
        for j, e in enumerate(exponent):
            if e and not slopes[j].is_zero():
                weight = abs(coefficient) * slopes[j] * e
                for k, f in enumerate(exponent):
                    weight *= sizes[k] ** (f - (k == j))
                total += weight
    return total.abs_upper()
