"""Even and odd targets: half of the polynomials of a degree are of no use for them."""

from __future__ import annotations

from construct.errors import InputError
from construct.manifolds.canonical import canonical_form
from construct.measurement.seeds import derived_seed
from construct.problem import Problem
from construct.ridge.coordinates import Coordinates
from construct.targets import evaluate_target

POINTS = 512
ROUNDING = 1e-12  # of the largest value
SHARE = 1e-3  # of epsilon


def parity_of(problem: Problem, coordinates: Coordinates) -> int | None:
    """0 or 1 where M is symmetric about the centre of its coordinates and the target, but for a constant, is even or
    odd about it; None otherwise.

    It is looked at on points of M and their mirror images. A wrong answer is no wrong network: fits have errors of
    their own, and the claim is measured.
    """
    manifold = problem.manifold
    flat = canonical_form(manifold)
    z = flat.sample(POINTS, derived_seed(problem.seed, "planning", 0))
    mirrored = flat.box.sum(dim=0) - z
    y, image = coordinates.within(manifold, z), coordinates.within(manifold, mirrored)
    if float((y + image).abs().max()) > 1e-9:
        return None
    try:
        if not bool(flat.contains(mirrored).all()):
            return None
    except InputError:  # where a projection is not defined
        return None
    values, others = (evaluate_target(problem.target, manifold.embed(points)) for points in (z, mirrored))
    tolerance = ROUNDING * max(float(values.abs().max()), float(others.abs().max()))
    if problem.epsilon is not None:
        tolerance = max(tolerance, SHARE * problem.epsilon)
    if float((values - others).abs().max()) <= tolerance:
        return 0
    sums = values + others
    return 1 if float((sums - sums[0]).abs().max()) <= 2 * tolerance else None
