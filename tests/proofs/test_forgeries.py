"""Forged networks and certificates: each is refused, or true by an evaluation that shares nothing with the verifier.

The grammar of the forgeries and the judge are `benchmarks.forgery`; here are the genuine pairs, the forgeries that an
older verifier accepted, and how many are drawn.
"""

from __future__ import annotations

import copy
import json
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save

import construct
from benchmarks.forgery import Genuine, document_digest, forgeries, weights_digest
from benchmarks.judge import dense, judge, worst_error
from construct.expressions import Expression, exp, sin, tanh, variables
from construct.manifolds import Circle, Cube, Manifold
from proofs_as_code.verifier import Report, verify

x, y = variables(2)


def pair(
    target: Expression,
    folder: Path,
    charts: int,
    degree: int,
    dtype: torch.dtype = torch.float64,
    manifold: Manifold | None = None,
) -> Genuine:
    manifold = Circle() if manifold is None else manifold
    net = construct.approximate(target, manifold, charts=charts, degree=degree, dtype=dtype)
    certificate = construct.certify(net, target, manifold, tolerance=2.0)
    net.save(folder / "net.safetensors")
    certificate.save(folder / "net.json")
    return Genuine.of((folder / "net.safetensors").read_bytes(), (folder / "net.json").read_bytes())


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> list[Genuine]:
    folder = tmp_path_factory.mktemp("pairs")
    first, second = exp(x) * sin(2 * y), tanh(x) + 0.5 * y * y
    return [
        pair(first, folder, 4, 2),
        pair(second, folder, 4, 2),
        pair(first, folder, 5, 3),
        pair(first, folder, 4, 2, torch.float32),
    ]


@pytest.fixture(scope="module")
def surfaces(tmp_path_factory: pytest.TempPathFactory) -> list[Genuine]:
    """Networks of squares, the second one small and elsewhere, in float32."""
    folder, target = tmp_path_factory.mktemp("surfaces"), exp(x) * sin(y)
    placed = Cube(2).placed(translation=(0.5, -0.25), scale=0.5)
    return [
        pair(target, folder, 4, 1, manifold=Cube(2)),
        pair(target, folder, 4, 1, torch.float32, placed),
    ]


@pytest.fixture
def verdict(tmp_path: Path) -> Callable[..., Report]:
    def check(network: bytes, certificate: bytes, digests: bool = True) -> Report:
        (tmp_path / "net.safetensors").write_bytes(network)
        (tmp_path / "net.json").write_bytes(certificate)
        return verify(tmp_path / "net.safetensors", tmp_path / "net.json", digests=digests)

    return check


def files(tensors: dict[str, Any], document: dict[str, Any]) -> tuple[bytes, bytes]:
    """A pair whose digests fit."""
    document = copy.deepcopy(document)
    document["network"]["sha256"] = weights_digest(tensors)
    document["digest"] = document_digest(document)
    return save({name: np.ascontiguousarray(array) for name, array in tensors.items()}), json.dumps(document).encode()


def tried(pairs: list[Genuine], verdict: Callable[..., Report], count: int, seed: int) -> Counter[str]:
    """Draw forgeries; every accepted one must be true. How many were accepted, by kind."""
    seen: Counter[str] = Counter()
    for number, forged in enumerate(forgeries(pairs, np.random.default_rng(seed), count)):
        report = verdict(forged.network, forged.certificate, forged.digests)
        seen[f"{forged.kind}, {'accepted' if report.holds else 'refused'}"] += 1
        if report.holds:
            assert judge(forged.network, forged.certificate), (seed, number, forged.kind)
            assert report.bound == json.loads(forged.certificate)["bound"]
        else:
            assert report.reason and report.reason.isprintable() and math.isnan(report.bound), (seed, number)
    return seen


def test_the_genuine_ones_are_accepted_and_true(
    pairs: list[Genuine], surfaces: list[Genuine], verdict: Callable[..., Report]
) -> None:
    assert [len(genuine.document["manifold"]["lower"]) for genuine in surfaces] == [2, 2]
    for genuine in (*pairs, *surfaces):
        network, certificate = files(genuine.tensors, genuine.document)
        assert verdict(network, certificate).holds and judge(network, certificate)
        wrong = {**genuine.tensors, "hidden0": genuine.tensors["hidden0"].copy()}
        wrong["hidden0"][-1, 1] += 4 * genuine.document["bound"]
        assert not judge(*files(wrong, genuine.document))


def test_forgeries_are_refused_or_true(pairs: list[Genuine], verdict: Callable[..., Report]) -> None:
    seen = tried(pairs, verdict, 200, 1)
    assert seen.total() == 200 and sum(n for kind, n in seen.items() if kind.endswith("refused")) > 100
    assert len({kind.partition(",")[0] for kind in seen}) > 15
    assert sum(n for kind, n in seen.items() if kind.endswith("accepted")) > 20  # true ones are not all refused


def test_forgeries_of_surfaces_are_refused_or_true(surfaces: list[Genuine], verdict: Callable[..., Report]) -> None:
    seen = tried(surfaces, verdict, 60, 11)
    assert seen.total() == 60 and sum(n for kind, n in seen.items() if kind.endswith("refused")) > 30
    assert len({kind.partition(",")[0] for kind in seen}) > 10
    assert sum(n for kind, n in seen.items() if kind.endswith("accepted")) > 5


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 8))
def test_many_forgeries_are_refused_or_true(
    pairs: list[Genuine], surfaces: list[Genuine], verdict: Callable[..., Report], seed: int
) -> None:
    tried([*pairs, *surfaces], verdict, 1000, seed)


# -- forgeries that were accepted once ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def circle14(tmp_path_factory: pytest.TempPathFactory) -> Genuine:
    return pair(100 * exp(x) * sin(2 * y), tmp_path_factory.mktemp("fourteen"), 14, 3)


Check = Callable[..., Report]


@pytest.mark.parametrize("size", [1e6, 1e9])
def test_components_beyond_box_and_frame(circle14: Genuine, verdict: Check, size: float) -> None:
    """An extra component took the place of y0^2 in the cut-offs: all charts off, and whatever they hold is true."""
    document, tensors = copy.deepcopy(circle14.document), {**circle14.tensors}
    name = "blocks.3.attention.value"  # the coefficients
    tensors[name] = tensors[name].copy()
    for place in np.argwhere(tensors[name])[[3, 17]]:
        tensors[name][tuple(place)] += 1e5
    document["manifold"]["formula"].append(size)
    document["local"], document["error"] = 299.0, 1.0
    document["bound"], document["tree"], document["cells"] = 300.0 * (1 + 1e-15), ".", 1
    assert worst_error(tensors, circle14.document) > 1e4
    assert not verdict(*files(tensors, document)).holds


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, 1e200, 1e308])
@pytest.mark.parametrize("part", ["query", "key"])
@pytest.mark.parametrize("block", [0, 3])
def test_heads_that_say_nothing_are_bounded_too(
    pairs: list[Genuine], verdict: Check, number: float, part: str, block: int
) -> None:
    """V = 0, and 0 times a score that is infinite or NaN."""
    tensors, width = {**pairs[0].tensors}, pairs[0].tensors["hidden0"].shape[1]
    for name in ("query", "key", "value"):
        head = np.zeros((1, width, width))
        if name == part:
            head[0, 0, -1] = number
        elif name != "value":
            head[0, 0, -1] = math.copysign(1e120, number)
        old = tensors[f"blocks.{block}.attention.{name}"]
        tensors[f"blocks.{block}.attention.{name}"] = np.concatenate([old, head])
    if number > 1e300 or not math.isfinite(number):
        assert worst_error(tensors, pairs[0].document) == math.inf  # the formula itself gives NaN
    report = verdict(*files(tensors, pairs[0].document))
    assert not report.holds and "expected" in report.reason


def scaled(genuine: Genuine, block: int, powers: tuple[int, int, int]) -> dict[str, Any]:
    """All heads of a block with powers of two moved between Q, K and V: the same function in exact arithmetic."""
    assert sum(powers) == 0
    tensors = {**genuine.tensors}
    for name, power in zip(("query", "key", "value"), powers, strict=True):
        tensors[f"blocks.{block}.attention.{name}"] = np.ldexp(tensors[f"blocks.{block}.attention.{name}"], power)
    return tensors


@pytest.fixture(scope="module")
def precise(tmp_path_factory: pytest.TempPathFactory) -> Genuine:
    net = construct.approximate(exp(x) * sin(2 * y), Circle(), epsilon=5e-5, construction="compact")
    folder = tmp_path_factory.mktemp("precise")
    certificate = construct.certify(net, exp(x) * sin(2 * y), Circle(), tolerance=0.5)
    net.save(folder / "net.safetensors")
    certificate.save(folder / "net.json")
    return Genuine.of((folder / "net.safetensors").read_bytes(), (folder / "net.json").read_bytes())


def linear_read(hidden: np.ndarray[Any, Any], target: int, source: int) -> list[np.ndarray[Any, Any]]:
    """Q and K (1, w, w) whose score is 1 at one pair of tokens and <= 0 elsewhere."""
    query, key = np.zeros((2, 1, hidden.shape[1], hidden.shape[1]))
    for row, (gate, one, token) in enumerate([(query, key, target), (key, query, source)]):
        t = hidden[token, 2]
        gate[0, row, 2:], one[0, row, 4] = (2 * t, -1, -t * t), 1
    query[0, 2, 4] = key[0, 2, 4] = 1
    return [query, key]


def silent_place(genuine: Genuine) -> tuple[int, int]:
    """A register that is 0 after the last block."""
    x = np.array([[1.0, 0.0], [0.6, 0.8], [-0.6, -0.8]])
    for token, row in np.ndindex(len(genuine.tensors["hidden0"]), 2):
        if not dense({**genuine.tensors, "readout": np.array([token, row])}, x).any():
            return token, row
    raise AssertionError("every register is in use")


def through_small_numbers(genuine: Genuine, power: int, step: int = 80) -> dict[str, Any]:
    """More blocks: the output b goes to another register, c = 2^-power b; c grows by 2^step a block, until
    b += 2^rest c - b. In exact arithmetic b is what it was, and no number is large."""
    tensors, hidden = {**genuine.tensors}, genuine.tensors["hidden0"]
    count, width = sum(name.endswith("query") for name in tensors), hidden.shape[1]
    (out, row), (token, place) = tensors["readout"].tolist(), silent_place(genuine)

    def head(target: int, source: int, to: int, of: int, factor: float) -> list[np.ndarray[Any, Any]]:
        value = np.zeros((1, width, width))
        value[0, to, of] = factor
        return [*linear_read(hidden, target, source), value]

    whole, rest = divmod(power, step)
    more = [[head(token, out, place, row, 2.0**-power)]]
    more += [[head(token, token, place, place, 2.0**step), head(token, token, place, place, -1)]] * whole
    more += [[head(out, token, row, place, 2.0**rest), head(out, out, row, row, -1)]]
    for block, heads in enumerate(more):
        for name, arrays in zip(("query", "key", "value"), zip(*heads, strict=True), strict=True):
            tensors[f"blocks.{count + block}.attention.{name}"] = np.concatenate(arrays)
    return tensors


def test_what_underflow_loses_is_part_of_the_bound(precise: Genuine, verdict: Check) -> None:
    """2^-1062 of a number of order 1 is subnormal and keeps 12 bits; a later head brings it back to its size."""
    document = copy.deepcopy(precise.document)
    document["error"] += 1e-9  # four operations more than there were
    document["bound"] += 2e-9
    for power in (0, 40, 700, 900):
        tensors = through_small_numbers(precise, power)
        assert worst_error(tensors, document) <= document["bound"]
        assert verdict(*files(tensors, document)).holds, power
    for power in (1050, 1062, 1066):
        tensors = through_small_numbers(precise, power)
        assert not verdict(*files(tensors, document)).holds
    assert worst_error(through_small_numbers(precise, 1062), document) > 2 * document["bound"]


def test_subnormal_intermediates_are_refused_or_true(precise: Genuine, verdict: Check) -> None:
    """K subnormal, so that data keeps a few bits only, and Q and V huge to make up for it."""
    broken = 0
    for block in range(sum(name.endswith("query") for name in precise.tensors)):
        for powers in ((990, -1060, 70), (-1060, 990, 70), (990, 70, -1060), (70, 990, -1060), (0, 30, -30)):
            tensors = scaled(precise, block, powers)
            error = worst_error(tensors, precise.document)
            report = verdict(*files(tensors, precise.document))
            broken += not error <= precise.document["bound"]
            assert not report.holds or error <= precise.document["bound"], (block, powers, error)
    assert broken > 3


def test_the_largest_powers_that_lose_nothing_are_accepted(pairs: list[Genuine], verdict: Check) -> None:
    for powers in ((20, -40, 20), (-30, 0, 30), (10, 10, -20)):
        assert verdict(*files(scaled(pairs[0], 0, powers), pairs[0].document)).holds
