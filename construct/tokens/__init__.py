"""Structured tokens: position codes and named layouts."""

from construct.tokens.codes import IntegerCode, PositionCode, TrigonometricCode, position_code
from construct.tokens.layout import TokenGroup, TokenLayout

__all__ = ["IntegerCode", "PositionCode", "TokenGroup", "TokenLayout", "TrigonometricCode", "position_code"]
