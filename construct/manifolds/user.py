"""Manifolds that the user supplies by a parametrisation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from construct.manifolds import newton
from construct.manifolds.base import Reach, grid
from construct.manifolds.claims import (
    CHECKED,
    ESTIMATE,
    as_reach,
    check_differentiable,
    check_reach,
    estimated_reach,
    estimated_speeds,
    evaluated,
)
from construct.manifolds.formula import Formula
from construct.manifolds.parametrised import Parametrised
from construct.validation import invalid, positive_real, reals

_GRID = 4096  # points on which a box is measured


def _check_formula(formula: Formula, lower: Sequence[float], upper: Sequence[float], u: Tensor, values: Tensor) -> None:
    """That the formula's box is [lower, upper] rounded outward, and its values at u (n, d) are `values` (n, k)."""
    if not isinstance(formula, Formula):
        raise invalid("formula", "a Formula", formula)
    ends = zip(lower, upper, formula.lower, formula.upper, strict=False)
    if formula.dim != len(lower) or not all(
        0 <= a - outer_a <= 1e-12 * (b - a) and 0 <= outer_b - b <= 1e-12 * (b - a) for a, b, outer_a, outer_b in ends
    ):
        expected = f"one with the box {tuple(lower)} to {tuple(upper)} or that rounded outward"
        raise invalid("formula", expected, got=f"{formula.lower} to {formula.upper}")
    found, size = formula(u), max(1.0, float(values.abs().max()))
    if found.shape != values.shape or not float((found - values).abs().max()) <= 1e-9 * size:
        raise invalid("formula", "the values of function", got="others on random points of the box")


def _is_estimate(given: object) -> bool:
    return isinstance(given, str) and given == ESTIMATE


def _speeds(
    function: Callable[[Tensor], Tensor],
    lipschitz: Sequence[float] | str,
    low: Sequence[float],
    high: Sequence[float],
) -> tuple[float, ...]:
    """Bounds of |d_i function|: those given, or estimates of them."""
    if not _is_estimate(lipschitz):
        given = reals(lipschitz, "lipschitz", len(low))
        return tuple(positive_real(s, "lipschitz") for s in given)
    cells = max(2, int(_GRID ** (1 / len(low))))
    axes = [torch.linspace(a, b, cells + 1, dtype=torch.float64) for a, b in zip(low, high, strict=True)]
    ends = torch.tensor(low, dtype=torch.float64), torch.tensor(high, dtype=torch.float64)
    return estimated_speeds(lambda u: newton.jacobian(function, u)[1].norm(dim=-2), *ends, grid(axes))


def _bounds(
    function: Callable[[Tensor], Tensor], low: Sequence[float], high: Sequence[float], speeds: Sequence[float]
) -> tuple[Tensor, float]:
    """A box (2, k) and a radius for the image of a box of parameters, from a grid and bounds of the speeds.

    A point has a node of the grid within half a cell: |x_j - node_j| <= sum of L_i times half the cell's side i.
    """
    cells = max(2, int(_GRID ** (1 / len(low))))
    sides = [(b - a) / cells for a, b in zip(low, high, strict=True)]
    middles = torch.arange(cells, dtype=torch.float64) + 0.5
    nodes = function(grid([a + side * middles for a, side in zip(low, sides, strict=True)]))
    slack = sum(speed * side for speed, side in zip(speeds, sides, strict=True)) / 2
    return torch.stack([nodes.amin(0) - slack, nodes.amax(0) + slack]), float(nodes.norm(dim=1).max()) + slack


class ParametricManifold(Parametrised, registered=False):
    """The image of a box under a smooth injective immersion.

    function:  u (..., d) -> (..., k) in torch operations, twice differentiable, defined also a little past
    the box. lower, upper:  the box.
    periodic:  per parameter, whether function repeats after upper - lower.
    lipschitz:  per parameter, a bound of |d_i function| on the box; nets are proved as far as it is right. Or
        "estimate": the largest on a grid, refined by a random search, and 2 % more (`lipschitz_kind` is "numeric").
    reach:  a `Reach`, or a number, which counts as "numeric"; or "estimate", see `construct.manifolds.claims`.
    orthogonal:  whether the partial derivatives are orthogonal to each other; allows coarser grids.
    formula:  the same function as a `Formula`, on the same box (rounded outward); ball arithmetic needs it. A
    `Formula` may also be given as `function` itself.

    Periods, Lipschitz constants, rank, orthogonality, the formula and the reach are tried on 512 random points:
    InputError if one of them fails. `coordinates` are the parameters.
    """

    name = "parametric"

    def __init__(
        self,
        function: Callable[[Tensor], Tensor],
        lower: Sequence[float],
        upper: Sequence[float],
        periodic: Sequence[bool],
        reach: float | str,
        lipschitz: Sequence[float] | str,
        *,
        orthogonal: bool = False,
        formula: Formula | None = None,
        ambient: int | None = None,
        seed: int = 0,
    ) -> None:
        self._function, self.orthogonal = function, bool(orthogonal)
        ends = lower.tolist() if isinstance(lower, Tensor | np.ndarray) else lower
        if isinstance(ends, str) or not isinstance(ends, Sequence):
            raise invalid("lower", "a sequence of real numbers", lower)
        d = len(ends)
        low, high = reals(lower, "lower", d), reals(upper, "upper", d)
        if d == 0 or any(a >= b for a, b in zip(low, high, strict=True)):
            raise invalid("lower", "below upper in every entry", got=f"{low} and {high}")
        if not isinstance(periodic, Sequence) or len(periodic) != d or not all(isinstance(p, bool) for p in periodic):
            raise invalid("periodic", f"{d} booleans", periodic)
        span = torch.tensor(high, dtype=torch.float64) - torch.tensor(low, dtype=torch.float64)
        unit = torch.rand(CHECKED, d, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        trial = torch.tensor(low, dtype=torch.float64) + span * unit
        values = evaluated(function, "function", trial)
        size = max(1.0, float(values.abs().max()))
        for i, repeats in enumerate(periodic):
            shift = torch.eye(d, dtype=torch.float64)[i] * span
            if repeats and float((function(trial + shift) - values).abs().max()) > 1e-9 * size:
                raise invalid(f"periodic[{i}]", "False, as function does not repeat after upper - lower", repeats)
        self._formula = function if formula is None and isinstance(function, Formula) else formula
        if self._formula is not None:
            _check_formula(self._formula, low, high, trial, values)
        check_differentiable(function, "function", trial, seen=False)
        self.lipschitz_kind = "numeric" if _is_estimate(lipschitz) else "given"
        speeds = _speeds(function, lipschitz, low, high)
        box, radius = _bounds(function, low, high, speeds)
        diameter = 2 * float((box[1] - box[0]).norm())
        super().__init__(
            lower=low,
            upper=high,
            closed=list(periodic),
            lipschitz=speeds,
            canonical=values.shape[1],
            reach=as_reach(diameter if _is_estimate(reach) else reach),
            box=box,
            radius=radius,
            ambient=ambient,
            seed=seed,
        )
        self._check(trial, values)
        if _is_estimate(reach):
            self.reach = self._estimate(trial)
            self.chart_radius_bound = float(self.reach)
        else:
            check_reach(self, self.embed(values))

    def _check(self, trial: Tensor, values: Tensor) -> None:
        j = newton.jacobian(self._function, trial)[1]
        speeds = j.norm(dim=-2).amax(0)
        if not bool((speeds <= torch.tensor(self.lipschitz, dtype=torch.float64) * (1 + 1e-9)).all()):
            raise invalid("lipschitz", f"bounds of the speeds, at least {speeds.tolist()}", self.lipschitz)
        unit = j / j.norm(dim=-2, keepdim=True)
        gram = unit.mT @ unit
        if self.dim > values.shape[1] or not float(torch.linalg.det(gram).min()) >= 1e-12:
            got = "one whose Jacobian has a rank below the number of parameters"
            raise invalid("function", "an immersion", got=got)
        if self.orthogonal and float((gram - torch.eye(self.dim)).abs().max()) > 1e-9:
            raise invalid("orthogonal", "False, as the partial derivatives are not orthogonal", self.orthogonal)

    def _estimate(self, trial: Tensor) -> Reach:
        draws = torch.rand(4 * CHECKED, self.dim, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        width = self.upper - self.lower
        start = torch.cat([trial, self.lower + width * draws])
        lower, upper = self._limits

        def basis(u: Tensor) -> Tensor:
            return torch.linalg.qr(self._jacobian(u)[1]).Q

        def moved(u: Tensor, steps: Tensor) -> Tensor:
            return torch.minimum(torch.maximum(u + width * steps, lower), upper)

        return estimated_reach(self._function, basis, moved, start)

    def _arguments(self) -> dict[str, Any]:
        return {
            "lower": self.lower.tolist(),
            "upper": self.upper.tolist(),
            "periodic": list(self.closed),
            "reach": float(self.reach),
            "lipschitz": list(self.lipschitz),
            "orthogonal": self.orthogonal,
        }

    def formula(self) -> Formula:
        return super().formula() if self._formula is None else self._formula

    def _point(self, u: Tensor) -> Tensor:
        return self._function(u)
