"""Directions for width 5: zigzag waves of a token's position, made by the feed-forward network, so that none is stored.

A token at position t = 1..T gets `w_0 = t / T` and, for i = 1 .. k - 1, `w_i = 2^f_i u_i / T`, where u_i is t after
`f_i` tent folds `u <- relu(u) - 2 relu(u - M)`, M = T/2, T/4, ..: a zigzag of `2^f_i` straight pieces between 0 and 1.
So the curve of directions `(w_0, .., w_(k-1))` visits `2^f_1` lines in the first two coordinates, `2^(f_2 - f_1)` over
each of them in the third, and so on. T is a power of two: every wave is a dyadic rational, exact in floating point.

Octant: alpha = w. Signed: `alpha = 2 w - 1`, much better conditioned where M surrounds its centre, as a torus does; the
network takes the common part `sum_i v_i y_i` off, with a head for each i.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from construct.arrays import Float
from construct.program.gadgets import zigzag_numbers
from construct.validation import invalid, positive_integer

LONGEST = 2**12
"""Positions at most: the waves are exact far beyond, but the code t^2 is not in float32."""


@dataclass(frozen=True)
class Waves:
    """The directions of positions 1..T; member number n is that of position n + 1.

    Attributes:
        folds: (k - 1,) f_i, increasing, with `2^f_i` at most T / 2.
        length: T, a power of two.
        signed: whether alpha is `2 w - 1` instead of w.
    """

    folds: tuple[int, ...]
    length: int = 512
    signed: bool = False

    def __post_init__(self) -> None:
        positive_integer(self.length, "length")
        if self.length & (self.length - 1) or not 2 <= self.length <= LONGEST:
            raise invalid("length", f"a power of two from 2 to {LONGEST}", self.length)
        for f in self.folds:
            positive_integer(f, "folds")
        if any(b <= a for a, b in zip(self.folds, self.folds[1:], strict=False)):
            raise invalid("folds", "increasing numbers", self.folds)
        if self.folds and 2 ** (self.folds[-1] + 1) > self.length:
            raise invalid("folds", f"numbers with 2^(f + 1) at most the length {self.length}", self.folds)
        if not isinstance(self.signed, bool):
            raise invalid("signed", "a bool", self.signed)

    @property
    def dim(self) -> int:
        """k."""
        return len(self.folds) + 1

    @property
    def count(self) -> int:
        """T."""
        return self.length

    @property
    def doublings(self) -> int:
        """log2 T."""
        return self.length.bit_length() - 1

    @property
    def numbers(self) -> int:
        """Non-zeros of the feed-forward networks that make the waves."""
        return sum(zigzag_numbers(f, held) for f, held in zip(self.folds, (0, *self.folds), strict=False))

    @cached_property
    def waves(self) -> Float:
        """(T, k), w of the positions 1..T."""
        u = np.arange(1, self.length + 1, dtype=np.float64)
        found, middle, done = [u / self.length], self.length / 2, 0
        for f in self.folds:
            while done < f:
                u = np.maximum(u, 0.0) - 2 * np.maximum(u - middle, 0.0)
                middle, done = middle / 2, done + 1
            found.append(u * (2.0**f / self.length))
        return np.stack(found, axis=1)

    @cached_property
    def vectors(self) -> Float:
        """(T, k) alpha."""
        return 2 * self.waves - 1 if self.signed else self.waves
