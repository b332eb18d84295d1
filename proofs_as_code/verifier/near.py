"""Arrays of floats with bounds of how far they are off: what NumPy computes, in float64 and in any order, with proof.

u = 2^-53. fl(a b) = a b (1 + e) + h, fl(a + b) = (a + b)(1 + e), |e| <= u, |h| < TINY; a sum of n products is off by at
most n u / (1 - n u) times the sum of their sizes, fused or not. The bounds are computed in floats, too: each is raised
by a part in 2^30, far more than fewer than 2^20 operations on numbers >= 0 may lose. What overflows is infinite or NaN,
and no bound.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from flint import arb, fmpq

U, RAISED, TINY, MOST = 2.0**-53, 1 + 2.0**-30, 2.0**-1000, 1 << 20
Array = np.ndarray[Any, Any]


class Near(NamedTuple):
    """Numbers within `off` of `value`, of one shape."""

    value: Array
    off: Array

    def most(self) -> Array:
        """Bounds of the absolute values."""
        return (abs(self.value) + self.off) * RAISED

    def top(self) -> Array:
        """Upper bounds."""
        return self.value + (self.off + 2 * U * abs(self.value)) * RAISED

    def at(self, *key: Any) -> Near:
        return Near(self.value[key], self.off[key])

    def negative(self) -> Near:
        return Near(-self.value, self.off)


def balls(values: Iterable[arb], *shape: int) -> Near:
    """A list of balls; those without ends are NaN."""
    pairs = [(float(v.mid()), float(v.rad())) if v.is_finite() else (np.nan, np.nan) for v in values]
    value, off = np.array(pairs, dtype=float).reshape(-1, 2).T
    return Near(value.reshape(shape), (off * RAISED + 2 * U * abs(value) + TINY).reshape(shape))


def rationals(values: Iterable[fmpq], *shape: int) -> Near:
    """A list of rational numbers, exact where they are floats."""
    numbers = list(values)
    near = balls(map(arb, numbers), len(numbers))
    exact = [fmpq(*float(v).as_integer_ratio()) == q for v, q in zip(near.value, numbers, strict=True)]
    return Near(near.value.reshape(shape), np.where(exact, 0.0, near.off).reshape(shape))


def plus(a: Near, b: Near) -> Near:
    value = a.value + b.value
    return Near(value, (a.off + b.off + 2 * U * abs(value)) * RAISED)


def times(a: Near, b: Near) -> Near:
    value = a.value * b.value
    off = abs(a.value) * b.off + a.off * abs(b.value) + a.off * b.off + 2 * U * abs(value)
    return Near(value, off * RAISED + TINY)


def dot(a: Near, b: Near) -> Near:
    """Products of matrices, or of stacks of them."""
    n = a.value.shape[-1]
    assert n < MOST
    p, q = abs(a.value), abs(b.value)
    off = p @ b.off + a.off @ (q + b.off) + (2 * n * U + 2 * U) * (p @ q)
    return Near(a.value @ b.value, off * RAISED * RAISED + n * TINY)


def convolved(a: Near, b: Near) -> Near:
    """Products of polynomials with coefficients along the first axis."""

    def whole(u: Array, v: Array) -> Array:
        out = np.zeros((len(u) + len(v) - 1, *np.broadcast_shapes(u.shape[1:], v.shape[1:])))
        for k, factor in enumerate(v):
            out[k : k + len(u)] += u * factor
        return out

    n, p, q = min(len(a.value), len(b.value)), abs(a.value), abs(b.value)
    off = whole(p, b.off + 2 * (n + 1) * U * q) + whole(a.off, q + b.off)
    return Near(whole(a.value, b.value), off * RAISED + n * TINY)


def joined(parts: list[Near], axis: int) -> Near:
    return Near(np.concatenate([p.value for p in parts], axis), np.concatenate([p.off for p in parts], axis))
