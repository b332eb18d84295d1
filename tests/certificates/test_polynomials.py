"""Polynomials over named quantities: arithmetic by evaluation, ranges by samples and by calculus."""

from __future__ import annotations

import numpy as np
import pytest
from flint import arb, ctx, fmpq
from hypothesis import given, settings
from hypothesis import strategies as st

from construct.certificates.polynomials import Polynomial, Quantities, Quantity, total, univariate_range
from tests.certificates.oracle import AtPoint, rational

SEEDS = st.integers(0, 2**31)


@pytest.fixture(autouse=True)
def precision():
    with ctx.workprec(96):
        yield


def table(draw: np.random.Generator, count: int = 3) -> Quantities:
    """Quantities of either sign, some of them non-negative."""
    names = Quantities()
    for j in range(count):
        low = draw.choice([-1.0, 0.0, -0.5, 0.25])
        names.new(Quantity("input", arb(low), arb(low + draw.choice([0.5, 1.0, 2.0])), label=j))
    return names


def polynomial(draw: np.random.Generator, count: int = 3, terms: int = 5) -> Polynomial:
    out: dict[tuple[int, ...], fmpq] = {}
    for _ in range(terms):
        monomial = tuple(sorted(int(i) for i in draw.integers(count, size=draw.integers(0, 4))))
        out[monomial] = rational(float(draw.integers(-8, 9)) / 4)
    return Polynomial(out)


def at(names: Quantities, draw: np.random.Generator) -> AtPoint:
    steps = [draw.choice([0.0, 1.0, draw.random()]) for _ in names.table]
    ends = [(float(q.low), float(q.high)) for q in names.table]
    return AtPoint(
        names.table, [rational(a) + rational(s) * rational(b - a) for (a, b), s in zip(ends, steps, strict=True)]
    )


@settings(max_examples=100)
@given(SEEDS)
def test_arithmetic(seed):
    draw = np.random.default_rng(seed)
    names, p, q = table(draw), polynomial(draw), polynomial(draw)
    point, c = at(names, draw), rational(float(draw.integers(-5, 6)) / 8)
    a, b = point.of(p), point.of(q)
    assert point.of(p + q) == a + b
    assert point.of(p - q) == a - b
    assert point.of(p * q) == a * b
    assert point.of(p * c) == a * c
    assert point.of(total([p, q, p])) == a + b + a
    assert not p - p and p + q == q + p and hash(p + q) == hash(q + p)
    assert point.of(p * Polynomial.of(1)) == point.of((p * Polynomial.of(1)).without(1)) * point.quantity(1)


@settings(max_examples=300)
@given(SEEDS)
def test_range_contains_values(seed):
    """Of sums, of products with common non-negative factors, of anything."""
    draw = np.random.default_rng(seed)
    names, p = table(draw), polynomial(draw, terms=int(draw.integers(1, 5)))
    if draw.random() < 0.4:
        p = p * Polynomial.of(int(draw.integers(3)))
    low, high = names.range(p)
    for _ in range(15):
        assert low <= arb(at(names, draw).of(p)) <= high or (
            low.lower() <= arb(at(names, draw).of(p)).upper() and arb(at(names, draw).of(p)).lower() <= high.upper()
        )


@settings(max_examples=150)
@given(st.lists(st.integers(-16, 16), min_size=1, max_size=9), SEEDS)
def test_univariate_range(numerators, seed):
    """A proved bound at every sample, and no further from the true end than 2^-8 of the size."""
    draw = np.random.default_rng(seed)
    left = float(draw.choice([-1.0, 0.0, -2.0]))
    right = left + float(draw.choice([1.0, 2.0, 0.25]))
    coefficients = [fmpq(n, 8) for n in numerators]
    low, high = univariate_range(coefficients, arb(left), arb(right))
    floats = np.array(numerators)[::-1] / 8
    grid = np.linspace(left, right, 4001)
    values = np.polyval(floats, grid)
    size = sum(abs(n) / 8 * max(abs(left), abs(right), 1) ** k for k, n in enumerate(numerators))
    slack = 1e-12 * (1 + size)
    assert float(low) <= values.min() + slack and float(high) >= values.max() - slack
    assert float(low) >= values.min() - size * 2**-7 - slack and float(high) <= values.max() + size * 2**-7 + slack


@pytest.mark.parametrize(
    ("coefficients", "floor"),
    [
        ([1, 0, -1], 0),  # 1 - v^2
        ([2, 0, -2], 0),
        ([0, 0, 1], 0),
        ([0, 0, 4, 0, -8, 0, 4], 0),  # (2 v (1 - v^2))^2
        ([1, 0, -9, 0, 24, 0, -16], 0),  # 1 - T_3^2
        ([1, 0, -32, 0, 160, 0, -256, 0, 128], -1),  # T_8
    ],
)
def test_signs_are_sharp(coefficients, floor):
    """Zeros of the minimum are found to 2^-60 of the size."""
    low, _ = univariate_range([fmpq(c) for c in coefficients], arb(-1), arb(1))
    exact = 2.0**-60 * sum(map(abs, coefficients)) if floor == 0 else 2.0**-8 * sum(map(abs, coefficients))
    assert floor - exact <= low <= floor


def test_what_is_unknown_stays_unknown():
    names = Quantities()
    names.new(Quantity("free", arb.nan(), arb.nan()))
    for p in (Polynomial.of(0), Polynomial({(0, 0): fmpq(1)}), Polynomial({(0,): fmpq(1), (): fmpq(2)})):
        low, high = names.range(p)
        assert not low >= -1e300 and not high <= 1e300


def test_quantities_are_shared_by_kind_definition_and_range():
    names = Quantities()
    x = names.new(Quantity("input", arb(-2), arb(2)))
    of_x = (Polynomial.of(x),)
    one, same = (names.shared(Quantity("clip", arb(-1), arb(1), of_x)) for _ in range(2))
    half = names.shared(Quantity("clip", arb(-0.5), arb(0.5), of_x))
    relu = names.shared(Quantity("relu", arb(-1), arb(1), of_x))
    assert one == same and len({x, one, half, relu}) == 4


def test_kinds_below_look_into_definitions():
    names = Quantities()
    hidden = names.new(Quantity("free", arb(-1), arb(1)))
    relu = names.shared(Quantity("relu", arb(0), arb(1), (Polynomial.of(hidden),)))
    assert names.kinds(Polynomial.of(relu)) == {"relu"}
    assert names.kinds_below(Polynomial.of(relu)) == {"relu", "free"}


def test_large_rationals_can_be_shown():
    assert "e+" in repr(Polynomial({(): fmpq(10) ** 400 + fmpq(1, 3)})) or "inf" in repr(
        Polynomial({(): fmpq(10) ** 400})
    )
