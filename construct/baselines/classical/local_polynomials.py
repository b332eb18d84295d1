"""Our own local polynomials on tangent charts, evaluated directly: what the network computes, without the network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import islice

import numpy as np
import torch

from construct.atlas import atlas_for, candidate_atlases
from construct.baselines.base import Settings
from construct.baselines.classical.common import Array, Classical, Fitted, RegressionProblem, frame_size
from construct.baselines.classical.common import stored_points as stored
from construct.local import PolynomialSpace, fit_charts
from construct.manifolds import Manifold
from construct.validation import invalid

DEGREES = (1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 18)
ATLASES = 6
MOST_CHARTS = 200
GROWTH = 1.7
MOST_COEFFICIENTS = 1000  # of one chart on the ladder
MOST_NUMBERS = 60_000
OVERLAP_SAMPLES = 1000


class LocalPolynomials(Classical):
    """One polynomial of total degree `degree` on each of `charts` tangent charts, blended by the telescoping partition.

    Settings: {"charts": n, "degree": p}, n charts at least as many as the reach asks for. Near-minimax fits in a
    Chebyshev basis. Stored: n C(d + p, d) coefficients, n centres, n frames of d vectors, radius, core radius and
    scale. Multiply-adds: k D for y, n (k + 1) for the distances and bumps, and in each of the m charts that hold a
    point (m the mean over samples, rounded up) k d for its coordinates, d (p - 1) for the recursion, d for each
    coefficient.
    """

    name = "local_polynomials"
    description = "polynomials on tangent charts with a telescoping partition of unity (own, construct.local)"
    parameters = ("charts", "degree")

    def ladder(self, manifold: Manifold) -> Sequence[Settings]:
        """Six atlases with ever more charts times degrees up to 18, by the numbers they store."""
        counts = [atlas.count for atlas in islice(candidate_atlases(manifold, MOST_CHARTS, growth=GROWTH), ATLASES)]
        sizes = [
            (numbers(manifold, n, p), n, p)
            for n in counts
            for p in DEGREES
            if math.comb(manifold.dim + p, p) <= MOST_COEFFICIENTS
        ]
        kept = [entry for entry in sorted(sizes) if entry[0] <= MOST_NUMBERS] or [min(sizes)]
        return [{"charts": n, "degree": p} for _, n, p in kept]

    def solve(self, problem: RegressionProblem, settings: dict[str, int]) -> Fitted:
        charts, degree, manifold = settings["charts"], settings["degree"], problem.manifold
        d, k = manifold.dim, manifold.canonical
        if math.comb(d + degree, d) > 20 * MOST_COEFFICIENTS:
            count = f"{math.comb(d + degree, d):,} for degree {degree}"
            raise invalid("degree", f"at most {20 * MOST_COEFFICIENTS:,} coefficients on every chart", got=count)
        atlas = atlas_for(manifold, charts=charts)
        found = fit_charts(problem.target, atlas, PolynomialSpace(d, degree))
        overlap = float(
            (atlas.partition(manifold.sample(OVERLAP_SAMPLES, problem.seed)) > 0).sum(dim=1).double().mean()
        )
        each = k * d + d * max(0, degree - 1) + d * math.comb(d + degree, d)

        def predict(y: Array) -> Array:
            with torch.no_grad():
                return found(manifold.embed(torch.from_numpy(y))).numpy().astype(np.float64, copy=False)

        work = frame_size(manifold) + charts * (k + 1) + math.ceil(overlap) * each
        return Fitted(predict, numbers(manifold, charts, degree), work, model=found)


def numbers(manifold: Manifold, charts: int, degree: int) -> int:
    """Numbers that `charts` polynomials of `degree` store, see `LocalPolynomials`."""
    d = manifold.dim
    return charts * math.comb(d + degree, d) + stored(manifold, charts * (1 + d)) + 3
