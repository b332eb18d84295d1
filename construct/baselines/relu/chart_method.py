"""The strongest constructive ReLU rival that we know: sawtooth squares, on charts or on all of M at once.

Three forms, of which the smallest is taken:

- `charts`: the skeleton of Chen, Jiang, Liao and Zhao 2019 (arXiv 1908.01842), squared distances by sawtooth, ramps
  that decide the chart, one polynomial per chart. Everything else is chosen for few weights: see `chart_design`,
  `square_levels` and `signed_squares`.
- `hull`: no chart, polynomials in a few input coordinates, as few squares as these have dimensions on M and a handful
  above: `hull_levels`, `hull_fit`. What the ridge formula spans, without a square for every direction.
- `ridge`: the ridge formula itself, `ridge_network`.

The last two are for targets that are not rough.
"""

from __future__ import annotations

import math
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
from construct.baselines.relu.hull_network import HullNetwork
from construct.baselines.relu.hull_search import hull_by_hand, search_hull
from construct.baselines.relu.ridge_method import RidgeRelu
from construct.baselines.relu.sawtooth import listed
from construct.errors import EpsilonNotReached, InputError
from construct.local import LocalSpace, PolynomialSpace, SplineSpace, fit_charts
from construct.manifolds import Manifold
from construct.measurement import measure
from construct.planning import Search, not_reached
from construct.problem import Problem
from construct.progress import Progress, silent
from construct.ridge.coordinates import coordinates_of
from construct.validation import invalid, one_of, positive_real

FORMS = ("hull", "ridge", "charts")
"""In the order in which they are tried: the size of one bounds the search for the next."""
SETTINGS = {
    "charts": ("charts", "degree", "cells", "compositions", "distance_compositions"),
    "hull": ("levels", "squares", "compositions"),
    "ridge": ("degree", "maps", "compositions"),
}
RUNGS = ((1, 1, 1), (1, 2, 4), (2, 2, 6), (2, 4, 8), (4, 4, 9), (6, 4, 10), (6, 8, 14), (8, 8, 16))
"""Charts as multiples of the fewest, degree, compositions."""
STEPS = 20


class ChenImproved(Method):
    """The smallest of the forms for an epsilon; by hand {"charts", "degree", "compositions", "distance_compositions"},
    or "cells" of a spline in d = 1 instead of "degree"; {"levels", "squares", "compositions"} of a hull; {"degree",
    "maps", "compositions"} of a ridge formula.

    compositions: one number for all stages of squares, or one for each. smoothness: Hölder exponent of a rough target,
    by default what the target states. forms: those that are tried, `("charts",)` for networks on charts only.
    """

    name: ClassVar[str] = "chen_improved"
    family: ClassVar[str] = "constructive"
    description: ClassVar[str] = (
        "ReLU network: polynomials on all of M or on charts, signed sawtooth squares shared by disjoint charts "
        "(after Chen, Jiang, Liao and Zhao 2019)"
    )

    def __init__(self, smoothness: float | None = None, forms: Sequence[str] = FORMS) -> None:
        self.smoothness = None if smoothness is None else positive_real(smoothness, "smoothness")
        if isinstance(forms, str) or not forms or len(set(forms)) < len(forms):
            raise invalid("forms", f"different names of {FORMS}", forms)
        self.forms = tuple(one_of(form, "forms", FORMS) for form in forms)

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
        """The network of one size; on charts the design (shared or not, squares or levels) with fewest non-zeros.

        No small coefficients are dropped, as `build` does with a hundredth of its epsilon.

        Raises:
            InputError: unknown or missing settings, too few charts, a degree above 32, bad compositions.
        """
        start = time.perf_counter()
        form = "hull" if "levels" in settings else "ridge" if "maps" in settings else "charts"
        known(settings, SETTINGS[form], self.name)
        if form == "ridge":
            found = RidgeRelu().fit(
                target, manifold, settings, seed=seed, dtype=dtype, device=device, progress=progress
            )
            return replace(found, method=self.name)
        make = hull_by_hand if form == "hull" else _charts_by_hand
        network = make(Problem(target, manifold, None, None, seed, progress), settings)
        return self._baseline(network, manifold, dict(settings), time.perf_counter() - start, Options(dtype, device))

    def to_epsilon(self, problem: Problem, options: Options) -> Baseline:
        """The smallest network that the searches for the forms find for epsilon."""
        start = time.perf_counter()
        best: Baseline | None = None
        failures: list[EpsilonNotReached] = []
        for form in FORMS:
            if form not in self.forms or not (form == "charts" or self._whole(problem)):
                continue
            try:
                found = self._of_form(form, problem, options, None if best is None else best.counts.nonzero)
            except EpsilonNotReached as failure:
                failures.append(failure)
                continue
            if found is not None and (best is None or found.counts.nonzero < best.counts.nonzero):
                best = found
        if best is None:
            raise (
                min(failures, key=lambda failure: failure.best)
                if failures
                else not_reached(problem, math.inf, f"{self.name} looks for with the forms {', '.join(self.forms)}")
            )
        return replace(best, seconds=time.perf_counter() - start)

    def _whole(self, problem: Problem) -> bool:
        """Whether one polynomial on all of M is tried: not of a rough target, nor where M spans many dimensions."""
        try:
            coordinates_of(problem.manifold, problem.seed)
        except InputError:
            return False
        return problem.smoothness is None

    def _of_form(self, form: str, problem: Problem, options: Options, below: int | None) -> Baseline | None:
        """The smallest network of a form, None where there is none with fewer than `below` non-zeros."""
        start = time.perf_counter()
        if form == "ridge":
            ridge = RidgeRelu().below(problem, options, below)
            return None if ridge is None else replace(ridge, method=self.name)
        network: ChartsNetwork | HullNetwork
        if form == "hull":
            hull = search_hull(problem)
            network, measured, history = hull.network, hull.measured, hull.history
            settings: Settings = {
                "levels": len(network.design.levels),
                "squares": len(network.design.weights),
                "compositions": list(network.stages),
            }
        else:
            charts = search_charts(problem, below)
            if charts is None:
                return None
            network, measured, history = charts.network, charts.measured, charts.history
            space = charts.approximator.space
            settings = {
                "charts": network.design.charts,
                **({"cells": space.cells} if space.name == SplineSpace.name else {"degree": space.degree}),
                "compositions": list(network.compositions),
                "distance_compositions": network.distance_compositions,
            }
        found = self._baseline(network, problem.manifold, settings, time.perf_counter() - start, options)
        if options.dtype != torch.float64:
            measured = measure(found, problem.target, problem.manifold, seed=problem.seed)
            if not measured.sup <= problem.wanted:
                raise not_reached(problem, measured.sup, f"{self.name} keeps in {options.dtype}")
        return replace(found, measured=measured, history=history)

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
        network: ChartsNetwork | HullNetwork,
        manifold: Manifold,
        settings: Settings,
        seconds: float,
        options: Options,
    ) -> Baseline:
        return Baseline(
            method=self.name,
            family=self.family,
            settings=settings,
            counts=network.counts,
            seconds=seconds,
            function=network,
            manifold=manifold,
            dtype=options.dtype,
            device=torch.device(options.device),
            model=network,
        )


def _charts_by_hand(problem: Problem, settings: Settings) -> ChartsNetwork:
    """The network on charts of one size; of the designs the one with the fewest non-zeros."""
    if "compositions" not in settings or ("degree" in settings) == ("cells" in settings):
        raise invalid("settings", "compositions and one of degree and cells", got=", ".join(settings) or "none")
    manifold = problem.manifold
    space: LocalSpace
    if "cells" in settings:
        space = SplineSpace(manifold.dim, settings["cells"])
    else:
        space = PolynomialSpace(manifold.dim, settings["degree"])
    atlas = atlas_for(manifold, charts=settings.get("charts"))
    approximator = fit_charts(problem.target, atlas, space)
    compositions, distance = settings["compositions"], settings.get("distance_compositions")
    given = listed(compositions)
    fitting = [one for one in designs(approximator) if given is None or len(given) == one.stages]
    if not fitting:
        raise invalid("compositions", "an integer, or one for each stage of squares", compositions)
    return min((networked(one, compositions, distance) for one in fitting), key=lambda net: net.counts.nonzero)
