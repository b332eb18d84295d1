"""Within the first parts of the pipeline no file imports another in a circle, inside a function or for types only."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("expressions", "manifolds", "atlas", "local")
FILES = [
    *(path for part in PARTS for path in sorted((ROOT / "construct" / part).glob("*.py"))),
    ROOT / "construct/targets.py",
]


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


KNOWN = {module_of(path) for path in FILES}


def imported(source: str) -> set[str]:
    """The files of KNOWN that a source imports; a name that is no file counts as its package."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            found |= {name if (name := f"{node.module}.{a.name}") in KNOWN else node.module for a in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found & KNOWN


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


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_imports_stand_at_the_top(path: Path) -> None:
    assert hidden(path.read_text()) == []


def test_there_is_no_circle() -> None:
    assert circle({module_of(path): imported(path.read_text()) for path in FILES}) == []


def test_a_circle_and_a_hidden_import_are_found() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}}) != []
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []
    assert hidden("import x\nif TYPE_CHECKING:\n    import y\ndef f():\n    from z import t") == [3, 5]
    assert imported("from construct.local.fit import fit\nfrom construct.atlas import Atlas") == {
        "construct.local.fit",
        "construct.atlas",
    }
