"""Local spaces against naive formulas."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import RegularGridInterpolator

from construct.errors import InputError
from construct.local import LocalSpace, PolynomialSpace, SplineSpace, multi_indices, space_from_spec

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


@pytest.mark.parametrize("space", SPACES, ids=repr)
def test_size_text_and_spec(space: LocalSpace) -> None:
    polynomial = isinstance(space, PolynomialSpace)
    assert space.size == (space.degree if polynomial else space.cells)
    assert space.text == (f"degree {space.degree}" if polynomial else f"{space.cells} cells")
    assert (space.cells if polynomial else space.degree) == 1
    larger = space.with_size(space.size + 1)
    assert type(larger) is type(space) and larger.dim == space.dim and larger.size == space.size + 1
    spec = json.loads(json.dumps(space.spec()))
    again = space_from_spec(spec)
    assert type(again) is type(space) and again.spec() == spec and repr(again) == repr(space)


def test_specs_are_checked() -> None:
    for spec in (None, {}, {"name": "spline", "dim": 1}, {"name": "spline", "dim": 1, "size": 2, "cells": 2}):
        with pytest.raises(InputError, match="spec: expected a dictionary with 'name', 'dim' and 'size'"):
            space_from_spec(spec)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"name: expected one of \('polynomial', 'spline'\), got 'wavelet'"):
        space_from_spec({"name": "wavelet", "dim": 1, "size": 2})
    with pytest.raises(InputError, match="cells: expected an integer >= 1, got 0"):
        space_from_spec({"name": "spline", "dim": 1, "size": 0})


def test_trimming_drops_what_the_tolerance_allows() -> None:
    space = PolynomialSpace(1, 3)
    coefficients = torch.tensor([[1.0, -0.25, 0.5, 0.125], [0.0, 2.0, -0.0625, 0.5]], dtype=torch.float64)
    assert space.trimmed(coefficients, 0.375).tolist() == [[1.0, 0.0, 0.5, 0.0], [0.0, 2.0, 0.0, 0.5]]
    assert torch.equal(space.trimmed(coefficients, 0.0), coefficients)
    assert int(space.trimmed(coefficients, 9.0).count_nonzero()) == 0
    z = points(1, 2, 50)
    off = space.combine(z, space.trimmed(coefficients, 0.375)) - space.combine(z, coefficients)
    assert float(off.abs().max()) <= 0.375
    splines = SplineSpace(1, 3)
    assert splines.trimmed(coefficients, 9.0) is coefficients


@pytest.mark.parametrize("space", SPACES, ids=repr)
def test_nodes_of_a_space(space: LocalSpace) -> None:
    for edge in (False, True):
        polar, grid = space.ball_nodes(1.0, edge=edge)
        assert polar.shape[1] == grid.shape[1] == space.dim
        assert len(polar) + len(grid) > space.count
        length = polar.norm(dim=-1)
        assert float(length.max()) <= 1 + 1e-12 and float(length.max()) > 1 - 1e-12
        assert len(grid) == 0 or float(grid.abs().max()) == 1.0
    cube = space.cube_nodes(1.0)
    assert cube.shape[1] == space.dim and float(cube.abs().max()) == 1.0 and len(cube) > space.count
