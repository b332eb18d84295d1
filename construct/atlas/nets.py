"""Nets of a wanted size, and distances to the nearest centre."""

from __future__ import annotations

from functools import cached_property

import torch
from scipy.spatial import cKDTree
from torch import Tensor

from construct.errors import InputError
from construct.manifolds import Manifold
from construct.manifolds.canonical import canonical_form
from construct.manifolds.tangent_nets import ordered, thinned
from construct.progress import tick
from construct.validation import invalid

WALKED = 20_000  # points of a curve that is walked along


class NetLadder:
    """Nets of a manifold in its canonical form, each with about twice as many points as the last.

    A net is (points, radius): every point of M is proved to be within `radius` of one of them.
    """

    START = 0.5

    def __init__(self, manifold: Manifold) -> None:
        self.manifold = canonical_form(manifold)
        self._first = self.START * min(manifold.chart_radius_bound, float(2 * self.manifold.half_widths.norm()))
        self._nets: list[tuple[Tensor, float]] = []
        self._trees: dict[int, cKDTree] = {}
        self._ended = False

    @cached_property
    def walks(self) -> list[Tensor]:
        """The components of a curve, as points (m, k) in the order in which they lie; closed ones end where they begin.

        From a net, so that it needs no coordinates.
        """
        points, radius = self.finest(WALKED)
        thin = thinned(points, radius)
        walks = ordered(thin, 4 * radius)
        return [
            torch.cat([walk, walk[:1]]) if float((walk[0] - walk[-1]).norm()) <= 4 * radius else walk for walk in walks
        ]

    def _net(self, level: int) -> tuple[Tensor, float] | None:
        """None where it would be too large."""
        while len(self._nets) <= level:
            tick()
            if self._ended:
                return None
            try:
                points, radius = self.manifold.net(self._first * 2.0 ** (-len(self._nets) / self.manifold.dim))
            except InputError as error:
                self._ended = True
                if not str(error).startswith("spacing"):
                    raise
                if not self._nets:
                    raise invalid("manifold", "one that has a net of a memory's size", got=str(error)) from error
                return None
            self._nets.append((points, float(radius)))
        return self._nets[level]

    def _level(self, size: int, floor: float) -> int:
        """The finest level with at most `size` points, or the first of radius at most `floor`."""
        level = 0
        while (found := self._net(level)) is not None and len(found[0]) <= size:
            if found[1] <= floor:
                return level
            level += 1
        return max(0, level - 1)

    def finest(self, size: int, floor: float = 0.0) -> tuple[Tensor, float]:
        """Points (m, k), m <= size if the coarsest net allows, and their proved radius."""
        return self._nets[self._level(size, floor)]

    def snap(self, x: Tensor, size: int) -> Tensor:
        """The points of the net of that size nearest to x (n, k)."""
        level = self._level(size, 0.0)
        points = self._nets[level][0]
        if level not in self._trees:
            self._trees[level] = cKDTree(points.numpy())
        return points[torch.from_numpy(self._trees[level].query(x.numpy())[1]).long()]


def nearest(points: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """Distance (m,) from each point (m, D) to its nearest centre (n, D), and that centre's number (m,)."""
    distance, index = cKDTree(centres.numpy()).query(points.numpy())
    return torch.from_numpy(distance), torch.from_numpy(index).long()
