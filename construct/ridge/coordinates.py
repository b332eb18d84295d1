"""The coordinates that a ridge network reads: k input coordinates that parametrise the affine hull of M, or k linear
forms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg import qr
from torch import Tensor

from construct.arrays import Float, Int
from construct.manifolds import Manifold
from construct.manifolds.canonical import canonical_form
from construct.manifolds.embedding import mapped_box
from construct.validation import invalid, numeric

SAMPLES, FEWEST, ENTRIES = 4000, 400, 2**22  # points of the sample; where they have many coordinates; of the sample
SPAN = 1e-9  # singular values below this share of the largest are of a smaller hull
MOST_COORDINATES = 12


@dataclass(frozen=True, eq=False)
class Coordinates:
    """`y_i = scale_i (z_i - centre_i)`, |y_i| <= 1 on M; z are some input coordinates, or linear forms of all of them.

    Attributes:
        chosen: (k,) numbers of input coordinates, increasing; none where there is a projection.
        centre, scale: (k,).
        condition: of the map from these to all coordinates, on the affine hull of M; of a projection the largest over
            the smallest factor by which it changes distances, measured on M.
        projection: (k, D), the linear forms; None: the chosen coordinates.
    """

    chosen: Int
    centre: Float
    scale: Float
    condition: float
    projection: Float | None = None

    def check(self, ambient: int) -> None:
        """Refuse what is no reading of k numbers of points in R^D. Raises `InputError`."""
        k = len(numeric(self.centre, "coordinates.centre", None))
        if not (numeric(self.scale, "coordinates.scale", k) > 0).all():
            raise invalid("coordinates.scale", f"positive numbers ({k},)", self.scale)
        chosen = numeric(self.chosen, "coordinates.chosen", k if self.projection is None else 0, whole=True)
        if (np.diff(chosen) <= 0).any() or (chosen.size and not (chosen[0] >= 0 and chosen[-1] < ambient)):
            raise invalid("coordinates.chosen", f"increasing numbers below {ambient}", chosen)
        if self.projection is not None:
            numeric(self.projection, "coordinates.projection", k, ambient)

    @property
    def count(self) -> int:
        """k."""
        return len(self.centre)

    @property
    def numbers(self) -> int:
        """Stored numbers that say what is read: a choice each, or all of a projection."""
        return self.count if self.projection is None else int(np.count_nonzero(self.projection))

    def of(self, x: Tensor) -> Tensor:
        """(P, D) -> (P, k)."""
        if self.projection is not None:
            return self._scaled(x @ torch.from_numpy(self.projection).T)
        return self._scaled(x[:, torch.from_numpy(self.chosen)])

    def within(self, manifold: Manifold, canonical: Tensor) -> Tensor:
        """Those of points given by canonical coordinates (P, c) -> (P, k): D does not enter."""
        if not manifold.embedded:
            return self.of(canonical)
        if self.projection is not None:
            forms = torch.from_numpy(self.projection)
            return self._scaled(canonical @ (forms @ manifold.frame).T + forms @ manifold.offset)
        rows = torch.from_numpy(self.chosen)
        return self._scaled(canonical @ manifold.frame[rows].T + manifold.offset[rows])

    def ends(self, manifold: Manifold) -> Float:
        """(2, k) what z is at least and at most on M, by its box."""
        if self.projection is None:
            return manifold.box.numpy()[:, self.chosen]
        return mapped_box(torch.from_numpy(self.projection), manifold.box).numpy()

    def slopes(self, directions: Float) -> Float:
        """(n,) by how much `<alpha, y>` changes at most over a distance 1 in R^D, alpha (n, k)."""
        w = directions * self.scale
        return np.linalg.norm(w if self.projection is None else w @ self.projection, axis=1)

    def _scaled(self, z: Tensor) -> Tensor:
        return (z - torch.from_numpy(self.centre)) * torch.from_numpy(self.scale)


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
