"""Kernel ridge regression on n centres, and kernel least squares on n centres with more samples than centres.

Both are f(x) ~ mean + sum_i w_i kappa(|x - c_i| / length) with kappa the Gaussian or a Matérn kernel. Hyper-parameters
are chosen by the sup error on validation points, first on a wide grid with few centres, then around the best with all.
"""

from __future__ import annotations

import math
import warnings
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import scipy.linalg
from scipy.spatial.distance import cdist

from construct.baselines.base import Settings
from construct.baselines.classical.common import (
    Array,
    Classical,
    Fitted,
    RegressionProblem,
    Samples,
    frame_size,
    optional,
)
from construct.baselines.classical.common import stored_points as stored
from construct.baselines.classical.tuning import Optimum, Point, grid_search, pattern_search
from construct.manifolds import Manifold

CHUNK_ENTRIES = 2**22
LENGTHS = tuple(2.0**k for k in range(-4, 6))  # in units of the extent of M
LENGTH_BOUNDS = (1e-3, 1e3)
CLOSE = 3.0  # a second kernel is tried with all centres if its error on the grid is within this factor of the best


def gaussian(r: Array) -> Array:
    """exp(-r^2 / 2), analytic; sklearn's gamma is 1 / (2 length^2)."""
    return np.exp(-0.5 * r * r)


def matern52(r: Array) -> Array:
    """(1 + a + a^2 / 3) exp(-a), a = sqrt(5) r; four continuous derivatives."""
    a = math.sqrt(5) * r
    return (1 + a + a * a / 3) * np.exp(-a)


def matern32(r: Array) -> Array:
    """(1 + a) exp(-a), a = sqrt(3) r; two continuous derivatives."""
    a = math.sqrt(3) * r
    return (1 + a) * np.exp(-a)


def exponential(r: Array) -> Array:
    """exp(-r), the Matérn kernel of order 1/2, for rough functions."""
    return np.exp(-r)


KERNELS: dict[str, Callable[[Array], Array]] = {
    "gaussian": gaussian,
    "matern52": matern52,
    "matern32": matern32,
    "exponential": exponential,
}


@dataclass(frozen=True)
class Expansion:
    """y (P, k) -> offset + sum_i weights_i kappa(|y - centres_i| / length), evaluated in chunks."""

    kernel: str
    length: float
    centres: Array
    weights: Array
    offset: float

    def __call__(self, y: Array) -> Array:
        step = max(1, CHUNK_ENTRIES // len(self.centres))
        kappa = KERNELS[self.kernel]
        parts = [
            kappa(cdist(y[k : k + step], self.centres) / self.length) @ self.weights for k in range(0, len(y), step)
        ]
        return self.offset + np.concatenate(parts) if parts else np.zeros(0)


def extent(y: Array) -> float:
    """Root mean square distance from the mean, 1 for a single point."""
    found = float(np.sqrt(((y - y.mean(axis=0)) ** 2).sum(axis=1).mean()))
    return found if found > 0 else 1.0


@dataclass
class KernelSelection:
    """Scores (kernel, length, alpha) by the error on validation points; keeps the best expansion it has seen."""

    problem: RegressionProblem
    solve: Callable[[str, Point], Expansion | None]
    best: Expansion | None = None
    score: float = math.inf
    point: Point = field(default_factory=dict)

    def __call__(self, kernel: str, point: Point) -> float:
        found = self.solve(kernel, point)
        if found is None:
            return math.inf
        score = self.problem.sup(found)
        if self.best is None or score < self.score:
            self.best, self.score, self.point = found, score, point
        return score


class KernelMethod(Classical):
    """Tuning and counting of both methods.

    Stored: the centres, a weight each, and offset, length, alpha. Multiply-adds: k D for y, then n (k + 2): the
    squared distance, the kernel function counted as one, the weight.
    """

    coarse = 400  # centres during the search on the grid
    alphas: tuple[float, ...]
    alpha_bounds: tuple[float, float]

    @abstractmethod
    def solver(self, centres: Samples, samples: Samples) -> Callable[[str, Point], Expansion | None]:
        """Fits with hyper-parameters {"length": ., "alpha": .}; None where the system cannot be solved."""

    @abstractmethod
    def samples(self, problem: RegressionProblem, centres: Samples) -> Samples:
        """What is fitted."""

    @abstractmethod
    def evaluations(self, n: int) -> int:
        """Fits with all n centres that one may afford."""

    def solve(self, problem: RegressionProblem, settings: dict[str, int]) -> Fitted:
        n = settings["points"]
        centres = problem.spread(n)
        samples = self.samples(problem, centres)
        size = extent(centres.y)
        few = min(n, self.coarse)
        coarse = KernelSelection(problem, self.solver(centres.first(few), samples.first(len(samples) * few // n)))
        axes = {"length": [size * length for length in LENGTHS], "alpha": list(self.alphas)}
        ranked: list[tuple[str, Optimum]] = []
        for kernel in KERNELS:
            problem.progress(f"{self.name}: {kernel} kernel, {few} centres", None)
            ranked.append((kernel, grid_search(partial(coarse, kernel), axes)))
        ranked.sort(key=lambda entry: entry[1].score)
        tuner = KernelSelection(problem, self.solver(centres, samples))
        bounds = {"length": (LENGTH_BOUNDS[0] * size, LENGTH_BOUNDS[1] * size), "alpha": self.alpha_bounds}
        steps = {"length": math.sqrt(2), "alpha": 100.0}
        close = [entry for entry in ranked[:2] if entry[1].score < CLOSE * ranked[0][1].score]
        for kernel, found in close or ranked[:1]:
            problem.progress(f"{self.name}: {kernel} kernel, {n} centres", None)
            pattern_search(partial(tuner, kernel), found.point, steps, self.evaluations(n), bounds)
        if tuner.best is None:  # too ill-conditioned everywhere near: regularise until it can be solved
            point = {**ranked[0][1].point, "alpha": 1e-6}
            while tuner.best is None:
                tuner(ranked[0][0], point)
                point = {**point, "alpha": 100 * point["alpha"]}
        chosen: Settings = {"kernel": tuner.best.kernel, **tuner.point}
        manifold = problem.manifold
        numbers = stored(manifold, n) + n + 3
        return Fitted(tuner.best, numbers, kernel_multiply_adds(manifold, n), chosen, model=tuner.best)


def kernel_multiply_adds(manifold: Manifold, n: int) -> int:
    """k D + n (k + 2), of an expansion in n radial functions."""
    return frame_size(manifold) + n * (manifold.canonical + 2)


class KernelRidge(KernelMethod):
    """Kernel ridge regression: (K + alpha I) w = f - mean on the centres, by scikit-learn."""

    name = "kernel_ridge"
    description = "kernel ridge regression, Gaussian and Matérn kernels, tuned (scikit-learn KernelRidge)"
    alphas = (1e-14, 1e-11, 1e-6)
    alpha_bounds = (1e-15, 1.0)

    def evaluations(self, n: int) -> int:
        return 30 if n <= 1000 else 20 if n <= 2000 else 10

    def samples(self, problem: RegressionProblem, centres: Samples) -> Samples:
        return centres

    def solver(self, centres: Samples, samples: Samples) -> Callable[[str, Point], Expansion | None]:
        ridge = optional("sklearn.kernel_ridge").KernelRidge
        distance = cdist(centres.y, centres.y)
        offset = float(centres.f.mean())

        def solve(kernel: str, point: Point) -> Expansion | None:
            gram = KERNELS[kernel](distance / point["length"])
            with warnings.catch_warnings():
                # a small alpha is wanted, validation judges the result; a singular system is not worth an SVD
                warnings.filterwarnings("ignore", category=scipy.linalg.LinAlgWarning)
                warnings.filterwarnings("error", message="Singular matrix", category=UserWarning)
                try:
                    fitted = ridge(alpha=point["alpha"], kernel="precomputed").fit(gram, centres.f - offset)
                except UserWarning:
                    return None
            weights = np.asarray(fitted.dual_coef_, dtype=np.float64)
            if not np.isfinite(weights).all():
                return None
            return Expansion(kernel, point["length"], centres.y, weights, offset)

        return solve


class KernelRegression(KernelMethod):
    """Least squares for the same n weights on 3 n samples: min |K w - f|^2 + alpha n |w|^2, by a QR factorisation.

    As many stored numbers as kernel ridge regression, but more is known of the target. The QR factorisation of
    [K; sqrt(alpha n) I] needs no normal equations, so alpha may go down to 1e-30.
    """

    name = "kernel_regression"
    description = "least squares in n Gaussian or Matérn kernels on 3 n samples, tuned (own, LAPACK QR)"
    alphas = (1e-28, 1e-20, 1e-12)
    alpha_bounds = (1e-30, 1.0)
    coarse = 200
    most_points = 2000

    def evaluations(self, n: int) -> int:
        return 20 if n <= 500 else 10 if n <= 1000 else 6

    def samples(self, problem: RegressionProblem, centres: Samples) -> Samples:
        extra = problem.scattered(2 * len(centres))
        # interleaved, so that a prefix of the samples holds the same prefix of the centres
        order = np.arange(len(centres))
        y = np.concatenate([centres.y[:, None], extra.y[np.stack([2 * order, 2 * order + 1], 1)]], axis=1)
        f = np.concatenate([centres.f[:, None], extra.f[np.stack([2 * order, 2 * order + 1], 1)]], axis=1)
        return Samples(y.reshape(-1, y.shape[-1]), f.reshape(-1))

    def solver(self, centres: Samples, samples: Samples) -> Callable[[str, Point], Expansion | None]:
        n, m = len(centres), len(samples)
        distance = cdist(samples.y, centres.y)
        offset = float(samples.f.mean())

        def solve(kernel: str, point: Point) -> Expansion | None:
            system = np.zeros((m + n, n + 1))
            system[:m, :n] = KERNELS[kernel](distance / point["length"])
            system[:m, n] = samples.f - offset
            system[m:, :n].flat[:: n + 1] = math.sqrt(point["alpha"] * n)
            triangle = np.asarray(np.linalg.qr(system, mode="r"))
            try:
                weights = scipy.linalg.solve_triangular(triangle[:n, :n], triangle[:n, n], check_finite=False)
            except scipy.linalg.LinAlgError:
                return None
            if not np.isfinite(weights).all():
                return None
            return Expansion(kernel, point["length"], centres.y, weights, offset)

        return solve
