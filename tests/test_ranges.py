"""Intervals of values and derivatives on many boxes contain what sampling and automatic differentiation find."""

import numpy as np
import pytest
import torch

from construct.expressions import Expression, abs, cos, exp, sin, sqrt, tanh, variables
from construct.expressions.intervals import combined, on_boxes, parameters

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
    assert (seen >= found.lower - 1e-12).all() and (seen <= found.upper + 1e-12).all()
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
    assert (found.lower[0], found.upper[0]) == (-6.5, 0.5)
    assert found.down[:, 0].tolist() == [2.0, -1.0] == found.up[:, 0].tolist()


def test_what_is_not_known_is_infinite() -> None:
    lower, upper = np.array([[-1.0, 0.0]]), np.array([[1.0, 1.0]])
    pole = on_boxes((1 / x).program.run, parameters(lower, upper))[0]
    assert pole.upper[0] == np.inf and pole.lower[0] == -np.inf
    root = on_boxes(sqrt(abs(x)).program.run, parameters(lower, upper))[0]
    assert root.upper[0] == 1.0 and root.up[0, 0] == np.inf
