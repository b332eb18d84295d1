"""Planner of the paper construction: the number of cells and the degree for an epsilon.

The error of the glued Taylor polynomials falls like `N^-(s+1)`, so every measured error predicts the N that epsilon
needs; a few steps settle it. For a beta-Hölder target the degree is the paper's `s = ceil(beta) - 1`; for a smooth one
several are tried and the one with the fewest parameters is kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from construct.atlas import Atlas
from construct.errors import BudgetExceeded, EpsilonNotReached
from construct.manifolds import Manifold
from construct.measurement import search_sup
from construct.paper.layout import paper_counts
from construct.paper.program import paper_network
from construct.paper.taylor import TaylorApproximator, paper_atlas, taylor_approximator, taylor_degree
from construct.progress import Progress
from construct.targets import evaluate_target
from construct.transformer import Transformer

Target = Callable[..., Any]

MARGIN = 0.98
SMOOTH_DEGREES = (1, 2, 3, 4)
DEFAULT_CELLS, DEFAULT_DEGREE = 8, 1
FIRST_CELLS = 4
MOST_STEPS = 12
SEARCH_SAMPLES = 8_000


@dataclass
class PaperPlanner:
    """Search for the cheapest (s, N); `best_error` and `dearest` say what was reached and what it would have cost."""

    target: Target
    manifold: Manifold
    epsilon: float
    budget: int
    seed: int
    progress: Progress
    best_error: float = math.inf
    needed: int | None = None

    def smallest(self, atlas: Atlas, degree: int, cheapest: int) -> tuple[TaylorApproximator, int] | None:
        """The approximator of one degree with (almost) the fewest cells within epsilon, and its parameters."""
        failed, cells = 0, FIRST_CELLS
        found: tuple[TaylorApproximator, int] | None = None
        for _ in range(MOST_STEPS):
            parameters = paper_counts(atlas, cells=cells, degree=degree).parameters
            if parameters > min(self.budget, cheapest):
                if parameters > self.budget and found is None:
                    self.needed = parameters if self.needed is None else min(self.needed, parameters)
                return found
            approximator = taylor_approximator(self.target, atlas, cells=cells, degree=degree)
            error = self.error(approximator)
            self.progress(f"degree {degree}, {cells} cells: error {error:.2e}", None)
            self.best_error = min(self.best_error, error)
            if error <= MARGIN * self.epsilon:
                found = approximator, parameters
            else:
                failed = max(failed, cells)
            upper = found[0].cells if found else None
            if upper is not None and upper - failed <= max(1, upper // 16):
                return found
            following = math.ceil(cells * (error / (0.95 * self.epsilon)) ** (1 / (degree + 1)))
            if upper is None:
                cells = min(max(following, cells + 1), 4 * cells)
            else:
                cells = following if failed < following < upper else (failed + upper) // 2
        return found

    def error(self, function: Callable[[Tensor], Tensor]) -> float:
        """Measured sup error on the manifold."""

        def difference(x: Tensor) -> Tensor:
            with torch.no_grad():
                return (function(x) - evaluate_target(self.target, x)).abs()

        return search_sup(difference, self.manifold, SEARCH_SAMPLES, self.seed).sup

    def plan(self, smoothness: float | None) -> TaylorApproximator:
        """The cheapest approximator within epsilon.

        Raises:
            BudgetExceeded, EpsilonNotReached: with the best error reached.
        """
        atlas = paper_atlas(self.manifold)
        degrees = SMOOTH_DEGREES if smoothness is None else (taylor_degree(smoothness),)
        best: tuple[TaylorApproximator, int] | None = None
        for degree in degrees:
            found = self.smallest(atlas, degree, best[1] if best else self.budget + 1)
            if found is not None and (best is None or found[1] < best[1]):
                best = found
        if best is not None:
            return best[0]
        reached = f"the best sup error reached is {self.best_error:.3g}"
        if self.needed is not None:
            raise BudgetExceeded(
                f"max_parameters: epsilon = {self.epsilon:g} on {self.manifold!r} with the paper construction needs "
                f"at least {self.needed:,} parameters, the budget is {self.budget:,}; {reached}",
                self.best_error,
            )
        raise EpsilonNotReached(
            f"epsilon: {self.epsilon:g} is not reached on {self.manifold!r} with the paper construction; {reached}",
            self.best_error,
        )


def paper_plan(
    target: Target,
    manifold: Manifold,
    epsilon: float,
    smoothness: float | None,
    *,
    budget: int,
    seed: int,
    position_code: str,
    dtype: torch.dtype,
    device: torch.device | str,
    progress: Progress,
) -> Transformer:
    """The paper's network for an epsilon."""
    planner = PaperPlanner(target, manifold, epsilon, budget, seed, progress)
    approximator = planner.plan(smoothness)
    return paper_network(
        approximator,
        position_code=position_code,
        dtype=dtype,
        device=device,
        progress=progress,
        epsilon=epsilon,
    )


def paper_by_hand(
    target: Target,
    manifold: Manifold,
    epsilon: float | None,
    smoothness: float | None,
    *,
    charts: int | None,
    cells: int | None,
    degree: int | None,
    budget: int,
    position_code: str,
    dtype: torch.dtype,
    device: torch.device | str,
    progress: Progress,
) -> Transformer:
    """The paper's network at a resolution given by hand; what is not given is 8 cells and s = ceil(beta) - 1, or 1."""
    atlas = paper_atlas(manifold, charts=charts)
    if degree is None:
        degree = DEFAULT_DEGREE if smoothness is None else taylor_degree(smoothness)
    cells = DEFAULT_CELLS if cells is None else cells
    needed = paper_counts(atlas, cells=cells, degree=degree).parameters
    if needed > budget:
        raise BudgetExceeded(
            f"max_parameters: {atlas.count} charts with {cells} cells of degree {degree} need about {needed:,} "
            f"parameters, the budget is {budget:,}",
            math.inf,
        )
    approximator = taylor_approximator(target, atlas, cells=cells, degree=degree)
    return paper_network(
        approximator,
        position_code=position_code,
        dtype=dtype,
        device=device,
        progress=progress,
        epsilon=epsilon,
    )
