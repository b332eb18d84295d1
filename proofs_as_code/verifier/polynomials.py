"""Sparse polynomials with rational coefficients, and the arithmetic of IEEE 754 that computes them.

fl(a b) = a b (1 + e) + h and fl(a + b) = (a + b)(1 + e) with |e| <= unit, |h| <= TINY: gradual underflow, in which a
sum of floats is never too small to be represented. TINY is far above half the smallest subnormal number, so that it
also covers what is lost where errors are kept as floats here. Flushing subnormal numbers to zero is another arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from flint import fmpq

from proofs_as_code.verifier.documents import require
from proofs_as_code.verifier.ranges import MOST_DEGREE, MOST_PAIRS, MOST_TERMS, bounded

TINY = {2.0**-53: 2.0**-1000, 2.0**-24: 2.0**-140}  # by unit round-off
SMALLEST = {2.0**-53: fmpq(1, 2**1074), 2.0**-24: fmpq(1, 2**149)}  # number > 0: all are multiples of it


class Poly(dict[tuple[int, ...], fmpq]):
    """Non-zero coefficients by monomial, the sorted tuple of the numbers of its unknowns; never changed once made.

    ends: what a network has found to be its range, None before.
    """

    ends: tuple[fmpq, fmpq] | None = None

    def bits(self) -> int:
        """Of the longest numerator or denominator."""
        return max((c.height_bits() for c in self.values()), default=0)

    @staticmethod
    def of(terms: Iterable[tuple[tuple[int, ...], Any]]) -> Poly:
        out: dict[tuple[int, ...], fmpq] = {}
        for m, c in terms:
            out[m] = bounded(out[m] + c if m in out else c)
            require(len(out) <= MOST_TERMS, "network", f"polynomials of at most {MOST_TERMS} terms", "longer ones")
        return Poly({m: c for m, c in out.items() if c != 0})

    def __mul__(self, other: Poly) -> Poly:
        require(len(self) * len(other) <= MOST_PAIRS, "network", f"products of at most {MOST_PAIRS} terms", "more")
        degree = max(map(len, self), default=0) + max(map(len, other), default=0)
        require(degree <= MOST_DEGREE, "network", f"polynomials of degree at most {MOST_DEGREE}", str(degree))
        if len(other) == 1 and () in other:  # a number, not 0: as many terms as before
            return Poly({m: bounded(c * other[()]) for m, c in self.items()})
        return Poly.of((tuple(sorted(m + n)), c * d) for m, c in self.items() for n, d in other.items())

    def __add__(self, other: Poly) -> Poly:
        return Poly.of((*self.items(), *other.items()))

    def __sub__(self, other: Poly) -> Poly:
        return self + other * number(-1)


Value = tuple[Poly, float]  # and a bound of the difference of the computed value


@lru_cache(1 << 16)
def rational(value: float) -> fmpq:
    return fmpq(*float(value).as_integer_ratio())


def above(value: fmpq) -> float:
    """A float that is not smaller than a number >= 0."""
    try:
        return math.nextafter(int(value.p) / int(value.q), math.inf) if value != 0 else 0.0
    except OverflowError:
        return math.inf


def nearest(value: fmpq) -> float:
    return int(value.p) / int(value.q)


@lru_cache(1 << 14)
def number(value: float) -> Poly:
    return Poly.of([((), rational(value))])


def spread(unit: float, *parts: Value) -> float:
    """sum |v| in units of the largest power of two that divides all of the numbers v; inf if not all are known, or if
    that power is below all floats.

    Up to 1/unit a sum is exact in any order, and a single number can be represented; a power of two has 1.
    """
    if any(e or any(p) or int(c.q) & (int(c.q) - 1) for p, e in parts for c in (p or {(): fmpq(0)}).values()):
        return math.inf
    scale = max((int(p[()].q) for p, _ in parts if p), default=1)
    whole = [abs(int(p[()].p)) * (scale // int(p[()].q)) for p, _ in parts if p]
    step = min((w & -w for w in whole), default=scale)
    return sum(whole) // step if fmpq(step, scale) >= SMALLEST[unit] else math.inf


def keeps(unit: float, value: Value) -> bool:
    """Whether a product with this number is exact for every float: 1, 2, 4, ..., up to its sign."""
    return value[0].keys() == {()} and spread(unit, value) <= 1 and abs(value[0].get((), fmpq(0))) >= 1
