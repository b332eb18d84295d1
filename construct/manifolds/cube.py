"""The cube: the classical, flat case."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from construct.expressions import variables
from construct.manifolds.base import Manifold, Reach, grid, tangent_vector
from construct.manifolds.formula import Formula
from construct.validation import positive_integer

MOST_CENTRES = 4096
ROUNDING = 1e-12


class Cube(Manifold):
    """[-1, 1]^dim, a convex set: the reach is infinite, and one chart suffices.

    Coordinates: the point itself.
    """

    name = "cube"
    has_boundary = True

    def __init__(self, dim: int = 2, *, ambient: int | None = None, seed: int = 0) -> None:
        dim = positive_integer(dim, "dim", maximum=1000)
        super().__init__(
            dim=dim,
            canonical=dim,
            reach=Reach(math.inf, "exact"),
            box=torch.ones(dim, dtype=torch.float64),
            radius=math.sqrt(dim),
            coordinate_bounds=torch.tensor([[-1.0, 1.0]] * dim, dtype=torch.float64),
            ambient=ambient,
            seed=seed,
        )

    def _arguments(self) -> dict[str, Any]:
        return {"dim": self.dim}

    def formula(self) -> Formula:
        return Formula(variables(self.dim), (-1.0,) * self.dim, (1.0,) * self.dim)

    def _sample(self, n: int, generator: torch.Generator) -> Tensor:
        return 2 * torch.rand(n, self.dim, generator=generator, dtype=torch.float64) - 1

    def _project(self, y: Tensor) -> Tensor:
        return y.clamp(-1.0, 1.0)

    def _tangent_basis(self, y: Tensor) -> Tensor:
        return torch.eye(self.dim).to(y).expand(*y.shape, self.dim)

    def _net(self, spacing: float) -> tuple[Tensor, float]:
        m = math.ceil(math.sqrt(self.dim) / spacing)
        self._affordable([m] * self.dim, spacing)
        return self._cells(m)

    def _tangent_bound(self, centres: Tensor, frames: Tensor, radius: float) -> float | None:
        """The distance to the farthest face along each axis; for other frames nothing better than the radius."""
        return 1.0 + float(centres.abs().max()) if _axis_aligned(frames) else radius

    def _fills_cube(self, centre: Tensor, frame: Tensor, scale: float) -> bool:
        return _axis_aligned(frame) and float(centre.abs().max()) <= ROUNDING and abs(scale - 1.0) <= ROUNDING

    def _cells(self, m: int) -> tuple[Tensor, float]:
        """Centres of m^d equal cells of half diagonal sqrt(d)/m."""
        if m == 1:
            return torch.zeros(1, self.dim, dtype=torch.float64), math.sqrt(self.dim)
        axis = (2 * torch.arange(m, dtype=torch.float64) + 1) / m - 1
        return grid([axis] * self.dim), math.sqrt(self.dim) / m

    def _covers(self) -> Iterator[tuple[Tensor, float]]:
        m = 1
        while m**self.dim <= MOST_CENTRES:
            yield self._cells(m)
            m += 1

    def _chart_inverse(self, centre: Tensor, frame: Tensor, y: Tensor) -> Tensor:
        return centre + tangent_vector(frame, y)

    def _coordinates(self, y: Tensor) -> Tensor:
        return y

    def _point(self, u: Tensor) -> Tensor:
        return u


def _axis_aligned(frames: Tensor) -> bool:
    """Whether every column of frames (..., d, d) is a unit vector of an axis."""
    return bool((frames.abs().amax(-2) >= 1 - ROUNDING).all())
