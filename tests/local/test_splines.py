"""Spline fits: order two, coefficients of the data's size, rough targets."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import lsqr

from construct import targets
from construct.atlas import atlas_for
from construct.local import SplineSpace, fit, fit_charts, fitting_nodes, node_values
from construct.local.splines import shepard
from construct.manifolds import Circle, Cube, Manifold, MoebiusStrip, Sphere

EXP_SIN = targets.target("exp_sin")


@pytest.mark.parametrize(
    ("manifold", "charts"), [(Circle(), 4), (Sphere(2), 6), (Sphere(3), 8), (MoebiusStrip(), 8), (Cube(2), 1)]
)
def test_coefficients_stay_of_the_size_of_the_data(manifold: Manifold, charts: int) -> None:
    atlas = atlas_for(manifold, charts=charts)
    for cells in (1, 4, 7):
        found = fit_charts(EXP_SIN, atlas, SplineSpace(manifold.dim, cells))
        size = float(EXP_SIN(manifold.sample(2000, seed=0)).abs().max())
        assert bool(torch.isfinite(found.coefficients).all())
        assert float(found.coefficients.abs().max()) < 5 * size


@pytest.mark.parametrize("dim", [1, 2])
def test_least_squares_is_that_of_scipy(dim: int) -> None:
    atlas = atlas_for(Cube(dim))
    space = SplineSpace(dim, 6)
    nodes = fitting_nodes(atlas, space)
    values = node_values(EXP_SIN, nodes)
    found = fit(space, nodes.z, values, nodes.mask, lawson=0)
    oracle = lsqr(space.evaluate(nodes.z[0]).numpy(), values[0].numpy(), atol=1e-14, btol=1e-14)[0]
    np.testing.assert_allclose(found.coefficients[0].numpy(), oracle, atol=1e-7)


def test_splines_are_reproduced() -> None:
    for dim, cells in ((1, 9), (2, 4), (3, 2)):
        space = SplineSpace(dim, cells)
        nodes = fitting_nodes(atlas_for(Cube(dim)), space)
        wanted = torch.randn(1, space.count, dtype=torch.float64, generator=torch.Generator().manual_seed(dim))
        found = fit(space, nodes.z, space.combine(nodes.z, wanted), nodes.mask)
        torch.testing.assert_close(found.coefficients, wanted, rtol=0, atol=1e-7)


def test_lawson_helps_splines() -> None:
    """For a constant f'' least squares has 4/3 of the best sup error h^2/16 |f''|, h the length of a cell."""
    space = SplineSpace(1, 16)
    z = torch.linspace(-1, 1, 16 * 16 + 1, dtype=torch.float64).reshape(1, -1, 1)
    f, mask = z.squeeze(-1) ** 2, torch.ones(1, z.shape[1], dtype=torch.bool)
    best = (2 / 16) ** 2 / 16 * 2
    assert fit(space, z, f, mask, lawson=0).sup > 1.25 * best
    assert best * (1 - 1e-9) <= fit(space, z, f, mask).sup < 1.08 * best


@pytest.mark.rate
@pytest.mark.parametrize(("manifold", "charts"), [(Circle(), 4), (Sphere(2), 12), (Cube(2), 1)])
def test_order_two(manifold: Manifold, charts: int) -> None:
    atlas = atlas_for(manifold, charts=charts)
    cells = [8, 16, 32] if manifold.dim == 2 else [16, 64, 256]
    x = manifold.sample(30_000, seed=4)
    errors = []
    for N in cells:
        found = fit_charts(EXP_SIN, atlas, SplineSpace(manifold.dim, N))
        errors.append(float((found(x) - EXP_SIN(x)).abs().max()))
        assert errors[-1] <= 1.3 * found.error_bound
    slope = np.polyfit(np.log(cells), np.log(errors), 1)[0]
    assert -2.2 < slope < -1.75


def test_rough_targets() -> None:
    """|x - p|^(1/2) has order 1/2 on uniform cells; the bound must hold its promise nevertheless."""
    root = targets.target("root")
    atlas = atlas_for(Circle(), charts=4)
    bounds = [float(fit_charts(root, atlas, SplineSpace(1, N)).error_bound) for N in (16, 64, 256)]
    assert bounds[0] > 1.5 * bounds[1] > 2.25 * bounds[2]


def test_empty_nodes_take_the_mean_of_their_neighbours() -> None:
    space = SplineSpace(2, 2)
    weight = torch.zeros(1, 9, dtype=torch.float64)
    weight[0, 4] = 2.0
    assert torch.equal(shepard(space, 3.0 * weight, weight), torch.full((1, 9), 3.0, dtype=torch.float64))
    weight[0, 0] = 1.0
    found = shepard(space, torch.tensor([[1.0, 0, 0, 0, 6.0, 0, 0, 0, 0]], dtype=torch.float64), weight)
    assert found[0].tolist() == [1.0, 2.0, 2.5, 2.0, 3.0, 3.0, 2.5, 3.0, 3.0]
