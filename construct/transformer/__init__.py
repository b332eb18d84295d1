"""The transformer class, its two executions, the bounds that link them, and its files."""

from construct.transformer.files import load
from construct.transformer.module import Block, Transformer
from construct.transformer.report import Architecture, Claim

__all__ = ["Architecture", "Block", "Claim", "Transformer", "load"]
