"""All statements, in the order of the proof; the folders mirror the library's.

Each folder and each module exports `STATEMENTS`; a statement's name begins with its group
(`heads.interaction.integer`).
"""

from __future__ import annotations

from proofs_as_code.framework import Statement
from proofs_as_code.statements import (
    atlas,
    baselines,
    cells,
    certificates,
    compact,
    execution,
    paper,
    program,
    ridge,
    theory,
)

FOLDERS = (program, compact, ridge, cells, atlas, paper, theory, execution, certificates, baselines)

STATEMENTS: tuple[Statement, ...] = tuple(statement for folder in FOLDERS for statement in folder.STATEMENTS)
