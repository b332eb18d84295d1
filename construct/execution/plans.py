"""Plans: what the sparse execution derives from weights and proved bounds, and evaluates points with.

A `FoldedPlan` is for weights that do not change; a `PairPlan` evaluates the active pairs one by one, with gradients in
the weights. Both hold for points in the box that the bounds were propagated from.

State is kept as (entries, points), points last, in chunks of points that stay in the cache.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from construct.arrays import Float
from construct.execution.bounds import input_intervals, propagate_block
from construct.execution.folding import fold
from construct.execution.pairs import active_pairs
from construct.execution.steps import Step
from construct.transformer.counts import written_rows
from construct.transformer.module import Block, Transformer
from construct.transformer.weights import BlockBounds, FeedForward, HeadPairs, Heads

ENTRIES_PER_CHUNK = {"cpu": 1 << 19, "other": 1 << 24}  # entries times points: 4 MB of float64 on a CPU
FEWEST_POINTS, MOST_POINTS = 32, 1 << 14


@contextmanager
def plain_tensors() -> Iterator[None]:
    """Tensors that are kept: without gradients, and not of inference mode, so that later gradients can pass them."""
    with torch.inference_mode(False), torch.no_grad():
        yield


def as_numpy(tensor: Tensor) -> Float:
    return tensor.detach().to("cpu", torch.float64).numpy()


def block_weights(block: Block) -> tuple[Heads, FeedForward]:
    """Weights of a block as float64 data."""
    heads = Heads(*(as_numpy(w) for w in (block.attention.query, block.attention.key, block.attention.value)))
    return heads, FeedForward(tuple((as_numpy(layer.weight), as_numpy(layer.bias)) for layer in block.ffn.affine))


def propagate(net: Transformer, box: Tensor) -> list[BlockBounds]:
    """Bounds of the hidden state through all blocks, for every x in the box (2, D)."""
    state = input_intervals(as_numpy(net.hidden0), as_numpy(box))
    result = []
    with np.errstate(over="ignore", invalid="ignore"):
        for block in net.stack:
            heads, ffn = block_weights(block)
            result.append(propagate_block(heads.query, heads.key, heads.value, list(ffn.layers), state))
            state = result[-1].after
    return result


def bounds_are_finite(bounds: Sequence[BlockBounds]) -> bool:
    """Whether bounds say anything: where they overflow, no pair of tokens is proved to be silent."""
    return all(np.isfinite(side).all() for b in bounds for side in (b.after.lower, b.after.upper))


def in_chunks(x: Tensor, size: int) -> tuple[Tensor, ...]:
    """Points (P, D) in parts whose state of `size` entries a point stays in the cache."""
    entries = ENTRIES_PER_CHUNK.get(x.device.type, ENTRIES_PER_CHUNK["other"])
    return x.split(max(FEWEST_POINTS, min(MOST_POINTS, entries // size)))


@dataclass(frozen=True)
class FoldedPlan:
    """Index tensors and folded coefficients of every block.

    Attributes:
        proved: the bounds are finite; otherwise the plan is not to be used.
        rows: the rows that some block writes.
        steps: one for each block, on a state of (entries, points).
        kept: (entries - 1,) the entries `row number * tokens + token` of the state, before the constant 1.
        initial: (entries,) their values at x = 0; the first of them hold the coordinates `inputs`.
        readout: the entry of the output, None if no block writes it.
    """

    bounds: tuple[BlockBounds, ...]
    proved: bool
    rows: list[int]
    steps: list[Step]
    kept: Tensor
    initial: Tensor
    inputs: Tensor
    readout: int | None

    @property
    def pairs(self) -> list[HeadPairs]:
        return [bound.pairs for bound in self.bounds]

    @property
    def size(self) -> int:
        """Entries held for each point."""
        return self.initial.numel() + max([0, *(step.size for step in self.steps)])

    def forward(self, net: Transformer, x: Tensor) -> Tensor:
        """Evaluate points (P, D) inside the box -> (P,)."""
        return torch.cat([self._values(net, part) for part in in_chunks(x, self.size)])

    def _values(self, net: Transformer, x: Tensor) -> Tensor:
        if self.readout is None:
            return net.hidden0[net.output].expand(x.shape[0])
        state = self.start(net, x)
        for step in self.steps:
            step.run(state)
        return state[self.readout]

    def start(self, net: Transformer, x: Tensor) -> Tensor:
        first, column = self.inputs.numel(), self.initial[:, None]
        shift = x.T if first == net.ambient else x.T.index_select(0, self.inputs)
        return torch.cat([column[:first] + shift, column[first:].expand(-1, x.shape[0])])

    def states(self, net: Transformer, x: Tensor) -> list[Tensor]:
        """Hidden states (P, l, w) around the blocks; of a plan that keeps everything."""
        chunks = [list(self._states(net, part)) for part in in_chunks(x, self.size)]
        return [torch.cat(parts) for parts in zip(*chunks, strict=True)]

    def _states(self, net: Transformer, x: Tensor) -> Iterator[Tensor]:
        tokens = net.hidden0.shape[0]
        rows = torch.tensor(self.rows, device=x.device)[self.kept // tokens]

        def hidden(state: Tensor) -> Tensor:
            full = net.hidden0.detach().expand(x.shape[0], -1, -1).clone()
            full[:, self.kept % tokens, rows] = state[:-1].T
            return full

        state = self.start(net, x)
        yield hidden(state)
        for step in self.steps:
            step.run(state)
            yield hidden(state)


def folded_plan(net: Transformer, bounds: Sequence[BlockBounds], *, everything: bool = False) -> FoldedPlan:
    """The plan for frozen weights."""
    tokens, width = net.hidden0.shape
    rows = [int(row) for row in written_rows([block_weights(block) for block in net.stack], width)]
    with torch.no_grad():
        steps, kept = fold(net, bounds, rows, everything=everything)
        kept = kept[:-1]
        row = torch.tensor(rows, device=kept.device)[kept // tokens]
        initial = torch.cat([net.hidden0[kept % tokens, row], net.hidden0.new_ones(1)])
    token, last = net.output
    readout = None if last not in rows else int((kept < rows.index(last) * tokens + token).sum())
    return FoldedPlan(
        tuple(bounds), bounds_are_finite(bounds), rows, steps, kept, initial, kept[kept < net.ambient], readout
    )


@dataclass(frozen=True)
class PairPlan:
    """The active pairs of every block, evaluated one by one: for gradients in the weights."""

    bounds: tuple[BlockBounds, ...]
    proved: bool
    pairs: list[HeadPairs]

    @property
    def size(self) -> int:
        """Entries held for each point."""
        return 5 * max([1, *(len(p) for p in self.pairs)])

    def forward(self, net: Transformer, x: Tensor) -> Tensor:
        """Evaluate points (P, D) inside the box -> (P,)."""
        token, row = net.output
        return torch.cat([self._last(net, part)[:, token, row] for part in in_chunks(x, self.size)])

    def _last(self, net: Transformer, x: Tensor) -> Tensor:
        return deque(self._states(net, x), maxlen=1).pop()

    def states(self, net: Transformer, x: Tensor) -> list[Tensor]:
        """Hidden states (P, l, w) around the blocks."""
        chunks = [list(self._states(net, part)) for part in in_chunks(x, self.size)]
        return [torch.cat(parts) for parts in zip(*chunks, strict=True)]

    def _states(self, net: Transformer, x: Tensor) -> Iterator[Tensor]:
        hidden = net.embed(x).permute(1, 2, 0)
        yield hidden.permute(2, 0, 1)
        for block, pairs in zip(net.stack, self.pairs, strict=True):
            hidden = hidden + heads_on_pairs(block, pairs, hidden)
            if len(block.ffn):
                hidden = hidden + block.ffn(hidden.transpose(1, 2)).transpose(1, 2)
            yield hidden.permute(2, 0, 1)


def heads_on_pairs(block: Block, pairs: HeadPairs, hidden: Tensor) -> Tensor:
    """What the heads of a block add to hidden states (l, w, P), from the given pairs alone."""
    head, target, source = (torch.as_tensor(i, device=hidden.device) for i in (pairs.head, pairs.target, pairs.source))
    query = torch.matmul(block.attention.query[head], hidden[target])
    key = torch.matmul(block.attention.key[head], hidden[source])
    score = query[:, 0] * key[:, 0]
    for row in range(1, query.shape[1]):
        score = score + query[:, row] * key[:, row]
    value = torch.matmul(block.attention.value[head], hidden[source])
    return torch.zeros_like(hidden).index_add(0, target, torch.relu(score)[:, None, :] * value)


def pair_plan(net: Transformer, bounds: Sequence[BlockBounds]) -> PairPlan:
    """The plan for weights that are to be trained: no pair is dropped for a value that is zero now."""
    pairs = []
    for block, bound in zip(net.stack, bounds, strict=True):
        heads, _ = block_weights(block)
        pairs.append(active_pairs(heads.query, heads.key, np.ones_like(heads.value), bound.before))
    return PairPlan(tuple(bounds), bounds_are_finite(bounds), pairs)
