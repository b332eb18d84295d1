"""What a search may still hope for: cheap looks at one place that spare it whole atlases, or end it.

Everything here is asked when something has failed, and none of it changes what a search that succeeds finds.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial

from torch import Tensor

from construct.atlas import Atlas
from construct.compact.counting import COEFFICIENTS_PER_HEAD, DENSE_PER_HEAD
from construct.errors import DeadlinePassed
from construct.local import PolynomialSpace, sweep
from construct.obstacle import HOPELESS, find_obstacle, log_ratio, predicted
from construct.planning import REFINEMENTS, Search, growth
from construct.problem import Sizes
from construct.rounding import below_rounding, rounding_floor

MOST_CHARTS = 700
MOST_CELLS = 4096
MOST_COEFFICIENTS = 4e6  # of one chart
SWEEP_LAWSON = 3
SMALLER = 0.9  # of the radius that the finest atlas is predicted to have, for the luck of its charts
CLEARLY = 4.0  # times what is hopeless, where one chart speaks for all
FEW_CHARTS = 3  # with no more, looking at one chart first saves nothing
SAME_FIT = 1.001  # what a fit of one chart may differ by from the one among others
REACH_WORK = 6e9  # charts times coefficients cubed: some seconds, for a plan that is worth showing
AT_ROUNDING = 10.0  # times the error that rounding leaves: a fit that is no worse has nothing else left


@dataclass(frozen=True)
class Look:
    """Polynomial fits of one chart of an atlas.

    Attributes:
        fits: the smallest degree that is within epsilon on it; None: none is, or the decay of the error is hopeless.
        degree, error: of the best fit, and on the nodes of the chart.
    """

    atlas: Atlas
    fits: int | None
    degree: int
    error: float

    @property
    def work(self) -> float:
        """Of fitting that degree on every chart."""
        return self.atlas.count * float(PolynomialSpace(self.atlas.manifold.dim, self.degree).count) ** 3


@dataclass
class Outlook:
    """The outlook of one search.

    Attributes:
        highest_degree: of the polynomials that it may use.
        order: of the errors of its splines.
        worst: (D,) where the last thing that was tried was worst, or near it.
        missed: the best fits of one chart of every atlas on which no degree does.
    """

    search: Search
    highest_degree: int
    order: float
    missed: list[Look] = field(default_factory=list, init=False)
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

    def look_at(self, atlas: Atlas, n: int, groups: Iterable[range]) -> Look:
        """Fits of those degrees on chart n alone, up to the first that is within epsilon or to where it is hopeless."""
        wanted, part = self.search.problem.wanted, slice(n, n + 1)
        chart = Atlas.uniform(
            atlas.manifold, atlas.centres[part], atlas.frames[part], atlas.core_radius, atlas.radius, atlas.scale
        )
        best = (math.inf, 0)
        for degrees in groups:
            found = sweep(self.search.problem.target, chart, degrees, lawson=SWEEP_LAWSON)
            for sup, degree in zip(found.sups, degrees, strict=True):
                best = min(best, (sup, degree))
                if sup <= SAME_FIT * wanted:
                    return Look(atlas, degree, degree, sup)
            if predicted(found.sups, self.highest_degree - degrees[-1]) > CLEARLY * HOPELESS * wanted:
                break
        return Look(atlas, None, best[1], best[0])

    def misfits_one_chart(self, atlas: Atlas) -> bool:
        """Whether no degree fits on the one chart of an atlas that is nearest to where an earlier atlas was worst.

        Then no degree fits on all charts, and they need not be tried: what is wrong is found at the price of one chart.
        """
        if self.worst is None or atlas.count <= FEW_CHARTS:
            return False
        n = int((atlas.centres - self.worst).norm(dim=-1).argmin())
        look = self.look_at(atlas, n, self.degree_groups())
        if look.fits is None:
            self._miss(look)
        return look.fits is None

    def degree_beyond(self, atlas: Atlas, tried: int) -> int | None:
        """The smallest degree above one that was tried that may fit on all charts, None: there is none.

        From the fits on the chart that was worst at the degree that was tried, which are a small part of the work of
        fitting all.
        """
        groups = [degrees for degrees in self.degree_groups() if degrees[0] > tried]
        if not groups or self.worst is None or atlas.count <= FEW_CHARTS:
            return tried + 1
        look = self.look_at(atlas, int((atlas.centres - self.worst).norm(dim=-1).argmin()), groups)
        if look.fits is None:
            self._miss(look)
        return look.fits

    def _miss(self, look: Look) -> None:
        self.missed.append(look)
        self.search.record(Sizes(look.atlas.count, 1, look.degree), look.error, "at least", note="one chart")

    def needed(self) -> str:
        """What the decay of the error predicts to be needed, "" where nothing is known of it."""
        return needed_charts(
            [(look.atlas.count, look.error) for look in self.missed if look.degree == self.highest_degree],
            self.highest_degree,
            self.missed[-1].atlas.manifold.dim if self.missed else 1,
            self.search.problem.wanted,
        )

    def reach(self) -> None:
        """Fit, on all charts, the best of what was only looked at and takes some seconds: what an error has to show.

        Where time is up, or nothing was better than what is there, nothing is done.
        """
        plan = self.search.best_plan
        cheap = [look for look in self.missed if look.work <= REACH_WORK]
        best = min(cheap, key=lambda look: look.error, default=None)
        if best is None or (plan is not None and plan.error <= best.error):
            return
        with contextlib.suppress(DeadlinePassed):
            with self.search.timed("a plan to show", best.work):
                found = sweep(self.search.problem.target, best.atlas, [best.degree], lawson=SWEEP_LAWSON)
            sizes = Sizes(best.atlas.count, 1, best.degree)
            self.search.record(sizes, found.sups[0], "fitted", make=partial(found.approximator, best.degree))

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
            self.reach()
            needed = "" if found.rough else self.needed()
            raise self.search.given_up(f"{found.text}{'; ' if needed else ''}{needed}")

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


def needed_charts(misses: Sequence[tuple[int, float]], degree: int, dim: int, wanted: float) -> str:
    """How many charts of a degree an error takes, in words; "" where there were too few to tell, or enough of them.

    misses: (charts, error) of what was tried at that degree, the errors above `wanted`. The error falls like
    `r^(degree + 1)`, or faster where it was seen to, with the radius r of the charts, and r like `charts^(-1 / dim)`.
    """
    if not misses:
        return ""
    charts, error = misses[-1]
    order = degree + 1.0
    if len(misses) > 1 and charts > misses[0][0] and error > 0:
        order = max(order, dim * log_ratio(misses[0][1], error) / math.log(charts / misses[0][0]))
    count = charts * growth(error / wanted, order / dim)
    if not count > MOST_CHARTS:
        return ""
    return (
        f"the decay of the error predicts about {count:.2g} charts of degree {degree}, of at most {MOST_CHARTS} tried"
    )
