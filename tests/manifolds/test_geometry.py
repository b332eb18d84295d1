"""The numbers: reach, covering radii, derivative formulas, and orders of differentiation."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from torch import Tensor

from construct import manifolds
from construct.atlas.nets import NetLadder
from construct.errors import DeadlinePassed, InputError
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
    Reach,
    SpecialOrthogonal3,
    Sphere,
    SwissRoll,
    Torus,
    TrefoilKnot,
    newton,
    product,
    sphere_covers,
)
from construct.manifolds.parametrised import Parametrised
from construct.progress import watching

FAMILIES: list[Callable[[], Parametrised]] = [
    Torus,
    TrefoilKnot,
    Helix,
    SwissRoll,
    MoebiusStrip,
    KleinBottle,
    lambda: Torus(3.0, 0.4),
    lambda: Helix(2.0, 0.5, 0.7),
    lambda: KleinBottle(1.3, 0.9),
    lambda: MoebiusStrip(0.6),
]


class TestParametrisations:
    """Formulas of the families against differences."""

    @pytest.fixture(params=FAMILIES)
    def family(self, request: pytest.FixtureRequest) -> Parametrised:
        built: Parametrised = request.param()
        return built

    @pytest.fixture
    def u(self, family: Parametrised) -> Tensor:
        unit = torch.rand(200, family.dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        return family.lower + (family.upper - family.lower) * unit

    def test_derivatives(self, family: Parametrised, u: Tensor) -> None:
        h = 1e-5
        point, j = family._jacobian(u)
        assert torch.equal(point, family._point(u))
        second = family._second(u)
        for i, e in enumerate(torch.eye(family.dim, dtype=torch.float64)):
            slope = (family._point(u + h * e) - family._point(u - h * e)) / (2 * h)
            assert torch.allclose(j[..., i], slope, atol=1e-8)
            bend = (family._jacobian(u + h * e)[1] - family._jacobian(u - h * e)[1]) / (2 * h)
            assert torch.allclose(second[..., i], bend, atol=1e-7)

    def test_forward_mode_agrees(self, family: Parametrised, u: Tensor) -> None:
        assert torch.allclose(family._jacobian(u)[1], newton.jacobian(family._point, u)[1], atol=1e-12)
        assert torch.allclose(family._second(u), newton.second(family._point, u), atol=1e-12)

    def test_speeds_are_bounded_and_the_bound_is_reached(self, family: Parametrised) -> None:
        unit = torch.linspace(0.0, 1.0, 61, dtype=torch.float64)
        axes = [a + (b - a) * unit for a, b in zip(family.lower, family.upper, strict=True)]
        u = torch.cartesian_prod(*axes).reshape(-1, family.dim)
        speed = family._jacobian(u)[1].norm(dim=-2).amax(dim=0)
        bound = torch.tensor(family.lipschitz, dtype=torch.float64)
        assert bool((speed <= bound * (1 + 1e-12)).all())
        assert bool((speed >= 0.97 * bound).all())

    def test_orthogonal(self, family: Parametrised, u: Tensor) -> None:
        j = family._jacobian(u)[1]
        gram = j.mT @ j
        assert float((gram - torch.diag_embed(gram.diagonal(dim1=-2, dim2=-1))).abs().max()) < 1e-12

    def test_wrapping_is_an_identification(self, family: Parametrised, u: Tensor) -> None:
        closed = torch.tensor(family.closed)
        for turns in (-2, -1, 0, 1, 3):
            moved = u + torch.where(closed, turns * (family.upper - family.lower), 0.0)
            wrapped = family._wrap(moved)
            assert torch.allclose(family._point(wrapped), family._point(moved), atol=1e-12)
            assert bool((wrapped >= family.lower - 1e-12).all())
            assert bool((wrapped <= family.upper + 1e-12).all())


def federer(family: Parametrised, cells: tuple[int, ...]) -> float:
    """min |q - p|^2 / (2 dist(q - p, Tan_p)) over a grid with its edges; Tan_p a half space at an edge.

    The parametrisation is orthogonal, so that the cone's distance is found coordinate by coordinate.
    """
    axes = []
    for low, high, m, closed in zip(family.lower, family.upper, cells, family.closed, strict=True):
        axes.append(np.linspace(float(low), float(high), m + (not closed), endpoint=not closed))
    u = np.stack([a.ravel() for a in np.meshgrid(*axes, indexing="ij")], axis=-1)

    def point(v: np.ndarray) -> np.ndarray:
        return family.point(torch.from_numpy(v)).numpy()

    points, h = point(u), 1e-6
    units = []
    for e in np.eye(family.dim):
        slope = point(u + h * e) - point(u - h * e)
        units.append(slope / np.linalg.norm(slope, axis=1, keepdims=True))
    best = math.inf
    for i, p in enumerate(points):
        chord = points - p
        squared = (chord**2).sum(1)
        along = np.zeros_like(squared)
        for c, unit in enumerate(units):
            part = chord @ unit[i]
            if not family.closed[c]:
                if u[i, c] == axes[c][0]:
                    part = np.maximum(part, 0)
                if u[i, c] == axes[c][-1]:
                    part = np.minimum(part, 0)
            along += part**2
        far = squared > 2e-3 * float(family.reach) ** 2
        best = min(best, float((squared[far] / (2 * np.sqrt(np.maximum(squared - along, 1e-30)[far]))).min()))
    return best


class TestReach:
    @pytest.mark.parametrize(
        ("family", "cells", "tolerance"),
        [
            (TrefoilKnot(), (2000,), 1e-4),
            (Helix(), (2500,), 1e-3),
            (Helix(1.0, 0.1, 1.0), (1500,), 1e-3),
            (Helix(1.0, 0.1, 0.8), (1500,), 1e-3),  # too short for the bottleneck: its ends see each other
            (Helix(1.0, 0.3, 0.9), (1500,), 1e-3),
            (Helix(1.0, 0.2, 0.5), (1500,), 1e-3),
            (Helix(2.0, 0.1, 0.6), (1500,), 1e-3),
            (Helix(1.0, 0.5, 2.0), (1500,), 1e-3),
            (Helix(1.0, 0.46, 2.0), (1500,), 1e-3),
            (SwissRoll(width=0.05), (2500, 1), 1e-4),
            (Torus(2.0, 1.0), (60, 60), 2e-3),
            (Torus(1.4, 1.0), (60, 60), 2e-3),
            (MoebiusStrip(0.25), (150, 16), 3e-2),
            (MoebiusStrip(), (150, 16), 3e-2),
            (MoebiusStrip(0.5), (150, 16), 5e-2),
            (KleinBottle(), (60, 60), 2e-3),
            (KleinBottle(1.2, 1.0), (60, 60), 2e-3),
            (KleinBottle(10.0, 1.0), (90, 60), 2e-3),
        ],
        ids=repr,
    )
    def test_against_federer(self, family: Parametrised, cells: tuple[int, ...], tolerance: float) -> None:
        measured = federer(family, cells)
        assert float(family.reach) * (1 - 1e-6) <= measured <= float(family.reach) * (1 + tolerance)

    def test_closed_forms(self) -> None:
        assert (Circle(2.0).reach, Circle(2.0).reach.kind) == (2.0, "exact")
        assert FlatTorus(3, (2.0, 0.5, 1.0)).reach == 0.5
        assert (Torus(3.0, 1.0).reach, Torus(3.0, 2.5).reach) == (1.0, 0.5)
        assert SpecialOrthogonal3().reach == pytest.approx(math.sqrt(2), rel=1e-15)
        assert Cube(3).reach == Cube(3).chart_radius_bound == math.inf
        assert Sphere(4, 3.0).chart_radius_bound == pytest.approx(3 * math.sqrt(2))
        assert MoebiusStrip(0.5).reach == pytest.approx(0.53868, abs=1e-4)
        assert MoebiusStrip(0.25).reach == pytest.approx(0.76228, abs=1e-4)
        assert Helix(1.0, 0.1).reach == pytest.approx(0.31260, abs=5e-6)
        assert Helix(1.0, 0.2).reach == pytest.approx(0.61606, abs=5e-6)
        assert Helix(3.0, 0.9).reach == pytest.approx(3 * 0.90182, abs=2e-5)

    def test_products_take_the_weaker_kind(self) -> None:
        mixed = Product(Circle(0.5), KleinBottle())
        assert (mixed.reach, mixed.reach.kind) == (0.5, "numeric")
        assert Product(Circle(0.5), Helix()).reach.kind == "exact"
        assert mixed.chart_radius_bound == pytest.approx(0.5 * math.sqrt(2))

    def test_isometries_and_scale(self) -> None:
        assert Helix(ambient=50).reach == Helix().reach
        assert SwissRoll(1.0).reach == pytest.approx(10 * SwissRoll(0.1).reach)

    @pytest.mark.parametrize("radius", [1.0, 0.3])
    def test_sharp_on_the_torus(self, radius: float) -> None:
        """Just beyond the reach a normal can lead to another nearest point; just within it cannot."""
        torus = Torus(1.5 + radius, 1.5)  # reach is the hole's radius
        inner = torch.tensor([radius, 0.0, 0.0], dtype=torch.float64)
        inward = torch.tensor([-1.0, 0.0, 0.0], dtype=torch.float64)
        assert torch.allclose(torus.project(inner + 0.99 * radius * inward), inner)
        assert not torch.allclose(torus.project(inner + 1.01 * radius * inward), inner)


class TestCovers:
    """Covering radii that are known or found by dense search."""

    def radii(self, manifold: Manifold) -> dict[int, float]:
        return {len(c.centres): c.radius for c in itertools.islice(manifold.covers(), 40)}

    def test_circle(self) -> None:
        radii = self.radii(Circle(2.0))
        assert radii[5] == pytest.approx(4 * math.sin(math.pi / 10), rel=1e-12)

    def test_sphere(self) -> None:
        radii = self.radii(Sphere(2))
        assert radii[4] == pytest.approx(math.sqrt(2 - 2 / 3), rel=1e-12)
        assert radii[6] == pytest.approx(math.sqrt(2 - 2 / math.sqrt(3)), rel=1e-12)
        assert radii[12] == pytest.approx(0.640852, abs=1e-6)
        assert {4, 5, 6, 7, 10, 12, 14, 32, 42, 92} <= set(radii)
        assert self.radii(Sphere(2, 3.0))[12] == pytest.approx(3 * 0.640852, abs=3e-6)

    def test_sphere_3_and_so3(self) -> None:
        radii = self.radii(Sphere(3))
        assert radii[5] == pytest.approx(math.sqrt(1.5), rel=1e-12)
        assert radii[8] == pytest.approx(1.0, rel=1e-12)
        assert radii[24] == pytest.approx(2 * math.sin(math.pi / 8), rel=1e-12)
        assert radii[120] == pytest.approx(0.385, abs=1e-3)
        assert self.radii(SpecialOrthogonal3())[60] == pytest.approx(1.07047, abs=1e-5)
        assert self.radii(SpecialOrthogonal3())[24] < SpecialOrthogonal3().chart_radius_bound

    def test_flat_torus(self) -> None:
        radii = self.radii(FlatTorus(2, 0.5))
        assert radii[16] == pytest.approx(2 * 0.5 * math.sqrt(2) * math.sin(math.pi / 8), rel=1e-12)

    def test_product(self) -> None:
        radii = self.radii(Product(Circle(), Sphere(2)))
        assert radii[12] == pytest.approx(math.hypot(1.0, math.sqrt(2 - 2 / 3)), rel=1e-9)

    def test_cube(self) -> None:
        assert self.radii(Cube(3))[1] == pytest.approx(math.sqrt(3))
        assert self.radii(Cube(1000)) == {1: pytest.approx(math.sqrt(1000))}

    @pytest.mark.parametrize(
        "manifold",
        [Circle(), Sphere(2), Sphere(3), Sphere(4), FlatTorus(2, (1.0, 0.6)), SpecialOrthogonal3()],
        ids=repr,
    )
    def test_radii_are_sharp(self, manifold: Manifold) -> None:
        """Hill climbing from the worst of 20,000 samples reaches each radius, and never exceeds it."""
        x = manifold.sample(20_000, seed=1)
        for centres, radius in itertools.islice(manifold.covers(), 9):
            gap = torch.cdist(x, centres).amin(1)
            worst, step = x[gap.topk(20).indices], 0.1 * radius
            value = torch.cdist(worst, centres).amin(1)
            generator = torch.Generator().manual_seed(2)
            for _ in range(400):
                noise = torch.randn(worst.shape, generator=generator, dtype=torch.float64)
                trial = manifold.project(worst + step * noise)
                better = torch.cdist(trial, centres).amin(1)
                up = better > value
                worst, value = torch.where(up[:, None], trial, worst), torch.maximum(value, better)
                step *= 0.975
            assert float(value.max()) <= radius * (1 + 1e-9)
            assert float(value.max()) >= radius * (1 - 2e-3)

    @pytest.mark.parametrize("d", [2, 4, 5, 7])
    def test_cross_and_cube(self, d: int) -> None:
        """The inradius in closed form against minimisation of the support function."""
        centres, radius = sphere_covers.cross_and_cube(d)
        directions = centres.numpy()

        def support(v: np.ndarray) -> float:
            return float((directions @ v).max() / np.linalg.norm(v))

        rng = np.random.default_rng(0)
        starts = [rng.standard_normal(d + 1) for _ in range(60)]
        least = min(minimize(support, start, method="Nelder-Mead", options={"maxiter": 4000}).fun for start in starts)
        assert least >= 1 - radius**2 / 2 - 1e-12
        assert least <= 1 - radius**2 / 2 + 0.02

    def test_groups_of_quaternions(self) -> None:
        """120 and 48 unit quaternions closed under multiplication."""
        for group in (sphere_covers.icosians(), sphere_covers.twice_24_cell()):
            a, b = group[:, None], group[None]
            product = torch.stack(
                [
                    a[..., 0] * b[..., 0] - a[..., 1] * b[..., 1] - a[..., 2] * b[..., 2] - a[..., 3] * b[..., 3],
                    a[..., 0] * b[..., 1] + a[..., 1] * b[..., 0] + a[..., 2] * b[..., 3] - a[..., 3] * b[..., 2],
                    a[..., 0] * b[..., 2] - a[..., 1] * b[..., 3] + a[..., 2] * b[..., 0] + a[..., 3] * b[..., 1],
                    a[..., 0] * b[..., 3] + a[..., 1] * b[..., 2] - a[..., 2] * b[..., 1] + a[..., 3] * b[..., 0],
                ],
                dim=-1,
            ).reshape(-1, 4)
            assert float((product @ group.T).amax(1).min()) > 1 - 1e-12

    def test_a_one_sided_set_is_refused(self) -> None:
        with pytest.raises(InputError, match="0 inside their convex hull"):
            sphere_covers.covering_radius(Sphere(2).sample(20, seed=0).abs())


def taylor(f: Callable[[Tensor], Tensor], h: float) -> np.ndarray:
    nodes = np.cos(np.pi * (np.arange(32) + 0.5) / 32)
    fit = np.polynomial.chebyshev.chebfit(nodes, f(torch.from_numpy(h * nodes)[:, None]).numpy(), 24)
    return np.stack([np.polynomial.chebyshev.cheb2poly(column) for column in fit.T], axis=1)


def nested(f: Callable[[Tensor], Tensor], order: int) -> Tensor:
    one = torch.ones(1, dtype=torch.float64)
    for _ in range(order):

        def f(t: Tensor, inner: Callable[[Tensor], Tensor] = f) -> Tensor:
            return torch.func.jvp(inner, (t,), (one,))[1]

    return f(torch.zeros(1, dtype=torch.float64))


class TestOrderOfDifferentiation:
    @pytest.mark.parametrize(("manifold", "order"), [(Helix(), 5), (Circle(), 7)], ids=repr)
    def test_high_orders(self, manifold: Manifold, order: int) -> None:
        centre = manifold.point(torch.tensor([1.0], dtype=torch.float64))
        frame, h = manifold.tangent_basis(centre), 0.3

        def along(t: Tensor) -> Tensor:
            return manifold.chart_inverse(centre, frame, t)

        scaled = nested(along, order).numpy() * h**order / math.factorial(order)
        assert np.abs(scaled - taylor(along, h)[order]).max() < 1e-8

    def test_too_few_steps_are_wrong(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The negative twin: with one polishing step the second derivative is lost."""
        helix = Helix()
        centre = helix.point(torch.tensor([1.0], dtype=torch.float64))
        frame = helix.tangent_basis(centre)

        def along(t: Tensor) -> Tensor:
            return helix.coordinates(helix.chart_inverse(centre, frame, t))

        offset = 0.2

        def shifted(t: Tensor) -> Tensor:
            return along(t + offset)

        right = nested(shifted, 2)
        monkeypatch.setattr(newton, "POLISH", 1)
        assert float((nested(shifted, 2) - right).abs().max()) > 1e-3


class TestMachineryAgainstClosedForms:
    def test_parametric_torus(self) -> None:
        """The solver, told only the formula, agrees with the ring torus's closed forms."""
        torus = Torus()
        generic = ParametricManifold(
            torus._point,
            (-math.pi, -math.pi),
            (math.pi, math.pi),
            (True, True),
            1.0,
            (3.0, 1.0),
            orthogonal=True,
        )
        x = torus.sample(300, seed=0)
        away = torus.project(x) + 0.5 * torch.from_numpy(np.random.default_rng(0).standard_normal((300, 3)))
        away = away[(torus.project(away) - away).norm(dim=1) < 0.9]
        assert torch.allclose(generic.project(away), torus.project(away), atol=1e-10)
        assert torch.allclose(generic.coordinates(x), torus.coordinates(x), atol=1e-10)

    def test_projected_sphere(self) -> None:
        """Known by its projection only, the sphere has the sphere's charts."""
        sphere = Sphere(2)
        blind = ProjectedManifold(lambda x: x / x.norm(dim=-1, keepdim=True), 2, 3, Reach(1.0, "exact"), (1.0,) * 3)
        x = sphere.sample(40, seed=1)
        centre, frame = x[0], sphere.tangent_basis(x[0])
        y = 0.6 * (2 * torch.rand(50, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 1)
        assert torch.allclose(blind.chart_inverse(centre, frame, y), sphere.chart_inverse(centre, frame, y), atol=1e-12)
        assert blind.reach.kind == "exact"
        points, radius = blind.net(0.3)
        assert float(torch.cdist(sphere.sample(3000, seed=2), points).amin(1).max()) <= radius

    def test_skew_parametrisations_need_the_sum(self) -> None:
        """Without orthogonality a cell is as wide as the sum of its sides, not the root of their squares."""

        def sheared(u: Tensor) -> Tensor:
            return torch.stack([u[..., 0] + u[..., 1], 0.1 * u[..., 1]], dim=-1)

        strip = ParametricManifold(sheared, (0.0, 0.0), (1.0, 1.0), (False, False), math.inf, (1.0, math.sqrt(1.01)))
        points, radius = strip.net(0.5)
        corner = torch.tensor([[2.0, 0.1]], dtype=torch.float64)
        assert float(torch.cdist(corner, points).min()) <= radius
        counts = len(points)
        sides = (1.0 / math.isqrt(counts), math.sqrt(1.01) / math.isqrt(counts))
        assert float(torch.cdist(corner, points).min()) > math.hypot(*sides) / 2 * (1 + 1e-3)


class TestProperties:
    @given(
        dim=st.integers(1, 6),
        radius=st.floats(1e-3, 1e3),
        share=st.floats(0.0, 0.99),
        seed=st.integers(0, 1000),
        extra=st.integers(0, 5),
    )
    def test_sphere_charts(self, dim: int, radius: float, share: float, seed: int, extra: int) -> None:
        sphere = Sphere(dim, radius, ambient=dim + 1 + extra, seed=seed)
        centre = sphere.sample(1, seed)[0]
        frame = sphere.tangent_basis(centre)
        y = torch.randn(dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        y = share * radius * y / y.norm()
        x = sphere.chart_inverse(centre, frame, y)
        assert bool(sphere.contains(x, tolerance=1e-12 * radius))
        assert float((frame.T @ (x - centre) - y).norm()) <= 1e-13 * radius
        assert float((sphere.point(sphere.coordinates(x)) - x).norm()) <= 1e-12 * radius

    @given(
        radii=st.lists(st.floats(0.05, 20.0), min_size=1, max_size=4),
        spacing=st.floats(0.5, 3.0),
        seed=st.integers(0, 1000),
    )
    def test_flat_torus_nets(self, radii: list[float], spacing: float, seed: int) -> None:
        torus = FlatTorus(len(radii), radii)
        try:
            points, radius = torus.net(spacing * max(radii))
        except InputError:
            return
        assert radius <= spacing * max(radii) * (1 + 1e-12)
        assert float(torch.cdist(torus.sample(20, seed), points).amin(1).max()) <= radius * (1 + 1e-9)

    @given(turn=st.floats(0.0, math.pi), seed=st.integers(0, 1000))
    def test_rotation_vectors(self, turn: float, seed: int) -> None:
        """exp and log against scipy-free facts: trace 1 + 2 cos(angle), axis fixed; also near 0 and pi."""
        so3 = SpecialOrthogonal3()
        axis = torch.randn(3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        axis = axis / axis.norm()
        matrix = so3.point(turn * axis)
        assert float(matrix[0] + matrix[4] + matrix[8]) == pytest.approx(1 + 2 * math.cos(turn), abs=1e-12)
        assert torch.allclose(matrix.reshape(3, 3) @ axis, axis, atol=1e-12)
        back = so3.coordinates(matrix)
        assert float((so3.point(back) - matrix).norm()) < 1e-12
        if turn < math.pi - 1e-6:
            assert torch.allclose(back, turn * axis, atol=1e-8)

    @given(name=st.sampled_from(manifolds.manifold_names()), seed=st.integers(0, 2**31))
    def test_every_family_has_defaults(self, name: str, seed: int) -> None:
        manifold = manifolds.manifold(name)
        assert bool(manifold.contains(manifold.sample(3, seed), tolerance=1e-10).all())


@pytest.mark.parametrize(
    "first, second", [(Cube(1), Cube(1)), (Cube(2), Circle()), (Sphere(), Circle()), (FlatTorus(2), Cube(1))]
)
def test_covers_of_a_product_are_the_best_of_all_pairs(first, second, monkeypatch):
    """Against every pair of covers: no other has as few centres and as small a radius; and those that are too large
    are never looked at."""
    monkeypatch.setattr(product, "MOST_CENTRES", 150)
    sides = [[cover for cover in side.covers() if len(cover.centres) <= 150] for side in (first, second)]
    pairs = [(len(a.centres) * len(b.centres), math.hypot(a.radius, b.radius)) for a in sides[0] for b in sides[1]]
    pairs = sorted(pair for pair in pairs if pair[0] <= 150)
    best = [pair for k, pair in enumerate(pairs) if all(pair[1] < before[1] for before in pairs[:k])]
    assert [(len(cover.centres), cover.radius) for cover in Product(first, second).covers()] == best


def test_long_loops_of_manifolds_look_at_the_clock():
    """A clock that only the ticks turn: covers, nets and walks of fine grids end soon after the time is up."""

    class Turned:
        looks = 0

        def __call__(self):
            self.looks += 1
            return float(self.looks)

    def to_circle(x):
        return x / x.norm(dim=-1, keepdim=True)

    own = ProjectedManifold(to_circle, 1, 2, 1.0, [1.0, 1.0])
    ladder = NetLadder(own)
    for work in (
        lambda: list(Product(Cube(1), Cube(1)).covers()),
        lambda: list(Cube(1).covers()),
        lambda: own.net(1e-4),
        lambda: ladder.walks,
        lambda: ProjectedManifold(to_circle, 1, 2, "estimate", [1.0, 1.0]),
    ):
        clock = Turned()
        with pytest.raises(DeadlinePassed), watching(False, 12.0, clock=clock):
            work()
        assert clock.looks < 40
