"""The maps T3 and T2 as heads: exact on every direction, silent everywhere else, for every input.

A self-gated head turns a into `T3(a) = a + relu(1 - a^2)(-4a) = 4a^3 - 3a` or `T2(a) = a + relu(1 - a)(-2a - 1) =
2a^2 - 1` where |a| <= 1, since the scores are >= 0 there. `T_mn = T_m o T_n`, so a chain of them is T_p.

Silent. The score of a pair of tokens is `u_t^T G u_s - C |A_t - A_s|^2`, the gate of a direction code
(`codes.direction` of the statements on programs); integer vectors that differ have `|A_t - A_s|^2 >= 1`, and tokens
that are apart have a gate of at most -1 with every token, themselves included. With |a| <= 1 both forms are at most
2, so that `C = 2` closes every pair but a direction with itself. That is the least: at `a_t = 1, a_s = -1` of
neighbouring directions the score is `2 - C`. Scores are bilinear in the registers of t and s, so the corners of the
box decide.

For every input. The FFN before the first map makes `a <- clip(a + delta, -1, 1)`, by `a + delta + relu(-1 - delta -
a) - relu(a + delta - 1)`, and T3 and T2 map [-1, 1] into itself. In float64 the numbers 1 + delta and delta - 1 are
rounded, by at most 2^-53, and so is the end of the clip; where delta is a multiple of 2^-52 nothing is.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import product
from typing import Any

import numpy as np
from flint import fmpq, fmpq_mat, fmpq_poly, fmpz_poly
from hypothesis import strategies as st

from construct.program.ffn import Ffn
from construct.program.heads import A
from construct.program.lattice import DirectionCode
from construct.program.layout import TokenGroup, TokenLayout
from construct.program.rules import EVERY, act
from construct.ridge.maps import DEGREES, chain, shift_of
from construct.ridge.program import SELF
from construct.transformer.weights import Heads
from proofs_as_code import rational
from proofs_as_code.framework import Hypothesis, Statement, Twin, Verdict, verdict
from proofs_as_code.rational import ZERO
from proofs_as_code.statements.compact.atoms import Z, acted, holder, largest_coefficient, nowhere_negative

Vector = tuple[int, ...]
State = list[tuple[fmpq, fmpq]]
BELOW = 1 - 2.0**-20
LEAST_CONSTANT = 2.0

# -- the table and the chain ------------------------------------------------------------------------------------------


def polynomial_of(m: int, moved: tuple[tuple[str, str], float] | None = None) -> tuple[fmpq_poly, fmpq_poly]:
    """What the head of the table makes of a, and its score; moved: a coefficient of its value and by how much."""
    form, value = SELF[m]
    value = dict(value)
    if moved is not None:
        value[moved[0]] += moved[1]
    after, score = acted(holder(Z, fmpq_poly([0])), holder(Z, fmpq_poly([0])), form, value)
    return after[A], score


def check_chain(degree: int, left_out: int = 0) -> Verdict:
    """The composition of the maps against T_p by its recurrence; scores that are >= 0 on [-1, 1]."""
    found = Z
    for m in chain(degree)[: len(chain(degree)) - left_out]:
        made, score = polynomial_of(m)
        if not nowhere_negative(score):
            return verdict(0, 1, kind="exact", points=1, dtype="rational", worst_point={"map": m, "reason": "score"})
        found = made(found)
    off = largest_coefficient(found - fmpq_poly(fmpz_poly.chebyshev_t(degree)))
    return verdict(ZERO, off, kind="exact", points=degree + 1, dtype="rational", worst_point={"p": degree})


def changed(degree: int) -> Verdict:
    """A coefficient of the first map's value moved by k/8, 0 < |k| <= 7: the change that is found least."""
    m = chain(degree)[0]
    wanted, found = polynomial_of(m)[0], []
    for key, k in product(SELF[m][1], [k for k in range(-7, 8) if k]):
        found.append(largest_coefficient(polynomial_of(m, (key, k / 8))[0] - wanted))
    return verdict(ZERO, min(found), kind="exact", points=len(found), dtype="rational", worst_point={"map": m})


# -- heads ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tokens:
    """Directions, all different, and tokens that are apart, any vectors."""

    directions: tuple[Vector, ...]
    apart: tuple[Vector, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"A{i + 1}" for i in range(len(self.directions[0])))

    def layout(self) -> TokenLayout:
        count, total = len(self.directions), len(self.directions) + len(self.apart)
        groups = (TokenGroup("R", (count,)), *((TokenGroup("x", (len(self.apart),)),) if self.apart else ()))
        integers = np.array([*self.directions, *self.apart], dtype=np.int64)
        return TokenLayout(groups, DirectionCode(total, self.names, integers, np.arange(count, total)))

    def head(self, m: int, constant: float) -> Heads:
        """The head of T_m."""
        form, value = SELF[m]
        rule = act(EVERY, EVERY, form, value, same=self.names, fold=True)
        return rule.heads(self.layout(), np.array([constant]))


def as_one(state: fmpq_mat, layout: TokenLayout, of: int) -> fmpq_mat:
    """The second direction with the code of the first; `of` rows of the state for each token."""
    for i, row in product(range(of), layout.code_rows):
        state[of + i, row] = state[i, row]
    return state


def check_head(
    tokens: Tokens, m: int, registers: State, constant: float = LEAST_CONSTANT, merged: bool = False
) -> Verdict:
    """Scores of every pair at the corners of |a| <= 1, |b| <= 1, and what the head adds to every token of one state."""
    layout, head = tokens.layout(), tokens.head(m, constant)
    query, key = head.query[0], head.key[0]
    corners, of = rational.corner_state(layout, (1, 1))
    if merged:
        corners = as_one(corners, layout, 4)
    scores, a = rational.scores(query, key, corners), layout.row(A)
    worst, where = ZERO, dict[str, Any]()
    for (i, t), (j, s) in product(enumerate(of), repeat=2):
        form = 1 - corners[i, a] * (corners[j, a] if m == 3 else 1)
        own = t == s and t < len(tokens.directions)
        off = abs(scores[i, j] - form) if own else scores[i, j]
        if off > worst:
            worst, where = off, {"pair": (t, s)}
    state = rational.state(layout, registers[: layout.count])
    if merged:
        state = as_one(state, layout, 1)
    added = rational.head(query, key, head.value[0], state)
    for t, row in product(range(layout.count), range(layout.embedding_dim)):
        before = state[t, a]
        wanted = fmpz_poly.chebyshev_t(m)(before) - before if row == a and t < len(tokens.directions) else ZERO
        if (off := abs(added[t, row] - wanted)) > worst:
            worst, where = off, {"token": t, "row": row}
    points = len(of) ** 2 + layout.count
    return verdict(ZERO, worst, kind="exact", points=points, dtype="rational", worst_point={"T": m} | where)


# -- the clip ---------------------------------------------------------------------------------------------------------


@lru_cache
def clip_layout() -> TokenLayout:
    return Tokens(((0, 0), (1, 0), (0, 1)), ((1, 0),)).layout()


def clipped(value: fmpq) -> fmpq:
    return max(fmpq(-1), min(fmpq(1), value))


def check_clip(degree: int, registers: State, limit: float = 1.0, late: bool = False) -> Verdict:
    """The first block's FFN against clip(a + delta, -1, 1), up to the rounding of 1 + delta; late: delta comes last."""
    layout, shift = clip_layout(), shift_of(degree)
    numbers = {"shift": 0.0 if late else shift, "limit": limit}
    network = Ffn("shifted_clip", numbers=numbers).weights(layout, 0.0)
    state = rational.state(layout, registers)
    added, a = rational.feed_forward(network, state), layout.row(A)
    worst, where = ZERO, {"token": 0}
    for t, row in product(range(layout.count), range(layout.embedding_dim)):
        delta, before = rational.rational(shift), state[t, row]
        found = before + added[t, row] + (delta if late and row == a else 0)
        off = abs(found - (clipped(before + delta) if row == a else before))
        if off > worst:
            worst, where = off, {"token": t, "row": row, "p": degree}
    allowed = fmpq(0) if degree <= 4 else fmpq(1, 2**53)
    points = layout.count
    return verdict(allowed, worst, kind="exact", points=points, dtype="rational", worst_point=where)


# -- statements -------------------------------------------------------------------------------------------------------

DEGREE = Hypothesis("p = 2^i 3^j, 2 <= p <= 108", st.sampled_from([p for p in DEGREES if p >= 2]))
MOST = 10
ANY_SIZE = rational.dyadics(3, 6) | rational.dyadics(2**20, 2)


@st.composite
def _tokens(draw: st.DrawFn) -> Tokens:
    k = draw(st.integers(1, 3))
    vector = st.tuples(*[st.integers(-3, 3)] * k)
    directions = draw(st.lists(vector, min_size=2, max_size=6, unique=True))
    return Tokens(tuple(directions), tuple(draw(st.lists(vector, max_size=MOST - 6))))


def states(values: st.SearchStrategy[fmpq], count: int = MOST) -> st.SearchStrategy[State]:
    return st.lists(st.tuples(values, rational.dyadics(1, 6)), min_size=count, max_size=count)


NEIGHBOURS = Hypothesis("two of the directions are neighbours", st.just(Tokens(((0, 1), (1, 1), (2, 3)), ((1, 0),))))
TOKENS = Hypothesis("2 to 6 different directions in Z^k, k <= 3; up to 4 tokens that are apart", _tokens())
MAP = Hypothesis("T3 or T2", st.sampled_from([3, 2]))
BOUNDED = Hypothesis("|a| <= 1 on every token", states(rational.dyadics(1, 6)))
LARGE = Hypothesis("9/8 <= a <= 2", states(st.integers(9, 16).map(lambda j: fmpq(j, 8))))

STATEMENTS: tuple[Statement, ...] = (
    Statement(
        name="ridge.maps.chain",
        source="ours",
        claim="the maps of the table are a + (1 - a^2)(-4a) = T3 and a + (1 - a)(-2a - 1) = T2, with scores >= 0 on "
        "[-1, 1], and the chain of a degree p is T_p, for every p up to 108",
        latex=r"$a+(1-a^2)(-4a)=T_3(a)$, $a+(1-a)(-2a-1)=T_2(a)$, scores $\ge 0$ on $[-1,1]$, and the chain of $p$ "
        r"is $T_p$.",
        hypotheses={"degree": DEGREE},
        check=check_chain,
        twins=(
            Twin("a map left out", "all maps of the chain: the last one is missing", partial(check_chain, left_out=1)),
            Twin("a changed coefficient", "the table's value: a coefficient moved by k/8, 0 < |k| <= 7", changed),
        ),
        examples=40,
    ),
    Statement(
        name="ridge.maps.heads",
        source="ours",
        claim="one head with gate constant 2 turns a into T3(a) (or T2(a)) on every direction, |a| <= 1, exactly, "
        "and adds nothing to tokens that are apart, to other rows, or from any other token",
        latex=r"With gate constant $2$ one head maps $a$ to $T_3(a)$ (or $T_2(a)$) on every direction, $|a|\le 1$, "
        r"and is silent on all other pairs of tokens.",
        hypotheses={"tokens": TOKENS, "m": MAP, "registers": BOUNDED},
        check=check_head,
        twins=(
            Twin(
                "two equal directions",
                "directions differ: the second has the vector of the first",
                partial(check_head, merged=True),
            ),
            Twin(
                "constant below 2",
                "C >= 2: C = 2 (1 - 2^-20), neighbouring directions",
                partial(check_head, constant=LEAST_CONSTANT * BELOW),
                {"tokens": NEIGHBOURS},
            ),
            Twin("without the clip", "|a| <= 1: 9/8 <= a <= 2", check_head, {"registers": LARGE}),
        ),
        examples=30,
    ),
    Statement(
        name="ridge.maps.clip",
        source="ours",
        claim="the first block's FFN makes a <- clip(a + delta, -1, 1) for every a and touches no other row, exactly "
        "for p <= 4 and up to 2^-53, the rounding of 1 + delta, beyond",
        latex=r"The first FFN makes $a\leftarrow\mathrm{clip}(a+\delta,-1,1)$ for every $a$, up to the rounding of "
        r"$1+\delta$.",
        hypotheses={"degree": DEGREE, "registers": Hypothesis("any registers", states(ANY_SIZE, 4))},
        check=check_clip,
        twins=(
            Twin(
                "a wider clip",
                "the clip ends at 1: at 9/8, where a + delta is beyond",
                partial(check_clip, limit=1.125),
                {"registers": Hypothesis("a = 2", st.just([(fmpq(2), ZERO)] * 4))},
            ),
            Twin(
                "shifted after the clip",
                "the clip is of a + delta: of a, and delta is added to it",
                partial(check_clip, late=True),
                {"registers": Hypothesis("a = 2", st.just([(fmpq(2), ZERO)] * 4))},
            ),
        ),
        examples=40,
    ),
)
