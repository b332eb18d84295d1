"""One polynomial of total degree p in the coordinates of the affine hull of M, by least squares.

The products of Chebyshev polynomials are dependent on most M: on a sphere |y|^2 = 1. A basis of their span V_p on M is
built degree by degree. With V_q the restrictions of the polynomials of degree <= q and B_q the products of degree q
that were kept, V_q = V_(q-1) + span B_q and so

    V_(q+1) = V_q + sum_j y_j span B_q,   y_j T_a(y) = (T_(a+e_j)(y) + T_(a-e_j)(y)) / 2, or T_(a+e_j)(y) if a_j = 0,

where T_(a-e_j) is in V_q. Hence the products a + e_j, a in B_q, are candidates enough for B_(q+1): at most 3 (2q + 1)
on S^2, not (q + 2)(q + 3)/2. Of these a pivoted QR factorisation keeps what is independent of V_q, numerically. For a
target that is even or odd on a symmetric M only the products of its parity, and the constant, are used.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from construct.baselines.base import Settings
from construct.baselines.classical.common import Array, Classical, Fitted, RegressionProblem, Samples, frame_size
from construct.baselines.sampling import scattered
from construct.manifolds import Manifold
from construct.manifolds.canonical import canonical_form
from construct.symmetry import parity_of
from construct.validation import invalid

DEGREES = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 18, 20, 22, 24, 27, 30, 36, 44, 54, 64)
LARGEST_LADDER = 500  # most C(d + p, d), the size of V_p up to a factor, on the ladder
MOST_COEFFICIENTS = 4000
INDEPENDENT = 1e-6  # a product whose part outside V_q is smaller than this, relative to it, is dropped
OVERSAMPLING = 4
LEAST_SAMPLES = 1000
MARGIN = 1e-3  # of the range of the samples, by which it may be exceeded on M
PATIENCE = 2  # Lawson steps without gain
WORTH = 0.95
CHUNK_ENTRIES = 2**22


@dataclass(frozen=True)
class ChebyshevExpansion:
    """y (P, k) -> sum_a coefficients_a prod_j T_(a_j)((y_j - centre_j) / half_j), indices a (N, k)."""

    indices: NDArray[np.int64]
    centre: Array
    half: Array
    coefficients: Array = field(default_factory=lambda: np.zeros(0))

    def products(self, y: Array) -> Array:
        """T_a at y, (P, N)."""
        table = chebyshev_rows((y - self.centre) / self.half, int(self.indices.max(initial=0)))
        values = table[self.indices[:, 0], :, 0]
        for j in range(1, y.shape[1]):
            values *= table[self.indices[:, j], :, j]
        return values.T

    def __call__(self, y: Array) -> Array:
        step = max(1, CHUNK_ENTRIES // len(self.indices))
        parts = [self.products(y[i : i + step]) @ self.coefficients for i in range(0, len(y), step)]
        return np.concatenate(parts) if parts else np.zeros(0)


def chebyshev_rows(z: Array, degree: int) -> Array:
    """T_0(z) .. T_degree(z) in a new first axis, by the three-term recursion."""
    table = np.ones((degree + 1, *z.shape))
    if degree:
        table[1] = z
    for q in range(2, degree + 1):
        table[q] = 2 * z * table[q - 1] - table[q - 2]
    return table


def independent_products(
    y: Array, degree: int, most: int = MOST_COEFFICIENTS, middle: Array | None = None
) -> ChebyshevExpansion:
    """A numerical basis, among the Chebyshev products, of the polynomials of total degree <= degree on points y (m, k).

    Args:
        middle: (k,) the centre of the products; None: that of the points.

    Raises:
        InputError: it has more than `most` elements, or than there are points.
    """
    m, k = y.shape
    low, high = y.min(axis=0), y.max(axis=0)
    middle = (low + high) / 2 if middle is None else middle
    half = np.maximum(high - middle, middle - low)
    half = np.where(half > 0, half, 1.0) * (1 + MARGIN)
    empty = ChebyshevExpansion(np.zeros((1, k), dtype=np.int64), middle, half)
    kept = empty.indices
    ranges, orthonormal = [kept], np.full((m, 1), 1 / math.sqrt(m))
    for _ in range(degree):
        raised = (kept[:, None, :] + np.eye(k, dtype=np.int64)).reshape(-1, k)
        candidates = np.unique(raised, axis=0)
        values = ChebyshevExpansion(candidates, empty.centre, half).products(y)
        values /= np.maximum(np.linalg.norm(values, axis=0), np.finfo(float).tiny)
        for _ in range(2):  # twice is enough for orthogonality to rounding
            values -= orthonormal @ (orthonormal.T @ values)
        q, r, pivots = scipy.linalg.qr(values, mode="economic", pivoting=True)
        rank = int((np.abs(np.diag(r)) > INDEPENDENT).sum())
        if rank == 0:
            break
        kept = candidates[np.sort(pivots[:rank])]
        ranges.append(kept)
        orthonormal = np.concatenate([orthonormal, q[:, :rank]], axis=1)
        if orthonormal.shape[1] > most:
            raise invalid("degree", f"at most {most:,} coefficients", got=f"more for degree {degree}")
        if 2 * orthonormal.shape[1] > m:
            raise Undersampled(orthonormal.shape[1])
    return ChebyshevExpansion(np.concatenate(ranges), empty.centre, half)


def picked_exponents(indices: NDArray[np.int64], parity: int | None = None) -> int:
    """Exponents a (N, k) that no formula gives: those that are not 0, beyond `|a|_1 <= m` of the largest m of which
    all, or all of a parity and 0, are there."""
    k, totals = indices.shape[1], indices.sum(axis=1)
    m = 0
    while m <= int(totals.max()):
        wanted = m == 0 or parity is None or m % 2 == parity
        if int((totals == m).sum()) != wanted * math.comb(k + m - 1, m):
            break
        m += 1
    return int(np.count_nonzero(indices[totals >= m]))


def of_parity(basis: ChebyshevExpansion, parity: int) -> ChebyshevExpansion:
    """The constant and the products of even or of odd total degree."""
    totals = basis.indices.sum(axis=1)
    return replace(basis, indices=basis.indices[(totals == 0) | (totals % 2 == parity)])


class Undersampled(Exception):
    """Fewer points than twice the size of the basis."""


def least_squares(basis: ChebyshevExpansion, samples: Samples, problem: RegressionProblem) -> ChebyshevExpansion:
    """The least squares fit, or a step of Lawson's reweighting towards the minimax fit that validation prefers."""
    matrix = basis.products(samples.y)
    system = np.concatenate([matrix, samples.f[:, None]], axis=1)
    weights = np.ones(len(samples))
    best: tuple[float, ChebyshevExpansion] | None = None
    since = 0
    while since <= PATIENCE:
        triangle = np.asarray(np.linalg.qr(system * np.sqrt(weights)[:, None], mode="r"))
        try:
            coefficients = scipy.linalg.solve_triangular(triangle[:-1, :-1], triangle[:-1, -1], check_finite=False)
        except scipy.linalg.LinAlgError:
            break
        if not np.isfinite(coefficients).all():
            break
        found = ChebyshevExpansion(basis.indices, basis.centre, basis.half, coefficients)
        score = problem.sup(found)
        since += 1
        if best is None or score < best[0]:
            since = 0 if best is None or score < WORTH * best[0] else since
            best = score, found
        residual = np.abs(matrix @ coefficients - samples.f)
        if residual.max() <= 1e-14 * max(1.0, np.abs(samples.f).max()):
            break
        weights *= residual / residual.max() + 1e-3  # the floor keeps every point in play
        weights *= len(weights) / weights.sum()
    if best is None:
        raise invalid("degree", "one low enough for a system that can be solved", got="a singular system")
    return best[1]


class GlobalPolynomial(Classical):
    """One polynomial of total degree `degree` in the coordinates y of M's linear hull, fitted on 4 N samples.

    Stored: N coefficients, N = dim V_p as found numerically, centre and half width of k coordinates, the frame k D
    where k < D. Which products are kept was picked on M: the exponents that are not 0 of those beyond the largest whole
    total-degree basis among them (of one parity, for an even or odd target) are `counts.chosen`, none where all are
    kept. Multiply-adds: k D for y, k for scaling, k (p - 1) for the recursion, N k for the products and the sum.
    """

    name = "global_polynomial"
    description = "one polynomial by weighted least squares in a pivoted Chebyshev basis (own, LAPACK QR)"
    parameters = ("degree",)

    def ladder(self, manifold: Manifold) -> Sequence[Settings]:
        """Degrees up to 64 on curves, 30 on surfaces, fewer where they would take too many coefficients."""
        d = manifold.dim
        return [{"degree": p} for p in DEGREES if p <= 2 or math.comb(d + p, d) <= LARGEST_LADDER]

    def solve(self, problem: RegressionProblem, settings: dict[str, int]) -> Fitted:
        degree, manifold = settings["degree"], problem.manifold
        # those in d coordinates, onto which a piece of M projects with an inside, are independent
        if math.comb(manifold.dim + degree, degree) > MOST_COEFFICIENTS:
            raise invalid("degree", f"at most {MOST_COEFFICIENTS:,} coefficients", got=f"more for degree {degree}")
        parity = parity_of(problem.target, manifold, problem.seed)
        basis = self.basis(problem, degree, centred=parity is not None)
        basis = basis if parity is None else of_parity(basis, parity)
        count, k = len(basis.indices), manifold.canonical
        problem.progress(f"{self.name}: degree {degree}, {count} coefficients", None)
        found = least_squares(basis, problem.scattered(max(LEAST_SAMPLES, OVERSAMPLING * count)), problem)
        reach = int(basis.indices.max(initial=0))
        return Fitted(
            found,
            count + 2 * k + frame_size(manifold),
            frame_size(manifold) + k + k * max(0, reach - 1) + count * k,
            {"coefficients": count},
            found,
            picked_exponents(basis.indices, parity),
        )

    def basis(self, problem: RegressionProblem, degree: int, *, centred: bool = False) -> ChebyshevExpansion:
        """The basis, found on so many points that it has at most half as many elements; about the centre of M's box or
        of the points."""
        points, middle = LEAST_SAMPLES, canonical_form(problem.manifold).box.mean(dim=0).numpy() if centred else None
        while True:
            x = scattered(problem.manifold, points, problem.seed, "thinning")
            try:
                return independent_products(problem.manifold.restrict(x).numpy(), degree, middle=middle)
            except Undersampled:
                points *= 2
