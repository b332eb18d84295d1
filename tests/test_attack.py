"""The attack can fail: faults that are planted in the library are found, each by the oracle that is there for it."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import construct
from benchmarks.attack import calls, cases, commands, judge, loading, mutations, oracles, pool, proofs, saving, states
from benchmarks.attack.building import Building
from benchmarks.attack.cases import Case, Given, Outcome, Surface
from benchmarks.attack.engine import Attack, Chunk, run_chunk
from benchmarks.attack.report import Log
from benchmarks.attack.spaces import Space, circle
from benchmarks.attack.surfaces import surfaces
from benchmarks.attack.targets import Function
from construct.network import Network
from construct.validation import invalid
from proofs_as_code import verifier

SMALL: dict[str, Any] = {"net": "segment", "seed": 3, "rows": "on M", "shape": "(n, D)"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[type[Surface]], Surface]:
    """Surfaces, made once."""
    known: dict[str, Surface] = {}

    def make(surface: type[Surface]) -> Surface:
        if surface.name not in known:
            known[surface.name] = surface(0, tmp_path_factory.mktemp(surface.name.replace(" ", "_")))
        return known[surface.name]

    return make


def outcome(surface: Surface, **choices: Any) -> Outcome:
    return judge.judged(surface, Case(choices))


# -- the oracles ------------------------------------------------------------------------------------------------------


def test_the_dense_formula_is_the_module() -> None:
    net = pool.random_network(1)
    x = torch.rand(7, 2, dtype=torch.float64)
    value = oracles.dense(pool.tensors_of(net.transformer), x.numpy())
    assert np.abs(value - net.transformer(x).numpy()).max() < 1e-10


def test_files_are_read_and_written_as_safetensors_does(tmp_path: Path) -> None:
    found = pool.pooled("segment")
    found.net.save(tmp_path / "net")
    tensors, metadata = oracles.read_file((tmp_path / "net").read_bytes())
    assert oracles.same(oracles.weights_of(tensors), found.tensors)
    (tmp_path / "again").write_bytes(oracles.write_file(tensors, metadata))
    again = pool.tensors_of(construct.load(tmp_path / "again").transformer)
    assert oracles.same(again, found.tensors)


def test_trees_are_evaluated() -> None:
    tree = ["add", ["mul", ["x", 0], ["sin", ["x", 1]]], ["div", 1, ["pow", ["x", 0], 2]]]
    x = np.array([[2.0, 0.5]])
    assert oracles.tree_values(tree, x)[0] == 2 * math.sin(0.5) + 0.25


def test_cases_follow_from_their_numbers(made: Callable[[type[Surface]], Surface]) -> None:
    surface = made(calls.Calls)
    texts = [surface.case(number).text for number in range(50)]
    assert texts == [surface.case(number).text for number in range(50)] and len(set(texts)) == 50


def test_the_innocent_are_right(made: Callable[[type[Surface]], Surface]) -> None:
    assert outcome(made(calls.Calls), **SMALL).kind == cases.RIGHT
    assert outcome(made(calls.Calls), **SMALL | {"rows": "NaN"}).kind == cases.REFUSED


# -- planted faults: calls --------------------------------------------------------------------------------------------


def _raise(error: BaseException) -> Any:
    raise error


def _hang(*args: Any, **options: Any) -> Any:
    while True:
        pass


CALLS: dict[str, tuple[Callable[..., Any], str]] = {
    "NaN": (lambda net, x, **o: torch.full(x.shape[:-1], math.nan, dtype=x.dtype), cases.NOT_FINITE),
    "another value": (lambda net, x, **o: net.transformer(x) + 1e-6, cases.WRONG),
    "another shape": (lambda net, x, **o: net.transformer(x)[..., None], cases.WRONG),
    "KeyError": (lambda net, x, **o: _raise(KeyError("k")), cases.RAW),
    "no dialect": (lambda net, x, **o: _raise(construct.InputError("wrong")), cases.DIALECT),
    "another's argument": (lambda net, x, **o: _raise(invalid("spacing", "a number", 1)), cases.DIALECT),
    "an escape": (lambda net, x, **o: _raise(construct.InputError("x: expected a number, got \x1b[31m")), cases.ESCAPE),
    "refused": (lambda net, x, **o: _raise(invalid("x", "points", x)), cases.TURNED_AWAY),
    "hang": (_hang, cases.HANG),
    "writes": (lambda net, x, **o: net.transformer(x.mul_(0.5)), cases.STATE),
    "seeds": (lambda net, x, **o: (torch.manual_seed(77), net.transformer(x))[1], cases.STATE),
    "prints": (lambda net, x, **o: (print("hello"), net.transformer(x))[1], cases.STATE),
    "SystemExit": (lambda net, x, **o: _raise(SystemExit(3)), cases.RAW),
}


@pytest.mark.parametrize("fault", CALLS)
def test_faults_of_calls_are_found(
    fault: str, made: Callable[[type[Surface]], Surface], monkeypatch: pytest.MonkeyPatch
) -> None:
    surface = made(calls.Calls)
    monkeypatch.setattr(type(surface), "limit", 0.2)
    call, kind = CALLS[fault]
    monkeypatch.setattr(Network, "__call__", call)
    assert outcome(surface, **SMALL).kind == kind


def test_a_call_that_takes_what_it_should_refuse_is_found(
    made: Callable[[type[Surface]], Surface], monkeypatch: pytest.MonkeyPatch
) -> None:
    surface = made(calls.Calls)
    monkeypatch.setattr(Network, "__call__", lambda net, x, **o: torch.zeros(x.shape[:-1], dtype=x.dtype))
    for change in ({"rows": "NaN"}, {"dtype": torch.float32}, {"shape": "(n, D + 1)"}):
        assert outcome(surface, **SMALL | change).kind == cases.FALSE


def test_a_wrong_gradient_is_found(made: Callable[[type[Surface]], Surface], monkeypatch: pytest.MonkeyPatch) -> None:
    choices = SMALL | {"layout": "requires_grad", "gradient": True, "rows": "in the box"}
    assert outcome(made(calls.Calls), **choices).kind == cases.RIGHT
    monkeypatch.setattr(
        Network, "__call__", lambda net, x, **o: net.transformer(x.detach()) + 0.5 * (x - x.detach())[..., 0]
    )
    assert outcome(made(calls.Calls), **choices).kind == cases.WRONG


# -- planted faults: states -------------------------------------------------------------------------------------------


def test_one_execution_that_is_out_of_date_is_found(
    made: Callable[[type[Surface]], Surface], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: dict[int, torch.Tensor] = {}

    def stale(net: Network, x: torch.Tensor, **options: Any) -> torch.Tensor:
        with torch.no_grad():
            now = net.transformer(x)
        return kept.setdefault(id(net), now.clone())[: len(x)] if net.execution == "sparse" else now

    def prepared(net: Network, rng: np.random.Generator) -> Network:
        net.execution = "sparse"
        net(torch.from_numpy(pool.pooled("segment").on[:4]))
        return states.numpy_hidden0(net, rng)

    surface = made(states.States)
    monkeypatch.setattr(Network, "__call__", stale)
    monkeypatch.setitem(states.OPERATIONS, "prepared", prepared)
    assert outcome(surface, net="segment", seed=1, first="prepared").kind == cases.WRONG


def test_a_claim_that_outlives_its_weights_is_found(
    made: Callable[[type[Surface]], Surface], monkeypatch: pytest.MonkeyPatch
) -> None:
    surface, old = made(states.States), pool.pooled("segment").net.claim

    class Clinging(Network):
        claim = old

    monkeypatch.setattr(Network, "__call__", lambda net, x, **o: net.transformer(x))
    monkeypatch.setitem(states.OPERATIONS, "clings", lambda net, rng: _cling(states.numpy_hidden0(net, rng), Clinging))
    assert outcome(surface, net="segment", seed=1, first="clings").kind == cases.FALSE


def _cling(net: Network, kind: type[Network]) -> Network:
    net.__class__ = kind
    return net


# -- planted faults: files --------------------------------------------------------------------------------------------


def test_a_loader_that_believes_everything_is_found(
    made: Callable[[type[Surface]], Surface], monkeypatch: pytest.MonkeyPatch
) -> None:
    surface = made(loading.Loading)
    net = pool.pooled("coarse circle").net
    monkeypatch.setattr(construct, "load", lambda path, **options: net)
    assert outcome(surface, kind="bytes", net="segment", seed=1).kind == cases.FALSE
    monkeypatch.setattr(construct, "load", lambda path, **options: _raise(KeyError("blocks")))
    assert outcome(surface, kind="bytes", net="segment", seed=1).kind == cases.RAW
    monkeypatch.setattr(construct, "load", lambda path, **options: _raise(invalid("path", "a file", path)))
    assert outcome(surface, kind="path", path="text", net="segment", seed=1).kind == cases.TURNED_AWAY


def test_a_forged_file_that_is_believed_is_found(
    made: Callable[[type[Surface]], Surface], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The digests of a forged file are right: what is loaded has to be its weights, and its claim has to be hearsay."""
    surface = made(loading.Loading)
    assert isinstance(surface, loading.Loading)
    forged = [seed for seed in range(40) if changed(surface, "tensors", seed).endswith(loading.ANEW)]
    assert not any(outcome(surface, kind="tensors", net="segment", seed=seed).found for seed in forged)
    net = pool.pooled("segment").net
    monkeypatch.setattr(construct, "load", lambda path, **options: net)
    kinds = {outcome(surface, kind="tensors", net="segment", seed=seed).kind for seed in forged}
    assert cases.FALSE in kinds
    words = [seed for seed in range(40) if changed(surface, "metadata", seed).endswith(loading.ANEW)]
    assert outcome(surface, kind="metadata", net="segment", seed=words[0]).kind == cases.FALSE


def changed(surface: loading.Loading, kind: str, seed: int) -> str:
    return surface.changed(Case({"kind": kind, "net": "segment"}), random.Random(seed))[1]


def test_a_certificate_that_was_changed_is_found(
    made: Callable[[type[Surface]], Surface], monkeypatch: pytest.MonkeyPatch
) -> None:
    surface = made(loading.Loading)
    assert isinstance(surface, loading.Loading)
    document = json.loads(surface.certificate)
    found = construct.certificates.certificate.certificate_of(document)
    believed = dataclasses.replace(found, bound=0.0, document=document | {"bound": 0.0})
    monkeypatch.setattr(construct, "load_certificate", lambda path: believed)
    assert outcome(surface, kind="certificate", net="segment", seed=1).kind == cases.FALSE


SAVES: dict[str, tuple[Callable[..., Any], dict[str, Any], str]] = {
    "half a file": (lambda net, path: Path(path).write_bytes(b"half"), {"path": "text"}, cases.RAW),
    "a file beside": (
        lambda net, path: (Path(f"{path}.tmp").write_bytes(b"x"), net.export_dense(path)),
        {"path": "text"},
        cases.LEFT_OVER,
    ),
    "a file after a refusal": (
        lambda net, path: (Path("beside").write_bytes(b"x"), _raise(invalid("path", "a file", path))),
        {"path": "int"},
        cases.LEFT_OVER,
    ),
    "a device": (lambda net, path: None, {"path": "/dev/null"}, cases.FALSE),
}


@pytest.mark.parametrize("fault", SAVES)
def test_faults_of_saving_are_found(
    fault: str, made: Callable[[type[Surface]], Surface], monkeypatch: pytest.MonkeyPatch
) -> None:
    surface, (save, choices, kind) = made(saving.Saving), SAVES[fault]
    monkeypatch.setattr(Network, "save", save)
    assert outcome(surface, way="save", net="segment", seed=1, **choices).kind == kind


# -- planted faults: proofs -------------------------------------------------------------------------------------------


def test_a_verifier_that_believes_everything_is_found(
    made: Callable[[type[Surface]], Surface], monkeypatch: pytest.MonkeyPatch
) -> None:
    def believing(network: Any, certificate: Any, *, digests: bool = True) -> verifier.Report:
        bound = json.loads(Path(certificate).read_text()).get("bound", 0.0)
        return verifier.Report(True, "", bound, bound, 0.0, 1, 0.0)

    surface = made(proofs.Verifying)
    found = [outcome(surface, pair="segment", seed=k, change="tensors", digests="anew") for k in range(6)]
    assert not any(o.found for o in found)
    monkeypatch.setattr(proofs, "verify", believing)
    found = [outcome(surface, pair="segment", seed=k, change="tensors", digests="anew") for k in range(6)]
    assert sum(o.kind == cases.FALSE for o in found) >= 3


def test_a_bound_that_is_exceeded_is_found(
    made: Callable[[type[Surface]], Surface], monkeypatch: pytest.MonkeyPatch
) -> None:
    choices: dict[str, Any] = {"net": "segment", "target": "x^3 - 3 x y^2", "manifold": "Cube(1)", "max_cells": 10}
    surface, certify = made(proofs.Certifying), construct.certify
    assert outcome(surface, **choices).kind == cases.RIGHT

    def lying(*args: Any, **options: Any) -> construct.Certificate:
        found = certify(*args, **options)
        document = {**found.document, "bound": 1e-9, "measured": {**found.document["measured"], "sup": 0.0}}
        return dataclasses.replace(found, bound=1e-9, measured=0.0, document=document)

    monkeypatch.setattr(construct, "certify", lying)
    assert outcome(surface, **choices).kind == cases.FALSE


# -- planted faults: approximate, the command line ---------------------------------------------------------------------


def building(target: Any, text: str = "torch x0", **options: Any) -> dict[str, Any]:
    space = Space("Circle()", construct.manifolds.Circle, circle(), frozenset())
    function = Function(text, target, lambda x: x[..., 0])
    return {"manifold": Given("Circle()", space), "target": Given(text, function), **options}


def test_a_network_that_misses_epsilon_is_found(
    made: Callable[[type[Surface]], Surface], monkeypatch: pytest.MonkeyPatch
) -> None:
    choices = building(lambda x: x[..., 0], epsilon=0.3, max_parameters=30_000)
    surface = made(Building)
    assert outcome(surface, **choices).kind == cases.RIGHT
    net = pool.pooled("circle").net  # of another target
    monkeypatch.setattr(construct, "approximate", lambda *args, **options: net)
    assert outcome(surface, **choices).kind == cases.FALSE
    monkeypatch.setattr(construct, "approximate", lambda *args, **options: _raise(TypeError("t")))
    assert outcome(surface, **choices).kind == cases.RAW


def test_faults_of_the_command_line_are_found(
    made: Callable[[type[Surface]], Surface], monkeypatch: pytest.MonkeyPatch
) -> None:
    surface = made(commands.Commands)
    words = {"command": "info", "words": Given("net.safetensors", ["net.safetensors"])}
    assert outcome(surface, **words).kind == cases.RIGHT
    monkeypatch.setattr(construct, "load", lambda path: _raise(TypeError("t")))
    assert outcome(surface, **words).kind == cases.RAW
    monkeypatch.setattr(construct, "load", lambda path: _raise(construct.InputError("path: expected a\x1b[31m")))
    assert outcome(surface, **words).kind == cases.ESCAPE
    monkeypatch.setattr(
        construct, "load", lambda path: Path("net.safetensors").write_bytes(b"") or _raise(invalid("p", "a", 1))
    )
    before = (surface.folder / "net.safetensors").read_bytes()
    assert outcome(surface, **words).kind == cases.LEFT_OVER
    (surface.folder / "net.safetensors").write_bytes(before)


# -- mutations --------------------------------------------------------------------------------------------------------


def test_mutations_change_something() -> None:
    data = oracles.write_file(pool.pooled("segment").tensors, {"format": "2"})
    changed = sum(mutations.mutate_bytes(data, random.Random(k))[0] != data for k in range(100))
    assert changed > 90
    value = {"a": [1, 2.5, {"b": "text"}], "c": None}
    assert sum(mutations.mutate_json(value, random.Random(k))[0] != value for k in range(100)) > 90


# -- the engine -------------------------------------------------------------------------------------------------------


class Obedient(Surface):
    """A surface whose cases do as their number says."""

    name = "obedient"
    share = 1
    limit = 0.3
    chunk = 5

    def generate(self, rng: random.Random) -> Case:
        return Case({"value": rng.random()})

    def case(self, number: int) -> Case:
        return Case({"number": number})

    def run(self, case: Case) -> Outcome:
        match case["number"]:
            case 3:
                raise KeyError("planted")
            case 6:
                os.kill(os.getpid(), signal.SIGKILL)
            case 8:
                time.sleep(60)
        return Outcome(cases.RIGHT)


def obedient() -> Sequence[type[Surface]]:
    return (Obedient,)


def test_a_crash_and_a_hang_are_findings_and_a_run_goes_on_where_it_was(tmp_path: Path) -> None:
    log = Log(tmp_path / "attack.jsonl")
    Attack(obedient, {"obedient": 10}, log, 0, 1, None).run()
    kinds = log.tallies["obedient"].kinds
    assert kinds == {cases.RIGHT: 7, cases.RAW: 1, cases.CRASH: 1, cases.HANG: 1}
    with log.path.open("a") as handle:
        handle.write('{"surface": "obed')  # what an interruption leaves
    again = Log(log.path)
    again.read()
    assert again.tallies["obedient"].cases == 10 and again.counts == log.counts
    Attack(obedient, {"obedient": 12}, again, 0, 1, None).run()
    assert again.tallies["obedient"].cases == 12 and again.tallies["obedient"].kinds[cases.RIGHT] == 9
    rows = again.rows(["obedient"])
    assert rows[-1]["cases"] == 12 and rows[-1]["findings"] == 3
    assert any("planted" in line for line in again.groups())


def test_a_few_cases_of_every_surface(tmp_path: Path, made: Callable[[type[Surface]], Surface]) -> None:
    """Those of one surface by a worker, the others here, where the networks are known."""
    types = surfaces()
    log = Log(tmp_path / "attack.jsonl")
    Attack(surfaces, {saving.Saving.name: 3}, log, 0, 1, None).run()
    for surface in types:
        if surface is not saving.Saving:
            log.keep(run_chunk(made(surface), Chunk(surface.name, 0, 3), lambda number: None, set()))
    rows = log.rows([surface.name for surface in types])
    assert [row["cases"] for row in rows] == [3] * len(types) + [3 * len(types)]
    assert all(row["cases"] == row["right"] + row["refused"] + row["findings"] for row in rows)
    assert log.tallies.keys() == {surface.name for surface in types}
    assert rows[-1]["findings"] == 0, list(log.groups())
