"""What the classical methods share: one problem, one fitted approximator, and the numbers that it stores.

They all compute in float64 on the CPU. Where M lies in a linear subspace of R^D (`manifold.canonical` = k < D) they
work in its k coordinates y = frame^T x, which stores k instead of D numbers per point at the price of the frame.
"""

from __future__ import annotations

import importlib
import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from construct.baselines.base import Baseline, BaselineCounts, Method, Settings, known, require_dtype, require_manifold
from construct.baselines.sampling import scattered, well_spread
from construct.manifolds import Manifold
from construct.progress import Progress, silent
from construct.targets import evaluate_target
from construct.validation import integer, invalid, positive_integer

Array = NDArray[np.float64]

POINTS = (50, 100, 200, 300, 500, 700, 1000, 1400, 2000, 2800, 4000)
VALIDATION = 2000


@dataclass(frozen=True)
class Samples:
    """Points y (n, k) in canonical coordinates and the values f (n,) of the target there."""

    y: Array
    f: Array

    def __len__(self) -> int:
        return len(self.f)

    def first(self, n: int) -> Samples:
        """The first n points."""
        return Samples(self.y[:n], self.f[:n])


@dataclass(frozen=True)
class RegressionProblem:
    """A target on a manifold, and the seeded samples at which the target may be looked at."""

    target: Callable[..., Any]
    manifold: Manifold
    seed: int
    progress: Progress = silent

    def at(self, x: Tensor) -> Samples:
        """The target at points x (n, D) of M."""
        return Samples(self.manifold.restrict(x).numpy(), evaluate_target(self.target, x).numpy())

    def spread(self, n: int) -> Samples:
        """n well spread points; those in front are well spread, too."""
        return self.at(well_spread(self.manifold, n, self.seed))

    def scattered(self, n: int) -> Samples:
        """n independent points for training, a quarter of them thrown to the edge where M has one."""
        return self.at(scattered(self.manifold, n, self.seed, "training"))

    @cached_property
    def validation(self) -> Samples:
        """Points on which hyper-parameters are chosen; no method trains on them."""
        return self.at(scattered(self.manifold, VALIDATION, self.seed, "validation"))

    def sup(self, predict: Callable[[Array], Array]) -> float:
        """Largest error on the validation points, infinite where a value is not finite."""
        error = float(np.abs(predict(self.validation.y) - self.validation.f).max())
        return error if np.isfinite(error) else float("inf")


@dataclass(frozen=True)
class Fitted:
    """What a method hands back.

    Attributes:
        predict: y (P, k) -> (P,).
        numbers: how many it stores, those of the frame and all centres and lengths included.
        multiply_adds: of one evaluation, the map from x to y included.
        chosen: hyper-parameters that were tuned, JSON-able.
        model: the estimator, for those who want to look.
        picked: integers that were picked for this manifold or target, not in `numbers`: exponents.
    """

    predict: Callable[[Array], Array]
    numbers: int
    multiply_adds: int
    chosen: Settings = field(default_factory=dict)
    model: Any = None
    picked: int = 0


class Classical(Method):
    """A classical method: `solve` fits it, this class checks the arguments, takes the time and counts.

    parameters: names of its settings, integers >= 1.
    """

    family = "classical"
    parameters: ClassVar[tuple[str, ...]] = ("points",)
    most_points: ClassVar[int] = POINTS[-1]

    @abstractmethod
    def solve(self, problem: RegressionProblem, settings: dict[str, int]) -> Fitted:
        """Fit with checked settings."""

    def ladder(self, manifold: Manifold) -> Sequence[Settings]:
        return [{"points": n} for n in POINTS if n <= self.most_points]

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
        """The approximator of one size, tuned on samples of M that its error is not measured on.

        Args:
            settings: one integer >= 1 for each of `parameters`.
            dtype: of its argument and its value; in between it computes in float64.

        Raises:
            InputError: unknown, missing or bad settings, a device other than the CPU, an optional package that is
                not installed.
        """
        require_manifold(manifold)
        require_dtype(dtype)
        if torch.device(device).type != "cpu":
            raise invalid("device", f"cpu, where {self.name} computes", got=str(device))
        known(settings, self.parameters, self.name)
        most = {"points": self.most_points}
        checked = {name: positive_integer(settings.get(name), name, maximum=most.get(name)) for name in self.parameters}
        self.check(manifold)
        start = time.perf_counter()
        found = self.solve(RegressionProblem(target, manifold, integer(seed, "seed"), progress), checked)
        seconds = time.perf_counter() - start

        def function(x: Tensor) -> Tensor:
            y = manifold.restrict(x.detach().double()).numpy()
            return torch.from_numpy(np.ascontiguousarray(found.predict(y))).to(dtype)

        return Baseline(
            method=self.name,
            family=self.family,
            settings={**checked, **found.chosen},
            counts=BaselineCounts(found.numbers, found.numbers, 1, found.multiply_adds, found.picked),
            seconds=seconds,
            function=function,
            manifold=manifold,
            dtype=dtype,
            model=found.model,
        )


def stored_points(manifold: Manifold, n: int) -> int:
    """Numbers for n points of M: n D, or n k and the frame k D where that is fewer."""
    k, D = manifold.canonical, manifold.ambient
    return min(n * D, n * k + k * D) if manifold.embedded else n * D


def frame_size(manifold: Manifold) -> int:
    """k D, the numbers of the frame and the multiply-adds of y = frame^T x; 0 where y = x."""
    k, D = manifold.canonical, manifold.ambient
    return k * D if manifold.embedded else 0


def optional(module: str, install: str = "pip install 'construct-transformer[baselines]'") -> Any:
    """The module of an optional package, imported when it is needed.

    Raises:
        InputError: it is not installed; says how to install it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.split(".")[0]
        raise invalid(package, f"an installed package (`{install}`)", got=str(error)) from error
