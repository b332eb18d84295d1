"""Theorem 2 of HL24, assembled: blocks, rate, the sizes of both constructions; all its statements.

Built networks of the paper's construction are in `theorem_networks`, errors in `theorem_errors`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
from hypothesis import strategies as st

import construct
from construct.local import PolynomialSpace
from construct.theory import Geometry, paper_block_heads, paper_blocks, paper_cells, paper_error, paper_sizes
from proofs_as_code.framework import Hypothesis, Statement, Twin, Verdict, verdict
from proofs_as_code.statements.paper.theorem_errors import ERROR_STATEMENTS
from proofs_as_code.statements.paper.theorem_networks import MANIFOLDS, SIZES, tightest, wave


@dataclass(frozen=True)
class Setting:
    """d, D, beta of the asymptotic claims."""

    dim: int
    codimension: int
    smoothness: float

    def geometry(self) -> Geometry:
        return Geometry(self.dim, self.dim + self.codimension, 12, 6, 1.0, 0.95, 0.9, 1.0)


def check_blocks(case: Setting, extra: int = 0) -> Verdict:
    """L_T is 6 + p or 7 + p + ceil(log2 d), the same for all eps, D: the number of blocks that `paper_block_heads`
    lists.
    """
    degree = math.ceil(case.smoothness) - 1
    p = max(1, math.ceil(math.log2(degree))) if degree else 1
    claimed = (6 + p if case.dim == 1 else 7 + p + math.ceil(math.log2(case.dim))) + extra
    counted = [len(paper_block_heads(case.geometry(), degree, cells)) for cells in (1, 7, 1000)]
    counted += [paper_sizes(case.geometry(), case.smoothness, 1.0, epsilon=10.0**-k).blocks for k in range(1, 7)]
    counted.append(paper_blocks(case.dim, degree))
    gap = max(abs(count - claimed) for count in counted)
    return verdict(0, gap, kind="exact", points=len(counted), dtype="integers", worst_point=vars(case) | {"L": claimed})


def check_rate(case: Setting, ambient: bool = False) -> Verdict:
    """Parameters of the formula grow like eps^(-d/beta): slope within 1 % at eps with N = 2^16 .. 2^24 cells."""
    geometry, beta = case.geometry(), case.smoothness
    errors = [paper_error(geometry, beta, 1.0, 2**k) for k in range(16, 25, 2)]
    cells = [paper_cells(geometry, beta, 1.0, epsilon) for epsilon in errors]
    parameters = [paper_sizes(geometry, beta, 1.0, epsilon=epsilon).parameters for epsilon in errors]
    slope = -float(np.polyfit(np.log(errors), np.log([float(p) for p in parameters]), 1)[0])
    exponent = (case.dim + case.codimension if ambient else case.dim) / beta
    witness = vars(case) | {"slope": slope, "cells": cells[-1]}
    return verdict(
        0.01 * exponent, abs(slope - exponent), kind="sampled", points=5, dtype="float64", worst_point=witness
    )


# -- compact --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Compact:
    """A compact network: manifold, charts, degree <= 8 (d <= 2)."""

    manifold: str
    charts: int
    degree: int


def check_compact(case: Compact, blocks: int = 0) -> Verdict:
    """Compact sizes for d <= 2, degree q <= 8: blocks 5, one more if the affine hull is projected to first.

    With n charts, k <= D coordinates, `G` left and `J` right functions (q + 1 each at most), K <= n(n-1)/2 neighbours:
    heads `D k + n k (d + 1) + k` (charts), `1 + n d + K` (powers), `4 n d + n G` (basis), `n G + n G J` (coefficients),
    1; tokens `D + 1 + k + 4 n d + n + n G`. blocks: added to the claim.
    """
    manifold = MANIFOLDS[case.manifold]()
    net = _compact(case)
    a, layout = net.architecture, net.program.layout
    assert net.origin is not None
    n, d, D = layout.group("R").size, manifold.dim, manifold.ambient
    k, functions = D, case.degree + 1
    total = D * k + n * k * (d + 1) + k + 1 + n * d + n * (n - 1) // 2 + 4 * n * d + 2 * n * functions + 1
    total += n * functions**2
    claimed_blocks = 5 + ("Y" in layout) + blocks
    pairs: dict[str, tuple[float, float]] = {
        "blocks": (a.blocks, claimed_blocks),
        "total heads": (a.total_heads, total),
        "tokens": (a.tokens, D + 1 + k + 4 * n * d + n + n * functions),
        "FFN depth": (a.ffn_depth, 3),
        "FFN width": (a.ffn_width, 5),
        "parameters": (a.parameters, 75 * total + 7 * 30 + n * (2 * d + 2 + functions)),
        "coefficients": (net.origin.coefficients, n * PolynomialSpace(d, case.degree).count),
    }
    return tightest(pairs, "exact", "integers", dict(vars(case)))


@cache
def _compact(case: Compact) -> construct.Network:
    return construct.approximate(wave, MANIFOLDS[case.manifold](), charts=case.charts, degree=case.degree)


# -- statements -----------------------------------------------------------------------------------

SETTINGS = {
    "case": Hypothesis(
        "1 <= d <= 9, d < D, beta <= 10",
        st.builds(
            Setting,
            dim=st.integers(1, 9),
            codimension=st.integers(1, 20),
            smoothness=st.sampled_from([0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.5, 10.0]),
        ),
    )
}

STATEMENTS: tuple[Statement, ...] = (
    Statement(
        name="theorem.blocks",
        source="HL24 Theorem 2",
        claim="L_T = 6 + p for d = 1, 7 + p + ceil(log2 d) for d >= 2, p = max(1, ceil(log2 s)); no eps, no D",
        latex=r"L_T=6+p\ (d=1),\quad 7+p+\lceil\log_2d\rceil\ (d\ge2),\quad p=\max(1,\lceil\log_2s\rceil)",
        hypotheses=SETTINGS,
        check=check_blocks,
        twins=(Twin("one_less", "one block less", partial(check_blocks, extra=-1)),),
        examples=30,
    ),
    *SIZES,
    *ERROR_STATEMENTS,
    Statement(
        name="theorem.rate",
        source="HL24 Theorem 2",
        claim="the number of parameters grows like eps^(-d/beta), whatever D",
        latex=r"P=O\bigl(\varepsilon^{-d/\beta}\bigr)",
        hypotheses={
            "case": Hypothesis(
                "1 <= d <= 4",
                st.builds(
                    Setting,
                    dim=st.integers(1, 4),
                    codimension=st.integers(1, 20),
                    smoothness=st.sampled_from([0.5, 1.0, 1.5, 2.0, 3.0, 4.5]),
                ),
            )
        },
        check=check_rate,
        twins=(Twin("ambient", "d replaced by D", partial(check_rate, ambient=True)),),
    ),
    Statement(
        name="theorem.compact",
        source="ours",
        claim="compact construction, d <= 2, degree <= 8: 5 blocks (6 with projection), heads and tokens by formulas",
        latex=r"L_T=5,\quad\text{heads}\le Dk+nk(d+1)+k+\dots+nGJ",
        hypotheses={
            "case": Hypothesis(
                "a compact network on a circle or a sphere",
                st.sampled_from(
                    [
                        Compact("circle", 4, 3),
                        Compact("circle", 5, 8),
                        Compact("circle in R^5", 4, 5),
                        Compact("sphere", 6, 4),
                        Compact("sphere", 4, 2),
                    ]
                ),
            )
        },
        check=check_compact,
        twins=(Twin("four_blocks", "one block less", partial(check_compact, blocks=-1), examples=2),),
        examples=8,
    ),
)
