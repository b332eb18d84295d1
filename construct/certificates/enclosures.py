"""The parts of a chart on one cell as jets: cut-offs, chart coordinates, and the local polynomial or spline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flint import arb, arb_poly

from construct.certificates.charts import Chart, Quadratic
from construct.certificates.jets import NAN, ZERO, Jet, JetSpace, lines_of
from construct.manifolds import Formula

Exponent = tuple[int, ...]


@dataclass(frozen=True)
class Enclosure:
    """A function on a cell: Taylor coefficients at the centre, and enclosed over the whole cell."""

    centre: Jet
    spread: Jet

    def minus(self, other: Enclosure) -> Enclosure:
        """`self - other`."""
        at, over = (
            [v - w for v, w in zip(a, b, strict=True)]
            for a, b in ((self.centre, other.centre), (self.spread, other.spread))
        )
        return Enclosure(at, over)

    def plus(self, other: Enclosure, factor: arb) -> Enclosure:
        """`self + factor other`."""
        at, over = (
            [v + factor * w for v, w in zip(a, b, strict=True)]
            for a, b in ((self.centre, other.centre), (self.spread, other.spread))
        )
        return Enclosure(at, over)

    def __neg__(self) -> Enclosure:
        return Enclosure([-v for v in self.centre], [-v for v in self.spread])


@dataclass(frozen=True)
class CellPoints:
    """The canonical coordinates y on a cell; half: its half-widths."""

    centre: list[Jet]
    spread: list[Jet]
    half: list[arb]


def points_on(space: JetSpace, formula: Formula, lower: Sequence[float], upper: Sequence[float]) -> CellPoints:
    """The canonical coordinates on the cell [lower, upper]."""
    middle = [arb((a + b) / 2) for a, b in zip(lower, upper, strict=True)]
    # the midpoint is rounded: half is what reaches both ends from it
    half = [(arb(b) - m).max(m - arb(a)).upper() for a, b, m in zip(lower, upper, middle, strict=True)]
    ball = [m + h * arb(0, 1) for m, h in zip(middle, half, strict=True)]
    centre, spread = (list(formula.fold(space.over(space.coordinates(at)))) for at in (middle, ball))
    return CellPoints(centre, spread, half)


def combination(weights: Sequence[arb], constant: arb, jets: list[Jet], size: int) -> Jet:
    """`constant + sum_i weights_i jets_i`, to the first `size` coefficients."""
    total = [constant] + [ZERO] * (size - 1)
    for weight, jet in zip(weights, jets, strict=True):
        if not weight.is_zero():
            total = [t + weight * v for t, v in zip(total, jet, strict=True)]
    return total


def coordinates_on(space: JetSpace, chart: Chart, y: CellPoints) -> list[Enclosure]:
    """The coordinates z of a chart, not clipped."""
    return [
        Enclosure(*(combination(z.linear, z.constant, jets, space.size) for jets in (y.centre, y.spread)))
        for z in chart.coordinates
    ]


class Quadratics:
    """Cut-offs on one cell, to the order of `space`; the quadratic part is kept for the charts that share it."""

    def __init__(self, space: JetSpace, y: CellPoints) -> None:
        self.space, self.y = space, y
        self._squares: dict[object, tuple[Jet, Jet]] = {}

    def on(self, form: Quadratic) -> Enclosure:
        """The cut-off `form`."""
        if form.key not in self._squares:
            self._squares[form.key] = (self._square(form, self.y.centre), self._square(form, self.y.spread))
        out = []
        for jets, quadratic in zip((self.y.centre, self.y.spread), self._squares[form.key], strict=True):
            total = list(quadratic)
            for weight, y in zip(form.linear, jets, strict=True):
                if not weight.is_zero():
                    total = [t + weight * v for t, v in zip(total, y[: self.space.size], strict=True)]
            total[0] += form.constant
            out.append(total)
        return Enclosure(out[0], out[1])

    def _square(self, form: Quadratic, jets: list[Jet]) -> Jet:
        size = self.space.size
        total = [ZERO] * size
        for i, j, weight in form.square:
            if weight.is_zero():
                continue
            a, b = jets[i][:size], jets[j][:size]
            product = self.space.multiply(a, a) if i == j else self.space.multiply(a, b)
            total = [t + weight * v for t, v in zip(total, product, strict=True)]
        return total


# -- local polynomials and splines -----------------------------------------------------------------------------------


def composed(space: JetSpace, chart: Chart, z: list[Enclosure]) -> Enclosure:
    """P(z) on the cell of z."""
    known = all(v.is_finite() for pair in z for jet in (pair.centre, pair.spread) for v in jet)
    if known and not chart.knots and chart.terms:
        return _expanded(space, chart, z)
    centre, spread = [pair.centre for pair in z], [pair.spread for pair in z]
    for i, slope, shift in chart.knots:
        centre.append(_ramp(space, z[i].centre, slope, shift))
        spread.append(_ramp(space, z[i].spread, slope, shift))
    return Enclosure(_term_by_term(space, chart, centre), _term_by_term(space, chart, spread))


def _expanded(space: JetSpace, chart: Chart, z: list[Enclosure]) -> Enclosure:
    """About the centre, P(z_c + d) = sum_b p_b d^b: the jets of d are small, and vanish at the centre."""
    if not z:
        constant = [sum((c for _, c in chart.terms), ZERO)] + [ZERO] * (space.size - 1)
        return Enclosure(constant, constant)
    points = [pair.centre[0] for pair in z]
    table = shifted(chart.terms, points, chart.degree)
    thin = [[ZERO, *pair.centre[1:]] for pair in z]
    wide = [[pair.spread[0] - point, *pair.spread[1:]] for pair, point in zip(z, points, strict=True)]
    low = min(chart.degree, space.order)  # powers of d beyond the order vanish at the centre
    few = {b: c for b, c in table.items() if sum(b) <= low}
    centre = space.compose(lines_of(few, len(z), low), thin, low)
    return Enclosure(centre, space.compose(lines_of(table, len(z), chart.degree), wide, chart.degree))


def _ramp(space: JetSpace, z: Jet, slope: arb, shift: arb) -> Jet:
    """relu(slope z + shift)."""
    value = [slope * v for v in z]
    value[0] += shift
    if value[0] >= 0:
        return value
    if value[0] <= 0:
        return space.constant(0)
    unit = arb(0.5, 0.5)
    first = [v * unit for v in value[1 : 1 + space.dim]]
    return [value[0].nonnegative_part(), *first] + [NAN] * (space.size - 1 - len(first))


def _term_by_term(space: JetSpace, chart: Chart, variables: list[Jet]) -> Jet:
    zero = [v[0].is_zero() and all(c.is_zero() for c in v) for v in variables]
    total = space.constant(0)
    powers: dict[tuple[int, int], Jet] = {}
    for exponent, coefficient in chart.terms:
        if any(e and zero[i] for i, e in enumerate(exponent)):
            continue
        product: Jet | None = None
        for i, e in enumerate(exponent):
            if e:
                if (i, e) not in powers:
                    powers[i, e] = space.power(variables[i], e)
                product = powers[i, e] if product is None else space.multiply(product, powers[i, e])
        if product is None:
            total[0] += coefficient
        else:
            total = [t + coefficient * v for t, v in zip(total, product, strict=True)]
    return total


def shifted(terms: Sequence[tuple[Exponent, arb]], points: Sequence[arb], degree: int) -> dict[Exponent, arb]:
    """Coefficients of `P(point + d)` by exponent of d."""
    table = dict(terms)
    for axis, point in enumerate(points):
        lines: dict[Exponent, list[arb]] = {}
        for e, c in table.items():
            line = lines.setdefault(e[:axis] + e[axis + 1 :], [ZERO] * (degree + 1))
            line[e[axis]] = c
        step = arb_poly([point, 1])
        table = {}
        for rest, line in lines.items():
            for k, c in enumerate(arb_poly(line)(step).coeffs()):
                table[(*rest[:axis], k, *rest[axis:])] = c
    return table
