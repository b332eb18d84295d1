"""Plain evaluation inside `torch.func` transforms.

A nearest-point search or an iteration with a stopping rule needs the numbers themselves, which tensors under
`torch.func.vmap` do not show, and must not be differentiated (a few differentiated Newton steps come after
it). `detached` runs a function on plain tensors and gives the result derivative zero, at every level of
nesting.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class _Detached(torch.autograd.Function):
    @staticmethod
    def forward(function: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
        with torch.no_grad():
            return function(*tensors)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.count = len(inputs)
        ctx.mark_non_differentiable(output)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, ...]:
        return (None,) * ctx.count

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> None:
        return None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], function: Any, *tensors: Tensor) -> tuple[Tensor, int]:
        spread = [
            t.unsqueeze(0).expand(info.batch_size, *t.shape) if dim is None else t.movedim(dim, 0)
            for t, dim in zip(tensors, in_dims[1:], strict=True)
        ]
        return _Detached.apply(function, *spread), 0


def detached(function: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
    """function(*tensors) on plain tensors, with derivative zero.

    `function` must act independently on each entry of the leading (batch) dimensions, and all tensors must
    have the same number of them.
    """
    return _Detached.apply(function, *tensors)
