"""One head for two adjacent targets that hear the same: `rules.shared` changes the cost of a rule and nothing else.

With the integer code -(v - v0)(v - v0 - 1) vanishes on two adjacent tokens, so that one head may serve both if form,
value and source agree. What the shared heads and the rule's own heads add to a state is compared in rational
arithmetic, for all tokens and rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from flint import fmpq
from hypothesis import strategies as st

from construct.program.heads import A, B, Entries
from construct.program.layout import ONE, TokenLayout
from construct.program.rules import Rule, Tokens, shared
from proofs_as_code import instances, rational
from proofs_as_code.framework import Hypothesis, Statement, Twin, Verdict, verdict
from proofs_as_code.statements.program.products import heads_of

TOKENS = 9
Units = Sequence[tuple[fmpq, fmpq]]


def drawn_rule(seed: int, linear: bool) -> Rule:
    """Up to 12 heads that may be shared: two sources, and one coefficient that differs, of two values."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(2, 13))
    differing = int(rng.integers(2 if linear else 4))
    c = [rng.integers(1, 3, count) / 2 if k == differing else 0.5 for k in range(4)]
    value: Entries = {(A, A): c[0], (B, ONE): c[1]}
    form: Entries = {(A, B): c[2], (ONE, A): 0.5, (ONE, ONE): c[3]}
    target, source = rng.integers(0, 5, count), rng.integers(TOKENS - 2, TOKENS, count)
    return Rule(Tokens(target), Tokens(source), value, None if linear else form, share=True)


def compared(rule: Rule, parts: Sequence[Rule], layout: TokenLayout, units: Units) -> Verdict:
    """What the parts' heads add, against the rule's own."""
    bound = np.array([2.0, 2.0, 1.0])
    state = rational.state(layout, instances.scaled(units, bound, TOKENS))
    own, other = (rational.attention(heads_of(part, layout, bound), state) for part in ([rule], parts))
    where = {"heads": rule.count, "shared": sum(part.count for part in parts), "rule": rule.text(layout)}
    points = TOKENS * layout.embedding_dim
    difference = rational.largest(own - other)
    return verdict(fmpq(0), difference, kind="exact", points=points, dtype="rational", worst_point=where)


def check_shared(seed: int, linear: bool, code: str, units: Units) -> Verdict:
    """The library's parts: as few heads as there can be, and they add what the rule's own heads add."""
    layout, rule = instances.layout(TOKENS, code), drawn_rule(seed, linear)
    parts = shared(rule, layout.code)
    needed = fewest(rule) if layout.code.pairs else rule.count
    spent = sum(part.count for part in parts)
    if spent != needed:
        where = {"heads": rule.count}
        return verdict(needed, spent, kind="exact", points=1, dtype="integers", worst_point=where)
    return compared(rule, parts, layout, units)


def fewest(rule: Rule) -> int:
    """The fewest heads that serve the rule, one or two adjacent targets each, followed head by head."""
    assert isinstance(rule.target, Tokens) and isinstance(rule.source, Tokens)
    columns = [*rule.value.values(), *(rule.form or {}).values()]
    waiting: dict[tuple[float, ...], list[int]] = {}
    for i in range(rule.count):
        heard = (float(rule.source.numbers[i]), *(float(np.broadcast_to(v, rule.count)[i]) for v in columns))
        waiting.setdefault(heard, []).append(int(rule.target.numbers[i]))
    spent = 0
    for targets in waiting.values():
        while targets:
            first = min(targets)
            targets.remove(first)
            if first + 1 in targets:
                targets.remove(first + 1)
            spent += 1
    return spent


def check_paired(seed: int, linear: bool, code: str, units: Units, *, apart: int, louder: float) -> Verdict:
    """Two heads whose targets are `apart`, and whose values differ by a factor, as one head (twins)."""
    layout = instances.layout(TOKENS, code)
    value: Entries = {(B, ONE): np.array([1.0, louder])}
    rule = Rule(
        Tokens(np.array([2, 2 + apart])), Tokens(np.array([7, 7])), value, None if linear else {(ONE, ONE): 1.0}
    )
    one = replace(rule.part(slice(0, 1)), target=Tokens(np.array([2]), pair=True))
    return compared(rule, [one], layout, units)


INTEGER = {"code": Hypothesis("integer code", st.just("integer"))}

STATEMENTS: tuple[Statement, ...] = (
    Statement(
        name="program.sharing",
        source="ours",
        claim="the heads that two adjacent targets share add exactly what the rule's own heads add, to every token and "
        "row; no fewer heads for one or two adjacent targets each would do",
        latex=r"Heads shared by two adjacent targets add exactly what the rule's own heads add.",
        hypotheses={
            "seed": Hypothesis("a rule of 2 to 12 heads on 9 tokens", st.integers(0, 2**31)),
            "linear": Hypothesis("with a form or without", st.booleans()),
            "code": Hypothesis("either code", st.sampled_from(["integer", "integer", "trigonometric"])),
            "units": instances.units(),
        },
        check=check_shared,
        twins=(
            Twin(
                "values that differ",
                "both targets hear the same: the second twice as much",
                partial(check_paired, apart=1, louder=2.0),
                INTEGER,
            ),
            Twin(
                "targets that are not adjacent",
                "the targets lie side by side: with a token between them",
                partial(check_paired, apart=2, louder=1.0),
                INTEGER,
            ),
        ),
        examples=60,
    ),
)
