"""Even and odd targets on symmetric manifolds: half of all polynomials are of no use for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from construct.errors import InputError
from construct.manifolds import Manifold
from construct.manifolds.canonical import canonical_form
from construct.targets import evaluate_target

POINTS = 2048
ENTRIES_AT_ONCE = 2**23  # of points in R^D
ROUNDING = 1e-12  # of the largest value


def parity_of(
    target: Callable[..., Any], manifold: Manifold, seed: int, tolerance: float = 0.0, watched: Tensor | None = None
) -> int | None:
    """0 or 1 where M is symmetric about the centre of its canonical box and the target, but for a constant, is even or
    odd about it; None otherwise.

    It is looked at on points of M, those of `watched` (m, D) among them, and their mirror images, up to a tolerance:
    who uses it has to measure what comes of it.
    """
    flat = canonical_form(manifold)
    z = flat.sample(POINTS, seed)
    if watched is not None and len(watched):
        z = torch.cat([z, manifold.restrict(watched)])
    mirrored = flat.box.sum(dim=0) - z
    try:
        if not bool(flat.contains(mirrored).all()):
            return None
    except InputError:  # where a projection is not defined
        return None
    step = max(1, ENTRIES_AT_ONCE // manifold.ambient)
    values, others = (
        torch.cat([evaluate_target(target, manifold.embed(part)) for part in points.split(step)])
        for points in (z, mirrored)
    )
    tolerance = max(tolerance, ROUNDING * float(torch.maximum(values.abs(), others.abs()).max()))
    if float((values - others).abs().max()) <= tolerance:
        return 0
    sums = values + others
    return 1 if float((sums - sums[0]).abs().max()) <= 2 * tolerance else None
