"""Points of M on which ridge approximators are fitted: in the few coordinates that they read, with the target's
values."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from construct.local.fit import check_size
from construct.manifolds.canonical import canonical_form
from construct.measurement.search import thrown_outwards
from construct.measurement.seeds import derived_seed
from construct.problem import Problem
from construct.progress import tick
from construct.ridge.coordinates import Coordinates
from construct.targets import evaluate_target

ENTRIES_AT_ONCE = 2**23  # of points in R^D


@dataclass(frozen=True, eq=False)
class Sample:
    """Points of M and what the target is there.

    Attributes:
        y: (N, k) the coordinates that are read.
        values: (N,).
    """

    y: Tensor
    values: Tensor

    def __len__(self) -> int:
        return len(self.values)

    def first(self, count: int) -> Sample:
        """Its first points."""
        return Sample(self.y[:count], self.values[:count])

    def joined(self, other: Sample) -> Sample:
        """Its points, then those of another."""
        return Sample(torch.cat([self.y, other.y]), torch.cat([self.values, other.values]))


def at(problem: Problem, coordinates: Coordinates, x: Tensor) -> Sample:
    """The sample of given points (N, D) of M."""
    return Sample(coordinates.of(x), evaluate_target(problem.target, x))


def drawn(problem: Problem, coordinates: Coordinates, count: int, number: int) -> Sample:
    """At least `count` points of the problem's manifold, in random order: uniform ones, where there is an edge as many
    thrown outwards, and those that every search looks at. `number` tells streams of points apart.

    Raises:
        InputError: values of the target with which a fit may overflow.
    """
    manifold, seed = problem.manifold, derived_seed(problem.seed, "planning", number)
    flat, generator = canonical_form(manifold), torch.Generator().manual_seed(seed)
    points = flat.sample(count, seed)
    more = [manifold.restrict(problem.watched)] if len(problem.watched) else []
    if flat.has_boundary:
        more.append(thrown_outwards(flat, points, generator))
    if more:
        points = torch.cat([points, *more])
        points = points[torch.randperm(len(points), generator=generator)]
    step, values = max(1, ENTRIES_AT_ONCE // manifold.ambient), []
    for start in range(0, len(points), step):
        tick()
        values.append(evaluate_target(problem.target, manifold.embed(points[start : start + step])))
    found = torch.cat(values)
    check_size(found)
    return Sample(coordinates.within(manifold, points), found)
