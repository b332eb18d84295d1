"""Which position code a network uses, read from the rows that no block writes."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from construct.arrays import Float
from construct.certificates.weights import NetworkWeights

NEARLY_ONE = 2.0**-20  # far above the rounding of a cosine, in float32 too


def has_trigonometric_code(weights: NetworkWeights) -> bool:
    """Whether two fixed rows are (cos, sin) of some angle at every token, not all of them integers.

    Gates that are built from such a code close up to rounding only. Gates of integers are exact.
    """
    return angles(np.delete(weights.hidden0, weights.written_rows, axis=1))


def angles(rows: Float) -> bool:
    """Whether two columns of rows (l, m) are (cos, sin) of some angle in every line, not all of them integers."""
    for c, s in combinations(rows.T, 2):
        whole = bool((c == np.rint(c)).all() and (s == np.rint(s)).all())
        if not whole and bool((np.abs(c * c + s * s - 1) <= NEARLY_ONE).all()):
            return True
    return False
