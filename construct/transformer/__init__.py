"""The transformer class: weights as plain data and the module that is the formula."""

from construct.transformer.module import Block, Transformer

__all__ = ["Block", "Transformer"]
