"""The problem: which function, on which manifold, how well. Checked once, frozen, passed on whole."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from torch import Tensor

from construct.errors import EpsilonNotReached
from construct.manifolds import Manifold, Net
from construct.measurement import (
    INEXACT_SHARE,
    Jump,
    Measurement,
    Measuring,
    Survey,
    absolute_error,
    check_exact,
    cover_for,
    derived_seed,
    exactness_points,
    jumps_near,
    search_sup,
    survey,
)
from construct.progress import Progress, silent
from construct.targets import check_target
from construct.validation import integer, invalid, message, positive_real

Target = Callable[..., Any]
Construction = Literal["ridge", "lattice", "compact", "paper"]
CONSTRUCTIONS: tuple[Construction, ...] = get_args(Construction)

SEARCH_SAMPLES = 20_000
MOST_ROWS = 64
INEXACT = 1e-2  # of epsilon: what rounding may change in the values of an expression
KEPT_OFFERS = 8  # of the best plans: those that may take the place of one that is refuted
MOST_SEED = 2**63 - 1  # what torch's generators take


@dataclass
class Best:
    """The functions with the smallest errors in a search, the best first; what these are elsewhere is not known yet.

    More than one, since the best of them may turn out to be worse at a point that is looked at later.
    """

    offers: list[tuple[float, Callable[[Tensor], Tensor]]] = field(default_factory=list)

    @property
    def error(self) -> float:
        return self.offers[0][0] if self.offers else math.inf

    @property
    def function(self) -> Callable[[Tensor], Tensor] | None:
        return self.offers[0][1] if self.offers else None

    def offer(self, error: float, function: Callable[[Tensor], Tensor]) -> None:
        """Keep a function if its error is among the smallest; of one that is there the larger error."""
        known = [max(error, e) for e, other in self.offers if other is function]
        others = [entry for entry in self.offers if entry[1] is not function]
        if math.isfinite(error) or known:
            others.append((max([error, *known]), function))
        self.offers = sorted(others, key=lambda entry: entry[0])[:KEPT_OFFERS]

    def refute(self, error_at: Callable[[Callable[[Tensor], Tensor]], float]) -> None:
        """Raise every error to what it is at points where it was not looked at; `error_at` gives the largest there."""
        raised = [(max(error, error_at(function)), function) for error, function in self.offers]
        self.offers = sorted(raised, key=lambda entry: entry[0])


@dataclass(frozen=True, eq=False)
class Problem:
    """A target on a manifold, and the error that is asked for.

    Attributes:
        target: f, from points (n, D) to values (n,).
        manifold: M.
        epsilon: sup error asked for, or None when the sizes are given by hand.
        smoothness: Hölder exponent beta of a target that is not smooth; None: smooth.
        seed: of every random choice made for it.
        progress: told the stages.
        resolution: covering radius asked for of the points that a claim looks at; None: what is usual.
        survey: what a look at the target shows, and what errors are to be searched at besides; None: found here.
        asked: the epsilon of the user, which texts name; by default epsilon itself.
        best: of all functions that were searched for this problem and those made from it.

    Raises:
        InputError: an argument of the wrong kind or range, or a target with a wrong shape, NaN or complex values, or
            whose value at a point is not always the same.
        EpsilonNotReached: the target jumps by more than twice epsilon.
        PrecisionError: an `Expression` of which float64 makes another function.
    """

    target: Target
    manifold: Manifold
    epsilon: float | None = None
    smoothness: float | None = None
    seed: int = 0
    progress: Progress = silent
    resolution: float | None = None
    survey: Survey | None = None
    asked: float | None = None
    best: Best = field(default_factory=Best, repr=False)

    def __post_init__(self) -> None:
        if not callable(self.target):
            raise invalid("target", "a callable on points (n, D)", self.target)
        if not isinstance(self.manifold, Manifold):
            raise invalid("manifold", "a construct.manifolds.Manifold", self.manifold)
        for name in ("epsilon", "smoothness", "resolution"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, positive_real(value, name))
        object.__setattr__(self, "asked", self.epsilon if self.asked is None else self.asked)
        object.__setattr__(self, "seed", integer(self.seed, "seed", maximum=MOST_SEED))
        if self.survey is None:
            ambient = self.manifold.ambient
            rows = ambient + 4 if ambient < MOST_ROWS else MOST_ROWS // 2  # not D: rows and columns differ in number
            check_target(self.target, self.manifold.sample(rows, derived_seed(self.seed, "survey")))
            cover = self.cover
            found = survey(self.target, self.manifold, None if cover is None else cover.radius)
            object.__setattr__(self, "survey", found)
            self.check_exact(exactness_points(self.manifold, found.watched, self.seed))  # rounding makes jumps, too
            self._check_jumps(found)

    def _check_jumps(self, found: Survey) -> None:
        if (said := self.too_high(found.jumps)) is not None:
            raise EpsilonNotReached(f"{said}; no network was measured", math.inf)

    def too_high(self, jumps: Sequence[Jump]) -> str | None:
        """What is to be said of the highest of these jumps, if it is above twice the epsilon that was asked for: a
        network is continuous, and on one side of it misses at least half."""
        if self.asked is None or not jumps or jumps[0].height / 2 <= self.asked:
            return None
        expected = f"a continuous function for epsilon = {self.asked:g}"
        got = f"{jumps[0]}, of which every network misses {jumps[0].height / 2:.6g} on one side"
        return message("target", expected, got=got)

    def check_exact(self, points: Tensor, measured: float = math.inf) -> None:
        """Refuse a target of which rounding makes another function, at points (n, D); measured: an error that is to be
        told of it.

        Raises:
            PrecisionError: the values of an expression are off by more than a small share of epsilon, or, where no
                epsilon is asked for, of the error.
        """
        if self.asked is not None:
            check_exact(self.target, points, INEXACT * self.asked, f"{INEXACT:g} epsilon")
        elif measured < math.inf:
            check_exact(self.target, points, INEXACT_SHARE * measured, f"{INEXACT_SHARE:g} of the measured error")

    def jumps_near(self, point: Tensor) -> tuple[Jump, ...]:
        """The jumps of the target about a point (D,) of M, the highest first."""
        return jumps_near(self.target, self.manifold, point)

    @property
    def cover(self) -> Net | None:
        """The net that claims look at."""
        return cover_for(self.target, self.manifold, resolution=self.resolution)

    @property
    def watched(self) -> Tensor:
        """Points (m, D) that every search looks at."""
        assert self.survey is not None
        return self.survey.watched

    def watching(self, points: Tensor) -> Problem:
        """The same problem, with more points (n, D) that every search looks at; what was the best before is looked at
        there, too."""
        assert self.survey is not None
        self.best.refute(lambda function: float(self.error(function)(points).nan_to_num(nan=math.inf).max()))
        return replace(self, survey=self.survey.watching(points))

    @property
    def wanted(self) -> float:
        """epsilon, where one has to be there.

        Raises:
            InputError: it is None.
        """
        if self.epsilon is None:
            raise invalid("epsilon", "a finite real number > 0 unless charts, cells or degree is given", None)
        return self.epsilon

    def error(self, function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        """`|function - target|`, points (n, D) to values (n,), float64 on the CPU."""
        return absolute_error(function, self.target)

    def search(
        self,
        function: Callable[[Tensor], Tensor],
        *,
        samples: int = SEARCH_SAMPLES,
        centres: Tensor | None = None,
        rounds: int = 12,
    ) -> Measurement:
        """Measured sup error of a function on the manifold; `centres` as in `search_sup`.

        On the points of planning, which no claim is measured on, and those that are watched.
        """
        seed, watched = derived_seed(self.seed, "planning"), self.manifold.restrict(self.watched)
        found = search_sup(
            self.error(function), self.manifold, samples, seed, centres=centres, rounds=rounds, watched=watched
        )
        self.best.offer(found.sup, function)
        return found

    def claim_seeds(self, count: int) -> list[int]:
        """Those of the measurements of a claim."""
        return [derived_seed(self.seed, "claim", number) for number in range(count)]

    def best_measured(self) -> float:
        """The error of the best function that was searched, measured like a claim; inf if there is none."""
        if self.best.function is None:
            return math.inf
        one = Measuring(self.best.function, self.target, self.manifold, self.cover, self.watched)
        return max(self.best.error, one.results(self.claim_seeds(1))[0].sup)


@dataclass(frozen=True)
class Sizes:
    """How fine an approximator is; what is None has not been chosen."""

    charts: int | None = None
    cells: int | None = None
    degree: int | None = None

    def __post_init__(self) -> None:
        for name, least in (("charts", 1), ("cells", 1), ("degree", 0)):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, integer(value, name, minimum=least))

    def __bool__(self) -> bool:
        return any(size is not None for size in (self.charts, self.cells, self.degree))

    def __str__(self) -> str:
        words = [f"{self.charts} charts"] if self.charts is not None else []
        words += [f"{self.cells:,} cells"] if self.cells is not None else []
        return ", ".join([*words, f"degree {self.degree}"] if self.degree is not None else words)
