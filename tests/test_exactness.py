"""Expressions whose float64 values are those of another function are refused, and named; all others are not.

The oracle is Python's rational arithmetic: expressions of +, * and / only have exact values.
"""

import math
from fractions import Fraction
from typing import Any

import pytest
import torch

import construct
from construct import PrecisionError
from construct.expressions import Expression, exp, float_deviation, sin, variables
from construct.expressions.algebra import Algebra
from construct.manifolds import Circle, Sphere
from construct.measurement import exactness_points
from construct.targets import Target, target, target_names

CIRCLE = Circle()
x0, x1 = variables(2)
LOSSY = (x0 + 1e16) - 1e16


class Rational(Algebra[Fraction]):
    """The oracle: exact arithmetic."""

    def __init__(self, x: list[float]) -> None:
        self.x = [Fraction(v) for v in x]

    def constant(self, value: int | float) -> Fraction:
        return Fraction(value)

    def variable(self, index: int) -> Fraction:
        return self.x[index]

    def add(self, a: Fraction, b: Fraction) -> Fraction:
        return a + b

    def multiply(self, a: Fraction, b: Fraction) -> Fraction:
        return a * b

    def divide(self, a: Fraction, b: Fraction) -> Fraction:
        return a / b

    def power(self, a: Fraction, exponent: int | float) -> Fraction:
        assert isinstance(exponent, int)
        return a**exponent

    def abs(self, a: Fraction) -> Fraction:
        return abs(a)

    exp = sin = cos = sqrt = tanh = abs  # not asked for


@pytest.mark.parametrize(
    "expression",
    [
        LOSSY,
        x0**7 / 3 - x1,
        (1 + x0) ** 9 - (1 + x0) ** 9 + x1,
        abs(x0 * 1e-200) * 1e200,
        (x0 * 1e8 + 1) ** 2 - 1e16 * x0**2,
    ],
    ids=repr,
)
def test_deviations_are_those_of_rational_arithmetic(expression: Expression) -> None:
    points = exactness_points(CIRCLE, torch.empty(0, 2, dtype=torch.float64))
    values = expression(points).tolist()
    apart = [abs(Fraction(v) - expression.fold(Rational(p))) for p, v in zip(points.tolist(), values, strict=True)]
    found = float_deviation(expression, points)
    assert found is not None
    assert found.size <= float(max(apart)) * (1 + 1e-15)
    assert found.size == pytest.approx(float(max(apart)), rel=1e-6, abs=0.0)
    exact = expression.fold(Rational(found.point.tolist()))
    assert found.exact == float(exact) and abs(found.computed - found.exact) == pytest.approx(found.size, rel=1e-6)


def test_nothing_is_known_where_there_is_no_value() -> None:
    points = torch.tensor([[0.0, 1.0], [1e-320, 1.0]], dtype=torch.float64)
    assert float_deviation(1 / x0, points) is None
    assert float_deviation(exp(exp(x0 * 0 + 900)), points) is None


def wrapped(expression: Expression) -> Target:
    return Target("wrapped", "a test", lambda x: expression(x), expression=expression)


@pytest.mark.parametrize(
    "f", [LOSSY, wrapped(LOSSY), sin(1e17 * x0) + x1, x0 + exp(50 * x0) * 0.5 - exp(50 * x0) * 0.5]
)
def test_approximate_and_measure_blame_the_target(f: Any) -> None:
    said = r"^target: expected an expression whose values in float64 are those of the function, .* x = \("
    with pytest.raises(PrecisionError, match=said) as caught:
        construct.approximate(f, CIRCLE, epsilon=1e-1)
    assert "in float64 and" in str(caught.value) and "in ball arithmetic" in str(caught.value)
    with pytest.raises(PrecisionError, match=said):
        construct.approximate(f, CIRCLE, charts=4, degree=2) if f in (LOSSY,) else construct.measure(f, f, CIRCLE)


def test_certify_blames_the_target_and_not_the_network() -> None:
    net = construct.approximate(x0, CIRCLE, epsilon=1e-2, construction="compact")
    with pytest.raises(PrecisionError, match=r"^target: expected an expression whose values in float64"):
        construct.certify(net, LOSSY, CIRCLE)
    with pytest.raises(PrecisionError, match=r"^target: "):
        construct.measure(net, LOSSY, CIRCLE)
    assert construct.certify(net, x0, CIRCLE).bound < 2e-2


@pytest.mark.parametrize("name", target_names())
def test_no_built_in_target_is_refused(name: str) -> None:
    f = target(name)
    for manifold in (CIRCLE, Sphere(2)):
        points = exactness_points(manifold, torch.empty(0, manifold.ambient, dtype=torch.float64))
        assert f.expression is not None
        found = float_deviation(f.expression.restricted(manifold.ambient), points)
        assert found is not None and found.size < 1e-11 and math.isfinite(found.exact)


@pytest.mark.parametrize(
    ("f", "epsilon"), [(sin(100 * x0), 1e-8), (x0, 1e-13), (x0**65536, 0.1), (1e8 * exp(x0), 1e-2)]
)
def test_what_rounding_changes_little_is_approximated(f: Expression, epsilon: float) -> None:
    net = construct.approximate(f, CIRCLE, epsilon=epsilon)
    assert net.claim is not None and net.claim.bound <= epsilon
    assert construct.measure(net, f, CIRCLE).sup <= 1.1 * epsilon


def test_a_real_value_beyond_float64_is_told_without_inf() -> None:
    f = (x0 * 1e-200) ** 2 * 1e300 * 1e300 * 1e300  # 0 in float64, 1e500 x0^2 in truth
    with pytest.raises(PrecisionError, match=r"^target: .* got 0 in float64 and more than 1\.8e308") as caught:
        construct.approximate(f, CIRCLE, epsilon=0.1)
    assert "inf" not in str(caught.value)


@pytest.mark.parametrize("watched", [0, 1, 64, 65, 10_000])
def test_the_comparison_is_bounded_work(watched: int) -> None:
    """However many points are watched, balls are evaluated at a few hundred."""
    points = exactness_points(CIRCLE, CIRCLE.sample(max(1, watched), seed=1)[:watched])
    assert 192 <= len(points) <= 192 + 64
