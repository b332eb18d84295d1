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

from construct.errors import EpsilonNotReached
from construct.history import History
from construct.manifolds import Manifold
from construct.measurement import Measurement, measure
from construct.planning import Search, stoppable
from construct.problem import Problem, Sizes
from construct.progress import Progress, silent, watching
from construct.validation import finite_points, integer, invalid, positive_integer

FAMILIES = ("constructive", "trained", "classical")
DTYPES = (torch.float64, torch.float32)

Settings = dict[str, Any]
"""What distinguishes one size of a method from the next, JSON-able: `{"cells": 8, "degree": 3}`."""

Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class BaselineCounts:
    """Sizes of one approximator, each >= 0.

    Stored numbers are counted for all by one rule, that of `transformer.counts`: `nonzero`, and what was *chosen*
    besides, integers as well as reals. What a fixed formula of a number gives is not chosen: the exponents of a whole
    total-degree basis, the nodes of a sparse grid, the code (t, t^2) of a token, directions that are a whole lattice.
    What was picked for this manifold or target is: exponents that a factorisation kept (one by one, those that are not
    0), directions of a few; centres, lengths, frames and trees of a classical method are among its `nonzero` already. A
    feed-forward network stores its non-zeros.

    Attributes:
        nonzero: weights and biases that are not zero; for a classical method the numbers it stores.
        dense: weights and biases of the layers as fully connected ones; for a classical method the same as nonzero.
        depth: affine layers of a feed-forward network, blocks of a transformer, 1 for everything else.
        multiply_adds: multiplications with an addition that one evaluation takes, zeros skipped.
        chosen: numbers that were chosen and are not in `nonzero`.
    """

    nonzero: int
    dense: int
    depth: int
    multiply_adds: int
    chosen: int = 0

    def __post_init__(self) -> None:
        for name in ("nonzero", "dense", "depth", "multiply_adds", "chosen"):
            integer(getattr(self, name), name)

    @property
    def stored(self) -> int:
        """Numbers that it cannot do without, by the rule above."""
        return self.nonzero + self.chosen


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
        history: the candidates that were tried before it; empty where nothing is searched.
    """

    method: str
    family: str
    settings: Settings
    counts: BaselineCounts
    seconds: float
    function: Function
    manifold: Manifold
    dtype: torch.dtype = torch.float64
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    measured: Measurement | None = None
    model: Any = None
    history: History = field(default_factory=History)

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
            f"  counts    {self.counts.nonzero:,} non-zero, {self.counts.stored:,} stored, {self.counts.dense:,} dense,"
            f" depth {self.counts.depth}, {self.counts.multiply_adds:,} multiply-adds a point\n"
            f"  built in  {self.seconds:.2f} s, {self.dtype}"
        )
        return text if self.measured is None else f"{text}\n  error     {self.measured}"


@dataclass(frozen=True)
class Options:
    """How to hold what is built: dtype and device of the approximator."""

    dtype: torch.dtype = torch.float64
    device: torch.device | str = "cpu"


class Method(ABC):
    """A way to build approximators of growing size.

    name: for `construct.baselines.method`;  family: one of `FAMILIES`;  description: one line, with source.
    smoothness: Hölder exponent of the targets, where the method has a use for it; None: what a target says of itself.
    """

    name: ClassVar[str]
    family: ClassVar[str]
    description: ClassVar[str]
    smoothness: float | None = None

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
            EpsilonNotReached: no size reaches epsilon; `.best` is the smallest error found, `.plan.approximator` what
                has it.
            BudgetExceeded: not even the smallest size is within the budget.
            PlanningInterrupted: Ctrl-C, with `.best` and `.plan`.
        """
        require_manifold(manifold)
        if (epsilon is None) == (budget is None):
            raise invalid("epsilon", "exactly one of epsilon and budget", got=f"{epsilon!r} and {budget!r}")
        require_dtype(dtype)
        self.check(manifold)
        with watching(progress) as watch, stoppable(watch, self.name):
            problem = Problem(target, manifold, epsilon, smoothness_of(target, self.smoothness), seed, watch.stage)
            if budget is None:
                return self.to_epsilon(problem, Options(dtype, device))
            return self.within(problem, positive_integer(budget, "budget"), Options(dtype, device))

    def to_epsilon(self, problem: Problem, options: Options) -> Baseline:
        """The first size on the ladder that reaches epsilon; methods with a planner of their own override this."""
        start, search = time.perf_counter(), Search(problem, self.name, margin=1.0)
        for settings, found in self._rungs(search, options):
            if error_of(found) <= problem.wanted:
                return replace(found, seconds=time.perf_counter() - start, history=search.chosen(*sized(settings)))
        raise search.failure()

    def within(self, problem: Problem, budget: int, options: Options) -> Baseline:
        """The best of the sizes within the budget; the ladder ends at the first that is not."""
        start, search = time.perf_counter(), Search(problem, self.name, budget, limit="budget")
        chosen = min(self._rungs(search, options), key=lambda rung: error_of(rung[1]), default=None)
        if chosen is None:
            raise search.failure()
        settings, best = chosen
        return replace(best, seconds=time.perf_counter() - start, history=search.chosen(*sized(settings)))

    def _rungs(self, search: Search, options: Options) -> Iterator[tuple[Settings, Baseline]]:
        """The sizes of the ladder, measured, up to the first that cannot be built or is beyond the budget."""
        problem = search.problem
        for settings in self.ladder(problem.manifold):
            problem.progress(f"{self.name} {settings}", None)
            try:
                found = self.fitted(problem, settings, options)
            except EpsilonNotReached:
                return
            if not within_budget(search, settings, found):
                return
            found = replace(found, measured=measure(found, problem.target, problem.manifold, seed=problem.seed + 1))
            tried(search, settings, found)
            yield settings, found

    def fitted(self, problem: Problem, settings: Settings, options: Options) -> Baseline:
        """`fit` for a problem."""
        return self.fit(
            problem.target,
            problem.manifold,
            settings,
            seed=problem.seed,
            dtype=options.dtype,
            device=options.device,
            progress=problem.progress,
        )


def within_budget(search: Search, settings: Settings, found: Baseline) -> bool:
    """Whether the numbers of a baseline are within the budget of a search, which notes it if not."""
    sizes, note = sized(settings)
    return search.affordable(sizes, found.counts.nonzero, note)


def tried(search: Search, settings: Settings, found: Baseline) -> None:
    """Note a baseline that was measured."""
    sizes, note = sized(settings)
    counts = found.counts
    search.record(
        sizes, error_of(found), "measured", parameters=counts.dense, cost=counts.nonzero, note=note, make=lambda: found
    )


def sized(settings: Settings) -> tuple[Sizes, str]:
    """Settings as sizes, and the others in words."""
    names = ("charts", "cells", "degree")
    words = [f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
             for name, value in settings.items() if name not in names]  # fmt: skip
    return Sizes(*(settings.get(name) for name in names)), ", ".join(words)


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
