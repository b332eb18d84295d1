"""Intervals of values and derivatives on many boxes contain what sampling and automatic differentiation find."""

from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from flint import arb, ctx
from hypothesis import given, settings
from hypothesis import strategies as st

from construct.expressions import Expression, abs, cos, exp, sin, sqrt, tanh, variables
from construct.expressions.intervals import Range, combined, on_boxes, parameters
from proofs_as_code.verifier.expressions import steps_of
from proofs_as_code.verifier.jets import Jets

x, y = variables(2)
EXPRESSIONS = [
    x * y,
    x**2 - 3 * y**3,
    exp(x) * sin(3 * y),
    cos(5 * x + y),
    1 / (2 + x),
    1 / (x**2 + 0.1),
    tanh(4 * x * y),
    abs(x) + abs(x - y) ** 3,
    sqrt(x**2 + y**2 + 0.01),
    (x**2 + 1) ** 0.25,
    (x - y) / (3 + x * y),
    (2 + x) ** -2,
    sqrt(abs(x)),
]


@pytest.mark.parametrize("f", EXPRESSIONS, ids=repr)
def test_ranges_contain_samples(f: Expression) -> None:
    generator = np.random.default_rng(0)
    lower = generator.uniform(-1, 0.9, (200, 2))
    upper = lower + generator.uniform(0, 0.5, (200, 2))
    found = on_boxes(f.program.run, parameters(lower, upper))[0]
    inside = torch.from_numpy(lower + (upper - lower) * generator.uniform(0, 1, (50, 200, 2))).requires_grad_()
    values = f(inside)
    (slopes,) = torch.autograd.grad(values.sum(), inside)
    seen, steep = values.detach().numpy(), slopes.numpy()
    assert (seen >= found.lower - 1e-12).all() and (seen <= found.upper + 1e-12).all()  # rounding of the samples
    assert (steep >= found.down.T - 1e-9).all() and (steep <= found.up.T + 1e-9).all()
    assert np.isfinite(found.upper).all()


def test_ranges_of_points_are_the_values() -> None:
    at = np.random.default_rng(1).uniform(0.1, 1, (20, 2))
    for f in EXPRESSIONS:
        found = on_boxes(f.program.run, parameters(at, at))[0]
        np.testing.assert_allclose(found.lower, f(at), rtol=1e-12)
        np.testing.assert_allclose(found.upper, f(at), rtol=1e-12)


def test_linear_combinations() -> None:
    lower, upper = np.array([[-1.0, 2.0]]), np.array([[1.0, 5.0]])
    (found,) = combined(np.array([[2.0, -1.0]]), np.array([0.5]), parameters(lower, upper))
    assert found.lower[0] == pytest.approx(-6.5, rel=1e-14) and found.lower[0] <= -6.5
    assert found.upper[0] == pytest.approx(0.5, rel=1e-13) and found.upper[0] >= 0.5
    for slopes in (found.down, found.up):
        np.testing.assert_allclose(slopes[:, 0], [2.0, -1.0], rtol=1e-14)
    assert (found.down[:, 0] <= [2.0, -1.0]).all() and (found.up[:, 0] >= [2.0, -1.0]).all()


def test_linear_combinations_contain_exact_ones() -> None:
    """Sums that cancel, in rational arithmetic."""
    generator = np.random.default_rng(5)
    weights, shift = generator.normal(size=(40, 6)), generator.normal(size=40)
    weights[:, 3:], at = -weights[:, :3], generator.normal(size=(50, 6)) * 1e8
    at[:, 3:] = at[:, :3]
    found = combined(weights, shift, parameters(at, at))
    for row, t, one in zip(weights, shift, found, strict=True):
        for n, point in enumerate(at):
            terms = (Fraction(a) * Fraction(b) for a, b in zip(row.tolist(), point.tolist(), strict=True))
            exact = sum(terms, Fraction(float(t)))
            assert Fraction(one.lower[n]) <= exact <= Fraction(one.upper[n])


def test_what_is_not_known_is_infinite() -> None:
    lower, upper = np.array([[-1.0, 0.0]]), np.array([[1.0, 1.0]])
    pole = on_boxes((1 / x).program.run, parameters(lower, upper))[0]
    assert pole.upper[0] == np.inf and pole.lower[0] == -np.inf
    root = on_boxes(sqrt(abs(x)).program.run, parameters(lower, upper))[0]
    assert 1.0 <= root.upper[0] <= 1.0 + 1e-14 and root.up[0, 0] == np.inf


# -- enclosures: what another arithmetic finds with 200 bits, by the verifier's Taylor coefficients, lies inside -------


def trees() -> st.SearchStrategy[Expression]:
    numbers = st.one_of(st.integers(-3, 3), st.floats(-3, 3, allow_nan=False), st.sampled_from([1e-9, 1e6, 2**60 + 1]))
    leaves = st.one_of(st.sampled_from([x, y]), numbers.map(lambda c: x * 0 + c), numbers.map(lambda c: c * y))
    powers = st.sampled_from([2, 3, 5, -1, -2, -3, 0.5, 1.5, -0.5, 0.3])

    def larger(below: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
        return st.one_of(
            st.tuples(st.sampled_from([exp, sin, cos, sqrt, tanh, abs]), below).map(lambda p: p[0](p[1])),
            st.tuples(below, below).map(lambda p: p[0] + p[1]),
            st.tuples(below, below).map(lambda p: p[0] * p[1]),
            st.tuples(below, below).map(lambda p: p[0] / p[1]),
            st.tuples(below, powers).map(lambda p: p[0] ** p[1]),
        )

    return st.recursive(leaves, larger, max_leaves=6)


def outside(found: Range, n: int, jet: list[arb]) -> list[Any]:
    """The value and derivatives that are certainly not in the n-th enclosure; NaN is no number that could be in one."""
    ends = [(found.lower[n], found.upper[n]), *((found.down[i, n], found.up[i, n]) for i in range(len(found.down)))]
    pairs = zip(jet, ends, strict=False)
    return [(v, low, high) for v, (low, high) in pairs if v.is_finite() and (v < arb(low) or v > arb(high))]


def check_enclosures(f: Expression, lower: np.ndarray, upper: np.ndarray, shares: list[float]) -> int:
    """Points of every box, its corners among them; how many values were compared."""
    found = on_boxes(f.program.run, parameters(lower, upper))[0]
    assert not any(np.isnan(part).any() for part in found)
    steps, jets, compared = steps_of(f.to_json(), "f", 2), Jets(2, 1), 0
    with ctx.workprec(200):
        for n, share in product(range(len(lower)), product(shares, repeat=2)):
            point = np.minimum(lower[n] + (upper[n] - lower[n]) * np.array(share), upper[n])
            at = {i: [arb(v), *(arb(i == k) for k in range(2))] for i, v in enumerate(point.tolist())}
            jet = jets.run(steps, at)
            assert not outside(found, n, jet), (f, lower[n], upper[n], point)
            compared += sum(v.is_finite() for v in jet)
    return compared


@settings(max_examples=300, deadline=None)
@given(trees(), st.integers(0, 2**32), st.sampled_from([0.0, 1e-15, 1e-6, 0.1, 2.0]), st.sampled_from([1.0, 20.0, 1e5]))
def test_ranges_are_enclosures(f: Expression, seed: int, width: float, size: float) -> None:
    generator = np.random.default_rng(seed)
    lower = generator.uniform(-size, size, (4, 2))
    lower[0] = np.round(lower[0])
    upper = lower + width * generator.uniform(0, 1, (4, 2))
    check_enclosures(f, lower, upper, [0.0, float(generator.uniform()), 1.0])


@pytest.mark.parametrize("f", [*EXPRESSIONS, exp(300 * x) * exp(300 * y), sin(1e9 * x), x**0.3 * y**-1.7], ids=repr)
def test_ranges_of_points_are_enclosures(f: Expression) -> None:
    """Boxes that are points: without rounding outwards about every second value is missed."""
    at = np.random.default_rng(2).uniform(-1, 1, (60, 2))
    at = np.abs(at) if f is (x**0.3 * y**-1.7) else at
    assert check_enclosures(f, at, at, [0.0]) >= 60
