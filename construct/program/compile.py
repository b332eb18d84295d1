"""Stacking blocks: the builder keeps proved bounds on every register, from which gate constants are computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from construct.arrays import Float, Int
from construct.execution.bounds import BlockBounds, attention_bounds, feed_forward_bounds, input_intervals
from construct.execution.pairs import Intervals
from construct.program.layout import TokenLayout
from construct.progress import Progress, silent
from construct.transformer.module import Transformer
from construct.transformer.weights import FeedForward, Heads


class NetworkBuilder:
    """Blocks over one token layout, from the embedding to the read-out.

    Registers are set first (`set`), then blocks are appended (`block`), each seeing the bounds that hold before it;
    `build` returns the module. All arithmetic is float64; the dtype of the network is chosen at the end.
    """

    def __init__(self, layout: TokenLayout, box: Float, progress: Progress | None = None) -> None:
        self.layout = layout
        self.box = np.asarray(box, dtype=np.float64)
        self.hidden = layout.initial_state()
        self.blocks: list[tuple[Heads, FeedForward]] = []
        self.bounds: list[BlockBounds] = []
        self.progress = progress or silent

    def set(self, tokens: Int, register: str, values: Float | float) -> None:
        """Initial value of a register of some tokens."""
        if self.blocks:
            raise RuntimeError("registers are set before the first block")
        self.hidden[np.asarray(tokens), self.layout.row(register)] = values

    @property
    def state(self) -> Intervals:
        """Bounds of the hidden state before the next block."""
        return self.bounds[-1].after if self.bounds else input_intervals(self.hidden, self.box)

    @property
    def bound(self) -> Float:
        """Largest `(|a|, |b|, 1)` of any token before the next block, shape (3,)."""
        return register_bound(self.layout, self.state)

    def block(
        self, heads: Sequence[Heads], ffn: Callable[[Intervals], FeedForward] | None = None, *, stage: str = ""
    ) -> None:
        """Append a block; `ffn` receives the bounds after the heads."""
        stacked = Heads.stack(heads, self.layout.embedding_dim)
        before = self.state
        self.progress(f"block {len(self.blocks) + 1}: {stage}", None)
        pairs, middle = attention_bounds(stacked.query, stacked.key, stacked.value, before)
        feed_forward = ffn(middle) if ffn is not None else FeedForward()
        after, changed = feed_forward_bounds(list(feed_forward.layers), middle)
        self.blocks.append((stacked, feed_forward))
        self.bounds.append(BlockBounds(pairs, changed, before, after))

    def build(
        self,
        approximator: Any,
        *,
        labels: dict[str, Any],
        dtype: torch.dtype,
        device: torch.device | str,
    ) -> Transformer:
        """The module of an approximator with an atlas, read out at `out.b`.

        Its sparse plan reuses the builder's bounds, which were found from the weights.
        """
        atlas = approximator.atlas
        common = {
            "charts": atlas.count,
            "manifold_text": repr(atlas.manifold),
            "position_code": self.layout.code_name,
            "layout": str(self.layout),
        }
        self.layout.code.check(dtype)
        net = Transformer(
            self.hidden,
            self.blocks,
            ambient=atlas.manifold.ambient,
            readout=(int(self.layout.tokens("out")[0]), self.layout.row("b")),
            box=self.box,
            labels={**labels, **common},
            dtype=dtype,
            device=device,
        )
        if dtype == torch.float64:
            net.adopt_bounds(self.bounds)
        net.manifold, net.approximator = atlas.manifold, approximator
        return net


def register_bound(layout: TokenLayout, state: Intervals) -> Float:
    """Largest `(|a|, |b|, 1)` of any token, shape (3,)."""
    magnitude = state.magnitude()
    a, b = layout.registers
    return np.array([magnitude[:, a].max(), magnitude[:, b].max(), 1.0])


def largest_outside(layout: TokenLayout, state: Intervals, span: tuple[int, int], register: str = "a") -> float:
    """Largest absolute value of a register over the tokens outside a range."""
    magnitude = state.magnitude()[:, layout.row(register)].copy()
    magnitude[span[0] : span[1] + 1] = 0.0
    return float(magnitude.max())
