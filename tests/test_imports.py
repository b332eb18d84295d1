"""Imports go one way: down the list of layers. Imports inside functions and for type checking count too."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "construct"
FACE = "construct"  # the package itself: construct/__init__.py, `import construct`

LAYERS = (
    "errors",
    "validation",
    "expressions",
    "progress",
    "manifolds",
    "targets",
    "atlas",
    "local",
    "tokens",
    "gadgets",
    "transformer",
    "statistics",
    "measurement",
    "certificates",
    "assembly",
    "baselines",
    "report",
    "plotting",
    FACE,
    "cli",
    "__main__",
)
EXTERNAL = {"flint", "numpy", "rich", "safetensors", "scipy", "torch", "typer"}
ONLY_IN = {
    "Tasmanian": {"baselines"},
    "flint": {"expressions", "certificates"},
    "matplotlib": {"plotting"},
    "sklearn": {"baselines"},
    "typer": {"cli"},
}


def part_of(dotted: str) -> str:
    """Layer of `construct.<part>...`; the package itself where there is no such part."""
    parts = dotted.split(".")
    if len(parts) > 1 and ((PACKAGE / parts[1]).is_dir() or (PACKAGE / f"{parts[1]}.py").is_file()):
        return parts[1]
    return FACE


def part_of_file(path: Path) -> str:
    relative = path.relative_to(PACKAGE)
    if relative.parts[0] == "__init__.py":
        return FACE
    return relative.parts[0].removesuffix(".py")


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
    return found


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


MODULES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down(path: Path) -> None:
    part = part_of_file(path)
    assert part in LAYERS, f"{path.relative_to(ROOT)} is in no layer: add {part!r} to LAYERS"
    assert upward(part, path.read_text()) == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_external_packages_are_declared_and_in_their_place(path: Path) -> None:
    import sys

    for name in imported(path.read_text()):
        top = name.split(".")[0]
        if top == "construct" or top in sys.stdlib_module_names:
            continue
        assert top in EXTERNAL | set(ONLY_IN), f"{path.relative_to(ROOT)} imports {top}"
        assert part_of_file(path) in ONLY_IN.get(top, {part_of_file(path)}), f"{top} in {path.relative_to(ROOT)}"


def test_every_layer_is_checked() -> None:
    assert {part_of_file(path) for path in MODULES} <= set(LAYERS)
    assert len(MODULES) > 10


@pytest.mark.parametrize(
    ("part", "source"),
    [
        ("manifolds", "from construct.atlas import Atlas"),
        ("manifolds", "import construct.measurement"),
        ("targets", "from construct import manifolds, plotting"),
        ("transformer", "def f():\n    from construct.assembly import approximate"),
        ("measurement", "import construct"),
        ("errors", "from construct.validation import integer"),
    ],
)
def test_an_upward_import_is_found(part: str, source: str) -> None:
    assert len(upward(part, source)) == 1


@pytest.mark.parametrize("source", ["from construct.errors import InputError", "import torch"])
def test_a_downward_import_is_allowed(source: str) -> None:
    assert upward("manifolds", source) == []


def test_matplotlib_is_imported_only_when_drawing() -> None:
    import subprocess
    import sys

    code = "import sys, construct, construct.cli; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
