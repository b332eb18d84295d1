"""Polynomials on [-1, 1]^d of bounded total degree, in Chebyshev products."""

from __future__ import annotations

import itertools
import math
from typing import Self

import torch
from torch import Tensor

from construct.local.fit import prefix_fits
from construct.local.node_sets import chebyshev_ball, chebyshev_cube
from construct.local.space import BallNodes, Fit, LocalSpace
from construct.validation import integer, positive_integer


def multi_indices(dim: int, degree: int) -> Tensor:
    """Multi-indices (c, dim) of total degree at most `degree`, c = binomial(dim + degree, dim).

    Sorted by total degree, then lexicographically, so that those of a smaller degree are a prefix.
    """
    rows: list[tuple[int, ...]] = []
    for total in range(degree + 1):
        # stars and bars: the positions of dim - 1 bars among total + dim - 1 places
        for bars in itertools.combinations(range(total + dim - 1), dim - 1):
            edges = (-1, *bars, total + dim - 1)
            rows.append(tuple(b - a - 1 for a, b in itertools.pairwise(edges)))
    return torch.tensor(rows, dtype=torch.long).reshape(len(rows), dim)


def chebyshev_table(z: Tensor, degree: int) -> Tensor:
    """T_0(z), ..., T_degree(z) in a new first axis, by T_(k+1) = 2 z T_k - T_(k-1), stable on [-1, 1]."""
    table = z.new_empty((degree + 1, *z.shape))
    table[0] = 1.0
    if degree >= 1:
        table[1] = z
    for k in range(2, degree + 1):
        torch.mul(z, table[k - 1], out=table[k])
        table[k].mul_(2.0).sub_(table[k - 2])
    return table


class PolynomialSpace(LocalSpace):
    """Polynomials of total degree <= degree in the basis T_k(z) = prod_i T_(k_i)(z_i), |k|_1 <= degree.

    The size is the degree.

    Attributes:
        degree: total degree, >= 0.
        indices: (c, dim) the exponents k, sorted by total degree: lower degrees are prefixes, so coefficients
            of a lower degree are the leading columns.
    """

    name = "polynomial"
    cells = 1

    def __init__(self, dim: int, degree: int) -> None:
        self.dim = positive_integer(dim, "dim")
        self.degree = integer(degree, "degree")
        self.indices = multi_indices(self.dim, self.degree)
        self.count = len(self.indices)

    @property
    def size(self) -> int:
        """The degree."""
        return self.degree

    @property
    def text(self) -> str:
        """E.g. "degree 8"."""
        return f"degree {self.degree}"

    @property
    def step(self) -> int:
        return 1

    @property
    def least(self) -> int:
        return 0

    def finer(self, factor: float) -> int:
        """One degree more, whatever the factor."""
        return self.degree + 1

    def with_size(self, size: int) -> Self:
        """The polynomials of degree `size` >= 0 in as many coordinates."""
        return type(self)(self.dim, size)

    def evaluate(self, z: Tensor) -> Tensor:
        """T_k(z) for every index k: (..., dim) -> (..., c)."""
        self._check(z)
        table = chebyshev_table(z, self.degree)  # (degree + 1, ..., dim)
        indices = self.indices.to(z.device)
        values = table[..., 0].index_select(0, indices[:, 0])
        for i in range(1, self.dim):
            values *= table[..., i].index_select(0, indices[:, i])
        return values.movedim(0, -1)

    def combine(self, z: Tensor, coefficients: Tensor) -> Tensor:
        """The polynomial with these coefficients at z: (..., m, dim), (..., c) -> (..., m)."""
        return (self.evaluate(z) @ coefficients.unsqueeze(-1)).squeeze(-1)

    def constant(self, value: float) -> Tensor:
        """The value times T_0."""
        coefficients = torch.zeros(self.count, dtype=torch.float64)
        coefficients[0] = value
        return coefficients

    def trimmed(self, coefficients: Tensor, tolerance: float) -> Tensor:
        """Coefficients (n, c) with the smallest of every row set to 0 while their absolute sum is at most `tolerance`.

        |T_k| <= 1, so no value changes by more than that. A target that varies along few coordinates keeps few.
        """
        size, order = coefficients.abs().sort(dim=1)
        drop = torch.zeros_like(coefficients, dtype=torch.bool).scatter(1, order, size.cumsum(dim=1) <= tolerance)
        return torch.where(drop, torch.zeros_like(coefficients), coefficients)

    def fitted(self, z: Tensor, values: Tensor, mask: Tensor, *, lawson: int) -> Fit:
        """Least squares with `lawson` reweighting steps towards the minimax fit."""
        return prefix_fits(self, z, values, mask, [self.count], lawson=lawson)[0]

    def ball_nodes(self, density: float, *, edge: bool) -> BallNodes:
        """Points whose density grows towards the rim; more of them where an edge cuts the ball."""
        polar = chebyshev_ball(self.dim, self.degree, self.count, density * (1.4 if edge else 1.0))
        return BallNodes(polar, polar.new_zeros(0, self.dim))

    def cube_nodes(self, density: float) -> Tensor:
        """Tensor Chebyshev-Lobatto points for d <= 3, then random ones; (q, d)."""
        return chebyshev_cube(self.dim, self.degree, self.count, density)

    def __repr__(self) -> str:
        return f"PolynomialSpace(dim={self.dim}, degree={self.degree}, count={self.count})"


def coefficients_of_degree(dim: int, degree: int) -> int:
    """binomial(dim + degree, dim), the number of coefficients of a polynomial of that total degree."""
    return math.comb(dim + degree, dim)
