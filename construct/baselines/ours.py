"""Our own networks behind the interface of their rivals."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any, ClassVar

import torch

from construct.baselines.base import Baseline, BaselineCounts, Method, Options, Settings, known, smoothness_of
from construct.manifolds import Manifold
from construct.measurement import measure
from construct.network import Network
from construct.problem import Construction, Problem
from construct.progress import Progress, silent
from construct.theorem import approximate
from construct.validation import invalid

SETTINGS = ("epsilon", "charts", "cells", "degree")
DECADES = 8
DENSE_PER_NONZERO = 30  # heads are 5x5 matrices with few non-zeros: 8 to 12 in practice
MOST_PARAMETERS = 60_000_000


class Constructed(Method):
    """`construct.approximate`. Settings: `epsilon`, or `charts`, `cells`, `degree` by hand.

    smoothness: Hölder exponent of a rough target; None: what the target says of itself, or smooth.
    """

    family: ClassVar[str] = "constructive"
    construction: ClassVar[Construction]
    options: ClassVar[Settings] = {}  # further arguments of `approximate`

    def __init__(self, smoothness: float | None = None, max_parameters: int = MOST_PARAMETERS) -> None:
        self.smoothness, self.max_parameters = smoothness, max_parameters

    def ladder(self, manifold: Manifold) -> Sequence[Settings]:
        """epsilon = 10^(-k/2) from 1 to 1e-8; float64 is not far below."""
        return [{"epsilon": 10 ** (-k / 2)} for k in range(2 * DECADES + 1)]

    def fit(
        self,
        target: Callable[..., Any],
        manifold: Manifold,
        settings: Settings,
        *,
        seed: int = 0,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
        progress: Progress = silent,
    ) -> Baseline:
        """The network at one size. Raises what `construct.approximate` raises."""
        known(settings, SETTINGS, self.name)
        start = time.perf_counter()
        net = approximate(
            target,
            manifold,
            smoothness=smoothness_of(target, self.smoothness),
            construction=self.construction,
            max_parameters=self.max_parameters,
            dtype=dtype,
            device=device,
            seed=seed,
            progress=progress,
            **self.options,
            **settings,
        )
        return constructed(self.name, net, settings, time.perf_counter() - start)

    def to_epsilon(self, problem: Problem, options: Options) -> Baseline:
        """The planner's own network, measured on points that neither planning nor its claim has seen."""
        found = self.fitted(problem, {"epsilon": problem.wanted}, options)
        return replace(found, measured=measure(found.model, problem.target, problem.manifold, seed=problem.seed))

    def within(self, problem: Problem, budget: int, options: Options) -> Baseline:
        """The ladder, with a limit for the planner that a network within the budget does not meet."""
        dense = min(self.max_parameters, DENSE_PER_NONZERO * budget)
        return super(Constructed, type(self)(self.smoothness, dense)).within(problem, budget, options)


class Ridge(Constructed):
    name = "ridge"
    description = "our transformer: Chebyshev polynomials of integer linear forms, one self-gated head a map"
    construction = "ridge"


class Ridge5(Ridge):
    name = "ridge_5"
    description = "the same in embedding dimension 5: directions are waves of the token's number, made by the FFN"
    options: ClassVar[Settings] = {"embedding_dim": 5}


class RidgeSparse(Ridge):
    name = "ridge_sparse"
    description = "the same with directions chosen for the target"
    options: ClassVar[Settings] = {"sparse": True}


class Lattices(Constructed):
    name = "lattice"
    description = "our transformer: such polynomials on cells of several sizes, chosen for the target"
    construction = "lattice"


class Compact(Constructed):
    name = "compact"
    description = "our transformer: telescoping partition, one polynomial or spline per chart, cubic heads"
    construction = "compact"


class Paper(Constructed):
    name = "paper"
    description = "the transformer of Havrilla and Liao 2024 lemma by lemma"
    construction = "paper"


def constructed(name: str, net: Network, settings: Settings, seconds: float) -> Baseline:
    """A network that was built or loaded, as a baseline.

    Raises:
        InputError: a network whose manifold is not known.
    """
    if net.origin is None or net.manifold is None:
        raise invalid("net", "a network that knows its manifold", got="one built or loaded without it")
    return Baseline(
        method=name,
        family="constructive",
        settings={**settings, **asdict(net.origin.sizes)},
        counts=counts_of(net),
        seconds=seconds,
        function=net,
        manifold=net.manifold,
        dtype=net.dtype,
        device=net.device,
        model=net,
        history=net.origin.history,
    )


def counts_of(net: Network) -> BaselineCounts:
    """Sizes of a network as those of its rivals are counted."""
    report = net.architecture
    return BaselineCounts(
        report.nonzero_parameters, report.parameters, report.blocks, net.multiply_adds(), report.chosen_entries
    )
