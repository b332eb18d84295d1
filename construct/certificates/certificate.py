"""What was proved, in a form that can be kept, sent and checked by somebody else.

A certificate holds the statement (target and manifold as formulas, the digest of the weights), the bound, and the
proof's one creative part: how to divide the box of parameters. Everything else is recomputed by whoever checks it.
`python -m proofs_as_code verify` does that without this package.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from os import PathLike
from typing import Any

from construct.certificates.document import FORMAT, MOST_BYTES, checked
from construct.certificates.weights import Evaluated, weights_digest
from construct.documents import parsed
from construct.errors import InputError
from construct.storage import read_whole, shortened, write_atomically
from construct.validation import invalid

ANGLES = "the independent verifier cannot check trigonometric codes"


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
        unverifiable: why `python -m proofs_as_code verify` will refuse this certificate, although it is true; None
            where no reason is known. It takes the network: `certify` and `construct.load` say it, `load_certificate`
            does not.
    """

    bound: float
    local: float
    error: float
    measured: float
    cells: int
    seconds: float
    kind: str
    document: dict[str, Any]
    unverifiable: str | None = field(default=None, compare=False)

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
        """Whether this is about a network with exactly these weights, which reads as many coordinates."""
        inputs = len(self.document["manifold"]["frame"])
        return inputs == net.transformer.ambient and self.document["network"]["sha256"] == weights_digest(net)

    def __repr__(self) -> str:
        return (
            f"Certificate({self.kind}: sup |T - f| <= {self.bound:.4g} on {self.document['manifold']['text']}; "
            f"measured {self.measured:.4g}, {self.cells:,} cells, {self.seconds:.1f} s"
            f"{'' if self.unverifiable is None else f'; {self.unverifiable}'})"
        )


def load_certificate(path: str | PathLike[str]) -> Certificate:
    """Read a certificate; nothing is proved again, see `python -m proofs_as_code verify` for that.

    Raises:
        InputError: naming `path`: no such file, or a field that is missing, unknown, there twice, or not what a
            certificate has there (named, too), or a digest that is not that of the contents.
    """
    text = read_whole(path, most=MOST_BYTES)
    try:
        return certificate_of(parsed(text, "certificate"))
    except InputError as error:
        raise invalid("path", f"a certificate of format {FORMAT}", got=f"{shortened(str(path))} ({error})") from error


def certificate_of(document: object, unverifiable: str | None = None) -> Certificate:
    """The certificate of a JSON object, whose form and digest are checked; raises as `load_certificate`."""
    found = checked(document)
    return Certificate(
        bound=found["bound"],
        local=found["local"],
        error=found["error"],
        measured=found["measured"]["sup"],
        cells=found["cells"],
        seconds=found["seconds"],
        kind=found["kind"],
        document=found,
        unverifiable=unverifiable,
    )
