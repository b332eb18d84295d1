"""Partial derivatives of a function of the chart coordinates, by nested forward-mode automatic differentiation."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import jvp

from construct.errors import ConstructError, InputError

Function = Callable[[Tensor], Tensor]

USE_COMPACT = "; a target that torch cannot differentiate works with construction='compact' or with degree 0"


def partial_derivatives(function: Function, z: Tensor, exponents: Tensor) -> Tensor:
    """`d^alpha function(z)` for every row alpha of `exponents` (A, d): z (q, d) -> (q, A).

    `function` maps (q, d) to (q,), row by row: then one tangent for all rows gives a derivative in every row. Each alpha
    is the derivative of the function with one exponent less, so `|alpha|` jvps are nested: exact up to rounding, at
    `2^|alpha|` times the cost of a value.
    """
    table: dict[tuple[int, ...], Function] = {}
    columns = []
    for row in sorted(map(tuple, exponents.tolist()), key=sum):
        table[row] = function if sum(row) == 0 else _with_one_more(table, function, row)
    for row in map(tuple, exponents.tolist()):
        columns.append(table[row](z))
    return torch.stack(columns, dim=-1)


def _with_one_more(table: dict[tuple[int, ...], Function], function: Function, row: tuple[int, ...]) -> Function:
    axis = max(i for i, exponent in enumerate(row) if exponent)
    lower = tuple(e - (i == axis) for i, e in enumerate(row))
    if lower not in table:
        table[lower] = function if sum(lower) == 0 else _with_one_more(table, function, lower)
    return directional(table[lower], axis)


def directional(function: Function, axis: int) -> Function:
    """The partial derivative of a row-wise function in coordinate `axis`."""

    def derivative(z: Tensor) -> Tensor:
        tangent = torch.zeros_like(z)
        tangent[..., axis] = 1.0
        value: Tensor = jvp(function, (z,), (tangent,))[1]
        return value

    return derivative


def differentiable(target: Callable[..., object]) -> Function:
    """`target` as it is called inside nested jvps; anything that goes wrong becomes an `InputError` that names it."""

    def called(x: Tensor) -> Tensor:
        try:
            values = target(x)
        except ConstructError:
            raise
        except Exception as error:
            raise InputError(
                f"target: expected a function that torch.func.jvp can differentiate, it raised {type(error).__name__} "
                f"({str(error).splitlines()[0] if str(error) else ''}){USE_COMPACT}"
            ) from error
        if not isinstance(values, Tensor):
            raise InputError(
                f"target: expected a torch tensor, so that it can be differentiated, got {type(values).__name__}{USE_COMPACT}"
            )
        return values.to(torch.float64)

    return called


def refuse_detached(target: Function, x: Tensor, values: Tensor) -> None:
    """Raise `InputError` for a target whose values vary over x (q, D) while torch sees no dependence on x at all.

    Such a target left torch on the way (`detach`, `numpy`, `tolist`), and its Taylor polynomials would be constants.
    """
    if x.shape[0] < 2 or float(values.max() - values.min()) <= 1e-12 * float(values.abs().max()):
        return
    for axis in range(x.shape[1]):
        if bool((directional(target, axis)(x) != 0).any()):
            return
    raise InputError(
        f"target: expected a function that torch can differentiate, its derivatives are exactly 0 at {x.shape[0]} points "
        f"between which it varies{USE_COMPACT}"
    )
