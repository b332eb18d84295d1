"""The manifold: geometry, reach, covers, and what is built on them, partitions and cut-offs."""

from __future__ import annotations

from proofs_as_code.framework import Statement
from proofs_as_code.statements.atlas import atlas_covers, cutoff, geometry, partition, reach, reach_samples

MODULES = (geometry, reach, reach_samples, atlas_covers, partition, cutoff)

STATEMENTS: tuple[Statement, ...] = tuple(statement for module in MODULES for statement in module.STATEMENTS)
