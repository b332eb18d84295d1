"""Search for positive hyper-parameters on a logarithmic scale: a wide grid first, then a pattern search."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

Point = dict[str, float]
Score = Callable[[Point], float]


@dataclass(frozen=True)
class Optimum:
    """The best point of a search and its score; infinite where nothing worked."""

    point: Point
    score: float


def grid_search(score: Score, axes: Mapping[str, Sequence[float]]) -> Optimum:
    """The best of all combinations; a score that is not finite never wins over one that is."""
    best = Optimum({name: values[0] for name, values in axes.items()}, math.inf)
    for values in itertools.product(*axes.values()):
        point = dict(zip(axes, values, strict=True))
        found = score(point)
        if found < best.score:
            best = Optimum(point, found)
    return best


def pattern_search(
    score: Score,
    start: Point,
    steps: Mapping[str, float],
    evaluations: int,
    bounds: Mapping[str, tuple[float, float]] | None = None,
) -> Optimum:
    """Compass search from `start`: a parameter is multiplied or divided by its step while that helps.

    When no step helps, every step becomes its square root. `evaluations` calls of `score` at most, the first at
    `start`; no point is looked at twice.

    Args:
        steps: factor > 1 for each parameter that may change.
        bounds: closed intervals that the parameters stay in.
    """
    bounds = bounds or {}
    best = Optimum(start, score(start))
    seen = {_key(start)}
    left = evaluations - 1
    factors = dict(steps)
    while left > 0 and max(factors.values()) > 1.05:
        improved = False
        for name, direction in itertools.product(factors, (1, -1)):
            low, high = bounds.get(name, (0.0, math.inf))
            while left > 0:  # on and on in a direction that helps
                point = {**best.point, name: best.point[name] * factors[name] ** direction}
                if not low <= point[name] <= high or _key(point) in seen:
                    break
                seen.add(_key(point))
                left -= 1
                found = score(point)
                if not found < best.score:
                    break
                best, improved = Optimum(point, found), True
        if not improved:
            factors = {name: math.sqrt(factor) for name, factor in factors.items()}
    return best


def _key(point: Point) -> tuple[float, ...]:
    return tuple(round(math.log(value), 9) for value in point.values())
