"""The helix in R^3."""

from __future__ import annotations

import math
from typing import Any

import torch
from scipy.optimize import brentq, minimize_scalar
from torch import Tensor

from construct.expressions import cos, sin, variable
from construct.manifolds import newton
from construct.manifolds.base import Reach
from construct.manifolds.formula import PI_ABOVE, Formula
from construct.manifolds.parametrised import Parametrised
from construct.validation import positive_real


def helix_reach(radius: float, pitch: float, length: float) -> float:
    """Reach of (R cos t, R sin t, c t), 0 <= t <= length.

    The curvature gives (R^2 + c^2)/R. With chord(s)^2 = 2 R^2 (1 - cos s) + c^2 s^2, half its derivative is
    h(s) = R^2 sin s + c^2 s, the inner product of the chord with the velocity. When h has roots s_1 < s_* in
    (pi, 2 pi), the chord shrinks between them: there an end of the helix sees the point at parameter distance
    s behind its tangent cone, and Federer's quotient is chord(s)/2. Hence a second bound chord(min(length,
    s_*))/2 when length > s_1, which for length >= s_* is half the bottleneck.
    """

    def h(s: float) -> float:
        return radius**2 * math.sin(s) + pitch**2 * s

    local = (radius**2 + pitch**2) / radius
    valley = minimize_scalar(h, bounds=(math.pi, 2 * math.pi), method="bounded", options={"xatol": 1e-13})
    if valley.fun >= 0:
        return local
    first, last = brentq(h, math.pi, valley.x, xtol=1e-15), brentq(h, valley.x, 2 * math.pi, xtol=1e-15)
    if length <= first:
        return local
    s = min(length, last)
    return min(local, math.sqrt(2 * radius**2 * (1 - math.cos(s)) + (pitch * s) ** 2) / 2)


class Helix(Parametrised):
    """(R cos t, R sin t, c t) for 0 <= t <= 2 pi turns, with c = `pitch` the rise in a radian.

    Reach: see `helix_reach` (exact, up to rounding). Coordinate: t in [0, 2 pi turns].
    """

    name = "helix"

    def __init__(
        self,
        radius: float = 1.0,
        pitch: float = 0.2,
        turns: float = 2.0,
        *,
        ambient: int | None = None,
        seed: int = 0,
    ) -> None:
        self.radius, self.pitch = positive_real(radius, "radius"), positive_real(pitch, "pitch")
        self.turns = positive_real(turns, "turns")
        length = 2 * math.pi * self.turns
        super().__init__(
            lower=(0.0,),
            upper=(length,),
            closed=(False,),
            lipschitz=(math.hypot(self.radius, self.pitch),),
            canonical=3,
            reach=Reach(helix_reach(self.radius, self.pitch, length), "exact"),
            box=torch.tensor([self.radius, self.radius, self.pitch * length], dtype=torch.float64),
            radius=math.hypot(self.radius, self.pitch * length),
            ambient=ambient,
            seed=seed,
        )

    def _arguments(self) -> dict[str, Any]:
        return {"radius": self.radius, "pitch": self.pitch, "turns": self.turns}

    def formula(self) -> Formula:
        """The upper end is 2 pi turns, rounded up twice: pi, and the product (whose error is half an ulp)."""
        t = variable(0)
        end = math.nextafter(2 * PI_ABOVE * self.turns, math.inf)
        return Formula((self.radius * cos(t), self.radius * sin(t), self.pitch * t), (0.0,), (end,))

    def _point(self, u: Tensor) -> Tensor:
        t = u[..., 0]
        return torch.stack([self.radius * torch.cos(t), self.radius * torch.sin(t), self.pitch * t], dim=-1)

    def _jacobian(self, u: Tensor) -> tuple[Tensor, Tensor]:
        point = self._point(u)
        x, y, _ = point.unbind(-1)
        return point, newton.columns([-y, x, torch.full_like(x, self.pitch)])

    def _second(self, u: Tensor) -> Tensor:
        x, y, _ = self._point(u).unbind(-1)
        return newton.columns([-x, -y, torch.zeros_like(x)]).unsqueeze(-1)
