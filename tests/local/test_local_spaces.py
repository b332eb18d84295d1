"""Local spaces against naive formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import RegularGridInterpolator

from construct.errors import InputError
from construct.local import LocalSpace, PolynomialSpace, SplineSpace, multi_indices

SPACES: list[LocalSpace] = [
    PolynomialSpace(1, 0),
    PolynomialSpace(1, 9),
    PolynomialSpace(2, 5),
    PolynomialSpace(3, 4),
    SplineSpace(1, 7),
    SplineSpace(2, 3),
    SplineSpace(3, 2),
]


def points(dim: int, *shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.rand(*shape, dim, dtype=torch.float64, generator=generator) - 1


@given(st.integers(1, 5), st.integers(0, 7))
def test_multi_indices(dim: int, degree: int) -> None:
    rows = [tuple(row) for row in multi_indices(dim, degree).tolist()]
    assert len(rows) == len(set(rows)) == math.comb(dim + degree, dim)
    assert all(len(row) == dim and min(row) >= 0 and sum(row) <= degree for row in rows)
    assert rows == sorted(rows, key=lambda row: (sum(row), row))
    if degree:
        lower = [tuple(row) for row in multi_indices(dim, degree - 1).tolist()]
        assert rows[: len(lower)] == lower


@pytest.mark.parametrize("space", [s for s in SPACES if isinstance(s, PolynomialSpace)], ids=repr)
def test_chebyshev_products(space: PolynomialSpace) -> None:
    z = points(space.dim, 40)
    angle = np.arccos(z.numpy())
    expected = np.stack([np.prod(np.cos(k * angle), -1) for k in space.indices.numpy()], -1)
    np.testing.assert_allclose(space.evaluate(z).numpy(), expected, atol=1e-13)


@pytest.mark.parametrize("space", [s for s in SPACES if isinstance(s, SplineSpace)], ids=repr)
def test_hat_products(space: SplineSpace) -> None:
    z = points(space.dim, 40)
    u = (z.numpy()[:, None, :] + 1) / 2 * space.cells - space.indices.numpy()
    expected = np.prod(np.maximum(0.0, 1 - np.abs(u)), -1)
    np.testing.assert_allclose(space.evaluate(z).numpy(), expected, atol=1e-13)
    np.testing.assert_allclose(expected.sum(-1), 1.0, atol=1e-13)


@pytest.mark.parametrize("space", [s for s in SPACES if isinstance(s, SplineSpace)], ids=repr)
def test_splines_interpolate_their_coefficients(space: SplineSpace) -> None:
    coefficients = points(1, space.count, seed=3).squeeze(-1)
    knots = space.knots[space.indices]
    torch.testing.assert_close(space.combine(knots, coefficients), coefficients, rtol=0, atol=1e-14)
    grid = coefficients.reshape(*[space.cells + 1] * space.dim).numpy()
    oracle = RegularGridInterpolator([space.knots.numpy()] * space.dim, grid)
    z = points(space.dim, 50, seed=4)
    np.testing.assert_allclose(space.combine(z, coefficients).numpy(), oracle(z.numpy()), atol=1e-13)
    torch.testing.assert_close(  # constant beyond the cube
        space.combine(3 * torch.ones(1, space.dim, dtype=torch.float64), coefficients), coefficients[-1:]
    )


@pytest.mark.parametrize("space", SPACES, ids=repr)
def test_combine_is_evaluate_times_coefficients(space: LocalSpace) -> None:
    z = points(space.dim, 3, 11)
    coefficients = points(1, 3, space.count, seed=5).squeeze(-1)
    expected = (space.evaluate(z) * coefficients.unsqueeze(1)).sum(-1)
    torch.testing.assert_close(space.combine(z, coefficients), expected, rtol=0, atol=1e-13)
    torch.testing.assert_close(space.combine(z[1], coefficients[1]), expected[1], rtol=0, atol=1e-13)


def test_guards() -> None:
    with pytest.raises(InputError, match="dim: expected an integer >= 1, got 0"):
        PolynomialSpace(0, 3)
    with pytest.raises(InputError, match="degree: expected an integer >= 0, got -1"):
        PolynomialSpace(2, -1)
    with pytest.raises(InputError, match="cells: expected an integer"):
        SplineSpace(2, 0)
    with pytest.raises(InputError, match=r"z: expected a tensor of shape \(\.\.\., 2\)"):
        PolynomialSpace(2, 2).evaluate(torch.zeros(4, 3))
