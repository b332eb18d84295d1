"""The input coordinates that a ridge network reads: k of them that parametrise the affine hull of M."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg import qr
from torch import Tensor

from construct.arrays import Float, Int
from construct.manifolds import Manifold
from construct.manifolds.canonical import canonical_form
from construct.validation import invalid

SAMPLES, FEWEST, ENTRIES = 4000, 400, 2**22  # points of the sample; where they have many coordinates; of the sample
SPAN = 1e-9  # singular values below this share of the largest are of a smaller hull
MOST_COORDINATES = 12


@dataclass(frozen=True, eq=False)
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
        return self._scaled(x[:, torch.from_numpy(self.chosen)])

    def within(self, manifold: Manifold, canonical: Tensor) -> Tensor:
        """Those of points given by canonical coordinates (P, c) -> (P, k): D does not enter."""
        if not manifold.embedded:
            return self.of(canonical)
        rows = torch.from_numpy(self.chosen)
        return self._scaled(canonical @ manifold.frame[rows].T + manifold.offset[rows])

    def _scaled(self, picked: Tensor) -> Tensor:
        return (picked - torch.from_numpy(self.centre)) * torch.from_numpy(self.scale)


def coordinates_of(manifold: Manifold, seed: int) -> Coordinates:
    """The coordinates chosen by QR with column pivoting of a sample of M: as many as its affine hull has dimensions.

    Raises:
        InputError: the hull has more than `MOST_COORDINATES` dimensions.
    """
    lower, upper = manifold.box.numpy()
    # M spans what its canonical coordinates span: D may be 10^5
    plain = canonical_form(manifold)
    points = plain.sample(min(SAMPLES, max(FEWEST, ENTRIES // plain.canonical)), seed).numpy()
    reduced = points - points.mean(axis=0)
    values, turned = np.linalg.svd(reduced, full_matrices=False)[1:]
    rank = max(1, int((values > SPAN * values[0]).sum()))
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
