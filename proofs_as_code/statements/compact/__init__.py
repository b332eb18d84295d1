"""The compact construction: its basis and the table of atoms."""

from __future__ import annotations

from proofs_as_code.framework import Statement
from proofs_as_code.statements.compact import atoms, basis

STATEMENTS: tuple[Statement, ...] = (*basis.STATEMENTS, *atoms.STATEMENTS)
