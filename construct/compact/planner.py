"""Planner: from epsilon to charts, cells and degree, for the fewest non-zeros that it can find.

Candidates are pairs of an atlas (few large charts first) and a local space: polynomials of one total degree, or
continuous piecewise-linear splines where the target is rough. A candidate is judged by its fit on the nodes; the
cheapest ones are then blended and their error searched for on the manifold. What a candidate costs is counted from its
program, exactly. Charts of several sizes (`adaptive`) are searched for where those of one size are dear.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import islice

from torch import Tensor

from construct.atlas import Atlas, candidate_atlases, least_charts
from construct.compact.adaptive import AdaptiveSearch, note_of
from construct.compact.counting import (
    DENSE_PER_HEAD,
    NUMBERS_PER_CHART,
    counted_sample,
    least_parameters,
    nonzeros,
)
from construct.compact.outlook import MOST_CELLS, MOST_CHARTS, MOST_COEFFICIENTS, SWEEP_LAWSON, Outlook
from construct.compact.plan import Plan, by_hand, sizes_of
from construct.compact.program import compact_program
from construct.errors import EpsilonNotReached, TimeoutReached
from construct.local import LocalSpace, PiecewiseApproximator, PolynomialSpace, SplineSpace, Sweep, fit_charts, sweep
from construct.obstacle import HOPELESS, predicted
from construct.planning import REFINEMENTS, Search, growth, slow_decay
from construct.problem import Problem, Sizes
from construct.targets import length_scale_of

__all__ = ["TRIM", "Candidate", "CompactPlanner", "Plan", "by_hand", "plan", "sizes_of"]

HIGHEST_DEGREE = {1: 24, 2: 18, 3: 12, 4: 8, 5: 6, 6: 5}
HIGHEST_DEGREE_BEYOND = 4
AIM = 0.95  # of epsilon: what a change of cells aims at
TRIM = 0.01  # of epsilon: what dropping small Chebyshev coefficients may cost
SPLINE_BELOW = 2.0  # a target rougher than this gains nothing from polynomials of higher degree
MOST_REFINEMENTS = 8
SPLINE_ATLASES = 3
GROWTH = 1.5
NO_SETTLING = 3  # rounds in a row in which no candidate was settled
SHARP = 0.05  # of the largest chart: a target with a shorter length scale wants charts of several sizes
UNEVEN = 100.0  # times the median of the errors of the charts: one that is so much larger wants them, too


@dataclass(frozen=True)
class Candidate:
    """An atlas and a local space with what they cost and how well they fit on the nodes.

    parameters: dense count, for the budget. cost: non-zeros, by which candidates are ranked.
    """

    atlas: Atlas
    space: LocalSpace
    parameters: int
    cost: int
    fitted: float

    @property
    def sizes(self) -> Sizes:
        return sizes_of(self.atlas, self.space)


def plan(problem: Problem, budget: int, *, adaptive: bool = True) -> Plan:
    """The cheapest plan whose measured error is at most epsilon; `adaptive`: charts may differ in size.

    Raises:
        BudgetExceeded: what would reach epsilon has more than `budget` dense parameters.
        EpsilonNotReached: no candidate reaches it; both carry the best error found.
    """
    return CompactPlanner(problem, Search(problem, "the compact construction", budget), adaptive).plan()


@dataclass
class CompactPlanner:
    """The search for one problem.

    Charts of several sizes are tried first where the target is rough or has a short length scale, and otherwise after
    those of one size, where the errors of these differed much.
    """

    problem: Problem
    search: Search
    adaptive: bool = True
    outlook: Outlook = field(init=False)
    missed: int = field(default=0, init=False)  # atlases in a row that no degree fitted
    uneven: bool = field(default=False, init=False)  # whether the errors of charts were seen to differ much

    def __post_init__(self) -> None:
        self.outlook = Outlook(self.search, self.highest_degree, self.order)

    @property
    def epsilon(self) -> float:
        return self.problem.wanted

    @property
    def order(self) -> float:
        """Of the errors of splines in the length of a cell."""
        return min(self.problem.smoothness or SPLINE_BELOW, SPLINE_BELOW)

    @property
    def highest_degree(self) -> int:
        return HIGHEST_DEGREE.get(self.problem.manifold.dim, HIGHEST_DEGREE_BEYOND)

    def plan(self) -> Plan:
        if self._dear_already():
            raise self.search.failure()
        found: PiecewiseApproximator | None = None
        if self.adaptive and (self.rough or self._sharp()):
            found = self._adapted()
        try:
            rounds = iter([self.spline_candidates()]) if self.rough else self.polynomial_rounds()
            even = self.search.cheapest(rounds, self.settle)
        except EpsilonNotReached as error:
            if isinstance(error, TimeoutReached):
                raise
            if found is None and self.adaptive and self.uneven:
                found = self._adapted()
            if found is None:
                raise
            return self._plan(found)
        numbers = compact_program(even).counts.stored_numbers
        if found is None and self.adaptive and self.uneven:
            self.search.dearest = numbers
            found = self._adapted()
        better = found is not None and compact_program(found).counts.stored_numbers < numbers
        return self._plan(found if found is not None and better else even)

    def _plan(self, approximator: PiecewiseApproximator) -> Plan:
        note = note_of(approximator) if approximator.base else ""
        return Plan(approximator, self.search.chosen(sizes_of(approximator.atlas, approximator.space), note))

    @property
    def rough(self) -> bool:
        return self.problem.smoothness is not None and self.problem.smoothness < SPLINE_BELOW

    def _sharp(self) -> bool:
        """Whether the target says that it has features much smaller than a chart."""
        manifold, scale = self.problem.manifold, length_scale_of(self.problem.target)
        largest = min(manifold.chart_radius_bound, 2.0 * float(manifold.half_widths.norm()))
        return scale is not None and scale < SHARP * largest

    def _adapted(self) -> PiecewiseApproximator | None:
        """The cheapest approximator on charts of several sizes; dearer ones are of no use from then on."""
        found = AdaptiveSearch(self.search).cheapest()
        if found is None:
            return None
        self.search.dearest = found[1]
        return found[0]

    def _dear_already(self) -> bool:
        """Whether M takes so many charts that a smaller network is known, whatever their degree."""
        dearest = self.search.dearest
        if dearest is None:
            return False
        charts = least_charts(self.problem.manifold, math.ceil(dearest / NUMBERS_PER_CHART))
        return self.search.dear(Sizes(charts, 1, 0), NUMBERS_PER_CHART * charts, "at least")

    # -- candidates -------------------------------------------------------------------------------

    def _candidate(
        self, atlas: Atlas, space: LocalSpace, fitted: float, coefficients: Tensor | None = None
    ) -> Candidate | None:
        """Counted from its program; None over the budget."""
        sizes, least = sizes_of(atlas, space), least_parameters(atlas, space, coefficients)
        if not self.search.affordable(sizes, least, "at least"):
            return None
        program = compact_program(counted_sample(atlas, space, coefficients))
        if not self.search.affordable(sizes, program.parameters):
            return None
        cost = program.counts.stored_numbers
        return None if self.search.dear(sizes, cost) else Candidate(atlas, space, program.parameters, cost, fitted)

    def polynomial_rounds(self) -> Iterator[list[Candidate]]:
        """Candidates from the fewest charts on; when none of a round could be settled, from more charts."""
        atlases = deque[Atlas]()
        later = candidate_atlases(self.problem.manifold, MOST_CHARTS, growth=GROWTH)
        best = list[float]()
        while True:
            candidates = self.polynomial_candidates(atlases, later)
            if not candidates:
                self._explain()
                return
            yield candidates
            # no candidate of this round was settled: what fits on its nodes is above epsilon between them
            best.append(self.search.best_error)
            if len(best) > NO_SETTLING and not best[-1] < best[-1 - NO_SETTLING]:
                last = f"the last {NO_SETTLING} rounds of candidates lowered the measured error nowhere"
                raise self.search.given_up(f"{last}: the target has noise, or features between the nodes of every fit")
            self.outlook.look_closer(candidates[-1].atlas)

    def _explain(self) -> None:
        """Say why there is no candidate, and have a plan to show, where it is not the budget that refused one."""
        if self.search.fewest_refused is None:
            self.outlook.reach()
            self.search.reason = self.outlook.needed()

    def polynomial_candidates(self, waiting: deque[Atlas], later: Iterator[Atlas]) -> list[Candidate]:
        """For growing atlases the smallest degree that fits; stops when more charts only cost more.

        waiting: atlases that an earlier round drew from `later` and did not use.
        """
        found: list[Candidate] = []
        unused: list[Atlas] = []
        dearer = 0
        while dearer < 2:
            atlas = waiting.popleft() if waiting else next(later, None)
            if atlas is None:
                break
            floor = self._candidate(atlas, PolynomialSpace(self.problem.manifold.dim, 0), math.inf)
            cheapest = min((c.cost for c in found), default=self.search.dearest)
            if floor is None:
                break
            if cheapest is not None and floor.cost > cheapest:
                unused.append(atlas)
                break
            self.problem.progress(f"charts {atlas.count}", None)
            if self.outlook.worst is None and self.epsilon <= self.outlook.floor:
                self.outlook.worst = atlas.centres[0]
                self.outlook.look_closer(atlas)
            hopeless = not found and self.outlook.misfits_one_chart(atlas)
            candidate = None if hopeless else self.smallest_degree(atlas, cheapest)
            if candidate is None:
                dearer += bool(found)
                unused.extend([atlas] if found else [])
                if not found:
                    self.missed += 1
                    self.outlook.check_rounding()
                    if self.missed == 1 or self.missed % REFINEMENTS == 0:
                        self.outlook.look_closer(atlas)
            else:
                self.missed = 0
                dearer = 0 if cheapest is None or candidate.cost < cheapest else dearer + 1
                found.append(candidate)
        waiting.extendleft(reversed(unused))
        return found

    def smallest_degree(self, atlas: Atlas, cheapest: int | None) -> Candidate | None:
        """Smallest total degree whose fit is within epsilon on every chart, or None."""
        dim, highest = self.problem.manifold.dim, self.highest_degree
        first = 0  # the worst chart takes at least that degree
        for degrees in self.outlook.degree_groups():
            top = degrees[-1]
            if top < first:
                continue
            if cheapest is not None and nonzeros(atlas, PolynomialSpace(dim, degrees[0])) > cheapest:
                return None
            degrees = range(max(degrees[0], first), top + 1)
            found = self._sweep(atlas, degrees)
            sups = found.sups
            for degree, sup, fitted in zip(degrees, sups, found.fits, strict=True):
                if sup <= self.epsilon:
                    space = PolynomialSpace(dim, degree)
                    kept = space.trimmed(fitted.coefficients, TRIM * self.epsilon)
                    candidate = self._candidate(atlas, space, sup, kept)
                    self._record(atlas, space, sup, candidate, found)
                    return candidate
            best = min(range(len(sups)), key=sups.__getitem__)
            self._record(atlas, PolynomialSpace(dim, degrees[best]), sups[best], None, found)
            if predicted(sups, highest - top) > HOPELESS * self.epsilon:
                return None
            beyond = self.outlook.degree_beyond(atlas, top)
            if beyond is None:
                return None
            first = beyond
        return None

    def _sweep(self, atlas: Atlas, degrees: range) -> Sweep:
        """Fits of these degrees on every chart; leaves the centre of the worst."""
        sizes, count = Sizes(atlas.count, 1, degrees[-1]), PolynomialSpace(self.problem.manifold.dim, degrees[-1]).count
        with self.search.timed(f"{sizes}", atlas.count * float(count) ** 3 * len(degrees)):
            found = sweep(self.problem.target, atlas, degrees, lawson=SWEEP_LAWSON)
        residual = found.fits[-1].residual
        self.outlook.worst = atlas.centres[int(residual.argmax())]
        largest = float(residual.max())
        self.uneven |= largest > self.epsilon and largest > UNEVEN * float(residual.median())
        return found

    def _record(
        self, atlas: Atlas, space: LocalSpace, fitted: float, candidate: Candidate | None, found: Sweep | None = None
    ) -> None:
        parameters, cost = (None, None) if candidate is None else (candidate.parameters, candidate.cost)
        within = fitted <= self.epsilon and candidate is None  # over the budget: nobody can have it
        make = None if found is None or within else partial(found.approximator, space.degree)
        self.search.record(sizes_of(atlas, space), fitted, "fitted", parameters=parameters, cost=cost, make=make)

    def spline_candidates(self) -> list[Candidate]:
        """For a few atlases the fewest cells that fit, by doubling and bisection."""
        atlases = islice(candidate_atlases(self.problem.manifold, MOST_CHARTS, growth=GROWTH), SPLINE_ATLASES)
        found = (self.fewest_cells(atlas) for atlas in atlases)
        return [candidate for candidate in found if candidate is not None]

    def fewest_cells(self, atlas: Atlas) -> Candidate | None:
        dim = self.problem.manifold.dim
        failed, passed = 0, None
        cells = 1
        errors, tried = list[float](), list[float]()
        while passed is None:
            candidate = self._fit_cells(atlas, cells)
            if candidate is None:
                return None
            if candidate.fitted <= self.epsilon:
                passed = candidate
            else:
                errors.append(candidate.fitted)
                tried.append(cells)
                if slow_decay(errors, tried, self.order) is not None:
                    self.outlook.look_into_cells(atlas)
                if self._hopeless(candidate):
                    return None
                failed, cells = cells, 2 * cells
            if cells > MOST_CELLS or dim * math.log(cells + 1) > math.log(MOST_COEFFICIENTS):
                return None
        while passed.space.size - failed > max(1, failed // 16):
            middle = (passed.space.size + failed) // 2
            candidate = self._fit_cells(atlas, middle)
            if candidate is not None and candidate.fitted <= self.epsilon:
                passed = candidate
            else:
                failed = middle
        return passed

    def _hopeless(self, candidate: Candidate) -> bool:
        """Whether the order of the target predicts twice the budget and more, from a fit with 16 cells or more."""
        cells, dim, charts = candidate.space.size, self.problem.manifold.dim, candidate.atlas.count
        if cells < 16 or self.search.budget is None:
            return False
        needed = math.ceil(cells * growth(candidate.fitted / self.epsilon, self.order))
        parameters = DENSE_PER_HEAD * charts * (needed + 1) ** dim
        if parameters <= 2 * self.search.budget:
            return False
        self.search.affordable(Sizes(charts, needed, 1), parameters, f"extrapolated from {cells}")
        return True

    def _fit_cells(self, atlas: Atlas, cells: int) -> Candidate | None:
        space = SplineSpace(self.problem.manifold.dim, cells)
        floor = self._candidate(atlas, space, math.inf)
        if floor is None:
            return None
        with self.search.timed(f"{sizes_of(atlas, space)}", float(atlas.count * space.count)):
            found = fit_charts(self.problem.target, atlas, space)
        assert found.residual is not None
        self.outlook.worst = atlas.centres[int(found.residual.argmax())]
        candidate = Candidate(atlas, space, floor.parameters, floor.cost, float(found.error_bound))
        self.search.record(
            candidate.sizes,
            candidate.fitted,
            "fitted",
            parameters=floor.parameters,
            cost=floor.cost,
            make=lambda: found,
        )
        return candidate

    # -- from a candidate to a measured approximator ---------------------------------------------

    def settle(self, candidate: Candidate) -> tuple[PiecewiseApproximator, int] | None:
        """The approximator within epsilon that a candidate leads to, and what it costs.

        Blend, search for the error, and change the size until it is just within epsilon.

        A fit only sees its nodes: a cusp between them shows in the search alone. While the error is too large the
        degree rises by one, or the cells by what the order of the target asks for; then it is lowered again.
        """
        atlas = candidate.atlas
        found, error, cost = self._measured(atlas, candidate.space)
        failed = -1  # the largest degree or number of cells that is known to miss epsilon; degree 0 is a size, too
        for refined in range(MOST_REFINEMENTS):
            if error <= self.search.goal:
                break
            if refined == REFINEMENTS and isinstance(found.space, PolynomialSpace):
                self.outlook.look_closer(atlas)
            failed = found.space.size
            finer = self._finer(found.space, error)
            if finer is None or self._candidate(atlas, finer, 0.0) is None:
                return None
            found, error, cost = self._measured(atlas, finer)
        if not error <= self.search.goal:
            return None
        while True:
            coarser = _coarser(found.space, failed)
            if coarser is None:
                return found, cost
            trial, error, cheaper = self._measured(atlas, coarser)
            if error <= self.search.goal:
                found, cost = trial, cheaper
            else:
                failed = coarser.size

    def _finer(self, space: LocalSpace, error: float) -> LocalSpace | None:
        """The next size to try after a measured error above epsilon, None beyond the highest."""
        size = space.finer(growth(error / (AIM * self.epsilon), self.order))
        largest = {PolynomialSpace.name: self.highest_degree, SplineSpace.name: MOST_CELLS}[space.name]
        return space.with_size(size) if size <= largest else None

    def _measured(self, atlas: Atlas, space: LocalSpace) -> tuple[PiecewiseApproximator, float, int]:
        """The blended approximator, its measured error, and the non-zeros of its network."""
        self.problem.progress(f"fitting {sizes_of(atlas, space)}", None)
        fitted = fit_charts(self.problem.target, atlas, space)
        kept = space.trimmed(fitted.coefficients, TRIM * self.epsilon)
        approximator = PiecewiseApproximator(atlas, space, kept, fitted.residual)
        measured = self.problem.search(approximator, centres=atlas.centres)
        self.outlook.worst, error = measured.worst_point, measured.sup
        program = compact_program(approximator)
        cost = program.counts.stored_numbers
        sizes, parameters = sizes_of(atlas, space), program.parameters
        self.search.record(sizes, error, "measured", parameters=parameters, cost=cost, make=lambda: approximator)
        return approximator, error, cost


def _coarser(space: LocalSpace, failed: int) -> LocalSpace | None:
    """A coarser space above one that failed, None when there is less than a step between them."""
    size, failed = space.size, max(failed, space.least - 1)
    return space.with_size(max(size - space.step, (size + failed) // 2)) if size - failed > space.step else None
