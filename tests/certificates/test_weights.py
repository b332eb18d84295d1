"""What is read from a network: its numbers, which rows blocks write, which position code the others hold."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

import construct
from construct import targets
from construct.certificates.extraction.codes import has_trigonometric_code
from construct.certificates.weights import BlockWeights, NetworkWeights, weights_digest, weights_of
from construct.errors import InputError
from tests.certificates.oracle import network
from tests.transformer.networks import plain as as_plain

CODES = ("integer", "trigonometric")
Array = np.ndarray[Any, np.dtype[np.float64]]


def plain(hidden0: Array, *blocks: BlockWeights) -> NetworkWeights:
    return NetworkWeights(hidden0, blocks, (0, 0), 1, np.ones(1), torch.float64)


def block(width: int, *, value_row: int | None = None, bias_row: int | None = None) -> BlockWeights:
    """One head and a feed-forward network of one layer, each of which writes one row or none."""
    value, bias = np.zeros((1, width, width)), np.zeros(width)
    if value_row is not None:
        value[0, value_row, 1] = 1.0
    if bias_row is not None:
        bias[bias_row] = -1.0
    return BlockWeights(np.ones_like(value), np.ones_like(value), value, ((np.zeros((width, width)), bias),))


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_code_is_recognised(code: str, dtype: torch.dtype) -> None:
    net = copy.deepcopy(network(charts=3, degree=2, code=code))
    net.transformer.to(dtype)  # the formula alone: the network refuses float32 with this code
    weights = weights_of(as_plain(net))
    assert weights.written_rows == (0, 1)
    assert has_trigonometric_code(weights) == (code == "trigonometric")


@pytest.mark.parametrize(
    "sizes",
    [
        {"charts": 4, "cells": 3},
        {"charts": 3, "degree": 2, "ambient": 12},
        {"name": "sphere", "charts": 6, "degree": 3},
        {"name": "torus", "degree": 1},
    ],
)
def test_no_integer_code_is_taken_for_a_trigonometric_one(sizes: dict[str, Any]) -> None:
    assert not has_trigonometric_code(weights_of(network(**sizes)))


def test_rows_that_a_block_writes_are_no_code() -> None:
    """Two rows on the unit circle: a code unless a head, a feed-forward network or the input changes one of them."""
    angle = np.linspace(0, 1.5, 7)
    hidden = np.stack([0 * angle, 0 * angle, np.cos(angle), np.sin(angle)], axis=1)
    assert has_trigonometric_code(plain(hidden, block(4, value_row=1, bias_row=1)))
    assert not has_trigonometric_code(plain(hidden, block(4, value_row=2)))
    assert not has_trigonometric_code(plain(hidden, block(4), block(4, bias_row=3)))
    assert not has_trigonometric_code(plain(hidden[:, [2, 3, 0, 1]]))
    assert not has_trigonometric_code(plain(hidden + np.array([0, 0, 0, 1e-3])))
    ones = np.stack([0 * angle, np.ones(7), 0 * angle], axis=1)
    assert not has_trigonometric_code(plain(ones))


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("said", ["nothing", "the paper's", "another code"])
def test_origin_decides_nothing(code: str, said: str) -> None:
    """Whatever a network says of itself, its certificate is that of its weights."""
    net = network(charts=3, degree=2, code=code)
    target, manifold = targets.target("exp_sin"), net.manifold
    other = copy.deepcopy(net)
    assert manifold is not None and net.origin is not None
    if said == "nothing":
        other.origin = None
    elif said == "the paper's":
        other.origin = dataclasses.replace(net.origin, construction="paper")
    else:
        other.origin = network(charts=3, degree=2, code=CODES[code == "integer"]).origin
    documents = [construct.certify(n, target, manifold).document for n in (net, other)]
    for document in documents:
        document.pop("seconds"), document.pop("digest")
    assert documents[0] == documents[1]


def test_numbers_are_those_of_the_network() -> None:
    """Every tensor but the buffers, in order, without rounding; the read-out and the input as indices."""
    net = network(charts=3, degree=2, dtype=torch.float32)
    weights = weights_of(net)
    arrays = [weights.hidden0, *(array for b in weights.blocks for array in b.arrays)]
    assert all(array.dtype == np.float64 for array in arrays)
    parameters = list(net.parameters())
    assert len(arrays) == len(parameters)
    assert all((a == p.numpy()).all() for a, p in zip(arrays, parameters, strict=True))
    assert (weights.readout, weights.ambient, weights.dtype) == (
        tuple(net.transformer.readout.tolist()),
        2,
        torch.float32,
    )
    assert (weights.box == net.box.numpy()).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_refused(value: float) -> None:
    weights = weights_of(network(charts=3, degree=2))
    hidden = weights.hidden0.copy()
    hidden[0, 2] = value
    with pytest.raises(InputError, match="net: expected finite weights, got 1 NaN or infinite"):
        dataclasses.replace(weights, hidden0=hidden)


def test_something_else_than_a_network_is_refused() -> None:
    with pytest.raises(InputError, match=r"net: expected a construct.Network, got 'net'"):
        weights_of("net")  # type: ignore[arg-type]


def test_the_digest_sees_every_tensor() -> None:
    net = network(charts=3, degree=2)
    digests = {weights_digest(net)}
    for parameter in range(len(list(net.parameters()))):
        changed = copy.deepcopy(net)
        with changed.edit():
            flat = list(changed.parameters())[parameter].data.view(-1)
            flat[0] += 1.0
        digests.add(weights_digest(changed))
    changed = copy.deepcopy(net)
    with changed.edit() as transformer:
        transformer.readout[1] = 0
    digests.add(weights_digest(changed))
    assert len(digests) == 2 + len(list(net.parameters()))
