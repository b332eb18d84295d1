"""Chart projections and squared distances: what the first two blocks of both constructions compute.

    z_n = V_n^T (x - c_n)/scale, clipped to [-1, 1]:  linear reads (compact), or `v relu(x_j + B_j)` and an initial
          register that takes `V^T (c + B)/scale` off again (paper)
    paper, blocks 1 and 2:    |x - c|^2 = sum_j relu(x_j^2 - 2 c_j x_j + c_j^2), every term a square, hence >= 0
    compact, block 1 alone:   r^2 - |x - c|^2 = (r^2 - |c|^2 - |B|^2) + sum_j (B_j^2 - x_j^2) + sum_j 2 c_j x_j, with
          B_j^2 - x_j^2 = relu(x_j + B_j) (B_j - x_j) >= 0 from one broadcast head for all charts

Both hold for every x of the admissible box |x_j| <= B_j, not only on M, up to the rounding of the *stored* numbers: the
network is run in rational arithmetic, so nothing else rounds. With u = 2^-53 and noise s = 1e-15, below which
entries of V (and of c, relative to the largest) are dropped, the bounds follow by counting roundings:

    z (D sums):         sum_j ((D + 3) u |V_j| + s)/scale (|x_j| + |c_j| + 2 B_j)
    distance, paper:    u sum_j c_j^2                       (c_j^2 is stored, 2 c_j is exact)
    distance, compact:  (D + 4) u (r^2 + |c|^2 + |B|^2) + 2 s max|c| sum_j (|x_j| + |c_j|)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from flint import fmpq, fmpq_mat
from hypothesis import strategies as st
from torch import Tensor

from construct.arrays import Float
from construct.atlas import Atlas, atlas_for
from construct.compact import program as compact
from construct.compact.basis import network_bases
from construct.compact.geometry import chart_geometry
from construct.compact.layout import CompactLayout
from construct.local import PolynomialSpace
from construct.manifolds import Circle, Manifold, Sphere
from construct.paper import program as paper
from construct.paper.layout import layout_of
from construct.paper.taylor import paper_atlas, taylor_approximator
from construct.program.layout import TokenLayout
from construct.transformer.weights import FeedForward, Heads, Weights
from proofs_as_code import rational
from proofs_as_code.framework import Hypothesis, Statement, Twin, Verdict, verdict

UNIT = fmpq(1, 2**53)
NOISE = rational.rational(1e-15)
CONSTRUCTIONS = ("paper", "compact")
CASES: dict[str, tuple[Callable[[], Manifold], int]] = {
    "circle": (Circle, 4),
    "circle in R^3": (lambda: Circle(1.5, ambient=3, seed=1), 5),
    "sphere": (lambda: Sphere(2), 4),
}


@dataclass(frozen=True)
class ChartBlocks:
    """The first blocks of a network, and what names its tokens."""

    atlas: Atlas
    layout: TokenLayout
    weights: Weights
    count: int

    @property
    def blocks(self) -> tuple[tuple[Heads, FeedForward], ...]:
        return self.weights.blocks[: self.count]

    @property
    def box(self) -> Float:
        """Half-widths (D,) of the admissible box, which lies around the origin."""
        return np.asarray(self.weights.box[1])


def first_coordinate(x: Tensor) -> Tensor:
    """A target; the chart blocks do not depend on it."""
    return x[..., 0]


@lru_cache
def built(construction: str, case: str) -> ChartBlocks:
    """A small network of either construction."""
    make, charts = CASES[case]
    manifold = make()
    if construction == "paper":
        atlas = paper_atlas(manifold, charts=charts)
        grid = layout_of(taylor_approximator(first_coordinate, atlas, cells=1, degree=0))
        program, box = paper.program_of(grid, np.ones((len(grid.nodes), 1))), grid.box
        return ChartBlocks(atlas, program.layout, program.compile(box), 2)
    atlas = atlas_for(manifold, charts=charts)
    basis = network_bases(PolynomialSpace(manifold.dim, 1))[0].product
    layout = CompactLayout(chart_geometry(atlas, project=False), basis)
    program = compact.program_of(layout, np.ones((charts, len(basis.left), len(basis.right))))
    return ChartBlocks(atlas, program.layout, program.compile(layout.geometry.inputs), 1)


def point(parts: ChartBlocks, share: list[fmpq]) -> list[fmpq]:
    """x_j = share_j B_j, the shares repeated as needed."""
    return [share[j % len(share)] * rational.rational(float(b)) for j, b in enumerate(parts.box)]


def run(parts: ChartBlocks, x: list[fmpq], clipped: bool = True) -> list[fmpq_mat]:
    """States after each of the blocks; clipped: with the FFN of block 1."""
    state = rational.matrix(parts.weights.hidden0)
    for token, coordinate in enumerate(x):
        state[token, parts.layout.row("a")] += coordinate
    states = []
    for index, (batch, ffn) in enumerate(parts.blocks):
        state = state + rational.attention(batch, state)
        if clipped or index:
            state = state + rational.feed_forward(ffn, state)
        states.append(state)
    return states


def chart_tokens(parts: ChartBlocks) -> np.ndarray[Any, Any]:
    """Tokens (n, d) that hold z."""
    return parts.layout.tokens("Z") if "Z" in parts.layout else parts.layout.tokens("A")[:, :, 0]


def worst_of(pairs: list[tuple[fmpq, fmpq, dict[str, int]]]) -> Verdict:
    """Exact verdict of the (bound, error, where) with the largest error relative to its bound."""
    bound, error, where = max(pairs, key=lambda pair: (pair[1] > pair[0], pair[1] / pair[0] if pair[0] else pair[1]))
    return verdict(bound, error, kind="exact", points=len(pairs), dtype="rational", worst_point=where)


def projection(construction: str, case: str, share: list[fmpq], clipped: bool = True) -> Verdict:
    """The registers z against clip(V^T (x - c)/scale) with the atlas's own numbers."""
    parts = built(construction, case)
    x, box = point(parts, share), [rational.rational(float(b)) for b in parts.box]
    state, scale = run(parts, x, clipped)[0], rational.rational(float(parts.atlas.scale))
    centres, frames = (values.tolist() for values in (parts.atlas.centres, parts.atlas.frames))
    pairs = []
    for (n, i), token in np.ndenumerate(chart_tokens(parts)):
        z = bound = fmpq(0)
        for j, coordinate in enumerate(x):
            c, v = rational.rational(centres[n][j]), rational.rational(frames[n][j][i])
            z += v * (coordinate - c) / scale
            size = abs(coordinate) + abs(c) + 2 * box[j]
            bound += ((len(x) + 3) * UNIT * abs(v) + NOISE) / scale * size
        error = abs(state[int(token), parts.layout.row("a")] - max(fmpq(-1), min(fmpq(1), z)))
        pairs.append((bound, error, {"chart": n, "coordinate": i}))
    return worst_of(pairs)


def distance(construction: str, case: str, share: list[fmpq], exact: bool = False) -> Verdict:
    """R.b against |x - c|^2 (paper) or r^2 - |x - c|^2 (compact). exact: as if nothing had been rounded (twin)."""
    parts = built(construction, case)
    x, box = point(parts, share), [rational.rational(float(b)) for b in parts.box]
    state, radius = run(parts, x)[-1], rational.rational(float(parts.atlas.radius))
    centres = [[rational.rational(c) for c in row] for row in parts.atlas.centres.tolist()]
    largest = max(abs(c) for row in centres for c in row)
    pairs = []
    for n, token in enumerate(parts.layout.tokens("R")):
        squared = sum(((a - c) * (a - c) for a, c in zip(x, centres[n], strict=True)), fmpq(0))
        norm = sum((c * c for c in centres[n]), fmpq(0))
        bound = UNIT * norm
        if construction == "compact":
            squared = radius * radius - squared
            reach = sum((abs(a) + abs(c) for a, c in zip(x, centres[n], strict=True)), fmpq(0))
            bound = (len(x) + 4) * UNIT * (radius * radius + norm + sum((b * b for b in box), fmpq(0)))
            bound += 2 * NOISE * largest * reach
        error = abs(state[int(token), parts.layout.row("b")] - squared)
        pairs.append((fmpq(0) if exact else bound, error, {"chart": n}))
    return worst_of(pairs)


KIND = Hypothesis("a construction", st.sampled_from(CONSTRUCTIONS))
CASE = Hypothesis("a manifold with a small atlas", st.sampled_from(sorted(CASES)))
IN_BOX = Hypothesis("any x of the admissible box", st.lists(rational.dyadics(1, 20), min_size=1, max_size=4))
CORNER = Hypothesis("a corner of the box", st.lists(st.sampled_from([fmpq(1), fmpq(-1)]), min_size=1, max_size=4))
BELOW = Hypothesis("x_j = -2 B_j for all j: outside the box", st.just([fmpq(-2)]))

STATEMENTS: tuple[Statement, ...] = (
    Statement(
        name="geometry.chart_projection",
        source="Havrilla and Liao, proof of Theorem 2; reads by the value ours",
        claim="block 1: registers hold clip(V_n^T (x - c_n)/scale) for all x in the box, up to rounded weights",
        latex=r"z_n = \mathrm{clip}_{[-1,1]}\,V_n^T(x - c_n)/\mathrm{scale}",
        hypotheses={"construction": KIND, "case": CASE, "share": IN_BOX},
        check=projection,
        twins=(
            Twin(
                "clip_removed",
                "the FFN of block 1 is missing",
                lambda construction, case, share: projection(construction, case, share, False),
                {"share": CORNER},
            ),
        ),
        examples=12,
    ),
    Statement(
        name="geometry.squared_distance",
        source="Havrilla and Liao, proof of Theorem 2; one block ours",
        claim="paper: R.b = sum_j relu(x_j^2 - 2 c_j x_j + c_j^2) = |x - c|^2 after two blocks; compact: "
        "R.b = r^2 - |x - c|^2 after one; for all x in the box, up to rounded weights",
        latex=r"\sum_j \mathrm{relu}(x_j^2 - 2c_jx_j + c_j^2) = |x - c|^2",
        hypotheses={"construction": KIND, "case": CASE, "share": IN_BOX},
        check=distance,
        twins=(
            Twin(
                "no_rounding_of_the_weights",
                "the identity is claimed without the rounding of c_j^2 and of the stored constant",
                lambda construction, case, share: distance(construction, case, share, True),
                {"case": Hypothesis("centres that are not dyadic", st.sampled_from(["circle in R^3", "sphere"]))},
            ),
            Twin(
                "outside_the_box",
                "x_j < -B_j: relu(x_j + B_j) is closed (compact)",
                distance,
                {"construction": Hypothesis("the compact construction", st.just("compact")), "share": BELOW},
            ),
        ),
        examples=12,
    ),
)
