"""The problem: which function, on which manifold, how well. Checked once, frozen, passed on whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from construct.manifolds import Manifold
from construct.measurement import Measurement, absolute_error, search_sup
from construct.progress import Progress, silent
from construct.targets import evaluate_target
from construct.validation import integer, invalid, positive_real

Target = Callable[..., Any]

SEARCH_SAMPLES = 20_000
MOST_SEED = 2**63 - 1  # what torch's generators take


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

    Raises:
        InputError: an argument of the wrong kind or range, or a target with a wrong shape, NaN or complex values.
    """

    target: Target
    manifold: Manifold
    epsilon: float | None = None
    smoothness: float | None = None
    seed: int = 0
    progress: Progress = silent

    def __post_init__(self) -> None:
        if not callable(self.target):
            raise invalid("target", "a callable on points (n, D)", self.target)
        if not isinstance(self.manifold, Manifold):
            raise invalid("manifold", "a construct.manifolds.Manifold", self.manifold)
        for name in ("epsilon", "smoothness"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, positive_real(value, name))
        object.__setattr__(self, "seed", integer(self.seed, "seed", maximum=MOST_SEED))
        evaluate_target(self.target, self.manifold.sample(3, self.seed))

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
        """Measured sup error of a function on the manifold; `centres` as in `search_sup`."""
        return search_sup(self.error(function), self.manifold, samples, self.seed, centres=centres, rounds=rounds)


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
