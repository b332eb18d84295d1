"""Flat (Clifford) tori: products of circles."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from construct.expressions import cos, sin, variables
from construct.manifolds.base import Manifold, Reach, grid, safe_sqrt, tangent_vector
from construct.manifolds.extent import circular_extent
from construct.manifolds.formula import PI_ABOVE, Formula
from construct.validation import positive_integer, positive_real, reals

MOST_CENTRES = 4096


class FlatTorus(Manifold):
    """The product of `dim` circles of radii a_i in R^(2 dim), (a_1 cos u_1, a_1 sin u_1, a_2 cos u_2, ...).

    Reach min a_i (exact). Tangent projections are injective within chord sqrt(2) min a_i.
    Coordinates: the angles in (-pi, pi]. `radii` is one number for all circles or one for each.
    """

    name = "flat_torus"

    def __init__(
        self,
        dim: int = 2,
        radii: float | Sequence[float] = 1.0,
        *,
        ambient: int | None = None,
        seed: int = 0,
    ) -> None:
        dim = positive_integer(dim, "dim", maximum=500)
        given = [radii] * dim if isinstance(radii, numbers.Real) else radii
        self.radii = tuple(positive_real(a, f"radii[{i}]") for i, a in enumerate(reals(given, "radii", dim)))
        self._a = torch.tensor(self.radii, dtype=torch.float64)
        super().__init__(
            dim=dim,
            canonical=2 * dim,
            reach=Reach(min(self.radii), "exact"),
            box=self._a.repeat_interleave(2),
            radius=math.hypot(*self.radii),
            coordinate_bounds=torch.tensor([[-math.pi, math.pi]] * dim, dtype=torch.float64),
            chart_radius_bound=math.sqrt(2) * min(self.radii),
            ambient=ambient,
            seed=seed,
        )

    def _arguments(self) -> dict[str, Any]:
        return {"dim": self.dim, "radii": list(self.radii)}

    def formula(self) -> Formula:
        angles = zip(self.radii, variables(self.dim), strict=True)
        components = tuple(a * circular(u) for a, u in angles for circular in (cos, sin))
        return Formula(components, (-PI_ABOVE,) * self.dim, (PI_ABOVE,) * self.dim)

    def _pairs(self, y: Tensor) -> Tensor:
        return y.unflatten(-1, (self.dim, 2))

    def _sample(self, n: int, generator: torch.Generator) -> Tensor:
        return self._point(2 * math.pi * torch.rand(n, self.dim, generator=generator, dtype=torch.float64) - math.pi)

    def _project(self, y: Tensor) -> Tensor:
        return self._point(self._coordinates(y))

    def _tangent_basis(self, y: Tensor) -> Tensor:
        angle = self._coordinates(y)
        columns = torch.stack([-torch.sin(angle), torch.cos(angle)], dim=-1)  # (..., d, 2)
        return (columns.unsqueeze(-1) * torch.eye(self.dim).to(y).unsqueeze(1)).flatten(-3, -2)

    def _net(self, spacing: float) -> tuple[Tensor, float]:
        """A grid with k_i points on circle i: the chord radius is the root of the sum of (2 a_i
        sin(pi/2k_i))^2."""
        share = spacing / math.sqrt(self.dim)
        counts = [max(1, math.ceil(math.pi / (2 * math.asin(min(1.0, share / (2 * a)))))) for a in self.radii]
        return self._grid(self._affordable(counts, spacing))

    def _grid(self, counts: list[int]) -> tuple[Tensor, float]:
        axes = [2 * math.pi * torch.arange(k, dtype=torch.float64) / k for k in counts]
        gaps = [2 * a * math.sin(math.pi / (2 * k)) for a, k in zip(self.radii, counts, strict=True)]
        return self._point(grid(axes)), math.hypot(*gaps)

    def _covers(self) -> Iterator[tuple[Tensor, float]]:
        """Grids from 3 charts a circle on; each adds one chart to the circle with the largest gap."""
        counts = [3] * self.dim
        while math.prod(counts) <= MOST_CENTRES:
            yield self._grid(counts)
            gaps = [a * math.sin(math.pi / (2 * k)) for a, k in zip(self.radii, counts, strict=True)]
            counts[gaps.index(max(gaps))] += 1

    def _tangent_bound(self, centres: Tensor, frames: Tensor, radius: float) -> float | None:
        """Of the circles that the columns lie in; None where a column mixes two circles."""
        weight = frames.unflatten(-2, (self.dim, 2)).square().sum(-2)  # (n, circle, column)
        if bool((weight.amax(1) < 1 - 1e-12).any()):
            return None
        return max(circular_extent(radius, self.radii[i]) for i in weight.argmax(1).unique().tolist())

    def _chart_inverse(self, centre: Tensor, frame: Tensor, y: Tensor) -> Tensor:
        """On every circle c sqrt(1 - |w|^2/a^2) + w, with w the circle's part of the tangent vector frame
        y."""
        step = self._pairs(tangent_vector(frame, y))
        height = safe_sqrt(1 - step.square().sum(-1) / self._a.to(step).square())
        return (self._pairs(centre) * height.unsqueeze(-1) + step).flatten(-2)

    def _coordinates(self, y: Tensor) -> Tensor:
        pairs = self._pairs(y)
        return torch.atan2(pairs[..., 1], pairs[..., 0])

    def _point(self, u: Tensor) -> Tensor:
        circles = torch.stack([torch.cos(u), torch.sin(u)], dim=-1) * self._a.to(u).unsqueeze(-1)
        return circles.flatten(-2)
