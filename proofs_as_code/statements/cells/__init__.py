"""The lattice construction: its hats, inheritance, network, atoms, and the rates of its theorems."""

from __future__ import annotations

from proofs_as_code.framework import Statement
from proofs_as_code.statements.cells import hat, inheritance, networks, rates, span, theorem

MODULES = (hat, inheritance, networks, span, rates, theorem)

STATEMENTS: tuple[Statement, ...] = tuple(statement for module in MODULES for statement in module.STATEMENTS)
