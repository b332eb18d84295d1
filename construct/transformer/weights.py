"""Weights as plain, frozen data: batches of heads and feed-forward networks.

They are apart from the module that runs them, so that they can be counted, checked and stacked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from construct.arrays import Float
from construct.errors import InputError


@dataclass(frozen=True)
class Heads:
    """`m` ReLU heads; query, key and value have shape (m, w, w).

    Head i adds `sum_s relu(<Q_i h_t, K_i h_s>) V_i h_s` to token t.
    """

    query: Float
    key: Float
    value: Float

    def __post_init__(self) -> None:
        shape = self.query.shape
        if len(shape) != 3 or shape[1] != shape[2]:
            raise InputError(f"query: expected shape (m, w, w), got {shape}")
        for name in ("key", "value"):
            if getattr(self, name).shape != shape:
                raise InputError(f"{name}: expected shape {shape}, got {getattr(self, name).shape}")
        for name in ("query", "key", "value"):
            if not np.isfinite(getattr(self, name)).all():
                raise InputError(f"{name}: expected finite weights, got NaN or infinity")

    def __len__(self) -> int:
        return int(self.query.shape[0])

    @staticmethod
    def none(width: int) -> Heads:
        empty = np.zeros((0, width, width))
        return Heads(empty, empty, empty)

    @staticmethod
    def stack(parts: Sequence[Heads], width: int) -> Heads:
        """All heads of several batches, in order."""
        parts = [part for part in parts if len(part)]
        if not parts:
            return Heads.none(width)
        return Heads(*(np.concatenate([getattr(p, name) for p in parts]) for name in ("query", "key", "value")))


@dataclass(frozen=True)
class FeedForward:
    """`h -> W_L relu(... relu(W_1 h + b_1) ...) + b_L`; every weight (w, w), every bias (w,). No layers: zero."""

    layers: tuple[tuple[Float, Float], ...] = ()

    def __post_init__(self) -> None:
        for index, (weight, bias) in enumerate(self.layers):
            if weight.ndim != 2 or weight.shape[0] != weight.shape[1] or bias.shape != weight.shape[:1]:
                raise InputError(f"layers[{index}]: expected (w, w) and (w,), got {weight.shape} and {bias.shape}")
            if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
                raise InputError(f"layers[{index}]: expected finite weights, got NaN or infinity")

    @property
    def depth(self) -> int:
        return len(self.layers)
