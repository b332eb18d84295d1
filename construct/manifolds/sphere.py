"""Round spheres, the circle among them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from construct.expressions import constant, cos, sin, variables
from construct.manifolds.base import Manifold, Reach, grid, safe_sqrt, tangent_vector
from construct.manifolds.extent import circular_extent
from construct.manifolds.formula import PI_ABOVE, Formula
from construct.manifolds.sphere_covers import sphere_covers
from construct.validation import positive_integer, positive_real


class Sphere(Manifold):
    """The sphere of dimension `dim` and radius R about the origin of R^(dim+1).

    Reach R (exact). Tangent projections are injective within chord sqrt(2) R: open hemispheres.
    Coordinates: hyperspherical angles u_1 .. u_(d-1) in [0, pi], u_d in (-pi, pi],
    x = R (cos u_1, sin u_1 cos u_2, ..., sin u_1 .. sin u_d), singular where x_i = .. = x_d = 0.
    """

    name = "sphere"

    def __init__(self, dim: int = 2, radius: float = 1.0, *, ambient: int | None = None, seed: int = 0) -> None:
        dim, self.radius = positive_integer(dim, "dim", maximum=999), positive_real(radius, "radius")
        bounds = torch.tensor([[0.0, math.pi]] * (dim - 1) + [[-math.pi, math.pi]], dtype=torch.float64)
        super().__init__(
            dim=dim,
            canonical=dim + 1,
            reach=Reach(self.radius, "exact"),
            box=torch.full((dim + 1,), self.radius, dtype=torch.float64),
            radius=self.radius,
            coordinate_bounds=bounds,
            chart_radius_bound=math.sqrt(2) * self.radius,
            ambient=ambient,
            seed=seed,
        )

    def _arguments(self) -> dict[str, Any]:
        return {"dim": self.dim, "radius": self.radius}

    def formula(self) -> Formula:
        """Hyperspherical angles; the ends of the box past pi are on the sphere, too."""
        before, components = constant(self.radius), []
        for u in variables(self.dim):
            components.append(before * cos(u))
            before = before * sin(u)
        lower, upper = (0.0,) * (self.dim - 1) + (-PI_ABOVE,), (PI_ABOVE,) * self.dim
        return Formula((*components, before), lower, upper)

    def _sample(self, n: int, generator: torch.Generator) -> Tensor:
        return self._project(torch.randn(n, self.canonical, generator=generator, dtype=torch.float64))

    def _project(self, y: Tensor) -> Tensor:
        largest = y.abs().amax(dim=-1, keepdim=True)  # keeps the norm from overflow and underflow
        north = torch.eye(self.canonical).to(y)[0]
        direction = torch.where(largest > 0, y / torch.where(largest > 0, largest, 1.0), north)
        return self.radius * direction / direction.norm(dim=-1, keepdim=True)

    def _tangent_basis(self, y: Tensor) -> Tensor:
        """All columns but the first of the Householder reflection that takes e_0 to a multiple of y."""
        normal = self._project(y) / self.radius
        north = torch.eye(self.canonical).to(y)[0]
        v = normal + torch.where(normal[..., :1] >= 0, 1.0, -1.0) * north
        outer = v.unsqueeze(-1) * v.unsqueeze(-2)
        reflection = torch.eye(self.canonical).to(y) - 2 * outer / v.square().sum(-1)[..., None, None]
        return reflection[..., 1:]

    def _net(self, spacing: float) -> tuple[Tensor, float]:
        """Regular polygons for d = 1; else cell centres on the faces of the cube [-1,1]^(d+1), pushed to the
        sphere.

        x -> x/|x| is 1-Lipschitz outside the unit ball, so a cell of half diagonal sqrt(d)/m has chord radius
        at most R sqrt(d)/m.
        """
        d = self.dim
        if d == 1:
            points = math.ceil(math.pi / (2 * math.asin(min(1.0, spacing / (2 * self.radius)))))
            (points,) = self._affordable([max(points, 2)], spacing)
            return polygon(points, self.radius), 2 * self.radius * math.sin(math.pi / (2 * points))
        m = math.ceil(self.radius * math.sqrt(d) / spacing)
        self._affordable([2 * d + 2] + [m] * d, spacing)
        axis = (2 * torch.arange(m, dtype=torch.float64) + 1) / m - 1
        cells = grid([axis] * d)
        faces = []
        for j in range(d + 1):
            for sign in (1.0, -1.0):
                side = torch.full((len(cells), 1), sign, dtype=torch.float64)
                faces.append(torch.cat([cells[:, :j], side, cells[:, j:]], dim=1))
        return self._project(torch.cat(faces)), self.radius * math.sqrt(d) / m

    def _covers(self) -> Iterator[tuple[Tensor, float]]:
        if self.dim == 1:
            for k in range(3, 129):
                yield polygon(k, self.radius), 2 * self.radius * math.sin(math.pi / (2 * k))
        else:
            for centres, radius in sphere_covers(self.dim):
                yield self.radius * centres, self.radius * radius

    def _tangent_bound(self, centres: Tensor, frames: Tensor, radius: float) -> float | None:
        return circular_extent(radius, self.radius)

    def _chart_inverse(self, centre: Tensor, frame: Tensor, y: Tensor) -> Tensor:
        """c sqrt(1 - |y|^2/R^2) + frame y; the square root is 0 where |y| > R."""
        height = safe_sqrt(1 - y.square().sum(-1, keepdim=True) / self.radius**2)
        return centre * height + tangent_vector(frame, y)

    def _coordinates(self, y: Tensor) -> Tensor:
        """Angles atan2(|(x_(i+1), .., x_d)|, x_i), and atan2(x_d, x_(d-1)) for the last."""
        tails = y.square().flip(-1).cumsum(-1).flip(-1)
        angles = [torch.atan2(safe_sqrt(tails[..., i + 1]), y[..., i]) for i in range(self.dim - 1)]
        return torch.stack([*angles, torch.atan2(y[..., -1], y[..., -2])], dim=-1)

    def _point(self, u: Tensor) -> Tensor:
        sines = torch.cumprod(torch.sin(u), dim=-1)
        before = torch.cat([torch.ones_like(u[..., :1]), sines], dim=-1)
        after = torch.cat([torch.cos(u), torch.ones_like(u[..., :1])], dim=-1)
        return self.radius * before * after


class Circle(Sphere):
    """The circle of radius R about the origin of R^2. Coordinate: the angle in (-pi, pi]. Reach R (exact)."""

    name = "circle"

    def __init__(self, radius: float = 1.0, *, ambient: int | None = None, seed: int = 0) -> None:
        super().__init__(1, radius, ambient=ambient, seed=seed)

    def _arguments(self) -> dict[str, Any]:
        return {"radius": self.radius}


def polygon(k: int, radius: float) -> Tensor:
    """k equally spaced points of the circle, (k, 2); each point of the circle is within 2 R sin(pi/2k) of
    one."""
    angle = 2 * math.pi * torch.arange(k, dtype=torch.float64) / k
    return radius * torch.stack([torch.cos(angle), torch.sin(angle)], dim=-1)
