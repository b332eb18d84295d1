"""The interaction lemma and its relatives: what they say at the wanted pairs, exactly nothing elsewhere."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from construct.errors import InputError, PrecisionError
from construct.program import constants, heads
from construct.program.layout import TokenGroup, TokenLayout
from construct.transformer.weights import Heads
from tests.program.oracle import head_output

LENGTHS = st.integers(2, 24)
SEEDS = st.integers(0, 2**31)


def layout_of(tokens, code="integer"):
    return TokenLayout((TokenGroup("t", (tokens,)),), code)


def random_state(layout, rng, size=1.0):
    hidden = layout.initial_state()
    hidden[:, list(layout.register_rows)] = rng.uniform(-size, size, (layout.count, 2))
    return hidden


def bound_of(hidden):
    return np.array([np.abs(hidden[:, 0]).max(), np.abs(hidden[:, 1]).max(), 1.0])


def gate_constant(layout, forms, hidden):
    return constants.gate_constant(forms, bound_of(hidden), layout.code.gap)


def linear_read(layout, values, **gates):
    return heads.linear_read(layout, values, constants.linear_read_constant(layout.code, len(values)), **gates)


def expected(forms, values, hidden, t, s):
    u_t, u_s = np.append(hidden[t, :2], 1.0), np.append(hidden[s, :2], 1.0)
    return max(u_t @ forms[0] @ u_s, 0.0) * (values[0] @ u_s)


@settings(max_examples=60)
@given(LENGTHS, st.sampled_from(["integer", "trigonometric"]), SEEDS, st.data())
def test_interaction_acts_on_one_pair_and_exactly_nowhere_else(tokens, code, seed, data):
    layout, rng = layout_of(tokens, code), np.random.default_rng(seed)
    t, s = data.draw(st.integers(0, tokens - 1)), data.draw(st.integers(0, tokens - 1))
    hidden = random_state(layout, rng, 10 ** rng.uniform(-2, 2))
    forms, values = rng.normal(size=(1, 3, 3)), rng.normal(size=(1, 2, 3))
    target, source = heads.point(layout, [t]), heads.point(layout, [s])
    head = heads.interaction(layout, forms, values, gate_constant(layout, forms, hidden), target=target, source=source)
    added = head_output(head.query[0], head.key[0], head.value[0], hidden)
    want = expected(forms, values, hidden, t, s)
    size = bound_of(hidden) @ np.abs(forms[0]) @ bound_of(hidden) * np.abs(values[0]).sum() * bound_of(hidden).max()
    assert np.abs(added[t, :2] - want).max() <= (1e-13 if code == "integer" else 1e-9) * size
    added[t, :2] = 0.0
    assert np.all(added == 0.0)


@settings(max_examples=60)
@given(LENGTHS, SEEDS, st.data())
def test_a_gate_constant_below_the_smallest_leaks(tokens, seed, data):
    """Negative twin: data at its bound, next to the wanted pair, gets through when C is 1 % too small."""
    layout, rng = layout_of(tokens), np.random.default_rng(seed)
    t = data.draw(st.integers(0, tokens - 2))
    forms = np.abs(rng.normal(size=(1, 3, 3)))
    bound = np.array([2.0, 3.0, 1.0])
    hidden = layout.initial_state()
    hidden[:, :2] = bound[:2]
    smallest = constants.smallest_gate_constant(forms, bound, layout.code.gap)[0]
    for factor, leaks in ((0.99, True), (1.0, False)):
        query, key = np.zeros((5, 5)), np.zeros((5, 5))
        gate = layout.code.point_gate(np.array([t]))[0]
        query[0, 2:], key[0, 4] = factor * smallest * gate, 1.0
        query[1, 4], key[1, 2:] = 1.0, factor * smallest * gate
        query[2:, [0, 1, 4]], key[2:, [0, 1, 4]] = np.eye(3), forms[0]
        value = np.zeros((5, 5))
        value[0, 4] = 1.0
        added = head_output(query, key, value, hidden)
        added[t] = 0.0
        assert bool(np.any(added[:, 0] > 1e-9)) is leaks


@settings(max_examples=60)
@given(LENGTHS, st.sampled_from(["integer", "trigonometric"]), SEEDS, st.data())
def test_linear_read_needs_no_data_bound(tokens, code, seed, data):
    layout, rng = layout_of(tokens, code), np.random.default_rng(seed)
    t, s = data.draw(st.integers(0, tokens - 1)), data.draw(st.integers(0, tokens - 1))
    hidden = random_state(layout, rng, 1e6)
    values = rng.normal(size=(1, 2, 3))
    head = linear_read(layout, values, target=heads.point(layout, [t]), source=heads.point(layout, [s]))
    added = head_output(head.query[0], head.key[0], head.value[0], hidden)
    want = values[0] @ np.append(hidden[s, :2], 1.0)
    assert np.abs(added[t, :2] - want).max() <= (1e-14 if code == "integer" else 1e-10) * 1e7
    added[t] = 0.0
    assert np.all(added == 0.0)
    if code == "integer":
        assert np.count_nonzero(head.query) + np.count_nonzero(head.key) <= 8 - (head.query[0, 0, 4] == 0)


@given(st.integers(3, 24), SEEDS, st.data())
def test_pair_read_serves_two_neighbours(tokens, seed, data):
    layout, rng = layout_of(tokens), np.random.default_rng(seed)
    t, s = data.draw(st.integers(0, tokens - 2)), data.draw(st.integers(0, tokens - 1))
    hidden = random_state(layout, rng)
    values = rng.normal(size=(1, 2, 3))
    head = linear_read(layout, values, target=heads.pair(layout, [t]), source=heads.point(layout, [s]))
    added = head_output(head.query[0], head.key[0], head.value[0], hidden)
    want = values[0] @ np.append(hidden[s, :2], 1.0)
    assert np.allclose(added[t : t + 2, :2], want, atol=1e-14)
    added[t : t + 2] = 0.0
    assert np.all(added == 0.0)


@settings(max_examples=40)
@given(st.integers(2, 16), st.sampled_from(["integer", "trigonometric"]), SEEDS, st.data())
def test_shifted_head_lets_every_token_hear_one_other(tokens, code, seed, data):
    layout, rng = layout_of(tokens, code), np.random.default_rng(seed)
    shift = data.draw(st.integers(-(tokens - 1), tokens - 1))
    hidden = random_state(layout, rng)
    forms, values = np.zeros((1, 3, 3)), rng.normal(size=(1, 2, 3))
    forms[0, 2, 2], forms[0, 0, 0] = 1.0, -1.0
    same = layout.code.same_gate(layout.code.entries, shift)
    head = heads.interaction(layout, forms, values, gate_constant(layout, forms, hidden), same=same)
    added = head_output(head.query[0], head.key[0], head.value[0], hidden)
    for t in range(tokens):
        want = expected(forms, values, hidden, t, t + shift) if 0 <= t + shift < tokens else np.zeros(2)
        assert np.allclose(added[t, :2], want, atol=1e-12 if code == "integer" else 1e-9)


@given(LENGTHS, SEEDS, st.data())
def test_gather_and_broadcast(tokens, seed, data):
    layout, rng = layout_of(tokens), np.random.default_rng(seed)
    t = data.draw(st.integers(0, tokens - 1))
    hidden = random_state(layout, rng)
    forms, values = np.zeros((1, 3, 3)), np.zeros((1, 2, 3))
    forms[0, 2, 0], values[0, 1, 1] = 1.0, 1.0
    constant = gate_constant(layout, forms, hidden)
    gather = heads.interaction(layout, forms, values, constant, target=heads.point(layout, [t]), source=None)
    added = head_output(gather.query[0], gather.key[0], gather.value[0], hidden)
    assert np.isclose(added[t, 1], (np.maximum(hidden[:, 0], 0) * hidden[:, 1]).sum(), atol=1e-13)
    added[t] = 0.0
    assert np.all(added == 0.0)
    forms = np.zeros((1, 3, 3))
    forms[0, 0, 0] = 1.0  # relu(a_t a_s): open to every target
    constant = gate_constant(layout, forms, hidden)
    broadcast = heads.interaction(layout, forms, values, constant, target=None, source=heads.point(layout, [t]))
    added = head_output(broadcast.query[0], broadcast.key[0], broadcast.value[0], hidden)
    assert np.allclose(added[:, 1], np.maximum(hidden[:, 0] * hidden[t, 0], 0) * hidden[t, 1], atol=1e-13)


def test_gate_constant_windows():
    layout = layout_of(100)
    bound, forms = np.array([1.0, 2.0, 1.0]), np.ones((1, 3, 3))
    smallest = constants.smallest_gate_constant(forms, bound, 1.0)
    chosen = constants.gate_constant(forms, bound, 1.0)
    assert smallest[0] == pytest.approx(16.0)
    assert chosen[0] == 32.0 and chosen[0] >= smallest[0]
    assert constants.largest_gate_constant(layout.code, torch.float64, 1e-9) > 1e300
    trigonometric = layout_of(100, "trigonometric").code
    largest = constants.largest_gate_constant(trigonometric, torch.float32, 1e-3)
    constants.check_gate_constant(np.array([largest]), trigonometric, torch.float32, 1e-3)
    with pytest.raises(PrecisionError, match=r"^dtype: expected .* gate constant .*, got torch.float32"):
        constants.check_gate_constant(np.array([2 * largest]), trigonometric, torch.float32, 1e-3)


def test_heads_are_checked_data():
    square = np.zeros((2, 5, 5))
    with pytest.raises(InputError, match=r"key: expected shape \(2, 5, 5\), got \(1, 5, 5\)"):
        Heads(square, square[:1], square)
    with pytest.raises(InputError, match="value: expected finite"):
        Heads(square, square, square + np.nan)
    with pytest.raises(InputError, match=r"query: expected shape \(m, w, w\)"):
        Heads(square[0], square[0], square[0])
    assert len(Heads.stack([Heads(square, square, square), Heads.none(5)], 5)) == 2
    with pytest.raises(
        ValueError, match=r"^code: expected a code with a gate for two adjacent tokens .*, got trigonometric"
    ):
        heads.pair(layout_of(5, "trigonometric"), [0])
