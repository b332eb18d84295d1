"""Expressions as straight-line programs: every distinct subexpression one step, operands first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

from construct.expressions.algebra import Algebra

T = TypeVar("T")

UNARY = ("exp", "sin", "cos", "sqrt", "tanh", "abs")
BINARY = ("add", "mul", "div")

Step = tuple[str, Any, Any]
"""Head and operands. These are positions of earlier steps, for "x" and "const" a number, for "pow" a position and the
exponent. Besides the heads of expressions there is "nonnegative", in front of a root or a non-integer power."""


class Node(Protocol):
    """What a program needs to know of an expression; see `Expression`."""

    head: str
    operands: tuple[Any, ...]
    number: int | float | None
    nonnegative: bool


class StraightLineProgram(NamedTuple):
    """Steps, and the positions of the expressions that were asked for."""

    steps: tuple[Step, ...]
    results: tuple[int, ...]

    def run(self, algebra: Algebra[T]) -> tuple[T, ...]:
        """The values of the expressions in the number type of `algebra`."""
        unary = {head: getattr(algebra, head) for head in (*UNARY, "nonnegative")}
        binary = {"add": algebra.add, "mul": algebra.multiply, "div": algebra.divide}
        values: list[T] = []
        for head, a, b in self.steps:
            if head in binary:
                values.append(binary[head](values[a], values[b]))
            elif head in unary:
                values.append(unary[head](values[a]))
            elif head == "pow":
                values.append(algebra.power(values[a], b))
            elif head == "x":
                values.append(algebra.variable(a))
            else:
                values.append(algebra.constant(a))
        return tuple(values[position] for position in self.results)


def scheduled(roots: Sequence[Node]) -> StraightLineProgram:
    """The program of `roots`, by a depth-first walk with a stack of its own: any depth will do."""
    position: dict[Node, int] = {}
    steps: list[Step] = []
    stack = list(reversed(roots))
    while stack:
        node = stack[-1]
        waiting = [operand for operand in node.operands if operand not in position]
        if waiting and node not in position:
            stack.extend(reversed(waiting))
            continue
        stack.pop()
        if node in position:
            continue
        at = [position[operand] for operand in node.operands]
        on_half_line = node.head == "sqrt" or (node.head == "pow" and isinstance(node.number, float))
        if on_half_line and node.operands[0].nonnegative:
            steps.append(("nonnegative", at[0], None))
            at = [len(steps) - 1]
        first, second = [*at, node.number, None][:2]
        position[node] = len(steps)
        steps.append((node.head, first, second))
    return StraightLineProgram(tuple(steps), tuple(position[root] for root in roots))
