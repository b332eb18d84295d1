"""Real functions of x_0, x_1, ... as trees of arithmetic and elementary functions; see `construct.expressions`."""

from __future__ import annotations

import math
import numbers
import threading
import weakref
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, TypeVar, overload

import numpy as np
import torch
from flint import arb
from torch import Tensor

from construct.expressions.algebra import Algebra
from construct.expressions.balls import BallAlgebra
from construct.expressions.program import BINARY, StraightLineProgram, scheduled
from construct.expressions.tensors import TensorAlgebra
from construct.expressions.text import FormulaAlgebra, JsonAlgebra
from construct.validation import described, integer, invalid, positive_integer, scalar, shaped

T = TypeVar("T")

LARGEST_POWER = 2**16
"""Bound of |n| in e^n, n an integer: beyond it every e but those nearest to 1 leaves the range of float64."""
LARGEST_TEXT = 100_000
"""Most nodes that JSON and formulas may have; written out, a tree can be exponentially larger than it is stored."""

_known: weakref.WeakValueDictionary[tuple[Any, ...], Expression] = weakref.WeakValueDictionary()
_lock = threading.Lock()


class Expression:
    """A function of finitely many real variables; equal expressions are one object, which cannot be changed.

    head: "const", "x", "add", "mul", "div", "pow", "exp", "sin", "cos", "sqrt", "tanh" or "abs".
    operands: the expressions that it is applied to.
    number: the value of a constant, the index of a variable, the exponent of a power; None otherwise.
    arity: the number of coordinates that a point needs, one more than the largest index (0 for a constant).
    nodes: size of the tree when written out.
    nonnegative: whether it is >= 0 wherever it is defined, as far as the structure shows (an even power, a product
        of equal factors, an absolute value, exp, sqrt, and sums, products and quotients of such).
    """

    __slots__ = ("__weakref__", "_program", "arity", "head", "nodes", "nonnegative", "number", "operands")
    __array_ufunc__ = None  # numpy arrays leave `array * expression` to `__rmul__`, which refuses it

    head: str
    operands: tuple[Expression, ...]
    number: int | float | None
    arity: int
    nodes: int
    nonnegative: bool
    _program: StraightLineProgram | None

    def __init__(self) -> None:
        raise invalid("Expression", "constant, variable, operators, functions or from_json", got="the constructor")

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{name}: an Expression cannot be changed")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{name}: an Expression cannot be changed")

    # -- evaluation ------------------------------------------------------------------------------------------

    @property
    def program(self) -> StraightLineProgram:
        """The expression as a straight-line program, made on first use."""
        if self._program is None:
            object.__setattr__(self, "_program", scheduled([self]))
        assert self._program is not None
        return self._program

    def fold(self, algebra: Algebra[T]) -> T:
        """The value in another number type: every distinct subexpression is evaluated once, without recursion."""
        return self.program.run(algebra)[0]

    @overload
    def __call__(self, x: Tensor) -> Tensor: ...

    @overload
    def __call__(self, x: np.ndarray) -> np.ndarray: ...

    def __call__(self, x: Tensor | np.ndarray) -> Tensor | np.ndarray:
        """Values at points x (..., D), D >= arity, as (...) in the dtype and on the device of x.

        `abs`, `sqrt` and non-integer powers have the derivative 0 where they have none (at 0). NaN where the
        expression is undefined, as in sqrt(-1). Raises `InputError` for anything but a floating point tensor or
        array with enough coordinates.
        """
        if isinstance(x, np.ndarray):
            if x.dtype not in (np.float32, np.float64):
                raise invalid("x", "an array of float32 or float64", x)
            return self(torch.from_numpy(np.array(x, order="C"))).numpy()
        points = shaped(x, "x")
        if points.ndim == 0 or points.shape[-1] < self.arity:
            raise invalid("x", f"a tensor of shape (..., D), D >= {self.arity} for {described(self)}", x)
        return self.fold(TensorAlgebra(points)).expand(points.shape[:-1])

    def ball(self, point: Sequence[arb]) -> arb:
        """An enclosure of the values on a product of balls: it contains f(t) for all t with t_j in point[j].

        In python-flint's arithmetic, at the precision `flint.ctx.prec`. Where sqrt or a non-integer power meets a
        ball with negative points the result is NaN, unless the argument is `nonnegative` by its structure: then
        those points are owed to rounding or to overestimation, and are dropped.
        """
        if len(point) < self.arity:
            raise invalid("point", f"at least {self.arity} balls for {described(self)}", len(point))
        return self.fold(BallAlgebra(point))

    # -- substitution ----------------------------------------------------------------------------------------

    def substitute(self, replacements: Mapping[int, Expression | int | float]) -> Expression:
        """The expression with x_j replaced by replacements[j], all at once; other variables stay."""
        checked = {integer(j, "index"): as_expression(e, f"replacements[{j}]") for j, e in replacements.items()}
        return self.fold(Substitution(checked))

    def restricted(self, dimension: int) -> Expression:
        """The expression with 0 for x_j, j >= dimension: its restriction to the first coordinates."""
        dimension = integer(dimension, "dimension")
        return self.substitute({j: 0 for j in range(dimension, self.arity)}) if self.arity > dimension else self

    # -- text ------------------------------------------------------------------------------------------------

    def to_json(self) -> Any:
        """Nested lists ["add", a, b], ["mul", a, b], ["div", a, b], ["pow", a, number], ["exp", a], ["x", j], ...,
        and plain numbers for constants; `from_json` inverts it.

        -a is ["mul", -1, a]. Equal subexpressions are the same list. Raises `InputError` above LARGEST_TEXT nodes.
        """
        if self.nodes > LARGEST_TEXT:
            raise invalid("expression", f"at most {LARGEST_TEXT} nodes to be written out", self)
        return self.fold(JsonAlgebra())

    def __repr__(self) -> str:
        if self.nodes > LARGEST_TEXT:
            return f"<Expression of {self.nodes} nodes in {len(self.program.steps)} steps>"
        return self.fold(FormulaAlgebra()).text

    def __reduce__(self) -> tuple[Any, tuple[StraightLineProgram]]:
        return _rebuilt, (self.program,)

    def __copy__(self) -> Expression:
        return self

    def __deepcopy__(self, memo: object) -> Expression:
        return self

    # -- arithmetic ------------------------------------------------------------------------------------------

    def __add__(self, other: Expression | int | float) -> Expression:
        return _node("add", self, as_expression(other, "summand"))

    def __radd__(self, other: int | float) -> Expression:
        return as_expression(other, "summand") + self

    def __sub__(self, other: Expression | int | float) -> Expression:
        return self + -as_expression(other, "summand")

    def __rsub__(self, other: int | float) -> Expression:
        return as_expression(other, "summand") - self

    def __mul__(self, other: Expression | int | float) -> Expression:
        return _node("mul", self, as_expression(other, "factor"))

    def __rmul__(self, other: int | float) -> Expression:
        return as_expression(other, "factor") * self

    def __truediv__(self, other: Expression | int | float) -> Expression:
        return _node("div", self, as_expression(other, "divisor"))

    def __rtruediv__(self, other: int | float) -> Expression:
        return as_expression(other, "dividend") / self

    def __neg__(self) -> Expression:
        """-1 times the expression; of a constant the constant of the other sign."""
        return constant(-1) * self if self.head != "const" or self.number is None else constant(-self.number)

    def __pos__(self) -> Expression:
        return self

    def __pow__(self, exponent: int | float) -> Expression:
        """A power with a constant exponent: an integer of either sign, or any real number where the base is >= 0."""
        n = _number(exponent, "exponent")
        if isinstance(n, float) and n.is_integer():
            n = int(n)
        if isinstance(n, int) and not -LARGEST_POWER <= n <= LARGEST_POWER:
            raise invalid("exponent", f"an integer of magnitude at most {LARGEST_POWER}, or a float", n)
        return _node("pow", self, number=n)

    def __rpow__(self, base: object) -> NoReturn:
        raise invalid("exponent", "a finite int or float", self)

    def __abs__(self) -> Expression:
        return _node("abs", self)


def constant(value: int | float) -> Expression:
    """A finite int or float as an expression."""
    return _node("const", number=_number(value, "constant"))


def variable(index: int) -> Expression:
    """The coordinate x_index."""
    return _node("x", number=integer(index, "index"))


def variables(count: int) -> tuple[Expression, ...]:
    """The coordinates x_0, ..., x_(count-1)."""
    return tuple(variable(j) for j in range(positive_integer(count, "count")))


def as_expression(value: object, name: str = "value") -> Expression:
    """An expression itself, or a number as a constant; `name` is what an error message calls it."""
    return value if isinstance(value, Expression) else _node("const", number=_number(value, name, "or an Expression"))


def applied(head: str, value: Expression | int | float) -> Expression:
    """The elementary function `head` (one of `program.UNARY`) of an expression."""
    return _node(head, as_expression(value, f"argument of {head}"))


def _number(value: object, name: str, alternative: str = "of float64's range") -> int | float:
    """A finite int or float in Python's own type, within the range of float64."""
    number = scalar(value)
    if isinstance(number, numbers.Integral) and not isinstance(number, bool):
        if -(2**1023) < int(number) < 2**1023:
            return int(number)
    elif isinstance(number, float | np.floating) and math.isfinite(number) and float(number) == number:
        return float(number)
    raise invalid(name, f"a finite int or float {alternative}", value)


def _node(head: str, *operands: Expression, number: int | float | None = None) -> Expression:
    """The one expression of this head, operands and number."""
    key = (head, operands, repr(number))  # by their text 1, 1.0, 0.0 and -0.0 are four numbers, by == they are two
    with _lock:
        found = _known.get(key)
        if found is not None:
            return found
        made: Expression = object.__new__(Expression)
        values = {
            "head": head,
            "operands": operands,
            "number": number,
            "arity": int(number) + 1
            if head == "x" and number is not None
            else max((o.arity for o in operands), default=0),
            "nodes": 1 + sum(o.nodes for o in operands),
            "nonnegative": _surely_nonnegative(head, operands, number),
            "_program": None,
        }
        for name, value in values.items():
            object.__setattr__(made, name, value)
        _known[key] = made
        return made


def _surely_nonnegative(head: str, operands: tuple[Expression, ...], number: int | float | None) -> bool:
    """Whether an operation gives numbers >= 0 wherever it is defined, from what is known of its operands."""
    if head == "const":
        return number is not None and number >= 0
    if head == "pow":  # a non-integer power is defined for bases >= 0 only
        return not isinstance(number, int) or number % 2 == 0 or operands[0].nonnegative
    if head in BINARY:
        return all(o.nonnegative for o in operands) or (head == "mul" and operands[0] is operands[1])
    return head in ("exp", "sqrt", "abs")


class Substitution(Algebra[Expression]):
    """Numbers are expressions; x_j is its replacement, or itself where it has none."""

    def __init__(self, replacements: Mapping[int, Expression]) -> None:
        self.replacements = replacements

    def constant(self, value: int | float) -> Expression:
        return constant(value)

    def variable(self, index: int) -> Expression:
        return self.replacements.get(index) or variable(index)

    def add(self, a: Expression, b: Expression) -> Expression:
        return a + b

    def multiply(self, a: Expression, b: Expression) -> Expression:
        return a * b

    def divide(self, a: Expression, b: Expression) -> Expression:
        return a / b

    def power(self, a: Expression, exponent: int | float) -> Expression:
        return a**exponent

    def exp(self, a: Expression) -> Expression:
        return applied("exp", a)

    def sin(self, a: Expression) -> Expression:
        return applied("sin", a)

    def cos(self, a: Expression) -> Expression:
        return applied("cos", a)

    def sqrt(self, a: Expression) -> Expression:
        return applied("sqrt", a)

    def tanh(self, a: Expression) -> Expression:
        return applied("tanh", a)

    def abs(self, a: Expression) -> Expression:
        return applied("abs", a)


def _rebuilt(program: StraightLineProgram) -> Expression:
    """The expression of a program: how pickle, which would recurse on a tree, restores it."""
    return program.run(Substitution({}))[0]
