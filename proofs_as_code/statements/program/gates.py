"""Heads that act on more than one pair: self gate, shift, broadcast, gather.

For all of them the condition reads: score = u_t^T G u_s + C gate(t, s) <= 0 for every pair outside the wanted set W.

Shift by k (self gate: k = 0): the gate -(t + k - s)^2, or <R_k I_t, I_s> - 1 with the rotation R_k by k tokens,
vanishes on s = t + k alone and is <= -gap elsewhere; it takes three rows, so G has rank at most 2. It is enough that
C gap >= U^T |G| U, as for one pair. Integer code: exact. Trigonometric code: the gate at the match is
cos k (c_t c_s + s_t s_s) + sin k (c_t s_s - s_t c_s) - 1 (angles for tokens), every factor with a relative error of at
most 2u, and |cos k| cos(t - s) + |sin k| sin(t + s) <= cos^2 k + |sin k| <= 5/4: off by at most 5/4 ((1 + 2u)^3 - 1)
<= 8 u (1 + 2u), times C.

Broadcast (no target gate): every token hears s0, so the form must be <= 0 where a token shall not hear. Here b_t is a
flag: G = e_b e_1^T, score = b_t + C g(s); tokens with b_t > 0 get b_t A u_s0, tokens with b_t <= 0 exactly nothing.
Gather (no source gate): t0 hears every s, so the form must be <= 0 on senders that are not wanted: G = e_1 e_b^T, score
= b_s + C g(t); t0 gets the sum over flagged senders of b_s A u_s.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from hypothesis import strategies as st

from construct.arrays import Float
from construct.program import heads
from construct.program.constants import gate_constant
from construct.program.layout import ONE
from proofs_as_code import instances, rational
from proofs_as_code.framework import Hypothesis, Statement, Twin, Verdict
from proofs_as_code.instances import MOST_TOKENS, Site
from proofs_as_code.rational import ZERO
from proofs_as_code.statements.program.head_checks import compare, form_bound, with_constant
from proofs_as_code.statements.program.heads import BELOW, UNIT, WORST, Units, constant_of, judged

Flags = tuple[bool, ...]


def check_shift(
    site: Site,
    form: Float,
    value: Float,
    bound: Float,
    units: Units,
    shift: int,
    *,
    code: str,
    offset: int = 0,
    factor: float | None = None,
) -> Verdict:
    """The head of a gate of equal entries, shifted: token t hears t + shift, for every t; nothing else is heard.

    The form's row of b is emptied (rank 2). offset: of the shift that is claimed; factor: of the least gate constant,
    in place of the library's.
    """
    layout, form = site.layout(code), form * np.array([1.0, 0.0, 1.0])[:, None]
    shift = shift % site.tokens if shift >= 0 else -(-shift % site.tokens)
    constant = constant_of(layout, form, bound)
    same = layout.code.same_gate(layout.code.entries, shift)
    head = heads.interaction(layout, form, value, np.array([constant]), same=same)
    if factor is not None:
        least = float(rational.fraction(form_bound(form[0], bound.tolist()))) / layout.code.gap
        head = with_constant(head, 3, factor * least / constant)
    state = instances.scaled(units, bound, site.tokens)
    defect = compare(layout, head, form, value, bound.tolist(), lambda t, s: s == t + shift + offset, state)
    allowed = ZERO if code == "integer" else 8 * rational.rational(constant) * UNIT * (1 + 2 * UNIT)
    return judged(allowed, defect, value, bound)


def check_flagged(
    site: Site,
    value: Float,
    bound: Float,
    units: Units,
    flags: Flags,
    *,
    side: str,
    gated: bool = True,
    slip: bool = False,
) -> Verdict:
    """Broadcast (side "target": flagged targets hear t2) or gather (side "source": t1 hears flagged senders).

    Register b is |b| on flagged tokens and -|b| on the others, so that relu(b) is b on the first and 0 on the others:
    `compare` takes the whole row or column of pairs as wanted, with relu of the form as the lemma's share of each.
    gated: the library's head, or one without its gate; slip: token 0 carries a positive flag but is not wanted.
    """
    layout, at = site.layout("integer"), site.source if side == "target" else site.target
    entry = (heads.B, ONE) if side == "target" else (ONE, heads.B)
    form, gate = heads.form(1, {entry: 1.0}), heads.point(layout, [at])
    constant = gate_constant(form, bound, layout.code.gap)
    sides = (None, gate) if side == "target" else (gate, None)
    head = heads.interaction(layout, form, value, constant, target=sides[0], source=sides[1])
    if not gated:
        head = with_constant(head, 1, 0.0)
    drawn = instances.scaled(units, bound, site.tokens)
    registers = [(a, abs(b) if flag else -abs(b)) for (a, b), flag in zip(drawn, flags, strict=False)]

    def wanted(t: int, s: int) -> bool:
        flagged, fixed = (t, s) if side == "target" else (s, t)
        return fixed == at and not (slip and flagged == 0)

    return judged(ZERO, compare(layout, head, form, value, bound.tolist(), wanted, registers), value, bound)


FLAGS = Hypothesis(
    "flags: b_t > 0 on the wanted tokens, b_t <= 0 on the others",
    st.lists(st.booleans(), min_size=MOST_TOKENS, max_size=MOST_TOKENS).map(tuple),
)
ALL_FLAGS = Hypothesis("every flag is positive", st.just((True,) * MOST_TOKENS))
SHIFTS = Hypothesis("shift k, |k| < l", st.integers(-MOST_TOKENS, MOST_TOKENS))
OPEN_FORM = Hypothesis("the form u_t^T G u_s = 1", st.just(heads.form(1, {(ONE, ONE): 1.0})))
COMMON = {"bound": instances.BOUNDS, "units": instances.units()}


def _shift(code: str, shift: Hypothesis | None) -> Statement:
    name = "self" if shift is None else "shift"
    shifts = Hypothesis("k = 0", st.just(0)) if shift is None else shift
    integer = code == "integer"
    size = "exactly" if integer else "up to 8 C u (1 + 2u) |A| U"
    heard = "itself" if shift is None else "token t + k"
    tex = "itself" if shift is None else "token $t+k$"
    return Statement(
        name=f"heads.{name}.{code}",
        source="ours",
        claim=f"one head of rank-2 form G lets every token t hear {heard} at once: it adds relu(u_t^T G u_s) A u_s, "
        f"{size}, and exactly 0 for every other pair, if C gap >= U^T |G| U",
        latex=r"If $C\,\mathrm{gap}\ge U^\top|G|U$ and $\mathrm{rank}\,G\le 2$, one head lets every token $t$ hear "
        + f"{tex}, and nothing else.",
        hypotheses={
            "site": instances.sites(),
            "form": instances.FORMS,
            "value": instances.VALUES,
            **COMMON,
            "shift": shifts,
        },
        check=partial(check_shift, code=code),
        twins=(
            Twin(
                "constant below its minimum",
                "C gap >= U^T |G| U: C gap = "
                + ("(1 - 2^-20)" if integer else "1/2")
                + " U^T |G| U, registers at U, k = 0",
                partial(check_shift, code=code, factor=BELOW if integer else 0.5),
                {**WORST, "shift": Hypothesis("k = 0", st.just(0))},
            ),
            Twin(
                "offset",
                "token t hears t + k: t + k + 1",
                partial(check_shift, code=code, offset=1),
                {"form": OPEN_FORM, "value": instances.NONZERO_VALUES, "shift": Hypothesis("k = 0", st.just(0))},
            ),
        ),
        examples=40,
    )


def _flagged_statement(name: str, side: str, claim: str, latex: str) -> Statement:
    slip = {"flags": ALL_FLAGS, "units": instances.AT_BOUND, "value": instances.NONZERO_VALUES}
    return Statement(
        name=f"heads.{name}",
        source="ours",
        claim=claim,
        latex=latex,
        hypotheses={"site": instances.sites(), "value": instances.VALUES, **COMMON, "flags": FLAGS},
        check=partial(check_flagged, side=side),
        twins=(
            Twin(
                "positive form where it is not wanted",
                "the form is <= 0 on tokens that are not wanted: token 0 has b = U_b",
                partial(check_flagged, side=side, slip=True),
                slip,
            ),
            Twin("no gate", "C >= U_b: C = 0", partial(check_flagged, side=side, gated=False), slip),
        ),
        examples=40,
    )


STATEMENTS: tuple[Statement, ...] = (
    *(_shift(code, shift) for shift in (None, SHIFTS) for code in ("integer", "trigonometric")),
    _flagged_statement(
        "broadcast",
        "target",
        "with the target open, every token with b_t > 0 gets b_t A u_s0 and every other token exactly 0 (C >= U_b)",
        r"With the target open, tokens with $b_t>0$ get $b_t\,A u_{s_0}$ and all others exactly $0$, if $C\ge U_b$.",
    ),
    _flagged_statement(
        "gather",
        "source",
        "with the source open, token t0 gets the sum of b_s A u_s over b_s > 0 and all others exactly 0 (C >= U_b)",
        r"With the source open, token $t_0$ gets $\sum_{b_s>0} b_s\,A u_s$ and all others exactly $0$, if $C\ge U_b$.",
    ),
)
