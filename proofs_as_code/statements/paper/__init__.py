"""The paper's construction: the Taylor step and the theorem."""

from __future__ import annotations

from proofs_as_code.framework import Statement
from proofs_as_code.statements.paper import taylor, theorem

MODULES = (taylor, theorem)

STATEMENTS: tuple[Statement, ...] = tuple(statement for module in MODULES for statement in module.STATEMENTS)
