"""Proved bounds on the size of tangent images, sup |V_n^T (x - c_n)|_inf over x in M ∩ B(c_n, r).

The chart coordinates are divided by it. Always at most r; for curved manifolds less, and the tighter it is
the smaller the domain on which polynomials have to be bounded.
"""

from __future__ import annotations

import math

import torch
from scipy.spatial import cKDTree
from torch import Tensor

from construct.atlas.nets import NetLadder
from construct.manifolds import Cube, FlatTorus, Manifold

EXTENT_POINTS = 150_000
FINEST = 1 / 500
CIRCULAR = ("circle", "sphere", "so3")
"""Manifolds whose geodesics through c are circles of radius `reach` about points of the normal space."""
ROUNDING = 1 + 1e-12


def tangent_extent(
    manifold: Manifold, centres: Tensor, frames: Tensor, radius: float, nets: NetLadder | None = None
) -> float:
    """A proved bound on |frames_n^T (x - centres_n)|_inf for x in M ∩ B(centres_n, radius), at most `radius`.

    Closed forms for circle, sphere, SO(3), flat torus and cube. Otherwise the largest value over the net
    points within radius + net.radius, plus net.radius (projections are 1-Lipschitz), where a net fine enough
    is affordable.
    """
    flat = manifold.frame.T @ frames
    if manifold.name in CIRCULAR:
        bound = circular_extent(radius, float(manifold.reach))
    elif isinstance(manifold, FlatTorus) and (axes := _factors(flat)) is not None:
        bound = max(circular_extent(radius, manifold.radii[i]) for i in axes)
    elif isinstance(manifold, Cube):
        longest = 1.0 + float(manifold.restrict(centres).abs().max())
        return min(radius, longest) if _axis_aligned(flat) else radius
    elif manifold.dim <= 2:
        bound = _measured(nets or NetLadder(manifold), manifold.restrict(centres), flat, radius)
    else:
        bound = radius
    return min(radius, bound * ROUNDING)


def circular_extent(radius: float, curvature_radius: float) -> float:
    """sup |V^T (x - c)| over |x - c| <= radius where every geodesic through c is a circle of radius R whose
    centre lies in the normal space (circle, sphere, SO(3)): s sqrt(1 - s^2/(4 R^2)) grows up to s = sqrt(2)
    R, to R.
    """
    s = min(radius, math.sqrt(2.0) * curvature_radius)
    return s * math.sqrt(1.0 - s * s / (4.0 * curvature_radius**2))


def _factors(frames: Tensor) -> list[int] | None:
    """The factors of a flat torus that the columns of frames (n, 2 d, d) lie in; None if one mixes them."""
    n, k, d = frames.shape
    weight = frames.reshape(n, k // 2, 2, d).square().sum(2)  # (n, factor, column)
    if bool((weight.amax(1) < 1 - 1e-12).any()):
        return None
    return sorted(set(weight.argmax(1).flatten().tolist()))


def _axis_aligned(frames: Tensor) -> bool:
    return bool((frames.abs().amax(-2) >= 1 - 1e-12).all())


def _measured(nets: NetLadder, centres: Tensor, frames: Tensor, radius: float) -> float:
    points, slack = nets.finest(EXTENT_POINTS, radius * FINEST)
    if slack > 0.1 * radius:
        return radius
    largest = torch.zeros((), dtype=torch.float64)
    groups = cKDTree(points.numpy()).query_ball_point(centres.numpy(), radius + slack)
    for group, centre, frame in zip(groups, centres, frames, strict=True):
        if len(group):
            image = (points[torch.as_tensor(group, dtype=torch.long)] - centre) @ frame
            largest = torch.maximum(largest, image.abs().max())
    return float(largest) + slack
