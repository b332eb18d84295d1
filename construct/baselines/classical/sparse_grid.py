"""Sparse grids on a cube, by Tasmanian."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

from construct.baselines.classical.common import Array, Classical, Fitted, RegressionProblem, frame_size, optional
from construct.manifolds import Cube, Manifold
from construct.validation import invalid

DEEPEST = 200
DEEPEST_LEVEL = 11  # 2^11 + 1 nodes on an axis; the weights of longer ones take minutes
MOST_DIMENSIONS = 12


class SparseGrid(Classical):
    """Interpolation on a sparse grid of at most `points` nodes of a cube, in any R^D.

    Rules: piecewise linear, quadratic and cubic hierarchical polynomials, and global Clenshaw-Curtis polynomials of
    bounded total degree and of bounded level; each at the greatest depth within `points`, validation chooses.

    Stored: one coefficient per node (nodes follow from rule and depth) and the frame k D where k < D. Multiply-adds:
    k D for y, then d + 1 for each node, a product of d factors and the sum; an upper bound for local rules.
    """

    name = "sparse_grid"
    description = "sparse grids, local and global polynomials (Tasmanian)"
    most_points = 20_000

    def check(self, manifold: Manifold) -> None:
        if not isinstance(manifold, Cube) or manifold.dim > MOST_DIMENSIONS:
            raise invalid("manifold", f"a Cube of dimension <= {MOST_DIMENSIONS} for {self.name}", manifold)

    def solve(self, problem: RegressionProblem, settings: dict[str, int]) -> Fitted:
        points, manifold = settings["points"], problem.manifold
        d = manifold.dim
        best: tuple[float, str, int, Any] | None = None
        for rule, make in rules(d).items():
            problem.progress(f"{self.name}: {rule}", None)
            depth, grid = deepest(make, points, DEEPEST_LEVEL if rule == "global_level" else DEEPEST)
            nodes = torch.from_numpy(np.ascontiguousarray(grid.getNeededPoints()))
            grid.loadNeededValues(problem.at(manifold.embed(nodes)).f[:, None])
            error = problem.sup(evaluator(grid))
            if best is None or error < best[0]:
                best = error, rule, depth, grid
        assert best is not None  # there are rules, and depth 0 has one node
        _, rule, depth, grid = best
        nodes_used = int(grid.getNumPoints())
        return Fitted(
            evaluator(grid),
            nodes_used + frame_size(manifold),
            frame_size(manifold) + nodes_used * (d + 1),
            {"rule": rule, "depth": depth, "nodes": nodes_used},
            grid,
        )


def rules(d: int) -> dict[str, Callable[[int], Any]]:
    """Functions from a depth to an empty grid on [-1, 1]^d."""
    tasmanian = optional("Tasmanian", "pip install Tasmanian")
    local, polynomial = tasmanian.makeLocalPolynomialGrid, tasmanian.makeGlobalGrid
    found: dict[str, Callable[[int], Any]] = {
        f"local_{order}": partial(local, d, 1, iOrder=order, sRule="localp") for order in (1, 2, 3)
    }
    for kind, name in (("iptotal", "global_degree"), ("level", "global_level")):
        found[name] = partial(polynomial, d, 1, sType=kind, sRule="clenshaw-curtis")
    return found


def deepest(make: Callable[[int], Any], points: int, limit: int = DEEPEST) -> tuple[int, Any]:
    """The greatest depth <= limit with at most `points` nodes, and its grid; depth 0, one node, always fits.

    Steps of an eighth of the depth, then of one: nodes may double with every level, so doubling would overshoot.
    """
    depth, grid = 0, make(0)
    for part in (8, limit + 1):
        while (next_depth := depth + max(1, depth // part)) <= limit:
            finer = make(next_depth)
            if finer.getNumNeeded() > points:
                break
            depth, grid = next_depth, finer
    return depth, grid


def evaluator(grid: Any) -> Callable[[Array], Array]:
    """y (P, d) -> (P,); y is moved into the cube, off which the grid is not defined."""

    def predict(y: Array) -> Array:
        return np.asarray(grid.evaluateBatch(np.ascontiguousarray(y.clip(-1.0, 1.0))))[:, 0]

    return predict
