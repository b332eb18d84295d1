"""The paper's layout: which tokens there are, before any rule.

Tokens, contiguous by kind in this order: `x_j`; `out`; per chart `R` (distance, indicator) and `S` (sum);
`Z_(n,i)`, the chart coordinates; per univariate node (n, i, k) one `H` (bump) and `U_j`, j = 0..s (power j of
u = N z - k); for d >= 2 `P_(tau,i)`, one factor of a term tau = (n, m, alpha) each.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import ceil, log2
from typing import Any

import numpy as np

from construct.arrays import Float, Int
from construct.atlas import Atlas
from construct.boxes import CentredBox, centred
from construct.local import multi_indices
from construct.paper.grid import TaylorApproximator
from construct.paper.taylor import kept_nodes
from construct.program import products
from construct.program.layout import TokenGroup, TokenLayout

BOX_MARGIN = 1.25  # admissible inputs: 1.25 times the half-widths of M, around the centre of its box


@dataclass(frozen=True, eq=False)
class PaperLayout:
    """The layout of an atlas and a grid, and what stages ask of it.

    Attributes:
        centres (n, D), frames (n, D, d): charts z = frames^T (x - origin - c)/scale; radius: of the balls.
        box (D,): bounds of what the input tokens hold, |x_j - origin_j|.
        cells, degree, bump, doublings: as in `TaylorApproximator`.
        charts (q,), nodes (q, d): the kept nodes.
        origin (D,): what the input tokens subtract.
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
    position_code: str = "integer"
    origin: Float | float = 0.0

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
    def tokens(self) -> TokenLayout:
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
        return TokenLayout(tuple(groups), self.position_code)

    def power_steps(self, level: int) -> list[tuple[int, int]]:
        """At level 1..p, the pairs (j, partner) with `U_j.a <- U_j.a U_partner.a`."""
        return products.power_steps(self.degree, level)

    def product_steps(self, level: int) -> list[tuple[int, int]]:
        """At level 1..ceil(log2 d), the pairs (i, j) with `P_i <- P_i P_j`."""
        return products.tree_steps(self.dim, level)


def layout_of(approximator: TaylorApproximator, position_code: str = "integer") -> PaperLayout:
    """The layout of an approximator's network."""
    return _layout(
        approximator.atlas,
        cells=approximator.cells,
        degree=approximator.degree,
        bump=approximator.bump,
        doublings=approximator.doublings,
        charts=approximator.charts.numpy(),
        nodes=approximator.nodes.numpy(),
        position_code=position_code,
    )


def layout_without_target(
    atlas: Atlas,
    *,
    cells: int,
    degree: int,
    doublings: int,
    bump: str = "trapezoid",
    inner_radius: float | None = None,
) -> PaperLayout:
    """The layout on an atlas before the target is seen: for budgets.

    That of the network when no node turns out to have only zero coefficients, otherwise a larger one. Costs the chart
    inverse at every grid point; no derivatives.
    """
    inner = atlas.default_inner_radius if inner_radius is None else inner_radius
    charts, nodes, _ = kept_nodes(atlas, cells, inner, bump)
    return _layout(
        atlas,
        cells=cells,
        degree=degree,
        bump=bump,
        doublings=doublings,
        charts=charts.numpy(),
        nodes=nodes.numpy(),
    )


def paper_input_box(atlas: Atlas) -> CentredBox:
    """The box of the admissible inputs."""
    return centred(atlas.manifold.box.numpy(), BOX_MARGIN)


def _layout(atlas: Atlas, **sizes: Any) -> PaperLayout:
    frames, box = atlas.frames.numpy(), paper_input_box(atlas)
    return PaperLayout(
        centres=atlas.centres.numpy() - box.centre,
        frames=np.where(np.abs(frames) > 1e-15, frames, 0.0),  # rounding noise of an exact zero
        scale=atlas.scale,
        radius=atlas.radius,
        box=box.registers,
        origin=box.centre,
        **sizes,
    )
