"""The constructive ReLU rivals as methods: which degree s, how many cells N and compositions m an epsilon takes.

For every degree the smallest N whose exact-product formula reaches epsilon is found first (the error falls like
N^-(s+1), so every measurement predicts the next N), then the smallest m. As a composition costs about as much per term
as a few per cent more cells, N is then raised to save compositions while that pays. What has the fewest non-zero
weights wins; its error is measured again, in full, before it is returned.
"""

from __future__ import annotations

import math
import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from construct.baselines.base import Baseline, Method, Options, Settings, known
from construct.baselines.relu.sawtooth import MOST_COMPOSITIONS
from construct.baselines.relu.taylor_network import TaylorNetwork
from construct.errors import EpsilonNotReached, InputError
from construct.manifolds import Manifold
from construct.measurement import measure, search_sup
from construct.paper.taylor import taylor_degree
from construct.progress import Progress, silent
from construct.targets import evaluate_target
from construct.validation import invalid, positive_integer

MOST_NODES = 1 << 22
MOST_COEFFICIENTS = 1 << 24
SMOOTH_DEGREES = (4, 3, 2, 1, 0)
"""The highest first: for a small epsilon it is the cheapest and lets the others stop early."""
MOST_DEGREE = 7
DEFAULT_DEGREE = 1
SEARCH_SAMPLES, SEARCH_ROUNDS = 4_000, 6
MARGIN = 0.97
FIRST_CELLS, MOST_STEPS, MOST_TRADES, MOST_CHECKS = 2, 14, 4, 5
NAMES = ("cells", "degree", "compositions")

Target = Callable[..., Any]


class TaylorMethod(Method):
    """Trapezoids times Taylor polynomials by sawtooth products.

    smoothness: Hölder exponent beta of the targets, which fixes s = ceil(beta) - 1; None takes that of the target, if
    it says so, else s = 0..4 for a target that torch can differentiate (up to 7 while that pays) and 0 for any other.
    """

    family = "constructive"

    def __init__(self, smoothness: float | None = None) -> None:
        self.smoothness = smoothness
        if smoothness is not None:
            taylor_degree(smoothness)

    @abstractmethod
    def design(
        self, target: Target, manifold: Manifold, cells: int, degree: int, compositions: int | None
    ) -> TaylorNetwork:
        """The network of one size; exact products for compositions = None."""

    @abstractmethod
    def nodes(self, manifold: Manifold, cells: int) -> int:
        """Grid points of that many cells, in all charts."""

    def affordable(self, manifold: Manifold, cells: int, degree: int) -> bool:
        """At most 2^22 nodes and 2^24 coefficients."""
        nodes = self.nodes(manifold, cells)
        return nodes <= MOST_NODES and nodes * math.comb(manifold.dim + degree, degree) <= MOST_COEFFICIENTS

    def ladder(self, manifold: Manifold) -> Sequence[Settings]:
        """N = 1, 2, 3, 4, 6, 8, 11, ...; m so that 4^-m is an eighth of N^-(s+1) or less."""
        degree = DEFAULT_DEGREE if self.smoothness is None else taylor_degree(self.smoothness)
        rungs: list[Settings] = []
        cells, step = 1, 0
        while self.affordable(manifold, cells, degree):
            compositions = math.ceil((3 + (degree + 1) * math.log2(cells)) / 2)
            rungs.append({"cells": cells, "degree": degree, "compositions": min(compositions, MOST_COMPOSITIONS)})
            while round(2.0 ** (step / 2)) <= cells:
                step += 1
            cells = round(2.0 ** (step / 2))
        return rungs

    def fit(
        self,
        target: Target,
        manifold: Manifold,
        settings: Settings,
        *,
        seed: int = 0,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
        progress: Progress = silent,
    ) -> Baseline:
        """The network of settings {"cells", "degree", "compositions"}; nothing is random."""
        self.check(manifold)
        known(settings, NAMES, self.name)
        missing = sorted(set(NAMES) - set(settings))
        if missing:
            raise invalid("settings", f"all of {self.name} ({', '.join(NAMES)})", got=f"no {', '.join(missing)}")
        positive_integer(settings["compositions"], "compositions", maximum=MOST_COMPOSITIONS)
        began = time.perf_counter()
        network = self.design(target, manifold, **{name: settings[name] for name in NAMES})
        return self.baseline(network, manifold, settings, began, dtype, device)

    def baseline(
        self,
        network: TaylorNetwork,
        manifold: Manifold,
        settings: Settings,
        began: float,
        dtype: torch.dtype,
        device: torch.device | str,
    ) -> Baseline:
        """A network as what methods return."""
        counts = network.counts
        return Baseline(
            method=self.name,
            family=self.family,
            settings=dict(settings),
            counts=counts,
            seconds=time.perf_counter() - began,
            function=network,
            manifold=manifold,
            dtype=dtype,
            device=torch.device(device),
            model=network,
        )

    def to_epsilon(self, target: Target, manifold: Manifold, epsilon: float, options: Options) -> Baseline:
        """The (s, N, m) with the fewest non-zero weights, among those searched."""
        began = time.perf_counter()
        degrees, goal, reached = self.degrees(target, manifold), MARGIN * epsilon, math.inf
        for _ in range(MOST_CHECKS):
            search = TaylorSearch(self, target, manifold, goal, options.seed, options.progress)
            candidate = search.best(degrees)
            reached = min(reached, search.smallest_error)
            if candidate is None:
                break
            found = self.baseline(candidate.network, manifold, candidate.settings, began, options.dtype, options.device)
            measured = measure(found, target, manifold, seed=options.seed + 2)
            reached = min(reached, measured.sup)
            if measured.sup <= epsilon:
                return replace(found, measured=measured, seconds=time.perf_counter() - began)
            goal *= MARGIN * epsilon / measured.sup
            degrees = (candidate.settings["degree"],)
        raise EpsilonNotReached(
            f"epsilon: {epsilon:g} was asked for, {self.name} reaches {reached:.3g} within {MOST_NODES:,} nodes",
            reached,
        )

    def degrees(self, target: Target, manifold: Manifold) -> tuple[int, ...]:
        """Degrees s to try."""
        smoothness = getattr(target, "smoothness", None) if self.smoothness is None else self.smoothness
        if smoothness is not None and math.isfinite(smoothness):
            return (taylor_degree(smoothness),)
        try:
            self.design(target, manifold, 1, 1, None)
        except InputError:
            return (0,)
        return SMOOTH_DEGREES


@dataclass(frozen=True)
class TaylorCandidate:
    """A network that reaches the goal in the search, and its settings."""

    network: TaylorNetwork
    settings: Settings

    @property
    def nonzero(self) -> int:
        return self.network.counts.nonzero


@dataclass
class TaylorSearch:
    """The search for one goal, a little below epsilon; `smallest_error` is the best of what was measured."""

    method: TaylorMethod
    target: Target
    manifold: Manifold
    goal: float
    seed: int
    progress: Progress
    smallest_error: float = field(default=math.inf, init=False)

    def best(self, degrees: Sequence[int]) -> TaylorCandidate | None:
        """The cheapest candidate over all degrees."""
        best: TaylorCandidate | None = None
        for degree in degrees:
            best = self.cheaper(degree, best)
        while len(degrees) > 1 and best is not None and max(degrees) <= best.settings["degree"] < MOST_DEGREE:
            degree = best.settings["degree"]
            best = self.cheaper(degree + 1, best)
            assert best is not None
            if best.settings["degree"] == degree:
                break
        return best

    def cheaper(self, degree: int, best: TaylorCandidate | None) -> TaylorCandidate | None:
        """The cheapest candidate of one degree, or `best` if that is cheaper."""
        exact = self.fewest_cells(degree, best)
        candidates = [] if exact is None else self.compositions(*exact, degree)
        return min([*([] if best is None else [best]), *candidates], key=lambda one: one.nonzero, default=None)

    def error(self, network: TaylorNetwork, what: str) -> float:
        """Measured sup error, with a quick search."""

        def difference(x: Tensor) -> Tensor:
            return (network(x) - evaluate_target(self.target, x)).abs()

        with torch.no_grad():
            found = search_sup(difference, self.manifold, SEARCH_SAMPLES, self.seed, rounds=SEARCH_ROUNDS).sup
        self.progress(f"{self.method.name} {what}: error {found:.2e}", None)
        self.smallest_error = min(self.smallest_error, found)
        return found

    def fewest_cells(self, degree: int, rival: TaylorCandidate | None) -> tuple[TaylorNetwork, int, float] | None:
        """Network of exact products with (almost) the smallest N within the goal, N and error; None if `rival` wins."""
        failed, cells = 0, FIRST_CELLS
        found: tuple[TaylorNetwork, int, float] | None = None
        fewest = 1 if rival is None else max(1, rival.settings["compositions"] - 2)
        for _ in range(MOST_STEPS):
            if not self.method.affordable(self.manifold, cells, degree):
                return found
            network = self.method.design(self.target, self.manifold, cells, degree, None)
            if rival is not None and network.with_compositions(fewest).counts.nonzero > rival.nonzero:
                return found
            error = self.error(network, f"degree {degree}, {cells} cells, exact products")
            if error <= self.goal:
                found = network, cells, error
            else:
                failed = max(failed, cells)
            if found is not None and found[1] - failed <= max(1, found[1] // 32):
                return found
            following = math.ceil(cells * (error / (0.95 * self.goal)) ** (1 / (degree + 1)))
            if found is None:
                cells = min(max(following, cells + 1), 4 * cells)
            else:
                cells = following if failed < following < found[1] else (failed + found[1]) // 2
        return found

    def compositions(self, exact: TaylorNetwork, cells: int, error: float, degree: int) -> list[TaylorCandidate]:
        """The smallest m at this N, and candidates with more cells and fewer compositions that have fewer weights."""
        settings: Settings = {"cells": cells, "degree": degree}
        errors: dict[int, float] = {}

        def measured(m: int) -> float:
            if m not in errors:
                errors[m] = self.error(exact.with_compositions(m), f"{settings}, {m} compositions")
            return errors[m]

        m = min(max(1, math.ceil(math.log(max(1.0, 1.0 / self.goal), 4))), MOST_COMPOSITIONS)
        while m <= MOST_COMPOSITIONS and measured(m) > self.goal:
            m += 1
        if m > MOST_COMPOSITIONS:
            return []
        while m > 1 and measured(m - 1) <= self.goal:
            m -= 1
        best = TaylorCandidate(exact.with_compositions(m), {**settings, "compositions": m})
        found = [best]
        for fewer in range(m - 1, max(0, m - 1 - MOST_TRADES), -1):
            left = self.goal - max(0.0, measured(fewer) - error)
            if left <= 0.0:
                break
            more = max(cells + 1, math.ceil(cells * (error / left) ** (1 / (degree + 1))))
            guess = exact.with_compositions(fewer).counts.nonzero * (more / cells) ** self.manifold.dim
            if guess > best.nonzero or not self.method.affordable(self.manifold, more, degree):
                continue
            larger = self.method.design(self.target, self.manifold, more, degree, fewer)
            if self.error(larger, f"degree {degree}, {more} cells, {fewer} compositions") <= self.goal:
                best = TaylorCandidate(larger, {"cells": more, "degree": degree, "compositions": fewer})
                found.append(best)
        return found
