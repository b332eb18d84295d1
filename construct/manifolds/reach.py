"""Federer's formula for the reach, on samples."""

from __future__ import annotations

import torch
from torch import Tensor

_SLAB = 2**22


def federer_bound(points: Tensor, bases: Tensor, closest: float = 0.0) -> float:
    """An upper bound of the reach: the smallest |q - p|^2 / (2 dist(q - p, T_p)) over pairs of points (n, k)
    of M.

    bases (n, k, d) are orthonormal tangent bases. Pairs nearer than `closest` are left out, as their quotient
    is dominated by rounding. At an edge the tangent space stands in for the tangent cone, which can only
    enlarge the bound (Federer 1959, Theorem 4.18).
    """
    n, k = points.shape
    smallest = torch.tensor(torch.inf, dtype=points.dtype)
    rows = max(1, _SLAB // (n * k))
    for start in range(0, n, rows):
        chord = points - points[start : start + rows, None]
        squared = chord.square().sum(-1)
        along = (chord @ bases[start : start + rows]).square().sum(-1)
        across = squared - along
        curved = (squared > closest**2) & (across > 1e-13 * squared)  # else flat, up to rounding
        quotient = torch.where(curved, squared / (2 * torch.where(curved, across, 1.0).sqrt()), torch.inf)
        smallest = torch.minimum(smallest, quotient.min())
    return float(smallest)


def federer_quotients(p: Tensor, bases: Tensor, q: Tensor, closest: float) -> Tensor:
    """|q - p|^2 / (2 dist(q - p, T_p)), infinite for pairs nearer than `closest` and for flat ones.

    p, q (..., k) and bases (..., k, d), with batch dimensions that broadcast.
    """
    chord = q - p
    squared = chord.square().sum(-1)
    across = squared - (chord.unsqueeze(-2) @ bases).squeeze(-2).square().sum(-1)
    curved = (squared > closest**2) & (across > 1e-13 * squared)
    return torch.where(curved, squared / (2 * torch.where(curved, across, 1.0).sqrt()), torch.inf)
