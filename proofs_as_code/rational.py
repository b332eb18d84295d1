"""Exact arithmetic on the very weights of a network, and exact states to feed it.

A float64 (or float32) is a dyadic rational, so a network with stored weights is a function Q^D -> Q: products, sums and
`relu` never leave Q. What is computed here is that function, without any rounding, from the weights alone; nothing of
the library's own evaluation is used. States are `fmpq_mat` of shape (l, w), one token per row, as in the library.

    head(H)_t = sum_s relu(<Q h_t, K h_s>) V h_s,   block(H) = Z + FFN(Z),  Z = H + sum of the heads

The size of the numbers grows by the factor 3 with every block of heads (a head is cubic), so this is for small
networks: dozens of tokens and a few blocks. Shapes and finiteness are checked where floats come in.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from fractions import Fraction
from itertools import product
from typing import Any, Protocol

import numpy as np
from flint import fmpq, fmpq_mat
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from torch import Tensor

from construct.program.layout import TokenLayout
from construct.transformer.module import Block, FeedForwardNetwork, Transformer
from construct.transformer.weights import FeedForward
from construct.validation import invalid

Number = fmpq | Fraction | float | int
ZERO = fmpq(0)


class HasHeads(Protocol):
    """Weights (m, w, w) of m heads: `Heads` (numpy) or `MultiHeadAttention` (torch)."""

    @property
    def query(self) -> Any: ...

    @property
    def key(self) -> Any: ...

    @property
    def value(self) -> Any: ...


# -- numbers and matrices ---------------------------------------------------------------------------------------


def rational(value: Number) -> fmpq:
    """The number itself, as a fraction. Raises `InputError` for NaN and infinity."""
    if isinstance(value, fmpq):
        return value
    try:
        numerator, denominator = value.as_integer_ratio()
    except (OverflowError, ValueError) as error:
        raise invalid("value", "a finite number", value) from error
    return fmpq(numerator, denominator)


def fraction(value: fmpq) -> Fraction:
    """The same number as a `fractions.Fraction`."""
    return Fraction(int(value.p), int(value.q))


def array(weights: Any) -> np.ndarray[Any, Any]:
    """A tensor or array of floats as float64, which holds float32 and narrower types exactly."""
    if isinstance(weights, Tensor):
        return weights.detach().cpu().double().numpy()
    return np.asarray(weights, dtype=np.float64)


def matrix(weights: Any) -> fmpq_mat:
    """A 2-d tensor or array of floats, or rows of numbers of any exact kind, without rounding."""
    if isinstance(weights, Tensor | np.ndarray):
        rows: Sequence[Sequence[Number]] = array(weights).tolist()
    else:
        rows = [list(row) for row in weights]
    if not rows or not all(isinstance(row, list) and len(row) == len(rows[0]) > 0 for row in rows):
        raise invalid("weights", "a matrix with entries", weights)
    return fmpq_mat(len(rows), len(rows[0]), [rational(entry) for row in rows for entry in row])


def relu(values: fmpq_mat) -> fmpq_mat:
    """Entrywise `max(., 0)`."""
    return fmpq_mat(values.nrows(), values.ncols(), [x if x > 0 else ZERO for x in values.entries()])


def largest(values: fmpq_mat | Iterable[fmpq]) -> fmpq:
    """Largest absolute entry; 0 if there is none."""
    entries = values.entries() if isinstance(values, fmpq_mat) else values
    return max((abs(entry) for entry in entries), default=ZERO)


# -- network ----------------------------------------------------------------------------------------------------


def scores(query: Any, key: Any, state: fmpq_mat) -> fmpq_mat:
    """`<Q h_t, K h_s>` of one head for every ordered pair, (l, l) with entry [t, s]; query, key (w, w)."""
    return (state * matrix(query).transpose()) * (state * matrix(key).transpose()).transpose()


def head(query: Any, key: Any, value: Any, state: fmpq_mat) -> fmpq_mat:
    """What one head adds to every token, (l, w)."""
    return relu(scores(query, key, state)) * (state * matrix(value).transpose())


def attention(heads: HasHeads, state: fmpq_mat) -> fmpq_mat:
    """What all heads of a batch or of a block add, (l, w)."""
    added = fmpq_mat(state.nrows(), state.ncols())
    for query, key, value in zip(array(heads.query), array(heads.key), array(heads.value), strict=True):
        added += head(query, key, value, state)
    return added


def layers(ffn: FeedForward | FeedForwardNetwork) -> list[tuple[fmpq_mat, fmpq_mat]]:
    """Weights (w, w) and biases (1, w) of a feed-forward network, numpy or torch."""
    if isinstance(ffn, FeedForwardNetwork):
        return [(matrix(layer.weight), matrix(layer.bias[None])) for layer in ffn.affine]
    return [(matrix(weight), matrix(bias[None])) for weight, bias in ffn.layers]


def feed_forward(ffn: FeedForward | FeedForwardNetwork, state: fmpq_mat) -> fmpq_mat:
    """What a feed-forward network adds to every token, (l, w); zero if it has no layers."""
    ones = fmpq_mat(state.nrows(), 1, [1] * state.nrows())
    hidden = state
    parts = layers(ffn)
    for index, (weight, bias) in enumerate(parts):
        hidden = (relu(hidden) if index else hidden) * weight.transpose() + ones * bias
    return hidden if parts else fmpq_mat(state.nrows(), state.ncols())


def block(part: Block, state: fmpq_mat) -> fmpq_mat:
    """Hidden state (l, w) after a block that reads `state`."""
    middle = state + attention(part.attention, state)
    return middle + feed_forward(part.ffn, middle)


def embed(net: Transformer, x: Sequence[Number]) -> fmpq_mat:
    """Hidden state (l, w) before the first block: `x_j` is added to row 0 of token j."""
    if len(x) != net.ambient:
        raise invalid("x", f"{net.ambient} coordinates", got=str(len(x)))
    state = matrix(net.hidden0)
    for token, coordinate in enumerate(x):
        state[token, 0] += rational(coordinate)
    return state


def hidden_states(net: Transformer, x: Sequence[Number]) -> list[fmpq_mat]:
    """Hidden state before the first block and after every block, exactly."""
    states = [embed(net, x)]
    for part in net.stack:
        states.append(block(part, states[-1]))
    return states


def transformer(net: Transformer, x: Sequence[Number]) -> fmpq:
    """T(x), exactly."""
    return hidden_states(net, x)[-1][net.output]


# -- states -----------------------------------------------------------------------------------------------------


def dyadics(bound: Number = 1, bits: int = 8) -> SearchStrategy[fmpq]:
    """Multiples of `2^-bits` in [-bound, bound], both ends included where they are such multiples."""
    steps = math.floor(fraction(rational(bound)) * 2**bits)
    if steps < 0:
        raise invalid("bound", "a number >= 0", bound)
    return st.integers(-steps, steps).map(lambda step: fmpq(step, 2**bits))


def registers(tokens: int, a: Number = 1, b: Number = 1, bits: int = 8) -> SearchStrategy[list[tuple[fmpq, fmpq]]]:
    """Registers of every token, `|a_t| <= a` and `|b_t| <= b`, as dyadic rationals."""
    return st.lists(st.tuples(dyadics(a, bits), dyadics(b, bits)), min_size=tokens, max_size=tokens)


def state(layout: TokenLayout, values: Sequence[tuple[Number, Number]]) -> fmpq_mat:
    """Hidden state (l, w) of the layout's stored codes with registers (a_t, b_t)."""
    if len(values) != layout.count:
        raise invalid("values", f"registers of {layout.count} tokens", got=str(len(values)))
    out = matrix(layout.initial_state())
    for token, pair in enumerate(values):
        for row, value in zip(layout.register_rows, pair, strict=True):
            out[token, row] = rational(value)
    return out


def corner_state(layout: TokenLayout, bound: Sequence[Number]) -> tuple[fmpq_mat, list[int]]:
    """Every token at each of the four corners `(+-U_a, +-U_b)` of the data box: state (4l, w), token of every row.

    A score `<Q h_t, K h_s>` is affine in (a_t, b_t) with s fixed and affine in (a_s, b_s) with t fixed, so its largest
    value over both boxes is attained at corners, and two scores that agree on all 16 pairs of corners agree for all
    registers. For t = s the registers of both sides are the same, which only makes the set of values smaller.
    """
    box = [(sign_a * rational(bound[0]), sign_b * rational(bound[1])) for sign_a, sign_b in product((1, -1), repeat=2)]
    token_of = [token for token in range(layout.count) for _ in box]
    codes = matrix(layout.initial_state())
    rows = [[codes[token, row] for row in range(codes.ncols())] for token in token_of]
    for index, row in enumerate(rows):
        for register, value in zip(layout.register_rows, box[index % len(box)], strict=True):
            row[register] = value
    return matrix(rows), token_of
