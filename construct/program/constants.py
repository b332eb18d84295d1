"""Gate constants: the smallest that works and the largest that floating point allows.

A head with bilinear form `G` over `u = (a, b, 1)` and gates `g1(t), g2(s) <= 0` is silent outside the wanted
pairs if `u_t^T G u_s + C (g1(t) + g2(s)) <= 0` there. With `|u| <= U` entrywise over all tokens and
`g1 + g2 <= -gap` this holds when `C gap >= U^T |G| U` (condition of the interaction lemma, Havrilla and Liao
Lemma 3). `smallest_gate_constant` adds a factor `1 + 16u`, which covers its own sum of nine products. The gap of the
trigonometric code is that of exact cosines; the stored ones fall short of it by up to `4u l^2` relative, which
`gate_constant` covers by its 1 % up to four million tokens.
"""

from __future__ import annotations

import numpy as np
import torch

from construct.arrays import Float
from construct.errors import PrecisionError
from construct.program.codes import PositionCode

SAFETY = 1.01


def form_bound(form: Float, bound: Float) -> Float:
    """`U^T |G| U` for forms (m, 3, 3) and one bound U (3,) on `(|a|, |b|, 1)` of all tokens; shape (m,)."""
    return np.einsum("i,mij,j->m", bound, np.abs(form), bound)


def smallest_gate_constant(form: Float, bound: Float, gap: float) -> Float:
    """Smallest C that closes the gate for every admissible state, shape (m,)."""
    unit = float(np.finfo(np.float64).eps) / 2
    return form_bound(form, bound) * (1 + 16 * unit) / gap


def gate_constant(form: Float, bound: Float, gap: float) -> Float:
    """The power of two just above `1.01` times the smallest constant (at least 1), shape (m,).

    A power of two keeps integer gates exact in IEEE arithmetic whatever the number of tokens.
    """
    smallest = np.maximum(SAFETY * smallest_gate_constant(form, bound, gap), 1.0)
    return np.exp2(np.ceil(np.log2(smallest)))


def largest_gate_constant(code: PositionCode, dtype: torch.dtype, tolerance: float) -> float:
    """Largest C for which a gate that should be open is off by at most `tolerance`.

    Integer code: a power of two scales exactly, so only overflow of `C l^2` limits it.
    Trigonometric code: `cos^2 + sin^2 - 1` rounds to at most `4u`, so `C <= tolerance / 4u`.
    """
    info = torch.finfo(dtype)
    if code.exact:
        return float(2.0 ** np.floor(np.log2(info.max / (4.0 * max(code.tokens, 1) ** 2))))
    return tolerance / (2 * info.eps)


def check_gate_constant(constant: Float, code: PositionCode, dtype: torch.dtype, tolerance: float) -> None:
    """Raise `PrecisionError` when a gate constant exceeds what `dtype` can hold to `tolerance`."""
    largest = largest_gate_constant(code, dtype, tolerance)
    if constant.size and not constant.max() <= largest:
        raise PrecisionError(
            f"dtype: a gate constant of {constant.max():.2e} is needed, but with {dtype} and the {code.name} code of "
            f"{code.tokens} tokens anything above {largest:.2e} is off by more than {tolerance:.1e}"
        )


def linear_read_constant(code: PositionCode) -> float:
    """Gate constant of a linear read, whose form is the constant 1: no data bound enters."""
    return 1.0 if code.exact else SAFETY / code.gap
