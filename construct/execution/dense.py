"""Dense execution: the formula as it stands, over all heads and all token pairs, in chunks of points and heads."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from construct.execution.cost import dense_multiply_adds
from construct.execution.executor import Executor
from construct.transformer.module import Block, MultiHeadAttention, Transformer

ENTRIES_PER_CHUNK = {"cpu": 1 << 18, "other": 1 << 21}  # scores held at once: 2 MB of float64 stay in a CPU's cache


class DenseExecutor(Executor):
    """All heads, all pairs of tokens; memory stays bounded whatever the number of points and heads."""

    name = "dense"

    def forward(self, x: Tensor, live: Transformer | None = None) -> Tensor:
        return dense_values(live or self.net, x)

    def states(self, x: Tensor, live: Transformer | None = None) -> list[Tensor]:
        net = live or self.net
        chunks = [list(_states(net, part)) for part in x.split(_points_at_once(net))]
        return [torch.cat(parts) for parts in zip(*chunks, strict=True)]

    def multiply_adds(self) -> int:
        return dense_multiply_adds(self.net)


def dense_values(net: Transformer, x: Tensor) -> Tensor:
    """Values (P,) at x (P, D)."""
    token, row = net.output
    parts = []
    for part in x.split(_points_at_once(net)):
        hidden = net.embed(part)
        for block in net.stack:
            hidden = _after(block, hidden)
        parts.append(hidden[:, token, row])
    return torch.cat(parts)


def attention(module: MultiHeadAttention, hidden: Tensor) -> Tensor:
    """Sum of a block's heads, (P, l, w) -> (P, l, w), a few heads at a time."""
    points, tokens, _ = hidden.shape
    out = torch.zeros_like(hidden)
    step = max(1, _entries(hidden.device) // max(points * tokens * tokens, 1))
    for start in range(0, module.query.shape[0], step):
        out = out + module.heads(hidden, slice(start, start + step))
    return out


def _entries(device: torch.device) -> int:
    return ENTRIES_PER_CHUNK.get(device.type, ENTRIES_PER_CHUNK["other"])


def _points_at_once(net: Transformer) -> int:
    tokens = net.hidden0.shape[0]
    return max(1, _entries(net.device) // (4 * tokens * tokens))


def _after(block: Block, hidden: Tensor) -> Tensor:
    middle = hidden + attention(block.attention, hidden)
    return middle + block.ffn(middle) if len(block.ffn) else middle


def _states(net: Transformer, x: Tensor) -> Iterator[Tensor]:
    hidden = net.embed(x)
    yield hidden
    for block in net.stack:
        hidden = _after(block, hidden)
        yield hidden
