"""The reach of every named manifold on samples, and a tangent projection that is injective with a constant.

    (F)  dist(q - p, T_p) <= |q - p|^2/(2 tau)                 Federer 1959, Theorem 4.18
    (T)  cos angle(T_p, T_q) >= 1 - |p - q|^2/(2 tau^2)        Boissonnat, Lieutier, Wintraecken 2019
    (P)  |V_c^T (p - q)| >= |p - q| cos(theta + phi)           ours, from both, where theta + phi <= pi/2:
         theta = 2 arcsin(rho/(2 tau)), rho = min(|p - c|, |q - c|);  phi = arcsin(|p - q|/(2 tau))

(P): say rho = |p - c|. By (F) the unit vector along p - q makes an angle of at most phi with T_p, and by (T) T_p makes
one of at most theta with T_c, as 1 - cos theta = 2 sin^2(theta/2). On a circle with p and q on one side of c both are
equalities, and so is (P).

Injectivity below the reach: p, q in B(c, r) with one projection have |p - q| <= r^2/tau (normal parts, by (F) at c).
By (P) then theta + phi >= pi/2, so sin phi >= cos theta: r^2/(2 tau^2) >= 1 - r^2/(2 tau^2), hence r >= tau.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from hypothesis import strategies as st
from torch import Tensor

from construct import manifolds
from construct.manifolds import Manifold
from proofs_as_code.framework import Hypothesis, Statement, Twin, Verdict, verdict

PAIRS = 400
MARGIN = {"exact": 1e-9, "lower bound": 1e-9, "numeric": 2e-4}
"""Relative: rounding of the quotient, and the digits to which a numeric reach is known."""
CLOSEST = 0.02
"""Of the reach (of the size, if that is less): closer pairs lose too many digits."""
FINITE = tuple(name for name in manifolds.manifold_names() if name != "cube")
EXACT = ("circle", "sphere", "flat_torus", "torus", "helix", "so3", "product")


@lru_cache
def named(name: str) -> Manifold:
    """The manifold of that name with its default arguments."""
    return manifolds.manifold(name)


def sampled_pairs(manifold: Manifold, seed: int) -> tuple[Tensor, Tensor]:
    """Pairs of points (m, D): independent ones, ones that differ in a single coordinate, and near ones."""
    generator = torch.Generator().manual_seed(seed)
    low, high = manifold.coordinate_bounds.unbind(-1)

    def draw() -> Tensor:
        return low + (high - low) * torch.rand(PAIRS, manifold.dim, generator=generator, dtype=torch.float64)

    first, other = draw(), draw()
    axis = torch.randint(manifold.dim, (PAIRS,), generator=generator)
    single = torch.where(torch.arange(manifold.dim) == axis[:, None], other, first)
    near = torch.minimum(torch.maximum(first + 0.03 * (other - first), low), high)
    u, v = first.repeat(3, 1), torch.cat([other, single, near])
    return manifold.point(u), manifold.point(v)


def curvature(name: str, seed: int, factor: float) -> Verdict:
    """Largest `2 dist(q - p, T_p)/|q - p|^2` of sampled pairs against 1/(factor tau)."""
    manifold = named(name)
    tau = factor * float(manifold.reach)
    p, q = sampled_pairs(manifold, seed)
    chord = q - p
    squared = chord.square().sum(-1)
    kept = squared > (CLOSEST * min(tau, manifold.radius_bound)) ** 2
    p, q, chord, squared = p[kept], q[kept], chord[kept], squared[kept]
    basis = manifold.basis_unchecked(p)
    across = chord - (basis @ (basis.mT @ chord[..., None]))[..., 0]
    bend = 2 * across.norm(dim=-1) / squared
    worst = int(bend.argmax())
    claimed = (1 + MARGIN[manifold.reach.kind]) / tau + 1e-12
    where = {"manifold": name, "p": p[worst].tolist(), "q": q[worst].tolist()}
    return verdict(claimed, float(bend[worst]), kind="sampled", points=len(bend), dtype="float64", worst_point=where)


def projected(name: str, seed: int, factor: float) -> Verdict:
    """(P) for sampled p, q, c: how far |V_c^T (p - q)|/|p - q| falls below the cosine, at most rounding."""
    manifold = named(name)
    tau = factor * float(manifold.reach)
    c, p = sampled_pairs(manifold, seed)
    _, q = sampled_pairs(manifold, seed + 1)
    q = torch.cat([q[:PAIRS], manifold.project((c + p) / 2)[PAIRS:]])  # between c and p, where (P) is sharpest
    chord = p - q
    size = chord.norm(dim=-1)
    rho = torch.minimum((p - c).norm(dim=-1), (q - c).norm(dim=-1))
    sine = (size / (2 * tau)).clamp(max=1.0)
    sum_of_angles = 2 * (rho / (2 * tau)).clamp(max=1.0).asin() + sine.asin()
    kept = (size > 1e-3 * min(tau, 1.0)) & (sum_of_angles < torch.pi / 2)
    image = (manifold.basis_unchecked(c).mT @ chord[..., None])[..., 0].norm(dim=-1)
    short = (sum_of_angles.cos() - image / size)[kept]
    worst = int(short.argmax())
    where = {"manifold": name, "c": c[kept][worst].tolist(), "p": p[kept][worst].tolist(), "q": q[kept][worst].tolist()}
    return verdict(
        MARGIN[manifold.reach.kind],
        float(short[worst]),
        kind="sampled",
        points=int(kept.sum()),
        dtype="float64",
        worst_point=where,
    )


NAME = Hypothesis("a named manifold with its default shape", st.sampled_from(manifolds.manifold_names()))
SEED = Hypothesis("a sample", st.integers(0, 2**31))


def factor(value: float, text: str) -> Hypothesis:
    """The multiple of the reach that is put in for tau."""
    return Hypothesis(text, st.just(value))


STATEMENTS: tuple[Statement, ...] = (
    Statement(
        name="geometry.reach",
        source="Federer 1959, Theorem 4.18",
        claim="every named manifold: 2 dist(q - p, T_p)/|q - p|^2 <= 1/tau at sampled pairs, tau = manifold.reach",
        latex=r"2\,\mathrm{dist}(q-p, T_p)/|q-p|^2 \le 1/\tau",
        hypotheses={"name": NAME, "seed": SEED, "factor": factor(1.0, "tau the reach")},
        check=curvature,
        twins=(
            Twin(
                "exact_reach_overstated",
                "1.05 times a reach that is exact",
                curvature,
                {
                    "name": Hypothesis("an exact finite reach", st.sampled_from(EXACT)),
                    "factor": factor(1.05, "tau overstated by 5 %"),
                },
            ),
            Twin(
                "reach_overstated",
                "1.2 times the reach",
                curvature,
                {
                    "name": Hypothesis("a finite reach", st.sampled_from(FINITE)),
                    "factor": factor(1.2, "tau overstated by 20 %"),
                },
            ),
        ),
        examples=12,
    ),
    Statement(
        name="geometry.tangent_projection",
        source="ours",
        claim="|V_c^T (p - q)| >= |p - q| cos(2 arcsin(rho/(2 tau)) + arcsin(|p - q|/(2 tau))), "
        "rho = min(|p - c|, |q - c|): projections are injective, with a constant",
        latex=r"|V_c^T(p-q)| \ge |p-q|\cos\bigl(2\arcsin\tfrac{\rho}{2\tau} + \arcsin\tfrac{|p-q|}{2\tau}\bigr)",
        hypotheses={"name": NAME, "seed": SEED, "factor": factor(1.0, "tau the reach")},
        check=projected,
        twins=(
            Twin(
                "reach_overstated",
                "1.2 times the reach, on the circle, where the inequality is sharp",
                projected,
                {
                    "name": Hypothesis("the circle", st.just("circle")),
                    "factor": factor(1.2, "tau overstated by 20 %"),
                },
            ),
        ),
        examples=12,
    ),
)
