"""Expressions on many boxes at once: enclosures of values and of first derivatives, in float64, rounded outwards.

What `Expression.ball` proves on one box in ball arithmetic, this proves of thousands in one pass: wherever the
expression is defined its value is in [lower, upper], and wherever it is differentiable its derivatives are in
[down, up]. Assumed are IEEE 754 to nearest, and that numpy's exp, sin, cos, tanh and powers are off by at most
`ULPS` / 2 units in the last place (numpy states 4 for the least accurate ones that it has); results below the normal
range may be flushed to zero by those functions, not by sums and products. After a sum or a product the ends go to the
next float outwards, after a function by `SLACK` times their size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from construct.arrays import Float
from construct.expressions.algebra import Algebra

ULPS = 8
SLACK = 2 * ULPS * 2.0**-53  # relative, of a function: an ulp is at most 2^-52 of the number
POWER_SLACK = 2.0**-42  # of t^(p - 1) with p - 1 rounded: off by |(p - 1) log t| 2^-53, at most 745 times that
TINY = 2.0**-1021  # absolute, of a function: twice the smallest normal number
LARGEST = float(np.finfo(np.float64).max)
FAR = 2.0**40  # sines of larger arguments are between -1 and 1, and that is all


class Range(NamedTuple):
    """On n boxes: lower, upper (n,) of the values; and down, up (d, n) of the derivatives in each of d parameters.

    Infinite where nothing is known.
    """

    lower: Float
    upper: Float
    down: Float
    up: Float

    @property
    def slopes(self) -> Float:
        """Largest |derivative|, (d, n)."""
        return np.maximum(np.abs(self.down), np.abs(self.up))


def parameters(lower: Float, upper: Float) -> tuple[Range, ...]:
    """The d parameters themselves on boxes lower, upper (n, d)."""
    unit = np.eye(lower.shape[1])[:, :, None] * np.ones(len(lower))
    return tuple(Range(lower[:, j], upper[:, j], unit[j], unit[j]) for j in range(lower.shape[1]))


def combined(weights: Float, shift: Float, ranges: Sequence[Range]) -> tuple[Range, ...]:
    """The linear combinations with the rows of `weights (m, k)` of k ranges, plus `shift (m,)`.

    Of a sum of k + 1 terms, in any order, each is off by less than (k + 2) 2^-53 of the sum of sizes.
    """
    plus, minus = np.maximum(weights, 0.0), np.minimum(weights, 0.0)
    lower, upper, down, up = (np.stack(parts) for parts in zip(*ranges, strict=True))
    with np.errstate(all="ignore"):
        low, high = plus @ lower + minus @ upper + shift[:, None], plus @ upper + minus @ lower + shift[:, None]
        sizes = np.abs(weights) @ np.maximum(np.abs(lower), np.abs(upper)) + np.abs(shift)[:, None]
        steep = np.einsum("mk,kdn->mdn", np.abs(weights), np.maximum(np.abs(down), np.abs(up)))
        fall, rise = (np.einsum("mk,kdn->mdn", plus, p) + np.einsum("mk,kdn->mdn", minus, q)
                      for p, q in ((down, up), (up, down)))  # fmt: skip
        slack = (2 * weights.shape[1] + 8) * 2.0**-53
        values, slopes = _widened(low, high, slack, sizes), _widened(fall, rise, slack, steep)
    return tuple(Range(*parts) for parts in zip(*_known(*values), *_known(*slopes), strict=True))


# -- rounding outwards -----------------------------------------------------------------------------------------------


def _outwards(low: Float, high: Float) -> tuple[Float, Float]:
    """Of the result of one operation that is rounded to nearest: of an overflow the largest float is a bound."""
    return np.nextafter(low, -np.inf), np.nextafter(high, np.inf)


def _widened(low: Float, high: Float, slack: float = SLACK, sizes: Float | None = None) -> tuple[Float, Float]:
    """By `slack` times the ends, or the sizes, and TINY; an end that overflowed is the largest float, as that much is
    certain."""
    low, high = np.minimum(low, LARGEST), np.maximum(high, -LARGEST)
    of_low, of_high = (np.abs(low), np.abs(high)) if sizes is None else (sizes, sizes)
    return low - (slack * of_low + TINY), high + (slack * of_high + TINY)


def _known(low: Float, high: Float) -> tuple[Float, Float]:
    """Infinite where an end is no number."""
    unknown = np.isnan(low) | np.isnan(high)
    return np.where(unknown, -np.inf, low), np.where(unknown, np.inf, high)


def _product(a: Float, b: Float, c: Float, d: Float) -> tuple[Float, Float]:
    """The interval [a, b] [c, d]; 0 times infinity is anything."""
    ends = np.stack(np.broadcast_arrays(a * c, a * d, b * c, b * d))
    unknown = np.isnan(ends).any(axis=0)
    return _outwards(np.where(unknown, -np.inf, ends.min(axis=0)), np.where(unknown, np.inf, ends.max(axis=0)))


def _hull(a: Float, b: Float) -> tuple[Float, Float]:
    return np.minimum(a, b), np.maximum(a, b)


class RangeAlgebra(Algebra[Range]):
    """Numbers are ranges; the variable x_j is `point[j]`."""

    def __init__(self, point: Sequence[Range]) -> None:
        self.point = tuple(point)
        self.shape = point[0].down.shape

    def constant(self, value: int | float) -> Range:
        at, zero = np.full(self.shape[1], float(value)), np.zeros(self.shape)
        low, high = (at, at) if float(value) == value else _outwards(at, at)  # an int of more than 53 bits
        return Range(low, high, zero, zero)

    def variable(self, index: int) -> Range:
        return self.point[index]

    def add(self, a: Range, b: Range) -> Range:
        return Range(*_outwards(a.lower + b.lower, a.upper + b.upper), *_outwards(a.down + b.down, a.up + b.up))

    def multiply(self, a: Range, b: Range) -> Range:
        if a is b:
            return self.power(a, 2)
        first = _product(a.lower, a.upper, b.down, b.up)
        second = _product(b.lower, b.upper, a.down, a.up)
        slopes = _outwards(first[0] + second[0], first[1] + second[1])
        return Range(*_product(a.lower, a.upper, b.lower, b.upper), *slopes)

    def divide(self, a: Range, b: Range) -> Range:
        return self.multiply(a, self.power(b, -1))

    def power(self, a: Range, exponent: int | float) -> Range:
        if isinstance(exponent, int) and exponent > 0:
            odd = exponent % 2 == 1
            low, high = self._power_ends(a, exponent - 1, odd=not odd)
            return self._chain(a, self._power_ends(a, exponent, odd=odd), _outwards(exponent * low, exponent * high))
        away = (a.lower > 0) | ((a.upper < 0) if isinstance(exponent, int) else False)
        ends = _widened(*_hull(a.lower**exponent, a.upper**exponent))
        low, high = _widened(*_hull(a.lower ** (exponent - 1.0), a.upper ** (exponent - 1.0)), POWER_SLACK)
        slope = _outwards(*_hull(exponent * low, exponent * high))
        if not isinstance(exponent, int) and exponent > 0:  # a root: bounded at 0, its slope is not
            low, high = _widened(np.maximum(a.lower, 0.0) ** exponent, np.maximum(a.upper, 0.0) ** exponent)
            return self._chain(a, (np.maximum(low, 0.0), high), self._where(away, slope))
        return self._chain(a, self._where(away, ends), self._where(away, slope))

    def exp(self, a: Range) -> Range:
        low, high = _widened(np.exp(a.lower), np.exp(a.upper))
        return self._chain(a, (np.maximum(low, 0.0), high), (np.maximum(low, 0.0), high))

    def sin(self, a: Range) -> Range:
        return self._chain(a, _wave(np.sin, a, 0.25), _wave(np.cos, a, 0.0))

    def cos(self, a: Range) -> Range:
        low, high = _wave(np.sin, a, 0.25)
        return self._chain(a, _wave(np.cos, a, 0.0), (-high, -low))

    def sqrt(self, a: Range) -> Range:
        return self.power(a, 0.5)

    def tanh(self, a: Range) -> Range:
        nearest, farthest = _distances(a)
        low, high = _widened(np.tanh(a.lower), np.tanh(a.upper))
        falling = _bell(farthest)[0], _bell(nearest)[1]
        return self._chain(a, (np.maximum(low, -1.0), np.minimum(high, 1.0)), falling)

    def abs(self, a: Range) -> Range:
        side = np.where(a.lower >= 0, 1.0, -1.0), np.where(a.upper <= 0, -1.0, 1.0)
        return self._chain(a, _distances(a), side)

    def nonnegative(self, a: Range) -> Range:
        return a._replace(lower=np.maximum(a.lower, 0.0))

    @staticmethod
    def _chain(a: Range, values: tuple[Float, Float], slope: tuple[Float, Float]) -> Range:
        """A function of a, from the intervals of its values and of its derivative."""
        return Range(*_known(*values), *_product(slope[0], slope[1], a.down, a.up))

    @staticmethod
    def _where(known: Any, ends: tuple[Float, Float]) -> tuple[Float, Float]:
        return np.where(known, ends[0], -np.inf), np.where(known, ends[1], np.inf)

    @staticmethod
    def _power_ends(a: Range, exponent: int, *, odd: bool) -> tuple[Float, Float]:
        """{t^n : t in a}, n >= 0."""
        if exponent < 2:
            ends = np.ones_like(a.lower) if exponent == 0 else a.lower
            return ends, ends if exponent == 0 else a.upper
        if odd:
            return _widened(a.lower**exponent, a.upper**exponent)
        nearest, farthest = _distances(a)
        low, high = _widened(nearest**exponent, farthest**exponent)
        return np.maximum(low, 0.0), high


def _distances(a: Range) -> tuple[Float, Float]:
    """The interval of |a|."""
    nearest = np.where((a.lower <= 0) & (a.upper >= 0), 0.0, np.minimum(np.abs(a.lower), np.abs(a.upper)))
    return nearest, np.maximum(np.abs(a.lower), np.abs(a.upper))


def _bell(t: Float) -> tuple[Float, Float]:
    """1 - tanh^2 t = 4 e / (1 + e)^2, e = exp(-2 t), t >= 0: small where it is small, as e is; it grows with e <= 1.

    An e that is widened beyond 1, by SLACK, takes SLACK^2 / 4 off at most, which the second widening covers.
    """
    e = _widened(np.exp(-2 * t), np.exp(-2 * t))
    low, high = (4 * end / (1 + end) ** 2 for end in (np.maximum(e[0], 0.0), e[1]))
    low, high = _widened(low, high)
    return np.maximum(low, 0.0), np.minimum(high, 1.0)


def _wave(function: Callable[[Float], Float], a: Range, top: float) -> tuple[Float, Float]:
    """{sin t : t in a}, top = 1/4, or {cos t}, top = 0: the periods at which there is a maximum, k + top.

    Numbers of periods are off by less than `loose`, so that a maximum is seen that is not there rather than missed.
    """
    low, high = _hull(function(a.lower), function(a.upper))
    first, last = a.lower / (2 * math.pi), a.upper / (2 * math.pi)
    loose = 16 * 2.0**-53 * (np.maximum(np.abs(first), np.abs(last)) + 1)
    first, last = first - loose, last + loose
    upper = np.floor(last - top) > np.floor(first - top)
    lower = np.floor(last - top - 0.5) > np.floor(first - top - 0.5)
    unknown = ~((np.abs(a.lower) < FAR) & (np.abs(a.upper) < FAR))
    low, high = low - (SLACK + TINY), high + (SLACK + TINY)  # of 1, whatever the sine is
    return np.where(lower | unknown, -1.0, np.maximum(low, -1.0)), np.where(upper | unknown, 1.0, np.minimum(high, 1.0))


def on_boxes(run: Callable[[RangeAlgebra], Sequence[Range]], point: Sequence[Range]) -> Sequence[Range]:
    """What a program makes of ranges, without numpy's warnings: infinities are what is not known."""
    with np.errstate(all="ignore"):
        return run(RangeAlgebra(point))
