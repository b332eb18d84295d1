"""What was proved, in a form that can be kept, sent and checked by somebody else.

A certificate holds the statement (target and manifold as formulas, the digest of the weights), the bound, and the
proof's one creative part: how to divide the box of parameters. Everything else is recomputed by whoever checks it.
`python -m proofs_as_code verify` does that without this package.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from construct.certificates.document import checked, parsed
from construct.certificates.weights import Evaluated, weights_digest
from construct.validation import invalid


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
        """Write the certificate as JSON."""
        Path(path).write_text(json.dumps(self.document, indent=1) + "\n")

    def matches(self, net: Evaluated) -> bool:
        """Whether this is about a network with exactly these weights, which reads as many coordinates."""
        inputs = len(self.document["manifold"]["frame"])
        return inputs == net.transformer.ambient and self.document["network"]["sha256"] == weights_digest(net)

    def __repr__(self) -> str:
        return (
            f"Certificate({self.kind}: sup |T - f| <= {self.bound:.4g} on {self.document['manifold']['text']}; "
            f"measured {self.measured:.4g}, {self.cells:,} cells, {self.seconds:.1f} s)"
        )


def load_certificate(path: str | PathLike[str]) -> Certificate:
    """Read a certificate; nothing is proved again, see `python -m proofs_as_code verify` for that.

    Raises:
        InputError: no such file, or a field that is missing, unknown, there twice, or not what a certificate has
            there (named), or a digest that is not that of the contents.
    """
    try:
        data = Path(path).read_bytes()
    except (OSError, TypeError, ValueError) as error:
        raise invalid("path", "a certificate", got=f"{path!r} ({error})") from error
    return _certificate(parsed(data))


def from_document(document: dict[str, Any]) -> Certificate:
    """The certificate of a JSON object, whose form is checked (`document`)."""
    return _certificate(checked(document))


def _certificate(document: dict[str, Any]) -> Certificate:
    return Certificate(
        bound=document["bound"],
        local=document["local"],
        error=document["error"],
        measured=document["measured"]["sup"],
        cells=document["cells"],
        seconds=document["seconds"],
        kind=document["kind"],
        document=document,
    )
