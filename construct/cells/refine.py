"""From cells to a measured approximator: grow, fit all coefficients, look at fresh points, be stricter where it fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from construct.arrays import Float
from construct.cells.approximator import CellApproximator, CellBasis
from construct.cells.fit import Joint, fit_all
from construct.cells.growth import Growth, Grown, Shape
from construct.cells.points import Cloud, Thrower
from construct.measurement.seeds import derived_seed
from construct.problem import Problem
from construct.ridge.coordinates import Coordinates

FIT_POINTS, POINTS_EACH = 25_000, 8
AIM, LOOKED = 0.9, 0.7  # of the goal: what a fit must reach; above, fresh points join it
FRESH, WORST, ABOUT = 8000, 60, 6
REFITS, FAIR = 6, 0.97  # fits on more and more points; what each must gain to go on
MARKS = 9  # rounds


@dataclass(frozen=True)
class Refined:
    """What a round led to: an approximator whose error on fresh points is `error`."""

    approximator: CellApproximator
    error: float
    rounds: int


class Refinement:
    """All rounds for one problem and shape."""

    def __init__(self, problem: Problem, coordinates: Coordinates, shape: Shape, theta: float, levels: int) -> None:
        self.problem, self.shape, self.theta, self.levels = problem, shape, theta, levels
        none = np.zeros(0, dtype=np.int64)
        flat = np.zeros((0, coordinates.count), dtype=np.int64)
        self.empty = CellBasis(problem.manifold, coordinates, np.array(shape.windows), shape.degree, shape.spacing,
                               none, flat, flat)  # fmt: skip
        self.seed = derived_seed(problem.seed, "planning", 31)
        self.thrower = Thrower(problem, coordinates, shape.spacing, self.seed)

    def run(self, goal: float, most: int, say: Callable[[str], None] = lambda text: None) -> Refined | None:
        """The first round whose error on fresh points is at most the goal, with at most `most` tokens; None: there is none."""
        marks = list[Tensor]()
        for number in range(MARKS):
            growth = Growth(self.thrower, self.empty, self.shape, self.seed)
            grown = growth.run(self.theta * goal, self.levels, marks, most, goal / 2)
            if grown.count > most:
                return None
            found, joint, cloud = self._settled(grown, goal)
            say(f"round {number}: {grown.count} tokens, error {found:.3g} on {len(cloud)} points")
            if found <= goal:
                return Refined(joint.approximator, found, number + 1)
            marks.append(cloud.u[torch.from_numpy(joint.errors > AIM * goal)])
        return None

    def _settled(self, grown: Grown, goal: float) -> tuple[float, Joint, Cloud]:
        """The fit of all coefficients on points that grow until fresh ones are within the goal, and the largest error seen;
        that of the points of the fit where these are not."""
        basis = grown.basis(self.empty)
        cloud = grown.cloud(FIT_POINTS, self.seed)
        if len(cloud) < POINTS_EACH * basis.count:
            cloud = cloud.joined(self.thrower.sample(POINTS_EACH * basis.count, 3))
        joint, weights = None, None
        for attempt in range(REFITS):
            joint = fit_all(basis, cloud.u, cloud.values, weights=weights)
            if joint.largest > AIM * goal:
                break
            fresh = self._fresh(joint.approximator, cloud, attempt)
            errors = self._errors(joint.approximator, fresh)
            if errors.max() <= goal:
                return float(errors.max()), joint, cloud
            more = fresh.part(np.flatnonzero(errors > LOOKED * goal))
            cloud, weights = (
                cloud.joined(more),
                np.concatenate([joint.weights, np.full(len(more), joint.weights.max())]),
            )
        assert joint is not None
        return (
            max(joint.largest, 1.0001 * goal),
            fit_all(basis, cloud.u, cloud.values) if len(joint.errors) != len(cloud) else joint,
            cloud,
        )

    def _fresh(self, approximator: CellApproximator, cloud: Cloud, attempt: int) -> Cloud:
        """Points that no fit has seen: uniform ones, some where cells are small, and some about the worst of both."""
        uniform = self.thrower.sample(FRESH, 100 + attempt)
        chosen = torch.randperm(len(cloud), generator=self.thrower.generator)[:FRESH]
        finest = self._finest(approximator.basis, cloud.u[chosen])
        near = self.thrower.about(cloud.places[chosen], 0.2 * self.shape.spacing * finest, 1)
        fresh = uniform.joined(near)
        errors = self._errors(approximator, fresh)
        worst = torch.from_numpy(np.argsort(-errors)[:WORST].copy())
        radius = 0.1 * self.shape.spacing * self._finest(approximator.basis, fresh.u[worst])
        return fresh.joined(self.thrower.about(fresh.places[worst], radius, ABOUT))

    def _finest(self, basis: CellBasis, u: Tensor) -> Tensor:
        """Of points u (P, r) the size of the smallest cell with tokens that they are in, (P,), 1 where there is none."""
        size = torch.ones(len(u), dtype=torch.float64)
        for level in basis.tables:
            points, _, _ = level.cell_pairs(u[:, list(self.shape.windows)])
            size[points] = 1 / level.factor
        return size

    def _errors(self, approximator: CellApproximator, cloud: Cloud) -> Float:
        return (approximator.at(cloud.u) - cloud.values).abs().numpy()
