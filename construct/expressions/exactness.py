"""What rounding in float64 makes of an expression: its values there against balls that hold the real function's."""

from __future__ import annotations

import math
from typing import NamedTuple

import flint
import torch
from flint import arb
from torch import Tensor

from construct.expressions.tree import Expression

PRECISIONS = (128, 512, 4096)  # bits, one after another, until a ball is narrow enough to tell
NARROW = 2.0**-30  # radius of such a ball, of its deviation


class Deviation(NamedTuple):
    """Where the values in float64 are farthest from the real function: by `size` at least, at `point` (D,), where
    `computed` is the value in float64 and `exact` the real one to the nearest float."""

    size: float
    point: Tensor
    computed: float
    exact: float


def float_deviation(expression: Expression, points: Tensor) -> Deviation | None:
    """The largest proved deviation at points (n, D), D >= arity, float64; None where nothing is known at any of them.

    Points at which the function has no finite ball are passed over.
    """
    found: Deviation | None = None
    for point, computed in zip(points, expression(points).tolist(), strict=True):
        deviation, exact = _deviation(expression, point.tolist(), computed)
        if deviation is not None and (found is None or deviation > found.size):
            found = Deviation(deviation, point, computed, exact)
    return found


def _deviation(expression: Expression, point: list[float], computed: float) -> tuple[float | None, float]:
    """A lower bound of |computed - f(point)|, and f(point); None where no precision encloses it."""
    if not math.isfinite(computed):
        return None, math.nan
    least: float | None = None
    exact = math.nan
    for precision in PRECISIONS:
        with flint.ctx.workprec(precision):
            ball = expression.ball([arb(v) for v in point])
            difference = abs(arb(computed) - ball)
            if not difference.is_finite():
                continue
            least, exact = max(float(difference.lower()), 0.0), float(ball.mid())
            if float(difference.rad()) <= NARROW * float(difference.upper()) or not difference.upper() > 0:
                break
            if float(difference.upper()) <= float(torch.finfo(torch.float64).eps) * abs(computed):
                break  # an enclosed unit in the last place: no more is asked
    return least, exact
