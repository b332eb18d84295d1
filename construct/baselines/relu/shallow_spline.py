"""The optimal shallow ReLU network on an interval: `b + sum_i a_i relu(x - t_i)` with the fewest neurons for an error.

One hidden layer computes the continuous piecewise-linear functions. For a given epsilon the fewest links in the tube
[f - eps, f + eps] are found by `links.fewest_links`, on a grid: the tube is the polyline through the grid values, so
"optimal" means optimal for that polyline; between grid points f strays from it by at most max|f''| h^2 / 8.
Asymptotically a line of length l is off by |f''| l^2 / 16 (half of the chord's |f''| l^2 / 8, by a shift), so

    links ~ integral sqrt(|f''|) / (4 sqrt(eps))

A link takes one neuron: the first has its kink at the left end, where it is the linear part.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch

from construct.arrays import Float
from construct.baselines.base import Baseline, Method, Options, Settings, error_of, known, sized, tried
from construct.baselines.relu.circuit import Layer, layer
from construct.baselines.relu.links import Polyline, fewest_links
from construct.baselines.relu.network import ReluNetwork
from construct.manifolds import Cube, Manifold
from construct.measurement import measure
from construct.planning import Search
from construct.problem import Problem, Sizes
from construct.progress import Progress, silent
from construct.targets import evaluate_target
from construct.validation import integer, invalid

COARSE, FINEST = 2**13, 2**17
"""Grid cells of [-1, 1]: of `fit`, and the most that `build` refines to."""
BISECTIONS = 24
MOST_LINKS = 1024
LEAST_NUMBERS = 4  # of one link: weight, bias, output weight, output bias
PER_LINK = 8
"""Grid cells that a link has to span for the grid to mean anything."""


class ShallowSpline(Method):
    """Settings: {"knots": n >= 0}, breakpoints inside the interval."""

    name: ClassVar[str] = "shallow_spline"
    family: ClassVar[str] = "constructive"
    description: ClassVar[str] = "one hidden layer on an interval, fewest kinks (Imai and Iri 1986, Suri 1986)"

    def __init__(self, cells: int = COARSE) -> None:
        self.cells = integer(cells, "cells", minimum=2, maximum=FINEST)

    def check(self, manifold: Manifold) -> None:
        """Raise `InputError` for anything but the interval Cube(1) in R^1."""
        if not isinstance(manifold, Cube) or manifold.dim != 1 or manifold.ambient != 1:
            raise invalid("manifold", "the interval Cube(1)", manifold)

    def ladder(self, manifold: Manifold) -> Sequence[Settings]:
        """0, 1, 2, 4, .., 512 knots."""
        self.check(manifold)
        return [{"knots": 0}, *({"knots": 2**k} for k in range(10))]

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
        """The smallest error for a number of knots (bisection in epsilon to a relative 1e-6 or so).

        Raises:
            InputError: unknown settings, knots outside 0..1023, a manifold that is not Cube(1), a bad target.
        """
        known(settings, ("knots",), self.name)
        self.check(manifold)
        links = integer(settings.get("knots"), "knots", maximum=MOST_LINKS - 1) + 1
        start = time.perf_counter()
        x, values = sampled(target, self.cells)
        found = smallest_error(x, values, links)
        return self._baseline(found, manifold, {"knots": len(found.knots)}, time.perf_counter() - start, dtype, device)

    def to_epsilon(self, problem: Problem, options: Options) -> Baseline:
        """The fewest knots for epsilon.

        The tube is as much thinner than epsilon as f strays from its polyline on the grid, measured; the grid is
        refined until that is a hundredth of epsilon or its limit is reached.

        Raises:
            EpsilonNotReached: the finest grid misses epsilon.
        """
        start, cells, epsilon = time.perf_counter(), self.cells, problem.wanted
        search = Search(problem, f"{self.name} on a grid of at most {max(FINEST, cells):,} cells", margin=1.0)
        while True:
            x, values = sampled(problem.target, cells)
            lost = _strayed(problem.target, x, values)
            inner = (epsilon - lost) * (1 - 1e-6)
            if (lost <= epsilon / 100 or cells >= FINEST) and inner > epsilon / 2:
                links = fewest_links(x, values - inner, values + inner, cells // PER_LINK)
                if links is not None:
                    found = self._measured(links, problem, start, options)
                    tried(search, found.settings, found)
                    if error_of(found) <= epsilon:
                        return replace(found, history=search.chosen(*sized(found.settings)))
            if cells >= FINEST:
                raise search.failure()
            cells *= 4

    def within(self, problem: Problem, budget: int, options: Options) -> Baseline:
        """The most knots that the budget allows."""
        start, search = time.perf_counter(), Search(problem, self.name, budget, limit="budget")
        if not search.affordable(Sizes(), LEAST_NUMBERS, "knots 0"):
            raise search.failure()
        x, values = sampled(problem.target, self.cells)
        links = min((budget - 1) // 3, MOST_LINKS, self.cells // PER_LINK)
        return self._measured(smallest_error(x, values, links), problem, start, options)

    def _measured(self, found: Polyline, problem: Problem, start: float, options: Options) -> Baseline:
        spent, knots = time.perf_counter() - start, {"knots": len(found.knots)}
        baseline = self._baseline(found, problem.manifold, knots, spent, options.dtype, options.device)
        return replace(baseline, measured=measure(baseline, problem.target, problem.manifold, seed=problem.seed))

    def _baseline(
        self,
        found: Polyline,
        manifold: Manifold,
        settings: Settings,
        seconds: float,
        dtype: torch.dtype,
        device: torch.device | str,
    ) -> Baseline:
        network = ReluNetwork(shallow_layers(found), dtype=dtype, device=device)
        return Baseline(
            method=self.name,
            family=self.family,
            settings=settings,
            counts=network.counts,
            seconds=seconds,
            function=network,
            manifold=manifold,
            dtype=dtype,
            device=torch.device(device),
            model=network,
        )


def sampled(target: Callable[..., Any], cells: int) -> tuple[Float, Float]:
    """Grid (cells + 1,) of [-1, 1] and the target on it."""
    x = torch.linspace(-1.0, 1.0, cells + 1, dtype=torch.float64)
    return x.numpy(), evaluate_target(target, x[:, None]).numpy()


def smallest_error(x: Float, values: Float, links: int) -> Polyline:
    """The function with at most `links` links that is nearest to the polyline (x, values) in the sup norm."""
    size = max(float(np.abs(values).max()), 1e-300)
    high = float(values.max() - values.min()) / 2 + 1e-12 * size
    low, best = 0.0, fewest_links(x, values - high, values + high, links)
    assert best is not None  # a constant does
    for _ in range(BISECTIONS):
        middle = float(np.sqrt(max(low, 1e-6 * high) * high))
        if high - middle <= 1e-12 * size:
            break
        found = fewest_links(x, values - middle, values + middle, links)
        if found is None:
            low = middle
        else:
            best, high = found, middle
    return best


def shallow_layers(found: Polyline) -> list[Layer]:
    """The two affine layers of `value + sum_i jump_i relu(x - t_i)`, t_0 the left end."""
    kinks = np.concatenate([[found.start], found.knots])
    jumps = np.concatenate([found.slopes[:1], np.diff(found.slopes)])
    return [layer(np.ones((len(kinks), 1)), -kinks), layer(jumps[None], [found.value])]


def _strayed(target: Callable[..., Any], x: Float, values: Float) -> float:
    """How far the target strays from its polyline at the middles of the cells."""
    middles = torch.from_numpy((x[1:] + x[:-1]) / 2)
    return float(np.abs(evaluate_target(target, middles[:, None]).numpy() - (values[1:] + values[:-1]) / 2).max())
