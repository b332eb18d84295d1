"""Continuous tensor splines of degree 1, and their least-squares fit.

The fit is sparse, by conjugate gradients, batched over the charts. A point touches only 2^d basis functions, so
the normal equations are applied, never formed. Weighted by their diagonal they are as well conditioned as a mass
matrix. Basis functions that the nodes hardly touch are held near a local average of the data (`shepard`), so that
every coefficient stays of the data's size.
"""

from __future__ import annotations

import math
from typing import Self

import torch
from torch import Tensor

from construct.local.node_sets import sphere_of, tensor_grid
from construct.local.space import BallNodes, Fit, LocalSpace
from construct.progress import tick
from construct.validation import positive_integer

NODES_PER_CELL = {1: 8, 2: 4}
"""Per coordinate, 2 for d >= 3: even, since the error of a linear piece is largest at knots and midpoints."""
WEAK, HOLD_WEAK, HOLD = 0.05, 1e-4, 1e-9
"""A basis function whose diagonal entry is below WEAK times the mean is held near the local average with
weight HOLD_WEAK times the mean, the others with HOLD. Else coefficients at the rim can become very large.
"""
CG_STEPS = 40
LAWSON_CG_STEPS = 15
LAWSON_STEPS = 12
MEMORY_BYTES = 2**26


class SplineSpace(LocalSpace):
    """Continuous tensor splines, linear in each coordinate on each of `cells` equal cells of [-1, 1].

    Basis: products of hats hat(N (z_i + 1)/2 - k_i), hat(u) = relu(1 - |u|), k_i in 0..N with N = cells; the
    coefficient is the value at the node z = 2 k/N - 1. Index order: row-major in k, the last coordinate
    fastest.

    The size is the number of cells.

    Attributes:
        cells: N >= 1.
        indices: (c, dim) node numbers k, c = (N + 1)^dim.
        knots: (N + 1,) node positions in one coordinate.
    """

    name = "spline"
    degree = 1

    def __init__(self, dim: int, cells: int) -> None:
        self.dim = positive_integer(dim, "dim")
        self.cells = positive_integer(cells, "cells")
        self.count = (self.cells + 1) ** self.dim
        self.knots = torch.linspace(-1.0, 1.0, self.cells + 1, dtype=torch.float64)
        self.indices = tensor_grid(torch.arange(self.cells + 1), self.dim)

    @property
    def size(self) -> int:
        """The cells."""
        return self.cells

    @property
    def text(self) -> str:
        """E.g. "12 cells"."""
        return f"{self.cells} cells"

    @property
    def step(self) -> int:
        return max(1, self.cells // 16)

    @property
    def least(self) -> int:
        return 1

    def finer(self, factor: float) -> int:
        """As many cells as the factor asks for, between a sixteenth and a half more."""
        return math.ceil(self.cells * min(max(factor, 17 / 16), 1.5))

    def with_size(self, size: int) -> Self:
        """The splines on `size` >= 1 cells in as many coordinates."""
        return type(self)(self.dim, size)

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

    def constant(self, value: float) -> Tensor:
        """The value at every node."""
        return torch.full((self.count,), value, dtype=torch.float64)

    def trimmed(self, coefficients: Tensor, tolerance: float) -> Tensor:
        """The coefficients themselves: they are values at nodes, and a 0 costs as much as another number."""
        return coefficients

    def fitted(self, z: Tensor, values: Tensor, mask: Tensor, *, lawson: int) -> Fit:
        """Sparse least squares with at most LAWSON_STEPS useful reweighting steps; see `fit_spline`."""
        return Fit(*fit_spline(self, z, values, mask, lawson=lawson))

    def ball_nodes(self, density: float, *, edge: bool) -> BallNodes:
        """A uniform grid, NODES_PER_CELL points a cell and coordinate, and the rim."""
        grid = self.cube_nodes(density)
        return BallNodes(sphere_of(self.dim, self._points_per_axis(density)), grid)

    def cube_nodes(self, density: float) -> Tensor:
        """A uniform grid (q, d), NODES_PER_CELL points a cell and coordinate."""
        axis = torch.linspace(-1.0, 1.0, self._points_per_axis(density), dtype=torch.float64)
        return tensor_grid(axis, self.dim)

    def _points_per_axis(self, density: float) -> int:
        return math.ceil(density * NODES_PER_CELL.get(self.dim, 2)) * self.cells + 1

    def __repr__(self) -> str:
        return f"SplineSpace(dim={self.dim}, cells={self.cells}, count={self.count})"


def fit_spline(
    space: SplineSpace, z: Tensor, values: Tensor, mask: Tensor, *, lawson: int = LAWSON_STEPS
) -> tuple[Tensor, Tensor]:
    """Splines fitted to values (n, q) at nodes z (n, q, d) of the mask: coefficients (n, c), residuals (n,).

    `lawson` reweighting steps after plain least squares (at most LAWSON_STEPS are useful); the best iterate
    by sup residual is kept.
    """
    size = max(1, MEMORY_BYTES // (16 * 2**space.dim * z.shape[1]))
    parts = [
        _fit_charts(space, z[k : k + size], values[k : k + size], mask[k : k + size], lawson)
        for k in range(0, len(z), size)
    ]
    return torch.cat([c for c, _ in parts]), torch.cat([r for _, r in parts])


class _Operator:
    """The basis matrix of every chart as (n, q, 2^d) indices and values."""

    def __init__(self, space: SplineSpace, z: Tensor, mask: Tensor) -> None:
        index, value = space.stencil(z)
        self.index, self.value = index.flatten(1), value * mask.unsqueeze(-1)
        self.count = space.count

    def apply(self, coefficients: Tensor) -> Tensor:
        """(n, c) -> (n, q)."""
        return (coefficients.gather(1, self.index).reshape(self.value.shape) * self.value).sum(-1)

    def adjoint(self, data: Tensor, power: int = 1) -> Tensor:
        """(n, q) -> (n, c), with the entries of the matrix raised to a power."""
        terms = (self.value**power if power != 1 else self.value) * data.unsqueeze(-1)
        return data.new_zeros(len(data), self.count).scatter_add_(1, self.index, terms.flatten(1))


def _fit_charts(space: SplineSpace, z: Tensor, values: Tensor, mask: Tensor, lawson: int) -> tuple[Tensor, Tensor]:
    present = mask.to(z.dtype)
    f = torch.where(mask, values, 0.0)
    operator = _Operator(space, torch.where(mask.unsqueeze(-1), z, 0.0), mask)
    start = shepard(space, operator.adjoint(f), operator.adjoint(present))
    diagonal = operator.adjoint(present, 2)
    mean = diagonal.sum(-1, keepdim=True) / (diagonal > 0).sum(-1, keepdim=True).clamp_min(1)
    hold = torch.where(diagonal < WEAK * mean, HOLD_WEAK * mean, HOLD * mean)
    weights = present
    best = _solve(operator, f, weights, start, start, hold, CG_STEPS)
    residual = (f - operator.apply(best)).abs()
    best_sup = residual.amax(-1)
    current = best
    for _ in range(min(lawson, LAWSON_STEPS)):
        weights = weights * (residual + 0.05 * residual.mean(-1, keepdim=True))
        weights = weights * (present.sum(-1, keepdim=True) / weights.sum(-1, keepdim=True).clamp_min(1e-300))
        current = _solve(operator, f, weights, current, start, hold, LAWSON_CG_STEPS)
        residual = (f - operator.apply(current)).abs()
        sup = residual.amax(-1)
        better = sup < best_sup
        best = torch.where(better.unsqueeze(-1), current, best)
        best_sup = torch.where(better, sup, best_sup)
    return best, best_sup


def _solve(
    operator: _Operator, f: Tensor, weights: Tensor, start: Tensor, held: Tensor, hold: Tensor, steps: int
) -> Tensor:
    """Minimise sum weights (f - A c)^2 + hold |c - held|^2 per chart: Jacobi-preconditioned conjugate
    gradients.
    """
    diagonal = operator.adjoint(weights, 2)
    c = start
    r = operator.adjoint(weights * (f - operator.apply(c))) + hold * (held - c)
    scaled = r / (diagonal + hold)
    p = scaled
    energy = (r * scaled).sum(-1, keepdim=True)
    for _ in range(steps):
        tick()
        image = operator.adjoint(weights * operator.apply(p)) + hold * p
        curvature = (p * image).sum(-1, keepdim=True)
        step = torch.where(curvature > 0, energy / torch.where(curvature > 0, curvature, 1.0), 0.0)
        c = c + step * p
        r = r - step * image
        scaled = r / (diagonal + hold)
        renewed = (r * scaled).sum(-1, keepdim=True)
        p = scaled + torch.where(energy > 0, renewed / torch.where(energy > 0, energy, 1.0), 0.0) * p
        energy = renewed
    return c


def shepard(space: SplineSpace, weighted: Tensor, weight: Tensor) -> Tensor:
    """Local averages weighted/weight (n, c) of the data, carried over to basis functions without any data.

    The empty nodes take the mean of their filled grid neighbours, in as many rounds as it needs.
    """
    filled = weight > 1e-9
    value = torch.where(filled, weighted / torch.where(filled, weight, 1.0), 0.0)
    shape = (len(value), *[space.cells + 1] * space.dim)
    value, filled = value.reshape(shape), filled.reshape(shape)
    for _ in range(space.dim * space.cells):
        if bool(filled.all()):
            break
        total, number = torch.zeros_like(value), torch.zeros_like(value)
        for axis in range(1, space.dim + 1):
            here, there = (
                (slice(None),) * axis + (slice(1, None),),
                (slice(None),) * axis + (slice(None, -1),),
            )
            for a, b in ((here, there), (there, here)):
                total[a] += value[b] * filled[b]
                number[a] += filled[b]
        reached = ~filled & (number > 0)
        value = torch.where(reached, total / number.clamp_min(1.0), value)
        filled = filled | reached
    return value.reshape(len(value), -1)
