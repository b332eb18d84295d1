"""The ring torus in R^3."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from construct.expressions import cos, sin, variables
from construct.manifolds import newton
from construct.manifolds.base import Reach
from construct.manifolds.formula import PI_ABOVE, Formula
from construct.manifolds.parametrised import Parametrised
from construct.validation import invalid, positive_real


class Torus(Parametrised):
    """((R + r cos v) cos u, (R + r cos v) sin u, r sin v), R = `major` > r = `minor`.

    Reach min(r, R - r) (exact). Coordinates: the angles (u, v) in [-pi, pi).
    """

    name = "torus"

    def __init__(self, major: float = 2.0, minor: float = 1.0, *, ambient: int | None = None, seed: int = 0) -> None:
        self.major, self.minor = positive_real(major, "major"), positive_real(minor, "minor")
        if self.minor >= self.major:
            raise invalid("minor", f"less than major = {self.major:g}", self.minor)
        outer = self.major + self.minor
        super().__init__(
            lower=(-math.pi, -math.pi),
            upper=(math.pi, math.pi),
            closed=(True, True),
            lipschitz=(outer, self.minor),
            canonical=3,
            reach=Reach(min(self.minor, self.major - self.minor), "exact"),
            box=torch.tensor([outer, outer, self.minor], dtype=torch.float64),
            radius=outer,
            ambient=ambient,
            seed=seed,
        )

    def _arguments(self) -> dict[str, Any]:
        return {"major": self.major, "minor": self.minor}

    def formula(self) -> Formula:
        u, v = variables(2)
        ring = self.major + self.minor * cos(v)
        components = (ring * cos(u), ring * sin(u), self.minor * sin(v))
        return Formula(components, (-PI_ABOVE, -PI_ABOVE), (PI_ABOVE, PI_ABOVE))

    def _point(self, u: Tensor) -> Tensor:
        u, v = u.unbind(-1)
        ring = self.major + self.minor * torch.cos(v)
        return torch.stack([ring * torch.cos(u), ring * torch.sin(u), self.minor * torch.sin(v)], dim=-1)

    def _jacobian(self, u: Tensor) -> tuple[Tensor, Tensor]:
        a, b = u.unbind(-1)
        point, height = self._point(u), self.minor * torch.sin(b)
        x, y, _ = point.unbind(-1)
        zero = torch.zeros_like(x)
        d_b = [-height * torch.cos(a), -height * torch.sin(a), self.minor * torch.cos(b)]
        return point, newton.columns([-y, x, zero], d_b)

    def _angles(self, y: Tensor) -> Tensor:
        """Closed form of the nearest point: first the half plane of y, then the circle in it."""
        u = torch.atan2(y[..., 1], y[..., 0])
        distance = y[..., 0] * torch.cos(u) + y[..., 1] * torch.sin(u)  # smooth at the axis, unlike hypot
        return torch.stack([u, torch.atan2(y[..., 2], distance - self.major)], dim=-1)

    def _parameters(self, y: Tensor) -> Tensor:
        return self._angles(y)

    def _project(self, y: Tensor) -> Tensor:
        return self._point(self._angles(y))

    def _coordinates(self, y: Tensor) -> Tensor:
        return self._angles(y)
