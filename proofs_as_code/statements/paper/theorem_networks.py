"""Theorem 2 of HL24: sizes and magnitudes of networks that were built, against the formulas.

The formulas (`construct.theory.theorem`) know d, D, beta, N or eps, the geometry of the atlas and F; they share no
code with the construction. F is not assumed but read off the network's own coefficients,
`|d^alpha g_n(z_m)| = alpha! N^|alpha| |c|`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import torch
from hypothesis import strategies as st

from construct.atlas import Atlas
from construct.boxes import centred
from construct.execution.plans import propagate
from construct.manifolds import Circle, FlatTorus, Manifold, Sphere
from construct.network import Network
from construct.paper.grid import TaylorApproximator
from construct.paper.program import ramp_doublings
from construct.paper.taylor import paper_atlas, taylor_approximator
from construct.theorem import network_of
from construct.theory import Geometry, paper_block_heads, paper_sizes
from proofs_as_code.framework import Hypothesis, Statement, Twin, Verdict, verdict

MANIFOLDS: dict[str, Callable[[], Manifold]] = {
    "circle": Circle,
    "circle in R^5": lambda: Circle(ambient=5),
    "sphere": lambda: Sphere(2),
    "flat torus": lambda: FlatTorus(2),
}
SAMPLES = 2_000


@dataclass(frozen=True)
class Build:
    """A network of the paper's construction: manifold, N, s, and the epsilon of its ramps."""

    manifold: str
    cells: int
    degree: int
    epsilon: float


def wave(x: torch.Tensor) -> torch.Tensor:
    """A smooth target."""
    return torch.exp(x[..., 0]) * torch.sin(2 * x[..., 1])


def cusp(x: torch.Tensor) -> torch.Tensor:
    """A target of smoothness 1/2."""
    return x[..., 1].abs().sqrt()


TARGETS = {"wave": wave, "cusp": cusp}


@cache
def atlas_of(name: str) -> Atlas:
    return paper_atlas(MANIFOLDS[name]())


def geometry_of(atlas: Atlas, inner_radius: float) -> Geometry:
    """What the formulas need. overlap: the most balls that can share a point, from the centres' distances: a ball and
    those whose centres are within 2r, at least as many as share any of its points."""
    degree = torch.bincount(atlas.neighbours.flatten(), minlength=atlas.count)
    return Geometry(
        dim=atlas.manifold.dim,
        ambient=atlas.manifold.ambient,
        charts=atlas.count,
        overlap=min(atlas.count, int(degree.max()) + 1),
        radius=float(atlas.radius),
        inner_radius=float(inner_radius),
        scale=float(atlas.scale),
        box=float(centred(atlas.manifold.box.numpy()).half.max()),
    )


@cache
def built(case: Build) -> tuple[TaylorApproximator, Network, Geometry, float]:
    """Approximator, network, geometry and F = max |d^alpha g_n| over the nodes and |alpha| <= s."""
    atlas = atlas_of(case.manifold)
    approximator = taylor_approximator(wave, atlas, cells=case.cells, degree=case.degree)
    inner = approximator.inner_radius
    doublings = ramp_doublings(atlas.radius, inner, case.cells, case.degree, epsilon=case.epsilon)
    approximator = replace(approximator, doublings=doublings)
    net = network_of(approximator)
    powers = [
        math.prod(math.factorial(a) for a in alpha) * float(case.cells) ** sum(alpha)
        for alpha in approximator.exponents.tolist()
    ]
    largest = float((approximator.coefficients.abs() * torch.tensor(powers, dtype=torch.float64)).max())
    return approximator, net, geometry_of(atlas, inner), largest


def tightest(pairs: dict[str, tuple[float, float]], kind: str, dtype: str, witness: dict[str, Any]) -> Verdict:
    """The pair (built, formula) with the least room."""
    name = max(pairs, key=lambda key: pairs[key][0] / pairs[key][1])
    measured, claimed = pairs[name]
    return verdict(
        claimed, measured, kind=kind, points=len(pairs), dtype=dtype, worst_point=witness | {"quantity": name}
    )


def check_sizes(case: Build, missing_heads: int = 0, blocks: int = 0) -> Verdict:
    """Blocks (equal), heads of every block, tokens, FFN and parameters of a built network against the formulas.

    missing_heads: per univariate node, in the second block; blocks: added to the claim.
    """
    approximator, net, geometry, holder = built(case)
    a, s = net.architecture, case.degree
    sizes = paper_sizes(geometry, s + 1.0, holder, epsilon=case.epsilon, cells=case.cells)
    stack = net.transformer.stack
    per_block = [len(block.attention.query) for block in stack]
    claimed_heads = paper_block_heads(geometry, s, case.cells)
    nodes = geometry.charts * geometry.dim * (2 * case.cells + 1)
    claimed_heads[1] -= missing_heads * nodes
    grid = geometry.charts * (2 * case.cells + 1) ** geometry.dim
    pairs: dict[str, tuple[float, float]] = {
        "blocks": (a.blocks, sizes.blocks + blocks),
        "blocks from below": (sizes.blocks + blocks, a.blocks),
        "heads": (a.heads, sizes.heads),
        "total heads": (a.total_heads, sizes.total_heads),
        "tokens": (a.tokens, sizes.tokens),
        "FFN depth": (a.ffn_depth, sizes.ffn_depth),
        "FFN width": (a.ffn_width, sizes.ffn_width),
        "embedding dimension": (a.embedding_dim, sizes.embedding_dim),
        "parameters": (a.parameters, sizes.parameters),
        "FFN layers": (sum(len(b.ffn) for b in stack), sizes.ffn_layers),
        "coefficients": (approximator.parameters, grid * math.comb(s + geometry.dim, s)),
    }
    for index, (found, bound) in enumerate(zip(per_block, claimed_heads, strict=True)):
        pairs[f"heads of block {index + 1}"] = (found, max(bound, 1e-9))
    return tightest(pairs, "exact", "integers", dict(vars(case)))


def check_magnitudes(case: Build, holder_share: float = 1.0, tokens: int = 1) -> Verdict:
    """kappa, M and R of a built network against the formulas. holder_share: of F; tokens: l is divided by it."""
    _, net, geometry, holder = built(case)
    a = net.architecture
    sizes = paper_sizes(geometry, case.degree + 1.0, holder * holder_share, epsilon=case.epsilon, cells=case.cells)
    bounds = propagate(net.transformer, net.box)
    states = max(float(state.magnitude().max()) for b in bounds for state in (b.before, b.after))
    pairs = {
        "kappa": (a.weight_bound, sizes.weight_bound / tokens**2),
        "M": (states, sizes.state_bound / tokens**2),
        "R": (net.output_bound, sizes.output_bound),
    }
    return tightest(pairs, "sampled", "float64", dict(vars(case)))


BUILDS = {
    "case": Hypothesis(
        "a paper network on a curve or a surface",
        st.sampled_from([
            Build("circle", 4, 0, 1e-1),
            Build("circle", 6, 1, 1e-2),
            Build("circle", 3, 3, 1e-4),
            Build("circle in R^5", 3, 2, 1e-3),
            Build("sphere", 2, 0, 1e-1),
            Build("flat torus", 1, 1, 1e-2),
        ]),
    )
}  # fmt: skip
ON_CIRCLE = st.sampled_from([Build("circle", 4, 0, 1e-1), Build("circle", 6, 1, 1e-2)])
CURVES = {"case": Hypothesis("a paper network on a circle, s <= 1", ON_CIRCLE)}
SIZES: tuple[Statement, ...] = (
    Statement(
        name="theorem.sizes",
        source="HL24 Theorem 2; explicit formulas ours",
        claim="blocks, heads per block, tokens, FFN, parameters of built networks are at most the formulas in d, D, s,"
        " N, eps and the number of charts",
        latex=r"m=O(d\,\varepsilon^{-d/\beta}),\ L_{FFN}=O(\log 1/\varepsilon),\ w_{FFN}=d_{embd}=5\ \text{(explicit)}",
        hypotheses=BUILDS,
        check=check_sizes,
        twins=(
            Twin("head_per_node", "one head less per node", partial(check_sizes, missing_heads=1), CURVES, examples=3),
            Twin("block", "one block less", partial(check_sizes, blocks=-1), CURVES, examples=3),
        ),
        examples=12,
    ),
    Statement(
        name="theorem.magnitudes",
        source="HL24 Theorem 2; explicit formulas ours",
        claim="kappa, the bound M of all states and the output bound R of built networks are at most polynomials in N",
        latex=r"\kappa, M=O(\mathrm{poly}(\varepsilon^{-1})),\ R=O(CF)\ \text{(explicit)}",
        hypotheses=BUILDS,
        check=check_magnitudes,
        twins=(
            Twin("holder", "F: one hundredth of it", partial(check_magnitudes, holder_share=0.01), CURVES, examples=3),
            Twin("tokens", "l: half of it", partial(check_magnitudes, tokens=2), CURVES, examples=3),
        ),
        examples=12,
    ),
)
