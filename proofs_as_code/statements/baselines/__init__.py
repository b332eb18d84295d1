"""The rivals' networks."""

from __future__ import annotations

from proofs_as_code.framework import Statement
from proofs_as_code.statements.baselines import yarotsky

STATEMENTS: tuple[Statement, ...] = yarotsky.STATEMENTS
