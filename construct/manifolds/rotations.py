"""The rotation group SO(3) as a submanifold of R^9."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from construct.expressions import cos, sin, variables
from construct.manifolds.base import Manifold, Reach, grid, safe_sqrt, tangent_vector
from construct.manifolds.extent import circular_extent
from construct.manifolds.formula import PI_ABOVE, Formula
from construct.manifolds.sphere_covers import covering_radius, icosians, twice_24_cell

LIPSCHITZ = 2 * math.sqrt(2)
"""Of unit quaternions -> rotations: |1 - q| = 2 sin(a/4) and |I - R| = 2 sqrt 2 sin(a/2) for a turn by the
angle a."""

_SERIES = 1e-3  # below this argument the power series are exact to rounding, with their derivatives to order six


def _series(m: Tensor, coefficients: list[float]) -> Tensor:
    value = torch.zeros_like(m)
    for c in reversed(coefficients):
        value = value * m + c
    return value


def _sinc(m: Tensor) -> Tensor:
    """sin(sqrt m)/sqrt m, smooth at 0."""
    small = m < _SERIES
    root = torch.where(small, 1.0, m).sqrt()
    series = _series(m, [(-1.0) ** k / math.factorial(2 * k + 1) for k in range(9)])
    return torch.where(small, series, torch.sin(root) / root)


def _angle_ratio(m: Tensor, w: Tensor) -> Tensor:
    """atan2(sqrt m, w)/sqrt m for m + w^2 = 1, w >= 0; asin(sqrt m)/sqrt m as a power series near m = 0."""
    small = m < _SERIES
    root = torch.where(small, 1.0, m).sqrt()
    coefficients = [math.comb(2 * k, k) / (4.0**k * (2 * k + 1)) for k in range(9)]
    return torch.where(small, _series(m, coefficients), torch.atan2(root, w) / root)


def hat(s: Tensor) -> Tensor:
    """The skew matrix of the cross product with s, (..., 3) -> (..., 3, 3)."""
    a, b, c = s.unbind(-1)
    zero = torch.zeros_like(a)
    return torch.stack([zero, -c, b, c, zero, -a, -b, a, zero], dim=-1).unflatten(-1, (3, 3))


def from_quaternions(q: Tensor) -> Tensor:
    """Rotation matrices of unit quaternions (w, x, y, z), (..., 4) -> (..., 9), row by row."""
    w, v = q[..., :1, None], q[..., 1:]
    s = hat(v)
    return (torch.eye(3).to(q) + 2 * w * s + 2 * s @ s).flatten(-2)


class SpecialOrthogonal3(Manifold):
    """Rotation matrices, row by row in R^9 with the Euclidean (Frobenius) norm.

    Reach sqrt 2 (exact). Tangent projections are injective within chord 2: angles below pi/2.
    Coordinates: rotation vectors u = angle * axis, |u| <= pi (u ~ -u at |u| = pi); `point` takes any u.
    """

    name = "so3"

    def __init__(self, *, ambient: int | None = None, seed: int = 0) -> None:
        super().__init__(
            dim=3,
            canonical=9,
            reach=Reach(math.sqrt(2), "exact"),
            box=torch.ones(9, dtype=torch.float64),
            radius=math.sqrt(3),
            coordinate_bounds=torch.tensor([[-math.pi, math.pi]] * 3, dtype=torch.float64),
            chart_radius_bound=2.0,
            ambient=ambient,
            seed=seed,
        )

    def _arguments(self) -> dict[str, Any]:
        return {}

    def formula(self) -> Formula:
        """Rotations of the unit quaternions q = (cos b cos s, sin b cos t, sin b sin t, cos b sin s).

        0 <= b <= pi/2 and all angles s, t give all of them; q and -q, the pairs (s, t) and (s + pi, t + pi), are
        one rotation, hence 0 <= s <= pi. With q put into I + 2 w hat(v) + 2 hat(v)^2, the entries are sums of at
        most two products: sharper in ball arithmetic than Euler angles, whose entries have products of three.
        """
        b, s, t = variables(3)
        wz, xy, both = cos(b) ** 2, sin(b) ** 2, sin(2 * b)  # w^2 + z^2, x^2 + y^2, twice the root of their product
        components = (
            *(wz * cos(2 * s) + xy * cos(2 * t), xy * sin(2 * t) - wz * sin(2 * s), both * sin(s + t)),
            *(xy * sin(2 * t) + wz * sin(2 * s), wz * cos(2 * s) - xy * cos(2 * t), -(both * cos(s + t))),
            *(both * sin(s - t), both * cos(s - t), cos(2 * b)),
        )
        return Formula(components, (0.0, 0.0, -PI_ABOVE), (PI_ABOVE / 2, PI_ABOVE, PI_ABOVE))

    def _sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Haar measure, from uniform unit quaternions."""
        q = torch.randn(n, 4, generator=generator, dtype=torch.float64)
        return from_quaternions(q / q.norm(dim=1, keepdim=True))

    def _project(self, y: Tensor) -> Tensor:
        """U diag(1, 1, det U V^T) V^T from the singular value decomposition."""
        u, _, vh = torch.linalg.svd(y.unflatten(-1, (3, 3)))
        sign = torch.where(torch.linalg.det(u @ vh) > 0, 1.0, -1.0).to(y)
        u = torch.cat([u[..., :2], u[..., 2:] * sign[..., None, None]], dim=-1)
        return (u @ vh).flatten(-2)

    def _tangent_basis(self, y: Tensor) -> Tensor:
        basis = hat(torch.eye(3).to(y)) / math.sqrt(2)
        columns = y.unflatten(-1, (3, 3)).unsqueeze(-3) @ basis
        return columns.flatten(-2).mT

    def _net(self, spacing: float) -> tuple[Tensor, float]:
        """Cell centres on four faces of the cube in R^4 (up to sign all of them), pushed to the unit
        quaternions."""
        m = math.ceil(LIPSCHITZ * math.sqrt(3) / spacing)
        self._affordable([4, m, m, m], spacing)
        axis = (2 * torch.arange(m, dtype=torch.float64) + 1) / m - 1
        cells = grid([axis] * 3)
        one = torch.ones(len(cells), 1, dtype=torch.float64)
        q = torch.cat([torch.cat([cells[:, :j], one, cells[:, j:]], dim=1) for j in range(4)])
        return from_quaternions(q / q.norm(dim=1, keepdim=True)), LIPSCHITZ * math.sqrt(3) / m

    def _covers(self) -> Iterator[tuple[Tensor, float]]:
        """The 24 rotations of the octahedron and the 60 of the icosahedron.

        A chord 2 sin(a/2) of the quaternion sphere, a <= pi/2, is |R - S| = 2 sqrt 2 sin a.
        """
        for group in (twice_24_cell(), icosians()):
            chord = covering_radius(group)
            half = group[_first_of_pair(group)]
            yield from_quaternions(half), LIPSCHITZ * chord * math.sqrt(1 - chord**2 / 4)

    def _tangent_bound(self, centres: Tensor, frames: Tensor, radius: float) -> float | None:
        return circular_extent(radius, math.sqrt(2))

    def _chart_inverse(self, centre: Tensor, frame: Tensor, y: Tensor) -> Tensor:
        """C (I + S + S^2/(1 + sqrt(1 - |s|^2))), where C S, S = hat(s), is the tangent vector frame y."""
        c = centre.unflatten(-1, (3, 3))
        skew = c.mT @ tangent_vector(frame, y).unflatten(-1, (3, 3))
        skew = (skew - skew.mT) / 2
        cosine = safe_sqrt(1 - skew.square().sum((-1, -2)) / 2)[..., None, None]
        return (c @ (torch.eye(3).to(skew) + skew + skew @ skew / (1 + cosine))).flatten(-2)

    def _coordinates(self, y: Tensor) -> Tensor:
        """Twice the logarithm of the unit quaternion, from whichever of its four entries is largest."""
        a, b, c, d, e, f, g, h, i = y.unbind(-1)
        squares = torch.stack([1 + a + e + i, 1 + a - e - i, 1 - a + e - i, 1 - a - e + i], dim=-1)
        rows = [
            [squares[..., 0], h - f, c - g, d - b],
            [h - f, squares[..., 1], b + d, c + g],
            [c - g, b + d, squares[..., 2], f + h],
            [d - b, c + g, f + h, squares[..., 3]],
        ]
        table = torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)
        largest = squares.detach().argmax(dim=-1)
        q = torch.gather(table, -2, largest[..., None, None].expand(*largest.shape, 1, 4)).squeeze(-2)
        q = q / q.norm(dim=-1, keepdim=True)
        q = torch.where(q[..., :1] < 0, -q, q)
        m = q[..., 1:].square().sum(-1)
        return 2 * q[..., 1:] * _angle_ratio(m, q[..., 0]).unsqueeze(-1)

    def _point(self, u: Tensor) -> Tensor:
        """Rodrigues' formula I + sinc(|u|) hat(u) + sinc(|u|/2)^2/2 hat(u)^2."""
        m = u.square().sum(-1)
        s = hat(u)
        first, second = _sinc(m)[..., None, None], (_sinc(m / 4) ** 2 / 2)[..., None, None]
        return (torch.eye(3).to(u) + first * s + second * s @ s).flatten(-2)


def _first_of_pair(group: Tensor) -> Tensor:
    """Which unit quaternions of a group closed under q -> -q come before their negative."""
    negative = (group @ group.T).argmin(dim=1)
    return negative > torch.arange(len(group))
