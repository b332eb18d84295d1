"""Position codes: gates vanish where they should, stay below the gap elsewhere, and refuse what they cannot hold."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from construct.errors import InputError, PrecisionError
from construct.program.codes import IntegerCode, TrigonometricCode, position_code
from construct.program.layout import TokenGroup, TokenLayout

CODES = st.sampled_from([IntegerCode, TrigonometricCode])


def extended(code):
    return np.hstack([code.values(), np.ones((code.tokens, 1))])


@given(CODES, st.integers(2, 200), st.data())
def test_point_gate_vanishes_at_its_token_alone(kind, tokens, data):
    code = kind(tokens)
    token = data.draw(st.integers(0, tokens - 1))
    values = extended(code) @ code.point_gate(np.array([token]))[0]
    others = np.delete(values, token)
    assert abs(values[token]) <= (0 if code.exact else 4e-16)
    assert others.max() <= -code.gap * (1 - 1e-9)


@given(st.integers(3, 200), st.data())
def test_pair_gate_vanishes_on_two_neighbours(tokens, data):
    code = IntegerCode(tokens)
    token = data.draw(st.integers(0, tokens - 2))
    values = extended(code) @ code.pair_gate(np.array([token]))[0]
    assert values[token] == values[token + 1] == 0
    assert np.delete(values, [token, token + 1]).max() <= -2


@given(CODES, st.integers(2, 60), st.data())
def test_shift_gate_vanishes_on_the_shifted_diagonal(kind, tokens, data):
    code = kind(tokens)
    shift = data.draw(st.integers(-(tokens - 1), tokens - 1))
    query, key = code.same_gate(code.entries, shift)
    u = extended(code)
    score = np.einsum("rc,tc,rd,sd->ts", query, u, key, u)
    t, s = np.meshgrid(np.arange(tokens), np.arange(tokens), indexing="ij")
    wanted = s == t + shift
    assert np.abs(score[wanted]).max(initial=0) <= (0 if code.exact else 1e-15)
    assert score[~wanted].max() <= -code.gap * (1 - 1e-9)


@given(CODES, st.integers(1, 120), st.data())
def test_range_gate_is_zero_inside_and_above_its_floor_outside(kind, tokens, data):
    code = kind(tokens)
    first = data.draw(st.integers(0, tokens - 1))
    last = data.draw(st.integers(first, tokens - 1))
    rows, floor = code.range_gate(first, last)
    assert len(rows) <= 2 and floor > 0
    total = np.maximum(extended(code) @ rows.T, 0).sum(axis=1)
    inside = (np.arange(tokens) >= first) & (np.arange(tokens) <= last)
    assert np.all(total[inside] == 0)
    assert np.all(total[~inside] >= floor)


def test_codes_refuse_more_tokens_than_the_dtype_holds():
    IntegerCode(4096).check(torch.float32)
    text = r"^dtype: expected .* integer code of 4097 tokens exactly, got torch.float32, .* at most 4096; float64 .*"
    with pytest.raises(PrecisionError, match=text):
        IntegerCode(4097).check(torch.float32)
    with pytest.raises(PrecisionError, match="4090 tokens shifted by 7 exactly"):
        IntegerCode(4090).check(torch.float32, 7)
    TrigonometricCode(200).check(torch.float64)
    with pytest.raises(PrecisionError, match=r"^dtype: expected .* trigonometric .*, got torch.float32"):
        TrigonometricCode(5000).check(torch.float32)
    with pytest.raises(InputError, match=r"^position_code: expected one of .*, got 'binary'$"):
        position_code("binary", 5)


def test_layout_names_every_token_once_and_says_so():
    layout = TokenLayout((TokenGroup("x", (3,)), TokenGroup("A", (2, 4), ("chart", "node"), "nodes")))
    assert layout.count == 11 and layout.embedding_dim == 5
    assert sorted(np.concatenate([layout.tokens("x"), layout.tokens("A").ravel()])) == list(range(11))
    assert layout.span("x", "A") == (0, 10)
    assert "chart<2,node<4" in str(layout)
    with pytest.raises(InputError, match=r"^groups: expected names that differ, got"):
        TokenLayout((TokenGroup("x", (3,)), TokenGroup("x", (1,))))
    with pytest.raises(InputError, match=r"^span: expected groups .* consecutive .*, got"):
        layout.span("A", "x")
