"""Real functions of x_0, x_1, ... as trees of arithmetic and elementary functions.

A tree knows no number type. `fold` evaluates it in any `Algebra`: calling it on a tensor is one of them, `ball` (an
enclosure, by python-flint) another, so that what ball arithmetic proves of a function is proved of the very function
that the network was built for. An expression is a valid target of `construct.approximate`:

    x0, x1, x2 = variables(3)
    f = exp(x0) * sin(3 * x1 + x2)

Constants are ints and floats, exact dyadic numbers in every algebra. A number that is none is written as an
operation: `constant(1) / 3` is a third in ball arithmetic, while `1 / 3` is the float next to it.

Equal expressions are one object: the same operation on the same operands gives the object that exists already.
Hence `==` is `is`, and a subexpression that occurs often is evaluated once (also among several expressions, by
`scheduled(expressions).run(algebra)`). 1 and 1.0 are different constants.
"""

from construct.expressions.algebra import Algebra
from construct.expressions.exactness import Deviation, float_deviation
from construct.expressions.functions import abs, cos, exp, sin, sqrt, tanh
from construct.expressions.program import StraightLineProgram, scheduled
from construct.expressions.reading import from_json
from construct.expressions.tree import Expression, as_expression, constant, variable, variables

__all__ = [
    "Algebra",
    "Deviation",
    "Expression",
    "StraightLineProgram",
    "abs",
    "as_expression",
    "constant",
    "cos",
    "exp",
    "float_deviation",
    "from_json",
    "scheduled",
    "sin",
    "sqrt",
    "tanh",
    "variable",
    "variables",
]
