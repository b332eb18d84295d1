"""Weights as plain, frozen data: batches of heads, feed-forward networks, and all that a network consists of.

They are apart from the module that runs them, so that they can be counted, checked and stacked. What is proved of them
(bounds on the hidden state, pairs of tokens on which a head can act) is data, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from construct.arrays import Float, Int
from construct.boxes import ends
from construct.validation import invalid


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
            raise invalid("query", "shape (m, w, w)", shape)
        for name in ("key", "value"):
            if getattr(self, name).shape != shape:
                raise invalid(name, f"shape {shape}", getattr(self, name).shape)
        for name in ("query", "key", "value"):
            if not np.isfinite(getattr(self, name)).all():
                raise invalid(name, "finite weights", got="NaN or infinity")

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
                raise invalid(f"layers[{index}]", "shapes (w, w) and (w,)", got=f"{weight.shape} and {bias.shape}")
            if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
                raise invalid(f"layers[{index}]", "finite weights", got="NaN or infinity")

    @property
    def depth(self) -> int:
        return len(self.layers)


@dataclass(frozen=True)
class Intervals:
    """Entrywise bounds of a hidden state, shape (l, w) each."""

    lower: Float
    upper: Float

    def magnitude(self) -> Float:
        return np.maximum(np.abs(self.lower), np.abs(self.upper))


@dataclass(frozen=True)
class HeadPairs:
    """Active pairs in COO form: `head[i]` may act at `target[i]` from `source[i]`."""

    head: Int
    target: Int
    source: Int

    def __len__(self) -> int:
        return int(self.head.size)


@dataclass(frozen=True)
class BlockBounds:
    """What is known of one block: its active pairs, which tokens its FFN can change, the state around it."""

    pairs: HeadPairs
    ffn_tokens: Int
    before: Intervals
    after: Intervals


@dataclass(frozen=True)
class Weights:
    """A network as data.

    Attributes:
        hidden0: (l, w), the hidden state at x = 0.
        blocks: heads and FFN of each block.
        readout: (token, row) of the output.
        box: (2, D) lower and upper ends of the admissible inputs, for which `bounds` hold; half-widths (D,) stand for
            a box around the origin. The first D tokens carry the coordinates in row 0.
        bounds: what is proved of each block for such inputs, or None when nobody has propagated them yet.
    """

    hidden0: Float
    blocks: tuple[tuple[Heads, FeedForward], ...]
    readout: tuple[int, int]
    box: Float
    bounds: tuple[BlockBounds, ...] | None = None

    def __post_init__(self) -> None:
        if self.hidden0.ndim != 2 or not np.isfinite(self.hidden0).all():
            raise invalid("hidden0", "a finite array of shape (l, w)", self.hidden0)
        tokens, width = self.hidden0.shape
        object.__setattr__(self, "box", ends(self.box))
        if self.ambient > tokens:
            raise invalid("box", f"shape (2, D) with 1 <= D <= {tokens} tokens", self.box.shape)
        if not (0 <= self.readout[0] < tokens and 0 <= self.readout[1] < width):
            raise invalid("readout", f"(token, row) within ({tokens}, {width})", self.readout)
        for index, (heads, ffn) in enumerate(self.blocks):
            if heads.query.shape[1] != width or any(weight.shape[0] != width for weight, _ in ffn.layers):
                raise invalid(f"blocks[{index}]", f"matrices of {width} rows", got=f"heads of {heads.query.shape[1]}")
        if self.bounds is not None and len(self.bounds) != len(self.blocks):
            raise invalid("bounds", f"one for each of {len(self.blocks)} blocks", len(self.bounds))

    @property
    def ambient(self) -> int:
        """D, the number of input coordinates."""
        return int(self.box.shape[1])

    def frozen(self) -> Weights:
        """Itself, with arrays that cannot be written to."""
        arrays = [self.hidden0, self.box]
        for heads, ffn in self.blocks:
            arrays += [heads.query, heads.key, heads.value, *(array for layer in ffn.layers for array in layer)]
        for array in arrays:
            array.setflags(write=False)
        return self
