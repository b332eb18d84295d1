"""One dialect of refusals: `name: expected ..., got ...`, made by `construct.validation` and by nothing else."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MAKERS = {"construct/validation.py", "construct/errors.py"}
FILES = [
    path
    for part in ("construct", "proofs_as_code")
    for path in sorted((ROOT / part).rglob("*.py"))
    if str(path.relative_to(ROOT)) not in MAKERS
]
REFUSALS = {"InputError", "OffManifoldError", "PrecisionError"}
TEXTS = {"message"}  # what makes the text of an error


def _called(node: ast.Call) -> str:
    function = node.func
    return (
        function.attr if isinstance(function, ast.Attribute) else function.id if isinstance(function, ast.Name) else ""
    )


def _text(node: ast.AST) -> str:
    """The literal parts of a string, f-strings included; empty for anything else."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        return "...".join(_text(part) for part in node.values)
    return ""


def _passed_on(node: ast.Call) -> bool:
    """`InputError(str(error))`, the text of an error that was caught."""
    match node.args:
        case [ast.Call(func=ast.Name(id="str"), args=[ast.Name()])]:
            return True
    return False


def violations(source: str) -> list[int]:
    """Lines of refusals with a text of their own, and of texts in another dialect."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and _called(node) in REFUSALS:
            made = len(node.args) == 1 and isinstance(node.args[0], ast.Call) and _called(node.args[0]) in TEXTS
            if not made and not _passed_on(node):
                found.append(node.lineno)
        text = _text(node)
        if "must be" in text and "; got" in text:
            found.append(node.lineno)  # type: ignore[attr-defined]
    return sorted(set(found))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_refusals_are_made_by_validation(path: Path) -> None:
    assert violations(path.read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        'raise InputError("charts: expected an integer, got 2.5")',
        'raise InputError(f"charts: expected an integer, got {charts}")',
        "raise construct.errors.PrecisionError(text)",
        "raise OffManifoldError()",
        'raise InputError(message("x", "points", x), 3)',
        'text = f"charts must be an integer; got {charts}"',
        'text = "charts must be an integer; got 3"',
    ],
)
def test_another_dialect_is_found(source: str) -> None:
    assert violations(source) == [1]


@pytest.mark.parametrize(
    "source",
    [
        'raise invalid("charts", "an integer", charts)',
        'raise PrecisionError(message("dtype", "one that holds the code", dtype))',
        "raise InputError(str(error)) from error",
        'text = "a chart must be there"',
    ],
)
def test_the_dialect_is_allowed(source: str) -> None:
    assert violations(source) == []
