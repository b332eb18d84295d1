"""Point sets for fits on the unit ball and on the cube [-1, 1]^d."""

from __future__ import annotations

import math

import torch
from torch import Tensor

SEED = 20240613
GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0


def chebyshev_ball(dim: int, degree: int, count: int, density: float = 1.0) -> Tensor:
    """Points (q, d) of the closed unit ball, dense near the rim, for polynomials of total degree `degree`.

    d = 1: Chebyshev-Lobatto points. d = 2: rings with radii sin(theta), angles in proportion to the radius
    and staggered. d >= 3: spherical shells with such radii, well-spread `directions`; their number follows
    `count`, that of the coefficients.
    """
    if dim == 1:
        points = math.ceil(density * (3 * degree + 4))
        return torch.cos(torch.linspace(0.0, math.pi, points, dtype=torch.float64)).unsqueeze(-1)
    if dim == 2:
        return _rings(math.ceil(density * (4.0 * degree + 7)), math.ceil(density * (1.5 * degree + 3)))
    return _shells(dim, density, count, math.ceil(density * (degree + 2)))


def _rings(angles: int, rings: int) -> Tensor:
    parts = [torch.zeros(1, 2, dtype=torch.float64)]
    for k in range(1, rings + 1):
        radius = math.sin(0.5 * math.pi * k / rings)
        count = max(5, math.ceil(angles * radius))
        # the golden ratio staggers the rings without a pattern
        turn = (torch.arange(count, dtype=torch.float64) + (GOLDEN * k) % 1.0) * (2 * math.pi / count)
        parts.append(radius * torch.stack((turn.cos(), turn.sin()), -1))
    return torch.cat(parts)


def _shells(dim: int, density: float, coefficients: int, shells: int) -> Tensor:
    radii = torch.sin(0.5 * math.pi * torch.arange(1, shells + 1, dtype=torch.float64) / shells)
    # a sphere needs points in proportion to its area
    share = radii ** (dim - 1)
    total = density ** (dim - 1) * min(16 * coefficients + 200, 8 * coefficients + 1800)
    counts = (share / share.sum() * total).ceil().long().clamp_min(2 * dim)
    return torch.cat(
        [torch.zeros(1, dim, dtype=torch.float64)]
        + [radii[k] * directions(dim, int(counts[k]), k) for k in range(shells)]
    )


def directions(dim: int, count: int, turn: int) -> Tensor:
    """Well-spread unit vectors (count, dim), deterministic, different for different `turn`.

    dim = 3: Fibonacci spiral; else scrambled Sobol points through the Gaussian quantile.
    """
    if dim == 3:
        k = torch.arange(count, dtype=torch.float64)
        height = 1.0 - (2.0 * k + 1.0) / count
        angle = 2.0 * math.pi * (GOLDEN * k + math.sqrt(2.0) * turn)
        flat = (1.0 - height.square()).sqrt()
        return torch.stack((flat * angle.cos(), flat * angle.sin(), height), -1)
    engine = torch.quasirandom.SobolEngine(dim, scramble=True, seed=SEED + turn)
    uniform = engine.draw(count, dtype=torch.float64).clamp(1e-9, 1 - 1e-9)
    gaussian = torch.special.ndtri(uniform)
    return gaussian / gaussian.norm(dim=-1, keepdim=True)


def sphere_of(dim: int, count: int) -> Tensor:
    """Well-spread unit vectors (q, dim) with about the spacing of 4 `count` points on a circle."""
    if dim == 1:
        return torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
    if dim == 2:
        turn = torch.arange(4 * count, dtype=torch.float64) * (2 * math.pi / (4 * count))
        return torch.stack((turn.cos(), turn.sin()), -1)
    return directions(dim, 4 * count ** (dim - 1), 0)


def chebyshev_cube(dim: int, degree: int, count: int, density: float = 1.0) -> Tensor:
    """Points (q, d) of [-1, 1]^d with its corners: tensor Chebyshev-Lobatto for d <= 3.

    For d > 3 scrambled Sobol points mapped by the cosine, with the corners when these are fewer than `count`,
    the number of coefficients.
    """
    if dim <= 3:
        per_axis = {1: 3 * degree + 4, 2: 2 * degree + 3, 3: math.ceil(1.4 * degree) + 3}[dim]
        axis = torch.cos(torch.linspace(0.0, math.pi, math.ceil(density * per_axis), dtype=torch.float64))
        return tensor_grid(axis, dim)
    total = math.ceil(density * (6 * count + 150))
    uniform = torch.quasirandom.SobolEngine(dim, scramble=True, seed=SEED).draw(total, dtype=torch.float64)
    points = torch.cos(math.pi * uniform)
    if 2**dim <= count:
        points = torch.cat((tensor_grid(torch.tensor([-1.0, 1.0], dtype=torch.float64), dim), points))
    return points


def tensor_grid(axis: Tensor, dim: int) -> Tensor:
    """All points (len(axis)^dim, dim) with coordinates from `axis`, the last coordinate fastest."""
    return torch.cartesian_prod(*[axis] * dim).reshape(-1, dim)
