"""A manifold without its isometric embedding."""

from __future__ import annotations

import copy

import torch

from construct.manifolds.base import Manifold


def canonical_form(manifold: Manifold) -> Manifold:
    """The same manifold in its canonical R^k: itself, or a copy without the isometry x = frame @ y into R^D.

    Distances and tangent coordinates agree, so that covers and nodes cost no more for a large D.
    """
    if manifold.ambient == manifold.canonical:
        return manifold
    plain = copy.copy(manifold)
    plain.frame = torch.eye(manifold.canonical, dtype=torch.float64)
    plain.ambient = manifold.canonical
    # y = frame^T x, so |y_j| is at most the sum of |frame_ij| box_i, and at most the norm of the box
    plain.box = (manifold.frame.T.abs() @ manifold.box).clamp_max(float(manifold.box.norm()))
    return plain
