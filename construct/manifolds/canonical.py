"""A manifold without its isometric embedding."""

from __future__ import annotations

import copy

import torch

from construct.manifolds.base import Manifold
from construct.manifolds.embedding import mapped_box


def canonical_form(manifold: Manifold) -> Manifold:
    """The same manifold in its canonical R^k: itself, or a copy without the isometry x = frame @ y into R^D.

    Distances and tangent coordinates agree, so that covers and nodes cost no more for a large D.
    """
    if manifold.ambient == manifold.canonical:
        return manifold
    plain = copy.copy(manifold)
    plain.frame = torch.eye(manifold.canonical, dtype=torch.float64)
    plain.ambient = manifold.canonical
    # y = frame^T x: a box for the image of the box, no end of it farther out than the farthest corner
    longest = float(manifold.largest_coordinates.norm())
    plain.box = mapped_box(manifold.frame.T, manifold.box).clamp(-longest, longest)
    return plain
