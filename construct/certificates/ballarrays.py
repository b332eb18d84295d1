"""Arrays of balls with float64 midpoints and radii: ball arithmetic on many cells at once.

Every operation rounds to nearest, in any order, fused or not: with u = 2^-53 and n products,
`|fl(a . b) - a . b| <= n u / (1 - n u) |a| . |b|`, and what underflows is below `TINY`. A radius takes that in, the
radii of the operands, and, by the factor `GROW`, the rounding of its own computation. Midpoints or radii that overflow
are infinite or NaN, which no bound is below.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from flint import arb

from construct.arrays import Float

UNIT = 2.0**-53
GROW = 1 + 2.0**-30  # of sums of fewer than MOST_TERMS terms, and of what is made of them
MOST_TERMS = 1 << 20
TINY = 2.0**-1000


@dataclass(frozen=True, eq=False)
class Balls:
    """Numbers within `radius` of `middle`, two arrays of one shape; radius >= 0, or NaN where nothing is known."""

    middle: Float
    radius: Float

    @staticmethod
    def exact(values: Float) -> Balls:
        return Balls(values, np.zeros_like(values))

    @staticmethod
    def of(values: Sequence[arb], shape: tuple[int, ...]) -> Balls:
        """Balls of a list; those without bounds have an infinite radius."""
        pairs = [(float(v.mid()), float(v.rad())) if v.is_finite() else (0.0, np.inf) for v in values]
        middle, radius = np.array(pairs, dtype=np.float64).reshape(-1, 2).T.reshape(2, *shape)
        return Balls(middle, GROW * radius + 2 * UNIT * np.abs(middle) + TINY)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.middle.shape

    def __getitem__(self, key: Any) -> Balls:
        return Balls(self.middle[key], self.radius[key])

    def transposed(self) -> Balls:
        return Balls(self.middle.T, self.radius.T)

    def size(self) -> Float:
        """Bounds of the absolute values."""
        return (np.abs(self.middle) + self.radius) * GROW

    def high(self) -> Float:
        """Upper bounds."""
        return self.middle + (self.radius + 2 * UNIT * np.abs(self.middle)) * GROW

    def low(self) -> Float:
        """Lower bounds."""
        return -(-self).high()

    def __neg__(self) -> Balls:
        return Balls(-self.middle, self.radius)

    def __add__(self, other: Balls) -> Balls:
        middle = self.middle + other.middle
        return Balls(middle, (self.radius + other.radius + 2 * UNIT * np.abs(middle)) * GROW)

    def __sub__(self, other: Balls) -> Balls:
        return self + -other

    def __mul__(self, other: Balls) -> Balls:
        middle, size = self.middle * other.middle, np.abs(self.middle)
        spread = size * other.radius + self.radius * (np.abs(other.middle) + other.radius)
        return Balls(middle, (spread + 2 * UNIT * np.abs(middle)) * GROW + TINY)

    def __matmul__(self, other: Balls) -> Balls:
        """Matrix products of stacks of matrices."""
        terms = self.shape[-1]
        assert terms < MOST_TERMS
        size = np.abs(other.middle)
        spread = np.abs(self.middle) @ (other.radius + 2 * (terms + 1) * UNIT * size)
        if self.radius.any():
            spread = spread + self.radius @ (size + other.radius)
        return Balls(self.middle @ other.middle, spread * GROW**2 + terms * TINY)

    def widened(self, more: Float) -> Balls:
        """With larger radii."""
        return Balls(self.middle, (self.radius + more) * GROW)

    def series_product(self, other: Balls) -> Balls:
        """Products of polynomials, whose coefficients are along the first axis."""
        terms = min(len(self.middle), len(other.middle))
        size = np.abs(other.middle)
        spread = _convolved(np.abs(self.middle), other.radius + 2 * (terms + 1) * UNIT * size)
        spread = spread + _convolved(self.radius, size + other.radius)
        return Balls(_convolved(self.middle, other.middle), spread * GROW + terms * TINY)


def _convolved(a: Float, b: Float) -> Float:
    if len(a) < len(b):
        a, b = b, a
    out = np.zeros((len(a) + len(b) - 1, *np.broadcast_shapes(a.shape[1:], b.shape[1:])))
    for j in range(len(b)):
        out[j : j + len(a)] += a * b[j]
    return out
