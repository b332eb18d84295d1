"""Fits of a lattice approximator: polynomials on single cells, then all coefficients together.

On one cell orthogonal least squares chooses directions from a dictionary of integer vectors, each of which brings the
largest drop of the sum of squares (Chen, Cowan and Grant 1991), without the window: a cell's polynomial has to be good
wherever the hat is positive.

All together: the blend of polynomials that are within some multiple of epsilon is fitted anew on all points, by
Lawson's reweighting towards the smallest largest error. The matrix is sparse, since a point hears the tokens of m + 1
cells of each level; the atoms of each cell are made orthonormal first, so that the normal equations lose little, and
what is added to their diagonal keeps coefficients from growing without need.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from scipy import sparse
from scipy.linalg import cho_factor, cho_solve, qr, solve_triangular
from torch import Tensor

from construct.arrays import Float, Int
from construct.cells.approximator import CellApproximator, CellBasis
from construct.progress import tick
from construct.ridge.maps import chain, shift_of

INDEPENDENT = 3e-2  # share of its norm that an atom must keep beside those that were chosen before it
LAWSON_STEPS, FLOOR = 8, 1e-3
DAMPING, BLOCK_DAMPING = 1e-11, 1e-6  # of the mean of the diagonal; of the size of an atom
PENALTY = 3e-2
LENGTHS = (1.0, 0.6, 0.3)  # of the longest multiple of a direction that has its place on a cell
LARGEST_ENTRY = 2  # of a primitive direction


def values(forms: Float, degree: int) -> Float:
    """`1 + T_p(clip(delta + forms, -1, 1))`."""
    a = np.clip(shift_of(degree) + forms, -1.0, 1.0)
    for m in chain(degree):
        a = (4 * a * a - 3) * a if m == 3 else 2 * a * a - 1
    return 1 + a


@lru_cache(maxsize=32)
def primitive(dim: int, largest: int = LARGEST_ENTRY) -> Int:
    """Integer vectors of both signs without a common divisor: entries up to `largest` in up to three dimensions, beyond
    units and sums and differences of two, (n, dim)."""
    if dim <= 3:
        vectors = np.array(list(itertools.product(range(-largest, largest + 1), repeat=dim)), dtype=np.int64)
        return vectors[np.gcd.reduce(vectors, axis=1) == 1]
    units = np.eye(dim, dtype=np.int64)
    found = [units, -units]
    for i, j in itertools.combinations(range(dim), 2):
        found += [np.array([a * units[i] + b * units[j]]) for a in (1, -1) for b in (1, -1)]
    return np.concatenate(found)


def dictionary(u: Float, reach: int, directions: Int, lengths: tuple[float, ...] = LENGTHS) -> Int:
    """Multiples alpha of directions with `|<alpha, u>| <= reach` on points u (n, r), for each of some lengths, and
    0."""
    spread = np.abs(u @ directions.T).max(axis=0)
    found = [np.zeros((1, directions.shape[1]), dtype=np.int64)]
    for length in lengths:  # a cell that M only grazes is not to have enormous codes
        times = np.minimum(np.floor(length * reach / np.maximum(spread, 1e-12)), 2 * reach).astype(np.int64)
        found.append(directions[times > 0] * times[times > 0, None])
    return np.unique(np.concatenate(found), axis=0)


def select(atoms: Float, wanted: Float, enough: float, most: int) -> tuple[list[int], Float]:
    """Columns that orthogonal least squares chooses until the largest error is at most `enough`: places, at most
    `most`, and the largest errors with the first of them, (k,)."""
    left, columns, order, errors = wanted.copy(), atoms.copy(), list[int](), list[float]()
    floor = INDEPENDENT**2 * np.einsum("ij,ij->j", atoms, atoms) + 1e-300
    for _ in range(most):
        sizes = np.einsum("ij,ij->j", columns, columns)
        gain = np.where(sizes > floor, (left @ columns) ** 2 / np.maximum(sizes, 1e-300), -1.0)
        gain[order] = -1.0
        best = int(gain.argmax())
        if gain[best] <= 0:
            break
        unit = columns[:, best] / math.sqrt(sizes[best])
        left = left - unit * (unit @ left)
        columns -= np.outer(unit, unit @ columns)
        order.append(best)
        errors.append(float(np.abs(left).max()))
        if errors[-1] <= enough:
            break
    return order, np.array(errors)


def reweighted(atoms: Float, wanted: Float, steps: int = 12) -> tuple[Float, float]:
    """Coefficients of a dense fit, reweighted towards the smallest largest error, and that error."""
    weights, best, error = np.full(len(wanted), 1 / len(wanted)), np.zeros(atoms.shape[1]), math.inf
    orthonormal, triangle = qr(atoms, mode="economic", check_finite=False)
    for _ in range(steps):
        root = np.sqrt(weights)
        solution = np.linalg.lstsq(orthonormal * root[:, None], wanted * root, rcond=None)[0]
        residual = np.abs(orthonormal @ solution - wanted)
        if residual.max() < error:
            best, error = solution, float(residual.max())
        if not residual.max() > 0:
            break
        weights = np.maximum(weights * residual / (weights @ residual), 1e-12)
    return solve_triangular(triangle, best, check_finite=False), error


@dataclass(frozen=True)
class Joint:
    """A fit of all coefficients: the approximator, and its errors (P,) on the points of the fit."""

    approximator: CellApproximator
    errors: Float
    weights: Float

    @property
    def largest(self) -> float:
        return float(self.errors.max(initial=0.0))


def fit_all(
    basis: CellBasis,
    u: Tensor,
    wanted: Tensor,
    *,
    steps: int = LAWSON_STEPS,
    weights: Float | None = None,
    size: float = math.inf,
    goal: float = 0.0,
) -> Joint:
    """All coefficients of a basis from points u (P, r) and values (P,), by `steps` of Lawson's reweighting, fewer where
    the largest error is at most `goal`.

    weights: (P,) to begin with. size: of coefficients that cost little; one of this size counts as much as if the
    squares of all errors were larger by `PENALTY goal^2`.
    """
    if not basis.count:
        nothing = CellApproximator(basis, torch.zeros(0, dtype=torch.float64))
        return Joint(nothing, wanted.abs().numpy(), np.ones(len(wanted)))
    points, tokens, entries = (part.numpy() for part in basis.entries(u))
    tick()
    shape = (len(u), basis.count)
    matrix = sparse.csr_matrix((entries, (points, tokens)), shape=shape)
    turned = _orthonormal(basis, matrix)
    product = (matrix @ turned).tocsr()
    target = wanted.numpy()
    weights = np.ones(len(target)) if weights is None or len(weights) != len(target) else weights
    best, error, kept = np.zeros(basis.count), np.abs(target), weights
    penalty = (turned.T @ turned) * (PENALTY * len(target) * (goal / size) ** 2)
    for step in range(steps):
        tick()
        solution = _solved(product, weights, target, penalty)
        errors = np.abs(target - product @ solution)
        if step == 0 or errors.max() < error.max():
            best, error, kept = solution, errors, weights
        if not errors.max() > 0:
            break
        weights = weights * (errors / errors.max() + FLOOR)
        weights = np.maximum(weights / weights.mean(), 1e-6)
    coefficients = torch.from_numpy(turned @ best)
    return Joint(CellApproximator(basis, coefficients, 0.0, float(error.max(initial=0.0))), error, kept)


def _solved(product: sparse.csr_matrix, weights: Float, target: Float, penalty: sparse.csr_matrix) -> Float:
    """Weighted least squares with a penalty by damped normal equations, refined once. Weights have the mean 1."""
    weighted = product.multiply(weights[:, None]).tocsr()
    gram = (product.T @ weighted + penalty).toarray()
    gram[np.diag_indices(len(gram))] += DAMPING * max(np.trace(gram) / max(1, len(gram)), 1e-300)
    factor = cho_factor(gram, overwrite_a=True, check_finite=False)
    solution = cho_solve(factor, weighted.T @ target, check_finite=False)
    left = weighted.T @ (target - product @ solution) - penalty @ solution
    return solution + cho_solve(factor, left, check_finite=False)


def _orthonormal(basis: CellBasis, matrix: sparse.csr_matrix) -> sparse.csr_matrix:
    """(N, N) combinations of the tokens of each cell that are nearly orthonormal on the points."""
    columns = matrix.tocsc()
    order = np.lexsort((*basis.cells.T, basis.levels))
    labels = np.column_stack([basis.levels, basis.cells])[order]
    starts = np.flatnonzero(np.concatenate([[True], (labels[1:] != labels[:-1]).any(axis=1)]))
    rows, cols, data = [], [], []
    for first, last in zip(starts, [*starts[1:], len(order)], strict=True):
        mine = order[first:last]
        part = columns[:, mine]
        held = np.unique(part.indices)
        dense = part[held].toarray() if len(held) else np.zeros((0, len(mine)))
        size = max(float(np.sqrt((dense**2).sum(axis=0)).max(initial=0.0)), 1e-8)
        triangle = np.linalg.qr(np.concatenate([dense, BLOCK_DAMPING * size * np.eye(len(mine))]), mode="r")
        inverse = solve_triangular(triangle, np.eye(len(mine)), check_finite=False)
        i, j = np.nonzero(inverse)
        rows.append(mine[i])
        cols.append(mine[j])
        data.append(inverse[i, j])
    pieces = (np.concatenate(data), (np.concatenate(rows), np.concatenate(cols)))
    return sparse.csr_matrix(pieces, shape=(basis.count, basis.count))
