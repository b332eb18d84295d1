"""Local approximation on a cell: HL24, Theorem 2, the Taylor step, targets of finite smoothness; all its statements.

Exact statements on polynomials are in `taylor_exact`, rigorous ones on analytic functions in `taylor_analytic`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import numpy as np
from hypothesis import strategies as st

from construct.theory import taylor_constant
from proofs_as_code.framework import Hypothesis, Statement, Twin, Verdict, verdict
from proofs_as_code.statements.paper.taylor_analytic import ANALYTIC
from proofs_as_code.statements.paper.taylor_exact import EXACT


@dataclass(frozen=True)
class Rough:
    """`g(z) = (z_1 + ... + z_d)_+^beta`, F = d^alpha Gamma(beta + 1)/Gamma(alpha + 1), a node k/4 (1, ..., 1), a seed
    of points.
    """

    dim: int
    smoothness: float
    node: int
    seed: int


def rough_remainder(case: Rough, v: np.ndarray) -> np.ndarray:
    """|g(z_m + v) - Taylor_s|, v (q, d): g is a function of the sum t alone, and so is its Taylor polynomial."""
    s, beta = math.ceil(case.smoothness) - 1, case.smoothness
    at, t = case.dim * case.node / 4, v.sum(axis=1)
    value = np.maximum(at + t, 0.0) ** beta
    for j in range(s + 1):
        falling = math.prod(beta - i for i in range(j))
        value = value - falling * max(at, 0.0) ** (beta - j) / math.factorial(j) * t**j
    return np.asarray(np.abs(value))


def check_rough(case: Rough, share: float = 1.0, overstated: float = 0.0) -> Verdict:
    """|remainder| <= F d^s Gamma(alpha + 1)/Gamma(beta + 1) |v|^beta. share: of the constant; overstated: added to
    beta.
    """
    beta = case.smoothness
    alpha = beta - math.ceil(beta) + 1
    F = case.dim**alpha * math.gamma(beta + 1) / math.gamma(alpha + 1)
    rng = np.random.default_rng(case.seed)
    scale = 2.0 ** -rng.uniform(0, 12, size=(500, 1))
    v = np.concatenate([scale * rng.uniform(-1, 1, size=(500, case.dim)), np.repeat(scale, case.dim, axis=1)])
    size = np.abs(v).max(axis=1)
    # the sum of s + 2 terms of size up to (1 + d)^beta rounds by some 1e-16 of that
    rounding = 1e-14 * (1 + case.dim * (1 + abs(case.node))) ** beta
    claimed = share * F * taylor_constant(case.dim, beta) * size ** (beta + overstated) * (1 + 1e-12) + rounding
    found = rough_remainder(case, v)
    worst = int(np.argmax(found - claimed))
    witness = vars(case) | {"v": v[worst].tolist()}
    return verdict(claimed[worst], found[worst], kind="sampled", points=len(v), dtype="float64", worst_point=witness)


def rough(node: st.SearchStrategy[int]) -> st.SearchStrategy[Rough]:
    betas = st.sampled_from([0.25, 0.5, 0.75, 1.0, 1.5, 1.75, 2.0, 2.5, 3.25])
    return st.builds(Rough, dim=st.integers(1, 3), smoothness=betas, node=node, seed=st.integers(0, 2**32 - 1))


AT_THE_CUSP = {"case": Hypothesis("the node is where g is not smooth", rough(st.just(0)))}
STATEMENTS: tuple[Statement, ...] = (
    *EXACT,
    Statement(
        name="taylor.holder",
        source="HL24 Theorem 2; sharp constant ours",
        claim="beta-Hoelder, beta = s + alpha: |remainder| <= F d^s Gamma(alpha+1)/Gamma(beta+1) |z - z_m|^beta,"
        " attained by (z_1 + ... + z_d)_+^beta",
        latex=r"|R_s(z)|\le F\,\frac{d^s\,\Gamma(\alpha+1)}{\Gamma(\beta+1)}\,|z-z_m|_\infty^\beta",
        hypotheses={
            "case": Hypothesis("(z_1 + ... + z_d)_+^beta about a node on the diagonal", rough(st.integers(-4, 4)))
        },
        check=check_rough,
        twins=(
            Twin("one_percent", "the constant less 1 %", partial(check_rough, share=0.99), AT_THE_CUSP),
            Twin("overstated", "beta: here beta + 1/4", partial(check_rough, overstated=0.25), AT_THE_CUSP),
        ),
    ),
    *ANALYTIC,
)
