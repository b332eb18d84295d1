"""One contract for every manifold: the properties that the construction relies on, on naive oracles.

Here: what a manifold says of itself, samples, intrinsic coordinates, reach. A new manifold adds a line to `CASES` and
inherits every test.
"""

from __future__ import annotations

import json
import math
import pickle

import pytest
import torch
from torch import Tensor

from construct import manifolds
from construct.errors import InputError
from construct.manifolds import Manifold, SpecialOrthogonal3
from tests.manifolds.cases import (
    apart,
    chart_pairs,
    check_derivatives,
    gaussian,
    has_coordinates,
    seen,
)


class TestDescription:
    def test_dimensions(self, manifold: Manifold) -> None:
        assert 1 <= manifold.dim <= manifold.canonical <= manifold.ambient
        assert manifold.frame.shape == (manifold.ambient, manifold.canonical)
        assert manifold.frame.dtype == manifold.box.dtype == torch.float64
        assert manifold.box.shape == (2, manifold.ambient)
        assert manifold.coordinate_bounds.shape == (manifold.dim, 2)

    def test_frame_is_an_isometry(self, manifold: Manifold) -> None:
        gram = manifold.frame.T @ manifold.frame
        assert float((gram - torch.eye(manifold.canonical)).abs().max()) < 1e-14
        if not manifold.embedded:
            assert torch.equal(manifold.frame, torch.eye(manifold.ambient, dtype=torch.float64))

    def test_reach_says_how_it_is_known(self, manifold: Manifold) -> None:
        assert manifold.reach.kind in ("exact", "lower bound", "numeric")
        assert manifold.reach.kind in repr(manifold.reach)
        assert 0 < manifold.reach <= manifold.chart_radius_bound

    def test_repr(self, manifold: Manifold) -> None:
        text = repr(manifold)
        assert type(manifold).__name__ in text
        assert f"d={manifold.dim}" in text
        assert f"D={manifold.ambient}" in text
        assert manifold.reach.kind in text

    def test_spec_round_trip(self, manifold: Manifold, x: Tensor) -> None:
        spec = json.loads(json.dumps(manifold.spec()))
        if spec.get("base", spec)["name"] not in manifolds.manifold_names():
            with pytest.raises(InputError, match="name: expected one of"):
                manifolds.from_spec(spec)
            return
        again = manifolds.from_spec(spec)
        assert type(again) is type(manifold)
        assert again.spec() == manifold.spec()
        assert torch.equal(again.sample(5, seed=1), manifold.sample(5, seed=1))

    def test_pickle(self, manifold: Manifold) -> None:
        again = pickle.loads(pickle.dumps(manifold))
        assert torch.equal(again.sample(3, seed=1), manifold.sample(3, seed=1))
        assert again.reach.kind == manifold.reach.kind


class TestSamples:
    def test_on_the_manifold_and_in_the_box(self, manifold: Manifold, x: Tensor) -> None:
        assert x.shape == (400, manifold.ambient)
        assert bool(manifold.contains(x, tolerance=1e-12).all())
        room = 1e-14 * (1 + manifold.box.abs())
        assert bool(((x >= manifold.box[0] - room[0]) & (x <= manifold.box[1] + room[1])).all())
        assert float(x.norm(dim=1).max()) <= manifold.radius_bound * (1 + 1e-14)

    def test_seeded(self, manifold: Manifold, x: Tensor) -> None:
        state = torch.random.get_rng_state()
        assert torch.equal(manifold.sample(400, seed=20), x)
        assert torch.equal(torch.random.get_rng_state(), state)
        assert not torch.equal(manifold.sample(400, seed=21), x)

    def test_dtype(self, manifold: Manifold) -> None:
        single = manifold.sample(10, seed=20, dtype=torch.float32)
        assert single.dtype == torch.float32
        assert bool(manifold.contains(single, tolerance=1e-5).all())
        assert manifold.project(single).dtype == torch.float32
        assert manifold.tangent_basis(single).dtype == torch.float32

    def test_uniform(self, manifold: Manifold) -> None:
        """First and second moments against midpoint quadrature with a finite-difference volume element."""
        if manifold.dim > 3 or manifold.ambient != manifold.canonical or not has_coordinates(manifold):
            pytest.skip("quadrature on small canonical forms only")
        lower, upper = manifold.coordinate_bounds.T
        m = {1: 4000, 2: 300, 3: 48}[manifold.dim]
        axes = [a + (b - a) * (torch.arange(m).double() + 0.5) / m for a, b in zip(lower, upper, strict=True)]
        u = torch.stack([t.flatten() for t in torch.meshgrid(*axes, indexing="ij")], dim=-1)
        if isinstance(manifold, SpecialOrthogonal3):
            u = u[u.norm(dim=1) < math.pi]
        h = 1e-5
        columns = [
            (manifold.point(u + h * e) - manifold.point(u - h * e)) / (2 * h) for e in torch.eye(manifold.dim).double()
        ]
        j = torch.stack(columns, dim=-1)
        weight = torch.linalg.det(j.mT @ j).clamp_min(0).sqrt()
        weight = weight / weight.sum()
        points, drawn = manifold.point(u), manifold.sample(20_000, seed=3)
        a = gaussian(manifold.ambient, 4, seed=4)
        for moment in (1, 2):
            values, exact = (drawn @ a) ** moment, weight @ (points @ a) ** moment
            error = values.std(dim=0) / math.sqrt(len(drawn))
            assert bool(((values.mean(0) - exact).abs() < 4.5 * error + 2e-3 * values.std(dim=0)).all())


class TestCoordinates:
    def test_round_trip(self, manifold: Manifold, x: Tensor) -> None:
        if not has_coordinates(manifold):
            with pytest.raises(InputError, match="expected one with intrinsic coordinates"):
                manifold.coordinates(x)
            with pytest.raises(InputError, match="expected one with intrinsic coordinates"):
                manifold.point(x[:, : manifold.dim])
            return
        u = manifold.coordinates(x)
        assert u.shape == (len(x), manifold.dim)
        lower, upper = manifold.coordinate_bounds.T
        assert bool((u >= lower - 1e-9).all())
        assert bool((u <= upper + 1e-9).all())
        assert apart(manifold.point(u), x) < 1e-12

    def test_points_of_the_box(self, manifold: Manifold) -> None:
        if not has_coordinates(manifold):
            pytest.skip("no coordinates")
        lower, upper = manifold.coordinate_bounds.T
        u = lower + (upper - lower) * torch.rand(50, manifold.dim, generator=torch.Generator().manual_seed(1))
        assert bool(manifold.contains(manifold.point(u), tolerance=1e-10).all())

    def test_lift_is_differentiable(self, manifold: Manifold) -> None:
        """A function of the coordinates through a chart, second order; the chart is away from the jumps."""
        if not has_coordinates(manifold):
            pytest.skip("no coordinates")
        lower, upper = manifold.coordinate_bounds.T
        centre = manifold.point(lower + 0.4 * (upper - lower))
        frame = manifold.tangent_basis(centre)
        lifted = manifold.lift(lambda u: torch.sin(u.sum(-1)) + u[..., 0])
        h = 0.1 * min(manifold.chart_radius_bound, 1.0)
        direction = torch.ones(manifold.dim, dtype=torch.float64) / math.sqrt(manifold.dim)

        def along(t: Tensor) -> Tensor:
            return lifted(manifold.chart_inverse(centre, frame, t[..., None] * direction))[..., None]

        check_derivatives(along, h, 2)

    def test_continue_past_the_edge(self, manifold: Manifold) -> None:
        if not (has_coordinates(manifold) and manifold.has_boundary):
            pytest.skip("no edge")
        lower, upper = manifold.coordinate_bounds.T
        corner = upper - 1e-3 * (upper - lower)
        centre = manifold.point(corner)
        frame = manifold.tangent_basis(centre)
        y = 0.1 * min(manifold.chart_radius_bound, 1.0) * gaussian(30, manifold.dim, seed=13)
        found = manifold.chart_inverse(centre, frame, y)
        assert not bool(manifold.contains(found).all())
        assert apart(manifold.point(manifold.coordinates(found)), found) < 1e-10

    def test_nan_in_nan_out(self, manifold: Manifold, x: Tensor) -> None:
        if not has_coordinates(manifold):
            pytest.skip("no coordinates")
        spoiled = x[:3].clone()
        spoiled[1] = math.nan
        u = manifold.coordinates(spoiled)
        assert bool(torch.isnan(u[1]).any())
        assert bool(torch.isfinite(u[[0, 2]]).all())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
class TestDevice:
    def test_agrees_with_the_cpu(self, manifold: Manifold, x: Tensor) -> None:
        away = x + 0.1 * min(float(manifold.reach), 1.0) * gaussian(*x.shape, seed=14) / x.shape[1] ** 0.5
        centre, frame, wanted = chart_pairs(manifold, x, 0.5)
        y = seen(frame, wanted - centre)
        found = manifold.chart_inverse(centre.cuda(), frame.cuda(), y.cuda())
        assert found.is_cuda
        assert apart(found.cpu(), wanted) < 1e-9
        assert apart(manifold.project(away.cuda()).cpu(), manifold.project(away)) < 1e-9
        assert manifold.sample(3, 0, device="cuda").is_cuda
        if has_coordinates(manifold):
            u = manifold.coordinates(x.cuda())
            assert u.is_cuda
            assert apart(manifold.point(u).cpu(), x) < 1e-10


class TestReach:
    def test_no_sampled_pair_contradicts_it(self, manifold: Manifold, x: Tensor) -> None:
        """Federer: |q - p|^2 >= 2 reach dist(q - p, T_p) for all p, q."""
        basis = manifold.tangent_basis(x)
        for p, b in zip(x, basis, strict=True):
            chord = x - p
            off = (chord - chord @ b @ b.T).norm(dim=1)
            assert bool((chord.square().sum(1) >= 2 * min(float(manifold.reach), 1e9) * off - 1e-12).all())

    def test_projections_are_injective(self, manifold: Manifold, x: Tensor) -> None:
        """Two sampled points of one chart ball are never as close in the chart as they are apart in space."""
        centre, _, point = chart_pairs(manifold, x, 0.999)
        for c, f in zip(x[:10], manifold.tangent_basis(x[:10]), strict=True):
            inside = point[(centre == c).all(-1)]
            flat = (inside - c) @ f
            gap, chart_gap = torch.cdist(inside, inside), torch.cdist(flat, flat)
            apart_enough = gap > 1e-3
            assert bool((chart_gap[apart_enough] > 1e-3 * gap[apart_enough]).all())
