"""Expressions read from JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from construct.expressions.program import BINARY, UNARY
from construct.expressions.tree import LARGEST_TEXT, Expression, applied, constant, variable
from construct.validation import invalid

_OPERATIONS: dict[str, Callable[..., Expression]] = {
    "add": lambda a, b: a + b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "pow": lambda a, exponent: a**exponent,
    **{head: (lambda a, head=head: applied(head, a)) for head in UNARY},
}
_ARITY = dict.fromkeys(UNARY, 1) | dict.fromkeys(BINARY, 2)
"""How many expressions follow the head. "pow" takes one and a number, "x" an index."""


def from_json(tree: Any) -> Expression:
    """The expression that `Expression.to_json` writes as `tree`.

    Raises `InputError`, showing the part that is wrong, for anything but numbers and lists of a known head and as
    many operands as it takes, for NaN and infinities, and above LARGEST_TEXT nodes. Works with a stack of its own,
    so that no depth exhausts Python's.
    """
    stack: list[tuple[Any, bool]] = [(tree, False)]
    built: list[Expression] = []
    seen = 0
    while stack:
        part, operands_built = stack.pop()
        if operands_built:
            count = 1 if part[0] == "pow" else _ARITY[part[0]]
            operands = [built.pop() for _ in range(count)][::-1]
            built.append(_OPERATIONS[part[0]](*operands, *(part[2:] if part[0] == "pow" else ())))
            continue
        seen += 1
        if seen > LARGEST_TEXT:
            raise invalid("tree", f"at most {LARGEST_TEXT} nodes", got="more")
        if not isinstance(part, list):
            built.append(constant(part))
            continue
        head = part[0] if part and isinstance(part[0], str) else None
        if head == "x" and len(part) == 2:
            built.append(variable(part[1]))
        elif head == "pow" and len(part) == 3:
            stack += [(part, True), (part[1], False)]
        elif head in _ARITY and len(part) == 1 + _ARITY[head]:
            stack += [(part, True), *((operand, False) for operand in reversed(part[1:]))]
        else:
            raise invalid(
                "tree",
                f"numbers, ['x', index], ['pow', tree, number], [{'|'.join(BINARY)}, tree, tree]"
                f" and [{'|'.join(UNARY)}, tree]",
                part,
            )
    return built[0]
