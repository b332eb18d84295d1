"""The formula of a lattice network on a manifold: ridge functions times windows.

    T = sum_n window_n(y) (constant_n + sum_t weight_t G_t(clip(l_t(y), low_t, high_t))),     window_0 = 1

y: the canonical coordinates, x = frame y + offset. A window is a circuit: an affine form of the input and multiples of
ReLUs, whose arguments are circuits again. Where the signs of these arguments are known it is one affine form; all forms
are kept once, as rational functions of the input, so that a form and its multiples have one *hinge*, the plane on which
they change sign, whichever windows they are in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from flint import arb, fmpq
from torch import Tensor

from construct.arrays import Float, Int
from construct.certificates.ballarrays import Balls
from construct.certificates.charts import OnManifold
from construct.certificates.extraction import NetworkFormula
from construct.certificates.polynomials import Polynomial
from construct.certificates.ridges import Ridges, RidgeSums
from construct.validation import invalid

Form = tuple[fmpq, ...]  # coefficients of the variables, and the constant
Circuit = tuple[Form, tuple[tuple[fmpq, int], ...]]  # a form, and ReLUs: factor and number
ZERO_FORM, ONE_FORM = 0, 1  # numbers of forms
MOST_FORMS = 1 << 18


class UndecidedError(Exception):
    """A hinge, by its number, on which something depends."""

    def __init__(self, hinge: int) -> None:
        super().__init__(hinge)
        self.hinge = hinge


class Windows:
    """The windows of a formula, number 0 being 1, and all affine forms that they are somewhere.

    linear (n, k), constant (n,): the forms by number, functions of y. Hinges are forms too.
    """

    def __init__(self, substitution: OnManifold, names: Sequence[int]) -> None:
        self.substitution, self.table = substitution, substitution.table
        self.variables = self._inputs_below(names)
        self._column = {name: k for k, name in enumerate(self.variables)}
        self._relus: dict[int, int] = {}
        self.circuits: list[Circuit] = []  # arguments of ReLUs, the inner ones in front
        none = (fmpq(0),) * len(self.variables)
        self.forms: list[Form] = []
        self._number: dict[Form, int] = {}
        self._rows, self._constants = list[list[arb]](), list[arb]()
        self._linear, self._constant = Balls.of([], (0, substitution.width)), Balls.of([], (0,))
        self._signs: list[tuple[int, bool] | bool] = []  # of a form: hinge and whether it points the same way, or known
        self._known: dict[tuple[int, tuple[int, ...]], int] = {}
        self._interned((*none, fmpq(0)))
        self._interned((*none, fmpq(1)))
        self.outputs = [
            self._circuit(Polynomial.of(name) if self.table[name].kind == "input" else self.table[name].definition[0])
            for name in names
        ]
        self.signed = [not self.table[name].nonnegative for name in names]
        self._needed = [self._below(circuit) for circuit in self.outputs]
        self.own = [self._interned(circuit[0]) for circuit in (*self.circuits, *self.outputs)]  # without their ReLUs

    @property
    def count(self) -> int:
        return 1 + len(self.outputs)

    def form_of(self, window: int, positive: Callable[[int], bool]) -> int:
        """The number of the form that a window is where hinges have given signs; `positive` may raise
        `UndecidedError`."""
        if window == 0:
            return ONE_FORM
        fired: dict[int, int] = {}
        for relu in self._needed[window - 1]:
            number = self._resolved(relu, self.circuits[relu], fired)
            sign = self._signs[number]
            if not isinstance(sign, bool):
                sign = positive(sign[0]) == sign[1]
            fired[relu] = number if sign else ZERO_FORM
        return self._resolved(-window, self.outputs[window - 1], fired)

    def highest(self, window: int, ends: Callable[[int], tuple[Float, Float]]) -> Float:
        """Upper bounds of a window other than 0, where `ends` gives those of forms: arrays of one shape. Infinite of a
        window that may be negative, as an input in its place."""
        ranges: dict[int, tuple[Float, Float]] = {}
        for relu in self._needed[window - 1]:
            low, high = self._ends(self.circuits[relu], ends(self.own[relu]), ranges)
            ranges[relu] = np.maximum(low, 0.0), np.maximum(high, 0.0)
        place = len(self.circuits) + window - 1
        high = self._ends(self.outputs[window - 1], ends(self.own[place]), ranges)[1]
        return np.full_like(high, np.inf) if self.signed[window - 1] else high

    def balls(self) -> tuple[Balls, Balls]:
        """linear and constant of all forms that are known by now."""
        have = len(self._constant.middle)
        if have < len(self._rows):
            rows, constants = self._rows[have:], self._constants[have:]
            more = Balls.of([v for row in rows for v in row], (len(rows), self.substitution.width))
            self._linear = _stacked(self._linear, more)
            self._constant = _stacked(self._constant, Balls.of(constants, (len(constants),)))
        return self._linear, self._constant

    # -- parts -------------------------------------------------------------------------------------

    def _inputs_below(self, names: Sequence[int]) -> list[int]:
        found, work = set[int](), set(names)
        while work:
            found |= work
            work = {i for name in work for part in self.table[name].definition for i in part.quantities()} - found
        return sorted(i for i in found if self.table[i].kind == "input")

    def _circuit(self, polynomial: Polynomial) -> Circuit:
        form, relus = [fmpq(0)] * (len(self.variables) + 1), dict[int, fmpq]()
        work = [(polynomial, fmpq(1))]
        while work:
            part, factor = work.pop()
            for m, c in part.terms.items():
                if not m:
                    form[-1] += c * factor
                elif self.table[m[0]].kind == "input":
                    form[self._column[m[0]]] += c * factor
                elif self.table[m[0]].kind == "linear":
                    work.append((self.table[m[0]].definition[0], c * factor))
                else:
                    relu = self._relu(m[0])
                    relus[relu] = relus.get(relu, fmpq(0)) + c * factor
        return tuple(form), tuple((c, relu) for relu, c in sorted(relus.items()))

    def _relu(self, name: int) -> int:
        if name not in self._relus:
            circuit = self._circuit(self.table[name].definition[0])
            self._relus[name] = len(self.circuits)
            self.circuits.append(circuit)
        return self._relus[name]

    def _below(self, circuit: Circuit) -> list[int]:
        """The ReLUs that a circuit needs, the inner ones in front."""
        found, work = set[int](), [relu for _, relu in circuit[1]]
        while work:
            relu = work.pop()
            if relu not in found:
                found.add(relu)
                work += [inner for _, inner in self.circuits[relu][1]]
        return sorted(found)

    def _ends(
        self, circuit: Circuit, own: tuple[Float, Float], ranges: dict[int, tuple[Float, Float]]
    ) -> tuple[Float, Float]:
        low, high = own
        for factor, relu in circuit[1]:
            size, (least, most) = abs(float(arb(factor))), ranges[relu]
            if factor < 0:
                least, most = -most, -least
            low, high = low + least * size, high + most * size
            rounding = 2.0**-50 * (np.abs(low) + np.abs(high) + size * (np.abs(least) + np.abs(most)))
            low, high = low - rounding, high + rounding
        return low, high

    def _resolved(self, key: int, circuit: Circuit, fired: dict[int, int]) -> int:
        values = tuple(fired[relu] for _, relu in circuit[1])
        if (key, values) not in self._known:
            total = list(circuit[0])
            for (factor, _), number in zip(circuit[1], values, strict=True):
                if number != ZERO_FORM:
                    total = [t + factor * v for t, v in zip(total, self.forms[number], strict=True)]
            self._known[key, values] = self._interned(tuple(total))
        return self._known[key, values]

    def _interned(self, form: Form) -> int:
        if form not in self._number:
            if len(self.forms) >= MOST_FORMS:
                raise invalid("net", f"windows of at most {MOST_FORMS} affine forms", got="more")
            self._number[form] = len(self.forms)
            self.forms.append(form)
            linear, constant = [arb(0)] * self.substitution.width, arb(form[-1])
            for name, c in zip(self.variables, form, strict=False):
                if c != 0:
                    row, start = self.substitution.of(name)
                    linear = [t + arb(c) * v for t, v in zip(linear, row, strict=True)]
                    constant += arb(c) * start
            self._rows.append(linear)
            self._constants.append(constant)
            self._signs.append(False)
            lead = next((c for c in form[:-1] if c != 0), None)
            if lead is None:
                self._signs[-1] = bool(form[-1] > 0)
            else:
                place = len(self._signs) - 1
                self._signs[place] = self._interned(tuple(c / lead for c in form)), bool(lead > 0)
        return self._number[form]


@dataclass(frozen=True, eq=False)
class NetworkCells:
    """A lattice network on a manifold, off by at most `error`.

    constants: by window, (n,). groups, places: ridge functions, and the numbers of their windows.
    """

    windows: Windows
    constants: Balls
    groups: tuple[Ridges, ...]
    places: tuple[Int, ...]
    error: arb

    @cached_property
    def degree(self) -> int:
        """Of a window, where it is affine, times a ridge function."""
        return 1 + max((group.degree for group in self.groups), default=0)

    @property
    def constant(self) -> arb:
        """What no window multiplies."""
        return arb(float(self.constants.middle[0]), float(self.constants.radius[0]))


def cells_of(formula: NetworkFormula, frame: Tensor, offset: Tensor | None = None) -> NetworkCells:
    """Substitute x = frame y + offset, frame (D, k) and offset (D,), into the formula of a network with windows.

    Raises:
        InputError: the formula has parts that are no ridge functions times windows.
    """
    sums = RidgeSums(formula, frame, offset)
    used = {window for members in sums.members.values() for *_, window in members} | set(sums.constants)
    names = sorted(window for window in used if window is not None)
    number: dict[int | None, int] = {None: 0} | {name: n for n, name in enumerate(names, 1)}
    constants = [arb(sums.constants.get(name, fmpq(0))) for name in (None, *names)]
    places = tuple(np.array([number[window] for *_, window in members]) for members in sums.members.values())
    windows = Windows(sums.substitution, names)
    return NetworkCells(windows, Balls.of(constants, (len(constants),)), sums.groups(), places, formula.error)


def _stacked(a: Balls, b: Balls) -> Balls:
    return Balls(np.concatenate([a.middle, b.middle]), np.concatenate([a.radius, b.radius]))
