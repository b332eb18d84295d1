"""Integer directions: the principal lattice, in an order that the number of a token gives."""

from __future__ import annotations

import math

import numpy as np

from construct.arrays import Int
from construct.validation import positive_integer


def lattice_size(dim: int, order: int) -> int:
    """Number of `alpha >= 0` in Z^dim with `|alpha|_1 <= order`: the dimension of the polynomials of that degree."""
    return math.comb(dim + order, dim)


def principal_lattice(dim: int, order: int) -> Int:
    """All `alpha >= 0` in Z^dim with `|alpha|_1 <= order`, (n, dim), in lexicographic order; 0 comes first."""
    dim, order = positive_integer(dim, "dim"), positive_integer(order, "order")
    found = np.zeros((1, 0), dtype=np.int64)
    for _ in range(dim):
        left = order - found.sum(axis=1)  # what the entries to come may add up to
        repeated = np.repeat(found, left + 1, axis=0)
        ends = np.cumsum(left + 1)
        last = np.arange(ends[-1]) - np.repeat(ends - left - 1, left + 1)
        found = np.concatenate([repeated, last[:, None]], axis=1)
    return found
