"""Heads with assigned weights: the interaction lemma and what the class allows beyond it.

Every function takes arrays and returns a batch of heads; nothing loops over heads. A *form* is `G`, shape
(m, 3, 3), over `u = (a, b, 1)`: the head's score at its target t and source s is `u_t^T G u_s`. A *value* is
`A`, shape (m, 2, 3): the head adds `relu(u_t^T G u_s) A u_s` to `(a, b)` of the target.

Rows of Q and K (theory: gates first, data last, so that the partial sum is exactly 0 before data enters):

    row 0   Q = alpha gate_t          K = (C / alpha) one        0 at the target, <= -C gap elsewhere
    row 1   Q = (C / alpha) one       K = alpha gate_s           0 at the source, <= -C gap elsewhere
    row 2-4 Q selects a, b, 1         K = G[0], G[1], G[2]       the data form

`alpha` is a power of two that balances the two factors, so that the largest weight is about `sqrt(C)` times
the position instead of `C` times its square.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from construct.arrays import Float, Int
from construct.program.codes import IntegerCode
from construct.program.constants import gate_constant, linear_read_constant
from construct.program.layout import TokenLayout
from construct.transformer.weights import Heads

A, B, ONE = 0, 1, 2  # entries of u = (a, b, 1)

Entries = Mapping[tuple[int, int], Float | float]


def form(count: int, entries: Entries) -> Float:
    """Forms (m, 3, 3) with the given entries `(target factor, source factor): coefficient`."""
    out = np.zeros((count, 3, 3))
    for (i, j), coefficient in entries.items():
        out[:, i, j] = coefficient
    return out


def value(count: int, entries: Entries) -> Float:
    """Values (m, 2, 3) with the given entries `(output register, source factor): coefficient`."""
    out = np.zeros((count, 2, 3))
    for (i, j), coefficient in entries.items():
        out[:, i, j] = coefficient
    return out


def _balance(constant: Float, gate: Float) -> Float:
    """Power of two `alpha` near `sqrt(C / max |gate|)`."""
    size = np.maximum(np.abs(gate).max(axis=-1), 1.0)
    return np.exp2(np.round(np.log2(np.sqrt(constant / size))))


def _value_matrix(layout: TokenLayout, values: Float) -> Float:
    out = np.zeros((values.shape[0], layout.embedding_dim, layout.embedding_dim))
    out[:, np.array(layout.registers)[:, None], np.array(layout.data_rows)[None, :]] = values
    return out


def interaction(
    layout: TokenLayout,
    forms: Float,
    values: Float,
    bound: Float,
    *,
    target: Float | None,
    source: Float | None,
) -> Heads:
    """Heads that act on the pairs where both gates vanish and on no other.

    target, source: gates over `(code0, code1, 1)`, shape (m, 3); None leaves that side open (*broadcast* when
    the target is open, *gather* when the source is): then the form must be <= 0, or the value zero, on
    the pairs that are not wanted.
    bound: (3,), largest `(|a|, |b|, 1)` of any token when the block reads.

    Source: Havrilla and Liao, Lemma 3, where `A` reads only the constant row; a value that reads the source
    makes the head cubic and is ours.
    """
    count, width = forms.shape[0], layout.embedding_dim
    constant = gate_constant(forms, bound, layout.code.gap)
    query, key = np.zeros((count, width, width)), np.zeros((count, width, width))
    code_rows, data_rows, one = np.array(layout.code_rows), np.array(layout.data_rows), layout.row("one")
    row = 0
    if target is not None:
        alpha = _balance(constant, target)
        query[:, row, code_rows] = alpha[:, None] * target
        key[:, row, one] = constant / alpha
        row += 1
    if source is not None:
        alpha = _balance(constant, source)
        query[:, row, one] = constant / alpha
        key[:, row, code_rows] = alpha[:, None] * source
        row += 1
    _write_form(query, key, forms, data_rows, row)
    return Heads(query, key, _value_matrix(layout, values))


def _write_form(query: Float, key: Float, forms: Float, data_rows: Int, row: int) -> None:
    """Write `u_t^T G u_s` into rows `row`, `row + 1`, ...: one row per non-zero row (or column) of G."""
    used_rows = [i for i in range(3) if np.any(forms[:, i, :])]
    used_columns = [j for j in range(3) if np.any(forms[:, :, j])]
    by_row = len(used_rows) <= len(used_columns)
    chosen = used_rows if by_row else used_columns
    if row + len(chosen) > query.shape[1]:
        raise ValueError(f"forms: rank {len(chosen)} does not fit below {row} gate rows in {query.shape[1]} rows")
    for offset, i in enumerate(chosen):
        occupied = np.any(forms[:, i, :] if by_row else forms[:, :, i], axis=1).astype(np.float64)
        if by_row:
            query[:, row + offset, data_rows[i]] = occupied
            key[:, row + offset, data_rows] = forms[:, i, :]
        else:
            query[:, row + offset, data_rows] = forms[:, :, i]
            key[:, row + offset, data_rows[i]] = occupied


def linear_read(layout: TokenLayout, values: Float, *, target: Float, source: Float) -> Heads:
    """Heads that add `A u_s` to `(a, b)` of the target, for any finite data: the form is the constant 1.

    Integer code: `1 + gate_t + gate_s` is an integer, 1 on the wanted pairs and <= 0 elsewhere, so C = 1 needs
    no data bound. With the constants of both gates and the 1 folded into one entry there are seven
    non-zeros besides the value:  row 0  Q = alpha (gate_t + (0, 0, 1 + gate_s[2])), K = 1/alpha;
    row 1  Q = 1/alpha', K = alpha' (gate_s without its constant).
    Trigonometric code: `C >= 1.01/gap` closes the gates and nothing is folded.
    """
    count, width = values.shape[0], layout.embedding_dim
    if not layout.code.exact:
        constant_form = form(count, {(ONE, ONE): 1.0})
        return interaction(layout, constant_form, values, np.ones(3), target=target, source=source)
    query, key = np.zeros((count, width, width)), np.zeros((count, width, width))
    code_rows, one = np.array(layout.code_rows), layout.row("one")
    constant = np.full(count, linear_read_constant(layout.code))
    folded_target, folded_source = target.copy(), source.copy()
    folded_target[:, 2] += constant + source[:, 2]
    folded_source[:, 2] = 0.0
    alpha, beta = _balance(constant, folded_target), _balance(constant, folded_source)
    query[:, 0, code_rows] = alpha[:, None] * folded_target
    key[:, 0, one] = constant / alpha
    query[:, 1, one] = constant / beta
    key[:, 1, code_rows] = beta[:, None] * folded_source
    return Heads(query, key, _value_matrix(layout, values))


def point(layout: TokenLayout, tokens: Int | Sequence[int]) -> Float:
    """Gates (m, 3) that single out one token each."""
    return layout.code.point_gate(np.asarray(tokens).ravel())


def pair(layout: TokenLayout, tokens: Int | Sequence[int]) -> Float:
    """Gates (m, 3) that single out `token` and `token + 1`; integer code only."""
    if not isinstance(layout.code, IntegerCode):
        raise ValueError("pair: two adjacent tokens can be gated exactly with the integer code only")
    return layout.code.pair_gate(np.asarray(tokens).ravel())


def shifted(layout: TokenLayout, forms: Float, values: Float, bound: Float, shift: int = 0) -> Heads:
    """One head in which every token t hears token `t + shift` (`shift = 0`: the *self* gate).

    Three gate rows, so the form must have rank at most 2. forms (1, 3, 3), values (1, 2, 3).
    """
    width = layout.embedding_dim
    query, key = np.zeros((1, width, width)), np.zeros((1, width, width))
    code_rows, data_rows = np.array(layout.code_rows), np.array(layout.data_rows)
    constant = gate_constant(forms, bound, layout.code.gap)[0]
    gate_query, gate_key = layout.code.shift_gate(shift)
    for row in range(3):
        # a term q k of the gate carries C: give the constant side C / alpha, the code side alpha
        alpha = 2.0 ** round(float(np.log2(np.sqrt(constant))))
        query_is_constant = not gate_query[row, :2].any()
        query[0, row, code_rows] = gate_query[row] * (constant / alpha if query_is_constant else alpha)
        key[0, row, code_rows] = gate_key[row] * (alpha if query_is_constant else constant / alpha)
    _write_form(query, key, forms, data_rows, 3)
    return Heads(query, key, _value_matrix(layout, values))
