"""Manifolds given by one parametrisation of a box, solved by a net and Newton's method."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from construct.manifolds import newton
from construct.manifolds.base import Manifold, Reach, grid
from construct.manifolds.detached import detached
from construct.validation import invalid

_MOST_SEEDS = 200_000
_MOST_REJECTIONS = 10_000
FAR = 1e100  # coordinates beyond which squares of distances would overflow: such points are taken for nearer ones


class Parametrised(Manifold):
    """M = point(box of parameters), the parametrisation smooth a little beyond the box, too.

    closed:  per parameter, whether the box has no edge there (the two ends are identified, perhaps with a
    twist). lipschitz:  per parameter, a proved bound of |d_i point| on the box.
    orthogonal:  whether the partial derivatives are orthogonal to each other everywhere.

    Coordinates: the parameters, in [lower, upper]; past an edge those of the smooth extension.
    """

    orthogonal = True

    def __init__(
        self,
        *,
        lower: Sequence[float],
        upper: Sequence[float],
        closed: Sequence[bool],
        lipschitz: Sequence[float],
        canonical: int,
        reach: Reach,
        box: Tensor,
        radius: float,
        ambient: int | None,
        seed: int,
    ) -> None:
        self.lower = torch.tensor(lower, dtype=torch.float64)
        self.upper = torch.tensor(upper, dtype=torch.float64)
        self.closed, self.lipschitz = tuple(closed), tuple(lipschitz)
        self.has_boundary = not all(closed)
        super().__init__(
            dim=len(lower),
            canonical=canonical,
            reach=reach,
            box=box,
            radius=radius,
            coordinate_bounds=torch.stack([self.lower, self.upper], dim=-1),
            ambient=ambient,
            seed=seed,
        )

    # -- the parametrisation ---------------------------------------------------------------------------------

    @abstractmethod
    def _point(self, u: Tensor) -> Tensor: ...

    def _jacobian(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Point (..., k) and Jacobian (..., k, d); families override it by their formula, which is faster."""
        return newton.jacobian(self._point, u)

    def _second(self, u: Tensor) -> Tensor:
        """Second derivatives (..., k, d, d), likewise."""
        return newton.second(self._point, u)

    @property
    def _formulas(self) -> newton.Parametrisation:
        return newton.Parametrisation(self._point, self._jacobian, self._bending)

    def _bending(self, u: Tensor, r: Tensor) -> Tensor:
        """Second derivatives of <point(u), r>, (..., d, d), from the family's formula if it has one."""
        if type(self)._second is Parametrised._second:
            return newton.bending(self._point, u, r)
        return (r[..., None, None] * self._second(u)).sum(-3)

    def _wrap(self, u: Tensor) -> Tensor:
        """Equivalent parameters in the box; only closed coordinates move."""
        lower, width = self.lower.to(u), (self.upper - self.lower).to(u)
        turns = torch.floor((u - lower) / width)
        return u - width * torch.where(torch.tensor(self.closed, device=u.device), turns, 0.0)

    @cached_property
    def _limits(self) -> tuple[Tensor, Tensor]:
        """The box, without limits in closed coordinates."""
        closed = torch.tensor(self.closed)
        return torch.where(closed, -math.inf, self.lower), torch.where(closed, math.inf, self.upper)

    @cached_property
    def _extended_limits(self) -> tuple[Tensor, Tensor]:
        """The same, 1.5 chart radii longer at every edge."""
        lower, upper = self._limits
        margin = 1.5 * self.chart_radius_bound / torch.tensor(self.lipschitz, dtype=torch.float64)
        margin = torch.minimum(margin, self.upper - self.lower)
        return lower - margin, upper + margin

    @cached_property
    def _cap(self) -> Tensor:
        """Longest Newton step in each parameter."""
        return (self.upper - self.lower) / 8

    # -- nets and samples ------------------------------------------------------------------------------------

    def _counts(self, spacing: float) -> tuple[list[int], float]:
        """Cells per axis and the proved radius of the grid of their centres.

        From a cell's centre its points are at most sum_i L_i h_i/2 away, or, when the columns of the Jacobian
        are orthogonal to each other, sqrt(sum_i (L_i h_i)^2)/2.
        """
        widths = (self.upper - self.lower).tolist()
        d = self.dim
        share = 2 * spacing / (math.sqrt(d) if self.orthogonal else d)
        counts = [max(1, math.ceil(L * w / share)) for L, w in zip(self.lipschitz, widths, strict=True)]
        sides = [L * w / m for L, w, m in zip(self.lipschitz, widths, counts, strict=True)]
        return counts, (math.hypot(*sides) if self.orthogonal else sum(sides)) / 2

    def _cells(self, counts: list[int]) -> Tensor:
        bounds = zip(self.lower.tolist(), self.upper.tolist(), counts, strict=True)
        return grid([a + (b - a) * (torch.arange(m, dtype=torch.float64) + 0.5) / m for a, b, m in bounds])

    def _net(self, spacing: float) -> tuple[Tensor, float]:
        counts, radius = self._counts(spacing)
        return self._point(self._cells(self._affordable(counts, spacing))), radius

    def _sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Rejection: parameters uniform in the box are kept with probability (volume element)/(product of
        L_i)."""
        bound, kept, missing = math.prod(self.lipschitz), [], n
        for _ in range(_MOST_REJECTIONS):
            if missing <= 0:
                break
            draws = torch.rand(2 * missing + 64, self.dim + 1, generator=generator, dtype=torch.float64)
            u = self.lower + (self.upper - self.lower) * draws[:, :-1]
            j = self._jacobian(u)[1]
            volume = torch.linalg.det(j.mT @ j).clamp_min(0).sqrt() if self.dim > 1 else j.norm(dim=-2)[:, 0]
            u = u[draws[:, -1] * bound < volume]
            kept.append(u)
            missing -= len(u)
        if missing > 0:
            raise invalid("lipschitz", "near the true speeds, for sampling by rejection", self.lipschitz)
        return self._point(torch.cat(kept)[:n])

    # -- nearest points --------------------------------------------------------------------------------------

    @cached_property
    def _seeds(self) -> tuple[Tensor, cKDTree]:
        """Parameters of a net of radius reach/12 (coarser if that takes more than 200,000 points), and its
        tree."""
        spacing = min(float(self.reach), float((self.upper - self.lower).max()) * max(self.lipschitz)) / 12
        counts, _ = self._counts(spacing)
        while math.prod(counts) > _MOST_SEEDS:
            counts = [math.ceil(0.8 * m) for m in counts]
        u = self._cells(counts)
        return u, cKDTree(self._point(u).numpy())

    def _flat(self, y: Tensor) -> Tensor:
        """(n, k) float64 on the CPU, without NaN and infinities."""
        return torch.nan_to_num(y.detach().double().cpu().reshape(-1, self.canonical), 0.0, 0.0, 0.0).clamp(-FAR, FAR)

    def _parameters(self, y: Tensor) -> Tensor:
        """Parameters in the box of the nearest points of M, plain tensors (..., k) -> (..., d), float64.

        Non-finite entries are searched as if they were 0.
        """
        flat = self._flat(y)
        seeds, tree = self._seeds
        start = seeds[torch.from_numpy(np.atleast_1d(tree.query(flat.numpy())[1]))]
        u = newton.nearest_parameters(self._formulas, flat, start, *self._limits, self._cap)
        return self._wrap(u).reshape(*y.shape[:-1], self.dim)

    def _extended_parameters(self, y: Tensor) -> Tensor:
        """The same on the extension past the edges: points whose nearest point is on an edge go on from
        there."""
        u = self._parameters(y).reshape(-1, self.dim)
        lower, upper = self._limits
        at_edge = ((u <= lower) | (u >= upper)).any(-1).cpu()
        if bool(at_edge.any()):
            flat = self._flat(y)
            u[at_edge] = newton.nearest_parameters(
                self._formulas, flat[at_edge], u[at_edge], *self._extended_limits, self._cap
            )
        return u.reshape(*y.shape[:-1], self.dim).to(y)

    def _project(self, y: Tensor) -> Tensor:
        return self._point(detached(self._parameters, y)).to(y)

    def _coordinates(self, y: Tensor) -> Tensor:
        """Polished in J^T (point(u) - y) = 0 with the constant J of the nearest point: exact on M."""
        u, normal, chord = self._split(detached(self._start, y))
        return self._wrap(newton.polish(self._point, y, normal, torch.zeros_like(u), u, chord))

    def _start(self, y: Tensor) -> Tensor:
        u = self._extended_parameters(y)
        j = self._jacobian(u)[1]
        return self._joined(u, j, newton.inverse(j.mT @ j))

    def _tangent_basis(self, y: Tensor) -> Tensor:
        j = self._jacobian(detached(self._parameters, y).to(y))[1]
        if self.orthogonal:
            return j / j.norm(dim=-2, keepdim=True)
        return torch.linalg.qr(j).Q

    def _chart_inverse(self, centre: Tensor, frame: Tensor, y: Tensor) -> Tensor:
        start = detached(self._parameters, centre).to(y)
        batch = np.broadcast_shapes(centre.shape[:-1], frame.shape[:-2], y.shape[:-1])
        centre, frame = centre.expand(*batch, -1), frame.expand(*batch, -1, -1)
        y, start = y.expand(*batch, -1), start.expand(*batch, -1)
        u, _, chord = self._split(detached(self._plain_inverse, centre, frame, y, start))
        return self._point(newton.polish(self._point, centre, frame, y, u, chord))

    def _plain_inverse(self, centre: Tensor, frame: Tensor, y: Tensor, start: Tensor) -> Tensor:
        k, d = self.canonical, self.dim
        c, f = centre.reshape(-1, k).double(), frame.reshape(-1, k, d).double()
        target, u = y.reshape(-1, d).double(), start.reshape(-1, d).double()
        u, chord = newton.invert_chart(self._formulas, c, f, target, u, self._cap.to(y.device))
        return self._joined(u, f, chord).reshape(*y.shape[:-1], -1).to(y)

    def _joined(self, u: Tensor, normal: Tensor, chord: Tensor) -> Tensor:
        """Parameters, normal and chord matrix in one tensor (..., d + k d + d d)."""
        return torch.cat([u, normal.flatten(-2), chord.flatten(-2)], dim=-1)

    def _split(self, joined: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        k, d = self.canonical, self.dim
        u, normal, chord = joined.split([d, k * d, d * d], dim=-1)
        return u, normal.unflatten(-1, (k, d)), chord.unflatten(-1, (d, d))
