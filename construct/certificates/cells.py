"""Proved bounds over cells of the parameter box, by Taylor's theorem in ball arithmetic.

On a cell C of the box of u, with x = frame y(u) + offset:

    sum_n rho_n = 1 and rho_n >= 0     where the prefix sums s_n telescope over the charts that can be active on C and
                                       sum_n w_n >= 1; a deficit delta goes to the base c of
                                       T = c + sum_n rho_n (P_n - c), and c = 0 says that there should be none
    |T - f| <= max over charts that can be active on C of sup_C |P_n(z_n) - f|, and with a deficit that and
               delta sup |c - f| together, or, with c != 0, the larger of that and sup |c - f|

A chart cannot be active where b_n <= 0 on C, or where the charts in its own prefix sum already have the weight 1: so in
the core of a ball only the first chart counts. z_n is clipped to [-1, 1]; where C reaches beyond, points with b_n > 0
do so by at most `sup_C (|z| - 1 + lambda b_n)` for any lambda >= 0 (the term is at least |z| - 1 there), which costs
that much times a Lipschitz constant of P_n (`clipping`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from flint import arb, fmpq

from construct.certificates.charts import NetworkCharts
from construct.certificates.clipping import excess, restricted
from construct.certificates.enclosures import (
    CellPoints,
    Enclosure,
    Quadratics,
    combination,
    composed,
    coordinates_on,
    points_on,
)
from construct.certificates.jets import ZERO, Jet, JetSpace, lagrange_bound, lagrange_range
from construct.expressions import Expression
from construct.manifolds import Formula
from construct.validation import invalid

ORDERS = {1: 9, 2: 5, 3: 4}
CUTOFF_ORDER = 2
WIDEST = 0.5  # a cell wider than this in chart coordinates is divided before polynomials are looked at
MOST_ACTIVE = 12


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
    """What is known on one cell: |T - f| <= bound; `seen`, the largest |P_n - f| at its centre; axis to divide; near:
    the charts with b_n > 0 somewhere on it."""

    bound: float
    seen: float
    axis: int
    near: tuple[int, ...]


@dataclass(frozen=True)
class OpenCutoff:
    """A cut-off that may be positive on a cell, with its range there."""

    enclosure: Enclosure
    range: arb


@dataclass(frozen=True)
class Partition:
    """The charts that can be active on a cell, those with rho_n > 0 at its centre for sure, and a bound of
    1 - sum_n rho_n."""

    active: tuple[int, ...]
    at_centre: frozenset[int]
    deficit: arb


class CellBounds:
    """Bounds of |T - f| over cells, for one network, manifold and target.

    target reads x; formula, frame and offset say what x is; order: of the Taylor expansions.
    """

    together = 1

    def __init__(
        self,
        charts: NetworkCharts,
        target: Expression,
        formula: Formula,
        frame: Sequence[Sequence[float]],
        order: int = 0,
        offset: Sequence[float] | None = None,
    ) -> None:
        self.network, self.target, self.formula = charts, target, formula
        self.frame = [[arb(v) for v in row] for row in frame]
        self.offset = [arb(v) for v in offset or [0.0] * len(self.frame)]
        self.rests = not charts.base.is_zero()  # without a base the cores are to cover M
        self.orphans = set(range(len(charts.cutoffs))) - {chart.cutoff for chart in charts.charts}  # never looked at
        self.space = JetSpace(formula.dim, order or ORDERS.get(formula.dim, 3))
        self.low_space = JetSpace(formula.dim, min(CUTOFF_ORDER, self.space.order))
        if target.arity > len(self.frame):
            raise invalid(
                "target",
                f"a function on R^{len(self.frame)}",
                got=f"one that reads x_{target.arity - 1}",
            )

    def everywhere(self) -> tuple[int, ...]:
        """All charts, the candidates on the whole box."""
        return tuple(range(len(self.network.charts)))

    def bounds(self, cells: Sequence[tuple[Cell, Sequence[int]]]) -> list[Bound]:
        """|T - f| on cells, one by one."""
        return [self.bound(cell, near) for cell, near in cells]

    def bound(self, cell: Cell, near: Sequence[int]) -> Bound:
        """|T - f| on a cell; near: the charts that may be active there."""
        y = points_on(self.space, self.formula, cell.lower, cell.upper)
        axis = self._longest(y)
        cutoffs = self._open(y, near)
        unknown = Bound(math.inf, 0.0, axis, tuple(cutoffs))
        partition = self._partition(cutoffs)
        if partition is None or not (self.rests or partition.deficit < 1):
            return unknown
        coordinates = {n: coordinates_on(self.space, self.network.charts[n], y) for n in partition.active}
        if any(z.spread[0].rad() > WIDEST for n in partition.active for z in coordinates[n]):
            return unknown
        worst, seen = self._worst(y, partition, cutoffs, coordinates)
        return Bound(rounded_up(worst), seen, axis, tuple(cutoffs))

    def target_is_finite(self, cell: Cell) -> bool:
        """Whether the target has a finite enclosure on a cell."""
        y = points_on(self.space, self.formula, cell.lower, cell.upper)
        return bool(self._target(y.spread)[0].is_finite())

    # -- stages ------------------------------------------------------------------------------------

    def _longest(self, y: CellPoints) -> int:
        """The axis along which the cell is longest on the manifold."""
        lengths = []
        for i, half in enumerate(y.half):
            total = sum(float(jet[1 + i].abs_upper()) ** 2 for jet in y.spread)
            lengths.append(total * float(half) ** 2 if math.isfinite(total) else math.inf)
        return lengths.index(max(lengths))

    def _open(self, y: CellPoints, near: Sequence[int]) -> dict[int, OpenCutoff]:
        """Charts whose cut-off is not proved <= 0 on the cell, in the order of the partition."""
        quadratics = Quadratics(self.low_space, y)
        found = {}
        for n in near:
            enclosure = quadratics.on(self.network.cutoffs[self.network.charts[n].cutoff])
            value = lagrange_range(self.low_space, enclosure.centre, enclosure.spread, y.half)
            if not value <= 0:
                found[n] = OpenCutoff(enclosure, value)
        return found

    def _partition(self, cutoffs: dict[int, OpenCutoff]) -> Partition | None:
        """The charts that can be active; None if their prefix sums do not telescope, or there are too many, or none
        where there is no base."""
        telescoped: dict[int, fmpq] = {}  # slopes of the cut-offs of `active`: what the next prefix sum must have
        active, at_centre = [], []
        prefix, centre_prefix = ZERO, ZERO
        present = {self.network.charts[n].cutoff for n in cutoffs} | self.orphans
        least = {self.network.charts[n].cutoff: cutoff.range.lower().max(ZERO) for n, cutoff in cutoffs.items()}
        for n, cutoff in cutoffs.items():
            chart = self.network.charts[n]
            inside = {c: s for c, s in chart.before.items() if c in present}
            if sum((arb(s) * least[c] for c, s in inside.items() if c in least), ZERO) >= 1:
                continue
            if prefix.lower() >= 1:  # off, if its own prefix sum is no smaller
                if not all(c in inside and inside[c] >= s for c, s in telescoped.items()):
                    return None
                continue
            if inside != telescoped:
                return None
            active.append(n)
            middle = cutoff.enclosure.centre[0]
            if middle > 0 and not centre_prefix >= 1:
                at_centre.append(n)
            telescoped[chart.cutoff] = telescoped.get(chart.cutoff, fmpq(0)) + chart.exact_slope
            prefix += chart.slope * cutoff.range.lower().max(ZERO)
            centre_prefix += chart.slope * middle.max(ZERO)
        if not (active or self.rests) or len(active) > MOST_ACTIVE:
            return None
        return Partition(tuple(active), frozenset(at_centre), (1 - prefix.lower()).max(ZERO))

    def _worst(
        self,
        y: CellPoints,
        partition: Partition,
        cutoffs: dict[int, OpenCutoff],
        coordinates: dict[int, list[Enclosure]],
    ) -> tuple[arb, float]:
        """A bound of |T - f|, and the largest |P_n - f| at the centre."""
        f = Enclosure(self._target(y.centre), self._target(y.spread))
        worst, seen = ZERO, 0.0
        quadratics = Quadratics(self.space, y)
        for n in partition.active:
            chart, z = self.network.charts[n], coordinates[n]
            sharp = None if cutoffs[n].range > 0 else quadratics.on(self.network.cutoffs[chart.cutoff])
            difference = composed(self.space, chart, z).minus(f)
            error = self._largest(difference, sharp, y.half)
            worst = worst.max(error + excess(self.low_space, chart, z, cutoffs[n].enclosure, y.half))
            at_centre = difference.centre[0]
            if n in partition.at_centre and at_centre.is_finite():
                seen = max(seen, float(at_centre.abs_lower()))
        if partition.deficit > 0:
            off = (lagrange_range(self.space, f.centre, f.spread, y.half) - self.network.base).abs_upper()
            both = worst + partition.deficit * off
            worst = both.min(worst.max(off)) if self.rests else both
            if not cutoffs and f.centre[0].is_finite():
                seen = float((f.centre[0] - self.network.base).abs_lower())
        return worst, seen

    def _target(self, points: list[Jet]) -> Jet:
        rows = [combination(self.frame[j], self.offset[j], points, self.space.size) for j in range(self.target.arity)]
        return self.target.fold(self.space.over(rows or [self.space.constant(0)]))

    def _largest(self, g: Enclosure, cutoff: Enclosure | None, half: Sequence[arb]) -> arb:
        """Bound of |g| over the part of the cell with b > 0; cutoff: b, if it changes sign on the cell."""
        bound = lagrange_bound(self.space, g.centre, g.spread, half)
        if cutoff is None or not g.centre[0].is_finite():
            return bound
        inside = ZERO
        for side in (g, -g):
            inside = inside.max(restricted(self.space, side, cutoff, half))
        return inside if inside.is_finite() and inside < bound else bound
