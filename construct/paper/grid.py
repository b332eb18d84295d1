"""The paper's local approximator: Taylor polynomials on a grid of nodes, glued by trapezoids or hats.

On chart n the local target `g_n = (f rho_n) o phi_n^-1`, `rho_n` the smooth partition, is expanded about the
grid points `m/N`, `m in {-N..N}^d`:

    c[n, m, alpha] = d^alpha g_n(m/N) / (alpha! N^|alpha|),   |alpha| <= s
    T(x) = sum_n 1_n(x) sum_m sum_alpha c[n, m, alpha] prod_i bump(u_i) u_i^alpha_i,   u = N z_n(x) - m

with the chart indicator `1_n = clamp((r^2 - |x - c_n|^2)/Delta, 0, 1)`, `Delta = r^2 2^-doublings`. In every
coordinate the bumps sum to one, so the error on a chart is that of one Taylor polynomial: O(N^-(s+1)).
`supp rho_n` lies in the ball of radius `r' < r`, so with `Delta <= r^2 - r'^2` the indicator is 1 on it.

Source: Havrilla and Liao 2024 (Theorem 2), after Yarotsky 2017 and Chen, Jiang, Liao and Zhao 2019.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from construct.atlas import Atlas
from construct.local import multi_indices
from construct.validation import integer, invalid, one_of, positive_integer

BUMPS = ("trapezoid", "hat")
CHUNK_ENTRIES = 2**22
MOST_DEGREE = 32  # derivatives beyond that are nobody's


@dataclass(frozen=True, eq=False, repr=False)
class TaylorApproximator:
    """T(x) as above, evaluated from its formula: the oracle of the paper's network.

    Attributes:
        atlas: charts; its radius is r, its scale normalises z.
        cells: N >= 1, cells per unit of z.
        degree: s >= 0.
        bump: "trapezoid", `psi(3u)`, or "hat".
        charts, nodes: (q,) and (q, d), chart n and grid point m of each kept node, |m_i| <= N; sorted.
        coefficients: (q, A), one for every row of `exponents`, divided by `alpha! N^|alpha|`.
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
        check_resolution(self.cells, self.degree, self.bump, self.modified)
        dim, q = self.atlas.manifold.dim, len(self.charts)
        object.__setattr__(self, "exponents", multi_indices(dim, self.degree))
        shapes = tuple(self.nodes.shape), tuple(self.coefficients.shape)
        if shapes != ((q, dim), (q, len(self.exponents))) or q == 0:
            expected = f"nodes (q, {dim}) and coefficients (q, {len(self.exponents)}), q >= 1, for {q} charts"
            raise invalid("coefficients", expected, got=f"shapes {shapes[0]} and {shapes[1]}")
        if not bool(((self.charts >= 0) & (self.charts < self.atlas.count)).all()):
            got = f"{int(self.charts.min())}..{int(self.charts.max())}"
            raise invalid("charts", f"numbers in 0..{self.atlas.count - 1}", got=got)
        if not bool((self.nodes.abs() <= self.cells).all()):
            raise invalid("nodes", f"|m_i| <= cells = {self.cells}", got=f"{int(self.nodes.abs().max())}")
        if not bool(torch.isfinite(self.coefficients).all()):
            raise invalid("coefficients", "finite numbers", got="NaN or infinity")
        keys = node_keys(self.charts, self.nodes, self.cells)
        if not bool((keys[1:] > keys[:-1]).all()):
            at = int((keys[1:] <= keys[:-1]).nonzero()[0, 0])
            got = f"number {at + 1} after number {at} of a later or the same place"
            raise invalid("nodes", "them sorted by chart and grid point, without repetition", got=got)
        object.__setattr__(self, "_keys", keys)
        least = constant_doublings(self.atlas.radius, self.inner_radius)
        if self.doublings < least:
            raise invalid("doublings", f"at least {least}, for a ramp beyond supp rho_n", self.doublings)

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
            raise invalid("x", f"float64 of shape (P, {self.atlas.manifold.ambient})", x)
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
        size = f"nodes={len(self.charts)}, coefficients={self.parameters}, doublings={self.doublings}"
        kind = f"cells={self.cells}, degree={self.degree}, bump={self.bump!r}"
        return f"TaylorApproximator({self.atlas!r}, {kind}, {size})"


def bump_value(kind: str, u: Tensor) -> Tensor:
    """`psi(3u)`, 1 for |u| <= 1/3 and 0 for |u| >= 2/3, or `hat(u)`; their integer translates sum to one."""
    size = u.abs()
    return (1.0 - size).clamp_min(0.0) if kind == "hat" else (2.0 - 3.0 * size).clamp(0.0, 1.0)


def node_keys(chart: Tensor, node: Tensor, cells: int) -> Tensor:
    """One integer per (chart, grid point), increasing in lexicographic order: (q,), (q, d) -> (q,)."""
    key = chart.clone()
    for i in range(node.shape[-1]):
        key = key * (2 * cells + 1) + node[:, i] + cells
    return key


def constant_doublings(radius: float, inner_radius: float) -> int:
    """The smallest k with `r^2 2^-k <= r^2 - r'^2`: the indicator is 1 on supp rho_n: no ring error."""
    if not 0.0 < inner_radius < radius:
        raise invalid("inner_radius", f"between 0 and radius = {radius:.6g}", got=f"{inner_radius:.6g}")
    return max(0, math.ceil(-math.log2(1.0 - (inner_radius / radius) ** 2) - 1e-12))


def check_resolution(cells: int, degree: int, bump: str, modified: bool) -> None:
    positive_integer(cells, "cells")
    integer(degree, "degree", maximum=MOST_DEGREE)
    one_of(bump, "bump", BUMPS)
    if modified and bump != "hat":
        expected = "bump='hat' (with trapezoids the factors 1 - j/(s+1) lose the order)"
        raise invalid("modified", expected, got=f"bump={bump!r}")
