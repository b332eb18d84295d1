"""Interpolation by radial functions, scipy's `RBFInterpolator`: global, or from the neighbours of each point."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.interpolate import RBFInterpolator

from construct.baselines.base import Settings
from construct.baselines.classical.common import Array, Classical, Fitted, RegressionProblem, Samples, frame_size
from construct.baselines.classical.common import stored_points as stored
from construct.baselines.classical.kernels import extent
from construct.baselines.classical.tuning import Optimum, Point, grid_search, pattern_search
from construct.manifolds import Manifold
from construct.validation import invalid

GLOBAL_UP_TO = 4000  # beyond, a system of n equations is too large
LOCAL_FROM = 1000
COARSE = 400
NEIGHBOURS = 50
SPLINES = (("thin_plate_spline", 1), ("cubic", 1), ("quintic", 2), ("quintic", 1))  # with the degree of polynomials
SCALED = ("gaussian", "inverse_multiquadric")
SHAPES = tuple(2.0**k for k in range(-4, 5))  # epsilon in units of 1 / extent
EVALUATIONS = 12
FEW = 2000  # points up to which one may afford all evaluations


@dataclass(frozen=True)
class Interpolant:
    """One interpolant with what it was made from."""

    kernel: str
    epsilon: float
    degree: int
    neighbours: int | None
    function: Callable[[Array], Array]

    def __call__(self, y: Array) -> Array:
        return np.asarray(self.function(y), dtype=np.float64)


def interpolant(
    samples: Samples, kernel: str, degree: int, epsilon: float = 1.0, neighbours: int | None = None
) -> Interpolant | None:
    """The interpolant with polynomials of one degree (-1: none), or None where the points do not determine it.

    On a sphere the quadratic monomials that belong to r^5 are dependent. With linear ones scipy warns that the system
    is not proved to be regular; it is solved, and validation judges the result.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`degree` should not be below", category=UserWarning)
        try:
            function = RBFInterpolator(
                samples.y, samples.f, neighbors=neighbours, kernel=kernel, epsilon=epsilon, degree=degree
            )
        except (np.linalg.LinAlgError, ValueError):  # dependent monomials; fewer points than monomials
            return None
    return Interpolant(kernel, epsilon, degree, neighbours, function)


class RadialBasis(Classical):
    """Interpolation by thin plate splines, r^3, r^5, Gaussians and inverse multiquadrics; validation chooses.

    Stored, global: the points, a weight each, the coefficients of the polynomial, its shift and scale, and epsilon;
    local: the points and the values. Multiply-adds, global: k D for y, then n (k + 2) + r (k + 1) with r monomials;
    local with q neighbours: k D for y, q k ceil(log2 n) for the tree (an estimate from below), q^2 (k + 1) for the
    matrix and (q + r)^3 / 3 + (q + r) to solve it, for every point anew.
    """

    name = "rbf"
    description = "radial basis functions, global or from 50 neighbours, tuned (scipy RBFInterpolator)"
    most_points = 100_000

    def solve(self, problem: RegressionProblem, settings: dict[str, int]) -> Fitted:
        n, manifold = settings["points"], problem.manifold
        samples = problem.spread(n) if n <= GLOBAL_UP_TO else problem.scattered(n)
        candidates: list[tuple[float, Interpolant]] = []

        def consider(found: Interpolant | None) -> float:
            if found is None:
                return math.inf
            try:
                score = problem.sup(found)
            except np.linalg.LinAlgError:  # a local system that is singular
                return math.inf
            candidates.append((score, found))
            return score

        if n <= GLOBAL_UP_TO:
            problem.progress(f"{self.name}: {n} points, splines", None)
            for spline, degree in SPLINES:
                consider(interpolant(samples, spline, degree))
            ranked = self._coarse(problem, samples)
            for kernel, found in ranked if n <= FEW else ranked[:1]:

                def score(point: Point, kernel: str = kernel) -> float:
                    return consider(interpolant(samples, kernel, -1, point["epsilon"]))

                evaluations = EVALUATIONS if n <= FEW else EVALUATIONS // 2
                pattern_search(score, found.point, {"epsilon": math.sqrt(2)}, evaluations)
        if n > LOCAL_FROM:
            for spline, degree in SPLINES:
                problem.progress(f"{self.name}: {n} points, local {spline}", None)
                consider(interpolant(samples, spline, degree, neighbours=NEIGHBOURS))
        if not candidates:
            raise invalid("points", f"enough for a radial interpolant on {manifold!r}", n)
        best = min(candidates, key=lambda entry: entry[0])[1]
        chosen: Settings = {"kernel": best.kernel, "degree": best.degree}
        if best.kernel in SCALED:
            chosen["epsilon"] = best.epsilon
        if best.neighbours is not None:
            chosen["neighbours"] = best.neighbours
        return Fitted(best, *counts(manifold, n, best), chosen, model=best.function)

    def _coarse(self, problem: RegressionProblem, samples: Samples) -> list[tuple[str, Optimum]]:
        """The kernels with a scale and their best epsilon on a part of the points, the better kernel first."""
        few, size = samples.first(COARSE), extent(samples.y)

        def score(kernel: str, point: Point) -> float:
            found = interpolant(few, kernel, -1, point["epsilon"])
            return math.inf if found is None else problem.sup(found)

        axes = {"epsilon": [shape / size for shape in SHAPES]}
        ranked = [(kernel, grid_search(partial(score, kernel), axes)) for kernel in SCALED]
        return sorted(ranked, key=lambda entry: entry[1].score)


def counts(manifold: Manifold, n: int, found: Interpolant) -> tuple[int, int]:
    """Numbers stored and multiply-adds, see `RadialBasis`."""
    k, q = manifold.canonical, found.neighbours
    monomials = math.comb(k + found.degree, k) if found.degree >= 0 else 0
    if q is None:
        numbers = stored(manifold, n) + n + monomials + (2 * k if monomials else 0) + 1
        return numbers, frame_size(manifold) + n * (k + 2) + monomials * (k + 1)
    size = q + monomials
    solving = q * k * math.ceil(math.log2(n)) + q * q * (k + 1) + size**3 // 3 + size
    return stored(manifold, n) + n, frame_size(manifold) + solving
