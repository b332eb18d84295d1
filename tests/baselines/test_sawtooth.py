"""Sawtooth squares and products: interpolation, one-sided and two-sided errors, zeros, the box."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from construct.baselines.relu import sawtooth
from construct.errors import InputError

KINDS = pytest.mark.parametrize("kind", ["yarotsky", "polar"])
UNIT = st.floats(-1, 1)


def run(layers, *x):
    """A ReLU network at one point, from its dense matrices."""
    values = np.array(x, dtype=np.float64)
    for number, (weight, bias) in enumerate(layers):
        values = weight.toarray() @ (np.maximum(values, 0) if number else values) + bias
    return values


def value(function, *numbers):
    """An elementwise function at numbers."""
    found = function(*(torch.tensor(x, dtype=torch.float64) if isinstance(x, float) else x for x in numbers))
    return float(found)


@settings(max_examples=60)
@given(st.integers(1, 12), st.floats(0, 1))
def test_the_square_interpolates(m, x):
    knots = np.arange(2**m + 1) / 2**m
    want = float(np.interp(x, knots, knots**2))
    assert run(sawtooth.square_layers(m), x)[0] == pytest.approx(want, abs=1e-14)
    assert value(sawtooth.square_value, x, m) == pytest.approx(want, abs=1e-14)


@settings(max_examples=30)
@given(st.integers(1, 26), UNIT, UNIT, st.floats(0.1, 10))
def test_signed_squares_overestimate_by_at_most_their_bound(m, s, t, bound):
    bounds = np.array([bound, 2 * bound])
    u = bounds * [s, t]
    error = run(sawtooth.signed_squares(m, bounds), *u) - u**2
    assert (error >= -1e-13 * bounds**2).all()
    assert (error <= bounds**2 * (4.0**-m / 4 + 1e-13)).all()
    fast = sawtooth.signed_square_value(torch.tensor(u), m, torch.tensor(bounds)).numpy()
    assert np.allclose(fast - u**2, error, rtol=0, atol=1e-13 * bound**2)


@KINDS
@settings(max_examples=30)
@given(st.integers(1, 26), UNIT, UNIT, st.floats(0.1, 10))
def test_products(kind, m, s, t, bound):
    x, y = bound * s, bound * t
    found = run(sawtooth.product_layers(m, bound, kind), x, y)[0]
    fast = value(lambda a, b: sawtooth.product_value(a, b, m, bound, kind), x, y)
    error, rounding = found - x * y, 1e-13 * bound**2
    assert fast == pytest.approx(found, abs=rounding)
    limit = sawtooth.product_error(m, bound, kind)
    assert -limit - rounding <= error <= (rounding if kind == "yarotsky" else limit + rounding)
    assert abs(found) <= bound**2 + rounding  # affine on triangles whose corners are exact: stays in the box


@KINDS
@settings(max_examples=10)
@given(st.integers(1, 26), UNIT)
def test_a_zero_factor_gives_zero(kind, m, x):
    """Exactly in exact arithmetic (see proofs_as_code) and elementwise; a matrix product may sum in another order."""
    for pair in ((x, 0.0), (0.0, x)):
        assert abs(run(sawtooth.product_layers(m, 1.0, kind), *pair)[0]) <= 1e-15
        assert value(lambda a, b: sawtooth.product_value(a, b, m, 1.0, kind), *pair) == 0.0


@KINDS
@pytest.mark.parametrize("m", [1, 2, 5, 10])
def test_the_bounds_are_attained(kind, m):
    x = 2.0**-m / (1 if kind == "yarotsky" else 2)
    error = abs(run(sawtooth.product_layers(m, 1.0, kind), x, x)[0] - x * x)
    assert error == pytest.approx(sawtooth.product_error(m, 1.0, kind), rel=1e-9)


def test_sizes():
    assert [w.shape[0] for w, _ in sawtooth.square_layers(5)] == [3] * 5 + [1]
    assert [w.shape[0] for w, _ in sawtooth.product_layers(5, 1.0)] == [6] + [9] * 5 + [1]
    assert [w.shape[0] for w, _ in sawtooth.product_layers(5, 1.0, "polar")] == [4] + [6] * 5 + [1]


def test_bad_arguments_are_refused():
    for m in (0, 27):
        with pytest.raises(InputError, match="compositions"):
            sawtooth.square_layers(m)
    with pytest.raises(InputError, match="bound"):
        sawtooth.product_layers(3, 0.0)
