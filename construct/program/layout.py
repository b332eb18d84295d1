"""Token layout: the hidden state's rows and columns by name.

Rows are the structured token of Havrilla and Liao (section 3): two mutable registers `a` and `b`, two rows
of position code and a row of ones. Columns are groups of tokens, each an array of token numbers in row-major
order of its own indices (chart, coordinate, node, ...). Nothing outside this module writes a bare integer
for a row or a token.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np

from construct.arrays import Float, Int
from construct.errors import InputError
from construct.program.codes import PositionCode, position_code

STRUCTURED_ROWS = ("a", "b", "code0", "code1", "one")


@dataclass(frozen=True)
class TokenGroup:
    """Consecutive tokens of one role; `shape` and `axes` say what its indices mean."""

    name: str
    shape: tuple[int, ...]
    axes: tuple[str, ...] = ()
    role: str = ""

    @property
    def size(self) -> int:
        return prod(self.shape)


@dataclass(frozen=True)
class TokenLayout:
    """Named rows and named groups of tokens, numbered from 0 in the order given."""

    groups: tuple[TokenGroup, ...]
    code_name: str = "integer"
    rows: tuple[str, ...] = STRUCTURED_ROWS

    def __post_init__(self) -> None:
        names = [group.name for group in self.groups]
        if len(set(names)) != len(names):
            raise InputError(f"groups: names must differ, got {names}")
        missing = set(STRUCTURED_ROWS) - set(self.rows)
        if missing:
            raise InputError(f"rows: a structured token needs {STRUCTURED_ROWS}, missing {sorted(missing)}")

    @property
    def embedding_dim(self) -> int:
        return len(self.rows)

    @cached_property
    def count(self) -> int:
        """Number of tokens l."""
        return sum(group.size for group in self.groups)

    @cached_property
    def code(self) -> PositionCode:
        return position_code(self.code_name, self.count)

    def row(self, name: str) -> int:
        return self.rows.index(name)

    @cached_property
    def registers(self) -> tuple[int, int]:
        return self.row("a"), self.row("b")

    @cached_property
    def code_rows(self) -> tuple[int, int, int]:
        """Rows of `(code0, code1, 1)`, the order in which gates are written."""
        return self.row("code0"), self.row("code1"), self.row("one")

    @cached_property
    def data_rows(self) -> tuple[int, int, int]:
        """Rows of `(a, b, 1)`, the order in which bilinear forms are written."""
        return self.row("a"), self.row("b"), self.row("one")

    @cached_property
    def _starts(self) -> dict[str, int]:
        starts, position = {}, 0
        for group in self.groups:
            starts[group.name] = position
            position += group.size
        return starts

    def group(self, name: str) -> TokenGroup:
        return next(group for group in self.groups if group.name == name)

    def __contains__(self, name: str) -> bool:
        return name in self._starts

    def tokens(self, name: str) -> Int:
        """Token numbers of a group, in the group's shape."""
        group = self.group(name)
        start = self._starts[name]
        return np.arange(start, start + group.size, dtype=np.int64).reshape(group.shape)

    def span(self, *names: str) -> tuple[int, int]:
        """First and last token of groups that lie side by side."""
        numbers = np.concatenate([self.tokens(name).ravel() for name in names])
        if numbers.size == 0 or not np.array_equal(numbers, np.arange(numbers[0], numbers[0] + numbers.size)):
            raise InputError(f"span: groups {names} are empty or not consecutive in this order")
        return int(numbers[0]), int(numbers[-1])

    def initial_state(self) -> Float:
        """Hidden state at x = 0 with empty registers, shape (l, w): codes and the row of ones."""
        state = np.zeros((self.count, self.embedding_dim))
        code0, code1, one = self.code_rows
        state[:, [code0, code1]] = self.code.values()
        state[:, one] = 1.0
        return state

    def __str__(self) -> str:
        lines = [f"{self.count} tokens of {self.embedding_dim} rows {self.rows}, {self.code_name} position code"]
        for group in self.groups:
            start = self._starts[group.name]
            last = start + group.size - 1
            index = ",".join(f"{axis}<{size}" for axis, size in zip(group.axes, group.shape, strict=False))
            lines.append(f"  {start:>7}..{last:<7} {group.name}[{index}]  {group.role}")
        return "\n".join(lines)
