"""All statements, in the order of the proof.

Each module exports `STATEMENTS`; a statement's name begins with its group (`heads.interaction.integer`).
"""

from __future__ import annotations

from proofs_as_code.framework import Statement
from proofs_as_code.statements.atlas import atlas_covers, cutoff, geometry, partition, reach, reach_samples
from proofs_as_code.statements.baselines import yarotsky
from proofs_as_code.statements.certificates import certificates
from proofs_as_code.statements.compact import basis
from proofs_as_code.statements.execution import executions, sparse
from proofs_as_code.statements.paper import taylor, theorem
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
from proofs_as_code.statements.theory import covering

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
