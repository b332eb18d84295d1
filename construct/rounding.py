"""What rounding in float64 leaves of an error, whatever is planned."""

from __future__ import annotations

import math

from construct.planning import not_reached
from construct.problem import Problem
from construct.targets import evaluate_target

UNIT = 2.0**-52  # of float64, in the last place of numbers from 1 to 2
UNITS_LOST = 16  # units in the last place that a network loses at least, but for luck
ROUNDING_SAMPLES = 1000


def rounding_floor(problem: Problem) -> float:
    """The error that rounding in float64 leaves of a network, roughly: some units in the last place of max |f|; 0 for
    a target that is constant, which may be met exactly."""
    values = evaluate_target(problem.target, problem.manifold.sample(ROUNDING_SAMPLES, problem.seed))
    return 0.0 if bool((values == values[0]).all()) else UNITS_LOST * UNIT * float(values.abs().max())


def refuse_rounding(problem: Problem) -> None:
    """Refuse, before anything is tried, an epsilon below one unit in the last place of max |f|.

    Raises:
        EpsilonNotReached: naming what rounding allows.
    """
    floor = rounding_floor(problem)
    if problem.wanted * UNITS_LOST < floor:
        raise not_reached(problem, math.inf, "rounding allows", reason=below_rounding(floor))


def below_rounding(floor: float) -> str:
    """Why an epsilon below that floor is refused."""
    largest = floor / UNITS_LOST / UNIT
    return f"float64 keeps about {floor:.1g} for values up to {largest:.2g}"
