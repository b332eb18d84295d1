"""Planner: from epsilon to a degree, directions and coefficients, for the fewest stored numbers.

Degrees of `maps.DEGREES` are tried in increasing order. For each least squares says what error the first 1, 2, .. of
its directions (`candidates`) reach. Where that is near epsilon, Lawson's reweighting and the search on M decide how
many it takes. Where the principal lattice leads to large coefficients, directions of both signs take its place.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch import Tensor

from construct.history import History
from construct.planning import Search, over_budget
from construct.problem import Problem
from construct.ridge.approximator import RidgeApproximator
from construct.ridge.candidates import GAIN, MOST_COEFFICIENTS, Candidate, Candidates, note_of, sizes_of
from construct.ridge.fit import LEAST_POINTS, Fitting, points_for
from construct.ridge.layouts import dense_parameters, least_numbers, needed_numbers
from construct.ridge.maps import DEGREES, LARGEST_DEGREE
from construct.ridge.sampling import at
from construct.validation import invalid

AIM = 0.95  # of the goal: where reweighting ends for many coefficients
LARGE = 8.0  # coefficients, of the largest value of the target: beyond, directions of both signs are tried
REFITS = 3  # with twice the points each time, for one number of directions
LARGE_SINGLE = 0.5  # the same for float32, which multiplies its rounding by their sum and p^2
SETTLED, MANY = 24, 300  # up to a 24th more directions than needed will do; beyond 300 any that do
ROOM = 4.0  # times larger ones where directions are to be few
UNSEEN, BLIND = 0.5, 700  # of the error of a constant: above, nothing has been seen, and so many coefficients are tried
ENTIRE = 1000  # coefficients that are tried for a target that is not said to be rough: its decay may begin late
TRENDS, CHEAP = 4, 250  # degrees by which the decay of the error is judged; coefficients that are tried without
FURTHER = 2  # larger degrees that may have smaller networks, or one within the budget


@dataclass(frozen=True)
class RidgePlan:
    """The approximator that was chosen, and how."""

    approximator: RidgeApproximator
    history: History


def plan(
    problem: Problem,
    budget: int | None,
    *,
    degree: int | None = None,
    narrow: bool = False,
    sparse: bool = False,
    single: bool = False,
) -> RidgePlan:
    """The fewest stored numbers whose measured error is at most epsilon.

    Args:
        budget: most dense parameters.
        degree: by hand: the smallest degree of a chain of maps that is at least this, with all directions; nothing is
            searched.
        narrow: of width 5, whose directions are waves.
        single: for float32, in which coefficients must not be large.
        sparse: choose the directions for the target, by orthogonal least squares.

    Raises:
        InputError: M spans too many dimensions, or a degree by hand of which no network holds all directions.
        BudgetExceeded: what would reach epsilon has more than `budget` dense parameters.
        EpsilonNotReached: no degree reaches it; both carry the best error found.
    """
    search = Search(problem, "the ridge construction", budget)
    planner = RidgePlanner(problem, search, narrow, sparse, single)
    return planner.plan() if degree is None else planner.by_hand(degree)


@dataclass
class RidgePlanner:
    """The search for one problem."""

    problem: Problem
    search: Search
    narrow: bool = False
    sparse: bool = False
    single: bool = False
    candidates: Candidates = field(init=False)

    def __post_init__(self) -> None:
        self.candidates = Candidates(self.problem, self.search, self.narrow, self.sparse, self.single)
        self._worst = list[Tensor]()  # points (D,) where a fit was off the most

    # -- search -----------------------------------------------------------------------------------

    def plan(self) -> RidgePlan:
        refused = 0
        for place, degree in enumerate(self.candidates.degrees):
            if not self._promising(degree):
                break
            candidates = self.candidates.of_degree(degree)
            if not candidates:
                break
            found = self._best(candidates)
            if found is None:
                refused += self.search.fewest_refused is not None
                if refused > FURTHER:  # larger degrees are not smaller by so much
                    break
                continue
            for others in self._smaller(place, found):
                better = self._best(others, needed_numbers(found))
                found = found if better is None else better
            found = self._polished(found)
            return RidgePlan(found, self.search.chosen(sizes_of(found), note_of(found.basis)))
        raise self.search.failure()

    def by_hand(self, degree: int) -> RidgePlan:
        """See `plan`."""
        if degree > LARGEST_DEGREE:
            raise invalid("degree", f"at most {LARGEST_DEGREE} for the ridge construction", degree)
        candidates = self.candidates.of_degree(next(p for p in DEGREES if p >= degree))
        if not candidates or max(candidate.count for candidate in candidates) >= MOST_COEFFICIENTS:
            why = f"more than {MOST_COEFFICIENTS:,} directions are independent" if candidates else self.search.reason
            expected = f"one of which a ridge network holds all directions on {self.problem.manifold!r}"
            raise invalid("degree", expected, got=f"{degree} ({why})")
        found = min((self._fitted(candidate, candidate.count) for candidate in candidates), key=_largest)
        if self._large(found) and (signed := self.candidates.signed(found.degree)) is not None:
            found = min(found, self._fitted(signed, signed.count), key=_largest)
        if self.search.budget is not None and dense_parameters(found) > self.search.budget:
            raise over_budget(dense_parameters(found), f"{sizes_of(found)}", self.search.budget)
        return RidgePlan(found, History())

    def _promising(self, degree: int) -> bool:
        """Whether the decay so far, by power or by degree, leads to epsilon with coefficients that can be had."""
        degrees, dim = list(self.candidates.tried)[-TRENDS:], self.problem.manifold.dim
        if len(degrees) < TRENDS or self.candidates.tried[degrees[-1]].count * (degree / degrees[-1]) ** dim <= CHEAP:
            return True
        first, last = degrees[0], degrees[-1]
        start, end = (max(float(self.candidates.tried[p].errors[-1]), 1e-300) for p in (first, last))
        size = self.candidates.tried[last].count * (degree / last) ** dim
        unseen = end > UNSEEN * float(self.candidates.tried[last].errors[0])  # of high frequency alone, perhaps
        smooth = self.problem.smoothness is None and size <= ENTIRE
        if end <= GAIN * self.search.goal or smooth or (unseen and size <= BLIND):
            return True
        needed, fallen = math.log(end / (GAIN * self.search.goal)), math.log(start / end)
        if fallen > 0:
            by_degree = last + needed * (last - first) / fallen
            by_power = last * math.exp(min(50.0, needed * math.log(last / first) / fallen))
            beyond = max(min(by_degree, by_power), degree)
            size = self.candidates.tried[last].count * (beyond / last) ** dim
            if beyond <= LARGEST_DEGREE and size <= MOST_COEFFICIENTS:
                return True
        self.search.reason = (
            f"degrees {first} to {last} lowered the error from {start:.2g} to {end:.2g}, too slowly for one polynomial "
            f"of degree at most {LARGEST_DEGREE} with at most {MOST_COEFFICIENTS:,} coefficients"
        )
        return False

    def _smaller(self, place: int, found: RidgeApproximator) -> Iterator[list[Candidate]]:
        """Larger degrees whose networks may be smaller: of fewer maps, or where directions fade, so not all count."""
        if found.basis.count > MANY:
            return
        family, numbers, degree = found.basis.family, needed_numbers(found), self.candidates.degrees[place]
        shifted = found.basis.shifted
        overhead = partial(least_numbers, self.candidates.coordinates, family, shifted=shifted)
        fading = found.basis.count < self.candidates.tried[degree].count
        for larger in self.candidates.degrees[place + 1 : place + 1 + FURTHER]:
            if overhead(larger) < (numbers if fading else overhead(degree)):
                goal = GAIN * self.search.goal
                yield [c for c in self.candidates.of_degree(larger) if c.overhead + c.fewest(goal) < numbers]

    # -- from a candidate to a measured approximator ----------------------------------------------

    def _settled(self, candidate: Candidate, below: int | None = None) -> RidgeApproximator | None:
        """The approximator within epsilon that a candidate leads to, with the fewest of its directions that do it; only
        one whose network has fewer than `below` stored numbers."""
        goal, most = self.search.goal, candidate.count
        if not candidate.errors[-1] <= GAIN * goal:
            return None
        if below is not None:
            most = min(most, below - 1 - candidate.overhead)
        failed, best = candidate.fewest(GAIN * goal) - 1, None
        count = min(candidate.fewest(goal), most)
        while failed < count <= most:
            found = self._measured(candidate, count)
            if found is None:
                if best is None and count == most:
                    return None
                failed, count = count, most if best is None else (best.basis.count + count) // 2
                continue
            best = found
            if count - failed <= max(1, count // SETTLED) or count > MANY:
                break
            count = (count + failed + 1) // 2
        return best

    def _measured(self, candidate: Candidate, count: int) -> RidgeApproximator | None:
        """A minimax fit with the first directions of a candidate, where its measured error is within epsilon."""
        goal, times = self.search.goal, 1.0
        for _ in range(REFITS):
            found = self._fitted(candidate, count, AIM * goal, times)
            assert found.residual is not None
            sizes, note = sizes_of(found), note_of(found.basis)
            numbers, parameters = needed_numbers(found), dense_parameters(found)
            if found.residual > goal:
                self.search.record(sizes, found.residual, "sampled", parameters=parameters, cost=numbers, note=note,
                                   make=partial(_same, found))  # fmt: skip
                return None
            if not self.search.affordable(sizes, parameters, note):
                return None
            measured = self.problem.search(found)
            error = measured.sup
            self._worst.append(measured.worst_point)
            self.search.record(sizes, error, "measured", parameters=parameters, cost=numbers, note=note,
                               make=partial(_same, found))  # fmt: skip
            if error <= goal:
                return found
            times *= 2
        return None

    def _polished(self, found: RidgeApproximator) -> RidgeApproximator:
        """The same numbers with as small an error as reweighting gives, where they are few."""
        count = found.basis.count
        if not 0 < count <= MANY:
            return found
        candidate = Candidate(found.basis, np.arange(count), np.zeros(count + 1), False)
        better = self._fitted(candidate, count, times=2)
        numbers, parameters, note = needed_numbers(better), dense_parameters(better), note_of(better.basis)
        if numbers > needed_numbers(found) or self._large(better):
            return found
        measured = self.problem.search(better).sup
        known = next(t.error for t in reversed(self.search.trials) if t.note == note and t.kind == "measured")
        if known is not None and not measured < known:
            return found
        self.search.record(sizes_of(better), measured, "measured", parameters=parameters, cost=numbers, note=note,
                           make=partial(_same, better))  # fmt: skip
        return better

    def _fitted(self, candidate: Candidate, count: int, goal: float = 0.0, times: float = 1.0) -> RidgeApproximator:
        sample = self.candidates.points(2, points_for(count, times))
        if self._worst:
            sample = sample.joined(at(self.problem, self.candidates.coordinates, torch.stack(self._worst)))
        work = float(len(sample)) * (count + 1) ** 2
        with self.search.timed(f"a fit of {count:,} coefficients", work):
            return Fitting(candidate.basis, candidate.order[:count], sample).fit(count, goal)

    def _best(self, candidates: Sequence[Candidate], below: int | None = None) -> RidgeApproximator | None:
        """The smallest network that candidates of one degree lead to; where it has large coefficients and directions of
        both signs lead to smaller ones, these."""
        found = [a for a in (self._settled(candidate, below) for candidate in candidates) if a is not None]
        if not found:
            return None
        if all(self._large(a) for a in found) and not any(c.basis.family.signed for c in candidates):
            signed = self.candidates.signed(candidates[0].degree)
            variants = [] if signed is None else self.candidates.variants(signed)
            found += [a for a in (self._settled(variant, below) for variant in variants) if a is not None]
        small = [a for a in found if not self._large(a)]
        if small:
            return min(small, key=needed_numbers)
        return min(found, key=_largest) if below is None else None

    def _large(self, found: RidgeApproximator) -> bool:
        """Whether its coefficients are large beside the target."""
        most = LARGE_SINGLE if self.single else LARGE * ROOM if self.candidates.adapts else LARGE
        return _largest(found) > most * float(self.candidates.points(1, LEAST_POINTS).values.abs().max())


def _largest(found: RidgeApproximator) -> float:
    """Absolute value of its largest coefficient."""
    return float(found.coefficients.abs().max()) if found.basis.count else 0.0


def _same(found: RidgeApproximator) -> RidgeApproximator:
    return found
