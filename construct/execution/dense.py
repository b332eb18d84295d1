"""Dense execution: the formula as it stands, over all heads and all token pairs, in chunks of points and heads."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from construct.execution.cost import dense_multiply_adds
from construct.execution.executor import Executor
from construct.transformer.module import Transformer


class DenseExecutor(Executor):
    """All heads, all pairs of tokens; memory stays bounded whatever the number of points and heads."""

    name = "dense"

    def forward(self, x: Tensor, live: Transformer | None = None) -> Tensor:
        return dense_values(live or self.net, x)

    def states(self, x: Tensor, live: Transformer | None = None) -> list[Tensor]:
        net = live or self.net
        chunks = [list(_states(net, part)) for part in x.split(net.points_at_once)]
        return [torch.cat(parts) for parts in zip(*chunks, strict=True)]

    def multiply_adds(self) -> int:
        return dense_multiply_adds(self.net)


def dense_values(net: Transformer, x: Tensor) -> Tensor:
    """Values (P,) at x (P, D)."""
    return net.in_parts(x)


def _states(net: Transformer, x: Tensor) -> Iterator[Tensor]:
    hidden = net.embed(x)
    yield hidden
    for block in net.stack:
        hidden = block.in_parts(hidden)
        yield hidden
