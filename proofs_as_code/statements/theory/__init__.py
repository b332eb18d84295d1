"""Covering number of the transformer class and the generalization bound: HL24, Lemma 2 and Theorem 1."""

from __future__ import annotations

from proofs_as_code.framework import Statement
from proofs_as_code.statements.theory.covering_classes import CLASSES
from proofs_as_code.statements.theory.covering_networks import NETWORK_STATEMENTS
from proofs_as_code.statements.theory.covering_rates import RATES
from proofs_as_code.statements.theory.covering_steps import STEPS

STATEMENTS: tuple[Statement, ...] = STEPS + CLASSES + NETWORK_STATEMENTS + RATES
