"""The trefoil knot in R^3."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from construct.expressions import cos, sin, variable
from construct.manifolds import newton
from construct.manifolds.base import Reach
from construct.manifolds.formula import PI_ABOVE, Formula
from construct.manifolds.parametrised import Parametrised

REACH = 0.8316361
"""Half the length of the shortest bottleneck, t = 3.0710890, 5.3064914 (0.83163615), rounded down; 1/max
curvature is 1.4303. Numeric: that no shorter bottleneck exists was checked on 3000 x 3000 pairs, not
proved."""


class TrefoilKnot(Parametrised):
    """((2 + cos 3t) cos 2t, (2 + cos 3t) sin 2t, sin 3t), the (2, 3) torus knot.

    Speed sqrt(9 + 4 (2 + cos 3t)^2) <= sqrt 45. Coordinate: t in [0, 2 pi).
    """

    name = "trefoil"

    def __init__(self, *, ambient: int | None = None, seed: int = 0) -> None:
        super().__init__(
            lower=(0.0,),
            upper=(2 * math.pi,),
            closed=(True,),
            lipschitz=(math.sqrt(45),),
            canonical=3,
            reach=Reach(REACH, "numeric"),
            box=torch.tensor([3.0, 3.0, 1.0], dtype=torch.float64),
            radius=3.0,
            ambient=ambient,
            seed=seed,
        )

    def _arguments(self) -> dict[str, Any]:
        return {}

    def formula(self) -> Formula:
        t = variable(0)
        ring = 2 + cos(3 * t)
        return Formula((ring * cos(2 * t), ring * sin(2 * t), sin(3 * t)), (0.0,), (2 * PI_ABOVE,))

    def _point(self, u: Tensor) -> Tensor:
        t = u[..., 0]
        ring = 2 + torch.cos(3 * t)
        return torch.stack([ring * torch.cos(2 * t), ring * torch.sin(2 * t), torch.sin(3 * t)], dim=-1)

    def _jacobian(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """With x = 2 cos 2t + (cos 5t + cos t)/2, y = 2 sin 2t + (sin 5t - sin t)/2."""
        t = u[..., 0]
        x = -4 * torch.sin(2 * t) - 2.5 * torch.sin(5 * t) - 0.5 * torch.sin(t)
        y = 4 * torch.cos(2 * t) + 2.5 * torch.cos(5 * t) - 0.5 * torch.cos(t)
        return self._point(u), newton.columns([x, y, 3 * torch.cos(3 * t)])

    def _second(self, u: Tensor) -> Tensor:
        t = u[..., 0]
        x = -8 * torch.cos(2 * t) - 12.5 * torch.cos(5 * t) - 0.5 * torch.cos(t)
        y = -8 * torch.sin(2 * t) - 12.5 * torch.sin(5 * t) + 0.5 * torch.sin(t)
        return newton.columns([x, y, -9 * torch.sin(3 * t)]).unsqueeze(-1)
