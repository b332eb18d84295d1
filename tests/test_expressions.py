"""Expressions against oracles that read their JSON: mpmath with 60 digits, and a running bound of rounding errors."""

import copy
import gc
import json
import math
import operator
import pickle
import weakref
from collections.abc import Callable
from functools import reduce
from typing import Any

import mpmath  # type: ignore[import-untyped]
import numpy as np
import pytest
import torch
from flint import arb, ctx
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from construct import expressions
from construct.errors import InputError
from construct.expressions import (
    Algebra,
    Expression,
    constant,
    cos,
    exp,
    from_json,
    scheduled,
    sin,
    sqrt,
    tanh,
    variable,
    variables,
)

x0, x1, x2 = variables(3)
loose: Any = x0  # for what the type checker would refuse before the library can
FUNCTIONS = ("exp", "sin", "cos", "sqrt", "tanh", "abs")
U = mpmath.mpf(2) ** -53


def oracle(tree: Any, point: list[Any]) -> tuple[Any, Any]:
    """Value with 60 digits, and a first-order bound of what float64 may lose; ValueError where it is undefined.

    Every operation adds 4 U of its result (torch's functions are a few ulps from the exact ones) to the errors of
    its operands times the absolute values of its partial derivatives.
    """
    if not isinstance(tree, list):
        return mpmath.mpf(tree), mpmath.mpf(0)
    head = tree[0]
    if head == "x":
        return point[tree[1]], mpmath.mpf(0)
    a, da = oracle(tree[1], point)
    if head == "pow":
        n = tree[2]
        if (a == 0 and n < 0) or (a < 0 and isinstance(n, float)):
            raise ValueError(f"{a}**{n}")
        value = mpmath.mpf(1) if n == 0 else mpmath.power(a, n)
        slope = abs(n) * mpmath.power(abs(a), n - 1) if n not in (0, 1) and (a != 0 or n > 1) else mpmath.mpf(abs(n))
        if a == 0 and 0 < n < 1:
            slope = mpmath.inf
        loss = da * slope if da else mpmath.mpf(0)
        return value, loss + (4 + abs(n)) * U * abs(value)
    if head in ("add", "mul", "div"):
        b, db = oracle(tree[2], point)
        if head == "add":
            value, loss = a + b, da + db
        elif head == "mul":
            value, loss = a * b, abs(b) * da + abs(a) * db
        else:
            if b == 0:
                raise ValueError("division by 0")
            value, loss = a / b, da / abs(b) + abs(a / b**2) * db
        return value, loss + 4 * U * abs(value)
    if head == "sqrt" and a < 0:
        raise ValueError("root of a negative number")
    if head == "exp" and a > 700:
        raise OverflowError
    value = {"abs": abs}.get(head, getattr(mpmath, "fabs" if head == "abs" else head))(a)
    slopes: dict[str, Callable[[], Any]] = {
        "exp": lambda: value,
        "sin": lambda: 1,
        "cos": lambda: 1,
        "tanh": lambda: 1,
        "abs": lambda: 1,
        "sqrt": lambda: 1 / (2 * value) if value else mpmath.inf,
    }
    return value, (da * slopes[head]() if da else mpmath.mpf(0)) + 4 * U * abs(value)


numbers = st.integers(-4, 4) | st.integers(-32, 32).map(lambda n: n / 8)
leaves = st.sampled_from([x0, x1, x2]) | numbers.map(constant)


def anything(value: Any) -> Any:
    """The value, without its type."""
    return value


def larger(children: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    arithmetic = st.sampled_from([operator.add, operator.sub, operator.mul, operator.truediv])
    exponents = st.integers(-3, 4) | st.sampled_from([0.5, 1.5, -0.25, 2.75])
    return st.one_of(
        st.builds(lambda op, a, b: op(a, b), arithmetic, children, children),
        st.builds(lambda op, a, b: op(b, a), arithmetic, children, numbers),
        st.builds(lambda a, n: a**n, children, exponents),
        st.builds(lambda name, a: getattr(expressions, name)(a), st.sampled_from(FUNCTIONS), children),
        st.builds(lambda a: sqrt(a * a), children),
        st.builds(operator.neg, children),
    )


trees = st.recursive(leaves, larger, max_leaves=12)
coordinates = st.integers(-96, 96).map(lambda n: n / 32)
points = st.tuples(coordinates, coordinates, coordinates)
quiet = settings(max_examples=150, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])


def as_mpf(ball: arb) -> Any:
    """The number that an exact ball is, exactly."""
    mantissa, exponent = ball.man_exp()
    return mpmath.ldexp(int(mantissa), int(exponent))


def as_ball(number: Any, radius: Any) -> arb:
    """A ball about a number of mpmath; mantissas go over exactly."""
    sign, mantissa, power, _ = number._mpf_
    middle = (-1) ** sign * arb(int(mantissa)) * arb(2) ** power
    return middle + arb(0, arb(str(radius)).abs_upper())


class TestTorch:
    @quiet
    @given(trees, points)
    def test_agrees_with_mpmath_up_to_rounding(self, e: Expression, point: tuple[float, ...]) -> None:
        with mpmath.workdps(60):
            try:
                want, loss = oracle(e.to_json(), [mpmath.mpf(t) for t in point])
            except (ValueError, OverflowError):
                assume(False)
            assume(abs(want) < 1e100 and loss <= 1e-6 * max(1, abs(want)))
            got = e(torch.tensor(point, dtype=torch.float64)).item()
            assert abs(mpmath.mpf(got) - want) <= 2 * loss + 1e-300

    @given(trees)
    def test_keeps_shape_dtype_and_device(self, e: Expression) -> None:
        x = torch.rand(4, 2, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        for shaped in (x, x.float(), x[0], x[0, 0], x[:0]):
            values = e(shaped)
            assert values.shape == shaped.shape[:-1] and values.dtype == shaped.dtype
            assert values.device == shaped.device
        array = e(x.numpy())
        assert isinstance(array, np.ndarray) and array.dtype == np.float64
        np.testing.assert_array_equal(array, e(x).numpy())
        np.testing.assert_allclose(e(x[1])[1].numpy(), array[1, 1], rtol=1e-12)

    def test_numpy_views_and_constants(self) -> None:
        array = np.arange(12.0).reshape(4, 3)
        array.flags.writeable = False
        np.testing.assert_array_equal(x1(array[::-1]), array[::-1, 1])
        np.testing.assert_array_equal(constant(3)(array.astype(np.float32)), np.full(4, 3.0, dtype=np.float32))

    @pytest.mark.parametrize(
        "e", [abs(x0), sqrt(x0**2), (x0**2) ** 0.25, abs(x0) ** 1.5, sqrt(abs(x0)), abs(x0) ** 0.5, sqrt(x0)], ids=repr
    )
    def test_gradient_is_zero_at_a_singular_point(self, e: Expression) -> None:
        x = torch.zeros(2, 1, dtype=torch.float64, requires_grad=True)
        values = e(x)
        (gradient,) = torch.autograd.grad(values.sum(), x)
        assert values.tolist() == [0.0, 0.0] and gradient.tolist() == [[0.0], [0.0]]

    def test_undefined_values_are_nan(self) -> None:
        x = torch.tensor([[-1.0]])
        for e in (sqrt(x0), x0**0.3, x0**-0.5, sqrt(x0) * 0, (x0 + 1) / (x0 + 1)):
            assert math.isnan(e(x))
        assert ((x0 + 1) ** -0.5)(x).item() == math.inf

    @pytest.mark.parametrize(
        "e", [exp(x0) * sin(3 * x1), tanh(x0 / x1), (x0 + 3) ** 0.5 * cos(x1), x0**3 - 2], ids=repr
    )
    def test_forward_mode_under_vmap(self, e: Expression) -> None:
        x = 1 + torch.rand(5, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64, requires_grad=True)
        (want,) = torch.autograd.grad(e(x).sum(), x)
        along = torch.tensor([0.3, -0.7], dtype=torch.float64)
        slopes = torch.func.vmap(lambda p: torch.func.jvp(e, (p,), (along,))[1])(x.detach())
        torch.testing.assert_close(slopes, want @ along)

    @pytest.mark.parametrize(
        ("x", "message"),
        [
            (torch.ones(4, 2), r"x: expected a tensor of shape \(\.\.\., D\), D >= 3 for x2, got .*\(4, 2\)"),
            (torch.tensor(1.0), "x: expected a tensor of shape"),
            (torch.ones(4, 3, dtype=torch.int64), "floating point dtype"),
            (np.ones((4, 3), dtype=np.int64), "array of float32 or float64, got .* dtype int64"),
            ([[1.0, 2.0, 3.0]], "expected a torch tensor"),
        ],
    )
    def test_bad_points_are_refused(self, x: Any, message: str) -> None:
        with pytest.raises(InputError, match=message):
            x2(x)


class TestBalls:
    @quiet
    @given(trees, points, points, st.sampled_from([0.0, 2.0**-40, 2.0**-8, 0.25, 1.0, 2.0]))
    def test_a_finite_ball_contains_every_value(
        self, e: Expression, centre: tuple[float, ...], inside: tuple[float, ...], radius: float
    ) -> None:
        enclosure = e.ball([arb(c, radius) for c in centre])
        with mpmath.workdps(60):
            # the middle, an end in every coordinate, the centre of the coordinates, and a point between
            for t in (*((k, k, k) for k in (-1, 0, 1)), tuple(k / 3 for k in inside)):
                point = [mpmath.mpf(c) + mpmath.mpf(radius) * mpmath.mpf(s) for c, s in zip(centre, t, strict=True)]
                try:
                    value, _ = oracle(e.to_json(), point)
                except ValueError:
                    assert not enclosure.is_finite(), f"{e} is undefined at {point} and enclosed by {enclosure}"
                    continue
                except OverflowError:
                    continue
                nearby = as_ball(value, mpmath.mpf(10) ** -45 * (1 + abs(value)))
                assert not enclosure.is_finite() or enclosure.overlaps(nearby), f"{e} at {point}: {value}"

    @quiet
    @given(trees, points)
    def test_a_point_gives_a_thin_ball(self, e: Expression, point: tuple[float, ...]) -> None:
        """Wherever float64 loses little, ball arithmetic is defined and loses little as well."""
        with mpmath.workdps(60):
            try:
                value, loss = oracle(e.to_json(), [mpmath.mpf(t) for t in point])
            except (ValueError, OverflowError):
                assume(False)
            assume(loss <= 1e-6 * max(1, abs(value)) and abs(value) < 1e100)
        enclosure = e.ball([arb(t) for t in point])
        assert enclosure.is_finite()
        assert float(enclosure.rad()) <= 16 * float(loss) + 1e-300

    @pytest.mark.parametrize(
        ("e", "low", "high"),
        [
            (x0**2, 0.0, 9.0),
            (x0 * x0, 0.0, 9.0),
            (x0**3, -1.0, 27.0),
            ((x0 - 1) ** 4, 0.0, 16.0),
            (abs(x0), 0.0, 3.0),
            (sqrt(x0**2), 0.0, 3.0),
            (sqrt(x0 * x0), 0.0, 3.0),
            (sqrt(sqrt(abs(x0))), 0.0, 3.0**0.25),
            (abs(x0) ** 1.5, 0.0, 27.0**0.5),
            ((x0**2) ** 0.25, 0.0, 3.0**0.5),
            ((x0 + 2) ** -2, 0.04, 1.0),
            (tanh(x0), math.tanh(-1.0), math.tanh(3.0)),
            (exp(x0), math.exp(-1.0), math.exp(3.0)),
            (sin(x0), math.sin(-1.0), 1.0),
            ((x0 - x0) ** 2 + x0**2, 0.0, 25.0),
        ],
        ids=repr,
    )
    def test_sharp_on_a_wide_ball(self, e: Expression, low: float, high: float) -> None:
        """About [-1, 3], ends that are right to the 30 bits of a radius; only x0 - x0 is known as [-4, 4]."""
        found = e.ball([arb(1, 2)])
        tolerance = 1e-7 * max(1.0, high)
        assert low - tolerance <= float(found.lower()) <= low + tolerance
        assert high - tolerance <= float(found.upper()) <= high + tolerance

    @pytest.mark.parametrize(
        "e",
        [
            sqrt(x0),
            x0**0.5,
            x0**-0.5,
            sqrt((x0 + 2) ** 3 - 2),
            1 / x0,
            x0**-1,
            x0**-2,
            abs(x0) ** -0.5,
            sin(1 / x0),
            (1 / x0) ** 0,
            0 * sqrt(x0),
            1 / exp(exp(exp(exp(7 + x0)))),
        ],
        ids=repr,
    )
    def test_undefined_somewhere_is_not_finite(self, e: Expression) -> None:
        found = e.ball([arb(0.5, 2)])
        assert not found.is_finite()
        assert not found <= 1e300 and not found >= -1e300

    def test_an_unbounded_box_is_not_finite(self) -> None:
        for box in (arb("inf"), arb(0, math.inf), arb("nan")):
            for e in (x0, sin(x0), 1 / x0, tanh(x0), x0**0, 0 * x0):
                assert not e.ball([box]).is_finite()

    def test_thirds_and_large_integers_are_exact(self) -> None:
        """Of the float next to 1/3, ball arithmetic knows that it is no third, once it has the bits to tell."""
        third, rounded = constant(1) / 3, constant(1 / 3)
        assert not third.ball([]).is_exact() and rounded.ball([]).is_exact()
        with ctx.workprec(200):
            assert (third * 3).ball([]).contains(1) and not (rounded * 3).ball([]).contains(1)
        assert (constant(2**100 + 1).ball([]) - 2**100 - 1).is_zero()

    def test_bad_points_are_refused(self) -> None:
        with pytest.raises(InputError, match=r"point: expected at least 3 balls for x2, got 2"):
            x2.ball([arb(1), arb(2)])
        with pytest.raises(InputError, match=r"point\[1\]: expected a flint.arb, got 2.0"):
            x1.ball([arb(1), 2.0])  # type: ignore[list-item]


class TestStructure:
    @quiet
    @given(trees)
    def test_json_python_and_pickle_give_it_back(self, e: Expression) -> None:
        assert from_json(json.loads(json.dumps(e.to_json()))) is e
        assert pickle.loads(pickle.dumps(e)) is e and copy.deepcopy(e) is e and copy.copy(e) is e
        assume(e.head != "const")
        names = {name: getattr(expressions, name) for name in (*FUNCTIONS, "constant")}
        assert eval(repr(e), {"__builtins__": {}}, names | {"x0": x0, "x1": x1, "x2": x2}) is e

    @quiet
    @given(trees, points)
    def test_nonnegative_is_true(self, e: Expression, point: tuple[float, ...]) -> None:
        assume(e.nonnegative)
        with mpmath.workdps(60):
            try:
                value, _ = oracle(e.to_json(), [mpmath.mpf(t) for t in point])
            except (ValueError, OverflowError):
                assume(False)
            assert value >= 0

    @pytest.mark.parametrize(
        "e", [x0, x0**3, x0 + x1**2, -(x0**2), x0 / x0, sin(x0), tanh(x0**2), constant(-1)], ids=repr
    )
    def test_nonnegative_is_not_claimed_where_the_structure_does_not_show_it(self, e: Expression) -> None:
        assert not e.nonnegative

    @quiet
    @given(trees, trees, trees)
    def test_substitution_is_composition(self, e: Expression, first: Expression, second: Expression) -> None:
        x = torch.rand(6, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
        inner = torch.stack([first(x), second(x), x[:, 2]], dim=-1)
        got, want = e.substitute({0: first, 1: second})(x), e(inner)
        torch.testing.assert_close(got, want, rtol=0, atol=0, equal_nan=True)

    def test_substitution_is_simultaneous_and_takes_numbers(self) -> None:
        assert (x0 / x1).substitute({0: x1, 1: x0}) is x1 / x0
        assert (x0 + x1).substitute({1: 2}) is x0 + 2
        assert (x0 + x2).substitute({}) is x0 + x2
        assert (x0 * x2).restricted(1) is x0 * 0 and (x0 * x2).restricted(3) is x0 * x2

    def test_formula(self) -> None:
        assert repr(exp(x0) * sin(3 * x1 + x2)) == "exp(x0) * sin(3 * x1 + x2)"
        assert repr(-((x0 - 1.5) ** 2) / (x1 * -x2)) == "-(x0 - 1.5)**2 / (x1 * (-x2))"
        assert repr(x0 - (x1 - x2)) == "x0 - (x1 - x2)"

    def test_json(self) -> None:
        assert (exp(x0) - x1 / 3).to_json() == [
            "add",
            ["exp", ["x", 0]],
            ["mul", -1, ["div", ["x", 1], 3]],
        ]
        assert (x0**2 - 0.1).to_json() == ["add", ["pow", ["x", 0], 2], -0.1]
        assert constant(7).to_json() == 7

    def test_equal_expressions_are_one_object(self) -> None:
        assert sin(x0 + 1) is sin(variable(0) + 1) and hash(x0) == hash(variable(0))
        assert x0**2.0 is x0**2
        distinct = {constant(c) for c in (0, 0.0, -0.0, 1, 1.0)}
        assert len(distinct) == 5

    def test_what_is_dropped_is_forgotten(self) -> None:
        dropped = sin(x0 + 12345) * cos(x0 + 12345)
        of = weakref.ref(dropped), weakref.ref(dropped.operands[0])
        assert pickle.loads(pickle.dumps(dropped)) is dropped
        del dropped
        gc.collect()
        assert [reference() for reference in of] == [None, None]

    def test_an_expression_cannot_be_changed(self) -> None:
        for attack in (lambda: setattr(x0, "number", 1), lambda: delattr(x0, "head"), lambda: setattr(x0, "new", 1)):
            with pytest.raises(AttributeError, match="cannot be changed"):
                attack()
        with pytest.raises(InputError, match="Expression: expected constant, variable"):
            Expression()

    def test_shared_subexpressions_are_evaluated_once(self) -> None:
        e = x0 + 1
        for _ in range(60):
            e = e * e / 2
        assert e.nodes > 2**60 and len(e.program.steps) == 4 + 2 * 60
        assert e(torch.ones(1, 1, dtype=torch.float64)).item() == 2.0
        assert e.ball([arb(1)]).contains(2)
        assert "steps" in repr(e)
        with pytest.raises(InputError, match="at most 100000 nodes"):
            e.to_json()
        two = scheduled([sin(x0) * x1, sin(x0) + x1])
        assert len(two.steps) == 5

    @pytest.mark.parametrize("build", [lambda e, k: e + sin(k * x1), lambda e, k: sin(e + k), lambda e, k: k - abs(e)])
    def test_depth_is_no_limit(self, build: Callable[[Expression, int], Expression]) -> None:
        e = reduce(build, range(3000), x0)
        x = torch.full((1, 2), 0.5, dtype=torch.float64)
        assert torch.isfinite(e(x)).all() and e.ball([arb(0.5), arb(0.5)]).is_finite()
        assert pickle.loads(pickle.dumps(e)) is e and from_json(e.to_json()) is e
        assert e.substitute({1: x0}).arity == 1 and len(repr(e)) > 3000

    def test_an_algebra_of_ones_own(self) -> None:
        """Forward derivatives in x0 by dual numbers, the shape that jets take."""

        class Dual(Algebra[tuple[float, float]]):
            def constant(self, value: int | float) -> tuple[float, float]:
                return float(value), 0.0

            def variable(self, index: int) -> tuple[float, float]:
                return (0.3, 1.0) if index == 0 else (0.7, 0.0)

            def add(self, a: tuple[float, float], b: tuple[float, float]) -> tuple[float, float]:
                return a[0] + b[0], a[1] + b[1]

            def multiply(self, a: tuple[float, float], b: tuple[float, float]) -> tuple[float, float]:
                return a[0] * b[0], a[0] * b[1] + a[1] * b[0]

            def divide(self, a: tuple[float, float], b: tuple[float, float]) -> tuple[float, float]:
                return a[0] / b[0], (a[1] - a[0] / b[0] * b[1]) / b[0]

            def power(self, a: tuple[float, float], exponent: int | float) -> tuple[float, float]:
                return a[0] ** exponent, exponent * a[0] ** (exponent - 1) * a[1]

            def exp(self, a: tuple[float, float]) -> tuple[float, float]:
                return math.exp(a[0]), math.exp(a[0]) * a[1]

            def sin(self, a: tuple[float, float]) -> tuple[float, float]:
                return math.sin(a[0]), math.cos(a[0]) * a[1]

            def cos(self, a: tuple[float, float]) -> tuple[float, float]:
                return math.cos(a[0]), -math.sin(a[0]) * a[1]

            def sqrt(self, a: tuple[float, float]) -> tuple[float, float]:
                return math.sqrt(a[0]), a[1] / (2 * math.sqrt(a[0]))

            def tanh(self, a: tuple[float, float]) -> tuple[float, float]:
                return math.tanh(a[0]), a[1] / math.cosh(a[0]) ** 2

            def abs(self, a: tuple[float, float]) -> tuple[float, float]:
                return abs(a[0]), math.copysign(1.0, a[0]) * a[1]

        e = exp(x0) * sin(3 * x1 + x0) / sqrt(2 + cos(x0)) - tanh(x0**2.5) * abs(x0 - 1)
        x = torch.tensor([0.3, 0.7], dtype=torch.float64, requires_grad=True)
        (gradient,) = torch.autograd.grad(e(x), x)
        value, slope = e.fold(Dual())
        assert value == pytest.approx(e(x).item(), rel=1e-14) and slope == pytest.approx(gradient[0].item(), rel=1e-13)


class TestRefusals:
    @pytest.mark.parametrize(
        ("build", "message"),
        [
            (lambda: loose + True, "summand: expected a finite int or float or an Expression, got True"),
            (lambda: "a" * loose, "factor: expected .* got 'a'"),
            (lambda: loose * 1j, "factor: expected"),
            (lambda: loose / None, "divisor: expected"),
            (lambda: math.inf - loose, "summand: expected .* got inf"),
            (lambda: loose + torch.ones(3), "summand: expected .* tensor of shape"),
            (lambda: torch.ones(3) * loose, "factor: expected .* tensor of shape"),
            (lambda: np.ones(3) * loose, "factor: expected .* array"),
            (lambda: constant(math.nan), "constant: expected .* got nan"),
            (lambda: constant(10**400), "constant: expected a finite int or float of float64's range"),
            (lambda: constant(loose), "constant: expected"),
            (lambda: anything(sin)([1.0]), "argument of sin: expected"),
            (lambda: loose**x1, "exponent: expected .* got x1"),
            (lambda: 2**loose, "exponent: expected .* got x0"),
            (lambda: loose**math.nan, "exponent: expected"),
            (lambda: loose**True, "exponent: expected"),
            (lambda: loose ** (2**16 + 1), "exponent: expected an integer of magnitude at most 65536"),
            (lambda: variable(-1), "index: expected an integer >= 0, got -1"),
            (lambda: anything(variable)(1.0), "index: expected an integer"),
            (lambda: variables(0), "count: expected an integer >= 1"),
            (lambda: loose.substitute({0: "x"}), r"replacements\[0\]: expected"),
            (lambda: loose.substitute({-1: 1}), "index: expected"),
        ],
    )
    def test_construction(self, build: Callable[[], object], message: str) -> None:
        with pytest.raises(InputError, match=message):
            build()

    @pytest.mark.parametrize(
        "tree",
        [
            [],
            ["x"],
            ["x", 0, 1],
            ["x", -1],
            ["x", 1.5],
            ["x", True],
            ["y", 0],
            ["log", ["x", 0]],
            ["const", 1],
            ["add", 1],
            ["add", 1, 2, 3],
            ["exp"],
            ["exp", 1, 2],
            ["pow", ["x", 0]],
            ["pow", ["x", 0], ["x", 1]],
            ["pow", ["x", 0], math.inf],
            ["mul", ["x", 0], math.nan],
            ["mul", ["x", 0], None],
            ["mul", ["x", 0], "1"],
            [["add"], 1, 2],
            [0, 1],
            {"add": [1, 2]},
            ("add", 1, 2),
            True,
            None,
            "x0",
            math.inf,
        ],
        ids=repr,
    )
    def test_json(self, tree: Any) -> None:
        with pytest.raises(InputError, match=r"expected .*, got"):
            from_json(tree)

    def test_json_without_an_end(self) -> None:
        tree: list[Any] = ["add", 1]
        tree.append(tree)
        with pytest.raises(InputError, match="at most 100000 nodes"):
            from_json(tree)

    def test_numpy_numbers_are_numbers(self) -> None:
        assert x0 + np.float64(0.5) is x0 + 0.5 and np.int64(3) * loose is 3 * x0
        assert np.float32(0.1) * loose is float(np.float32(0.1)) * x0
        assert type((x0 * np.float64(2.5)).operands[1].number) is float
