"""Covering number of the class (HL24, Lemma 2): the sensitivity of one network to its weights, sampled.

The bound is `construct.theory.network_log_lipschitz`: for constructed networks it is far from sharp (most of their
heads are silent, which absolute values cannot see), for a network of positive weights and equal tokens it is sharp.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
import torch
from hypothesis import strategies as st

import construct
from construct.manifolds import Circle, Sphere
from construct.theory import network_log_lipschitz
from construct.transformer.weights import FeedForward, Heads, Weights
from proofs_as_code.framework import Hypothesis, Statement, Twin, Verdict, verdict

SAMPLES = 8


@dataclass(frozen=True)
class Moved:
    """A network, and how its parameters are moved: by +-eta, at random or along the gradient's signs at a point."""

    network: str
    eta: float
    adversarial: bool
    seed: int


def exp_sin(x: torch.Tensor) -> torch.Tensor:
    """Target of the constructed networks."""
    return torch.exp(x[..., 0]) * torch.sin(3 * x[..., 1])


CONSTRUCTED: dict[str, Callable[[], construct.Network]] = {
    "circle": lambda: construct.approximate(exp_sin, Circle(), charts=4, degree=3),
    "circle_paper": lambda: construct.approximate(exp_sin, Circle(), cells=2, degree=0, construction="paper"),
    "sphere": lambda: construct.approximate(exp_sin, Sphere(2), charts=4, degree=1),
}


@cache
def network(name: str) -> construct.Network:
    """circle, circle_paper, sphere: constructed; positive: all weights and states > 0, so that all changes add up."""
    if name in CONSTRUCTED:
        return CONSTRUCTED[name]()
    rng = np.random.default_rng(0)
    weights = [0.2 + 0.2 * rng.random((2, 3, 3)) for _ in range(3)]
    layers = tuple((0.2 + 0.2 * rng.random((3, 3)), 0.2 + 0.2 * rng.random(3)) for _ in range(2))
    state = np.broadcast_to(0.5 + rng.random(3), (4, 3)).copy()
    block = Heads(*weights), FeedForward(layers)
    return construct.Network(Weights(state, (block, block), readout=(1, 2), box=np.zeros(1)))


def points_of(net: construct.Network, count: int, seed: int) -> torch.Tensor:
    """Points of the manifold, or of the box."""
    if net.manifold is not None:
        return torch.as_tensor(net.manifold.sample(count, seed=seed), dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    return (2 * torch.rand(count, net.ambient, generator=generator, dtype=torch.float64) - 1) * net.box[1]


def output_change(case: Moved) -> float:
    """Largest |T - T'| over some points."""
    net = network(case.network)
    x, formula = points_of(net, SAMPLES, case.seed), net.transformer
    parameters = [p.detach().clone() for p in formula.parameters()]
    names = [name for name, _ in formula.named_parameters()]
    generator = torch.Generator().manual_seed(case.seed)
    signs = [torch.randint(0, 2, p.shape, generator=generator).double() * 2 - 1 for p in parameters]
    if case.adversarial:
        leaves = {name: p.clone().requires_grad_(True) for name, p in zip(names, parameters, strict=True)}
        value = torch.func.functional_call(formula, leaves, (x[:1],)).sum()
        gradients = torch.autograd.grad(
            value, [leaves[name] for name in names], allow_unused=True, materialize_grads=True
        )
        signs = [torch.where(g >= 0, 1.0, -1.0).double() for g in gradients]
    moved = {n: p + case.eta * s for n, p, s in zip(names, parameters, signs, strict=True)}
    with torch.no_grad():
        before = formula(x)
        after = torch.func.functional_call(formula, moved, (x,))
    return float((before - after).abs().max())


def check_network(case: Moved, blocks: int | None = None) -> Verdict:
    """|T - T'| <= Lambda eta, Lambda from the weights of T for this eta. blocks: how many of T's the claim knows of."""
    net = network(case.network)
    known = copy.deepcopy(net)
    with known.edit() as transformer:
        transformer.blocks = transformer.blocks[:blocks]
    measured = output_change(case)
    log_claim = network_log_lipschitz(known, case.eta) + math.log(case.eta)
    claimed = math.exp(min(log_claim, 700.0))
    witness = {"network": case.network, "eta": case.eta, "adversarial": case.adversarial, "log_claim": log_claim}
    return verdict(claimed, measured, kind="sampled", points=SAMPLES, dtype="float64", worst_point=witness)


def moved(*names: str, eta: st.SearchStrategy[float]) -> st.SearchStrategy[Moved]:
    return st.builds(
        Moved, network=st.sampled_from(names), eta=eta, adversarial=st.booleans(), seed=st.integers(0, 2**32 - 1)
    )


ETA = st.sampled_from([1e-8, 1e-6, 1e-4])
NETWORKS = {
    "case": Hypothesis(
        "a constructed or a positive network, every parameter moved by +-eta",
        moved("circle", "circle_paper", "sphere", "positive", "positive", eta=ETA),
    )
}
POSITIVE = {
    "case": Hypothesis(
        "a positive network, every parameter moved by +eta",
        st.builds(Moved, network=st.just("positive"), eta=st.just(1e-8), adversarial=st.just(True), seed=st.just(0)),
    )
}

NETWORK_STATEMENTS: tuple[Statement, ...] = (
    Statement(
        name="covering.network",
        source="ours",
        claim="|T_theta - T_theta'| <= Lambda eta for every |theta - theta'| <= eta, Lambda from the rows and registers"
        " of T_theta",
        latex=r"\sup_x|T_\theta(x)-T_{\theta'}(x)|\le\Lambda_\eta(\theta)\,\eta"
        r"\quad\text{for all }|\theta-\theta'|_\infty\le\eta",
        hypotheses=NETWORKS,
        check=check_network,
        twins=(
            Twin(
                "last_block",
                "all blocks: the claim does not know of the last one",
                partial(check_network, blocks=1),
                POSITIVE,
                examples=1,
            ),
        ),
        examples=8,
    ),
)
