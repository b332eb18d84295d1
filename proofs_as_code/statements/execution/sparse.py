"""Sparse execution is the same function: every pair that is dropped is silent on the whole box.

A head adds `relu(sum_r q_r k_r) V h_s` at target t from source s, q = Q h_t, k = K h_s. For `lower <= h <= upper`
entrywise, q_r and k_r lie in intervals given by the signs of the weights, and the score is at most the sum over r of
the largest of the four products of their ends. `pairs.active_pairs` keeps every pair for which this is positive and
V h_s is not identically 0. It gets there by branch and bound over a tree of tokens, in floating point with wider bounds
at inner nodes; here the bound of each single pair is found in rational arithmetic from the same float64 numbers, with
none of that code. What was dropped then is silent for *all* states of the box: pruning is a proof, not a sample.

Gates of the integer code are integers times a power of two, so that nothing rounds at a leaf. Otherwise (`exact` false)
a bound of up to 2^-50 of its own terms counts as silent, see the docstring of `construct.execution.pairs`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from flint import fmpq, fmpq_mat
from hypothesis import strategies as st

from construct.arrays import Float
from construct.execution.pairs import active_pairs
from construct.program.heads import A, B
from construct.program.layout import ONE, TokenGroup, TokenLayout
from construct.program.products import narrow
from construct.transformer.weights import HeadPairs, Heads, Intervals
from proofs_as_code import rational
from proofs_as_code.framework import Hypothesis, Statement, Twin, Verdict, verdict

TOKENS = 7
SHRUNK = 1 / 4
TOLERANCE = fmpq(1, 2**50)
Pairs = set[tuple[int, int, int]]


@dataclass(frozen=True)
class HeadsOnBox:
    """Heads and the box of their hidden states; exact: nothing rounds at a leaf."""

    heads: Heads
    state: Intervals
    exact: bool

    def active(self, share: float = 1.0) -> Pairs:
        """What `active_pairs` keeps on the box, or on the box shrunk about its centre to a share of its width."""
        if share == 1.0:
            return listed(active_pairs(self.heads.query, self.heads.key, self.heads.value, self.state))
        centre, radius = (self.state.lower + self.state.upper) / 2, (self.state.upper - self.state.lower) / 2
        box = Intervals(centre - share * radius, centre + share * radius)
        return listed(active_pairs(self.heads.query, self.heads.key, self.heads.value, box))


def listed(pairs: HeadPairs) -> Pairs:
    return set(zip(pairs.head.tolist(), pairs.target.tolist(), pairs.source.tolist(), strict=True))


def random_heads(seed: int) -> HeadsOnBox:
    """Three heads with small integer weights, many of them 0, a gated product, and a head of score 2 (a_s - 1).

    The last is silent wherever |a_s| <= 1, and not on the box, |a_s| <= 2: its pairs need the bounds on the data.
    """
    layout, rng = TokenLayout((TokenGroup("t", (TOKENS,)),)), np.random.default_rng(seed)

    def draw(*shape: int) -> Float:
        return rng.integers(-2, 3, shape).astype(np.float64) * (rng.uniform(size=shape) < 0.4)

    width = layout.embedding_dim
    loose = Heads(draw(3, width, width), draw(3, width, width), draw(3, width, width))
    t, s = rng.permutation(TOKENS)[:2]
    rule = narrow(np.array([t]), np.array([s]), {(A, A): 1.0}, B, 1.0)
    product = rule.heads(layout, rule.constant(layout, np.array([2.0, 2.0, 1.0])))
    query, key = np.zeros((1, width, width)), np.zeros((1, width, width))
    query[0, 0, layout.row(ONE)], key[0, 0, layout.row(A)], key[0, 0, layout.row(ONE)] = 2.0, 1.0, -1.0
    value = np.zeros((1, width, width))
    value[0, layout.row(B), layout.row(ONE)] = 1.0
    lower = layout.initial_state()
    upper = lower.copy()
    lower[:, list(layout.register_rows)], upper[:, list(layout.register_rows)] = -2.0, 2.0
    return HeadsOnBox(Heads.stack([loose, product, Heads(query, key, value)], width), Intervals(lower, upper), True)


# -- exact bounds -----------------------------------------------------------------------------------------------


def ranges(weight: fmpq_mat, lower: fmpq_mat, upper: fmpq_mat) -> tuple[fmpq_mat, fmpq_mat]:
    """Smallest and largest `W h_t` per token, (l, w) each: weights (w, w), box (l, w)."""
    sign = [fmpq_mat(weight.nrows(), weight.ncols(), [max(s * w, fmpq(0)) for w in weight.entries()]) for s in (1, -1)]
    positive, negative = (part.transpose() for part in sign)
    return lower * positive - upper * negative, upper * positive - lower * negative


def dropped_scores(parts: HeadsOnBox, kept: Pairs) -> tuple[fmpq, tuple[int, int, int], int]:
    """Largest excess of a score that is possible on the box over what counts as silent, of all pairs not kept."""
    lower, upper = rational.matrix(parts.state.lower), rational.matrix(parts.state.upper)
    tokens, width = lower.nrows(), lower.ncols()
    worst, where, count = fmpq(0), (-1, -1, -1), 0
    batch = parts.heads
    for index, weights in enumerate(zip(batch.query, batch.key, batch.value, strict=True)):
        (q_low, q_high), (k_low, k_high), (v_low, v_high) = (
            ranges(rational.matrix(weight), lower, upper) for weight in weights
        )
        used = [r for r in range(width) if weights[0][r].any() and weights[1][r].any()]
        for s in range(tokens):
            if all(v_low[s, r] == 0 == v_high[s, r] for r in range(width)):
                continue
            for t in range(tokens):
                if (index, t, s) in kept:
                    continue
                count += 1
                bound = size = fmpq(0)
                for r in used:
                    products = [q * k for q in (q_low[t, r], q_high[t, r]) for k in (k_low[s, r], k_high[s, r])]
                    bound += max(products)
                    size += max(abs(p) for p in products)
                excess = bound if parts.exact else bound - TOLERANCE * size
                if excess > worst:
                    worst, where = excess, (index, t, s)
    return worst, where, count


def silent(parts: HeadsOnBox, kept: Pairs) -> Verdict:
    """Every pair that is not kept has a score <= 0 on the whole box, or a value that vanishes there."""
    worst, where, count = dropped_scores(parts, kept)
    return verdict(
        fmpq(0), worst, kind="exact", points=count, dtype="rational", worst_point={"head, target, source": where}
    )


def without_one(kept: Pairs, key: tuple[int, int, int] | None = None) -> Pairs:
    """The pairs but for one that is there, the first unless it is given."""
    key = min(kept) if key is None else key
    assert key in kept
    return kept - {key}


# -- the same sum -----------------------------------------------------------------------------------------------


def states(parts: HeadsOnBox, shares: list[fmpq]) -> list[fmpq_mat]:
    """The upper corner of the box, a corner from the signs of the shares, and a point inside."""
    lower, upper = rational.matrix(parts.state.lower), rational.matrix(parts.state.upper)
    count = lower.nrows() * lower.ncols()
    inside = [abs(shares[i % len(shares)]) for i in range(count)]
    corner = [fmpq(int(share > fmpq(1, 2))) for share in inside]
    found = []
    for weight in ([fmpq(1)] * count, corner, inside):
        entries = [a + w * (b - a) for a, b, w in zip(lower.entries(), upper.entries(), weight, strict=True)]
        found.append(fmpq_mat(lower.nrows(), lower.ncols(), entries))
    return found


def pruned(batch: Heads, kept: Pairs, state: fmpq_mat) -> fmpq_mat:
    """Sum of the heads over the kept pairs alone."""
    out = fmpq_mat(state.nrows(), state.ncols())
    for index, (query, key, value) in enumerate(zip(batch.query, batch.key, batch.value, strict=True)):
        score = rational.relu(rational.scores(query, key, state))
        for t in range(state.nrows()):
            for s in range(state.nrows()):
                if (index, t, s) not in kept:
                    score[t, s] = 0
        out += score * (state * rational.matrix(value).transpose())
    return out


def same_sum(parts: HeadsOnBox, kept: Pairs, shares: list[fmpq]) -> Verdict:
    """All pairs against the kept ones, at the corners and inside."""
    found = states(parts, shares)
    differences = [rational.largest(rational.attention(parts.heads, h) - pruned(parts.heads, kept, h)) for h in found]
    return verdict(fmpq(0), max(differences), kind="exact", points=len(found), dtype="rational")


SEED = Hypothesis("heads with integer weights on 7 tokens, |a|, |b| <= 2", st.integers(0, 2**31))
SHARES = Hypothesis("a state of the box", st.lists(rational.dyadics(1), min_size=1, max_size=17))
THRESHOLD = (4, 0, 1)  # a pair of the last random head, whose score is 2 (a_s - 1)

STATEMENTS: tuple[Statement, ...] = (
    Statement(
        name="sparse.dropped_pairs_silent",
        source="ours",
        claim="every (head, target, source) that is dropped has score <= 0, or V h_s = 0, on the whole box",
        latex=r"\sup_{h \in \mathrm{box}} \langle Q h_t, K h_s\rangle \le 0 \text{ or } V h_s \equiv 0",
        hypotheses={"seed": SEED},
        check=lambda seed: silent(random_heads(seed), random_heads(seed).active()),
        twins=(
            Twin(
                "active_pair_dropped",
                "one pair of the head of score 2 (a_s - 1) is dropped",
                lambda seed: silent(random_heads(seed), without_one(random_heads(seed).active(), THRESHOLD)),
            ),
            Twin(
                "smaller_box",
                "the pairs come from a quarter of the box",
                lambda seed: silent(random_heads(seed), random_heads(seed).active(SHRUNK)),
            ),
        ),
        examples=20,
    ),
    Statement(
        name="sparse.same_sum",
        source="ours",
        claim="heads summed over the kept pairs alone are the same, at corners of the box and inside",
        latex=r"\sum_{(t,s) \text{ kept}} = \sum_{(t,s)}",
        hypotheses={"seed": SEED, "shares": SHARES},
        check=lambda seed, shares: same_sum(random_heads(seed), random_heads(seed).active(), shares),
        twins=(
            Twin(
                "active_pair_dropped",
                "one pair of the head of score 2 (a_s - 1) is dropped",
                lambda seed, shares: same_sum(
                    random_heads(seed), without_one(random_heads(seed).active(), THRESHOLD), shares
                ),
            ),
            Twin(
                "smaller_box",
                "the pairs come from a quarter of the box",
                lambda seed, shares: same_sum(random_heads(seed), random_heads(seed).active(SHRUNK), shares),
            ),
        ),
    ),
)
