"""Users' own manifolds: nets and networks of projections, estimates of reach and speeds, and the text of errors."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

import construct
from benchmarks.own import ELLIPSE, KNOT, OWN, curve, curve_projection, frame, torus_projection
from construct import expressions as e
from construct.atlas import find_cover
from construct.atlas.nets import NetLadder
from construct.errors import InputError
from construct.manifolds import Formula, Manifold, ParametricManifold, ProjectedManifold, TrefoilKnot, newton
from construct.manifolds.tangent_nets import TangentNets, ordered, thinned
from proofs_as_code.verifier.verification import verify

PI = math.pi


def to_circle(x: Tensor) -> Tensor:
    return x / x.norm(dim=-1, keepdim=True)


def f(x: Tensor) -> Tensor:
    return torch.exp(0.5 * x[..., 0]) * torch.sin(1 + x[..., 1])


def dense_torus(n: int) -> Tensor:
    a = torch.arange(n, dtype=torch.float64) * 2 * PI / n
    a, b = a.repeat_interleave(n), a.repeat(n)
    ring = 1 + 0.4 * torch.cos(b)
    return torch.stack([ring * torch.cos(a), ring * torch.sin(a), 0.4 * torch.sin(b)], -1)


def dense(name: str) -> Tensor:
    """Points of an own manifold by a parametrisation that its projection does not know."""
    t = torch.arange(3000, dtype=torch.float64) * 2 * PI / 3000
    if name == "own ellipsoid":
        u = torch.randn(3000, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        return u / u.norm(dim=1, keepdim=True) * torch.tensor([1.5, 1.2, 1.0], dtype=torch.float64)
    return {
        "own ellipse": curve(ELLIPSE, t),
        "own knot": curve(KNOT, t),
        "own torus": dense_torus(60),
        "own curve in R^10": curve(ELLIPSE, t) @ frame(2).T,
        "own surface in R^10": dense_torus(60) @ frame(3).T,
    }[name]


@pytest.mark.parametrize("name", OWN)
def test_nets_cover_and_projections_are_nearest(name: str) -> None:
    manifold, points = OWN[name](), dense(name)
    assert bool(manifold.contains(points, 1e-8).all())
    for spacing in (0.3, 0.05 if manifold.dim == 1 else 0.12):
        net, radius = manifold.net(spacing)
        assert radius <= spacing and bool(manifold.contains(net, 1e-8).all())
        assert float(torch.cdist(points, net).amin(1).max()) <= radius
    off = points[::97] + 0.3 * float(manifold.reach) * torch.randn(
        len(points[::97]), manifold.ambient, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    ) / math.sqrt(manifold.ambient)
    found = (manifold.project(off) - off).norm(dim=1)
    assert bool((found <= torch.cdist(off, points).amin(1) + 1e-12).all())


@pytest.mark.parametrize("name", ["own ellipse", "own ellipsoid", "own curve in R^10"])
def test_networks_on_own_manifolds(name: str) -> None:
    manifold = OWN[name]()
    net = construct.approximate(f, manifold, epsilon=1e-2)
    points = dense(name)
    assert float((net(points) - f(points)).abs().max()) <= 1e-2


@pytest.mark.slow
@pytest.mark.parametrize("epsilon", [1e-1, 1e-4])
@pytest.mark.parametrize("name", OWN)
def test_networks_on_all_own_manifolds(name: str, epsilon: float) -> None:
    net = construct.approximate(f, OWN[name](), epsilon=epsilon)
    points = dense(name)
    assert float((net(points) - f(points)).abs().max()) <= epsilon


def test_a_projected_manifold_that_does_not_lie_around_the_origin() -> None:
    far = ProjectedManifold(lambda x: to_circle(x - 5) + 5, 1, 2, 1.0, ((4.0, 4.0), (6.0, 6.0)))
    net = construct.approximate(lambda x: f(x - 5), far, epsilon=1e-3)
    t = torch.linspace(0, 2 * PI, 500, dtype=torch.float64)
    x = torch.stack([5 + torch.cos(t), 5 + torch.sin(t)], -1)
    assert float((net(x) - f(x - 5)).abs().max()) <= 1e-3


def test_two_components_are_both_covered() -> None:
    def project(x: Tensor) -> Tensor:
        centre = torch.where(x[..., :1] > 0, 2.0, -2.0) * torch.tensor([1.0, 0.0], dtype=x.dtype)
        return centre + to_circle(x - centre)

    pair = ProjectedManifold(project, 1, 2, 1.0, (3.0, 1.0))
    net, radius = pair.net(0.1)
    t = torch.linspace(0, 2 * PI, 500, dtype=torch.float64)
    both = torch.cat([torch.stack([side + torch.cos(t), torch.sin(t)], -1) for side in (-2, 2)])
    assert float(torch.cdist(both, net).amin(1).max()) <= radius
    assert len(NetLadder(pair).walks) == 2
    centres, covered = find_cover(pair, charts=10)
    assert len(centres) == 10 and float(torch.cdist(both, centres).amin(1).max()) <= covered
    approximation = construct.approximate(f, pair, epsilon=1e-2)
    assert float((approximation(both) - f(both)).abs().max()) <= 1e-2


def test_thinned_points_and_walks() -> None:
    t = 2 * PI * torch.rand(3000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    points = torch.stack([torch.cos(t), torch.sin(t)], -1)
    thin = thinned(points, 0.05)
    apart = torch.cdist(thin, thin) + torch.eye(len(thin)) * 9
    assert float(apart.min()) > 0.05 and float(torch.cdist(points, thin).amin(1).max()) <= 0.05
    (walk,) = ordered(thin, 0.2)
    assert len(walk) == len(thin) and float(walk.diff(dim=0).norm(dim=1).max()) <= 0.11


def ellipse(u: Tensor) -> Tensor:
    return curve(ELLIPSE, u[..., 0])


def some_of_the_sphere(n: int, generator: torch.Generator) -> Tensor:
    return to_circle(torch.randn(n, 3, generator=generator, dtype=torch.float64))


ESTIMATED: list[tuple[Callable[[], Manifold], float]] = [
    (lambda: ParametricManifold(ellipse, (-PI,), (PI,), (True,), "estimate", "estimate"), 2 / 3),
    (lambda: ParametricManifold(TrefoilKnot()._point, (-PI,), (PI,), (True,), "estimate", "estimate"), 0.8316),
    (lambda: ProjectedManifold(to_circle, 1, 2, "estimate", (1.0, 1.0)), 1.0),
    (lambda: ProjectedManifold(to_circle, 2, 3, "estimate", "estimate", sample=some_of_the_sphere), 1.0),
    (lambda: ProjectedManifold(torus_projection, 2, 3, "estimate", (1.4, 1.4, 0.4)), 0.4),
]


@pytest.mark.parametrize(("make", "reach"), ESTIMATED)
def test_an_estimated_reach_is_a_little_below_the_true_one(make: Callable[[], Manifold], reach: float) -> None:
    manifold = make()
    assert manifold.reach.kind == "numeric" and 0.85 * reach <= float(manifold.reach) <= reach
    assert manifold.chart_radius_bound == float(manifold.reach)


def test_estimated_speeds_are_a_little_above_the_true_ones() -> None:
    def wavy(u: Tensor) -> Tensor:
        return torch.cat([u, 0.3 * torch.sin(7 * u)], -1)

    manifold = ParametricManifold(wavy, (0.3,), (2.0,), (False,), "estimate", "estimate")
    speed = -float(minimize_scalar(lambda t: -math.hypot(1, 2.1 * math.cos(7 * t)), bounds=(0.7, 1.1)).fun)
    assert speed <= manifold.lipschitz[0] <= 1.03 * speed and manifold.lipschitz_kind == "numeric"
    t = np.linspace(0.3, 2.0, 4000)
    curvature = np.abs(14.7 * np.sin(7 * t)) / (1 + (2.1 * np.cos(7 * t)) ** 2) ** 1.5
    assert 0.8 / curvature.max() <= float(manifold.reach) <= 1 / curvature.max()


def test_derivatives_of_plain_tensors() -> None:
    generator = torch.Generator().manual_seed(0)
    u, r = (torch.randn(5, n, generator=generator, dtype=torch.float64) for n in (2, 3))

    def surface(v: Tensor) -> Tensor:
        return torch.stack([v[..., 0].sin() * v[..., 1], v.square().sum(-1), v[..., 0]], -1)

    want = (r[..., None, None] * newton.second(surface, u)).sum(-3)
    torch.testing.assert_close(newton.bending(surface, u, r), want)
    torch.testing.assert_close(newton.plain_jacobian(surface, u, 3), newton.jacobian(surface, u)[1])
    assert not newton.bending(lambda v: torch.cat([v, v[..., :1]], -1), u, r).any()
    span = torch.linalg.qr(torch.randn(5, 6, 2, generator=generator, dtype=torch.float64)).Q
    basis = newton.range_basis(span @ span.mT, 2)
    torch.testing.assert_close(basis @ basis.mT, span @ span.mT)


@pytest.mark.slow
def test_the_ellipsoid_by_parametrisation_is_proved(tmp_path: Path) -> None:
    u, v = e.variable(0), e.variable(1)
    height = 0.9
    band = Formula(
        (1.3 * e.cos(u) * e.cos(v), 1.1 * e.sin(u) * e.cos(v), e.sin(v)),
        (-PI, -height),
        (math.nextafter(PI, 4.0), height),
    )
    manifold = ParametricManifold(band, (-PI, -height), (PI, height), (True, False), "estimate", "estimate")
    net = construct.approximate(
        e.variable(0) * e.variable(1) + e.sin(e.variable(2)), manifold, epsilon=5e-2, construction="compact"
    )
    certificate = construct.certify(net, e.variable(0) * e.variable(1) + e.sin(e.variable(2)), manifold, tolerance=1.0)
    net.save(tmp_path / "net.safetensors")
    certificate.save(tmp_path / "net.json")
    report = verify(tmp_path / "net.safetensors", tmp_path / "net.json")
    assert report.holds, report.reason


def numpy_projection(x: Tensor) -> Tensor:
    return torch.from_numpy(x.numpy() / np.linalg.norm(x.numpy(), axis=-1, keepdims=True))


def radial(x: Tensor) -> Tensor:
    """Onto an ellipse, not to the nearest point."""
    axes = torch.tensor([1.5, 1.0], dtype=x.dtype)
    return x / (x / axes).norm(dim=-1, keepdim=True)


def raising(x: Tensor) -> Tensor:
    raise KeyError("centre")


MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"project": numpy_projection}, r"^project: expected torch operations differentiable by torch.func"),
    ({"project": lambda x: to_circle(x).detach()}, r"^project: expected torch operations differentiable by torch.func"),
    ({"project": raising}, r"^project: expected a function of points .*, got one that raised KeyError: 'centre'"),
    ({"project": 3}, r"^project: expected a function of points"),
    ({"project": radial, "box": (1.5, 1.0), "reach": 0.5}, r"^project: expected the \*nearest\* point of M"),
    ({"reach": 1.5}, r"^reach: expected at most 1, .*'estimate' finds one"),
    ({"reach": "guess"}, r"^reach: expected"),
    ({"box": "estimate"}, r"^box: expected ends of x_j on M, or 'estimate' together with the argument sample"),
    ({"sample": raising}, r"^sample: expected a function"),
]


@pytest.mark.parametrize(("changed", "message"), MISTAKES)
def test_mistakes_name_the_argument(changed: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"project": to_circle, "dim": 1, "ambient": 2, "reach": 1.0, "box": (1.0, 1.0)}
    with pytest.raises(InputError, match=message):
        ProjectedManifold(**(arguments | changed))


def test_a_reach_that_is_too_small_is_named() -> None:
    tiny = ProjectedManifold(to_circle, 1, 2, 1e-6, (1.0, 1.0))
    with pytest.raises(InputError, match=r"^(reach: expected large enough|manifold: expected one that .* balls cover)"):
        construct.approximate(f, tiny, epsilon=1e-1)


def test_a_false_reach_is_found_by_the_net() -> None:
    """At the tips of a thin ellipse a tangent of the length that the reach admits leaves the curve too far."""
    thin = ProjectedManifold(curve_projection([[(1.5, 1, 0.0)], [(0.1, 1, -PI / 2)]]), 1, 2, "estimate", (1.5, 0.1))
    samples = thin.sample(1000, 0)
    with pytest.raises(InputError, match=r"^reach: expected the true one"):
        TangentNets(thin._user_project, thin._plain_basis, 1.0, samples, 1)
    assert float(thin.reach) <= 0.1**2 / 1.5
