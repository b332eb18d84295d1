"""The interaction lemma, its cubic extension, and the smallest gate constant.

Statement (Havrilla and Liao, Lemma 3). Tokens t1 (target) and t2 (source), a form G over u = (a, b, 1), data
|u_t| <= U for all tokens. With a gate g <= 0 that vanishes at its token and is <= -gap elsewhere, the head of score

    score(t, s) = u_t^T G u_s + C (g1(t) + g2(s))

adds relu(u_t1^T G u_t2) (A u_t2) to token t1 and nothing to any other, as soon as C gap >= U^T |G| U: off the pair
(t1, t2) one gate at least is <= -gap, so score <= U^T |G| U - C gap <= 0. The lemma has `A u = v e_i` (narrow); that A
may read the source (cubic head) is ours.

Integer code: gates are integers, exact at the match, so the head adds the lemma's value exactly. Trigonometric code:
the stored c = fl(cos), s = fl(sin) have relative error at most 2u each (one unit in the last place), hence
|c^2 + s^2 - 1| <= 4u + 4u^2, and the score at the match is off by at most two gates, 8 C u (1 + u). relu is
1-Lipschitz, so the output is off by at most 8 C u (1 + u) |A| U.

Gate constant. `smallest_gate_constant` is U^T |G| U (1 + 16u)/gap, for the trigonometric code less than its stored gap
needs (`codes.trigonometric.gap`); `gate_constant` has a margin of 1 %. Sufficient: above. Necessary (integer code,
G >= 0): at u = U everywhere the neighbour of the pair has score U^T G U - C > 0 for every smaller C.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from flint import fmpq

from construct.arrays import Float
from construct.program import constants, heads
from construct.program.layout import TokenLayout
from construct.transformer.weights import Heads
from proofs_as_code import instances, rational
from proofs_as_code.framework import Hypothesis, Statement, Twin, Verdict, verdict
from proofs_as_code.instances import Site
from proofs_as_code.rational import ZERO
from proofs_as_code.statements.program.head_checks import Defect, compare, form_bound, with_constant

UNIT = fmpq(1, 2**53)  # unit round-off of float64
BELOW = 1 - 2.0**-20  # just below a minimum, exact in float64 beside a number of 30 bits
Units = Sequence[tuple[fmpq, fmpq]]


def point_head(layout: TokenLayout, site: Site, form: Float, value: Float, bound: Float) -> Heads:
    """The library's head for one ordered pair."""
    target, source = heads.point(layout, [site.target]), heads.point(layout, [site.source])
    constant = constants.gate_constant(form, bound, layout.code.gap)
    return heads.interaction(layout, form, value, constant, target=target, source=source)


def constant_of(layout: TokenLayout, form: Float, bound: Float) -> float:
    """The gate constant that the library takes."""
    return float(constants.gate_constant(form, bound, layout.code.gap)[0])


def allowed_error(code: str, constant: float) -> fmpq:
    """Error of the score at the match: 0 (integer code), `8 C u (1 + u)` (trigonometric)."""
    return ZERO if code == "integer" else 8 * rational.rational(constant) * UNIT * (1 + UNIT)


def judged(allowed: fmpq, defect: Defect, value: Float, bound: Float) -> Verdict:
    """Verdict on a head: nothing leaks, and its score is off by at most `allowed` at the match.

    The output is off by the score's error times |A u_s| <= |A| U, by which it is divided here.
    """
    reads = max((rational.matrix(np.abs(value[0])) * rational.matrix(np.asarray(bound)[:, None])).entries())
    output = defect.output / reads if reads > 0 else defect.output
    facts: dict[str, Any] = {"points": defect.points, "dtype": "rational", "worst_point": defect.where}
    if defect.leak > 0:
        return verdict(ZERO, defect.leak, kind="exact", **facts)
    return verdict(allowed, max(defect.match, output), kind="exact", **facts)


def check_interaction(
    site: Site, form: Float, value: Float, bound: Float, units: Units, *, code: str, ratio: float = 1.0
) -> Verdict:
    """The library's head against the lemma; `ratio` multiplies its gate constant."""
    layout, match = site.layout(code), (site.target, site.source)
    head = with_constant(point_head(layout, site, form, value, bound), 2, ratio)
    registers = instances.scaled(units, bound, site.tokens)
    defect = compare(layout, head, form, value, bound.tolist(), lambda t, s: (t, s) == match, registers)
    return judged(allowed_error(code, constant_of(layout, form, bound)), defect, value, bound)


def check_below_minimum(
    site: Site, form: Float, value: Float, bound: Float, units: Units, *, code: str, factor: float
) -> Verdict:
    """The same with `C = factor U^T |G| U / gap`, factor < 1."""
    layout = site.layout(code)
    smallest = float(rational.fraction(form_bound(form[0], bound.tolist()))) / layout.code.gap
    ratio = factor * smallest / constant_of(layout, form, bound)
    return check_interaction(site, form, value, bound, units, code=code, ratio=ratio)


def check_gate_constant(
    site: Site, form: Float, value: Float, bound: Float, units: Units, *, factor: float = 1.0
) -> Verdict:
    """With `C = factor U^T |G| U` nothing leaks, and the library's constants lie just above `U^T |G| U`.

    With numbers of few bits U^T |G| U is exact in float64, so `smallest_gate_constant` is it times (1 + 16u), rounded
    once; `gate_constant` is the power of two in [1.01, 2.03] times it, or 1.
    """
    layout = site.layout("integer")
    exact = form_bound(form[0], bound.tolist())
    smallest = rational.rational(float(constants.smallest_gate_constant(form, bound, 1.0)[0]))
    chosen = rational.rational(constant_of(layout, form, bound))
    facts: dict[str, Any] = {"kind": "exact", "points": 1, "dtype": "rational", "worst_point": {"form": form.tolist()}}
    if not exact * (1 + 15 * UNIT) <= smallest <= exact * (1 + 17 * UNIT):
        return verdict(ZERO, abs(smallest - exact * (1 + 16 * UNIT)), **facts)
    if not (chosen == 1 or chosen <= fmpq(203, 100) * exact) or not chosen >= fmpq(101, 100) * exact:
        return verdict(fmpq(203, 100) * exact, chosen, **facts)
    ratio = factor * float(rational.fraction(exact / chosen))
    return check_interaction(site, form, value, bound, units, code="integer", ratio=ratio)


def _hypotheses(value: Hypothesis) -> dict[str, Hypothesis]:
    return {
        "site": instances.sites(),
        "form": instances.FORMS,
        "value": value,
        "bound": instances.BOUNDS,
        "units": instances.units(),
    }


WORST = {"form": instances.POSITIVE_FORMS, "value": instances.NONZERO_VALUES, "units": instances.AT_BOUND}


def _interaction(code: str, width: str) -> Statement:
    narrow = width == "narrow"
    source = "ours"
    if narrow:
        source = "HL24 Lemma 3" if code == "trigonometric" else "HL24 Lemma 3, integer code ours"
    below = BELOW if code == "integer" else 0.5
    error = "exactly" if code == "integer" else "up to 8 C u (1 + u) |A| U"
    latex_error = "exactly" if code == "integer" else r"up to $8Cu(1+u)\,|A|U$"
    taken = "(1 - 2^-20)" if code == "integer" else "1/2"
    short = Twin(
        "constant below its minimum",
        f"C gap >= U^T |G| U: C gap = {taken} U^T |G| U, registers at U, G > 0",
        partial(check_below_minimum, code=code, factor=below),
        WORST,
    )
    closed = Twin(
        "gates removed",
        "gates vanish at one pair only: C = 0",
        partial(check_interaction, code=code, ratio=0.0),
        WORST,
    )
    return Statement(
        name=f"heads.{'interaction' if narrow else 'cubic'}.{code}",
        source=source,
        claim=f"one head adds relu(u_t1^T G u_t2) {'v e_i' if narrow else '(A u_t2)'} to (a, b) of token t1, {error}, "
        "and exactly 0 to every other token and row, for all |u_t| <= U, if C gap >= U^T |G| U",
        latex=r"If $C\,\mathrm{gap}\ge U^\top|G|U$ and $|u_t|\le U$, one head adds "
        r"$\mathrm{relu}(u_{t_1}^\top G\,u_{t_2})\,"
        + (r"v e_i" if narrow else r"A u_{t_2}")
        + rf"$ to token $t_1$, {latex_error}, and exactly $0$ elsewhere.",
        hypotheses=_hypotheses(instances.NARROW_VALUES if narrow else instances.VALUES),
        check=partial(check_interaction, code=code),
        twins=(short, closed),
        examples=40,
    )


GATE_CONSTANT = Statement(
    name="heads.gate_constant",
    source="HL24 Lemma 3, constant ours",
    claim="integer code: a head is silent off its pair for all |u_t| <= U if C >= U^T |G| U, and for G >= 0 only if; "
    "smallest_gate_constant = (1 + 16u) U^T |G| U, gate_constant is the power of two in [1.01, 2.03] times it (or 1)",
    latex=r"Integer code: $C\ge U^\top|G|U$ suffices, and is necessary for $G\ge 0$; the library takes the power of "
    r"two in $[1.01,2.03]\,U^\top|G|U$.",
    hypotheses=_hypotheses(instances.VALUES),
    check=check_gate_constant,
    twins=(
        Twin(
            "just below",
            "C >= U^T |G| U: C = (1 - 2^-20) U^T |G| U, G >= 0, a state at its bound",
            partial(check_gate_constant, factor=BELOW),
            WORST,
        ),
    ),
    examples=40,
)

STATEMENTS: tuple[Statement, ...] = (
    *(_interaction(code, width) for width in ("narrow", "wide") for code in ("integer", "trigonometric")),
    GATE_CONSTANT,
)
