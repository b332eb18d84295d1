"""Arrays of balls against exact fractions, and jets on many cells against the jets of one."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from flint import arb, ctx
from hypothesis import given, settings
from hypothesis import strategies as st

from construct.certificates.ball_jets import BallJets
from construct.certificates.ballarrays import Balls
from construct.certificates.jets import JetSpace
from construct.expressions import Expression, abs, cos, exp, sin, sqrt, tanh, variables

SEEDS = st.integers(0, 2**31)
Array = np.ndarray[Any, Any]


def random_balls(rng: np.random.Generator, *shape: int) -> Balls:
    """Sizes over many powers of two; some exact, some 0, some all but as wide as they are large."""
    middle = rng.normal(size=shape) * 2.0 ** rng.integers(-60, 60, shape) * (rng.random(shape) < 0.9)
    radius = np.abs(middle) * rng.choice([0.0, 2.0**-50, 0.9], shape)
    return Balls(middle, radius)


def inside(balls: Balls, rng: np.random.Generator) -> Array:
    """Numbers in the balls, as fractions."""
    share = rng.choice([-1, 0, 1], balls.shape)
    pairs = zip(balls.middle.ravel(), balls.radius.ravel(), share.ravel(), strict=True)
    return np.array([Fraction(float(m)) + int(s) * Fraction(float(r)) for m, r, s in pairs]).reshape(balls.shape)


def contains(balls: Balls, values: Array) -> bool:
    found = zip(balls.middle.ravel(), balls.radius.ravel(), np.asarray(values).ravel(), strict=True)
    return all(-Fraction(float(r)) <= v - Fraction(float(m)) <= Fraction(float(r)) for m, r, v in found)


@settings(max_examples=60)
@given(SEEDS)
def test_operations_contain_what_they_should(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, m, k = rng.integers(1, 5, 3)
    a, b, c = random_balls(rng, n, m), random_balls(rng, m, k), random_balls(rng, n, m)
    x, y, z = (inside(part, rng) for part in (a, b, c))
    assert contains(a + c, x + z) and contains(a - c, x - z) and contains(a * c, x * z) and contains(-a, -x)
    assert contains(a @ b, x @ y)
    product = a.series_product(c[: max(1, n - 1)])
    exact = [
        sum((x[i] * z[j - i] for i in range(j + 1) if i < n and j - i < max(1, n - 1)), 0 * x[0])
        for j in range(len(product.middle))
    ]
    assert contains(product, np.array(exact))
    low, high, size = a.low().ravel(), a.high().ravel(), a.size().ravel()
    for value, bottom, top, most in zip(x.ravel(), low, high, size, strict=True):
        assert Fraction(float(bottom)) <= value <= Fraction(float(top)) and -Fraction(float(most)) <= value <= Fraction(
            float(most)
        )


@settings(max_examples=40)
@given(SEEDS)
def test_balls_of_balls(seed: int) -> None:
    rng = np.random.default_rng(seed)
    with ctx.workprec(int(rng.integers(60, 200))):
        values = [
            arb(float(v)).exp() * arb(1, float(r)) for v, r in zip(rng.normal(size=6), rng.random(6), strict=True)
        ]
        found = Balls.of([*values, arb.nan()], (7,))
        assert not np.isfinite(found.radius[-1])
        for value, m, r in zip(values, found.middle, found.radius, strict=False):
            assert (value - float(m)).abs_upper() <= arb(float(r))


def test_what_overflows_is_no_bound() -> None:
    huge = Balls.exact(np.full((2, 2), 1e200))
    with np.errstate(all="ignore"):
        for found in (huge * huge, huge @ huge):
            assert not (found.size() < np.inf).any()


u, v = variables(2)
SMOOTH: dict[str, Expression] = {
    "waves": exp(u) * sin(3 * v) + cos(u * v),
    "quotient": (u - 2 * v) / (3 + u * v) + (2 + u) ** -3,
    "powers": (u + v) ** 4 - (u * v) ** 3 + (1.5 + u) ** 0.3 + (2 + v) ** 2.5,
    "roots": sqrt(2 + u) * tanh(u + 2 * v) + abs(3 + u) - abs(v - 3),
    "squares": sqrt(u * u + v * v + 1) + (u * u) ** 2,
    "constant": 0 * u + 0.1,
}


def cells(rng: np.random.Generator, count: int) -> tuple[Array, Array]:
    return rng.uniform(-1, 1, (count, 2)), 2.0 ** rng.integers(-7, -1, (count, 2)).astype(float)


def variables_on(space: JetSpace, middle: Array, half: Array, radius: Array) -> list[Balls]:
    out = []
    for i in range(2):
        jet = Balls.exact(np.zeros((len(middle), space.size)))
        jet.middle[:, 0], jet.radius[:, 0], jet.middle[:, 1 + i] = middle[:, i], radius[:, i], half[:, i]
        out.append(jet)
    return out


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize("wide", [False, True])
def test_jets_of_many_cells_are_those_of_one(name: str, wide: bool) -> None:
    """At centres both enclose the same number, and closely; over cells both enclose the jets at points of the cell."""
    rng, space = np.random.default_rng(3), JetSpace(2, 5)
    middle, half = cells(rng, 6)
    algebra = BallJets(space, variables_on(space, middle, half, half * wide), len(middle))
    found = SMOOTH[name].fold(algebra)
    assert not algebra.rough.any()
    with ctx.workprec(120):
        for n, (point, widths) in enumerate(zip(middle, half, strict=True)):
            for share in ([0.0, 0.0], [1.0, -1.0], rng.uniform(-1, 1, 2)) if wide else ([0.0, 0.0],):
                at = [
                    arb(float(p)) + arb(float(s)) * arb(float(h)) for p, s, h in zip(point, share, widths, strict=True)
                ]
                exact = SMOOTH[name].fold(space.over(space.coordinates(at)))
                for a, value, m, r in zip(space.indices, exact, found.middle[n], found.radius[n], strict=True):
                    value = value * arb(float(widths[0])) ** a[0] * arb(float(widths[1])) ** a[1]
                    assert (value - float(m)).abs_lower() <= arb(float(r)), (name, n, a)
                    assert wide or float(r) <= 1e-12 * (1 + np.abs(found.middle[n]).max())


@pytest.mark.parametrize("expression", [sqrt(abs(u)), abs(u - v), 1 / (u + v), abs(u) ** 0.5, (u * u) ** 1.5])
def test_what_is_not_smooth_is_rough(expression: Expression) -> None:
    """On the cell about 0, not on one far away."""
    space = JetSpace(2, 4)
    middle, half = np.array([[0.0, 0.0], [0.75, 0.25]]), np.full((2, 2), 0.125)
    algebra = BallJets(space, variables_on(space, middle, half, half), 2)
    with np.errstate(all="ignore"):
        expression.fold(algebra)
    assert algebra.rough.tolist() == [True, False]
