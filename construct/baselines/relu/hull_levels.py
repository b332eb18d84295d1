"""Polynomials of degree 1, 2, 4, 8, .. in the coordinates of the hull, restricted to M, from squares.

What `square_levels` is to the cube this is to M itself: no chart, and no more squares than the restricted polynomials
have dimensions. Level 0 holds the coordinates y. Of the squares of features u and of `(u +- u')/2`, scaled to [-1, 1]
on M, those are taken that QR with pivoting of their parts outside the span so far finds independent: products of two
elements of V_s span V_2s, and polarisation makes them from squares. Each form reads two features.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import qr

from construct.arrays import Float, Int
from construct.progress import tick

INDEPENDENT = 1e-3
"""Pivots below this share of the first are left out: they would multiply the errors of squares."""
SLACK = 1e-2  # of a range on the points, for what lies between these
CANDIDATES, MOST_CANDIDATES = 12, 1_500  # pairs of features, for each feature; at most
ROWS = 2  # points for each candidate that QR looks at


@dataclass(frozen=True, eq=False)
class HullLevel:
    """Squares of forms: (J, 1 + F) over 1 and the features so far, |form| <= 1 on M; values (N, J) of the squares."""

    forms: Float
    values: Float


def next_level(features: Float, seed: int) -> HullLevel:
    """The squares that enlarge the span of 1 and features (N, F), N points of M, by all products of two of these."""
    forms = _candidates(features, seed)
    one = np.hstack([np.ones((len(features), 1)), features])
    values = (one @ forms.T) ** 2
    some = one[: max(ROWS * len(forms), ROWS * one.shape[1])]  # the points are in random order
    basis = np.linalg.qr(some)[0]
    outside = values[: len(some)] - basis @ (basis.T @ values[: len(some)])
    tick()
    triangle, order = qr(outside, mode="r", pivoting=True, overwrite_a=True, check_finite=False)
    pivots = np.abs(np.diag(triangle))
    largest = max(float(pivots[0]), np.finfo(np.float64).tiny)
    # of what is in the span already only rounding is left
    rank = int((pivots > INDEPENDENT * largest).sum()) if largest > 1e-9 * np.sqrt(len(some)) else 0
    chosen = np.sort(order[:rank])
    return HullLevel(forms[chosen], values[:, chosen])


def _candidates(features: Float, seed: int) -> Float:
    """Forms (J, 1 + F): features, and half sums and differences, each scaled to [-1, 1] with slack."""
    count = features.shape[1]
    middle, half = _range(features)
    unit = (features - middle) / half
    first, second = np.triu_indices(count, 1)
    pairs = [(int(i), int(j), sign) for i, j in zip(first, second, strict=True) for sign in (1.0, -1.0)]
    room = min(MOST_CANDIDATES, CANDIDATES * count)
    if len(pairs) > room:
        kept: Int = np.sort(np.random.default_rng(seed).choice(len(pairs), room, replace=False))
        pairs = [pairs[k] for k in kept]
    forms = np.zeros((count + len(pairs), 1 + count))
    for row in range(count):
        forms[row, [0, 1 + row]] = -middle[row] / half[row], 1 / half[row]
    for row, (i, j, sign) in enumerate(pairs, count):
        centre, size = _range((unit[:, i] + sign * unit[:, j])[:, None])
        forms[row] = (forms[i] + sign * forms[j]) / size[0]
        forms[row, 0] -= centre[0] / size[0]
    return forms


def _range(values: Float) -> tuple[Float, Float]:
    """Middle and half length of the ranges of columns (N, F), with slack."""
    low, high = values.min(axis=0), values.max(axis=0)
    half = np.maximum((high - low) / 2, np.finfo(np.float64).tiny)
    return (low + high) / 2, half * (1 + SLACK)
