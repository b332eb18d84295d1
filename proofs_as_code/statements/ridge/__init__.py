"""The ridge construction: its basis, the shift of its atoms, its heads, bounds, networks, counts, and cells."""

from __future__ import annotations

from proofs_as_code.framework import Statement
from proofs_as_code.statements.ridge import cells, derivatives, lemma, maps, networks, support

MODULES = (lemma, derivatives, maps, support, networks, cells)

STATEMENTS: tuple[Statement, ...] = tuple(statement for module in MODULES for statement in module.STATEMENTS)
