"""Planner: from epsilon to charts, cells and degree, for the fewest parameters that it can find.

Candidates are pairs of an atlas (few large charts first) and a local space: polynomials of one total degree, or
continuous piecewise-linear splines where the target is rough. A candidate is judged by its fit on the nodes; the
cheapest ones are then blended and their error searched for on the manifold. Costs are counted before anything is
built.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from construct.atlas import Atlas, candidate_atlases
from construct.compact.geometry import compact_counts, ranking_nonzeros
from construct.errors import BudgetExceeded, EpsilonNotReached
from construct.local import LocalSpace, PiecewiseApproximator, PolynomialSpace, SplineSpace, fit_charts, sweep
from construct.manifolds import Manifold
from construct.measurement import Measurement, search_sup
from construct.progress import Progress
from construct.targets import evaluate_target

Target = Callable[..., Any]

HIGHEST_DEGREE = {1: 24, 2: 18, 3: 12, 4: 8, 5: 6, 6: 5}
TRIM = 0.01  # of epsilon: what dropping small Chebyshev coefficients may cost
MARGIN = 0.98  # of epsilon, for what blending and rounding may add to the fit
SPLINE_BELOW = 2.0  # a target rougher than this gains nothing from polynomials of higher degree
MOST_CHARTS = 700
MOST_CELLS = 4096
MOST_REFINEMENTS = 8
GROWTH = 1.5
SWEEP_LAWSON = 3
HOPELESS = 4.0  # a sweep ends where its rate predicts that the highest degree misses epsilon by more
SEARCH_SAMPLES = 20_000


@dataclass(frozen=True)
class Candidate:
    """An atlas and a local space with what they cost and how well they fit on the nodes.

    parameters: dense count in R^D, for the budget. cost: non-zeros on the canonical form.
    """

    atlas: Atlas
    space: PolynomialSpace | SplineSpace
    parameters: int
    cost: int
    fitted: float

    def describe(self) -> str:
        kind = f"degree {self.space.degree}" if isinstance(self.space, PolynomialSpace) else f"{self.space.cells} cells"
        return f"{self.atlas.count} charts, {kind}"


@dataclass(frozen=True)
class Plan:
    """The blended approximator that was chosen and its measured error."""

    approximator: PiecewiseApproximator
    error: Measurement


class Planner:
    """Search for the cheapest approximator of `target` on `manifold` with sup error at most `epsilon`.

    Args:
        smoothness: Hölder exponent beta; None for a smooth target.
        max_parameters: budget on the dense count of parameters.
        seed: of the error searches.
    """

    def __init__(
        self,
        target: Target,
        manifold: Manifold,
        epsilon: float,
        *,
        smoothness: float | None,
        max_parameters: int,
        seed: int,
        progress: Progress,
    ) -> None:
        self.target, self.manifold, self.epsilon = target, manifold, epsilon
        self.smoothness, self.max_parameters = smoothness, max_parameters
        self.seed, self.progress = seed, progress
        self.best_measured = self.best_fitted = math.inf
        self.over_budget: tuple[int, str] | None = None  # fewest parameters that were too many, and what for

    @property
    def rough(self) -> bool:
        return self.smoothness is not None and self.smoothness < SPLINE_BELOW

    def plan(self) -> Plan:
        """The cheapest plan whose measured error is at most epsilon.

        Raises:
            BudgetExceeded: what would reach epsilon has more than `max_parameters`.
            EpsilonNotReached: no candidate reaches it; both carry the best error found.
        """
        rounds = iter([self.spline_candidates()]) if self.rough else self.polynomial_rounds()
        for candidates in rounds:
            for candidate in sorted(candidates, key=lambda c: c.cost):
                plan = self.settle(candidate)
                if plan is not None:
                    return plan
        raise self.failure()

    @property
    def best_error(self) -> float:
        """The best error that was measured, or, when nothing was good enough to be blended, the best fit on nodes."""
        return self.best_measured if math.isfinite(self.best_measured) else self.best_fitted

    def failure(self) -> EpsilonNotReached:
        """What to say when no candidate is left."""
        best = f"the best sup error reached is {self.best_error:.3g}"
        if self.over_budget is not None:
            needed, resolution = self.over_budget
            return BudgetExceeded(
                f"max_parameters: epsilon = {self.epsilon:g} on {self.manifold!r} needs about "
                f"{needed:,} parameters ({resolution}), the budget is {self.max_parameters:,}; "
                f"{best}",
                self.best_error,
            )
        return EpsilonNotReached(
            f"epsilon: {self.epsilon:g} is not reached on {self.manifold!r} by any of the charts, cells and degrees "
            f"tried; {best}",
            self.best_error,
        )

    # -- candidates -------------------------------------------------------------------------------

    def _candidate(
        self, atlas: Atlas, space: PolynomialSpace | SplineSpace, fitted: float, coefficients: Tensor | None = None
    ) -> Candidate:
        kept = None if coefficients is None else float(coefficients.count_nonzero()) / atlas.count
        parameters, _ = compact_counts(atlas, space, kept)
        return Candidate(atlas, space, parameters, ranking_nonzeros(atlas, space, kept), fitted)

    def _within_budget(self, candidate: Candidate) -> bool:
        if candidate.parameters <= self.max_parameters:
            return True
        self._refuse(candidate.parameters, candidate.describe())
        return False

    def _refuse(self, parameters: int, resolution: str) -> None:
        if self.over_budget is None or parameters < self.over_budget[0]:
            self.over_budget = parameters, resolution

    def polynomial_rounds(self) -> Iterator[list[Candidate]]:
        """Candidates from the fewest charts on; when none of a round could be settled, from more charts."""
        atlases = deque[Atlas]()
        later = candidate_atlases(self.manifold, MOST_CHARTS, growth=GROWTH)
        while True:
            candidates = self.polynomial_candidates(atlases, later)
            if not candidates:
                return
            yield candidates

    def polynomial_candidates(self, waiting: deque[Atlas], later: Iterator[Atlas]) -> list[Candidate]:
        """For growing atlases the smallest degree that fits; stops when more charts only cost more.

        waiting: atlases that an earlier round drew from `later` and did not use.
        """
        found: list[Candidate] = []
        unused: list[Atlas] = []
        dearer = 0
        while dearer < 2:
            atlas = waiting.popleft() if waiting else next(later, None)
            if atlas is None:
                break
            floor = self._candidate(atlas, PolynomialSpace(self.manifold.dim, 0), math.inf)
            cheapest = min((c.cost for c in found), default=None)
            if cheapest is not None and floor.cost > cheapest:
                unused.append(atlas)
                break
            if not self._within_budget(floor):
                break
            self.progress(f"charts {atlas.count}", None)
            candidate = self.smallest_degree(atlas, cheapest)
            if candidate is None:
                dearer += bool(found)
                unused.extend([atlas] if found else [])
            elif self._within_budget(candidate):
                dearer = 0 if cheapest is None or candidate.cost < cheapest else dearer + 1
                found.append(candidate)
        waiting.extendleft(reversed(unused))
        return found

    def smallest_degree(self, atlas: Atlas, cheapest: int | None) -> Candidate | None:
        """Smallest total degree whose fit is within epsilon on every chart, or None."""
        dim = self.manifold.dim
        highest = HIGHEST_DEGREE.get(dim, 4)
        tried = 0
        for top in sorted({min(top, highest) for top in (6, 10, 14, 18, 24)}):
            if top <= tried:
                break
            degrees = range(tried + 1 if tried else 0, top + 1)
            if cheapest is not None and self._candidate(atlas, PolynomialSpace(dim, degrees[0]), 0.0).cost > cheapest:
                return None
            found = sweep(self.target, atlas, degrees, lawson=SWEEP_LAWSON)
            sups = found.sups
            self.best_fitted = min(self.best_fitted, *sups)
            for degree, sup, fitted in zip(degrees, sups, found.fits, strict=True):
                if sup <= self.epsilon:
                    kept = trim(fitted.coefficients, TRIM * self.epsilon)
                    return self._candidate(atlas, PolynomialSpace(dim, degree), sup, kept)
            tried = top
            if len(sups) >= 4:
                rate = min((sups[-1] / sups[-4]) ** (1 / 3), 1.0)  # geometric, as for an analytic target
                if sups[-1] * rate ** (highest - top) > HOPELESS * self.epsilon:
                    return None
        return None

    def spline_candidates(self) -> list[Candidate]:
        """For a few atlases the fewest cells that fit, by doubling and bisection."""
        found: list[Candidate] = []
        for atlas in islice(candidate_atlases(self.manifold, MOST_CHARTS, growth=GROWTH), 3):
            candidate = self.fewest_cells(atlas)
            if candidate is not None:
                found.append(candidate)
        return found

    def fewest_cells(self, atlas: Atlas) -> Candidate | None:
        dim = self.manifold.dim
        failed, passed = 0, None
        cells = 1
        while passed is None:
            candidate = self._fit_cells(atlas, cells)
            if candidate is None:
                return None
            if candidate.fitted <= self.epsilon:
                passed = candidate
            else:
                if self._hopeless(candidate):
                    return None
                failed, cells = cells, 2 * cells
            if cells > MOST_CELLS or dim * math.log(cells + 1) > math.log(4e6):
                return None
        while isinstance(passed.space, SplineSpace) and passed.space.cells - failed > max(1, failed // 16):
            middle = (passed.space.cells + failed) // 2
            candidate = self._fit_cells(atlas, middle)
            if candidate is not None and candidate.fitted <= self.epsilon:
                passed = candidate
            else:
                failed = middle
        return passed

    def _hopeless(self, candidate: Candidate) -> bool:
        """Whether the order of the target predicts twice the budget and more, from a fit with 16 cells or more."""
        cells, dim = _size(candidate.space), self.manifold.dim
        if cells < 16:
            return False
        order = min(self.smoothness or SPLINE_BELOW, SPLINE_BELOW)
        needed = math.ceil(cells * (candidate.fitted / self.epsilon) ** (1 / order))
        parameters = 75 * candidate.atlas.count * (needed + 1) ** dim
        if parameters <= 2 * self.max_parameters:
            return False
        self._refuse(parameters, f"{candidate.atlas.count} charts, {needed:,} cells, extrapolated from {cells}")
        return True

    def _fit_cells(self, atlas: Atlas, cells: int) -> Candidate | None:
        space = SplineSpace(self.manifold.dim, cells)
        floor = self._candidate(atlas, space, math.inf)
        if not self._within_budget(floor):
            return None
        self.progress(f"{atlas.count} charts, {cells} cells", None)
        fitted = float(fit_charts(self.target, atlas, space).error_bound)
        self.best_fitted = min(self.best_fitted, fitted)
        return self._candidate(atlas, space, fitted)

    # -- from a candidate to a measured approximator ---------------------------------------------

    def settle(self, candidate: Candidate) -> Plan | None:
        """Blend, search for the error, and change the resolution until it is just within epsilon.

        A fit only sees its nodes: a cusp between them shows in the search alone. While the error is too large the
        degree rises by one, or the cells by what the order of the target asks for; then it is lowered again.
        """
        plan = self._measured(candidate.atlas, candidate.space)
        failed = -1  # the largest degree or number of cells that is known to miss epsilon; degree 0 is a size, too
        for _ in range(MOST_REFINEMENTS):
            if plan.error.sup <= MARGIN * self.epsilon:
                break
            space = plan.approximator.space
            failed = _size(space)
            finer = self._finer(space, plan.error.sup)
            if finer is None or not self._within_budget(self._candidate(candidate.atlas, finer, 0.0)):
                return None
            plan = self._measured(candidate.atlas, finer)
        else:
            return None
        while True:
            coarser = _coarser(plan.approximator.space, failed)
            if coarser is None:
                return plan
            trial = self._measured(candidate.atlas, coarser)
            if trial.error.sup <= MARGIN * self.epsilon:
                plan = trial
            else:
                failed = _size(coarser)

    def _finer(self, space: LocalSpace, error: float) -> PolynomialSpace | SplineSpace | None:
        """The next resolution to try after a measured error above epsilon, None beyond the highest."""
        if isinstance(space, PolynomialSpace):
            degree = space.degree + 1
            return PolynomialSpace(space.dim, degree) if degree <= HIGHEST_DEGREE.get(space.dim, 4) else None
        order = min(self.smoothness or SPLINE_BELOW, SPLINE_BELOW)
        factor = (error / (0.95 * self.epsilon)) ** (1 / order)
        cells = math.ceil(_size(space) * min(max(factor, 17 / 16), 1.5))
        return SplineSpace(space.dim, cells) if cells <= MOST_CELLS else None

    def _measured(self, atlas: Atlas, space: PolynomialSpace | SplineSpace) -> Plan:
        approximator = trimmed(fit_charts(self.target, atlas, space), TRIM * self.epsilon)
        error = self.search(approximator)
        self.progress(f"{atlas.count} charts: error {error.sup:.2e}", None)
        self.best_measured = min(self.best_measured, error.sup)
        return Plan(approximator, error)

    def search(self, function: Callable[[Tensor], Tensor]) -> Measurement:
        """Measured sup error of a function on the manifold."""

        def error(x: Tensor) -> Tensor:
            with torch.no_grad():
                return (function(x).double() - evaluate_target(self.target, x)).abs()

        centres = None
        if isinstance(function, PiecewiseApproximator):
            centres = function.atlas.centres
        return search_sup(error, self.manifold, SEARCH_SAMPLES, self.seed, centres=centres)


def trim(coefficients: Tensor, tolerance: float) -> Tensor:
    """Coefficients (n, c) with the smallest of every row set to 0 while their absolute sum is at most `tolerance`."""
    size, order = coefficients.abs().sort(dim=1)
    drop = torch.zeros_like(coefficients, dtype=torch.bool).scatter(1, order, size.cumsum(dim=1) <= tolerance)
    return torch.where(drop, torch.zeros_like(coefficients), coefficients)


def trimmed(approximator: PiecewiseApproximator, tolerance: float) -> PiecewiseApproximator:
    """Drop the smallest Chebyshev coefficients of every chart, as long as their absolute sum stays below `tolerance`.

    `|T_k| <= 1`, so no value changes by more than `tolerance`. A target that varies along few coordinates keeps few.
    """
    if not isinstance(approximator.space, PolynomialSpace):
        return approximator
    kept = trim(approximator.coefficients, tolerance)
    return PiecewiseApproximator(approximator.atlas, approximator.space, kept, approximator.residual)


def _size(space: LocalSpace) -> int:
    """Degree of a polynomial space, cells of a spline space."""
    if isinstance(space, PolynomialSpace):
        return space.degree
    assert isinstance(space, SplineSpace)
    return space.cells


def _coarser(space: LocalSpace, failed: int) -> PolynomialSpace | SplineSpace | None:
    """A coarser space above one that failed, None when the gap is a degree or a sixteenth of the cells."""
    size = _size(space)
    if isinstance(space, PolynomialSpace):
        return PolynomialSpace(space.dim, size - 1) if size - 1 > failed else None
    failed = max(failed, 0)
    step = max(1, size // 16)
    if size - failed <= step:
        return None
    return SplineSpace(space.dim, max(size - step, (size + failed) // 2))
