"""Expressions evaluated on torch tensors."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from construct.expressions.algebra import Algebra


def guarded_power(a: Tensor, exponent: float) -> Tensor:
    """a^exponent for a non-integer exponent, entrywise: NaN for a < 0, and derivatives 0, not NaN, at a = 0.

    The inner `where` keeps 0 out of the power, whose derivative would meet the outer one's zero as inf * 0.
    """
    positive = a > 0
    at_zero = 0.0 if exponent > 0 else math.inf
    rest = torch.where(a == 0, at_zero, math.nan).to(a.dtype)
    return torch.where(positive, torch.where(positive, a, 1.0) ** exponent, rest)


class TensorAlgebra(Algebra[Tensor]):
    """Numbers are tensors that broadcast to the shape (...) of the points `x (..., D)`, in the dtype of `x`."""

    def __init__(self, x: Tensor) -> None:
        self.x = x

    def constant(self, value: int | float) -> Tensor:
        return torch.tensor(float(value), dtype=self.x.dtype, device=self.x.device)

    def variable(self, index: int) -> Tensor:
        return self.x[..., index]

    def add(self, a: Tensor, b: Tensor) -> Tensor:
        return a + b

    def multiply(self, a: Tensor, b: Tensor) -> Tensor:
        return a * b

    def divide(self, a: Tensor, b: Tensor) -> Tensor:
        return a / b

    def power(self, a: Tensor, exponent: int | float) -> Tensor:
        return a**exponent if isinstance(exponent, int) else guarded_power(a, exponent)

    def exp(self, a: Tensor) -> Tensor:
        return torch.exp(a)

    def sin(self, a: Tensor) -> Tensor:
        return torch.sin(a)

    def cos(self, a: Tensor) -> Tensor:
        return torch.cos(a)

    def sqrt(self, a: Tensor) -> Tensor:
        return guarded_power(a, 0.5)

    def tanh(self, a: Tensor) -> Tensor:
        return torch.tanh(a)

    def abs(self, a: Tensor) -> Tensor:
        return torch.abs(a)
