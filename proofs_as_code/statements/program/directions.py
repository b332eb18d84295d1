"""The direction code: an integer vector A in every token and q = |A|^2 beside it; some tokens are kept apart.

    2 <A_t, A_s> - q_t - q_s = -|A_t - A_s|^2 - (q_t - |A_t|^2) - (q_s - |A_s|^2)

Where q is the square itself, this is 0 for equal vectors and an integer <= -1 for others. A token that is apart has a q
above its |A|^2, both integers: then a bracket is at least 1, and the gate is at most -1 whatever the other token is.
That q is above every square of the code, so that it tells the tokens that are apart from all others, too.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from flint import fmpq, fmpq_mat
from hypothesis import strategies as st

from construct.program.lattice import DirectionCode
from proofs_as_code import rational
from proofs_as_code.framework import Hypothesis, Statement, Twin, Verdict
from proofs_as_code.rational import ZERO
from proofs_as_code.statements.program.lattice import Found, missed, worst

Token = tuple[tuple[int, ...], bool]  # its vector, and whether it is apart
NAMES = ("A", "B", "C", "D")


def code_of(tokens: list[Token]) -> DirectionCode:
    """The code of these tokens."""
    integers = np.array([vector for vector, _ in tokens], dtype=np.int64)
    apart = np.array([t for t, (_, away) in enumerate(tokens) if away], dtype=np.int64)
    return DirectionCode(len(tokens), NAMES[: integers.shape[1]], integers, apart)


def stored(code: DirectionCode) -> fmpq_mat:
    """(A, q, 1) of every token, exactly as stored."""
    return rational.matrix(np.hstack([code.values(), np.ones((code.tokens, 1))]))


def unsquared(tokens: list[Token]) -> fmpq_mat:
    """The same with q = |A|^2 in every token, those that are meant to be apart included."""
    return rational.matrix([[*vector, sum(v * v for v in vector), 1] for vector, _ in tokens])


def pair_gates(tokens: list[Token], rows: fmpq_mat, floor: fmpq) -> Iterator[Found]:
    """The gate of equal vectors at every ordered pair: meant are a token and itself, unless it is apart."""
    code = code_of(tokens)
    query, key = (rational.matrix(part) for part in code.same_gate(code.entries))
    gates = (rows * query.transpose()) * (rows * key.transpose()).transpose()
    for t, s in ((t, s) for t in range(len(tokens)) for s in range(len(tokens))):
        yield missed(gates[t, s], t == s and not tokens[t][1], floor), {"target": t, "source": s}


def point_gates(tokens: list[Token], rows: fmpq_mat, floor: fmpq) -> Iterator[Found]:
    """The gate of every token that is not apart, at every token."""
    code = code_of(tokens)
    met = [t for t, (_, away) in enumerate(tokens) if not away]
    if not met:
        return
    gates = rows * rational.matrix(code.point_gate(np.array(met))).transpose()
    for t, i in ((t, i) for t in range(len(tokens)) for i in range(len(met))):
        yield missed(gates[t, i], t == met[i], floor), {"token": t, "gate": met[i]}


def told_apart(tokens: list[Token], rows: fmpq_mat) -> Iterator[Found]:
    """By how much q of a token that is apart fails to be 1 above q of every token that is not."""
    squares = rows.ncols() - 2
    for t, s in ((t, s) for t in range(len(tokens)) for s in range(len(tokens))):
        if tokens[t][1] and not tokens[s][1]:
            yield max(ZERO, rows[s, squares] + 1 - rows[t, squares]), {"apart": t, "token": s}


def check_directions(tokens: list[Token], floor: int = 1) -> Verdict:
    """All gates of one code; floor: claimed of the distance from 0."""
    rows = stored(code_of(tokens))

    def found() -> Iterator[Found]:
        yield from pair_gates(tokens, rows, fmpq(floor))
        yield from point_gates(tokens, rows, fmpq(floor))
        yield from told_apart(tokens, rows)

    return worst(found())


def check_together(tokens: list[Token]) -> Verdict:
    """The gate of equal vectors where the tokens that are meant to be apart have q = |A|^2 as all others."""
    return worst(pair_gates(tokens, unsquared(tokens), fmpq(1)))


def _tokens(width: int) -> st.SearchStrategy[list[Token]]:
    one = st.integers(-3, 3) | st.integers(-2000, 2000) | st.sampled_from([2**12, 2**20, 2**24])
    vector = st.tuples(*[one] * width)
    met = st.lists(vector, min_size=1, max_size=5, unique=True)
    return st.tuples(met, st.lists(vector, max_size=3)).flatmap(
        lambda parts: st.permutations([(v, False) for v in parts[0]] + [(v, True) for v in parts[1]])
    )


def _neighbours(count: int) -> list[Token]:
    return [((n,), False) for n in range(count)]


def _alike(vector: tuple[int, int]) -> list[Token]:
    return [(vector, False), (vector, True)]


STATEMENTS: tuple[Statement, ...] = (
    Statement(
        name="codes.direction",
        source="ours",
        claim="the gate of equal vectors is exactly 0 on a token and itself, an integer <= -1 on every other pair and "
        "on every pair with a token that is apart, whose vector may be that of another; q of a token that is apart is "
        "above all others",
        latex=r"$2\langle A_t,A_s\rangle-q_t-q_s$ is exactly $0$ for $t=s$ and an integer $\le-1$ for all other pairs "
        r"and for all pairs with a token that is apart.",
        hypotheses={
            "tokens": Hypothesis(
                "1 to 8 tokens with integer vectors in Z^k, k = 1 to 4, |A_i| <= 2^24; those not apart have different "
                "ones",
                st.integers(1, 4).flatmap(_tokens),
            ),
        },
        check=check_directions,
        twins=(
            Twin(
                "wider gap",
                "gates are at least 1 away: 2, vectors that follow one another",
                lambda tokens: check_directions(tokens, 2),
                {"tokens": Hypothesis("A = 0, 1, 2, ...", st.integers(2, 6).map(_neighbours))},
            ),
            Twin(
                "equal vectors that are not apart",
                "tokens with equal vectors are apart: q = |A|^2 in both",
                check_together,
                {
                    "tokens": Hypothesis(
                        "two tokens with one vector", st.tuples(st.integers(-9, 9), st.integers(-9, 9)).map(_alike)
                    )
                },
            ),
        ),
        examples=40,
    ),
)
