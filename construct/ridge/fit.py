"""Fits in the ridge basis: which directions, then minimax coefficients.

Directions: QR with column pivoting of the atoms on M, the constant first, down to the numerical rank of the restricted
polynomials. Where candidates are many, a random sketch takes the place of the points and a random part of the lattice that
of the lattice: directions in general position span what all of them span.

Coefficients: least squares, then Lawson's reweighting (weights times the error at every step) towards the smallest largest
error, on fresh points, `POINTS` for each coefficient: on the points that chose the directions a fit looks better than it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg import qr
from torch import Tensor

from construct.arrays import Float, Int
from construct.progress import tick
from construct.ridge.approximator import RidgeApproximator, RidgeBasis
from construct.targets import evaluate_target
from construct.validation import invalid

Target = Callable[..., object]

POINTS, LEAST_POINTS = 40, 4000  # a coefficient; at least
CUT = 1e-10  # of the first pivot: beyond, a direction is a combination of those before
LAWSON_STEPS, FEW_STEPS, MANY = 25, 6, 300
SKETCH = 1.3  # rows of a sketch for each column


@dataclass(frozen=True)
class Chosen:
    """Directions of a basis in the order of their pivots.

    Attributes:
        order: (n,) numbers of directions, the most independent first.
        pivots: (n,) shares of the first pivot, not increasing.
    """

    order: Int
    pivots: Float

    def rank(self, cut: float = CUT) -> int:
        """How many are independent of those before."""
        return int((self.pivots > cut).sum())


def choose(basis: RidgeBasis, points: Tensor) -> Chosen:
    """Order the directions of a basis by QR with column pivoting of the atoms at points (N, D), constant first."""
    atoms = basis.atoms(points).numpy()
    atoms -= atoms.mean(axis=0)  # what is orthogonal to the constant
    tick()
    triangle, order = qr(atoms, mode="r", pivoting=True, overwrite_a=True, check_finite=False)
    diagonal = np.abs(np.diag(triangle[: len(order)]))
    tick()
    largest = max(float(diagonal[0]), np.finfo(np.float64).tiny) if len(diagonal) else 1.0
    return Chosen(order[: len(diagonal)].astype(np.int64), diagonal / largest)


def fit(target: Target, basis: RidgeBasis, points: Tensor, *, lawson: int | None = None) -> RidgeApproximator:
    """Fit a target on points (N, D) of M with all directions of a basis.

    Args:
        lawson: reweighting steps; None: fewer for many coefficients.

    Raises:
        InputError: fewer points than coefficients, or a target without finite values.
    """
    values = evaluate_target(target, points)
    if len(points) <= basis.count:
        raise invalid("points", f"more than {basis.count} points", len(points))
    atoms = torch.cat([torch.ones(len(points), 1, dtype=torch.float64), basis.atoms(points)], dim=1)
    orthonormal, triangle = torch.linalg.qr(atoms)
    tick()
    best, error = _projected(orthonormal, values), float("inf")
    steps = (LAWSON_STEPS if basis.count < MANY else FEW_STEPS) if lawson is None else lawson
    weights = torch.full_like(values, 1.0 / len(values))
    coefficients = best
    for step in range(steps + 1):
        residual = (orthonormal @ coefficients - values).abs()
        sup = float(residual.max())
        if sup < error:
            best, error = coefficients, sup
        total = float((weights * residual).sum())
        if step == steps or not total > 0:
            break
        tick()
        weights = weights * residual / total
        weighted = orthonormal * weights[:, None]
        gram = orthonormal.T @ weighted
        gram.diagonal().add_(1e-14 * float(gram.diagonal().max()))
        coefficients = torch.linalg.solve(gram, weighted.T @ values)
        if not bool(torch.isfinite(coefficients).all()):
            break
    solved = torch.linalg.solve_triangular(triangle, best[:, None], upper=True)[:, 0]
    return RidgeApproximator(basis, solved[1:], float(solved[0]), error)


def _projected(orthonormal: Tensor, values: Tensor) -> Tensor:
    return orthonormal.T @ values
