"""Which points are inside the box of admissible inputs, and how far the others are outside: asked here alone."""

from __future__ import annotations

import torch
from torch import Tensor


def within(x: Tensor, box: Tensor) -> Tensor:
    """Which points (P, D) lie between the ends of a box (2, D), bool (P,)."""
    x = x.detach()
    return ((x >= box[0]) & (x <= box[1])).all(dim=1)


def times_outside(x: Tensor, box: Tensor) -> Tensor:
    """The factor (P,) by which points (P, D) exceed the box: the least by which it has to be scaled about its centre to
    hold them; infinite where no factor is enough."""
    centre, half = _centre_and_half(box)
    away = (x.detach() - centre).abs()
    return torch.where(away == 0, 0.0, away / half).amax(dim=1)


def scaled(box: Tensor, factor: float) -> Tensor:
    """The box `factor` times as large, about its centre, and a rounding more."""
    centre, half = _centre_and_half(box)
    half = half * (factor * (1 + 4 * torch.finfo(box.dtype).eps))
    return torch.stack([centre - half, centre + half])


def spread_over(box: Tensor, count: int, seed: int) -> Tensor:
    """Points (count, D) of the box in float64 on the CPU, spread_over, always the same."""
    centre, half = _centre_and_half(box.detach().to("cpu", torch.float64))
    generator = torch.Generator().manual_seed(seed)
    unit = 2 * torch.rand(count, box.shape[1], generator=generator, dtype=torch.float64) - 1
    return centre + unit * half


def _centre_and_half(box: Tensor) -> tuple[Tensor, Tensor]:
    return (box[0] + box[1]) / 2, (box[1] - box[0]) / 2
