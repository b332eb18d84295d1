"""`load` and `load_certificate`: files with bits flipped, cut off, and changed by their grammar; paths that are none.

Oracle: what is loaded has, bit by bit, the weights of the file that was changed, says the same of itself, prints no
control characters, and evaluates to the formula; anything else must be refused.
"""

from __future__ import annotations

import json
import os
import pathlib
import random
import re
import socket
from typing import Any, ClassVar

import numpy as np
import torch

import construct
from benchmarks.attack import mutations, oracles, pool, values
from benchmarks.attack.cases import ESCAPE, FALSE, NOT_FINITE, RIGHT, TURNED_AWAY, WRONG, Case, Given, Outcome, Surface
from benchmarks.attack.judge import ESCAPES, refusal
from construct.manifolds import Circle, Sphere

ARGUMENTS = {"path", "manifold", "dtype", "device", "file"}
ANEW = ", digest anew"
HEARSAY = ("as the file says", "not verified here")
NETS = ("segment", "coarse circle", "random", "circle", "ellipse", "spline circle", "trigonometric circle")
PATHS = (
    "folder", "missing", "missing folder", "empty", "fifo", "/dev/null", "/dev/zero", "/dev/random", "dangling link",
    "circle of links", "link", "unicode", "too long", "null byte", "surrogate", "bytes", "int", "None", "odd", "text",
    "socket", "own PathLike", "path with escape", "/proc/self/mem", "..", "",
)  # fmt: skip


class OwnPath:
    """A path of another class."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __fspath__(self) -> str:
        return self.path


def path_kind(rng: random.Random) -> str:
    """A kind of path; what may wait for ever comes less often."""
    kind = rng.choice(PATHS)
    return rng.choice(PATHS) if kind == "fifo" and rng.random() < 0.8 else kind


def place(kind: str, folder: pathlib.Path, data: bytes, rng: random.Random) -> Given:
    """A path of a kind; the file, where there is one, holds `data`."""
    name = folder / "net.safetensors"
    odd = values.odd(rng)
    for left in (folder / "fifo", folder / "link", folder / "loop", folder / "socket"):
        left.unlink(missing_ok=True)
    name.unlink(missing_ok=True)
    if kind in ("text", "own PathLike", "link"):
        name.write_bytes(data)
    if kind == "link":
        (folder / "link").symlink_to(name)
    if kind == "fifo":
        os.mkfifo(folder / "fifo")
    if kind == "dangling link":
        (folder / "link").symlink_to(folder / "nothing")
    if kind == "circle of links":
        (folder / "loop").symlink_to(folder / "loop")
    if kind == "empty":
        name.write_bytes(b"")
    if kind == "socket":
        server = socket.socket(socket.AF_UNIX)
        server.bind(str(folder / "socket"))
        server.close()
    if kind in ("unicode", "path with escape"):
        (folder / ("ü€𝄞" if kind == "unicode" else "a\x1b[31mb")).write_bytes(data)
    known: dict[str, Any] = {
        "folder": folder, "missing": folder / "nothing", "missing folder": folder / "no" / "net", "empty": name,
        "fifo": folder / "fifo", "dangling link": folder / "link", "circle of links": folder / "loop",
        "link": folder / "link", "unicode": folder / "ü€𝄞", "too long": folder / ("x" * 5000),
        "null byte": str(folder / "a") + "\0b", "surrogate": str(folder / "a\ud800"), "bytes": str(name).encode(),
        "int": 987, "None": None, "text": str(name), "socket": folder / "socket", "own PathLike": OwnPath(str(name)),
        "path with escape": folder / "a\x1b[31mb", "..": folder / "..", "": "",
    }  # fmt: skip
    if kind == "odd":
        return Given(f"path {odd.text}", odd.value)
    return Given(f"path: {kind}", known.get(kind, kind))


class Loading(Surface):
    """`load`."""

    name = "load"
    share = 25_000
    limit = 2.0
    chunk = 100
    optional = frozenset({"dtype", "device", "manifold"})
    kinds: ClassVar[tuple[str, ...]] = (*["bytes"] * 3, *["header"] * 2, *["metadata"] * 4, *["tensors"] * 4, "program",
                                        "path", "arguments", "certificate", "certificate")  # fmt: skip

    def prepare(self) -> None:
        self.files: dict[str, bytes] = {}
        for name in NETS:
            path = self.folder / f"{NETS.index(name)}.base"
            pool.pooled(name).net.save(path)
            self.files[name] = path.read_bytes()
        found = pool.pooled("segment")
        target = construct.expressions.variables(1)[0] ** 3
        certificate = construct.certify(found.net, target, found.manifold, max_cells=64)
        certificate.save(self.folder / "base.json")
        self.certificate = (self.folder / "base.json").read_bytes()

    def generate(self, rng: random.Random) -> Case:
        kind = rng.choice(self.kinds)
        choices: dict[str, Any] = {"kind": kind, "net": rng.choice(NETS), "seed": rng.getrandbits(32)}
        if kind == "path":
            choices["path"] = path_kind(rng)
            choices["certificate"] = rng.random() < 0.2
        if kind == "arguments" or rng.random() < 0.02:
            name = rng.choice(("dtype", "device", "manifold"))
            usual: dict[str, tuple[Any, ...]] = {
                "dtype": (torch.float32, torch.float64, torch.float16), "device": ("cpu", "meta", "cuda", "nowhere"),
                "manifold": (Circle(), Sphere(2), Circle(ambient=5)),
            }  # fmt: skip
            choices[name] = rng.choice(usual[name]) if rng.random() < 0.5 else values.odd(rng)
        return Case(choices)

    # -- the file ---------------------------------------------------------------------------------

    def changed(self, case: Case, rng: random.Random) -> tuple[bytes, str]:
        """The bytes of the file, and what was done to it."""
        data, kind = self.files[case["net"]], case["kind"]
        if kind in ("path", "arguments"):
            return data, "nothing"
        if kind == "certificate":
            return self.changed_certificate(rng)
        if kind == "bytes":
            return mutations.mutate_bytes(data, rng)
        tensors, metadata = oracles.read_file(data)
        if kind == "tensors":
            tensors, text = mutations.mutate_tensors(tensors, rng)
            return self.whole(tensors, metadata, text, rng)
        if kind == "program" and "program" in tensors:
            program, text = mutations.mutate_json(json.loads(tensors["program"].tobytes()), rng)
            new = json.dumps(program).encode("utf-8", "surrogatepass")
            tensors["program"] = np.frombuffer(new, dtype=np.uint8)
            return self.whole(tensors, metadata, f"program: {text}", rng)
        if kind == "metadata":
            return self.changed_metadata(tensors, metadata, rng)
        header, body = oracles.header_of(tensors, metadata)
        if rng.random() < 0.15:
            text = json.dumps(header)
            name = rng.choice(sorted(header))
            twice = text[:-1] + f", {json.dumps(name)}: {json.dumps(header[rng.choice(sorted(header))])}" + "}"
            return oracles.file_bytes(twice, body), f"key {name} twice in the header"
        header, text = mutations.mutate_json(header, rng)
        return oracles.file_bytes(header, body), f"header: {text}"

    @staticmethod
    def whole(tensors: oracles.Tensors, metadata: dict[str, str], text: str, rng: random.Random) -> tuple[bytes, str]:
        """The file, half of the time with the digests that a forger would have computed."""
        if rng.random() < 0.5:
            return oracles.write_file(tensors, metadata), text
        return oracles.write_file(tensors, oracles.digested(tensors, metadata)), text + ANEW

    def changed_metadata(
        self, tensors: oracles.Tensors, metadata: dict[str, str], rng: random.Random
    ) -> tuple[bytes, str]:
        """One key of the metadata changed: as JSON where it is JSON, or as text."""
        metadata = dict(metadata)
        key = rng.choice(sorted(metadata))
        try:
            value = json.loads(metadata[key])
        except json.JSONDecodeError:
            value = metadata[key]
        roll = rng.random()
        if roll < 0.75 and isinstance(value, dict | list):
            changed, text = mutations.mutate_json(value, rng)
            metadata[key] = json.dumps(changed)
            return self.whole(tensors, metadata, f"{key}: {text}", rng)
        if roll < 0.8:
            del metadata[key]
            return self.whole(tensors, metadata, f"{key} missing", rng)
        new = rng.choice(("", "null", "[]", "{}", "[" * 5000, metadata[key][:-1], metadata[key] + "x", "NaN", "3", "-1",
                          "[1e400]", "2 ", " 2", "١", '"a"', "\x1b[2J", metadata[key][::-1]))  # fmt: skip
        metadata[key] = new
        return self.whole(tensors, metadata, f"{key} = {new[:40]!r}", rng)

    def changed_certificate(self, rng: random.Random) -> tuple[bytes, str]:
        if rng.random() < 0.3:
            return mutations.mutate_bytes(self.certificate, rng)
        document, text = mutations.mutate_json(json.loads(self.certificate), rng)
        if rng.random() < 0.7 and isinstance(document, dict):
            document["digest"] = oracles.document_digest(document)
            text += ANEW
        return json.dumps(document).encode("utf-8", "surrogatepass"), f"certificate: {text}"

    # -- the call ---------------------------------------------------------------------------------

    def run(self, case: Case) -> Outcome:
        rng = random.Random(case["seed"])
        data, text = self.changed(case, rng)
        kind = case["kind"]
        given = place(case["path"] if kind == "path" else "text", self.folder, data, rng)
        options: dict[str, Any] = {name: case[name] for name in ("dtype", "device", "manifold") if name in case.choices}
        try:
            if kind == "certificate" or case.get("certificate"):
                return self.certified(construct.load_certificate(given.value), text, data)
            net = construct.load(given.value, **options)
        except Exception as error:
            outcome = refusal(error, ARGUMENTS)
            if outcome.found:
                return Outcome(outcome.kind, outcome.what, f"{text}, {given.text}: {outcome.detail}")
            usual = kind == "path" and case["path"] in ("text", "own PathLike", "link", "unicode")
            if usual and not options and not case.get("certificate"):
                return Outcome(TURNED_AWAY, case["path"], outcome.detail)
            return outcome
        forged = text.endswith(ANEW)
        outcome = self.judge_forged(net, data, sort_of(text), text) if forged else self.judge(case, net, text, options)
        return Outcome(outcome.kind, outcome.what, outcome.detail or f"{text}, {given.text}")

    def judge(self, case: Case, net: Any, text: str, options: dict[str, Any]) -> Outcome:
        """What is loaded is what was saved."""
        found = pool.pooled(case["net"])
        what = f"{case['kind']}: {sort_of(text)}" if case["kind"] != "tensors" else "tensors"
        if ESCAPES.search(repr(net).replace("\n", " ")):
            return Outcome(ESCAPE, f"repr of a loaded network, {what}", text)
        present = pool.tensors_of(net.transformer)
        if options.get("dtype") in (None, found.net.dtype) and not oracles.same(present, found.tensors):
            return Outcome(FALSE, f"other weights, {what}", text)
        if "dtype" in options and not isinstance(options["dtype"], torch.dtype | None):
            return Outcome(FALSE, "dtype", repr(options["dtype"])[:100])
        if "manifold" in options and options["manifold"] is not None:
            manifold = options["manifold"]
            if not isinstance(manifold, construct.manifolds.Manifold) or manifold.ambient != net.ambient:
                return Outcome(FALSE, "manifold of another space or none", repr(manifold)[:100])
        said, told = self.said(net), self.said(found.net)
        if said != told and "dtype" not in options and "manifold" not in options:
            return Outcome(FALSE, f"other words, {what}", f"{text}: {said} instead of {told}"[:600])
        x = torch.from_numpy(found.on[:3]).to(net.dtype)
        out = net(x).detach().double().numpy()
        if not np.isfinite(out).all():
            return Outcome(NOT_FINITE, what, text)
        value = oracles.dense(present, x.double().numpy(), np.longdouble)
        slack = found.tolerance + (1e-3 if net.dtype == torch.float32 else 0)
        if not (np.abs(out - value) <= slack).all():
            return Outcome(WRONG, what, text)
        return Outcome(RIGHT)

    def judge_forged(self, net: Any, data: bytes, what: str, text: str) -> Outcome:
        """A file whose digests are right is another network's: that is what is loaded, and its claims are hearsay."""
        tensors, _ = oracles.read_file(data)
        present = pool.tensors_of(net.transformer)
        if ESCAPES.search(repr(net).replace("\n", " ")):
            return Outcome(ESCAPE, f"repr of a loaded network, {what}", text)
        if not oracles.same(present, oracles.weights_of(tensors)):
            return Outcome(FALSE, f"other weights than the file's, {what}", text)
        if net.claim is not None and not any(words in str(net.claim) for words in HEARSAY):
            return Outcome(FALSE, f"a claim of a file as if it were known, {what}", f"{text}: {net.claim}")
        x = np.zeros((2, net.ambient))
        x[1] = 0.1
        try:
            out = net(torch.from_numpy(x).to(net.dtype)).detach().double().numpy()
        except Exception as error:
            return refusal(error, {"x", "net", "weights"})
        kind = np.float32 if net.dtype == torch.float32 else np.float64
        precise, rounded = (oracles.dense(present, x.astype(kind), precision) for precision in (np.longdouble, kind))
        if not np.isfinite(out).all():
            return Outcome(NOT_FINITE, what, text)
        with np.errstate(all="ignore"):
            lost = float(np.where(np.isfinite(rounded), np.abs(rounded - precise), np.inf).max())
            if not (np.abs(out - precise) <= 1e4 * lost + 1e-9 * (1 + np.abs(precise))).all():
                return Outcome(WRONG, f"another network than the file's, {what}", text)
        return Outcome(RIGHT)

    @staticmethod
    def said(net: Any) -> Any:
        """What a network says of itself, without its program and the manifold of a user."""
        origin = None if net.origin is None else json.dumps({**net.origin.to_json()}, sort_keys=True)
        program = None if net.origin is None else net.origin.program.to_json()
        claim = net.claim and (net.claim.epsilon, net.claim.bound, net.claim.kind, net.claim.samples)
        return origin, claim, program, net.box.tolist()

    def certified(self, certificate: Any, text: str, data: bytes) -> Outcome:
        """A certificate that is read is one with finite numbers in their order, and without control characters."""
        what = sort_of(text)
        if ESCAPES.search(repr(certificate)):
            return Outcome(ESCAPE, f"repr of a certificate, {what}", text)
        numbers = (certificate.bound, certificate.local, certificate.error, certificate.measured)
        if not all(isinstance(n, float) and np.isfinite(n) for n in numbers):
            return Outcome(NOT_FINITE, f"certificate, {what}", text)
        if certificate.bound < certificate.measured or min(numbers) < 0:
            return Outcome(FALSE, f"bound below what was measured, {what}", text)
        if json.loads(data) != json.loads(self.certificate) and not text.endswith(ANEW):
            return Outcome(FALSE, f"a certificate that was changed, {what}", text)
        return Outcome(RIGHT)


def sort_of(text: str) -> str:
    """The kind of a change: the names in it, without numbers and values."""
    words = text.split(" became ")[0].split(" = ")[0].split(" times ")[0]
    kept = re.sub(r"[0-9]+(\\.[0-9]+)?(e[+-]?[0-9]+)?|'.*", "#", words)
    kept = re.sub(r"(#[/.^# -]*)+", "#", kept)
    parts = re.split(r"[ /:]+", kept)
    return " ".join(part for part in parts if part and part != "#")[:40]
