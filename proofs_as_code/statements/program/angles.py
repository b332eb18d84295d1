"""The trigonometric code as it is stored: how far its gates are off, and by how much its gap falls short.

`I_t = (cos theta_t, sin theta_t)`, theta_t = t pi/2l, so that `<I_t, I_t0> - 1 = -2 sin^2((t - t0) pi/4l)`.
sin x >= 4x/(pi sqrt 2) on [0, pi/4] by concavity, and sin x <= x, hence

    1/l^2 <= gap = 2 sin^2(pi/4l) <= pi^2/(8 l^2) < 1.234/l^2 .

Stored, each entry has a relative error of at most 2u (one unit in the last place), and so each of the two products of a
gate of 4u + 4u^2, while |cos cos| + |sin sin| <= 1: gates are off by at most 4u + 4u^2. So the stored gap falls short
of the true one by up to (4u + 4u^2) l^2 times it: the margin of 1 % in `gate_constant` covers that for l <= 4.7e6, the
16u in `smallest_gate_constant` do not.
"""

from __future__ import annotations

import math
from functools import partial

import numpy as np
from flint import arb, ctx, fmpq
from hypothesis import strategies as st

from construct.program.codes import TrigonometricCode
from proofs_as_code import rational
from proofs_as_code.framework import Hypothesis, Statement, Twin, Verdict, proved

BITS = 128  # working precision of the balls
UNIT = fmpq(1, 2**53)
TYPES = {"float32": np.float32, "float64": np.float64}


def check_trigonometric(tokens: int, *, dtype: str = "float64", most: float = math.pi**2 / 8) -> Verdict:
    """Stored gates against `-2 sin^2((t - t0) pi/4l)` in balls: off by at most 4u + 4u^2; 1/l^2 <= gap <= most/l^2.

    dtype: of the code values in the tokens; the gates' coefficients are float64.
    """
    code = TrigonometricCode(tokens)
    values = code.values().astype(TYPES[dtype]).astype(np.float64)
    coefficients = rational.matrix(code.point_gate(np.arange(tokens))).transpose()
    gates = rational.matrix(np.hstack([values, np.ones((tokens, 1))])) * coefficients
    with ctx.workprec(BITS):
        true = [-2 * (arb(t) * arb.pi() / (4 * tokens)).sin() ** 2 for t in range(tokens)]
        scaled_gap = -true[1] * tokens**2
        if not (scaled_gap > 1 and scaled_gap < arb(most) + arb(2) ** -52):
            return proved(arb(most), scaled_gap, points=1, worst_point={"tokens": tokens})
        worst, where = arb(0), {}
        for t in range(tokens):
            for t0 in range(tokens):
                off = abs(arb(gates[t, t0]) - true[abs(t - t0)])
                if off > worst:
                    worst, where = off, {"token": t, "gate": t0, "tokens": tokens}
        return proved(arb(4 * UNIT * (1 + UNIT)), worst, points=tokens**2, worst_point=where)


def check_gap(tokens: int, *, shortfall: fmpq | None = None) -> Verdict:
    """Stored gates of all neighbours against `-gap (1 - shortfall)`, gap in balls; shortfall (4u + 4u^2) l^2."""
    code = TrigonometricCode(tokens)
    values, rows = code.values(), code.point_gate(np.arange(tokens))
    gates = [
        sum((rational.rational(float(x)) * rational.rational(float(y)) for x, y in zip(v, r, strict=False)), -fmpq(1))
        for v, r in zip(values[:-1], rows[1:], strict=True)  # the gate of t at t + 1 is the same number
    ]
    worst = max(gates)
    with ctx.workprec(BITS):
        gap = 2 * (arb.pi() / (4 * tokens)).sin() ** 2
        allowed = 4 * UNIT * (1 + UNIT) * tokens**2 if shortfall is None else shortfall
        where = {"tokens": tokens, "token": gates.index(worst)}
        return proved(arb(allowed), 1 + arb(worst) / gap, points=tokens - 1, worst_point=where)


STATEMENTS: tuple[Statement, ...] = (
    Statement(
        name="codes.trigonometric.gates",
        source="HL24 section 3",
        claim="stored gates differ from -2 sin^2((t - t0) pi/4l) by at most 4u + 4u^2 for all pairs, and "
        "1/l^2 <= gap <= pi^2/(8 l^2)",
        latex=r"Stored gates differ from $-2\sin^2\frac{(t-t_0)\pi}{4l}$ by at most $4u+4u^2$; "
        r"$l^{-2}\le\mathrm{gap}\le\frac{\pi^2}{8}l^{-2}$.",
        hypotheses={"tokens": Hypothesis("2 <= l <= 100 tokens", st.integers(2, 100))},
        check=check_trigonometric,
        twins=(
            Twin(
                "rounded codes",
                "codes are stored in float64: float32 instead",
                partial(check_trigonometric, dtype="float32"),
            ),
            Twin(
                "narrower gap",
                "constant pi^2/8 of the gap: 1.2 instead, l >= 8",
                partial(check_trigonometric, most=1.2),
                {"tokens": Hypothesis("8 <= l <= 60 tokens", st.integers(8, 60))},
            ),
        ),
        examples=12,
    ),
    Statement(
        name="codes.trigonometric.gap",
        source="ours",
        claim="stored gates of neighbours are at most -gap (1 - (4u + 4u^2) l^2), so gates close with C >= 1.01 F/gap "
        "for l <= 4.7e6",
        latex=r"Stored gates of neighbours are at most $-\mathrm{gap}\,(1-(4u+4u^2)l^2)$: $C\ge1.01\,F/\mathrm{gap}$ "
        r"closes them for $l\le4.7\cdot10^6$.",
        hypotheses={"tokens": Hypothesis("2 <= l <= 2048 tokens", st.integers(2, 2048))},
        check=check_gap,
        twins=(
            Twin(
                "margin of the integer code",
                "shortfall (4u + 4u^2) l^2: 16u, what smallest_gate_constant adds, l >= 256",
                partial(check_gap, shortfall=8 * UNIT),
                {"tokens": Hypothesis("256 <= l <= 2048 tokens", st.integers(256, 2048))},
            ),
        ),
        examples=20,
    ),
)
