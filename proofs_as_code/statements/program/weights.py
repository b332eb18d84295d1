"""How large the weights of one head are: explicit constants, both codes.

F = U^T |G| U, C the power of two taken, 1.01 (1 + 16u) F/gap <= C <= 2.03 F/gap or C = 1. A gate row is alpha gate on
one side and C/alpha on the other, alpha the power of two nearest sqrt(C/g), g = max(1, largest |coefficient| of the
gate): alpha g and C/alpha are at most sqrt(2 C g). The data rows hold 0, 1 and entries of G, the value those of A.

Trigonometric: g = 1 and 1/gap <= l^2, so kappa^2 <= max(2, 4.06 F l^2, |G|^2, |A|^2): O(l), where C in one entry gives
the paper's O(l^2), 2.03 F l^2. The order l is the least: alpha and C/alpha are both entries, and their product C is at
least F/gap >= (8/pi^2) F l^2, so kappa^2 >= 0.81 F l^2 (for any split of C between the two sides).

Integer: g <= max(1, l, l^2/4), C <= max(1, 2.03 F): heads kappa^2 <= max(2, 4.06 F) max(1, l, l^2/4), |G|^2 or |A|^2;
the codes themselves are at most (l/2)^2. Both sides multiply to C g, and g >= (l/2 - 1)^2 at the last token, so there
kappa^2 >= C (l/2 - 1)^2 >= F (l/2 - 1)^2.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from flint import fmpq
from hypothesis import strategies as st

from construct.arrays import Float
from construct.program import heads
from construct.transformer.weights import Heads
from proofs_as_code import instances, rational
from proofs_as_code.framework import Hypothesis, Statement, Twin, Verdict
from proofs_as_code.statements.program.head_checks import form_bound
from proofs_as_code.statements.program.heads import constant_of

FACTOR = fmpq(406, 100)  # 2 * 2.03


def in_one_entry(head: Heads) -> Heads:
    """The same scores with all of C on the side of the gate: the paper's place for it."""
    query, key = head.query.copy(), head.key.copy()
    one = query.shape[2] - 1
    query[0, 0] *= key[0, 0, one]
    key[0, 0, one] = 1.0
    key[0, 1] *= query[0, 1, one]
    query[0, 1, one] = 1.0
    return Heads(query, key, head.value)


def check_weights(
    tokens: int,
    form: Float,
    value: Float,
    bound: Float,
    position: float,
    *,
    code: str,
    factor: fmpq = FACTOR,
    balanced: bool = True,
) -> Verdict:
    """Largest weight of the head for tokens at `position` (0 first, 1 last), against the bound (`factor`: 4.06)."""
    layout = instances.layout(tokens, code)
    token = round(position * (tokens - 1))
    gate = heads.point(layout, [token])
    constant = constant_of(layout, form, bound)
    head = heads.interaction(layout, form, value, np.array([constant]), target=gate, source=gate)
    if not balanced:
        head = in_one_entry(head)
    size = form_bound(form[0], bound.tolist())
    entries = [rational.rational(float(np.abs(x).max())) ** 2 for x in (form, value)]
    if code == "trigonometric":
        allowed = max(fmpq(2), factor * size * tokens**2, *entries)
    else:
        allowed = max(max(fmpq(2), factor * size) * max(fmpq(1), fmpq(tokens), fmpq(tokens**2, 4)), *entries)
    kappa = max(float(np.abs(x).max()) for x in (head.query, head.key, head.value))
    holds = bool(rational.rational(kappa) ** 2 <= allowed)
    where = {"tokens": tokens, "token": token, "form": form.tolist(), "bound": bound.tolist()}
    return Verdict(float(rational.fraction(allowed)) ** 0.5, kappa, "exact", 1, "rational", where, holds)


def check_codes(tokens: int, *, centred: bool = True) -> Verdict:
    """Entries of the integer code against (l/2)^2, or 1 where that is less."""
    values = instances.layout(tokens, "integer").code.values()
    if not centred:
        values = np.stack([np.arange(tokens, dtype=np.float64), np.arange(tokens, dtype=np.float64) ** 2], axis=1)
    kappa, allowed = rational.rational(float(np.abs(values).max())), max(fmpq(tokens**2, 4), fmpq(1))
    shown = float(rational.fraction(allowed)), float(rational.fraction(kappa))
    return Verdict(*shown, "exact", tokens, "rational", {"tokens": tokens}, bool(kappa <= allowed))


LENGTHS = Hypothesis("2 <= l <= 5000 tokens", st.integers(2, 5000))
LONG = Hypothesis("1000 <= l <= 5000 tokens", st.integers(1000, 5000))
POSITION = Hypothesis("place of the gated token", st.integers(0, 16).map(lambda k: k / 16))
AT_END = Hypothesis("the last token is gated", st.just(1.0))
ONE_ENTRY = {"tokens": LONG, "form": instances.POSITIVE_FORMS, "position": AT_END}


def _statement(code: str, claim: str, latex: str, other: Twin) -> Statement:
    return Statement(
        name=f"heads.weight_bound.{code}",
        source="HL24 Lemma 3, constants ours" if code == "trigonometric" else "ours",
        claim=claim,
        latex=latex,
        hypotheses={
            "tokens": LENGTHS,
            "form": instances.FORMS,
            "value": instances.VALUES,
            "bound": instances.BOUNDS,
            "position": POSITION,
        },
        check=partial(check_weights, code=code),
        twins=(
            Twin(
                "C in one entry",
                "C is split between Q and K: all of it beside the gate, l >= 1000, G >= 0",
                partial(check_weights, code=code, balanced=False),
                ONE_ENTRY,
            ),
            other,
        ),
        examples=60,
    )


STATEMENTS: tuple[Statement, ...] = (
    _statement(
        "trigonometric",
        "Q, K, V of one head: kappa^2 <= max(2, 4.06 F l^2, |G|^2, |A|^2), F = U^T |G| U, so kappa <= c l <= c l^2",
        r"$\kappa^2\le\max(2,\,4.06\,F\,l^2,\,|G|^2,\,|A|^2)$ with $F=U^\top|G|U$, so $\kappa=O(l)\subset O(l^2)$.",
        Twin(
            "smaller constant",
            "4.06: 0.81, the lower bound of the docstring, l >= 1000, G >= 0",
            partial(check_weights, code="trigonometric", factor=fmpq(81, 100)),
            {"tokens": LONG, "form": instances.POSITIVE_FORMS},
        ),
    ),
    _statement(
        "integer",
        "Q, K, V of one head: kappa^2 <= max(2, 4.06 F) max(1, l, l^2/4), |G|^2 or |A|^2, F = U^T |G| U",
        r"$\kappa^2\le\max\bigl(\max(2,4.06F)\max(1,l,l^2/4),\,|G|^2,|A|^2\bigr)$ with $F=U^\top|G|U$.",
        Twin(
            "smaller constant",
            "4.06: 1, the lower bound of the docstring, l >= 1000, G >= 0, last token",
            partial(check_weights, code="integer", factor=fmpq(1)),
            {**ONE_ENTRY, "bound": Hypothesis("U = (5, 5, 1)", st.just(np.array([5.0, 5.0, 1.0])))},
        ),
    ),
    Statement(
        name="codes.integer.weight_bound",
        source="ours",
        claim="entries of the integer code: max(|v|, v^2) <= max(1, (l/2)^2)",
        latex=r"Entries of the integer code are at most $\max(1,(l/2)^2)$.",
        hypotheses={"tokens": Hypothesis("1 <= l <= 5000 tokens", st.integers(1, 5000))},
        check=check_codes,
        twins=(
            Twin(
                "uncentred",
                "v = t - floor(l/2): v = t",
                partial(check_codes, centred=False),
                {"tokens": Hypothesis("4 <= l <= 5000 tokens", st.integers(4, 5000))},
            ),
        ),
        examples=60,
    ),
)
