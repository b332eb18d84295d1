"""The interface of every rival: a `Method` builds or fits a `Baseline`, which is called on points and counted."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from construct.errors import BudgetExceeded, EpsilonNotReached
from construct.manifolds import Manifold
from construct.measurement import Measurement, measure
from construct.progress import Progress, silent
from construct.targets import evaluate_target
from construct.validation import finite_points, integer, invalid, positive_integer, positive_real

FAMILIES = ("constructive", "trained", "classical")
DTYPES = (torch.float64, torch.float32)

Settings = dict[str, Any]
"""What distinguishes one size of a method from the next, JSON-able: `{"cells": 8, "degree": 3}`."""

Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Counts:
    """Sizes of one approximator, each >= 0.

    Attributes:
        nonzero: weights and biases that are not zero; for a classical method the numbers it stores.
        dense: weights and biases of the layers as fully connected ones; for a classical method the same as nonzero.
        depth: affine layers of a feed-forward network, blocks of a transformer, 1 for everything else.
        multiply_adds: multiplications with an addition that one evaluation takes, zeros skipped.
    """

    nonzero: int
    dense: int
    depth: int
    multiply_adds: int

    def __post_init__(self) -> None:
        for name in ("nonzero", "dense", "depth", "multiply_adds"):
            integer(getattr(self, name), name)


@dataclass(frozen=True, eq=False, repr=False)
class Baseline:
    """An approximator that was built or fitted: call it on points (P, D), get values (P,).

    Attributes:
        method, family: what built it.
        settings: its size, and what a search over hyper-parameters chose.
        counts: its sizes.
        seconds: wall-clock that building it took, hyper-parameter searches included.
        function: x (P, D) of `dtype` on `device` -> (P,).
        manifold: where it was built.
        measured: the error, where `Method.build` has measured it.
        model: the module or estimator behind `function`, for those who want to look.
    """

    method: str
    family: str
    settings: Settings
    counts: Counts
    seconds: float
    function: Function
    manifold: Manifold
    dtype: torch.dtype = torch.float64
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    measured: Measurement | None = None
    model: Any = None

    def __call__(self, x: Tensor) -> Tensor:
        """Values at x (..., D), of the dtype and on the device of x; computed in those of the approximator.

        Raises:
            InputError: x has another last dimension, or an entry that is not finite.
        """
        x = finite_points(x, "x", self.manifold.ambient)
        flat = x.reshape(-1, self.manifold.ambient).to(dtype=self.dtype, device=self.device)
        values = self.function(flat) if len(flat) else flat.new_zeros(0)
        return values.to(x).reshape(x.shape[:-1])

    def __repr__(self) -> str:
        size = ", ".join(f"{name}={value}" for name, value in self.settings.items())
        text = (
            f"Baseline: {self.method} ({self.family}) on {self.manifold!r}\n"
            f"  settings  {size}\n"
            f"  counts    {self.counts.nonzero:,} non-zero, {self.counts.dense:,} dense, depth {self.counts.depth}, "
            f"{self.counts.multiply_adds:,} multiply-adds a point\n"
            f"  built in  {self.seconds:.2f} s, {self.dtype}"
        )
        return text if self.measured is None else f"{text}\n  error     {self.measured}"


@dataclass(frozen=True)
class Options:
    """How to build: seed, dtype and device of the approximator, and who is told of the progress."""

    seed: int = 0
    dtype: torch.dtype = torch.float64
    device: torch.device | str = "cpu"
    progress: Progress = silent

    @property
    def of_fit(self) -> dict[str, Any]:
        """As keyword arguments of `Method.fit`."""
        return {"seed": self.seed, "dtype": self.dtype, "device": self.device, "progress": self.progress}


class Method(ABC):
    """A way to build approximators of growing size.

    name: for `construct.baselines.method`;  family: one of `FAMILIES`;  description: one line, with source.
    """

    name: ClassVar[str]
    family: ClassVar[str]
    description: ClassVar[str]

    def check(self, manifold: Manifold) -> None:  # noqa: B027
        """Raise `InputError` (naming `manifold`) where the method does not apply; by default it applies to all."""

    @abstractmethod
    def ladder(self, manifold: Manifold) -> Sequence[Settings]:
        """Settings of growing size, the smallest first."""

    @abstractmethod
    def fit(
        self,
        target: Callable[..., Any],
        manifold: Manifold,
        settings: Settings,
        *,
        seed: int = 0,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
        progress: Progress = silent,
    ) -> Baseline:
        """The approximator of one size. Raises `InputError` for unknown or bad settings."""

    def build(
        self,
        target: Callable[..., Any],
        manifold: Manifold,
        epsilon: float | None = None,
        *,
        budget: int | None = None,
        seed: int = 0,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
        progress: Progress = silent,
    ) -> Baseline:
        """The smallest size on the ladder whose measured sup error is at most `epsilon`, or the best within `budget`.

        Args:
            target: f, x (n, D) -> (n,).
            manifold: M.
            epsilon: > 0. Exactly one of epsilon and budget is given.
            budget: most numbers (`counts.nonzero`); of the sizes within it the one with the smallest error.
            seed: of samples, initial weights and the error search.

        Raises:
            InputError: an argument of the wrong kind or range.
            EpsilonNotReached: no size reaches epsilon; `.best` is the smallest error found.
            BudgetExceeded: not even the smallest size is within the budget.
        """
        self.check_arguments(target, manifold, epsilon, budget, seed, dtype)
        options = Options(int(seed), dtype, device, progress)
        if epsilon is not None:
            return self.to_epsilon(target, manifold, float(epsilon), options)
        assert budget is not None
        return self.within(target, manifold, int(budget), options)

    def to_epsilon(self, target: Callable[..., Any], manifold: Manifold, epsilon: float, options: Options) -> Baseline:
        """The first size on the ladder that reaches epsilon; methods with a planner of their own override this."""
        start, best = time.perf_counter(), math.inf
        for found in self._rungs(target, manifold, options):
            assert found.measured is not None
            best = min(best, found.measured.sup)
            if found.measured.sup <= epsilon:
                return replace(found, seconds=time.perf_counter() - start)
        raise EpsilonNotReached(
            f"epsilon: {epsilon:g} was asked for, the best of {self.name} on {manifold!r} is off by {best:.3g}", best
        )

    def within(self, target: Callable[..., Any], manifold: Manifold, budget: int, options: Options) -> Baseline:
        """The best of the sizes within the budget; the ladder ends at the first that is not."""
        start, best = time.perf_counter(), None
        for found in self._rungs(target, manifold, options, budget):
            if best is None or error_of(found) < error_of(best):
                best = found
        if best is None:
            raise BudgetExceeded(f"budget: the smallest {self.name} has more numbers than {budget:,}", math.inf)
        return replace(best, seconds=time.perf_counter() - start)

    def _rungs(
        self, target: Callable[..., Any], manifold: Manifold, options: Options, budget: float = math.inf
    ) -> Iterator[Baseline]:
        """The sizes of the ladder, measured, up to the first that cannot be built or is beyond the budget."""
        for settings in self.ladder(manifold):
            options.progress(f"{self.name} {settings}", None)
            try:
                found = self.fit(target, manifold, settings, **options.of_fit)
            except EpsilonNotReached:
                return
            if found.counts.nonzero > budget:
                return
            yield replace(found, measured=measure(found, target, manifold, seed=options.seed + 1))

    def check_arguments(
        self,
        target: Any,
        manifold: Any,
        epsilon: float | None,
        budget: int | None,
        seed: int,
        dtype: torch.dtype,
    ) -> None:
        """Refuse bad arguments of `build`."""
        require_manifold(manifold)
        if (epsilon is None) == (budget is None):
            raise invalid("epsilon", "exactly one of epsilon and budget", got=f"{epsilon!r} and {budget!r}")
        if epsilon is not None:
            positive_real(epsilon, "epsilon")
        if budget is not None:
            positive_integer(budget, "budget")
        integer(seed, "seed")
        require_dtype(dtype)
        self.check(manifold)
        evaluate_target(target, manifold.sample(3, seed))


def require_manifold(manifold: object) -> None:
    """Raise `InputError` for anything but a manifold of the library."""
    if not isinstance(manifold, Manifold):
        raise invalid("manifold", "a construct.manifolds.Manifold", manifold)


def require_dtype(dtype: object) -> None:
    """Raise `InputError` for anything but `DTYPES`."""
    if dtype not in DTYPES:
        raise invalid("dtype", "torch.float64 or torch.float32", dtype)


def error_of(found: Baseline) -> float:
    """Measured sup error, infinite where nothing was measured."""
    return math.inf if found.measured is None else found.measured.sup


def smoothness_of(target: Any, given: float | None) -> float | None:
    """The Hölder exponent given, or the one that the target states (`target.smoothness`), None for a smooth one."""
    if given is not None:
        return given
    beta = getattr(target, "smoothness", math.inf)
    return None if math.isinf(beta) else float(beta)


def known(settings: Settings, allowed: Sequence[str], method: str) -> None:
    """Raise `InputError` for a setting that the method does not have."""
    unknown = sorted(set(settings) - set(allowed))
    if unknown:
        raise invalid("settings", f"those of {method} ({', '.join(allowed)})", got=", ".join(unknown))
