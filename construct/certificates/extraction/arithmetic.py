"""Registers, and sums and products of them, with what floating point may lose (running error analysis).

The standard model of IEEE arithmetic to nearest: fl(a b) = a b (1 + e) + h, fl(a + b) = (a + b)(1 + e), |e| <= u, and
|h| at most half the smallest subnormal number (gradual underflow; flushing to zero is another arithmetic). A sum of n
numbers in any order loses at most gamma_n times the sum of their sizes. What `rounding` allows, u (size + 2^-100), is
above |h| in float64 and float32. Sizes stay below `LARGEST`, so nothing overflows, in sums that cancel neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from flint import arb, fmpq

from construct.arrays import Float
from construct.certificates.polynomials import Polynomial, Quantities, rational, total
from construct.validation import invalid

LARGEST = 2.0**100  # of a register, score, product or sum of sizes: nothing overflows, in float32 neither
UNDERFLOW = arb(2) ** -100  # a product of this size and below: what it loses is covered by `rounding` in any format
SMALLEST_STEP = 2**120  # numbers that are multiples of its inverse do not underflow
EXTRA_OPERATIONS = 3  # room for executions that regroup

ZERO = arb(0)


@dataclass(frozen=True)
class Register:
    """Value of one entry of the hidden state: |computed - polynomial| <= error."""

    polynomial: Polynomial
    error: arb

    @staticmethod
    def fixed(value: float) -> Register:
        return Register(Polynomial.constant(rational(value)), ZERO)

    @property
    def is_zero(self) -> bool:
        return not self.polynomial and self.error.is_zero()


class Arithmetic:
    """Operations on registers whose polynomials are written in `names`.

    unit: unit round-off of the network's arithmetic, 0 for exact arithmetic. negligible: terms below this share of a
    register or score become part of its error; 0 keeps them all. sharp: counts the operations of the dense formula, and
    no more, and knows that a product with a power of two is exact.
    """

    def __init__(self, names: Quantities, unit: float = 0.0, negligible: float = 0.0, *, sharp: bool = False) -> None:
        self.names, self.unit, self.negligible, self.sharp = names, unit, negligible, sharp

    def size(self, polynomial: Polynomial) -> arb:
        """A bound of the absolute value."""
        low, high = self.names.range(polynomial)
        return abs(low).max(abs(high)).upper()

    def affine(self, weights: Float, registers: Sequence[Register], bias: float = 0.0) -> Register:
        """`<weights, registers> + bias`."""
        parts = [Polynomial.constant(rational(bias))] if bias else []
        error, sizes = ZERO, arb(abs(float(bias)))
        for i in np.flatnonzero(weights).tolist():
            register, weight = registers[i], rational(weights[i])
            part = register.polynomial * weight
            if not part and register.error == 0:
                continue
            parts.append(part)
            error += register.error * abs(arb(weight))
            if self.unit:
                sizes += (self.size(register.polynomial) + register.error) * abs(arb(weight))
        self.within_range(sizes)
        if not self.exact_sum(parts, error):
            scaled = self.sharp and len(parts) == 1 and not bias and self._powers_of_two(weights)
            error += self.rounding(len(parts), ZERO if scaled else sizes)
        return Register(total(parts), error)

    def _powers_of_two(self, weights: Float) -> bool:
        return bool((np.abs(np.frexp(weights[weights != 0])[0]) == 0.5).all())

    def added(self, before: Register, change: Register) -> Register:
        """`before + change`, one operation, none where nothing was there before."""
        parts = [before.polynomial, change.polynomial]
        error = before.error + change.error
        if not before.is_zero and not self.exact_sum(parts, error):
            error += self.rounding(1, self.size(before.polynomial) + self.size(change.polynomial) + error)
        return Register(total(parts), error)

    def accumulated(self, before: Register, contributions: Sequence[Register]) -> Register:
        """`before` plus what several heads add, in any order."""
        polynomials = [before.polynomial, *(c.polynomial for c in contributions)]
        error = before.error
        for contribution in contributions:
            error = error + contribution.error
        if self.unit:
            sizes = sum((self.size(p) for p in polynomials), error)
            self.within_range(sizes)
            if not self.exact_sum(polynomials, error):
                error += self.rounding(len(polynomials), sizes)
        return self.pruned(Register(total(polynomials), error))

    def pruned(self, register: Register) -> Register:
        """Terms that are traces of gates (trigonometric code) go into the error."""
        terms = register.polynomial.terms
        if len(terms) < 2 or not self.negligible:
            return register
        sizes = {m: self.size(Polynomial({m: c})) for m, c in terms.items()}
        limit = max(float(s) for s in sizes.values()) * self.negligible
        small = [m for m, s in sizes.items() if float(s) <= limit]
        if not small:
            return register
        error = register.error + sum((sizes[m] for m in small), ZERO)
        return Register(Polynomial({m: c for m, c in terms.items() if sizes[m] > limit}), error)

    def within_range(self, size: arb) -> None:
        """Refuse what may overflow on the way, whatever becomes of it."""
        if self.unit and not size <= LARGEST:
            raise invalid("net", f"registers below {LARGEST:.0e}", got="a sum or product that may be larger on the way")

    # -- what is lost -----------------------------------------------------------------------------

    def rounding(self, operations: int, size: arb) -> arb:
        """What a number of roundings, each of at most `size`, may come to: gamma_n size; 0 in exact arithmetic."""
        if not self.unit:
            return ZERO
        n = arb(self.unit) * (operations + (0 if self.sharp else EXTRA_OPERATIONS))
        return (n / (1 - n) * (size + UNDERFLOW)).upper() if n < 1 else arb.pos_inf()

    def product_rounding(self, left: Register, right: Register, size: arb) -> arb:
        """What a product of two registers with their errors loses, its size being at most `size`.

        Nothing if both are known numbers whose product can be represented; underflow only if one of them is 0 or +-2^k.
        """
        self.within_range(size)
        known = [r.polynomial.value() for r in (left, right) if r.polynomial.is_constant and r.error == 0]
        if len(known) == 2 and self.exact_sum([Polynomial.constant(known[0] * known[1])], ZERO):
            return ZERO
        return self.rounding(1, ZERO if any(v == 0 or _odd_part(v) == 1 for v in known) else size)

    def exact_sum(self, parts: Sequence[Polynomial], error: arb) -> bool:
        """Whether a sum is exact in any order, and every term can be represented; error: of the terms, all together."""
        if not self.unit:
            return True
        if not error.is_zero() or not all(part.is_constant for part in parts):
            return False
        values = [part.value() for part in parts if part]
        if not values:
            return True
        scale = max(int(v.q) for v in values)
        if scale & (scale - 1) or scale > SMALLEST_STEP:  # weights are floats: a power of two, unless it underflows
            return False
        integers = [abs(int(v.p) * (scale // int(v.q))) for v in values]
        shift = min((i & -i) for i in integers)
        return sum(integers) // shift <= 1 / self.unit


def _odd_part(value: fmpq) -> int:
    """m of |value| = m 2^k, m odd, for a dyadic rational other than 0."""
    p = abs(int(value.p))
    return p // (p & -p)
