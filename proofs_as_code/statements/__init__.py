"""All statements, in the order of the proof.

Each module exports `STATEMENTS`; a statement's name begins with its group (`heads.interaction.integer`).
"""

from __future__ import annotations

from proofs_as_code.framework import Statement
from proofs_as_code.statements import (
    angles,
    atlas_covers,
    basis,
    certificates,
    codes,
    covering,
    cutoff,
    executions,
    feed_forward,
    gates,
    geometry,
    heads,
    partition,
    products,
    reach,
    reach_samples,
    reads,
    rounding,
    sparse,
    taylor,
    theorem,
    trees,
    weights,
    yarotsky,
)

MODULES = (
    *(codes, angles),  # tokens
    *(heads, reads, gates, weights, rounding),
    *(products, trees, basis),
    feed_forward,
    *(geometry, reach, reach_samples, atlas_covers),
    *(partition, cutoff),
    *(taylor, theorem),
    covering,  # covering number of the class, generalization
    *(sparse, executions),
    certificates,
    yarotsky,  # the rival's product
)

STATEMENTS: tuple[Statement, ...] = tuple(statement for module in MODULES for statement in module.STATEMENTS)
