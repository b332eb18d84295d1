"""Expressions as JSON trees and as readable formulas."""

from __future__ import annotations

from typing import Any, NamedTuple

from construct.expressions.algebra import Algebra

SUM, PRODUCT, POWER, ATOM = range(1, 5)
"""How strongly the outermost operation of a formula binds."""


class JsonAlgebra(Algebra[Any]):
    """Numbers are nested lists, ["add", a, b], with ["x", j] for x_j and plain numbers for constants."""

    def constant(self, value: int | float) -> Any:
        return value

    def variable(self, index: int) -> Any:
        return ["x", index]

    def add(self, a: Any, b: Any) -> Any:
        return ["add", a, b]

    def multiply(self, a: Any, b: Any) -> Any:
        return ["mul", a, b]

    def divide(self, a: Any, b: Any) -> Any:
        return ["div", a, b]

    def power(self, a: Any, exponent: int | float) -> Any:
        return ["pow", a, exponent]

    def exp(self, a: Any) -> Any:
        return ["exp", a]

    def sin(self, a: Any) -> Any:
        return ["sin", a]

    def cos(self, a: Any) -> Any:
        return ["cos", a]

    def sqrt(self, a: Any) -> Any:
        return ["sqrt", a]

    def tanh(self, a: Any) -> Any:
        return ["tanh", a]

    def abs(self, a: Any) -> Any:
        return ["abs", a]


class FormulaText(NamedTuple):
    """text, how strongly its outermost operation binds, and whether it is a plain number."""

    text: str
    binds: int
    literal: bool = False

    def within(self, least: int) -> str:
        """The text, in parentheses where it binds less than `least`."""
        return self.text if self.binds >= least else f"({self.text})"


class FormulaAlgebra(Algebra[FormulaText]):
    """Numbers are formulas in Python's notation, which Python reads back as the same expression."""

    def constant(self, value: int | float) -> FormulaText:
        text = repr(value)
        return FormulaText(text, PRODUCT if text.startswith("-") else ATOM, literal=True)

    def variable(self, index: int) -> FormulaText:
        return FormulaText(f"x{index}", ATOM)

    def add(self, a: FormulaText, b: FormulaText) -> FormulaText:
        right = b.within(PRODUCT)
        joined = f"- {right[1:]}" if right.startswith("-") else f"+ {right}"
        return FormulaText(f"{self._left(a, b).within(SUM)} {joined}", SUM)

    def multiply(self, a: FormulaText, b: FormulaText) -> FormulaText:
        if a.text == "-1" and not b.literal:
            return FormulaText(f"-{b.within(POWER)}", PRODUCT)
        return FormulaText(f"{self._left(a, b).within(PRODUCT)} * {b.within(POWER)}", PRODUCT)

    def divide(self, a: FormulaText, b: FormulaText) -> FormulaText:
        return FormulaText(f"{self._left(a, b).within(PRODUCT)} / {b.within(POWER)}", PRODUCT)

    def power(self, a: FormulaText, exponent: int | float) -> FormulaText:
        return FormulaText(f"{_wrapped(a).within(ATOM)}**{exponent!r}", POWER)

    def exp(self, a: FormulaText) -> FormulaText:
        return self._call("exp", a)

    def sin(self, a: FormulaText) -> FormulaText:
        return self._call("sin", a)

    def cos(self, a: FormulaText) -> FormulaText:
        return self._call("cos", a)

    def sqrt(self, a: FormulaText) -> FormulaText:
        return self._call("sqrt", a)

    def tanh(self, a: FormulaText) -> FormulaText:
        return self._call("tanh", a)

    def abs(self, a: FormulaText) -> FormulaText:
        return self._call("abs", a)

    def _left(self, a: FormulaText, b: FormulaText) -> FormulaText:
        """The left operand, marked as a constant where Python would otherwise compute with two plain numbers."""
        return _wrapped(a) if b.literal else a

    def _call(self, name: str, a: FormulaText) -> FormulaText:
        return FormulaText(f"{name}({a.text})", ATOM)


def _wrapped(a: FormulaText) -> FormulaText:
    return FormulaText(f"constant({a.text})", ATOM) if a.literal else a
