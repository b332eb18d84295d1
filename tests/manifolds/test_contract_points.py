"""The contract of every manifold: nearest points, tangent spaces, nets and covers."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from construct.errors import InputError, OffManifoldError
from construct.manifolds import Manifold, ProjectedManifold
from tests.manifolds.cases import (
    SPACING,
    apart,
    gaussian,
    has_coordinates,
    nearest_distance,
    seen,
)


class TestNearestPoint:
    def test_fixes_the_manifold(self, manifold: Manifold, x: Tensor) -> None:
        assert apart(manifold.project(x), x) < 1e-12

    def test_comes_back_from_the_normal_space(self, manifold: Manifold, x: Tensor) -> None:
        """Every p + n, n normal of length below the reach, is nearest to p: the definition of reach."""
        basis = manifold.tangent_basis(x)
        normal = gaussian(*x.shape, seed=5)
        normal = normal - (basis @ seen(basis, normal).unsqueeze(-1)).squeeze(-1)
        length = normal.norm(dim=1, keepdim=True)
        if float(length.min()) < 1e-9:
            pytest.skip("no normals: the manifold is open in its space")
        share = torch.linspace(0.0, 0.95, len(x)).double()[:, None]
        away = x + share * min(float(manifold.reach), 5.0) * normal / length
        assert apart(manifold.project(away), x) < 1e-8

    def test_no_point_of_a_net_is_nearer(self, manifold: Manifold, x: Tensor) -> None:
        """Random directions, also past the edges; 0.8 of the reach away from M at most."""
        step = gaussian(*x.shape, seed=6)
        step = 0.8 * min(float(manifold.reach), 2.0) * step / step.norm(dim=1, keepdim=True)
        away = (x + step)[:100]
        near = manifold.project(away)
        cloud, radius = manifold.net(SPACING[manifold.dim])
        brute = nearest_distance(away, cloud)
        distance = (near - away).norm(dim=1)
        assert bool(manifold.contains(near, tolerance=1e-9).all())
        assert bool((distance <= brute + 1e-12).all())
        assert bool((distance >= brute - radius - 1e-12).all())
        assert apart(manifold.project(near), near) < 1e-9

    def test_finite_everywhere(self, manifold: Manifold) -> None:
        far = 100 * gaussian(20, manifold.ambient, seed=7)
        if not isinstance(manifold, ProjectedManifold):
            far = torch.cat([far, torch.zeros(1, manifold.ambient, dtype=torch.float64)])
        near = manifold.project(far)
        assert bool(torch.isfinite(near).all())
        assert bool(manifold.contains(near, tolerance=1e-9).all())

    def test_contains_is_a_distance_test(self, manifold: Manifold, x: Tensor) -> None:
        off = x + 1e-4 * gaussian(*x.shape, seed=8)
        distance = (off - manifold.project(off)).norm(dim=1)
        tolerance = max(float(distance.mean()), 1e-6)
        inside = manifold.contains(off, tolerance=tolerance)
        assert inside.dtype == torch.bool
        assert inside.shape == (len(x),)
        assert torch.equal(inside, distance <= tolerance)

    def test_batches(self, manifold: Manifold, x: Tensor) -> None:
        block = x[:6].reshape(2, 3, -1)
        d, D = manifold.dim, manifold.ambient
        assert manifold.project(block).shape == (2, 3, D)
        assert manifold.contains(block).shape == (2, 3)
        assert manifold.tangent_basis(block).shape == (2, 3, D, d)
        assert manifold.project(x[0]).shape == (D,)
        assert manifold.contains(x[0]).shape == ()
        assert manifold.tangent_basis(x[0]).shape == (D, d)
        if has_coordinates(manifold):
            assert manifold.coordinates(block).shape == (2, 3, d)
            assert manifold.point(manifold.coordinates(x[0])).shape == (D,)

    def test_off_the_manifold_is_refused(self, manifold: Manifold, x: Tensor) -> None:
        if manifold.ambient == manifold.dim and not manifold.has_boundary:
            pytest.skip("nothing is off")
        with pytest.raises(OffManifoldError, match="expected points on"):
            manifold.tangent_basis(1.5 * manifold.radius_bound * torch.ones_like(x))


class TestTangentSpace:
    def test_orthonormal(self, manifold: Manifold, x: Tensor) -> None:
        basis = manifold.tangent_basis(x)
        assert basis.shape == (len(x), manifold.ambient, manifold.dim)
        assert float((basis.mT @ basis - torch.eye(manifold.dim)).abs().max()) < 1e-12

    def test_first_order_contact(self, manifold: Manifold, x: Tensor) -> None:
        """dist(x + h t, M) <= h^2/(2 reach) for unit tangents t, on x whose ball of radius 2h misses the
        edge."""
        h = 1e-3
        basis = manifold.tangent_basis(x)
        tangent = (basis @ gaussian(len(x), manifold.dim, 1, seed=9)).squeeze(-1)
        tangent = tangent / tangent.norm(dim=1, keepdim=True)
        moved = x + h * tangent
        distance = (manifold.project(moved) - moved).norm(dim=1)
        inner = torch.ones(len(x), dtype=torch.bool)
        if manifold.has_boundary:
            inner = ((manifold.project(x - h * tangent) - x).norm(dim=1) > 0.5 * h) & (distance < 0.1 * h)
            assert float(inner.double().mean()) > 0.9
        assert float(distance[inner].max()) <= h**2 / (2 * float(manifold.reach)) * (1 + 1e-2) + 1e-14


class TestNetsAndCovers:
    def test_net_covers(self, manifold: Manifold, x: Tensor) -> None:
        spacing = SPACING[manifold.dim]
        points, radius = manifold.net(spacing)
        assert 0 < radius <= spacing
        assert points.shape[1] == manifold.ambient
        assert bool(manifold.contains(points, tolerance=1e-11).all())
        assert float(nearest_distance(x, points).max()) <= radius

    def test_too_fine_a_net_is_refused(self, manifold: Manifold) -> None:
        with pytest.raises(InputError, match="spacing: expected large enough"):
            manifold.net(1e-10)

    def test_covers(self, manifold: Manifold, x: Tensor) -> None:
        count, last = 0, math.inf
        for number, (centres, radius) in enumerate(manifold.covers()):
            if number == 12:
                break
            assert len(centres) > count
            assert radius < last
            count, last = len(centres), radius
            assert bool(manifold.contains(centres, tolerance=1e-11).all())
            gap = float(nearest_distance(x, centres).max())
            assert gap <= radius
            assert gap >= (0.5 if manifold.dim < 4 else 0.3) * radius
