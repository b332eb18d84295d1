"""Networks made by hand to be mistaken for ridge networks: what the verifier accepts of them is true."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flint import fmpq
from safetensors.numpy import save

from benchmarks.judge import worst_error
from proofs_as_code.verifier import Report, verify
from proofs_as_code.verifier.arithmetic import Arithmetic
from proofs_as_code.verifier.polynomials import Poly, number
from proofs_as_code.verifier.schema import CLAIM, FORMAT, KIND
from tests.proofs.proved import digest

Tensors = dict[str, np.ndarray[Any, Any]]
LINE: dict[str, Any] = {  # |T - 1| <= 1e-3 for x in [1.5, 2.5]
    "format": FORMAT,
    "kind": KIND,
    "claim": CLAIM,
    "network": {"sha256": "0" * 64},
    "arithmetic": {"dtype": "float64", "unit": 2.0**-53},
    "target": 1.0,
    "manifold": {"text": "", "formula": [["x", 0]], "lower": [1.5], "upper": [2.5], "frame": [[1.0]], "offset": [0.0]},
    "canonical_box": [[-3.0, 3.0]],
    "order": 3,
    "precision": 96,
    "tree": ".",
    "cells": 1,
    "local": 1e-3,
    "error": 1e-9,
    "bound": 1.1e-3,
    "measured": {"sup": 0.0, "samples": 1, "seed": 0},
    "seconds": 0.0,
}


@pytest.fixture
def check(tmp_path: Path) -> Callable[..., tuple[Report, float]]:
    def verdict(tensors: Tensors, **fields: Any) -> tuple[Report, float]:
        """The verdict, and the true error in units of the bound."""
        document = copy.deepcopy(LINE)
        document["manifold"] |= fields.pop("manifold", {})
        document |= fields
        document["digest"] = digest(document)
        (tmp_path / "net.safetensors").write_bytes(save({n: np.ascontiguousarray(a) for n, a in tensors.items()}))
        (tmp_path / "net.json").write_text(json.dumps(document))
        report = verify(tmp_path / "net.safetensors", tmp_path / "net.json", digests=False)
        return report, worst_error(tensors, document) / document["bound"]

    return verdict


Check = Callable[..., tuple[Report, float]]


def network(hidden: Any, readout: tuple[int, int], *blocks: tuple[list[Any], list[Any]]) -> Tensors:
    """Blocks of heads (Q, K, V), each a dictionary of entries, and of layers (weights, biases)."""
    state = np.array(hidden, dtype=float)
    width = state.shape[1]

    def matrix(entries: dict[tuple[int, int], float]) -> np.ndarray[Any, Any]:
        out = np.zeros((width, width))
        for place, value in entries.items():
            out[place] = value
        return out

    tensors = {"hidden0": state, "readout": np.array(readout)}
    for n, (heads, layers) in enumerate(blocks):
        for k, part in enumerate(("query", "key", "value")):
            stack = [matrix(head[k]) for head in heads]
            tensors[f"blocks.{n}.attention.{part}"] = np.array(stack).reshape(-1, width, width)
        for k, (weight, bias) in enumerate(layers):
            tensors[f"blocks.{n}.ffn.layers.{k}.weight"] = matrix(weight)
            tensors[f"blocks.{n}.ffn.layers.{k}.bias"] = np.array([bias.get(i, 0.0) for i in range(width)])
    return tensors


BELOW, ABOVE = ({(0, 0): -1.0}, {0: -1.0}), ({(1, 0): 1.0}, {1: -1.0})  # relu(-1 - x), relu(x - 1)


@pytest.mark.parametrize(("sides", "true"), [("lower", False), ("upper", False), ("both", True)])
def test_a_clip_with_one_end_is_no_clip_at_the_other(check: Check, sides: str, true: bool) -> None:
    """x + relu(-1 - x) is 2 at 2, not 1; the mirror image for the other end."""
    first = [part for part, name in ((BELOW, "upper"), (ABOVE, "lower")) if sides != name]
    weight = {place: value for part in first for place, value in part[0].items()}
    bias = {place: value for part in first for place, value in part[1].items()}
    tensors = network([[0.0, 1.0]], (0, 0), ([], [(weight, bias), ({(0, 0): 1.0, (0, 1): -1.0}, {})]))
    mirrored = {"manifold": {"lower": [-2.5], "upper": [-1.5]}, "target": -1.0} if sides == "upper" else {}
    report, error = check(tensors, **mirrored)
    assert report.holds == true
    assert (error <= 1) == true


def test_an_end_that_is_not_needed_may_be_missing(check: Check) -> None:
    """x + relu(-1 - x) for x in [-3, 1]: where the range of the register is not above 1."""
    tensors = network([[0.0, 1.0]], (0, 0), ([], [BELOW, ({(0, 0): 1.0}, {})]))
    report, error = check(
        tensors, canonical_box=[[-3.0, 1.0]], target=-1.0, manifold={"lower": [-2.5], "upper": [-1.5]}
    )
    assert report.holds, report.reason
    assert error <= 1


def test_clips_of_one_form_with_different_ends_differ(check: Check) -> None:
    """clip(x, -1, 1) and clip(x, -1, 1 - 2^-20) in two tokens: 2^30 times their difference is 1024 beyond 1."""
    end, many = 1 - 2.0**-20, 2.0**30
    clip: list[Any] = [({(0, 0): -1, (0, 1): -1, (1, 0): 1, (1, 1): -1}, {}), ({(0, 0): 1, (0, 1): -1}, {})]
    heads = [({(0, 3): 1}, {(0, row): 1}, {(2, 0): factor}) for row, factor in ((3, many), (4, 1 - many))]
    tensors = network([[0, 1, 0, 1, 0], [0, end, 0, 0, 1]], (0, 2), ([], clip), (heads, []))
    places = {"frame": [[1.0], [1.0]], "offset": [0.0, 0.0]}
    report, error = check(tensors, manifold=places, error=1e-2, bound=1.2e-2)
    assert error > 1000
    assert not report.holds
    report, error = check(tensors, manifold=places, target=1025.0, error=1e-2, bound=1.2e-2)
    assert report.holds, report.reason
    assert error <= 1


def held(value: float) -> Tensors:
    """A network whose output is a number that the second block reads at token 1, whatever the input is."""
    head = ({(0, 2): 1.0}, {(0, 3): 1.0}, {(1, 1): value})
    return network([[0.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 1.0]], (0, 1), ([], []), ([head], []))


@pytest.mark.parametrize("value", [0.0, 1.0, -0.75, 1e-300])
def test_a_constant_is_what_it_is(check: Check, value: float) -> None:
    report, error = check(held(value), target=value, local=1e-15, error=1e-15, bound=3e-15)
    assert report.holds, report.reason
    assert error <= 1
    for change, close in ((0.01, 0.0), (0.0012, 0.0), (0.0, 0.01)):  # of the number; of x that leaks into it
        tensors = held(value + change)
        tensors["blocks.0.attention.value"] = tensors["blocks.1.attention.value"] * 0
        tensors["blocks.0.attention.query"] = tensors["blocks.1.attention.query"].copy()
        tensors["blocks.0.attention.key"] = tensors["blocks.1.attention.query"].copy()
        tensors["blocks.0.attention.value"][0, 1, 0] = close
        report, error = check(tensors, target=value)
        assert error > 1
        assert not report.holds and "local: expected at least" in report.reason


def test_a_function_whose_formula_is_not_known_is_no_constant(check: Check) -> None:
    """relu(x - 2), which is 0 on a part of the box only; and a gate that may be open."""
    ramp: list[Any] = [({(0, 0): 1.0, (0, 1): -2.0}, {}), ({(0, 0): -1.0, (2, 0): 1.0}, {})]
    report, error = check(network([[0.0, 1.0, 0.0]], (0, 2), ([], ramp)), target=0.0)
    assert error > 1 and not report.holds
    gate = ({(0, 0): 1.0, (0, 1): -2.0}, {(0, 1): 1.0}, {(2, 0): 1.0})
    report, error = check(network([[0.0, 1.0, 0.0]], (0, 2), ([gate], [])), target=0.0)
    assert error > 1 and not report.holds


@pytest.mark.parametrize("kind", ["clip", "form", "map"])
def test_polynomials_in_a_named_register_are_bounded_as_a_whole(kind: str) -> None:
    """-3 - T3(w) < 0 says that a gate between two tokens is closed, whatever has been named w."""
    arithmetic = Arithmetic(2.0**-53)
    w = arithmetic.unknown(kind, fmpq(-1), fmpq(1), arithmetic.unknown("y", fmpq(-1), fmpq(1)))
    score = Poly.of([((), fmpq(-3)), *(((w * w * w) * number(-4) + w * number(3)).items())])
    low, high = arithmetic.range(score)
    assert fmpq(-4) - fmpq(1, 2**40) <= low <= -4 and -2 <= high <= fmpq(-2) + fmpq(1, 2**40)
