"""The ridge construction: its basis, the shift of its atoms, its heads, bounds, networks of free width and of width 5,
and cells.
"""

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
    support,
    wave_directions,
    waves,
)

MODULES = (lemma, octahedron, derivatives, maps, support, networks, waves, wave_directions, bounds, cells)

STATEMENTS: tuple[Statement, ...] = tuple(statement for module in MODULES for statement in module.STATEMENTS)
