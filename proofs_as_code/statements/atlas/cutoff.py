"""The paper's cut-off: a smooth partition of unity, and chart indicators that are ramps of an FFN.

Ramp of width Delta = r^2 2^-k on d^2 = |x - c|^2: 1 for d^2 <= r^2 - Delta, 0 for d^2 >= r^2, linear between, by k
doublings. Two ways to bound what it does to g = f rho_n in the ring (Havrilla and Liao leave the choice open):

    support   supp rho_n in d <= r' and Delta <= r^2 - r'^2: the ramp is 1 where g is not 0, no error. The smallest such
              k is a constant of the atlas.
    rim       g is Lam-Lipschitz and 0 at d = r, Delta <= r eps/Lam: with y = r^2 - d^2 in [0, Delta],
              |g| <= Lam (r - d) = Lam y/(r + d) <= Lam y/r, so the error is at most
              (Lam/r) y (1 - y/Delta) <= Lam Delta/(4r) <= eps/4. A fourfold Delta would do for eps, and where d is
              near r, so that y/(r + d) is near y/(2r), nearly an eightfold one.

1/r^2 is a stored weight w, |w r^2 - 1| <= 2^-53, so the ramp of the network is off by at most 2^k 2^-53 d^2/r^2 (the
slope of the doublings times the error of the first channel), and nothing else in it rounds: it is run in rational
arithmetic, on all tokens, those outside the gate included.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from flint import fmpq
from hypothesis import strategies as st

from construct.atlas import Atlas
from construct.manifolds import Circle, Sphere
from construct.paper.taylor import constant_doublings, paper_atlas
from construct.program.ffn import Ffn
from construct.program.layout import TokenGroup, TokenLayout
from proofs_as_code import rational
from proofs_as_code.framework import Hypothesis, Statement, Twin, Verdict, verdict

UNIT = fmpq(1, 2**53)
LAYOUT = TokenLayout(tuple(TokenGroup(name, (count,)) for name, count in (("x", 2), ("R", 4), ("S", 3))))
POINTS = 500
RING_POINTS = 64

# -- ramps ------------------------------------------------------------------------------------------------------


def ramp(squared: list[fmpq], radius_squared: float, doublings: int) -> tuple[list[fmpq], fmpq]:
    """What the indicator's FFN adds to R.a for these values of R.b, and the most it adds anywhere else (exactly)."""
    ramp = Ffn("indicator_ramp", ("R",), {"radius_squared": radius_squared, "doublings": doublings})
    layer = ramp.weights(LAYOUT, ramp.constant(LAYOUT, lambda row: np.inf))
    row, (first, last) = LAYOUT.row("a"), LAYOUT.span("R")
    found, leaked = [], fmpq(0)
    for value in squared:
        added = rational.feed_forward(layer, rational.state(LAYOUT, [(fmpq(0), value)] * LAYOUT.count))
        found.append(added[first, row])
        for token in range(first, last + 1):
            added[token, row] -= found[-1]
        leaked = max(leaked, rational.largest(added))
    return found, leaked


def plateau(inner: int, ring: int, fewer: int = 0) -> Verdict:
    """r'^2 = inner/64, r^2 = (inner + ring)/64, the constant number of doublings less `fewer`: 1 to r', 0 from r."""
    outer, within = (inner + ring) / 64, inner / 64
    doublings = constant_doublings(outer**0.5, within**0.5) - fewer
    squared = [fmpq(inner * j, 64 * 8) for j in range(9)] + [fmpq(inner + ring, 64) * j for j in (1, 2, 9)]
    values, leaked = ramp(squared, outer, doublings)
    wanted = [1] * 9 + [0] * 3
    error = max(leaked, *(abs(value - want) for value, want in zip(values, wanted, strict=True)))
    where = {"r_squared": outer, "inner_squared": within, "doublings": doublings}
    return verdict(2**doublings * UNIT, error, kind="exact", points=len(values), dtype="rational", worst_point=where)


def ring_error(radius: int, lipschitz: int, epsilon: int, fewer: int = 0, rim: fmpq = rational.ZERO) -> Verdict:
    """`|g (1 - ramp)|` for g = Lam (r - d) + rim, r = radius/16, Lam = lipschitz/4, eps = 2^-epsilon, against eps/4."""
    r, lam, eps = fmpq(radius, 16), fmpq(lipschitz, 4), fmpq(1, 2**epsilon)
    doublings = -fewer
    while r * r / 2 ** (doublings + fewer) > r * eps / lam:
        doublings += 1
    width = r * r / 2**doublings
    inner = r - width / r  # (r - width/r)^2 <= r^2 - width, so the ring lies beyond it
    distances = [max(fmpq(0), inner + (r - inner) * j / RING_POINTS) for j in range(RING_POINTS + 1)]
    values, leaked = ramp([d * d for d in distances], float(r * r), doublings)
    errors = [(lam * (r - d) + rim) * (1 - v) for d, v in zip(distances, values, strict=True)]
    worst = max(range(len(errors)), key=errors.__getitem__)
    where = {"r": float(r), "lipschitz": float(lam), "doublings": doublings, "distance": float(distances[worst])}
    claimed = eps / 4 + lam * r * 2**doublings * UNIT
    measured = max(errors[worst], leaked)
    return verdict(claimed, measured, kind="exact", points=len(errors), dtype="rational", worst_point=where)


# -- the smooth partition ---------------------------------------------------------------------------------------


@lru_cache
def wide_atlas(name: str) -> Atlas:
    """An atlas with the wide collar of the paper's construction."""
    return paper_atlas(Circle(), charts=6) if name == "circle" else paper_atlas(Sphere(), charts=12)


def smooth(name: str, order: int, seed: int, stretch: float = 1.0) -> Verdict:
    """Sum, sign and support of `Atlas.smooth_partition` at sampled points of M (times stretch)."""
    atlas = wide_atlas(name)
    x = stretch * atlas.manifold.sample(POINTS, seed)
    rho = atlas.smooth_partition(x, order)
    outside = atlas.squared_distance(x) >= atlas.default_inner_radius**2 * (1 + 1e-12)
    found = {
        "sum": float((rho.sum(-1) - 1).abs().max()),
        "negative": float(-rho.min()),
        "support": float(torch.where(outside, rho.abs(), 0.0).max()),
    }
    worst = max(found, key=lambda key: found[key])
    where = {"defect": worst, "atlas": name}
    return verdict(1e-14, found[worst], kind="sampled", points=rho.numel(), dtype="float64", worst_point=where)


def smooth_order(order: int, chart: int, claimed: int | None = None) -> Verdict:
    """rho_n falls like (1 - d^2/r'^2)^q at the rim of its ball on the circle: q from successive halvings."""
    atlas = wide_atlas("circle")
    n = chart % atlas.count
    height = 2.0 ** -torch.arange(7, 13, dtype=torch.float64)  # of 1 - d^2/r'^2
    distance = atlas.default_inner_radius * (1 - height).sqrt()
    angle = 2 * (distance / 2).asin()
    centre, tangent = atlas.centres[n], atlas.frames[n, :, 0]
    x = angle.cos()[:, None] * centre + angle.sin()[:, None] * tangent
    slopes = -atlas.smooth_partition(x, order)[:, n].log2().diff()
    wanted = order if claimed is None else claimed
    error = float((slopes - wanted).abs().max())
    return verdict(
        0.05, error, kind="sampled", points=len(slopes), dtype="float64", worst_point={"slopes": slopes.tolist()}
    )


ORDER = Hypothesis("the order q", st.integers(1, 5))
SEED = Hypothesis("a sample", st.integers(0, 2**31))
RADIUS = Hypothesis("r = k/16, 1/4 <= r <= 2", st.integers(4, 32))
LIPSCHITZ = Hypothesis("Lam = k/4, 1 <= Lam <= 8", st.integers(4, 32))
EPSILON = Hypothesis("eps = 2^-k", st.integers(5, 20))

STATEMENTS: tuple[Statement, ...] = (
    Statement(
        name="cutoff.plateau",
        source="Havrilla and Liao, proof of Theorem 2, after Chen et al. 2019; choice of Delta ours",
        claim="Delta = r^2 2^-k <= r^2 - r'^2: the ramp is 1 for d <= r' and 0 for d >= r, up to 2^k 2^-53",
        latex=r"\Delta \le r^2 - r'^2 \Rightarrow 1_n = 1 \text{ on } \mathrm{supp}\,\rho_n",
        hypotheses={
            "inner": Hypothesis("r'^2 = k/64", st.integers(1, 128)),
            "ring": Hypothesis("r^2 - r'^2 = k/64", st.integers(1, 128)),
        },
        check=plateau,
        twins=(
            Twin(
                "ramp_too_wide",
                "one doubling less",
                lambda inner, ring: plateau(inner, ring, 1),
                {
                    "inner": Hypothesis("r'^2 >= 1/2, so that a doubling is needed", st.integers(32, 128)),
                    "ring": Hypothesis("r^2 - r'^2 < 1/2", st.integers(1, 31)),
                },
            ),
        ),
    ),
    Statement(
        name="cutoff.ring_error",
        source="Havrilla and Liao, proof of Theorem 2; the factor 1/4 ours",
        claim="f rho Lam-Lipschitz, 0 at the rim, Delta <= r eps/Lam: the ramp costs at most Lam Delta/(4r) <= eps/4",
        latex=r"\Delta \le r\varepsilon/\Lambda \Rightarrow "
        r"|f\rho_n|\,(1 - 1_n) \le \Lambda\Delta/(4r) \le \varepsilon/4",
        hypotheses={"radius": RADIUS, "lipschitz": LIPSCHITZ, "epsilon": EPSILON},
        check=ring_error,
        twins=(
            Twin(
                "ramp_too_wide",
                "eight times the width: three doublings less",
                lambda radius, lipschitz, epsilon: ring_error(radius, lipschitz, epsilon, 3),
            ),
            Twin(
                "not_zero_at_the_rim",
                "f rho = Lam (r - d) + 1",
                lambda radius, lipschitz, epsilon: ring_error(radius, lipschitz, epsilon, rim=fmpq(1)),
            ),
        ),
    ),
    Statement(
        name="cutoff.smooth_partition",
        source="Havrilla and Liao, proof of Theorem 2; bumps ours",
        claim="rho_n = b_n/sum b >= 0, 0 for |x - c_n| >= r', sum_n rho_n = 1 on M (to 1e-14)",
        latex=r"\sum_n \rho_n = 1 \text{ on } M,\quad \mathrm{supp}\,\rho_n \subset B(c_n, r')",
        hypotheses={
            "name": Hypothesis("circle or sphere", st.sampled_from(["circle", "sphere"])),
            "order": ORDER,
            "seed": SEED,
        },
        check=smooth,
        twins=(
            Twin(
                "off_the_manifold",
                "x = 4 p for p on M: no ball holds x",
                lambda name, order, seed: smooth(name, order, seed, 4.0),
            ),
        ),
    ),
    Statement(
        name="cutoff.smooth_order",
        source="ours",
        claim="rho_n falls like (1 - d^2/r'^2)^q at the rim: q - 1 continuous derivatives (slope within 0.05 of q)",
        latex=r"\rho_n \sim C\,(1 - d^2/r'^2)^q,\ d \to r'",
        hypotheses={"order": ORDER, "chart": Hypothesis("a chart", st.integers(0, 99))},
        check=smooth_order,
        twins=(
            Twin(
                "one_derivative_more",
                "it falls like the power q + 1",
                lambda order, chart: smooth_order(order, chart, order + 1),
            ),
        ),
    ),
)
