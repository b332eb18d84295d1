"""Least squares for tensor splines: sparse, conjugate gradients, batched over the charts.

A point touches only 2^d basis functions, so the normal equations are applied, never formed. Weighted by their
diagonal they are as well conditioned as a mass matrix. Basis functions that the nodes hardly touch are held
near a local average of the data (`shepard`), so that every coefficient stays of the data's size.
"""

from __future__ import annotations

import torch
from torch import Tensor

from construct.local.families import SplineSpace

WEAK, HOLD_WEAK, HOLD = 0.05, 1e-4, 1e-9
"""A basis function whose diagonal entry is below WEAK times the mean is held near the local average with
weight HOLD_WEAK times the mean, the others with HOLD. Else coefficients at the rim can become very large.
"""
CG_STEPS = 40
LAWSON_CG_STEPS = 15
LAWSON_STEPS = 12
MEMORY_BYTES = 2**26


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
