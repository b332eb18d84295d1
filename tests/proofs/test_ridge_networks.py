"""The verifier on ridge networks: what it accepts is true, and what is false it refuses, by mathematics alone."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flint import arb, ctx, fmpq
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

import construct
from benchmarks.forgery import Genuine, forgeries
from benchmarks.judge import judge, worst_error
from construct.certificates import certify
from construct.manifolds import Circle, Manifold, Sphere
from construct.ridge.approximator import RidgeApproximator
from proofs_as_code.verifier import Report, groups, near, polynomials, ridgecells, verify
from proofs_as_code.verifier.formulas import Ridge
from tests.certificates.ridge_networks import built_in, fitted, network_of
from tests.proofs.proved import digest

SEEDS = st.integers(0, 2**31)


def files(
    folder: Path, manifold: Manifold, target: Any, degree: int, dtype: torch.dtype = torch.float64, **options: Any
) -> Genuine:
    if isinstance(target, str):
        target = built_in(target, manifold.ambient)
    net = network_of(fitted(manifold, target, degree), dtype, **options)
    certificate = certify(net, target, manifold, tolerance=0.5)
    net.save(folder / "net.safetensors")
    certificate.save(folder / "net.json")
    return Genuine.of((folder / "net.safetensors").read_bytes(), (folder / "net.json").read_bytes())


@pytest.fixture(scope="module")
def circle(tmp_path_factory: pytest.TempPathFactory) -> Genuine:
    return files(tmp_path_factory.mktemp("ridges"), Circle(), "exp_sin", 6)


@pytest.fixture(scope="module")
def genuine(circle: Genuine, tmp_path_factory: pytest.TempPathFactory) -> list[Genuine]:
    folder, target = tmp_path_factory.mktemp("more"), "exp_sin"
    return [
        circle,
        files(folder, Circle(), target, 4, torch.float32),
        files(folder, Circle(), target, 3, picked=True),
        files(folder, Sphere(2), "polynomial", 2),
    ]


@pytest.fixture
def check(tmp_path: Path) -> Callable[..., Report]:
    def verdict(network: bytes, certificate: bytes, digests: bool = False) -> Report:
        (tmp_path / "net.safetensors").write_bytes(network)
        (tmp_path / "net.json").write_bytes(certificate)
        return verify(tmp_path / "net.safetensors", tmp_path / "net.json", digests=digests)

    return verdict


Check = Callable[..., Report]


def written(tensors: dict[str, Any], document: dict[str, Any]) -> tuple[bytes, bytes]:
    document = copy.deepcopy(document)
    document["digest"] = digest(document)
    return save({n: np.ascontiguousarray(a) for n, a in tensors.items()}), json.dumps(document).encode()


def test_genuine_ones_are_verified_and_true(genuine: list[Genuine], check: Check) -> None:
    for one in genuine:
        network, certificate = written(one.tensors, one.document)
        report = check(network, certificate, digests=True)
        assert report.holds, report.reason
        assert judge(network, certificate)
        assert report.statement[0].startswith("|T(x) - f(x)| <= ")


FALSE: dict[str, Callable[[dict[str, Any]], Any]] = {
    "local": lambda d: d.update(local=0.6 * d["local"], bound=0.6 * d["local"] + d["error"]),
    "error": lambda d: d.update(error=0.3 * d["error"], bound=d["local"] + 0.3 * d["error"]),
    "frame": lambda d: d["manifold"]["frame"][0].__setitem__(0, 1.05),
    "offset": lambda d: d["manifold"]["offset"].__setitem__(0, 0.05),
    "formula": lambda d: d["manifold"]["formula"].__setitem__(0, ["mul", 0.95, d["manifold"]["formula"][0]]),
    "target": lambda d: d.update(target=["add", 0.1, d["target"]]),
    "canonical box too small": lambda d: d["canonical_box"].__setitem__(0, [-0.9, 0.9]),
    "fewer cells": lambda d: d["manifold"].update(upper=[60.0]) or d.update(tree=".", cells=1),
    "dtype": lambda d: d["arithmetic"].update(dtype="float32", unit=2.0**-24),
}


@pytest.mark.parametrize("name", FALSE)
def test_false_certificates_are_refused(circle: Genuine, check: Check, name: str) -> None:
    document = copy.deepcopy(circle.document)
    FALSE[name](document)
    document["measured"]["sup"] = min(document["measured"]["sup"], document["bound"])
    report = check(*written(circle.tensors, document))
    assert not report.holds and ": expected " in report.reason


def test_other_true_claims_are_accepted(circle: Genuine, check: Check) -> None:
    """A larger bound, a part of the circle, and a tree of one leaf, which is halved until it is small enough."""
    for change in (
        lambda d: d.update(bound=2 * d["bound"]),
        lambda d: d["manifold"].update(upper=[3.0]),
        lambda d: d.update(tree=".", cells=1),
        lambda d: d.update(local=1.5 * d["local"], bound=2 * d["bound"]),
    ):
        document = copy.deepcopy(circle.document)
        change(document)
        assert check(*written(circle.tensors, document)).holds


def test_weights_that_break_the_claim_are_refused(circle: Genuine, check: Check) -> None:
    """One weight changed at a time, by a share that matters or not: accepted only if true."""
    rng, seen = np.random.default_rng(4), [0, 0]
    names = [n for n, a in circle.tensors.items() if a.dtype.kind == "f" and np.any(a)]
    for _ in range(25):
        tensors = {n: a.copy() for n, a in circle.tensors.items()}
        flat = tensors[names[rng.integers(len(names))]].reshape(-1)
        place = rng.choice(np.flatnonzero(flat))
        flat[place] *= 1 + rng.choice([1e-14, 1e-6, 1e-3, 0.1, -2.0, 2.0**-30])
        report = check(*written(tensors, circle.document))
        true = worst_error(tensors, circle.document) <= circle.document["bound"]
        assert true or not report.holds
        seen[report.holds] += 1
    assert min(seen) > 3


def test_forgeries_are_refused_or_true(genuine: list[Genuine], check: Check) -> None:
    seen = [0, 0]
    for number, forged in enumerate(forgeries(genuine, np.random.default_rng(21), 70)):
        report = check(forged.network, forged.certificate, forged.digests)
        assert not report.holds or judge(forged.network, forged.certificate), (number, forged.kind)
        seen[report.holds] += 1
    assert seen[0] > 30 and seen[1] > 5


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_many_forgeries_are_refused_or_true(genuine: list[Genuine], check: Check, seed: int) -> None:
    for number, forged in enumerate(forgeries(genuine, np.random.default_rng(100 + seed), 1000)):
        report = check(forged.network, forged.certificate, forged.digests)
        assert not report.holds or judge(forged.network, forged.certificate), (seed, number, forged.kind)


def test_a_clip_that_acts_is_bounded_here_too(tmp_path: Path) -> None:
    target = built_in("exp_sin", 2)
    fit = fitted(Circle(), target, 4, share=0.8)
    b = fit.basis
    wider = type(b)(b.manifold, b.coordinates, b.degree, b.family, b.numbers, b.scales * 1.4)
    net = network_of(RidgeApproximator(wider, fit.coefficients, fit.constant))
    certificate = construct.certify(net, target, Circle(), tolerance=0.5)
    net.save(tmp_path / "net.safetensors")
    certificate.save(tmp_path / "net.json")
    report = verify(tmp_path / "net.safetensors", tmp_path / "net.json")
    assert report.holds, report.reason
    points = Circle().sample(2000, seed=1)
    assert float((net(points) - target(points)).abs().max()) <= report.bound


def test_too_many_products_are_refused(circle: Genuine, check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ridgecells, "MOST_FORMS", 100)
    assert check(*written(circle.tensors, circle.document)).reason.startswith("network: expected at most 100 products")


def test_many_directions_are_bounded_part_by_part(
    circle: Genuine, check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts, form = groups.Group.parts, polynomials.number(1)
    members = [Ridge(fmpq(n), (), form, None) for n in range(5)]
    chain = ((fmpq(0),) * 5,)  # of degree 4
    assert parts(chain, members, 12) == [members[:2], members[2:4], members[4:]]
    assert parts(chain, members, 3) == [[member] for member in members]
    monkeypatch.setattr(groups.Group, "parts", staticmethod(lambda chain, members, most: parts(chain, members, 30)))
    network, certificate = written(circle.tensors, circle.document)
    assert check(network, certificate).holds
    document = copy.deepcopy(circle.document)
    FALSE["local"](document)
    document["measured"]["sup"] = 0.0
    assert not check(*written(circle.tensors, document)).holds


@settings(max_examples=40)
@given(SEEDS)
def test_numbers_that_are_near_are_no_further(seed: int) -> None:
    """Matrix products, sums, products and products of polynomials of floats, against fractions."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 5))
    values = rng.normal(size=(4, n, n)) * 2.0 ** rng.integers(-40, 40, (4, n, n))
    a, b = near.Near(values[0], abs(values[1]) * 1e-3), near.Near(values[2], abs(values[3]) * 1e-9)
    share = rng.choice([-1, 0, 1], (2, n, n))

    def inside(part: near.Near, where: Any) -> Any:
        pairs = zip(part.value.ravel(), part.off.ravel(), where.ravel(), strict=True)
        exact = [fmpq(*float(v).as_integer_ratio()) + int(s) * fmpq(*float(o).as_integer_ratio()) for v, o, s in pairs]
        return np.array(exact, dtype=object).reshape(n, n)

    p, q = inside(a, share[0]), inside(b, share[1])
    along = [sum((p[i] * q[k - i] for i in range(n) if 0 <= k - i < n), 0 * p[0]) for k in range(2 * n - 1)]
    for found, exact in (
        (near.plus(a, b), p + q),
        (near.times(a, b), p * q),
        (near.dot(a, b), p @ q),
        (near.convolved(a, b), np.array(along)),
    ):
        for v, off, value in zip(found.value.ravel(), found.off.ravel(), np.asarray(exact).ravel(), strict=True):
            assert abs(value - fmpq(*float(v).as_integer_ratio())) <= fmpq(*float(off).as_integer_ratio())
    with ctx.workprec(100):
        balls = [arb(1) / 3, arb(2).sqrt() * arb(1, 1e-3), arb("nan")]
        found = near.balls(balls, 3)
        for ball, v, off in zip(balls[:2], found.value, found.off, strict=False):
            assert (ball - float(v)).abs_upper() <= arb(float(off))
    assert np.isnan(found.value[2])
    exactly = near.rationals([fmpq(1, 3), fmpq(1, 4)], 2)
    assert exactly.off[0] > 0 and exactly.off[1] == 0
