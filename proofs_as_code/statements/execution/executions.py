"""Constructed networks: what their sparse plans drop is silent, and both executions are the same function.

The first is exact: the float64 weights of every block and the bounds that were propagated to it from |x_j| <= B_j, pair
by pair as in `sparse`. With the integer code nothing rounds at a leaf and the bound is 0. Trigonometric gates round; a
pair whose score is at most 2^-50 of its own terms counts as silent: the self-gated head 1 - a_t a_s has one, at a = 1.
The second compares floating point at points of M and of the box.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import torch
from hypothesis import strategies as st
from torch import Tensor

from construct.atlas import atlas_for
from construct.execution.bounds import input_intervals, propagate_block
from construct.execution.dense import DenseExecutor
from construct.execution.plans import block_weights, propagate
from construct.execution.sparse import SparseExecutor
from construct.local import PolynomialSpace, fit_charts
from construct.manifolds import Circle, Sphere
from construct.network import Network
from construct.paper.taylor import paper_atlas, taylor_approximator
from construct.theorem import network_of
from construct.transformer.weights import BlockBounds, HeadPairs
from proofs_as_code.framework import Hypothesis, Statement, Twin, Verdict, verdict
from proofs_as_code.statements.execution.sparse import HeadsOnBox, silent, without_one


def exp_sin(x: Tensor) -> Tensor:
    """A target."""
    return torch.exp(x[..., 0]) * torch.sin(3 * x[..., 1])


@lru_cache
def network(case: str) -> Network:
    """A small constructed network, without any search for its error."""
    if case == "paper":
        return network_of(taylor_approximator(exp_sin, paper_atlas(Circle(), charts=4), cells=1, degree=1))
    manifold = Sphere() if case == "sphere" else Circle()
    approximator = fit_charts(exp_sin, atlas_for(manifold, charts=4), PolynomialSpace(manifold.dim, 3))
    return network_of(approximator, position_code="trigonometric" if case == "circle, trigonometric" else "integer")


@lru_cache
def network_bounds(case: str) -> list[BlockBounds]:
    """Its propagated bounds, block by block."""
    net = network(case)
    return propagate(net.transformer, net.box)


def network_heads(case: str, block: int) -> HeadsOnBox:
    """The heads of one block with the bounds that were propagated up to it."""
    stack = network(case).transformer.stack
    attending = [i for i, part in enumerate(stack) if len(part.attention.query)]
    index = attending[block % len(attending)]
    batch, _ = block_weights(stack[index])
    return HeadsOnBox(batch, network_bounds(case)[index].before, "trigonometric" not in case)


# -- the two executions -----------------------------------------------------------------------------------------


def executions(case: str, seed: int, bounds: list[BlockBounds] | None = None) -> Verdict:
    """Dense against sparse at points of M and of the box; bounds: those that the sparse plan uses instead (twin)."""
    net = network(case)
    manifold = net.manifold
    assert manifold is not None
    generator = torch.Generator().manual_seed(seed)
    scatter = (2 * torch.rand(10, net.ambient, generator=generator, dtype=torch.float64) - 1) * net.box[1]
    x = torch.cat([manifold.sample(40, seed), scatter])
    sparse = SparseExecutor(net.transformer, net.box, bounds).forward(x)
    dense = DenseExecutor(net.transformer, net.box).forward(x)
    error = (dense - sparse).abs()
    claimed = 1e-9 if "trigonometric" in case else 1e-12
    worst = {"network": case, "x": x[int(error.argmax())].tolist()}
    scale = float(dense.abs().max())
    return verdict(
        claimed * scale, float(error.max()), kind="sampled", points=len(x), dtype="float64", worst_point=worst
    )


def bounds_without_readout(case: str) -> list[BlockBounds]:
    """Bounds whose last block lacks every other pair of the read-out head."""
    *first, last = network_bounds(case)
    pairs = HeadPairs(last.pairs.head[::2], last.pairs.target[::2], last.pairs.source[::2])
    return [*first, replace(last, pairs=pairs)]


def bounds_of_small_box(case: str) -> list[BlockBounds]:
    """Bounds that hold for |x_j| <= B_j/100 only: no chart's ball is within reach there."""
    net = network(case)
    state = input_intervals(net.transformer.hidden0.numpy(), 0.01 * net.box.numpy())
    found = []
    for block in net.transformer.stack:
        batch, ffn = block_weights(block)
        found.append(propagate_block(batch.query, batch.key, batch.value, list(ffn.layers), state))
        state = found[-1].after
    return found


CASES = ("circle", "circle, trigonometric", "sphere", "paper")
CASE = Hypothesis("a constructed network", st.sampled_from(CASES))
BLOCK = Hypothesis("one of its blocks", st.integers(0, 8))
STATEMENTS: tuple[Statement, ...] = (
    Statement(
        name="sparse.dropped_pairs_silent_in_networks",
        source="ours",
        claim="the same in constructed networks, bounds propagated from |x_j| <= B_j; trigonometric code: "
        "score <= 2^-50 of its terms",
        latex=r"\sup_{h \in \mathrm{box}} \langle Q h_t, K h_s\rangle \le 0 \text{ or } V h_s \equiv 0",
        hypotheses={"case": CASE, "block": BLOCK},
        check=lambda case, block: silent(network_heads(case, block), network_heads(case, block).active()),
        twins=(
            Twin(
                "trigonometric_gates_are_exact",
                "a score of 0 is claimed for the dropped pairs of trigonometric gates, which round",
                lambda case, block: silent(
                    replace(network_heads(case, 1), exact=True), network_heads(case, 1).active()
                ),
                {"case": Hypothesis("the trigonometric code", st.just("circle, trigonometric"))},
            ),
            Twin(
                "active_pair_dropped",
                "the first pair of block 1 is dropped",
                lambda case, block: silent(network_heads(case, 0), without_one(network_heads(case, 0).active())),
            ),
        ),
    ),
    Statement(
        name="sparse.executions_agree",
        source="ours",
        claim="constructed networks: |dense - sparse| <= 1e-12 max|T| on M and in the box (trigonometric code 1e-9)",
        latex=r"|T_{\mathrm{dense}}(x) - T_{\mathrm{sparse}}(x)| \le 10^{-12}\max|T|",
        hypotheses={"case": CASE, "seed": Hypothesis("points of M and of the box", st.integers(0, 2**31))},
        check=executions,
        twins=(
            Twin(
                "active_pairs_dropped",
                "every other pair of the last block is missing from the plan",
                lambda case, seed: executions(case, seed, bounds_without_readout(case)),
            ),
            Twin(
                "smaller_box",
                "the plan's bounds hold for a hundredth of the box, where all balls are out of reach",
                lambda case, seed: executions(case, seed, bounds_of_small_box(case)),
                {"case": Hypothesis("the circle", st.just("circle"))},
            ),
        ),
        examples=6,
    ),
)
