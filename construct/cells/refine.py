"""From cells to a measured approximator: grow, fit all together, look at fresh points, be stricter where it fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from construct.arrays import Float
from construct.cells.approximator import CellApproximator, CellBasis
from construct.cells.fit import Joint, fit_all
from construct.cells.growth import Grown, Growth, Shape
from construct.cells.points import Cloud, Thrower
from construct.measurement.seeds import derived_seed
from construct.problem import Problem
from construct.ridge.coordinates import Coordinates

SIZE = 8.0  # of a coefficient that costs little, in units of the largest value of the target
FIT_POINTS, POINTS_EACH = 25_000, 8
AIM, LOOKED = 0.9, 0.7  # of the goal: what a fit must reach; above, fresh points join it
FRESH, WORST, ABOUT = 8000, 60, 6
SMALLEST = 100  # points of the smallest cells
REFITS = 6  # fits on more and more points
MARKS = 9  # rounds


@dataclass(frozen=True)
class Refined:
    """What a round led to.

    Attributes:
        approximator: its largest error on fresh points and by a search on M is `error`.
        rounds: how many it took.
    """

    approximator: CellApproximator
    error: float
    rounds: int


@dataclass(frozen=True)
class _Settled:
    error: float
    joint: Joint
    cloud: Cloud


class Refinement:
    """The rounds for one problem and shape.

    Args:
        theta: how many times the goal cells may be off on their own; the fit of all coefficients lowers that.
        levels: at most.
    """

    def __init__(self, problem: Problem, coordinates: Coordinates, shape: Shape, theta: float, levels: int) -> None:
        self.problem, self.shape, self.theta, self.levels = problem, shape, theta, levels
        none = np.zeros(0, dtype=np.int64)
        flat = np.zeros((0, coordinates.count), dtype=np.int64)
        self.empty = CellBasis(
            problem.manifold, coordinates, np.array(shape.windows), shape.degree, shape.spacing, none, flat, flat
        )
        self.seed = derived_seed(problem.seed, "planning", 31)
        self.thrower = Thrower(problem, coordinates, shape.spacing, self.seed)

    def run(
        self, goal: float, most: int, say: Callable[[CellApproximator, float], None] = lambda made, error: None
    ) -> Refined | None:
        """The first round whose error is at most the goal, with tokens that store at most `most` numbers; or None.

        say: told of the approximator and the error of every round.
        """
        goal = goal / self.thrower.unit
        marks, base = list[Tensor](), Growth(self.thrower, self.empty, self.shape, self.seed).base(goal / 2)
        for number in range(1, MARKS + 1):
            growth = Growth(self.thrower, self.empty, self.shape, self.seed)
            grown = growth.run(self.theta * goal, self.levels, marks, most, goal / 2, base)
            if grown.numbers > most:
                return None
            found = self._settled(grown, goal)
            made, error = self._in_full(found.joint.approximator), found.error * self.thrower.unit
            say(made, error)
            if found.error <= goal:
                return Refined(made, error, number)
            above = torch.from_numpy(found.joint.errors > AIM * goal)
            marks.append(found.cloud.u[above])
        return None

    def _in_full(self, made: CellApproximator) -> CellApproximator:
        """What was fitted to values in units, in the unit of the target."""
        return replace(made, coefficients=made.coefficients * self.thrower.unit)

    def _settled(self, grown: Grown, goal: float) -> _Settled:
        """The fit of all coefficients on points that become more until fresh ones are within the goal; where they never
        are, or the fit is not, its own largest error, above the goal."""
        basis, weights = grown.basis(self.empty), None
        cloud = grown.cloud(FIT_POINTS, self.seed)
        if len(cloud) < POINTS_EACH * basis.count:
            cloud = cloud.joined(self.thrower.sample(POINTS_EACH * basis.count, 3))
        for attempt in range(REFITS):
            size = SIZE * (float(cloud.values.abs().max()) or 1.0)
            joint = fit_all(basis, cloud.u, cloud.values, weights=weights, goal=goal, size=size)
            if joint.largest > AIM * goal:
                break
            more, error = self._unseen(joint.approximator, cloud, goal, attempt)
            if error <= goal:
                return _Settled(error, joint, cloud)
            if attempt == REFITS - 1:
                break
            cloud = cloud.joined(more)
            weights = np.concatenate([joint.weights, np.full(len(more), joint.weights.max())])
        return _Settled(max(joint.largest, np.nextafter(goal, np.inf)), joint, cloud)

    def _unseen(self, made: CellApproximator, cloud: Cloud, goal: float, attempt: int) -> tuple[Cloud, float]:
        """Points that no fit has seen where the error is near the goal or above, and the largest error that was found:
        of fresh points, and where these are within the goal of the search on M."""
        fresh = self._fresh(made, cloud, attempt)
        errors = self._errors(made, fresh)
        if errors.max() <= goal:
            found = self.problem.search(self._in_full(made))
            if found.sup / self.thrower.unit <= goal:
                return fresh.part(np.zeros(0, dtype=np.int64)), max(found.sup / self.thrower.unit, float(errors.max()))
            place = self.problem.manifold.restrict(found.worst_point[None])
            fresh = self.thrower.at(place).joined(self.thrower.nearer(place, 2 * ABOUT))
            errors = self._errors(made, fresh)
        return fresh.part(np.flatnonzero(errors > LOOKED * goal)), float(errors.max())

    def _fresh(self, made: CellApproximator, cloud: Cloud, attempt: int) -> Cloud:
        """Points that no fit has seen: uniform ones, as many where cells are small, and some about the worst of
        both."""
        uniform = self.thrower.sample(FRESH, 100 + attempt)
        chosen = torch.randperm(len(cloud), generator=self.thrower.generator)[:FRESH]
        finest = self._finest(made.basis, cloud.u[chosen])
        near = self.thrower.about(cloud.places[chosen], 0.2 * self.shape.spacing * finest, 1)
        smallest = cloud.places[chosen[torch.argsort(finest)[:SMALLEST]]]
        fresh = uniform.joined(near, self.thrower.nearer(smallest, 1))
        worst = torch.from_numpy(np.argsort(-self._errors(made, fresh))[:WORST].copy())
        radius = 0.1 * self.shape.spacing * self._finest(made.basis, fresh.u[worst])
        return fresh.joined(self.thrower.about(fresh.places[worst], radius, ABOUT))

    def _finest(self, basis: CellBasis, u: Tensor) -> Tensor:
        """Of points u (P, r) the size of the smallest cell with tokens that they are in, (P,); 1 where there is
        none."""
        size = torch.ones(len(u), dtype=torch.float64)
        for level in basis.tables:
            points, _, _ = level.cell_pairs(u[:, list(self.shape.windows)])
            size[points] = 1 / level.factor
        return size

    def _errors(self, made: CellApproximator, cloud: Cloud) -> Float:
        return (made.at(cloud.u) - cloud.values).abs().numpy()
