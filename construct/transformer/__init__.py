"""The transformer class: weights as plain data, the module that is the formula, and how both are counted."""

from construct.transformer.module import Block, Transformer
from construct.transformer.weights import Weights

__all__ = ["Block", "Transformer", "Weights"]
