"""The trained models against loops over tokens and heads, written out in numpy."""

import importlib.util
import math
import sys
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from construct.baselines.trained.crate import Crate, SparseStep, SubspaceAttention
from construct.baselines.trained.kan import KAN, layer_class
from construct.baselines.trained.method import (
    GOALS,
    CrateMethod,
    KanMethod,
    ReluMlp,
    SoftmaxMethod,
    TanhMlp,
    TrainedMethod,
)
from construct.baselines.trained.models import Model, MultilayerPerceptron, SoftmaxTransformer
from construct.errors import InputError
from construct.manifolds import Sphere

HAS_PYKAN = importlib.util.find_spec("kan") is not None
METHODS = [ReluMlp(), TanhMlp(), SoftmaxMethod(), CrateMethod()]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def points(count: int, ambient: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(count, ambient, generator=generator(seed), dtype=torch.float64)


def array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().numpy()


def parts(modules: torch.nn.ModuleList) -> list[Any]:
    return list(modules)


def softmax(row: np.ndarray) -> np.ndarray:
    powers = np.exp(row)
    return powers / powers.sum()


def layer_norm(token: np.ndarray, norm: torch.nn.LayerNorm) -> np.ndarray:
    centred = token - token.mean()
    return centred / math.sqrt((centred**2).mean() + norm.eps) * array(norm.weight) + array(norm.bias)


def literal_subspace_attention(z: np.ndarray, attention: SubspaceAttention, heads: int) -> np.ndarray:
    """Eq. 11 and 12 for one point, z (w, l) with tokens as columns, one head and one column at a time."""
    width, tokens = z.shape
    p = width // heads
    stacked = np.zeros((width, tokens))
    for k in range(heads):
        projected = array(attention.subspaces.weight)[k * p : (k + 1) * p] @ z
        for t in range(tokens):
            weights = softmax(np.array([projected[:, s] @ projected[:, t] / math.sqrt(p) for s in range(tokens)]))
            stacked[k * p : (k + 1) * p, t] = sum(weights[s] * projected[:, s] for s in range(tokens))
    return array(attention.out.weight) @ stacked + array(attention.out.bias)[:, None]


def literal_sparse_step(z: np.ndarray, dictionary: np.ndarray, step: float, sparsity: float) -> np.ndarray:
    """Eq. 17, z (w, l)."""
    moved = z + step * dictionary.T @ (z - dictionary @ z) - step * sparsity
    return np.where(moved > 0, moved, 0.0)


@settings(max_examples=15)
@given(heads=st.integers(1, 3), p=st.integers(1, 4), tokens=st.integers(1, 5), seed=st.integers(0, 99))
def test_subspace_attention_is_the_formula(heads: int, p: int, tokens: int, seed: int) -> None:
    attention = SubspaceAttention(heads * p, heads, generator(seed))
    z = torch.randn(2, tokens, heads * p, generator=generator(seed + 1), dtype=torch.float64)
    expected = np.stack([literal_subspace_attention(array(one).T, attention, heads).T for one in z])
    np.testing.assert_allclose(array(attention(z, tokens)), expected, atol=1e-12)
    np.testing.assert_allclose(array(attention(z, 1)), expected[:, -1:], atol=1e-12)


@settings(max_examples=15)
@given(width=st.integers(1, 6), step=st.floats(0.01, 1), sparsity=st.floats(0.01, 1), seed=st.integers(0, 99))
def test_sparse_step_is_the_formula(width: int, step: float, sparsity: float, seed: int) -> None:
    block = SparseStep(width, generator(seed), step=step, sparsity=sparsity)
    z = points(4, width, seed + 1)
    expected = literal_sparse_step(array(z).T, array(block.dictionary), step, sparsity).T
    np.testing.assert_allclose(array(block(z)), expected, atol=1e-12)


def test_crate_is_its_blocks_on_our_tokens() -> None:
    ambient, width, heads = 3, 6, 2
    model = Crate(ambient, width, heads, 2, generator=generator())
    for x in points(3, ambient):
        z = array(model.position).T.copy()
        for j in range(ambient):
            z[0, j] += float(x[j])
        for block in parts(model.blocks):
            normed = np.stack([layer_norm(token, block.norm1) for token in z.T], axis=1)
            z = z + literal_subspace_attention(normed, block.attention, heads)
            normed = np.stack([layer_norm(token, block.norm2) for token in z.T], axis=1)
            z = literal_sparse_step(normed, array(block.sparse.dictionary), 0.1, 0.1)
        value = array(model.readout.weight)[0] @ layer_norm(z[:, -1], model.norm) + float(model.readout.bias.detach())
        assert float(model(x[None]).detach()) == pytest.approx(float(value), abs=1e-12)


def test_softmax_transformer_is_its_formula_on_our_tokens() -> None:
    ambient, width, heads = 3, 4, 2
    model = SoftmaxTransformer(ambient, width, heads, 2, activation="relu", generator=generator())
    p = width // heads
    for x in points(3, ambient):
        hidden = array(model.position).copy()
        hidden[:ambient, 0] += array(x)
        for block in parts(model.blocks):
            normed = np.stack([layer_norm(token, block.norm1) for token in hidden])
            query = normed @ array(block.query.weight).T + array(block.query.bias)
            both = normed @ array(block.key_value.weight).T + array(block.key_value.bias)
            key, value = both[:, :width], both[:, width:]
            mixed = np.zeros_like(hidden)
            for k in range(heads):
                part = slice(k * p, (k + 1) * p)
                for t in range(ambient + 1):
                    mixed[t, part] = softmax(key[:, part] @ query[t, part] / math.sqrt(p)) @ value[:, part]
            hidden = hidden + mixed @ array(block.out.weight).T + array(block.out.bias)
            normed = np.stack([layer_norm(token, block.norm2) for token in hidden])
            inner = np.maximum(normed @ array(block.up.weight).T + array(block.up.bias), 0)
            hidden = hidden + inner @ array(block.down.weight).T + array(block.down.bias)
        expected = array(model.readout.weight)[0] @ layer_norm(hidden[-1], model.norm) + float(
            model.readout.bias.detach()
        )
        assert float(model(x[None]).detach()) == pytest.approx(float(expected), abs=1e-12)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_feed_forward_network_is_its_formula(activation: str) -> None:
    model = MultilayerPerceptron(3, 2, 5, activation=activation, generator=generator())
    x = points(4, 3)
    h = array(x)
    for layer in parts(model.hidden):
        h = h @ array(layer.weight).T + array(layer.bias)
        h = np.maximum(h, 0) if activation == "relu" else np.tanh(h)
    expected = h @ array(model.last.weight)[0] + float(model.last.bias.detach())
    np.testing.assert_allclose(array(model(x)), expected, atol=1e-13)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_sizes_are_what_the_ladder_says(method: TrainedMethod) -> None:
    for ambient in (2, 8):
        ladder = method.ladder(Sphere(dim=1, ambient=ambient))
        counts = []
        for size in ladder:
            model = method.model(ambient, size, generator())
            counts.append(sum(p.numel() for p in model.parameters()))
            assert method.count(ambient, size) == counts[-1] == model.parameter_count
        assert counts == sorted(set(counts))
        assert counts[0] < 2 * GOALS[0]
        assert abs(counts[-1] / GOALS[-1] - 1) < 0.1


def test_multiply_adds_are_those_of_the_matrix_products() -> None:
    """Counted by torch's own counter, which sees every product and calls a multiply-add two operations."""
    from torch.utils.flop_counter import FlopCounterMode

    models: list[Model] = [
        MultilayerPerceptron(8, 3, 7, generator=generator()),
        SoftmaxTransformer(8, 6, 2, 3, generator=generator()),
        Crate(8, 6, 2, 3, generator=generator()),
    ]
    for model in models:
        with FlopCounterMode(display=False) as counter:
            model(points(5, 8))
        assert counter.get_total_flops() == 2 * 5 * model.multiply_adds


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_weights_come_from_the_generator_alone(method: TrainedMethod) -> None:
    state = torch.get_rng_state()
    size = {**method.defaults, "width": 8}
    first, same, other = (method.model(3, size, generator(seed)) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    x = points(5, 3)
    assert torch.equal(first(x), same(x))
    assert not torch.equal(first(x), other(x))


def test_bad_sizes_are_refused() -> None:
    g = generator()
    with pytest.raises(InputError, match="width: expected a multiple of heads = 4, got 6"):
        SoftmaxTransformer(3, 6, 4, 1, generator=g)
    with pytest.raises(InputError, match="width: expected a multiple of heads = 4, got 6"):
        Crate(3, 6, 4, 1, generator=g)
    with pytest.raises(InputError, match=r"activation: expected one of \('relu', 'gelu', 'tanh'\), got 'sine'"):
        MultilayerPerceptron(3, 1, 4, activation="sine", generator=g)
    with pytest.raises(InputError, match="depth: expected an integer >= 1"):
        MultilayerPerceptron(3, 0, 4, generator=g)
    with pytest.raises(InputError, match="blocks: expected an integer >= 1"):
        SoftmaxTransformer(3, 4, 2, 0, generator=g)
    with pytest.raises(InputError, match="sparsity: expected a finite real number > 0"):
        Crate(3, 4, 2, 1, sparsity=-1.0, generator=g)


def test_a_missing_pykan_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kan.KANLayer", None)
    with pytest.raises(InputError, match=r"pip install --no-deps pykan==0\.2\.8"):
        layer_class()
    with pytest.raises(InputError, match="pykan"):
        KanMethod().check(Sphere(dim=1))


@pytest.mark.skipif(not HAS_PYKAN, reason="needs pykan")
def test_kan_layers_are_pykans() -> None:
    state = torch.get_rng_state()
    model = KAN(3, 2, 4, 5, generator=generator())
    assert torch.equal(torch.get_rng_state(), state)
    x = points(300, 3)
    model.prepare(x)
    hidden = x
    for layer in parts(model.layers):
        hidden = layer(hidden)[0]
    assert torch.equal(model(x), hidden[:, 0])
    size = {"depth": 2, "width": 4, "grid": 5}
    assert model.parameter_count == KanMethod().count(3, size)
    # after `prepare` the grid of the first layer spans the data
    first = parts(model.layers)[0].grid
    assert torch.allclose(first[:, 3], x.amin(dim=0), atol=1e-9) and torch.allclose(first[:, -4], x.amax(dim=0))
