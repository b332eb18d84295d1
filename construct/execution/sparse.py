"""Sparse execution: the same weights, only the token pairs on which a head can be non-zero.

The pairs come from `bounds.propagate_block` (branch and bound on the weights, with interval bounds on the data).
Rows that no block writes (position code, row of ones) are known numbers, so every pair's score is a bilinear form
over the written rows and 1, the paper's `u_t^T G u_s`; `folding` turns these forms into a few tensor operations a
block (`steps`).
State is kept as (entries, points), points last, in chunks of points that stay in the cache.

When gradients in the weights are wanted, every row counts as written, no pair is dropped for a zero value and the
FFN runs on all tokens: gradients then agree with the dense execution's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from construct.arrays import Float
from construct.execution.bounds import BlockBounds, input_intervals, propagate_block
from construct.execution.folding import fold
from construct.execution.pairs import HeadPairs, active_pairs
from construct.execution.steps import Step

if TYPE_CHECKING:
    from construct.transformer.module import Block, Transformer

ENTRIES_PER_CHUNK = {"cpu": 1 << 19, "other": 1 << 24}  # entries times points: 4 MB of float64 on a CPU
FEWEST_POINTS, MOST_POINTS = 32, 1 << 14


def plan_signature(net: Transformer) -> tuple[Any, ...]:
    """Changes whenever a weight is written, moved or replaced."""
    tensors = [net.box, *net.parameters()]
    return (_trainable(net), *((t.data_ptr(), t._version, t.dtype, t.device) for t in tensors))


def _trainable(net: Transformer) -> bool:
    return torch.is_grad_enabled() and any(p.requires_grad for p in net.parameters())


def _numpy(tensor: Tensor) -> Float:
    return tensor.detach().to("cpu", torch.float64).numpy()


def block_weights(block: Block) -> tuple[Float, Float, Float, list[tuple[Float, Float]]]:
    """Weights of a block as float64 arrays: query, key, value, list of FFN layers."""
    ffn = [(_numpy(layer.weight), _numpy(layer.bias)) for layer in block.ffn_layers]
    return _numpy(block.query), _numpy(block.key), _numpy(block.value), ffn


def propagate(net: Transformer) -> list[BlockBounds]:
    """Bounds of the hidden state through all blocks, for every x in the network's box."""
    state = input_intervals(_numpy(net.hidden0), _numpy(net.box))
    result = []
    for block in net.stack:
        result.append(propagate_block(*block_weights(block), state))
        state = result[-1].after
    return result


class SparsePlan:
    """Index tensors and folded coefficients of every block."""

    def __init__(
        self,
        bounds: list[BlockBounds],
        pairs: list[HeadPairs],
        rows: list[int],
        steps: list[Step] | None = None,
        initial: Tensor | None = None,
        inputs: Tensor | None = None,
        readout: int | None = None,
    ) -> None:
        """initial: (entries,) values at x = 0 of the entries kept; the first of them hold the coordinates `inputs`.
        readout: the entry of the output, None if no block writes it."""
        self.bounds, self.pairs, self.rows, self.steps = bounds, pairs, rows, steps
        self.initial, self.inputs, self.readout = initial, inputs, readout

    @staticmethod
    def from_weights(net: Transformer, bounds: list[BlockBounds] | None = None) -> SparsePlan:
        bounds = propagate(net) if bounds is None else bounds
        if _trainable(net):
            pairs = []
            for block, bound in zip(net.stack, bounds, strict=True):
                query, key, value, _ = block_weights(block)
                pairs.append(active_pairs(query, key, np.ones_like(value), bound.before))
            return SparsePlan(bounds, pairs, list(range(net.hidden0.shape[1])))
        rows = written_rows(net)
        with torch.no_grad():
            steps, kept = fold(net, bounds, rows)
            tokens, kept = net.hidden0.shape[0], kept[:-1]
            row = torch.tensor(rows, device=kept.device)[kept // tokens]
            initial = torch.cat([net.hidden0[kept % tokens, row], net.hidden0.new_ones(1)])
            token, last = (int(i) for i in net.readout)
            readout = None if last not in rows else int((kept < rows.index(last) * tokens + token).sum())
            inputs = kept[kept < net.ambient]
        return SparsePlan(bounds, [bound.pairs for bound in bounds], rows, steps, initial, inputs, readout)

    @property
    def size(self) -> int:
        """Entries held for each point."""
        if self.steps is None or self.initial is None:
            return 5 * max([1, *(len(p) for p in self.pairs)])
        return self.initial.numel() + max([0, *(step.size for step in self.steps)])

    def forward(self, net: Transformer, x: Tensor) -> Tensor:
        """Evaluate points (P, D) inside the box -> (P,)."""
        entries = ENTRIES_PER_CHUNK.get(x.device.type, ENTRIES_PER_CHUNK["other"])
        step = max(FEWEST_POINTS, min(MOST_POINTS, entries // self.size))
        run = self._trainable_points if self.steps is None else self._points
        return torch.cat([run(net, part) for part in x.split(step)])

    def _points(self, net: Transformer, x: Tensor) -> Tensor:
        assert self.steps is not None and self.initial is not None and self.inputs is not None
        if self.readout is None:
            return net.hidden0[tuple(net.readout)].expand(x.shape[0])
        first, column = self.inputs.numel(), self.initial[:, None]
        shift = x.T if first == net.ambient else x.T.index_select(0, self.inputs)
        state = torch.cat([column[:first] + shift, column[first:].expand(-1, x.shape[0])])
        for step in self.steps:
            step.run(state)
        return state[self.readout]

    def _trainable_points(self, net: Transformer, x: Tensor) -> Tensor:
        hidden = net.embed(x).permute(1, 2, 0)
        for block, pairs in zip(net.stack, self.pairs, strict=True):
            head, target, source = (
                torch.as_tensor(i, device=x.device) for i in (pairs.head, pairs.target, pairs.source)
            )
            query = torch.matmul(block.query[head], hidden[target])
            key = torch.matmul(block.key[head], hidden[source])
            score = query[:, 0] * key[:, 0]
            for row in range(1, query.shape[1]):
                score = score + query[:, row] * key[:, row]
            value = torch.matmul(block.value[head], hidden[source])
            hidden = hidden.index_add(0, target, torch.relu(score)[:, None, :] * value)
            if len(block.ffn):
                hidden = hidden + block.feed_forward(hidden.transpose(1, 2)).transpose(1, 2)
        token, row = (int(i) for i in net.readout)
        return hidden[token, row]


def written_rows(net: Transformer) -> list[int]:
    """Rows that some block (or the embedding) can change; the others keep their initial value for every x."""
    written = np.zeros(net.hidden0.shape[1], dtype=bool)
    written[0] = True
    for block in net.stack:
        if block.value.shape[0]:
            written |= (block.value != 0).any(dim=2).any(dim=0).cpu().numpy()
        if len(block.ffn):
            last = block.ffn_layers[-1]
            written |= ((last.weight != 0).any(dim=1) | (last.bias != 0)).cpu().numpy()
    return [int(row) for row in np.flatnonzero(written)]
