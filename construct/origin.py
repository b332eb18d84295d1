"""Where a network came from: its program, its sizes, its manifold, and what the planner tried."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

from construct import manifolds
from construct.history import History
from construct.manifolds import Manifold
from construct.problem import Construction, Sizes
from construct.program.compile import Program
from construct.program.layout import TokenLayout
from construct.validation import described, invalid


@dataclass(frozen=True, eq=False)
class StatedProgram:
    """A program that a file states of its weights; `check` compiles it and raises InputError if they are not its."""

    program: Program
    check: Callable[[], object]


@dataclass(frozen=True, eq=False)
class Origin:
    """Where a network came from.

    Attributes:
        construction: "ridge", "lattice", "compact" or "paper".
        source: what it does, stage by stage; None: unknown, as the weights were changed after they were compiled.
        sizes: charts, cells and degree of its approximator.
        coefficients, nonzero_coefficients: numbers of the approximator that depend on the target.
        manifold: M, or None for a network that was loaded and whose manifold is a user's own.
        history: the candidates that the planner tried; empty for sizes given by hand.
        elsewhere: how a file names M, where that name is not registered here.
        weights: digest of the weights that `source` is known to compile to; empty: none.
    """

    construction: Construction
    source: Program | StatedProgram | None
    sizes: Sizes
    coefficients: int
    nonzero_coefficients: int
    manifold: Manifold | None = None
    history: History = field(default_factory=History)
    elsewhere: Mapping[str, Any] | None = None
    weights: str = ""

    @cached_property
    def program(self) -> Program:
        """What the network does, stage by stage.

        Raises:
            InputError: it is not known, or a file states one that does not compile to its weights.
        """
        if isinstance(self.source, StatedProgram):
            self.source.check()
        return self._stated

    @property
    def _stated(self) -> Program:
        if self.source is None:
            got = "one whose weights were changed after they were compiled"
            raise invalid("net", "a network whose program is known", got=got)
        return self.source.program if isinstance(self.source, StatedProgram) else self.source

    @property
    def layout(self) -> TokenLayout:
        """Rows and groups of tokens, by name."""
        return self._stated.layout

    @property
    def code(self) -> str | None:
        """Name of the position code; None: not known."""
        return None if self.source is None else self.layout.code.name

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the blocks, none where they are not known."""
        return () if self.source is None else tuple(stage.name for stage in self._stated.stages)

    def to_json(self) -> dict[str, Any]:
        """All but the program, as plain data; the manifold where it can be named."""
        return {
            "construction": self.construction,
            "sizes": asdict(self.sizes),
            "coefficients": self.coefficients,
            "nonzero_coefficients": self.nonzero_coefficients,
            "manifold": self.elsewhere if self.manifold is None else manifolds.spec_of(self.manifold),
            "history": self.history.records(),
        }


def unknown_manifold(named: Mapping[str, Any] | None) -> str:
    """What is missing of a network whose manifold is not known here, and what to do about it."""
    if named is None:
        return "a manifold that its file does not name (construct.load(..., manifold=))"
    arguments = ", ".join(f"{key}={described(value)}" for key, value in named.items() if key != "name")
    name = described(named["name"])
    cure = f"construct.manifolds.register({name}, ...) or construct.load(..., manifold=)"
    return f"a manifold that is not registered here: {name} ({arguments}); {cure}"
