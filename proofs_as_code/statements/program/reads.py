"""Linear reads: heads that add A u_s to the target with no data in the relu.

The form is the constant 1. Integer code: score = 1 + g1(t) + g2(s) is an integer, 1 where both gates vanish and <= 0
elsewhere, so C = 1 closes them and no data bound enters; Q and K have no entry in a data row, hence the score is the
same for all data and the head adds A u_s for every finite state. Trigonometric code: 1 - C gap <= 0 takes
C >= 1/gap ~ l^2, and the score at the match is within 8 C u (1 + u) of 1 (`heads`); with C = 1 it is
1 - 2 sin^2(..) > 0 at every pair near it.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from hypothesis import strategies as st

from construct.arrays import Float
from construct.program import constants, heads
from construct.program.layout import ONE, TokenLayout
from construct.transformer.weights import Heads
from proofs_as_code import instances
from proofs_as_code.framework import Hypothesis, Statement, Twin, Verdict, verdict
from proofs_as_code.instances import Site
from proofs_as_code.rational import ZERO
from proofs_as_code.statements.program.head_checks import compare, with_constant
from proofs_as_code.statements.program.heads import Units, allowed_error, judged

CONSTANT_FORM = heads.form(1, {(ONE, ONE): 1.0})


def read_head(layout: TokenLayout, site: Site, value: Float, constant: float | None) -> Heads:
    """The library's linear read, or a read whose gates have the given constant."""
    target, source = heads.point(layout, [site.target]), heads.point(layout, [site.source])
    if constant is None:
        least = constants.linear_read_constant(layout.code, 1)
        return heads.linear_read(layout, value, least, target=target, source=source)
    taken = constants.gate_constant(CONSTANT_FORM, np.ones(3), layout.code.gap)
    built = heads.interaction(layout, CONSTANT_FORM, value, taken, target=target, source=source)
    return with_constant(built, 2, constant / float(taken[0]))


def check_read(
    site: Site, value: Float, size: float, units: Units, *, code: str, constant: float | None = None, offset: int = 0
) -> Verdict:
    """The head against the lemma with form 1, for registers up to `size`, after a look at its data columns.

    constant: of the gates, instead of the library's; offset: of the source that is claimed.
    """
    layout = site.layout(code)
    head = read_head(layout, site, value, constant)
    registers = list(layout.register_rows)
    if np.any(head.query[:, :, registers]) or np.any(head.key[:, :, registers]):
        return verdict(0, 1, kind="exact", points=1, dtype="rational", worst_point={"reason": "data in the relu"})
    bound = np.array([size, size, 1.0])
    match = (site.target, (site.source + offset) % site.tokens)
    state = instances.scaled(units, bound, site.tokens)
    defect = compare(layout, head, CONSTANT_FORM, value, bound.tolist(), lambda t, s: (t, s) == match, state)
    taken = float(constants.gate_constant(CONSTANT_FORM, np.ones(3), layout.code.gap)[0])
    return judged(allowed_error(code, taken), defect, value, bound)


def check_pair(
    site: Site, value: Float, size: float, units: Units, *, side: str, width: int = 2, offset: int = 0
) -> Verdict:
    """Pair gate on one side of a linear read: `width` tokens from there + offset are served, or summed (width 2)."""
    layout = site.layout("integer")
    target, source = (min(token, site.tokens - max(width, 2)) for token in (site.target, site.source))
    gate = {name: heads.pair if name == side else heads.point for name in ("target", "source")}
    head = heads.linear_read(
        layout,
        value,
        constants.linear_read_constant(layout.code, 1),
        target=gate["target"](layout, [target]),
        source=gate["source"](layout, [source]),
    )
    targets, sources = range(target, target + 1), range(source, source + 1)
    if side == "target":
        targets = range(target + offset, target + offset + width)
    else:
        sources = range(source + offset, source + offset + width)
    bound = np.array([size, size, 1.0])
    state = instances.scaled(units, bound, site.tokens)
    defect = compare(
        layout, head, CONSTANT_FORM, value, bound.tolist(), lambda t, s: t in targets and s in sources, state
    )
    return judged(ZERO, defect, value, bound)


SIZES = Hypothesis("registers of any size: here up to 2^k, k <= 60", st.integers(0, 60).map(lambda k: 2.0**k))
LONG = {"site": instances.sites(least=4)}
OPEN = {"value": instances.NONZERO_VALUES}


def _linear_read(code: str) -> Statement:
    integer = code == "integer"
    twins = (
        Twin(
            "smaller constant" if integer else "C = 1",
            "C = 1: C = 1/2" if integer else "C >= 1.01/gap: C = 1",
            partial(check_read, code=code, constant=0.5 if integer else 1.0),
            OPEN,
        ),
        Twin("other source", "the source is t2: t2 + 1", partial(check_read, code=code, offset=1), OPEN),
    )
    claim = "a linear read adds A u_t2 to (a, b) of token t1 and exactly 0 elsewhere for every finite state: "
    latex = r"A linear read adds $A u_{t_2}$ to token $t_1$ and exactly $0$ elsewhere, for every finite state, with "
    return Statement(
        name=f"heads.linear_read.{code}",
        source="ours",
        claim=claim + ("C = 1, exactly" if integer else "C = 2^k >= 1.01/gap, the match off by at most 8 C u (1 + u)"),
        latex=latex + ("$C=1$." if integer else r"$C\ge 1.01/\mathrm{gap}$ and a match off by at most $8Cu(1+u)$."),
        hypotheses={
            "site": instances.sites(),
            "value": instances.VALUES,
            "size": SIZES,
            "units": instances.units(),
        },
        check=partial(check_read, code=code),
        twins=twins,
        examples=40,
    )


def _pair(side: str) -> Statement:
    serves = "serves tokens t0 and t0 + 1" if side == "target" else "sums tokens t0 and t0 + 1 into its target"
    tex = "serves $t_0$ and $t_0+1$" if side == "target" else "sums $t_0$ and $t_0+1$ into its target"
    return Statement(
        name=f"heads.pair.{side}",
        source="ours",
        claim=f"a linear read with gate -(t - t0)(t - t0 - 1) on the {side} {serves}, exactly, with C = 1 and for "
        "every finite state; it adds exactly 0 elsewhere",
        latex=rf"A linear read with gate $-(t-t_0)(t-t_0-1)$ on the {side} {tex}, exactly, for every finite state.",
        hypotheses={"site": instances.sites(), "value": instances.VALUES, "size": SIZES, "units": instances.units()},
        check=partial(check_pair, side=side),
        twins=(
            Twin("three", "two tokens: a third one", partial(check_pair, side=side, width=3), {**LONG, **OPEN}),
            Twin(
                "offset",
                "the pair begins at t0: at t0 + 1",
                partial(check_pair, side=side, offset=1),
                {**LONG, **OPEN},
            ),
        ),
        examples=40,
    )


STATEMENTS: tuple[Statement, ...] = (
    _linear_read("integer"),
    _linear_read("trigonometric"),
    _pair("target"),
    _pair("source"),
)
