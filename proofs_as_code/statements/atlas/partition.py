"""Partitions of unity: telescoping (exact, by two blocks), stick-breaking, and the smooth one of the paper.

    w_n = relu((r^2 - |x - c_n|^2)/(r^2 - core^2))      >= 1 in the core ball, 0 outside the ball
    telescoping      rho_n = min(1, s_n + w_n) - min(1, s_n), s_n = sum_(m < n) w_m;   sum_n rho_n = min(1, sum_n w_n)
    stick-breaking   rho_n = w_n prod_(m < n) (1 - w_m), w in [0, 1];                 sum_n rho_n = 1 - prod_n (1 - w_n)
    smooth           rho_n = b_n/sum_m b_m, b_n = relu(1 - |x - c_n|^2/r'^2)^q;        sum_n rho_n = 1, C^(q-1)

Telescoping sums are the differences of one increasing sequence, so they are >= 0 and add up without any rounding in the
network; s_n needs only charts whose balls meet U_n, since elsewhere w_n = 0 makes rho_n = 0. The sum is 1 on M because
sum w >= 1 there, which ball arithmetic proves: where one w_n falls to 1, at the rim of its core, another has grown.
Stick-breaking sums to one only where some w_n = 1: in the cores, not wherever sum w >= 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

import numpy as np
from flint import arb, fmpq, fmpq_mat
from hypothesis import strategies as st

from construct.atlas import Atlas, atlas_for
from construct.compact.basis import network_bases
from construct.compact.geometry import chart_geometry
from construct.compact.layout import CompactLayout
from construct.compact.program import program_of
from construct.local import PolynomialSpace
from construct.manifolds import Circle, FlatTorus, Manifold, Sphere
from construct.program import products
from construct.program.heads import A, B
from construct.program.layout import TokenLayout
from construct.transformer.weights import Weights
from proofs_as_code import rational
from proofs_as_code.framework import Hypothesis, Statement, Twin, Verdict, verdict
from proofs_as_code.statements.atlas.atlas_covers import Ball, largest, squared_distance
from proofs_as_code.statements.program.products import UNIT, after, layout_of

CASES: dict[str, tuple[Callable[[], Manifold], int]] = {
    "circle": (Circle, 5),
    "circle in R^3": (lambda: Circle(2.0, ambient=3), 4),
    "sphere": (Sphere, 6),
}


@lru_cache
def built(case: str, without: int = 0) -> tuple[Atlas, TokenLayout, Weights]:
    """A compact network of degree 2; without: how many of the first neighbour pairs are left out (twin)."""
    make, charts = CASES[case]
    atlas = atlas_for(make(), charts=charts)
    geometry = chart_geometry(atlas, project=False)
    basis = network_bases(PolynomialSpace(atlas.manifold.dim, 2))[0].product
    layout = CompactLayout(replace(geometry, neighbours=geometry.neighbours[without:]), basis)
    program = program_of(layout, np.ones((charts, len(basis.left), len(basis.right))))
    return atlas, program.layout, program.compile(geometry.inputs)


def network_weights(case: str, x: list[fmpq], without: int = 0) -> tuple[list[fmpq], list[fmpq]]:
    """w_n from R.b after block 1 and rho_n from R.a after block 2, exactly."""
    atlas, layout, weights = built(case, without)
    state = rational.matrix(weights.hidden0)
    for token, coordinate in enumerate(x):
        state[token, layout.row(A)] += coordinate
    states = []
    for batch, ffn in weights.blocks[:2]:
        state = state + rational.attention(batch, state)
        state = state + rational.feed_forward(ffn, state)
        states.append(fmpq_mat(state))
    slope = rational.rational(1.0 / (atlas.radius**2 - atlas.core_radius**2))
    tokens = [int(token) for token in layout.tokens("R")]
    shares = [max(fmpq(0), slope * states[0][token, layout.row(B)]) for token in tokens]
    return shares, [states[1][token, layout.row(A)] for token in tokens]


def defects(weights: list[fmpq], rho: list[fmpq], total: fmpq) -> Verdict:
    """How far rho is from >= 0, from 0 where w = 0, and from the sum that is claimed."""
    found = {
        "sum": abs(sum(rho, fmpq(0)) - total),
        "negative": max(-min(rho), fmpq(0)),
        "support": max((abs(b) for a, b in zip(weights, rho, strict=True) if a == 0), default=fmpq(0)),
    }
    worst = max(found, key=lambda name: found[name])
    return verdict(
        fmpq(0), found[worst], kind="exact", points=len(rho), dtype="rational", worst_point={"defect": worst}
    )


def near(case: str, seed: int, stretch: fmpq) -> list[fmpq]:
    """A float64 point of M, moved along its ray."""
    manifold = built(case)[0].manifold
    return [stretch * rational.rational(value) for value in manifold.sample(1, seed)[0].tolist()]


def telescoping(case: str, seed: int, stretch: fmpq) -> Verdict:
    """The network's rho_n near M and off it."""
    weights, rho = network_weights(case, near(case, seed, stretch))
    return defects(weights, rho, min(fmpq(1), sum(weights, fmpq(0))))


def pair_left_out(case: str) -> Verdict:
    """The same half way between the centres of a pair that the network's neighbour table lacks."""
    atlas, _, _ = built(case)
    m, n = atlas.neighbours[0].tolist()
    middle = atlas.manifold.project((atlas.centres[m] + atlas.centres[n]) / 2)
    weights, rho = network_weights(case, [rational.rational(value) for value in middle.tolist()], 1)
    return defects(weights, rho, min(fmpq(1), sum(weights, fmpq(0))))


def stick_breaking(weights: list[fmpq], one_wherever_covered: bool = False) -> Verdict:
    """rho_n from product trees of the factors w_n, 1 - w_0, .., 1 - w_(n-1), in ceil(log2(n + 1)) blocks.

    one_wherever_covered: claim the telescoping sum, min(1, sum w), instead (twin).
    """
    rho = []
    for n, weight in enumerate(weights):
        factors = [weight, *(1 - w for w in weights[:n])]
        layout = layout_of(len(factors))
        state = rational.state(layout, [(factor, fmpq(0)) for factor in factors])
        for level in range(1, n.bit_length() + 1):
            i, j = (np.array(column) for column in zip(*products.tree_steps(len(factors), level), strict=True))
            state = after(products.multiply(i, j, A), layout, UNIT, state)
        rho.append(state[0, layout.row(A)])
    rest = fmpq(1)
    for weight in weights:
        rest *= 1 - weight
    return defects(weights, rho, min(fmpq(1), sum(weights, fmpq(0))) if one_wherever_covered else 1 - rest)


def covered(case: tuple[str, int], shrink: float = 1.0) -> Verdict:
    """`1 - sum_n w_n <= 0` on all of M, in ball arithmetic; shrink: of both radii (twin)."""
    atlas = atlas_for(WHOLE[case[0]](), charts=case[1])
    outer, inner = ((arb(radius) * shrink) ** 2 for radius in (atlas.radius, atlas.core_radius))
    centres = atlas.centres.tolist()

    def missing(x: Ball) -> arb:
        total = arb(1)
        for centre in centres:
            height = outer - squared_distance(x, centre)
            if not height <= 0:
                total -= height.max(arb(0)) / (outer - inner)
        return total

    return largest(atlas.manifold, missing, 0.0).verdict(0.0, {"case": case[0], "charts": case[1]})


WHOLE: dict[str, Callable[[], Manifold]] = {"circle": Circle, "sphere": Sphere, "flat torus": lambda: FlatTorus(2)}
CASE = Hypothesis("a compact network", st.sampled_from(sorted(CASES)))
UNIT_WEIGHTS = Hypothesis("1 to 7 weights in [0, 1]", st.lists(rational.dyadics(1).map(abs), min_size=1, max_size=7))
LARGE = Hypothesis(
    "w_0 > 1 and w_1 > 0, not clamped",
    st.integers(257, 512).map(lambda k: [fmpq(k, 256), fmpq(1, 2)]),
)
HALVES = Hypothesis("two or more weights 1/2", st.integers(2, 6).map(lambda n: [fmpq(1, 2)] * n))
COVERS = [("circle", 3), ("circle", 7), ("sphere", 6), ("sphere", 12), ("flat torus", 16)]

STATEMENTS: tuple[Statement, ...] = (
    Statement(
        name="partition.telescoping",
        source="ours",
        claim="two blocks: rho_n >= 0, rho_n = 0 off U_n, and sum_n rho_n = min(1, sum_n w_n) exactly, near and off M",
        latex=r"\rho_n = \min(1, s_n + w_n) - \min(1, s_n),\quad \sum_n \rho_n = \min\bigl(1, \sum_n w_n\bigr)",
        hypotheses={
            "case": CASE,
            "seed": Hypothesis("a point of M", st.integers(0, 2**31)),
            "stretch": Hypothesis("moved along its ray by 7/8 to 9/8", rational.dyadics(1, 6).map(lambda t: 1 + t / 8)),
        },
        check=telescoping,
        twins=(
            Twin(
                "neighbour_pair_left_out",
                "the table of neighbours lacks a pair of charts whose balls meet: the sum exceeds 1",
                lambda case, seed, stretch: pair_left_out(case),
            ),
        ),
        examples=10,
    ),
    Statement(
        name="partition.sums_to_one_on_manifold",
        source="ours",
        claim="sum_n w_n >= 1 for every x of M, hence sum_n rho_n = min(1, sum_n w_n) = 1 on M",
        latex=r"\sum_n w_n(x) \ge 1 \quad\text{for all } x \in M",
        hypotheses={"case": Hypothesis("an atlas", st.sampled_from(COVERS))},
        check=covered,
        twins=(
            Twin(
                "radii_below_the_covering_radius",
                "both radii times 0.97: the balls no longer cover",
                lambda case: covered(case, 0.97),
            ),
        ),
        examples=5,
    ),
    Statement(
        name="partition.stick_breaking",
        source="ours",
        claim="rho_n = w_n prod_(m<n) (1 - w_m) by product trees: >= 0, 0 where w_n = 0, sum = 1 - prod_n (1 - w_n)",
        latex=r"\sum_n w_n\prod_{m<n}(1 - w_m) = 1 - \prod_n(1 - w_n)",
        hypotheses={"weights": UNIT_WEIGHTS},
        check=stick_breaking,
        twins=(
            Twin("not_clamped", "w_0 > 1: rho_1 < 0", stick_breaking, {"weights": LARGE}),
            Twin(
                "one_wherever_covered",
                "the sum is 1 wherever sum w >= 1, as for the telescoping weights",
                lambda weights: stick_breaking(weights, True),
                {"weights": HALVES},
            ),
        ),
    ),
)
