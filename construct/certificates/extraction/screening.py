"""Which pairs of tokens a head may act on: those that the ranges of the registers do not prove silent.

In floating point, with margins above its rounding and above what the network itself may lose in a score.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from construct.arrays import Float, Int
from construct.certificates.extraction.arithmetic import LARGEST
from construct.certificates.weights import BlockWeights
from construct.validation import invalid

MARGIN = 1e-11  # relative, far above the rounding of the float64 screening of pairs
FLOOR = 2.0**-120  # and absolute, above what underflow may lose in a score, here and in a network in float32
MARGIN_UNITS = 64  # and, in unit round-offs of the network, above what it may itself lose in a score
HEADS_AT_ONCE = 64
ENTRIES_AT_ONCE = 1 << 22  # scores of pairs of tokens

Range = tuple[Float, Float]


def candidates(
    block: BlockWeights, low: Float, high: Float, unit: float, only: int | None = None
) -> list[tuple[int, int, int]]:
    """(head, target, source) of all pairs that may act while `low <= H <= high`, both (l, w).

    only: the one target that is asked for, if there is one; that nothing overflows is checked for all. Per head,
        targets are kept whose score may be positive with the hull of all sources that have a value, then sources with
        the hull of those targets; what remains is looked at pair by pair.
    """
    margin = max(MARGIN, (MARGIN_UNITS + 4 * block.query.shape[-1]) * unit)
    used = np.maximum(np.abs(low), np.abs(high)) > 0
    found = []
    for start in range(0, block.query.shape[0], HEADS_AT_ONCE):
        window = slice(start, start + HEADS_AT_ONCE)
        q, k, v = (
            _functional_range(w[window], low, high, margin) for w in (block.query, block.key, block.value)
        )  # two (m, l, w) each
        scores = (np.abs(q).max(axis=(0, 2)) * np.abs(k).max(axis=(0, 2))).sum(axis=-1)
        values = np.abs(v).max(axis=(0, 2, 3)).clip(min=1.0)
        if not (np.abs(np.stack([q, k, v])).max() <= LARGEST and (scores * values).max() <= LARGEST):
            raise invalid("net", f"scores below {LARGEST:.0e}", got=f"heads from {start} on whose scores may be larger")
        speaks = np.einsum("mw,lw->ml", (block.value[window] != 0).any(axis=1).astype(float), used.astype(float)) > 0
        targets = ~(_upper(q, _hull(k, speaks), margin) < 0)
        if only is not None:
            targets &= np.arange(targets.shape[1]) == only
        sources = ~(_upper(_hull(q, targets), k, margin) < 0) & speaks
        for h in np.flatnonzero(speaks.any(axis=1)).tolist():
            t, s = np.flatnonzero(targets[h]), np.flatnonzero(sources[h])
            found += [(start + h, a, b) for a, b in _pairwise((q[0][h], q[1][h]), (k[0][h], k[1][h]), t, s, margin)]
    return found


def _pairwise(q: Range, k: Range, targets: Int, sources: Int, margin: float) -> list[tuple[int, int]]:
    """Pairs of one head whose score may be positive."""
    if targets.size == 0 or sources.size == 0:
        return []
    found: list[tuple[int, int]] = []
    step = max(1, ENTRIES_AT_ONCE // sources.size)
    for start in range(0, targets.size, step):
        some = targets[start : start + step]
        i, j = _roughly((q[0][some], q[1][some]), (k[0][sources], k[1][sources]), margin)
        t, s = some[i], sources[j]
        kept = ~(_upper((q[0][t], q[1][t]), (k[0][s], k[1][s]), margin) < 0)
        found += zip(t[kept].tolist(), s[kept].tolist(), strict=True)
    return found


def _roughly(q: Range, k: Range, margin: float) -> tuple[Int, Int]:
    """Pairs (target, source), by their places, without those that a bound from midpoints and radii proves silent."""
    (q_middle, q_radius), (k_middle, k_radius) = (((r[0] + r[1]) / 2, (r[1] - r[0]) / 2) for r in (q, k))
    q_size, k_size = (np.maximum(np.abs(r[0]), np.abs(r[1])) for r in (q, k))
    upper = q_middle @ k_middle.T + q_size @ k_radius.T + q_radius @ k_size.T
    upper += 2 * margin * (q_size @ k_size.T) + q_size.shape[1] * FLOOR
    i, j = np.nonzero(~(upper < 0))
    return i, j


def _functional_range(weight: Float, low: Float, high: Float, margin: float) -> Range:
    """Range of `weight @ h_token`, (m, r, w) and (l, w) -> two (m, l, r), widened for rounding."""
    positive, negative = np.maximum(weight, 0.0), np.minimum(weight, 0.0)
    lower = np.einsum("mrw,lw->mlr", positive, low) + np.einsum("mrw,lw->mlr", negative, high)
    upper = np.einsum("mrw,lw->mlr", positive, high) + np.einsum("mrw,lw->mlr", negative, low)
    sizes = np.einsum("mrw,lw->mlr", np.abs(weight), np.maximum(np.abs(low), np.abs(high)))
    if not (sizes <= LARGEST).all():  # cancellation included
        raise invalid("net", f"scores below {LARGEST:.0e}", got="a head whose sums may be larger")
    widen = margin * sizes + FLOOR
    return lower - widen, upper + widen


def _hull(of: Range, chosen: NDArray[np.bool_]) -> Range:
    """Union over the chosen tokens (m, l) of each head, two (m, 1, r); 0 where there is none."""
    low = np.where(chosen[:, :, None], of[0], np.inf).min(axis=1)[:, None, :]
    high = np.where(chosen[:, :, None], of[1], -np.inf).max(axis=1)[:, None, :]
    return np.where(np.isfinite(low), low, 0.0), np.where(np.isfinite(high), high, 0.0)


def _upper(q: Range, k: Range, margin: float) -> Float:
    """Upper bound of `sum_r q_r k_r`, widened for rounding, the network's own included."""
    products = np.stack([q[0] * k[0], q[0] * k[1], q[1] * k[0], q[1] * k[1]])
    upper = products.max(axis=0)
    return np.asarray((upper + margin * np.abs(products).max(axis=0) + FLOOR).sum(axis=-1))
