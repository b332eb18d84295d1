"""Charts of several sizes: large where the target is easy, small where it is rough or sharp.

The order of the partition is that in which balls are made, and a ball only has to fit the target where those before it
leave room. So the hardest place comes first: from where a large ball misfits, balls of half the size about its worst
point, until one fits; it grows as far as it can, and larger balls about the same centre, the core of the last one left
out, follow it while they fit. Then the same from the next place that is not covered yet. Where a constant, the base,
is good enough no ball is needed at all. For a cusp |x - x0|^beta that makes balls of radii in geometric progression, as
many as log(1/epsilon) (theory, sections 6 and 14).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor

from construct.atlas import Atlas
from construct.atlas.cover import spread
from construct.compact.counting import counted_sample
from construct.compact.program import compact_program
from construct.local import LocalSpace, PiecewiseApproximator, PolynomialSpace, fit, fitting_nodes, least_square_fit
from construct.manifolds import Manifold
from construct.manifolds.canonical import canonical_form
from construct.measurement import derived_seed
from construct.planning import Search
from construct.problem import Problem, Sizes
from construct.progress import tick
from construct.targets import evaluate_target

COLLAR = 0.125  # of r^2, at most, is r^2 - core^2
LARGEST = 0.98  # of the chart radius bound
SMALLEST = 1e-5  # of the size of M: below, a target is as good as a jump, and cut-offs are rounding
CHUNK = 2**14  # points at which the target is evaluated at once
SAMPLES = 20_000  # points that say what is still to be covered
MOST_NET = 60_000
MOST_FITTED = 1500  # of these in one fit; all of them are looked at after it
HALOS = (1.0, 3.0)  # times the radius of a ball: where larger ones look closely
HALO_DENSITY = 2.0
DENSITY = {1: 3.0, 2: 2.0}  # of the nodes
LAWSON, LAST_LAWSON = 4, 20
STEP = 2**0.5  # of radii
MOST_HOPE = 6.0  # times the goal, of a least-squares fit: no minimax fit is so much better
STARTS = 64  # uncovered points of which that is taken whose ball covers most
LEAST_REST = 0.05  # of M, for a base
ALMOST = 2.0**-10  # of the error, for a base that is almost 0
DEGREES = {1: (8, 5, 12, 3, 16), 2: (2, 4, 1, 6), 3: (2, 3, 1)}
DEGREES_BEYOND = (2, 1)
MOST_BALLS = 60
FEW_PLACES, HOPE = 8, 0.2  # hard places, after which as many as balls may be had are to cover this share of M at least
HALF = 0.5  # of M: where balls of one degree fail before they cover it, those of others are not tried
MOST_PRUNED = 12  # balls, beyond which leaving some out is not tried: it takes fits like their square
ATTEMPTS = 4  # covers of one space
AIM, SHARPER = 0.98, 0.93  # of the error that may be measured: what fits may have, and after every miss
TRIM = 0.01  # of epsilon
NEARBY, CLOSER = 200, 3.0  # points about the worst one


@dataclass(frozen=True)
class LocalBall:
    """A ball that fits where those before it leave room."""

    centre: Tensor
    radius: float


@dataclass
class AdaptiveCover:
    """The balls of one local space for one problem; see the module.

    Attributes:
        goal: sup error that the fits may have.
        points, values: (m, k) in canonical coordinates and (m,), the target where it is looked at; every ball adds
            points near its rim.
        most: charts, and no more.
        prefix: (m,) sums of the cut-offs of all balls at the points.
    """

    problem: Problem
    space: LocalSpace
    goal: float
    points: Tensor
    values: Tensor
    most: int
    balls: list[LocalBall] = field(default_factory=list, init=False)
    prefix: Tensor = field(init=False)
    flat: Manifold = field(init=False)
    given: int = field(init=False)

    def __post_init__(self) -> None:
        manifold = self.flat = canonical_form(self.problem.manifold)
        self.given = len(self.points)
        self.prefix = torch.zeros(self.given, dtype=torch.float64)
        self.size = 2.0 * float(manifold.half_widths.norm())
        self.largest = min(LARGEST * manifold.chart_radius_bound, self.size * 1.01)

    def approximator(self) -> PiecewiseApproximator | None:
        """What the balls make of the target; None where they are too many or too small."""
        places = 0
        while (start := self._start()) is not None:
            places += 1
            if not self._settle(start) or (places >= FEW_PLACES and self.covered * self.most < HOPE * places):
                return None
        if not self.balls:  # the base alone is good enough: any chart will do
            self._append(self.points[0], self.largest)
        self._prune()
        return self._blend()

    # -- where -----------------------------------------------------------------------------------------------

    @property
    def base(self) -> float:
        """The best constant beyond the balls that there are."""
        return base_of(self.values[self.prefix < 1], self.goal)

    @property
    def covered(self) -> float:
        """The share of M that the balls cover, of the points that were given."""
        return float((self.prefix[: self.given] >= 1).double().mean())

    def _left(self) -> Tensor:
        """Numbers of the points that are neither covered nor within reach of the base."""
        return (((self.values - self.base).abs() > self.goal) & (self.prefix < 1)).nonzero()[:, 0]

    def _start(self) -> Tensor | None:
        """The point (k,) that is to be covered next, None: there is none.

        First one that needs it; later any whose ball covers much, since the base for what is then left may do better.
        """
        places = self._left()
        if not len(places):
            return None
        if self.balls:
            places = (self.prefix < 1).nonzero()[:, 0]
        chosen = places[:: max(1, len(places) // STARTS)]
        near = torch.cdist(self.points[chosen], self.points[places]) < core_of(self.largest)
        return self.points[chosen[int(near.sum(dim=1).argmax())]]

    def _settle(self, start: Tensor) -> bool:
        """Cover a point, by balls about the hardest place near it; whether that was possible."""
        centre, radius = start, self.largest
        while (worst := self._misfit(centre, radius)) is not None:
            centre, radius = worst, radius / 2
            if radius < SMALLEST * self.size:
                return False
        before = self.prefix
        radius = self._grown(centre, radius, 2 * radius)
        self._append(centre, radius)
        while len(self.balls) <= self.most and radius < self.largest and len(self._left()):
            wider = min(2 * radius, self.largest)
            if self._misfit(centre, wider) is not None:
                break
            radius = self._grown(centre, wider, self.largest)
            self._append(centre, radius)
        covered = bool(((before < 1) & (self.prefix[: len(before)] >= 1)).any())
        return len(self.balls) <= self.most and (covered or radius < self.largest)

    def _grown(self, centre: Tensor, radius: float, most: float) -> float:
        """A radius at least as large as one that fits, that fits, too."""
        most = min(most, self.largest)
        while radius < most:
            wider = min(STEP * radius, most)
            if self._misfit(centre, wider) is not None:
                break
            radius = wider
        return radius

    def _append(self, centre: Tensor, radius: float) -> None:
        """Add a ball, and points that lie close enough for those that are cut out of larger balls."""
        self.balls.append(LocalBall(centre, radius))
        halos = [
            fitting_nodes(self._ball(centre, min(factor * radius, self.largest)), self.space, density=HALO_DENSITY)
            for factor in HALOS
        ]
        x = torch.cat([halo.x[halo.mask] for halo in halos])
        self.points = torch.cat([self.points, x])
        self.values = torch.cat([self.values, values_at(self.problem, x)])
        sums = torch.cat([self.prefix, self._prefix(x, self.balls[:-1])])
        self.prefix = sums + cut_off(self.points, centre, radius)

    def _prune(self) -> None:
        """Leave out balls, the last first, without which those after them fit as well and nothing is left over."""
        for n in reversed(range(len(self.balls))) if len(self.balls) <= MOST_PRUNED else ():
            balls, prefix = self.balls, self.prefix
            self.balls = balls[:n]
            self.prefix = self._prefix(self.points, self.balls)
            for ball in balls[n + 1 :]:
                if self._misfit(ball.centre, ball.radius) is not None:
                    break
                self.prefix = self.prefix + cut_off(self.points, ball.centre, ball.radius)
                self.balls = [*self.balls, ball]
            if not self.balls or len(self.balls) < len(balls) - 1 or len(self._left()):
                self.balls, self.prefix = balls, prefix

    def _prefix(self, x: Tensor, balls: list[LocalBall]) -> Tensor:
        return sum((cut_off(x, ball.centre, ball.radius) for ball in balls), x.new_zeros(len(x)))

    # -- fits ------------------------------------------------------------------------------------------------

    def _misfit(self, centre: Tensor, radius: float) -> Tensor | None:
        """None where an element of the space fits on a ball, where those before it leave room; else the worst point."""
        tick()
        x, values = self._nodes(centre, radius, self.balls)
        if not len(x):
            return None
        ball = self._ball(centre, radius)
        z = ball.chart_coordinates(x)[:, 0]
        coefficients, residual = least_square_fit(self.space, z, values)
        worst = x[int(residual.argmax())]
        if float(residual.max()) > self.goal:
            if float(residual.max()) > MOST_HOPE * self.goal:
                return worst
            found = fit(self.space, z[None], values[None], torch.ones(1, len(z), dtype=torch.bool), lawson=LAWSON)
            if found.sup > self.goal:
                return worst
            coefficients = found.coefficients[0]
        inside = self._inside(centre, radius)
        if not len(inside):
            return None
        z = ball.chart_coordinates(self.points[inside])[:, 0].clamp(-1, 1)
        error = (self.space.combine(z, coefficients) - self.values[inside]).abs()
        return None if float(error.max()) <= self.goal else self.points[inside[int(error.argmax())]]

    def _inside(self, centre: Tensor, radius: float) -> Tensor:
        """Numbers of the points in a ball where the balls so far leave room."""
        near = (self.points - centre).norm(dim=1) < radius
        return (near & (self.prefix < 1)).nonzero()[:, 0]

    def _nodes(self, centre: Tensor, radius: float, before: list[LocalBall]) -> tuple[Tensor, Tensor]:
        """Points (q, k) of M in a ball where the balls `before` leave room, and the target there."""
        nodes = fitting_nodes(self._ball(centre, radius), self.space, density=DENSITY.get(self.flat.dim, 1.0))
        own = nodes.x[nodes.mask]
        own = own[self._prefix(own, before) < 1]
        if before is self.balls:
            inside = self._inside(centre, radius)
        else:
            inside = ((self.points - centre).norm(dim=1) < radius).nonzero()[:, 0]
            inside = inside[self._prefix(self.points[inside], before) < 1]
        inside = inside[:: max(1, len(inside) // MOST_FITTED)]
        x = torch.cat([own, self.points[inside]])
        return x, torch.cat([values_at(self.problem, own), self.values[inside]])

    def _ball(self, centre: Tensor, radius: float) -> Atlas:
        return balls_about(self.flat, centre[None], [radius])

    def _blend(self) -> PiecewiseApproximator:
        manifold = self.problem.manifold
        centres = manifold.embed(torch.stack([ball.centre for ball in self.balls]))
        atlas = balls_about(manifold, centres, [ball.radius for ball in self.balls])
        coefficients, residual = [], []
        for n, ball in enumerate(self.balls):
            tick()
            x, values = self._nodes(ball.centre, ball.radius, self.balls[:n])
            if not len(x):
                coefficients.append(self.space.constant(self.base))
                residual.append(0.0)
                continue
            z = (x - atlas.hull_centres[n]) @ atlas.hull_frames[n] / atlas.coordinates.scales[n]
            mask = torch.ones(1, len(z), dtype=torch.bool)
            found = fit(self.space, z[None], values[None], mask, lawson=LAST_LAWSON)
            coefficients.append(found.coefficients[0])
            residual.append(found.sup)
        sups = torch.tensor(residual, dtype=torch.float64)
        return PiecewiseApproximator(atlas, self.space, torch.stack(coefficients), sups, self.base)


def cut_off(x: Tensor, centre: Tensor, radius: float) -> Tensor:
    """w (P,) of a ball at points (P, D)."""
    outer, core = radius**2, core_of(radius) ** 2
    return ((outer - (x - centre).square().sum(dim=1)) / (outer - core)).clamp_min(0.0)


def core_of(radius: float) -> float:
    """The core radius for which r^2 - core^2 is a power of two: the network's `lift` is exact then, in any format."""
    return math.sqrt(radius**2 - 2.0 ** math.floor(math.log2(COLLAR * radius**2)))


def balls_about(manifold: Manifold, centres: Tensor, radii: list[float]) -> Atlas:
    """The atlas of balls of those radii (n,) around centres (n, D)."""
    cores = torch.tensor([core_of(radius) for radius in radii], dtype=torch.float64)
    return Atlas.of_balls(manifold, centres, cores, torch.tensor(radii, dtype=torch.float64))


def base_of(values: Tensor, goal: float) -> float:
    """The constant that is within `goal` of the target on the largest part of M; (almost) 0 where it is as good, or the
    part small. Never 0, which would say that the balls cover M."""
    near_zero = goal * ALMOST
    if not len(values):
        return near_zero
    ordered = values.sort().values
    ends = torch.searchsorted(ordered, ordered + 2 * goal, right=True)
    count = ends - torch.arange(len(ordered))
    first = int(count.argmax())
    most = int(count[first])
    if most < LEAST_REST * len(values) or int(((values - near_zero).abs() <= goal).sum()) >= 0.98 * most:
        return near_zero
    return float((ordered[first] + ordered[first + most - 1]) / 2) or near_zero


def points_of(problem: Problem) -> Tensor:
    """Points (m, k) of M in canonical coordinates: a sample, the net that claims look at, where it is not huge, and
    what is watched."""
    flat, cover = canonical_form(problem.manifold), problem.cover
    parts = [flat.sample(SAMPLES, derived_seed(problem.seed, "planning")), problem.manifold.restrict(problem.watched)]
    if cover is not None and len(cover.points) <= MOST_NET:
        parts.append(cover.points)
    return torch.cat(parts)


def values_at(problem: Problem, points: Tensor) -> Tensor:
    """The target (m,) at points (m, k)."""
    parts = [evaluate_target(problem.target, problem.manifold.embed(part)) for part in points.split(CHUNK)]
    return torch.cat(parts) if parts else points.new_zeros(0)


@dataclass
class AdaptiveSearch:
    """The search for the degree whose balls take the fewest numbers.

    Attributes:
        dearest: covers of so many stored numbers or more are of no use.
    """

    search: Search
    dearest: float = math.inf
    covered: float = field(default=1.0, init=False)  # share of M, by the last cover

    @property
    def problem(self) -> Problem:
        return self.search.problem

    def cheapest(self) -> tuple[PiecewiseApproximator, int] | None:
        """The adaptive approximator with the fewest stored numbers that was found, and how many."""
        dim, best = self.problem.manifold.dim, None
        points = points_of(self.problem)
        values = values_at(self.problem, points)
        if self.search.dearest is not None:
            self.dearest = min(self.dearest, self.search.dearest)
        for degree in DEGREES.get(dim, DEGREES_BEYOND):
            found = self._of(PolynomialSpace(dim, degree), points, values)
            if found is not None:
                best, self.dearest = found, found[1]
            elif best is None and self.covered < HALF:
                return None
        return best

    def _of(self, space: LocalSpace, points: Tensor, values: Tensor) -> tuple[PiecewiseApproximator, int] | None:
        """Of one space; where the error between the points is too large it is looked for closer, and a little less is
        aimed at."""
        goal, problem = AIM * self.search.goal, self.problem
        most = self._most(space, points)
        for _ in range(ATTEMPTS):
            if most < 1:
                return None
            problem.progress(f"charts of several sizes, {space.text}", None)
            cover = AdaptiveCover(problem, space, goal, points, values, most)
            found = cover.approximator()
            self.covered = cover.covered
            if found is None:
                return None
            found = replace(found, coefficients=space.trimmed(found.coefficients, TRIM * problem.wanted))
            program = compact_program(found)
            cost, sizes = program.counts.stored_numbers, Sizes(found.atlas.count, space.cells, space.degree)
            if cost >= self.dearest or not self.search.affordable(sizes, program.parameters, note_of(found)):
                return None
            measured = problem.search(found, centres=found.atlas.centres)
            self.search.record(sizes, measured.sup, "measured", parameters=program.parameters, cost=cost,
                               note=note_of(found), make=partial(_itself, found))  # fmt: skip
            if measured.sup <= self.search.goal:
                return found, cost
            worst = problem.manifold.restrict(measured.worst_point[None])
            near = canonical_form(problem.manifold).project(worst + CLOSER * close_by(problem))
            points, goal = torch.cat([points, worst, near]), SHARPER * goal
            values = torch.cat([values, values_at(problem, points[len(values) :])])
        return None

    def _most(self, space: LocalSpace, points: Tensor) -> int:
        """Charts that a cover below the dearest may have: each takes what it does with one coefficient."""
        budget = self.search.budget
        if self.dearest == math.inf and budget is None:
            return MOST_BALLS
        manifold = self.problem.manifold
        points = manifold.embed(points[:: max(1, len(points) // STARTS)])
        radius = 0.1 * min(manifold.chart_radius_bound, 2.0 * float(manifold.half_widths.norm()))
        far = int((points - points[0]).square().sum(dim=1).argmax())
        centres, one = torch.stack([points[0], points[far]]), space.constant(1.0)[None]
        costs = []
        for count in (1, 2):
            sample = counted_sample(
                balls_about(manifold, centres[:count], [radius] * count), space, one.expand(count, -1)
            )
            program = compact_program(sample)
            costs.append((program.counts.stored_numbers, program.parameters))
        most = [float(MOST_BALLS)]
        for first, second, limit in zip(*costs, (self.dearest, math.inf if budget is None else budget), strict=True):
            most.append((limit - first) / (second - first) + 1)
        return math.ceil(min(most)) - 1


def close_by(problem: Problem) -> Tensor:
    """Directions (q, k) of several lengths up to the distance at which points are looked at."""
    generator = torch.Generator().manual_seed(derived_seed(problem.seed, "planning"))
    manifold = problem.manifold
    lengths = 10.0 ** -(3 * torch.rand(NEARBY, 1, generator=generator, dtype=torch.float64))
    steps = torch.randn(NEARBY, manifold.canonical, generator=generator, dtype=torch.float64)
    typical = 2.0 * float(manifold.half_widths.norm()) * SAMPLES ** (-1 / manifold.dim)
    return typical * lengths * steps / steps.norm(dim=1, keepdim=True)


def note_of(approximator: PiecewiseApproximator) -> str:
    """What history says of an atlas besides its sizes."""
    return f"radii {spread(approximator.atlas.cover.radii)}"


def _itself(approximator: PiecewiseApproximator) -> PiecewiseApproximator:
    return approximator
