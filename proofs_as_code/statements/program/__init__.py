"""Programs: codes, heads, feed-forward gadgets, products, shared heads, and what compiling promises."""

from __future__ import annotations

from proofs_as_code.framework import Statement
from proofs_as_code.statements.program import (
    angles,
    codes,
    compiled,
    directions,
    feed_forward,
    gates,
    heads,
    lattice,
    products,
    reads,
    rounding,
    sharing,
    trees,
    weights,
)

MODULES = (
    codes,
    angles,
    lattice,
    directions,
    heads,
    reads,
    gates,
    weights,
    rounding,
    products,
    trees,
    feed_forward,
    sharing,
    compiled,
)

STATEMENTS: tuple[Statement, ...] = tuple(statement for module in MODULES for statement in module.STATEMENTS)
