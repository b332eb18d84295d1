"""The verifier of certificates: what it accepts, and that nothing false passes, by digest or by mathematics."""

import copy
import hashlib
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flint import arb, ctx

from construct.expressions import abs, exp, sin, sqrt, tanh, variables
from proofs_as_code.verifier import verify
from proofs_as_code.verifier.__main__ import main
from proofs_as_code.verifier.documents import Refused
from proofs_as_code.verifier.expressions import steps_of
from proofs_as_code.verifier.jets import Jets
from proofs_as_code.verifier.weights import Weights
from tests.proofs.proved import Proved, digest, proved

x, y, z = variables(3)


@pytest.fixture(scope="module")
def cusp(tmp_path_factory: pytest.TempPathFactory) -> Proved:
    target = sqrt(abs(x - 0.3)) + tanh(y)
    return proved(tmp_path_factory.mktemp("cusp"), target, 1, 2, 2.5e-1, smoothness=0.5)


@pytest.fixture(scope="module")
def sphere(tmp_path_factory: pytest.TempPathFactory) -> Proved:
    return proved(tmp_path_factory.mktemp("sphere"), exp(x) * sin(3 * y + z), 2, 8, 1e-1)


@pytest.mark.parametrize("name", ["circle", "cusp", "sphere"])
def test_certificates_of_this_library_are_verified(name: str, request: pytest.FixtureRequest) -> None:
    case = request.getfixturevalue(name)
    report = verify(case.network, case.certificate)
    assert report.holds, report.reason
    assert report.bound == case.document["bound"] and report.leaves == case.document["tree"].count(".")
    points = case.net.manifold.sample(2000, seed=3)
    assert float((case.net(points) - case.target(points)).abs().max()) <= report.bound


def test_a_float32_network_is_verified_with_its_own_rounding(tmp_path: Path) -> None:
    case = proved(tmp_path, exp(x) * sin(3 * y), 1, 2, 5e-2, dtype=torch.float32)
    assert case.check(digests=True).holds
    as_double = {**case.tensors, **{n: case.tensors[n].astype(np.float64) for n in case.weights()}}
    assert not case.check(tensors=as_double).holds  # says float32


def test_exit_codes(circle: Proved, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(circle.network), str(circle.certificate)]) == 0
    assert main([str(circle.network), str(circle.certificate), "--semantic-only"]) == 0
    assert main([str(circle.network), str(circle.network)]) == 1
    shown = capsys.readouterr()
    assert "refused (" in shown.out and shown.err == ""
    with pytest.raises(OSError):
        verify(circle.network, "nowhere.json")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "error: arguments: expected NETWORK and CERTIFICATE, got 0 of them"),
        (["NET"], "error: arguments: expected NETWORK and CERTIFICATE, got 1 of them"),
        (["NET", "nowhere.json"], "error: CERTIFICATE: expected a file, got nowhere.json"),
        (["nowhere", "NET"], "error: NETWORK: expected a file, got nowhere"),
        (["NET", "NET", "--fast"], "error: options: expected --semantic-only or --help, got --fast"),
    ],
)
def test_bad_usage(circle: Proved, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(circle.network) if a == "NET" else a for a in arguments]) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err == f"{message}\n"


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "NETWORK.safetensors CERTIFICATE.json [--semantic-only]" in capsys.readouterr().out


def numbers(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(value, dict):
        return [p for k, v in value.items() for p in numbers(v, (*path, k))]
    if isinstance(value, list):
        return [p for k, v in enumerate(value) for p in numbers(v, (*path, k))]
    return [path] if isinstance(value, int | float) else []


def test_any_number_of_a_certificate_is_protected_by_its_digest(circle: Proved) -> None:
    places = numbers(circle.document)
    assert len(places) > 20
    by_digest = 0  # of the others the form alone says that they are wrong
    for path in places:
        document = copy.deepcopy(circle.document)
        part = document
        for key in path[:-1]:
            part = part[key]
        part[path[-1]] += 1 if isinstance(part[path[-1]], int) else math.ulp(part[path[-1]])
        circle.certificate.with_name("one.json").write_text(json.dumps(document))
        report = verify(circle.network, circle.certificate.with_name("one.json"))
        assert not report.holds and ": expected " in report.reason, path
        by_digest += "changed" in report.reason
    assert by_digest > 15


def scaled(*path: Any, by: float) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        part = document
        for key in path[:-1]:
            part = part[key]
        part[path[-1]] *= by

    return change


def put(key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda document: document.update({key: value})


FALSE: dict[str, Callable[[dict[str, Any]], None]] = {
    "bound lowered": scaled("bound", by=1 - 1e-12),
    "local and bound lowered": lambda d: d.update(local=0.5 * d["local"], bound=0.5 * d["local"] + d["error"]),
    "error lowered": lambda d: d.update(error=0.5 * d["error"], bound=d["local"] + 0.5 * d["error"]),
    "frame": scaled("manifold", "frame", 0, 0, by=1.5),
    "frame, one row less": lambda d: d["manifold"]["frame"].pop(),
    "formula": lambda d: d["manifold"]["formula"].__setitem__(0, ["mul", 0.9, d["manifold"]["formula"][0]]),
    "target": lambda d: d.update(target=["add", 0.05, d["target"]]),
    "target of another variable": lambda d: d.update(target=["add", d["target"], ["x", 7]]),
    "lower above upper": lambda d: d["manifold"].update(lower=[4.0]),
    "canonical box too small": scaled("canonical_box", 0, 1, by=0.9),
    "offset": lambda d: d["manifold"]["offset"].__setitem__(0, 0.1),
    "tree truncated": lambda d: d.update(tree=d["tree"][:-1]),
    "tree extended": lambda d: d.update(tree=d["tree"] + "."),
    "tree of one leaf": lambda d: d.update(tree=".", cells=1),
    "tree along no axis": lambda d: d.update(tree=d["tree"].replace("0", "1", 1)),
    "cells": scaled("cells", by=2),
    "unit": lambda d: d["arithmetic"].update(unit=0.0),
    "dtype": lambda d: d["arithmetic"].update(dtype="float32", unit=2.0**-24),
    "kind": put("kind", "sampled"),
    "format": put("format", "construct-certificate/1"),
    "claim": put("claim", "for every x"),
    "measured above the bound": lambda d: d["measured"].update(sup=1.01 * d["bound"]),
    "a box that is a point": lambda d: d["manifold"].update(upper=d["manifold"]["lower"]),
    "a component more": lambda d: d["manifold"]["formula"].append(1e6),
    "a field more": put("remark", "checked by hand"),
    "an integer for a float": put("bound", 1),
    "a truth value for an integer": put("order", True),
    "escape sequences": lambda d: d["manifold"].update(text="\x1b[2Jverified"),
    "precision": put("precision", 10**9),
    "order beyond the series": put("order", 40),
    "NaN": put("local", math.nan),
    "no number": put("local", None),
    "negative error": lambda d: d.update(error=-1.0),
    "no object": lambda d: d.clear(),
}


@pytest.mark.parametrize("name", FALSE)
def test_false_certificates_are_refused_by_mathematics(circle: Proved, name: str) -> None:
    report = circle.check(circle.changed(FALSE[name]))
    assert not report.holds and re.match(r"[a-z0-9_.,\[\] ]+: expected .+, got ", report.reason), report.reason


def test_infinite_local_proves_nothing(circle: Proved) -> None:
    report = circle.check(circle.changed(lambda d: d.update(local=math.inf)))
    assert not report.holds


def test_other_true_claims_are_accepted(circle: Proved) -> None:
    """Without digests what is proved counts: a larger bound, less of the circle, twice around it are true."""
    assert circle.check().holds
    assert circle.check(circle.changed(scaled("bound", by=2.0))).holds
    assert circle.check(circle.changed(scaled("manifold", "upper", 0, by=0.99))).holds
    assert circle.check(circle.changed(scaled("manifold", "upper", 0, by=2.0))).holds


def flipped(array: np.ndarray, place: int, bit: int) -> np.ndarray:
    out = array.copy()
    out.reshape(-1).view(np.uint64)[place] ^= np.uint64(1 << bit)
    return out


def breaks(case: Proved, name: str, array: np.ndarray, points: torch.Tensor) -> bool:
    """Whether the network with this tensor is off by more than the bound at one of the points."""
    weight = case.net.transformer.get_parameter(name).data
    before = weight.clone()
    weight.copy_(torch.from_numpy(array))
    error = (case.net.transformer(points) - case.target(points)).abs()
    weight.copy_(before)
    return not bool((error <= case.document["bound"]).all())


def test_bit_flips_that_break_the_claim_are_refused_by_mathematics(circle: Proved) -> None:
    rng = np.random.default_rng(5)
    manifold = circle.net.manifold
    assert manifold is not None
    points = manifold.sample(32, seed=4)
    names = circle.weights()
    shares = np.array([circle.tensors[n].size for n in names], dtype=np.float64)
    broken = 0
    while broken < 8:
        name = names[rng.choice(len(names), p=shares / shares.sum())]
        array = flipped(circle.tensors[name], int(rng.integers(circle.tensors[name].size)), int(rng.integers(64)))
        if not breaks(circle, name, array, points):
            continue
        broken += 1
        tensors = {**circle.tensors, name: array}
        report = circle.check(tensors=tensors)
        assert not report.holds, (name, report)
        assert not circle.check(tensors=tensors, digests=True).holds


ANOTHER = "network: expected the one that the certificate is about, got another one"


def test_the_sign_of_a_zero_weight_changes_the_digest_only(circle: Proved) -> None:
    place = int(np.flatnonzero(circle.tensors["blocks.0.attention.key"].reshape(-1) == 0)[0])
    tensors = {**circle.tensors, "blocks.0.attention.key": flipped(circle.tensors["blocks.0.attention.key"], place, 63)}
    assert circle.check(tensors=tensors).holds
    assert circle.check(tensors=tensors, digests=True).reason == ANOTHER


def test_tensors_that_belong_to_no_block_are_refused(circle: Proved) -> None:
    more = circle.check(tensors={**circle.tensors, "blocks.9.attention.query": np.zeros((1, 5, 5))})
    assert more.reason == "network: expected the tensors of its blocks only, got also 'blocks.9.attention.query'"
    less = circle.check(tensors={n: a for n, a in circle.tensors.items() if n != "blocks.1.attention.key"})
    assert less.reason == "network: expected a tensor 'blocks.1.attention.key', got none"
    outside = circle.check(tensors={**circle.tensors, "readout": np.array([10**6, 0])})
    assert outside.reason.startswith("readout: expected a place in (")
    two = circle.check(tensors={**circle.tensors, "hidden0": circle.tensors["hidden0"].astype(np.float32)})
    assert two.reason == "network: expected weights of one dtype, got float32, float64"


@pytest.mark.parametrize("digests", [False, True])
def test_the_program_in_the_file_is_not_looked_at(circle: Proved, digests: bool) -> None:
    without = {name: array for name, array in circle.tensors.items() if name != "program"}
    other = {**without, "program": np.frombuffer(b"another program", dtype=np.uint8)}
    assert circle.check(tensors=without, digests=digests).holds
    assert circle.check(tensors=other, digests=digests).holds


def test_the_inputs_are_those_of_the_network(circle: Proved) -> None:
    """A third input that is always 0: true of the weights, but the network in the file has two inputs."""

    def third(document: dict[str, Any]) -> None:
        document["manifold"]["frame"].append([0.0, 0.0])
        document["manifold"]["offset"].append(0.0)

    three = circle.changed(third)
    assert circle.check(three).holds  # tensors alone do not say how many
    three["digest"] = digest(three)
    (circle.folder / "three.json").write_text(json.dumps(three))
    report = verify(circle.network, circle.folder / "three.json")
    assert report.reason == "manifold.frame: expected 2 rows, for the inputs of the network, got 3"


def test_the_statement_is_what_was_checked(circle: Proved, capsys: pytest.CaptureFixture[str]) -> None:
    """What the maker of the certificate says of it is apart; all else is told from the proof."""
    document = circle.changed(lambda d: d["manifold"].update(text="the whole of R^2"))
    document["manifold"]["upper"], document["measured"]["sup"] = [1.5], 0.0
    report = circle.check(document)
    assert report.holds and report.dtype == "float64" and report.unchecked is not None
    assert report.function == "exp(x0) * sin(3 * x1)" and "y1 = 1.0 * sin(u0)" in report.manifold
    assert report.box[0].endswith("of the period 2 pi") and report.covers.startswith("the box alone")
    text = "\n".join(report.statement)
    assert "R^2" not in text.replace("vectors of R^2", "") and report.unchecked["text"] == "the whole of R^2"
    network, certificate = circle.folder / "changed.safetensors", circle.folder / "changed.json"
    for path, name in ((network, "network"), (certificate, "certificate")):
        assert f"{name}: SHA-256 {hashlib.sha256(path.read_bytes()).hexdigest()}" in report.statement
    assert main([str(network), str(certificate), "--semantic-only"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("verified: ") and [line.strip() for line in lines[1:-1]] == list(report.statement)
    assert lines[-1].startswith("not checked, said by the certificate: text 'the whole of R^2', measured 0.0")


def test_tensors_by_name() -> None:
    heads = {
        f"blocks.0.attention.{name}": np.full((2, 3, 3), float(k)) for k, name in enumerate(("query", "key", "value"))
    }
    layers = {f"blocks.0.ffn.layers.{j}.bias": np.full(3, float(j)) for j in range(2)}
    layers |= {f"blocks.0.ffn.layers.{j}.weight": np.full((3, 3), float(j)) for j in range(2)}
    tensors = {"hidden0": np.zeros((4, 3)), "readout": np.array([3, 1]), **heads, **layers}
    weights = Weights.of(tensors)
    assert [int(array.flat[0]) for array in weights.blocks[0][:3]] == [0, 1, 2]
    assert [int(weight[0, 0]) for weight, _ in weights.blocks[0].layers] == [0, 1]
    assert (weights.readout, len(weights.blocks)) == ((3, 1), 1)
    for missing in tensors:
        with pytest.raises(Refused, match="network: expected"):
            Weights.of({name: array for name, array in tensors.items() if name != missing})


def test_jets_contain_the_function(circle: Proved) -> None:
    """Random expressions on random cells: values at random points are within the bounds."""
    rng, jets = np.random.default_rng(6), Jets(2, 4)
    u, v = variables(2)
    trees = [exp(u) * sin(3 * v), tanh(u + 2 * v), sqrt(abs(u - v)), (u * u + v * v) ** 0.5, abs(u) * abs(v) - 3 * u]
    trees += [(u + 2 * v) ** 3 / (2 + v), (2 + u * v) ** -2, (1.5 + u) ** 0.3 * sin(v)]
    with ctx.workprec(96):
        for expression in trees:
            for _ in range(20):
                centre, half = rng.uniform(-1, 1, 2), 2.0 ** rng.integers(-6, -1)
                sides = []
                for ball in ([arb(c) for c in centre], [arb(c, half) for c in centre]):
                    point = {i: [b, *(arb(k == i) for k in range(jets.size - 1))] for i, b in enumerate(ball)}
                    sides.append(jets.run(steps_of(expression.to_json(), "expression", 2), point))
                weights = [arb(half) ** sum(a) for a in jets.index]
                low, high = jets.bounds(sides[0], sides[1], weights)
                points = torch.as_tensor(centre + half * rng.uniform(-1, 1, (200, 2)))
                values = expression(points)
                assert low <= float(values.min()) + 1e-12 and float(values.max()) - 1e-12 <= high
                assert high - low <= 60 * half + 6 * half**0.3  # no triviality
