"""Taylor coefficients of a target on the grids of an atlas, by automatic differentiation (never differences).

What becomes of the coefficients, and the formula of T, is in `grid`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from construct.atlas import Atlas, find_cover, tangent_atlas
from construct.local import multi_indices
from construct.manifolds import Manifold
from construct.paper.derivatives import differentiable, partial_derivatives, refuse_detached
from construct.paper.grid import (
    CHUNK_ENTRIES,
    TaylorApproximator,
    check_resolution,
    constant_doublings,
)
from construct.progress import tick
from construct.targets import evaluate_target
from construct.validation import invalid, positive_real

__all__ = [
    "TaylorApproximator",
    "constant_doublings",
    "kept_nodes",
    "paper_atlas",
    "partition_order",
    "taylor_approximator",
    "taylor_degree",
]

PROBES = 64
MOST_NODES = 2**25
ROOM = 1.5  # bound on the radius over core radius, which leaves the smooth partition room to fall
BELOW_BOUND = 0.975


def taylor_degree(smoothness: float) -> int:
    """s of a beta-Hölder target, `beta = s + alpha`, `alpha in (0, 1]`: `ceil(beta) - 1`; 0 for `beta <= 1`.

    Raises:
        InputError: smoothness is not a finite number > 0 (an analytic target admits every degree).
    """
    return math.ceil(positive_real(smoothness, "smoothness")) - 1


def paper_atlas(manifold: Manifold, *, charts: int | None = None) -> Atlas:
    """An atlas with a wide collar for the smooth partition: radius up to 2.1 core radii, below the reach.

    The wider the overlap, the smaller the derivatives of `rho_n`: `r = 1.05 r'`, `r'` up to twice the core
    radius (theory, section 6). Twelve icosahedral charts on the sphere: `r' = 1.45 core`.
    """
    bound = min(float(manifold.reach), manifold.chart_radius_bound)
    limit = bound / ROOM if math.isfinite(bound) and charts is None else None
    centres, core = find_cover(manifold, limit, charts)
    radius = min(2.1 * core, BELOW_BOUND * bound)
    if radius < 1.1 * core:
        radius = min(1.1 * core, 0.5 * (core + manifold.chart_radius_bound))
    return tangent_atlas(manifold, centres, core, radius)


def partition_order(degree: int, modified: bool = False) -> int:
    """q of `rho_n = b_n/sum b_m`, `b = relu(1 - t)^q`: s + 1, or s + 2 with the modified hats."""
    return degree + (2 if modified else 1)


def kept_nodes(atlas: Atlas, cells: int, inner_radius: float, bump: str = "trapezoid") -> tuple[Tensor, Tensor, Tensor]:
    """Nodes where `f rho_n` can have a non-zero coefficient: charts (q,), grid points (q, d), points (q, D).

    A node is kept when the chart inverse finds a point x there, `phi_n(x) = m/N` to 1e-8, inside the ball of
    radius r'. On a manifold with an edge x may lie on its extension; then it is kept only near M, within
    the support of the bump times a Lipschitz constant of 3 of the chart inverse, where the node is in use.
    """
    dim, count = atlas.manifold.dim, (2 * cells + 1) ** atlas.manifold.dim
    if count * atlas.count > MOST_NODES:
        raise invalid("cells", f"at most {MOST_NODES} grid points in all charts", count * atlas.count)
    axis = torch.arange(-cells, cells + 1)
    grid = torch.cartesian_prod(*[axis] * dim).reshape(-1, dim)
    grid = grid[(grid.double() / cells * atlas.scale).square().sum(-1) < inner_radius**2]
    half_width = 1.0 if bump == "hat" else 2.0 / 3.0
    near = 3.0 * math.sqrt(dim) * atlas.scale * half_width / cells
    charts, nodes, points = [], [], []
    step = max(1, CHUNK_ENTRIES // atlas.manifold.ambient)
    for n, part in itertools.product(range(atlas.count), grid.split(step)):
        tick(n / atlas.count)
        y = part.double() * (atlas.scale / cells)
        x = atlas.manifold.chart_inverse(atlas.centres[n], atlas.frames[n], y)
        offset = x - atlas.centres[n]
        keep = (offset.square().sum(-1) < inner_radius**2) & torch.isfinite(x).all(-1)
        keep &= ((offset @ atlas.frames[n]) - y).abs().amax(-1) <= 1e-8 * atlas.scale
        if atlas.manifold.has_boundary:
            inside = keep.nonzero().squeeze(-1)
            distance = (x[inside] - atlas.manifold.project(x[inside])).norm(dim=-1)
            keep[inside] &= distance <= near
        charts.append(torch.full((int(keep.sum()),), n, dtype=torch.long))
        nodes.append(part[keep])
        points.append(x[keep])
    return torch.cat(charts), torch.cat(nodes), torch.cat(points)


def taylor_approximator(
    target: Callable[..., Any],
    atlas: Atlas,
    *,
    cells: int,
    degree: int,
    bump: str = "trapezoid",
    modified: bool = False,
    inner_radius: float | None = None,
) -> TaylorApproximator:
    """The glued Taylor polynomials of `target` on an atlas.

    Args:
        target: x (q, D) -> (q,), a torch function with `degree` derivatives; for degree 0 numpy will do.
        cells: N;  degree: s, usually `taylor_degree(smoothness)`.
        modified: multiply order j by `1 - j/(s+1)`, which gains one order with hats.
        inner_radius: r'; default `atlas.default_inner_radius`.

    Raises:
        InputError: a resolution out of range, `modified` with trapezoids, or a target that torch cannot
            differentiate, whose derivatives are not finite, or which returns the wrong shape.
    """
    check_resolution(cells, degree, bump, modified)
    inner = atlas.default_inner_radius if inner_radius is None else float(inner_radius)
    exponents = multi_indices(atlas.manifold.dim, degree)
    charts, nodes, points = kept_nodes(atlas, cells, inner, bump)
    values = evaluate_target(target, points)
    partition = OwnPartition(atlas, inner, partition_order(degree, modified))
    step = max(64, CHUNK_ENTRIES // ((atlas.count + atlas.manifold.ambient) * 2**degree))
    if degree == 0:
        rho = [partition(x, n) for x, n in zip(points.split(step), charts.split(step), strict=True)]
        derivatives = (values * torch.cat(rho))[:, None]
    else:
        torch_target = differentiable(target)
        refuse_detached(torch_target, points[:: max(1, len(points) // PROBES)])
        parts: list[Tensor] = []
        for m, n in zip(nodes.double().split(step), charts.split(step), strict=True):
            tick(len(parts) * step / len(nodes))
            parts.append(partial_derivatives(_local_target(torch_target, partition, n), m / cells, exponents))
        derivatives = torch.cat(parts)
    _check_derivatives(derivatives, exponents, points)
    coefficients = derivatives * _normalisation(exponents, cells, degree, modified)
    kept = (coefficients != 0).any(-1)
    kept[:1] |= not bool(kept.any())  # the zero function keeps one node and is like any other
    return TaylorApproximator(
        atlas=atlas,
        cells=cells,
        degree=degree,
        bump=bump,
        charts=charts[kept],
        nodes=nodes[kept],
        coefficients=coefficients[kept],
        inner_radius=inner,
        doublings=constant_doublings(atlas.radius, inner),
        modified=modified,
    )


@dataclass(frozen=True)
class OwnPartition:
    """`rho_n(x)` of `Atlas.smooth_partition` for one chart n per point x; distances by one matrix product."""

    atlas: Atlas
    inner_radius: float
    order: int

    def __call__(self, x: Tensor, charts: Tensor) -> Tensor:
        """x (q, D), charts (q,) -> (q,)."""
        centres = self.atlas.centres
        square = x.square().sum(-1, keepdim=True) - 2.0 * (x @ centres.T) + centres.square().sum(-1)
        b = (1.0 - square / self.inner_radius**2).clamp_min(0.0) ** self.order
        total = b.sum(-1)
        return b[torch.arange(len(charts)), charts] / torch.where(total > 0.0, total, 1.0)


def _local_target(
    target: Callable[[Tensor], Tensor], partition: OwnPartition, charts: Tensor
) -> Callable[[Tensor], Tensor]:
    """`g = (f rho_n) o phi_n^-1` with its own n for every row: z (q, d) -> (q,)."""
    atlas = partition.atlas
    centres, frames = atlas.centres[charts], atlas.frames[charts]

    def local(z: Tensor) -> Tensor:
        x = atlas.manifold.chart_inverse(centres, frames, z * atlas.scale)
        return target(x) * partition(x, charts)

    return local


def _normalisation(exponents: Tensor, cells: int, degree: int, modified: bool) -> Tensor:
    """`1/(alpha! N^|alpha|)`, times `1 - |alpha|/(s+1)` if modified; (A,)."""
    total = exponents.sum(-1).double()
    factor = (-torch.lgamma(exponents.double() + 1).sum(-1) - total * math.log(cells)).exp()
    return factor * (1 - total / (degree + 1)) if modified else factor


def _check_derivatives(derivatives: Tensor, exponents: Tensor, points: Tensor) -> None:
    bad = ~torch.isfinite(derivatives)
    if not bool(bad.any()):
        return
    row, column = bad.nonzero()[0].tolist()
    alpha, place = tuple(exponents[column].tolist()), points[row, :8].tolist()
    expected = f"finite derivatives up to order {int(exponents.sum(-1).max())}"
    got = f"{float(derivatives[row, column])} for that of order {alpha} at x = {place}"
    more = f"({int(bad.any(-1).sum())} of {len(points)} nodes); give a smaller degree or smoothness"
    raise invalid("target", expected, got=f"{got} {more}")
