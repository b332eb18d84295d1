"""Families of directions: integer vectors in an order that the number of a member gives, so that none is stored."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol, runtime_checkable

import numpy as np

from construct.arrays import Float, Int
from construct.validation import one_of, positive_integer

Shape = Literal["principal", "octahedron"]
SHAPES = ("principal", "octahedron")


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


@dataclass(frozen=True)
class Lattice:
    """All integer vectors alpha with `|alpha|_1 <= order`, in lexicographic order.

    Attributes:
        dim: k.
        order: the largest 1-norm, at least 1.
        shape: "principal": those with `alpha >= 0` only, the principal lattice, unisolvent for polynomials of degree
            `order`; "octahedron": all, better conditioned where M fills R^k.
    """

    dim: int
    order: int
    shape: Shape = "principal"

    def __post_init__(self) -> None:
        positive_integer(self.dim, "dim")
        positive_integer(self.order, "order")
        one_of(self.shape, "shape", SHAPES)

    @property
    def signed(self) -> bool:
        return self.shape == "octahedron"

    @property
    def count(self) -> int:
        return (octahedron_size if self.signed else lattice_size)(self.dim, self.order)

    @cached_property
    def integers(self) -> Int:
        """(count, k), all members in order."""
        found = np.zeros((1, 0), dtype=np.int64)
        for _ in range(self.dim):
            left = self.order - np.abs(found).sum(axis=1)  # what the size of the next entry may be
            first = -left if self.signed else np.zeros_like(left)
            sizes = left - first + 1
            repeated = np.repeat(found, sizes, axis=0)
            ends = np.cumsum(sizes)
            last = np.arange(ends[-1]) - np.repeat(ends - sizes - first, sizes)
            found = np.concatenate([repeated, last[:, None]], axis=1)
        return found

    @property
    def vectors(self) -> Float:
        return self.integers.astype(np.float64)
