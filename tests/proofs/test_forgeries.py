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
from benchmarks.forgery import Genuine, document_digest, forgeries, judge, weights_digest, worst_error
from construct.expressions import Expression, exp, sin, tanh, variables
from construct.manifolds import Circle
from proofs_as_code.verifier import Report, verify

x, y = variables(2)


def pair(target: Expression, folder: Path, charts: int, degree: int, dtype: torch.dtype = torch.float64) -> Genuine:
    net = construct.approximate(target, Circle(), charts=charts, degree=degree, dtype=dtype)
    certificate = construct.certify(net, target, Circle(), tolerance=2.0)
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


def test_the_genuine_ones_are_accepted_and_true(pairs: list[Genuine], verdict: Callable[..., Report]) -> None:
    for genuine in pairs:
        network, certificate = files(genuine.tensors, genuine.document)
        assert verdict(network, certificate).holds and judge(network, certificate)
        wrong = {**genuine.tensors, "hidden0": genuine.tensors["hidden0"].copy()}
        wrong["hidden0"][-1, 1] += 4 * genuine.document["bound"]
        assert not judge(*files(wrong, genuine.document))


def test_forgeries_are_refused_or_true(pairs: list[Genuine], verdict: Callable[..., Report]) -> None:
    seen = tried(pairs, verdict, 600, 1)
    assert seen.total() == 600 and sum(n for kind, n in seen.items() if kind.endswith("refused")) > 300
    assert len({kind.partition(",")[0] for kind in seen}) > 15
    assert sum(n for kind, n in seen.items() if kind.endswith("accepted")) > 20  # true ones are not all refused


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 8))
def test_many_forgeries_are_refused_or_true(pairs: list[Genuine], verdict: Callable[..., Report], seed: int) -> None:
    tried(pairs, verdict, 1000, seed)
