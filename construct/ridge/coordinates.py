"""The input coordinates that a ridge network reads: k of them that parametrise the affine hull of M."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg import qr
from torch import Tensor

from construct.arrays import Float, Int
from construct.manifolds import Manifold
from construct.validation import invalid

SAMPLES = 4000
SPAN = 1e-9  # singular values below this share of the largest are of a smaller hull
MOST_COORDINATES = 12


@dataclass(frozen=True)
class Coordinates:
    """`y_i = scale_i (x_(chosen_i) - centre_i)`, |y_i| <= 1 on M.

    Attributes:
        chosen: (k,) numbers of input coordinates, increasing.
        centre, scale: (k,).
        condition: of the map from these to all coordinates, on the affine hull of M.
    """

    chosen: Int
    centre: Float
    scale: Float
    condition: float

    @property
    def count(self) -> int:
        """k."""
        return len(self.chosen)

    def of(self, x: Tensor) -> Tensor:
        """(P, D) -> (P, k)."""
        picked = x[:, torch.from_numpy(self.chosen)]
        return (picked - torch.from_numpy(self.centre)) * torch.from_numpy(self.scale)


def coordinates_of(manifold: Manifold, seed: int) -> Coordinates:
    """The coordinates chosen by QR with column pivoting of a sample of M: as many as its affine hull has dimensions.

    Raises:
        InputError: the hull has more than `MOST_COORDINATES` dimensions.
    """
    x = manifold.sample(SAMPLES, seed).numpy()
    lower, upper = manifold.box.numpy()
    centred = x - (lower + upper) / 2
    centred = centred - centred.mean(axis=0)
    # M spans what its canonical coordinates span: work there, D may be 10^5
    reduced = centred @ manifold.frame.numpy() if manifold.embedded else centred
    values, turned = np.linalg.svd(reduced, full_matrices=False)[1:]
    rank = int((values > SPAN * values[0]).sum())
    if rank > MOST_COORDINATES:
        expected = f"one that spans at most {MOST_COORDINATES} dimensions"
        raise invalid("manifold", expected, got=f"{manifold!r}, which spans {rank}")
    directions = turned[:rank] * values[:rank, None]
    spanned = directions @ manifold.frame.numpy().T if manifold.embedded else directions  # (rank, D)
    chosen = np.sort(qr(spanned, mode="economic", pivoting=True)[2][:rank])
    orthonormal = np.linalg.qr(spanned.T)[0]  # (D, rank)
    condition = float(np.linalg.norm(np.linalg.inv(orthonormal[chosen]), 2))
    half = (upper - lower)[chosen] / 2
    return Coordinates(chosen.astype(np.int64), ((lower + upper) / 2)[chosen], 1.0 / half, condition)
