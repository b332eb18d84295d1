"""The integer code in floating point, and the range gates of both codes.

Integer code. `I_t = (v, v^2)`, v = t - floor(l/2), and `-(v - v0)^2 = 2 v0 v - v^2 - v0^2`. With |v|, |v0| <= l/2 every
partial sum in any order is an integer of size at most 2 |v v0| + v^2 + v0^2 <= l^2, so a dtype of p bits computes every
gate exactly while l^2 <= 2^p. Past that v^2 itself rounds: for l/2 > 2^(p/2) two neighbours become one.

Range gates. At most two functionals of the code whose relus sum to 0 on a range and not elsewhere: code value below the
first or above the last token (integer), cos above or below the value half-way to the next token (trigonometric; cos
decreases on the tokens). The nearest distance to such a half-way value is at t = 0: 1 - cos(pi/4l), at least 0.29/l^2
(l = 1) and at most pi^2/(32 l^2) < 0.3085/l^2.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
import torch
from flint import fmpq
from hypothesis import strategies as st
from numpy.typing import NDArray

from construct.errors import PrecisionError
from construct.program.codes import IntegerCode, PositionCode, TrigonometricCode
from proofs_as_code import rational
from proofs_as_code.framework import Hypothesis, Statement, Twin, Verdict, verdict
from proofs_as_code.rational import ZERO

UNIT = fmpq(1, 2**53)
ORDERS = ((0, 1, 2), (0, 2, 1), (1, 2, 0))  # which of the three products is added last; the first two commute
TYPES: dict[str, type[np.floating[Any]]] = {"float32": np.float32, "float64": np.float64, "float16": np.float16}


def gate_products(code: PositionCode, first: int, stop: int, dtype: type[np.floating[Any]]) -> list[NDArray[Any]]:
    """The three products of the gate of every token v0 with tokens first..stop - 1, in `dtype`: (stop - first, l)."""
    rows = code.point_gate(np.arange(code.tokens)).astype(dtype)
    values = np.hstack([code.values(), np.ones((code.tokens, 1))])[first:stop].astype(dtype)
    return [values[:, None, k] * rows[None, :, k] for k in range(3)]


def check_float_gates(tokens: int, dtype: str) -> Verdict:
    """Every gate of every ordered pair in floating point, summed in every order, against `-(t - t0)^2`."""
    code, worst, where = IntegerCode(tokens), 0.0, {}
    for start in range(0, tokens, 256):
        stop = min(start + 256, tokens)
        terms = gate_products(code, start, stop, TYPES[dtype])
        exact = -((np.arange(start, stop)[:, None] - np.arange(tokens)[None, :]) ** 2)
        for i, j, k in ORDERS:
            off = np.abs(((terms[i] + terms[j]) + terms[k]).astype(np.int64) - exact)
            if off.max() > worst:
                t, t0 = (int(x) for x in np.unravel_index(off.argmax(), off.shape))
                worst, where = float(off.max()), {"token": start + t, "gate": t0, "order": [i, j, k], "tokens": tokens}
    return verdict(0, worst, kind="exact", points=3 * tokens**2, dtype=dtype, worst_point=where)


def check_limit(dtype: str, excess: int) -> Verdict:
    """Whether `IntegerCode.check` accepts l = 2^(p/2) + excess tokens exactly if l^2 <= 2^p."""
    limit = math.isqrt(2 ** (np.finfo(TYPES[dtype]).nmant + 1))
    tokens = limit + excess
    try:
        IntegerCode(tokens).check(getattr(torch, dtype))
        accepted = True
    except PrecisionError:
        accepted = False
    wrong = int(accepted != (tokens <= limit))
    return verdict(0, wrong, kind="exact", points=1, dtype=dtype, worst_point={"tokens": tokens, "accepted": accepted})


def check_neighbours(dtype: str, tokens: int) -> Verdict:
    """What a linear read, `relu(1 + gate)`, lets through at the neighbours of its token, in floating point: 0."""
    code = IntegerCode(tokens)
    rows = code.point_gate(np.arange(1, tokens)).astype(TYPES[dtype])
    values = code.values()[:-1].astype(TYPES[dtype])
    leak = 1 + ((rows[:, 0] * values[:, 0] + rows[:, 1] * values[:, 1]) + rows[:, 2])
    worst = {"tokens": tokens, "token": int(leak.argmax()), "gate": int(leak.argmax()) + 1}
    return verdict(0, float(leak.max()), kind="exact", points=tokens - 1, dtype=dtype, worst_point=worst)


def check_range(tokens: int, first: int, length: int, code: str, *, shift: int = 0, floor: float = 0.29) -> Verdict:
    """The sum of a range gate's relus, exactly: 0 on the range and at least the floor on every other token.

    Floor: what `range_gate` promises less one rounding, and 1 (integer) or `floor / l^2` (trigonometric). The verdict
    is on the largest violation; `shift` moves the range that is claimed.
    """
    kind = {"integer": IntegerCode, "trigonometric": TrigonometricCode}[code](tokens)
    first = first % tokens
    last = min(first + length, tokens - 1)
    rows, promised = kind.range_gate(first, last)
    stated = fmpq(1) if code == "integer" else rational.rational(floor) / tokens**2
    least = max(stated, rational.rational(promised) * (1 - 2 * UNIT)) if len(rows) else stated
    state = rational.matrix(np.hstack([kind.values(), np.ones((tokens, 1))]))
    totals = [ZERO] * tokens
    if len(rows):
        gates = rational.relu(state * rational.matrix(rows).transpose())
        totals = [sum((gates[t, r] for r in range(len(rows))), ZERO) for t in range(tokens)]
    violation, token = max(
        (total if first + shift <= t <= last + shift else least - total, t) for t, total in enumerate(totals)
    )
    where = {"tokens": tokens, "range": [first, last], "token": token}
    return verdict(ZERO, violation, kind="exact", points=tokens, dtype="rational", worst_point=where)


LENGTHS = Hypothesis("l tokens, l^2 <= 2^24", st.sampled_from([1, 2, 3, 7, 16, 129, 512, 1025, 2048, 4096]))
DTYPES = Hypothesis("dtype float32 or float64", st.sampled_from(["float32", "float64"]))
FLOAT32 = Hypothesis("dtype float32", st.just("float32"))
CODES = Hypothesis("either code", st.sampled_from(["integer", "trigonometric"]))

STATEMENTS: tuple[Statement, ...] = (
    Statement(
        name="codes.integer.exact",
        source="ours",
        claim="every gate -(t - t0)^2 of the integer code is exact in floating point of p bits, in every order of "
        "summation, for all ordered pairs, if l^2 <= 2^p",
        latex=r"If $l^2\le 2^p$, every gate $-(t-t_0)^2$ of the integer code is exact in $p$-bit arithmetic, in every "
        r"order of summation.",
        hypotheses={"tokens": LENGTHS, "dtype": DTYPES},
        check=check_float_gates,
        twins=(
            Twin(
                "half precision",
                "l^2 <= 2^p: float16, p = 11, with l >= 100",
                check_float_gates,
                {
                    "tokens": Hypothesis("100 <= l <= 200 tokens", st.integers(100, 200)),
                    "dtype": Hypothesis("dtype float16", st.just("float16")),
                },
            ),
        ),
        examples=12,
    ),
    Statement(
        name="codes.integer.limit",
        source="ours",
        claim="IntegerCode.check(dtype) accepts l tokens if and only if l^2 <= 2^p",
        latex=r"A dtype of $p$ bits is refused if and only if $l^2>2^p$.",
        hypotheses={
            "dtype": DTYPES,
            "excess": Hypothesis("l = floor(2^(p/2)) + excess", st.integers(-3, 3)),
        },
        check=check_limit,
        twins=(
            Twin(
                "used beyond the limit",
                "l^2 <= 2^p: float32 with l > 2 * 4096; a linear read then hears a neighbour of its source",
                lambda dtype, excess: check_neighbours(dtype, 8196 + excess),
                {"dtype": FLOAT32, "excess": Hypothesis("8196 <= l <= 20000", st.integers(0, 11804))},
            ),
        ),
        examples=14,
    ),
    Statement(
        name="codes.range",
        source="ours",
        claim="at most two relus sum to exactly 0 on a range of tokens and to at least 1 (integer code) or 0.29/l^2 "
        "(trigonometric) on every other token",
        latex=r"Two relus sum to $0$ on a range of tokens and to at least $1$ (integer code) or $0.29\,l^{-2}$ "
        r"(trigonometric) elsewhere.",
        hypotheses={
            "tokens": Hypothesis("1 <= l <= 200 tokens", st.integers(1, 200)),
            "first": Hypothesis("first token of the range (mod l)", st.integers(0, 5) | st.integers(0, 199)),
            "length": Hypothesis("tokens after the first", st.integers(0, 5) | st.integers(0, 199)),
            "code": CODES,
        },
        check=check_range,
        twins=(
            Twin("shifted by one token", "the range is the one that was built", partial(check_range, shift=1)),
            Twin(
                "larger floor",
                "constant 0.29: 0.31 instead, trigonometric code, range from token 1",
                partial(check_range, floor=0.31),
                {
                    "tokens": Hypothesis("10 <= l <= 200 tokens", st.integers(10, 200)),
                    "first": Hypothesis("first token 1", st.just(1)),
                    "code": Hypothesis("trigonometric code", st.just("trigonometric")),
                },
            ),
        ),
        examples=100,
    ),
)
