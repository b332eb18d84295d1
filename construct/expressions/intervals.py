"""Expressions on many boxes at once: intervals of values and of first derivatives, in plain float64.

What `Expression.ball` proves on one box, this says of thousands in one pass, up to the rounding of float64, which is
not added. So it decides where to look, and proves nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from construct.arrays import Float
from construct.expressions.algebra import Algebra


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
    """The linear combinations with the rows of `weights (m, k)` of k ranges, plus `shift (m,)`."""
    plus, minus = np.maximum(weights, 0.0), np.minimum(weights, 0.0)
    lower, upper, down, up = (np.stack(parts) for parts in zip(*ranges, strict=True))
    values = plus @ lower + minus @ upper + shift[:, None], plus @ upper + minus @ lower + shift[:, None]
    slopes = [np.einsum("mk,kdn->mdn", a, p) + np.einsum("mk,kdn->mdn", b, q)
              for a, p, b, q in ((plus, down, minus, up), (plus, up, minus, down))]  # fmt: skip
    return tuple(Range(*parts) for parts in zip(*values, *slopes, strict=True))


def _product(a: Float, b: Float, c: Float, d: Float) -> tuple[Float, Float]:
    """The interval [a, b] [c, d]; 0 times infinity is anything."""
    ends = np.stack(np.broadcast_arrays(a * c, a * d, b * c, b * d))
    unknown = np.isnan(ends).any(axis=0)
    return np.where(unknown, -np.inf, ends.min(axis=0)), np.where(unknown, np.inf, ends.max(axis=0))


def _hull(a: Float, b: Float) -> tuple[Float, Float]:
    return np.minimum(a, b), np.maximum(a, b)


class RangeAlgebra(Algebra[Range]):
    """Numbers are ranges; the variable x_j is `point[j]`."""

    def __init__(self, point: Sequence[Range]) -> None:
        self.point = tuple(point)
        self.shape = point[0].down.shape

    def constant(self, value: int | float) -> Range:
        at, zero = np.full(self.shape[1], float(value)), np.zeros(self.shape)
        return Range(at, at, zero, zero)

    def variable(self, index: int) -> Range:
        return self.point[index]

    def add(self, a: Range, b: Range) -> Range:
        return Range(a.lower + b.lower, a.upper + b.upper, a.down + b.down, a.up + b.up)

    def multiply(self, a: Range, b: Range) -> Range:
        if a is b:
            return self.power(a, 2)
        first = _product(a.lower, a.upper, b.down, b.up)
        second = _product(b.lower, b.upper, a.down, a.up)
        return Range(*_product(a.lower, a.upper, b.lower, b.upper), first[0] + second[0], first[1] + second[1])

    def divide(self, a: Range, b: Range) -> Range:
        return self.multiply(a, self.power(b, -1))

    def power(self, a: Range, exponent: int | float) -> Range:
        if isinstance(exponent, int) and exponent > 0:
            odd = exponent % 2 == 1
            slope = self._power_ends(a, exponent - 1, odd=not odd)
            slope = exponent * slope[0], exponent * slope[1]
            return self._chain(a, self._power_ends(a, exponent, odd=odd), slope)
        away = (a.lower > 0) | ((a.upper < 0) if isinstance(exponent, int) else False)
        ends = _hull(a.lower**exponent, a.upper**exponent)
        slope = _hull(exponent * a.lower ** (exponent - 1.0), exponent * a.upper ** (exponent - 1.0))
        if not isinstance(exponent, int) and exponent > 0:  # a root: bounded at 0, its slope is not
            low, high = np.maximum(a.lower, 0.0) ** exponent, np.maximum(a.upper, 0.0) ** exponent
            return self._chain(a, (low, high), self._where(away, slope))
        return self._chain(a, self._where(away, ends), self._where(away, slope))

    def exp(self, a: Range) -> Range:
        ends = np.exp(a.lower), np.exp(a.upper)
        return self._chain(a, ends, ends)

    def sin(self, a: Range) -> Range:
        return self._chain(a, _sine(a.lower, a.upper), _sine(a.lower + math.pi / 2, a.upper + math.pi / 2))

    def cos(self, a: Range) -> Range:
        values = _sine(a.lower + math.pi / 2, a.upper + math.pi / 2)
        return self._chain(a, values, _sine(a.lower + math.pi, a.upper + math.pi))

    def sqrt(self, a: Range) -> Range:
        return self.power(a, 0.5)

    def tanh(self, a: Range) -> Range:
        nearest, farthest = _distances(a)
        falling = 1.0 - np.tanh(farthest) ** 2, 1.0 - np.tanh(nearest) ** 2
        return self._chain(a, (np.tanh(a.lower), np.tanh(a.upper)), falling)

    def abs(self, a: Range) -> Range:
        side = np.where(a.lower >= 0, 1.0, -1.0), np.where(a.upper <= 0, -1.0, 1.0)
        return self._chain(a, _distances(a), side)

    def nonnegative(self, a: Range) -> Range:
        return a._replace(lower=np.maximum(a.lower, 0.0))

    @staticmethod
    def _chain(a: Range, values: tuple[Float, Float], slope: tuple[Float, Float]) -> Range:
        """A function of a, from the intervals of its values and of its derivative."""
        known = ~(np.isnan(values[0]) | np.isnan(values[1]))
        lower, upper = np.where(known, values[0], -np.inf), np.where(known, values[1], np.inf)
        return Range(lower, upper, *_product(slope[0], slope[1], a.down, a.up))

    @staticmethod
    def _where(known: Any, ends: tuple[Float, Float]) -> tuple[Float, Float]:
        return np.where(known, ends[0], -np.inf), np.where(known, ends[1], np.inf)

    @staticmethod
    def _power_ends(a: Range, exponent: int, *, odd: bool) -> tuple[Float, Float]:
        """{t^n : t in a}, n >= 0."""
        if odd:
            return a.lower**exponent, a.upper**exponent
        nearest, farthest = _distances(a)
        return nearest**exponent, farthest**exponent


def _distances(a: Range) -> tuple[Float, Float]:
    """The interval of |a|."""
    nearest = np.where((a.lower <= 0) & (a.upper >= 0), 0.0, np.minimum(np.abs(a.lower), np.abs(a.upper)))
    return nearest, np.maximum(np.abs(a.lower), np.abs(a.upper))


def _sine(a: Float, b: Float) -> tuple[Float, Float]:
    """{sin t : a <= t <= b}."""
    low, high = _hull(np.sin(a), np.sin(b))
    full = 2 * math.pi
    top = np.floor((b - math.pi / 2) / full) > np.floor((a - math.pi / 2) / full)  # a maximum lies in between
    bottom = np.floor((b + math.pi / 2) / full) > np.floor((a + math.pi / 2) / full)
    unknown = ~(np.isfinite(a) & np.isfinite(b))
    return np.where(bottom | unknown, -1.0, low), np.where(top | unknown, 1.0, high)


def on_boxes(run: Callable[[RangeAlgebra], Sequence[Range]], point: Sequence[Range]) -> Sequence[Range]:
    """What a program makes of ranges, without numpy's warnings: infinities are what is not known."""
    with np.errstate(all="ignore"):
        return run(RangeAlgebra(point))
