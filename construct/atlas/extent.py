"""Proved bounds on the size of tangent images, sup |V_n^T (x - c_n)|_inf over x in M ∩ B(c_n, r).

The chart coordinates are divided by it. Always at most r; for curved manifolds less, and the tighter it is
the smaller the domain on which polynomials have to be bounded.
"""

from __future__ import annotations

import torch
from scipy.spatial import cKDTree
from torch import Tensor

from construct.atlas.nets import NetLadder
from construct.manifolds import Manifold
from construct.progress import tick

EXTENT_POINTS = 150_000
FINEST = 1 / 500
ROUNDING = 1 + 1e-12


def tangent_extent(
    manifold: Manifold, centres: Tensor, frames: Tensor, radius: float, nets: NetLadder | None = None
) -> float:
    """A proved bound on |frames_n^T (x - centres_n)|_inf for x in M ∩ B(centres_n, radius), at most `radius`.

    The manifold's closed form (`Manifold.tangent_bound`) where it has one. Otherwise, for d <= 2, the largest
    value over the net points within radius + net.radius, plus net.radius (projections are 1-Lipschitz), where a
    net fine enough is affordable.
    """
    bound = manifold.tangent_bound(centres, frames, radius)
    if bound is None and manifold.dim <= 2:
        flat = manifold.frame.T @ frames
        bound = _measured(nets or NetLadder(manifold), manifold.restrict(centres), flat, radius) * ROUNDING
    return radius if bound is None else min(radius, bound)


def _measured(nets: NetLadder, centres: Tensor, frames: Tensor, radius: float) -> float:
    points, slack = nets.finest(EXTENT_POINTS, radius * FINEST)
    if slack > 0.1 * radius:
        return radius
    largest = torch.zeros((), dtype=torch.float64)
    groups = cKDTree(points.numpy()).query_ball_point(centres.numpy(), radius + slack)
    for group, centre, frame in zip(groups, centres, frames, strict=True):
        tick()
        if len(group):
            image = (points[torch.as_tensor(group, dtype=torch.long)] - centre) @ frame
            largest = torch.maximum(largest, image.abs().max())
    return float(largest) + slack
