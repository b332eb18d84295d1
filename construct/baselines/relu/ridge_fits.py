"""Ridge approximators for the rivals: the fit of one degree, and degrees in order until the error is small."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from construct.measurement import Measurement, cover_for, measure
from construct.planning import Search
from construct.problem import Problem, Sizes
from construct.progress import tick
from construct.ridge.approximator import RidgeApproximator, RidgeBasis
from construct.ridge.coordinates import Coordinates, coordinates_of
from construct.ridge.directions import Lattice, lattice_size
from construct.ridge.fit import LEAST_POINTS, POINTS, choose, fit
from construct.ridge.maps import DEGREES, shift_of
from construct.ridge.support import support

MOST_DIRECTIONS = 2_600
UNKNOWN = 1e150  # the covering radius of no points at all: then the box bounds a form


class RidgeFits:
    """The fits of a problem; what does not depend on the degree is found once."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.coordinates: Coordinates = coordinates_of(problem.manifold, problem.seed)

    def directions(self, degree: int) -> int:
        """Candidates of a degree."""
        return lattice_size(self.coordinates.count, degree)

    def basis(self, degree: int) -> RidgeBasis:
        """The candidates of a degree, scaled so that every argument is in [-1, 1] on M."""
        manifold, family = self.problem.manifold, Lattice(self.coordinates.count, degree)
        cover = cover_for(self.problem.target, manifold)
        points, radius = manifold.sample(1, 0), UNKNOWN
        if cover is not None:
            flat = cover.points.shape[1] != manifold.ambient
            points, radius = manifold.embed(cover.points) if flat else cover.points, cover.radius
        largest = support(manifold, self.coordinates, family.integers, points, radius).max()
        scales = np.full(self.coordinates.count, (1 - shift_of(degree)) / largest)
        return RidgeBasis(manifold, self.coordinates, degree, family, np.arange(family.count), scales)

    def fit(self, degree: int) -> RidgeApproximator:
        """The approximator of a degree with as many directions as the polynomials on M have dimensions."""
        problem, basis = self.problem, self.basis(degree)
        tick()
        points = problem.manifold.sample(max(LEAST_POINTS, int(1.5 * basis.count)), problem.seed + 2)
        chosen = choose(basis, points)
        used = basis.subset(np.sort(chosen.order[: chosen.rank()]))
        points = problem.manifold.sample(max(LEAST_POINTS, POINTS * used.count), problem.seed + 3)
        return fit(problem.target, used, points)

    def reaching(self, goal: float, search: Search | None = None) -> Iterator[tuple[RidgeApproximator, Measurement]]:
        """The fits whose measured error is at most `goal`, by degree; the others are noted in a search."""
        problem = self.problem
        for degree in DEGREES:
            if self.directions(degree) > MOST_DIRECTIONS:
                return
            problem.progress(f"ridge degree {degree}", None)
            found = self.fit(degree)
            if found.residual is not None and found.residual > goal:
                if search is not None:
                    search.record(Sizes(1, 1, degree), found.residual, "fitted", note="ridge")
                continue
            measured = measure(found, problem.target, problem.manifold, seed=problem.seed)
            if measured.sup <= goal:
                yield found, measured


def ridge_approximator(problem: Problem, goal: float) -> RidgeApproximator | None:
    """That of the smallest degree whose measured error is at most `goal`; None where there is none."""
    found = next(RidgeFits(problem).reaching(goal), None)
    return None if found is None else found[0]
