"""Claims: what is said of a network's error, how it is known, and of exactly which weights."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal, cast, get_args

from construct.validation import integer, invalid, one_of, positive_integer, positive_real, real

ClaimKind = Literal["measured", "rigorous"]
SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class Claim:
    """What is said about `sup_M |T - f|`.

    Attributes:
        epsilon: asked for, or None.
        bound: found.
        kind: "measured": the largest error over `samples` points, refined around the worst ones; not a proof.
            "rigorous": a proved bound, over `samples` cells that cover M.
        samples: points or cells.
        resolution: of a measured claim the covering radius of the points looked at, in the unit of x: features smaller
            than that are not seen, regions where the target is NaN among them. None: rigorous, or unknown.
        seeds: of the measurements.
        read: from a file. Nobody has measured or proved it again since, and `str` says so.
        weights: SHA-256 of the weights that it speaks of (`Network.digest`); empty: not bound yet.

    Raises:
        InputError: an attribute of another type or out of range.
    """

    epsilon: float | None
    bound: float
    kind: ClaimKind
    samples: int
    resolution: float | None = None
    seeds: tuple[int, ...] = ()
    weights: str = ""
    read: bool = field(default=False, compare=False)

    def __post_init__(self) -> None:
        bound = real(self.bound, "bound")
        if bound < 0:
            raise invalid("bound", "a finite real number >= 0", bound)
        if not isinstance(self.weights, str) or (self.weights and not SHA256.fullmatch(self.weights)):
            raise invalid("weights", "a SHA-256 digest, 64 hexadecimal digits", self.weights)
        if not isinstance(self.seeds, tuple | list):
            raise invalid("seeds", "a tuple of integers >= 0", self.seeds)
        set_ = object.__setattr__
        set_(self, "bound", bound)
        set_(self, "kind", cast("ClaimKind", one_of(self.kind, "kind", get_args(ClaimKind))))
        set_(self, "samples", positive_integer(self.samples, "samples"))
        set_(self, "seeds", tuple(integer(seed, "seeds") for seed in self.seeds))
        for name in ("epsilon", "resolution"):
            value = getattr(self, name)
            set_(self, name, None if value is None else positive_real(value, name))

    def __str__(self) -> str:
        asked = "" if self.epsilon is None else f"epsilon {self.epsilon:g} asked, "
        kind = ("rigorous (not verified here)" if self.read else "proved") if self.kind == "rigorous" else self.kind
        how = f"{kind}, {self.samples:,} {'cells' if self.kind == 'rigorous' else 'points'}"
        if self.read and self.kind == "measured":
            how += ", as the file says"
        unseen = "" if self.resolution is None else f"; features below {self.resolution:.2g} are not seen"
        return f"{asked}sup error {self.bound:.3e} ({how}{unseen})"
