"""Points of a manifold in boxes of the coordinates that parametrise its affine hull, however small the boxes are."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from construct.arrays import Float
from construct.manifolds import Manifold
from construct.manifolds.canonical import canonical_form
from construct.ridge.coordinates import Coordinates
from construct.targets import evaluate_target

ROUNDS = 8  # of throwing points into a box
HOPELESS = 3  # without a hit, after which M is taken not to meet a box
NEAREST = 8  # points that are thrown from where none is in the box


@dataclass(frozen=True, eq=False)
class BoxPoints:
    """Points of M in a box: u (n, k) centred coordinates, places (n, c) canonical ones, f (n,) values of the target."""

    u: Float
    places: Float
    f: Float

    def __len__(self) -> int:
        return len(self.f)

    def part(self, rows: Any) -> BoxPoints:
        """Some of them."""
        return BoxPoints(self.u[rows], self.places[rows], self.f[rows])

    def within(self, lower: Float, upper: Float) -> BoxPoints:
        """Those in another box."""
        return self.part(((self.u >= lower) & (self.u <= upper)).all(axis=1))

    def joined(self, other: BoxPoints) -> BoxPoints:
        """These and others."""
        mine, theirs = (self.u, self.places, self.f), (other.u, other.places, other.f)
        return BoxPoints(*(np.concatenate(pair) for pair in zip(mine, theirs, strict=True)))


@dataclass(frozen=True, eq=False)
class BoxSampler:
    """Finds points of M in boxes, by throwing known ones about and projecting them to M."""

    target: Callable[..., Any]
    manifold: Manifold
    coordinates: Coordinates
    generator: np.random.Generator

    def at(self, places: Tensor) -> BoxPoints:
        """Points given by canonical coordinates (n, c)."""
        u = self.coordinates.within(self.manifold, places).numpy() / self.coordinates.scale
        values = evaluate_target(self.target, self.manifold.embed(places))
        return BoxPoints(u, places.numpy(), values.numpy())

    def filled(self, known_points: BoxPoints, lower: Float, upper: Float, wanted: int) -> BoxPoints:
        """Those of the known points that are in a box, and more, if `wanted` can be found; none where M is not met."""
        inside, size = known_points.within(lower, upper), float(np.linalg.norm(upper - lower)) / 2
        if not len(inside) and len(known_points):  # thrown from the nearest
            apart = np.linalg.norm(np.maximum(0, np.maximum(lower - known_points.u, known_points.u - upper)), axis=1)
            about, size = known_points.part(np.argsort(apart)[:NEAREST]), 2 * size + float(apart.min())
        else:
            about = inside
        plain = canonical_form(self.manifold)
        for number in range(ROUNDS):
            missing = wanted - len(inside)
            if missing <= 0 or not len(about):
                break
            start = about.places[self.generator.integers(0, len(about), 2 * missing + 16)]
            length = size / 2 ** (number % 3) / math.sqrt(start.shape[1])
            thrown = start + length * self.generator.standard_normal(start.shape)
            landed = plain.project(torch.from_numpy(thrown))
            landed = landed[torch.isfinite(landed).all(dim=1)]
            u = self.coordinates.within(self.manifold, landed).numpy() / self.coordinates.scale
            hit = torch.from_numpy(((u >= lower) & (u <= upper)).all(axis=1))
            if bool(hit.any()):
                inside = inside.joined(self.at(landed[hit]))
                about = inside
            elif not len(inside) and number + 1 >= HOPELESS:
                break
        return inside
