"""Theorem 2 of HL24: the error of glued Taylor polynomials on a manifold, against its bound.

F is the largest derivative of order s + 1 of the local targets on a fine grid of every chart, times d.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, partial

import torch
from hypothesis import strategies as st

from construct.local import multi_indices
from construct.measurement import absolute_error, search_sup
from construct.paper.derivatives import partial_derivatives
from construct.paper.taylor import OwnPartition, kept_nodes, partition_order, taylor_approximator
from construct.theory import paper_error
from proofs_as_code.framework import Hypothesis, Statement, Twin, Verdict, verdict
from proofs_as_code.statements.paper.theorem_networks import TARGETS, atlas_of, geometry_of, wave

SAMPLES = 2_000


@dataclass(frozen=True)
class Approximation:
    """A target, a manifold, N and s."""

    manifold: str
    cells: int
    degree: int
    target: str = "wave"


@cache
def holder_constant(manifold: str, degree: int) -> float:
    """F of the local targets for beta = s + 1: d times the largest derivative of order s + 1, on a grid of every chart.

    `|d^alpha g(z) - d^alpha g(z')| <= sum_i sup |d^(alpha + e_i) g| |z - z'|`. Sampled, with 5 % for what the grid
    misses.
    """
    atlas = atlas_of(manifold)
    inner, dim = atlas.default_inner_radius, atlas.manifold.dim
    grid = 60 if dim == 1 else 12
    charts, nodes, _ = kept_nodes(atlas, grid, inner)
    partition = OwnPartition(atlas, inner, partition_order(degree))
    exponents = multi_indices(dim, degree + 1)
    exponents = exponents[exponents.sum(-1) == degree + 1]
    centres, frames = atlas.centres[charts], atlas.frames[charts]

    def local(z: torch.Tensor) -> torch.Tensor:
        x = atlas.manifold.chart_inverse(centres, frames, z * atlas.scale)
        return wave(x) * partition(x, charts)

    return 1.05 * dim * float(partial_derivatives(local, nodes.double() / grid, exponents).abs().max())


def check_error(case: Approximation, orders: int = 0, holder: float | None = None) -> Verdict:
    """|T - f| <= overlap F d^s/(s+1)! (2/(3N))^(s+1) on M. orders: claimed in excess of the degree that is used;
    holder: F of a target that is claimed to be Lipschitz."""
    atlas = atlas_of(case.manifold)
    approximator = taylor_approximator(TARGETS[case.target], atlas, cells=case.cells, degree=case.degree)
    claimed_degree = case.degree + orders
    F = holder_constant(case.manifold, claimed_degree) if holder is None else holder
    geometry = geometry_of(atlas, approximator.inner_radius)
    claimed = paper_error(geometry, claimed_degree + 1.0, F, case.cells)
    found = search_sup(absolute_error(approximator, TARGETS[case.target]), atlas.manifold, SAMPLES)
    witness = vars(case) | {"x": found.worst_point.tolist(), "F": F}
    return verdict(claimed, found.sup, kind="sampled", points=found.samples, dtype="float64", worst_point=witness)


ERRORS = {
    "case": Hypothesis(
        "a smooth target on a circle or a sphere",
        st.one_of(
            st.builds(Approximation, st.just("circle"), st.sampled_from([4, 8, 16, 32]), st.integers(0, 3)),
            st.builds(Approximation, st.just("sphere"), st.sampled_from([2, 4, 8]), st.integers(0, 1)),
        ),
    )
}
TOO_LOW = {"case": Hypothesis("degree s - 1 on a fine grid", st.just(Approximation("circle", 2048, 0)))}
CUSP = {
    "case": Hypothesis(
        "|x_1|^(1/2), claimed to be Lipschitz with F = 2", st.just(Approximation("circle", 4096, 0, "cusp"))
    )
}

ERROR_STATEMENTS: tuple[Statement, ...] = (
    Statement(
        name="theorem.error",
        source="HL24 Theorem 2; constant ours",
        claim="|T - f| <= overlap F d^s/(s+1)! (2/(3N))^(s+1) on M",
        latex=r"\|T-f\|_{L^\infty(M)}\le C_{\mathrm{ov}}F"
        r"\,\frac{d^s\,\Gamma(\alpha+1)}{\Gamma(\beta+1)}\Bigl(\frac{2}{3N}\Bigr)^\beta",
        hypotheses=ERRORS,
        check=check_error,
        twins=(
            Twin("degree", "degree s: here s - 1", partial(check_error, orders=1), TOO_LOW, examples=1),
            Twin(
                "smoothness",
                "beta: a cusp of smoothness 1/2 claimed to have 1",
                partial(check_error, holder=2.0),
                CUSP,
                examples=1,
            ),
        ),
    ),
)
