"""The form of a certificate's document, field by field; whatever does not fit is refused by name.

    format, kind, claim     the texts below                target         an expression in x_0 .. x_(D-1)
    network.sha256          digest of the tensors          precision      53 to 4096 bits
    arithmetic              dtype and unit round-off       order          1 to 9, of the Taylor expansions
    manifold.formula        k expressions in u_0 .. u_(d-1), d = 1 to 3, the canonical coordinates y
            .lower, .upper  d floats each, lower < upper: the box of u
            .frame, .offset D rows of k floats, and D floats: x = F y + t
    canonical_box           k pairs of floats, ends of y   tree           of cells: an axis 0 .. d-1, or a point
    local, error, bound     floats >= 0, local + error <= bound
    cells                   the leaves of the tree         digest         of all that, see `digest`
    manifold.text, measured (sup, samples, seed; sup <= bound), seconds: said, and not checked by a verifier

The independent verifier has a reading of its own (`proofs_as_code/verifier/schema.py`).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

from construct.errors import InputError
from construct.expressions import Expression, from_json
from construct.validation import integer, invalid

FORMAT = "construct-certificate/2"
RIGOROUS = "rigorous"
CLAIM = (
    "for every u in the box [lower, upper] the network with these weights, evaluated in this arithmetic (IEEE 754, to "
    "nearest, gradual underflow) at the x nearest to F y(u) + t, is within bound of f(F y(u) + t); y: formula, F: "
    "frame, t: offset, f: target; dense formula, rows of a score added in order, other sums in any"
)
UNITS = {"float64": 2.0**-53, "float32": 2.0**-24}

LARGEST = 2.0**100  # of a number that is no constant of an expression
DEEPEST = 400  # operations inside each other in an expression
LONGEST_TEXT = 10_000
MOST_BYTES = 1 << 28
MOST_PARAMETERS, MOST_COORDINATES, MOST_CELLS = 3, 10_000, 50_000_000

FIELDS: dict[str, tuple[str, ...]] = {
    "certificate": (
        *("format", "kind", "claim", "network", "arithmetic", "target", "manifold", "canonical_box", "order"),
        *("precision", "tree", "local", "error", "bound", "cells", "measured", "seconds", "digest"),
    ),
    "network": ("sha256",),
    "arithmetic": ("dtype", "unit"),
    "manifold": ("text", "formula", "lower", "upper", "frame", "offset"),
    "measured": ("sup", "samples", "seed"),
}


def digest(document: Mapping[str, Any]) -> str:
    """SHA-256 of a certificate without its digest, as compact JSON with sorted keys."""
    rest = {key: value for key, value in document.items() if key != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def checked(document: Any) -> dict[str, Any]:
    """A document with exactly the fields that a certificate has, each in its range, and its own digest.

    Raises:
        InputError: the first field that is wrong, by its name.
    """
    parts = {"certificate": _object(document, "certificate")}
    for name, value in (("format", FORMAT), ("kind", RIGOROUS), ("claim", CLAIM)):
        if document[name] != value or type(document[name]) is not str:
            raise invalid(name, f"{value!r}", document[name])
    for name in ("network", "arithmetic", "manifold", "measured"):
        parts[name] = _object(document[name], name)
    _check_statement(parts)
    _check_proof(parts)
    for name in ("network.sha256", "digest"):
        value = parts["network"]["sha256"] if "." in name else document["digest"]
        if type(value) is not str or len(value) != 64 or not set(value) <= set("0123456789abcdef"):
            raise invalid(name, "64 hexadecimal digits", value)
    if document["digest"] != digest(document):
        raise invalid("digest", "an unchanged certificate", got="one whose digest is not that of its contents")
    return parts["certificate"]


def depth(expression: Expression) -> int:
    """The number of operations inside each other."""
    levels: list[int] = []
    for head, a, b in expression.program.steps:
        operands = {"const": (), "x": (), "add": (a, b), "mul": (a, b), "div": (a, b)}.get(head, (a,))
        below = max((levels[place] for place in operands), default=-1)
        levels.append(below + (head != "nonnegative"))
    return levels[-1]


# -- parts -----------------------------------------------------------------------------------------------------------


def _check_statement(parts: Mapping[str, Any]) -> None:
    """Arithmetic, target and manifold, and that they fit each other."""
    arithmetic, manifold = parts["arithmetic"], parts["manifold"]
    if arithmetic["dtype"] not in tuple(UNITS):
        raise invalid("arithmetic.dtype", f"one of {tuple(UNITS)}", arithmetic["dtype"])
    if _real(arithmetic["unit"], "arithmetic.unit") != UNITS[arithmetic["dtype"]]:
        raise invalid("arithmetic.unit", f"{UNITS[arithmetic['dtype']]}", arithmetic["unit"])
    text = manifold["text"]
    if type(text) is not str or not text.isprintable() or len(text) > LONGEST_TEXT:
        raise invalid("manifold.text", "a line of printable characters", text)
    lower = _reals(manifold["lower"], "manifold.lower", 1, MOST_PARAMETERS)
    upper = _reals(manifold["upper"], "manifold.upper", len(lower), len(lower))
    if not all(a < b for a, b in zip(lower, upper, strict=True)):
        raise invalid("manifold.upper", f"numbers above {lower}", upper)
    formula = _items(manifold["formula"], "manifold.formula", 1, MOST_COORDINATES)
    for k, tree in enumerate(formula):
        _check_expression(tree, f"manifold.formula[{k}]", len(lower))
    frame = _items(manifold["frame"], "manifold.frame", 1, MOST_COORDINATES)
    for j, row in enumerate(frame):
        _reals(row, f"manifold.frame[{j}]", len(formula), len(formula))
    _reals(manifold["offset"], "manifold.offset", len(frame), len(frame))
    _check_expression(parts["certificate"]["target"], "target", len(frame))


def _check_proof(parts: Mapping[str, Any]) -> None:
    """Bounds and cells."""
    document, measured = parts["certificate"], parts["measured"]
    width, dimension = len(parts["manifold"]["formula"]), len(parts["manifold"]["lower"])
    for k, ends in enumerate(_items(document["canonical_box"], "canonical_box", width, width)):
        low, high = _reals(ends, f"canonical_box[{k}]", 2, 2)
        if low > high:
            raise invalid(f"canonical_box[{k}]", "low <= high", ends)
    for name, low, high in (("order", 1, 9), ("precision", 53, 4096), ("cells", 1, MOST_CELLS)):
        integer(document[name], name, minimum=low, maximum=high)
    tree = document["tree"]
    if type(tree) is not str or not _whole(tree, dimension):
        raise invalid("tree", f"axes 0 to {dimension - 1} and points, ended by its last leaf", tree)
    if document["cells"] != tree.count("."):
        raise invalid("cells", f"{tree.count('.')}, the leaves of the tree", document["cells"])
    local, error, bound = (_real(document[name], name, 0.0) for name in ("local", "error", "bound"))
    if math.nextafter(local + error, 0.0) > bound:  # rounded: the exact sum is compared where it is proved
        raise invalid("bound", f"at least local + error = {local + error}", bound)
    if _real(measured["sup"], "measured.sup", 0.0) > bound:
        raise invalid("measured.sup", f"at most the bound, {bound}", measured["sup"])
    integer(measured["samples"], "measured.samples", maximum=1 << 62)
    integer(measured["seed"], "measured.seed", maximum=(1 << 64) - 1)
    _real(document["seconds"], "seconds", 0.0)


def _whole(tree: str, dimension: int) -> bool:
    """Whether a text is one binary tree in preorder."""
    cells = 1
    for symbol in tree:
        if not cells or symbol not in ".012"[: 1 + dimension]:
            return False
        cells += -1 if symbol == "." else 1
    return cells == 0


# -- single values ---------------------------------------------------------------------------------------------------


def _object(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise invalid(name, "an object", value)
    for key in FIELDS[name]:
        if key not in value:
            raise invalid(f"{name}.{key}".removeprefix("certificate."), "this field", got="none")
    if more := sorted(set(value) - set(FIELDS[name])):
        raise invalid(name, f"the fields {', '.join(FIELDS[name])}", got=f"also {more}"[:200])
    return value


def _real(value: Any, name: str, low: float = -LARGEST) -> float:
    if type(value) is not float or not low <= value <= LARGEST:
        raise invalid(name, f"a float from {low:g} to {LARGEST:g}", value)
    return value


def _items(value: Any, name: str, least: int, most: int) -> list[Any]:
    if not isinstance(value, list) or not least <= len(value) <= most:
        raise invalid(name, f"a list of {least} to {most} entries", value)
    return value


def _reals(value: Any, name: str, least: int, most: int) -> list[float]:
    return [_real(entry, f"{name}[{i}]") for i, entry in enumerate(_items(value, name, least, most))]


def _check_expression(tree: Any, name: str, variables: int) -> None:
    try:
        expression = from_json(tree)
    except InputError as error:
        raise invalid(name, "an expression", got=str(error)) from error
    if expression.arity > variables:
        raise invalid(name, f"variables 0 to {variables - 1}", got=f"{expression.arity - 1}")
    if depth(expression) > DEEPEST:
        raise invalid(name, f"at most {DEEPEST} operations inside each other", got=f"{depth(expression)}")
