"""What was proved, in words: from what was checked alone.

A box of parameters is no manifold. What it covers is told from the formula: where a parameter occurs in sines and
cosines only, and the formula has a period, a box as wide as the period has all points; half of it has them, too, if the
other half is its image under a symmetry of the formula (poles; glued ends). `covering` proves that, by comparing normal
forms; where it proves nothing, the statement says that there is none beyond the ends of the box.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, NamedTuple

from proofs_as_code.verifier.covering import coverings
from proofs_as_code.verifier.expressions import formula
from proofs_as_code.verifier.schema import UNITS, Certificate
from proofs_as_code.verifier.weights import Weights

MOST_SHOWN = 64  # entries of a frame


class Proved(NamedTuple):
    """The last fields of a report."""

    function: str
    manifold: str
    box: tuple[str, ...]
    covers: str
    dtype: str
    network_sha256: str
    certificate_sha256: str
    statement: tuple[str, ...]
    unchecked: dict[str, Any]


def statement(proof: Certificate, weights: Weights, network: str, certificate: str) -> Proved:
    """The statement of a certificate that was verified; network, certificate: digests of the files."""
    manifold, function = proof.manifold, formula(proof.target, "x")
    y = ", ".join(f"y{k} = {formula(steps, 'u')}" for k, steps in enumerate(manifold.formula))
    shift = f" + t, t = {frame_text([manifold.offset])}" if any(manifold.offset) else ""
    points = f"x = F y(u){shift}, {y}; F = {frame_text(manifold.frame)}"
    found = coverings(manifold.formula, manifold.lower, manifold.upper)
    ends = zip(manifold.lower, manifold.upper, found, strict=True)
    box = tuple(f"u{i} from {low!r} to {high!r}: {remark}" for i, (low, high, (_, remark)) in enumerate(ends))
    whole = all(closed for closed, _ in found)
    open_ones = ", ".join(f"u{i}" for i, (closed, _) in enumerate(found) if not closed)
    covers = (
        "the points x for all real u" if whole else f"the box alone; nothing is said beyond the ends of {open_ones}"
    )
    (tokens, _), (token, row), inputs = weights.hidden0.shape, weights.readout, len(manifold.frame)
    unit = f"unit round-off {UNITS[proof.dtype]:.3g}, to nearest, gradual underflow"
    lines = (
        f"|T(x) - f(x)| <= {proof.bound!r} at every point x",
        f"T: the network in {proof.dtype} ({unit}), dense formula, rows of a score added in order; x0 to x{inputs - 1} "
        f"go to the first {inputs} of {tokens} tokens, the output is entry ({token}, {row})",
        f"f(x) = {function}",
        points,
        *box,
        f"covered: {covers}",
        f"network: SHA-256 {network}",
        f"certificate: SHA-256 {certificate}",
    )
    return Proved(function, points, box, covers, proof.dtype, network, certificate, lines, proof.unchecked)


def frame_text(frame: list[list[float]]) -> str:
    """The matrix, or its size and digest where it is large."""
    rows, columns = len(frame), len(frame[0])
    if all(v == (i == j) for i, row in enumerate(frame) for j, v in enumerate(row)):
        return "1" if rows == columns else f"the first {columns} unit vectors of R^{rows}"
    if rows * columns <= MOST_SHOWN:
        return repr(frame)
    digest = hashlib.sha256(json.dumps(frame, separators=(",", ":")).encode()).hexdigest()
    return f"the {rows} x {columns} matrix of the certificate (as compact JSON, SHA-256 {digest})"
