"""The paper's local approximator: Taylor polynomials on a grid of nodes, glued by trapezoids or hats.

On chart n the local target `g_n = (f rho_n) o phi_n^-1`, `rho_n` the smooth partition, is expanded about the grid
points `m/N`, `m in {-N..N}^d`:

    c[n, m, alpha] = d^alpha g_n(m/N) / (alpha! N^|alpha|),   |alpha| <= s
    T(x) = sum_n 1_n(x) sum_m sum_alpha c[n, m, alpha] prod_i bump(u_i) u_i^alpha_i,   u = N z_n(x) - m

with the chart indicator `1_n = clamp((r^2 - |x - c_n|^2)/Delta, 0, 1)`, `Delta = r^2 2^-doublings`. The bumps sum to one in
every coordinate, so the error on a chart is that of one Taylor polynomial: O(N^-(s+1)). `supp rho_n` lies in the ball
of radius `r' < r`, so that with `Delta <= r^2 - r'^2` the indicator is 1 wherever `f rho_n` is not 0.

Source: Havrilla and Liao 2024 (Theorem 2), after Yarotsky 2017 and Chen, Jiang, Liao and Zhao 2019.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from construct.atlas import Atlas, cover
from construct.atlas.catalogue import build
from construct.errors import InputError
from construct.local.derivatives import differentiable, partial_derivatives, refuse_detached
from construct.local.families import multi_indices
from construct.manifolds import Manifold
from construct.targets import evaluate_target
from construct.validation import integer, positive_integer

BUMPS = ("trapezoid", "hat")
PROBES = 64
CHUNK_ENTRIES = 2**22
MOST_NODES = 2**25
ROOM = 1.5  # bound on the radius / core radius that the default number of charts leaves for the smooth partition
BELOW_BOUND = 0.975


def taylor_degree(smoothness: float) -> int:
    """s of a beta-Hölder target, `beta = s + alpha`, `alpha in (0, 1]`: `ceil(beta) - 1`; 0 for `beta <= 1`.

    Raises:
        InputError: smoothness is not a finite number > 0 (an analytic target admits every degree: choose one).
    """
    if not (smoothness > 0 and math.isfinite(smoothness)):
        raise InputError(f"smoothness: expected a finite number > 0, got {smoothness}")
    return math.ceil(smoothness) - 1


def paper_atlas(manifold: Manifold, *, charts: int | None = None) -> Atlas:
    """An atlas with a wide collar, which a smooth partition needs: radius up to 2.1 core radii, below the reach.

    The wider the overlap, the smaller the derivatives of `rho_n` (theory, section 6: `r = 1.05 r'`, `r'` up to twice
    the core radius). Twelve icosahedral charts on the sphere: `r' = 1.45 core`.
    """
    bound = min(float(manifold.reach), manifold.chart_radius_bound)
    limit = bound / ROOM if math.isfinite(bound) and charts is None else None
    centres, core = cover(manifold, limit, charts)
    radius = min(2.1 * core, BELOW_BOUND * bound)
    if radius < 1.1 * core:
        radius = min(1.1 * core, 0.5 * (core + manifold.chart_radius_bound))
    return build(manifold, centres, core, radius)


@dataclass(frozen=True, eq=False, repr=False)
class TaylorApproximator:
    """T(x) as above, evaluated from its formula: the oracle of the paper's network.

    Attributes:
        atlas: charts; its radius is r, its scale normalises z.
        cells: N >= 1, cells per unit of z.
        degree: s >= 0.
        bump: "trapezoid", `psi(3u)`, or "hat".
        charts: (q,) chart of every kept node; nodes: (q, d) its grid point m, |m_i| <= N. Sorted, without repetition.
        coefficients: (q, A), one for every row of `exponents`, already divided by `alpha! N^|alpha|`.
        inner_radius: r', outside of which rho_n vanishes.
        doublings: k of the indicator's ramp, `Delta = r^2 2^-k`.
        modified: the coefficients of order j carry the factor `1 - j/(s+1)` (hats only).
    """

    atlas: Atlas
    cells: int
    degree: int
    bump: str
    charts: Tensor
    nodes: Tensor
    coefficients: Tensor
    inner_radius: float
    doublings: int
    modified: bool = False
    exponents: Tensor = field(init=False)
    _keys: Tensor = field(init=False)

    def __post_init__(self) -> None:
        _check_resolution(self.cells, self.degree, self.bump, self.modified)
        dim = self.atlas.manifold.dim
        object.__setattr__(self, "exponents", multi_indices(dim, self.degree))
        q = self.charts.shape[0]
        if self.nodes.shape != (q, dim) or self.coefficients.shape != (q, len(self.exponents)):
            raise InputError(
                f"coefficients: expected nodes of shape ({q}, {dim}) and coefficients of shape ({q}, {len(self.exponents)}), "
                f"got {tuple(self.nodes.shape)} and {tuple(self.coefficients.shape)}"
            )
        if q and not (int(self.nodes.abs().max()) <= self.cells and 0 <= int(self.charts.min()) <= int(self.charts.max()) < self.atlas.count):
            raise InputError(f"nodes: expected |m_i| <= {self.cells} on charts 0..{self.atlas.count - 1}")
        if not bool(torch.isfinite(self.coefficients).all()):
            raise InputError("coefficients: expected finite numbers, got NaN or infinity")
        keys = node_keys(self.charts, self.nodes, self.cells)
        if not bool((keys[1:] > keys[:-1]).all()):
            raise InputError("nodes: expected them sorted by chart and grid point, without repetition")
        object.__setattr__(self, "_keys", keys)
        least = constant_doublings(self.atlas.radius, self.inner_radius)
        if self.doublings < least:
            raise InputError(
                f"doublings: expected at least {least}, so that the indicator is 1 on supp rho_n, got {self.doublings}"
            )

    @property
    def ramp_width(self) -> float:
        """Delta, in squared distance."""
        return float(self.atlas.radius**2 * 2.0**-self.doublings)

    @property
    def parameters(self) -> int:
        """Number of coefficients."""
        return self.coefficients.numel()

    def indicator(self, x: Tensor) -> Tensor:
        """The chart indicators 1_n: x (P, D) -> (P, n)."""
        gap = self.atlas.radius**2 - self.atlas.squared_distance(x)
        return (gap / self.ramp_width).clamp(0.0, 1.0)

    def __call__(self, x: Tensor) -> Tensor:
        """x (P, D) float64 -> (P,)."""
        if x.ndim != 2 or x.shape[-1] != self.atlas.manifold.ambient or x.dtype != torch.float64:
            raise InputError(
                f"x: expected float64 of shape (P, {self.atlas.manifold.ambient}), got {x.dtype} {tuple(x.shape)}"
            )
        width = self.atlas.count * max(self.atlas.manifold.ambient, len(self.exponents))
        step = max(64, CHUNK_ENTRIES // width)
        parts = [self._evaluate(x[k : k + step]) for k in range(0, len(x), step)]
        return torch.cat(parts) if parts else x.new_zeros(0)

    def _evaluate(self, x: Tensor) -> Tensor:
        indicator = self.indicator(x)
        point, chart = (indicator > 0).nonzero(as_tuple=True)
        z = self.atlas.chart_coordinates(x)[point, chart].clamp(-1.0, 1.0)
        local = self.local(chart, z)
        return x.new_zeros(len(x)).index_add_(0, point, indicator[point, chart] * local)

    def local(self, chart: Tensor, z: Tensor) -> Tensor:
        """The glued Taylor polynomials of chart (p,) at z (p, d) in [-1, 1]^d -> (p,)."""
        scaled = self.cells * z
        low = scaled.floor().clamp(-self.cells, self.cells - 1)
        total = z.new_zeros(len(z))
        for corner in itertools.product((0.0, 1.0), repeat=z.shape[-1]):
            node = low + torch.tensor(corner, dtype=z.dtype)
            u = scaled - node
            weight = bump_value(self.bump, u).prod(-1)
            total = total + weight * self._polynomial(chart, node.long(), u)
        return total

    def _polynomial(self, chart: Tensor, node: Tensor, u: Tensor) -> Tensor:
        keys = node_keys(chart, node, self.cells)
        if len(self._keys) == 0:
            return u.new_zeros(len(u))
        position = torch.searchsorted(self._keys, keys).clamp_max(len(self._keys) - 1)
        present = self._keys[position] == keys
        powers = torch.stack([u**j for j in range(self.degree + 1)])  # (s + 1, p, d)
        value = u.new_zeros(len(u))
        for column, alpha in enumerate(self.exponents.tolist()):
            monomial = torch.ones_like(value)
            for i, exponent in enumerate(alpha):
                if exponent:
                    monomial = monomial * powers[exponent, :, i]
            value = value + self.coefficients[position, column] * monomial
        return torch.where(present, value, 0.0)

    def __repr__(self) -> str:
        return (
            f"TaylorApproximator({self.atlas!r}, cells={self.cells}, degree={self.degree}, bump={self.bump!r}, "
            f"nodes={len(self.charts)}, coefficients={self.parameters}, doublings={self.doublings})"
        )


def bump_value(kind: str, u: Tensor) -> Tensor:
    """`psi(3u)`, 1 for |u| <= 1/3 and 0 for |u| >= 2/3, or `hat(u)`; the integer translates of either sum to one."""
    size = u.abs()
    return (1.0 - size).clamp_min(0.0) if kind == "hat" else (2.0 - 3.0 * size).clamp(0.0, 1.0)


def node_keys(chart: Tensor, node: Tensor, cells: int) -> Tensor:
    """One integer per (chart, grid point), increasing in lexicographic order: (q,), (q, d) -> (q,)."""
    key = chart.clone()
    for i in range(node.shape[-1]):
        key = key * (2 * cells + 1) + node[:, i] + cells
    return key


def constant_doublings(radius: float, inner_radius: float) -> int:
    """The smallest k with `r^2 2^-k <= r^2 - r'^2`: then the indicator is 1 on supp rho_n and there is no ring error."""
    if not 0.0 < inner_radius < radius:
        raise InputError(f"inner_radius: expected between 0 and radius = {radius:.6g}, got {inner_radius:.6g}")
    return max(0, math.ceil(-math.log2(1.0 - (inner_radius / radius) ** 2) - 1e-12))


def partition_order(degree: int, modified: bool = False) -> int:
    """q of `rho_n = b_n/sum b_m`, `b = relu(1 - t)^q`: s + 1, or s + 2 with the modified hats."""
    return degree + (2 if modified else 1)


def kept_nodes(atlas: Atlas, cells: int, inner_radius: float, bump: str = "trapezoid") -> tuple[Tensor, Tensor, Tensor]:
    """Nodes where `f rho_n` can have a coefficient that is not zero: charts (q,), grid points (q, d), points (q, D).

    A node is kept when the chart inverse finds a point x there, with `phi_n(x) = m/N` to 1e-8, inside the ball of
    radius r'. On a manifold with an edge x may lie on its extension; then it is kept only near M (within the
    support of the bump, with a chart inverse of Lipschitz constant up to 3), where the node is in use.
    """
    dim, count = atlas.manifold.dim, (2 * cells + 1) ** atlas.manifold.dim
    if count * atlas.count > MOST_NODES:
        raise InputError(f"cells: expected at most {MOST_NODES} grid points in all charts, got {count * atlas.count}")
    axis = torch.arange(-cells, cells + 1)
    grid = torch.cartesian_prod(*[axis] * dim).reshape(-1, dim)
    grid = grid[(grid.double() / cells * atlas.scale).square().sum(-1) < inner_radius**2]
    half_width = 1.0 if bump == "hat" else 2.0 / 3.0
    near = 3.0 * math.sqrt(dim) * atlas.scale * half_width / cells
    charts, nodes, points = [], [], []
    step = max(1, CHUNK_ENTRIES // atlas.manifold.ambient)
    for n, part in itertools.product(range(atlas.count), grid.split(step)):
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
        target: x (q, D) -> (q,), a torch function with `degree` derivatives near M; for degree 0 numpy will do.
        cells: N;  degree: s, usually `taylor_degree(smoothness)`.
        modified: multiply order j by `1 - j/(s+1)`, which gains one order with hats.
        inner_radius: r'; default `atlas.default_inner_radius`.

    Raises:
        InputError: a resolution out of range, `modified` with trapezoids, or a target that torch cannot differentiate,
            whose derivatives are not finite, or which returns the wrong shape.
    """
    _check_resolution(cells, degree, bump, modified)
    inner = atlas.default_inner_radius if inner_radius is None else float(inner_radius)
    order = partition_order(degree, modified)
    exponents = multi_indices(atlas.manifold.dim, degree)
    charts, nodes, points = kept_nodes(atlas, cells, inner, bump)
    values = evaluate_target(target, points)
    if degree == 0:
        rho = torch.cat([
            atlas.smooth_partition(x, order, inner)[torch.arange(len(x)), n]
            for x, n in zip(*_split(atlas, 0, points, charts), strict=True)
        ] or [values])
        derivatives = (values * rho)[:, None]
    else:
        torch_target = differentiable(target)
        probes = points[:: max(1, len(points) // PROBES)]
        refuse_detached(torch_target, probes, evaluate_target(target, probes))
        parts = [
            partial_derivatives(_local_target(torch_target, atlas, n, order, inner), m.double() / cells, exponents)
            for m, n in zip(*_split(atlas, degree, nodes, charts), strict=True)
        ]
        derivatives = torch.cat(parts) if parts else values.new_zeros(0, len(exponents))
    _check_derivatives(derivatives, exponents, points)
    coefficients = derivatives * _normalisation(exponents, cells, degree, modified)
    kept = (coefficients != 0).any(-1)
    kept[:1] |= not bool(kept.any())  # the zero function keeps one node, so that it is approximated like any other
    return TaylorApproximator(
        atlas, cells, degree, bump, charts[kept], nodes[kept], coefficients[kept].contiguous(), inner,
        constant_doublings(atlas.radius, inner), modified,
    )  # fmt: skip


def _local_target(
    target: Callable[[Tensor], Tensor], atlas: Atlas, charts: Tensor, order: int, inner: float
) -> Callable[[Tensor], Tensor]:
    """`g = (f rho_n) o phi_n^-1` with its own n for every row: z (q, d) -> (q,)."""
    centres, frames, rows = atlas.centres[charts], atlas.frames[charts], torch.arange(len(charts))

    def local(z: Tensor) -> Tensor:
        x = atlas.manifold.chart_inverse(centres, frames, z * atlas.scale)
        return target(x) * atlas.smooth_partition(x, order, inner)[rows, charts]

    return local


def _split(atlas: Atlas, degree: int, *tensors: Tensor) -> list[tuple[Tensor, ...]]:
    """Rows in pieces that fit a chunk of memory, nested derivatives included."""
    entries = atlas.count * atlas.manifold.ambient * 2**degree
    return [tensor.split(max(64, CHUNK_ENTRIES // entries)) if len(tensor) else () for tensor in tensors]


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
    raise InputError(
        f"target: expected finite derivatives up to order {int(exponents.sum(-1).max())}, that of order "
        f"{tuple(exponents[column].tolist())} is {float(derivatives[row, column])} at x = {points[row].tolist()} "
        f"({int(bad.any(-1).sum())} of {len(points)} nodes); give a smaller degree or smoothness"
    )


def _check_resolution(cells: int, degree: int, bump: str, modified: bool) -> None:
    positive_integer(cells, "cells")
    integer(degree, "degree")
    if bump not in BUMPS:
        raise InputError(f"bump: expected one of {BUMPS}, got {bump!r}")
    if modified and bump != "hat":
        raise InputError("modified: expected bump='hat'; with trapezoids the factors 1 - j/(s+1) lose the order")
