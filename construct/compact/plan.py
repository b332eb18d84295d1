"""A plan of the compact construction, and the one of sizes given by hand."""

from __future__ import annotations

import math
from dataclasses import dataclass

from construct.atlas import Atlas, atlas_for
from construct.compact.basis import LARGEST_DEGREE
from construct.compact.counting import COEFFICIENTS_PER_HEAD, DENSE_PER_HEAD, dense_parameters
from construct.history import History
from construct.local import LocalSpace, PiecewiseApproximator, PolynomialSpace, SplineSpace, fit_charts
from construct.planning import over_budget
from construct.problem import Problem, Sizes
from construct.validation import invalid

DEFAULT_DEGREE = 8  # by hand


@dataclass(frozen=True)
class Plan:
    """The blended approximator that was chosen, and how."""

    approximator: PiecewiseApproximator
    history: History


def sizes_of(atlas: Atlas, space: LocalSpace) -> Sizes:
    """Charts, cells and degree of a pair."""
    return Sizes(atlas.count, space.cells, space.degree)


def by_hand(problem: Problem, sizes: Sizes, budget: int) -> Plan:
    """The approximator of sizes given by hand; nothing is searched.

    Raises:
        InputError: a degree other than 1 with cells > 1.
        BudgetExceeded: the network would have more than `budget` dense parameters.
    """
    dim = problem.manifold.dim
    _check_by_hand(sizes, dim, budget)
    space: LocalSpace
    if sizes.cells is not None and sizes.cells > 1:
        if sizes.degree not in (None, 1):
            raise invalid("degree", f"1 in the compact construction with cells = {sizes.cells}", sizes.degree)
        space = SplineSpace(dim, sizes.cells)
    else:
        space = PolynomialSpace(dim, DEFAULT_DEGREE if sizes.degree is None else sizes.degree)
    atlas = atlas_for(problem.manifold, charts=sizes.charts)
    parameters = dense_parameters(atlas, space, budget)
    if parameters > budget:
        raise over_budget(parameters, f"{sizes_of(atlas, space)}", budget)
    return Plan(fit_charts(problem.target, atlas, space), History())


def _check_by_hand(sizes: Sizes, dim: int, budget: int) -> None:
    """Refuse what no network can have, before an atlas is sought or a space is spanned."""
    if sizes.degree is not None and sizes.degree > LARGEST_DEGREE:
        raise invalid("degree", f"at most {LARGEST_DEGREE} for the compact construction", sizes.degree)
    if sizes.cells is not None:
        numbers = (sizes.charts or 1) * (sizes.cells + 1) ** dim
        least = DENSE_PER_HEAD * math.ceil(numbers / COEFFICIENTS_PER_HEAD)
        if least > budget:
            raise over_budget(least, f"{sizes} at least", budget)
