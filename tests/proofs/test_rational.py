"""Exact evaluation of networks: against a naive evaluation with Fractions, and close to the library's floats."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from flint import fmpq
from hypothesis import given, settings
from hypothesis import strategies as st

import construct
from construct.errors import InputError
from construct.manifolds import Circle
from construct.program.layout import TokenGroup, TokenLayout
from construct.transformer.module import FeedForwardNetwork, MultiHeadAttention, Transformer
from construct.transformer.weights import FeedForward, Heads, Weights
from proofs_as_code import rational

SEEDS = st.integers(0, 2**31)


def random_network(seed, *, tokens=6, heads=3, layers=2, dtype=torch.float64):
    """Dense Gaussian weights: two blocks, width 5, three inputs; nothing of a construction in it."""
    rng = np.random.default_rng(seed)

    def draw(*shape):
        return 0.4 * rng.normal(size=shape)

    blocks = tuple(
        (
            Heads(*(draw(heads, 5, 5) for _ in range(3))),
            FeedForward(tuple((draw(5, 5), draw(5)) for _ in range(layers))),
        )
        for _ in range(2)
    )
    readout = int(rng.integers(tokens)), int(rng.integers(5))
    return Transformer(Weights(rng.normal(size=(tokens, 5)), blocks, readout, np.ones(3)), dtype=dtype)


def naive(net, x):
    """T(x) with Fractions, token by token, in plain loops."""

    def exact(tensor):
        return [[Fraction(v) for v in row] for row in tensor.detach().double().tolist()]

    def times(rows, vector):
        return [sum(a * b for a, b in zip(row, vector, strict=True)) for row in rows]

    hidden = exact(net.hidden0)
    for token, coordinate in enumerate(x):
        hidden[token][0] += Fraction(coordinate)
    for part in net.blocks:
        middle = [list(h) for h in hidden]
        heads = part.attention
        for q, k, v in zip(heads.query, heads.key, heads.value, strict=True):
            q, k, v = exact(q), exact(k), exact(v)
            for t, h_t in enumerate(hidden):
                for h_s in hidden:
                    score = sum(a * b for a, b in zip(times(q, h_t), times(k, h_s), strict=True))
                    if score > 0:
                        middle[t] = [m + score * w for m, w in zip(middle[t], times(v, h_s), strict=True)]
        hidden = []
        for z in middle:
            f = z
            for index, layer in enumerate(part.ffn.affine):
                f = [max(y, Fraction(0)) for y in f] if index else f
                bias = [Fraction(b) for b in layer.bias.double().tolist()]
                f = [y + b for y, b in zip(times(exact(layer.weight), f), bias, strict=True)]
            hidden.append([a + b for a, b in zip(z, f, strict=True)] if len(part.ffn) else z)
    token, row = net.readout.tolist()
    return hidden[token][row]


@settings(max_examples=15)
@given(SEEDS, st.integers(0, 2), st.integers(0, 3), st.lists(rational.dyadics(2), min_size=3, max_size=3))
def test_a_network_is_evaluated_exactly(seed, heads, layers, x):
    net = random_network(seed, tokens=4, heads=heads, layers=layers)
    value = rational.transformer(net, x)
    assert rational.fraction(value) == naive(net, [rational.fraction(c) for c in x])


def test_float32_weights_are_taken_as_they_are():
    net = random_network(3, dtype=torch.float32)
    x = [0.1, -0.25, 0.7]
    assert rational.fraction(rational.transformer(net, x)) == naive(net, x)


def test_the_library_rounds_to_the_exact_value():
    net = construct.approximate(lambda x: torch.exp(x[..., 0]) * torch.sin(3 * x[..., 1]), Circle(), charts=5, degree=6)
    angles = torch.linspace(0, 6, 7, dtype=torch.float64)
    points = torch.stack([angles.cos(), angles.sin()], dim=1)
    exact = [float(rational.transformer(net.transformer, point.tolist())) for point in points]
    assert torch.allclose(net(points), torch.tensor(exact, dtype=torch.float64), atol=1e-12, rtol=0)
    states = rational.hidden_states(net.transformer, points[0].tolist())
    traced = net.trace(points[:1]).states
    assert len(states) == len(traced) == len(net.transformer.blocks) + 1
    for state, found in zip(states, traced, strict=True):
        wanted = torch.tensor([float(entry) for entry in state.entries()], dtype=torch.float64)
        assert torch.allclose(found[0], wanted.reshape(state.nrows(), state.ncols()), atol=1e-11, rtol=0)


def test_gadgets_and_blocks_are_the_same_weights():
    rng = np.random.default_rng(0)
    batch = Heads(*(rng.normal(size=(2, 5, 5)) for _ in range(3)))
    ffn = FeedForward(((rng.normal(size=(5, 5)), rng.normal(size=5)),) * 2)
    net = Transformer(Weights(rng.normal(size=(3, 5)), ((batch, ffn),), readout=(0, 0), box=np.ones(1)))
    state = rational.embed(net, [0.5])
    attention = MultiHeadAttention(batch, dtype=torch.float64, device="cpu")
    assert rational.attention(batch, state) == rational.attention(attention, state)
    module = FeedForwardNetwork(ffn, dtype=torch.float64, device="cpu")
    assert rational.feed_forward(ffn, state) == rational.feed_forward(module, state)
    assert rational.largest(rational.feed_forward(FeedForward(), state)) == 0
    assert rational.largest(rational.attention(Heads.none(5), state)) == 0
    middle = state + rational.attention(batch, state)
    assert rational.block(net.stack[0], state) == middle + rational.feed_forward(ffn, middle)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_is_its_fraction(value):
    assert rational.fraction(rational.rational(value)) == Fraction(value)
    assert float(rational.fraction(rational.rational(value))) == value


@given(st.fractions(min_value=0, max_value=9), st.integers(0, 12), st.data())
def test_dyadics_stay_within_their_bound(bound, bits, data):
    value = data.draw(rational.dyadics(bound, bits))
    assert abs(rational.fraction(value)) <= bound and (value * 2**bits).q == 1


@settings(max_examples=30)
@given(SEEDS, st.integers(1, 6), st.sampled_from(["integer", "trigonometric"]), st.data())
def test_no_score_exceeds_the_corners(seed, tokens, code, data):
    """Scores at states of the box stay between the extremes over the corners; a corner state is such a state."""
    layout = TokenLayout((TokenGroup("t", (tokens,)),), code)
    query, key = (np.random.default_rng([seed, k]).normal(size=(5, 5)) for k in range(2))
    corners, token = rational.corner_state(layout, (2, 0.5, 1))
    extremes = rational.scores(query, key, corners)
    state = rational.state(layout, data.draw(rational.registers(tokens, 2, 0.5)))
    scores = rational.scores(query, key, state)
    for t in range(tokens):
        for s in range(tokens):
            here = [
                extremes[i, j] for i in range(4 * tokens) for j in range(4 * tokens) if (token[i], token[j]) == (t, s)
            ]
            assert len(here) == 16 and min(here) <= scores[t, s] <= max(here)


def test_state_holds_codes_and_registers():
    layout = TokenLayout((TokenGroup("t", (3,)),))
    state = rational.state(layout, [(1, 2), (fmpq(1, 3), 0), (0, Fraction(-1, 7))])
    assert " ".join(str(entry) for entry in state.entries()) == "1 2 -1 1 1 1/3 0 0 0 1 0 -1/7 1 1 1"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number_is_refused(value):
    with pytest.raises(InputError, match="value: expected a finite number"):
        rational.rational(value)
    with pytest.raises(InputError, match="value: expected a finite number"):
        rational.matrix(np.array([[1.0, value]]))


def test_wrong_shapes_are_refused():
    with pytest.raises(InputError, match="weights: expected a matrix"):
        rational.matrix(np.zeros(3))
    with pytest.raises(InputError, match="weights: expected a matrix"):
        rational.matrix([[1, 2], [3]])
    with pytest.raises(InputError, match="x: expected 3 coordinates, got 2"):
        rational.transformer(random_network(0), [0, 1])
    with pytest.raises(InputError, match="values: expected registers of 3 tokens, got 1"):
        rational.state(TokenLayout((TokenGroup("t", (3,)),)), [(0, 0)])
    with pytest.raises(InputError, match="bound: expected a number >= 0"):
        rational.dyadics(-1)
