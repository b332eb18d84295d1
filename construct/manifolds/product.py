"""Products of two manifolds."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from construct.arrays import Float, Int
from construct.manifolds.base import KINDS, Manifold, Reach, StructuredCover, tangent_vector
from construct.manifolds.formula import Formula
from construct.manifolds.registry import factor
from construct.progress import tick
from construct.validation import invalid

MOST_CENTRES = 4096


class Product(Manifold):
    """M1 x M2 in R^(D1 + D2).

    Reach min(tau_1, tau_2); its kind is the weaker of the two. The tangent space is the sum of the factors',
    so that tangent projections are injective within the smaller of their bounds. Coordinates: those of M1,
    then of M2.
    """

    name = "product"

    def __init__(self, first: Manifold, second: Manifold, *, ambient: int | None = None, seed: int = 0) -> None:
        for argument, part in (("first", first), ("second", second)):
            if not isinstance(part, Manifold):
                raise invalid(argument, "a Manifold", part)
        self.first, self.second = first, second
        self.has_boundary = first.has_boundary or second.has_boundary
        kind = max(first.reach.kind, second.reach.kind, key=KINDS.index)
        super().__init__(
            dim=first.dim + second.dim,
            canonical=first.ambient + second.ambient,
            reach=Reach(min(first.reach, second.reach), kind),
            box=torch.cat([first.box, second.box], dim=1),
            radius=math.hypot(first.radius_bound, second.radius_bound),
            coordinate_bounds=torch.cat([first.coordinate_bounds, second.coordinate_bounds]),
            chart_radius_bound=min(first.chart_radius_bound, second.chart_radius_bound),
            ambient=ambient,
            seed=seed,
        )

    @classmethod
    def from_arguments(cls, **arguments: Any) -> Self:
        """The factors may be manifolds, names or specs; circle and sphere unless given."""
        factors = {key: factor(arguments.pop(key, name)) for key, name in (("first", "circle"), ("second", "sphere"))}
        return super().from_arguments(**factors, **arguments)

    def _arguments(self) -> dict[str, Any]:
        return {"first": self.first.spec(), "second": self.second.spec()}

    def formula(self) -> Formula:
        """Coordinates of the first factor, then of the second; each factor in its own R^D."""
        a, b = (
            part.formula().mapped(part.frame, part.offset) if part.embedded else part.formula()
            for part in (self.first, self.second)
        )
        return Formula(a.components + b.shifted(a.dim), a.lower + b.lower, a.upper + b.upper)

    def __repr__(self) -> str:
        factors = f"{self.first!r}, {self.second!r}"
        return f"Product({factors}, d={self.dim}, D={self.ambient}, reach={self.reach!r})"

    def _halves(self, y: Tensor) -> tuple[Tensor, Tensor]:
        return y[..., : self.first.ambient], y[..., self.first.ambient :]

    def _each(self, method: Callable[[Manifold, Tensor], Tensor], y: Tensor) -> Tensor:
        a, b = self._halves(y)
        return torch.cat([method(self.first, a), method(self.second, b)], dim=-1)

    def _sample(self, n: int, generator: torch.Generator) -> Tensor:
        factors = (self.first, self.second)
        return torch.cat([factor.embed(factor._sample(n, generator)) for factor in factors], dim=-1)

    def _project(self, y: Tensor) -> Tensor:
        return self._each(lambda factor, half: factor.embed(factor._project(factor.restrict(half))), y)

    def _bases(self, y: Tensor) -> tuple[Tensor, Tensor]:
        a, b = self._halves(y)
        return self.first.basis_unchecked(a), self.second.basis_unchecked(b)

    def _tangent_basis(self, y: Tensor) -> Tensor:
        first, second = self._bases(y)
        above = torch.zeros(*first.shape[:-1], second.shape[-1], dtype=y.dtype, device=y.device)
        below = torch.zeros(*second.shape[:-1], first.shape[-1], dtype=y.dtype, device=y.device)
        return torch.cat([torch.cat([first, above], dim=-1), torch.cat([below, second], dim=-1)], dim=-2)

    def _net(self, spacing: float) -> tuple[Tensor, float]:
        """The product of the factors' nets; its radius is the root of the sum of their squares."""
        first, second = self.first.net(spacing / math.sqrt(2)), self.second.net(spacing / math.sqrt(2))
        self._affordable([len(first.points), len(second.points)], spacing)
        return _pairs(first.points, second.points), math.hypot(first.radius, second.radius)

    def _covers(self) -> Iterator[tuple[Tensor, float]]:
        """Products of the factors' covers, more and more centres with smaller and smaller radii.

        Of the n^2 pairs of covers only those are looked at whose product is affordable, about n log n.
        """

        def affordable(factor: Manifold) -> list[StructuredCover]:
            return list(itertools.takewhile(lambda cover: len(cover.centres) <= MOST_CENTRES, factor.covers()))

        first, second = affordable(self.first), affordable(self.second)
        (counts, radii), (others, other_radii) = _sizes(first), _sizes(second)
        fitting = np.searchsorted(others, MOST_CENTRES // counts, side="right")  # the first so many of the second
        i = np.repeat(np.arange(len(first)), fitting)
        j = np.arange(len(i)) - np.repeat(np.cumsum(fitting) - fitting, fitting)
        number, radius = counts[i] * others[j], np.hypot(radii[i], other_radii[j])
        order = np.lexsort((radius, number))
        before = np.minimum.accumulate(radius[order])
        for k in order[before < np.r_[np.inf, before[:-1]]]:
            tick()
            a, b = first[i[k]], second[j[k]]
            yield _pairs(a.centres, b.centres), math.hypot(a.radius, b.radius)

    def _chart_inverse(self, centre: Tensor, frame: Tensor, y: Tensor) -> Tensor:
        """The parts of the tangent vector frame y in the two factors, each inverted in its own chart."""
        parts = zip((self.first, self.second), self._halves(centre), self._bases(centre), strict=True)
        steps = self._halves(tangent_vector(frame, y))
        points = [
            factor.chart_inverse(c, basis, tangent_vector(basis.mT, step))
            for (factor, c, basis), step in zip(parts, steps, strict=True)
        ]
        return torch.cat(points, dim=-1)

    def _coordinates(self, y: Tensor) -> Tensor:
        return self._each(lambda factor, half: factor.coordinates(half), y)

    def _point(self, u: Tensor) -> Tensor:
        d = self.first.dim
        return torch.cat([self.first.point(u[..., :d]), self.second.point(u[..., d:])], dim=-1)


def _sizes(covers: list[StructuredCover]) -> tuple[Int, Float]:
    """Numbers of centres, rising, and radii of covers, (n,) each."""
    counts = np.array([len(cover.centres) for cover in covers], dtype=np.int64)
    return counts, np.array([cover.radius for cover in covers], dtype=np.float64)


def _pairs(a: Tensor, b: Tensor) -> Tensor:
    """All (a_i, b_j), (len(a) len(b), D1 + D2)."""
    return torch.cat([a.repeat_interleave(len(b), dim=0), b.repeat(len(a), 1)], dim=1)
