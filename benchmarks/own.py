"""Manifolds as a user gives them, by the projection to the nearest point alone: curves and surfaces in R^2, R^3, R^10.

A projection takes a few differentiable Newton steps, from a start that need not be differentiable.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from construct.manifolds import Manifold, ProjectedManifold

STEPS = 10
Waves = list[list[tuple[float, int, float]]]
"""Per coordinate, terms (a, k, phase) of sum a cos(k t + phase)."""
SINE = -math.pi / 2

ELLIPSE: Waves = [[(1.5, 1, 0.0)], [(1.0, 1, SINE)]]
KNOT: Waves = [[(1.0, 1, SINE), (2.0, 2, SINE)], [(1.0, 1, 0.0), (-2.0, 2, 0.0)], [(-1.0, 3, SINE)]]
"""The trefoil."""
AXES = (1.5, 1.2, 1.0)
"""Of the ellipsoid."""


def frame(size: int, ambient: int = 10) -> Tensor:
    """Orthonormal columns (ambient, size), always the same."""
    draws = torch.randn(ambient, size, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    return torch.linalg.qr(draws).Q


def curve(waves: Waves, t: Tensor, order: int = 0) -> Tensor:
    """The derivative of that order of the curve at t (...), (..., D)."""
    turn = order * math.pi / 2
    parts = [sum(a * k**order * torch.cos(k * t + phase + turn) for a, k, phase in terms) for terms in waves]
    return torch.stack([torch.as_tensor(part) for part in parts], -1)


def curve_projection(waves: Waves, seeds: int = 200) -> Callable[[Tensor], Tensor]:
    """From the nearest of some points of the curve, Newton steps for <c(t) - x, c'(t)> = 0."""
    angles = torch.arange(seeds, dtype=torch.float64) * 2 * math.pi / seeds
    nodes = curve(waves, angles)

    def project(x: Tensor) -> Tensor:
        offsets = nodes.square().sum(-1) - 2 * x.detach() @ nodes.T
        t = angles[offsets.argmin(-1)]
        for _ in range(STEPS):
            off, first = curve(waves, t) - x, curve(waves, t, 1)
            speed = first.square().sum(-1)
            bend = speed + (off * curve(waves, t, 2)).sum(-1)
            t = t - (off * first).sum(-1) / torch.where(bend > 0.05 * speed, bend, speed)
        return curve(waves, t)

    return project


def ellipsoid_projection(x: Tensor) -> Tensor:
    """y_i = a_i^2 x_i / (a_i^2 + s) with the s for which y lies on the ellipsoid.

    sum_i a_i^2 x_i^2/(a_i^2 + s)^2 - 1 is convex and falls in s, so that Newton steps rise to the root
    """
    axes = torch.tensor(AXES, dtype=x.dtype)
    squares, weighted = axes.square(), (axes * x).square()
    s = (axes * x.abs() - squares).amax(-1).detach() + 1e-9
    for _ in range(STEPS):
        below = squares + s.unsqueeze(-1)
        value = (weighted / below.square()).sum(-1) - 1
        s = s + value / (2 * (weighted / below**3).sum(-1))
    return squares * x / (squares + s.unsqueeze(-1))


def torus_projection(x: Tensor) -> Tensor:
    """Radii 1 and 0.4."""
    axis = torch.cat([x[..., :2] / x[..., :2].norm(dim=-1, keepdim=True), torch.zeros_like(x[..., 2:])], -1)
    off = x - axis
    return axis + 0.4 * off / off.norm(dim=-1, keepdim=True)


def laid_out(project: Callable[[Tensor], Tensor], size: int) -> Callable[[Tensor], Tensor]:
    """The projection to the same set in a subspace of R^10."""
    columns = frame(size)
    return lambda x: project(x @ columns) @ columns.T


def _ten(size: int, largest: float) -> list[float]:
    return (largest * frame(size).norm(dim=1) * 1.01).tolist()


OWN: dict[str, Callable[[], Manifold]] = {
    "own ellipse": lambda: ProjectedManifold(curve_projection(ELLIPSE), 1, 2, 0.66, (1.5, 1.0)),
    "own knot": lambda: ProjectedManifold(curve_projection(KNOT), 1, 3, "estimate", (3.0, 3.0, 1.0)),
    "own ellipsoid": lambda: ProjectedManifold(ellipsoid_projection, 2, 3, 0.66, AXES),
    "own torus": lambda: ProjectedManifold(torus_projection, 2, 3, 0.4, (1.4, 1.4, 0.4)),
    "own curve in R^10": lambda: ProjectedManifold(laid_out(curve_projection(ELLIPSE), 2), 1, 10, 0.66, _ten(2, 1.5)),
    "own surface in R^10": lambda: ProjectedManifold(laid_out(torus_projection, 3), 2, 10, 0.4, _ten(3, 1.4)),
}
