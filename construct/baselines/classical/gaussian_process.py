"""Gaussian process regression, scikit-learn's `GaussianProcessRegressor`."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.linalg import LinAlgError
from scipy.optimize import minimize

from construct.baselines.base import Settings
from construct.baselines.classical.common import Array, Classical, Fitted, RegressionProblem, Samples, optional
from construct.baselines.classical.common import stored_points as stored
from construct.baselines.classical.kernels import extent, kernel_multiply_adds
from construct.baselines.sampling import stream

COARSE = 200  # points for the likelihood of many starts
RESTARTS = 2
JITTERS = (1e-13, 1e-10, 1e-7)  # variance of the noise, in units of that of the values
SHRINK = (1.0, 0.8, 0.64, 0.5, 0.4)
STEPS = 60  # of the optimiser on few points
LENGTH_BOUNDS = (1e-2, 1e2)  # in units of the extent of M
VARIANCE_BOUNDS = (1e-2, 1e8)

Optimizer = Callable[[Callable[..., Any], Array, Array], tuple[Array, float]]


def optimizer(steps: int) -> Optimizer:
    """L-BFGS-B with a bound on its steps, in the form that scikit-learn calls; the result need not have converged."""

    def run(objective: Callable[..., Any], start: Array, bounds: Array) -> tuple[Array, float]:
        found = minimize(objective, start, method="L-BFGS-B", jac=True, bounds=bounds, options={"maxiter": steps})
        return found.x, found.fun

    return run


class GaussianProcess(Classical):
    """The mean of a Gaussian process given its values at n points: a kernel expansion, chosen by its likelihood.

    Kernels: Gaussian (one length, or one per coordinate) and Matérn 5/2, each with a variance. Their hyper-parameters
    maximise the likelihood of a part of the points from several starts, then that of all points for a few more steps;
    kernel, jitter and whether the last steps helped are chosen by validation.

    Stored: the points, a weight each, mean and scale of the values, variance and lengths. Multiply-adds: k D for y,
    then n (k + 2).
    """

    name = "gaussian_process"
    description = "Gaussian process, Gaussian and Matérn 5/2 kernels, lengths by likelihood (scikit-learn)"
    most_points = 2000

    def solve(self, problem: RegressionProblem, settings: dict[str, int]) -> Fitted:
        n, manifold = settings["points"], problem.manifold
        samples = problem.spread(n)
        part = samples.first(COARSE)
        best: tuple[float, Any, str, float] | None = None
        for kind, kernel in kernels(extent(samples.y), manifold.canonical).items():
            for jitter in JITTERS:
                problem.progress(f"{self.name}: {kind}, jitter {jitter:g}", None)
                small = regress(part, kernel, jitter, STEPS, RESTARTS, stream(problem.seed, "training"))
                model = None if small is None else shrunk(samples, small.kernel_, jitter)
                if model is not None:
                    score = problem.sup(model.predict)
                    if best is None or score < best[0]:
                        best = score, model, kind, jitter
        if best is None:  # nothing could be factorised: more noise than that always can
            kernel = kernels(extent(samples.y), manifold.canonical)["matern52"]
            best = float("inf"), regress(samples, kernel, 1e-4, 0), "matern52", 1e-4
        score, model, kind, jitter = best
        if n > COARSE:
            problem.progress(f"{self.name}: likelihood of {n} points", None)
            longer = regress(samples, model.kernel_, jitter, 8 if n <= 1000 else 3)
            if longer is not None and problem.sup(longer.predict) < score:
                model = longer

        def predict(y: Array) -> Array:
            return np.concatenate([model.predict(y[i : i + 2000]) for i in range(0, len(y), 2000)])

        lengths = np.atleast_1d(model.kernel_.k2.length_scale)
        chosen: Settings = {
            "kernel": kind,
            "lengths": [float(length) for length in lengths],
            "variance": float(model.kernel_.k1.constant_value),
            "jitter": jitter,
        }
        numbers = stored(manifold, n) + n + 3 + len(lengths)
        return Fitted(predict, numbers, kernel_multiply_adds(manifold, n), chosen, model)


def shrunk(samples: Samples, kernel: Any, jitter: float) -> Any:
    """All points with the lengths of a part of them, or the first shorter ones with which they can be factorised."""
    for factor in SHRINK:
        scaled = kernel.k2.clone_with_theta(kernel.k2.theta + math.log(factor))
        model = regress(samples, kernel.k1 * scaled, jitter, 0)
        if model is not None:
            return model
    return None


def kernels(size: float, coordinates: int) -> dict[str, Any]:
    """The kernels at their first hyper-parameters; `size` is the unit of length."""
    found = optional("sklearn.gaussian_process.kernels")
    bounds = (LENGTH_BOUNDS[0] * size, LENGTH_BOUNDS[1] * size)
    variance = found.ConstantKernel(1.0, VARIANCE_BOUNDS)
    one: dict[str, Any] = {
        "gaussian": variance * found.RBF(size, bounds),
        "matern52": variance * found.Matern(size, bounds, nu=2.5),
    }
    if coordinates > 1:
        one["gaussian_axes"] = variance * found.RBF(np.full(coordinates, size), bounds)
    return one


def regress(samples: Samples, kernel: Any, jitter: float, steps: int, restarts: int = 0, seed: int = 0) -> Any:
    """A fitted `GaussianProcessRegressor`, None where the matrix cannot be factorised; steps = 0 keeps the kernel."""
    module, exceptions = optional("sklearn.gaussian_process"), optional("sklearn.exceptions")
    model = module.GaussianProcessRegressor(
        kernel,
        alpha=jitter,
        optimizer=optimizer(steps) if steps else None,
        n_restarts_optimizer=restarts if steps else 0,
        normalize_y=True,
        random_state=seed % 2**32,
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=exceptions.ConvergenceWarning)  # a length at its bound
        try:
            return model.fit(samples.y, samples.f)
        except LinAlgError:
            return None
