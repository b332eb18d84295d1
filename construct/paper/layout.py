"""The paper's layout: which tokens and how many heads, before any weight is assigned.

Tokens, contiguous by kind in this order: `x_j`; `out`; per chart `R` (distance, indicator) and `S` (sum);
`Z_(n,i)`, the chart coordinates; per univariate node (n, i, k) one `H` (bump) and `U_j`, j = 0..s (power j of
u = N z - k); for d >= 2 `P_(tau,i)`, one factor of a term tau = (n, m, alpha) each.

    block 1        charts     Z.a = z;  x.b = x^2                      FFN: clip Z.a
    block 2        nodes      H.a = U_j.a = N z - k;  R.b = dist^2     FFN: clip H.a, U.a
    3 .. 2+p       powers     U_j.a = u^j                              FFN: H.b = bump (block 3)
    3+p            bumps      U_j.b = bump(u) u^j                      FFN of block 4: R.a = indicator
    d >= 2         terms      P_(tau,i).a = U.b; then ceil(log2 d) blocks of products
    last three     sum, cut, read-out

`p = max(1, ceil(log2 s))`: L = 6 + p blocks for d = 1, else 7 + p + ceil(log2 d), for any number of cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import ceil, log2
from typing import Any

import numpy as np

from construct.arrays import Float, Int
from construct.atlas import Atlas
from construct.errors import InputError
from construct.local import multi_indices
from construct.paper.taylor import TaylorApproximator, constant_doublings, kept_nodes
from construct.program import products
from construct.program.layout import STRUCTURED_ROWS, TokenGroup, TokenLayout

RAMPS = ("constant", "epsilon")
BOX_MARGIN = 1.25  # admissible inputs: |x_j| <= 1.25 max_M |x_j|


@dataclass(frozen=True)
class PaperCounts:
    """Sizes of a paper network, known before it is built; names and dense count as in `Architecture`.

    overhead: the part of `parameters` that does not depend on the number of nodes (charts, FFNs, read-out).
    """

    blocks: int
    heads: int
    total_heads: int
    tokens: int
    ffn_depth: int
    coefficients: int
    parameters: int
    overhead: int


@dataclass(frozen=True, eq=False)
class PaperDesign:
    """Everything that decides the layout.

    Attributes:
        centres (n, D), frames (n, D, d): charts z = frames^T (x - c)/scale; radius: of the balls.
        box (D,): half-widths of the admissible inputs.
        cells, degree, bump, doublings: as in `TaylorApproximator`.
        charts (q,), nodes (q, d): the kept nodes.
    """

    centres: Float
    frames: Float
    scale: float
    radius: float
    box: Float
    cells: int
    degree: int
    bump: str
    doublings: int
    charts: Int
    nodes: Int
    code_name: str = "integer"

    @property
    def ambient(self) -> int:
        return int(self.frames.shape[1])

    @property
    def dim(self) -> int:
        return int(self.frames.shape[2])

    @cached_property
    def exponents(self) -> Int:
        """(A, d), |alpha| <= s."""
        return np.asarray(multi_indices(self.dim, self.degree).numpy())

    @cached_property
    def _univariate(self) -> tuple[Int, Int]:
        """Rows (n, i, k) of the univariate nodes, (h, 3), and the nodes' factors among them, (q, d)."""
        q, d = self.nodes.shape
        triples = np.stack([
            np.broadcast_to(self.charts[:, None], (q, d)), np.broadcast_to(np.arange(d), (q, d)), self.nodes
        ], axis=-1).reshape(-1, 3)  # fmt: skip
        width = 2 * self.cells + 1
        keys = (triples[:, 0] * d + triples[:, 1]) * width + triples[:, 2] + self.cells
        _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
        return triples[first], inverse.reshape(q, d)

    @property
    def univariate(self) -> Int:
        return self._univariate[0]

    @property
    def factors(self) -> Int:
        return self._univariate[1]

    @property
    def power_blocks(self) -> int:
        """p: doubling the exponent reaches s in ceil(log2 s) blocks; the bump's FFN needs one in any case."""
        return products.power_levels(self.degree)

    @property
    def product_blocks(self) -> int:
        return ceil(log2(self.dim))

    @property
    def blocks(self) -> int:
        """L_T, independent of the number of cells and of epsilon."""
        if self.dim == 1:
            return 6 + self.power_blocks
        return 7 + self.power_blocks + self.product_blocks

    @cached_property
    def layout(self) -> TokenLayout:
        n, d, h, s = len(self.centres), self.dim, len(self.univariate), self.degree
        groups = [
            TokenGroup("x", (self.ambient,), ("j",), "x_j in a, its square in b"),
            TokenGroup("out", (1,), (), "output in b"),
            TokenGroup("R", (n,), ("chart",), "squared distance in b, indicator in a"),
            TokenGroup("S", (n,), ("chart",), "sum of the chart's terms in b"),
            TokenGroup("Z", (n, d), ("chart", "coordinate"), "chart coordinate z in a"),
            TokenGroup("H", (h,), ("node",), "u = N z - k in a, bump(u) in b"),
            TokenGroup("U", (h, s + 1), ("node", "power"), "u^j in a, bump(u) u^j in b"),
        ]
        if d >= 2:
            q, terms = len(self.nodes), len(self.exponents)
            axes = ("node", "alpha", "coordinate")
            groups.append(TokenGroup("P", (q, terms, d), axes, "factors of a term in a"))
        return TokenLayout(tuple(groups), self.code_name)

    # -- counting -------------------------------------------------------------------------------------

    def power_steps(self, level: int) -> list[tuple[int, int]]:
        """At level 1..p, the pairs (j, partner) with `U_j.a <- U_j.a U_partner.a`."""
        return products.power_steps(self.degree, level)

    def product_steps(self, level: int) -> list[tuple[int, int]]:
        """At level 1..ceil(log2 d), the pairs (i, j) with `P_i <- P_i P_j`."""
        return products.tree_steps(self.dim, level)

    def heads_per_block(self) -> list[int]:
        """Heads of every block, in order."""
        (n, D, d), h, s = self.frames.shape, len(self.univariate), self.degree
        terms = len(self.nodes) * len(self.exponents)
        counts = [D + int(np.count_nonzero(self.frames)), h * (1 + s) + n * D]
        counts += [2 * h * len(self.power_steps(level)) for level in range(1, self.power_blocks + 1)]
        counts.append(h * sum(1 if j % 2 == 0 else 2 for j in range(s + 1)))
        if d >= 2:
            counts.append(2 * terms * d)
            levels = range(1, self.product_blocks + 1)
            counts += [2 * terms * len(self.product_steps(level)) for level in levels]
        return [*counts, 2 * terms, 2 * n, 2 * n]

    def clipped(self) -> list[str]:
        """Names of the blocks whose only FFN is a clip that holds the provable bounds (three layers each)."""
        names = [f"powers {level}" for level in range(3, self.power_blocks + 1)]
        if self.power_blocks >= 2:
            names.append("bumps")
        if self.dim >= 2:
            names += ["terms", *(f"products {level}" for level in range(1, self.product_blocks + 1))]
        return [*names, "sum"]

    @property
    def ramp_layers(self) -> int:
        """Depth of the indicator's FFN, O(log 1/Delta): the largest of the network."""
        return self.doublings + 4

    def chart_registers(self) -> Float:
        """Initial Z.a (n, d): -(V^T c)/scale - (V^T B)/scale, which turns relu(x_j + B_j) into x_j."""
        return -np.einsum("nDd,nD->nd", self.frames / self.scale, self.centres + self.box)

    def counts(self) -> PaperCounts:
        """Sizes of the network; equal to what `Architecture` counts from its weights."""
        heads, width = self.heads_per_block(), len(STRUCTURED_ROWS)
        layers = 3 * (3 + len(self.clipped())) + self.ramp_layers
        shifted = int(np.count_nonzero(self.univariate[:, 2] != -self.cells))
        fixed = int(np.count_nonzero(self.chart_registers()))
        nodes = shifted * (1 + self.degree) + len(self.univariate)
        n, D = len(self.centres), self.ambient
        overhead_heads = D + int(np.count_nonzero(self.frames)) + n * D + 4 * n
        ffn = layers * (width**2 + width)
        return PaperCounts(
            blocks=self.blocks,
            heads=max(heads),
            total_heads=sum(heads),
            tokens=self.layout.count,
            ffn_depth=max(3, self.ramp_layers),
            coefficients=len(self.nodes) * len(self.exponents),
            parameters=3 * width**2 * sum(heads) + ffn + fixed + nodes,
            overhead=3 * width**2 * overhead_heads + ffn + fixed,
        )


def ramp_doublings(approximator: TaylorApproximator, ramp: str, epsilon: float | None = None) -> int:
    """k of the chart indicator, `Delta = r^2 2^-k`.

    "constant": the smallest k with `Delta <= r^2 - r'^2`, enough because f rho_n vanishes beyond r'.
    "epsilon": the paper's `Delta <= epsilon r^2`, hence `k = ceil(log2(1/epsilon))`, where that is more;
    epsilon defaults to `N^-(s+1)`, the order of the local error.
    """
    least = constant_doublings(approximator.atlas.radius, approximator.inner_radius)
    return _doublings(least, approximator.cells, approximator.degree, ramp, epsilon)


def _doublings(least: int, cells: int, degree: int, ramp: str, epsilon: float | None) -> int:
    if ramp not in RAMPS:
        raise InputError(f"ramp: expected one of {RAMPS}, got {ramp!r}")
    if ramp == "constant":
        return least
    wanted = float(cells) ** -(degree + 1) if epsilon is None else float(epsilon)
    if not wanted > 0:
        raise InputError(f"epsilon: expected a number > 0, got {epsilon}")
    return max(least, ceil(log2(1 / wanted)))


def paper_design(approximator: TaylorApproximator, *, position_code: str = "integer") -> PaperDesign:
    """The layout of an approximator's network."""
    return _design(
        approximator.atlas,
        cells=approximator.cells,
        degree=approximator.degree,
        bump=approximator.bump,
        doublings=approximator.doublings,
        charts=approximator.charts.numpy(),
        nodes=approximator.nodes.numpy(),
        code_name=position_code,
    )


def _design(atlas: Atlas, **resolution: Any) -> PaperDesign:
    frames, box = atlas.frames.numpy(), atlas.manifold.box.numpy()
    return PaperDesign(
        centres=atlas.centres.numpy(),
        frames=np.where(np.abs(frames) > 1e-15, frames, 0.0),  # rounding noise of an exact zero
        scale=atlas.scale,
        radius=atlas.radius,
        box=BOX_MARGIN * np.maximum(box, 1e-3 * box.max()),
        **resolution,
    )


def paper_counts(
    atlas: Atlas,
    *,
    cells: int,
    degree: int,
    bump: str = "trapezoid",
    ramp: str = "epsilon",
    epsilon: float | None = None,
    inner_radius: float | None = None,
) -> PaperCounts:
    """Sizes of the paper network on an atlas, without the target: for budgets.

    Exact when no node turns out to have only zero coefficients, otherwise an upper bound. Costs the chart
    inverse at every grid point; no derivatives and no weights.
    """
    inner = atlas.default_inner_radius if inner_radius is None else inner_radius
    charts, nodes, _ = kept_nodes(atlas, cells, inner, bump)
    return _design(
        atlas,
        cells=cells,
        degree=degree,
        bump=bump,
        doublings=_doublings(constant_doublings(atlas.radius, inner), cells, degree, ramp, epsilon),
        charts=charts.numpy(),
        nodes=nodes.numpy(),
    ).counts()
