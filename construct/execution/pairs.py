"""The token pairs on which a head can be non-zero, proved from the weights and bounds on the data.

Head i adds something at target t from source s only if `score = sum_r (Q_i h_t)_r (K_i h_s)_r > 0` and
`V_i h_s != 0`. Given intervals for every entry of the hidden state, `pairs` returns every (head, t, s) for which
that cannot be excluded. Nothing is taken from whoever built the weights.

Method: branch and bound over a binary tree of consecutive tokens. A node holds the hull of its tokens, with the
position code measured against its own chord, so that the value of a quadratic gate over a node of W tokens is known to
`O(W^2)`. Each head keeps candidate nodes for its targets and for its sources; a node is dropped when the score
cannot be positive for any candidate of the other side. What is left at the leaves is checked pair by pair.

Rounding: inner nodes are widened by far more than float64 can lose. A leaf is evaluated in plain float64, which is
exact for integer gates; otherwise a pair whose score is at most the rounding error of its own terms may be dropped.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from construct.arrays import Float, Int
from construct.transformer.weights import HeadPairs, Intervals

GUARD = 1e-12  # relative widening at inner nodes, far above float64 rounding of a dozen operations
TINY = 1e-300
HEADS_PER_CHUNK = 1024  # fits the cache
PAIRS_PER_CHUNK = 1 << 18
DIRECT_PAIRS = 4096


class TooManyPairs(Exception):
    """More candidates than the caller wanted to look at."""


@dataclass(frozen=True)
class _Level:
    """Hulls of the nodes of one level in the coordinates `(h_pivot, h_j - slope_j h_pivot, ...)`."""

    lower: Float  # (nodes, w)
    upper: Float
    centre: Float  # of the hull, widened so that centre +- radius contains it in floating point
    radius: Float
    slope: Float  # (nodes, w), zero except for position-code rows other than the pivot


class TokenTree:
    """Binary tree over consecutive tokens with chord-corrected hulls, leaves first."""

    def __init__(self, state: Intervals) -> None:
        lower, upper = state.lower, state.upper
        fixed = np.all(lower == upper, axis=0) & (np.ptp(lower, axis=0) > 0)
        steps = np.diff(lower, axis=0)
        monotone = fixed & (np.all(steps > 0, axis=0) | np.all(steps < 0, axis=0))
        pivots = np.flatnonzero(monotone)  # a row that tells the tokens' order, as a position code does
        self.ordered = pivots.size > 0
        self.pivot = int(pivots[0]) if pivots.size else 0
        self.others = np.array([r for r in np.flatnonzero(fixed) if pivots.size and r != self.pivot], dtype=np.int64)
        self.tokens, self.values = lower.shape[0], lower
        self.levels = [self._level(lower, upper, 1)]
        width = 1
        while width < self.tokens:
            width *= 2
            self.levels.append(self._level(lower, upper, width))

    def _level(self, lower: Float, upper: Float, width: int) -> _Level:
        starts = np.arange(0, self.tokens, width)
        ends = np.minimum(starts + width, self.tokens) - 1
        slope = np.zeros((starts.size, lower.shape[1]))
        low, high = lower, upper
        if self.others.size:
            run = lower[ends, self.pivot] - lower[starts, self.pivot]
            rise = lower[ends][:, self.others] - lower[starts][:, self.others]
            chord = np.divide(rise, run[:, None], out=np.zeros_like(rise), where=run[:, None] != 0)
            slope[:, self.others] = np.where(self._chord_helps(chord, starts, ends), chord, 0.0)
            tilt = np.repeat(slope[:, self.others], ends - starts + 1, axis=0) * lower[:, self.pivot, None]
            low, high = lower.copy(), upper.copy()
            low[:, self.others] -= tilt
            high[:, self.others] -= tilt
        hull_low, hull_high = np.minimum.reduceat(low, starts), np.maximum.reduceat(high, starts)
        centre = (hull_low + hull_high) / 2
        radius = (hull_high - hull_low) / 2 + GUARD * np.maximum(np.abs(hull_low), np.abs(hull_high))
        return _Level(hull_low, hull_high, centre, radius, slope)

    def _chord_helps(self, chord: Float, starts: Int, ends: Int) -> NDArray[np.bool_]:
        """Per row, whether its hulls over the nodes are narrower measured against the chord."""
        values = self.values[:, self.others]
        tilted = values - np.repeat(chord, ends - starts + 1, axis=0) * self.values[:, self.pivot, None]
        widths = [
            (np.maximum.reduceat(v, starts) - np.minimum.reduceat(v, starts)).sum(axis=0) for v in (values, tilted)
        ]
        return np.asarray(widths[1] < widths[0])

    def functional(self, level: int, node: Int, weight: Float) -> tuple[Float, Float]:
        """Range of `weight[i] @ h` over node i; weight (n, r, w), result two arrays (n, r)."""
        tree = self.levels[level]
        if level > 0 and self.others.size:
            weight = weight.copy()  # a gathered batch: written below
            weight[:, :, self.pivot] += np.einsum(
                "nrj,nj->nr", weight[:, :, self.others], tree.slope[node][:, self.others]
            )
        if level == 0:
            return linear_range(weight, tree.lower[node], tree.upper[node])
        centre, radius = tree.centre[node], tree.radius[node]
        middle, spread = np.einsum("nrw,nw->nr", weight, centre), np.einsum("nrw,nw->nr", np.abs(weight), radius)
        spread += GUARD * (np.abs(middle) + spread) + TINY
        return middle - spread, middle + spread


def score_interval(query_lower: Float, query_upper: Float, key_lower: Float, key_upper: Float) -> tuple[Float, Float]:
    """Range of `sum_r q_r k_r` from ranges of its factors."""
    products = (query_lower * key_lower, query_lower * key_upper, query_upper * key_lower, query_upper * key_upper)
    lower = np.minimum(np.minimum(products[0], products[1]), np.minimum(products[2], products[3]))
    upper = np.maximum(np.maximum(products[0], products[1]), np.maximum(products[2], products[3]))
    return lower.sum(axis=-1), upper.sum(axis=-1)


def active_pairs(query: Float, key: Float, value: Float, state: Intervals, most: int | None = None) -> HeadPairs:
    """Every (head, target, source) that cannot be proved silent; weights (m, w, w), state (l, w).

    Raises:
        TooManyPairs: more than `most` candidates in a chunk of heads; found out before they are looked at.
    """
    tree = TokenTree(state)
    parts = [
        _chunk_pairs(query[start:stop], key[start:stop], value[start:stop], tree, state, start, most)
        for start in range(0, query.shape[0], HEADS_PER_CHUNK)
        for stop in [min(start + HEADS_PER_CHUNK, query.shape[0])]
    ]
    empty = np.zeros(0, dtype=np.int64)
    columns = [np.concatenate([part[i] for part in parts]) if parts else empty for i in range(3)]
    return HeadPairs(*columns)


def _chunk_pairs(
    query: Float, key: Float, value: Float, tree: TokenTree, state: Intervals, offset: int, most: int | None
) -> tuple[Int, Int, Int]:
    count, top = query.shape[0], len(tree.levels) - 1
    head_t = head_s = np.arange(count)
    node_t = node_s = np.zeros(count, dtype=np.int64)
    for level in range(top, -1, -1):
        head_t, node_t, head_s, node_s = _prune(tree, level, query, key, head_t, node_t, head_s, node_s, count)
        if level > 0:
            head_t, node_t = _split(tree, level, head_t, node_t)
            head_s, node_s = _split(tree, level, head_s, node_s)
    # sources whose value is identically zero contribute nothing
    low, high = tree.functional(0, node_s, value[head_s])
    speaks = ((low != 0) | (high != 0)).any(axis=1)
    head_s, node_s = head_s[speaks], node_s[speaks]
    sizes = np.bincount(head_t, minlength=count) * np.bincount(head_s, minlength=count)
    wide = sizes > max(DIRECT_PAIRS, 8 * tree.tokens)  # self and shift gates: neither side alone is selective
    _refuse_more(int(sizes[~wide].sum()), most)
    narrow_t, narrow_s = ~wide[head_t], ~wide[head_s]
    blocks = _cartesian(head_t[narrow_t], node_t[narrow_t], head_s[narrow_s], node_s[narrow_s], count)
    found = [_check(query, key, state, *block) for block in blocks]
    for index in np.flatnonzero(wide):
        left = None if most is None else most - sum(block[0].size for block in found)
        found.append(_descend_pairs(int(index), query, key, value, tree, left))
    if not found:
        empty = np.zeros(0, dtype=np.int64)
        return empty, empty, empty
    head, target, source = (np.concatenate([block[i] for block in found]) for i in range(3))
    return head + offset, target, source


def _refuse_more(count: int, most: int | None) -> None:
    if most is not None and count > most:
        raise TooManyPairs


def _prune(
    tree: TokenTree,
    level: int,
    query: Float,
    key: Float,
    head_t: Int,
    node_t: Int,
    head_s: Int,
    node_s: Int,
    count: int,
) -> tuple[Int, Int, Int, Int]:
    q_low, q_high = tree.functional(level, node_t, query[head_t])
    k_low, k_high = tree.functional(level, node_s, key[head_s])
    all_k = _hull(k_low, k_high, head_s, count)
    alive = _reaches(q_low, q_high, all_k[0][head_t], all_k[1][head_t])
    head_t, node_t, q_low, q_high = head_t[alive], node_t[alive], q_low[alive], q_high[alive]
    all_q = _hull(q_low, q_high, head_t, count)
    alive = _reaches(all_q[0][head_s], all_q[1][head_s], k_low, k_high)
    return head_t, node_t, head_s[alive], node_s[alive]


def _reaches(q_low: Float, q_high: Float, k_low: Float, k_high: Float) -> NDArray[np.bool_]:
    _, upper = score_interval(q_low, q_high, k_low, k_high)
    return np.asarray(upper > 0.0)


def _hull(low: Float, high: Float, head: Int, count: int) -> tuple[Float, Float]:
    """Per head, the hull over its candidates; heads are sorted. Without candidates 0, so that the score is 0."""
    lower, upper = np.zeros((count, low.shape[1])), np.zeros((count, low.shape[1]))
    if head.size:
        starts = np.flatnonzero(np.r_[True, head[1:] != head[:-1]])
        lower[head[starts]] = np.minimum.reduceat(low, starts)
        upper[head[starts]] = np.maximum.reduceat(high, starts)
    return lower, upper


def _descend_pairs(
    index: int, query: Float, key: Float, value: Float, tree: TokenTree, most: int | None
) -> tuple[Int, Int, Int]:
    """Branch and bound over pairs of nodes, for one head whose two sides are not selective alone."""
    if not tree.ordered and most is None:  # hulls of directions in a row are wide: nothing would be pruned early
        return _all_pairs(index, query[index], key[index], value[index], tree)
    node_t = node_s = np.zeros(1, dtype=np.int64)
    for level in range(len(tree.levels) - 1, -1, -1):
        nodes = np.arange(tree.levels[level].lower.shape[0])
        weights = (np.broadcast_to(w[index], (nodes.size, *w.shape[1:])) for w in (query, key, value))
        (q_low, q_high), (k_low, k_high), (v_low, v_high) = (tree.functional(level, nodes, w) for w in weights)
        speaks = ((v_low != 0) | (v_high != 0)).any(axis=1)
        alive = speaks[node_s]
        node_t, node_s = node_t[alive], node_s[alive]
        alive = _reaches(q_low[node_t], q_high[node_t], k_low[node_s], k_high[node_s])
        node_t, node_s = node_t[alive], node_s[alive]
        _refuse_more(node_t.size, most)
        if level > 0:
            last = tree.levels[level - 1].lower.shape[0]
            node_t, node_s = (
                (2 * node_t[:, None] + np.array([0, 0, 1, 1])).ravel(),
                (2 * node_s[:, None] + np.array([0, 1, 0, 1])).ravel(),
            )
            exists = (node_t < last) & (node_s < last)
            node_t, node_s = node_t[exists], node_s[exists]
    return np.full(node_t.size, index, dtype=np.int64), node_t, node_s  # leaves have been checked pair by pair


def _all_pairs(index: int, query: Float, key: Float, value: Float, tree: TokenTree) -> tuple[Int, Int, Int]:
    """The same by looking at every pair of tokens: with q = centre +- radius and k likewise, a score is at most
    `<qc, kc> + <|qc|, kr> + <qr, |kc| + kr>`, three products of matrices; what is left is checked pair by pair."""
    leaves = np.arange(tree.tokens)
    weights = (np.broadcast_to(w, (tree.tokens, *w.shape)) for w in (query, key, value))
    (q_low, q_high), (k_low, k_high), (v_low, v_high) = (tree.functional(0, leaves, w) for w in weights)
    speaks = np.flatnonzero(((v_low != 0) | (v_high != 0)).any(axis=1))
    k_low, k_high = k_low[speaks], k_high[speaks]
    qc, qr, kc, kr = (q_low + q_high) / 2, (q_high - q_low) / 2, (k_low + k_high) / 2, (k_high - k_low) / 2
    left, right = np.hstack([qc, np.abs(qc), qr]), np.hstack([kc, kr, np.abs(kc) + kr])
    guard = GUARD * (np.abs(left).max(axis=0, initial=0) * np.abs(right).max(axis=0, initial=0)).sum() + TINY
    step, found = max(1, PAIRS_PER_CHUNK // max(1, len(speaks))), []
    for start in range(0, tree.tokens, step):
        target, source = np.nonzero(~(left[start : start + step] @ right.T <= -guard))
        target += start
        alive = _reaches(q_low[target], q_high[target], k_low[source], k_high[source])
        found.append(np.stack([target[alive], speaks[source[alive]]]))
    target, source = np.concatenate(found, axis=1)
    return np.full(target.size, index, dtype=np.int64), target, source


def _split(tree: TokenTree, level: int, head: Int, node: Int) -> tuple[Int, Int]:
    children = np.stack([2 * node, 2 * node + 1], axis=1).ravel()
    heads = np.repeat(head, 2)
    exists = children < tree.levels[level - 1].lower.shape[0]
    return heads[exists], children[exists]


def _cartesian(head_t: Int, node_t: Int, head_s: Int, node_s: Int, count: int):  # type: ignore[no-untyped-def]
    """Blocks of all (head, target, source) with target and source candidates of the same head."""
    sources = np.bincount(head_s, minlength=count)
    first = np.concatenate([[0], np.cumsum(sources)])[:-1]
    repeats = sources[head_t]
    ends = np.cumsum(repeats)
    begin = 0
    while begin < head_t.size:
        base = ends[begin - 1] if begin else 0
        stop = max(begin + 1, int(np.searchsorted(ends, base + PAIRS_PER_CHUNK, side="right")))
        rep = repeats[begin:stop]
        total = int(rep.sum())
        if total:
            head = np.repeat(head_t[begin:stop], rep)
            within = np.arange(total) - np.repeat(np.cumsum(rep) - rep, rep)
            yield head, np.repeat(node_t[begin:stop], rep), node_s[first[head] + within]
        begin = stop


def _check(query: Float, key: Float, state: Intervals, head: Int, target: Int, source: Int) -> tuple[Int, Int, Int]:
    """Keep the pairs whose score can be positive, entry by entry."""
    q_low, q_high = linear_range(query[head], state.lower[target], state.upper[target])
    k_low, k_high = linear_range(key[head], state.lower[source], state.upper[source])
    _, upper = score_interval(q_low, q_high, k_low, k_high)
    keep = upper > 0.0
    return head[keep], target[keep], source[keep]


def ranges_at(weight: Float, head: Int, token: Int, state: Intervals) -> tuple[Float, Float]:
    """Range of `weight[head] @ h` at tokens; of each head and token once, where these are fewer than the places asked
    for."""
    heads, tokens = weight.shape[0], state.lower.shape[0]
    if heads * tokens > len(head):
        return linear_range(weight[head], state.lower[token], state.upper[token])
    every = [linear_range(np.broadcast_to(w, (tokens, *w.shape)), state.lower, state.upper) for w in weight]
    low, high = (np.concatenate([one[end] for one in every]) for end in (0, 1))
    return low[head * tokens + token], high[head * tokens + token]


def linear_range(weight: Float, lower: Float, upper: Float) -> tuple[Float, Float]:
    """Range of `weight @ h` for `lower <= h <= upper`; weight (n, r, w), bounds (n, w)."""
    positive, negative = np.maximum(weight, 0.0), np.minimum(weight, 0.0)
    low, high = lower[:, None, :], upper[:, None, :]
    return (positive * low + negative * high).sum(axis=-1), (positive * high + negative * low).sum(axis=-1)
