"""Partial derivatives of functions of the chart coordinates, by nested forward-mode differentiation."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import jvp

from construct.errors import ConstructError
from construct.validation import invalid

Function = Callable[[Tensor], Tensor]

REMEDY = "; what torch cannot differentiate works with construction='compact' or with degree 0"


def partial_derivatives(function: Function, z: Tensor, exponents: Tensor) -> Tensor:
    """`d^alpha function(z)` for every row alpha of `exponents` (A, d): z (q, d) -> (q, A).

    `function` maps (q, d) to (q,), row by row, so that one tangent for all rows gives a derivative in each.
    Each alpha differentiates the function with one exponent less: `|alpha|` nested jvps, exact up to
    rounding, at `2^|alpha|` times the cost of a value.
    """
    table: dict[tuple[int, ...], Function] = {}

    def derivative(row: tuple[int, ...]) -> Function:
        if sum(row) == 0:
            return function
        if row not in table:
            axis = max(i for i, exponent in enumerate(row) if exponent)
            lower = tuple(exponent - (i == axis) for i, exponent in enumerate(row))
            table[row] = directional(derivative(lower), axis)
        return table[row]

    return torch.stack([derivative(tuple(row))(z) for row in exponents.tolist()], dim=-1)


def directional(function: Function, axis: int) -> Function:
    """The partial derivative of a row-wise function in coordinate `axis`."""

    def derivative(z: Tensor) -> Tensor:
        tangent = torch.zeros_like(z)
        tangent[..., axis] = 1.0
        value: Tensor = jvp(function, (z,), (tangent,))[1]
        return value

    return derivative


def differentiable(target: Callable[..., object]) -> Function:
    """`target` as it is called inside nested jvps: whatever goes wrong becomes an `InputError` naming it."""

    def called(x: Tensor) -> Tensor:
        try:
            values = target(x)
        except ConstructError:
            raise
        except Exception as error:
            got = f"one that raised {type(error).__name__} ({str(error).partition(chr(10))[0]}){REMEDY}"
            raise invalid("target", "a function that torch.func.jvp can differentiate", got=got) from error
        if not isinstance(values, Tensor):
            expected = "a function with values in a torch tensor, to be differentiated"
            raise invalid("target", expected, got=f"{type(values).__name__}{REMEDY}")
        return values.to(torch.float64)

    return called


def refuse_detached(target: Function, x: Tensor) -> None:
    """Raise `InputError` if the target varies over x (q, D) while torch sees no dependence on x at all.

    Such a target left torch on the way (`detach`, `tolist`), and its Taylor polynomials would be constants.
    """
    values = target(x)
    if not len(x) or float(values.max() - values.min()) <= 1e-12 * float(values.abs().max()):
        return
    if any(bool((directional(target, axis)(x) != 0).any()) for axis in range(x.shape[1])):
        return
    got = f"one whose derivatives are 0 at {len(x)} points between which it varies{REMEDY}"
    raise invalid("target", "a function that torch can differentiate", got=got)
