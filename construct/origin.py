"""Where a network came from: its program, its sizes, its manifold, and what the planner tried."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from construct import manifolds
from construct.errors import InputError
from construct.manifolds import Manifold
from construct.planning import History
from construct.problem import Sizes
from construct.program.compile import Program
from construct.program.layout import TokenLayout

Construction = Literal["compact", "paper"]


@dataclass(frozen=True, eq=False)
class Origin:
    """Where a network came from.

    Attributes:
        construction: "compact" or "paper".
        program: what it does, stage by stage.
        sizes: charts, cells and degree of its approximator.
        coefficients, nonzero_coefficients: numbers of the approximator that depend on the target.
        manifold: M, or None for a network that was loaded and whose manifold is a user's own.
        history: the candidates that the planner tried; empty for sizes given by hand.
    """

    construction: Construction
    program: Program
    sizes: Sizes
    coefficients: int
    nonzero_coefficients: int
    manifold: Manifold | None = None
    history: History = field(default_factory=History)

    @property
    def layout(self) -> TokenLayout:
        """Rows and groups of tokens, by name."""
        return self.program.layout

    @property
    def code(self) -> str:
        """Name of the position code."""
        return self.layout.code.name

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the blocks."""
        return tuple(stage.name for stage in self.program.stages)

    def to_json(self) -> dict[str, Any]:
        """All but the program, as plain data; the manifold where it can be named."""
        return {
            "construction": self.construction,
            "sizes": asdict(self.sizes),
            "coefficients": self.coefficients,
            "nonzero_coefficients": self.nonzero_coefficients,
            "manifold": _named(self.manifold),
            "history": self.history.records(),
        }


def _named(manifold: Manifold | None) -> dict[str, Any] | None:
    """Specification of a manifold, None for a user's own: functions are not written to files."""
    if manifold is None:
        return None
    try:
        spec: dict[str, Any] = manifold.spec()
        manifolds.from_spec(spec)
        json.dumps(spec)
    except (InputError, TypeError):
        return None
    return spec
