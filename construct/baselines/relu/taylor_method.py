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
from dataclasses import dataclass, replace
from typing import Any

import torch

from construct.baselines.base import Baseline, Method, Options, Settings, error_of, known, sized, tried
from construct.baselines.relu.sawtooth import MOST_COMPOSITIONS
from construct.baselines.relu.taylor_network import TaylorNetwork
from construct.errors import InputError
from construct.manifolds import Manifold
from construct.measurement import measure
from construct.paper.taylor import taylor_degree
from construct.planning import Search
from construct.problem import Problem, Sizes
from construct.progress import Progress, silent
from construct.validation import invalid, positive_integer

MOST_NODES = 1 << 22
MOST_COEFFICIENTS = 1 << 24
SMOOTH_DEGREES = (4, 3, 2, 1, 0)
"""The highest first: for a small epsilon it is the cheapest and lets the others stop early."""
MOST_DEGREE = 7
DEFAULT_DEGREE = 1
SEARCH_SAMPLES, SEARCH_ROUNDS = 4_000, 6
MARGIN = 0.97
AIM = 0.95  # of the goal: what a change of cells aims at
FIRST_CELLS, MOST_STEPS, MOST_TRADES, MOST_CHECKS = 2, 14, 4, 5
RESOLUTION = 32  # N is found to one part in so many
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

    def to_epsilon(self, problem: Problem, options: Options) -> Baseline:
        """The (s, N, m) with the fewest non-zero weights, among those searched."""
        began = time.perf_counter()
        search = Search(problem, f"{self.name} with at most {MOST_NODES:,} nodes", margin=MARGIN)
        degrees, goal = self.degrees(problem), search.goal
        for _ in range(MOST_CHECKS):
            candidate = TaylorSearch(self, search, goal).best(degrees)
            if candidate is None:
                break
            found = self.baseline(
                candidate.network, problem.manifold, candidate.settings, began, options.dtype, options.device
            )
            found = replace(found, measured=measure(found, problem.target, problem.manifold, seed=problem.seed + 2))
            tried(search, candidate.settings, found)
            if error_of(found) <= problem.wanted:
                history = search.chosen(*sized(candidate.settings))
                return replace(found, seconds=time.perf_counter() - began, history=history)
            goal *= MARGIN * problem.wanted / error_of(found)
            degrees = (candidate.settings["degree"],)
        raise search.failure()

    def degrees(self, problem: Problem) -> tuple[int, ...]:
        """Degrees s to try."""
        if problem.smoothness is not None:
            return (taylor_degree(problem.smoothness),)
        try:
            self.design(problem.target, problem.manifold, 1, 1, None)
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
    """The search for one goal, a little below epsilon."""

    method: TaylorMethod
    search: Search
    goal: float

    @property
    def problem(self) -> Problem:
        return self.search.problem

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

    def error(self, network: TaylorNetwork, cells: int, degree: int, note: str) -> float:
        """Measured sup error, with a quick search."""
        found = self.problem.search(network, samples=SEARCH_SAMPLES, rounds=SEARCH_ROUNDS).sup
        self.search.record(Sizes(cells=cells, degree=degree), found, "measured", note=note, make=lambda: network)
        return found

    def fewest_cells(self, degree: int, rival: TaylorCandidate | None) -> tuple[TaylorNetwork, int, float] | None:
        """Network of exact products with (almost) the smallest N within the goal, N and error; None if `rival` wins."""
        fewest = 1 if rival is None else max(1, rival.settings["compositions"] - 2)

        def attempt(cells: int) -> tuple[tuple[TaylorNetwork, float], float] | None:
            if not self.method.affordable(self.problem.manifold, cells, degree):
                return None
            network = self.method.design(self.problem.target, self.problem.manifold, cells, degree, None)
            if rival is not None and network.with_compositions(fewest).counts.nonzero > rival.nonzero:
                return None
            error = self.error(network, cells, degree, "exact products")
            return (network, error), error

        found = self.search.fewest(
            attempt,
            order=degree + 1,
            goal=self.goal,
            aim=AIM * self.goal,
            first=FIRST_CELLS,
            most_steps=MOST_STEPS,
            resolution=RESOLUTION,
        )
        if found is None:
            return None
        (network, error), cells = found
        return network, cells, error

    def compositions(self, exact: TaylorNetwork, cells: int, error: float, degree: int) -> list[TaylorCandidate]:
        """The smallest m at this N, and candidates with more cells and fewer compositions that have fewer weights."""
        settings: Settings = {"cells": cells, "degree": degree}
        errors: dict[int, float] = {}

        def measured(m: int) -> float:
            if m not in errors:
                errors[m] = self.error(exact.with_compositions(m), cells, degree, f"compositions {m}")
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
            guess = exact.with_compositions(fewer).counts.nonzero * (more / cells) ** self.problem.manifold.dim
            if guess > best.nonzero or not self.method.affordable(self.problem.manifold, more, degree):
                continue
            larger = self.method.design(self.problem.target, self.problem.manifold, more, degree, fewer)
            if self.error(larger, more, degree, f"compositions {fewer}") <= self.goal:
                best = TaylorCandidate(larger, {"cells": more, "degree": degree, "compositions": fewer})
                found.append(best)
        return found
