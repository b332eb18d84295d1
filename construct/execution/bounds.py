"""Interval propagation: bounds on every entry of the hidden state after each block, for all x in a box.

Heads: the score of every active pair is bounded by intervals, times the interval of `V h_s`, summed; where a token
hears itself in a register that nothing else enters, the sum with that register has its exact range (`cubics`). FFN: the
token's code is a known number and the token's box in its two registers is cut at the kinks of the first layer; on each
piece the network is propagated as an affine function plus an interval, so that a clip or a clear is bounded exactly in
spite of the residual connection (naive intervals would lose that `a - relu(a - 1)` is at most 1).
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from construct.arrays import Float, Int
from construct.execution.cubics import self_pairs
from construct.execution.pairs import active_pairs, ranges_at, score_interval
from construct.transformer.weights import BlockBounds, HeadPairs, Intervals

WIDEN = 1e-12


def input_intervals(hidden: Float, box: Float, embedded_row: int = 0) -> Intervals:
    """State after the embedding: x_j between the ends of the box (2, D) joins entry `embedded_row` of token j < D.

    Rounded outwards where something is added to a number that is not 0.
    """
    inputs = np.s_[: box.shape[1], embedded_row]
    lower, upper, start = hidden.copy(), hidden.copy(), hidden[inputs]
    lower[inputs] = np.where(start == 0, box[0], np.nextafter(start + box[0], -np.inf))
    upper[inputs] = np.where(start == 0, box[1], np.nextafter(start + box[1], np.inf))
    return Intervals(lower, upper)


def propagate_block(
    query: Float, key: Float, value: Float, ffn: list[tuple[Float, Float]], state: Intervals, most: int | None = None
) -> BlockBounds:
    """Bounds through one block; `TooManyPairs` where more than `most` pairs would have to be looked at."""
    pairs, middle = attention_bounds(query, key, value, state, most)
    after, changed = feed_forward_bounds(ffn, middle)
    return BlockBounds(pairs, changed, state, after)


def attention_bounds(
    query: Float, key: Float, value: Float, state: Intervals, most: int | None = None
) -> tuple[HeadPairs, Intervals]:
    """Active pairs of the heads and the range of `Z = H + MHA(H)`; `TooManyPairs` where they are more than `most`."""
    pairs = active_pairs(query, key, value, state, most)
    return pairs, _attention(query, key, value, pairs, state)


def _widened(lower: Float, upper: Float, touched: Float) -> Intervals:
    """Round outwards where something was added."""
    margin = WIDEN * np.maximum(np.abs(lower), np.abs(upper)) * touched
    return Intervals(lower - margin, upper + margin)


def _attention(query: Float, key: Float, value: Float, pairs: HeadPairs, state: Intervals) -> Intervals:
    lower, upper = state.lower.copy(), state.upper.copy()
    touched = np.zeros_like(lower)
    exact = self_pairs(query, key, value, pairs, state)
    silent = np.zeros((len(pairs), 0 if not exact.pairs.size else lower.shape[1]), dtype=bool)
    if exact.pairs.size:
        entries = pairs.target[exact.pairs], exact.rows
        lower[entries], upper[entries] = exact.lower, exact.upper
        silent[exact.pairs, exact.rows] = True
    for start in range(0, len(pairs), 1 << 17):
        window = slice(start, start + (1 << 17))
        head, target, source = pairs.head[window], pairs.target[window], pairs.source[window]
        low, high = score_interval(*ranges_at(query, head, target, state), *ranges_at(key, head, source, state))
        low, high = np.maximum(low, 0.0)[:, None], np.maximum(high, 0.0)[:, None]
        v_low, v_high = ranges_at(value, head, source, state)
        if exact.pairs.size:
            v_low, v_high = (np.where(silent[window], 0.0, v) for v in (v_low, v_high))
        np.add.at(lower, target, np.minimum(low * v_low, high * v_low))
        np.add.at(upper, target, np.maximum(low * v_high, high * v_high))
        np.maximum.at(touched, target, ((v_low != 0) | (v_high != 0)).astype(np.float64))
    return _widened(lower, upper, touched)


def feed_forward_bounds(ffn: list[tuple[Float, Float]], state: Intervals) -> tuple[Intervals, Int]:
    """Range of `Z + FFN(Z)` and the tokens where FFN(Z) is not identically zero."""
    if not ffn:
        return state, np.zeros(0, dtype=np.int64)
    lower, upper = state.lower.copy(), state.upper.copy()
    touched = np.zeros_like(lower)
    for start in range(0, lower.shape[0], 1 << 14):
        window = slice(start, start + (1 << 14))
        low, high, active = _ffn_pieces(ffn, state.lower[window], state.upper[window])
        touched[window] = active
        lower[window] = np.where(active, low, lower[window])
        upper[window] = np.where(active, high, upper[window])
    return _widened(lower, upper, touched), np.flatnonzero(touched.any(axis=1))


def _ffn_pieces(ffn: list[tuple[Float, Float]], lower: Float, upper: Float) -> tuple[Float, Float, Float]:
    weight, bias = ffn[0]
    moving = [row for row in range(lower.shape[1]) if np.any(lower[:, row] != upper[:, row])]
    cells_low, cells_high = [lower], [upper]
    for row in moving:
        cuts = _kinks(weight, bias, lower, upper, row, moving)
        split_low, split_high = [], []
        for low, high in zip(cells_low, cells_high, strict=True):
            edges = [lower[:, row], *cuts, upper[:, row]]
            for left, right in pairwise(edges):
                piece_low, piece_high = low.copy(), high.copy()
                piece_low[:, row], piece_high[:, row] = left, right
                split_low.append(piece_low)
                split_high.append(piece_high)
        cells_low, cells_high = split_low, split_high
    out_low, out_high = np.full_like(lower, np.inf), np.full_like(upper, -np.inf)
    active = np.zeros_like(lower)
    for low, high in zip(cells_low, cells_high, strict=True):
        piece_low, piece_high, piece_active = _affine_range(ffn, low, high)
        out_low, out_high = np.minimum(out_low, piece_low), np.maximum(out_high, piece_high)
        active = np.maximum(active, piece_active)
    return out_low, out_high, active


def _kinks(weight: Float, bias: Float, lower: Float, upper: Float, row: int, moving: list[int]) -> list[Float]:
    """Sorted kinks of the first layer along one moving row, per token, clipped to the token's interval."""
    cuts = []
    for channel in range(weight.shape[0]):
        coefficient = weight[channel, row]
        if coefficient == 0 or any(weight[channel, other] != 0 for other in moving if other != row):
            continue
        fixed = np.delete(weight[channel], row) @ np.delete(lower, row, axis=1).T + bias[channel]
        cuts.append(np.clip(-fixed / coefficient, lower[:, row], upper[:, row]))
    if not cuts:
        return []
    return list(np.sort(np.stack(cuts), axis=0))


def _affine_range(ffn: list[tuple[Float, Float]], lower: Float, upper: Float) -> tuple[Float, Float, Float]:
    """Range of `Z + FFN(Z)` over boxes (n, w), and where FFN(Z) is not identically zero.

    Channels are `slope @ (Z - centre) + offset + [low, high]` on each box.
    """
    centre, radius = (lower + upper) / 2, (upper - lower) / 2
    count, width = lower.shape
    slope = np.broadcast_to(np.eye(width), (count, width, width))
    offset = centre
    low = high = np.zeros_like(centre)
    for index, (weight, bias) in enumerate(ffn):
        slope = np.einsum("ij,njk->nik", weight, slope)
        offset = offset @ weight.T + bias
        positive, negative = np.maximum(weight, 0.0), np.minimum(weight, 0.0)
        low, high = low @ positive.T + high @ negative.T, high @ positive.T + low @ negative.T
        if index + 1 < len(ffn):
            spread = np.einsum("njk,nk->nj", np.abs(slope), radius)
            total_low, total_high = offset + low - spread, offset + high + spread
            tiny = 1e-13 * (np.abs(offset) + spread)
            on, off = total_low >= -tiny, total_high <= tiny
            mixed = ~(on | off)
            keep = on & ~off
            slope = np.where(keep[:, :, None], slope, 0.0)
            offset = np.where(keep, offset, 0.0)
            low = np.where(keep, low, 0.0)
            high = np.where(keep, high, np.where(mixed, total_high, 0.0))
    moves = (slope != 0) & (radius[:, None, :] > 0)
    active = (moves.any(axis=2) | (offset != 0) | (low != 0) | (high != 0)).astype(np.float64)
    spread = np.einsum("njk,nk->nj", np.abs(slope + np.eye(width)), radius)
    return centre + offset + low - spread, centre + offset + high + spread, active
