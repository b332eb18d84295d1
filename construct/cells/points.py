"""Points of M that crowd where cells are small: drawn, thrown about others and put back on M, with the target's
values."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from construct.arrays import Int
from construct.manifolds import Manifold
from construct.manifolds.canonical import canonical_form
from construct.problem import Problem
from construct.progress import tick
from construct.ridge.coordinates import Coordinates
from construct.targets import evaluate_target

ENTRIES_AT_ONCE = 2**23  # of points in R^D
NEARER = tuple(2.0**-k for k in range(0, 24, 2))
LOOKED = 1000  # points that tell how large a target is
AROUND = 2  # points about each that is watched, for each of these distances


@dataclass(frozen=True, eq=False)
class Cloud:
    """Points of M.

    Attributes:
        places: (P, k) in canonical coordinates.
        u: (P, r), y / h.
        values: (P,) of the target, in some unit.
    """

    places: Tensor
    u: Tensor
    values: Tensor

    def __len__(self) -> int:
        return len(self.values)

    def part(self, chosen: Int | Tensor) -> Cloud:
        """Some of the points."""
        index = torch.as_tensor(chosen)
        return Cloud(self.places[index], self.u[index], self.values[index])

    def joined(self, *others: Cloud) -> Cloud:
        """These points, then those of others."""
        clouds = (self, *others)
        return Cloud(*(torch.cat([getattr(c, name) for c in clouds]) for name in ("places", "u", "values")))


class Thrower:
    """Makes clouds for one problem, coordinates and spacing; seeded. Values are in units of `unit`, about the size."""

    def __init__(self, problem: Problem, coordinates: Coordinates, spacing: float, seed: int) -> None:
        self.problem, self.coordinates, self.spacing = problem, coordinates, spacing
        self.flat: Manifold = canonical_form(problem.manifold)
        self.generator = torch.Generator().manual_seed(seed)
        self.seed, self.unit = seed, 1.0
        largest = float(self.at(self.flat.sample(LOOKED, seed)).values.abs().max())
        if largest > 0:  # a power of two: no value is rounded, and no square of one leaves the range of float64
            self.unit = math.ldexp(1.0, round(math.log2(largest)))

    def sample(self, count: int, stream: int) -> Cloud:
        """Uniform points, those that every search looks at, and some about these."""
        cloud = self.at(self.flat.sample(count, self.seed + 7919 * stream))
        if not len(self.problem.watched):
            return cloud
        watched = self.problem.manifold.restrict(self.problem.watched)
        return cloud.joined(self.at(watched), self.nearer(watched, AROUND))

    def nearer(self, places: Tensor, times: int) -> Cloud:
        """Points about others (P, k) at all distances from the spacing to almost 0, `times` for each and distance."""
        radii = self.spacing * torch.tensor(NEARER, dtype=torch.float64)
        return self.about(places.repeat_interleave(len(radii), dim=0), radii.repeat(len(places)), times)

    def about(self, places: Tensor, radius: float | Tensor, times: int) -> Cloud:
        """Points of M near others (P, k): `times` for each, thrown by about `radius` (in the unit of x) and
        projected."""
        thrown = places.repeat_interleave(times, dim=0)
        size = torch.as_tensor(radius, dtype=torch.float64).expand(len(places)).repeat_interleave(times)
        noise = torch.randn(thrown.shape, generator=self.generator, dtype=torch.float64)
        moved = thrown + noise * size[:, None]
        found = self.flat.project(moved)
        return self.at(found[torch.isfinite(found).all(dim=1)])

    def at(self, places: Tensor) -> Cloud:
        """Given points, in canonical coordinates (P, k)."""
        manifold, coordinates = self.problem.manifold, self.coordinates
        u = coordinates.within(manifold, places) / torch.from_numpy(coordinates.scale) / self.spacing
        step, values = max(1, ENTRIES_AT_ONCE // manifold.ambient), []
        for part in places.split(step):
            tick()
            values.append(evaluate_target(self.problem.target, manifold.embed(part)))
        held = torch.cat(values) if values else torch.zeros(0, dtype=torch.float64)
        return Cloud(places, u, held / self.unit)


def keyed(*labels: Int) -> list[Int]:
    """For rows of integers (n, m), in several arrays, one integer each that tells rows apart and keeps their order."""
    rows = np.concatenate(labels)
    if not rows.size:
        return [np.zeros(len(part), dtype=np.int64) for part in labels]
    keys = np.zeros(len(rows), dtype=np.int64)
    for column in rows.T:
        span = int(column.max()) - int(column.min()) + 1
        if int(keys.max(initial=0) + 1) * span >= 2**62:  # ranks instead, which are below n
            keys = np.unique(keys, return_inverse=True)[1].ravel().astype(np.int64)
            column = np.unique(column, return_inverse=True)[1].ravel()
            span = int(column.max()) + 1
        keys = keys * span + (column - column.min())
    return np.split(keys, np.cumsum([len(part) for part in labels])[:-1])


def grouped(labels: Int) -> tuple[Int, list[Int]]:
    """Rows (n, m) that differ, in lexicographic order, and for each the places where it stands."""
    (keys,) = keyed(labels)
    order = np.argsort(keys, kind="stable")
    first = np.flatnonzero(np.diff(keys[order], prepend=-1))
    return labels[order[first]], np.split(order, first[1:]) if len(first) else []
