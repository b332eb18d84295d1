"""A public name means one thing: no two files define a class or function of the same name.

Exempt are names that are meant to be the same: those of the three constructions, which have one interface.
"""

import ast
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "construct"

ALIKE = {"cells", "compact", "paper", "ridge"}


def defined(source: str) -> set[str]:
    """Public classes and functions at the top level."""
    kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.parse(source).body if isinstance(node, kinds) and not node.name.startswith("_")}


def clashes(sources: Mapping[str, str]) -> dict[str, list[str]]:
    """Names that more than one file defines, with the files; `sources` by path in the package."""
    places = defaultdict(list)
    for path, source in sources.items():
        for name in defined(source):
            places[name].append(path)
    return {name: sorted(paths) for name, paths in places.items() if len(paths) > 1 and not meant(paths)}


def meant(paths: list[str]) -> bool:
    folders = [path.split("/")[0] for path in paths]
    return len(set(folders)) == len(folders) and set(folders) <= ALIKE


def test_public_names_differ() -> None:
    sources = {path.relative_to(PACKAGE).as_posix(): path.read_text() for path in PACKAGE.rglob("*.py")}
    assert len(sources) > 100
    assert clashes(sources) == {}


def test_a_clash_is_found() -> None:
    one, two = "class Plan: ...\ndef _inner(): ...", "def other(): ...\nclass Plan: ...\ndef _inner(): ..."
    assert clashes({"atlas/a.py": one, "local/b.py": two}) == {"Plan": ["atlas/a.py", "local/b.py"]}
    assert clashes({"compact/planner.py": one, "paper/planner.py": two}) == {}
    assert "Plan" in clashes({"compact/planner.py": one, "paper/planner.py": two, "paper/layout.py": one})
    assert "Plan" in clashes({"manifolds/registry.py": one, "targets.py": two})
    assert "Plan" in clashes({"cli.py": one, "theorem.py": two})
