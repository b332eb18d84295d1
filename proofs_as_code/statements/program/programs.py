"""Small programs drawn at random: every kind of rule, of gadget and of position code; what a rule's heads may act on.

Numbers are dyadic rationals of few bits. `wanted` says from the rule alone, not from any gate, which pairs of tokens a
head is meant for.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from construct.arrays import Float
from construct.program.compile import Program, Stage
from construct.program.ffn import Ffn
from construct.program.heads import A, B, Entries
from construct.program.lattice import LatticeCode
from construct.program.layout import ONE, TokenGroup, TokenLayout
from construct.program.products import signed
from construct.program.rules import EVERY, Rule, Selection, Tokens, Where, act, read

Code = Literal["integer", "trigonometric", "lattice"]
CODES: tuple[Code, ...] = ("integer", "trigonometric", "lattice")
FACTORS = (A, B, ONE)
BOX = np.array([1.0, 0.5])  # of the two input coordinates


def layout_of(code: Code, last: int = 2) -> TokenLayout:
    """x (2), out (1), P (2 x 2), Q (`last`); entries of the lattice code: the group and the number in it."""
    groups = (
        TokenGroup("x", (2,)),
        TokenGroup("out", (1,)),
        TokenGroup("P", (2, 2), ("i", "j")),
        TokenGroup("Q", (last,), ("n",)),
    )
    if code != "lattice":
        return TokenLayout(groups, code)
    entries = [(role, k) for role, group in enumerate(groups) for k in range(group.size)]
    return TokenLayout(groups, LatticeCode(len(entries), ("role", "number"), np.array(entries)))


def drawn_program(seed: int, code: Code) -> Program:
    """One to three stages of one to three rules each, most of them with an FFN."""
    rng = np.random.default_rng([seed, CODES.index(code)])
    layout = layout_of(code, int(rng.integers(1, 4)))
    registers: dict[tuple[str, str], Float | float] = {("P", A): _numbers(rng, (2, 2)), ("Q", B): _number(rng)}
    stages = [Stage(f"stage {k}", _rules(rng, layout), _ffn(rng)) for k in range(int(rng.integers(1, 4)))]
    return Program(layout, registers, tuple(stages))


def full_program(seed: int, code: Code) -> Program:
    """One stage of rules whose forms are positive, for a state with every register at the same bounds.

    So `U^T |G| U` is attained at every pair of tokens, those next to the wanted ones included.
    """
    rng = np.random.default_rng([seed, 17])
    layout = layout_of(code)
    bound = {A: 1 + float(rng.integers(1, 16)) / 4, B: float(rng.integers(1, 16)) / 4}
    registers: dict[tuple[str, str], Float | float] = {
        (group.name, register): np.full(group.shape, bound[register]) for group in layout.groups for register in bound
    }
    registers["x", A] = bound[A] - BOX
    target, source = rng.integers(0, layout.count, (2, 2))
    form: Entries = {(A, A): float(rng.integers(1, 16)) / 8, (A, ONE): float(rng.integers(1, 16)) / 8}
    rules = (
        act(target, source, form, {(B, ONE): 1.0}),
        act(EVERY, EVERY, form, {(B, A): 1.0}, same=layout.code.entries),
    )
    return Program(layout, registers, (Stage("full", rules),))


def wanted(rule: Rule, layout: TokenLayout, head: int, target: int, source: int) -> bool:
    """Whether head number `head` of the rule is meant for this pair."""
    sides = _meant(rule.target, layout, head, target) and _meant(rule.source, layout, head, source)
    return sides and all(
        _entry(layout, name, source) - _entry(layout, name, target) == rule.shift for name in rule.same
    )


def _meant(side: Selection, layout: TokenLayout, head: int, token: int) -> bool:
    if isinstance(side, Tokens):
        return token - int(side.numbers[head]) in ((0, 1) if side.pair else (0,))
    if isinstance(side, Where):
        return all(_entry(layout, name, token) == _at(v, head) for name, v in side.entries.items())
    return True


def _at(values: Any, head: int) -> int:
    return int(np.asarray(values).ravel()[head if np.ndim(values) else 0])


def _entry(layout: TokenLayout, name: str, token: int) -> int:
    code = layout.code
    return int(code.integers[token, code.named.index(name)]) if isinstance(code, LatticeCode) else token


# -- draws ----------------------------------------------------------------------------------------------------------


def _number(rng: np.random.Generator) -> float:
    return float(rng.integers(-8, 9)) / 8


def _numbers(rng: np.random.Generator, shape: int | tuple[int, ...]) -> Float:
    return rng.integers(-8, 9, shape) / 8


def _entries(rng: np.random.Generator, rows: tuple[str, ...], most: int, heads: int) -> dict[tuple[str, str], Any]:
    """One to `most` coefficients, some of them one for each head."""
    keys = [(i, j) for i in rows for j in FACTORS]
    chosen = rng.permutation(len(keys))[: rng.integers(1, most + 1)]
    return {keys[k]: _numbers(rng, heads) if rng.integers(2) else 1 + _number(rng) for k in chosen}


def _rules(rng: np.random.Generator, layout: TokenLayout) -> tuple[Rule, ...]:
    return tuple(rule for _ in range(int(rng.integers(1, 4))) for rule in _drawn(rng, layout))


def _drawn(rng: np.random.Generator, layout: TokenLayout) -> tuple[Rule, ...]:
    count = int(rng.integers(1, 5))
    target, source = rng.integers(0, layout.count, (2, count))
    value, form = _entries(rng, (A, B), 3, count), _entries(rng, FACTORS, 4, count)
    own = {key: float(np.ravel(v)[0]) for key, v in _entries(rng, (A, ONE), 3, 1).items()}
    alone = {key: float(np.ravel(v)[0]) for key, v in value.items()}
    kind = int(rng.integers(7))
    if kind == 0:
        return (read(np.arange(count) % layout.count, source[0], {key: 1.0 for key in value}, share=True),)
    if kind == 1:
        return (read(target, source, value),)
    if kind == 2:
        return (act(target, source, form, value),)
    if kind == 3:
        return signed(target, source, form, B, _numbers(rng, count))
    if kind == 4:
        return (act(EVERY, EVERY, own, alone, same=layout.code.entries),)
    if kind == 5:
        return (act(EVERY, source, form, value),)
    if isinstance(layout.code, LatticeCode):
        where = Where({"role": rng.integers(0, 4, count)})
        return (Rule(where, EVERY, value, {key: own[key] for key in list(own)[:1]}, same=("number",), shift=1),)
    return (Rule(EVERY, EVERY, alone, own, same=layout.code.entries, shift=int(rng.integers(-2, 3))),)


def _ffn(rng: np.random.Generator) -> Ffn | None:
    ramp = {"radius_squared": 2.0, "doublings": int(rng.integers(1, 5))}
    choices = (
        None,
        Ffn("clip"),
        Ffn("clip", ("P", "Q"), {"row": B, "limit": 0.5}),
        Ffn("clear", ("P",)),
        Ffn("bump", ("Q",), {"kind": "trapezoid", "scale": 3.0}),
        Ffn("clamp", ("P",), {"argument": {A: 0.5, ONE: 0.25}}),
        Ffn("indicator_ramp", ("Q",), ramp),
        Ffn("telescoping_weight", ("Q",), {"slope": 0.5}),
        Ffn("silence", ("P",)),
    )
    return choices[int(rng.integers(len(choices)))]
