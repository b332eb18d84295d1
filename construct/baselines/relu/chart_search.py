"""The fewest weights of a `ChartsNetwork` for an epsilon: compositions for a fit, a search over charts and degrees."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from construct.atlas import Atlas, candidate_atlases
from construct.baselines.relu.chart_design import ChartDesign, design_of
from construct.baselines.relu.charts import ChartsNetwork, networked
from construct.baselines.relu.sawtooth import MOST_COMPOSITIONS
from construct.compact.planner import MARGIN, TRIM, Planner, trimmed
from construct.errors import EpsilonNotReached, InputError
from construct.local import PiecewiseApproximator, PolynomialSpace, fit_charts, sweep
from construct.manifolds import Manifold
from construct.measurement import Measurement, measure
from construct.progress import Progress, silent
from construct.targets import evaluate_target
from construct.validation import positive_real

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
    """A network, its measured error and what it was made from."""

    network: ChartsNetwork
    measured: Measurement
    approximator: PiecewiseApproximator


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
    positive_real(epsilon, "epsilon")
    return smallest([approximator], target, epsilon, seed=seed, progress=progress)


def smallest(
    approximators: Iterable[PiecewiseApproximator],
    target: Callable[..., Any],
    epsilon: float,
    *,
    seed: int = 0,
    progress: Progress = silent,
) -> MeasuredNetwork:
    """The network with the fewest non-zeros over several approximators; arguments and errors as in `same_fit`."""
    trials: list[Trial] = []
    missed = math.inf
    for approximator in approximators:
        x = approximator.atlas.manifold.sample(SAMPLES, seed + 7)
        for design in designs(approximator):
            trial = Trial(approximator, design, x, evaluate_target(target, x), epsilon)
            if trial.settle():
                progress(f"{trial.network!r}: {trial.network.counts.nonzero}", None)
                trials.append(trial)
            else:
                missed = min(missed, trial.error((MOST_COMPOSITIONS,) * design.stages))
    while trials:
        trial = min(trials, key=lambda one: one.network.counts.nonzero)
        measured = measure(trial.network, target, trial.approximator.atlas.manifold, seed=seed)
        if measured.sup <= epsilon:
            return MeasuredNetwork(trial.network, measured, trial.approximator)
        missed = min(missed, measured.sup)
        if not trial.tighten(measured.worst_point, target):
            trials.remove(trial)
    raise EpsilonNotReached(f"epsilon: {epsilon:g} was asked for, these local polynomials reach {missed:.3g}", missed)


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


class Trial:
    """A design with the fewest compositions that keep the error on a sample x (P, D) below a threshold."""

    def __init__(
        self, approximator: PiecewiseApproximator, design: ChartDesign, x: Tensor, values: Tensor, epsilon: float
    ) -> None:
        self.approximator, self.design = approximator, design
        self.x, self.values, self.allowed, self.rounds = x, values, epsilon, 0
        self.network = networked(design, MOST_COMPOSITIONS)

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
        """Lower equal compositions, then each by itself; False where not even the most are enough.

        A second start has one less everywhere but in the stage that is cheapest to raise.
        """
        stages = self.design.stages
        if not self.enough((MOST_COMPOSITIONS,) * stages):
            return False
        low, high = 0, MOST_COMPOSITIONS
        while stages and high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.enough((middle,) * stages) else (middle, high)
        equal = (high,) * stages
        price = self._price(equal)
        ends = [self._lowered(equal, price)]
        if stages > 1 and 1 < high < MOST_COMPOSITIONS:
            cheap = min(range(stages), key=lambda s: price[s])
            raised = tuple(high + 1 if s == cheap else high - 1 for s in range(stages))
            if self.enough(raised):
                ends.append(self._lowered(raised, price))
        self.network = min((networked(self.design, end) for end in ends), key=lambda net: net.counts.nonzero)
        return True

    def _price(self, compositions: tuple[int, ...]) -> list[int]:
        """What one composition more costs, stage by stage."""
        if len(compositions) < 2:
            return [1] * len(compositions)
        base = networked(self.design, (2,) * len(compositions)).counts.nonzero
        return [
            networked(self.design, tuple(2 + (s == stage) for s in range(len(compositions)))).counts.nonzero - base
            for stage in range(len(compositions))
        ]

    def _lowered(self, compositions: tuple[int, ...], price: list[int]) -> tuple[int, ...]:
        """Lower the stage that saves most, one composition at a time, as long as that is enough."""
        for stage in sorted(range(len(compositions)), key=lambda s: -price[s]):
            while compositions[stage] > 1:
                trial = (*compositions[:stage], compositions[stage] - 1, *compositions[stage + 1 :])
                if not self.enough(trial):
                    break
                compositions = trial
        return compositions


@dataclass(frozen=True, eq=False)
class ChartCandidate:
    """An atlas and a degree whose fit is good enough, with an estimate of the non-zeros."""

    atlas: Atlas
    degree: int
    nonzero: int


def search_charts(
    target: Callable[..., Any],
    manifold: Manifold,
    epsilon: float,
    *,
    smoothness: float | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> MeasuredNetwork:
    """The smallest network that is found for epsilon: the planner's fit and the best candidates of our own.

    Raises:
        EpsilonNotReached: none of them; `.best` is the smallest error seen.
    """
    found = _fits(target, manifold, epsilon, smoothness, seed, progress)
    return smallest(found, target, epsilon, seed=seed, progress=progress)


def _fits(
    target: Callable[..., Any],
    manifold: Manifold,
    epsilon: float,
    smoothness: float | None,
    seed: int,
    progress: Progress,
) -> Iterator[PiecewiseApproximator]:
    """Full fits of the best candidates; of a rough curve, or where there is none, the planner's.

    Raises:
        EpsilonNotReached: there is no candidate and the planner finds nothing.
    """
    candidates = sorted(_candidates(target, manifold, epsilon, progress), key=lambda c: c.nonzero)
    for candidate in candidates[:FINALISTS]:
        if candidate.nonzero > GIVE_UP * candidates[0].nonzero:
            break
        progress(f"{candidate.atlas.count} charts, degree {candidate.degree}: about {candidate.nonzero}", None)
        space = PolynomialSpace(manifold.dim, candidate.degree)
        yield trimmed(fit_charts(target, candidate.atlas, space), TRIM * epsilon)
    if candidates and (smoothness is None or manifold.dim > 1):
        return
    planner = Planner(
        target,
        manifold,
        FIT * epsilon / MARGIN,
        smoothness=smoothness if manifold.dim == 1 else None,
        max_parameters=MOST_PARAMETERS,
        seed=seed,
        progress=progress,
    )
    try:
        yield planner.plan().approximator
    except EpsilonNotReached:
        if not candidates:
            raise


def _candidates(
    target: Callable[..., Any], manifold: Manifold, epsilon: float, progress: Progress
) -> Iterator[ChartCandidate]:
    """Atlases from the fewest charts on, with every degree that fits first among those of as many levels."""
    degrees = DEGREES.get(manifold.dim, (1, 2, 3))
    cheapest = math.inf
    for atlas in candidate_atlases(manifold, MOST_CHARTS):
        if SMALLEST_CHART * atlas.count > cheapest:
            return
        tried = [p for p in degrees if atlas.count * PolynomialSpace(manifold.dim, p).count ** 2 <= MOST_NODES]
        if not tried:
            return
        progress(f"charts {atlas.count}", None)
        fits = sweep(target, atlas, tried, lawson=SWEEP_LAWSON)
        fitting: dict[int, int] = {}  # levels -> degree
        for degree, sup in zip(fits.degrees, fits.sups, strict=True):
            if sup <= FIT * epsilon:
                fitting.setdefault(math.ceil(math.log2(degree)), degree)
        for degree in fitting.values():
            scale = float(fits.approximator(degree).coefficients.abs().sum(dim=1).max())
            m = min(MOST_COMPOSITIONS, max(1, math.ceil(math.log(max(scale, epsilon) / epsilon, 4))))
            guesses = [design_of(fits.approximator(degree), squares=squares, solve=False) for squares in (True, False)]
            nonzero = min(networked(one, m).counts.nonzero for one in guesses)
            cheapest = min(cheapest, nonzero)
            yield ChartCandidate(atlas, degree, nonzero)
