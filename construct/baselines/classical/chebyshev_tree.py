"""A bisection tree of boxes that overlap, with a Chebyshev polynomial on each leaf, blended by a partition of unity.

The box [a, b] of a node is halved along one axis into [a, c + h] and [c - h, b], c its middle and h = OVERLAP (b - a) /
2 (Aiton and Driscoll 2018). In the overlap the two children are blended with the weights s and 1 - s,

    s = e(1 - t) / (e(1 - t) + e(t)),   e(t) = exp(-1 / t) for t > 0, 0 else,   t = (u - c + h) / (2 h),

infinitely smooth. What is within epsilon on every leaf's box is within epsilon everywhere. All boxes follow from that
of the root and the axes.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from construct.arrays import Float, Int
from construct.baselines.classical.polynomials import chebyshev_rows

OVERLAP = 0.1  # of half a side


@dataclass(frozen=True)
class LeafBasis:
    """Products `prod_j T_(a_j)` with `|a| <= degree` and `a_j <= cap` for the coordinates that are not among `free`.

    On M of dimension d < k such products span what all do where M is the zero set of a polynomial of degree cap + 1 in
    what is capped, and with cap = 0 near a point about which M is a graph over the free coordinates. cap None: no cap.
    """

    coordinates: int
    cap: int | None = None
    free: tuple[int, ...] = ()

    @property
    def integers(self) -> int:
        """Numbers that say which coordinates are capped, or which are not if these are fewer, and by what."""
        return 0 if self.cap is None else 1 + min(len(self.free), self.coordinates - len(self.free))

    def caps(self, degree: int) -> tuple[int, ...]:
        """Largest exponent of each coordinate."""
        capped = degree if self.cap is None else min(self.cap, degree)
        return tuple(degree if j in self.free else capped for j in range(self.coordinates))

    def degree_within(self, most: int) -> int:
        """The largest degree with at most `most` >= 1 products."""
        counts = np.ones(1, dtype=np.int64)
        for cap in self.caps(most):
            counts = np.convolve(counts, np.ones(cap + 1, dtype=np.int64))[: most + 1].clip(max=most + 1)
        return int((np.cumsum(counts) <= most).sum()) - 1

    def exponents(self, degree: int) -> Int:
        """(N, k), by total degree."""
        return _exponents(self.caps(degree), degree)

    def count(self, degree: int) -> int:
        """N."""
        return len(self.exponents(degree))


@functools.lru_cache(maxsize=512)
def _exponents(caps: tuple[int, ...], degree: int) -> Int:
    rows = np.zeros((1, 0), dtype=np.int64)
    for cap in caps:
        longer = [np.column_stack([rows, np.full(len(rows), a)])[rows.sum(axis=1) + a <= degree]
                  for a in range(cap + 1)]  # fmt: skip
        rows = np.concatenate(longer)
    return rows[np.argsort(rows.sum(axis=1), kind="stable")]


@dataclass(frozen=True, eq=False)
class Leaf:
    """A polynomial on a box lower, upper (k,): coefficients (N,) of the products of a basis up to a degree."""

    lower: Float
    upper: Float
    basis: LeafBasis
    degree: int
    coefficients: Float

    @property
    def stored(self) -> tuple[int, int]:
        """Coefficients, and integers: the degree and what the basis takes."""
        return len(self.coefficients), 1 + self.basis.integers

    def __call__(self, u: Float) -> Float:
        """(n, k) -> (n,)."""
        return products(self.basis.exponents(self.degree), self.lower, self.upper, u) @ self.coefficients

    def work(self, u: Float) -> Int:
        """Multiply-adds at points (n, k) -> (n,): scaling, recursion, k for each product and the sum."""
        k, caps = len(self.lower), self.basis.caps(self.degree)
        each = k + sum(max(0, cap - 1) for cap in caps) + len(self.coefficients) * sum(cap > 0 for cap in caps)
        return np.full(len(u), each, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Split:
    """Two nodes, the first for u[axis] <= high, the second for u[axis] >= low; None where M has no points."""

    axis: int
    low: float
    high: float
    children: tuple[Node | None, Node | None]

    @property
    def stored(self) -> tuple[int, int]:
        """Coefficients, and integers: the axis, one for a child without points, and those of the children."""
        below = [(0, 1) if child is None else child.stored for child in self.children]
        return sum(n for n, _ in below), 1 + sum(m for _, m in below)

    def weight(self, u: Float) -> Float:
        """That of the first child at points (n, k), (n,); of an only child 1, or 0 for the other."""
        if self.children[0] is None or self.children[1] is None:
            return np.full(len(u), float(self.children[1] is None))
        return falling((u[:, self.axis] - self.low) / (self.high - self.low))

    def __call__(self, u: Float) -> Float:
        """(n, k) -> (n,)."""
        values = np.zeros(len(u))
        for child, weight, active in self._shares(u):
            values[active] += weight[active] * child(u[active])
        return values

    def work(self, u: Float) -> Int:
        """Multiply-adds at points (n, k) -> (n,): 2 for the weight, one for each child with a share, and its own."""
        work = np.full(len(u), 2, dtype=np.int64)
        for child, _, active in self._shares(u):
            work[active] += 1 + child.work(u[active])
        return work

    def _shares(self, u: Float) -> Iterator[tuple[Node, Float, Int]]:
        first = self.weight(u)
        for child, weight in zip(self.children, (first, 1 - first), strict=True):
            active = np.flatnonzero(weight > 0)
            if child is not None and len(active):
                yield child, weight, active


Node = Leaf | Split


def falling(t: Float) -> Float:
    """1 for t <= 0, 0 for t >= 1, infinitely smooth, falling(t) + falling(1 - t) = 1."""
    inside = np.clip(t, 1e-3, 1 - 1e-3)  # exp(-1000) is 0
    steps = 1 / (1 + np.exp(np.clip(1 / (1 - inside) - 1 / inside, -700, 700)))
    return np.where(t <= 0, 1.0, np.where(t >= 1, 0.0, steps))


def halves(lower: Float, upper: Float, axis: int) -> tuple[tuple[Float, Float], tuple[Float, Float]]:
    """The boxes of the children of a box lower, upper (k,)."""
    middle, overlap = (lower[axis] + upper[axis]) / 2, OVERLAP * (upper[axis] - lower[axis]) / 2
    high, low = upper.copy(), lower.copy()
    high[axis], low[axis] = middle + overlap, middle - overlap
    return (lower, high), (low, upper)


def products(exponents: Int, lower: Float, upper: Float, u: Float) -> Float:
    """`prod_j T_(a_j)` of the coordinates of a box, at points u (n, k), (n, N)."""
    z = (2 * u - lower - upper) / (upper - lower)
    table = chebyshev_rows(z, int(exponents.max(initial=0)))
    values = np.ones((len(exponents), len(u)))
    for j in range(u.shape[1]):
        if exponents[:, j].any():
            values *= table[exponents[:, j], :, j]
    return values.T


def leaves(node: Node) -> Iterator[Leaf]:
    """All leaves below a node."""
    if isinstance(node, Leaf):
        yield node
    else:
        for child in node.children:
            if child is not None:
                yield from leaves(child)
