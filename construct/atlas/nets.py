"""Nets of a wanted size, and distances to the nearest centre."""

from __future__ import annotations

import torch
from scipy.spatial import cKDTree
from torch import Tensor

from construct.manifolds import Manifold
from construct.manifolds.canonical import canonical_form


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

    def _net(self, level: int) -> tuple[Tensor, float]:
        while len(self._nets) <= level:
            points, radius = self.manifold.net(self._first * 2.0 ** (-len(self._nets) / self.manifold.dim))
            self._nets.append((points, float(radius)))
        return self._nets[level]

    def _level(self, size: int, floor: float) -> int:
        """The finest level with at most `size` points, or the first of radius at most `floor`."""
        level = 0
        while len(self._net(level)[0]) <= size:
            if self._net(level)[1] <= floor:
                return level
            level += 1
        return max(0, level - 1)

    def finest(self, size: int, floor: float = 0.0) -> tuple[Tensor, float]:
        """Points (m, k), m <= size if the coarsest net allows, and their proved radius."""
        return self._net(self._level(size, floor))

    def snap(self, x: Tensor, size: int) -> Tensor:
        """The points of the net of that size nearest to x (n, k)."""
        level = self._level(size, 0.0)
        points = self._net(level)[0]
        if level not in self._trees:
            self._trees[level] = cKDTree(points.numpy())
        return points[torch.from_numpy(self._trees[level].query(x.numpy())[1]).long()]


def nearest(points: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """Distance (m,) from each point (m, D) to its nearest centre (n, D), and that centre's number (m,)."""
    distance, index = cKDTree(centres.numpy()).query(points.numpy())
    return torch.from_numpy(distance), torch.from_numpy(index).long()
