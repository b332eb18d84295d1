"""`save`, `export_dense` and `Certificate.save`: paths of every kind, over what is there already.

Oracle: after a save the file is read by `oracles.read_file`, bit by bit; after a refusal what was there is there, and
in both cases no other file is in the folder.
"""

from __future__ import annotations

import json
import os
import pathlib
import random
import stat
from typing import Any, ClassVar

import construct
from benchmarks.attack import oracles, pool
from benchmarks.attack.cases import FALSE, LEFT_OVER, RIGHT, TURNED_AWAY, WRONG, Case, Outcome, Surface
from benchmarks.attack.judge import refusal
from benchmarks.attack.loading import NETS, path_kind, place

ARGUMENTS = {"path"}
OLD = b"what was there before"
GOOD = {"text", "own PathLike", "link", "unicode", "missing", "empty", "dangling link", "path with escape"}
NEVER = {"/dev/zero", "/dev/random", "/proc/self/mem", "/dev/null"}


class Saving(Surface):
    """`save`."""

    name = "save"
    share = 25_000
    limit = 2.0
    chunk = 100
    ways: ClassVar[tuple[str, ...]] = ("save", "save", "save", "export_dense", "certificate")

    def prepare(self) -> None:
        self.nets = {name: pool.pooled(name) for name in NETS}
        found = self.nets["segment"]
        target = construct.expressions.variables(1)[0] ** 3
        self.certificate = construct.certify(found.net, target, found.manifold, max_cells=64)

    def generate(self, rng: random.Random) -> Case:
        choices: dict[str, Any] = {"way": rng.choice(self.ways), "net": rng.choice(NETS), "seed": rng.getrandbits(32)}
        choices["path"] = "text" if rng.random() < 0.5 else path_kind(rng)
        if rng.random() < 0.2:
            choices["mode"] = rng.choice((0o000, 0o400, 0o444, 0o600, 0o777))
        return Case(choices)

    def run(self, case: Case) -> Outcome:
        folder = self.folder / "target"
        folder.mkdir(exist_ok=True)
        rng = random.Random(case["seed"])
        for left in folder.iterdir():
            left.unlink()
        given = place(case["path"], folder, OLD, rng)
        path = given.value
        if case["path"] == "text" and rng.random() < 0.5:
            pathlib.Path(path).unlink()
        if "mode" in case.choices and case["path"] == "text" and os.path.exists(path):
            os.chmod(path, case["mode"])
        before, here = self.listing(folder), os.getcwd()
        try:
            os.chdir(folder)  # for paths that are relative
            try:
                self.save(case, path)
            finally:
                os.chdir(here)
        except Exception as error:
            outcome = refusal(error, ARGUMENTS)
            after = self.listing(folder)
            if outcome.found:
                return Outcome(outcome.kind, outcome.what, f"{given.text}: {outcome.detail}")
            if after != before:
                return Outcome(LEFT_OVER, f"after a refusal, {case['path']}", f"{sorted(after)}")
            if case["path"] in ("text", "own PathLike", "unicode", "missing"):
                return Outcome(TURNED_AWAY, case["path"], outcome.detail)
            return outcome
        return self.judge(case, path, folder, before)

    def save(self, case: Case, path: Any) -> None:
        if case["way"] == "certificate":
            self.certificate.save(path)
        else:
            getattr(self.nets[case["net"]].net, case["way"])(path)

    @staticmethod
    def listing(folder: pathlib.Path) -> dict[str, bytes]:
        """Names and contents of a folder."""
        found = {}
        for entry in folder.iterdir():
            kind = entry.lstat().st_mode
            found[entry.name] = entry.read_bytes() if stat.S_ISREG(kind) else f"{stat.S_IFMT(kind)}".encode()
        return found

    def judge(self, case: Case, path: Any, folder: pathlib.Path, before: dict[str, bytes]) -> Outcome:
        """What was saved is there, whole, and nothing else."""
        relative = case["path"] == "odd" and isinstance(path, str) and 0 < len(path) < 200 and "\0" not in path
        if case["path"] not in GOOD and not relative:
            return Outcome(FALSE, f"path: {case['path']}", repr(path)[:100])
        name = folder / os.fspath(path)
        after = self.listing(folder)
        new = set(after) - set(before) - {name.name, "nothing"}
        if new:
            return Outcome(LEFT_OVER, f"after a save, {case['path']}", str(sorted(new)))
        data = name.read_bytes()
        if case["way"] == "certificate":
            whole = json.loads(data) == json.loads(json.dumps(self.certificate.document))
            return Outcome(RIGHT) if whole else Outcome(WRONG, "certificate")
        tensors, _ = oracles.read_file(data)
        tensors = oracles.weights_of(tensors)
        whole = oracles.same(tensors, self.nets[case["net"]].tensors)
        return Outcome(RIGHT) if whole else Outcome(WRONG, case["way"], case["net"])
