"""Gate constants: the smallest that works and the largest that floating point allows.

A head with bilinear form `G` over `u = (registers, 1)` and gates `g1(t), g2(s) <= 0` is silent outside the wanted
pairs if `u_t^T G u_s + C (g1(t) + g2(s)) <= 0` there. With `|u| <= U` entrywise over all tokens and
`g1 + g2 <= -gap` this holds when `C gap >= U^T |G| U` (condition of the interaction lemma, Havrilla and Liao
Lemma 3). `smallest_gate_constant` adds a factor `1 + 16u`, which covers its own sum of products. The gap of the
trigonometric code is that of exact cosines; the stored ones fall short of it by up to `4u l^2` relative, which
`gate_constant` covers by its 1 %: `TrigonometricCode.check` refuses more tokens than that (200 in float32).
"""

from __future__ import annotations

import numpy as np
import torch

from construct.arrays import Float
from construct.errors import PrecisionError
from construct.program.codes import PositionCode, Span, significand_bits
from construct.validation import message

SAFETY = 1.01
SMALL = 1e-2  # of the largest score that is meant: how far the gates of an inexact code may round
GATE_TOLERANCE = 1e-3
"""How far an open gate may be off before a network is refused: more than any target of interest could bear."""


def form_bound(form: Float, bound: Float) -> Float:
    """`U^T |G| U` for forms (m, k, k) and one bound U (k,) on `(|registers|, 1)` of all tokens; shape (m,)."""
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


def linear_read_constant(code: PositionCode, count: int) -> Float:
    """Gate constants (m,) of linear reads, whose form is the constant 1: no data bound enters.

    Integer codes: 1, since `1 + gates` is an integer. Otherwise that of a form 1.
    """
    return np.ones(count) if code.exact else gate_constant(np.ones((count, 1, 1)), np.ones(1), code.gap)


def range_constant(code: PositionCode, span: Span | None, bound: float) -> float:
    """Constant that silences FFN values up to `bound` outside a range of tokens; 0 where all tokens are meant."""
    if span is None:
        return 0.0
    constant = max(bound, 0.0) * SAFETY / code.span_gate(span)[1]
    return float(2.0 ** np.ceil(np.log2(constant))) if constant > 0 else 1.0


def largest_gate_constant(code: PositionCode, dtype: torch.dtype, tolerance: float) -> float:
    """Largest C for which a gate that should be open is off by at most `tolerance`.

    Integer codes: a power of two scales exactly, so only overflow of `C l^2` limits it.
    Trigonometric code: `cos^2 + sin^2 - 1` rounds to at most `4u`, so `C <= tolerance / 4u`.
    """
    info = torch.finfo(dtype)
    if code.exact:
        return float(2.0 ** np.floor(np.log2(info.max / (4.0 * code.gate_size))))
    return tolerance / (2 * info.eps)


def check_gate_constant(
    constant: Float, code: PositionCode, dtype: torch.dtype, tolerance: float = GATE_TOLERANCE, *, where: str = ""
) -> None:
    """Raise `PrecisionError` when a gate constant exceeds what `dtype` can hold to `tolerance`; `where` is named."""
    largest = largest_gate_constant(code, dtype, tolerance)
    if constant.size and not constant.max() <= largest:
        needed = f"a dtype that holds a gate constant of {constant.max():.2e}" + (f" ({where})" if where else "")
        given = f"{dtype} and the {code.name} code of {code.tokens} tokens, where anything above {largest:.2e} "
        raise PrecisionError(message("dtype", needed, got=given + f"opens a gate to more than {tolerance:.0e} off"))


def check_small_scores(
    constant: Float, largest: Float, code: PositionCode, dtype: torch.dtype, *, where: str = ""
) -> None:
    """Raise `PrecisionError` where the gates of an inexact code round to more than `SMALL` of what their scores can be.

    That is so where data are tiny beside those of other tokens, as on manifolds of size 1e-6: later stages divide by
    that size.

    Args:
        constant: (m,) gate constants.
        largest: (m,) bounds of the scores on the pairs that are meant, without their gates.
    """
    if code.exact:
        return
    rounding = 2 * torch.finfo(dtype).eps * constant
    lost = (largest > 0) & (rounding > SMALL * largest)
    if lost.any():
        expected = "'integer', whose gates are exact, or a larger manifold" + (f" ({where})" if where else "")
        got = f"'{code.name}', whose gates round to {rounding[lost].max():.1e} beside data of {largest[lost].min():.1e}"
        raise PrecisionError(message("position_code", expected, got=got))


def check_folded_gates(constant: Float, code: PositionCode, dtype: torch.dtype, *, where: str = "") -> None:
    """Raise `PrecisionError` where `1 + C g` is not exact for a gate g of an exact code, as rules that `fold` need it:
    a power of two scales g exactly, but not the 1 beside it."""
    limit = 2.0 ** significand_bits(dtype)
    size = float(constant.max(initial=0.0)) * code.gate_size
    if not size < limit:
        needed = f"a dtype that holds gates of size {size:.3g} beside 1 exactly" + (f" ({where})" if where else "")
        raise PrecisionError(message("dtype", needed, got=f"{dtype}, exact up to {limit:.3g}"))


def check_range_constant(constant: float, code: PositionCode, dtype: torch.dtype, *, where: str = "") -> None:
    """Raise `PrecisionError` when `C g` of an FFN's gate could overflow."""
    largest = torch.finfo(dtype).max / (4.0 * code.range_size)
    if not constant <= largest:
        needed = f"a dtype that holds a gate constant of {constant:.2e}" + (f" ({where})" if where else "")
        raise PrecisionError(message("dtype", needed, got=f"{dtype}, where anything above {largest:.2e} overflows"))
