"""Proved bounds over cells of the parameter box, by Taylor's theorem in ball arithmetic, and their subdivision.

On a cell C of the box of u, with x = frame y(u):

    sum_n rho_n = 1 and rho_n >= 0     where the prefix sums s_n telescope over the charts that can be active on C and
                                       sum_n w_n >= 1; a deficit is charged with sup |f|
    |T - f| <= max over charts that can be active on C of sup_C |P_n(z_n) - f|

A chart cannot be active where b_n <= 0 on C, or where the charts in its own prefix sum already have the weight 1: so in
the core of a ball only the first chart counts. z_n is clipped to [-1, 1]; where C reaches beyond, points with b_n > 0
do so by at most `sup_C (|z| - 1 + lambda b_n)` for any lambda >= 0 (the term is at least |z| - 1 there), which costs
that much times a Lipschitz constant of P_n. The best lambda cancels the slopes, so the excess is of second order in the
size of C.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count

from flint import arb, arb_poly, fmpq

from construct.certificates.charts import Chart, Coordinate, NetworkCharts, Quadratic
from construct.certificates.jets import NAN, ONE, ZERO, Jet, JetSpace, lagrange_bound, lagrange_range, lines_of
from construct.errors import InputError
from construct.expressions import Expression
from construct.manifolds import Formula
from construct.progress import Progress

ORDERS = {1: 9, 2: 5, 3: 4}
CUTOFF_ORDER = 2
WIDEST = 0.5  # a cell wider than this in chart coordinates is divided before polynomials are looked at
MOST_ACTIVE = 12
DEEPEST = 30  # halvings of an axis after which a cell without any bound is given up


def rounded_up(value: arb) -> float:
    """A float at least as large as every point of the ball; inf for NaN."""
    if not value.is_finite():
        return math.inf
    return math.nextafter(float(value.upper()), math.inf)


@dataclass(frozen=True)
class Cell:
    """A box of parameters."""

    lower: tuple[float, ...]
    upper: tuple[float, ...]

    def halves(self, axis: int) -> tuple[Cell, Cell]:
        middle = (self.lower[axis] + self.upper[axis]) / 2
        left = tuple(middle if i == axis else v for i, v in enumerate(self.upper))
        right = tuple(middle if i == axis else v for i, v in enumerate(self.lower))
        return Cell(self.lower, left), Cell(right, self.upper)


@dataclass(frozen=True)
class Bound:
    """What is known on one cell: |T - f| <= bound; `seen`, the largest |P_n - f| at its centre; axis to divide."""

    bound: float
    seen: float
    axis: int
    near: tuple[int, ...]


class CellBounds:
    """Bounds of |T - f| over cells, for one network, manifold and target.

    target reads x; formula and frame say what x is; order: of the Taylor expansions.
    """

    def __init__(
        self,
        charts: NetworkCharts,
        target: Expression,
        formula: Formula,
        frame: Sequence[Sequence[float]],
        order: int = 0,
    ) -> None:
        self.network, self.target, self.formula = charts, target, formula
        self.frame = [[arb(v) for v in row] for row in frame]
        self.orphans = set(range(len(charts.cutoffs))) - {chart.cutoff for chart in charts.charts}  # never looked at
        self.space = JetSpace(formula.dim, order or ORDERS.get(formula.dim, 3))
        self.low_space = JetSpace(formula.dim, min(CUTOFF_ORDER, self.space.order))
        if target.arity > len(self.frame):
            raise InputError(f"target: expected a function on R^{len(self.frame)}, it reads x_{target.arity - 1}")
        self.read = range(target.arity)

    def everywhere(self) -> tuple[int, ...]:
        """All charts, the candidates on the whole box."""
        return tuple(range(len(self.network.charts)))

    def bound(self, cell: Cell, near: Sequence[int]) -> Bound:
        """|T - f| on a cell; near: the charts that may be active there."""
        lower, upper = [arb(v) for v in cell.lower], [arb(v) for v in cell.upper]
        middle = [arb((a + b) / 2) for a, b in zip(cell.lower, cell.upper, strict=True)]
        # the midpoint is rounded: half is what reaches both ends from it
        half = [(b - m).max(m - a).upper() for a, b, m in zip(lower, upper, middle, strict=True)]
        ball = [m + h * arb(0, 1) for m, h in zip(middle, half, strict=True)]
        centre = self._points(middle)
        spread = self._points(ball)
        axis = self._longest(spread, half)
        prefix, centre_prefix, on = ZERO, ZERO, []
        square: dict[object, tuple[Jet, Jet]] = {}
        cutoffs = {}
        for n in near:
            chart = self.network.charts[n]
            jets = self._quadratic(self.network.cutoffs[chart.cutoff], centre, spread, square, self.low_space)
            value = lagrange_range(self.low_space, *jets, half)
            if not value <= 0:
                on.append(n)
                cutoffs[n] = (jets, value)
        telescoped: dict[int, fmpq] = {}  # slopes of the cut-offs of `active`: what the next prefix sum must have
        active, seen_charts = [], []
        chained = True
        open_cutoffs = {self.network.charts[n].cutoff for n in on} | self.orphans
        for n in on:
            chart = self.network.charts[n]
            inside = {c: s for c, s in chart.before.items() if c in open_cutoffs}
            if prefix.lower() >= 1:  # off, if its own prefix sum is no smaller
                chained = chained and all(c in inside and inside[c] >= s for c, s in telescoped.items())
                continue
            chained = chained and inside == telescoped
            active.append(n)
            (thin, _), value = cutoffs[n]
            if thin[0] > 0 and not centre_prefix >= 1:
                seen_charts.append(n)
            telescoped[chart.cutoff] = telescoped.get(chart.cutoff, fmpq(0)) + chart.exact_slope
            prefix += chart.slope * value.lower().max(ZERO)
            centre_prefix += chart.slope * thin[0].max(ZERO)
        if not chained or not active or len(active) > MOST_ACTIVE:
            return Bound(math.inf, 0.0, axis, tuple(on))
        deficit = (1 - prefix.lower()).max(ZERO)
        coordinates = {n: self._coordinates(self.network.charts[n], centre, spread) for n in active}
        wide = any(z[0].rad() > WIDEST for n in active for _, z in coordinates[n])
        if wide or not deficit < 1:
            return Bound(math.inf, 0.0, axis, tuple(on))
        f_centre, f_spread = self._target(centre), self._target(spread)
        worst, seen = ZERO, 0.0
        full_square: dict[object, tuple[Jet, Jet]] = {}
        for n in active:
            cutoff = None
            if not cutoffs[n][1] > 0:
                form = self.network.cutoffs[self.network.charts[n].cutoff]
                cutoff = self._quadratic(form, centre, spread, full_square, self.space)
            error, here = self._difference(self.network.charts[n], coordinates[n], (f_centre, f_spread), half, cutoff)
            excess = self._excess(self.network.charts[n], coordinates[n], cutoffs[n][0], half)
            worst = worst.max(error + excess)
            if n in seen_charts:
                seen = max(seen, here)
        if deficit > 0:
            worst += deficit * lagrange_range(self.space, f_centre, f_spread, half).abs_upper()
        return Bound(rounded_up(worst), seen, axis, tuple(on))

    # -- parts -------------------------------------------------------------------------------------

    def _points(self, at: Sequence[arb]) -> list[Jet]:
        """Jets of the canonical coordinates."""
        space = self.space.over(self.space.coordinates(at))
        return list(self.formula.fold(space))

    def _longest(self, spread: list[Jet], half: Sequence[arb]) -> int:
        """The axis along which the cell is longest on the manifold."""
        lengths = []
        for i in range(self.formula.dim):
            total = sum(float(y[1 + i].abs_upper()) ** 2 for y in spread)
            lengths.append(total * float(half[i]) ** 2 if math.isfinite(total) else math.inf)
        return lengths.index(max(lengths))

    def _quadratic(
        self,
        form: Quadratic,
        centre: list[Jet],
        spread: list[Jet],
        square: dict[object, tuple[Jet, Jet]],
        space: JetSpace,
    ) -> tuple[Jet, Jet]:
        """Jets of a cut-off to the order of `space`; square: its quadratic part, kept for the charts that share it."""
        size = space.size
        if form.key not in square:
            square[form.key] = (self._square(form, centre, space), self._square(form, spread, space))
        out = []
        for jets, quadratic in zip((centre, spread), square[form.key], strict=True):
            total = list(quadratic)
            for weight, y in zip(form.linear, jets, strict=True):
                if not weight.is_zero():
                    total = [t + weight * v for t, v in zip(total, y[:size], strict=True)]
            total[0] += form.constant
            out.append(total)
        return out[0], out[1]

    def _square(self, form: Quadratic, jets: list[Jet], space: JetSpace) -> Jet:
        total = [ZERO] * space.size
        for i, j, weight in form.square:
            if weight.is_zero():
                continue
            a, b = jets[i][: space.size], jets[j][: space.size]
            product = space.multiply(a, a) if i == j else space.multiply(a, b)
            total = [t + weight * v for t, v in zip(total, product, strict=True)]
        return total

    def _coordinates(self, chart: Chart, centre: list[Jet], spread: list[Jet]) -> list[tuple[Jet, Jet]]:
        return [(_linear(z, centre, self.space.size), _linear(z, spread, self.space.size)) for z in chart.coordinates]

    def _target(self, points: list[Jet]) -> Jet:
        rows = {}
        for j in self.read:
            rows[j] = _combination(self.frame[j], ZERO, points, self.space.size)
        variables = [rows.get(j, self.space.constant(0)) for j in range(max(self.target.arity, 1))]
        return self.target.fold(self.space.over(variables))

    def _difference(
        self,
        chart: Chart,
        z: list[tuple[Jet, Jet]],
        f: tuple[Jet, Jet],
        half: Sequence[arb],
        cutoff: tuple[Jet, Jet] | None,
    ) -> tuple[arb, float]:
        """Bound of |P(z) - f| over the part of the cell with b > 0, and its value at the centre.

        cutoff: jets of b if it changes sign on the cell: then `g <= g + lambda b` there for g = +-(P - f), lambda >= 0.
        """
        centre, spread = self._composed(chart, z)
        thin = [a - b for a, b in zip(centre, f[0], strict=True)]
        wide = [a - b for a, b in zip(spread, f[1], strict=True)]
        here = float(thin[0].abs_lower()) if thin[0].is_finite() else 0.0
        bound = lagrange_bound(self.space, thin, wide, half)
        if cutoff is not None and thin[0].is_finite():
            restricted = ZERO
            for sign in (1, -1):
                side = ([sign * v for v in thin], [sign * v for v in wide])
                factor = _multiplier(side[0], cutoff[0], half)
                at, over = (
                    [v + factor * w for v, w in zip(g, b, strict=True)] for g, b in zip(side, cutoff, strict=True)
                )
                restricted = restricted.max(lagrange_range(self.space, at, over, half).upper())
            if restricted.is_finite() and restricted < bound:
                bound = restricted
        return bound, here

    def _composed(self, chart: Chart, z: list[tuple[Jet, Jet]]) -> tuple[Jet, Jet]:
        """Jets of P(z) at the centre and over the cell."""
        variables = list(z)
        for i, slope, shift in chart.knots:
            variables.append(tuple(self._ramp(jet, slope, shift) for jet in z[i]))  # type: ignore[arg-type]
        known = all(v.is_finite() for pair in z for jet in pair for v in jet)
        if known and not chart.knots and chart.terms:
            return self._expanded(chart, z)
        return tuple(self._term_by_term(chart, [v[side] for v in variables]) for side in (0, 1))  # type: ignore[return-value]

    def _expanded(self, chart: Chart, z: list[tuple[Jet, Jet]]) -> tuple[Jet, Jet]:
        """About the centre, P(z_c + d) = sum_b p_b d^b: the jets of d are small, and vanish at the centre."""
        if not z:
            constant = [sum((c for _, c in chart.terms), ZERO)] + [ZERO] * (self.space.size - 1)
            return constant, constant
        points = [thin[0] for thin, _ in z]
        table = shifted(chart.terms, points, chart.degree)
        thin = [[ZERO, *jet[1:]] for jet, _ in z]
        wide = [[jet[0] - point, *jet[1:]] for (_, jet), point in zip(z, points, strict=True)]
        low = min(chart.degree, self.space.order)  # powers of d beyond the order vanish at the centre
        few = {b: c for b, c in table.items() if sum(b) <= low}
        centre = self.space.compose(lines_of(few, len(z), low), thin, low)
        return centre, self.space.compose(lines_of(table, len(z), chart.degree), wide, chart.degree)

    def _ramp(self, z: Jet, slope: arb, shift: arb) -> Jet:
        """relu(slope z + shift)."""
        value = [slope * v for v in z]
        value[0] += shift
        if value[0] >= 0:
            return value
        if value[0] <= 0:
            return self.space.constant(0)
        unit = arb(0.5, 0.5)
        first = [v * unit for v in value[1 : 1 + self.space.dim]]
        return [value[0].nonnegative_part(), *first] + [NAN] * (self.space.size - 1 - len(first))

    def _term_by_term(self, chart: Chart, variables: list[Jet]) -> Jet:
        zero = [v[0].is_zero() and all(c.is_zero() for c in v) for v in variables]
        total = self.space.constant(0)
        powers: dict[tuple[int, int], Jet] = {}
        for exponent, coefficient in chart.terms:
            if any(e and zero[i] for i, e in enumerate(exponent)):
                continue
            product: Jet | None = None
            for i, e in enumerate(exponent):
                if e:
                    if (i, e) not in powers:
                        powers[i, e] = self.space.power(variables[i], e)
                    product = powers[i, e] if product is None else self.space.multiply(product, powers[i, e])
            if product is None:
                total[0] += coefficient
            else:
                total = [t + coefficient * v for t, v in zip(total, product, strict=True)]
        return total

    def _excess(self, chart: Chart, z: list[tuple[Jet, Jet]], cutoff: tuple[Jet, Jet], half: Sequence[arb]) -> arb:
        """What clipping may cost where the cell reaches beyond |z| = 1 at points with b > 0.

        There clip(z_i) is within `beyond_i` of z_i; from z to clip(z) one coordinate after the other.
        """
        beyond = [ZERO] * len(z)
        for i, (jets, coordinate) in enumerate(zip(z, chart.coordinates, strict=True)):
            for sign, limit in ((1, coordinate.high), (-1, -coordinate.low)):
                thin = [sign * v for v in jets[0][: self.low_space.size]]
                wide = [sign * v for v in jets[1][: self.low_space.size]]
                thin[0], wide[0] = thin[0] - limit, wide[0] - limit
                plain = lagrange_range(self.low_space, thin, wide, half).upper()
                if plain <= 0:
                    continue
                factor = _multiplier(thin, cutoff[0], half)
                thin = [a + factor * b for a, b in zip(thin, cutoff[0], strict=True)]
                wide = [a + factor * b for a, b in zip(wide, cutoff[1], strict=True)]
                restricted = lagrange_range(self.low_space, thin, wide, half).upper()
                beyond[i] = beyond[i].max(plain.min(restricted) if restricted.is_finite() else plain)
        parts = (e * self._slope(chart, z, beyond, i) for i, e in enumerate(beyond) if not e <= 0)
        return sum(parts, ZERO)

    def _slope(self, chart: Chart, z: list[tuple[Jet, Jet]], beyond: list[arb], i: int) -> arb:
        """sup |d_i P| over the cell's z and what is within `beyond` of it, from the expansion about its centre."""
        points = [thin[0] for thin, _ in z]
        reach = [(jet[0] - point).abs_upper() + more for (_, jet), point, more in zip(z, points, beyond, strict=True)]
        if chart.knots:
            return self._knotted_slope(chart, [abs(p) + r for p, r in zip(points, reach, strict=True)], i)
        total = ZERO
        for b, c in shifted(chart.terms, points, chart.degree).items():
            if b[i]:
                weight = ONE * b[i]
                for j, e in enumerate(b):
                    weight *= reach[j] ** (e - (j == i))
                total += abs(c).upper() * weight
        return total

    def _knotted_slope(self, chart: Chart, largest: list[arb], i: int) -> arb:
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


def _multiplier(thin: Jet, cutoff: Jet, half: Sequence[arb]) -> arb:
    """The lambda >= 0 for which the slopes of `thin + lambda cutoff` are smallest, as a plain number."""
    top = bottom = 0.0
    for i, h in enumerate(half):
        a, b, w = float(thin[1 + i].mid()), float(cutoff[1 + i].mid()), float(h.mid()) ** 2
        top, bottom = top - a * b * w, bottom + b * b * w
    return arb(max(0.0, top / bottom)) if bottom > 0 and math.isfinite(top / bottom) else ZERO


def _combination(weights: Sequence[arb], constant: arb, jets: list[Jet], size: int) -> Jet:
    total = [constant] + [ZERO] * (size - 1)
    for weight, jet in zip(weights, jets, strict=True):
        if not weight.is_zero():
            total = [t + weight * v for t, v in zip(total, jet, strict=True)]
    return total


def _linear(coordinate: Coordinate, jets: list[Jet], size: int) -> Jet:
    return _combination(coordinate.linear, coordinate.constant, jets, size)


def shifted(
    terms: Sequence[tuple[tuple[int, ...], arb]], points: Sequence[arb], degree: int
) -> dict[tuple[int, ...], arb]:
    """Coefficients of `P(point + d)` by exponent of d."""
    table = dict(terms)
    for axis, point in enumerate(points):
        lines: dict[tuple[int, ...], list[arb]] = {}
        for e, c in table.items():
            line = lines.setdefault(e[:axis] + e[axis + 1 :], [ZERO] * (degree + 1))
            line[e[axis]] = c
        step = arb_poly([point, 1])
        table = {}
        for rest, line in lines.items():
            for k, c in enumerate(arb_poly(line)(step).coeffs()):
                table[(*rest[:axis], k, *rest[axis:])] = c
    return table


@dataclass
class Subdivision:
    """The cells that were looked at: a binary tree whose leaves cover the box, each with a bound.

    stuck: a tiny cell on which there is no finite bound, where the search gave up.
    """

    root: Cell
    bound: float
    seen: float
    leaves: int
    splits: dict[Cell, int] = field(default_factory=dict)
    stuck: Cell | None = None

    def tree(self) -> str:
        """Preorder: an axis for a cell that is divided, a point for a leaf."""
        out, stack = [], [self.root]
        while stack:
            cell = stack.pop()
            axis = self.splits.get(cell)
            if axis is None:
                out.append(".")
                continue
            out.append(str(axis))
            left, right = cell.halves(axis)
            stack += [right, left]
        return "".join(out)


def subdivide(
    bounds: CellBounds,
    *,
    target: float,
    tolerance: float,
    most_cells: int,
    progress: Progress,
) -> Subdivision:
    """Divide the worst cell until the bound is at most `target`, or at most 1 + tolerance times a value that is
    attained by some |P_n - f|, or the cells are used up. The result is a proved bound in any case (inf if nothing is
    known).
    """
    root = Cell(bounds.formula.lower, bounds.formula.upper)
    ticket = count()
    first = bounds.bound(root, bounds.everywhere())
    heap = [(-first.bound, 0, next(ticket), root, first)]  # of equal bounds (inf) the smallest cell first
    seen, leaves = first.seen, 1
    splits: dict[Cell, int] = {}
    while True:
        worst, depth = -heap[0][0], -heap[0][1]
        stuck = worst == math.inf and depth >= DEEPEST * bounds.formula.dim
        if stuck or worst <= max(target, (1 + tolerance) * seen) or leaves >= most_cells:
            return Subdivision(root, worst, seen, leaves, splits, heap[0][3] if stuck else None)
        _, _, _, cell, known = heapq.heappop(heap)
        splits[cell] = known.axis
        for half in cell.halves(known.axis):
            found = bounds.bound(half, known.near)
            seen = max(seen, found.seen)
            heapq.heappush(heap, (-found.bound, -depth - 1, next(ticket), half, found))
        leaves += 1
        if leaves % 50 == 0:
            progress(f"{leaves} cells: bound {worst:.3g}, seen {seen:.3g}", None)
