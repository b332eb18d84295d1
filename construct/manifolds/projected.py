"""Manifolds that the user supplies by the projection to the nearest point."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor

from construct.boxes import ends
from construct.manifolds import newton
from construct.manifolds.base import Manifold
from construct.manifolds.claims import (
    CHECKED,
    ESTIMATE,
    as_reach,
    called,
    check_differentiable,
    check_reach,
    estimated_reach,
    evaluated,
)
from construct.manifolds.detached import detached
from construct.manifolds.embedding import LARGEST_AMBIENT
from construct.manifolds.tangent_nets import TangentNets
from construct.progress import tick
from construct.validation import invalid, positive_integer

_SEEDS = 4096
"""Random points, on one of which at least every component of M should be."""
_BOX_MARGIN = 0.05
_CONVERGED = 1e-10  # steps, as a share of the longest
_SHORT = 0.05
_MOST_STEPS = 60

Ends = Sequence[float] | Sequence[Sequence[float]] | Tensor


class ProjectedManifold(Manifold, registered=False):
    """A manifold in R^D known by its nearest-point projection.

    project:  (..., D) -> (..., D) in differentiable torch operations, smooth within the reach of M.
    dim, ambient:  d and D.
    reach:  a `Reach`, or a number, which counts as "numeric"; or "estimate", see `construct.manifolds.claims`.
    box:  (2, D), lower and upper ends of x_j on M, or (D,) bounds of |x_j|; or "estimate", from samples, with
        5 % of the widest side added, for which `sample` is needed.
    sample:  (n, generator) -> (n, D) points of M; without it random points of the box are projected, which is
        not uniform.

    Has no intrinsic coordinates: `coordinates`, `point` and `lift` raise InputError. The box, idempotence of
    project, its derivatives, its rank and the reach are tried on 512 samples. Nets are proved (`TangentNets`) as far as
    the reach is right and every component of M has one of 4,096 samples on it.
    """

    name = "projected"

    def __init__(
        self,
        project: Callable[[Tensor], Tensor],
        dim: int,
        ambient: int,
        reach: float | str,
        box: Ends | str,
        *,
        sample: Callable[[int, torch.Generator], Tensor] | None = None,
        has_boundary: bool = False,
    ) -> None:
        ambient = positive_integer(ambient, "ambient", maximum=LARGEST_AMBIENT)
        dim = positive_integer(dim, "dim", maximum=ambient)
        self._user_project, self._user_sample, self.has_boundary = project, sample, bool(has_boundary)
        bounds = _box(box, sample, ambient)
        start = bounds[0] + (bounds[1] - bounds[0]) * 0.5
        estimate = isinstance(reach, str) and reach == ESTIMATE
        guess = as_reach(2 * float((bounds[1] - bounds[0]).norm()) if estimate else reach)
        super().__init__(
            dim=dim,
            canonical=ambient,
            reach=guess,
            box=bounds,
            radius=float(bounds.abs().amax(0).norm()),
            coordinate_bounds=torch.full((dim, 2), math.nan, dtype=torch.float64),
        )
        x = self._checked(start)
        if estimate:
            self.reach = self._estimate()
            self.chart_radius_bound = float(self.reach)
        else:
            check_reach(self, x)

    def _checked(self, start: Tensor) -> Tensor:
        """512 samples on which what was claimed holds."""
        generator = torch.Generator().manual_seed(0)
        blank = start.expand(CHECKED, -1)
        name = "project" if self._user_sample is None else "sample"
        x = evaluated(lambda t: self._sample(len(t), generator), name, blank, self.ambient)
        size = float(self.half_widths.max()) + 1e-6 * float(self.largest_coordinates.max())
        moved = float((evaluated(self._user_project, "project", x, self.ambient) - x).norm(dim=1).max())
        if moved > 1e-8 * size:
            raise invalid("project", "a map that leaves the points of M where they are", got=f"a step of {moved:.3g}")
        room = 1e-9 * (self.half_widths + self.largest_coordinates)
        if bool(((x < self.box[0] - room) | (x > self.box[1] + room)).any()):
            expected = f"ends of x_j on M, no narrower than {x.amin(0).tolist()} to {x.amax(0).tolist()}"
            raise invalid("box", expected, got=f"{self.box.tolist()}")
        check_differentiable(self._user_project, "project", x)
        j = self._differential(x)
        ones = (torch.linalg.eigvalsh(j) > 0.5).sum(-1)
        if bool((ones != self.dim).any()):
            raise invalid("dim", f"the rank of project's derivative, {int(ones.max())}", self.dim)
        off = float((j @ j - j).abs().max())
        if not off <= 1e-4 and not self.has_boundary:
            expected = "the *nearest* point of M, so that its derivative is an orthogonal projector there"
            raise invalid("project", expected, got=f"a derivative whose square is off by {off:.3g}")
        return x

    def _estimate(self) -> Any:
        size = float(self.half_widths.norm())
        start = self._sample(_SEEDS, torch.Generator().manual_seed(2))

        def moved(x: Tensor, steps: Tensor) -> Tensor:
            found = self._user_project(x + size * steps)
            return torch.where(torch.isfinite(found).all(-1, keepdim=True), found, x)

        return estimated_reach(lambda x: x, self._plain_basis, moved, start)

    def _arguments(self) -> dict[str, Any]:
        return {"dim": self.dim, "reach": float(self.reach), "box": self.canonical_box.tolist()}

    def _sample(self, n: int, generator: torch.Generator) -> Tensor:
        if self._user_sample is not None:
            return called(self._user_sample, "sample", n, generator)
        share = torch.rand(n, self.ambient, generator=generator, dtype=torch.float64)
        lower, upper = self.canonical_box
        return called(self._user_project, "project", lower + (upper - lower) * share)

    def _project(self, y: Tensor) -> Tensor:
        return self._user_project(y)

    def _differential(self, y: Tensor) -> Tensor:
        """On M the derivative of the projection is the orthogonal projector to the tangent space; made
        symmetric."""
        j = newton.jacobian(self._user_project, y)[1]
        return (j + j.mT) / 2

    def _tangent_basis(self, y: Tensor) -> Tensor:
        return newton.range_basis(self._differential(y), self.dim)

    def _plain_basis(self, y: Tensor) -> Tensor:
        """`_tangent_basis` of plain tensors, faster; the rows of the derivative are its columns on M."""
        j = newton.plain_jacobian(self._user_project, y, self.canonical)
        return newton.range_basis((j + j.mT) / 2, self.dim)

    @cached_property
    def _nets(self) -> TangentNets:
        samples = self._sample(_SEEDS, torch.Generator().manual_seed(1))
        edge, reach = self.has_boundary, float(self.reach)
        return TangentNets(self._user_project, self._plain_basis, reach, samples, self.dim, has_boundary=edge)

    def _net(self, spacing: float) -> tuple[Tensor, float]:
        return self._nets.net(spacing)

    def _chart_inverse(self, centre: Tensor, frame: Tensor, y: Tensor) -> Tensor:
        """Newton's method with the projection as retraction, then steps in the parametrisation project(x + B
        w)."""
        batch = np.broadcast_shapes(centre.shape[:-1], frame.shape[:-2], y.shape[:-1])
        centre, frame, y = centre.expand(*batch, -1), frame.expand(*batch, -1, -1), y.expand(*batch, -1)
        joined = detached(self._plain_inverse, centre, frame, y)
        x, basis, chord = joined.split([self.canonical, self.canonical * self.dim, self.dim**2], dim=-1)
        basis, chord = basis.unflatten(-1, (-1, self.dim)), chord.unflatten(-1, (-1, self.dim))

        def position(w: Tensor) -> Tensor:
            return self._user_project(x + newton.apply(basis, w))

        w = newton.polish(position, centre, frame, y, torch.zeros_like(x[..., : self.dim]), chord)
        return position(w)

    def _plain_inverse(self, centre: Tensor, frame: Tensor, y: Tensor) -> Tensor:
        """The point x, a tangent basis there and the chord matrix, 0 where x is no solution; in one
        tensor.

        The target moves from 0 to y, by a quarter of the reach a step at most; points that are there drop out. Tangent
        bases are those of a point nearby while steps are short: they cost as much as several projections.
        """
        k, d = self.canonical, self.dim
        c, f, target = centre.reshape(-1, k), frame.reshape(-1, k, d), y.reshape(-1, d)
        longest = min(float(self.reach), float(self.half_widths.norm())) / 4
        x, length = c.clone(), target.norm(dim=-1, keepdim=True)
        bases, chords = f.clone(), torch.eye(d).to(f).expand(len(f), d, d).clone()
        active = torch.arange(len(x), device=x.device)
        for station in range(1, _MOST_STEPS):
            tick()
            share = (station * longest / length[active].clamp_min(1e-300)).clamp_max(1.0)
            missing = share * target[active] - newton.apply(f[active].mT, x[active] - c[active])
            step = newton.apply(chords[active], missing)
            size = step.norm(dim=-1, keepdim=True)
            step = step / (size / longest).clamp_min(1.0)
            x[active] = self._user_project(x[active] + newton.apply(bases[active], step))
            far = active[size.squeeze(-1) > _SHORT * longest]
            bases[far] = self._plain_basis(x[far])
            chords[far] = newton.inverse(f[far].mT @ bases[far])
            active = active[(step.abs().amax(-1) >= _CONVERGED * longest) | (share.squeeze(-1) < 1.0)]
            if len(active) == 0:
                break
        basis = self._plain_basis(x)
        solved = (newton.apply(f.mT, x - c) - target).abs().amax(-1) <= 1e-6 * (longest + target.abs().amax(-1))
        chord = torch.where(solved[..., None, None], newton.inverse(f.mT @ basis), 0.0)
        found = torch.cat([x, basis.flatten(-2), chord.flatten(-2)], dim=-1)
        return found.reshape(*y.shape[:-1], -1)

    def _coordinates(self, y: Tensor) -> Tensor:
        self._without_coordinates()

    def _point(self, u: Tensor) -> Tensor:
        self._without_coordinates()

    def _without_coordinates(self) -> NoReturn:
        raise invalid("manifold", "one with intrinsic coordinates", got="a ProjectedManifold: use functions of x")


def _box(box: Ends | str, sample: Any, ambient: int) -> Tensor:
    """(2, D), lower ends below the upper ones."""
    if isinstance(box, str) and box == ESTIMATE:
        if sample is None:
            raise invalid("box", "ends of x_j on M, or 'estimate' together with the argument sample", box)
        blank = torch.zeros(_SEEDS, ambient, dtype=torch.float64)
        generator = torch.Generator().manual_seed(0)
        x = evaluated(lambda t: called(sample, "sample", len(t), generator), "sample", blank, ambient)
        margin = _BOX_MARGIN * float((x.amax(0) - x.amin(0)).max())
        return torch.stack([x.amin(0) - margin, x.amax(0) + margin])
    bounds = torch.from_numpy(ends(box, "box", ambient))
    if not bool((bounds[0] < bounds[1]).all()):
        raise invalid("box", "lower ends below the upper ones", got=f"{bounds.tolist()}")
    return bounds
