"""Our own networks behind the interface of their rivals."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch

from construct.baselines.base import Baseline, Counts, Method, Options, Settings, known, smoothness_of
from construct.execution.cost import multiply_adds
from construct.manifolds import Manifold
from construct.measurement import measure
from construct.progress import Progress, silent
from construct.theorem import approximate
from construct.transformer import Transformer

SETTINGS = ("epsilon", "charts", "cells", "degree")
DECADES = 8
DENSE_PER_NONZERO = 30  # heads are 5x5 matrices with few non-zeros: 8 to 12 in practice
MOST_PARAMETERS = 60_000_000


class Constructed(Method):
    """`construct.approximate`. Settings: `epsilon`, or `charts`, `cells`, `degree` by hand.

    smoothness: Hölder exponent of a rough target; None: what the target says of itself, or smooth.
    """

    family: ClassVar[str] = "constructive"
    construction: ClassVar[str]

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
            **settings,
        )
        return constructed(self.name, net, settings, time.perf_counter() - start)

    def to_epsilon(self, target: Callable[..., Any], manifold: Manifold, epsilon: float, options: Options) -> Baseline:
        """The planner's own network, with the measurement of its claim."""
        found = self.fit(target, manifold, {"epsilon": epsilon}, **options.of_fit)
        return replace(found, measured=measure(found.model, target, manifold, seed=options.seed))

    def within(self, target: Callable[..., Any], manifold: Manifold, budget: int, options: Options) -> Baseline:
        """The ladder, with a limit for the planner that a network within the budget does not meet."""
        dense = min(self.max_parameters, DENSE_PER_NONZERO * budget)
        return super(Constructed, type(self)(self.smoothness, dense)).within(target, manifold, budget, options)


class Compact(Constructed):
    name = "compact"
    description = "our transformer: telescoping partition, one polynomial or spline per chart, cubic heads"
    construction = "compact"


class Paper(Constructed):
    name = "paper"
    description = "the transformer of Havrilla and Liao 2024 lemma by lemma"
    construction = "paper"


def constructed(name: str, net: Transformer, settings: Settings, seconds: float) -> Baseline:
    """A transformer that was built or loaded, as a baseline. Its manifold is that of the network."""
    report = net.architecture
    counts = Counts(report.nonzero_parameters, report.parameters, report.blocks, multiply_adds(net))
    sizes = {"charts": report.charts, "cells": report.cells, "degree": report.degree}
    return Baseline(
        method=name,
        family="constructive",
        settings={**settings, **sizes},
        counts=counts,
        seconds=seconds,
        function=net,
        manifold=net.manifold,
        dtype=net.dtype,
        device=net.device,
        model=net,
    )
