"""Progress of long work: a callable that is told the stage and, where it is known, the fraction done."""

from __future__ import annotations

import sys
from collections.abc import Callable

Progress = Callable[[str, float | None], None]


def silent(stage: str, fraction: float | None = None) -> None:
    """Says nothing."""


def printed(stage: str, fraction: float | None = None) -> None:
    """Writes each new stage to stderr, one line each."""
    sys.stderr.write(f"construct: {stage}\n")
    sys.stderr.flush()
