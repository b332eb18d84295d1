"""Position codes: how a token knows where it stands, and how a head or an FFN asks.

A code puts two numbers into every token. A *gate* is a linear functional of `(code0, code1, 1)` that is
zero on the wanted tokens and at most `-gap` on all others; times a large enough constant `C` it silences a
ReLU head everywhere else (Havrilla and Liao 2024, Lemma 3; the integer code is this library's).

- `IntegerCode`: `I_t = (v, v^2)` with `v = t - floor(l/2)`. Then `-(v - v0)^2 = <(2 v0, -1, -v0^2), (v, v^2, 1)>`:
  gap 1, exact in floating point while every partial sum is an integer below `2^p`.
- `TrigonometricCode`: `I_t = (cos(t pi / 2l), sin(t pi / 2l))`, `<I_t, I_t0> - 1`: gap `2 sin^2(pi / 4l)`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import torch

from construct.arrays import Float, Int
from construct.errors import InputError, PrecisionError


def significand_bits(dtype: torch.dtype) -> int:
    """Bits of the significand, the hidden one included (53 for float64, 24 for float32)."""
    return 1 - round(float(np.log2(torch.finfo(dtype).eps))) if dtype.is_floating_point else 0


@dataclass(frozen=True)
class PositionCode(ABC):
    """Code of `tokens` tokens; gates are rows of coefficients over `(code0, code1, 1)`."""

    tokens: int

    name = "abstract"
    exact = False  # gates are integers, so a gate constant of 1 closes a linear read

    def __post_init__(self) -> None:
        if self.tokens < 1:
            raise InputError(f"tokens: expected a positive integer, got {self.tokens}")

    @abstractmethod
    def values(self) -> Float:
        """The code of every token, shape (l, 2)."""

    @property
    @abstractmethod
    def gap(self) -> float:
        """Every gate is at most `-gap` away from its wanted tokens."""

    @abstractmethod
    def point_gate(self, token: Int) -> Float:
        """Coefficients, shape (m, 3), of a gate that vanishes at `token` alone."""

    @abstractmethod
    def shift_gate(self, shift: int) -> tuple[Float, Float]:
        """Forms `(q, k)`, shape (3, 3) each: `sum_r <q_r, c_t> <k_r, c_s>` is 0 iff `s = t + shift`."""

    @abstractmethod
    def range_gate(self, first: int, last: int) -> tuple[Float, float]:
        """At most two functionals (r, 3) and a floor `g`: the sum of their ReLUs is exactly 0 on
        `first..last` and at least `g > 0` on every other token."""

    @abstractmethod
    def check(self, dtype: torch.dtype) -> None:
        """Raise `PrecisionError` if `dtype` cannot hold the code of this many tokens."""


class IntegerCode(PositionCode):
    """`(v, v^2)`, `v = t - floor(l/2)` **[beyond the paper]**."""

    name = "integer"
    exact = True

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

    def shift_gate(self, shift: int) -> tuple[Float, Float]:
        # -(v_t + k - v_s)^2 = [-(v_t + k)^2] 1 + [2 (v_t + k)] v_s + 1 [-v_s^2]
        k = float(shift)
        query = np.array([[-2 * k, -1.0, -k * k], [2.0, 0.0, 2 * k], [0.0, 0.0, 1.0]])
        key = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
        return query, key

    def range_gate(self, first: int, last: int) -> tuple[Float, float]:
        _check_range(first, last, self.tokens)
        rows = []
        if first > 0:
            rows.append([-1.0, 0.0, float(first - self.offset)])
        if last < self.tokens - 1:
            rows.append([1.0, 0.0, -float(last - self.offset)])
        return np.array(rows, dtype=np.float64).reshape(-1, 3), 1.0

    def check(self, dtype: torch.dtype) -> None:
        # with |v|, |v0| <= l/2 every partial sum of a gate is an integer of size at most
        # 2 |v| |v0| + v^2 + v0^2 <= l^2, hence exact up to 2^(bits of the significand)
        limit = 2 ** significand_bits(dtype)
        if self.tokens**2 > limit:
            raise PrecisionError(
                f"dtype: {dtype} holds the integer code of at most {int(limit**0.5)} tokens exactly, "
                f"this network has {self.tokens}; use float64 or a coarser epsilon"
            )


class TrigonometricCode(PositionCode):
    """`(cos(t pi / 2l), sin(t pi / 2l))`, the code of Havrilla and Liao."""

    name = "trigonometric"
    exact = False

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

    def shift_gate(self, shift: int) -> tuple[Float, Float]:
        # <R I_t, I_s> - 1 with R the rotation by `shift` tokens
        c, s = np.cos(self._angle(shift)), np.sin(self._angle(shift))
        query = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, -1.0]])
        return query, np.eye(3)

    def range_gate(self, first: int, last: int) -> tuple[Float, float]:
        _check_range(first, last, self.tokens)
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

    def check(self, dtype: torch.dtype) -> None:
        # below this the gap 2 sin^2(pi/4l) is not even seen next to 1
        if self.gap < 4 * torch.finfo(dtype).eps:
            raise PrecisionError(
                f"dtype: {dtype} cannot tell {self.tokens} trigonometric codes apart "
                f"(gap {self.gap:.1e}, unit round-off {torch.finfo(dtype).eps:.1e}); use the integer code or float64"
            )


CODES: dict[str, type[PositionCode]] = {"integer": IntegerCode, "trigonometric": TrigonometricCode}


def position_code(name: str, tokens: int) -> PositionCode:
    """The code called `name` ("integer" or "trigonometric") for `tokens` tokens."""
    if name not in CODES:
        raise InputError(f"position_code: expected one of {sorted(CODES)}, got {name!r}")
    return CODES[name](tokens)


def _check_range(first: int, last: int, tokens: int) -> None:
    if not 0 <= first <= last < tokens:
        raise InputError(f"range: expected 0 <= first <= last < {tokens}, got {first}..{last}")
