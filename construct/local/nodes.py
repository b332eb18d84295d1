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

from construct.atlas import Atlas, canonical_form
from construct.errors import InputError
from construct.local.families import LocalSpace, PolynomialSpace, SplineSpace
from construct.manifolds import Cube, Manifold
from construct.validation import positive_real

SECANT_STEPS = 6
RIM_SLACK = 1e-9
NODES_PER_CELL = {1: 8, 2: 4}
"""Per coordinate, 2 for d >= 3: even, since the error of a linear piece is largest at knots and midpoints."""
SEED = 20240613
GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0


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
    manifold = atlas.manifold
    if space.dim != manifold.dim:
        raise InputError(f"space must have the dimension {manifold.dim} of the atlas; got {space.dim}")
    density = positive_real(density, "density")
    plain = canonical_form(manifold)
    centres, frames = atlas.hull_centres, atlas.hull_frames
    if isinstance(manifold, Cube) and atlas.count == 1:
        z = cube_nodes(space, density).unsqueeze(0)
        x = centres.unsqueeze(1) + (z * atlas.scale) @ frames.mT
        mask = torch.ones(z.shape[:2], dtype=torch.bool)
        return Nodes(manifold.embed(x), z, mask)
    if isinstance(space, SplineSpace):
        x, mask = _grid_points(plain, centres, frames, atlas, space, density)
    else:
        unit = ball_nodes(space, density * (1.4 if manifold.has_boundary else 1.0))
        x, mask = _ball_points(plain, centres, frames, atlas.radius, unit)
    z = torch.einsum("nqk,nkd->nqd", x - centres.unsqueeze(1), frames) / atlas.scale
    if not bool(mask.any(-1).all()):
        empty = int((~mask.any(-1)).nonzero()[0])
        raise InputError(f"atlas must have points of M in every chart; got none in chart {empty}")
    return Nodes(manifold.embed(x), torch.where(mask.unsqueeze(-1), z.clamp(-1.0, 1.0), 0.0), mask)


def _degree(space: LocalSpace) -> int:
    if isinstance(space, PolynomialSpace):
        return space.degree
    if isinstance(space, SplineSpace):
        return NODES_PER_CELL.get(space.dim, 2) * space.cells
    # any other space: the degree of polynomials with as many coefficients
    return math.ceil(space.dim * (space.count ** (1.0 / space.dim) - 1.0))


def ball_nodes(space: LocalSpace, density: float = 1.0) -> Tensor:
    """Points (q, d) of the closed unit ball, dense near the rim, for polynomials of the space's degree.

    d = 1: Chebyshev-Lobatto points. d = 2: rings with radii sin(theta), angles in proportion to the radius
    and staggered. d >= 3: spherical shells with such radii, well-spread `directions`.
    """
    degree, d = _degree(space), space.dim
    if d == 1:
        count = math.ceil(density * (3 * degree + 4))
        return torch.cos(torch.linspace(0.0, math.pi, count, dtype=torch.float64)).unsqueeze(-1)
    if d == 2:
        return _rings(math.ceil(density * (4.0 * degree + 7)), math.ceil(density * (1.5 * degree + 3)))
    return _shells(d, density, space.count, math.ceil(density * (degree + 2)))


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


def cube_nodes(space: LocalSpace, density: float = 1.0) -> Tensor:
    """Points (q, d) of [-1, 1]^d with its corners: tensor Chebyshev-Lobatto (uniform for splines) for d <= 3.

    For d > 3 scrambled Sobol points mapped by the cosine, with the corners when these are fewer than the
    coefficients.
    """
    d, degree = space.dim, _degree(space)
    if isinstance(space, SplineSpace):
        count = math.ceil(density * NODES_PER_CELL.get(d, 2)) * space.cells + 1
        axis = torch.linspace(-1.0, 1.0, count, dtype=torch.float64)
        return torch.cartesian_prod(*[axis] * d).reshape(-1, d)
    if d <= 3:
        per_axis = {1: 3 * degree + 4, 2: 2 * degree + 3, 3: math.ceil(1.4 * degree) + 3}[d]
        axis = torch.cos(torch.linspace(0.0, math.pi, math.ceil(density * per_axis), dtype=torch.float64))
        return torch.cartesian_prod(*[axis] * d).reshape(-1, d)
    total = math.ceil(density * (6 * space.count + 150))
    uniform = torch.quasirandom.SobolEngine(d, scramble=True, seed=SEED).draw(total, dtype=torch.float64)
    points = torch.cos(math.pi * uniform)
    if 2**d <= space.count:
        ends = torch.tensor([-1.0, 1.0], dtype=torch.float64)
        points = torch.cat((torch.cartesian_prod(*[ends] * d), points))
    return points


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
    manifold: Manifold, centres: Tensor, frames: Tensor, atlas: Atlas, space: SplineSpace, density: float
) -> tuple[Tensor, Tensor]:
    """A uniform grid of tangent coordinates, NODES_PER_CELL points a cell and coordinate, and rim points."""
    d = space.dim
    count = math.ceil(density * NODES_PER_CELL.get(d, 2)) * space.cells + 1
    axis = torch.linspace(-1.0, 1.0, count, dtype=torch.float64) * atlas.scale
    grid = torch.cartesian_prod(*[axis] * d).reshape(-1, d)
    grid = grid[grid.norm(dim=-1) <= atlas.radius]
    x, mask = _accept(manifold, centres, frames, atlas.radius, grid.expand(len(centres), -1, -1))
    if d == 1:
        rim = torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
    elif d == 2:
        turn = torch.arange(4 * count, dtype=torch.float64) * (2 * math.pi / (4 * count))
        rim = torch.stack((turn.cos(), turn.sin()), -1)
    else:
        rim = directions(d, 4 * count ** (d - 1), 0)
    x_rim, mask_rim = _ball_points(manifold, centres, frames, atlas.radius, rim)
    return torch.cat((x, x_rim), 1), torch.cat((mask, mask_rim), 1)
