"""The arithmetic of IEEE 754 on polynomials in unknowns: sums, products and ReLUs with bounds of what they lose.

A value is (polynomial, error). Ranges are exact rationals; errors are sums and products of floats >= 0, raised by 1e-9
in the end for their own rounding (`polynomials`: relative `unit`, underflow).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

from flint import fmpq

from proofs_as_code.verifier.documents import LARGEST, require
from proofs_as_code.verifier.polynomials import TINY, Poly, Value, above, keeps, number, rational, spread
from proofs_as_code.verifier.ranges import bounded, extremes

MOST_LOOKS = 1 << 40  # in one check, of about a nanosecond each: what takes longer is refused
LOOKS_A_TERM, LOOKS_A_SUM = 1 << 10, 1 << 13  # of a product of two terms of up to 256 bits; of one operation
LOOKS_A_RANGE = 1 << 19  # for each degree of a polynomial in one unknown
SHARP = ("clip", "form", "map")  # kinds of which a polynomial in one is bounded as a whole


class Unknown(NamedTuple):
    kind: str  # "y"; "relu": of of[0]; "clip": of of[0] to the range; "rho": relu(of[0]) - relu(of[1]); "free"; "form",
    # "map": of[0] itself, a linear form, T2 or T3 of another unknown
    low: fmpq
    high: fmpq
    of: tuple[Poly, ...] = ()


class Arithmetic:
    """Unknowns, and operations on values that are written in them."""

    def __init__(self, unit: float) -> None:
        self.looked, self.unit = 0, unit
        self.unknowns: list[Unknown] = []
        self.ranges: dict[Any, tuple[fmpq, fmpq]] = {}
        self.numbers: dict[Any, int] = {}

    def range(self, p: Poly) -> tuple[fmpq, fmpq]:
        """Bounds: sharp for a monomial times a polynomial in one clip, form or map, added up over such parts."""
        if p.ends is not None:
            return p.ends
        if p.keys() <= {()}:
            p.ends = p.get((), fmpq(0)), p.get((), fmpq(0))
            return p.ends
        if (key := frozenset(p.items())) not in self.ranges:
            parts: dict[Any, dict[int, fmpq]] = {}
            for m, c in sorted(p.items(), key=lambda item: -len(item[0])):
                clips = {i for i in m if self.unknowns[i].kind in SHARP}
                z = min(clips) if len(clips) == 1 else None
                rest = tuple(i for i in m if i != z)
                if not clips:  # a constant part joins the polynomial with the same monomial
                    z = next((other for factor, other in parts if factor == rest), None)
                parts.setdefault((rest, z), {})[len(m) - len(rest)] = c
            low = high = fmpq(0)
            for (rest, z), powers in parts.items():
                ends = (powers[0], powers[0]) if z is None else self.extremes(powers, z)
                for i in set(rest):
                    corners = [bounded(a * b) for a in ends for b in self.extremes({rest.count(i): fmpq(1)}, i)]
                    ends = min(corners), max(corners)
                low, high = bounded(low + ends[0]), bounded(high + ends[1])
            self.ranges[key] = low, high
        p.ends = self.ranges[key]
        return p.ends

    def extremes(self, powers: dict[int, fmpq], i: int) -> tuple[fmpq, fmpq]:
        """Bounds of a polynomial in one unknown."""
        if len(powers) > 1 and max(powers) > 2:
            self.look(LOOKS_A_RANGE * max(powers))
        return extremes(powers, self.unknowns[i].low, self.unknowns[i].high)

    def size(self, p: Poly) -> float:
        return above(max(map(abs, self.range(p))))

    def unknown(self, kind: str, low: fmpq, high: fmpq, *of: Poly) -> Poly:
        """A new unknown, or the one with the same definition and range, which a clip is defined by."""
        key = (kind, low, high, *(frozenset(p.items()) for p in of)) if of else len(self.unknowns)
        if self.numbers.setdefault(key, len(self.unknowns)) == len(self.unknowns):
            self.unknowns.append(Unknown(kind, low, high, of))
        return Poly({(self.numbers[key],): fmpq(1)})

    def look(self, numbers: int) -> None:
        """Count the numbers that were looked at, and the terms that were multiplied."""
        self.looked += numbers
        require(self.looked <= MOST_LOOKS, "network", f"at most {MOST_LOOKS} numbers to be looked at", "more")

    def kinds(self, p: Poly) -> set[str]:
        return {self.unknowns[i].kind for m in p for i in m}

    def add(self, parts: Iterable[Value]) -> Value:
        """fl of a sum, in any order."""
        parts = [(p, e) for p, e in parts if p or e]
        error, size = math.fsum(e for _, e in parts), math.fsum(self.size(p) + e for p, e in parts)
        require(size < LARGEST, "network", "sums in the range of its arithmetic", "larger ones")
        total = Poly.of(item for p, _ in parts for item in p.items())
        if len(parts) > 1 and spread(self.unit, *parts) > 1 / self.unit:
            share = (len(parts) - 1) * self.unit
            require(share < 0.5, "network", "sums of fewer terms", f"{len(parts)} of them")
            error += share * (self.size(total) + error) if len(parts) == 2 else share / (1 - share) * size
        return total, error

    def times(self, a: Value, b: Value) -> Value:
        (p, d), (q, e), unit = a, b, self.unit
        if not (p or d) or not (q or e):  # 0 times what is finite
            return Poly(), 0.0
        self.look(LOOKS_A_SUM + LOOKS_A_TERM * len(p) * len(q) * (1 + (p.bits() + q.bits()) // 256))
        error, whole = d * self.size(q) + self.size(p) * e + d * e, p * q
        if not (keeps(unit, a) or keeps(unit, b)) and spread(unit, (whole, d + e)) > 1 / unit:
            error += unit * (self.size(p) + d) * (self.size(q) + e) + TINY[unit]
        return whole, error

    def functional(self, weights: list[float], values: list[Value], bias: float = 0.0) -> Value:
        self.look(
            len(weights)
            + LOOKS_A_SUM
            + LOOKS_A_TERM * sum(len(v) for w, (v, _) in zip(weights, values, strict=True) if w)
        )
        terms = [self.scaled(w, value) for w, value in zip(weights, values, strict=True) if w and any(value)]
        return self.add([*terms, (number(bias), 0.0)])

    def scaled(self, weight: float, value: Value) -> Value:
        """fl of a weight times a value: exact for a power of two, or a number that can be represented."""
        p, error = value[0] * number(weight), value[1] * abs(weight)
        if spread(self.unit, (p, error)) <= 1 / self.unit:
            return p, error
        power = abs(math.frexp(weight)[0]) == 0.5
        require(self.size(p) + error < LARGEST, "network", "products in the range of its arithmetic", "larger ones")
        return p, error + (0 if power else self.unit * (self.size(p) + error)) + TINY[self.unit]

    def relu(self, value: Value, factor: Value | None = None) -> Value:
        """fl of relu(value) times a factor."""
        (p, error), factor = value, factor or (number(1), 0.0)
        low, high = self.range(p)
        if high <= 0:
            p, error = Poly(), error if high + rational(error) > 0 else 0.0
        elif -low * 2**50 <= max(high, -low):
            error += above(max(-low, fmpq(0)))
        elif any(factor[0]):
            most = (above(high) + error) * (self.size(factor[0]) + factor[1])
            require(most < LARGEST, "network", "products in the range of its arithmetic", "larger ones")
            return self.free(Poly(), most * (1 + 1e-9 + 2 * self.unit) + TINY[self.unit])
        else:
            for m, c in p.items():  # relu(relu(y) + rest) = relu(y + rest) where rest <= 0
                rest = p - Poly({m: c})
                if self.is_relu(m) and c > 0 and self.range(rest)[1] <= 0:
                    p = rest + self.unknowns[m[0]].of[0] * Poly({(): c})
                    break
            common = tuple(sorted(i for i in set.intersection(*map(set, p)) if self.unknowns[i].low >= 0))
            for i in common:
                p = Poly({m[: m.index(i)] + m[m.index(i) + 1 :]: c for m, c in p.items()})
            scale = abs(p[min(p)])  # the same unknown for all positive multiples
            p = p * Poly({(): 1 / scale})
            p = self.unknown("relu", fmpq(0), max(self.range(p)[1], fmpq(0)), p) * Poly({common: scale})
        return self.times((p, error), factor)

    def is_relu(self, m: tuple[int, ...]) -> bool:
        return len(m) == 1 and self.unknowns[m[0]].kind == "relu"

    def free(self, p: Poly, error: float) -> Value:
        low, high = self.range(p)
        return self.unknown("free", low - rational(error), high + rational(error)), 0.0
