"""Exact ranges where a token hears itself: what a head adds to a register may depend on that register alone.

The sum of an interval of a and one of `relu(g2 a^2 + g1 a + g0) (alpha a + beta)` forgets that both are of the same a:
of `a + relu(1 - a^2) (-4 a) = 4 a^3 - 3 a`, at most 1 on [-1, 1], it says 9. As a function of a this is a continuous
piecewise cubic, so that its extremes on [lo, hi] are at the ends, at zeros of the quadratic, or at critical points of
the cubic. These are computed by formulas that are exact for coefficients a few rounding errors off (the larger root
first, the other from the product of both), and a function with such coefficients differs from the true one by a few
rounding errors times the sum of the absolute terms. `MARGIN` times that sum is added outwards: thousands of rounding
errors, those of an evaluation of the network among them. Gates whose terms are integers, or halves, .., 256ths, add up
exactly; other gates widen the range by what their sums may round.

Heads that write one row only: T3 of the compact construction writes two, and its networks keep the bounds, hence the
gate constants, with which they have been compiled and saved.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from construct.arrays import Float, Int
from construct.transformer.weights import HeadPairs, Intervals

MARGIN = 1e-12
FINE, EXACT = 2.0**8, 2.0**36  # multiples of 1 / FINE whose products add up to at most EXACT: 52 bits
SMALLEST, LARGEST = 1e-60, 1e60  # of the terms, far from underflow and overflow of their products
ROUNDINGS = 64.0


@dataclass(frozen=True)
class SelfPairs:
    """Pairs of a token and itself whose addition to one row depends on that row alone, and the range of the sum.

    Attributes:
        pairs: (n,) places among all pairs.
        rows: (n,) of the hidden state.
        lower, upper: (n,) range of the register and what the head adds to it.
    """

    pairs: Int
    rows: Int
    lower: Float
    upper: Float


def self_pairs(query: Float, key: Float, value: Float, pairs: HeadPairs, state: Intervals) -> SelfPairs:
    """Those of the pairs, at most one for each entry of the state."""
    moving = state.lower < state.upper
    single = (value != 0).any(axis=2).sum(axis=1) == 1
    own = np.flatnonzero((pairs.target == pairs.source) & single[pairs.head])
    head, token = pairs.head[own], pairs.target[own]
    scores = ((query != 0).any(axis=1) | (key != 0).any(axis=1))[head] & moving[token]
    own, head, token = (array[scores.sum(axis=1) == 1] for array in (own, head, token))
    row = np.argmax(scores[scores.sum(axis=1) == 1], axis=1) if own.size else own
    reads = (value[head, row] != 0) & moving[token]
    alone = (reads.sum(axis=1) == 1) & reads[np.arange(own.size), row]
    own, head, token, row = (array[alone] for array in (own, head, token, row))
    _, first = np.unique(token * state.lower.shape[1] + row, return_index=True)
    own, head, token, row = (array[np.sort(first)] for array in (own, head, token, row))
    step, parts = 1 << 13, []
    for start in range(0, own.size, step):
        h, t, m = (array[start : start + step] for array in (head, token, row))
        parts.append(_ranges(query[h], key[h], value[h, m], state.lower[t], state.upper[t, m], m))
    lower, upper = (np.concatenate([part[i] for part in parts]) if parts else np.zeros(0) for i in range(2))
    bounded = np.isfinite(lower) & np.isfinite(upper)
    return SelfPairs(own[bounded], row[bounded], lower[bounded], upper[bounded])


def _ranges(query: Float, key: Float, value: Float, held: Float, high: Float, row: Int) -> tuple[Float, Float]:
    """For heads (n, w, w) on tokens that hold (n, w), entry `row` being the lower end of what moves; NaN: unknown."""
    each = np.arange(len(row))
    low, still = held[each, row], held.copy()
    still[each, row] = 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        (q1, q0, q_size, q_fine), (k1, k0, k_size, k_fine) = (_affine(w, still, row) for w in (query, key))
        gates = (q_size * k_size).sum(axis=1)
        rounding = np.where(q_fine & k_fine & (gates <= EXACT), 0.0, ROUNDINGS * np.finfo(np.float64).eps * gates)
        form = np.stack([(q1 * k1).sum(axis=1), (q1 * k0 + q0 * k1).sum(axis=1), (q0 * k0).sum(axis=1)])
        alpha, beta = value[each, row], (value * still).sum(axis=1)
        size = np.maximum(np.abs(low), np.abs(high))
        slope = (np.abs(q1) * k_size + q_size * np.abs(k1)).sum(axis=1)
        factor = np.abs(alpha) * size + (np.abs(value) * np.abs(still)).sum(axis=1)
        scale = size + (np.abs(q1 * k1).sum(axis=1) * size**2 + slope * size + np.abs(form[2])) * factor
        lower, upper = cubic_range(form, np.stack([alpha, beta]), low, high)
        margin = MARGIN * scale + rounding * factor
        known = (size >= SMALLEST) & (scale <= LARGEST) & (slope <= LARGEST) & (np.abs(alpha) <= LARGEST)
        return np.where(known, lower - margin, np.nan), np.where(known, upper + margin, np.nan)


def _affine(weight: Float, still: Float, row: Int) -> tuple[Float, Float, Float, NDArray[np.bool_]]:
    """`weight @ h = w1 a + w0`: w1, w0, the sum of the absolute terms of w0, whether these add up exactly."""
    terms = weight * still[:, None, :]
    fine = (np.rint(terms * FINE) == terms * FINE).all(axis=(1, 2))
    return weight[np.arange(len(row)), :, row], terms.sum(axis=2), np.abs(terms).sum(axis=2), fine


def cubic_range(form: Float, value: Float, low: Float, high: Float) -> tuple[Float, Float]:
    """Range of `a + relu(g2 a^2 + g1 a + g0) (alpha a + beta)` on [low, high]: form (3, n), value (2, n), ends (n,)."""
    (g2, g1, g0), (alpha, beta) = form, value
    derivative = (3 * g2 * alpha, 2 * (g2 * beta + g1 * alpha), 1 + g1 * beta + g0 * alpha)
    points = np.stack([low, high, *_roots(g2, g1, g0), *_roots(*derivative)])
    points = np.where((low < points) & (points < high), points, low)
    points[1] = high
    values = points + np.maximum((g2 * points + g1) * points + g0, 0.0) * (alpha * points + beta)
    return values.min(axis=0), values.max(axis=0)


def _roots(a: Float, b: Float, c: Float) -> tuple[Float, Float]:
    """Zeros of `a x^2 + b x + c`, NaN or infinite where there are none."""
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        root = np.sqrt(b * b - 4 * a * c)
        larger = -(b + np.where(b < 0, -root, root)) / 2
        return larger / a, c / larger
