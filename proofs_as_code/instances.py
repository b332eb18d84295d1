"""Hypotheses that several statements share: token layouts, forms, values, data bounds and registers.

All numbers are dyadic rationals of few bits, so that products of a handful of them are exact in float64 and a constant
can be put exactly at, or just below, its minimum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from flint import fmpq
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from construct.arrays import Float
from construct.program.layout import TokenGroup, TokenLayout
from proofs_as_code import rational
from proofs_as_code.framework import Hypothesis

MOST_TOKENS = 16


@dataclass(frozen=True)
class Site:
    """l tokens and an ordered pair of them, the target and the source of a head."""

    tokens: int
    target: int
    source: int

    def layout(self, code: str) -> TokenLayout:
        return layout(self.tokens, code)


def layout(tokens: int, code: str) -> TokenLayout:
    """l tokens in one group."""
    return TokenLayout((TokenGroup("t", (tokens,)),), code)


@st.composite
def _sites(draw: st.DrawFn, least: int, most: int) -> Site:
    tokens = draw(st.integers(least, most))
    index = st.integers(0, tokens - 1)
    return Site(tokens, draw(index), draw(index))


def sites(least: int = 2, most: int = MOST_TOKENS) -> Hypothesis:
    """Any number of tokens, any ordered pair, the same token twice included."""
    return Hypothesis(f"{least} <= l <= {most} tokens, target t1 and source t2 among them", _sites(least, most))


def _arrays(shape: tuple[int, ...], least: int, most: int, scale: int) -> SearchStrategy[Float]:
    count = int(np.prod(shape))
    entries = st.lists(st.integers(least, most), min_size=count, max_size=count)
    return entries.map(lambda values: np.array(values, dtype=np.float64).reshape(shape) / scale)


FORMS = Hypothesis(
    "bilinear form G (3 x 3) over u = (a, b, 1), entries in 2^-4 Z, |G_ij| <= 4", _arrays((1, 3, 3), -64, 64, 16)
)
POSITIVE_FORMS = Hypothesis("G > 0 entrywise, so that u = U attains U^T |G| U", _arrays((1, 3, 3), 1, 64, 16))
VALUES = Hypothesis(
    "value A (2 x 3): the head writes A u_s, entries in 2^-3 Z, |A_ij| <= 4", _arrays((1, 2, 3), -32, 32, 8)
)
BOUNDS = Hypothesis(
    "data bound U = (U_a, U_b, 1), |a_t| <= U_a and |b_t| <= U_b for every token",
    st.tuples(st.integers(1, 40), st.integers(1, 40)).map(lambda u: np.array([u[0] / 8, u[1] / 8, 1.0])),
)


def _narrow(entry: tuple[int, int]) -> Float:
    register, weight = entry
    out = np.zeros((1, 2, 3))
    out[0, register, 2] = weight / 8
    return out


NARROW_VALUES = Hypothesis(
    "output row i in {a, b} and value v != 0: V = v e_i e_4^T",
    st.tuples(st.integers(0, 1), st.integers(-32, 32).filter(bool)).map(_narrow),
)
NONZERO_VALUES = Hypothesis(
    "value A with A u_s >= 1/8 in both registers", st.just(np.array([[[0, 0, 1.0], [0, 0, 0.125]]]))
)


def units(most: int = MOST_TOKENS) -> Hypothesis:
    """Registers of up to `most` tokens in units of the data bound."""
    text = "registers: any dyadic rationals with |a_t| <= U_a, |b_t| <= U_b"
    return Hypothesis(text, rational.registers(most, bits=6))


AT_BOUND = Hypothesis("every register at its bound", st.just([(fmpq(1), fmpq(1))] * MOST_TOKENS))


def scaled(units: Sequence[tuple[fmpq, fmpq]], bound: Float, tokens: int) -> list[tuple[fmpq, fmpq]]:
    """Registers of `tokens` tokens: units times the bound."""
    a, b = rational.rational(float(bound[0])), rational.rational(float(bound[1]))
    return [(a * x, b * y) for x, y in units[:tokens]]
