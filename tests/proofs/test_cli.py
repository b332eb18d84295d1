"""The command line of the statements: what it prints and how it exits."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from proofs_as_code import report
from proofs_as_code import statements as registry
from proofs_as_code.cli import app, run_all
from proofs_as_code.framework import run as run_statement
from tests.proofs import rigged

ROOT = Path(__file__).resolve().parents[2]
ALL = (rigged.TRUE, rigged.FALSE, rigged.UNREFUTED, rigged.NAN)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture
def only_rigged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "STATEMENTS", ALL)


@pytest.mark.usefixtures("only_rigged")
def test_one_line_for_each_statement() -> None:
    result = run("--only", "rigged.true")
    assert result.exit_code == 0, result.output
    header, line, total = result.stdout.splitlines()
    assert header.split() == [
        *("statement", "source", "kind", "instances", "points", "slack", "twins", "seconds", "claim"),
    ]
    for part in ("holds", "rigged.true", "the tests & nobody", "exact", "5/5", "[measured] <= claimed"):
        assert part in line
    assert total.startswith("1 statements, 0 failed")


def test_a_narrow_terminal_cuts_claims_and_sources_only() -> None:
    text = io.StringIO()
    Console(file=text, width=110).print(report.results_table([run_statement(rigged.LONG)]))
    header, line = text.getvalue().splitlines()
    assert len(line.rstrip()) <= 110 and "…" in line and "rigged.long" in line
    for word in ("holds", "exact", "8", "5/5"):
        assert word in line.split()
    assert all(word in header.split() for word in ("instances", "points", "slack", "twins", "seconds"))


@pytest.mark.usefixtures("only_rigged")
@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("rigged.false", "claimed 30, measured"),
        ("rigged.unrefuted", "twin 'smaller' (the bound: a smaller one) failed on 0 of 5"),
        ("rigged.nan", "measured nan"),
    ],
)
def test_what_does_not_hold_exits_with_1(name: str, why: str) -> None:
    result = run("--only", name)
    assert result.exit_code == 1
    assert "FAILS" in result.stdout and why in result.stderr and result.stderr.startswith(name)
    assert run("--only", "rigged.true", "--only", name).exit_code == 1
    assert run("--only", name, "--json").exit_code == 1
    assert run("--only", name, "--latex").exit_code == 1


@pytest.mark.usefixtures("only_rigged")
def test_a_group_is_a_prefix_at_a_dot() -> None:
    result = run("--only", "rigged", "--list")
    assert result.exit_code == 0
    assert [line.split()[0] for line in result.stdout.splitlines()[1:]] == [statement.name for statement in ALL]
    assert run("--only", "rig").exit_code == 2


@pytest.mark.usefixtures("only_rigged")
def test_an_unknown_name_lists_what_comes_close() -> None:
    result = run("--only", "rigged.flase")
    assert result.exit_code == 2 and result.stdout == ""
    assert result.stderr.startswith(
        "error: --only: expected a statement or a group, got 'rigged.flase'; close: rigged.false"
    )
    assert result.stderr.count("\n") == 1


@pytest.mark.usefixtures("only_rigged")
def test_json() -> None:
    result = run("--json", "--seed", 3)
    records = json.loads(result.stdout)
    assert [record["name"] for record in records] == [statement.name for statement in ALL]
    assert [record["holds"] for record in records] == [True, False, False, False]
    expected = run_statement(rigged.FALSE, 3).record()
    assert {**records[1], "seconds": 0} == {**expected, "seconds": 0}


@pytest.mark.usefixtures("only_rigged")
def test_latex() -> None:
    lines = run("--only", "rigged.true", "--latex").stdout.splitlines()
    assert lines[0].startswith("%") and lines[1].startswith(r"\begin{longtable}") and lines[-1] == r"\end{longtable}"
    row = lines[-2]
    assert row.startswith(r"\texttt{rigged.\allowbreak true} & the tests \& nobody & $n \le n^2$ & exact, 8 instances")
    assert row.endswith(r"& 5/5 \\")


def test_latex_escapes() -> None:
    assert report.latex_escape("a_b & 50% #1 ~ {x}^2 \\ <$>") == (
        r"a\_b \& 50\% \#1 \textasciitilde{} \{x\}\textasciicircum{}2 \textbackslash{} \textless{}\$\textgreater{}"
    )
    assert report.latex_number(-1.26e-9) == r"-1.3 \cdot 10^{-9}"
    assert report.latex_number(2.0) == "2.0"
    assert report.latex_number(float("-inf")) == r"-\infty" and "NaN" in report.latex_number(float("nan"))


def test_options_that_exclude_each_other() -> None:
    result = run("--json", "--list")
    assert result.exit_code == 2
    assert result.stderr == "error: --json, --latex, --list: expected at most one of them, got 2\n"
    assert run("--nonsense").exit_code == 2
    assert run("--seed", "x").exit_code == 2


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_is_shown_on_a_terminal_only(terminal: bool) -> None:
    text = io.StringIO()
    results = run_all([rigged.TRUE], 0, Console(file=text, force_terminal=terminal))
    assert results[0].holds
    assert ("rigged.true" in text.getvalue()) is terminal
    assert terminal or text.getvalue() == ""


def test_help_mentions_the_verifier() -> None:
    shown = run("--help")
    assert shown.exit_code == 0 and "verify NETWORK CERTIFICATE" in shown.stdout
    assert run("--seed", 1, "verify", "net.safetensors", "net.json").exit_code == 2  # the first argument only


def test_it_is_a_module() -> None:
    command = [sys.executable, "-m", "proofs_as_code", "--only", "codes.integer.limit"]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stderr
    assert "codes.integer.limit" in shown.stdout and shown.stderr == ""
