"""Hashes of weights, the same on every machine: drawn dyadic numbers, rounded before they are hashed."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from construct.transformer import Weights

Array = np.ndarray[Any, np.dtype[Any]]

BITS = {"integer": 40, "trigonometric": 30}
"""Significant bits that are hashed. Integer codes: all weights are exact but the scales of the atoms, whose critical
points come from an eigenvalue solver. Trigonometric code: cosines and sines of the C library."""


def dyadic(seed: int, *shape: int, zeros: float = 0.0) -> Array:
    """Multiples of 1/64 in [-1, 1], a share `zeros` of them 0, from a generator whose stream is frozen."""
    draw = np.random.RandomState(seed)
    return np.asarray(draw.randint(-64, 65, shape) / 64.0 * (draw.random_sample(shape) >= zeros))


def arrays_of(weights: Weights) -> list[Array]:
    """Every array of a network, in order."""
    blocks = [
        array
        for heads, ffn in weights.blocks
        for array in (heads.query, heads.key, heads.value, *(array for layer in ffn.layers for array in layer))
    ]
    return [weights.hidden0, *blocks]


def rounded(values: Array, bits: int) -> Array:
    """To `bits` significant bits; -0 becomes 0."""
    fraction, exponent = np.frexp(values)
    return np.ldexp(np.round(np.ldexp(fraction, bits)), exponent - bits) + 0.0


def weights_hash(weights: Weights, code: str) -> str:
    """Sixteen hexadecimal digits of SHA-256 over the shapes and the rounded numbers of all arrays, and the read-out."""
    total = hashlib.sha256(repr(weights.readout).encode())
    for array in arrays_of(weights):
        total.update(repr(array.shape).encode())
        total.update(rounded(array, BITS[code]).astype("<f8").tobytes())
    return total.hexdigest()[:16]
