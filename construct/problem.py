"""The problem: which function, on which manifold, how well. Checked once, frozen, passed on whole."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from construct.errors import EpsilonNotReached
from construct.manifolds import Manifold, Net
from construct.measurement import (
    Measurement,
    Measuring,
    Survey,
    absolute_error,
    cover_for,
    derived_seed,
    search_sup,
    survey,
)
from construct.progress import Progress, silent
from construct.targets import check_target
from construct.validation import integer, invalid, message, positive_real

Target = Callable[..., Any]

SEARCH_SAMPLES = 20_000
MOST_ROWS = 64
MOST_SEED = 2**63 - 1  # what torch's generators take


@dataclass
class Best:
    """The function with the smallest error in a search, and that error; what it is elsewhere is not known yet."""

    error: float = math.inf
    function: Callable[[Tensor], Tensor] | None = None

    def offer(self, error: float, function: Callable[[Tensor], Tensor]) -> None:
        """Keep a function if its error is smaller."""
        if error < self.error:
            self.error, self.function = error, function


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
            self._check_jumps(found)

    def _check_jumps(self, found: Survey) -> None:
        """A network is continuous: on one side of a jump it misses at least half of it."""
        if self.epsilon is None or not found.jumps or found.jumps[0].height / 2 <= self.epsilon:
            return
        jump = found.jumps[0]
        expected = f"a continuous function for epsilon = {self.epsilon:g}"
        got = f"{jump}, of which every network misses {jump.height / 2:.6g} on one side; no network was measured"
        raise EpsilonNotReached(message("target", expected, got=got), math.inf)

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
        """The same problem, with more points (n, D) that every search looks at."""
        assert self.survey is not None
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
