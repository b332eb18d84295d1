"""Planner of the paper construction: the number of cells and the degree for an epsilon.

The error of the glued Taylor polynomials falls like `N^-(s+1)`, so every measured error predicts the N that epsilon
needs; a few steps settle it. For a beta-Hölder target the degree is the paper's `s = ceil(beta) - 1`; for a smooth one
several are tried and the one with the fewest parameters is kept.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from math import comb

import numpy as np
from torch import Tensor

from construct.atlas import Atlas
from construct.history import History
from construct.obstacle import find_obstacle
from construct.paper.grid import MOST_DEGREE, TaylorApproximator
from construct.paper.layout import layout_without_target
from construct.paper.program import program_of, ramp_doublings
from construct.paper.taylor import paper_atlas, taylor_approximator, taylor_degree
from construct.planning import Search, over_budget
from construct.problem import Problem, Sizes
from construct.validation import integer, invalid

SMOOTH_DEGREES = (1, 2, 3, 4)
DEFAULT_CELLS, DEFAULT_DEGREE = 8, 1
FIRST_CELLS = 4
MOST_STEPS = 12
SEARCH_SAMPLES = 8_000
LEAST_PER_TERM = 150  # dense parameters: two heads bring a term to its chart
SMALLER = 0.9  # of the smallest cell that the budget is predicted to allow
AIM = 0.95  # of epsilon: what a step to another N aims at


@dataclass(frozen=True)
class Plan:
    """The glued Taylor polynomials that were chosen, with the ramp of their indicators, and how."""

    approximator: TaylorApproximator
    history: History


def plan(problem: Problem, budget: int) -> Plan:
    """The cheapest approximator within epsilon.

    Raises:
        BudgetExceeded, EpsilonNotReached: with the best error reached.
    """
    search = Search(problem, "the paper construction", budget)
    atlas = paper_atlas(problem.manifold)
    degrees = SMOOTH_DEGREES if problem.smoothness is None else (_degree(problem.smoothness),)
    best: tuple[TaylorApproximator, int] | None = None
    for degree in degrees:
        found = _smallest(search, atlas, degree, best[1] if best else budget + 1)
        if found is not None and (best is None or found[1] < best[1]):
            best = found
    if best is None:
        raise search.failure()
    chosen = Sizes(atlas.count, best[0].cells, best[0].degree)
    return Plan(_with_ramp(best[0], problem.epsilon), search.chosen(chosen))


def by_hand(problem: Problem, sizes: Sizes, budget: int) -> Plan:
    """The approximator of sizes given by hand; what is not given is 8 cells and s = ceil(beta) - 1, or 1.

    Raises:
        BudgetExceeded: the network would have more than `budget` dense parameters.
    """
    degree, cells = sizes.degree, DEFAULT_CELLS if sizes.cells is None else sizes.cells
    if degree is None:
        degree = DEFAULT_DEGREE if problem.smoothness is None else _degree(problem.smoothness)
    integer(degree, "degree", maximum=MOST_DEGREE)
    least = LEAST_PER_TERM * (sizes.charts or 1) * comb(problem.manifold.dim + degree, degree)
    if least > budget:  # before an atlas is sought: one node a chart has as many terms
        raise over_budget(least, f"{Sizes(sizes.charts, cells, degree)} at least", budget)
    atlas = paper_atlas(problem.manifold, charts=sizes.charts)
    needed = paper_parameters(atlas, cells, degree, epsilon=problem.epsilon)
    if needed > budget:
        raise over_budget(needed, f"{Sizes(atlas.count, cells, degree)}", budget)
    approximator = taylor_approximator(problem.target, atlas, cells=cells, degree=degree)
    return Plan(_with_ramp(approximator, problem.epsilon), History())


def paper_parameters(atlas: Atlas, cells: int, degree: int, *, epsilon: float | None = None) -> int:
    """Dense parameters of the network on an atlas, whatever the target; a few less when some nodes are not needed."""
    doublings = ramp_doublings(atlas.radius, atlas.default_inner_radius, cells, degree, epsilon=epsilon)
    layout = layout_without_target(atlas, cells=cells, degree=degree, doublings=doublings)
    return program_of(layout, np.ones((len(layout.nodes), len(layout.exponents)))).parameters


def _degree(smoothness: float) -> int:
    """s = ceil(beta) - 1, as far as derivatives can be taken."""
    if smoothness > MOST_DEGREE + 1:
        raise invalid("smoothness", f"at most {MOST_DEGREE + 1} for the paper construction", smoothness)
    return taylor_degree(smoothness)


def _with_ramp(approximator: TaylorApproximator, epsilon: float | None) -> TaylorApproximator:
    a = approximator
    doublings = ramp_doublings(a.atlas.radius, a.inner_radius, a.cells, a.degree, epsilon=epsilon)
    return replace(a, doublings=doublings)


def _smallest(search: Search, atlas: Atlas, degree: int, cheapest: int) -> tuple[TaylorApproximator, int] | None:
    """The approximator of one degree with (almost) the fewest cells within epsilon, and its parameters."""
    problem = search.problem
    counted: dict[int, int] = {}
    worst: list[Tensor] = []

    def obstacle() -> str:
        """Why no grid within the budget will do, if that is so: a cell is a ball of half its width at least."""
        cells, needed = max(counted.items())
        most = cells * ((search.budget or needed) / needed) ** (1 / problem.manifold.dim)
        found = find_obstacle(problem, worst[0], atlas.radius, SMALLER * atlas.scale / (2 * most), degree)
        return found.text if found is not None and found.rough else ""

    def attempt(cells: int) -> tuple[TaylorApproximator, float] | None:
        sizes = Sizes(atlas.count, cells, degree)
        counted[cells] = paper_parameters(atlas, cells, degree, epsilon=problem.epsilon)
        if not search.affordable(sizes, counted[cells]) or counted[cells] > cheapest:
            return None
        with search.timed(f"{sizes}", float(counted[cells])):
            approximator = taylor_approximator(problem.target, atlas, cells=cells, degree=degree)
        found = problem.search(approximator, samples=SEARCH_SAMPLES)
        error, worst[:] = found.sup, [found.worst_point]
        made = partial(_with_ramp, approximator, problem.epsilon)
        search.record(sizes, error, "measured", parameters=counted[cells], cost=counted[cells], make=made)
        return approximator, error

    aim = AIM * problem.wanted
    found = search.fewest(
        attempt,
        order=degree + 1,
        goal=search.goal,
        aim=aim,
        first=FIRST_CELLS,
        most_steps=MOST_STEPS,
        obstacle=obstacle,
    )
    return None if found is None else (found[0], counted[found[1]])
