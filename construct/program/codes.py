"""Position codes: how a token knows where it stands, and how a head or an FFN asks.

A code writes a few numbers, its *rows*, into every token. They hold one or several integers, the token's *entries*
(its number, or a role and a chart, or a lattice vector). A *gate* is a linear functional of `(rows, 1)` that is zero on
the wanted tokens and at most `-gap` on all others; times a large enough constant `C` it silences a ReLU head everywhere
else (Havrilla and Liao 2024, Lemma 3; the integer codes are this library's).

- `IntegerCode`: entry `t`, rows `(v, v^2)`, `v = t - floor(l/2)`. `-(v - v0)^2 = <(2 v0, -1, -v0^2), (v, v^2, 1)>`:
  gap 1, exact in floating point while every partial sum is an integer below `2^p`.
- `TrigonometricCode`: entry `t`, rows `(cos(t pi / 2l), sin(t pi / 2l))`, `<I_t, I_t0> - 1`: gap `2 sin^2(pi / 4l)`.
- `lattice.LatticeCode`: several integer entries `e`, rows `(e, e^2)` each; a gate may ask for some of the entries only.
- `lattice.DirectionCode`: an integer vector `A`, rows `(A, |A|^2)`; tokens that are apart meet nobody.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from construct.arrays import Float, Int
from construct.errors import PrecisionError
from construct.validation import integer, invalid, message, one_of, positive_integer

GAP_LOSS = 0.01  # of the trigonometric gap, to rounding


def significand_bits(dtype: torch.dtype) -> int:
    """Bits of the significand, the hidden one included (53 for float64, 24 for float32)."""
    return 1 - round(float(np.log2(torch.finfo(dtype).eps))) if dtype.is_floating_point else 0


@dataclass(frozen=True)
class EntryRange:
    """The tokens whose named code entry is in `first..last`."""

    entry: str
    first: int
    last: int

    def __post_init__(self) -> None:
        integer(self.first, "first", minimum=-(2**53))
        integer(self.last, "last", minimum=int(self.first))


Span = tuple[int, int] | EntryRange
"""A range of tokens, by number (first, last) or by a code entry."""


@dataclass(frozen=True)
class PositionCode(ABC):
    """Code of `tokens` tokens; gates are rows of coefficients over `(*rows, 1)`, of length `len(rows) + 1`."""

    tokens: int

    name = "abstract"
    exact = False  # gates are integers, so a gate constant of 1 closes a linear read
    pairs = False  # there is a gate for two adjacent tokens

    def __post_init__(self) -> None:
        positive_integer(self.tokens, "tokens")

    @property
    def entries(self) -> tuple[str, ...]:
        """Names of the integers that tell a token from the others."""
        return ("t",)

    @property
    @abstractmethod
    def rows(self) -> tuple[str, ...]:
        """Names of the rows that the code fills."""

    @abstractmethod
    def values(self) -> Float:
        """The code of every token, shape (l, rows)."""

    @property
    @abstractmethod
    def gap(self) -> float:
        """Every gate is at most `-gap` away from its wanted tokens."""

    @abstractmethod
    def point_gate(self, token: Int) -> Float:
        """Coefficients, shape (m, rows + 1), of a gate that vanishes at `token` alone."""

    def pair_gate(self, token: Int) -> Float:
        """A gate (m, rows + 1) that vanishes at `token` and `token + 1` alone.

        Raises:
            InputError: the code has none.
        """
        raise invalid("code", "a code with a gate for two adjacent tokens (the integer code)", got=self.name)

    def entry_gate(self, wanted: Mapping[str, Int]) -> Float:
        """A gate (m, rows + 1) that vanishes where the named entries have these values, whatever the others.

        Raises:
            InputError: the code cannot ask for its entries apart.
        """
        raise invalid("code", "a code with entries that can be asked for apart (the lattice code)", got=self.name)

    @abstractmethod
    def same_gate(self, entries: Sequence[str], shift: int = 0) -> tuple[Float, Float]:
        """Forms `(q, k)`, shape (r, rows + 1) each: `sum_i <q_i, c_t> <k_i, c_s>` is 0 iff source and target have equal
        `entries`, the source's being larger by `shift` if there is one entry."""

    @abstractmethod
    def range_gate(self, first: int, last: int) -> tuple[Float, float]:
        """At most two functionals (r, rows + 1) and a floor `g`: the sum of their ReLUs is exactly 0 on the tokens
        `first..last` and at least `g > 0` on every other token."""

    def entry_values(self, entry: str) -> Int:
        """The named entry of every token, (l,)."""
        check_entries((entry,), self.entries)
        return np.arange(self.tokens, dtype=np.int64)

    def entry_range_gate(self, span: EntryRange) -> tuple[Float, float]:
        """As `range_gate`, for the tokens whose entry is in a range."""
        check_entries((span.entry,), self.entries)
        return self.range_gate(span.first, span.last)

    def span_gate(self, span: Span) -> tuple[Float, float]:
        """The gate of a range of tokens, however it is given."""
        return self.entry_range_gate(span) if isinstance(span, EntryRange) else self.range_gate(*span)

    def inside(self, span: Span) -> NDArray[np.bool_]:
        """Which tokens are in a range, (l,)."""
        if isinstance(span, EntryRange):
            values = self.entry_values(span.entry)
            return (span.first <= values) & (values <= span.last)
        mask = np.zeros(self.tokens, dtype=bool)
        mask[span[0] : span[1] + 1] = True
        return mask

    @abstractmethod
    def check(self, dtype: torch.dtype, shift: int = 0) -> None:
        """Raise `PrecisionError` if `dtype` cannot hold the code of this many tokens, or a gate shifted by `shift`."""

    @property
    @abstractmethod
    def gate_size(self) -> float:
        """Bound on the partial sums of any gate of this code."""

    @property
    @abstractmethod
    def range_size(self) -> float:
        """Bound on the sum of the ReLUs of any range gate."""

    def spec(self) -> dict[str, Any]:
        """What `code_from_spec` needs besides the number of tokens."""
        return {"name": self.name}


class IntegerCode(PositionCode):
    """`(v, v^2)`, `v = t - floor(l/2)` **[beyond the paper]**."""

    name = "integer"
    exact = True
    pairs = True

    @property
    def rows(self) -> tuple[str, ...]:
        return ("t", "t^2")

    @property
    def offset(self) -> int:
        return self.tokens // 2

    @property
    def gap(self) -> float:
        return 1.0

    def values(self) -> Float:
        v = np.arange(self.tokens, dtype=np.float64) - self.offset
        return np.stack([v, v * v], axis=1)

    def point_gate(self, token: Int) -> Float:
        v = np.asarray(token, dtype=np.float64) - self.offset
        return np.stack([2 * v, -np.ones_like(v), -v * v], axis=-1)

    def pair_gate(self, token: Int) -> Float:
        """`-(v - v0)(v - v0 - 1)`: vanishes at `token` and at `token + 1`, at most -2 elsewhere."""
        v = np.asarray(token, dtype=np.float64) - self.offset
        return np.stack([2 * v + 1, -np.ones_like(v), -v * (v + 1)], axis=-1)

    def same_gate(self, entries: Sequence[str], shift: int = 0) -> tuple[Float, Float]:
        # -(v_t + k - v_s)^2 = [-(v_t + k)^2] 1 + [2 (v_t + k)] v_s + 1 [-v_s^2]
        check_entries(entries, self.entries)
        k = float(shift)
        query = np.array([[-2 * k, -1.0, -k * k], [2.0, 0.0, 2 * k], [0.0, 0.0, 1.0]])
        key = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
        return query, key

    def range_gate(self, first: int, last: int) -> tuple[Float, float]:
        check_range(first, last, self.tokens)
        rows = []
        if first > 0:
            rows.append([-1.0, 0.0, float(first - self.offset)])
        if last < self.tokens - 1:
            rows.append([1.0, 0.0, -float(last - self.offset)])
        return np.array(rows, dtype=np.float64).reshape(-1, 3), 1.0

    @property
    def gate_size(self) -> float:
        return float(self.tokens**2)

    @property
    def range_size(self) -> float:
        return float(self.tokens)

    def check(self, dtype: torch.dtype, shift: int = 0) -> None:
        # with |v|, |v0| <= l/2 every partial sum of a gate is an integer of size at most
        # 2 |v| |v0| + v^2 + v0^2 <= l^2, shifted (l + |k|)^2, hence exact up to 2^(bits of the significand)
        limit = 2 ** significand_bits(dtype)
        if (self.tokens + abs(shift)) ** 2 > limit:
            shifted = f" shifted by {shift}" if shift else ""
            expected = f"a dtype that holds the integer code of {self.tokens} tokens{shifted} exactly"
            got = f"{dtype}, which holds at most {int(limit**0.5)}; float64 or a coarser epsilon has more room"
            raise PrecisionError(message("dtype", expected, got=got))


class TrigonometricCode(PositionCode):
    """`(cos(t pi / 2l), sin(t pi / 2l))`, the code of Havrilla and Liao."""

    name = "trigonometric"

    @property
    def rows(self) -> tuple[str, ...]:
        return ("cos", "sin")

    @property
    def gap(self) -> float:
        return float(2 * np.sin(np.pi / (4 * self.tokens)) ** 2)

    def _angle(self, token: Float | Int | float) -> Float:
        return np.asarray(token, dtype=np.float64) * (np.pi / (2 * self.tokens))

    def values(self) -> Float:
        angle = self._angle(np.arange(self.tokens))
        return np.stack([np.cos(angle), np.sin(angle)], axis=1)

    def point_gate(self, token: Int) -> Float:
        angle = self._angle(token)
        return np.stack([np.cos(angle), np.sin(angle), -np.ones_like(angle)], axis=-1)

    def same_gate(self, entries: Sequence[str], shift: int = 0) -> tuple[Float, Float]:
        # <R I_t, I_s> - 1 with R the rotation by `shift` tokens
        check_entries(entries, self.entries)
        c, s = np.cos(self._angle(shift)), np.sin(self._angle(shift))
        query = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, -1.0]])
        return query, np.eye(3)

    def range_gate(self, first: int, last: int) -> tuple[Float, float]:
        check_range(first, last, self.tokens)
        # cos is decreasing on the tokens: one functional on each side of the range
        cosine = self.values()[:, 0]
        rows, floors = [], []
        if first > 0:
            edge = float(np.cos(self._angle(first - 0.5)))
            rows.append([1.0, 0.0, -edge])
            floors.append(float((cosine[:first] - edge).min()))
        if last < self.tokens - 1:
            edge = float(np.cos(self._angle(last + 0.5)))
            rows.append([-1.0, 0.0, edge])
            floors.append(float((edge - cosine[last + 1 :]).min()))
        return np.array(rows, dtype=np.float64).reshape(-1, 3), min(floors, default=1.0)

    @property
    def gate_size(self) -> float:
        return 3.0

    @property
    def range_size(self) -> float:
        return 4.0

    def check(self, dtype: torch.dtype, shift: int = 0) -> None:
        # below this the gap 2 sin^2(pi/4l) is not even seen next to 1; and what the stored cosines may take from it,
        # 4 u l^2 of it, has to stay within the 1 % that gate constants are larger than the smallest
        eps = torch.finfo(dtype).eps
        if self.gap < 4 * eps or 2 * eps * self.tokens**2 > GAP_LOSS:
            expected = f"a dtype that tells {self.tokens} trigonometric codes apart (gap {self.gap:.1e})"
            raise PrecisionError(message("dtype", expected, got=f"{dtype}, unit round-off {eps:.1e}"))


CODES: dict[str, type[PositionCode]] = {"integer": IntegerCode, "trigonometric": TrigonometricCode}


def position_code(name: str, tokens: int) -> PositionCode:
    """The code of positions called `name` ("integer" or "trigonometric") for `tokens` tokens."""
    return CODES[one_of(name, "position_code", CODES)](tokens)


def check_range(first: int, last: int, tokens: int) -> None:
    if not 0 <= first <= last < tokens:
        raise invalid("range", f"0 <= first <= last < {tokens}", got=f"{first}..{last}")


def check_entries(given: Sequence[str], known: Sequence[str]) -> None:
    if not given or len(set(given)) != len(given) or not set(given) <= set(known):
        raise invalid("entries", f"some of {tuple(known)}, each once", tuple(given))
