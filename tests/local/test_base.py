"""The constant beyond all balls, and nodes of charts with radii of their own."""

from __future__ import annotations

import math

import pytest
import torch

from construct.atlas import Atlas
from construct.errors import InputError
from construct.local import (
    PiecewiseApproximator,
    PolynomialSpace,
    SplineSpace,
    fit_charts,
    fitting_nodes,
    least_square_fit,
)
from construct.manifolds import Circle, Cube, Manifold, Sphere

SPACES = [PolynomialSpace(1, 3), PolynomialSpace(2, 2), SplineSpace(1, 4), SplineSpace(2, 3)]


def atlas_of(manifold: Manifold, radii: list[float], seed: int = 3) -> Atlas:
    sizes = torch.tensor(radii, dtype=torch.float64)
    return Atlas.of_balls(manifold, manifold.sample(len(radii), seed), 0.95 * sizes, sizes)


@pytest.mark.parametrize("space", SPACES, ids=repr)
def test_constants(space: PolynomialSpace | SplineSpace) -> None:
    z = 2 * torch.rand(50, space.dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 1
    found = space.combine(z, space.constant(-2.5))
    torch.testing.assert_close(found, torch.full((50,), -2.5, dtype=torch.float64), rtol=0, atol=1e-14)


@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize("manifold", [Circle(), Sphere(2, ambient=5)], ids=lambda m: m.name)
def test_the_base_takes_the_rest_of_the_partition(
    manifold: Manifold, dense: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("construct.local.piecewise.DENSE_CHARTS", 10**6 if dense else 0)
    atlas = atlas_of(manifold, [0.05, 0.3, 0.7])
    space = PolynomialSpace(manifold.dim, 2)
    coefficients = torch.randn(3, space.count, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x = torch.cat([manifold.sample(400, 7), 3 * manifold.sample(5, 8)])
    rho = atlas.partition(x)
    each = (space.evaluate(atlas.chart_coordinates(x).clamp(-1, 1)) * coefficients).sum(-1)
    expected = (rho * each).sum(-1) + 0.7 * (1 - rho.sum(-1))
    assert 0.1 < float((rho.sum(-1) < 0.5).double().mean()) < 0.9
    torch.testing.assert_close(
        PiecewiseApproximator(atlas, space, coefficients, base=0.7)(x), expected, rtol=0, atol=1e-12
    )


def test_a_base_is_finite() -> None:
    atlas, space = atlas_of(Circle(), [0.5]), PolynomialSpace(1, 0)
    for base in (math.nan, math.inf):
        with pytest.raises(InputError, match=r"^base: expected a finite number, got (nan|inf)"):
            PiecewiseApproximator(atlas, space, torch.zeros(1, 1, dtype=torch.float64), base=base)


@pytest.mark.parametrize("space", [PolynomialSpace(2, 4), SplineSpace(2, 3)], ids=repr)
@pytest.mark.parametrize("manifold", [Sphere(2), Cube(2)], ids=lambda m: m.name)
def test_nodes_of_charts_are_those_of_each_alone(manifold: Manifold, space: PolynomialSpace | SplineSpace) -> None:
    radii = [0.02, 0.4, 1.1]
    atlas = atlas_of(manifold, radii)
    nodes = fitting_nodes(atlas, space)
    for n, radius in enumerate(radii):
        sizes = torch.tensor([radius], dtype=torch.float64)
        alone = fitting_nodes(Atlas.of_balls(manifold, atlas.centres[n : n + 1], 0.95 * sizes, sizes), space)
        assert torch.equal(nodes.x[n][nodes.mask[n]], alone.x[0][alone.mask[0]])
        assert torch.equal(nodes.z[n][nodes.mask[n]], alone.z[0][alone.mask[0]])
        distance = (nodes.x[n][nodes.mask[n]] - atlas.centres[n]).norm(dim=-1)
        assert float(distance.max()) <= radius * (1 + 1e-8) and bool(manifold.contains(nodes.x[n][nodes.mask[n]]).all())


def test_charts_of_several_radii_are_fitted() -> None:
    """The residuals on the nodes bound the error where only one chart is, and a quadratic is met exactly."""
    cube = Cube(2)
    atlas = atlas_of(cube, [0.1, 0.5, 3.0])
    found = fit_charts(lambda x: x[..., 0] ** 2 - x[..., 1], atlas, PolynomialSpace(2, 2))
    x = cube.sample(500, 1)
    assert float((found(x) - x[:, 0] ** 2 + x[:, 1]).abs().max()) < 1e-8


def test_the_least_square_fit_of_one_chart() -> None:
    space = PolynomialSpace(1, 3)
    z = torch.linspace(-1, 1, 40, dtype=torch.float64).unsqueeze(-1)
    values = (2 * z[:, 0]).exp()
    coefficients, residual = least_square_fit(space, z, values)
    solved = torch.linalg.lstsq(space.evaluate(z), values.unsqueeze(-1)).solution[:, 0]
    torch.testing.assert_close(coefficients, solved, rtol=0, atol=1e-10)
    torch.testing.assert_close(residual, (values - space.evaluate(z) @ solved).abs(), rtol=0, atol=1e-10)
