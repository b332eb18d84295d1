"""The ridge construction: its basis, the shift, its heads, bounds, networks of width k + 4, 5 and 7, and cells."""

from __future__ import annotations

from proofs_as_code.framework import Statement
from proofs_as_code.statements.ridge import (
    bounds,
    cells,
    derivatives,
    lemma,
    maps,
    networks,
    octahedron,
    shared,
    support,
    wave_directions,
    waves,
)

MODULES = (lemma, octahedron, derivatives, maps, support, networks, waves, wave_directions, bounds, shared, cells)

STATEMENTS: tuple[Statement, ...] = tuple(statement for module in MODULES for statement in module.STATEMENTS)
