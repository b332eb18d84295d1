"""The command line: `python -m proofs_as_code [--only NAME] [--json | --latex | --list] [--seed N]`.

Runs the statements and prints one line for each. Exit codes: 0 every statement holds and every negative twin was
refuted; 1 otherwise; 2 bad usage. With `verify` as the first argument this module is not even imported: `__main__`
hands over to the verifier.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from typing import Annotated, NoReturn

import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from proofs_as_code import statements as registry
from proofs_as_code.framework import Result, Statement, run
from proofs_as_code.report import failure_lines, latex_table, list_table, results_table

PIPE_WIDTH = 1000  # columns where there is no terminal to fit: one line per statement, nothing cut

VERIFY = "With `verify NETWORK CERTIFICATE` instead of options: check an error certificate, see `verify --help`."

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command(epilog=VERIFY)
def check(
    only: Annotated[
        list[str] | None, typer.Option(help="A statement or a group (heads, heads.linear_read); repeatable.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the instances that are drawn.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print a list of JSON objects.")] = False,
    latex: Annotated[bool, typer.Option("--latex", help="Print a LaTeX table for an appendix.")] = False,
    listing: Annotated[bool, typer.Option("--list", help="List the statements and run none.")] = False,
) -> None:
    """Run and check the statements of the construction; without options all of them."""
    if (given := as_json + latex + listing) > 1:
        refuse(f"--json, --latex, --list: expected at most one of them, got {given}")
    chosen = select(registry.STATEMENTS, only or [])
    if listing:
        printed(list_table(chosen))
        return
    torch.set_num_threads(1)  # small matrices: threads only cost
    results = run_all(chosen, seed, Console(stderr=True))
    if as_json:
        typer.echo(json.dumps([result.record() for result in results], indent=2, allow_nan=False))
    elif latex:
        typer.echo(latex_table(results))
    else:
        printed(results_table(results))
        failed = sum(not result.holds for result in results)
        seconds = sum(result.seconds for result in results)
        typer.echo(f"{len(results)} statements, {failed} failed, {seconds:.0f} s")
    for result in results:
        for line in failure_lines(result):
            typer.echo(line, err=True)
    if not all(result.holds for result in results):
        raise typer.Exit(1)


def select(available: Sequence[Statement], names: Sequence[str]) -> list[Statement]:
    """Statements whose name is one of `names` or begins with one of them and a dot; all if there are none.

    Exits with 2 for a name that matches nothing, and says what comes close.
    """
    if not names:
        return list(available)
    for name in names:
        if not any(matches(statement, name) for statement in available):
            known = sorted({s.name for s in available} | {prefix for s in available for prefix in groups(s.name)})
            close = difflib.get_close_matches(name, known, n=5, cutoff=0.5) or known[:5]
            refuse(f"--only: expected a statement or a group, got {name!r}; close: {', '.join(close)}")
    return [statement for statement in available if any(matches(statement, name) for name in names)]


def matches(statement: Statement, name: str) -> bool:
    """Whether `name` is the statement or a group that it is in."""
    return name in (statement.name, *groups(statement.name))


def groups(name: str) -> list[str]:
    """Proper prefixes of a dotted name: "a.b.c" is in "a" and "a.b"."""
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]


def run_all(chosen: Sequence[Statement], seed: int, console: Console) -> list[Result]:
    """Run them one by one; progress on `console` if it is a terminal."""
    columns = (MofNCompleteColumn(), BarColumn(bar_width=24), TimeElapsedColumn(), TextColumn("{task.description}"))
    results = []
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=len(chosen))
        for statement in chosen:
            progress.update(task, description=statement.name)
            results.append(run(statement, seed))
            progress.advance(task)
    return results


def printed(table: Table) -> None:
    """Print a table; where there is no terminal, as wide as it needs to be."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=PIPE_WIDTH)
    console.print(table)


def refuse(message: str) -> NoReturn:
    """One line on stderr, exit code 2."""
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(2)


def main() -> None:
    """Run the command line."""
    app(prog_name="python -m proofs_as_code")
