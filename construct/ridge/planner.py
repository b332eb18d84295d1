"""Planner: from epsilon to a degree, directions and coefficients, for the fewest stored numbers.

Degrees of `maps.DEGREES` are tried in increasing order. For each the directions of the principal lattice (a random
part of it, where it has many) are ordered by their independence on M; least squares says what error the first 1, 2,
.. of them reach. Where that is near epsilon, Lawson's reweighting and the search on M decide how many it takes. Where
the principal lattice leads to large coefficients, directions of both signs take its place.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from construct.arrays import Float, Int
from construct.errors import InputError
from construct.history import History
from construct.measurement import cover_of
from construct.planning import Search, over_budget
from construct.problem import Problem, Sizes
from construct.ridge.approximator import RidgeApproximator, RidgeBasis
from construct.ridge.coordinates import Coordinates
from construct.ridge.directions import Directions, Lattice, octahedron_size
from construct.ridge.fit import LEAST_POINTS, POINTS, Chosen, Fitting, adapted, choose, eliminated
from construct.ridge.ladder import LARGEST, waves_for
from construct.ridge.layouts import dense_parameters, least_numbers, needed_numbers
from construct.ridge.maps import DEGREES, LARGEST_DEGREE, shift_of
from construct.ridge.projection import coordinates_for
from construct.ridge.sampling import Sample, at, drawn
from construct.ridge.support import support
from construct.validation import invalid

NET = 20_000  # points of the net that bounds linear forms on M
POOL, OVERSAMPLED = 900, 1.4  # members of a family that are looked at, and how many for each that is independent
MOST_COEFFICIENTS, MOST_TOKENS = 6000, 60_000
QUICK = 4  # points a coefficient for a first look
GAIN = 3.0  # by which reweighting is expected to lower the error of least squares, at most
AIM = 0.95  # of the goal: where reweighting ends for many coefficients
FADED = 1e-6  # share of the first pivot
LARGE = 8.0  # coefficients, of the largest value of the target: beyond, directions of both signs are tried
REFITS = 3  # with twice the points each time, for one number of directions
LARGE_SINGLE = 0.5  # the same for float32, which multiplies its rounding by their sum and p^2
LARGEST_SINGLE = 5.0  # coefficients of functions of size 1, as waves are chosen for float32
SETTLED, MANY = 24, 300  # up to a 24th more directions than needed will do; beyond 300 any that do
ROOM = 4.0  # times larger ones where directions are to be few
BELOW = 0.05  # of the goal: a root of the mean square at which no more directions are chosen for a target
SPARE = 1.5  # times the directions that are needed: of so many some are left out again
UNSEEN, BLIND = 0.5, 700  # of the error of a constant: above, nothing has been seen, and so many coefficients are tried
ENTIRE = 1000  # coefficients that are tried for a target that is not said to be rough: its decay may begin late
TRENDS, CHEAP = 4, 250  # degrees by which the decay of the error is judged; coefficients that are tried without
FURTHER = 2  # larger degrees that may have smaller networks, or one within the budget


@dataclass(frozen=True)
class RidgePlan:
    """The approximator that was chosen, and how."""

    approximator: RidgeApproximator
    history: History


@dataclass(frozen=True, eq=False)
class Candidate:
    """A degree, a part of a family of directions in order, and least-squares errors (n + 1,) with the first of them.

    faded: whether the last of the directions is nearly a combination of those before.
    """

    basis: RidgeBasis
    order: Int
    errors: Float
    faded: bool

    @property
    def count(self) -> int:
        """n."""
        return len(self.order)

    @property
    def degree(self) -> int:
        """p."""
        return self.basis.degree

    @property
    def overhead(self) -> int:
        """Stored numbers besides coefficients, at least."""
        return least_numbers(self.basis.coordinates, self.basis.family, self.degree)

    def fewest(self, error: float) -> int:
        """The fewest directions whose least-squares error is at most this, all of them where none is."""
        enough = np.flatnonzero(self.errors <= error)
        return int(enough[0]) if enough.size else self.count


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
    planner = RidgePlanner(problem, Search(problem, "the ridge construction", budget), narrow, sparse, single)
    return planner.plan() if degree is None else planner.by_hand(degree)


@dataclass
class RidgePlanner:
    """The search for one problem."""

    problem: Problem
    search: Search
    narrow: bool = False
    sparse: bool = False
    single: bool = False
    coordinates: Coordinates = field(init=False)
    tried: dict[int, Candidate] = field(default_factory=dict, init=False)  # by degree

    def __post_init__(self) -> None:
        self.problem.progress("ridge: coordinates", None)
        self.coordinates = coordinates_for(self.problem.manifold, self.problem.seed)
        if self.narrow and self.coordinates.projection is not None:
            what = f"a projection of {self.problem.manifold!r} to {self.coordinates.count} coordinates"
            raise invalid("embedding_dim", f"'free' or None for {what}, which width 5 has no place for", 5)
        self._samples = dict[int, Sample]()
        self._worst = list[Tensor]()  # points (D,) where a fit was off the most

    # -- search -----------------------------------------------------------------------------------

    def plan(self) -> RidgePlan:
        refused = 0
        for place, degree in enumerate(DEGREES):
            if not self._promising(degree):
                break
            candidates = self._candidates(degree)
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
        candidates = self._candidates(next(p for p in DEGREES if p >= degree))
        if not candidates or max(candidate.count for candidate in candidates) >= MOST_COEFFICIENTS:
            why = f"more than {MOST_COEFFICIENTS:,} directions are independent" if candidates else self.search.reason
            expected = f"one of which a ridge network holds all directions on {self.problem.manifold!r}"
            raise invalid("degree", expected, got=f"{degree} ({why})")
        found = min((self._fitted(candidate, candidate.count) for candidate in candidates), key=_largest)
        if self._large(found) and (signed := self._signed(found.degree)) is not None:
            found = min(found, self._fitted(signed, signed.count), key=_largest)
        if self.search.budget is not None and dense_parameters(found) > self.search.budget:
            raise over_budget(dense_parameters(found), f"{sizes_of(found)}", self.search.budget)
        return RidgePlan(found, History())

    def _promising(self, degree: int) -> bool:
        """Whether the decay so far, by power or by degree, leads to epsilon with coefficients that can be had."""
        degrees, dim = list(self.tried)[-TRENDS:], self.problem.manifold.dim
        if len(degrees) < TRENDS or self.tried[degrees[-1]].count * (degree / degrees[-1]) ** dim <= CHEAP:
            return True
        first, last = degrees[0], degrees[-1]
        start, end = (max(float(self.tried[p].errors[-1]), 1e-300) for p in (first, last))
        size = self.tried[last].count * (degree / last) ** dim
        unseen = end > UNSEEN * float(self.tried[last].errors[0])  # of high frequency alone, perhaps
        smooth = self.problem.smoothness is None and size <= ENTIRE
        if end <= GAIN * self.search.goal or smooth or (unseen and size <= BLIND):
            return True
        needed, fallen = math.log(end / (GAIN * self.search.goal)), math.log(start / end)
        if fallen > 0:
            by_degree = last + needed * (last - first) / fallen
            by_power = last * math.exp(min(50.0, needed * math.log(last / first) / fallen))
            beyond = max(min(by_degree, by_power), degree)
            size = self.tried[last].count * (beyond / last) ** dim
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
        family, numbers, degree = found.basis.family, needed_numbers(found), DEGREES[place]
        overhead = partial(least_numbers, self.coordinates, family)
        fading = found.basis.count < self.tried[degree].count
        for larger in DEGREES[place + 1 : place + 1 + FURTHER]:
            if overhead(larger) < (numbers if fading else overhead(degree)):
                goal = GAIN * self.search.goal
                yield [c for c in self._candidates(larger) if c.overhead + c.fewest(goal) < numbers]

    # -- candidates -------------------------------------------------------------------------------

    def _candidates(self, degree: int) -> list[Candidate]:
        """Directions of a degree: of one sign, and where these fade (on an algebraic M they do not, some are dependent
        altogether), also of both signs."""
        plain = self._waves(degree) if self.narrow else self._candidate(degree, Lattice(self.coordinates.count, degree))
        found = [] if plain is None else [plain]
        if plain is None or plain.faded:
            signed = self._signed(degree)
            found += [] if signed is None else [signed]
        found = [variant for candidate in found for variant in self._variants(candidate)]
        if found:
            self.tried[degree] = min(found, key=lambda candidate: float(candidate.errors[-1]))
        return found

    @property
    def _adapts(self) -> bool:
        """Whether directions are chosen for the target."""
        return self.sparse and self.problem.epsilon is not None

    def _variants(self, candidate: Candidate) -> list[Candidate]:
        """A candidate; where directions are chosen for the target, and all together are enough, instead of it those
        that are chosen, and somewhat more than are needed of them in the order of elimination."""
        if not self._adapts or candidate.count < 2 or candidate.errors[-1] > GAIN * self.search.goal:
            return [candidate]
        goal, basis = self.search.goal, candidate.basis
        chosen = adapted(basis, self._points(0, 2 * basis.count + 64), candidate.count, BELOW * goal)
        greedy = self._reordered(candidate, chosen.order)
        most = min(greedy.count, math.ceil(SPARE * greedy.fewest(goal)))
        thinned = self._reordered(candidate, eliminated(basis, self._points(0, 4 * most + 64), greedy.order[:most]))
        found = [c for c in (greedy, thinned) if c.fewest(goal) < candidate.fewest(goal)]
        return found or [candidate]

    def _reordered(self, candidate: Candidate, order: Int) -> Candidate:
        errors = Fitting(candidate.basis, order, self._points(1, QUICK * (len(order) + 1))).errors()
        return replace(candidate, order=order, errors=errors, faded=False)

    def _signed(self, degree: int) -> Candidate | None:
        """Directions of both signs; None where the width is 5: `waves_for` has chosen their signs."""
        return None if self.narrow else self._candidate(degree, _octahedron(self.coordinates.count, degree))

    def _waves(self, degree: int) -> Candidate | None:
        """Directions of a network of width 5."""
        try:
            limit = LARGEST_SINGLE if self.single else LARGEST
            family = waves_for(self.problem.manifold, self.coordinates, degree, seed=self.problem.seed, largest=limit)
        except InputError as error:
            self.search.reason = self.search.reason or str(error)
            return None
        return self._candidate(degree, family)

    def _candidate(self, degree: int, family: Directions) -> Candidate | None:
        """Directions of a degree in order, with the errors of least squares; None beyond what a network may hold."""
        if family.count > MOST_TOKENS:
            expected = f"degree {degree} in {self.coordinates.count} coordinates takes {family.count:,} tokens"
            self.search.reason = self.search.reason or f"{expected}, of which there may be {MOST_TOKENS:,}"
            return None
        self.problem.progress(f"ridge, degree {degree}", None)
        basis, chosen = self._chosen(family, degree)
        rank = min(chosen.rank(), MOST_COEFFICIENTS)
        first = chosen.order[:rank]
        fitting = Fitting(basis, first, self._points(1, QUICK * (rank + 1)))
        errors = fitting.errors()
        faded = rank > 0 and bool(chosen.pivots[rank - 1] < FADED)
        found = Candidate(basis, first, errors, faded)
        all_used = RidgeApproximator(basis.subset(first), torch.ones(rank, dtype=torch.float64), 1.0)
        make, parameters = partial(fitting.fit, rank, steps=0), dense_parameters(all_used)
        sizes, error = Sizes(1, 1, degree), float(errors[-1])
        self.search.record(sizes, error, "fitted", parameters=parameters, note=note_of(basis), make=make)
        return found

    def _chosen(self, family: Directions, degree: int) -> tuple[RidgeBasis, Chosen]:
        """A part of a family, so large that it spans what the family does, and the order of its directions."""
        size, mixed = POOL, np.random.default_rng(self.problem.seed).permutation(family.count)
        most = min(family.count, math.ceil(OVERSAMPLED * MOST_COEFFICIENTS))
        while True:
            basis = self._basis(family, degree, np.sort(mixed[:size]))
            sample = self._points(0, 2 * basis.count + 64)
            with self.search.timed(f"the order of {basis.count:,} directions", float(basis.count) ** 3, "directions"):
                chosen = choose(basis, sample)
            if basis.count >= most or OVERSAMPLED * chosen.rank() <= basis.count:
                return basis, chosen
            size = min(2 * size, most)

    def _basis(self, family: Directions, degree: int, numbers: Int) -> RidgeBasis:
        """With the largest scale for which |a| <= 1 is proved on M, for these members of the family."""
        manifold = self.problem.manifold
        net = cover_of(manifold, NET)
        largest = float(support(manifold, self.coordinates, family.vectors[numbers], net).max())
        scale = (1 - shift_of(degree)) / largest if largest > 0 else 1.0
        return RidgeBasis(manifold, self.coordinates, degree, family, numbers, np.full(self.coordinates.count, scale))

    def _points(self, stream: int, count: int) -> Sample:
        """Points of M, the same ones of a stream every time as long as they are enough."""
        kept = self._samples.get(stream)
        if kept is None or len(kept) < count:
            kept = drawn(self.problem, self.coordinates, max(2 * count, LEAST_POINTS), 1 + stream)
            self._samples[stream] = kept
        return kept.first(count)

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
        goal, points = self.search.goal, POINTS
        for _ in range(REFITS):
            found = self._fitted(candidate, count, AIM * goal, points)
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
            points *= 2
        return None

    def _polished(self, found: RidgeApproximator) -> RidgeApproximator:
        """The same numbers with as small an error as reweighting gives, where they are few."""
        count = found.basis.count
        if not 0 < count <= MANY:
            return found
        candidate = Candidate(found.basis, np.arange(count), np.zeros(count + 1), False)
        better = self._fitted(candidate, count, points=2 * POINTS)
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

    def _fitted(self, candidate: Candidate, count: int, goal: float = 0.0, points: int = POINTS) -> RidgeApproximator:
        sample = self._points(2, max(LEAST_POINTS, points * (count + 1)))
        if self._worst:
            sample = sample.joined(at(self.problem, self.coordinates, torch.stack(self._worst)))
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
            signed = self._signed(candidates[0].degree)
            variants = [] if signed is None else self._variants(signed)
            found += [a for a in (self._settled(variant, below) for variant in variants) if a is not None]
        small = [a for a in found if not self._large(a)]
        if small:
            return min(small, key=needed_numbers)
        return min(found, key=_largest) if below is None else None

    def _large(self, found: RidgeApproximator) -> bool:
        """Whether its coefficients are large beside the target."""
        most = LARGE_SINGLE if self.single else LARGE * ROOM if self._adapts else LARGE
        return _largest(found) > most * float(self._points(1, LEAST_POINTS).values.abs().max())


def _octahedron(dim: int, degree: int) -> Lattice:
    """The smallest octahedron that spans the polynomials of a degree in all of R^k: of order `min(p, (p + k) // 2)`.

    Where that has too many members, one that spans what most M leave of them, of order 2p / 3 at least. Proof:
    `ridge.lemma.signed` in `proofs_as_code`.
    """
    order = min(degree, (degree + dim) // 2)
    while octahedron_size(dim, order) > MOST_TOKENS and 3 * order > 2 * degree:
        order -= 1
    return Lattice(dim, max(1, order), "octahedron")


def _largest(found: RidgeApproximator) -> float:
    """Absolute value of its largest coefficient."""
    return float(found.coefficients.abs().max()) if found.basis.count else 0.0


def _same(found: RidgeApproximator) -> RidgeApproximator:
    return found


def sizes_of(approximator: RidgeApproximator) -> Sizes:
    """Charts, cells and degree."""
    return Sizes(1, 1, approximator.degree)


def note_of(basis: RidgeBasis) -> str:
    """What distinguishes candidates of one degree."""
    return f"{basis.count:,} directions" + (" of both signs" if basis.family.signed else "")
