"""The blended approximator against a loop over charts and points."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from construct import targets
from construct.atlas import Atlas, atlas_for
from construct.errors import InputError
from construct.local import (
    ErrorBound,
    LocalSpace,
    PiecewiseApproximator,
    PolynomialSpace,
    SplineSpace,
    fit_charts,
)
from construct.manifolds import Circle, Cube, Helix, Manifold, Sphere, Torus

EXP_SIN = targets.target("exp_sin")


def random_approximator(atlas: Atlas, space: LocalSpace, seed: int = 0) -> PiecewiseApproximator:
    generator = torch.Generator().manual_seed(seed)
    return PiecewiseApproximator(
        atlas, space, torch.randn(atlas.count, space.count, dtype=torch.float64, generator=generator)
    )


def naive(found: PiecewiseApproximator, x: Tensor) -> float:
    """T(x) at one point, from section 6 of the theory."""
    atlas = found.atlas
    inner, outer = atlas.core_radius**2, atlas.radius**2
    total, value = 0.0, 0.0
    for n in range(atlas.count):
        offset = x - atlas.centres[n]
        w = max(0.0, (outer - float(offset @ offset)) / (outer - inner))
        rho = min(1.0, total + w) - min(1.0, total)
        total += w
        z = (atlas.frames[n].T @ offset / atlas.scale).clamp(-1.0, 1.0)
        value += rho * float(found.space.evaluate(z) @ found.coefficients[n])
    return value


CASES: list[tuple[Manifold, int, LocalSpace]] = [
    (Circle(), 8, PolynomialSpace(1, 5)),
    (Circle(), 200, SplineSpace(1, 3)),
    (Sphere(2), 12, PolynomialSpace(2, 4)),
    (Sphere(2), 162, PolynomialSpace(2, 2)),
    (Sphere(2, ambient=9), 6, SplineSpace(2, 3)),
    (Sphere(3), 8, PolynomialSpace(3, 3)),
    (Torus(), 150, PolynomialSpace(2, 1)),
    (Cube(3), 1, PolynomialSpace(3, 2)),
]


@pytest.mark.parametrize(("manifold", "charts", "space"), CASES)
def test_value_is_the_naive_sum(manifold: Manifold, charts: int, space: LocalSpace) -> None:
    found = random_approximator(atlas_for(manifold, charts=charts), space)
    x = torch.cat((manifold.sample(15, seed=1), 1.03 * manifold.sample(5, seed=2)))
    expected = torch.tensor([naive(found, point) for point in x], dtype=torch.float64)
    torch.testing.assert_close(found(x), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("charts", [42, 362])
def test_dense_and_sparse_ways_agree(charts: int, monkeypatch: pytest.MonkeyPatch) -> None:
    found = random_approximator(atlas_for(Sphere(2), charts=charts), PolynomialSpace(2, 2))
    x = torch.cat((Sphere(2).sample(3000, seed=3), 5 * Sphere(2).sample(10, seed=4)))
    monkeypatch.setattr("construct.local.piecewise.DENSE_CHARTS", 0)
    sparse = found(x)
    monkeypatch.setattr("construct.local.piecewise.DENSE_CHARTS", 10**6)
    monkeypatch.setattr("construct.local.piecewise.CHUNK_ENTRIES", 2**17)
    torch.testing.assert_close(found(x), sparse, rtol=0, atol=1e-11)
    assert float(sparse[-10:].abs().max()) == 0.0  # outside of all balls


def test_equal_constants_blend_to_the_constant() -> None:
    atlas = atlas_for(Helix(), charts=20)
    found = PiecewiseApproximator(atlas, PolynomialSpace(1, 0), torch.full((20, 1), math.pi, dtype=torch.float64))
    x = Helix().sample(5000, seed=5)
    assert float((found(x) - math.pi).abs().max()) < 1e-12


def test_polynomials_on_the_cube_are_exact() -> None:
    def polynomial(x: Tensor) -> Tensor:
        return 1 + x[..., 0] ** 3 - 2 * x[..., 0] * x[..., 1] + x[..., 1] ** 2

    for charts in (1, 9):
        found = fit_charts(polynomial, atlas_for(Cube(2), charts=charts), PolynomialSpace(2, 3))
        x = Cube(2).sample(4000, seed=6)
        assert float((found(x) - polynomial(x)).abs().max()) < 1e-11


def test_error_is_at_most_the_largest_local_error() -> None:
    """|T - f| <= max over charts that hold x of |P_n - f|: the blend is convex."""
    atlas = atlas_for(Sphere(2), charts=12, ratio=1.3)
    found = fit_charts(EXP_SIN, atlas, PolynomialSpace(2, 4))
    x = Sphere(2).sample(2000, seed=7)
    z = atlas.chart_coordinates(x).clamp(-1, 1)
    local = torch.stack([found.space.combine(z[:, n], found.coefficients[n]) for n in range(12)], -1)
    inside = atlas.squared_distance(x) < atlas.radius**2
    worst = ((local - EXP_SIN(x).unsqueeze(-1)).abs() * inside).amax(-1)
    assert bool(((found(x) - EXP_SIN(x)).abs() <= worst + 1e-12).all())


def test_bound_and_repr() -> None:
    atlas = atlas_for(Sphere(2), charts=12)
    found = fit_charts(EXP_SIN, atlas, PolynomialSpace(2, 4))
    assert isinstance(found.error_bound, ErrorBound) and found.error_bound.kind == "measured"
    assert float(found.error_bound) == float(found.residual.max()) if found.residual is not None else False
    assert "coefficients=180" in repr(found) and "(measured)" in repr(found)
    assert random_approximator(atlas, PolynomialSpace(2, 1)).error_bound == math.inf
    assert found(torch.zeros(0, 3, dtype=torch.float64)).shape == (0,)


def test_guards() -> None:
    atlas, space = atlas_for(Sphere(2), charts=12), PolynomialSpace(2, 2)
    with pytest.raises(
        InputError, match=r"coefficients: expected a tensor of shape \(12, 6\), got a tensor of shape \(12, 5\)"
    ):
        PiecewiseApproximator(atlas, space, torch.zeros(12, 5, dtype=torch.float64))
    with pytest.raises(InputError, match="coefficients: expected finite"):
        PiecewiseApproximator(atlas, space, torch.full((12, 6), math.nan, dtype=torch.float64))
    with pytest.raises(InputError, match="space: expected the dimension 2"):
        PiecewiseApproximator(atlas, PolynomialSpace(1, 5), torch.zeros(12, 6, dtype=torch.float64))
    found = random_approximator(atlas, space)
    with pytest.raises(InputError, match="x: expected a float64 tensor of shape"):
        found(torch.zeros(5, 3))
    with pytest.raises(InputError, match="x: expected a float64 tensor of shape"):
        found(torch.zeros(5, 2, dtype=torch.float64))
