"""The smallest `HullNetwork` for an epsilon: how many levels, how many squares above them, compositions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from construct.arrays import Float
from construct.baselines.base import Settings
from construct.baselines.relu.compositions import Compositions, fewest_compositions
from construct.baselines.relu.hull_fit import SquaresFit, linear_fit, squares_fit
from construct.baselines.relu.hull_levels import next_level
from construct.baselines.relu.hull_network import HullDesign, HullNetwork
from construct.history import History
from construct.measurement import Measurement, derived_seed, measure
from construct.planning import Search
from construct.problem import Problem, Sizes
from construct.ridge.coordinates import Coordinates, coordinates_of
from construct.targets import evaluate_target
from construct.validation import integer, invalid

POINTS, LEAST_POINTS, MOST_POINTS = 20, 3_000, 20_000  # for each number of the fit; at least; at most
MOST_LEVELS = 5
MOST_FEATURES = 300
MOST_NUMBERS = 700  # of the squares above the levels, in one fit
MOST_SQUARES = 6  # above the levels
FIT = (0.8, 0.4)  # of epsilon: what the function itself may err by
LEAST_RESOLVED, FEW_POINTS = 1_500, 8
LOST = 0.05  # of what the fit leaves of epsilon
HOPELESS = 50.0
FAR = 1.3  # times epsilon
SLACK = 1e-2
SAMPLES = 6_000
DENSE, RANGE = 20_000, 2e-2  # points on which no square saturates, and room for what lies between them
ROUNDS = 6
TIGHTER = 0.95


@dataclass(frozen=True, eq=False)
class MeasuredHull:
    """A network, its measured error, and what was tried before it."""

    network: HullNetwork
    measured: Measurement
    history: History


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
        if self.features[-1].shape[1] > MOST_FEATURES // 2:
            return False
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
    settled = [settle_hull(design, search, x) for design in _designs(search)]
    found = [one for one in settled if one is not None]
    if not found:
        raise search.failure()
    network, measured = min(found, key=lambda one: one[0].counts.nonzero)
    sizes, note = _named(network)
    return MeasuredHull(network, measured, search.chosen(sizes, note))


def hull_by_hand(problem: Problem, settings: Settings) -> HullNetwork:
    """The network with a number of levels, of squares above them, and compositions.

    Raises:
        InputError: a setting that is missing or out of range, more levels than can be had.
    """
    if set(settings) != {"levels", "squares", "compositions"}:
        raise invalid("settings", "levels, squares and compositions", got=", ".join(settings))
    levels = integer(settings["levels"], "levels", maximum=MOST_LEVELS)
    squares = integer(settings["squares"], "squares", maximum=4 * MOST_SQUARES)
    fits = HullFits(problem, LEAST_POINTS)
    for level in range(levels):
        if not fits.climb():
            raise invalid("levels", f"at most {level} on {problem.manifold!r}", levels)
    features = fits.features[-1]
    wanted = min(MOST_POINTS, POINTS * max(1, squares) * features.shape[1])
    if wanted > len(fits.values):
        fits = _again(fits, wanted)
        features = fits.features[-1]
    found = (
        squares_fit(features, fits.values, squares, 0.0, problem.seed) if squares else linear_fit(features, fits.values)
    )
    return HullNetwork(in_range(smaller(fits, levels, found, found.error), problem), settings["compositions"])


def _designs(search: Search) -> Iterator[HullDesign]:
    """Designs whose fit is good enough, with the fewest squares above as few levels as can be.

    The search ends with the first level on which squares, or none, are enough.
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
            most = _squares_needed(1 + features, 1 + fits.features[-1].shape[1]) + 1 if climbed else MOST_SQUARES
            found = list(_above(fits, level, range(1, min(most, MOST_SQUARES) + 1), search))
            yield from found
            if found:
                return
        if not climbed:
            return


def _above(fits: HullFits, level: int, counts: range, search: Search) -> Iterator[HullDesign]:
    """The fewest squares above a level that are good enough; more where a better fit may save compositions."""
    error = math.inf
    for share in FIT:
        goal = share * fits.problem.wanted
        if error <= goal:
            return
        found = _fewest_squares(fits, level, goal, counts, search)
        if found is None:
            return
        counts, error = range(len(found.forms), counts.stop), found.error
        yield smaller(fits, level, found, fits.problem.wanted - error)


def smaller(fits: HullFits, level: int, fit: SquaresFit, share: float) -> HullDesign:
    """The design of a fit, with fewer squares on its last level where there are fewer.

    Only the rest and the forms are read off that level, r + 1 functions of V_2s, not all of V_2s: each of them is a few
    signed squares of forms of the level below, and a rest there. They may err by `LOST` of `share` together.
    """
    whole = fits.design(level, fit)
    if not level or not len(fit.forms):
        return whole
    below = fits.features[level - 1]
    one = np.hstack([np.ones((len(below), 1)), fits.features[level]])
    rows = np.vstack([whole.rest[None], whole.forms])
    # an error e of a form of bound 1 and weight w is one of 2 w e of the value
    effects = np.concatenate([[1.0], 2 * np.abs(whole.weights)])
    least = max(1, _squares_needed(1 + below.shape[1], one.shape[1]) - 1)
    parts: list[SquaresFit] = []
    for row, effect in zip(rows, effects, strict=True):
        room = len(whole.levels[-1]) - 1 - sum(len(part.forms) for part in parts)
        goal = LOST * share / (effect * len(rows))
        found = _resolved(below, one @ row, goal, least, room, fits.problem.seed)
        if found is None:
            return whole
        parts.append(found)
    return _rebuilt(whole, parts, one[:, : 1 + below.shape[1]])


def _resolved(below: Float, values: Float, goal: float, least: int, room: int, seed: int) -> SquaresFit | None:
    """Values as the fewest signed squares over features, `least` or more, that err by at most goal; None where `room`
    is too small."""
    for count in range(least, min(room, MOST_SQUARES) + 1):
        some = slice(0, max(LEAST_RESOLVED, FEW_POINTS * count * below.shape[1]))
        found = squares_fit(below[some], values[some], count, goal, seed, starts=2, hopeless=HOPELESS)
        if found.error <= goal:
            return found
    return None


def _rebuilt(whole: HullDesign, parts: list[SquaresFit], one: Float) -> HullDesign:
    """The design with the squares of the parts for its last level; the first is the rest, the others are the forms."""
    forms = np.vstack([part.forms for part in parts])
    bounds = np.maximum(np.abs(one @ forms.T).max(axis=0) * (1 + SLACK), np.finfo(np.float64).tiny)
    rows = np.zeros((len(parts), one.shape[1] + len(forms)))
    start = one.shape[1]
    for row, part in zip(rows, parts, strict=True):
        row[: one.shape[1]] = part.rest
        own = slice(start, start + len(part.forms))
        row[own] = part.signs * bounds[own.start - one.shape[1] : own.stop - one.shape[1]] ** 2
        start = own.stop
    return replace(whole, levels=(*whole.levels[:-1], forms / bounds[:, None]), rest=rows[0], forms=rows[1:])


def _again(fits: HullFits, points: int) -> HullFits:
    """The same levels on more points."""
    more = HullFits(fits.problem, points)
    for forms in fits.levels:
        one = np.hstack([np.ones((len(more.values), 1)), more.features[-1]])
        more.levels.append(forms)
        more.features.append(np.hstack([more.features[-1], (one @ forms.T) ** 2]))
    return more


def _squares_needed(dimension: int, doubled: int) -> int:
    """The least r for which r squares of a space have as many free numbers as the space of their products asks for."""
    return next(r for r in range(1, doubled + 1) if r * (dimension - 1) - r * (r - 1) // 2 >= doubled - dimension)


def _fewest_squares(
    fits: HullFits, level: int, goal: float, counts: Iterable[int], search: Search
) -> SquaresFit | None:
    """The fit over a level with the fewest squares above it and an error of at most goal; None where there is none."""
    features = fits.features[level]
    for count in counts:
        numbers = count * features.shape[1]
        if numbers > MOST_NUMBERS:
            return None
        fits.problem.progress(f"{features.shape[1]} features, {count} squares", None)
        enough = min(len(fits.values), max(LEAST_POINTS, POINTS * numbers))
        found = squares_fit(features[:enough], fits.values[:enough], count, goal, fits.problem.seed, hopeless=HOPELESS)
        search.record(Sizes(1, 1, 2 ** (level + 1)), found.error, "fitted", note=f"{count} squares above")
        if found.error <= goal:
            return found
    return None


def in_range(design: HullDesign, problem: Problem) -> HullDesign:
    """The design with no square that saturates on many points of M."""
    return design.spread(problem.manifold.sample(DENSE, derived_seed(problem.seed, "planning", 2)), RANGE)


def settle_hull(design: HullDesign, search: Search, x: Tensor) -> tuple[HullNetwork, Measurement] | None:
    """The fewest compositions for a design that a measurement confirms; x (P, D) is the first sample of M."""
    problem = search.problem
    design = in_range(design, problem)
    values, allowed = evaluate_target(problem.target, x), problem.wanted

    def enough(m: Compositions) -> bool:
        return float((HullNetwork(design, m)(x) - values).abs().max()) <= allowed

    for _ in range(ROUNDS):
        stages = fewest_compositions(design.stages, enough, lambda m: HullNetwork(design, m).counts.nonzero)
        if stages is None:
            return None
        network = HullNetwork(design, stages)
        found, counts = measure(network, problem.target, problem.manifold, seed=problem.seed), network.counts
        sizes, note = _named(network)
        search.record(
            sizes,
            found.sup,
            "measured",
            parameters=counts.dense,
            cost=counts.nonzero,
            note=note,
            make=partial(_same, network),
        )
        if found.sup <= problem.wanted:
            return network, found
        x = torch.cat([x, found.worst_point[None]])
        values, allowed = evaluate_target(problem.target, x), TIGHTER * allowed
    return None


def _named(network: HullNetwork) -> tuple[Sizes, str]:
    """Its degree as sizes, and the rest in words."""
    squares = f"{len(network.design.weights)} squares above"
    return Sizes(1, 1, 2**network.design.stages), f"{squares}, compositions {' '.join(map(str, network.stages))}"


def _same(network: HullNetwork) -> HullNetwork:
    return network
