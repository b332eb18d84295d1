"""The strongest constructive ReLU rival that we know: our local polynomials, charts by ramps, sawtooth squares.

The skeleton is that of Chen, Jiang, Liao and Zhao 2019 (arXiv 1908.01842): squared distances by sawtooth, ramps that
decide the chart, one polynomial per chart. Everything else is chosen for few weights: see `chart_design`,
`square_levels` and `signed_squares`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch

from construct.atlas import atlas_for
from construct.baselines.base import (
    Baseline,
    Method,
    Options,
    Settings,
    error_of,
    known,
    sized,
    tried,
    within_budget,
)
from construct.baselines.relu.chart_search import designs, search_charts
from construct.baselines.relu.charts import ChartsNetwork, networked
from construct.baselines.relu.sawtooth import listed
from construct.errors import EpsilonNotReached
from construct.local import LocalSpace, PolynomialSpace, SplineSpace, fit_charts
from construct.manifolds import Manifold
from construct.measurement import measure
from construct.planning import Search, not_reached
from construct.problem import Problem
from construct.progress import Progress, silent
from construct.validation import invalid, positive_real

SETTINGS = ("charts", "degree", "cells", "compositions", "distance_compositions")
RUNGS = ((1, 1, 1), (1, 2, 4), (2, 2, 6), (2, 4, 8), (4, 4, 9), (6, 4, 10), (6, 8, 14), (8, 8, 16))
"""Charts as multiples of the fewest, degree, compositions."""
STEPS = 20


class ChenImproved(Method):
    """`search_charts` for an epsilon; by hand {"charts", "degree", "compositions", "distance_compositions"}, or
    "cells" of a spline in d = 1 instead of "degree".

    compositions: one number for all stages of squares, or one for each. smoothness: Hölder exponent of a rough target,
    by default what the target states.
    """

    name: ClassVar[str] = "chen_improved"
    family: ClassVar[str] = "constructive"
    description: ClassVar[str] = (
        "ReLU network on charts: our local polynomials, signed sawtooth squares shared by disjoint charts "
        "(after Chen, Jiang, Liao and Zhao 2019)"
    )

    def __init__(self, smoothness: float | None = None) -> None:
        self.smoothness = None if smoothness is None else positive_real(smoothness, "smoothness")

    def ladder(self, manifold: Manifold) -> Sequence[Settings]:
        """Eight sizes, from the fewest charts with affine pieces to eight times as many of degree 8."""
        least = atlas_for(manifold).count
        return [{"charts": least * times, "degree": p, "compositions": m} for times, p, m in RUNGS]

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
        """The network of one size; of the designs (shared or not, squares or levels) the one with fewest non-zeros.

        No small coefficients are dropped, as `build` does with a hundredth of its epsilon.

        Raises:
            InputError: unknown or missing settings, too few charts, a degree above 32, bad compositions.
        """
        known(settings, SETTINGS, self.name)
        start = time.perf_counter()
        if "compositions" not in settings or ("degree" in settings) == ("cells" in settings):
            raise invalid("settings", "compositions and one of degree and cells", got=", ".join(settings) or "none")
        space: LocalSpace
        if "cells" in settings:
            space = SplineSpace(manifold.dim, settings["cells"])
        else:
            space = PolynomialSpace(manifold.dim, settings["degree"])
        atlas = atlas_for(manifold, charts=settings.get("charts"))
        approximator = fit_charts(target, atlas, space)
        compositions, distance = settings["compositions"], settings.get("distance_compositions")
        given = listed(compositions)
        fitting = [one for one in designs(approximator) if given is None or len(given) == one.stages]
        if not fitting:
            raise invalid("compositions", "an integer, or one for each stage of squares", compositions)
        network = min((networked(one, compositions, distance) for one in fitting), key=lambda net: net.counts.nonzero)
        seconds = time.perf_counter() - start
        return self._baseline(network, manifold, dict(settings), seconds, dtype, device)

    def to_epsilon(self, problem: Problem, options: Options) -> Baseline:
        """The smallest network that `search_charts` finds for epsilon."""
        start = time.perf_counter()
        found = search_charts(problem)
        seconds = time.perf_counter() - start
        space, network = found.approximator.space, found.network
        settings: Settings = {
            "charts": network.design.charts,
            **({"cells": space.cells} if space.name == SplineSpace.name else {"degree": space.degree}),
            "compositions": list(network.compositions),
            "distance_compositions": network.distance_compositions,
        }
        baseline = self._baseline(network, problem.manifold, settings, seconds, options.dtype, options.device)
        baseline = replace(baseline, history=found.history)
        if options.dtype == torch.float64:
            return replace(baseline, measured=found.measured)
        measured = measure(baseline, problem.target, problem.manifold, seed=problem.seed)
        if not measured.sup <= problem.wanted:
            raise not_reached(problem, measured.sup, f"{self.name} keeps in {options.dtype}")
        return replace(baseline, measured=measured)

    def within(self, problem: Problem, budget: int, options: Options) -> Baseline:
        """The best of epsilon = 10^(-k/2), k = 0, 1, ..., that is within the budget."""
        start, search = time.perf_counter(), Search(problem, self.name, budget, limit="budget")
        best: Baseline | None = None
        for k in range(STEPS + 1):
            try:
                found = self.to_epsilon(replace(problem, epsilon=10 ** (-k / 2)), options)
            except EpsilonNotReached:
                break
            if not within_budget(search, found.settings, found):
                break
            tried(search, found.settings, found)
            best = found if best is None or error_of(found) < error_of(best) else best
        if best is None:
            raise search.failure()
        return replace(best, seconds=time.perf_counter() - start, history=search.chosen(*sized(best.settings)))

    def _baseline(
        self,
        network: ChartsNetwork,
        manifold: Manifold,
        settings: Settings,
        seconds: float,
        dtype: torch.dtype,
        device: torch.device | str,
    ) -> Baseline:
        return Baseline(
            method=self.name,
            family=self.family,
            settings=settings,
            counts=network.counts,
            seconds=seconds,
            function=network,
            manifold=manifold,
            dtype=dtype,
            device=torch.device(device),
            model=network,
        )
