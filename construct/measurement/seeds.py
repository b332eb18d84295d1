"""Seeds for one purpose each, so that no purpose sees the points of another."""

from __future__ import annotations

import numpy as np

from construct.validation import integer

PURPOSES = ("planning", "claim", "survey")
FIRST_DERIVED = 2**48
"""Derived seeds lie in [2^48, 2^49): exact in JSON, and none that a user types."""


def derived_seed(seed: int, purpose: str, number: int = 0) -> int:
    """The seed of the `number`-th stream for one of `PURPOSES`, from the seed that a user gave.

    numpy's `SeedSequence` of (seed, purpose, number), its first 48 bits above 2^48: for different purposes or numbers
    the streams are independent, and none is that of `measure(..., seed=k)` for a k below 2^48.
    """
    entropy = [integer(seed, "seed"), PURPOSES.index(purpose), integer(number, "number")]
    word = int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0])
    return FIRST_DERIVED + (word >> 16)
