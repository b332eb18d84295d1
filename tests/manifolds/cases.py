"""The manifolds of the contract, sampled once, and naive oracles for their tests."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

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
