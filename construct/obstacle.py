"""Why a target cannot be approximated: looking closer and closer at the place where it is worst.

Whatever an atlas does elsewhere, one of its charts has to approximate the target near every point. So a bound from
below of the error on one small ball, which costs a fit or two, predicts that a whole family of plans fails: all those
whose charts are not smaller. The ball shrinks towards the worst point, and how the error falls on the way tells a jump
or noise (not at all) from a target that is less smooth than was said (too slowly) and from one that is merely too much
for the sizes that may be had (as expected).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from construct.atlas import Atlas
from construct.local import PolynomialSpace, fitting_nodes, least_residuals, node_values
from construct.problem import Problem

REFINEMENTS = 3  # in a row, before a decay is judged
HOPELESS = 4.0  # of epsilon: an error that is predicted, not bounded, has to be this far above it
ZOOM_DEGREE = 3  # of the fits on the way, which only have to find the place and the order
MOST_HALVINGS = 40
ROUNDING = 1e-12  # of max |f| on a ball: a bound below that says nothing
CORE = 1.02  # radius over core radius of a ball that is a chart of no cover
DENSITY = {1: 4.0, 2: 1.5}  # of the nodes: the more, the closer the bound is to the error
FLAT = 0.1  # an order below this is none
SLOW = 0.5  # of the order expected
SHOWN = 4  # coordinates of a point in a text


@dataclass(frozen=True)
class Obstacle:
    """A place where the target is out of reach.

    Attributes:
        point: (D,) on M.
        smallest: radius of the smallest chart that is asked about.
        least: no polynomial of total degree `degree` has a smaller sup error on a ball of that radius, or half of it.
        radius: of the last ball that was looked at.
        order: at which the error of a fit of low degree falls with the radius near the point.
        expected: the order that the smoothness and the degree of those fits promise.
        first, last: that error before and after three halvings of the ball.
    """

    point: Tensor
    smallest: float
    degree: int
    least: float
    radius: float
    order: float
    expected: float
    first: float
    last: float

    @property
    def rough(self) -> bool:
        """Whether the target is less smooth there than was expected, so that smaller charts or cells are no remedy."""
        return self.order < SLOW * self.expected

    @property
    def text(self) -> str:
        """What is the matter with the target, and where."""
        where = place(self.point)
        refined = (
            f"near x = {where} three refinements from radius {2**REFINEMENTS * self.radius:.2g} to {self.radius:.2g} "
            f"lowered the error of a local fit from {self.first:.2g} to {self.last:.2g}, where order "
            f"{self.expected:.2g} was expected"
        )
        if self.order < FLAT:
            return f"{refined}: the target has a jump or noise there, or smoothness= is too optimistic"
        if self.rough:
            less = f"the target is less smooth there (order {self.order:.1f}) than smoothness= says"
            return f"{refined}: {less}, or has narrower features"
        return (
            f"the smallest charts that may be had, of radius {self.smallest:.2g}, with polynomials of degree "
            f"{self.degree} leave an error of about {self.least:.2g} near x = {where}"
        )


def place(x: Tensor) -> str:
    """The first coordinates of a point (D,)."""
    shown = ", ".join(f"{v:.3g}" for v in x[:SHOWN].tolist())
    return f"({shown}{', ...' if len(x) > SHOWN else ''})"


def find_obstacle(
    problem: Problem, start: Tensor, radius: float, smallest: float, degree: int, expected: float | None = None
) -> Obstacle | None:
    """The obstacle that is found from a point, None where epsilon may well be met.

    Args:
        start: (D,) on M, near which the target is worst.
        radius: of the first ball, below the chart radius bound.
        smallest: radius below which no chart (no cell, of splines) can get.
        degree: the highest that may be had there.
        expected: the order promised by the smoothness; None: that of the degree.

    An obstacle means: on a ball of half the smallest radius no polynomial of that degree is within epsilon, or on one
    of the full radius none is within `HOPELESS` epsilon. The first is (nearly) a proof that no such chart will do,
    since a ball that contains the point holds one of half its radius that does.
    """
    low = PolynomialSpace(problem.manifold.dim, min(degree, ZOOM_DEGREE))
    order = low.degree + 1.0 if expected is None else min(expected, low.degree + 1.0)
    x, size, errors = start, radius, []
    for _ in range(MOST_HALVINGS):
        error, x = least_error(problem, x, size, low)
        errors.append(error)
        if error <= problem.wanted:
            return None
        if size <= smallest:
            break
        size = max(size / 2, smallest)
    full = PolynomialSpace(problem.manifold.dim, degree)
    least = least_error(problem, x, smallest, full)[0]
    if not least > HOPELESS * problem.wanted:
        least = least_error(problem, x, smallest / 2, full)[0]
        if not least > problem.wanted:
            return None
    for _ in range(REFINEMENTS):  # beyond, where what is smooth has vanished and the order shows
        size /= 2
        error, x = least_error(problem, x, size, low)
        errors.append(error)
    first, last = errors[-1 - REFINEMENTS], errors[-1]
    return Obstacle(x, smallest, degree, least, size, observed_order(errors, 2.0), order, first, last)


def predicted(sups: Sequence[float], degrees: int) -> float:
    """The error at so many degrees more, where it falls geometrically, as for an analytic target; 0: too few to tell.

    sups: errors of the degrees so far, one after another.
    """
    if len(sups) < 4 or not sups[-1] > 0:
        return 0.0
    rate = math.exp(min(log_ratio(sups[-1], sups[-4]) / 3, 0.0))
    return float(sups[-1] * rate**degrees)


def log_ratio(a: float, b: float) -> float:
    """log(a / b) of two numbers >= 0, however small or large: inf where b vanishes or a is infinite, -inf where a
    vanishes and b does not; 0 of two infinite ones, which say nothing."""
    if a == b == math.inf:
        return 0.0
    if b <= 0:
        return math.inf
    return -math.inf if a <= 0 else math.log(a) - math.log(b)


def observed_order(errors: list[float], ratio: float) -> float:
    """Order of the last three refinements, each by that ratio; inf where the error vanishes."""
    first, last = errors[-1 - REFINEMENTS], errors[-1]
    return math.inf if last <= 0 or first <= 0 else log_ratio(first, last) / (REFINEMENTS * math.log(ratio))


def least_error(problem: Problem, centre: Tensor, radius: float, space: PolynomialSpace) -> tuple[float, Tensor]:
    """A lower bound of sup |f - P| over M in the ball, for every P of the space, and where least squares is worst (D,).

    On nodes, so that it can only be too small; 0 where it is not above the rounding of the fit.
    """
    manifold = problem.manifold
    centres = centre.unsqueeze(0)
    frames = manifold.tangent_basis(centres)
    ball = Atlas.uniform(manifold, centres, frames, radius / CORE, radius, radius)
    nodes = fitting_nodes(ball, space, density=DENSITY.get(manifold.dim, 1.0))
    values = node_values(problem.target, nodes)
    least, residual = least_residuals(space, nodes.z, values, nodes.mask)
    worst = int(torch.where(nodes.mask, residual, -1.0)[0].argmax())
    bound = float(least[0])
    return bound if bound > ROUNDING * float(values.abs().max()) else 0.0, nodes.x[0, worst]
