"""Results as a table for a terminal, and as a LaTeX table for an appendix."""

from __future__ import annotations

from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from proofs_as_code.framework import Result, Statement

ESCAPES = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}


def results_table(results: Sequence[Result]) -> Table:
    """One line per statement: what is claimed, how it was checked, and what came out."""
    table = Table("", "statement", "source", "kind", "instances", "points", "slack", "twins", "seconds", box=None)
    for column in table.columns[4:]:
        column.justify = "right"
    _fixed(table)
    for result in results:
        v = result.verdict
        table.add_row(
            "[green]holds[/]" if result.holds else "[bold red]FAILS[/]",
            escape(result.statement.name),
            cut(result.statement.source),
            v.kind,
            str(result.instances),
            f"{v.points:,}",
            f"{v.slack:.2g}",
            twins_text(result),
            f"{result.seconds:.1f}",
            cut(result.statement.claim),
        )
    return table


def list_table(statements: Sequence[Statement]) -> Table:
    """Names, sources and claims, nothing run."""
    table = Table("statement", "source", box=None)
    _fixed(table)
    for statement in statements:
        table.add_row(escape(statement.name), cut(statement.source), cut(statement.claim))
    return table


def _fixed(table: Table) -> None:
    """Add the column of claims; on a narrow terminal only claims and sources give way, the rest keeps its width."""
    for column in table.columns:
        column.no_wrap = column.header != "source"
    table.add_column("claim")


def cut(text: str) -> Text:
    """One line that is cut, not wrapped, where the column is too narrow for it."""
    return Text(one_line(text), no_wrap=True, overflow="ellipsis")


def failure_lines(result: Result) -> list[str]:
    """What went wrong in a result that does not hold: the witness, and the twins that were not refuted."""
    name, v = result.statement.name, result.verdict
    lines = []
    if not v.holds:
        witness = result.record()["worst_point"]
        lines.append(f"{name}: claimed {v.claimed:.6g}, measured {v.measured:.6g} ({v.kind}) at {witness}")
    for twin in result.twins:
        if not twin.refuted:
            lines.append(f"{name}: twin {twin.name!r} ({twin.violates}) failed on {twin.failed} of {twin.tried}")
    return lines


def latex_table(results: Sequence[Result]) -> str:
    """A `longtable` with booktabs rules; the claims are LaTeX already, everything else is escaped."""
    head = r"Statement & Source & Claim & Checked & Slack & Twins \\"
    lines = [
        "% needs \\usepackage{amsmath,amssymb,booktabs,longtable,array}",
        r"\begin{longtable}{@{}*{2}{>{\raggedright\arraybackslash}p{0.14\linewidth}}"
        r">{\raggedright\arraybackslash}p{0.35\linewidth}>{\raggedright\arraybackslash}p{0.12\linewidth}rr@{}}",
        rf"\toprule {head} \midrule \endfirsthead",
        rf"\toprule {head} \midrule \endhead",
        r"\bottomrule \endlastfoot",
    ]
    for result in results:
        v = result.verdict
        verdict = v.kind if result.holds else f"{v.kind}, FAILS"
        name = latex_escape(result.statement.name).replace(".", r".\allowbreak ")
        cells = (
            rf"\texttt{{{name}}}",
            latex_escape(result.statement.source),
            latex_claim(result.statement),
            f"{verdict}, {result.instances} instances",
            f"${latex_number(v.slack)}$",
            twins_text(result),
        )
        lines.append(" & ".join(cells) + r" \\")
    return "\n".join([*lines, r"\end{longtable}"])


def latex_claim(statement: Statement) -> str:
    """The claim for a table cell: text that has its formulas in $...$, or one formula."""
    text = one_line(statement.latex)
    return text if "$" in text else f"${text}$"


def latex_escape(text: str) -> str:
    """Plain text for LaTeX."""
    return "".join(ESCAPES.get(character, character) for character in text)


def latex_number(value: float) -> str:
    """Two digits, in math mode."""
    mantissa, e, exponent = f"{value:.1e}".partition("e")
    if not e:  # inf, -inf, nan
        return {"inf": r"\infty", "-inf": r"-\infty"}.get(mantissa, r"\mathrm{NaN}")
    return mantissa if int(exponent) == 0 else rf"{mantissa} \cdot 10^{{{int(exponent)}}}"


def twins_text(result: Result) -> str:
    """Instances of negative twins that failed, as they must, of those tried."""
    return f"{sum(t.failed for t in result.twins)}/{sum(t.tried for t in result.twins)}"


def one_line(text: str) -> str:
    """`text` with every run of white space as one space."""
    return " ".join(text.split())
