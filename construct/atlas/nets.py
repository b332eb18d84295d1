"""Nets of a wanted size, and distances to the nearest centre."""

from __future__ import annotations

import torch
from scipy.spatial import cKDTree
from torch import Tensor

from construct import manifolds
from construct.manifolds import Manifold


def canonical_form(manifold: Manifold) -> Manifold:
    """The same manifold in its canonical R^k: itself, or a copy without the isometry x = frame @ y into R^D.

    Distances and tangent coordinates agree, so that covers and nodes cost no more for a large D.
    """
    if manifold.ambient == manifold.canonical:
        return manifold
    return manifolds.from_spec({**manifold.spec(), "ambient": None})


def net_of_size(manifold: Manifold, spacing: float, size: int, *, floor: float) -> tuple[Tensor, float]:
    """A net of at most about `size` points, no finer than `floor`: (points (m, D), proved radius).

    `spacing` is a first guess; the number of points grows like spacing^-dim, so a few steps find the size.
    """
    net = manifold.net(spacing)
    for _ in range(6):
        finer = max(floor, net.radius * (len(net.points) / size) ** (1.0 / manifold.dim))
        if 0.8 * net.radius < finer < 1.3 * net.radius:
            break
        # in limited steps, since the law is poor for coarse nets
        net = manifold.net(min(max(finer, net.radius / 6), net.radius * 4))
    return net.points, float(net.radius)


def nearest(points: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """Distance (m,) from each point (m, D) to its nearest centre (n, D), and that centre's number (m,)."""
    distance, index = cKDTree(centres.numpy()).query(points.numpy())
    return torch.from_numpy(distance), torch.from_numpy(index).long()
