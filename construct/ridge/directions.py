"""Families of directions: integer vectors in an order that the number of a member gives, so that none is stored."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Literal, Protocol, runtime_checkable

import numpy as np

from construct.arrays import Float, Int
from construct.validation import invalid, one_of, positive_integer

Shape = Literal["principal", "octahedron", "shell"]
SHAPES = ("principal", "octahedron", "shell")


@runtime_checkable
class Directions(Protocol):
    """Directions alpha in R^k, each a formula of its number."""

    @property
    def count(self) -> int:
        """Number of members."""

    @property
    def vectors(self) -> Float:
        """(count, k), all members in order."""

    @property
    def signed(self) -> bool:
        """Whether an entry of some member is negative."""


def lattice_size(dim: int, order: int) -> int:
    """Number of `alpha >= 0` in Z^dim with `|alpha|_1 <= order`: the dimension of the polynomials of that degree."""
    return math.comb(dim + order, dim)


def octahedron_size(dim: int, order: int) -> int:
    """Number of alpha in Z^dim with `|alpha|_1 <= order`: `sum_j 2^j C(dim, j) C(order, j)`."""
    return sum(2**j * math.comb(dim, j) * math.comb(order, j) for j in range(min(dim, order) + 1))


@cache
def shell_size(dim: int, order: int) -> int:
    """Number of members of `shell(dim, order)`: of many entries half the integer vectors with these norms, by
    convolutions."""
    if dim <= 3:
        return len(shell(dim, order))
    sums = np.zeros(order**2 + 1)
    sums[0] = 1.0  # number of vectors of the entries so far by the square of their norm
    for _ in range(dim):
        found = sums.copy()
        for entry in range(1, order + 1):
            found[entry**2 :] += 2 * sums[: order**2 + 1 - entry**2]
        sums = found
    return int(sums[order**2 - order + 1 :].sum()) // 2


def shell(dim: int, order: int) -> Int:
    """(n, dim), one of every pair `+-alpha` in Z^dim with `order^2 - order < |alpha|_2^2 <= order^2`, in lexicographic
    order; the first entry that is not 0 is positive."""
    heads = np.zeros((1, 0), dtype=np.int64)  # all entries but the last
    for _ in range(dim - 1):
        last = _roots(order**2 - (heads * heads).sum(axis=1))
        heads = _extended(heads, np.where(heads.any(axis=1), -last, 0), last)
    left = order**2 - (heads * heads).sum(axis=1)
    last, first = _roots(left), np.where(left >= order, _roots(left - order) + 1, 0)  # sizes of the last entry
    mirrored = heads.any(axis=1)
    parts = [
        _extended(heads[mirrored], -last[mirrored], -first[mirrored]),
        _extended(heads, np.maximum(first, 1), last),
    ]
    found = np.concatenate(parts)
    return found[np.lexsort(found.T[::-1])]


def _roots(numbers: Int) -> Int:
    """Integer parts of square roots, of numbers below 2^50."""
    return np.sqrt(np.maximum(numbers, 0)).astype(np.int64)


def _extended(heads: Int, first: Int, last: Int) -> Int:
    """Every row of heads (n, j) with the entries first .. last, (n,) each, none where first > last."""
    sizes = np.maximum(last - first + 1, 0)
    ends = np.cumsum(sizes)
    entry = np.arange(sizes.sum()) - np.repeat(ends - sizes - first, sizes)
    return np.concatenate([np.repeat(heads, sizes, axis=0), entry[:, None]], axis=1)


@dataclass(frozen=True)
class Lattice:
    """Integer vectors alpha of a size, in lexicographic order.

    Attributes:
        dim: k.
        order: m, at least 1.
        shape: "principal": those with `alpha >= 0` and `|alpha|_1 <= m`, the principal lattice, unisolvent for
            polynomials of degree m; "octahedron": all with `|alpha|_1 <= m`, better conditioned where M fills R^k;
            "shell": one of every pair `+-alpha` with `m^2 - m < |alpha|_2^2 <= m^2`, that whose first entry which is
            not 0 is positive: evenly spread, for atoms without a shift, which cannot tell alpha from -alpha.
    """

    dim: int
    order: int
    shape: Shape = "principal"

    def __post_init__(self) -> None:
        positive_integer(self.dim, "dim")
        positive_integer(self.order, "order")
        one_of(self.shape, "shape", SHAPES)
        if self.shape == "shell" and self.dim == 1:
            raise invalid("dim", "2 or more for a shell, which in one dimension is a number of choice", self.dim)

    @property
    def signed(self) -> bool:
        return self.shape != "principal"

    @property
    def count(self) -> int:
        if self.shape == "shell":
            return shell_size(self.dim, self.order)
        return (octahedron_size if self.signed else lattice_size)(self.dim, self.order)

    @cached_property
    def integers(self) -> Int:
        """(count, k), all members in order."""
        if self.shape == "shell":
            return shell(self.dim, self.order)
        found = np.zeros((1, 0), dtype=np.int64)
        for _ in range(self.dim):
            left = self.order - np.abs(found).sum(axis=1)  # what the size of the next entry may be
            found = _extended(found, -left if self.signed else np.zeros_like(left), left)
        return found

    @property
    def vectors(self) -> Float:
        return self.integers.astype(np.float64)
