"""The elementary functions of expressions; a number counts as a constant."""

from __future__ import annotations

from construct.expressions.tree import Expression, applied

__all__ = ["abs", "cos", "exp", "sin", "sqrt", "tanh"]


def exp(e: Expression | int | float) -> Expression:
    """The exponential."""
    return applied("exp", e)


def sin(e: Expression | int | float) -> Expression:
    """The sine."""
    return applied("sin", e)


def cos(e: Expression | int | float) -> Expression:
    """The cosine."""
    return applied("cos", e)


def sqrt(e: Expression | int | float) -> Expression:
    """The root; defined where e >= 0. See `Expression.ball` for what enclosures make of that."""
    return applied("sqrt", e)


def tanh(e: Expression | int | float) -> Expression:
    """The hyperbolic tangent."""
    return applied("tanh", e)


def abs(e: Expression | int | float) -> Expression:
    """The absolute value, the same as Python's own of an expression."""
    return applied("abs", e)
