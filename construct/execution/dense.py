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

    def forward(self, net: Transformer, box: Tensor, x: Tensor) -> Tensor:
        return net.in_parts(x)

    def states(self, net: Transformer, box: Tensor, x: Tensor) -> list[Tensor]:
        chunks = [list(_states(net, part)) for part in x.split(net.points_at_once)]
        return [torch.cat(parts) for parts in zip(*chunks, strict=True)]

    def multiply_adds(self, net: Transformer, box: Tensor) -> int:
        return dense_multiply_adds(net)


def _states(net: Transformer, x: Tensor) -> Iterator[Tensor]:
    hidden = net.embed(x)
    yield hidden
    for block in net.stack:
        hidden = block.in_parts(hidden)
        yield hidden
