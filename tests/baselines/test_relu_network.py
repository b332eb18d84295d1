"""The module: what it computes, counts and refuses."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from construct.baselines.relu import network as module
from construct.baselines.relu.circuit import layer
from construct.baselines.relu.network import ReluNetwork
from construct.errors import InputError


def random_layers(rng, sizes, density=0.5):
    pairs = pairwise(sizes)
    return [layer(rng.normal(size=(o, i)) * (rng.random((o, i)) < density), rng.normal(size=o)) for i, o in pairs]


@settings(max_examples=30)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=4), st.integers(0, 2**31))
def test_it_computes_and_counts_what_its_layers_say(sizes, seed):
    rng = np.random.default_rng(seed)
    layers = random_layers(rng, [*sizes, 1])
    net = ReluNetwork(layers)
    x = rng.normal(size=(11, sizes[0]))
    want, nonzero, weights, dense, largest = x, 0, 0, 0, 0.0
    for number, (weight, bias) in enumerate(layers):
        full = weight.toarray()
        want = (np.maximum(want, 0) if number else want) @ full.T + bias
        nonzero += int(np.count_nonzero(full)) + int(np.count_nonzero(bias))
        weights += int(np.count_nonzero(full))
        dense += full.size + bias.size
        largest = max(largest, np.abs(full).max(), np.abs(bias).max())
    points = torch.from_numpy(x)
    assert np.allclose(net(points).numpy(), want[:, 0], atol=1e-12)
    assert net(points.reshape(1, 11, -1)).shape == (1, 11)
    assert torch.allclose(net.to_sequential()(points)[:, 0], net(points), atol=1e-12)
    assert (net.counts.nonzero, net.counts.multiply_adds) == (nonzero, weights)
    assert (net.counts.dense, net.counts.depth) == (dense, len(layers))
    assert net.weight_bound == pytest.approx(largest)
    assert f"{len(layers)} affine layers" in repr(net)


def test_points_are_evaluated_in_parts(monkeypatch):
    net = ReluNetwork(random_layers(np.random.default_rng(1), [2, 5, 1]))
    x = torch.linspace(-1, 1, 40, dtype=torch.float64).reshape(20, 2)
    whole = net(x)
    monkeypatch.setattr(module, "CHUNK_ENTRIES", 15)
    assert torch.equal(net(x), whole)


def test_zeros_and_duplicates_are_not_counted():
    cancelled = layer(np.array([[1.0, 0.0]]))[0] - layer(np.array([[1.0, 2.0]]))[0]
    assert ReluNetwork([(cancelled, np.zeros(1))]).counts.nonzero == 1


def test_dtype():
    layers = random_layers(np.random.default_rng(0), [2, 5, 1])
    x = torch.ones(3, 2, dtype=torch.float32)
    found = ReluNetwork(layers, dtype=torch.float32)(x)
    assert found.dtype == torch.float32
    assert torch.allclose(found.double(), ReluNetwork(layers)(x.double()), atol=1e-5)


def test_bad_layers_are_refused(monkeypatch):
    with pytest.raises(InputError, match="layers: expected"):
        ReluNetwork([])
    with pytest.raises(InputError, match="one output"):
        ReluNetwork([layer(np.ones((2, 2)))])
    with pytest.raises(InputError, match="matrices that fit"):
        ReluNetwork([layer(np.ones((2, 2))), layer(np.ones((1, 3)))])
    with pytest.raises(InputError, match="weight: expected finite"):
        ReluNetwork([layer([[np.nan, 1.0]])])
    with pytest.raises(InputError, match="weight: expected finite"):
        ReluNetwork([layer([[1.0]], [np.inf])])
    net = ReluNetwork([layer(np.ones((1, 2)))])
    with pytest.raises(InputError, match=r"x: expected a tensor of shape \(\.\.\., "):
        net(torch.zeros(3, 3, dtype=torch.float64))
    monkeypatch.setattr(module, "LARGEST_DENSE", 2)
    with pytest.raises(InputError, match="dense weights"):
        net.to_sequential()
