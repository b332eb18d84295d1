"""Position code of tokens that carry integers beside their number: cells of a lattice, levels, directions.

Only the number is asked for by gates; the other rows are read as numbers, by the forms of heads and the channels of the
FFN. They may be equal in any tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch

from construct.arrays import Float, Int
from construct.documents import a_list, at_place, floats, integers, label, record
from construct.program import lattice
from construct.program.codes import EntryRange, IntegerCode, PositionCode, check_entries
from construct.program.lattice import LARGEST_REAL, MOST_ENTRIES, check_exact_gates, check_named
from construct.validation import invalid

NUMBER = ("t", "t^2")
LARGEST_ENTRY = 2**53  # in a document: float64 holds it exactly


@dataclass(frozen=True, eq=False)
class CellCode(PositionCode):
    """Rows of integers `(E_1, .., E_n)`, then those of the ordinary code, `(v, v^2)` **[beyond the paper]**.

    Attributes:
        named: names of the integers, in order.
        integers: (l, n), those of every token.
        reals: (r, n) of the first r tokens in place of their integers; None: these. What a projection reads.
    """

    named: tuple[str, ...]
    integers: Int = field(repr=False)
    reals: Float | None = field(default=None, repr=False)

    name = "cells"
    exact = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_named(self.named, self.integers, self.tokens)
        if set(NUMBER) & set(self.named):
            raise invalid("named", f"names other than {NUMBER}, the rows of the token's number", self.named)
        if self.reals is not None:
            rows = len(self.reals)
            real = self.reals.shape == (rows, len(self.named)) and np.issubdtype(self.reals.dtype, np.floating)
            if not real or rows > self.tokens or not (np.abs(self.reals) <= LARGEST_REAL).all():
                expected = f"real numbers (r, {len(self.named)}), r <= {self.tokens}, of at most {LARGEST_REAL:,}"
                raise invalid("reals", expected, self.reals)
            if self.integers[:rows].any():
                raise invalid("integers", "zeros for tokens that have real numbers", self.integers[:rows])

    @cached_property
    def _number(self) -> IntegerCode:
        return IntegerCode(self.tokens)

    @property
    def rows(self) -> tuple[str, ...]:
        return (*self.named, *NUMBER)

    @property
    def gap(self) -> float:
        return 1.0

    def values(self) -> Float:
        held = self.integers.astype(np.float64)
        if self.reals is not None:
            held[: len(self.reals)] = self.reals
        return np.concatenate([held, self._number.values()], axis=1)

    def _padded(self, gate: Float) -> Float:
        """A functional of the number as one of all rows."""
        return np.concatenate([np.zeros((*gate.shape[:-1], len(self.named))), gate], axis=-1)

    def point_gate(self, token: Int) -> Float:
        return self._padded(self._number.point_gate(token))

    def same_gate(self, entries: Sequence[str], shift: int = 0) -> tuple[Float, Float]:
        query, key = self._number.same_gate(entries, shift)
        return self._padded(query), self._padded(key)

    def range_gate(self, first: int, last: int) -> tuple[Float, float]:
        gate, floor = self._number.range_gate(first, last)
        return self._padded(gate), floor

    def entry_values(self, entry: str) -> Int:
        check_entries((entry,), self.entries)
        return np.arange(self.tokens, dtype=np.int64)

    def entry_range_gate(self, span: EntryRange) -> tuple[Float, float]:
        check_entries((span.entry,), self.entries)
        return self.range_gate(span.first, span.last)

    @property
    def gate_size(self) -> float:
        return self._number.gate_size

    @property
    def range_size(self) -> float:
        return self._number.range_size

    def check(self, dtype: torch.dtype, shift: int = 0) -> None:
        self._number.check(dtype, shift)
        check_exact_gates(float(np.abs(self.integers).max(initial=0)), dtype)

    def spec(self) -> dict[str, Any]:
        named = {"name": self.name, "named": list(self.named), "integers": self.integers.tolist()}
        return named if self.reals is None else named | {"reals": self.reals.tolist()}


def code_from_spec(spec: object, tokens: int, name: str = "code") -> PositionCode:
    """The code, of any kind, that `spec()` described.

    Raises:
        InputError: a field that is not as `spec` writes it, named below `name`.
    """
    if not isinstance(spec, dict) or spec.get("name") != CellCode.name:
        return lattice.lattice_code_from_spec(spec, tokens, name)
    found = record(spec, name, ("name", "named", "integers"), ("reals",))
    entries = a_list(found["named"], f"{name}.named", least=1, most=MOST_ENTRIES)
    named = tuple(label(entry, f"{name}.named[{i}]") for i, entry in enumerate(entries))
    held = integers(found["integers"], f"{name}.integers")
    if held.size and max(int(held.max()), -int(held.min())) > LARGEST_ENTRY:
        raise invalid(f"{name}.integers", f"entries of at most {LARGEST_ENTRY:,}", got="larger ones")
    reals = np.asarray(floats(found["reals"], f"{name}.reals"), dtype=np.float64) if "reals" in found else None
    return at_place(name, lambda: CellCode(tokens, named, held, reals))
