"""k nearest neighbours, scikit-learn's `KNeighborsRegressor`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from construct.baselines.classical.common import (
    Array,
    Classical,
    Fitted,
    RegressionProblem,
    frame_size,
    optional,
    stored_points,
)

NEIGHBOURS = (1, 2, 3, 4, 5, 6, 8, 10, 15)
WEIGHTS = ("uniform", "distance")
QUERIES = 500


class NearestNeighbours(Classical):
    """Mean of the values at the q nearest of n points, plain or weighted by 1 / distance; validation chooses.

    Stored: the points, a value each, and q. Multiply-adds: k D for y, k for each distance that scikit-learn's k-d tree
    computes (the mean over queries, counted by the tree), and q for the mean.
    """

    name = "nearest_neighbours"
    description = "k nearest neighbours, k and weights tuned (scikit-learn KNeighborsRegressor)"
    most_points = 1_000_000

    def solve(self, problem: RegressionProblem, settings: dict[str, int]) -> Fitted:
        n, manifold = settings["points"], problem.manifold
        neighbours = optional("sklearn.neighbors")
        samples = problem.spread(n) if n <= 4000 else problem.scattered(n)
        best: tuple[float, int, str, Any] | None = None
        for q in (q for q in NEIGHBOURS if q <= n):
            for weights in WEIGHTS:
                model = neighbours.KNeighborsRegressor(q, weights=weights, algorithm="kd_tree").fit(
                    samples.y, samples.f
                )
                error = problem.sup(model.predict)
                if best is None or error < best[0]:
                    best = error, q, weights, model
        assert best is not None  # q = 1 is always tried
        _, q, weights, model = best

        def predict(y: Array) -> Array:
            return np.asarray(model.predict(y), dtype=np.float64)

        tree = neighbours.KDTree(samples.y)
        queries = problem.validation.y[:QUERIES]
        tree.reset_n_calls()
        tree.query(queries, k=q)
        distances = math.ceil(tree.get_n_calls() / len(queries))
        return Fitted(
            predict,
            stored_points(manifold, n) + n + 1,
            frame_size(manifold) + distances * manifold.canonical + q,
            {"neighbours": q, "weights": weights},
            model,
        )
