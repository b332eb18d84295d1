"""Expressions: read from JSON as lists of steps, and written as formulas.

JSON: a number, ["x", j], ["pow", tree, number], [function, tree, ...]. A step is (head, operands...): for "x" and
"const" a number, for "pow" a place and the exponent, otherwise the places of earlier steps. The same operation on the
same operands is one step; the last one is the expression. Nothing here recurses, whatever the depth.
"""

from __future__ import annotations

from typing import Any

from proofs_as_code.verifier.documents import require

Step = tuple[Any, ...]
Steps = list[Step]

ARITY = {"add": 2, "mul": 2, "div": 2, "exp": 1, "sin": 1, "cos": 1, "sqrt": 1, "tanh": 1, "abs": 1}
MOST_NODES, DEEPEST = 100_000, 400
LARGEST_INTEGER, LARGEST_POWER = 2**1023, 2**16


def steps_of(tree: Any, name: str, variables: int) -> Steps:
    """The steps of a tree that reads x_0 .. x_(variables - 1)."""
    steps, places, built, seen = Steps(), dict[str, int](), list[int](), 0
    stack: list[tuple[Any, int, bool]] = [(tree, 0, False)]
    while stack:
        part, depth, operands_built = stack.pop()
        if operands_built:
            count = ARITY.get(part[0], 1)
            operands, built = built[len(built) - count :], built[: len(built) - count]
            step: Step = (part[0], *operands, *(part[2:] if part[0] == "pow" else ()))
        else:
            seen += 1
            require(seen <= MOST_NODES, name, f"at most {MOST_NODES} nodes", "more")
            require(depth <= DEEPEST, name, f"at most {DEEPEST} operations inside each other", "more")
            head = part[0] if type(part) is list and part and type(part[0]) is str else "const"
            if head in ARITY or head == "pow":
                expected = f"{head} of {ARITY.get(head, 1)} expressions{' and a number' if head == 'pow' else ''}"
                require(len(part) == 1 + ARITY.get(head, 2), name, expected, part)
                require(head != "pow" or exponent(part[-1]), name, "a power with an exponent in range", part[-1])
                below = [(operand, depth + 1, False) for operand in part[1 : 1 + ARITY.get(head, 1)]]
                stack += [(part, depth, True), *reversed(below)]
                continue
            if head == "x":
                known = len(part) == 2 and type(part[1]) is int and 0 <= part[1] < variables
                require(known, name, f"variables 0 to {variables - 1}", part)
            else:  # a number: that it is finite was checked when it was read
                known = type(part) is float or (type(part) is int and -LARGEST_INTEGER < part < LARGEST_INTEGER)
                require(known, name, "a number, a variable or a function", part)
            step = (head, part[1] if head == "x" else part)
        if (key := repr(step)) not in places:  # 1, 1.0 and -0.0 are three numbers
            places[key] = len(steps)
            steps.append(step)
        built.append(places[key])
    return steps  # no tree is a part of itself: the step of the whole is new, and the last


def exponent(value: Any) -> bool:
    """An integer that is not too large, or a float that is none."""
    if type(value) is int:
        return -LARGEST_POWER <= value <= LARGEST_POWER
    return type(value) is float and value % 1 != 0


def positive(steps: Steps) -> list[bool]:
    """Whether each step is >= 0 wherever it is defined, as far as its form shows."""
    out: list[bool] = []
    for head, *rest in steps:
        if head == "const":
            out.append(rest[0] >= 0)
        elif head == "pow":
            out.append(rest[1] % 2 == 0 or rest[1] % 1 != 0 or out[rest[0]])
        elif head in ("add", "mul", "div"):
            square = head == "mul" and rest[0] == rest[1]
            out.append(square or (out[rest[0]] and out[rest[1]]))
        else:
            out.append(head in ("exp", "sqrt", "abs"))
    return out


SUM, PRODUCT, POWER, ATOM = range(4)


def formula(steps: Steps, variable: str) -> str:
    """A formula with x_j written as the name and j."""
    out: list[tuple[str, int]] = []

    def inside(place: int, least: int) -> str:
        content, binds = out[place]
        return content if binds >= least else f"({content})"

    for head, *rest in steps:
        if head == "const":
            out.append((repr(rest[0]), ATOM if repr(rest[0])[0] != "-" else SUM))
        elif head == "x":
            out.append((f"{variable}{rest[0]}", ATOM))
        elif head == "pow":
            out.append((f"{inside(rest[0], ATOM)}**{rest[1]!r}", POWER))
        elif head == "add":
            right = inside(rest[1], PRODUCT)
            out.append((f"{inside(rest[0], SUM)} + {right}", SUM))
        elif head in ("mul", "div"):
            out.append(
                (f"{inside(rest[0], PRODUCT)} {'*' if head == 'mul' else '/'} {inside(rest[1], POWER)}", PRODUCT)
            )
        else:
            out.append((f"{head}({out[rest[0]][0]})", ATOM))
    return out[-1][0]
