"""What a search tried, and the best that it had: plain records, apart from the search that makes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from io import StringIO
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from construct.problem import Sizes

KINDS = ("proved", "measured", "sampled", "fitted")  # how an error is known, the best first


@dataclass(frozen=True)
class Trial:
    """One candidate of a search.

    Attributes:
        charts, cells, degree: its sizes, None where it has none.
        parameters: dense count of its network, None if it was not counted.
        cost: what candidates are ranked by (stored numbers), None if it was not counted.
        error: the error found, None if it was too large to be fitted; of kind "fitted" (largest residual on the nodes),
            "sampled" (largest at sample points), "measured" (search on the manifold) or "at least" (of one chart: no
            error of a whole approximator).
        outcome: "within epsilon", "above epsilon", "within budget" (where no epsilon is asked for), "over budget",
            "dearer" (than a network that is known) or "chosen".
        note: what else distinguishes it, e.g. "compositions 5".
    """

    charts: int | None
    cells: int | None
    degree: int | None
    parameters: int | None
    cost: int | None
    error: float | None
    kind: str
    outcome: str
    note: str = ""


@dataclass(frozen=True)
class History(Sequence[Trial]):
    """The trials of a search, in order; prints as a table, `records()` are plain rows for plots and files."""

    trials: tuple[Trial, ...] = ()

    def __len__(self) -> int:
        return len(self.trials)

    def __getitem__(self, index: Any) -> Any:
        return self.trials[index]

    def __iter__(self) -> Iterator[Trial]:
        return iter(self.trials)

    def records(self) -> list[dict[str, Any]]:
        return [asdict(trial) for trial in self.trials]

    def noted(self, what: str) -> History:
        """The same, every note beginning with these words."""
        return History(tuple(replace(t, note=f"{what}, {t.note}" if t.note else what) for t in self.trials))

    @property
    def table(self) -> Table:
        """A rich table, one row for each trial."""
        table = Table(box=None, pad_edge=False)
        for name in ("charts", "cells", "degree", "parameters", "numbers", "error"):
            table.add_column(name, justify="right")
        for name in ("kind", "outcome", "note"):
            table.add_column(name)
        for t in self.trials:
            numbers = ["-" if n is None else f"{n:,}" for n in (t.charts, t.cells, t.degree, t.parameters, t.cost)]
            table.add_row(
                *numbers, "-" if t.error is None else f"{t.error:.2e}", *map(escape, (t.kind, t.outcome, t.note))
            )
        return table

    def __str__(self) -> str:
        text = StringIO()
        Console(width=120, file=text, color_system=None).print(self.table)
        return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


@dataclass(frozen=True, eq=False)
class BestPlan:
    """The best that a search had when it ended without success.

    Attributes:
        sizes: charts, cells and degree.
        error: its sup error.
        kind: how that is known: "proved" (a certificate's bound), "measured" on the manifold, "sampled", or "fitted"
            (on the nodes of its fit only, which may be far too optimistic).
        parameters: dense count of its network, None where it was not counted.
        approximator: what was fitted, of which `construct.network_of` makes the network.
    """

    sizes: Sizes
    error: float
    kind: str
    parameters: int | None
    approximator: Any = field(repr=False)

    @property
    def rank(self) -> tuple[int, float]:
        """Less is better: a measured error before any other."""
        return KINDS.index(self.kind), self.error

    def __str__(self) -> str:
        return f"{self.sizes}: {self.kind} error {self.error:.3g}"
