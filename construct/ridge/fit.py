"""Fits in the ridge basis: which directions, then the coefficients of the smallest largest error.

Directions: QR with column pivoting of the atoms on M, orthogonal to the constant, down to the numerical rank of the
restricted polynomials. Where a family has many members a random part of it is looked at: directions in general
position span what all of them span. With the target in view (`adapted`), orthogonal least squares takes the direction
that lowers the error most at every step (Chen, Cowan and Grant 1991); of somewhat more than are needed those are then
left out again, one by one, whose loss raises it least (`eliminated`).

Coefficients: least squares, for all beginnings of that order at once, then Lawson's reweighting (weights times the
error at every step) towards the smallest largest error, on fresh points, as many as `points_for` says: on the points
that chose the directions a fit looks better than it is. The normal equations are those of atoms made nearly
orthonormal by the triangle of a small part of the points, so that they lose no accuracy.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy.linalg import qr, solve_triangular
from torch import Tensor

from construct.arrays import Float, Int
from construct.progress import tick
from construct.ridge.approximator import RidgeApproximator, RidgeBasis
from construct.ridge.sampling import Sample
from construct.validation import invalid

POINTS, LEAST_POINTS = 40, 4000  # a coefficient; at least
MANY, POINTS_MANY = 1000, 16  # beyond so many coefficients, fewer points for each
CUT = 1e-9  # of the first pivot: beyond, a direction is a combination of those before
LAWSON_STEPS = {100: 40, 300: 20, 1000: 8}  # up to that many coefficients
FEW_STEPS = 4
TREND = 3  # steps by which the gain of those to come is judged
ENTRIES, WINDOW = 2**28, 2**22  # of the atoms on the points of a fit: kept up to that many; at once
SMALL = 1e-14
DAMPING = 1e-5  # of the size of an atom: what is added where directions are left out again


@dataclass(frozen=True)
class Chosen:
    """Directions of a basis, the most independent (or the most useful) first.

    Attributes:
        order: (n,) places in the basis.
        pivots: (n,) shares of the first pivot.
    """

    order: Int
    pivots: Float

    def rank(self, cut: float = CUT) -> int:
        """How many are independent of those before."""
        below = np.flatnonzero(self.pivots <= cut)
        return int(below[0]) if below.size else len(self.pivots)


def choose(basis: RidgeBasis, sample: Sample) -> Chosen:
    """Order the directions of a basis by QR with column pivoting of the atoms on a sample, the constant first."""
    atoms = basis.atoms(sample.y).numpy()
    atoms -= atoms.mean(axis=0)  # what is orthogonal to the constant
    tick()
    small = qr(atoms, mode="r", overwrite_a=True, check_finite=False)[0][: atoms.shape[1]]  # in blocks, so faster
    tick()
    triangle, order = qr(small, mode="r", pivoting=True, overwrite_a=True, check_finite=False)
    diagonal = np.abs(np.diag(triangle[: len(order)]))
    tick()
    largest = max(float(diagonal[0]), np.finfo(np.float64).tiny) if len(diagonal) else 1.0
    return Chosen(order[: len(diagonal)].astype(np.int64), diagonal / largest)


def points_for(count: int, times: float = 1.0) -> int:
    """How many points a fit with so many directions is made on, a few `times` as many where those were not enough."""
    each = max(POINTS * min(count + 1, MANY), POINTS_MANY * (count + 1))
    return math.ceil(max(LEAST_POINTS, times * each))


def adapted(basis: RidgeBasis, sample: Sample, most: int, enough: float = 0.0, spanning: Int | None = None) -> Chosen:
    """Order at most `most` directions by orthogonal least squares: each lowers the sum of squares most, until the root
    of its mean is at most `enough`. `spanning`: places of directions that span what all do; None: all of them."""
    atoms, values = basis.atoms(sample.y).numpy(), (sample.values - sample.values.mean()).numpy()
    atoms -= atoms.mean(axis=0)
    size = _largest(values)
    values, enough = values / size, min(enough / size, 1.0)  # no square of them leaves the range of float64
    tick()
    part = atoms if spanning is None else atoms[:, spanning]
    orthonormal, triangle, _ = qr(part, mode="economic", pivoting=True, check_finite=False)
    tick()
    diagonal = np.abs(np.diag(triangle))
    orthonormal = orthonormal[:, diagonal > SMALL * diagonal.max(initial=0.0)]
    parts, left, rank = orthonormal.T @ atoms, orthonormal.T @ values, orthonormal.shape[1]  # in the space of the atoms
    beyond = max(0.0, float(values @ values - left @ left))
    sizes = np.linalg.norm(parts, axis=0)
    floor = np.maximum(math.sqrt(CUT) * sizes, CUT * sizes.max(initial=SMALL))
    order, pivots = list[int](), list[float]()
    for _ in range(min(most, rank)):
        tick()
        free = sizes > floor
        gain = np.where(free, np.abs(left @ parts) / np.maximum(sizes, SMALL), -1.0)
        best = int(gain.argmax())
        if gain[best] <= 0 or left @ left + beyond <= enough**2 * len(values):
            break
        order.append(best)
        pivots.append(float(sizes[best]))
        unit = parts[:, best] / sizes[best]
        left = left - unit * (unit @ left)
        parts = parts - np.outer(unit, unit @ parts)
        sizes = np.linalg.norm(parts, axis=0)
    return Chosen(np.array(order, dtype=np.int64), np.array(pivots) / max([*pivots, SMALL]))


def eliminated(basis: RidgeBasis, sample: Sample, order: Int) -> Int:
    """The same directions in the order in which least squares misses them: those are last whose loss costs least, one
    after the other. What was taken early by `adapted` may be of no use beside what came later."""
    if not len(order):
        return order
    atoms = basis.subset(order).atoms(sample.y).numpy()
    places = np.sort(order)
    atoms, values = atoms - atoms.mean(axis=0), (sample.values - sample.values.mean()).numpy()
    values = values / _largest(values)
    count, damping = len(order), DAMPING * math.sqrt(len(atoms)) * np.eye(len(order))  # dependent ones stay finite
    orthonormal, triangle = qr(np.concatenate([atoms, damping]), mode="economic", overwrite_a=True, check_finite=False)
    orthonormal, inverse = orthonormal[: len(atoms)], solve_triangular(triangle, np.eye(count))
    weights, covariance = inverse @ (orthonormal.T @ values), inverse @ inverse.T
    left, dropped = np.arange(count), list[int]()
    while len(left):
        tick()
        diagonal = np.diag(covariance)
        i = int(np.argmin(weights**2 / np.maximum(diagonal, SMALL)))
        dropped.append(int(places[left[i]]))
        column = covariance[:, i] / max(float(diagonal[i]), SMALL)
        weights, covariance = weights - column * weights[i], covariance - np.outer(column, covariance[i])
        kept = np.arange(len(left)) != i
        left, weights, covariance = left[kept], weights[kept], covariance[np.ix_(kept, kept)]
    return np.array(dropped[::-1], dtype=np.int64)


def _largest(values: Float) -> float:
    """Absolute value of the largest, 1 where all are 0."""
    return float(np.abs(values).max(initial=0.0)) or 1.0


@dataclass(frozen=True, eq=False)
class Fitting:
    """Least squares and minimax fits with the first directions of an order.

    Attributes:
        basis: of which `order` (n,) are places, the directions that may be used.
        sample: more than n points.
    """

    basis: RidgeBasis
    order: Int
    sample: Sample

    def __post_init__(self) -> None:
        if len(self.sample) <= len(self.order) + 1:
            raise invalid("sample", f"more than {len(self.order) + 1} points", len(self.sample))

    @cached_property
    def _triangle(self) -> Tensor:
        """(n + 1, n + 1) of the QR of the atoms on a part of the points, not singular."""
        rows = min(len(self.sample), 3 * len(self.order) + 64)
        triangle = torch.linalg.qr(self._atoms(slice(0, rows)), mode="r").R / math.sqrt(rows)
        diagonal = triangle.diagonal()
        floor = SMALL * float(diagonal.abs().max())
        diagonal.copy_(torch.where(diagonal.abs() < floor, torch.full_like(diagonal, floor), diagonal))
        return triangle

    def _atoms(self, window: slice) -> Tensor:
        """The constant and the atoms, (rows, n + 1)."""
        y = self.sample.y[window]
        used, places = self._used
        return torch.cat([torch.ones(len(y), 1, dtype=torch.float64), used.atoms(y)[:, places]], dim=1)

    @cached_property
    def _used(self) -> tuple[RidgeBasis, Tensor]:
        """The directions of the order alone, and the places of these among them."""
        ranks = np.argsort(np.argsort(self.order))
        return self.basis.subset(self.order), torch.from_numpy(ranks)

    def _windows(self) -> Iterator[slice]:
        step = max(1024, WINDOW // (len(self.order) + 1))
        for start in range(0, len(self.sample), step):
            tick()
            yield slice(start, min(start + step, len(self.sample)))

    @cached_property
    def _kept(self) -> Tensor | None:
        """The nearly orthonormal atoms on all points, where they are few enough."""
        if len(self.sample) * (len(self.order) + 1) > ENTRIES:
            return None
        kept = torch.empty(len(self.sample), len(self.order) + 1, dtype=torch.float64)
        for window in self._windows():
            kept[window] = self._solved(window)
        return kept

    def _solved(self, window: slice) -> Tensor:
        return torch.linalg.solve_triangular(self._triangle, self._atoms(window), upper=True, left=False)

    def _parts(self, size: int) -> Iterator[tuple[slice, Tensor]]:
        """The first `size` nearly orthonormal atoms, in parts."""
        for window in self._windows():
            whole = self._solved(window) if self._kept is None else self._kept[window]
            yield window, whole[:, :size]

    def _moments(self, size: int, weights: Tensor | None) -> tuple[Tensor, Tensor]:
        """Gram matrix and right-hand side of the weighted normal equations."""
        gram, right = torch.zeros(size, size, dtype=torch.float64), torch.zeros(size, dtype=torch.float64)
        for window, part in self._parts(size):
            weighted = part if weights is None else part * weights[window, None]
            gram += part.T @ weighted
            right += weighted.T @ self.sample.values[window]
        return gram, right

    def errors(self) -> Float:
        """(n + 1,) largest least-squares errors with the first 0, 1, .. n directions."""
        size = len(self.order) + 1
        gram, right = self._moments(size, None)
        lower = _cholesky(gram)
        share = torch.linalg.solve_triangular(lower, right[:, None], upper=False)[:, 0]
        largest = torch.zeros(size, dtype=torch.float64)
        for window, part in self._parts(size):
            orthogonal = torch.linalg.solve_triangular(lower.T, part, upper=True, left=False)
            sums = (orthogonal * share).cumsum(dim=1)
            largest = torch.maximum(largest, (self.sample.values[window, None] - sums).abs().amax(dim=0))
        return largest.numpy()

    def fit(self, count: int, goal: float = 0.0, steps: int | None = None) -> RidgeApproximator:
        """The fit with the first `count` directions, reweighted until its largest error is at most `goal` or will not
        be; with a goal of 0 as often as there are steps."""
        size, values = count + 1, self.sample.values
        steps = _lawson_steps(size) if steps is None else steps
        weights: Tensor | None = None
        best, error, path = torch.zeros(size, dtype=torch.float64), math.inf, list[float]()
        for _ in range(steps + 1):
            gram, right = self._moments(size, weights)
            lower = _cholesky(gram)
            solution = torch.cholesky_solve(right[:, None], lower)[:, 0]
            if not bool(torch.isfinite(solution).all()):
                break
            residual = torch.cat([part @ solution for _, part in self._parts(size)]).sub(values).abs()
            sup = float(residual.max())
            if sup < error:
                best, error = solution, sup
            weights = residual / len(values) if weights is None else weights * residual
            total, left = float(weights.sum()), steps - len(path)
            path.append(error)
            if error <= goal or not total > 0 or _hopeless(path, left, goal):
                break
            weights = weights / total
        triangle = self._triangle[:size, :size]
        solved = torch.linalg.solve_triangular(triangle, best[:, None], upper=True)[:, 0]
        basis, places = self.basis.subset(self.order[:count]), np.argsort(self.order[:count])
        return RidgeApproximator(basis, solved[1:][torch.from_numpy(places)], float(solved[0]), error)


def _cholesky(gram: Tensor) -> Tensor:
    """The lower factor of a Gram matrix, with a little added to its diagonal where it takes that."""
    scale, added = float(gram.diagonal().max()), SMALL
    while True:
        lower, failed = torch.linalg.cholesky_ex(gram)
        if not bool(failed) or added > 1:
            return lower
        gram = gram + added * scale * torch.eye(len(gram), dtype=torch.float64)
        added *= 100


def _hopeless(path: list[float], left: int, goal: float) -> bool:
    """Whether what the last steps gained, step for step, is not enough for the goal in those that are left."""
    if goal == 0 or len(path) <= TREND:
        return False
    return path[-1] * (path[-1] / path[-1 - TREND]) ** (left / TREND) > goal


def _lawson_steps(size: int) -> int:
    return next((steps for most, steps in LAWSON_STEPS.items() if size <= most), FEW_STEPS)
