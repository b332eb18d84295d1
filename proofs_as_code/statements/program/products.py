"""Products of attention are exact: squares, signed reads, in-place products and their binary tree.

A head adds `v relu(u_t^T G u_s)`, so it multiplies two registers without any approximation, where a ReLU network needs
depth O(log 1/delta) for an error delta. The checks run the library's weights in rational arithmetic, on states that
fill all tokens: a head that leaked into another token would be seen.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from flint import fmpq, fmpq_mat
from hypothesis import strategies as st

from construct.arrays import Float
from construct.program import products
from construct.program.heads import A, B
from construct.program.layout import ONE, TokenGroup, TokenLayout
from construct.program.rules import Rule
from construct.transformer.weights import Heads
from proofs_as_code import rational
from proofs_as_code.framework import Hypothesis, Statement, Twin, Verdict, verdict

Registers = list[tuple[fmpq, fmpq]]
BOUND = 4  # of |a|, |b| in the states that are drawn
LIMITS = np.array([BOUND, BOUND, 1.0])
UNIT = np.ones(3)  # all registers of a tree stay in [-1, 1]


def layout_of(tokens: int) -> TokenLayout:
    """`tokens` tokens of one group, integer code."""
    return TokenLayout((TokenGroup("U", (tokens,), ("j",)),))


def heads_of(rules: Sequence[Rule], layout: TokenLayout, bound: Float) -> Heads:
    """The heads of rules that read the same state, for registers within the bound."""
    return Heads.stack([rule.heads(layout, rule.constant(layout, bound)) for rule in rules], layout.embedding_dim)


def after(rules: Sequence[Rule], layout: TokenLayout, bound: Float, state: fmpq_mat) -> fmpq_mat:
    """State after one block of the rules' heads, exactly."""
    return state + rational.attention(heads_of(rules, layout, bound), state)


def compare(found: fmpq_mat, wanted: fmpq_mat) -> Verdict:
    """Exact verdict that two states are equal."""
    difference = found - wanted
    entries = [abs(x) for x in difference.entries()]
    worst = max(range(len(entries)), key=entries.__getitem__)
    where = {"token": worst // found.ncols(), "row": worst % found.ncols()}
    return verdict(fmpq(0), entries[worst], kind="exact", points=len(entries), dtype="rational", worst_point=where)


# -- one block --------------------------------------------------------------------------------------------------


def square(values: Registers, understated: float = 1.0) -> Verdict:
    """`b_t += a_t^2` in every token by one self-gated head: the form a_t a_s with gate -(t-s)^2."""
    layout = layout_of(len(values))
    state = rational.state(layout, values)
    bound = LIMITS * [understated, understated, 1.0]
    wanted = fmpq_mat(state)
    for token, (a, b) in enumerate(values):
        wanted[token, layout.row("b")] = b + a * a
    return compare(after([products.square()], layout, bound, state), wanted)


def signed_read(values: Registers, weight: fmpq, keep: slice = slice(None)) -> Verdict:
    """`b_0 += weight a_1` by `weight relu(a_s) - weight relu(-a_s)`; keep: which rules of the pair are there."""
    layout = layout_of(len(values))
    state = rational.state(layout, values)
    rules: Sequence[Rule] = products.signed(np.array([0]), np.array([1]), {(ONE, A): 1.0}, B, float(weight))
    wanted = fmpq_mat(state)
    wanted[0, layout.row("b")] = values[0][1] + weight * values[1][0]
    return compare(after(rules[keep], layout, LIMITS, state), wanted)


def in_place(values: Registers, keep: slice = slice(None)) -> Verdict:
    """`a_0 <- a_0 a_1`: the pair `+-relu(+-a_0 (a_1 - 1))` adds `a_0 a_1 - a_0`."""
    layout = layout_of(len(values))
    state = rational.state(layout, values)
    rules: Sequence[Rule] = products.multiply(np.array([0]), np.array([1]), A)
    wanted = fmpq_mat(state)
    wanted[0, layout.row("a")] = values[0][0] * values[1][0]
    return compare(after(rules[keep], layout, LIMITS, state), wanted)


def product_tree(factors: list[fmpq], dropped: int = 0) -> Verdict:
    """P_0 holds the product of all factors after `ceil(log2 d)` blocks of in-place products."""
    layout = layout_of(len(factors))
    state = rational.state(layout, [(factor, fmpq(0)) for factor in factors])
    levels = (len(factors) - 1).bit_length()
    for level in range(1, levels + 1 - dropped):
        i, j = (np.array(column) for column in zip(*products.tree_steps(len(factors), level), strict=True))
        state = after(products.multiply(i, j, A), layout, UNIT, state)
    product = fmpq(1)
    for factor in factors:
        product *= factor
    error = abs(state[0, layout.row("a")] - product)
    return verdict(fmpq(0), error, kind="exact", points=1, dtype="rational", worst_point={"d": len(factors)})


# -- statements -------------------------------------------------------------------------------------------------

TOKENS = Hypothesis(
    f"2 to 9 tokens with registers |a|, |b| <= {BOUND}",
    st.integers(2, 9).flatmap(lambda tokens: rational.registers(tokens, BOUND, BOUND)),
)
FULL = Hypothesis(
    f"every register at its bound: a_t = {BOUND} in 2 to 9 tokens",
    st.integers(2, 9).map(lambda tokens: [(fmpq(BOUND), fmpq(0))] * tokens),
)
WEIGHTS = Hypothesis("a weight v", rational.dyadics(2))
odd = st.integers(-128, 127).map(lambda k: fmpq(2 * k + 1, 256))  # never 0 and never +-1
FACTORS = Hypothesis("1 to 9 factors in [-1, 1]", st.lists(rational.dyadics(1), min_size=1, max_size=9))
PROPER = Hypothesis("2 to 9 factors with 0 < |p| < 1", st.lists(odd, min_size=2, max_size=9))
OPPOSITE = Hypothesis("a_0 = 1 and a_1 < 0", st.just([(fmpq(1), fmpq(0)), (fmpq(-1, 2), fmpq(0))]))

STATEMENTS: tuple[Statement, ...] = (
    Statement(
        name="products.square",
        source="ours",
        claim="one head: b_t <- b_t + a_t^2 in every token t, and nothing else changes",
        latex=r"b_t \leftarrow b_t + a_t^2 \quad\text{for all } t",
        hypotheses={"values": TOKENS},
        check=square,
        twins=(
            Twin(
                "data_bound_understated",
                "the gate constant comes from a bound below the data: 4/8 instead of 4",
                lambda values: square(values, 1 / 8),
                {"values": FULL},
            ),
        ),
    ),
    Statement(
        name="products.signed_read",
        source="Havrilla and Liao, Lemma 3",
        claim="two heads: b_0 <- b_0 + v a_1 for any sign of a_1, and nothing else changes",
        latex=r"v\,\mathrm{relu}(a_s) - v\,\mathrm{relu}(-a_s) = v a_s",
        hypotheses={"values": TOKENS, "weight": WEIGHTS},
        check=signed_read,
        twins=(
            Twin(
                "one_head_of_the_pair",
                "the head of the negative part is missing",
                lambda values, weight: signed_read(values, weight, slice(0, 1)),
                {"values": OPPOSITE, "weight": Hypothesis("v != 0", odd)},
            ),
        ),
    ),
    Statement(
        name="products.in_place",
        source="Havrilla and Liao, Lemma 3",
        claim="two heads, one block: a_0 <- a_0 a_1 exactly, and nothing else changes",
        latex=r"a_t + \mathrm{relu}(a_t(a_s - 1)) - \mathrm{relu}(-a_t(a_s - 1)) = a_t a_s",
        hypotheses={"values": TOKENS},
        check=in_place,
        twins=(
            Twin(
                "one_head_of_the_pair",
                "the head of the negative part is missing",
                lambda values: in_place(values, slice(0, 1)),
                {"values": OPPOSITE},
            ),
        ),
    ),
    Statement(
        name="products.product_tree",
        source="Havrilla and Liao, proof of Theorem 2",
        claim="ceil(log2 d) blocks of in-place products: P_0 = p_1 ... p_d exactly, |p_i| <= 1",
        latex=r"P_0 = \prod_{i=1}^d p_i \text{ after } \lceil\log_2 d\rceil \text{ blocks}",
        hypotheses={"factors": FACTORS},
        check=product_tree,
        twins=(
            Twin(
                "one_level_dropped",
                "the last level of the tree is missing",
                lambda factors: product_tree(factors, 1),
                {"factors": PROPER},
            ),
        ),
    ),
)
