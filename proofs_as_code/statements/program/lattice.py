"""The lattice code: gates that ask for some of several integer entries.

Rows (e, e^2) for each entry e. `-(e - e0)^2 = 2 e0 e - e^2 - e0^2`, summed over the entries that are asked for, is
linear in the rows: 0 where they have the wanted values, and an integer <= -1 everywhere else, since an integer that is
not 0 has a square of at least 1. Between two tokens `-(e_t + k - e_s)^2` is a sum of products of their rows. A range of
tokens is told by the first entry whose values there are an interval that no other token's value meets; where no entry
does, there is no gate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations
from typing import Any

import numpy as np
from flint import fmpq, fmpq_mat
from hypothesis import strategies as st

from construct.arrays import Float
from construct.errors import InputError
from construct.program.codes import EntryRange
from construct.program.lattice import LatticeCode
from proofs_as_code import rational
from proofs_as_code.framework import Hypothesis, Statement, Twin, Verdict, verdict
from proofs_as_code.rational import ZERO

Entries = list[tuple[int, ...]]
Found = tuple[fmpq, dict[str, Any]]  # by how much a gate misses its claim, and where
NAMES = ("i", "j", "k")


def code_of(entries: Entries) -> LatticeCode:
    """The code of these tokens."""
    return LatticeCode(len(entries), NAMES[: len(entries[0])], np.array(entries))


def stored(code: LatticeCode) -> fmpq_mat:
    """(rows, 1) of every token, exactly as stored."""
    return rational.matrix(np.hstack([code.values(), np.ones((code.tokens, 1))]))


def missed(value: fmpq, meant: bool, floor: fmpq) -> fmpq:
    """By how much a gate misses "0 if meant, else <= -floor"."""
    return abs(value) if meant else max(ZERO, value + floor)


def asked(entries: Entries) -> Iterator[tuple[int, ...]]:
    """Every non-empty set of entries."""
    width = len(entries[0])
    return (chosen for size in range(1, width + 1) for chosen in combinations(range(width), size))


def token_gates(entries: Entries, floor: fmpq) -> Iterator[Found]:
    """Entry gates for the values that each token has, for every set of entries, at every token; point gates."""
    code, tokens = code_of(entries), range(len(entries))
    for chosen in asked(entries):
        values = {NAMES[i]: np.array([e[i] for e in entries]) for i in chosen}
        gates = stored(code) * rational.matrix(code.entry_gate(values)).transpose()
        for t, t0 in ((t, t0) for t in tokens for t0 in tokens):
            meant = all(entries[t][i] == entries[t0][i] for i in chosen)
            yield missed(gates[t, t0], meant, floor), {"token": t, "gate": t0, "entries": chosen}
    points = stored(code) * rational.matrix(code.point_gate(np.arange(code.tokens))).transpose()
    for t, t0 in ((t, t0) for t in tokens for t0 in tokens):
        yield missed(points[t, t0], t == t0, floor), {"token": t, "point": t0}


def pair_gates(entries: Entries, shift: int, floor: fmpq) -> Iterator[Found]:
    """Gates of equal entries, one of them shifted, at every ordered pair of tokens."""
    code, tokens = code_of(entries), range(len(entries))
    for chosen in asked(entries):
        by = shift if len(chosen) == 1 else 0
        query, key = (rational.matrix(part) for part in code.same_gate([NAMES[i] for i in chosen], by))
        gates = (stored(code) * query.transpose()) * (stored(code) * key.transpose()).transpose()
        for t, s in ((t, s) for t in tokens for s in tokens):
            meant = all(entries[s][i] == entries[t][i] + by for i in chosen)
            yield missed(gates[t, s], meant, floor), {"target": t, "source": s, "entries": chosen, "shift": by}


def relu_sums(code: LatticeCode, rows: Float) -> list[fmpq]:
    """Sum of the relus of functionals (r, rows + 1) at every token; 0 where there are none."""
    if not len(rows):
        return [ZERO] * code.tokens
    relus = rational.relu(stored(code) * rational.matrix(rows).transpose())
    return [sum((relus[t, r] for r in range(len(rows))), ZERO) for t in range(code.tokens)]


def range_gates(entries: Entries, floor: fmpq) -> Iterator[Found]:
    """The sum of a range gate's relus, for every range; refused exactly where no entry tells it from the rest."""
    code, tokens = code_of(entries), len(entries)
    for first, last in ((a, b) for a in range(tokens) for b in range(a, tokens)):
        inside, rest = entries[first : last + 1], entries[:first] + entries[last + 1 :]
        told = any(
            not any(min(e[i] for e in inside) <= e[i] <= max(e[i] for e in inside) for e in rest)
            for i in range(len(entries[0]))
        )
        where = {"range": (first, last)}
        try:
            rows, _ = code.range_gate(first, last)
        except InputError:
            yield fmpq(int(told)), where
            continue
        if not told:
            yield fmpq(1), where
        for t, total in enumerate(relu_sums(code, rows)):
            yield missed(-total, first <= t <= last, floor), where | {"token": t}


def entry_ranges(entries: Entries, floor: fmpq) -> Iterator[Found]:
    """The same for the tokens whose entry lies between the values that two tokens have."""
    code = code_of(entries)
    for i, name in enumerate(NAMES[: len(entries[0])]):
        values = sorted({e[i] for e in entries})
        for low, high in ((a, b) for a in values for b in values if a <= b):
            rows, _ = code.entry_range_gate(EntryRange(name, low, high))
            for t, total in enumerate(relu_sums(code, rows)):
                where = {"entry": name, "range": (low, high), "token": t}
                yield missed(-total, low <= entries[t][i] <= high, floor), where


def worst(found: Iterator[Found]) -> Verdict:
    """Exact verdict: nothing misses its claim."""
    every = list(found)
    miss, where = max(every, key=lambda one: one[0])
    return verdict(ZERO, miss, kind="exact", points=len(every), dtype="rational", worst_point=where)


def check_lattice(entries: Entries, shift: int, floor: int = 1) -> Verdict:
    """All gates of one code; floor: claimed of the distance from 0."""

    def found() -> Iterator[Found]:
        yield from token_gates(entries, fmpq(floor))
        yield from pair_gates(entries, shift, fmpq(floor))
        yield from range_gates(entries, fmpq(floor))
        yield from entry_ranges(entries, fmpq(floor))

    return worst(found())


def check_alone(entries: Entries, shift: int) -> Verdict:
    """The gate of the first entry of token 0, claimed to be its point gate."""
    code = code_of(entries)
    gate = stored(code) * rational.matrix(code.entry_gate({NAMES[0]: np.array([entries[0][0]])})).transpose()
    return worst((missed(gate[t, 0], t == 0, fmpq(1)), {"token": t}) for t in range(len(entries)))


def check_unshifted(entries: Entries, shift: int) -> Verdict:
    """The gate of equal first entries, claimed for entries that differ by the shift."""
    code = code_of(entries)
    query, key = (rational.matrix(part) for part in code.same_gate([NAMES[0]]))
    gates = (stored(code) * query.transpose()) * (stored(code) * key.transpose()).transpose()
    pairs = ((t, s) for t in range(len(entries)) for s in range(len(entries)))
    return worst(
        (missed(gates[t, s], entries[s][0] == entries[t][0] + shift, fmpq(1)), {"target": t, "source": s})
        for t, s in pairs
    )


def _entries(width: int) -> st.SearchStrategy[Entries]:
    one = st.integers(-3, 3) | st.integers(-2000, 2000)
    return st.lists(st.tuples(*[one] * width), min_size=1, max_size=7, unique=True)


def _tuples(make: Callable[[int], Entries]) -> st.SearchStrategy[Entries]:
    return st.integers(2, 6).map(make)


STATEMENTS: tuple[Statement, ...] = (
    Statement(
        name="codes.lattice",
        source="ours",
        claim="gates of the lattice code (a token, values of some entries, equal or shifted entries of two tokens, a "
        "range of tokens or of an entry) are exactly 0 on the tokens they ask for and at least 1 away everywhere else",
        latex=r"Gates of the lattice code are exactly $0$ on the tokens that they ask for and at least $1$ away from "
        r"$0$ on all others.",
        hypotheses={
            "entries": Hypothesis(
                "1 to 7 tokens with 1 to 3 integer entries, |e| <= 2000, no two tokens alike",
                st.integers(1, 3).flatmap(_entries),
            ),
            "shift": Hypothesis("shift k, |k| <= 4", st.integers(-4, 4)),
        },
        check=check_lattice,
        twins=(
            Twin(
                "wider gap",
                "gates are at least 1 away: 2, entries that follow one another",
                lambda entries, shift: check_lattice(entries, shift, 2),
                {"entries": Hypothesis("e = 0, 1, 2, ...", _tuples(lambda n: [(k,) for k in range(n)]))},
            ),
            Twin(
                "an entry left out",
                "a token is told by all its entries: by the first alone",
                check_alone,
                {"entries": Hypothesis("all first entries alike", _tuples(lambda n: [(5, k) for k in range(n)]))},
            ),
            Twin(
                "shift left out",
                "the gate of a shift k: that of k = 0",
                check_unshifted,
                {"shift": Hypothesis("k != 0", st.sampled_from([-2, -1, 1, 2]))},
            ),
        ),
        examples=40,
    ),
)
