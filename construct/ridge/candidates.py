"""Candidates of the ridge planner: directions of a degree in order, and what error the first of them reach.

The directions of the principal lattice (a random part of it, where it has many), or for width 5 those of waves, are
ordered by their independence on M. Where they fade, directions of both signs are tried as well; where directions are
chosen for the target, orthogonal least squares orders them anew.

For an even or odd target atoms of its parity are not shifted: half as many span what it takes. These cannot tell alpha
from -alpha, so that their directions of both signs, where M lies on a sphere, are those of half a shell.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

import numpy as np
import torch

from construct.arrays import Float, Int
from construct.errors import InputError
from construct.measurement import cover_of
from construct.measurement.seeds import derived_seed
from construct.planning import Search
from construct.problem import Problem, Sizes
from construct.ridge.approximator import RidgeApproximator, RidgeBasis
from construct.ridge.coordinates import Coordinates
from construct.ridge.directions import Directions, Lattice, octahedron_size, shell_size
from construct.ridge.fit import LEAST_POINTS, Chosen, Fitting, adapted, choose, eliminated
from construct.ridge.ladder import LARGEST, waves_for
from construct.ridge.layouts import dense_parameters, least_numbers
from construct.ridge.maps import DEGREES, shift_of
from construct.ridge.projection import coordinates_for
from construct.ridge.sampling import Sample, drawn
from construct.ridge.support import support
from construct.symmetry import parity_of
from construct.validation import invalid

NET = 20_000  # points of the net that bounds linear forms on M
POOL, OVERSAMPLED = 900, 1.4  # members of a family that are looked at, and how many for each that is independent
MOST_COEFFICIENTS, MOST_TOKENS = 6000, 60_000
QUICK = 4  # points a coefficient for a first look
GAIN = 3.0  # by which reweighting is expected to lower the error of least squares, at most
FADED = 1e-6  # share of the first pivot
LARGEST_SINGLE = 5.0  # coefficients of functions of size 1, as waves are chosen for float32
BELOW = 0.05  # of the goal: a root of the mean square at which no more directions are chosen for a target
CENTRED, EVEN = 1e-9, 1e-3  # distance of the centre of M from that of y; share of epsilon that parity is known to
ROUND = 1e-9  # difference of the norms of points of M that lies on a sphere
SPREAD, FINE = 2.5, 6.0  # members of a shell for each dimension of what they span; to choose from for a target
LIKELY = 1.2  # how many more directions are independent than the growth from the last degree says
LOW = 8  # the largest degree whose principal lattice is tried for atoms spread over a sphere of k > 2
SPARE = 1.5  # times the directions that are needed: of so many some are left out again


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
        basis = self.basis
        return least_numbers(basis.coordinates, basis.family, basis.degree, shifted=basis.shifted)

    def fewest(self, error: float) -> int:
        """The fewest directions whose least-squares error is at most this, all of them where none is."""
        enough = np.flatnonzero(self.errors <= error)
        return int(enough[0]) if enough.size else self.count


@dataclass
class Candidates:
    """Where the candidates for one problem come from.

    Args:
        narrow, sparse, single: as of `planner.plan`.

    Raises:
        InputError: M spans too many dimensions, or more than width 5 has a place for.
    """

    problem: Problem
    search: Search
    narrow: bool = False
    sparse: bool = False
    single: bool = False
    coordinates: Coordinates = field(init=False)
    tried: dict[int, Candidate] = field(default_factory=dict, init=False)  # the best of each degree

    def __post_init__(self) -> None:
        self.problem.progress("ridge: coordinates", None)
        self.coordinates = coordinates_for(self.problem.manifold, self.problem.seed)
        if self.narrow and self.coordinates.projection is not None:
            what = f"a projection of {self.problem.manifold!r} to {self.coordinates.count} coordinates"
            raise invalid("embedding_dim", f"'free' or None for {what}, which width 5 has no place for", 5)
        self._samples = dict[int, Sample]()
        self._ranks = dict[int, int]()  # of the degrees in `tried`

    @cached_property
    def degrees(self) -> tuple[int, ...]:
        """Those that are tried: for an even target 1, which is enough for a constant, and even ones, since the next one
        without a shift has fewer atoms than an odd one with a shift."""
        return tuple(p for p in DEGREES if p == 1 or p % 2 == 0) if self.parity == 0 else DEGREES

    def of_degree(self, degree: int) -> list[Candidate]:
        """Directions of a degree: of one sign, and where these fade (on an algebraic M they do not, some are dependent
        altogether), also of both signs."""
        plain, dim = None, self.coordinates.count
        if self.narrow:
            plain = self._waves(degree)
        elif dim == 2 or degree <= LOW or not self._spread(degree):
            plain = self._candidate(degree, Lattice(dim, degree))
        found = [] if plain is None else [plain]
        if plain is None or plain.faded:
            signed = self.signed(degree)
            found += [] if signed is None else [signed]
        self._ranks[degree] = max((candidate.count for candidate in found), default=0)
        found = [variant for candidate in found for variant in self.variants(candidate)]
        if found:
            self.tried[degree] = min(found, key=lambda candidate: float(candidate.errors[-1]))
        return found

    @property
    def adapts(self) -> bool:
        """Whether directions are chosen for the target."""
        return self.sparse and self.problem.epsilon is not None

    def variants(self, candidate: Candidate) -> list[Candidate]:
        """A candidate; where directions are chosen for the target, and all together are enough, also those that are
        chosen where they seem to cost less."""
        if not self.adapts or candidate.count < 2 or candidate.errors[-1] > GAIN * self.search.goal:
            return [candidate]
        goal = self.search.goal
        found = self._chosen_for_target(candidate, candidate.count)
        if self._spread(candidate.degree) and not self.narrow:  # many more to choose from
            family = _shell(self.coordinates.count, FINE * candidate.count)
            basis = self._basis(family, candidate.degree, np.arange(family.count))
            found += self._chosen_for_target(replace(candidate, basis=basis), candidate.count)
        cost = candidate.overhead + candidate.fewest(goal)
        return [candidate, *(c for c in found if c.overhead + c.fewest(goal) < cost)]

    def _chosen_for_target(self, pool: Candidate, rank: int) -> list[Candidate]:
        """Of a basis, whose directions span so many dimensions, those that orthogonal least squares chooses, and
        somewhat more than are needed of them in the order of elimination."""
        goal, basis = self.search.goal, pool.basis
        mixed = np.random.default_rng(self.problem.seed).permutation(basis.count)
        spanning = mixed[: math.ceil(OVERSAMPLED * rank)] if basis.count > POOL else None
        points = 4 * rank if basis.count > POOL else 2 * basis.count
        chosen = adapted(basis, self.points(0, points + 64), rank, BELOW * goal, spanning)
        greedy = self._reordered(pool, chosen.order)
        most = min(greedy.count, math.ceil(SPARE * greedy.fewest(goal)))
        thinned = self._reordered(pool, eliminated(basis, self.points(0, 4 * most + 64), greedy.order[:most]))
        return [greedy, thinned]

    def _reordered(self, candidate: Candidate, order: Int) -> Candidate:
        errors = Fitting(candidate.basis, order, self.points(1, QUICK * (len(order) + 1))).errors()
        return replace(candidate, order=order, errors=errors, faded=False)

    def signed(self, degree: int) -> Candidate | None:
        """Directions of both signs; None where the width is 5: `waves_for` has chosen their signs."""
        if self.narrow:
            return None
        dim = self.coordinates.count
        if not self._spread(degree):
            return self._candidate(degree, _octahedron(dim, degree))
        most = math.comb(degree + dim - 1, dim - 1)  # homogeneous polynomials: all of p's parity on a sphere
        likely = min(most, self._likely(degree))
        found = self._candidate(degree, _shell(dim, SPREAD * likely))
        if found is not None and likely < most and OVERSAMPLED * found.count > found.basis.family.count:
            found = self._candidate(degree, _shell(dim, SPREAD * most))
        return found

    def _likely(self, degree: int) -> int:
        """How many directions of a degree are independent, somewhat above what the last degree of its shift had."""
        known = [p for p, candidate in self.tried.items() if candidate.basis.shifted == self._shifted(degree)]
        if not known:
            return MOST_COEFFICIENTS
        growth = (degree / known[-1]) ** self.problem.manifold.dim
        return math.ceil(LIKELY * growth * self._ranks[known[-1]])

    def _spread(self, degree: int) -> bool:
        """Whether directions of a degree are best spread over a sphere: of atoms without a shift on one."""
        return self._round and not self._shifted(degree)

    @cached_property
    def _round(self) -> bool:
        """Whether M lies on a sphere about the centre of its coordinates, of dimension 1 or more."""
        sizes = torch.linalg.vector_norm(self.points(1, LEAST_POINTS).y, dim=1)
        return self.coordinates.count > 1 and float(sizes.max() - sizes.min()) <= ROUND * float(sizes.max())

    def _waves(self, degree: int) -> Candidate | None:
        """Directions of a network of width 5."""
        try:
            limit = LARGEST_SINGLE if self.single else LARGEST
            family = waves_for(self.problem.manifold, self.coordinates, degree, seed=self.problem.seed,
                                largest=limit, shifted=self._shifted(degree))  # fmt: skip
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
        fitting = Fitting(basis, first, self.points(1, QUICK * (rank + 1)))
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
            sample = self.points(0, 2 * basis.count + 64)
            with self.search.timed(f"the order of {basis.count:,} directions", float(basis.count) ** 3, "directions"):
                chosen = choose(basis, sample)
            if basis.count >= most or OVERSAMPLED * chosen.rank() <= basis.count:
                return basis, chosen
            size = min(2 * size, most)

    @cached_property
    def parity(self) -> int | None:
        """Of the target about the centre of the coordinates, see `parity_of`; None where M has another centre."""
        problem, manifold = self.problem, self.problem.manifold
        middle = manifold.restrict(manifold.box.mean(dim=0, keepdim=True))
        if float(self.coordinates.within(manifold, middle).abs().max()) > CENTRED:
            return None
        tolerance = 0.0 if problem.epsilon is None else EVEN * problem.epsilon
        return parity_of(problem.target, manifold, derived_seed(problem.seed, "planning"), tolerance, problem.watched)

    def _shifted(self, degree: int) -> bool:
        """Whether atoms of a degree have to be shifted: not where they have the parity of the target."""
        return self.parity is None or self.parity != degree % 2

    def _basis(self, family: Directions, degree: int, numbers: Int) -> RidgeBasis:
        """With the largest scale for which |a| <= 1 is proved on M, for these members of the family."""
        manifold = self.problem.manifold
        net = cover_of(manifold, NET)
        largest = float(support(manifold, self.coordinates, family.vectors[numbers], net).max())
        shifted = self._shifted(degree)
        scale = (1 - shift_of(degree) * shifted) / largest if largest > 0 else 1.0
        return RidgeBasis(manifold, self.coordinates, degree, family, numbers, np.full(self.coordinates.count, scale),
                          shifted)  # fmt: skip

    def points(self, stream: int, count: int) -> Sample:
        """Points of M, the same ones of a stream every time as long as they are enough."""
        kept = self._samples.get(stream)
        if kept is None or len(kept) < count:
            kept = drawn(self.problem, self.coordinates, max(2 * count, LEAST_POINTS), 1 + stream)
            self._samples[stream] = kept
        return kept.first(count)


def _shell(dim: int, wanted: float) -> Lattice:
    """The smallest shell with so many members, or the largest that a network may hold."""
    order = 1
    while shell_size(dim, order) < wanted and shell_size(dim, order + 1) <= MOST_TOKENS:
        order += 1
    return Lattice(dim, order, "shell")


def _octahedron(dim: int, degree: int) -> Lattice:
    """The smallest octahedron that spans the polynomials of a degree in all of R^k: of order `min(p, (p + k) // 2)`.

    Where that has too many members, one that spans what most M leave of them, of order 2p / 3 at least. Proof:
    `ridge.lemma.signed` in `proofs_as_code`.
    """
    order = min(degree, (degree + dim) // 2)
    while octahedron_size(dim, order) > MOST_TOKENS and 3 * order > 2 * degree:
        order -= 1
    return Lattice(dim, max(1, order), "octahedron")


def sizes_of(approximator: RidgeApproximator) -> Sizes:
    """Charts, cells and degree."""
    return Sizes(1, 1, approximator.degree)


def note_of(basis: RidgeBasis) -> str:
    """What distinguishes candidates of one degree."""
    signs = " of both signs" if basis.family.signed else ""
    return f"{basis.count:,} directions{signs}" + ("" if basis.shifted else ", no shift")
