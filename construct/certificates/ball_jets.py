"""Jets on many cells at once: arrays of balls (B, S), an algebra for `Expression.fold`.

As `jets`, of which the coefficients of one cell are a row here. Products are products with a matrix; functions are the
composition with their power series at the value. What is not smooth on a cell makes it *rough*: its row says nothing,
and `jets` has to look at it, with its care for every coefficient.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from flint import arb

from construct.arrays import Float
from construct.certificates.ballarrays import Balls
from construct.certificates.jets import JetSpace
from construct.expressions import Algebra

Series = Callable[[JetSpace, list[arb]], list[arb]]


class BallJets(Algebra[Balls]):
    """Jets on B cells in `space`; variables: x_0, x_1, .., (B, S) each.

    rough: (B,) the cells on which some operation was not smooth, set as the operations go on.
    """

    def __init__(self, space: JetSpace, variables: Sequence[Balls], cells: int) -> None:
        self.space, self.variables, self.cells = space, list(variables), cells
        self.rough = np.zeros(cells, dtype=bool)
        self.line = JetSpace(1, space.order)
        self._quotients = space.quotients()
        self._starts = [*(space.degrees.index(n) for n in range(space.order + 1)), space.size]
        self._degrees = Balls.exact(np.array(space.degrees, dtype=np.float64))
        self._angle: tuple[Balls, tuple[Balls, Balls]] | None = None  # both are asked for

    def constant(self, value: int | float) -> Balls:
        out = self._zeros()
        ball = Balls.of([arb(value)], (1,))
        out.middle[:, 0] = ball.middle
        if arb(float(ball.middle[0])) != arb(value):
            out.radius[:, 0] = ball.radius
        return out

    def variable(self, index: int) -> Balls:
        return self.variables[index]

    def add(self, a: Balls, b: Balls) -> Balls:
        return a + b

    def multiply(self, a: Balls, b: Balls) -> Balls:
        out = self._product(a, self._matrix(b))
        if a is b:
            _restrict(out, np.maximum(np.abs(a.middle[:, 0]) - a.radius[:, 0], 0.0) ** 2 * (1 - 2.0**-40))
        return out

    def divide(self, a: Balls, b: Balls) -> Balls:
        return self.multiply(a, self._inverse(b))

    def power(self, a: Balls, exponent: int | float) -> Balls:
        """Products for integers, else the series of the power, which needs a > 0."""
        if not float(exponent).is_integer():
            return self._composed(a, lambda line, t: line.power(t, exponent))
        out, base, rest = None, a, abs(int(exponent))
        while rest:
            if rest & 1:
                out = base if out is None else self.multiply(out, base)
            rest >>= 1
            if rest:
                base = self.multiply(base, base)
        found = self.constant(1) if out is None else out
        return self._inverse(found) if exponent < 0 else found

    def exp(self, a: Balls) -> Balls:
        """`E exp(a) = exp(a) E a` with the Euler operator E, degree by degree."""
        out = self._values(a, arb.exp)
        moving = self._moving(a)
        for n in range(1, self.space.order + 1):
            self._step(out, out, moving, n)
        return out

    def sin(self, a: Balls) -> Balls:
        return self._sin_cos(a)[0]

    def cos(self, a: Balls) -> Balls:
        return self._sin_cos(a)[1]

    def _sin_cos(self, a: Balls) -> tuple[Balls, Balls]:
        if self._angle is None or self._angle[0] is not a:
            sin, cos, moving = self._values(a, arb.sin), self._values(a, arb.cos), self._moving(a)
            for n in range(1, self.space.order + 1):
                self._step(sin, cos, moving, n)
                self._step(cos, -sin, moving, n)
            self._angle = a, (sin, cos)
        return self._angle[1]

    def tanh(self, a: Balls) -> Balls:
        return self._composed(a, lambda line, t: line.tanh(t))

    def sqrt(self, a: Balls) -> Balls:
        return self.power(a, 0.5)

    def nonnegative(self, a: Balls) -> Balls:
        out = Balls(a.middle.copy(), a.radius.copy())
        _restrict(out, np.zeros(self.cells))
        return out

    def abs(self, a: Balls) -> Balls:
        value = a[:, 0]
        positive, negative = value.low() >= 0, value.high() <= 0
        self.rough |= ~(positive | negative)
        return Balls(np.where(negative[:, None], -a.middle, a.middle), a.radius)

    # -- parts -------------------------------------------------------------------------------------

    def _zeros(self) -> Balls:
        return Balls.exact(np.zeros((self.cells, self.space.size)))

    def _matrix(self, a: Balls) -> Balls:
        """(B, S, S), the matrices A with `(b a) = b A`."""
        zero = np.zeros((self.cells, 1))
        return Balls(*(np.concatenate([part, zero], axis=1)[:, self._quotients] for part in (a.middle, a.radius)))

    def _product(self, a: Balls, matrix: Balls) -> Balls:
        return (a[:, None, :] @ matrix)[:, 0]

    def _values(self, a: Balls, function: Callable[[arb], arb]) -> Balls:
        """A function of the values alone."""
        out = self._zeros()
        values = Balls.of([function(value) for value in _balls(a[:, 0])], (self.cells,))
        out.middle[:, 0], out.radius[:, 0] = values.middle, values.radius
        self.rough |= ~np.isfinite(values.radius)
        return out

    def _moving(self, a: Balls) -> Balls:
        """The matrices of E a."""
        return self._matrix(a * self._degrees)

    def _step(self, out: Balls, factor: Balls, moving: Balls, n: int) -> None:
        """Set the coefficients of degree n of out, `E out = factor E a`, by those of lower degree."""
        start, end = self._starts[n], self._starts[n + 1]
        part = (factor[:, None, :start] @ moving[:, :start, start:end])[:, 0] * Balls.of([1 / arb(n)], (1,))
        out.middle[:, start:end], out.radius[:, start:end] = part.middle, part.radius

    def _inverse(self, a: Balls) -> Balls:
        return self._composed(a, lambda line, t: line.divide(line.constant(1), t))

    def _composed(self, a: Balls, function: Series) -> Balls:
        """`sum_n c_n (a - a_0)^n`, c the series of a function at the value a_0, by Horner's scheme."""
        order, coefficients = self.space.order, list[arb]()
        tail = [arb(n == 0) for n in range(order)]
        for value in _balls(a[:, 0]):
            coefficients += function(self.line, [value, *tail])
        series = Balls.of(coefficients, (self.cells, order + 1))
        self.rough |= ~np.isfinite(series.radius).all(axis=1)
        step = Balls(a.middle.copy(), a.radius.copy())
        step.middle[:, 0] = step.radius[:, 0] = 0.0
        matrix, out = self._matrix(step), self._zeros()
        for n in range(order, -1, -1):
            out = self._product(out, matrix) if n < order else out
            first = out[:, 0] + series[:, n]
            out.middle[:, 0], out.radius[:, 0] = first.middle, first.radius
        return out


def _balls(values: Balls) -> list[arb]:
    """(B,), each as a ball of its own; NaN for one without bounds."""
    pairs = zip(values.middle.tolist(), values.radius.tolist(), strict=True)
    return [arb(m, r) if math.isfinite(m) and math.isfinite(r) else arb.nan() for m, r in pairs]


def _restrict(jets: Balls, least: Float) -> None:
    """Values that are known to be at least `least`, (B,), without what a ball has below."""
    value = jets[:, 0]
    low, high = value.low(), value.high()
    below = low < least
    middle = (least + high) / 2
    radius = (np.abs(high - least) / 2 + 2.0**-50 * np.abs(middle)) * (1 + 2.0**-30)
    jets.middle[:, 0] = np.where(below, middle, value.middle)
    jets.radius[:, 0] = np.where(below, radius, value.radius)
