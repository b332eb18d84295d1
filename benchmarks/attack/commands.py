"""The command lines of the library and of the verifier: words by a grammar, in this process and in others.

Oracle: exit code 0, 1 or 2; with 1 and 2 the last line on stderr is `error: ...` and the only one, or click's usage; no
traceback and no control characters; `--json` prints one JSON object; values that `evaluate` prints are the formula's.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import random
import shlex
import subprocess
import sys
from typing import Any

import numpy as np
import torch
from typer.testing import CliRunner

import construct
from benchmarks.attack import oracles, pool
from benchmarks.attack.cases import ESCAPE, FALSE, LEFT_OVER, RAW, REFUSED, RIGHT, WRONG, Case, Given, Outcome, Surface
from benchmarks.attack.judge import ESCAPES, OutOfTime, raw
from construct.cli import app
from proofs_as_code.verifier.__main__ import main as verify_main

WORDS = (
    "", "nan", "inf", "-1", "0", "1e400", "1e-3", "abc", "\x1b[31m", "ü", "--", "-", "3.5", "10" * 20, "circle",
    "os:system", "math:sin", "builtins:print", "json:nothing", "a b", "''", "1,2", "True", "None", "--json",
)  # fmt: skip
OUTS = ("out.safetensors", "out.safetensors", "no/such", ".", "/dev/full")
OPTIONS = ("radius=2", "radius=1e400", "=", "a=b", "dim=1", "radius")
MANIFOLDS = ("circle", "cube", "circle", "sphere", "nowhere", "torus")
TARGETS = ("exp_sin", "polynomial", "kink", "nothing", "math:sin", "torch:sin", "os:system", "numpy:sin",
           "builtins:exec", "benchmarks.attack.commands:first")  # fmt: skip
FILES = (
    "net.safetensors",
    "segment.safetensors",
    "net.json",
    "points.npy",
    "nan.npy",
    "words.npy",
    "objects.npy",
    "wide.npy",
    "ints.npy",
    "broken.safetensors",
    "empty",
    "nothing",
    ".",
    "no/such",
    "x" * 300,
    "/dev/null",
    "",
)
BESIDE = 25  # one case in so many runs in a process of its own


def first(x: Any) -> Any:
    """A target."""
    return x[..., 0]


class Commands(Surface):
    """The command line."""

    name = "cli"
    share = 600
    limit = 25.0
    chunk = 6

    def prepare(self) -> None:
        self.runner = CliRunner()
        found = pool.pooled("coarse circle")
        found.net.save(self.folder / "net.safetensors")
        segment = pool.pooled("segment")
        segment.net.save(self.folder / "segment.safetensors")
        target = construct.targets.target("polynomial")
        certificate = construct.certify(segment.net, target, segment.manifold, max_cells=64)
        certificate.save(self.folder / "net.json")
        np.save(self.folder / "points.npy", found.on[:5])
        np.save(self.folder / "nan.npy", np.full((2, 2), np.nan))
        np.save(self.folder / "words.npy", np.array(["a", "b"]))
        np.save(self.folder / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
        np.save(self.folder / "wide.npy", np.zeros((3, 7)))
        np.save(self.folder / "ints.npy", np.zeros((3, 2), dtype=np.int8))
        (self.folder / "broken.safetensors").write_bytes((self.folder / "net.safetensors").read_bytes()[:999])
        (self.folder / "empty").write_bytes(b"")
        self.kept = set(os.listdir(self.folder)) | {"out.safetensors", "out.json", "out.npy", "out.png", "out"}

    # -- the grammar ------------------------------------------------------------------------------

    def generate(self, rng: random.Random) -> Case:
        command = rng.choice(("approximate", "approximate", "certify", "evaluate", "evaluate", "info", "manifolds",
                              "targets", "export", "verify", "verify", ""))  # fmt: skip
        words: list[str] = getattr(self, f"_{command or 'nothing'}", lambda rng: [])(rng)
        if rng.random() < 0.25:
            words.insert(rng.randrange(len(words) + 1), rng.choice(WORDS))
        if rng.random() < 0.1 and words:
            del words[rng.randrange(len(words))]
        if rng.random() < 0.3 and command not in ("verify", ""):
            words.append("--json")
        words = [word.replace("\0", "") for word in words]
        choices: dict[str, Any] = {"command": command, "words": Given(shlex.join(words), words)}
        if rng.randrange(BESIDE) == 0:
            choices["process"] = "own"
        return Case(choices)

    def path(self, rng: random.Random, *usual: str) -> str:
        return rng.choice(usual) if rng.random() < 0.75 else rng.choice(FILES)

    def _approximate(self, rng: random.Random) -> list[str]:
        words = ["--manifold", rng.choice(MANIFOLDS[:3]) if rng.random() < 0.8 else rng.choice(MANIFOLDS)]
        words += ["--target", rng.choice(TARGETS[:3]) if rng.random() < 0.6 else rng.choice(TARGETS)]
        if rng.random() < 0.5:
            words += ["--epsilon", rng.choice(("0.3", "1", "0.1", "0.5", *WORDS))]
        else:
            words += ["--charts", rng.choice(("3", "4", "5", *WORDS)), "--degree", rng.choice(("1", "2", *WORDS))]
        words += ["--max-parameters", rng.choice(("3000", "30000", "100000", "10"))]
        for option, usual in (
            ("--out", OUTS), ("--dim", ("1", "2", "40")), ("--ambient", ("5", "1", "100000000")), ("--option", OPTIONS),
            ("--construction", ("paper", "compact", "other")), ("--smoothness", ("1", "nan", "-1")),
            ("--dtype", ("float32", "float16")), ("--device", ("cpu", "cuda", "meta", "x")), ("--seed", ("3", "-1")),
            ("--bound", ("rigorous", "x")), ("--position-code", ("trigonometric", "x")),
            ("--plot", ("out.png", "out.gif")), ("--samples", ("100", "0", "x")),
        ):  # fmt: skip
            if rng.random() < (0.4 if option == "--out" else 0.12):
                words += [option, rng.choice(usual)]
        return words

    def _certify(self, rng: random.Random) -> list[str]:
        words = [self.path(rng, "net.safetensors", "segment.safetensors")]
        words += [
            "--target",
            rng.choice(("exp_sin", "polynomial", *TARGETS)),
            "--max-cells",
            rng.choice(("50", "200", "0", "x")),
        ]
        if rng.random() < 0.4:
            words += ["--out", rng.choice(("out.json", "net.safetensors", ".", "no/such", "/dev/full"))]
        if rng.random() < 0.3:
            words += ["--epsilon", rng.choice(("1", "1e-9", *WORDS))]
        return words

    def _evaluate(self, rng: random.Random) -> list[str]:
        words = [self.path(rng, "net.safetensors"), self.path(rng, "points.npy")]
        if rng.random() < 0.3:
            words += [
                "--out",
                rng.choice(("out.npy", "out", "points.npy", "net.safetensors", ".", "no/such", "/dev/full")),
            ]
        return words

    def _info(self, rng: random.Random) -> list[str]:
        options = [option for option in ("--program", "--history") if rng.random() < 0.3]
        return [self.path(rng, "net.safetensors", "segment.safetensors"), *options]

    def _export(self, rng: random.Random) -> list[str]:
        return [
            self.path(rng, "broken.safetensors", "nothing"),
            "--onnx",
            rng.choice(("no/such", ".", "net.safetensors")),
        ]

    def _verify(self, rng: random.Random) -> list[str]:
        words = [
            self.path(rng, "segment.safetensors", "segment.safetensors", "net.safetensors"),
            self.path(rng, "net.json"),
        ]
        return [*words, "--semantic-only"] if rng.random() < 0.3 else words

    # -- the run ----------------------------------------------------------------------------------

    def run(self, case: Case) -> Outcome:
        for name in os.listdir(self.folder):
            if name.startswith("out"):
                os.unlink(self.folder / name)
        before, here = self.contents(), os.getcwd()
        words, command = case["words"], case["command"]
        try:
            os.chdir(self.folder)
            code, out, err, error = self.called(command, words, "process" in case.choices)
        finally:
            os.chdir(here)
        if error is not None:
            return raw(error)
        if "Traceback (most recent call last)" in out + err:
            return Outcome(RAW, f"traceback printed: {err.strip().splitlines()[-1][:80]}", err[-300:])
        after = self.contents()
        changed = {n for n in before if n in after and before[n] != after[n]} | (set(after) - self.kept)
        for name in changed & before.keys():
            (self.folder / name).write_bytes(before[name])
        changed -= self.asked(words)
        if changed:
            return Outcome(LEFT_OVER, f"{command}: {sorted(changed)}")
        return self.judge(case, command, words, code, out, err)

    @staticmethod
    def asked(words: list[str]) -> set[str]:
        """Files that the words say are to be written, and do not say are to be read."""
        written = {name for option, name in itertools.pairwise(words) if option in ("--out", "--onnx", "--plot")}
        return {name for name in written if words.count(name) == 1}

    def contents(self) -> dict[str, bytes]:
        """Inputs of the commands, which none of them may change."""
        files = [path for path in self.folder.iterdir() if path.is_file() and not path.name.startswith("out")]
        return {path.name: path.read_bytes() for path in files}

    def called(self, command: str, words: list[str], beside: bool) -> tuple[int, str, str, BaseException | None]:
        """Exit code, output, errors, and the exception that came through, if one did."""
        if beside:
            module = (
                ["proofs_as_code", "verify"] if command == "verify" else ["construct", *([command] if command else [])]
            )
            line = [sys.executable, "-m", *module, *words]
            try:
                done = subprocess.run(line, capture_output=True, timeout=120, check=False,
                                      env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})  # fmt: skip
            except subprocess.TimeoutExpired:
                raise OutOfTime from None
            return done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"), None
        if command == "verify":
            out, err = io.StringIO(), io.StringIO()
            try:
                with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                    code = verify_main(words)
            except Exception as error:
                return -1, "", "", error
            return code, out.getvalue(), err.getvalue(), None
        result = self.runner.invoke(app, [command, *words] if command else words, color=True)  # as on a terminal
        if isinstance(result.exception, OutOfTime):
            raise result.exception
        raised = None if isinstance(result.exception, SystemExit | None) else result.exception
        return result.exit_code, result.stdout, result.stderr, raised

    def judge(self, case: Case, command: str, words: list[str], code: int, out: str, err: str) -> Outcome:
        """Exit codes, streams, and values."""
        if ESCAPES.search((out + err).replace("\n", " ").replace("\t", " ").replace("\r", " ")):
            return Outcome(ESCAPE, command, repr((out + err)[-300:]))
        if code not in (0, 1, 2):
            return Outcome(RAW, f"exit code {code}", err[-300:])
        lines = err.strip().splitlines()
        usage = bool(lines) and (lines[0].startswith(("Usage:", "Error: ")) or (not words and not command))
        if code == 2 and not usage and (len(lines) != 1 or not lines[0].startswith("error: ") or out):
            return Outcome(
                "error outside the dialect", f"{command}: exit code 2 with {len(lines)} lines", err[-300:] + out[:100]
            )
        if code == 2:
            return Outcome(REFUSED, "usage" if usage else lines[0].split(":")[1].strip())
        if command == "verify":
            said = out.startswith(("verified", "refused", "`python")) or "--help" in words
            return Outcome(RIGHT) if said else Outcome(WRONG, "verify", out[:200])
        if code == 1 and (not lines or not lines[-1].startswith("error: ")):
            return Outcome("error outside the dialect", f"{command}: exit code 1 without a reason", err[-300:])
        if code == 0 and err.strip():
            return Outcome("error outside the dialect", f"{command}: exit code 0 and words on stderr", err[-300:])
        if "--json" in words and "--help" not in words and command in ("approximate", "certify", "evaluate", "info"):
            try:
                found = json.loads(out, parse_constant=lambda name: (_ for _ in ()).throw(ValueError(name)))
            except ValueError as error:
                return Outcome(WRONG, f"{command}: no JSON", f"{error}: {out[:200]}")
            if command == "evaluate" and "values" in found:
                return self.evaluated(words, found["values"])
        return self.claimed(words) if command == "approximate" and code == 0 else Outcome(RIGHT)

    def evaluated(self, words: list[str], got: list[float]) -> Outcome:
        if words[:2] != ["net.safetensors", "points.npy"]:
            return Outcome(RIGHT)
        found = pool.pooled("coarse circle")
        value = oracles.dense(found.tensors, found.on[:5])
        return (
            Outcome(RIGHT)
            if np.abs(np.array(got) - value).max() <= found.tolerance
            else Outcome(WRONG, "evaluate", str(got))
        )

    def claimed(self, words: list[str]) -> Outcome:
        """A network that was written is one that can be read, and is within epsilon of a target that is known."""
        path = self.folder / "out.safetensors"
        if "--out" not in words or not path.exists():
            return Outcome(RIGHT)
        tensors, _ = oracles.read_file(path.read_bytes())
        options = dict(zip(words[::2], words[1::2], strict=False))
        plain = (
            options.get("--manifold") == "circle" and options.get("--target") == "exp_sin" and "--ambient" not in words
        )
        if not plain or "--option" in words or options.get("--epsilon") not in ("0.3", "1", "0.1", "0.5"):
            return Outcome(RIGHT)
        x = pool.on_circle(100)
        error = np.abs(oracles.dense(tensors, x) - np.exp(x[:, 0]) * np.sin(3 * x[:, 1])).max()
        if error <= float(options["--epsilon"]):
            return Outcome(RIGHT)
        return Outcome(FALSE, "approximate: above epsilon with exit code 0", f"{error}")


_ = torch  # imported first, so that commands do not wait for it
