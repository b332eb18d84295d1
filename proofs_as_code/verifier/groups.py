"""Ridge functions with the same G: their forms as arrays, and G about any numbers."""

from __future__ import annotations

import math

import numpy as np
from flint import fmpq

from proofs_as_code.verifier.formulas import Polynomial, Ridge
from proofs_as_code.verifier.near import Array, Near, convolved, joined, plus, rationals, times


class Group:
    """Ridge functions with the same G: weights (n,), forms lambda (n, k), constants (n,), ends of clips (n,), and
    numbers of windows (n,)."""

    def __init__(self, chain: tuple[Polynomial, ...], members: list[Ridge], k: int) -> None:
        n, self.windows = len(members), np.array([member.window for member in members])
        self.degree, self.chain = math.prod(len(p) - 1 for p in chain), [[rationals([c], 1) for c in p] for p in chain]
        self.weight = rationals([member.weight for member in members], n)
        self.linear = rationals([m.form.get((i,), fmpq(0)) for m in members for i in range(k)], n, k)
        self.constant = rationals([member.form.get((), fmpq(0)) for member in members], n)
        ends = [member.ends for member in members]
        self.low, self.high = (
            np.array([math.inf if e is None else below(sign * e[side]) for e in ends])
            for side, sign in ((0, -1), (1, 1))
        )  # upper ends of -l and l

    @property
    def size(self) -> int:
        """The number of its coefficients."""
        return (self.degree + 1) * len(self.low)

    @staticmethod
    def parts(chain: tuple[Polynomial, ...], members: list[Ridge], most: int) -> list[list[Ridge]]:
        """Members with so many coefficients at most."""
        step = max(1, most // (1 + math.prod(len(p) - 1 for p in chain)))
        return [members[n : n + step] for n in range(0, len(members), step)]

    def series(self, a: Array) -> Near:
        """g_(t,j), (degree + 1, cells, n), weights included."""
        g = Near(np.stack([a, np.ones_like(a)]), np.zeros((2, *a.shape)))
        for polynomial in self.chain:
            x, g = g, times(g, polynomial[-1])
            for place in range(len(polynomial) - 2, -1, -1):
                g = joined([plus(g.at(slice(1)), polynomial[place]), g.at(slice(1, None))], 0)
                g = convolved(g, x) if place else g
        return times(g, self.weight)


def below(number: fmpq) -> float:
    """A float that is not above a rational number."""
    value = int(number.p) / int(number.q)
    return value if fmpq(*value.as_integer_ratio()) <= number else math.nextafter(value, -math.inf)
