"""Position codes of several integers: points of a lattice, and directions.

As every code (`codes`), a few rows in every token; gates are linear functionals of `(rows, 1)`, zero on the wanted
tokens and at most -1 on all others, exact in floating point while every partial sum is an integer below `2^p`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch

from construct.arrays import Float, Int
from construct.documents import a_list, at_place, floats, integers, label, record
from construct.errors import PrecisionError
from construct.program.codes import (
    CODES,
    EntryRange,
    PositionCode,
    check_entries,
    check_range,
    position_code,
    significand_bits,
)
from construct.validation import invalid, message, one_of

MOST_ENTRIES, LARGEST_ENTRY = 16, 2**31  # in a document
LARGEST_REAL = 2**15
SQUARES = "q"  # row of a direction code


@dataclass(frozen=True, eq=False)
class LatticeCode(PositionCode):
    """Several integer entries a token, rows `(e, e^2)` for each **[beyond the paper]**.

    A point gate is `-|e - e0|^2`, an entry gate the same sum over some of the entries, and the gate of equal entries S
    `sum_S 2 e_t e_s - sum_S e_t^2 - sum_S e_s^2`, of `|S| + 2` rows: gap 1, integers throughout.

    Attributes:
        named: the entries' names, in order.
        integers: (l, entries), the tokens' entries; no two tokens have all of them equal.
    """

    named: tuple[str, ...]
    integers: Int = field(repr=False)

    name = "lattice"
    exact = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_named(self.named, self.integers, self.tokens)
        if len(np.unique(self.integers, axis=0)) != self.tokens:
            raise invalid("integers", "different entries for every token", self.integers)

    @property
    def entries(self) -> tuple[str, ...]:
        return self.named

    @property
    def rows(self) -> tuple[str, ...]:
        return tuple(row for entry in self.named for row in (entry, f"{entry}^2"))

    @property
    def gap(self) -> float:
        return 1.0

    def values(self) -> Float:
        v = self.integers.astype(np.float64)
        return np.stack([v, v * v], axis=2).reshape(self.tokens, -1)

    def point_gate(self, token: Int) -> Float:
        at = self.integers[np.asarray(token)]
        return self.entry_gate({name: at[..., i] for i, name in enumerate(self.named)})

    def entry_gate(self, wanted: Mapping[str, Int]) -> Float:
        check_entries(tuple(wanted), self.named)
        columns = np.broadcast_arrays(*(np.asarray(v, dtype=np.float64) for v in wanted.values()))
        gate = np.zeros((*columns[0].shape, 2 * len(self.named) + 1))
        for name, v in zip(wanted, columns, strict=True):
            at = 2 * self.named.index(name)
            gate[..., at], gate[..., at + 1] = 2 * v, -1.0
            gate[..., -1] -= v * v
        return gate

    def same_gate(self, entries: Sequence[str], shift: int = 0) -> tuple[Float, Float]:
        check_entries(entries, self.named)
        if shift and len(entries) != 1:
            raise invalid("shift", "0 unless one entry is compared", shift)
        k, length = float(shift), 2 * len(self.named) + 1
        query, key = np.zeros((len(entries) + 2, length)), np.zeros((len(entries) + 2, length))
        for row, name in enumerate(entries):
            at = 2 * self.named.index(name)
            query[row, at], query[row, -1], key[row, at] = 2.0, 2 * k, 1.0
            query[-2, at], query[-2, at + 1], query[-2, -1] = -2 * k, -1.0, -k * k
            key[-1, at + 1] = -1.0
        key[-2, -1] = query[-1, -1] = 1.0
        return query, key

    def range_gate(self, first: int, last: int) -> tuple[Float, float]:
        """By the first entry whose values on the range are an interval that no other token's value meets."""
        check_range(first, last, self.tokens)
        inside = self.inside((first, last))
        for name in self.named:
            v = self.entry_values(name)
            span = EntryRange(name, int(v[inside].min()), int(v[inside].max()))
            if np.array_equal(self.inside(span), inside):
                return self.entry_range_gate(span)
        raise invalid("range", "tokens that one entry of the code tells from all others", got=f"{first}..{last}")

    def entry_values(self, entry: str) -> Int:
        check_entries((entry,), self.named)
        return self.integers[:, self.named.index(entry)]

    def entry_range_gate(self, span: EntryRange) -> tuple[Float, float]:
        check_entries((span.entry,), self.named)
        return range_rows(self, span, 2 * self.named.index(span.entry), 2 * len(self.named) + 1)

    @property
    def gate_size(self) -> float:
        # sum 2 |e| |e0| + e^2 + e0^2 <= 4 sum max e^2
        return max(1.0, 4 * float((self.integers.astype(np.float64) ** 2).max(axis=0).sum()))

    @property
    def range_size(self) -> float:
        return 1.0 + 2 * float(np.abs(self.integers.astype(np.float64)).max())

    def check(self, dtype: torch.dtype, shift: int = 0) -> None:
        # as `gate_size`, integers; an entry shifted by k is at most |e| + |k|
        size = 2 * (self.gate_size + 4 * float(shift) ** 2) if shift else self.gate_size
        check_exact_gates(size, dtype)

    def spec(self) -> dict[str, Any]:
        return {"name": self.name, "named": list(self.named), "integers": self.integers.tolist()}


@dataclass(frozen=True, eq=False)
class DirectionCode(PositionCode):
    """An integer vector A for each token, rows `(A_1, .., A_k, q)`, `q = |A|^2` **[beyond the paper]**.

    The gate of equal vectors is `-|A_t - A_s|^2 = 2 <A_t, A_s> - q_t - q_s`, of k + 2 rows: gap 1, integers throughout.
    Tokens that are *apart* carry a larger `q`, the smallest power of two above every `|A|^2` of the code: then the gate
    is at most -1 between them and any token, themselves included, as `2 <A_t, A_s> - |A_s|^2 <= |A_t|^2 <= q_t - 1`.
    They may have equal vectors, and keep what they hold while all others hear themselves; `q` tells them from these.
    Their vectors may be real: then their `q` is above every `|A|^2 + 1`, so that the gate is at most -2, and what
    rounding adds to it stays below 1; between the others it remains an integer.

    Attributes:
        named: the entries' names, in order.
        integers: (l, k), the tokens' vectors; no two tokens that are not apart have the same.
        apart: numbers of the tokens that are apart, increasing.
        reals: (n, k) the vectors of the tokens that are apart, in place of their integers; None: these.
    """

    named: tuple[str, ...]
    integers: Int = field(repr=False)
    apart: Int = field(default_factory=lambda: np.zeros(0, dtype=np.int64), repr=False)
    reals: Float | None = field(default=None, repr=False)

    name = "direction"
    exact = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_named(self.named, self.integers, self.tokens)
        if SQUARES in self.named:
            raise invalid("named", f"names other than {SQUARES!r}, the row of squares", self.named)
        if self.apart.ndim != 1 or not np.issubdtype(self.apart.dtype, np.integer):
            raise invalid("apart", "token numbers (n,)", self.apart)
        increasing = bool((self.apart[1:] > self.apart[:-1]).all())
        if self.apart.size and not (increasing and self.apart[0] >= 0 and self.apart[-1] < self.tokens):
            raise invalid("apart", f"increasing numbers of tokens below {self.tokens}", self.apart)
        met = np.delete(self.integers, self.apart, axis=0)
        if len(np.unique(met, axis=0)) != len(met):
            raise invalid("integers", "different vectors for all tokens that are not apart", self.integers)
        if self.reals is not None:
            shape = (self.apart.size, len(self.named))
            real = self.reals.shape == shape and np.issubdtype(self.reals.dtype, np.floating)
            if not real or not np.isfinite(self.reals).all() or np.abs(self.reals).max(initial=0.0) > LARGEST_REAL:
                raise invalid("reals", f"real numbers {shape} of at most {LARGEST_REAL:,}", self.reals)
            if self.integers[self.apart].any():
                raise invalid("integers", "zeros for tokens that have real vectors", self.integers[self.apart])

    @property
    def entries(self) -> tuple[str, ...]:
        return self.named

    @property
    def rows(self) -> tuple[str, ...]:
        return (*self.named, SQUARES)

    @cached_property
    def _vectors(self) -> Float:
        """A, (l, k)."""
        vectors = self.integers.astype(np.float64)
        if self.reals is not None:
            vectors[self.apart] = self.reals
        return vectors

    @property
    def gap(self) -> float:
        return 1.0

    def _squares(self) -> Float:
        """q, (l,)."""
        squares = (self._vectors**2).sum(axis=1)
        if self.apart.size:
            above = squares.max() if self.reals is None else np.ceil(squares.max()) + 2
            squares[self.apart] = 2.0 ** int(np.frexp(above)[1])  # n = f 2^e, f < 1: no logarithm that rounds
        return squares

    def values(self) -> Float:
        return np.concatenate([self._vectors, self._squares()[:, None]], axis=1)

    def point_gate(self, token: Int) -> Float:
        """As every gate; the token must not be apart."""
        wanted = np.asarray(token)
        if np.isin(wanted, self.apart).any():
            raise invalid("token", "one that is not apart", token)
        at = self.integers[wanted].astype(np.float64)
        return np.concatenate(
            [2 * at, np.full((*at.shape[:-1], 1), -1.0), -(at**2).sum(axis=-1, keepdims=True)], axis=-1
        )

    def same_gate(self, entries: Sequence[str], shift: int = 0) -> tuple[Float, Float]:
        check_entries(entries, self.named)
        if shift or set(entries) != set(self.named):
            raise invalid("entries", f"all of {self.named} of a direction code, without a shift", (*entries, shift))
        k = len(self.named)
        query, key = np.zeros((k + 2, k + 2)), np.zeros((k + 2, k + 2))
        query[range(k), range(k)], key[range(k), range(k)] = 2.0, 1.0
        query[k, k], key[k, k + 1] = -1.0, 1.0  # -q_t
        query[k + 1, k + 1], key[k + 1, k] = 1.0, -1.0  # -q_s
        return query, key

    def range_gate(self, first: int, last: int) -> tuple[Float, float]:
        """Of all tokens alone: directions have no order."""
        check_range(first, last, self.tokens)
        if (first, last) != (0, self.tokens - 1):
            raise invalid("range", "all tokens of a direction code", got=f"{first}..{last}")
        return np.zeros((0, len(self.named) + 2)), 1.0

    def entry_values(self, entry: str) -> Int:
        check_entries((entry,), self.named)
        if self.reals is not None:
            raise invalid("entry", "one of integers in every token", entry)
        return self.integers[:, self.named.index(entry)]

    def entry_range_gate(self, span: EntryRange) -> tuple[Float, float]:
        check_entries((span.entry,), self.named)
        return range_rows(self, span, self.named.index(span.entry), len(self.named) + 2)

    @property
    def gate_size(self) -> float:
        # 2 |<A_t, A_s>| + q_t + q_s <= 4 max q; real terms are off by a rounding of that each, in all by less than 1
        terms = 1 if self.reals is None else len(self.named) + 3
        return max(1.0, 4 * float(self._squares().max()) * terms)

    @property
    def range_size(self) -> float:
        return 1.0 + 2 * float(np.abs(self._vectors).max())

    def check(self, dtype: torch.dtype, shift: int = 0) -> None:
        check_exact_gates(self.gate_size, dtype)

    def spec(self) -> dict[str, Any]:
        named = {"name": self.name, "named": list(self.named), "integers": self.integers.tolist()}
        named |= {"apart": self.apart.tolist()} if self.apart.size else {}
        return named if self.reals is None else named | {"reals": self.reals.tolist()}


def lattice_code_from_spec(spec: object, tokens: int, name: str = "code") -> PositionCode:
    """The code that `spec()` described.

    Raises:
        InputError: a field that is not as `spec` writes it, named below `name`.
    """
    given = spec.get("name") if isinstance(spec, dict) else None
    if given not in (LatticeCode.name, DirectionCode.name):
        found = record(spec, name, ("name",))
        known = (*CODES, LatticeCode.name, DirectionCode.name)
        return position_code(one_of(found["name"], f"{name}.name", known), tokens)
    others = ("apart", "reals") if given == DirectionCode.name else ()
    found = record(spec, name, ("name", "named", "integers"), others)
    entries = a_list(found["named"], f"{name}.named", least=1, most=MOST_ENTRIES)
    named = tuple(label(entry, f"{name}.named[{i}]") for i, entry in enumerate(entries))
    numbers = integers(found["integers"], f"{name}.integers")
    if numbers.size and max(int(numbers.max()), -int(numbers.min())) > LARGEST_ENTRY:
        raise invalid(f"{name}.integers", f"entries of at most {LARGEST_ENTRY:,}", got="larger ones")
    if given == LatticeCode.name:
        return at_place(name, lambda: LatticeCode(tokens, named, numbers))
    apart = integers(found.get("apart", []), f"{name}.apart")
    reals = np.asarray(floats(found["reals"], f"{name}.reals"), dtype=np.float64) if "reals" in found else None
    return at_place(name, lambda: DirectionCode(tokens, named, numbers, apart, reals))


def check_named(named: tuple[str, ...], integers: Int, tokens: int) -> None:
    if not named or len(set(named)) != len(named) or not all(named):
        raise invalid("named", "at least one entry, all names different", named)
    if integers.shape != (tokens, len(named)) or not np.issubdtype(integers.dtype, np.integer):
        raise invalid("integers", f"an integer array of shape {(tokens, len(named))}", integers)


def range_rows(code: PositionCode, span: EntryRange, at: int, length: int) -> tuple[Float, float]:
    """Functionals `(r, length)` and floor of the range of an entry that is held in row `at` of a code."""
    v = code.entry_values(span.entry)
    if not code.inside(span).any():
        raise invalid("range", f"a range of {span.entry} that some token is in", got=f"{span.first}..{span.last}")
    rows = []
    for sign, edge, beyond in ((-1.0, span.first, v < span.first), (1.0, span.last, v > span.last)):
        if beyond.any():
            rows.append(np.zeros(length))
            rows[-1][at], rows[-1][-1] = sign, -sign * float(edge)
    return np.array(rows).reshape(-1, length), 1.0


def check_exact_gates(size: float, dtype: torch.dtype) -> None:
    """Raise `PrecisionError` if the partial sums of gates, integers of at most this size, are not exact in a dtype."""
    limit = 2.0 ** significand_bits(dtype)
    if size > limit:
        expected = f"a dtype that holds gates of size {size:.3g} exactly"
        raise PrecisionError(message("dtype", expected, got=f"{dtype}, exact up to {limit:.3g}"))
