"""Dense execution: the formula as it stands, over all heads and all token pairs, in chunks of points and heads.

Scores are accumulated row by row, from the first to the last. The gates come first, so that a gate that is exactly 0
stays exactly 0 until data is added, whatever a matrix-product kernel would do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from construct.transformer.module import Block, Transformer

ENTRIES_PER_CHUNK = 1 << 21


def attention(block: Block, hidden: Tensor) -> Tensor:
    """Sum of the block's heads, (P, l, w) -> (P, l, w)."""
    points, tokens, width = hidden.shape
    out = torch.zeros_like(hidden)
    heads = block.query.shape[0]
    step = max(1, ENTRIES_PER_CHUNK // max(points * tokens * tokens, 1))
    for start in range(0, heads, step):
        window = slice(start, start + step)
        query = torch.einsum("mrw,plw->pmrl", block.query[window], hidden)
        key = torch.einsum("mrw,plw->pmrl", block.key[window], hidden)
        value = torch.einsum("mrw,plw->pmlr", block.value[window], hidden)
        score = query[:, :, 0, :, None] * key[:, :, 0, None, :]
        for row in range(1, width):
            score = score + query[:, :, row, :, None] * key[:, :, row, None, :]
        out = out + torch.matmul(torch.relu(score), value).sum(dim=1)
    return out


def dense_forward(net: Transformer, x: Tensor) -> Tensor:
    """Evaluate points (P, D) -> (P,)."""
    tokens = net.hidden0.shape[0]
    step = max(1, ENTRIES_PER_CHUNK // (4 * tokens * tokens))
    token, row = (int(i) for i in net.readout)
    parts = []
    for start in range(0, x.shape[0], step):
        hidden = net.embed(x[start : start + step])
        for block in net.stack:
            if block.query.shape[0]:
                hidden = hidden + attention(block, hidden)
            if len(block.ffn):
                hidden = hidden + block.feed_forward(hidden)
        parts.append(hidden[:, token, row])
    return torch.cat(parts)
