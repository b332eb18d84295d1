"""A manifold without its isometric embedding."""

from __future__ import annotations

import copy

import torch

from construct.manifolds.base import Manifold
from construct.manifolds.embedding import mapped_box


def canonical_form(manifold: Manifold) -> Manifold:
    """The same manifold in its canonical R^k: itself, or a copy without the isometry x = frame @ y + offset into R^D.

    Distances and tangent coordinates agree, so that covers and nodes cost no more for a large D.
    """
    if not manifold.embedded:
        return manifold
    plain = copy.copy(manifold)
    plain.frame = torch.eye(manifold.canonical, dtype=torch.float64)
    plain.offset = torch.zeros(manifold.canonical, dtype=torch.float64)
    plain.ambient, plain.embedded = manifold.canonical, False
    plain.radius_bound = manifold.canonical_radius
    # y = frame^T (x - offset): a box for the image of the box, no end of it farther out than the farthest corner
    moved = manifold.box - manifold.offset
    longest = float(moved.abs().amax(0).norm())
    plain.box = mapped_box(manifold.frame.T, moved).clamp(-longest, longest)
    return plain
