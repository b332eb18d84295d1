"""Jets: coefficients against mpmath's numerical derivatives, containment over boxes, and bounds against samples."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import factorial
from typing import Any

import mpmath  # type: ignore[import-untyped]
import numpy as np
import pytest
from flint import arb, ctx
from hypothesis import given, settings
from hypothesis import strategies as st

from construct.certificates.jets import JetSpace, jet_exponents, lagrange_bound, lagrange_range, lines_of
from construct.expressions import Algebra, Expression, abs, cos, exp, sin, sqrt, tanh, variables

SEEDS = st.integers(0, 2**31)
DIM, ORDER = 2, 4
x0, x1 = variables(DIM)


@pytest.fixture(autouse=True)
def precision():
    with ctx.workprec(96):
        yield


class Mp(Algebra[Any]):
    """Numbers are mpmath's."""

    def __init__(self, point: Sequence[Any]) -> None:
        self.point = point

    def constant(self, value):
        return mpmath.mpf(value)

    def variable(self, index):
        return self.point[index]

    def add(self, a, b):
        return a + b

    def multiply(self, a, b):
        return a * b

    def divide(self, a, b):
        return a / b

    def power(self, a, exponent):
        return a ** (exponent if isinstance(exponent, int) else mpmath.mpf(exponent))

    def exp(self, a):
        return mpmath.exp(a)

    def sin(self, a):
        return mpmath.sin(a)

    def cos(self, a):
        return mpmath.cos(a)

    def sqrt(self, a):
        return mpmath.sqrt(a)

    def tanh(self, a):
        return mpmath.tanh(a)

    def abs(self, a):
        return mpmath.fabs(a)


def grown(draw: np.random.Generator, depth: int, rough: bool) -> Expression:
    """A random tree that is defined everywhere, smooth unless `rough`."""
    if depth == 0:
        return (x0, x1, x0 - x1 / 3, x0 + 0.25)[draw.integers(4)]
    a, b = grown(draw, depth - 1, rough), grown(draw, depth - 1, rough)
    kinds: list[Any] = [
        lambda: a + b,
        lambda: a * b,
        lambda: a * a - b,
        lambda: a / (1 + b * b),
        lambda: (1 + a * a) ** -1.5,
        lambda: sqrt(1 + b**2),
        lambda: exp(a / 2),
        lambda: sin(a),
        lambda: cos(2 * b),
        lambda: tanh(a),
        lambda: a**3,
        lambda: (2 + b**2) ** -2,
        lambda: abs(a) if rough else abs(a * a + 1),
        lambda: abs(a) * b if rough else a,
        lambda: sqrt(abs(b)) if rough else b,
        lambda: (a * a) ** 0.25 if rough else a * b,
    ]
    return kinds[draw.integers(len(kinds))]()


def jet(expression: Expression, point: Sequence[arb], order: int = ORDER) -> list[arb]:
    space = JetSpace(DIM, order)
    return expression.fold(space.over(space.coordinates(point)))


def value(expression: Expression, point: Sequence[float]) -> Any:
    return expression.fold(Mp([mpmath.mpf(v) for v in point]))


@settings(max_examples=60)
@given(SEEDS)
def test_coefficients_are_derivatives(seed):
    draw = np.random.default_rng(seed)
    expression = grown(draw, 2, rough=False)
    point = draw.uniform(-1, 1, DIM)
    found = jet(expression, [arb(v) for v in point])
    with mpmath.workdps(60):
        for index, coefficient in zip(jet_exponents(DIM, ORDER), found, strict=True):
            function = lambda *u: expression.fold(Mp(u))  # noqa: E731
            at = tuple(mpmath.mpf(v) for v in point)
            derivative = mpmath.diff(function, at, index) if sum(index) else function(*at)
            wanted = derivative / (factorial(index[0]) * factorial(index[1]))
            assert float(coefficient.rad()) < 1e-20 * (1 + mpmath.fabs(wanted))
            assert mpmath.fabs(mpmath.mpf(float(coefficient.mid())) - wanted) <= 1e-13 * (1 + mpmath.fabs(wanted))


def number(end: arb) -> Any:
    """An end of a ball, exactly."""
    mantissa, exponent = (int(part) for part in end.man_exp())
    return mpmath.ldexp(mpmath.mpf(mantissa), exponent)


def cell(draw: np.random.Generator) -> tuple[list[arb], list[arb], list[arb]]:
    """Centre, ball and half-widths of a cell, often with an axis in it."""
    half = draw.choice([0.5, 0.1, 0.01], DIM)
    centre = draw.uniform(-1, 1, DIM) * (draw.random(DIM) < 0.6)
    ball = [arb(c, h) for c, h in zip(centre, half, strict=True)]
    return [arb(c) for c in centre], ball, [arb(h) for h in half]


def inside(draw: np.random.Generator, centre: list[arb], half: list[arb]) -> list[float]:
    steps = np.where(draw.random(DIM) < 0.75, draw.choice([-1.0, 1.0, 0.0], DIM), draw.uniform(-1, 1, DIM))
    return [float(c) + float(h) * float(s) for c, h, s in zip(centre, half, steps, strict=True)]


@settings(max_examples=80)
@given(SEEDS)
def test_jets_over_a_cell_contain_jets_in_it(seed):
    draw = np.random.default_rng(seed)
    expression = grown(draw, 3, rough=False)
    centre, ball, half = cell(draw)
    over = jet(expression, ball)
    for _ in range(5):
        at = jet(expression, [arb(v) for v in inside(draw, centre, half)])
        for thin, wide in zip(at, over, strict=True):
            assert not wide.is_finite() or wide.overlaps(thin)
            assert not wide.is_finite() or (wide.lower() <= thin.upper() and wide.upper() >= thin.lower())


@settings(max_examples=250)
@given(SEEDS)
def test_bounds_hold(seed):
    """`lagrange_bound` and `lagrange_range`, of smooth functions and of those with corners and cusps."""
    draw = np.random.default_rng(seed)
    expression = grown(draw, 3, rough=bool(draw.integers(2)))
    centre, ball, half = cell(draw)
    order = int(draw.integers(1, ORDER + 1))
    space = JetSpace(DIM, order)
    jets = jet(expression, centre, order), jet(expression, ball, order)
    bound, enclosure = lagrange_bound(space, *jets, half), lagrange_range(space, *jets, half)
    for _ in range(8):
        point = inside(draw, centre, half)
        with mpmath.workdps(40):
            seen = value(expression, point)
            slack = mpmath.mpf(10) ** -25 * (1 + mpmath.fabs(seen))  # mpmath's own rounding
            assert not bound.is_finite() or mpmath.fabs(seen) <= number(bound.upper()) + slack
            if enclosure.is_finite():
                assert number(enclosure.lower()) - slack <= seen <= number(enclosure.upper()) + slack


def test_bounds_converge():
    """What a bound has too much falls with the square of the size of the cell."""
    expression, excess = sin(3 * x0) - 2 * x0 * exp(x1) + x0**3, []
    for h in (0.08, 0.04, 0.02):
        jets = jet(expression, [arb(0.3), arb(0.2)]), jet(expression, [arb(0.3, h), arb(0.2, h)])
        steps = np.linspace(-1, 1, 21)
        top = max(float(mpmath.fabs(value(expression, (0.3 + h * s, 0.2 + h * t)))) for s, t in product(steps, steps))
        excess.append(float(lagrange_bound(JetSpace(DIM, ORDER), *jets, [arb(h), arb(h)])) - top)
    assert excess[0] > 3 * excess[1] > 9 * excess[2] > 0


@pytest.mark.parametrize(
    ("expression", "known"),
    [
        (abs(x0), True),
        (x1 * abs(x0), True),
        (sqrt(x0 * x0), True),
        (1 / x0, False),
        (x1 / x0, False),
        (sqrt(x0), False),
        (0 * sqrt(x0), False),
        (0 / x0, False),
        (x0**-2, False),
        (exp(1 / x0), False),
        (sin(1 / x0), False),
        (abs(x0) ** -0.5, False),
    ],
)
def test_where_functions_break(expression, known):
    """About x0 = 0: values that exist are enclosed, and what is undefined somewhere is never bounded."""
    centre, ball, half = [arb(0), arb(1)], [arb(0, 0.5), arb(1, 0.5)], [arb(0.5), arb(0.5)]
    space = JetSpace(DIM, ORDER)
    off = [arb(0.25), arb(1)]
    for point in (centre, off):
        wide = [arb(0.25, 0.75), arb(1, 0.5)] if point is off else ball
        jets = jet(expression, point), jet(expression, wide)
        reach = [arb(0.75), arb(0.5)] if point is off else half
        assert lagrange_bound(space, *jets, reach).is_finite() is known
        assert lagrange_range(space, *jets, reach).is_finite() is known


def test_second_derivatives_of_corners_are_unknown():
    over = jet(abs(x0) * x1, [arb(0, 1), arb(0, 1)])
    degrees = [sum(a) for a in jet_exponents(DIM, ORDER)]
    assert all(v.is_finite() is (m <= 1) for v, m in zip(over, degrees, strict=True))


def test_sharp_primitives():
    """Wide balls: tanh within [-1, 1], even powers and squares not below 0."""
    ball = [arb(1, 30), arb(0, 2)]
    assert jet(tanh(x0), ball)[0].abs_upper() <= 1 + 2.0**-20
    for even in (x1**2, x1 * x1, x1**4, abs(x1)):
        assert jet(even, ball)[0].lower() >= -(2.0**-20)


@settings(max_examples=50)
@given(SEEDS)
def test_compose_is_a_polynomial_of_jets(seed):
    """Horner's scheme in C against term by term, for one to three factors."""
    draw = np.random.default_rng(seed)
    count, degree = int(draw.integers(1, 4)), int(draw.integers(0, 4))
    space = JetSpace(DIM, 3)
    factors = [[arb(v) for v in draw.normal(size=space.size)] for _ in range(count)]
    exponents = [b for b in product(range(degree + 1), repeat=count) if sum(b) <= degree]
    table = {b: arb(draw.normal()) for b in exponents}
    wanted = space.constant(0)
    for b, c in table.items():
        term = space.constant(1)
        for factor, e in zip(factors, b, strict=True):
            for _ in range(e):
                term = space.multiply(term, factor)
        wanted = space.add(wanted, space.scale(term, c))
    found = space.compose(lines_of(table, count, degree), factors, degree)
    for one, other in zip(found, wanted, strict=True):
        assert one.overlaps(other) and one.rad() < 1e-15


def test_unknown_exponents_of_roots():
    """`(x^2)^(1/4)` at and about its cusp: the value only."""
    over = jet((x0 * x0) ** 0.25, [arb(0, 1), arb(0)])
    assert over[0].contains(0) and over[0].contains(1) and over[0].upper() < 1.1
    assert not any(v.is_finite() for v in over[1:])
