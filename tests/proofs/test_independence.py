"""The verifier needs numpy and python-flint and nothing else, in its source and in a process."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.numpy import save

import proofs_as_code
from tests.proofs.proved import Proved

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "proofs_as_code"
VERIFIER = sorted((PACKAGE / "verifier").rglob("*.py"))
ALLOWED = {"flint", "numpy", *sys.stdlib_module_names}
BLOCKED = ("construct", "hypothesis", "rich", "safetensors", "torch", "typer")
BLOCKER = f"""
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if any(name == blocked or name.startswith(blocked + ".") for blocked in {BLOCKED}):
            raise ImportError(f"{{name}} is blocked")

sys.meta_path.insert(0, Blocker())
"""
COMMANDS = [("proofs_as_code", "verify"), ("proofs_as_code.verifier",)]


def foreign(source: str) -> list[str]:
    """What `source` imports, in functions too, and may not."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Name) and node.id in ("__import__", "importlib", "exec", "eval"):
            found.append(node.id)
    own = "proofs_as_code.verifier."
    return [name for name in found if not (name in ALLOWED or name.split(".")[0] in ALLOWED or name.startswith(own))]


@pytest.mark.parametrize("path", VERIFIER, ids=lambda path: path.name)
def test_the_verifier_imports_nothing_else(path: Path) -> None:
    text = path.read_text()
    assert foreign(text) == []
    assert len(text.splitlines()) < 300  # to be read by whoever wants to trust it


def test_all_of_the_verifier_is_looked_at() -> None:
    assert {path.stem for path in VERIFIER} >= {
        "__main__",
        "weights",
        "schema",
        "network",
        "jets",
        "ridgecells",
        "windowcells",
        "verification",
        "statement",
    }


@pytest.mark.parametrize(
    "source",
    [
        "import construct",
        "def f():\n    from construct.certificates import jets",
        "from safetensors.numpy import load",
        "import safetensors",
        "from proofs_as_code import rational",
        "from . import network",
        "__import__('torch')",
    ],
)
def test_a_foreign_import_is_found(source: str) -> None:
    assert len(foreign(source)) == 1


@pytest.fixture(scope="module")
def blocked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Environment of a process in which nothing but the verifier's two packages can be imported."""
    folder = tmp_path_factory.mktemp("blocked")
    (folder / "sitecustomize.py").write_text(BLOCKER)
    return {**os.environ, "PYTHONPATH": str(folder)}


def run(environment: dict[str, str], *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_the_packages_are_blocked(blocked: dict[str, str]) -> None:
    for name in BLOCKED:
        assert f"{name} is blocked" in run(blocked, "-c", f"import {name}").stderr
    assert run(blocked, "-m", "proofs_as_code", "--list").returncode == 1


def test_the_package_itself_imports_nothing(blocked: dict[str, str]) -> None:
    code = "import sys; before = set(sys.modules); import proofs_as_code; print(*sorted(set(sys.modules) - before))"
    assert run(blocked, "-c", code).stdout.split() == ["proofs_as_code"]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_verified_and_refused_without_the_library(
    circle: Proved, command: tuple[str, ...], blocked: dict[str, str]
) -> None:
    verified = run(blocked, "-m", *command, circle.network, circle.certificate)
    assert (verified.returncode, verified.stderr) == (0, "")
    assert verified.stdout.startswith("verified: |T - f| <= ")

    changed = circle.tensors["hidden0"].copy()
    changed[-1, 1] += 4 * circle.document["bound"]  # the last tokens hold coefficients
    network = circle.folder / "tampered.safetensors"
    network.write_bytes(save({**circle.tensors, "hidden0": changed}))
    by_digest = run(blocked, "-m", *command, network, circle.certificate)
    assert by_digest.returncode == 1 and by_digest.stdout.startswith("refused (network: expected the one")
    by_mathematics = run(blocked, "-m", *command, network, circle.certificate, "--semantic-only")
    assert by_mathematics.returncode == 1 and by_mathematics.stdout.startswith("refused (local: expected at least ")


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_usage_without_the_library(command: tuple[str, ...], blocked: dict[str, str]) -> None:
    shown = run(blocked, "-m", *command, "--help")
    assert shown.returncode == 0 and "NETWORK.safetensors CERTIFICATE.json" in shown.stdout
    refused = run(blocked, "-m", *command, "nowhere")
    assert (refused.returncode, refused.stdout) == (2, "") and refused.stderr.startswith("error: arguments: expected")


def test_the_package_is_typed() -> None:
    assert (Path(proofs_as_code.__file__).parent / "py.typed").is_file()
