"""Fits of a function by `l + sum_(i < r) sigma_i q_i^2`, l and q_i in a space V of functions on points.

The squares of few q_i stand for a basis of V^2: on the sphere three squares of polynomials of degree 4 make those of
degree 8, which has 56 dimensions more. Their numbers are found by Levenberg-Marquardt steps on the values themselves
(l is eliminated by projection), so that the fit is of the function and not of one polynomial; then the points are
weighted by their errors (Lawson), towards the smallest largest error.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from construct.arrays import Float
from construct.progress import tick

STEPS, WEIGHTED_STEPS = 100, 4
WEIGHTINGS = 12
WITHIN_REACH = 6.0
MANY, FEW_STEPS, FEW_WEIGHTINGS, FEW_POINTS = 250, 40, 3, 8
"""Numbers beyond which a fit is from one start, with few steps on few points for each number."""
STARTS = 4
LARGEST_SQUARE = 1e3  # times what the space leaves of the values: larger ones cost five compositions and more
STALLED = 1e-4  # relative gain of the sum of squares, over four steps


@dataclass(frozen=True, eq=False)
class SquaresFit:
    """`rest + sum_i signs_i forms_i^2` over 1 and the features: (1 + F,), (r, 1 + F), (r,); its largest error."""

    rest: Float
    forms: Float
    signs: Float
    error: float


def linear_fit(features: Float, values: Float) -> SquaresFit:
    """No squares: least squares with Lawson's weights."""
    return SquaresProblem(features, values).settled(np.zeros((0, features.shape[1])), np.zeros(0), WEIGHTINGS)


def squares_fit(
    features: Float,
    values: Float,
    count: int,
    goal: float,
    seed: int,
    *,
    starts: int = STARTS,
    hopeless: float = math.inf,
) -> SquaresFit:
    """The fit with `count` >= 1 squares to values (N,) at points with features (N, F).

    Signs are tried from half of each on, and the first fit with an error of at most `goal` is taken, else the best.
    Squares that cancel each other, `(t u + q/t)^2` with u^2 in the space and large t, come last: their errors do not.

    hopeless: times the goal: with an error above that from one start no other is tried.
    """
    problem, generator = SquaresProblem(features, values), np.random.default_rng(seed)
    patterns = sorted(range(count + 1), key=lambda plus: abs(2 * plus - count))
    numbers, weightings, first = count * features.shape[1], WEIGHTINGS, problem
    if numbers > MANY:
        starts, patterns, weightings = 1, patterns[:2], FEW_WEIGHTINGS
        first = SquaresProblem(features[: FEW_POINTS * numbers], values[: FEW_POINTS * numbers])
    found: list[tuple[bool, float, SquaresFit]] = []
    for _ in range(starts):
        for plus in patterns:
            signs = np.array([1.0] * plus + [-1.0] * (count - plus))
            start = generator.standard_normal((count, features.shape[1])) * np.sqrt(problem.size / features.shape[1])
            forms = problem.over_basis(first, first.solved(start, signs, STEPS if numbers <= MANY else FEW_STEPS))
            # weighting gains a factor of a few: what is far off is not worth it
            one = problem.settled(forms, signs, 0)
            if one.error <= WITHIN_REACH * goal:
                one = problem.settled(forms, signs, weightings)
            large = float(((problem.one @ one.forms.T) ** 2).max()) > LARGEST_SQUARE * problem.size
            found.append((large, one.error, one))
            if one.error <= goal and not large:
                return one
        if min(error for _, error, _ in found) > hopeless * goal:
            break
    return min(found, key=lambda entry: entry[:2])[2]


class SquaresProblem:
    """Values (N,) at points with features (N, F); forms are over an orthonormal basis, without the constant."""

    def __init__(self, features: Float, values: Float) -> None:
        self.values = values
        self.one = np.hstack([np.ones((len(features), 1)), features])
        orthonormal, self.triangle = np.linalg.qr(self.one)
        self.basis = orthonormal * np.sqrt(len(features))  # the first column is constant
        self.weigh(np.ones(len(features)))
        self.size = float(np.abs(self.outside(values)).max())

    def weigh(self, weights: Float) -> None:
        """Weights (N,) of the points, of mean 1."""
        self.root = np.sqrt(weights)
        self.span = np.linalg.qr(self.basis * self.root[:, None])[0]

    def over_basis(self, other: SquaresProblem, forms: Float) -> Float:
        """Forms (r, n) over the basis of the same features on other points, over this one; up to constants."""
        if other is self:
            return forms
        whole = np.hstack([np.zeros((len(forms), 1)), forms]) * np.sqrt(len(other.values))
        plain = np.linalg.solve(other.triangle, whole.T)
        return np.asarray((self.triangle @ plain).T[:, 1:] / np.sqrt(len(self.values)))

    def outside(self, values: Float) -> Float:
        """What weighted values (N,) or (N, ..) leave outside the span."""
        scaled = self.root.reshape(-1, *[1] * (values.ndim - 1)) * values
        return np.asarray(scaled - self.span @ (self.span.T @ scaled))

    def solved(self, forms: Float, signs: Float, steps: int) -> Float:
        """Levenberg-Marquardt from forms (r, n)."""
        mu, linear = 1e-1, self.basis[:, 1:]
        error = self._residual(forms, signs)
        loss, before = float(error @ error), np.inf
        for step in range(steps):
            tick()
            q = linear @ forms.T
            slopes = [2 * s * self.outside(linear * q[:, i, None]) for i, s in enumerate(signs)]
            jacobian = np.hstack(slopes)
            normal, gradient = jacobian.T @ jacobian, jacobian.T @ error
            diagonal = float(np.trace(normal)) / len(normal)
            for _ in range(8):
                damped = normal + (mu * diagonal + np.finfo(np.float64).tiny) * np.eye(len(normal))
                trial = forms + np.linalg.solve(damped, gradient).reshape(forms.shape)
                after = self._residual(trial, signs)
                if (lower := float(after @ after)) < loss:
                    forms, error, loss, mu = trial, after, lower, max(mu / 5, 1e-13)
                    break
                mu = min(mu * 4, 1e8)
            else:
                break
            if step % 4 == 3:
                if loss > (1 - STALLED) * before:
                    break
                before = loss
        return forms

    def _residual(self, forms: Float, signs: Float) -> Float:
        return self.outside(self.values - (self.basis[:, 1:] @ forms.T) ** 2 @ signs)

    def settled(self, forms: Float, signs: Float, weightings: int) -> SquaresFit:
        """Weightings from forms (r, n), the best of all steps, over 1 and the features."""
        best = (np.inf, forms, np.zeros(self.basis.shape[1]))
        weights = np.ones(len(self.values))
        for number in range(weightings + 1):
            tick()
            self.weigh(weights)
            if number and len(signs):
                forms = self.solved(forms, signs, WEIGHTED_STEPS if forms.size <= MANY else 1)
            left = self.values - (self.basis[:, 1:] @ forms.T) ** 2 @ signs
            rest = np.linalg.lstsq(self.basis * self.root[:, None], left * self.root, rcond=None)[0]
            error = np.abs(left - self.basis @ rest)
            if (largest := float(error.max())) < best[0]:
                best = largest, forms, rest
            if not largest > 0:
                break
            weights = weights * (error + 1e-3 * largest)
            weights *= len(weights) / weights.sum()
        self.weigh(np.ones(len(self.values)))
        error_found, forms, rest = best
        over = np.vstack([rest[None], np.hstack([np.zeros((len(forms), 1)), forms])]) * np.sqrt(len(self.values))
        over = np.linalg.solve(self.triangle, over.T).T
        return SquaresFit(over[0], over[1:], signs, error_found)
