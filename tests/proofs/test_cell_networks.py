"""The verifier on lattice networks: what it accepts is true, and what is false it refuses, by mathematics alone."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import construct
from benchmarks.forgery import Genuine, forgeries
from benchmarks.judge import judge, worst_error
from construct.cells.approximator import CellApproximator
from construct.cells.growth import Shape
from construct.certificates import certify
from construct.manifolds import Circle
from proofs_as_code.verifier import network, verify, windowcells
from tests.certificates.cell_networks import network_of, random_cells, refined
from tests.certificates.ridge_networks import built_in
from tests.proofs.test_ridge_networks import FALSE, Check, check, written

__all__ = ["check"]  # a fixture


def files(folder: Path, drawn: CellApproximator, name: str, dtype: torch.dtype = torch.float64) -> Genuine:
    target = built_in(name, drawn.manifold.ambient)
    net = network_of(drawn, dtype)
    certificate = certify(net, target, drawn.manifold, tolerance=0.5, max_cells=3000)
    net.save(folder / "net.safetensors")
    certificate.save(folder / "net.json")
    return Genuine.of((folder / "net.safetensors").read_bytes(), (folder / "net.json").read_bytes())


def by_hand(r: int, projected: bool = False, seed: int = 0) -> CellApproximator:
    """The first network of r coordinates that is drawn."""
    while True:
        drawn = random_cells(np.random.default_rng(seed), projected=projected, most=4)
        if drawn.basis.coordinates.count == r:
            return drawn
        seed += 1


@pytest.fixture(scope="module")
def circle(tmp_path_factory: pytest.TempPathFactory) -> Genuine:
    """The cusp, seen through one window."""
    fit = refined(Circle(), built_in("cusp", 2), 0.2, Shape(3, (1,), 0.4, 3, 3, 0))
    return files(tmp_path_factory.mktemp("cells"), fit, "cusp")


@pytest.fixture(scope="module")
def genuine(circle: Genuine, tmp_path_factory: pytest.TempPathFactory) -> list[Genuine]:
    folder = tmp_path_factory.mktemp("more")
    return [
        circle,
        files(folder, by_hand(1), "exp_sin"),
        files(folder, by_hand(2, seed=10), "exp_sin", torch.float32),
        files(folder, by_hand(2, projected=True, seed=20), "exp_sin"),
    ]


def test_genuine_ones_are_verified_and_true(genuine: list[Genuine], check: Check) -> None:
    for one in genuine:
        network, certificate = written(one.tensors, one.document)
        report = check(network, certificate, digests=True)
        assert report.holds, report.reason
        assert judge(network, certificate)
        assert report.statement[0].startswith("|T(x) - f(x)| <= ")


@pytest.mark.parametrize("name", FALSE)
def test_false_certificates_are_refused(circle: Genuine, check: Check, name: str) -> None:
    """Where what was changed is still true, the bound is lowered to below the largest error that is seen."""
    document = copy.deepcopy(circle.document)
    FALSE[name](document)
    if name in ("frame", "offset", "formula"):
        error = worst_error(circle.tensors, document)
        document["local"] = min(document["local"], 0.98 * error)
        document["bound"] = document["local"] + document["error"]
        assert document["bound"] < error
    document["measured"]["sup"] = min(document["measured"]["sup"], document["bound"])
    report = check(*written(circle.tensors, document))
    assert not report.holds and ": expected " in report.reason


def test_other_true_claims_are_accepted(circle: Genuine, check: Check) -> None:
    """A larger bound, a part of the circle, and a tree with a leaf less, which is halved until it is small enough."""
    tree = circle.document["tree"]
    place = tree.index("0..")
    for change in (
        lambda d: d.update(bound=2 * d["bound"]),
        lambda d: d["manifold"].update(upper=[3.0]),
        lambda d: d.update(tree=tree[:place] + tree[place + 2 :], cells=d["cells"] - 1),
        lambda d: d.update(local=1.5 * d["local"], bound=2 * d["bound"]),
    ):
        document = copy.deepcopy(circle.document)
        change(document)
        report = check(*written(circle.tensors, document))
        assert report.holds, report.reason


def test_weights_that_break_the_claim_are_refused(circle: Genuine, check: Check) -> None:
    """One weight changed at a time, by a share that matters or not: accepted only if true."""
    rng, seen = np.random.default_rng(4), [0, 0]
    names = [n for n, a in circle.tensors.items() if a.dtype.kind == "f" and np.any(a)]
    for _ in range(25):
        tensors = {n: a.copy() for n, a in circle.tensors.items()}
        flat = tensors[names[rng.integers(len(names))]].reshape(-1)
        flat[rng.choice(np.flatnonzero(flat))] *= 1 + rng.choice([1e-14, 1e-6, 1e-3, 0.1, -2.0, 2.0**-30])
        report = check(*written(tensors, circle.document))
        true = worst_error(tensors, circle.document) <= circle.document["bound"]
        assert true or not report.holds
        seen[report.holds] += 1
    assert min(seen) > 3


def test_forgeries_are_refused_or_true(genuine: list[Genuine], check: Check) -> None:
    seen = [0, 0]
    for number, forged in enumerate(forgeries(genuine, np.random.default_rng(21), 60)):
        report = check(forged.network, forged.certificate, forged.digests)
        assert not report.holds or judge(forged.network, forged.certificate), (number, forged.kind)
        seen[report.holds] += 1
    assert seen[0] > 25 and seen[1] > 3


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_many_forgeries_are_refused_or_true(genuine: list[Genuine], check: Check, seed: int) -> None:
    for number, forged in enumerate(forgeries(genuine, np.random.default_rng(200 + seed), 600)):
        report = check(forged.network, forged.certificate, forged.digests)
        assert not report.holds or judge(forged.network, forged.certificate), (seed, number, forged.kind)


LIMITS = [
    (windowcells, "MOST_PARTS", 0, "local: expected at least"),
    (network, "MOST_RELUS", 1, "network: expected an output that is a sum of functions of one linear form each"),
]


@pytest.mark.parametrize(("module", "limit", "value", "reason"), LIMITS, ids=[entry[1] for entry in LIMITS])
def test_what_is_too_much_is_refused(
    circle: Genuine,
    check: Check,
    monkeypatch: pytest.MonkeyPatch,
    module: Any,
    limit: str,
    value: int,
    reason: str,
) -> None:
    monkeypatch.setattr(module, limit, value)
    report = check(*written(circle.tensors, circle.document))
    assert not report.holds and report.reason.startswith(reason), report.reason


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**31))
def test_networks_by_hand_are_verified(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    """Lines and circles, whatever the windows are: the verifier is as sharp as it has to be."""
    drawn = by_hand(1 + seed % 2, bool(seed & 2), seed % 1000)
    net, target, folder = network_of(drawn), built_in("exp_sin", drawn.manifold.ambient), tmp_path_factory.mktemp("one")
    certificate = construct.certify(net, target, drawn.manifold, tolerance=0.5, max_cells=2000)
    net.save(folder / "net.safetensors")
    certificate.save(folder / "net.json")
    report = verify(folder / "net.safetensors", folder / "net.json")
    assert report.holds, report.reason
    points = drawn.manifold.sample(2000, seed=1)
    assert float((net(points) - target(points)).abs().max()) <= report.bound
