"""Manifolds that the user supplies: by a parametrisation, or by the projection to the nearest point."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from construct.boxes import ends
from construct.errors import InputError
from construct.manifolds import newton
from construct.manifolds.base import Manifold, Reach, grid
from construct.manifolds.detached import detached
from construct.manifolds.embedding import LARGEST_AMBIENT
from construct.manifolds.formula import Formula
from construct.manifolds.parametrised import Parametrised
from construct.manifolds.reach import federer_bound
from construct.validation import invalid, positive_integer, positive_real, reals

_GRID = 4096  # points on which a box is measured
_CHECKED = 512
"""Random points on which the claims of a user's manifold are tried."""


def _as_reach(reach: object) -> Reach:
    return reach if isinstance(reach, Reach) else Reach(positive_real(reach, "reach", infinite=True), "numeric")


def _evaluated(function: Callable[[Tensor], Tensor], name: str, x: Tensor, width: int | None = None) -> Tensor:
    """function(x) for x (n, m), if it is finite, of shape (n, width) and float64."""
    value = function(x)
    shown = f"{tuple(value.shape)}, {value.dtype}" if isinstance(value, Tensor) else repr(value)
    wanted = f"({len(x)}, {'k' if width is None else width})"
    if not isinstance(value, Tensor) or value.ndim != 2 or len(value) != len(x) or value.dtype != x.dtype:
        raise invalid(name, f"a map of {tuple(x.shape)} to {wanted} that keeps the dtype", got=shown)
    if width is not None and value.shape[1] != width:
        raise invalid(name, f"a map of {tuple(x.shape)} to {wanted}", got=shown)
    if not bool(torch.isfinite(value).all()):
        raise invalid(name, "finite values on its domain", got="NaN or infinite ones")
    return value


def _check_reach(manifold: Manifold, points: Tensor) -> None:
    size, noise = float(manifold.half_widths.max()), 2.0**-52 * float(manifold.largest_coordinates.max())
    closest = max(1e-3 * size, math.sqrt(1e7 * noise * size))  # nearer points bend less than they are rounded
    bound = federer_bound(points, manifold.basis_unchecked(points), closest)
    if not manifold.reach <= bound * (1 + 1e-6):
        raise invalid("reach", f"at most {bound:.6g}, Federer's quotient of two points", manifold.reach)


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
    lipschitz:  per parameter, a bound of |d_i function| on the box; nets are proved as far as it is right.
    reach:  a `Reach`, or a number, which counts as "numeric".
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
        reach: float,
        lipschitz: Sequence[float],
        *,
        orthogonal: bool = False,
        formula: Formula | None = None,
        ambient: int | None = None,
        seed: int = 0,
    ) -> None:
        self._function, self.orthogonal = function, bool(orthogonal)
        d = len(lower)
        low, high = reals(lower, "lower", d), reals(upper, "upper", d)
        speeds = tuple(positive_real(s, "lipschitz") for s in reals(lipschitz, "lipschitz", d))
        if d == 0 or any(a >= b for a, b in zip(low, high, strict=True)):
            raise invalid("lower", "below upper in every entry", got=f"{low} and {high}")
        if len(periodic) != d or not all(isinstance(p, bool) for p in periodic):
            raise invalid("periodic", f"{d} booleans", periodic)
        span = torch.tensor(high, dtype=torch.float64) - torch.tensor(low, dtype=torch.float64)
        unit = torch.rand(_CHECKED, d, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        trial = torch.tensor(low, dtype=torch.float64) + span * unit
        values = _evaluated(function, "function", trial)
        size = max(1.0, float(values.abs().max()))
        for i, repeats in enumerate(periodic):
            shift = torch.eye(d, dtype=torch.float64)[i] * span
            if repeats and float((function(trial + shift) - values).abs().max()) > 1e-9 * size:
                raise invalid(f"periodic[{i}]", "False, as function does not repeat after upper - lower", repeats)
        self._formula = function if formula is None and isinstance(function, Formula) else formula
        if self._formula is not None:
            _check_formula(self._formula, low, high, trial, values)
        box, radius = _bounds(function, low, high, speeds)
        super().__init__(
            lower=low,
            upper=high,
            closed=list(periodic),
            lipschitz=speeds,
            canonical=values.shape[1],
            reach=_as_reach(reach),
            box=box,
            radius=radius,
            ambient=ambient,
            seed=seed,
        )
        self._check(trial, values)

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
        _check_reach(self, self.embed(values))

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


class ProjectedManifold(Manifold, registered=False):
    """A manifold in R^D known by its nearest-point projection.

    project:  (..., D) -> (..., D) in differentiable torch operations, smooth within the reach of M.
    dim, ambient:  d and D.
    reach:  a `Reach`, or a number, which counts as "numeric".
    box:  (2, D), lower and upper ends of x_j on M, or (D,) bounds of |x_j|.
    sample:  (n, generator) -> (n, D) points of M; without it random points of the box are projected, which is
    not
        uniform.

    Has no intrinsic coordinates: `coordinates`, `point` and `lift` raise InputError. The box, idempotence of
    project, its rank and the reach are tried on 512 samples.
    """

    name = "projected"

    def __init__(
        self,
        project: Callable[[Tensor], Tensor],
        dim: int,
        ambient: int,
        reach: float,
        box: Sequence[float] | Sequence[Sequence[float]],
        *,
        sample: Callable[[int, torch.Generator], Tensor] | None = None,
        has_boundary: bool = False,
    ) -> None:
        ambient = positive_integer(ambient, "ambient", maximum=LARGEST_AMBIENT)
        dim = positive_integer(dim, "dim", maximum=ambient)
        self._user_project, self._user_sample, self.has_boundary = project, sample, bool(has_boundary)
        bounds = torch.from_numpy(ends(box, "box", ambient))
        if not bool((bounds[0] < bounds[1]).all()):
            raise invalid("box", "lower ends below the upper ones", got=f"{bounds.tolist()}")
        super().__init__(
            dim=dim,
            canonical=ambient,
            reach=_as_reach(reach),
            box=bounds,
            radius=float(bounds.abs().amax(0).norm()),
            coordinate_bounds=torch.full((dim, 2), math.nan, dtype=torch.float64),
        )
        self._check()

    def _check(self) -> None:
        start = torch.zeros(_CHECKED, self.ambient, dtype=torch.float64)
        generator = torch.Generator().manual_seed(0)
        x = _evaluated(lambda t: self._sample(len(t), generator), "sample", start, self.ambient)
        moved = float((_evaluated(self._user_project, "project", x, self.ambient) - x).norm(dim=1).max())
        if moved > 1e-8 * max(1.0, self.radius_bound):
            raise invalid("project", "a map that leaves the points of M where they are", got=f"a step of {moved:.3g}")
        room = 1e-9 * (self.half_widths + self.largest_coordinates)
        if bool(((x < self.box[0] - room) | (x > self.box[1] + room)).any()):
            expected = f"ends of x_j on M, no narrower than {x.amin(0).tolist()} to {x.amax(0).tolist()}"
            raise invalid("box", expected, got=f"{self.box.tolist()}")
        eigenvalues = torch.linalg.eigvalsh(self._differential(x)).flip(-1)
        ones = (eigenvalues > 0.5).sum(-1)
        if bool((ones != self.dim).any()):
            raise invalid("dim", f"the rank of project's derivative, {int(ones.max())}", self.dim)
        _check_reach(self, x)

    def _arguments(self) -> dict[str, Any]:
        return {"dim": self.dim, "reach": float(self.reach), "box": self.box.tolist()}

    def _sample(self, n: int, generator: torch.Generator) -> Tensor:
        if self._user_sample is not None:
            return self._user_sample(n, generator)
        share = torch.rand(n, self.ambient, generator=generator, dtype=torch.float64)
        return self._user_project(self.box[0] + (self.box[1] - self.box[0]) * share)

    def _project(self, y: Tensor) -> Tensor:
        return self._user_project(y)

    def _differential(self, y: Tensor) -> Tensor:
        """On M the derivative of the projection is the orthogonal projector to the tangent space; made
        symmetric."""
        j = newton.jacobian(self._user_project, y)[1]
        return (j + j.mT) / 2

    def _tangent_basis(self, y: Tensor) -> Tensor:
        return torch.linalg.eigh(self._differential(y)).eigenvectors[..., -self.dim :]

    def _net(self, spacing: float) -> tuple[Tensor, float]:
        """Nodes of a cubical grid, projected.

        A point x of M has a node g within h sqrt(D)/2, and |project(g) - x| <= 2 |g - x| <= h sqrt(D), as
        project(g) is no farther from g than x is. Nodes farther from M than h sqrt(D)/2 are not needed.
        """
        h = spacing / math.sqrt(self.ambient)
        counts = self._affordable([math.ceil(2 * b / h) for b in self.half_widths.tolist()], spacing)
        axes = [
            low + (high - low) * (2 * torch.arange(m, dtype=torch.float64) + 1) / (2 * m)
            for low, high, m in zip(*self.box.tolist(), counts, strict=True)
        ]
        nodes = grid(axes)
        near = self._user_project(nodes)
        return near[(near - nodes).norm(dim=1) <= spacing / 2 * (1 + 1e-9)], spacing

    def _chart_inverse(self, centre: Tensor, frame: Tensor, y: Tensor) -> Tensor:
        """Newton's method with the projection as retraction, then steps in the parametrisation project(x + B
        w)."""
        batch = torch.broadcast_shapes(centre.shape[:-1], frame.shape[:-2], y.shape[:-1])
        centre, frame, y = centre.expand(*batch, -1), frame.expand(*batch, -1, -1), y.expand(*batch, -1)
        joined = detached(self._plain_inverse, centre, frame, y)
        x, basis, chord = joined.split([self.ambient, self.ambient * self.dim, self.dim**2], dim=-1)
        basis, chord = basis.unflatten(-1, (-1, self.dim)), chord.unflatten(-1, (-1, self.dim))

        def position(w: Tensor) -> Tensor:
            return self._user_project(x + newton.apply(basis, w))

        w = newton.polish(position, centre, frame, y, torch.zeros_like(x[..., : self.dim]), chord)
        return position(w)

    def _plain_inverse(self, centre: Tensor, frame: Tensor, y: Tensor) -> Tensor:
        """The point x, a tangent basis there and the chord matrix, 0 where x is no solution; in one
        tensor."""
        x, longest = centre, min(float(self.reach), self.radius_bound) / 4
        for station in [*range(1, 9), *[8] * 30]:
            basis = self._tangent_basis(x)
            missing = y * (station / 8) - newton.apply(frame.mT, x - centre)
            step = newton.apply(newton.inverse(frame.mT @ basis), missing)
            step = step / (step.norm(dim=-1, keepdim=True) / longest).clamp_min(1.0)
            x = self._user_project(x + newton.apply(basis, step))
            if station == 8 and float(step.abs().max()) < 1e-10:
                break
        basis = self._tangent_basis(x)
        solved = (newton.apply(frame.mT, x - centre) - y).abs().amax(-1) <= 1e-6 * (1 + y.abs().amax(-1))
        chord = torch.where(solved[..., None, None], newton.inverse(frame.mT @ basis), 0.0)
        return torch.cat([x, basis.flatten(-2), chord.flatten(-2)], dim=-1)

    def _coordinates(self, y: Tensor) -> Tensor:
        raise self._without_coordinates()

    def _point(self, u: Tensor) -> Tensor:
        raise self._without_coordinates()

    def _without_coordinates(self) -> InputError:
        return invalid("manifold", "one with intrinsic coordinates", got="a ProjectedManifold: use functions of x")
