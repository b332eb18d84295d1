"""Expressions evaluated in ball arithmetic: every operation encloses the values over all points of its operands.

Numbers are `flint.arb`, at the precision `flint.ctx.prec`. A finite result proves that the expression is defined at
every point of the box: what is undefined or out of range somewhere is NaN or infinite, and stays so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from flint import arb

from construct.expressions.algebra import Algebra
from construct.validation import invalid

NAN = arb("nan")


def finite(a: arb) -> arb:
    """The ball itself, or NaN: of an infinite one arb makes finite numbers again, as 1/inf = 0 and |sin| <= 1."""
    return a if a.is_finite() else NAN


def monotone(function: Callable[[arb], arb], a: arb) -> arb:
    """{function(t) : t in a} for a monotone function, from the two ends of the ball."""
    return function(a) if a.is_exact() else function(a.lower()).union(function(a.upper()))


def magnitude(a: arb) -> arb:
    """{|t| : t in a}, sharp; where a contains 0 the lower end of the result is 0 exactly."""
    return arb(0, a.abs_upper()).nonnegative_part() if a.contains(0) else abs(a)


def integer_power(a: arb, exponent: int) -> arb:
    """{t^n : t in a}, sharp: t^n is monotone on the line for odd n > 0, and in |t| for even n.

    arb's own power multiplies n factors that know nothing of each other, and refuses balls about 0.
    """
    if exponent < 0:
        return 1 / integer_power(a, -exponent)
    if exponent == 0:
        return 1 + 0 * a  # NaN for NaN
    return monotone(lambda t: _repeated(t, exponent), a if exponent % 2 else magnitude(a))


def _repeated(t: arb, exponent: int) -> arb:
    """t^n by repeated squaring, n >= 1."""
    if exponent == 1:
        return t
    half = _repeated(t, exponent // 2)
    return half * half * t if exponent % 2 else half * half


class BallAlgebra(Algebra[arb]):
    """Numbers are balls; the variable x_j is the ball `point[j]`."""

    def __init__(self, point: Sequence[arb]) -> None:
        for j, ball in enumerate(point):
            if not isinstance(ball, arb):
                raise invalid(f"point[{j}]", "a flint.arb", ball)
        self.point = tuple(point)

    def constant(self, value: int | float) -> arb:
        return arb(value)  # exact at every precision

    def variable(self, index: int) -> arb:
        return finite(self.point[index])

    def add(self, a: arb, b: arb) -> arb:
        return a + b

    def multiply(self, a: arb, b: arb) -> arb:
        return integer_power(a, 2) if a is b else a * b

    def divide(self, a: arb, b: arb) -> arb:
        return a / finite(b)

    def power(self, a: arb, exponent: int | float) -> arb:
        """NaN for a non-integer exponent and a ball with negative points."""
        if isinstance(exponent, int):
            return integer_power(finite(a), exponent)
        exact = arb(exponent)
        return monotone(lambda t: t**exact, finite(a))

    def exp(self, a: arb) -> arb:
        return finite(a).exp()

    def sin(self, a: arb) -> arb:
        return finite(a).sin()

    def cos(self, a: arb) -> arb:
        return finite(a).cos()

    def sqrt(self, a: arb) -> arb:
        """NaN for a ball with negative points."""
        return a.sqrt()

    def tanh(self, a: arb) -> arb:
        return monotone(arb.tanh, finite(a))  # arb's own is no bound by 1 on a wide ball

    def abs(self, a: arb) -> arb:
        return magnitude(a)

    def nonnegative(self, a: arb) -> arb:
        return a if a >= 0 else a.nonnegative_part()
