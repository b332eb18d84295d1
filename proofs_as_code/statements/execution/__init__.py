"""The executions of a network agree with its weights."""

from __future__ import annotations

from proofs_as_code.framework import Statement
from proofs_as_code.statements.execution import executions, sparse

MODULES = (sparse, executions)

STATEMENTS: tuple[Statement, ...] = tuple(statement for module in MODULES for statement in module.STATEMENTS)
