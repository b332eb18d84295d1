"""Certificates read strictly; wide targets, of which both engines prove the same, or none."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import construct
from benchmarks.forgery import Genuine, document_digest, forgeries
from construct.certificates.document import CLAIM, checked, depth
from construct.documents import parsed
from construct.errors import InputError, PrecisionError
from construct.expressions import Expression, abs, cos, exp, sin, sqrt, tanh, variables
from construct.manifolds import Circle
from construct.manifolds.formula import Formula
from proofs_as_code.verifier import schema, verify
from proofs_as_code.verifier.documents import Refused
from tests.transformer.networks import plain

x, y = variables(2)


@pytest.fixture(scope="module")
def net() -> construct.Network:
    return construct.approximate(exp(x) * sin(2 * y), Circle(), charts=4, degree=2)


@pytest.fixture(scope="module")
def certificate(net: construct.Network) -> construct.Certificate:
    return construct.certify(net, exp(x) * sin(2 * y), Circle(), tolerance=2.0)


WIDE: dict[str, Expression] = {
    "a steep front": tanh(1e6 * x),
    "a front nobody can see": tanh(1e300 * (x - 0.3)),
    "a spike": exp(-1e6 * x**2),
    "an exponential of an exponential": exp(-exp(10 * x)),
    "near a root": sqrt(x**2 + 1e-12),
    "at a root": sqrt(abs(x)),
    "a fractional power": abs(x) ** 0.3,
    "a negative power": (x**2 + 1e-8) ** -3,
    "a pole nearby": 1 / (1.0000001 + x),
    "a quotient": x / (x**2 + 1e-10),
    "fast": sin(1e6 * x) + cos(exp(5 * x)),
    "a power of a front": abs(tanh(1e8 * x)) ** 50,
    "huge and tiny": (1e150 * x) * (1e150 * y) * 1e-300,
    "a logistic function": exp(300 * x) / (1 + exp(300 * x)),
    "beyond the exponents": tanh(exp(500 * x)),
}


@pytest.mark.parametrize("name", WIDE)
def test_what_is_certified_is_verified(net: construct.Network, name: str, tmp_path: Path) -> None:
    found = construct.certify(net, WIDE[name], Circle(), tolerance=3.0, max_cells=500)
    net.save(tmp_path / "net")
    found.save(tmp_path / "certificate")
    report = verify(tmp_path / "net", tmp_path / "certificate")
    assert report.holds, report.reason
    points = Circle().sample(2000, seed=5)
    assert float((net(points) - WIDE[name](points)).abs().max()) <= report.bound * (1 + 1e-9)


@pytest.mark.parametrize("target", [exp(700 * x), 1 / x, sqrt(x - 3)], ids=repr)
def test_what_is_too_large_or_undefined_is_refused(net: construct.Network, target: Expression) -> None:
    with pytest.raises((InputError, construct.errors.BudgetExceeded)):
        construct.certify(net, target, Circle(), tolerance=3.0, max_cells=300)


def test_targets_and_boxes_that_no_document_can_hold(net: construct.Network, monkeypatch: Any) -> None:
    deep = x
    for _ in range(500):
        deep = sin(deep)
    assert depth(deep) == 500
    with pytest.raises(InputError, match=r"^target: expected an expression of at most 400 operations"):
        construct.certify(net, deep, Circle())
    point = Formula((cos(x), sin(x)), (0.0,), (0.0,))
    monkeypatch.setattr(Circle, "formula", lambda self: point)
    with pytest.raises(InputError, match=r"^manifold: expected a formula on a box with lower < upper"):
        construct.certify(net, x * y, Circle())


def test_a_measured_error_above_the_bound_is_no_certificate(monkeypatch: Any) -> None:
    """As with a sparse execution, or a processor, that does not compute what was proved."""
    net = construct.approximate(x * y, Circle(), charts=4, degree=2)
    forward = type(net).__call__
    monkeypatch.setattr(type(net), "__call__", lambda self, x, *a, **k: forward(self, x, *a, **k) + 1e3)
    with pytest.raises(PrecisionError, match=r"^net: expected an error of at most the proved .*, got "):
        construct.certify(net, x * y, Circle())


def put(*path: Any, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        for key in path[:-1]:
            document = document[key]
        document[path[-1]] = value

    return change


WRONG: dict[str, Callable[[dict[str, Any]], None]] = {
    "format": put("format", value="construct-certificate/1"),
    "kind": put("kind", value="measured"),
    "claim": put("claim", value=CLAIM + " "),
    "network.sha256": put("network", "sha256", value="0" * 63),
    "arithmetic.unit": put("arithmetic", "unit", value=0.0),
    "arithmetic.dtype": put("arithmetic", "dtype", value="bfloat16"),
    "target": put("target", value=["x", 2]),
    "manifold.text": put("manifold", "text", value="\x1b[2J"),
    "manifold.upper": put("manifold", "upper", value=[-9.0]),
    "manifold.frame[1]": put("manifold", "frame", 1, value=[1.0]),
    "manifold.offset": put("manifold", "offset", value=[0.0]),
    "manifold.formula[0]": put("manifold", "formula", 0, value=["x", 1]),
    "canonical_box": put("canonical_box", value=[[0.0, 1.0]]),
    "canonical_box[0]": put("canonical_box", 0, value=[1.0, 0.0]),
    "order": put("order", value=True),
    "precision": put("precision", value=96.0),
    "tree": put("tree", value="0."),
    "cells": put("cells", value=3),
    "local": put("local", value=1),
    "bound": put("bound", value=0.0),
    "measured.sup": put("measured", "sup", value=1e3),
    "measured.seed": lambda d: d["measured"].pop("seed"),
    "seconds": put("seconds", value=-1.0),
    "certificate": put("remark", value=""),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_field_is_named_by_both(certificate: construct.Certificate, name: str) -> None:
    document = copy.deepcopy(certificate.document)
    WRONG[name](document)
    document["digest"] = document_digest(document)
    with pytest.raises(InputError) as caught:
        checked(document)
    assert str(caught.value).startswith(f"{name}: expected "), caught.value
    if name != "bound":  # the verifier compares bounds exactly, in the proof
        with pytest.raises(Refused):
            schema.certificate(json.dumps(document).encode(), digests=True)


def test_both_readings_agree_on_forgeries(
    net: construct.Network, certificate: construct.Certificate, tmp_path: Path
) -> None:
    """What the verifier's schema takes the library reads, and the other way round, but for the sum of the bounds."""
    net.save(tmp_path / "net")
    genuine = Genuine.of((tmp_path / "net").read_bytes(), json.dumps(certificate.document).encode())
    seen = set()
    readings: tuple[Callable[[bytes], object], ...] = (
        lambda data: checked(parsed(data, "certificate")),
        lambda data: schema.certificate(data, digests=True),
    )
    for forged in forgeries([genuine], np.random.default_rng(4), 1500):
        verdicts = []
        for reading in readings:
            try:
                reading(forged.certificate)
                verdicts.append("")
            except (InputError, Refused) as error:
                verdicts.append(str(error))
        seen.add(bool(verdicts[0]))
        assert bool(verdicts[0]) == bool(verdicts[1]) or verdicts[0].startswith("bound: "), verdicts
    assert seen == {True, False}


def test_texts_are_the_same() -> None:
    assert (schema.CLAIM, schema.FORMAT, schema.UNITS) == (
        CLAIM,
        construct.certificates.document.FORMAT,
        construct.certificates.document.UNITS,
    )


@pytest.mark.parametrize(
    "data", [b"", b"\xff", b"[]", b"{}", b'{"a": NaN}', b'{"a": 1e999}', b'{"a": 1, "a": 1}', b"[" * 9999]
)
def test_bytes_that_are_no_certificate(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(InputError, match=r"^\w+: expected .*, got "):
        construct.load_certificate(tmp_path / "file")


@pytest.mark.parametrize("number", [float("nan"), float("inf"), 1e200])
def test_silent_heads_are_not_certified(number: float) -> None:
    """A score that overflows, of a head that says nothing."""
    net = construct.approximate(x * y, Circle(), charts=4, degree=2)
    attention = net.transformer.stack[0].attention
    with torch.no_grad():
        attention.value[0] = 0
        attention.query[0, 0, 4] = number
        attention.key[0, 0, 4] = 1.0
    with pytest.raises(InputError, match=r"^net: expected (finite weights|scores below|registers below)"):
        construct.certify(plain(net), x * y, Circle())
