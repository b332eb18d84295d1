"""Heads with assigned weights: the interaction lemma and what the class allows beyond it.

Every function takes arrays and returns a batch of heads; nothing loops over heads. `u = (registers, 1)` has k entries,
or, where the rows of the position code are read as numbers, too, as many as the token.
A *form* is `G`, shape (m, k, k): the head's score at its target t and source s is `u_t^T G u_s`. A *value* is `A`,
shape (m, registers, k): the head adds `relu(u_t^T G u_s) A u_s` to the registers of the target.

Rows of Q and K (theory: gates first, data last, so that the partial sum is exactly 0 before data enters):

    target gate   Q = alpha gate_t        K = (C / alpha) one      0 at the target, <= -C gap elsewhere
    source gate   Q = (C / alpha) one     K = alpha gate_s         0 at the source, <= -C gap elsewhere
    same gate     its own rows, one side times alpha, the other times C / alpha
    data form     Q selects rows of u     K = the rows of G        (or columns, whichever are fewer)

`alpha` is a power of two that balances the two factors, so that the largest weight is about `sqrt(C)` times
the position instead of `C` times its square. Where C comes from: `constants`, by way of `compile`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from construct.arrays import Float, Int
from construct.program.layout import ONE, REGISTERS, TokenLayout
from construct.transformer.weights import Heads
from construct.validation import invalid

A, B = REGISTERS  # the registers of the paper's class

Entries = Mapping[tuple[str, str], Float | float]


def form(count: int, entries: Entries, factors: Sequence[str] = (*REGISTERS, ONE)) -> Float:
    """Forms (m, k, k) with the given entries `(target factor, source factor): coefficient`, scalar or (m,)."""
    return _filled(np.zeros((count, len(factors), len(factors))), entries, factors, factors)


def value(
    count: int, entries: Entries, registers: Sequence[str] = REGISTERS, factors: Sequence[str] = (*REGISTERS, ONE)
) -> Float:
    """Values (m, registers, k) with the given entries `(register written, source factor): coefficient`."""
    return _filled(np.zeros((count, len(registers), len(factors))), entries, registers, factors)


def _filled(out: Float, entries: Entries, rows: Sequence[str], columns: Sequence[str]) -> Float:
    for (i, j), coefficient in entries.items():
        if i not in rows or j not in columns:
            raise invalid("entries", f"pairs of a name in {tuple(rows)} and one in {tuple(columns)}", (i, j))
        out[:, rows.index(i), columns.index(j)] = coefficient
    return out


def _balance(constant: Float, gate: Float) -> Float:
    """Power of two `alpha` near `sqrt(C / max |gate|)`."""
    size = np.maximum(np.abs(gate).max(axis=-1), 1.0)
    return np.exp2(np.round(np.log2(np.sqrt(constant / size))))


def _value_matrix(layout: TokenLayout, values: Float) -> Float:
    out = np.zeros((values.shape[0], layout.embedding_dim, layout.embedding_dim))
    read = np.array(layout.factor_rows[: values.shape[2]])
    out[:, np.array(layout.register_rows)[:, None], read[None, :]] = values
    return out


def interaction(
    layout: TokenLayout,
    forms: Float,
    values: Float,
    constant: Float,
    *,
    target: Float | None = None,
    source: Float | None = None,
    same: tuple[Float, Float] | None = None,
    fold: bool = False,
) -> Heads:
    """Heads that act on the pairs where all their gates vanish and on no other.

    target, source: gates over `(code, 1)`, shape (m, c); None leaves that side open (*broadcast* when
    the target is open, *gather* when the source is): then the form must be <= 0, or the value zero, on
    the pairs that are not wanted.
    same: forms (r, c) of a gate on pairs, `PositionCode.same_gate`.
    constant: (m,), at least `constants.smallest_gate_constant` of the forms, a power of two.
    fold: write the constant of the form, an integer, into the row of the gate on pairs whose key is constant, instead
        of a row of its own. Codes with exact gates only: then all partial sums stay integers.

    Source: Havrilla and Liao, Lemma 3, where `A` reads only the constant row; a value that reads the source
    makes the head cubic and is ours.

    Raises:
        InputError: gates and form together have more rows than the tokens.
    """
    count, width = forms.shape[0], layout.embedding_dim
    query, key = np.zeros((count, width, width)), np.zeros((count, width, width))
    code_rows, one = np.array(layout.code_rows), layout.row(ONE)
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
    if same is not None:
        first, row = row, _write_same(query, key, constant, same, code_rows, row)
        if fold:
            at = first + next(i for i, gate in enumerate(same[1]) if not gate[:-1].any())
            unit = layout.factors.index(ONE)
            query[:, at, one] += forms[:, unit, unit] / key[:, at, one]
            forms = forms.copy()
            forms[:, unit, unit] = 0.0
    coded = forms.shape[1] > len(layout.registers) + 1
    _write_form(query, key, forms, np.array(layout.factor_rows[: forms.shape[1]]), row, coded=coded)
    return Heads(query, key, _value_matrix(layout, values))


def _write_same(query: Float, key: Float, constant: Float, same: tuple[Float, Float], code_rows: Int, row: int) -> int:
    """Write `C sum_r <q_r, c_t> <k_r, c_s>` from row `row` on; returns the next free row."""
    if row + len(same[0]) > query.shape[1]:
        raise invalid("same", f"a gate that fits below {row} gate rows in {query.shape[1]} rows", len(same[0]))
    alpha = np.exp2(np.round(np.log2(np.sqrt(constant))))[:, None]
    for gate_query, gate_key in zip(*same, strict=True):
        # a term q k of the gate carries C: give the constant side C / alpha, the code side alpha
        rest = constant[:, None] / alpha
        query_is_constant = not gate_query[:-1].any()
        query[:, row, code_rows] = gate_query * (rest if query_is_constant else alpha)
        key[:, row, code_rows] = gate_key * (alpha if query_is_constant else rest)
        row += 1
    return row


def _write_form(query: Float, key: Float, forms: Float, factor_rows: Int, row: int, *, coded: bool = False) -> None:
    """Write `u_t^T G u_s` into rows `row`, `row + 1`, ...: one for each non-zero row of a head's G, or for each
    non-zero column where these are fewer. No head depends on the others of its batch.

    coded: G reads rows of the code, whose coefficients may be large: a power of two balances the two factors, and of as
    many rows as columns it is the columns, so that what the target's code adds up to is exact before data enters.
    """
    rows, columns = (np.any(forms, axis=axis) for axis in (2, 1))
    by_row = rows.sum(axis=1) < columns.sum(axis=1) + (not coded)
    free, needed = query.shape[1] - row, int(np.where(by_row, rows.sum(axis=1), columns.sum(axis=1)).max(initial=0))
    if needed > free:
        raise invalid("forms", f"rank <= {free} below {row} gate rows", needed)
    for chosen, used, own, other, form in (
        (by_row, rows, query, key, forms),
        (~by_row, columns, key, query, forms.transpose(0, 2, 1)),
    ):
        head, i = np.nonzero(used & chosen[:, None])
        at = row + (np.cumsum(used, axis=1) - 1)[head, i]
        alpha = _balance(np.abs(form[head, i]).max(axis=-1), np.ones((head.size, 1))) if coded else np.ones(head.size)
        own[head, at, factor_rows[i]] = alpha
        other[head[:, None], at[:, None], factor_rows[None, :]] = form[head, i] / alpha[:, None]


def linear_read(layout: TokenLayout, values: Float, constant: Float, *, target: Float, source: Float) -> Heads:
    """Heads that add `A u_s` to the registers of the target, for any finite data: the form is the constant 1.

    Integer codes: `1 + gate_t + gate_s` is an integer, 1 on the wanted pairs and <= 0 elsewhere, so C = 1 needs
    no data bound. With the constants of both gates and the 1 folded into one entry there are seven
    non-zeros besides the value:  row 0  Q = alpha (gate_t + (0, 0, 1 + gate_s[2])), K = 1/alpha;
    row 1  Q = 1/alpha', K = alpha' (gate_s without its constant).
    Trigonometric code: `C >= 1.01/gap` closes the gates and nothing is folded.
    """
    count, width = values.shape[0], layout.embedding_dim
    if not layout.code.exact:
        constant_form = form(count, {(ONE, ONE): 1.0}, (*layout.registers, ONE))
        return interaction(layout, constant_form, values, constant, target=target, source=source)
    query, key = np.zeros((count, width, width)), np.zeros((count, width, width))
    code_rows, one = np.array(layout.code_rows), layout.row(ONE)
    folded_target, folded_source = target.copy(), source.copy()
    folded_target[:, -1] += constant + source[:, -1]
    folded_source[:, -1] = 0.0
    alpha, beta = _balance(constant, folded_target), _balance(constant, folded_source)
    query[:, 0, code_rows] = alpha[:, None] * folded_target
    key[:, 0, one] = constant / alpha
    query[:, 1, one] = constant / beta
    key[:, 1, code_rows] = beta[:, None] * folded_source
    return Heads(query, key, _value_matrix(layout, values))


def point(layout: TokenLayout, tokens: Int | Sequence[int]) -> Float:
    """Gates (m, c) that single out one token each."""
    return layout.code.point_gate(np.asarray(tokens).ravel())


def pair(layout: TokenLayout, tokens: Int | Sequence[int]) -> Float:
    """Gates (m, c) that single out `token` and `token + 1`; integer code only."""
    return layout.code.pair_gate(np.asarray(tokens).ravel())
