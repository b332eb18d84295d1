"""What was proved, in a form that can be kept, sent and checked by somebody else.

A certificate holds the statement (target and manifold as formulas, the digest of the weights), the bound, and the
proof's one creative part: how to divide the box of parameters. Everything else is recomputed by whoever checks it.
`python -m proofs_as_code verify` does that without this package.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from os import PathLike
from typing import Any

from construct.certificates.weights import Evaluated, weights_digest
from construct.documents import parsed
from construct.errors import InputError
from construct.storage import read_whole, write_atomically
from construct.validation import invalid

FORMAT = "construct-certificate/1"
MOST_BYTES = 2**28
CLAIM = (
    "for every u in the box [lower, upper] the network with these weights, evaluated in this arithmetic at F y(u) + t, "
    "is within bound of f(F y(u) + t); y: formula, F: frame, t: offset, f: target; dense formula, rows of a score "
    "added in order, other sums in any"
)


@dataclass(frozen=True)
class Certificate:
    """A proved bound of `sup_M |T - f|`, rounding included.

    Attributes:
        bound: the proved bound, `local + error`.
        local: max over all cells of |T - f| in exact arithmetic.
        error: gates that are not exactly closed, signs known up to 2^-60, and the rounding of the network's dtype.
        measured: the largest error that a search found, a lower bound of the supremum.
        cells: leaves of the subdivision.
        seconds: what the proof took.
        kind: "rigorous".
        document: the JSON object that `save` writes.
    """

    bound: float
    local: float
    error: float
    measured: float
    cells: int
    seconds: float
    kind: str
    document: dict[str, Any]

    @property
    def ratio(self) -> float:
        """Proved over measured, at least 1 up to rounding."""
        return self.bound / self.measured if self.measured > 0 else math.inf

    def save(self, path: str | PathLike[str]) -> None:
        """Write the certificate as JSON, the whole file or none of it.

        Raises:
            InputError: a path that cannot be written to.
        """
        write_atomically(path, (json.dumps(self.document, indent=1, allow_nan=False) + "\n").encode())

    def matches(self, net: Evaluated) -> bool:
        """Whether this is about a network with exactly these weights."""
        return bool(self.document["network"]["sha256"] == weights_digest(net))

    def __repr__(self) -> str:
        return (
            f"Certificate({self.kind}: sup |T - f| <= {self.bound:.4g} on {self.document['manifold']['text']}; "
            f"measured {self.measured:.4g}, {self.cells:,} cells, {self.seconds:.1f} s)"
        )


def load_certificate(path: str | PathLike[str]) -> Certificate:
    """Read a certificate; nothing is proved again, see `python -m proofs_as_code verify` for that.

    Raises:
        InputError: no such file, not a certificate, or its digest is not that of its contents.
    """
    try:
        document = parsed(read_whole(path, most=MOST_BYTES), "certificate")
    except InputError as error:
        raise invalid("path", "a certificate", got=f"{path} ({error})") from error
    return certificate_of(document, path)


def certificate_of(document: object, path: object = "a document") -> Certificate:
    """The certificate of a JSON object that came from outside.

    Raises:
        InputError: it is none, or its digest is not that of its contents.
    """
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise invalid("path", f"a certificate of format {FORMAT!r}", got=f"{path}, which is none")
    if document.get("digest") != digest(document):
        raise invalid("path", "an unchanged certificate", got=f"{path}, whose digest is not that of its contents")
    return from_document(document)


def from_document(document: dict[str, Any]) -> Certificate:
    """The certificate of a JSON object."""
    return Certificate(
        bound=float(document["bound"]),
        local=float(document["local"]),
        error=float(document["error"]),
        measured=float(document["measured"]["sup"]),
        cells=int(document["cells"]),
        seconds=float(document["seconds"]),
        kind=str(document["kind"]),
        document=document,
    )


def digest(document: dict[str, Any]) -> str:
    """SHA-256 of a certificate without its digest, as compact JSON with sorted keys."""
    rest = {key: value for key, value in document.items() if key != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
