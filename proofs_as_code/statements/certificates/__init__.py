"""Certificates of networks, and the verifier."""

from __future__ import annotations

from proofs_as_code.framework import Statement
from proofs_as_code.statements.certificates import certificates

STATEMENTS: tuple[Statement, ...] = certificates.STATEMENTS
