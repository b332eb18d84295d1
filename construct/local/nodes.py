"""Fitting nodes: points of M ∩ B(c_n, r) that are dense enough for a space of local approximators, per chart.

Polynomials are fitted at points whose density grows towards the rim like that of Chebyshev points, the rim
itself included; without that the sup error between nodes exceeds the one on nodes by factors. Splines need
the same number of points in every cell. Nodes are set out in chart coordinates as polar coordinates around
the centre, with the chord |x - c_n| as radius, since the ball is round in the chord and its tangent image is
not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from construct.atlas import Atlas
from construct.local.space import LocalSpace
from construct.manifolds import Manifold
from construct.manifolds.canonical import canonical_form
from construct.progress import tick
from construct.validation import invalid, positive_real

SECANT_STEPS = 6
RIM_SLACK = 1e-9


@dataclass(frozen=True)
class Nodes:
    """Fitting nodes of every chart: x (n, q, D) on M, z (n, q, d) chart coordinates, mask (n, q) bool.

    Only entries with mask set lie in M ∩ B(c_n, radius); the others are finite and meaningless.
    """

    x: Tensor
    z: Tensor
    mask: Tensor


def fitting_nodes(atlas: Atlas, space: LocalSpace, *, density: float = 1.0) -> Nodes:
    """Nodes for a fit in `space` on every chart of `atlas`.

    Args:
        density: factor on the number of points per coordinate direction, > 0; 1 is enough for the fit's
            residual on the nodes to be within a few per cent of the sup over the ball (d <= 2).

    Raises:
        InputError: the dimensions of space and atlas differ, density not positive, or a chart gets no node.
    """
    if space.dim != atlas.manifold.dim:
        raise invalid("space", f"the dimension {atlas.manifold.dim} of the atlas", space.dim)
    density = positive_real(density, "density")
    return _even_nodes(atlas, space, density) if atlas.even else _uneven_nodes(atlas, space, density)


def _uneven_nodes(atlas: Atlas, space: LocalSpace, density: float) -> Nodes:
    """Those of every chart for itself, as many of each as the most that one has."""
    cover, charts, parts = atlas.cover, atlas.coordinates, list[Nodes]()
    for n, (core, radius, scale) in enumerate(
        zip(cover.core_radii.tolist(), cover.radii.tolist(), charts.scales.tolist(), strict=True)
    ):
        own = slice(n, n + 1)
        one = Atlas.uniform(atlas.manifold, atlas.centres[own], atlas.frames[own], core, radius, scale)
        parts.append(_even_nodes(one, space, density))
    most = max(part.mask.shape[1] for part in parts)
    x, z, mask = (
        torch.cat([torch.cat([v, v.new_zeros(1, most - v.shape[1], *v.shape[2:])], dim=1) for v in values])
        for values in zip(*((part.x, part.z, part.mask) for part in parts), strict=True)
    )
    return Nodes(x, z, mask)


def _even_nodes(atlas: Atlas, space: LocalSpace, density: float) -> Nodes:
    manifold = atlas.manifold
    plain = canonical_form(manifold)
    centres, frames = atlas.hull_centres, atlas.hull_frames
    if atlas.count == 1 and plain.fills_cube(centres[0], frames[0], atlas.scale):
        z = space.cube_nodes(density).unsqueeze(0)
        x = centres.unsqueeze(1) + (z * atlas.scale) @ frames.mT
        mask = torch.ones(z.shape[:2], dtype=torch.bool)
        return Nodes(manifold.embed(x), z, mask)
    polar, grid = space.ball_nodes(density, edge=manifold.has_boundary)
    x, mask = _ball_points(plain, centres, frames, atlas.radius, polar)
    if len(grid):
        x_grid, mask_grid = _grid_points(plain, centres, frames, atlas.radius, grid * atlas.scale)
        x, mask = torch.cat((x_grid, x), 1), torch.cat((mask_grid, mask), 1)
    z = torch.einsum("nqk,nkd->nqd", x - centres.unsqueeze(1), frames) / atlas.scale
    if not bool(mask.any(-1).all()):
        empty = int((~mask.any(-1)).nonzero()[0])
        raise invalid("atlas", "points of M in every chart", got=f"none in chart {empty}")
    return Nodes(manifold.embed(x), torch.where(mask.unsqueeze(-1), z.clamp(-1.0, 1.0), 0.0), mask)


def _ball_points(
    manifold: Manifold, centres: Tensor, frames: Tensor, radius: float, unit: Tensor
) -> tuple[Tensor, Tensor]:
    """Points (n, q, k) of M over the points unit (q, d) of the unit ball, stretched to the tangent image of
    M ∩ B(c_n, radius) along every direction from the centre, and which of them lie in the ball.
    """
    share = unit.norm(dim=-1)
    omega = unit / share.unsqueeze(-1).clamp_min(1e-300)
    d = unit.shape[-1]
    if d == 1:
        sides = torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
        length = rim_lengths(manifold, centres, frames, radius, sides)[:, (unit[:, 0] > 0).long()]
    elif d == 2:
        # solved on the directions of the rim, a smooth periodic function of the angle, interpolated inside
        rim = int((share > 1 - 1e-12).sum())
        length = rim_lengths(manifold, centres, frames, radius, omega[-rim:])
        if rim < len(unit):
            angle = torch.atan2(omega[:, 1], omega[:, 0])
            length = length @ _trigonometric_interpolation(angle[-rim:], angle)
    else:
        length = rim_lengths(manifold, centres, frames, radius, omega)
    y = (length.clamp(0.0, radius) * (1 - RIM_SLACK)).unsqueeze(-1) * unit
    return _accept(manifold, centres, frames, radius, y)


def _trigonometric_interpolation(nodes: Tensor, angle: Tensor) -> Tensor:
    """Matrix (m, q) from values on m equispaced angles to their trigonometric interpolant at q angles."""
    orders = torch.arange((len(nodes) + 1) // 2, dtype=torch.float64)
    weight = (1.0 + (orders > 0).double()) / len(nodes)
    at_nodes, at_points = nodes.unsqueeze(-1) * orders, angle.unsqueeze(-1) * orders
    return (at_nodes.cos() * weight) @ at_points.cos().T + (at_nodes.sin() * weight) @ at_points.sin().T


def rim_lengths(manifold: Manifold, centres: Tensor, frames: Tensor, radius: float, omega: Tensor) -> Tensor:
    """Tangent lengths t (n, m) at which chart_inverse(t omega) leaves B(c_n, radius), from below.

    t lies between r sqrt(1 - r^2/(4 reach^2)) and r, since the chord is at least the tangent length. Secant
    steps within this bracket; where the inverse chart does not exist a point counts as outside.
    """
    base, frame = centres.unsqueeze(1), frames.unsqueeze(1)

    def excess(t: Tensor) -> Tensor:
        tick()
        y = t.unsqueeze(-1) * omega
        step = manifold.chart_inverse(base, frame, y) - base
        found = torch.einsum("nqk,nkd->nqd", step, frames)
        exists = (found - y).abs().amax(-1) <= 1e-6 * radius
        return torch.where(exists, step.norm(dim=-1) - radius, radius)

    shape = (len(centres), len(omega))
    curved = 1.0 - radius**2 / (4.0 * float(manifold.reach) ** 2)
    low = torch.full(shape, radius * math.sqrt(max(0.0, curved)) * (1 - 1e-12), dtype=torch.float64)
    high = torch.full(shape, radius, dtype=torch.float64)
    f_low, f_high = excess(low), excess(high)
    missed = f_low > 0
    low, f_low = torch.where(missed, 0.0, low), torch.where(missed, -radius, f_low)
    before, f_before, last, f_last = low, f_low, high, f_high
    best, f_best = torch.where(f_high <= 0, high, low), torch.where(f_high <= 0, f_high, f_low)
    for _ in range(SECANT_STEPS):
        if bool(((f_best >= -1e-7 * radius) | (f_high <= 0)).all()):
            break
        gap = f_last - f_before
        t = last - f_last * (last - before) / torch.where(gap.abs() > 1e-300, gap, 1e-300)
        t = torch.where((t > low) & (t < high), t, 0.5 * (low + high))
        value = excess(t)
        inside = value <= RIM_SLACK * radius
        low, high = torch.where(inside, t, low), torch.where(inside, high, t)
        best, f_best = torch.where(inside, t, best), torch.where(inside, value, f_best)
        before, f_before, last, f_last = last, f_last, t, value
    return best


def _accept(manifold: Manifold, centres: Tensor, frames: Tensor, radius: float, y: Tensor) -> tuple[Tensor, Tensor]:
    """Points of M over tangent coordinates y (n, q, d), and which of them lie in the balls."""
    base = centres.unsqueeze(1)
    # the projection is the identity where the inverse exists, moves points past an edge to the edge, and
    # turns the meaningless result elsewhere into some point of M: in the ball, any such point is a good node
    x = manifold.project(manifold.chart_inverse(base, frames.unsqueeze(1), y))
    return x, (x - base).norm(dim=-1) <= radius * (1 + 2 * RIM_SLACK)


def _grid_points(
    manifold: Manifold, centres: Tensor, frames: Tensor, radius: float, grid: Tensor
) -> tuple[Tensor, Tensor]:
    """Points (n, q, k) of M over those tangent coordinates (g, d) of a grid that can lie in the balls, and which do."""
    grid = grid[grid.norm(dim=-1) <= radius]
    return _accept(manifold, centres, frames, radius, grid.expand(len(centres), -1, -1))
