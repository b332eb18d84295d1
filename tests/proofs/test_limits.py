"""What small documents and networks may cost: numbers, terms and powers are bounded, and refused before they grow."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flint import arb, fmpq, fmpq_poly

from construct import Network
from construct.certificates import polynomials as own
from construct.certificates.extraction import extract
from construct.certificates.weights import weights_of
from construct.errors import InputError
from construct.transformer import Weights
from construct.transformer.weights import FeedForward, Heads
from proofs_as_code.verifier import covering, jets, network, polynomials, ranges
from proofs_as_code.verifier.arithmetic import Arithmetic
from proofs_as_code.verifier.expressions import steps_of
from tests.proofs.proved import Proved

ROOT = Path(__file__).resolve().parents[2]
UNKNOWN = "periods are not known"


@pytest.fixture
def longest(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, int]]:
    """The most bits that any module's `bounded` was shown: numbers that exist, refused ones included."""
    seen: dict[str, int] = {}
    for module in (covering, polynomials, own):
        original = module.bounded

        def watched(value: fmpq, name: str = module.__name__, check: Any = original) -> fmpq:
            seen[name] = max(seen.get(name, 0), value.height_bits())
            return check(value)

        monkeypatch.setattr(module, "bounded", watched)
    yield seen
    limits = {module.__name__: module.MOST_BITS for module in (covering, own)} | {
        polynomials.__name__: ranges.MOST_BITS
    }
    assert all(bits <= 3 * limits[name] + 2 for name, bits in seen.items())


def tower(height: int, base: Any = 3.0) -> Any:
    tree = base
    for _ in range(height):
        tree = ["pow", tree, 16]
    return tree


@pytest.mark.parametrize(("height", "known"), [(0, True), (2, True), (4, False), (8, False), (100, False)])
def test_a_tower_of_powers(circle: Proved, longest: dict[str, int], height: int, known: bool) -> None:
    def change(document: dict[str, Any]) -> None:
        first = document["manifold"]["formula"][0]
        document["manifold"]["formula"][0] = ["add", first, ["mul", 0.0, tower(height)]]

    report = circle.check(circle.changed(change))
    assert report.holds or height > 50, report.reason  # at last the balls are infinite, which is refused
    assert not report.holds or (UNKNOWN not in " ".join(report.box)) is known


@pytest.mark.parametrize(
    "base",
    [
        ["exp", ["x", 0]],
        ["x", 0],
        ["sin", ["x", 0]],
        ["add", ["exp", ["x", 0]], 1.0],
    ],
)
@pytest.mark.parametrize("height", [1, 5, pytest.param(60, marks=pytest.mark.slow)])
def test_towers_of_atoms_and_waves(base: Any, height: int) -> None:
    tree = base
    for _ in range(height):
        tree = ["exp", ["pow", ["add", tree, 1.0], 16]]
    for formula in (tree, tower(height, base)):
        steps = steps_of(formula, "formula", 1)
        budget = covering.Budget()
        with contextlib.suppress(covering.Unknown):
            covering.proved_coverings([steps], [0.0], [1.0], budget)
        assert budget.work <= 2 * covering.MOST_WORK
        assert all(len(repr(atom)) < 10**6 for atom in budget.atoms)


def squares(count: int) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Heads that square 0.7 at token 0, again and again: (query, key, value), (1, 2, 2) each."""
    heads = []
    for _ in range(count):
        query, key, value = np.zeros((3, 1, 2, 2))
        query[0, 0, 0], key[0, 0, 0], value[0, 0, 1] = 1.0, 1.0, -(2.0**-15)
        heads.append((query, key, value))
    return heads


@pytest.mark.parametrize(("count", "refused"), [(1, False), (3, False), (12, True), (40, True)])
def test_blocks_that_square(longest: dict[str, int], count: int, refused: bool) -> None:
    hidden = np.array([[0.7, 1.0]])
    blocks = tuple((Heads(*head), FeedForward()) for head in squares(count))
    net = Network(Weights(hidden, blocks, (0, 0), np.array([0.5])))
    bits = f"at most {own.MOST_BITS} bits" if refused else "."
    degree = "degree at most" if refused else "without partition weights"
    with pytest.raises(InputError, match=f"{bits}|{degree}" if refused else degree):
        extract(weights_of(net), np.array([0.5]), 2.0**-53)


@pytest.mark.parametrize(("count", "refused"), [(1, False), (3, False), (12, True), (40, True)])
def test_blocks_that_square_in_a_file(circle: Proved, longest: dict[str, int], count: int, refused: bool) -> None:
    tensors = dict(circle.tensors)
    width, blocks = tensors["hidden0"].shape[1], sum(name.endswith("query") for name in tensors)
    tensors["hidden0"] = np.vstack([tensors["hidden0"], [[0.7, 0, 100, 10000, 1]]])
    for block in range(blocks, blocks + count):
        query, key, value = np.zeros((3, 1, width, width))
        query[0, 0, 3], query[0, 0, 4], key[0, 0, 4] = 1, -5000, 1
        query[0, 1, 4], key[0, 1, 3], key[0, 1, 4] = 1, 1, -9000
        query[0, 2, 0], key[0, 2, 4], value[0, 0, 0] = 1, 1, -(2.0**-15)
        for name, array in (("query", query), ("key", key), ("value", value)):
            tensors[f"blocks.{block}.attention.{name}"] = array
    document = {**circle.document, "error": 1e-3, "bound": circle.document["local"] + 1.01e-3}
    report = circle.check(document, tensors)
    assert report.holds is not refused
    assert not refused or report.reason.startswith(f"network: expected rational numbers of at most {ranges.MOST_BITS}")


def test_ranges_hold_and_are_sharp() -> None:
    rng = np.random.default_rng(0)
    for degree in [1, 2, 3, 5, 8, 18] * 10:
        powers = {k: fmpq(int(rng.integers(-99, 99)), 64) for k in range(degree)} | {degree: fmpq(1)}
        low, high = ranges.extremes(powers, fmpq(-1), fmpq(3, 4))
        grid = [fmpq(i, 512) for i in range(-512, 385)]
        values = [sum((c * v**k for k, c in powers.items()), fmpq(0)) for v in grid]
        assert low <= min(values) and high >= max(values)
        assert min(values) - low < fmpq(1, 20) * degree and high - max(values) < fmpq(1, 20) * degree


@pytest.mark.parametrize(("degree", "bits"), [(4, 1000), (8, 400), (16, 200), (64, 100)])
def test_near_roots_take_no_more_steps_than_allowed(degree: int, bits: int) -> None:
    """Mignotte's polynomials x^n - 2 (a x - 1)^2: whoever isolates their roots needs n b / 2 bits."""
    a = 1 << (bits // 2)
    powers = {0: fmpq(-2), 1: fmpq(4 * a), 2: fmpq(-2 * a * a), degree: fmpq(1)}
    low, high = ranges.extremes(powers, fmpq(-1), fmpq(1))
    exact = fmpq_poly([powers.get(k, 0) for k in range(degree + 1)])
    assert all(low <= exact(v) <= high for v in (fmpq(-1), fmpq(1), fmpq(1, a), fmpq(0), fmpq(1, 3)))


def test_what_is_refused_before_it_is_computed() -> None:
    long = fmpq(3, 2**9000)
    with pytest.raises(ValueError, match="powers of at most"):
        ranges.power_sum({200: fmpq(1)}, long)
    p = polynomials.Poly({(0,) * 200: fmpq(1)})
    with pytest.raises(ValueError, match="degree at most"):
        _ = p * p
    with pytest.raises(InputError, match="degree at most"):
        _ = own.Polynomial({(0,) * 200: fmpq(1)}) * own.Polynomial({(0,) * 200: fmpq(1)})
    with pytest.raises(ValueError, match="bits"):
        ranges.rational_of(arb(2) ** -100000)


def test_wide_states_and_deep_trees_are_refused(circle: Proved) -> None:
    wide = {"hidden0": np.zeros((1, 5000)), "readout": np.zeros(2, np.int64)}
    assert "hidden0: expected at most 64 rows" in circle.check(tensors=wide).reason
    tree = "0" * 20_000 + "." * 20_001
    report = circle.check({**circle.document, "tree": tree, "cells": 20_001})
    assert report.reason.startswith("tree: expected")


def test_nobody_has_to_read_on(circle: Proved) -> None:
    for command in (
        ["proofs_as_code", "verify", str(circle.network), str(circle.certificate)],
        ["construct", "targets"],
    ):
        with subprocess.Popen(
            [sys.executable, "-m", *command], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as started:
            assert started.stdout is not None and started.stderr is not None
            started.stdout.close()
            assert started.stderr.read() == b""


def test_bits_of_true_certificates_are_far_below(circle: Proved, longest: dict[str, int]) -> None:
    assert circle.check().holds
    assert 0 < longest[polynomials.__name__] < ranges.MOST_BITS // 16


def test_pairs_in_parts_are_the_same_pairs(circle: Proved, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "MOST_AT_ONCE", 64)
    assert circle.check().holds
    monkeypatch.setattr(network, "MOST_LOOKS", 10_000)
    assert circle.check().reason == "network: expected at most 10000 numbers to be looked at, got more"


def test_the_work_on_cells_is_counted_before_it_is_done(circle: Proved, monkeypatch: pytest.MonkeyPatch) -> None:
    """A target of two hundred operations and more, which a few bytes ask for on each of any number of leaves."""
    long: Any = ["x", 0]
    for _ in range(200):
        long = ["sin", long]
    for _ in range(8):
        long = ["add", long, ["sin", ["mul", 0.5, long]]]
    document = {**circle.document, "target": ["add", circle.document["target"], ["mul", 0.0, long]]}
    done, run = list[int](), jets.Jets.run

    def counted(self: jets.Jets, steps: Any, x: Any) -> Any:
        done.append(len(steps))
        return run(self, steps, x)

    monkeypatch.setattr(jets.Jets, "run", counted)
    monkeypatch.setattr(network, "MOST_LOOKS", 1 << 28)
    report = circle.check(document)
    assert report.reason == f"network: expected at most {1 << 28} numbers to be looked at, got more"
    assert sum(done) < 1 << 14  # each of which counts as 2^13 at least
    done.clear()
    assert circle.check().holds and done


def test_looks_grow_with_what_is_done() -> None:
    short, long = steps_of(["sin", ["x", 0]], "f", 3), steps_of(["sin", ["exp", ["tanh", ["x", 0]]]], "f", 3)
    one, three = jets.Jets(1, 5), jets.Jets(3, 9)
    assert one.looks(short) < one.looks(long) < three.looks(long) and three.looks(short) > 220**2


def test_bits_count(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = []
    for bits in (10, 8000):
        arithmetic = Arithmetic(2.0**-53)
        p = polynomials.Poly({(): fmpq(2**bits + 1, 3)})
        arithmetic.times((p, 0.0), (p, 0.0))
        looked.append(arithmetic.looked)
    assert p.bits() == 8001 and looked[1] > 5 * looked[0]
