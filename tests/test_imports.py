"""Imports go one way, between parts and between files; a name of another package stands where it belongs.

Parts are the folders and files of `construct`, in the order of `LAYERS`, from the bottom. Imports inside functions or
for type checkers only would hide a circle, so they are forbidden, too. Files and functions stay short.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "construct"
FACE = "construct"  # the package itself: construct/__init__.py, `import construct`

LAYERS = (
    "errors",
    "devices",
    "arrays",
    "validation",
    "storage",
    "documents",
    "boxes",
    "display",
    "progress",
    "expressions",
    "manifolds",
    "targets",
    "measurement",
    "atlas",
    "local",
    "problem",
    "obstacle",
    "history",
    "planning",
    "rounding",
    "transformer",
    "execution",
    "program",
    "compact",
    "paper",
    "symmetry",
    "ridge",
    "cells",
    "theory",
    "certificates",
    "architecture",
    "claim",
    "held",
    "files",
    "origin",
    "export",
    "inputs",
    "ownership",
    "network",
    "loading",
    "building",
    "theorem",
    "baselines",
    "plotting",
    "report",
    FACE,
    "requests",
    "cli",
    "__main__",
)
EXTERNAL = {"flint", "numpy", "rich", "safetensors", "scipy", "torch", "typer"}
ONLY_IN = {
    "Tasmanian": {"baselines"},
    "flint": {"expressions", "certificates"},
    "kan": {"baselines"},
    "matplotlib": {"plotting"},
    "rich": {"display", "history", "report", "cli"},  # display: every long call shows its progress on a terminal
    "safetensors": {"files"},
    "sklearn": {"baselines"},
    "typer": {"cli"},
}
DEFERRED = {"proofs_as_code/__main__.py"}  # starts the verifier where neither the library nor torch is installed
LONGEST_FILE = 450
LONG_FUNCTION = 60
LONG_FUNCTIONS = 5


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


MODULES = sorted(PACKAGE.rglob("*.py"))
PROOFS = sorted((ROOT / "proofs_as_code").rglob("*.py"))
every_module = pytest.mark.parametrize("path", MODULES, ids=relative)
every_file = pytest.mark.parametrize("path", [*MODULES, *PROOFS], ids=relative)


def module_of(path: Path) -> str:
    """Dotted name of a file; a package's `__init__.py` has the package's."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


KNOWN = {module_of(path) for path in [*MODULES, *PROOFS]}


def part_of(dotted: str) -> str:
    """Layer of `construct.<part>...`; the package itself where there is no such part."""
    parts = dotted.split(".")
    if len(parts) > 1 and ((PACKAGE / parts[1]).is_dir() or (PACKAGE / f"{parts[1]}.py").is_file()):
        return parts[1]
    return FACE


def part_of_file(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return FACE if first == "__init__.py" else first.removesuffix(".py")


def imported(source: str) -> set[str]:
    """Full names of what `source` imports; `from construct import x` counts as `construct.x`."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports of this package are absolute"
            assert node.module is not None
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and _name(node.func) in ("import_module", "__import__"):
            found |= {a.value for a in node.args[:1] if isinstance(a, ast.Constant) and isinstance(a.value, str)}
    return found


def _name(function: ast.expr) -> str:
    return (
        function.attr if isinstance(function, ast.Attribute) else function.id if isinstance(function, ast.Name) else ""
    )


def files_imported(source: str, known: set[str] = KNOWN) -> set[str]:
    """The files of `known` that a source imports; a name that is no file counts as its package."""
    return {name if name in known else name.rpartition(".")[0] for name in imported(source)} & known


def upward(part: str, source: str) -> list[str]:
    """Imports of `source`, a module of layer `part`, that are not further down than it."""
    wrong = []
    for name in sorted(imported(source)):
        if name.split(".")[0] != "construct":
            continue
        to = part_of(name)
        if to == part and part != FACE:
            continue
        if LAYERS.index(to) >= LAYERS.index(part):
            wrong.append(name)
    return wrong


def hidden(source: str) -> list[int]:
    """Lines of imports that are not at the top level of a file."""
    tree = ast.parse(source)
    top = set(map(id, tree.body))
    imports = (node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom))
    return [node.lineno for node in imports if id(node) not in top]


def circle(graph: dict[str, set[str]]) -> list[str]:
    """The files of a circle of imports, none if there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def long_functions(source: str, limit: int = LONG_FUNCTION) -> Iterator[tuple[str, int]]:
    """Functions of more lines than `limit`, docstring included."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > limit:
                yield node.name, lines


# -- the library ------------------------------------------------------------------------------------------------------


def test_every_layer_is_there_and_every_file_is_in_one() -> None:
    assert {part_of_file(path) for path in MODULES} == set(LAYERS)
    assert len(MODULES) > 100


@every_module
def test_imports_go_down(path: Path) -> None:
    part = part_of_file(path)
    assert part in LAYERS, f"{relative(path)} is in no layer: add {part!r} to LAYERS"
    assert upward(part, path.read_text()) == []


@every_file
def test_imports_stand_at_the_top(path: Path) -> None:
    assert hidden(path.read_text()) == [] or relative(path) in DEFERRED


@pytest.mark.parametrize("files", [MODULES, PROOFS], ids=["construct", "proofs_as_code"])
def test_no_files_import_each_other_in_a_circle(files: Iterable[Path]) -> None:
    """A package's `__init__` imports its files, so a file that imports from its own package closes a circle, too."""
    assert circle({module_of(path): files_imported(path.read_text()) for path in files}) == []


@every_module
def test_external_packages_are_declared_and_in_their_place(path: Path) -> None:
    for name in imported(path.read_text()):
        top = name.split(".")[0]
        if top == "construct" or top in sys.stdlib_module_names:
            continue
        assert top in EXTERNAL | set(ONLY_IN), f"{relative(path)} imports {top}"
        assert part_of_file(path) in ONLY_IN.get(top, {part_of_file(path)}), f"{top} in {relative(path)}"


def test_matplotlib_is_imported_only_when_drawing() -> None:
    code = "import sys, construct, construct.cli; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


@every_file
def test_files_are_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= LONGEST_FILE


def test_functions_are_short() -> None:
    found = [
        (lines, f"{relative(path)}: {name}") for path in MODULES for name, lines in long_functions(path.read_text())
    ]
    assert len(found) <= LONG_FUNCTIONS, sorted(found, reverse=True)


# -- what the checks find ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "source"),
    [
        ("manifolds", "from construct.atlas import Atlas"),
        ("manifolds", "import construct.measurement"),
        ("targets", "from construct import manifolds, plotting"),
        ("transformer", "def f():\n    from construct.theorem import approximate"),
        ("program", "if TYPE_CHECKING:\n    from construct.network import Network"),
        ("local", "importlib.import_module('construct.program.heads')"),
        ("measurement", "import construct"),
        ("errors", "from construct.validation import integer"),
    ],
)
def test_an_upward_import_is_found(part: str, source: str) -> None:
    assert len(upward(part, source)) == 1


@pytest.mark.parametrize("source", ["from construct.errors import InputError", "import torch"])
def test_a_downward_import_is_allowed(source: str) -> None:
    assert upward("manifolds", source) == []


def test_a_circle_and_a_hidden_import_are_found() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}}) != []
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []
    assert hidden("import x\nif TYPE_CHECKING:\n    import y\ndef f():\n    from z import t") == [3, 5]
    known = {"construct.local.fit", "construct.atlas"}
    assert files_imported("from construct.local.fit import fit\nfrom construct.atlas import Atlas", known) == known


def test_a_long_function_is_found() -> None:
    source = "def f():\n" + "    pass\n" * 60 + "def g():\n" + "    pass\n" * 59
    assert list(long_functions(source)) == [("f", 61)]
