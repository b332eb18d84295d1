"""One contract for every manifold: the properties that the construction relies on, on naive oracles.

A new manifold adds a line to CASES and inherits every test.
"""

from __future__ import annotations

import functools
import json
import math
import pickle
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from construct import manifolds
from construct.errors import InputError, OffManifoldError
from construct.manifolds import (
    Circle,
    Cube,
    FlatTorus,
    Helix,
    KleinBottle,
    Manifold,
    MoebiusStrip,
    ParametricManifold,
    Product,
    ProjectedManifold,
    SpecialOrthogonal3,
    Sphere,
    SwissRoll,
    Torus,
    TrefoilKnot,
)


def sheared_torus(u: Tensor) -> Tensor:
    """A flat torus in skew coordinates (a, b) -> angles (a + b, b): not an orthogonal parametrisation."""
    angles = torch.stack([u[..., 0] + u[..., 1], u[..., 1]], dim=-1)
    return torch.stack([torch.cos(angles), torch.sin(angles)], dim=-1).flatten(-2)


def parabola(u: Tensor) -> Tensor:
    return torch.cat([u, u.square()], dim=-1)


def saddle(u: Tensor) -> Tensor:
    """z = x y w / 2 over the cube: three parameters."""
    return torch.cat([u, u.prod(-1, keepdim=True) / 2], dim=-1)


def to_ring(x: Tensor) -> Tensor:
    """Nearest point of the torus with radii 2 and 1."""
    flat = x[..., :2] / x[..., :2].square().sum(-1, keepdim=True).sqrt()
    spine = torch.cat([2 * flat, torch.zeros_like(x[..., :1])], dim=-1)
    away = x - spine
    return spine + away / away.square().sum(-1, keepdim=True).sqrt()


TURN = 2 * math.pi

CASES: dict[str, Callable[[], Manifold]] = {
    "circle": Circle,
    "circle 0.7 in R^8": lambda: Circle(0.7, ambient=8, seed=1),
    "circle in R^1000": lambda: Circle(ambient=1000, seed=2),
    "sphere": lambda: Sphere(2),
    "sphere 3 of radius 2 in R^10": lambda: Sphere(3, 2.0, ambient=10, seed=3),
    "sphere 5": lambda: Sphere(5),
    "flat torus": lambda: FlatTorus(2),
    "flat torus of unequal radii in R^8": lambda: FlatTorus(3, (1.0, 0.7, 0.5), ambient=8, seed=4),
    "torus": Torus,
    "torus 3, 0.5 in R^100": lambda: Torus(3.0, 0.5, ambient=100, seed=5),
    "trefoil": TrefoilKnot,
    "trefoil in R^100": lambda: TrefoilKnot(ambient=100, seed=6),
    "helix": Helix,
    "short helix in R^10": lambda: Helix(2.0, 0.4, 0.8, ambient=10, seed=7),
    "swiss roll": SwissRoll,
    "moebius": MoebiusStrip,
    "wide moebius in R^10": lambda: MoebiusStrip(0.5, ambient=10, seed=8),
    "klein bottle": KleinBottle,
    "klein bottle 1.5, 1 in R^1000": lambda: KleinBottle(1.5, 1.0, ambient=1000, seed=9),
    "so3": SpecialOrthogonal3,
    "so3 in R^100": lambda: SpecialOrthogonal3(ambient=100, seed=10),
    "interval": lambda: Cube(1),
    "cube in R^8": lambda: Cube(3, ambient=8, seed=11),
    "circle x sphere": lambda: Product(Circle(), Sphere(2, 0.8)),
    "(circle in R^4) x helix in R^12": lambda: Product(Circle(ambient=4, seed=1), Helix(), ambient=12, seed=12),
    "parametric skew torus": lambda: ParametricManifold(
        sheared_torus, (0.0, 0.0), (TURN, TURN), (True, True), 1.0, (1.0, math.sqrt(2)), ambient=6
    ),
    "parametric parabola": lambda: ParametricManifold(parabola, (-1.0,), (1.0,), (False,), 0.5, (math.sqrt(5),)),
    "parametric saddle": lambda: ParametricManifold(
        saddle, (-1.0,) * 3, (1.0,) * 3, (False,) * 3, 0.8, (math.sqrt(1.25),) * 3
    ),
    "projected ring": lambda: ProjectedManifold(to_ring, 2, 3, 1.0, (3.0, 3.0, 1.0)),
    "torus turned, tripled and moved": lambda: Torus().placed(
        translation=(5.0, -3.0, 100.0), scale=3.0, rotation=torch.linalg.qr(gaussian(3, 3)).Q
    ),
    "short helix laid into R^7": lambda: Helix(2.0, 0.4, 0.8).placed(
        translation=(1.0,) * 7, scale=0.5, rotation=torch.linalg.qr(gaussian(7, 3)).Q
    ),
    "interval moved and shrunk": lambda: Cube(1).placed(translation=(3.0,), scale=0.1),
    "projected ring moved": lambda: CASES["projected ring"]().placed(translation=(0.0, 7.0, 0.0), scale=0.5),
    "(circle moved) x sphere": lambda: Product(Circle().placed(translation=(2.0, 0.0)), Sphere(2, 0.8)),
}

SPACING = {1: 0.05, 2: 0.2, 3: 0.7, 5: 2.0}


@functools.cache
def built(case: str) -> Manifold:
    return CASES[case]()


@functools.cache
def samples(case: str) -> Tensor:
    return built(case).sample(400, seed=20)


@pytest.fixture(params=list(CASES))
def case(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def manifold(case: str) -> Manifold:
    return built(case)


@pytest.fixture
def x(case: str) -> Tensor:
    return samples(case)


def has_coordinates(manifold: Manifold) -> bool:
    return not isinstance(getattr(manifold, "base", manifold), ProjectedManifold)


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def apart(a: Tensor, b: Tensor) -> Tensor:
    """Largest Euclidean distance between corresponding points."""
    return (a - b).norm(dim=-1).max()


def nearest_distance(points: Tensor, cloud: Tensor) -> Tensor:
    """Exact distances by differences: cdist's matrix product loses half of the digits."""
    return torch.cdist(points, cloud, compute_mode="donot_use_mm_for_euclid_dist").amin(dim=1)


def chart_pairs(manifold: Manifold, x: Tensor, share: float) -> tuple[Tensor, Tensor, Tensor]:
    """Centres, random orthonormal tangent frames and points of M within `share` of the admissible chart
    radius."""
    centres = x[:10]
    turn = torch.linalg.qr(gaussian(10, manifold.dim, manifold.dim, seed=1)).Q
    frames = manifold.tangent_basis(centres) @ turn
    radius = share * min(manifold.chart_radius_bound, 10.0)
    i, j = ((x[None] - centres[:, None]).norm(dim=-1) < radius).nonzero(as_tuple=True)
    return centres[i], frames[i], x[j]


def seen(frame: Tensor, step: Tensor) -> Tensor:
    """frame^T step, written as a sum."""
    return (frame * step.unsqueeze(-1)).sum(-2)


def check_derivatives(f: Callable[[Tensor], Tensor], h: float, order: int) -> None:
    """f: (...) -> (..., n) smooth on [-h, h]; its Taylor coefficients at 0, times h^k, to 1e-8.

    Nested forward mode against Chebyshev interpolation of the values.
    """
    nodes = np.cos(np.pi * (np.arange(20) + 0.5) / 20)
    fit = np.polynomial.chebyshev.chebfit(nodes, f(torch.from_numpy(h * nodes)).numpy(), 17)
    taylor = np.stack([np.polynomial.chebyshev.cheb2poly(column) for column in fit.T], axis=1)
    g = f
    zero, one = torch.tensor(0.0, dtype=torch.float64), torch.tensor(1.0, dtype=torch.float64)
    for k in range(1, order + 1):

        def g(t: Tensor, inner: Callable[[Tensor], Tensor] = g) -> Tensor:
            return torch.func.jvp(inner, (t,), (one,))[1]

        scaled = g(zero).numpy() * h**k / math.factorial(k)
        assert np.abs(scaled - taylor[k]).max() < 1e-8, f"order {k}"


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
