"""Statements made up for the tests: one that holds, and ones that must not pass."""

from dataclasses import replace

from hypothesis import strategies as st

from proofs_as_code.framework import Hypothesis, Statement, Twin, verdict

NUMBERS = {"n": Hypothesis("an integer n in 1..50", st.integers(1, 50))}


def compare(n, claimed, measured, kind="exact"):
    return verdict(claimed(n), measured(n), kind=kind, points=1, dtype="int", worst_point={"n": n})


def statement(name, claimed, measured, twin=None, kind="exact"):
    """`measured(n) <= claimed(n)`; the twin takes the bound `twin` instead, by default one that is too small."""
    twin = twin or (lambda n: measured(n) - 1)
    return Statement(
        name=name,
        source="the tests & nobody",
        claim=f"{name}: [measured] <= claimed",
        latex=r"$n \le n^2$",
        hypotheses=NUMBERS,
        check=lambda n: compare(n, claimed, measured, kind),
        twins=(Twin("smaller", "the bound: a smaller one", lambda n: compare(n, twin, measured)),),
        examples=8,
    )


TRUE = statement("rigged.true", lambda n: n**2, lambda n: n)
LONG = replace(TRUE, name="rigged.long", claim="a very long claim " * 50, source="a long source " * 10)
FALSE = statement("rigged.false", lambda n: 30, lambda n: n, twin=lambda n: -1)
UNREFUTED = statement("rigged.unrefuted", lambda n: n**2, lambda n: n, twin=lambda n: n)
NAN = statement("rigged.nan", lambda n: 1.0, lambda n: float("nan"), twin=lambda n: 0)
