"""The contract of every manifold: the inverse of a chart and its derivatives."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from construct.manifolds import Manifold
from tests.manifolds.cases import (
    apart,
    chart_pairs,
    check_derivatives,
    gaussian,
    seen,
)


class TestChartInverse:
    def test_recovers_the_points_of_the_chart(self, manifold: Manifold, x: Tensor) -> None:
        centre, frame, wanted = chart_pairs(manifold, x, 0.98)
        y = seen(frame, wanted - centre)
        assert apart(manifold.chart_inverse(centre, frame, y), wanted) < 1e-9

    def test_is_a_right_inverse(self, manifold: Manifold, x: Tensor) -> None:
        """On the tangent disc of half the chart radius, past an edge too, where M is left for its
        extension."""
        centre, frame = x[:20], manifold.tangent_basis(x[:20])
        y = gaussian(20, 30, manifold.dim, seed=10)
        y = 0.5 * min(manifold.chart_radius_bound, 1.0) * y / y.norm(dim=-1, keepdim=True).clamp_min(1.0)
        found = manifold.chart_inverse(centre[:, None], frame[:, None], y)
        assert found.shape == (20, 30, manifold.ambient)
        assert apart(seen(frame[:, None], found - centre[:, None]), y) < 1e-11
        if not manifold.has_boundary:
            assert bool(manifold.contains(found, tolerance=1e-10).all())

    def test_centre_and_shapes(self, manifold: Manifold, x: Tensor) -> None:
        frame = manifold.tangent_basis(x[0])
        zero = torch.zeros(manifold.dim, dtype=torch.float64)
        assert apart(manifold.chart_inverse(x[0], frame, zero), x[0]) < 1e-12
        assert manifold.chart_inverse(x[0], frame, zero.expand(3, 2, -1)).shape == (3, 2, manifold.ambient)

    def test_never_nan(self, manifold: Manifold, x: Tensor) -> None:
        frame = manifold.tangent_basis(x[:5])
        y = 50 * gaussian(5, manifold.dim, seed=11)
        dual = torch.func.jvp(lambda t: manifold.chart_inverse(x[:5], frame, t), (y,), (torch.ones_like(y),))
        assert bool(torch.isfinite(dual[0]).all())
        assert bool(torch.isfinite(dual[1]).all())

    def test_single_precision(self, manifold: Manifold, x: Tensor) -> None:
        centre, frame, wanted = (t[:200].float() for t in chart_pairs(manifold, x, 0.5))
        found = manifold.chart_inverse(centre, frame, seen(frame, wanted - centre))
        assert found.dtype == torch.float32
        assert apart(found, wanted) < 1e-5 * max(1.0, manifold.radius_bound)

    def test_derivatives(self, manifold: Manifold, x: Tensor) -> None:
        """Along a line through the chart; orders up to seven are tried on single families elsewhere."""
        centre, frame = x[3], manifold.tangent_basis(x[3])
        h = 0.15 * min(manifold.chart_radius_bound, 1.0)
        direction = torch.ones(manifold.dim, dtype=torch.float64) / math.sqrt(manifold.dim)
        check_derivatives(lambda t: manifold.chart_inverse(centre, frame, t[..., None] * direction), h, 3)

    def test_vmap(self, manifold: Manifold, x: Tensor) -> None:
        frame = manifold.tangent_basis(x[0])
        y = 0.1 * min(manifold.chart_radius_bound, 1.0) * gaussian(4, manifold.dim, seed=12)

        def slope(t: Tensor) -> Tensor:
            return torch.func.jacfwd(lambda s: manifold.chart_inverse(x[0], frame, s))(t)

        together = torch.func.vmap(slope)(y)
        one_by_one = torch.stack([slope(t) for t in y])
        assert together.shape == (4, manifold.ambient, manifold.dim)
        assert float((together - one_by_one).abs().max()) < 1e-11
        assert float((frame.T @ together - torch.eye(manifold.dim)).abs().max()) < 1e-9

    def test_reverse_mode(self, manifold: Manifold, x: Tensor) -> None:
        frame = manifold.tangent_basis(x[0])
        y = torch.full((manifold.dim,), 0.02, dtype=torch.float64, requires_grad=True)
        manifold.chart_inverse(x[0], frame, y).sum().backward()
        forward = torch.func.jacfwd(lambda s: manifold.chart_inverse(x[0], frame, s))(y.detach())
        assert y.grad is not None
        assert float((y.grad - forward.sum(0)).abs().max()) < 1e-10
