"""The form of a certificate, checked before anything else: every field, its type, length and range, and no other.

format, kind, claim     the texts below                target         an expression in x_0 .. x_(D-1)
network.sha256          digest of the tensors          precision      53 to 4096 bits
arithmetic              dtype and unit round-off       order          1 to 9, of the Taylor expansions
manifold.formula        k expressions in u_0 .. u_(d-1), d = 1 to 3, the canonical coordinates y
        .lower, .upper  d floats each, lower < upper: the box of u
        .frame, .offset D rows of k floats, and D floats: x = F y + t
canonical_box           k pairs of floats, ends of y   tree           of cells: an axis 0 .. d-1, or a point
local, error, bound     floats >= 0                    cells          the leaves of the tree
digest                  of all that, as compact JSON with sorted keys
manifold.text, measured (sup, samples, seed; sup <= bound), seconds: said by whoever made it, not checked
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, NamedTuple

from proofs_as_code.verifier import documents as read
from proofs_as_code.verifier.documents import LARGEST, Fields, require
from proofs_as_code.verifier.expressions import Steps, steps_of

FORMAT, KIND = "construct-certificate/2", "rigorous"
CLAIM = (
    "for every u in the box [lower, upper] the network with these weights, evaluated in this arithmetic (IEEE 754, to "
    "nearest, gradual underflow) at the x nearest to F y(u) + t, is within bound of f(F y(u) + t); y: formula, F: "
    "frame, t: offset, f: target; dense formula, rows of a score added in order, other sums in any"
)
UNITS = {"float64": 2.0**-53, "float32": 2.0**-24}
MOST_PARAMETERS, MOST_COORDINATES, MOST_CELLS = 3, 10_000, 50_000_000
MOST_OPEN = 10_000  # cells that wait while the tree is walked


class Manifold(NamedTuple):
    """The points F y(u) + t for u in the box."""

    text: str
    formula: list[Steps]
    lower: list[float]
    upper: list[float]
    frame: list[list[float]]
    offset: list[float]


class Certificate(NamedTuple):
    """A certificate whose form is right; of what it says nothing is checked but the digest of its contents."""

    network: str
    dtype: str
    target: Steps
    manifold: Manifold
    box: list[list[float]]
    order: int
    precision: int
    tree: str
    local: float
    error: float
    bound: float
    cells: int
    unchecked: dict[str, Any]


def certificate(data: bytes, digests: bool) -> Certificate:
    """The certificate in a file."""
    document = read.parsed(data, "certificate")
    fields = Fields(document, "certificate")
    fields.take("format", read.exactly(FORMAT))
    fields.take("kind", read.exactly(KIND))
    fields.take("claim", read.exactly(CLAIM))
    network = Fields(fields.take("network", given), "network")
    arithmetic = Fields(fields.take("arithmetic", given), "arithmetic")
    dtype = arithmetic.take("dtype", read.exactly(*UNITS))
    unit = arithmetic.take("unit", read.real)
    require(unit == UNITS[dtype], "arithmetic.unit", f"{UNITS[dtype]}", unit)
    weights = network.take("sha256", read.sha256)
    manifold = manifold_of(Fields(fields.take("manifold", given), "manifold"))
    width, dimension = len(manifold.formula), len(manifold.lower)
    target = steps_of(fields.take("target", given), "target", len(manifold.frame))
    pairs = fields.take("canonical_box", lambda v, n: read.items(v, n, width, width))
    box = [read.reals(ends, f"canonical_box[{k}]", 2, 2) for k, ends in enumerate(pairs)]
    require(all(low <= high for low, high in box), "canonical_box", "pairs with low <= high", box)
    order = fields.take("order", lambda v, n: read.integer(v, n, 1, 9))
    precision = fields.take("precision", lambda v, n: read.integer(v, n, 53, 4096))
    tree = fields.take("tree", read.text)
    require(
        tree_is_whole(tree, dimension), "tree", f"axes 0 to {dimension - 1} and points, ended by its last leaf", tree
    )
    cells = fields.take("cells", lambda v, n: read.integer(v, n, 1, MOST_CELLS))
    require(cells == tree.count("."), "cells", f"{tree.count('.')}, the leaves of the tree", cells)
    local, error, bound = (fields.take(n, lambda v, n: read.real(v, n, 0.0)) for n in ("local", "error", "bound"))
    measured, seconds = Fields(fields.take("measured", given), "measured"), fields.take("seconds", seconds_of)
    sup = measured.take("sup", lambda v, n: read.real(v, n, 0.0, bound))
    samples = measured.take("samples", lambda v, n: read.integer(v, n, 0, 1 << 62))
    measured.take("seed", lambda v, n: read.integer(v, n, 0, (1 << 64) - 1))
    said = fields.take("digest", read.sha256)
    for part in (network, arithmetic, measured, fields):
        part.end()
    require(not digests or said == digest(document), "certificate", "its contents to have its digest", "changed ones")
    unchecked = {"text": manifold.text, "measured": sup, "samples": samples, "seconds": seconds}
    return Certificate(
        weights, dtype, target, manifold, box, order, precision, tree, local, error, bound, cells, unchecked
    )


def manifold_of(fields: Fields) -> Manifold:
    """The formula, its box and the frame, which fit each other."""
    text = fields.take("text", read.shown)
    lower = fields.take("lower", lambda v, n: read.reals(v, n, 1, MOST_PARAMETERS))
    upper = fields.take("upper", lambda v, n: read.reals(v, n, len(lower), len(lower)))
    open_box = all(a < b for a, b in zip(lower, upper, strict=True))
    require(open_box, "manifold", "a box with lower < upper", f"{lower} and {upper}")
    trees = fields.take("formula", lambda v, n: read.items(v, n, 1, MOST_COORDINATES))
    formula = [steps_of(tree, f"manifold.formula[{k}]", len(lower)) for k, tree in enumerate(trees)]
    rows = fields.take("frame", lambda v, n: read.items(v, n, 1, MOST_COORDINATES))
    frame = [read.reals(row, f"manifold.frame[{j}]", len(formula), len(formula)) for j, row in enumerate(rows)]
    offset = fields.take("offset", lambda v, n: read.reals(v, n, len(frame), len(frame)))
    fields.end()
    return Manifold(text, formula, lower, upper, frame, offset)


def tree_is_whole(tree: str, dimension: int) -> bool:
    """Whether a text is one binary tree in preorder: an axis for a cell that is divided, a point for a leaf."""
    open_cells = 1
    for symbol in tree:
        if not 0 < open_cells <= MOST_OPEN or symbol not in ".012"[: 1 + dimension]:
            return False
        open_cells += -1 if symbol == "." else 1
    return open_cells == 0


def given(value: Any, name: str) -> Any:
    return value


def seconds_of(value: Any, name: str) -> float:
    return read.real(value, name, 0.0, LARGEST)


def digest(document: dict[str, Any]) -> str:
    """SHA-256 of a certificate without its digest, as compact JSON with sorted keys."""
    text = json.dumps({k: v for k, v in document.items() if k != "digest"}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
