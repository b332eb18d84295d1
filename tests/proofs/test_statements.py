"""Tests that are generated from the statements, and tests that a false statement would not get through."""

import json
import math
import re
from dataclasses import replace

import pytest
from flint import arb
from hypothesis import HealthCheck, given, settings

from construct.errors import InputError
from proofs_as_code import cli, framework
from proofs_as_code.framework import KINDS, Result, Statement, TwinResult, Verdict, combine, proved, run, run_twin
from proofs_as_code.report import latex_claim
from proofs_as_code.statements import STATEMENTS
from tests.proofs import rigged

MOST_EXAMPLES = 5
OTHER_SEED = 1  # the command line draws with 0
EVERY = pytest.mark.parametrize("statement", STATEMENTS, ids=lambda statement: statement.name)
TWINS = [pytest.param(s, twin, id=f"{s.name}: {twin.name}") for s in STATEMENTS for twin in s.twins]


def holds_on_drawn_instances(statement: Statement, most: int = MOST_EXAMPLES) -> list[Verdict]:
    """The property: the verdict holds for whatever satisfies the hypotheses; hypothesis shrinks what does not."""
    verdicts = []

    @settings(max_examples=min(most, statement.examples), suppress_health_check=list(HealthCheck))
    @given(statement.instances())
    def the_claim_holds(instance):
        verdicts.append(statement.check(**instance))
        assert verdicts[-1].holds, f"{statement.name}: {verdicts[-1]}"

    the_claim_holds()
    return verdicts


@EVERY
def test_the_claim_holds(statement: Statement) -> None:
    verdicts = holds_on_drawn_instances(statement)
    assert len({verdict.kind for verdict in verdicts}) == 1, "kinds are never mixed in one statement"
    assert all(verdict.points > 0 and verdict.slack >= 0 for verdict in verdicts)
    twins = tuple(TwinResult(twin.name, twin.violates, 1, 1, True) for twin in statement.twins)
    record = Result(statement, combine(verdicts), len(verdicts), twins, 0.0).record()
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert record["kind"] in KINDS


@pytest.mark.parametrize(("statement", "twin"), TWINS)
def test_a_violated_hypothesis_is_noticed(statement: Statement, twin: framework.Twin) -> None:
    result = run_twin(statement, twin, OTHER_SEED)
    assert result.refuted and result.tried > 0, f"failed on {result.failed} of {result.tried}"


def test_names_are_unique() -> None:
    names = [statement.name for statement in STATEMENTS]
    assert len(set(names)) == len(names) > 20
    assert all(re.fullmatch(r"[a-z0-9_]+(\.[a-z0-9_]+)+", name) for name in names)
    groups = {prefix for name in names for prefix in cli.groups(name)}
    assert not groups & set(names), "a name that is also a group cannot be chosen alone"


@EVERY
def test_a_statement_says_what_it_claims(statement: Statement) -> None:
    assert statement.claim.strip() and statement.source.strip() and statement.hypotheses
    assert all(hypothesis.text.strip() for hypothesis in statement.hypotheses.values())
    assert len({twin.name for twin in statement.twins}) == len(statement.twins)
    assert all(twin.violates.strip() for twin in statement.twins)
    for twin in statement.twins:
        assert set(twin.hypotheses) <= set(statement.hypotheses), f"{twin.name} replaces a hypothesis that there is not"


@EVERY
def test_latex_is_balanced(statement: Statement) -> None:
    text = latex_claim(statement).replace(r"\\", "").replace(r"\{", "").replace(r"\}", "")
    assert len(text) > 5 and text.count("$") % 2 == 0
    depth = 0
    for character in text:
        depth += {"{": 1, "}": -1}.get(character, 0)
        assert depth >= 0
    assert depth == 0
    for math_or_text in text.split("$")[::2]:  # outside of formulas
        assert not re.search(r"(?<!\\)[_^&#%]", math_or_text)
    assert text.count(r"\left") - text.count(r"\leftarrow") == text.count(r"\right") - text.count(r"\rightarrow")


def test_a_true_statement_passes() -> None:
    result = run(rigged.TRUE)
    assert result.holds and result.instances == 8
    assert (result.verdict.claimed, result.verdict.measured) == (1.0, 1.0)  # the instance with the least slack
    assert result.verdict.points == 8
    assert [(twin.failed, twin.tried) for twin in result.twins] == [(5, 5)]


def test_a_false_statement_fails_and_shows_its_witness() -> None:
    result = run(rigged.FALSE)
    assert not result.holds and not result.verdict.holds
    assert result.verdict.slack < 0 and result.record()["worst_point"]["n"] > 30
    with pytest.raises(AssertionError, match=r"rigged.false: Verdict\(claimed=30.0, measured=31.0"):  # shrunk
        holds_on_drawn_instances(replace(rigged.FALSE, examples=100), 100)


def test_an_unrefuted_twin_fails_the_statement() -> None:
    result = run(rigged.UNREFUTED)
    assert result.verdict.holds and not result.holds
    assert not result.twins[0].refuted and result.twins[0].failed == 0


def test_nan_fails() -> None:
    result = run(rigged.NAN)
    assert not result.holds and result.verdict.slack == -math.inf
    assert result.record()["measured"] == "nan"
    json.dumps(result.record(), allow_nan=False)
    assert not proved(arb(1), arb("nan"), points=1).holds
    assert not proved(arb("nan"), arb(1), points=1).holds


def test_balls_must_compare_with_all_their_points() -> None:
    assert proved(arb(2), arb(1, 0.5), points=1).holds
    assert not proved(arb(2), arb(1, 1.5), points=1).holds
    shown = proved(arb(2), arb(1, 0.5), points=1)
    assert shown.kind == "rigorous" and shown.measured >= 1.5 and shown.claimed == 2


def test_a_run_reports_its_weakest_kind_and_its_first_failure() -> None:
    strong = Verdict(2.0, 1.0, "exact", 3, "rational", {}, True)
    weak = Verdict(9.0, 1.0, "sampled", 4, "float64", {}, True)
    failed = Verdict(1.0, 1.0 + 1e-9, "rigorous", 1, "arb", {}, False)
    assert combine([strong, weak]) == Verdict(2.0, 1.0, "sampled", 7, "float64, rational", {}, True)
    assert not combine([strong, failed, weak]).holds
    with pytest.raises(InputError, match="kind: expected one of"):
        Verdict(1.0, 0.0, "certain", 1, "float64", {}, True)


def test_a_statement_needs_a_twin() -> None:
    with pytest.raises(InputError, match=r"twins: expected at least one negative twin of rigged\.true, got none"):
        replace(rigged.TRUE, twins=())


def test_runs_are_reproducible() -> None:
    first, second, third = run(rigged.FALSE, 7), run(rigged.FALSE, 7), run(rigged.FALSE, 8)
    assert first.verdict == second.verdict
    assert first.verdict != third.verdict
