"""The smallest `HullNetwork` for an epsilon: how many levels, how many squares above them, compositions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from construct.arrays import Float
from construct.baselines.relu.compositions import Compositions, fewest_compositions
from construct.baselines.relu.hull_fit import SquaresFit, linear_fit, squares_fit
from construct.baselines.relu.hull_levels import next_level
from construct.baselines.relu.hull_network import HullDesign, HullNetwork
from construct.measurement import Measurement, derived_seed, measure
from construct.planning import Search
from construct.problem import Problem, Sizes
from construct.ridge.coordinates import Coordinates, coordinates_of
from construct.targets import evaluate_target

POINTS, LEAST_POINTS, MOST_POINTS = 20, 3_000, 20_000  # for each number of the fit; at least; at most
MOST_LEVELS = 5
MOST_FEATURES = 560
MOST_NUMBERS = 700  # of the squares above the levels, in one fit
MOST_SQUARES = 6  # above the levels
FIT = (0.8, 0.4)  # of epsilon: what the function itself may err by
FAR = 3.0  # times epsilon
SLACK = 1e-2
SAMPLES = 6_000
ROUNDS = 6
TIGHTER = 0.95


@dataclass(frozen=True, eq=False)
class MeasuredHull:
    """A network and its measured error."""

    network: HullNetwork
    measured: Measurement


class HullFits:
    """Features of M level by level, and fits over them.

    points: number of points that the fits see.
    """

    def __init__(self, problem: Problem, points: int) -> None:
        self.problem = problem
        self.coordinates: Coordinates = coordinates_of(problem.manifold, problem.seed)
        self.x = problem.manifold.sample(points, derived_seed(problem.seed, "planning", 1))
        self.values: Float = evaluate_target(problem.target, self.x).numpy()
        self.features: list[Float] = [self.coordinates.of(self.x).numpy()]
        self.levels: list[Float] = []

    def climb(self) -> bool:
        """One level more; False where it would have too many features, or has no new one."""
        found = next_level(self.features[-1], self.problem.seed)
        grown = np.hstack([self.features[-1], found.values])
        if grown.shape[1] > min(MOST_FEATURES, len(self.values) // 4) or not len(found.forms):
            return False
        self.levels.append(found.forms)
        self.features.append(grown)
        return True

    def design(self, levels: int, fit: SquaresFit) -> HullDesign:
        """The design of a fit over the features of a level."""
        one = np.hstack([np.ones((len(self.values), 1)), self.features[levels]])
        bounds = np.abs(one @ fit.forms.T).max(axis=0) * (1 + SLACK)
        bounds = np.maximum(bounds, np.finfo(np.float64).tiny)
        largest = float(np.abs(one @ fit.rest).max())
        return HullDesign(
            self.problem.manifold.ambient,
            self.coordinates,
            tuple(self.levels[:levels]),
            fit.rest,
            fit.forms / bounds[:, None],
            fit.signs * bounds**2,
            largest,
        )


def search_hull(problem: Problem) -> MeasuredHull:
    """The smallest network that is found for epsilon.

    Raises:
        InputError: M spans too many dimensions.
        EpsilonNotReached: none; `.best` is the smallest error seen.
    """
    search = Search(problem, "a ReLU network of squares on the hull", margin=1.0)
    x = problem.manifold.sample(SAMPLES, problem.seed + 7)
    found: list[MeasuredHull] = []
    for design in _designs(search):
        settled = settle_hull(design, search, x)
        if settled is not None:
            found.append(settled)
    if not found:
        raise search.failure()
    return min(found, key=lambda one: one.network.counts.nonzero)


def _designs(search: Search) -> Iterator[HullDesign]:
    """Designs whose fit is good enough: on each level that can be, with the fewest squares above it.

    On the level on which the features themselves fit no squares are needed above, and the search ends.
    """
    problem = search.problem
    fits = HullFits(problem, LEAST_POINTS)
    linear = linear_fit(fits.features[0], fits.values)
    for level in range(MOST_LEVELS + 1):
        features = fits.features[level].shape[1]
        problem.progress(f"{features} features", None)
        search.record(Sizes(1, 1, 2**level), linear.error, "fitted", note="no squares above")
        if linear.error <= FIT[1] * problem.wanted:
            yield fits.design(level, linear)
            return
        wanted = min(MOST_POINTS, POINTS * MOST_SQUARES * features)
        if wanted > len(fits.values):
            fits = _again(fits, wanted)
        climbed = fits.climb()
        if climbed:
            linear = linear_fit(fits.features[-1], fits.values)
        # squares of the space are in the span of the next level: if that is far off, they are
        if not climbed or linear.error <= FAR * problem.wanted:
            for goal in FIT:
                found = _fewest_squares(fits, level, goal * problem.wanted, search)
                if found is not None:
                    yield fits.design(level, found)
        if not climbed:
            return


def _again(fits: HullFits, points: int) -> HullFits:
    """The same levels on more points."""
    more = HullFits(fits.problem, points)
    for forms in fits.levels:
        one = np.hstack([np.ones((len(more.values), 1)), more.features[-1]])
        more.levels.append(forms)
        more.features.append(np.hstack([more.features[-1], (one @ forms.T) ** 2]))
    return more


def _fewest_squares(fits: HullFits, level: int, goal: float, search: Search) -> SquaresFit | None:
    """The fit over a level with the fewest squares above it and an error of at most goal; None where there is none.

    """
    features = fits.features[level]
    for count in range(1, MOST_SQUARES + 1):
        numbers = count * features.shape[1]
        if numbers > MOST_NUMBERS:
            return None
        fits.problem.progress(f"{features.shape[1]} features, {count} squares", None)
        enough = min(len(fits.values), max(LEAST_POINTS, POINTS * numbers))
        found = squares_fit(features[:enough], fits.values[:enough], count, goal, fits.problem.seed)
        search.record(Sizes(1, 1, 2 ** (level + 1)), found.error, "fitted", note=f"{count} squares above")
        if found.error <= goal:
            return found
    return None


def settle_hull(design: HullDesign, search: Search, x: Tensor) -> MeasuredHull | None:
    """The fewest compositions for a design that a measurement confirms; x (P, D) is the first sample of M."""
    problem = search.problem
    values, allowed = evaluate_target(problem.target, x), problem.wanted

    def enough(m: Compositions) -> bool:
        return float((HullNetwork(design, m)(x) - values).abs().max()) <= allowed

    for _ in range(ROUNDS):
        stages = fewest_compositions(design.stages, enough, lambda m: HullNetwork(design, m).counts.nonzero)
        if stages is None:
            return None
        network = HullNetwork(design, stages)
        found, counts = measure(network, problem.target, problem.manifold, seed=problem.seed), network.counts
        note = f"{len(design.weights)} squares above, compositions {' '.join(map(str, stages))}"
        sizes = Sizes(1, 1, 2 ** len(design.levels))
        search.record(sizes, found.sup, "measured", parameters=counts.dense, cost=counts.nonzero, note=note, make=lambda net=network: net)  # fmt: skip
        if found.sup <= problem.wanted:
            return MeasuredHull(network, found)
        x = torch.cat([x, found.worst_point[None]])
        values, allowed = evaluate_target(problem.target, x), TIGHTER * allowed
    return None
