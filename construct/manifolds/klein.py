"""The Klein bottle in R^4."""

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


class KleinBottle(Parametrised):
    """((R + r cos v) cos u, (R + r cos v) sin u, r sin v cos(u/2), r sin v sin(u/2)), R = `major` > r =
    `minor`.

    Reach min(r, R - r) (numeric: to four digits for eight ratios, not proved).
    Coordinates: (u, v) in [-pi, pi), with (u + 2 pi, v) ~ (u, -v).
    """

    name = "klein_bottle"

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
            canonical=4,
            reach=Reach(min(self.minor, self.major - self.minor), "numeric"),
            box=torch.tensor([outer, outer, self.minor, self.minor], dtype=torch.float64),
            radius=outer,
            ambient=ambient,
            seed=seed,
        )

    def _arguments(self) -> dict[str, Any]:
        return {"major": self.major, "minor": self.minor}

    def formula(self) -> Formula:
        u, v = variables(2)
        ring, fin = self.major + self.minor * cos(v), self.minor * sin(v)
        components = (ring * cos(u), ring * sin(u), fin * cos(u / 2), fin * sin(u / 2))
        return Formula(components, (-PI_ABOVE, -PI_ABOVE), (PI_ABOVE, PI_ABOVE))

    def _point(self, u: Tensor) -> Tensor:
        u, v = u.unbind(-1)
        ring, fin = self.major + self.minor * torch.cos(v), self.minor * torch.sin(v)
        parts = [ring * torch.cos(u), ring * torch.sin(u), fin * torch.cos(u / 2), fin * torch.sin(u / 2)]
        return torch.stack(parts, dim=-1)

    def _jacobian(self, u: Tensor) -> tuple[Tensor, Tensor]:
        a, b = u.unbind(-1)
        cos, sin, c, s = torch.cos(a), torch.sin(a), torch.cos(a / 2), torch.sin(a / 2)
        point, fin, rib = self._point(u), self.minor * torch.sin(b), self.minor * torch.cos(b)
        x, y, z, w = point.unbind(-1)
        return point, newton.columns([-y, x, -w / 2, z / 2], [-fin * cos, -fin * sin, rib * c, rib * s])

    def _second(self, u: Tensor) -> Tensor:
        a, b = u.unbind(-1)
        cos, sin, c, s = torch.cos(a), torch.sin(a), torch.cos(a / 2), torch.sin(a / 2)
        fin, rib = self.minor * torch.sin(b), self.minor * torch.cos(b)
        x, y, z, w = self._point(u).unbind(-1)
        ab = [fin * sin, -fin * cos, -rib * s / 2, rib * c / 2]
        return newton.symmetric([-x, -y, -z / 4, -w / 4], ab, [-rib * cos, -rib * sin, -z, -w])

    def _wrap(self, u: Tensor) -> Tensor:
        u, v = u.unbind(-1)
        turns = torch.floor((u + math.pi) / (2 * math.pi))
        v = torch.where(torch.remainder(turns, 2) == 1, -v, v)
        v = v - 2 * math.pi * torch.floor((v + math.pi) / (2 * math.pi))
        return torch.stack([u - 2 * math.pi * turns, v], dim=-1)
