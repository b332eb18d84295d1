"""A polynomial of degree <= 2s as few signed squares of polynomials of degree s, and a rest of degree s.

    P = l + sum_(i < r) sigma_i q_i^2,   q_i, l in V_s,   sigma_i = +-1

The parts of degree > s give `dim V_2s - dim V_s` quadratic equations for the `r (dim V_s - 1) - r (r-1)/2` numbers that
q has up to rotations (its constant only moves l); l is what is left. In one dimension two squares do, since
`T_s u = ((T_s + u)^2 - (T_s - u)^2)/4` and `T_s T_j = (T_(s+j) + T_(s-j))/2`; one does where P has a root of its own
(complete the square). In d = 2, degree 8, three squares stand for the thirty that span V_8 / V_4. The equations are
solved for every chart to rounding by Levenberg-Marquardt steps from seeded starts: the solution is one of many, and
small q are wanted, since a sawtooth square of |q| <= B is off by up to B^2 4^-m / 4.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from construct.arrays import Float
from construct.baselines.relu.square_levels import dimension, multiplication
from construct.validation import integer, invalid, positive_integer

SOLVED = 1e-11
"""Largest residual of a solution, relative to the largest coefficient of degree > s."""
STARTS, STEPS = 8, 120
LARGEST_SQUARE = 64.0
"""Solutions with a larger q^2, relative to the coefficients of degree > s, cost more compositions than a square."""


@dataclass(frozen=True, eq=False)
class SignedSquares:
    """P_n = rest_n + sum_i signs_ni forms_ni^2 for charts n.

    Attributes:
        rest: (n, N_s);  forms: (n, r, N_s);  signs: (n, r), +-1.
    """

    rest: Float
    forms: Float
    signs: Float


def fewest_squares(dim: int, degree: int) -> int:
    """Smallest r with as many free numbers as equations: `r (N_s - 1) - r (r - 1)/2 >= N_2s - N_s`."""
    low = dimension(dim, degree)
    equations = dimension(dim, 2 * degree) - low
    return next(r for r in range(1, equations + 1) if r * (low - 1) - r * (r - 1) // 2 >= equations)


def signed_squares_of(
    coefficients: Float, dim: int, degree: int, count: int, *, common: bool = True, seed: int = 0
) -> SignedSquares | None:
    """`count` signed squares for every row of coefficients (n, N_2s), s = `degree`; None where some row has none.

    Args:
        common: the same signs for all rows; otherwise each row has its own.

    Raises:
        InputError: coefficients that are not finite or of another shape, count < 1.
    """
    dim, degree = positive_integer(dim, "dim"), positive_integer(degree, "degree")
    count, seed = positive_integer(count, "count"), integer(seed, "seed")
    low, expected = dimension(dim, degree), dimension(dim, 2 * degree)
    if coefficients.ndim != 2 or coefficients.shape[1] != expected or not np.isfinite(coefficients).all():
        raise invalid("coefficients", f"a finite array of shape (n, {expected})", coefficients)
    n = len(coefficients)
    patterns = np.array([[1.0] * k + [-1.0] * (count - k) for k in range(count + 1)])
    forms, sizes = np.zeros((count + 1, n, count, low)), np.full((count + 1, n), np.inf)
    for number, pattern in enumerate(patterns):
        forms[number], sizes[number] = _solved(coefficients, dim, degree, pattern, seed)
    rows = np.arange(n)
    pick = np.full(n, np.median(sizes, axis=1).argmin()) if common else sizes.argmin(axis=0)
    if common and not (sizes[pick, rows] <= LARGEST_SQUARE).all():
        pick = np.full(n, sizes.max(axis=1).argmin())
    if not (sizes[pick, rows] <= LARGEST_SQUARE).all():
        return None
    chosen, signs = forms[pick, rows], patterns[pick]
    tensor = multiplication(dim, degree)
    squares = np.einsum("ni,nia,abk,nib->nk", signs, chosen, tensor, chosen, optimize=True)
    return SignedSquares((coefficients - squares)[:, :low], chosen, signs)


def _solved(coefficients: Float, dim: int, degree: int, signs: Float, seed: int) -> tuple[Float, Float]:
    """Forms (n, r, N_s) and the relative sizes of their squares (n,), infinite where nothing was found."""
    low, n = dimension(dim, degree), len(coefficients)
    tensor = multiplication(dim, degree)[1:, 1:, low:]  # without the constant
    high = coefficients[:, low:]
    scale = np.abs(high).max(axis=1)
    scale = np.where(scale > 0, scale, 1.0)
    wanted = np.repeat(high / scale[:, None], STARTS, axis=0)
    generator = np.random.default_rng(seed)
    start = generator.standard_normal((len(wanted), len(signs), low - 1)) / np.sqrt(low - 1)
    found, residual = _levenberg(start, wanted, signs, tensor)
    size = np.abs(found).sum(axis=2).max(axis=1) ** 2
    size = np.where(residual <= SOLVED, size, np.inf).reshape(n, STARTS)
    pick = size.argmin(axis=1)
    rows = np.arange(n)
    forms = np.zeros((n, len(signs), low))
    forms[:, :, 1:] = found.reshape(n, STARTS, len(signs), low - 1)[rows, pick] * np.sqrt(scale)[:, None, None]
    return forms, size[rows, pick]


def _levenberg(q: Float, wanted: Float, signs: Float, tensor: Float) -> tuple[Float, Float]:
    """Levenberg-Marquardt steps `J^T (J J^T + mu)^-1 R` for (m, r, N - 1) at once; also the largest residuals (m,)."""
    m = len(q)
    mu = np.full(m, 1e-1)
    error = _residual(q, wanted, signs, tensor)
    eye = np.eye(wanted.shape[1])
    for _ in range(STEPS):
        if (np.abs(error).max(axis=1) <= SOLVED / 10).all():
            break
        slope = 2 * np.einsum("i,abk,mib->mkia", signs, tensor, q, optimize=True).reshape(m, wanted.shape[1], -1)
        normal = slope @ slope.transpose(0, 2, 1) + (mu[:, None, None] + 1e-14) * eye
        step = slope.transpose(0, 2, 1) @ np.linalg.solve(normal, error[:, :, None])
        trial = q + step.reshape(q.shape)
        after = _residual(trial, wanted, signs, tensor)
        better = (after**2).sum(axis=1) < (error**2).sum(axis=1)
        q = np.where(better[:, None, None], trial, q)
        error = np.where(better[:, None], after, error)
        mu = np.clip(np.where(better, mu / 5, mu * 4), 1e-16, 1e6)
    return q, np.abs(error).max(axis=1)


def _residual(q: Float, wanted: Float, signs: Float, tensor: Float) -> Float:
    return np.asarray(wanted - np.einsum("i,mia,abk,mib->mk", signs, q, tensor, q, optimize=True))
