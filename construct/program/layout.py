"""Token layout: the hidden state's rows and columns by name.

Rows are the structured token of Havrilla and Liao (section 3): mutable registers (`a` and `b` in the paper's class),
the rows of the position code and a row of ones. Columns are groups of tokens, each an array of token numbers in
row-major order of its own indices (chart, coordinate, node, ...). Nothing outside this module writes a bare integer
for a row or a token.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from construct.arrays import Float, Int
from construct.documents import a_list, at_place, label, record, remark, whole
from construct.program.cells import code_from_spec
from construct.program.codes import CODES, PositionCode, position_code
from construct.validation import invalid

ONE = "1"  # the row of ones, and the constant in forms and values
REGISTERS = ("a", "b")

# of a document: more than any network has, and what it may cost to look at one
MOST_GROUPS, MOST_AXES, MOST_REGISTERS, MOST_TOKENS = 1000, 8, 32, 2**24


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
    """Named rows and named groups of tokens, numbered from 0 in the order given.

    Attributes:
        groups: of tokens, in order.
        position_code: "integer", "trigonometric", or another code of these tokens (`lattice`).
        registers: names of the mutable rows; inputs arrive in the first one.
    """

    groups: tuple[TokenGroup, ...]
    position_code: str | PositionCode = "integer"
    registers: tuple[str, ...] = REGISTERS

    def __post_init__(self) -> None:
        names = [group.name for group in self.groups]
        if len(set(names)) != len(names):
            raise invalid("groups", "names that differ", names)
        if not self.registers or len(set(self.rows)) != len(self.rows):
            raise invalid("registers", "at least one, and rows that differ", self.rows)
        if self.code.tokens != self.count:
            raise invalid("position_code", f"a code of {self.count} tokens", got=f"one of {self.code.tokens}")

    @cached_property
    def count(self) -> int:
        """Number of tokens l."""
        return sum(group.size for group in self.groups)

    @cached_property
    def code(self) -> PositionCode:
        given = self.position_code
        return given if isinstance(given, PositionCode) else position_code(given, self.count)

    @cached_property
    def rows(self) -> tuple[str, ...]:
        """Names of the rows of the hidden state: registers, code, the row of ones."""
        return (*self.registers, *self.code.rows, ONE)

    @property
    def embedding_dim(self) -> int:
        return len(self.rows)

    def row(self, name: str) -> int:
        if name not in self.rows:
            raise invalid("row", f"one of {self.rows}", name)
        return self.rows.index(name)

    @cached_property
    def register_rows(self) -> tuple[int, ...]:
        return tuple(self.row(name) for name in self.registers)

    @cached_property
    def code_rows(self) -> tuple[int, ...]:
        """Rows of `(code, 1)`, the order in which gates are written."""
        return tuple(self.row(name) for name in (*self.code.rows, ONE))

    @cached_property
    def data_rows(self) -> tuple[int, ...]:
        """Rows of `u = (registers, 1)`, the order in which bilinear forms are written."""
        return tuple(self.row(name) for name in (*self.registers, ONE))

    @cached_property
    def factors(self) -> tuple[str, ...]:
        """What forms and values may read: registers, the constant, and the rows of the code."""
        return (*self.registers, ONE, *self.code.rows)

    @cached_property
    def factor_rows(self) -> tuple[int, ...]:
        """Rows of the `factors`; those of `u` come first."""
        return tuple(self.row(name) for name in self.factors)

    @cached_property
    def _starts(self) -> dict[str, int]:
        starts, position = {}, 0
        for group in self.groups:
            starts[group.name] = position
            position += group.size
        return starts

    def group(self, name: str) -> TokenGroup:
        if name not in self._starts:
            raise invalid("group", f"one of {tuple(self._starts)}", name)
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
            raise invalid("span", "groups that are not empty and consecutive in this order", names)
        return int(numbers[0]), int(numbers[-1])

    def initial_state(self) -> Float:
        """Hidden state at x = 0 with empty registers, shape (l, w): codes and the row of ones."""
        state = np.zeros((self.count, self.embedding_dim))
        state[:, self.code_rows[:-1]] = self.code.values()
        state[:, self.row(ONE)] = 1.0
        return state

    def named(self, tokens: Int) -> str:
        """Tokens in words: groups with their axes, `A[chart, coordinate, twin=0]`; an axis is given a number where all
        the tokens have the same."""
        parts = []
        for group in self.groups:
            offset = np.asarray(tokens).ravel() - self._starts[group.name]
            inside = offset[(offset >= 0) & (offset < group.size)]
            if not inside.size:
                continue
            indices = np.unravel_index(inside, group.shape) if group.shape else ()
            words = []
            for axis, index, size in zip(group.axes, indices, group.shape, strict=False):
                fixed = size > 1 and (index == index[0]).all()
                words.append(f"{axis}={index[0]}" if fixed else axis)
            parts.append(f"{group.name}[{', '.join(words)}]" if words else group.name)
        return " and ".join(parts)

    def to_json(self) -> dict[str, Any]:
        """A plain description that `layout_from_json` reads."""
        groups = [[g.name, list(g.shape), list(g.axes), g.role] for g in self.groups]
        return {"groups": groups, "registers": list(self.registers), "code": self.code.spec()}

    def __str__(self) -> str:
        lines = [f"{self.count} tokens of {self.embedding_dim} rows {self.rows}, {self.code.name} position code"]
        for group in self.groups:
            start = self._starts[group.name]
            last = start + group.size - 1
            index = ",".join(f"{axis}<{size}" for axis, size in zip(group.axes, group.shape, strict=False))
            lines.append(f"  {start:>7}..{last:<7} {group.name}[{index}]  {group.role}")
        return "\n".join(lines)


def layout_from_json(data: object, name: str = "layout") -> TokenLayout:
    """The layout that `TokenLayout.to_json` described.

    Raises:
        InputError: a field that is not as `to_json` writes it, named below `name`.
    """
    found = record(data, name, ("groups", "registers", "code"))
    entries = a_list(found["groups"], f"{name}.groups", least=1, most=MOST_GROUPS)
    groups = tuple(_group_from_json(entry, f"{name}.groups[{i}]") for i, entry in enumerate(entries))
    count = sum(group.size for group in groups)
    if not 1 <= count <= MOST_TOKENS:
        raise invalid(f"{name}.groups", f"1 to {MOST_TOKENS:,} tokens", got=f"{count:,}")
    rows = a_list(found["registers"], f"{name}.registers", least=1, most=MOST_REGISTERS)
    registers = tuple(label(row, f"{name}.registers[{i}]") for i, row in enumerate(rows))
    code = code_from_spec(found["code"], count, f"{name}.code")
    return at_place(name, lambda: TokenLayout(groups, code.name if code.name in CODES else code, registers))


def _group_from_json(data: object, name: str) -> TokenGroup:
    group, shape, axes, role = a_list(data, name, least=4, most=4)
    sizes = a_list(shape, f"{name}[1]", most=MOST_AXES)
    words = a_list(axes, f"{name}[2]", most=len(sizes))
    return TokenGroup(
        label(group, f"{name}[0]"),
        tuple(whole(size, f"{name}[1][{i}]", maximum=MOST_TOKENS) for i, size in enumerate(sizes)),
        tuple(label(axis, f"{name}[2][{i}]") for i, axis in enumerate(words)),
        remark(role, f"{name}[3]"),
    )
