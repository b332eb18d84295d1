"""The formula of a ridge network on a manifold: `T = constant + sum_t weight_t G(clip(l_t(y), low_t, high_t))`.

y: the canonical coordinates, x = frame y + offset; l_t: affine; G: a chain of polynomials, T_p as T3 and T2 in
succession. Tokens with the same chain make a group.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np
import torch
from flint import arb, fmpq
from torch import Tensor

from construct.arrays import Float
from construct.certificates.ballarrays import Balls
from construct.certificates.charts import OnManifold
from construct.certificates.extraction import NetworkFormula, parted
from construct.certificates.polynomials import Polynomial, Quantity
from construct.errors import InputError
from construct.progress import tick
from construct.validation import invalid

MOST_DEGREE = 256
Chain = tuple[tuple[fmpq, ...], ...]  # coefficients of polynomials, the one that is applied first in front


@dataclass(frozen=True, eq=False)
class Ridges:
    """Ridge functions with one chain.

    linear (n, k), constant (n,): l; low, high (n,): of the clip, infinite where there is none; weight (n,).
    """

    chain: Chain
    linear: Balls
    constant: Balls
    low: Float
    high: Float
    weight: Balls

    @cached_property
    def degree(self) -> int:
        """Of G."""
        return prod(len(polynomial) - 1 for polynomial in self.chain)

    def series(self, at: Float) -> Balls:
        """Coefficients of G(at + s) by powers of s, (degree + 1, *at.shape), for numbers `at` as they are."""
        found = Balls.exact(np.stack([at, np.ones_like(at)]))
        for polynomial in self.chain:
            *rest, top = map(_number, polynomial)
            total, inner = found * top, found
            for place in range(len(rest) - 1, -1, -1):
                first = Balls(total.middle[:1], total.radius[:1]) + rest[place]
                total = Balls(
                    np.concatenate([first.middle, total.middle[1:]]), np.concatenate([first.radius, total.radius[1:]])
                )
                if place:
                    total = total.series_product(inner)
            found = total
        return found


@dataclass(frozen=True, eq=False)
class NetworkRidges:
    """A ridge network on a manifold, off by at most `error`."""

    constant: arb
    groups: tuple[Ridges, ...]
    error: arb

    @property
    def degree(self) -> int:
        return max((group.degree for group in self.groups), default=0)


def ridges_of(formula: NetworkFormula, frame: Tensor, offset: Tensor | None = None) -> NetworkRidges:
    """Substitute x = frame y + offset, frame (D, k) and offset (D,), into the formula of a network without charts.

    Raises:
        InputError: the formula has parts that are no ridge functions.
    """
    if formula.windowed:
        raise _unexpected("a product with a window")
    sums = RidgeSums(formula, frame, offset)
    return NetworkRidges(arb(formula.rest.value()), sums.groups(), formula.error)


class RidgeSums:
    """The output of a network, collected by the windows that multiply it (None: nothing does) and by chains."""

    def __init__(self, formula: NetworkFormula, frame: Tensor, offset: Tensor | None) -> None:
        self.formula, self.table = formula, formula.quantities.table
        self.substitution = OnManifold(formula, frame, torch.zeros(len(frame)) if offset is None else offset)
        self.constants: dict[int | None, fmpq] = {None: fmpq(0)}
        self.members: dict[Chain, list[tuple[Quantity, fmpq, int | None]]] = {}
        parts: dict[tuple[int, int | None], dict[int, fmpq]] = {}  # coefficients by power, by quantity and window
        inputs: dict[int | None, dict[tuple[int, ...], fmpq]] = {}
        for term, c in formula.rest.terms.items():
            window, m = parted(formula.quantities, term)
            if len(set(m)) > 1:
                raise _unexpected("a product of different linear forms")
            if not m:
                self.constants[window] = c
            elif self.table[m[0]].kind == "input":
                inputs.setdefault(window, {})[m] = c
            else:
                parts.setdefault((m[0], window), {})[len(m)] = c
        for window, terms in inputs.items():  # what no map and no clip has touched is one form
            form = Quantity("linear", arb(0), arb(0), (Polynomial(terms),))
            self.members.setdefault(((fmpq(0), fmpq(1)),), []).append((form, fmpq(1), window))
        for name, window in sorted(parts, key=lambda pair: (pair[0], -1 if pair[1] is None else pair[1])):
            tick()
            powers = parts[name, window]
            base, chain = self._chain(name)
            weight = powers.get(1, fmpq(0))
            if max(powers) > 1 or not chain:
                chain, weight = (*chain, _coefficients(powers)), fmpq(1)
            if prod(len(polynomial) - 1 for polynomial in chain) > MOST_DEGREE:
                raise invalid("net", f"ridge functions of degree at most {MOST_DEGREE}", got="one of a higher degree")
            self.members.setdefault(chain, []).append((self.table[base], weight, window))

    def groups(self) -> tuple[Ridges, ...]:
        """The ridge functions, those with one chain together."""
        return tuple(self._group(chain, members) for chain, members in self.members.items())

    def _chain(self, name: int) -> tuple[int, Chain]:
        """The clip or linear form below a quantity, and the maps that were applied to it."""
        chain: list[tuple[fmpq, ...]] = []
        while self.table[name].kind == "map":
            (polynomial,) = self.table[name].definition
            (inner,) = polynomial.quantities()
            chain.append(_coefficients({len(m): c for m, c in polynomial.terms.items()}))
            name = inner
        if self.table[name].kind not in ("clip", "linear"):
            raise _unexpected(f"a dependence on a quantity of kind {self.table[name].kind!r}")
        return name, tuple(reversed(chain))

    def _group(self, chain: Chain, members: list[tuple[Quantity, fmpq, int | None]]) -> Ridges:
        rows, constants, limits = [], [], []
        for quantity, *_ in members:
            linear, constant = self.substitution.affine(quantity.definition[0])
            rows += linear
            constants.append(constant)
            clipped = quantity.kind == "clip"
            limits.append((_inner(quantity.low, 1), _inner(quantity.high, -1)) if clipped else (-np.inf, np.inf))
        count = len(members)
        low, high = np.array(limits).T
        weights = Balls.of([arb(weight) for _, weight, _ in members], (count,))
        return Ridges(chain, Balls.of(rows, (count, -1)), Balls.of(constants, (count,)), low, high, weights)


def _number(value: fmpq) -> Balls:
    """(1,), without a radius where the number is a float."""
    ball = Balls.of([arb(value)], (1,))
    return Balls.exact(ball.middle) if fmpq(*float(ball.middle[0]).as_integer_ratio()) == value else ball


def _inner(end: arb, sign: int) -> float:
    """A float at or within an end of an interval, in the direction of sign."""
    value = float((end.upper() if sign > 0 else end.lower()).mid())
    return value if value * sign >= end * sign else float(np.nextafter(value, sign * np.inf))


def _coefficients(powers: dict[int, fmpq]) -> tuple[fmpq, ...]:
    return tuple(powers.get(k, fmpq(0)) for k in range(max(powers) + 1))


def _unexpected(what: str) -> InputError:
    return invalid("net", "a ridge network, a sum of functions of one linear form each", got=what)
