"""Which points are inside the box of admissible inputs, and how far the others are outside: asked here alone."""

from __future__ import annotations

import torch
from torch import Tensor


def within(x: Tensor, box: Tensor) -> Tensor:
    """Which points (P, D) lie in the box, |x_j| <= box_j; bool (P,)."""
    return (x.detach().abs() <= box).all(dim=1)


def excess(x: Tensor, box: Tensor) -> Tensor:
    """The factor (P,) by which points (P, D) exceed the box: the least by which it has to be scaled to hold them;
    infinite where no factor is enough."""
    x = x.detach()
    ratio = torch.where(x == 0, 0.0, x.abs() / box)  # a side of length 0 holds 0 and nothing else
    return ratio.amax(dim=1)


def scaled(box: Tensor, factor: float) -> Tensor:
    """The box `factor` times as large, about its centre."""
    return box * factor


def uniform(box: Tensor, count: int, seed: int) -> Tensor:
    """Points (count, D) of the box in float64 on the CPU, uniform, always the same."""
    generator = torch.Generator().manual_seed(seed)
    unit = 2 * torch.rand(count, box.shape[-1], generator=generator, dtype=torch.float64) - 1
    return unit * box.detach().to("cpu", torch.float64)
