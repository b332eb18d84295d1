"""The Swiss roll in R^3."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from construct.expressions import cos, sin, variables
from construct.manifolds import newton
from construct.manifolds.base import Reach
from construct.manifolds.formula import Formula
from construct.manifolds.parametrised import Parametrised
from construct.validation import positive_real

START, END = 1.5 * math.pi, 4.5 * math.pi

SPIRAL_REACH = 3.1113463
"""Half the distance from the inner end of the spiral to the next turn, rounded down; the smallest radius of
curvature is 4.62. Numeric: Federer's quotient on 4000 x 4000 pairs is never smaller. The roll is the spiral
times a convex set, so that its reach is the spiral's."""


class SwissRoll(Parametrised):
    """scale (t cos t, 0, t sin t) + (0, y, 0), 1.5 pi <= t <= 4.5 pi, 0 <= y <= width.

    Reach 3.1113 scale (numeric). Coordinates: (t, y).
    """

    name = "swiss_roll"

    def __init__(self, scale: float = 0.1, width: float = 1.0, *, ambient: int | None = None, seed: int = 0) -> None:
        self.scale, self.width = positive_real(scale, "scale"), positive_real(width, "width")
        outer = self.scale * END
        super().__init__(
            lower=(START, 0.0),
            upper=(END, self.width),
            closed=(False, False),
            lipschitz=(self.scale * math.sqrt(1 + END**2), 1.0),
            canonical=3,
            reach=Reach(SPIRAL_REACH * self.scale, "numeric"),
            box=torch.tensor([outer, self.width, outer], dtype=torch.float64),
            radius=math.hypot(outer, self.width),
            ambient=ambient,
            seed=seed,
        )

    def _arguments(self) -> dict[str, Any]:
        return {"scale": self.scale, "width": self.width}

    def formula(self) -> Formula:
        """START and END are multiples of pi up to an ulp: 4.5 (pi - math.pi) and half an ulp of the product."""
        t, y = variables(2)
        ends = math.nextafter(START, 0.0), math.nextafter(END, math.inf)
        radius = self.scale * t
        return Formula((radius * cos(t), y, radius * sin(t)), (ends[0], 0.0), (ends[1], self.width))

    def _point(self, u: Tensor) -> Tensor:
        t, y = u.unbind(-1)
        return torch.stack([self.scale * t * torch.cos(t), y, self.scale * t * torch.sin(t)], dim=-1)

    def _jacobian(self, u: Tensor) -> tuple[Tensor, Tensor]:
        t = u[..., 0]
        zero, cos, sin = torch.zeros_like(t), self.scale * torch.cos(t), self.scale * torch.sin(t)
        d_t = [cos - t * sin, zero, sin + t * cos]
        return self._point(u), newton.columns(d_t, [zero, torch.ones_like(t), zero])

    def _second(self, u: Tensor) -> Tensor:
        t = u[..., 0]
        zero, cos, sin = torch.zeros_like(t), self.scale * torch.cos(t), self.scale * torch.sin(t)
        none = [zero, zero, zero]
        return newton.symmetric([-2 * sin - t * cos, zero, 2 * cos - t * sin], none, none)
