"""The fewest weights of a `ChartsNetwork` for an epsilon: compositions for a fit, a search over charts and degrees."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from construct.atlas import Atlas, candidate_atlases
from construct.baselines.relu.chart_design import ChartDesign, design_of
from construct.baselines.relu.charts import ChartsNetwork, networked
from construct.baselines.relu.compositions import fewest_compositions
from construct.baselines.relu.sawtooth import MOST_COMPOSITIONS
from construct.compact.planner import TRIM, CompactPlanner, sizes_of
from construct.errors import EpsilonNotReached, InputError
from construct.history import History
from construct.local import PiecewiseApproximator, PolynomialSpace, fit_charts, sweep
from construct.measurement import Measurement, measure
from construct.planning import MARGIN, Search
from construct.problem import Problem, Sizes
from construct.progress import Progress, silent
from construct.targets import evaluate_target

SAMPLES = 6_000
ROUNDS = 5
TIGHTER = 0.97
GIVE_UP = 1.3  # times the cheapest estimate
MOST_PARAMETERS = 30_000_000  # of the planner
DEGREES = {1: (1, 2, 3, 4, 6, 8, 12, 16, 20, 24), 2: (1, 2, 3, 4, 6, 8, 11), 3: (1, 2, 3, 4, 6, 8), 4: (1, 2, 3, 4)}
FIT = 0.9  # of epsilon: what the fit of a candidate may take on its nodes
FINALISTS = 4
MOST_CHARTS = 700
MOST_NODES = 3_000_000  # charts times coefficients, of a fit that is still tried
SWEEP_LAWSON = 3
SMALLEST_CHART = 12  # numbers that a chart takes at least


@dataclass(frozen=True, eq=False)
class MeasuredNetwork:
    """A network, its measured error, what it was made from, and what was tried before it."""

    network: ChartsNetwork
    measured: Measurement
    approximator: PiecewiseApproximator
    history: History


def same_fit(
    approximator: PiecewiseApproximator,
    target: Callable[..., Any],
    epsilon: float,
    *,
    seed: int = 0,
    progress: Progress = silent,
) -> MeasuredNetwork:
    """The smallest ReLU network for the very polynomials of `approximator` whose measured error is at most epsilon.

    All designs of `designs` with the fewest compositions each; the one with the fewest non-zeros that a measurement
    confirms.

    Raises:
        InputError: no design for this approximator (degree above 32, splines in d > 1), epsilon not a number > 0.
        EpsilonNotReached: the fit itself, or its maximum over charts, misses epsilon.
    """
    problem = Problem(target, approximator.atlas.manifold, epsilon, seed=seed, progress=progress)
    return smallest([approximator], Search(problem, "a ReLU network of these local polynomials", margin=1.0))


def smallest(approximators: Iterable[PiecewiseApproximator], search: Search) -> MeasuredNetwork:
    """The network with the fewest non-zeros over several approximators; errors as in `same_fit`."""
    problem, trials = search.problem, list[DesignTrial]()
    for approximator in approximators:
        x = problem.manifold.sample(SAMPLES, problem.seed + 7)
        for design in designs(approximator):
            trial = DesignTrial(approximator, design, x, evaluate_target(problem.target, x), problem.wanted)
            if trial.settle():
                trials.append(trial)
            _record(search, trial, trial.error(trial.network.compositions), "sampled")
    while trials:
        trial = min(trials, key=lambda one: one.network.counts.nonzero)
        measured = measure(trial.network, problem.target, problem.manifold, seed=problem.seed)
        _record(search, trial, measured.sup, "measured")
        if measured.sup <= problem.wanted:
            history = search.chosen(trial.sizes, trial.note)
            return MeasuredNetwork(trial.network, measured, trial.approximator, history)
        if not trial.tighten(measured.worst_point, problem.target):
            trials.remove(trial)
    raise search.failure()


def _record(search: Search, trial: DesignTrial, error: float, kind: str) -> None:
    counts = trial.network.counts
    network = trial.network
    search.record(
        trial.sizes, error, kind, parameters=counts.dense, cost=counts.nonzero, note=trial.note, make=lambda: network
    )


def designs(approximator: PiecewiseApproximator) -> list[ChartDesign]:
    """The designs of an approximator: classes or single charts, signed squares or levels up to the degree.

    Raises:
        InputError: there is none.
    """
    found: list[ChartDesign] = []
    refused: InputError | None = None
    for shared in (True, False):
        for squares in (True, False):
            try:
                design = design_of(approximator, shared=shared, squares=squares)
            except InputError as error:  # not resolved into squares
                refused = error
                continue
            found.append(design)
            if design.direct:
                break
        if not found or not found[0].shared:
            break
    if not found:
        assert refused is not None
        raise refused
    return found


class DesignTrial:
    """A design with the fewest compositions that keep the error on a sample x (P, D) below a threshold."""

    def __init__(
        self, approximator: PiecewiseApproximator, design: ChartDesign, x: Tensor, values: Tensor, epsilon: float
    ) -> None:
        self.approximator, self.design = approximator, design
        self.x, self.values, self.allowed, self.rounds = x, values, epsilon, 0
        self.network = networked(design, MOST_COMPOSITIONS)

    @property
    def sizes(self) -> Sizes:
        return sizes_of(self.approximator.atlas, self.approximator.space)

    @property
    def note(self) -> str:
        """What else there is to a network: its compositions, and which design it has."""
        stages = " ".join(map(str, self.network.compositions))
        kind = ("classes" if self.design.shared else "charts") + (", squares" if self.design.squares else "")
        return f"compositions {stages}, {kind}" if stages else kind

    def error(self, compositions: tuple[int, ...]) -> float:
        """Largest error on the sample."""
        return float((networked(self.design, compositions)(self.x) - self.values).abs().max())

    def enough(self, compositions: tuple[int, ...]) -> bool:
        return self.error(compositions) <= self.allowed

    def tighten(self, point: Tensor, target: Callable[..., Any]) -> bool:
        """Add a point (D,) at which the error was too large, and settle again; False after some rounds."""
        self.rounds += 1
        self.x = torch.cat([self.x, point[None]])
        self.values = torch.cat([self.values, evaluate_target(target, point[None])])
        self.allowed *= TIGHTER
        return self.rounds <= ROUNDS and self.settle()

    def settle(self) -> bool:
        """The fewest compositions; False where not even the most are enough."""
        found = fewest_compositions(self.design.stages, self.enough, lambda m: networked(self.design, m).counts.nonzero)
        if found is None:
            return False
        self.network = networked(self.design, found)
        return True


@dataclass(frozen=True, eq=False)
class ChartCandidate:
    """An atlas and a degree whose fit is good enough, with an estimate of the non-zeros."""

    atlas: Atlas
    degree: int
    nonzero: int


def search_charts(problem: Problem, below: int | None = None) -> MeasuredNetwork | None:
    """The smallest network that is found for epsilon: the planner's fit and the best candidates of our own.

    below: what is estimated to have more non-zeros is left out; None is returned where nothing else is found.

    Raises:
        EpsilonNotReached: none of them; `.best` is the smallest error seen.
    """
    search = Search(problem, "a ReLU network on charts", margin=1.0)
    try:
        return smallest(_fits(search, below), search)
    except EpsilonNotReached:
        if below is None:
            raise
        return None


def _fits(search: Search, below: int | None) -> Iterator[PiecewiseApproximator]:
    """Full fits of the best candidates; of a rough curve, or where there is none, the planner's.

    Raises:
        EpsilonNotReached: there is no candidate and the planner finds nothing.
    """
    problem, dim = search.problem, search.problem.manifold.dim
    candidates = sorted(_candidates(search, below), key=lambda c: c.nonzero)
    for candidate in candidates[:FINALISTS]:
        if candidate.nonzero > GIVE_UP * min(candidates[0].nonzero, below or math.inf):
            break
        problem.progress(f"{candidate.atlas.count} charts, degree {candidate.degree}: about {candidate.nonzero}", None)
        fitted = fit_charts(problem.target, candidate.atlas, PolynomialSpace(dim, candidate.degree))
        kept = fitted.space.trimmed(fitted.coefficients, TRIM * problem.wanted)
        yield replace(fitted, coefficients=kept)
    if (candidates and (problem.smoothness is None or dim > 1)) or below is not None:
        return
    smoothness = problem.smoothness if dim == 1 else None
    planned = replace(problem, epsilon=FIT * problem.wanted / MARGIN, smoothness=smoothness)
    planner = CompactPlanner(planned, Search(planned, search.subject, MOST_PARAMETERS))
    try:
        yield planner.plan().approximator
    except EpsilonNotReached:
        if not candidates:
            raise


def _candidates(search: Search, below: int | None) -> Iterator[ChartCandidate]:
    """Atlases from the fewest charts on, with every degree that fits first among those of as many levels."""
    problem, dim, epsilon = search.problem, search.problem.manifold.dim, search.problem.wanted
    degrees = DEGREES.get(dim, (1, 2, 3))
    cheapest = below or math.inf
    for atlas in candidate_atlases(problem.manifold, MOST_CHARTS):
        if SMALLEST_CHART * atlas.count > cheapest:
            return
        tried = [p for p in degrees if atlas.count * PolynomialSpace(dim, p).count ** 2 <= MOST_NODES]
        if not tried:
            return
        problem.progress(f"charts {atlas.count}", None)
        fits = sweep(problem.target, atlas, tried, lawson=SWEEP_LAWSON)
        fitting: dict[int, int] = {}  # levels -> degree
        for degree, sup in zip(fits.degrees, fits.sups, strict=True):
            if sup <= FIT * epsilon:
                fitting.setdefault(math.ceil(math.log2(degree)), degree)
        if not fitting:
            sup, degree = min(zip(fits.sups, fits.degrees, strict=True))
            search.record(Sizes(atlas.count, 1, degree), sup, "fitted")
        for degree in fitting.values():
            scale = float(fits.approximator(degree).coefficients.abs().sum(dim=1).max())
            m = min(MOST_COMPOSITIONS, max(1, math.ceil(math.log(max(scale, epsilon) / epsilon, 4))))
            guesses = [design_of(fits.approximator(degree), squares=squares, solve=False) for squares in (True, False)]
            nonzero = min(networked(one, m).counts.nonzero for one in guesses)
            cheapest = min(cheapest, nonzero)
            search.record(Sizes(atlas.count, 1, degree), fits.sups[fits.degrees.index(degree)], "fitted", cost=nonzero)
            yield ChartCandidate(atlas, degree, nonzero)
