"""The compact construction: its basis."""

from __future__ import annotations

from proofs_as_code.framework import Statement
from proofs_as_code.statements.compact import basis

STATEMENTS: tuple[Statement, ...] = basis.STATEMENTS
