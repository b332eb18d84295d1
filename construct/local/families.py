"""Spaces of local approximators: functions of the chart coordinates z in [-1, 1]^d.

Both spaces are spanned by products of univariate functions, one factor per coordinate, which is what the
network needs in order to build them from one register per coordinate. The bases here are chosen for their
conditioning; a network that uses another basis of the same space converts the coefficients.
"""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from construct.errors import InputError
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


class LocalSpace(ABC):
    """A finite-dimensional space of functions on [-1, 1]^dim with a fixed basis.

    Attributes:
        dim: number of chart coordinates, >= 1.
        count: number of basis functions c.
    """

    dim: int
    count: int

    @abstractmethod
    def evaluate(self, z: Tensor) -> Tensor:
        """Every basis function at z (..., dim) -> (..., c)."""

    @abstractmethod
    def combine(self, z: Tensor, coefficients: Tensor) -> Tensor:
        """sum_c coefficients[..., c] B_c(z): z (..., m, dim), coefficients (..., c) -> (..., m).

        Leading axes of the two are the same (charts). Does not hold all (m, c) products at once where it can
        avoid it.
        """

    def _check(self, z: Tensor) -> None:
        if z.ndim < 1 or z.shape[-1] != self.dim:
            raise InputError(f"z must have the shape (..., {self.dim}); got {tuple(z.shape)}")


class PolynomialSpace(LocalSpace):
    """Polynomials of total degree <= degree in the basis T_k(z) = prod_i T_(k_i)(z_i), |k|_1 <= degree.

    Attributes:
        degree: total degree, >= 0.
        indices: (c, dim) the exponents k, sorted by total degree: lower degrees are prefixes, so coefficients
            of a lower degree are the leading columns.
    """

    def __init__(self, dim: int, degree: int) -> None:
        self.dim = positive_integer(dim, "dim")
        self.degree = integer(degree, "degree")
        self.indices = multi_indices(dim, degree)
        self.count = len(self.indices)

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

    def __repr__(self) -> str:
        return f"PolynomialSpace(dim={self.dim}, degree={self.degree}, count={self.count})"


class SplineSpace(LocalSpace):
    """Continuous tensor splines, linear in each coordinate on each of `cells` equal cells of [-1, 1].

    Basis: products of hats hat(N (z_i + 1)/2 - k_i), hat(u) = relu(1 - |u|), k_i in 0..N with N = cells; the
    coefficient is the value at the node z = 2 k/N - 1. Index order: row-major in k, the last coordinate
    fastest.

    Attributes:
        cells: N >= 1.
        indices: (c, dim) node numbers k, c = (N + 1)^dim.
        knots: (N + 1,) node positions in one coordinate.
    """

    def __init__(self, dim: int, cells: int) -> None:
        self.dim = positive_integer(dim, "dim")
        self.cells = positive_integer(cells, "cells")
        self.count = (cells + 1) ** dim
        self.knots = torch.linspace(-1.0, 1.0, cells + 1, dtype=torch.float64)
        self.indices = torch.cartesian_prod(*[torch.arange(cells + 1)] * dim).reshape(-1, dim)

    def stencil(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The 2^dim basis functions that can be non-zero at z (..., dim), z clamped to [-1, 1].

        Returns (index, value), both (..., 2^dim): basis numbers and their values, >= 0 with sum 1.
        """
        self._check(z)
        u = (z.clamp(-1.0, 1.0) + 1.0) * (self.cells / 2)
        cell = u.floor().clamp(0, self.cells - 1)
        fraction = u - cell
        cell = cell.long()
        index = cell.new_zeros((*z.shape[:-1], 1))
        value = z.new_ones((*z.shape[:-1], 1))
        for i in range(self.dim):
            pair = torch.stack((cell[..., i], cell[..., i] + 1), -1)
            weight = torch.stack((1.0 - fraction[..., i], fraction[..., i]), -1)
            index = (index.unsqueeze(-1) * (self.cells + 1) + pair.unsqueeze(-2)).flatten(-2)
            value = (value.unsqueeze(-1) * weight.unsqueeze(-2)).flatten(-2)
        return index, value

    def evaluate(self, z: Tensor) -> Tensor:
        """Every hat product at z (..., dim), clamped to [-1, 1] -> (..., c), dense: meant for small c."""
        index, value = self.stencil(z)
        return z.new_zeros((*z.shape[:-1], self.count)).scatter_add_(-1, index, value)

    def combine(self, z: Tensor, coefficients: Tensor) -> Tensor:
        """The spline with these coefficients at z: (..., m, dim), (..., c) -> (..., m)."""
        index, value = self.stencil(z)
        picked = coefficients.gather(-1, index.flatten(-2)).reshape(index.shape)
        return (picked * value).sum(-1)

    def __repr__(self) -> str:
        return f"SplineSpace(dim={self.dim}, cells={self.cells}, count={self.count})"


def coefficients_of_degree(dim: int, degree: int) -> int:
    """binomial(dim + degree, dim), the number of coefficients of a polynomial of that total degree."""
    return math.comb(dim + degree, dim)
