"""Where an expression varies: cells of the manifold's parameters, finer where the function may be steeper.

On every cell the variation is bounded by an enclosure of the values, and of the derivatives times the sides. The cells
that may vary most are halved until there are enough, so that in the end all vary by about as little. A spike that no
sample would meet is seen from the outside: the intervals on the cells about it are wide.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from construct.arrays import Float
from construct.errors import InputError
from construct.expressions import Expression
from construct.expressions.intervals import Range, combined, on_boxes, parameters
from construct.manifolds import Formula, Manifold
from construct.targets import length_scale_of

MOST_CELLS = 4096
HALVED = 128  # cells at once
FIRST_CELLS = {1: 64, 2: 16, 3: 8, 4: 4, 5: 3, 6: 2}  # along each parameter
FINEST = 2.0**-44  # of the box: no cell is halved further
FLAT = 1e-280  # a variation that is owed to the rounding of enclosures alone
LARGEST_DIMENSION = 6
FINER = 4.0
"""A length scale is resolved by so many radii."""

_known: WeakKeyDictionary[Manifold, WeakKeyDictionary[Expression, tuple[Float, Float]]] = WeakKeyDictionary()


def narrow_features(target: Any, manifold: Manifold, radius: float) -> Tensor:
    """Points (m, k) in canonical coordinates, at the middles of the cells that are smaller than `radius`.

    Cells are at most `MOST_CELLS` whatever d is, so that in more dimensions fewer features are found, and less of each.
    None (m = 0) for a target without an expression, a manifold without a formula, or d > 6; and for a target whose
    stated length scale the radius resolves already.
    """
    scale = length_scale_of(target)
    expression = target if isinstance(target, Expression) else getattr(target, "expression", None)
    nothing = torch.empty(0, manifold.canonical, dtype=torch.float64)
    resolved = scale is not None and radius <= scale / FINER
    if not isinstance(expression, Expression) or manifold.dim > LARGEST_DIMENSION or resolved:
        return nothing
    try:
        formula = manifold.formula()
    except InputError:
        return nothing
    expression = expression.restricted(manifold.ambient)
    if expression.arity == 0:
        return nothing
    middles, diameters = _cells(expression, formula, manifold)
    middle = torch.from_numpy(middles)[torch.from_numpy(diameters < radius)]
    if not len(middle):
        return nothing
    return manifold.restrict(manifold.project(formula(middle) @ manifold.frame.T + manifold.offset))


def _cells(expression: Expression, formula: Formula, manifold: Manifold) -> tuple[Float, Float]:
    """Middles and diameters of the cells of an expression on a manifold, kept for the next call."""
    kept = _known.setdefault(manifold, WeakKeyDictionary())
    if expression not in kept:
        used = slice(0, expression.arity)
        cells = _Cells(expression, formula, manifold.frame[used].numpy(), manifold.offset[used].numpy())
        kept[expression] = (cells.lower + cells.upper) / 2, cells.diameter
    return kept[expression]


class _Cells:
    """Boxes lower, upper (n, d) with a bound of the variation of the expression, and of the diameter in x, on each."""

    def __init__(self, expression: Expression, formula: Formula, frame: Float, offset: Float) -> None:
        self.expression, self.formula, self.frame, self.offset = expression, formula, frame, offset
        low, high = np.array(formula.lower), np.array(formula.upper)
        count = FIRST_CELLS[formula.dim]
        steps = np.stack(np.meshgrid(*[np.arange(count)] * formula.dim, indexing="ij"), axis=-1)
        steps = steps.reshape(-1, formula.dim)
        self.least = FINEST * (high - low)
        self.lower, self.upper = low + (high - low) * steps / count, low + (high - low) * (steps + 1) / count
        self.variation, self.diameter, self.axis = self._look(self.lower, self.upper)
        while len(self.lower) < MOST_CELLS:
            divisible = np.flatnonzero((self.upper - self.lower > self.least).any(axis=1) & (self.variation > FLAT))
            number = min(HALVED, MOST_CELLS - len(self.lower), len(divisible))
            if number == 0:
                return
            worst = divisible[np.argsort(self.variation[divisible], kind="stable")[len(divisible) - number :]]
            self._halve(worst)

    def _halve(self, which: Any) -> None:
        lower, upper, axis = self.lower[which], self.upper[which], self.axis[which]
        rows = np.arange(len(which))
        middle = (lower[rows, axis] + upper[rows, axis]) / 2
        left, right = upper.copy(), lower.copy()
        left[rows, axis], right[rows, axis] = middle, middle
        new = np.concatenate([lower, right]), np.concatenate([left, upper])
        looked = self._look(*new)
        kept = np.ones(len(self.lower), dtype=bool)
        kept[which] = False
        old = self.lower, self.upper, self.variation, self.diameter, self.axis
        together = [np.concatenate([a[kept], b]) for a, b in zip(old, (*new, *looked), strict=True)]
        self.lower, self.upper, self.variation, self.diameter, self.axis = together

    def _look(self, lower: Float, upper: Float) -> tuple[Float, Float, Any]:
        """Variation, diameter in x and the axis to halve, of each box."""
        sides = (upper - lower).T
        y = on_boxes(self.formula.fold, parameters(lower, upper))
        f: Range = on_boxes(self.expression.program.run, combined(self.frame, self.offset, y))[0]
        with np.errstate(invalid="ignore", over="ignore"):
            along = np.nan_to_num(f.slopes * sides, nan=np.inf, posinf=np.inf)
            width = np.nan_to_num(f.upper - f.lower, nan=np.inf, posinf=np.inf)
            speeds = np.sqrt(sum(part.slopes**2 for part in y)) * sides
        axis = np.where(np.isfinite(along).all(axis=0), along.argmax(axis=0), speeds.argmax(axis=0))
        fallback = np.where(sides > self.least[:, None], sides / self.least[:, None], 0).argmax(axis=0)
        stuck = sides[axis, np.arange(len(axis))] <= self.least[axis]
        return np.minimum(width, along.sum(axis=0)), speeds.sum(axis=0), np.where(stuck, fallback, axis)
