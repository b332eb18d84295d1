"""Manifolds somewhere else: moved, scaled, rotated, or laid into a larger space."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Self

import torch
from torch import Tensor

from construct.boxes import check_resolved
from construct.manifolds.base import Manifold, Reach
from construct.manifolds.embedding import LARGEST_AMBIENT, mapped_box
from construct.manifolds.formula import Formula
from construct.manifolds.registry import factor
from construct.validation import invalid, positive_real, reals

ORTHONORMAL = 1e-9  # how far rotation^T rotation may be from the identity before its rounding is mended
SMALLEST, LARGEST = 1e-100, 1e100  # scales

Matrix = Tensor | Sequence[Sequence[float]]


class Placed(Manifold):
    """translation + scale rotation M: `M.placed(translation=, scale=, rotation=)`.

    base:  M in R^k, of any family, a user's own, or placed itself.
    translation:  (D,); 0 unless given.
    scale:  > 0.
    rotation:  (D, k) with orthonormal columns, D >= k: a rotation or a reflection, or for D > k a frame that lays M
        into a larger space. The identity unless given.

    The canonical form is scale times that of M, so that everything is carried over by an isometry x = frame y + offset
    and charts, covers and networks are those of M, up to rounding. Reach and radii are multiplied by scale;
    coordinates are those of M.

    Raises:
        InputError: an argument is not as above.
        PrecisionError: float64 does not resolve so small a manifold so far from the origin.
    """

    name = "placed"

    def __init__(
        self,
        base: Manifold,
        *,
        translation: Sequence[float] | Tensor | None = None,
        scale: float = 1.0,
        rotation: Matrix | None = None,
    ) -> None:
        if not isinstance(base, Manifold):
            raise invalid("base", "a Manifold", base)
        self.base, self.scale = base, positive_real(scale, "scale")
        if not SMALLEST <= self.scale <= LARGEST:
            raise invalid("scale", f"a number from {SMALLEST:g} to {LARGEST:g}", scale)
        turn = _rotation(rotation, base.ambient)
        moved = [0.0] * len(turn) if translation is None else reals(translation, "translation", len(turn))
        self.translation, self.rotation = torch.tensor(moved, dtype=torch.float64), turn
        self.has_boundary = base.has_boundary
        super().__init__(
            dim=base.dim,
            canonical=base.canonical,
            reach=Reach(self.scale * base.reach, base.reach.kind),
            box=self.scale * base.canonical_box,
            radius=self.scale * base.canonical_radius,
            coordinate_bounds=base.coordinate_bounds,
            chart_radius_bound=self.scale * base.chart_radius_bound,
        )
        self.frame, self.ambient, self.embedded = turn @ base.frame, len(turn), True
        self.offset = self.translation + self.scale * (turn @ base.offset)
        longest = self.frame.norm(dim=1) * self.canonical_radius
        self.box = self.offset + mapped_box(self.frame, self.canonical_box).clamp(-longest, longest)
        self.radius_bound = float(self.offset.norm()) + self.canonical_radius
        check_resolved(self.box.numpy(), torch.float64, "translation", "one of a manifold")

    @classmethod
    def from_arguments(cls, **arguments: Any) -> Self:
        """`base` may be a manifold, a name or a spec; the circle unless given."""
        return super().from_arguments(base=factor(arguments.pop("base", "circle")), **arguments)

    def _arguments(self) -> dict[str, Any]:
        given = self.rotation.tolist() if self._turned else None
        return {
            "base": self.base.spec(),
            "translation": self.translation.tolist(),
            "scale": self.scale,
            "rotation": given,
        }

    def spec(self) -> dict[str, Any]:
        return {"name": self.name, **self._arguments()}

    @property
    def _turned(self) -> bool:
        return not torch.equal(self.rotation, torch.eye(self.base.ambient, dtype=torch.float64))

    def __repr__(self) -> str:
        parts = [repr(self.base)]
        if bool(self.translation.any()):
            parts.append(f"translation={self.translation.tolist()}")
        if self.scale != 1.0:
            parts.append(f"scale={self.scale:g}")
        if self._turned:
            parts.append("rotated" if self.ambient == self.base.ambient else f"laid into R^{self.ambient}")
        return f"Placed({', '.join(parts)}, d={self.dim}, D={self.ambient}, reach={self.reach!r})"

    def formula(self) -> Formula:
        found = self.base.formula()
        if self.scale == 1.0:
            return found
        return Formula(tuple(self.scale * part for part in found.components), found.lower, found.upper)

    # -- the canonical form: scale times that of the base ---------------------------------------------------

    def _sample(self, n: int, generator: torch.Generator) -> Tensor:
        return self.scale * self.base._sample(n, generator)

    def _project(self, y: Tensor) -> Tensor:
        return self.scale * self.base._project(y / self.scale)

    def _tangent_basis(self, y: Tensor) -> Tensor:
        return self.base._tangent_basis(y / self.scale)

    def _net(self, spacing: float) -> tuple[Tensor, float]:
        points, radius = self.base._net(spacing / self.scale)
        return self.scale * points, self.scale * radius

    def _covers(self) -> Iterator[tuple[Tensor, float]]:
        for centres, radius in self.base._covers():
            yield self.scale * centres, self.scale * radius

    def _chart_inverse(self, centre: Tensor, frame: Tensor, y: Tensor) -> Tensor:
        return self.scale * self.base._chart_inverse(centre / self.scale, frame, y / self.scale)

    def _coordinates(self, y: Tensor) -> Tensor:
        return self.base._coordinates(y / self.scale)

    def _point(self, u: Tensor) -> Tensor:
        return self.scale * self.base._point(u)

    def _tangent_bound(self, centres: Tensor, frames: Tensor, radius: float) -> float | None:
        bound = self.base._tangent_bound(centres / self.scale, frames, radius / self.scale)
        return None if bound is None else self.scale * bound

    def _fills_cube(self, centre: Tensor, frame: Tensor, scale: float) -> bool:
        return self.base._fills_cube(centre / self.scale, frame, scale / self.scale)


def _rotation(rotation: Matrix | None, size: int) -> Tensor:
    """(D, size) with orthonormal columns, up to rounding; rounding noise in them is mended."""
    if rotation is None:
        return torch.eye(size, dtype=torch.float64)
    expected = f"a matrix of D >= {size} rows and {size} orthonormal columns, D at most {LARGEST_AMBIENT}"
    try:
        found = torch.as_tensor(rotation, dtype=torch.float64).detach().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise invalid("rotation", expected, rotation) from error
    if found.ndim != 2 or found.shape[1] != size or not size <= len(found) <= LARGEST_AMBIENT:
        raise invalid("rotation", expected, rotation)
    off = float((found.T @ found - torch.eye(size, dtype=torch.float64)).abs().max())
    if not off <= ORTHONORMAL:
        raise invalid("rotation", expected, got=f"products that are off by {off:.3g}")
    if off <= 4 * size * torch.finfo(torch.float64).eps:
        return found
    u, _, vh = torch.linalg.svd(found, full_matrices=False)  # the nearest matrix with orthonormal columns
    return u @ vh
