"""Linear isometries of R^k into R^D."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from construct.errors import InputError
from construct.validation import integer

LARGEST_AMBIENT = 1000


def isometry(canonical: int, ambient: int | None, seed: int) -> Tensor:
    """Orthonormal columns, shape (ambient, canonical), float64.

    The identity when `ambient` is None or equals `canonical`; else the Q factor of a Gaussian matrix drawn
    from `seed`, with the signs fixed by a positive diagonal of R, so that it is Haar distributed.

    Raises InputError for canonical > ambient or ambient > 1000.
    """
    seed = integer(seed, "seed")
    if ambient is None or ambient == canonical:
        return torch.eye(canonical, dtype=torch.float64)
    if isinstance(ambient, bool) or not isinstance(ambient, int) or not canonical <= ambient <= LARGEST_AMBIENT:
        raise InputError(
            f"ambient must be None or an integer from {canonical} (the canonical dimension) "
            f"to {LARGEST_AMBIENT}; got {ambient!r}"
        )
    gaussian = np.random.default_rng(seed).standard_normal((ambient, canonical))
    q, r = np.linalg.qr(gaussian)
    return torch.from_numpy(np.ascontiguousarray(q * np.sign(np.diag(r))))
