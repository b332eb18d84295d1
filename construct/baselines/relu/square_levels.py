"""All polynomials of degree <= 1, 2, 4, 8, .. from squares: one square for every dimension of the space.

Level 0 holds the coordinates. If the features of a level span the polynomials V_s of total degree <= s (with the
constant 1), then V_2s is spanned by them and by `dim V_2s - dim V_s` squares of elements of V_s: of T_a, or of
`(T_a +- T_b)/2`, all of them bounded by 1 on the cube (polarisation: `ab = ((a+b)^2 - (a-b)^2)/4`, and what the squares
of a and b themselves contribute is in V_2s too). Which squares is decided by a QR factorisation with pivoting of their
parts of degree > s, so that the change of basis is well conditioned. A product tree that makes every T_a by a
product of its own takes two squares each.

Polynomials are vectors of coefficients of `T_a(z) = prod_i T_(a_i)(z_i)`, |a|_1 <= s, in the order of `multi_indices`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.linalg import qr

from construct.arrays import Float
from construct.local import multi_indices
from construct.validation import integer, positive_integer

HIGHEST_LEVEL = 5
NEGLIGIBLE = 1e-12


def dimension(dim: int, degree: int) -> int:
    """Number of polynomials T_a of total degree <= degree."""
    return len(multi_indices(dim, degree))


@lru_cache(maxsize=32)
def multiplication(dim: int, degree: int) -> Float:
    """The tensor (N, N, N') of `T_a T_b` in V_(2 degree): `T_m T_n = (T_(m+n) + T_|m-n|)/2` in every coordinate."""
    rows = [tuple(row) for row in multi_indices(dim, degree).tolist()]
    place = {tuple(row): number for number, row in enumerate(multi_indices(dim, 2 * degree).tolist())}
    tensor = np.zeros((len(rows), len(rows), len(place)))
    for i, a in enumerate(rows):
        for j, b in enumerate(rows):
            terms: list[tuple[tuple[int, ...], float]] = [((), 1.0)]
            for m, n in zip(a, b, strict=True):
                pair = (m + n, abs(m - n))
                terms = [((*index, k), weight / 2) for index, weight in terms for k in pair]
            for index, weight in terms:
                tensor[i, j, place[index]] += weight
    return tensor


@dataclass(frozen=True, eq=False)
class Level:
    """From V_s to V_2s.

    Attributes:
        forms: (J, N_s) coefficients of the elements of V_s that are squared; |form| <= 1 on the cube.
        basis: (N_2s, 1 + features) what the T_a are in terms of 1, the features of the level before and the squares.
    """

    forms: Float
    basis: Float


@lru_cache(maxsize=64)
def levels(dim: int, count: int) -> tuple[Level, ...]:
    """The first `count` levels: V_2, V_4, .., V_(2^count).

    Raises:
        InputError: dim < 1 or count outside 0..5.
    """
    dim, count = positive_integer(dim, "dim"), integer(count, "count", maximum=HIGHEST_LEVEL)
    found: list[Level] = []
    basis = coordinates(dim)
    for number in range(count):
        degree = 2**number
        forms, squares = _chosen(dim, degree)
        low = dimension(dim, degree)
        features = basis.shape[1]
        # squares = low part (over the old features) + high part; solve for the T_a of degree > s
        high = np.linalg.inv(squares[:, low:])
        upper = np.hstack([-high @ squares[:, :low] @ basis, high])
        lower = np.hstack([basis, np.zeros((low, len(forms)))])
        basis = _cleaned(np.vstack([lower, upper]))
        found.append(Level(forms, basis))
        assert basis.shape == (dimension(dim, 2 * degree), features + len(forms))
    return tuple(found)


def coordinates(dim: int) -> Float:
    """The basis of V_1 over 1 and z_1, .., z_d: (1 + d, 1 + d), T_a in the order of `multi_indices`."""
    basis = np.zeros((1 + dim, 1 + dim))
    basis[0, 0] = 1.0
    for number, row in enumerate(multi_indices(dim, 1).tolist()):
        if sum(row):
            basis[number, 1 + row.index(1)] = 1.0
    return basis


def _chosen(dim: int, degree: int) -> tuple[Float, Float]:
    """Forms (J, N_s) and their squares (J, N_2s) whose parts of degree > s are a basis of V_2s / V_s."""
    low = dimension(dim, degree)
    tensor = multiplication(dim, degree)
    eye = np.eye(low)
    candidates = [eye[a] for a in range(1, low)]
    candidates += [(eye[a] + sign * eye[b]) / 2 for a in range(1, low) for b in range(1, a) for sign in (1.0, -1.0)]
    forms = np.array(candidates)
    squares = np.einsum("ji,jk,ikn->jn", forms, forms, tensor, optimize=True)
    _, _, order = qr(squares[:, low:].T, mode="economic", pivoting=True)
    chosen = np.sort(order[: dimension(dim, 2 * degree) - low])
    return forms[chosen], squares[chosen]


def _cleaned(matrix: Float) -> Float:
    """Entries that are rounding noise of a zero become 0."""
    return np.where(np.abs(matrix) > NEGLIGIBLE * np.abs(matrix).max(), matrix, 0.0)
