"""Linear isometries of R^k into R^D."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from construct.validation import integer, invalid, scalar

LARGEST_AMBIENT = 100_000


def isometry(canonical: int, ambient: int | None, seed: int) -> Tensor:
    """Orthonormal columns, shape (ambient, canonical), float64.

    The identity when `ambient` is None or equals `canonical`; else the Q factor of a Gaussian matrix drawn
    from `seed`, with the signs fixed by a positive diagonal of R, so that it is Haar distributed.

    Raises InputError for canonical > ambient or ambient > 100,000.
    """
    seed = integer(seed, "seed")
    size = canonical if ambient is None else _checked(ambient, canonical)
    if size == canonical:
        return torch.eye(canonical, dtype=torch.float64)
    gaussian = np.random.default_rng(seed).standard_normal((size, canonical))
    q, r = np.linalg.qr(gaussian)
    return torch.from_numpy(np.ascontiguousarray(q * np.sign(np.diag(r))))


def mapped_box(matrix: Tensor, box: Tensor) -> Tensor:
    """Ends (2, D) of matrix @ y, matrix (D, k), for y between the ends of a box (2, k)."""
    middle, half = matrix @ (box[0] + box[1]) / 2, matrix.abs() @ (box[1] - box[0]) / 2
    return torch.stack([middle - half, middle + half])


def _checked(ambient: object, canonical: int) -> int:
    number = scalar(ambient)
    if isinstance(number, bool) or not isinstance(number, int) or not canonical <= number <= LARGEST_AMBIENT:
        expected = f"None or an integer from {canonical} (the canonical dimension) to {LARGEST_AMBIENT}"
        raise invalid("ambient", expected, ambient)
    return number
