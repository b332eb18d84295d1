"""Inequalities proved over a whole box by ball arithmetic and bisection.

A *ball function* maps a cell, one `arb` per coordinate, to a ball that contains every value on the cell. `bounded`
proves `sup f <= claimed` over a box: a cell whose ball lies below the claim is done, any other is halved along the side
that is longest in proportion to the box. A midpoint whose ball lies above the claim refutes it. Where the largest value
equals the claim, balls never get below it: claim it with a margin, or factor the touching point out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from flint import arb, fmpq_poly

from proofs_as_code.framework import Verdict

BallFunction = Callable[[list[arb]], arb]
Box = Sequence[tuple[float, float]]
MOST_CELLS = 200_000
TOLERANCE = 2.0**-30
"""Relative margin of claims whose bound is attained."""


@dataclass(frozen=True)
class Enclosure:
    """What the bisection found: an upper bound of the supremum if `proved`, else the value that is in the way."""

    proved: bool
    bound: float
    cells: int
    witness: list[float] = field(default_factory=list)

    def verdict(self, claimed: float, worst_point: dict[str, Any] | None = None) -> Verdict:
        """The verdict of `sup f <= claimed`; its witness is where the bound was found."""
        worst = {**(worst_point or {}), "u": self.witness}
        return Verdict(claimed, self.bound, "rigorous", self.cells, "arb", worst, self.proved)


def upper(value: arb) -> float:
    """A float that no number of the ball exceeds; NaN for a ball without bounds."""
    return math.nextafter(float(value.upper()), math.inf)


def bounded(function: BallFunction, box: Box, claimed: float, most: int = MOST_CELLS) -> Enclosure:
    """Prove or refute `function <= claimed` on the box, depth first.

    box: (low, high) of every coordinate, floats taken as they are. Gives up, as not proved, after `most` cells.
    """
    pending = [[(float(low), float(high)) for low, high in box]]
    widths = [high - low for low, high in pending[0]]
    limit, bound, where, count = arb(claimed), -math.inf, [0.0] * len(widths), 0
    while pending:
        cell = pending.pop()
        count += 1
        middle = [(low + high) / 2 for low, high in cell]
        value = function([arb(low).union(arb(high)) for low, high in cell])
        if value <= limit:
            if upper(value) > bound:
                bound, where = upper(value), middle
            continue
        at_middle = function([arb(m) for m in middle])
        if at_middle > limit or count >= most:
            return Enclosure(False, upper(at_middle), count, middle)
        side = max(range(len(cell)), key=lambda i: (cell[i][1] - cell[i][0]) / widths[i])
        low, high = cell[side]
        if not low < middle[side] < high:  # floats are used up
            return Enclosure(False, upper(at_middle), count, middle)
        for half in ((low, middle[side]), (middle[side], high)):
            pending.append([*cell[:side], half, *cell[side + 1 :]])
    return Enclosure(True, min(bound, claimed), count, where)


def evaluate(polynomial: fmpq_poly, x: arb) -> arb:
    """Horner's rule in ball arithmetic."""
    value = arb(0)
    for coefficient in reversed(polynomial.coeffs()):
        value = value * x + arb(coefficient)
    return value


def centred(polynomial: fmpq_poly) -> BallFunction:
    """A polynomial of one variable in its centred form `p(m) + p'(m) h + p''(X) h^2/2`, for X = m + h.

    Near an extremum, where p' is small, its excess over the true range is quadratic in the width of X, so that bounds
    attained up to 1e-9 are proved with hundreds of cells instead of billions.
    """
    first = polynomial.derivative()
    second = first.derivative()

    def function(cell: list[arb]) -> arb:
        (x,) = cell
        m = arb(x.mid())
        h = x - m
        return evaluate(polynomial, m) + evaluate(first, m) * h + evaluate(second, x) * h * h / 2

    return function
