"""The program's gadgets: tokens, heads, feed-forward networks, products."""

from __future__ import annotations

from proofs_as_code.framework import Statement
from proofs_as_code.statements.program import (
    angles,
    codes,
    feed_forward,
    gates,
    heads,
    products,
    reads,
    rounding,
    trees,
    weights,
)

MODULES = (codes, angles, heads, reads, gates, weights, rounding, products, trees, feed_forward)

STATEMENTS: tuple[Statement, ...] = tuple(statement for module in MODULES for statement in module.STATEMENTS)
