"""The formula of a network on a manifold: every quantity as a function of the canonical coordinates y,
x = frame y + offset.

For each chart, in the order of the telescoping partition: the cut-off b(y) (a quadratic), the prefix sum s it is
compared with, the chart coordinates z(y) (linear, clipped) and the polynomial P(z).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import torch
from flint import arb, fmpq
from torch import Tensor

from construct.certificates.extraction import NetworkFormula
from construct.certificates.polynomials import Monomial, Polynomial
from construct.errors import InputError
from construct.progress import tick
from construct.validation import invalid

Linear = tuple[list[arb], arb]  # coefficients of y and constant


@dataclass(frozen=True)
class Quadratic:
    """`constant + <linear, y> + sum_(i <= j) square_ij y_i y_j`; square is empty where there is none."""

    square: tuple[tuple[int, int, arb], ...]
    linear: tuple[arb, ...]
    constant: arb
    key: tuple[tuple[int, int, str], ...]  # of the square part, to evaluate it once for all charts that share it


@dataclass(frozen=True)
class Coordinate:
    """`clip(linear . y + constant, low, high)`."""

    linear: tuple[arb, ...]
    constant: arb
    low: arb
    high: arb


@dataclass(frozen=True)
class Chart:
    """One term `rho P(z)` of the network.

    cutoff: number of its quadratic in `NetworkCharts.cutoffs`, with w = slope relu(cutoff); before: the slopes of the
    cut-offs in its prefix sum s, by number. coordinates: z; terms: P over exponents of z and of `knots`; knots: values
    relu(a z_i + b) that a spline adds to the variables, as (i, a, b).
    """

    cutoff: int
    slope: arb
    before: dict[int, fmpq]
    exact_slope: fmpq
    coordinates: tuple[Coordinate, ...]
    knots: tuple[tuple[int, arb, arb], ...]
    terms: tuple[tuple[tuple[int, ...], arb], ...]

    @cached_property
    def degree(self) -> int:
        return max((sum(e) for e, _ in self.terms), default=0)


@dataclass(frozen=True)
class NetworkCharts:
    """A network on a manifold, ready to be enclosed: T = base + sum_n rho_n (P_n - base), off by at most `error`."""

    cutoffs: tuple[Quadratic, ...]
    charts: tuple[Chart, ...]
    error: arb
    base: arb = field(default_factory=lambda: arb(0))


def charts_of(formula: NetworkFormula, frame: Tensor, offset: Tensor | None = None) -> NetworkCharts:
    """Substitute x = frame y + offset, frame (D, k) and offset (D,), into a network's formula.

    Raises:
        InputError: the formula has parts that are no charts.
    """
    return OnManifold(formula, frame, torch.zeros(len(frame)) if offset is None else offset).charts()


class OnManifold:
    """Quantities of a network's formula as functions of y."""

    def __init__(self, formula: NetworkFormula, frame: Tensor, offset: Tensor) -> None:
        self.formula, self.table = formula, formula.quantities.table
        self.frame = [[arb(v) for v in row] for row in frame.double().tolist()]
        self.offset = [arb(v) for v in offset.double().tolist()]
        self.width = len(self.frame[0])
        self._linear: dict[int, Linear] = {}
        self.cutoffs: list[Quadratic] = []
        self._places: dict[int, int] = {}

    def charts(self) -> NetworkCharts:
        if not self.formula.rest.is_constant:
            raise _unexpected("a part outside the partition of unity that is no constant")
        base = self.formula.rest.value()
        charts = tuple(
            self._chart(weight, terms + Polynomial.constant(base))
            for weight, terms in zip(self.formula.weights, self.formula.terms, strict=True)
        )
        owned = {chart.cutoff for chart in charts}
        if any(not owned.issuperset(chart.before) for chart in charts):
            raise _unexpected("a partition weight that is reduced by a cut-off of no chart")
        return NetworkCharts(tuple(self.cutoffs), charts, self.formula.error, arb(base))

    def _chart(self, weight: int, terms: Polynomial) -> Chart:
        tick()
        upper, lower = self.table[weight].definition
        before = self._cutoff_sum(Polynomial.constant(fmpq(1)) - upper)
        own = self._cutoff_sum(upper - lower)
        if len(own) != 1:
            raise _unexpected("a partition weight with several cut-offs")
        ((cutoff, slope),) = own.items()
        clips = sorted(i for i in terms.quantities() if self.table[i].kind == "clip")
        relus = sorted(i for i in terms.quantities() if self.table[i].kind == "relu")
        if len(clips) + len(relus) != len(terms.quantities()):
            raise _unexpected("a local approximator that is no function of the chart coordinates")
        for i in relus:  # a spline's knots may be the only trace of a coordinate
            clips = sorted({*clips, *self.table[i].definition[0].quantities()})
        knots = tuple(self._knot(i, clips) for i in relus)
        names = [*clips, *relus]
        expanded = tuple((_exponent(m, names), arb(c)) for m, c in terms.terms.items())
        coordinates = tuple(self._coordinate(i) for i in clips)
        return Chart(cutoff, arb(slope), before, slope, coordinates, knots, expanded)

    def _cutoff_sum(self, polynomial: Polynomial) -> dict[int, fmpq]:
        """A sum of slopes times relu(quadratic), by number of the quadratic."""
        found = {}
        for m, c in polynomial.terms.items():
            if len(m) != 1 or self.table[m[0]].kind != "relu" or not c > 0:
                raise _unexpected("a partition weight that is no sum of cut-offs")
            if m[0] not in self._places:
                self._places[m[0]] = len(self.cutoffs)
                self.cutoffs.append(self._quadratic(self.table[m[0]].definition[0]))
            found[self._places[m[0]]] = c
        return found

    def _coordinate(self, name: int) -> Coordinate:
        quantity = self.table[name]
        linear, constant = self.affine(quantity.definition[0])
        return Coordinate(tuple(linear), constant, quantity.low, quantity.high)

    def _knot(self, name: int, clips: list[int]) -> tuple[int, arb, arb]:
        argument = self.table[name].definition[0]
        names = argument.quantities()
        if len(names) != 1 or any(len(m) > 1 for m in argument.terms) or self.table[min(names)].kind != "clip":
            raise _unexpected("a ReLU of something else than a chart coordinate")
        (i,) = names
        return clips.index(i), arb(argument.terms[(i,)]), arb(argument.value())

    def affine(self, polynomial: Polynomial) -> Linear:
        """An affine form of the input, or of linear registers."""
        coefficients, constant = [arb(0)] * self.width, arb(polynomial.value())
        for m, c in polynomial.terms.items():
            if not m:
                continue
            if len(m) > 1:
                raise _unexpected("chart coordinates that are not linear in the input")
            linear, offset = self.of(m[0])
            coefficients = [a + arb(c) * b for a, b in zip(coefficients, linear, strict=True)]
            constant += arb(c) * offset
        return coefficients, constant

    def of(self, name: int) -> Linear:
        """An input coordinate or a linear register as a function of y."""
        if name not in self._linear:
            quantity = self.table[name]
            if quantity.kind == "input":
                start = arb(quantity.definition[0].value()) if quantity.definition else arb(0)
                j = int(str(quantity.label))
                self._linear[name] = self.frame[j], self.offset[j] + start
            elif quantity.kind == "linear":
                self._linear[name] = self.affine(quantity.definition[0])
            else:
                raise _unexpected(f"a dependence on a quantity of kind {quantity.kind!r}")
        return self._linear[name]

    def _quadratic(self, polynomial: Polynomial) -> Quadratic:
        square: dict[tuple[int, int], arb] = {}
        linear, constant = self.affine(Polynomial({m: c for m, c in polynomial.terms.items() if len(m) <= 1}))
        second = sorted((m, c) for m, c in polynomial.terms.items() if len(m) == 2)
        for m, c in second:
            (a, a0), (b, b0) = self.of(m[0]), self.of(m[1])
            weight = arb(c)
            for i, u in enumerate(a):
                for j, v in enumerate(b):
                    place = (min(i, j), max(i, j))
                    square[place] = square.get(place, arb(0)) + weight * u * v
            linear = [t + weight * (a0 * v + b0 * u) for t, u, v in zip(linear, a, b, strict=True)]
            constant += weight * a0 * b0
        if len(second) + sum(len(m) <= 1 for m in polynomial.terms) != len(polynomial.terms):
            raise _unexpected("a cut-off of degree above 2")
        key = tuple((m[0], m[1], str(c)) for m, c in second)
        kept = tuple((i, j, c) for (i, j), c in sorted(square.items()))
        return Quadratic(kept, tuple(linear), constant, key)


def _exponent(monomial: Monomial, names: list[int]) -> tuple[int, ...]:
    return tuple(monomial.count(i) for i in names)


def _unexpected(what: str) -> InputError:
    return invalid("net", "a compact network, a telescoping partition of unity with one function per chart", got=what)
