"""The ridge formula with sawtooth squares as a method: the ReLU twin of the ridge transformer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch

from construct.baselines.base import Baseline, Method, Options, Settings, known, sized, tried
from construct.baselines.relu.ridge_maps import orders
from construct.baselines.relu.ridge_network import RidgeReluNetwork, same_ridge
from construct.errors import EpsilonNotReached
from construct.manifolds import Manifold
from construct.measurement import measure
from construct.planning import Search
from construct.problem import Problem
from construct.progress import Progress, silent
from construct.ridge.approximator import RidgeApproximator
from construct.ridge.coordinates import coordinates_of
from construct.ridge.directions import lattice_size
from construct.ridge.maps import DEGREES
from construct.ridge.planner import RidgePlanner, plan
from construct.validation import invalid

SETTINGS = ("degree", "compositions", "maps")
RUNGS = ((2, 3), (3, 4), (4, 6), (6, 8), (8, 10), (9, 12), (12, 14), (16, 16))
"""Degree, compositions."""
FORMULA = 0.8  # of epsilon: what the formula may err by
MORE = (
    2  # degrees after the first that will do: T2 takes one square, T3 three, and a better formula leaves more to them
)
MOST_DIRECTIONS = 2_600


class RidgeRelu(Method):
    """`same_ridge` of the ridge formula; by hand {"degree", "compositions"} and, where wanted, "maps".

    proved: compositions from the proved bound, by default those that a measurement confirms.
    """

    name: ClassVar[str] = "ridge_relu"
    family: ClassVar[str] = "constructive"
    description: ClassVar[str] = "ReLU network of the ridge transformer's formula, each T3 and T2 from sawtooth squares"

    def __init__(self, *, proved: bool = False) -> None:
        self.proved = proved

    def check(self, manifold: Manifold) -> None:
        """Raise `InputError` where M spans too many dimensions for the ridge basis."""
        coordinates_of(manifold, 0)

    def ladder(self, manifold: Manifold) -> Sequence[Settings]:
        """Degrees 2 to 16 with compositions that grow; those with too many directions are left out."""
        k = coordinates_of(manifold, 0).count
        return [{"degree": p, "compositions": m} for p, m in RUNGS if lattice_size(k, p) <= MOST_DIRECTIONS or p <= 3]

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
        """The network of one size; of the orders of the maps the one with the fewest non-zeros, unless given.

        Raises:
            InputError: unknown or missing settings, a degree that no chain of maps has, bad compositions.
        """
        known(settings, SETTINGS, self.name)
        start = time.perf_counter()
        if not {"degree", "compositions"} <= set(settings):
            raise invalid("settings", "degree and compositions", got=", ".join(settings) or "none")
        degree = settings["degree"]
        chains = orders(degree) if settings.get("maps") is None else (settings["maps"],)
        problem = Problem(target, manifold, None, None, seed, progress)
        approximator = plan(problem, None, degree=degree).approximator
        networks = [RidgeReluNetwork(approximator, settings["compositions"], maps) for maps in chains]
        network = min(networks, key=lambda one: one.counts.nonzero)
        return self._baseline(network, dict(settings), time.perf_counter() - start, dtype, device)

    def to_epsilon(self, problem: Problem, options: Options) -> Baseline:
        """The smallest network that `same_ridge` finds for the first degrees whose formulas are good enough.

        These are not the degrees of the smallest transformers, for which the number of maps counts, whatever they are.
        """
        found = self.below(problem, options, None)
        assert found is not None  # without a limit there is one, or `below` raises
        return found

    def below(self, problem: Problem, options: Options, limit: int | None) -> Baseline | None:
        """`to_epsilon`, or None where no network has fewer than `limit` non-zeros.

        Raises:
            EpsilonNotReached: there is no limit, and no network.
        """
        start = time.perf_counter()
        search = Search(problem, self.name, margin=1.0)
        found: list[Baseline] = []
        for number, approximator in enumerate(_formulas(search)):
            if limit is not None and RidgeReluNetwork(approximator, 1).counts.nonzero >= limit:
                break
            one = self._settled(approximator, search, options)
            found += [] if one is None else [one]
            if number == MORE:
                break
        if not found:
            if limit is not None:
                return None
            raise search.failure()
        best = min(found, key=lambda one: one.counts.nonzero)
        return replace(best, seconds=time.perf_counter() - start, history=search.chosen(*sized(best.settings)))

    def _settled(self, approximator: RidgeApproximator, search: Search, options: Options) -> Baseline | None:
        """The network of a formula, None where it misses epsilon."""
        problem = search.problem
        try:
            network, measured = same_ridge(
                approximator, problem.target, problem.wanted,
                proved=self.proved, seed=problem.seed, progress=problem.progress,
            )  # fmt: skip
        except EpsilonNotReached:
            return None
        settings: Settings = {
            "degree": approximator.degree,
            "compositions": list(network.stages),
            "maps": list(network.chain),
        }
        found = self._baseline(network, settings, 0.0, options.dtype, options.device)
        if options.dtype != torch.float64:
            measured = measure(found, problem.target, problem.manifold, seed=problem.seed)
        found = replace(found, measured=measured)
        tried(search, settings, found)
        return found if measured.sup <= problem.wanted else None

    def _baseline(
        self,
        network: RidgeReluNetwork,
        settings: Settings,
        seconds: float,
        dtype: torch.dtype,
        device: torch.device | str,
    ) -> Baseline:
        return Baseline(
            method=self.name,
            family=self.family,
            settings=settings,
            counts=network.counts,
            seconds=seconds,
            function=network,
            manifold=network.approximator.manifold,
            dtype=dtype,
            device=torch.device(device),
            model=network,
        )


def _formulas(search: Search) -> Iterator[RidgeApproximator]:
    """The ridge formulas whose measured error leaves enough of epsilon to the squares, by degree."""
    problem = search.problem
    planner, goal = RidgePlanner(problem, search), FORMULA * problem.wanted
    for degree in DEGREES:
        if lattice_size(planner.candidates.coordinates.count, degree) > MOST_DIRECTIONS:
            return
        found = planner.by_hand(degree).approximator
        if found.residual is not None and found.residual > goal:
            continue
        if measure(found, problem.target, problem.manifold, seed=problem.seed).sup <= goal:
            yield found
