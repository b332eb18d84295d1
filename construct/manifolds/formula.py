"""Closed formulas of manifolds, for computations with other numbers than floating point (balls, jets)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import torch
from torch import Tensor

from construct.expressions import Algebra, Expression, StraightLineProgram, as_expression, scheduled, variable
from construct.validation import invalid, reals, shaped

T = TypeVar("T")

PI_ABOVE = math.nextafter(math.pi, 4.0)
"""The float next above pi; math.pi is the one next below. Its multiples by powers of two are exact."""


@dataclass(frozen=True)
class Formula:
    """The image of the box lower <= u <= upper in R^d under `components`, functions of u_0, ..., u_(d-1), is M.

    components: (k) expressions, the canonical coordinates y of a point (x = manifold.frame @ y + manifold.offset).
    lower, upper: (d) floats. The box is not smaller than the one meant: where this has an end that is no float, as
        2 pi, it is rounded outward by an ulp or two. Where the coordinate is an angle, M is the image all the same;
        at an edge of M the image is longer by as little.

    Not always injective, nor an immersion: poles, and ends of the box that are glued, are covered more than once.
    """

    components: tuple[Expression, ...]
    lower: tuple[float, ...]
    upper: tuple[float, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.components, tuple) or not self.components:
            raise invalid("components", "a tuple of expressions", self.components)
        object.__setattr__(self, "components", tuple(as_expression(e, "component") for e in self.components))
        d = len(self.lower)
        object.__setattr__(self, "lower", reals(self.lower, "lower", d))
        object.__setattr__(self, "upper", reals(self.upper, "upper", d))
        if not all(a <= b for a, b in zip(self.lower, self.upper, strict=True)):
            raise invalid("lower", "entries not above those of upper", got=f"{self.lower} and {self.upper}")
        arity = max(e.arity for e in self.components)
        if arity > d:
            expected = f"functions of u_0 .. u_{d - 1} only, as many as lower has entries"
            raise invalid("components", expected, got=f"one of u_{arity - 1}")

    @property
    def dim(self) -> int:
        """d, the number of coordinates u."""
        return len(self.lower)

    @cached_property
    def program(self) -> StraightLineProgram:
        """All components as one straight-line program."""
        return scheduled(self.components)

    def fold(self, algebra: Algebra[T]) -> tuple[T, ...]:
        """The k components in another number type; what they have in common is evaluated once."""
        return self.program.run(algebra)

    def __call__(self, u: Tensor) -> Tensor:
        """Canonical points, (..., d) -> (..., k)."""
        u = shaped(u, "u", self.dim)
        return torch.stack([component(u) for component in self.components], dim=-1)

    def shifted(self, offset: int) -> tuple[Expression, ...]:
        """The components as functions of u_offset, ..., u_(offset+d-1)."""
        moved = {j: variable(j + offset) for j in range(self.dim)}
        return tuple(component.substitute(moved) for component in self.components)

    def mapped(self, matrix: Tensor, offset: Tensor | None = None) -> Formula:
        """The formula of the image under an affine map, x = matrix @ y + offset: matrix (D, k), offset (D,), whose
        entries are exact constants."""
        rows = shaped(matrix, "matrix", len(self.components)).tolist()
        added = [0.0] * len(rows) if offset is None else shaped(offset, "offset", len(rows)).tolist()
        parts = (_combined(row, self.components) for row in rows)
        moved = tuple(part + constant if constant else part for part, constant in zip(parts, added, strict=True))
        return Formula(moved, self.lower, self.upper)


def _combined(weights: Iterable[float], terms: Iterable[Expression]) -> Expression:
    """The sum of weight times term, without those of weight 0."""
    products = [weight * term for weight, term in zip(weights, terms, strict=True) if weight]
    total = products[0] if products else as_expression(0)
    for product in products[1:]:
        total = total + product
    return total
