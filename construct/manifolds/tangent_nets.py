"""Nets of a manifold that is known by its nearest-point projection: grids of its tangent spaces, projected.

Let tau be the reach, p and q points of M with |q - p| <= r <= tau/2, and T_p, T_q orthonormal bases of the tangent
spaces. The angle between these is at most theta, sin(theta/2) <= r/(2 tau) (Boissonnat, Lieutier and Wintraecken 2019),
so T_q^T T_p has an inverse of norm 1/cos(theta) <= 1/(1 - r^2/(2 tau^2)), and w = (T_q^T T_p)^-1 T_q^T (q - p) gives a
point p + T_p w whose difference from q is normal to M at q and shorter than tau: project(p + T_p w) = q (Federer 1959,
4.8). Hence

    M in B(p, r)  lies in  project(p + T_p w),  |w| <= W = r/(1 - r^2/(2 tau^2)),

and project is Lipschitz with constant tau/(tau - e) where it moves points by at most e (Federer, 4.8). A grid of step h
in w gives points of M, one of them within eta = h sqrt(d)/2 tau/(tau - e) of every q.

A coarse net P of radius rho is *closed* if the grid points of all p, for r = 1.25 rho, lie within rho - eta of P. Then
M in B(p, r) lies within rho of P, so the part of M within rho of P is open in M, and closed: a union of components. P
is a net of every component of M on which there is a sample; all of this as far as the reach is right.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from construct.manifolds.base import LARGEST_NET, grid
from construct.progress import tick
from construct.validation import invalid

SHARE = 0.25  # rho, of the reach
BEYOND = 1.25  # r, of rho
FINE = 0.25  # eta, of rho
STEEPEST, STEEPEST_WITH_EDGE = 1.25, 2.5  # Lipschitz constant of project on the grids: 1.13 on a sphere
APART = 0.6  # distance of two points of P, of rho - eta
OVERLAPPING = 0.25  # of rho: below it nets are not thinned
THIN = 0.6  # of the spacing
MOST_COARSE = 100_000
AROUND = 8  # neighbours that a walk along a curve looks at first
AT_ONCE = 2**22  # numbers in one evaluation of project

Map = Callable[[Tensor], Tensor]


class TangentNets:
    """Nets of M; project: (n, D) -> (n, D), basis: points of M (n, D) -> (n, D, d), samples (n, D) on M.

    Raises InputError, about the argument `reach`, where the reach is too small for the coarse net or disproved by it.
    """

    def __init__(
        self, project: Map, basis: Map, reach: float, samples: Tensor, dim: int, *, has_boundary: bool = False
    ) -> None:
        self.project, self.basis, self.reach, self.dim = project, basis, reach, dim
        self.steepest = STEEPEST_WITH_EDGE if has_boundary else STEEPEST
        size = float((samples.amax(0) - samples.amin(0)).norm())
        self.radius = SHARE * min(reach, size)
        self.lipschitz = 1.0
        self.points, self.bases = self._closed(samples)

    def net(self, spacing: float) -> tuple[Tensor, float]:
        """Points (n, D) and their radius, at most `spacing`.

        Spacings little below rho are those of finer nets, thinned: there grids of neighbours overlap many times.
        """
        if spacing >= self.radius:
            return self.points, self.radius
        if spacing <= OVERLAPPING * self.radius:
            return self._fine(spacing), spacing
        return thinned(self._fine((1 - THIN) * spacing), THIN * spacing), spacing

    def _fine(self, spacing: float) -> Tensor:
        """Grid points (n, D), one within `spacing` of every point of M.

        Those near p that are much nearer to another coarse point are left out: q is looked for at the one nearest to
        it.
        """
        w = self._grid(self.radius, 2 * spacing / (self.lipschitz * math.sqrt(self.dim)))
        ambient = self.points.shape[1]
        expected = len(self.points) * len(w) // 2**self.dim
        if expected * ambient > LARGEST_NET:
            raise invalid(
                "spacing",
                f"large enough for a net of at most {LARGEST_NET} numbers",
                got=f"{spacing:g}, which takes about {expected} points in R^{ambient}",
            )
        tree, kept = cKDTree(self.points.numpy()), []
        for chunk, found in self._projected(self.points, self.bases, w):
            own = (found - self.points[chunk].unsqueeze(1)).norm(dim=-1).reshape(-1)
            found = found.reshape(-1, ambient)
            least = torch.from_numpy(tree.query(found.numpy())[0])
            kept.append(found[own <= least + 2 * spacing])
        return torch.cat(kept)

    # -- the coarse net --------------------------------------------------------------------------------------

    def _closed(self, samples: Tensor) -> tuple[Tensor, Tensor]:
        step = 2 * FINE * self.radius / (self.steepest * math.sqrt(self.dim))  # eta <= FINE rho
        beyond, near = BEYOND * self.radius, self.radius * (1 - FINE)
        w = self._grid(beyond, step)
        points = thinned(samples, APART * near)
        pending, bases = points, points.new_zeros(0, *self.basis(points[:1]).shape[1:])
        while len(pending):
            self._check_count(points)
            fresh = self.basis(pending)
            bases = torch.cat([bases, fresh])
            tree, holes = cKDTree(points.numpy()), []
            for chunk, found in self._projected(pending, fresh, w):
                own = (found - pending[chunk].unsqueeze(1)).norm(dim=-1).reshape(-1)
                found = found.reshape(-1, found.shape[-1])[own <= beyond + FINE * self.radius]
                far = torch.from_numpy(tree.query(found.numpy())[0]) > near
                holes.append(found[far])
            pending = thinned(torch.cat(holes), APART * near)
            points = torch.cat([points, pending])
        return points, bases

    def _check_count(self, points: Tensor) -> None:
        if len(points) > MOST_COARSE:
            expected = f"large enough to cover the manifold by {MOST_COARSE:,} balls of a quarter of it"
            raise invalid("reach", expected, got=f"{self.reach:.6g}, at which it takes more")

    def _grid(self, radius: float, step: float) -> Tensor:
        """w (m, d): every point of the ball of radius W is in the cell of one of them; the step is not larger."""
        longest = radius / (1 - radius**2 / (2 * self.reach**2))
        count = max(1, math.ceil(2 * longest / step))
        side = 2 * longest / count
        if count**self.dim > LARGEST_NET:
            got = f"{radius:g} in steps of {step:g}, in {self.dim} dimensions"
            raise invalid("spacing", f"large enough for a grid of at most {LARGEST_NET} points", got=got)
        axis = (torch.arange(count, dtype=torch.float64) + 0.5) * side - longest
        w = grid([axis] * self.dim)
        return w[w.norm(dim=1) <= longest + side * math.sqrt(self.dim) / 2]

    def _projected(self, points: Tensor, bases: Tensor, w: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """project(p + T_p w) for slices of points, (n, m, D); looks how far project moves them."""
        ambient = points.shape[1]
        rows = max(1, AT_ONCE // (len(w) * ambient))
        for start in range(0, len(points), rows):
            tick()
            chunk = slice(start, start + rows)
            flat = (points[chunk].unsqueeze(1) + torch.einsum("md,nDd->nmD", w, bases[chunk])).reshape(-1, ambient)
            found = torch.cat([self.project(part) for part in flat.split(max(1, AT_ONCE // ambient))])
            moved = float((found - flat).norm(dim=1).max())
            self._check_moved(moved)
            yield chunk, found.reshape(-1, len(w), ambient)

    def _check_moved(self, moved: float) -> None:
        """The Lipschitz constant of project, where between the grid's points it moves others by little more."""
        farthest = moved + FINE * self.radius
        if not farthest <= (1 - 1 / self.steepest) * self.reach:
            expected = "the true one, for which points of tangent spaces are nearer to the manifold"
            raise invalid("reach", expected, got=f"{self.reach:.6g}, while such a point is at distance {moved:.6g}")
        self.lipschitz = max(self.lipschitz, 1 / (1 - farthest / self.reach))


def thinned(points: Tensor, apart: float) -> Tensor:
    """Some of the points (n, D), no two nearer than `apart`, all of them within `apart` of one; in their order."""
    if len(points) == 0:
        return points
    array = points.numpy()
    tree, free, chosen = cKDTree(array), np.ones(len(array), dtype=bool), []
    for i in range(len(array)):
        if free[i]:
            tick()
            chosen.append(i)
            free[tree.query_ball_point(array[i], apart)] = False
    return points[torch.tensor(chosen)]


def ordered(points: Tensor, apart: float) -> list[Tensor]:
    """Points (n, D) of curves, no farther than `apart` from their neighbours, walked along: one list a component."""
    array, left = points.numpy(), set(range(len(points)))
    tree, walks = cKDTree(array), []
    count = min(AROUND, len(array))
    around = tree.query(array, k=[*range(1, count + 1)], distance_upper_bound=apart)[1].tolist()  # nearest first
    while left:
        sides: list[list[int]] = []
        start = next(iter(left))
        left.discard(start)
        for _ in range(2):
            walk = [start]
            while True:
                tick()
                last = walk[-1]
                near = [i for i in around[last] if i in left][:1]
                if not near and around[last][-1] < len(array):  # there may be more of them
                    more = [i for i in tree.query_ball_point(array[last], apart) if i in left]
                    near = sorted(more, key=lambda i: float(((array[i] - array[last]) ** 2).sum()))[:1]
                if not near:
                    break
                walk += near
                left.discard(walk[-1])
            sides.append(walk)
        order = [*sides[1][:0:-1], *sides[0]]
        walks.append(points[torch.tensor(list(itertools.chain(order)))])
    return walks
