"""Circuits: subnetworks side by side are the functions themselves, and carrying costs what it says."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from construct.baselines.relu.circuit import Circuit, Subnetwork, after, before, beside, copies, layer
from construct.errors import InputError


def run(layers, x):
    """A ReLU network from its dense matrices: x (P, in) -> (P, out)."""
    for number, (weight, bias) in enumerate(layers):
        x = (np.maximum(x, 0) if number else x) @ weight.toarray().T + bias
    return x


def random_layers(rng, sizes):
    return [layer(rng.normal(size=(o, i)), rng.normal(size=o)) for i, o in pairwise(sizes)]


SIZES = st.lists(st.integers(1, 4), min_size=1, max_size=4)


@settings(max_examples=20)
@given(st.lists(SIZES, min_size=1, max_size=4), st.integers(1, 3), st.booleans(), st.integers(0, 2**31))
def test_gadgets_of_any_depth_run_side_by_side(hidden, inputs, keep, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(20, inputs))
    parts = [random_layers(rng, [inputs, *sizes]) for sizes in hidden]
    circuit = Circuit(inputs)
    circuit.run([Subnetwork(f"g{i}", part) for i, part in enumerate(parts)], keep=["x"] if keep else [])
    want = np.concatenate([*(run(part, x) for part in parts), *([x] if keep else [])], axis=1)
    assert np.allclose(run(circuit.finish(np.eye(circuit.channels)), x), want)
    second = random_layers(rng, [circuit.channels, 3, 2])
    circuit.run([Subnetwork("second", second)], keep=["g0"])
    readout, bias = rng.normal(size=(1, circuit.channels)), rng.normal(size=1)
    now = np.concatenate([run(second, want), run(parts[0], x)], axis=1)
    assert np.allclose(run(circuit.finish(readout, bias), x), now @ readout.T + bias)
    assert np.allclose(run(circuit.finish(circuit.select("g0")), x), run(parts[0], x))


@pytest.mark.parametrize("nonnegative", [False, True])
def test_carrying_costs_one_neuron_where_the_sign_is_known(nonnegative):
    rng = np.random.default_rng(0)
    positive = [layer(np.abs(rng.normal(size=(1, 2)))), layer([[1.0]])]
    circuit = Circuit(2)
    circuit.run([Subnetwork("short", positive, nonnegative), Subnetwork("long", random_layers(rng, [2, 5, 5, 5, 1]))])
    assert [weight.shape[0] for weight, _ in circuit.layers] == [6, 5 + (2 - nonnegative), 5 + (2 - nonnegative)]


@settings(max_examples=20)
@given(SIZES, st.integers(1, 4), st.integers(0, 2**31))
def test_pieces(sizes, count, seed):
    rng = np.random.default_rng(seed)
    layers, x = random_layers(rng, [3, *sizes]), rng.normal(size=(7, 3 * count))
    each = [run(layers, x[:, 3 * i : 3 * i + 3]) for i in range(count)]
    assert np.allclose(run(copies(layers, count), x), np.concatenate(each, axis=1))
    assert np.allclose(run(beside([layers] * count), x), np.concatenate(each, axis=1))
    first, last = random_layers(rng, [5, 3])[0], random_layers(rng, [sizes[-1], 2])[0]
    y = rng.normal(size=(7, 5))
    assert np.allclose(run(before(first, layers), y), run(layers, run([first], y)))
    assert np.allclose(run(after(layers, last), x[:, :3]), run([last], run(layers, x[:, :3])))


def test_bad_pieces_are_refused():
    circuit = Circuit(2)
    with pytest.raises(InputError, match="bias: expected an array of shape"):
        layer(np.eye(2), [1.0])
    with pytest.raises(InputError, match=r"name: expected one of \('x',"):
        circuit.select("y")
    with pytest.raises(InputError, match="weight: expected 2 columns"):
        circuit.select("x", sparse.eye_array(3))
    with pytest.raises(InputError, match="expected different names"):
        circuit.run([Subnetwork("x", [layer(np.eye(2))])], keep=["x"])
    with pytest.raises(InputError, match="expected a first weight with 2 columns"):
        circuit.run([Subnetwork("g", [layer(np.eye(3))])])
    with pytest.raises(InputError, match="expected equal depths"):
        beside([[layer(np.eye(2))], [layer(np.eye(2)), layer(np.eye(2))]])
