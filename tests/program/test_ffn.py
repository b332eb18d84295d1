"""FFN gadgets: exact on their range, zero outside, five channels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from construct.errors import InputError
from construct.program import gadgets
from construct.program.constants import range_constant
from construct.program.layout import ONE, TokenGroup, TokenLayout
from construct.transformer.weights import FeedForward
from tests.program.oracle import feed_forward

SEEDS = st.integers(0, 2**31)


@st.composite
def situations(draw):
    """A layout, a range of its tokens and a random state with registers in [-size, size]."""
    tokens = draw(st.integers(1, 20))
    layout = TokenLayout((TokenGroup("t", (tokens,)),), draw(st.sampled_from(["integer", "trigonometric"])))
    first = draw(st.integers(0, tokens - 1))
    span = first, draw(st.integers(first, tokens - 1))
    rng = np.random.default_rng(draw(SEEDS))
    size = draw(st.sampled_from([0.5, 3.0, 40.0]))
    hidden = layout.initial_state()
    hidden[:, :2] = rng.uniform(-size, size, (tokens, 2))
    inside = (np.arange(tokens) >= span[0]) & (np.arange(tokens) <= span[1])
    return layout, span, hidden, inside, size


def constant_of(layout, span, bound):
    return range_constant(layout.code, span, bound)


def check(network, hidden, inside, want, row):
    added = feed_forward(network, hidden)
    assert np.allclose(added[inside, row], want[inside], atol=1e-10)
    added[inside, row] = 0.0
    assert np.all(added == 0.0)
    assert all(weight.shape == (5, 5) for weight, _ in network.layers)


@settings(max_examples=80)
@given(situations(), st.sampled_from(["hat", "trapezoid"]))
def test_bump(situation, kind):
    layout, span, hidden, inside, _ = situation
    u = np.abs(3.0 * hidden[:, 0])
    want = np.maximum(1 - u, 0) if kind == "hat" else np.clip(2 - u, 0, 1)
    check(gadgets.bump(layout, span, constant_of(layout, span, 1.0), kind=kind, scale=3.0), hidden, inside, want, 1)


@settings(max_examples=80)
@given(situations())
def test_clip_and_clear(situation):
    layout, span, hidden, inside, size = situation
    a = hidden[:, 0]
    constant = constant_of(layout, span, size)
    check(gadgets.clip(layout, span, constant), hidden, inside, np.clip(a, -1, 1) - a, 0)
    check(gadgets.clear(layout, span, constant), hidden, inside, -a, 0)
    check(gadgets.clip(layout), hidden, np.ones_like(inside), np.clip(a, -1, 1) - a, 0)


@settings(max_examples=80)
@given(situations())
def test_clamp(situation):
    layout, span, hidden, inside, _ = situation
    want = np.clip(0.5 + 2 * hidden[:, 0] - hidden[:, 1], 0, 1)
    check(
        gadgets.clamp(layout, span, constant_of(layout, span, 1.0), argument={"a": 2.0, "b": -1.0, ONE: 0.5}),
        hidden,
        inside,
        want,
        1,
    )


@settings(max_examples=80)
@given(situations(), st.integers(0, 12))
def test_indicator_ramp(situation, doublings):
    layout, span, hidden, inside, _ = situation
    hidden[:, :2] = np.abs(hidden[:, :2])
    width = 2.0 * 2.0**-doublings
    want = np.clip((2.0 - hidden[:, 1]) / width, 0, 1)
    network = gadgets.indicator_ramp(
        layout, span, constant_of(layout, span, 1.0), radius_squared=2.0, doublings=doublings
    )
    assert network.depth == doublings + 4
    check(network, hidden, inside, want, 0)
    assert max(np.abs(w[:1, :1]).max() for w, _ in network.layers[1:-1]) <= 2


@settings(max_examples=80)
@given(situations())
def test_telescoping_weight(situation):
    layout, span, hidden, inside, size = situation
    s, w = np.abs(hidden[:, 0]) / 10, np.maximum(4.0 * hidden[:, 1], 0)
    hidden[:, 0] = np.where(inside, 1 + s, hidden[:, 0])
    network = gadgets.telescoping_weight(layout, span, constant_of(layout, span, 2 + size), slope=4.0)
    rho = np.minimum(1, s + w) - np.minimum(1, s)
    check(network, hidden, inside, rho - hidden[:, 0], 0)


@settings(max_examples=80)
@given(situations())
def test_silence_pushes_the_others_below_zero(situation):
    layout, span, hidden, inside, size = situation
    added = (
        feed_forward(gadgets.silence(layout, span, constant_of(layout, span, size)), hidden)
        if not inside.all()
        else np.zeros_like(hidden)
    )
    assert np.all(added[inside] == 0)
    assert np.all((hidden + added)[~inside, 0] <= 0)


def test_guards():
    layout = TokenLayout((TokenGroup("t", (4,)),))
    with pytest.raises(InputError, match=r"^kind: expected one of .*, got 'gauss'$"):
        gadgets.bump(layout, (0, 1), 1.0, kind="gauss")
    with pytest.raises(InputError, match="at most 5 channels"):
        gadgets.affine_layers(layout, [{"a": 1.0}] * 6, [], {})
    with pytest.raises(InputError, match=r"^range: expected 0 <= first <= last < 4, got 2..9$"):
        gadgets.clear(layout, (2, 9), 1.0)
    with pytest.raises(InputError, match=r"layers\[0\]"):
        FeedForward(((np.zeros((5, 4)), np.zeros(5)),))
    with pytest.raises(InputError, match="finite"):
        FeedForward(((np.full((5, 5), np.inf), np.zeros(5)),))
