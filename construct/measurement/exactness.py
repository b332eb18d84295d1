"""A claim is about a function; float64 evaluates one that may be another. Expressions are compared with themselves.

The values that everything is measured with are those of float64. Where the target is an expression, ball arithmetic
(`construct.expressions.float_deviation`) says at some hundred points how far these are from the function that is
written down: `(x + 1e16) - 1e16` is x, but in float64 off by up to 1.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from construct.errors import PrecisionError
from construct.expressions import Expression, float_deviation
from construct.manifolds import Manifold
from construct.measurement.seeds import derived_seed
from construct.targets import Target, evaluate_target
from construct.validation import message

INEXACT_SHARE = 0.1  # of a measured error: beyond, rounding has changed its first digit
SAMPLES = 192
MOST_WATCHED = 64
UNIT = 2.0**-52  # of float64, in the last place of numbers from 1 to 2
UNITS_ALLOWED = 16  # units in the last place of max |f|: what networks lose by rounding anyway


def exactness_points(manifold: Manifold, watched: Tensor, seed: int = 0) -> Tensor:
    """Points (n, D) at which the values are compared: a sample, and some of those that are watched (m, D)."""
    every = max(1, -(-len(watched) // MOST_WATCHED))
    return torch.cat([manifold.sample(SAMPLES, derived_seed(seed, "survey", 1)), watched[::every]])


def check_exact(target: Any, points: Tensor, allowed: float, of: str) -> None:
    """Refuse an expression whose float64 values are not those of the function, as far as that matters.

    Args:
        target: an `Expression`, or a `Target` with one; nothing is known of any other.
        points: (n, D), float64, finitely many looks.
        allowed: deviation that does not matter; of: what it is a share of, for the text. A few units in the last place
            of the largest value are always allowed.

    Raises:
        PrecisionError: naming the target, a place, and the value there in float64 and in exact arithmetic.
    """
    expression = target.expression if isinstance(target, Target) else target
    if not isinstance(expression, Expression) or not len(points):
        return
    points = points.detach().to("cpu", torch.float64)
    found = float_deviation(expression.restricted(points.shape[-1]), points)
    largest = float(evaluate_target(target, points).abs().max())
    if found is None or found.size <= max(allowed, UNITS_ALLOWED * UNIT * largest):
        return
    place = ", ".join(f"{v:.6g}" for v in found.point[:8].tolist()) + (", ..." if len(found.point) > 8 else "")
    expected = f"an expression whose values in float64 are those of the function, up to {of}"
    got = (
        f"{found.computed:.9g} in float64 and {_said(found.exact)} in ball arithmetic at x = ({place}), "
        f"{_said(found.size, 3)} apart: rounding makes another function of it; "
        "write it without the loss, or as a function of its own"
    )
    raise PrecisionError(message("target", expected, got=got))


def _said(value: float, digits: int = 9) -> str:
    """A number; one beyond float64 by its bound."""
    return f"{value:.{digits}g}" if math.isfinite(value) else "more than 1.8e308 in magnitude"
