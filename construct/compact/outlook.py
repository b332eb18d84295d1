"""What a search may still hope for: cheap looks at one place that spare it whole atlases, or end it.

Everything here is asked when something has failed, and none of it changes what a search that succeeds finds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from torch import Tensor

from construct.atlas import Atlas
from construct.compact.counting import COEFFICIENTS_PER_HEAD, DENSE_PER_HEAD
from construct.local import sweep
from construct.obstacle import HOPELESS, find_obstacle, predicted
from construct.planning import REFINEMENTS, Search
from construct.problem import Sizes
from construct.rounding import below_rounding, rounding_floor

MOST_CHARTS = 700
MOST_CELLS = 4096
MOST_COEFFICIENTS = 4e6  # of one chart
SWEEP_LAWSON = 3
SMALLER = 0.9  # of the radius that the finest atlas is predicted to have, for the luck of its charts
CLEARLY = 4.0  # times what is hopeless, where one chart speaks for all
FEW_CHARTS = 3  # with no more, looking at one chart first saves nothing
AT_ROUNDING = 10.0  # times the error that rounding leaves: a fit that is no worse has nothing else left


@dataclass
class Outlook:
    """The outlook of one search.

    Attributes:
        highest_degree: of the polynomials that it may use.
        order: of the errors of its splines.
        worst: (D,) where the last thing that was tried was worst, or near it.
    """

    search: Search
    highest_degree: int
    order: float
    worst: Tensor | None = field(default=None, init=False)

    @cached_property
    def floor(self) -> float:
        """The error that rounding leaves, roughly."""
        return rounding_floor(self.search.problem)

    def degree_groups(self) -> Iterator[range]:
        """Degrees that are fitted together, from one evaluation of the target."""
        tried, highest = -1, self.highest_degree
        for top in sorted({min(top, highest) for top in (6, 10, 14, 18, 24)}):
            yield range(tried + 1, top + 1)
            tried = top

    def misfits_one_chart(self, atlas: Atlas) -> bool:
        """Whether no degree fits on the one chart of an atlas that is nearest to where an earlier atlas was worst.

        Then no degree fits on all charts, and they need not be tried: what is wrong is found at the price of one chart.
        It is given up as all of them are, where the decay of its error is hopeless; where that is not clear, all are
        tried.
        """
        wanted, highest = self.search.problem.wanted, self.highest_degree
        if self.worst is None or atlas.count <= FEW_CHARTS:
            return False
        n = int((atlas.centres - self.worst).norm(dim=-1).argmin())
        part = slice(n, n + 1)
        chart = Atlas.uniform(
            atlas.manifold, atlas.centres[part], atlas.frames[part], atlas.core_radius, atlas.radius, atlas.scale
        )
        best = (math.inf, 0)
        for degrees in self.degree_groups():
            found = sweep(self.search.problem.target, chart, degrees, lawson=SWEEP_LAWSON)
            best = min(best, *zip(found.sups, degrees, strict=True))
            later = predicted(found.sups, highest - degrees[-1])
            if best[0] <= wanted or HOPELESS < later / wanted <= CLEARLY * HOPELESS:
                return False
            if later > CLEARLY * HOPELESS * wanted:
                break
        self.search.record(Sizes(atlas.count, 1, best[1]), best[0], "at least", note="one chart")
        return True

    def check_rounding(self) -> None:
        """Give the search up where the fits of the last atlases are as good as rounding lets them be, and do not do.

        Raises:
            EpsilonNotReached: naming what rounding allows.
        """
        if self.search.problem.wanted > self.floor:
            return
        best: dict[int | None, float] = {}
        for trial in self.search.trials:
            if trial.error is not None:
                best[trial.charts] = min(trial.error, best.get(trial.charts, math.inf))
        errors = list(best.values())
        last, before = errors[-REFINEMENTS:], errors[:-REFINEMENTS]
        if before and max(last) <= AT_ROUNDING * self.floor and min(last) >= min(before):
            raise self.search.given_up(below_rounding(self.floor))

    def look_closer(self, atlas: Atlas) -> None:
        """Give the search up where no atlas that is left can fit the target near the worst place.

        Raises:
            EpsilonNotReached: naming the place and what is wrong there.
        """
        if self.worst is None:
            return
        finer = min(1.0, (atlas.count / MOST_CHARTS) ** (1 / atlas.manifold.dim) * SMALLER)
        found = find_obstacle(self.search.problem, self.worst, atlas.radius, atlas.radius * finer, self.highest_degree)
        if found is not None:
            raise self.search.given_up(found.text)

    def look_into_cells(self, atlas: Atlas) -> None:
        """Give the search up where the target is rougher than was said, and out of reach for the smallest cell.

        On a cell a spline is a polynomial of total degree d.

        Raises:
            EpsilonNotReached: naming the place and what is wrong there.
        """
        if self.worst is None:
            return
        dim, numbers = atlas.manifold.dim, MOST_COEFFICIENTS
        if self.search.budget is not None:
            numbers = min(numbers, COEFFICIENTS_PER_HEAD * self.search.budget / DENSE_PER_HEAD / atlas.count)
        most = min(MOST_CELLS, max(1.0, numbers ** (1 / dim)))
        found = find_obstacle(
            self.search.problem, self.worst, atlas.radius, SMALLER * atlas.scale / most, dim, self.order
        )
        if found is not None and found.rough:  # otherwise the cells that it takes are extrapolated
            raise self.search.given_up(found.text)
