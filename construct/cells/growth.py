"""Which cells get tokens: from the coarse to the fine, where what they inherit is not good enough.

A cell of level L inherits the mean of the polynomials of its parents (`approximator`). Where that is within a
tolerance of the target on all of M in the cell's support, it is left alone, and so are its descendants whose parents
are both good: by convexity these are as good. Where it is not, orthogonal least squares looks for a few tokens that
make it good; if there are none, the cell keeps at most a few that help, and its children are looked at. Tokens are
fitted without the window, so that the blend is as good as its cells are, and all coefficients are fitted again
afterwards (`fit.fit_all`).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from construct.arrays import Float, Int
from construct.cells.approximator import CellBasis, reach_of
from construct.cells.fit import dictionary, primitive, reweighted, select, values
from construct.cells.kuhn import members, parents
from construct.cells.points import Cloud, Thrower, grouped, keyed
from construct.progress import tick

NEED = 220  # points of a cell
ROUNDS, THROWN, MOST_POINTS = 6, 3, 400_000
FIRST = 4000  # points of the first level
HELP = 0.7  # of the error that is left: what tokens on a cell with children must reach
CLOSE, LEAST_CLOSE = 2.5, 3  # times the tolerance, tokens: where a minimax fit may reach it
GRAZED = 0.02  # a hat below says that a point is no concern of a cell's
STRICTER = 0.55  # by which a mark lowers the tolerance of a cell
BASE_LARGEST, BASE_POINTS = 3, 3000
KEPT = 120  # points of a cell that join the fit of all coefficients


@dataclass(frozen=True)
class Shape:
    """What is chosen once for a network.

    Attributes:
        degree: p.
        windows: (m,) places among the coordinates.
        spacing: h, in the unit of x.
        base: most tokens of level 0.
        most: tokens of a cell at which it is given up.
        interior: tokens that a cell with children may keep.
    """

    degree: int
    windows: tuple[int, ...]
    spacing: float
    base: int
    most: int
    interior: int


@dataclass
class Grown:
    """Tokens so far, and points that are worth fitting on."""

    levels: list[Int] = field(default_factory=list)
    centres: list[Int] = field(default_factory=list)
    directions: list[Int] = field(default_factory=list)
    coefficients: list[Float] = field(default_factory=list)
    clouds: list[Cloud] = field(default_factory=list)
    numbers: int = 0  # that these tokens store: coefficients, and the integers that are not 0

    def add(self, level: int, centre: Int, directions: Int, coefficients: Float, windows: tuple[int, ...] = ()) -> None:
        """Tokens on a cell; `windows`: places of its integers in the centre."""
        count = len(directions)
        self.levels.append(np.full(count, level, dtype=np.int64))
        self.centres.append(np.repeat(centre[None], count, axis=0))
        self.directions.append(directions)
        self.coefficients.append(coefficients)
        held = np.count_nonzero(directions) + np.count_nonzero(directions @ centre)
        self.numbers += int(held) + count * (1 + int(np.count_nonzero(centre[list(windows)])) + (level > 0))

    def copy(self) -> Grown:
        """The same, to which more can be added."""
        return replace(
            self,
            levels=list(self.levels),
            centres=list(self.centres),
            directions=list(self.directions),
            coefficients=list(self.coefficients),
            clouds=list(self.clouds),
        )

    @property
    def count(self) -> int:
        return sum(map(len, self.levels))

    def basis(self, empty: CellBasis) -> CellBasis:
        if not self.levels:
            return empty
        return replace(
            empty,
            levels=np.concatenate(self.levels),
            centres=np.concatenate(self.centres),
            directions=np.concatenate(self.directions),
        )

    def cloud(self, chosen: int, seed: int) -> Cloud:
        """At most so many of the points."""
        whole = self.clouds[0].joined(*self.clouds[1:])
        if len(whole) <= chosen:
            return whole
        return whole.part(np.random.default_rng(seed).permutation(len(whole))[:chosen])


class Growth:
    """Grows cells for one problem and shape. `empty`: a basis of that shape without tokens."""

    def __init__(self, thrower: Thrower, empty: CellBasis, shape: Shape, seed: int) -> None:
        self.thrower, self.empty, self.shape = thrower, empty, shape
        self.reach = reach_of(shape.degree)
        self.rng = np.random.default_rng(seed)

    def run(
        self, tolerance: float, levels: int, marks: list[Tensor], most: int, enough: float, base: Grown | None = None
    ) -> Grown:
        """Tokens with which every cell is within the tolerance, times `STRICTER` for every mark, points u (n, r), that
        it holds; at most `levels` levels, and about `most` numbers stored. `base`: what `base(enough)` gave, if known.
        """
        grown = self.base(enough) if base is None else base.copy()
        cloud, bad = self.thrower.sample(FIRST, 2), None
        for level in range(1, levels + 1):
            factor = 2.0 ** (level - 1)
            cloud, cells, places = self._filled(cloud, factor, bad)
            if not len(cells):
                break
            limits = (tolerance * STRICTER ** self._strictness(cells, factor, marks)).astype(np.float64)
            bad, held = self._level(grown, level, cloud, cells, places, limits, last=level == levels)
            if not len(bad) or grown.numbers > most:
                break
            near = cloud.part(held)
            radius = 0.3 * self.shape.spacing / factor
            cloud = near.joined(self.thrower.about(near.places, radius, 2))
        return grown

    def base(self, enough: float) -> Grown:
        """Tokens of level 0, by orthogonal least squares until the error is at most `enough`."""
        cloud = self.thrower.sample(BASE_POINTS, 1)
        grown = Grown(clouds=[cloud])
        if not self.shape.base:
            return grown
        u, r = cloud.u.numpy(), cloud.u.shape[1]
        choices = dictionary(u, self.reach, primitive(r))
        if r <= 3:
            more = dictionary(u, self.reach, primitive(r, BASE_LARGEST), (1.0,))
            choices = np.unique(np.concatenate([choices, more]), axis=0)
        atoms = values(self.empty.scale * np.asarray(u @ choices.T, dtype=np.float64), self.shape.degree)
        order, _ = select(atoms, cloud.values.numpy(), enough, self.shape.base)
        if order:
            coefficients, _ = reweighted(atoms[:, order], cloud.values.numpy())
            grown.add(0, np.zeros(r, dtype=np.int64), choices[order], coefficients, self.shape.windows)
        return grown

    def _filled(self, cloud: Cloud, factor: float, bad: Int | None) -> tuple[Cloud, Int, list[Int]]:
        """The cells of a level that are looked at, those that points lie in and, but for the first level, with a bad
        parent; enough points, and for each cell those in its support."""
        windows, radius = list(self.shape.windows), 0.4 * self.shape.spacing / factor
        for attempt in range(ROUNDS):
            tick()
            vertices, hats = members(factor * cloud.u[:, windows])
            points, which = (hats > 0).nonzero(as_tuple=True)
            cells, places = grouped(vertices[points, which].numpy())
            places = [points.numpy()[place] for place in places]
            if bad is not None:
                lower, upper = parents(cells)
                wanted = _among(lower, bad) | _among(upper, bad)
                cells, places = cells[wanted], [p for p, w in zip(places, wanted, strict=True) if w]
            short = [place for place in places if len(place) < NEED]
            if not short or attempt == ROUNDS - 1 or len(cloud) > MOST_POINTS:
                break
            source = np.unique(np.concatenate(short))
            cloud = cloud.joined(self.thrower.about(cloud.places[torch.from_numpy(source)], radius, THROWN))
        return cloud, cells, places

    def _strictness(self, cells: Int, factor: float, marks: list[Tensor]) -> Int:
        """How many marks have a point in each cell."""
        found = np.zeros(len(cells), dtype=np.int64)
        for u in marks:
            vertices, hats = members(factor * u[:, list(self.shape.windows)])
            points, which = (hats > GRAZED).nonzero(as_tuple=True)
            held = np.unique(vertices[points, which].numpy(), axis=0)
            found += _among(cells, held) if len(held) else 0
        return found

    def _level(
        self, grown: Grown, level: int, cloud: Cloud, cells: Int, places: list[Int], limits: Float, *, last: bool
    ) -> tuple[Int, Int]:
        """Tokens on the cells of one level; the cells that are left bad, and the points in these."""
        places = [self.rng.choice(p, 2 * NEED, replace=False) if len(p) > 2 * NEED else p for p in places]
        wanted = self._missing(grown, level, cloud, cells, places)
        factor, bad, held, kept = 2.0 ** (level - 1), list[Int](), list[Int](), list[Int]()
        for cell, place, missing, limit in zip(cells, places, wanted, limits, strict=True):
            error = float(np.abs(missing).max())
            if error <= limit:
                continue
            tick()
            kept.append(place if len(place) <= KEPT else self.rng.choice(place, KEPT, replace=False))
            u = factor * cloud.u.numpy()[place]
            centre = np.rint(u.mean(axis=0)).astype(np.int64)
            centre[list(self.shape.windows)] = cell
            choices = dictionary(u - centre, self.reach, primitive(u.shape[1]))
            atoms = values(self.empty.scale * ((u - centre) @ choices.T), self.shape.degree)
            order, errors = select(atoms, missing, limit, min(self.shape.most, max(1, len(place) // 3)))
            left, coefficients = (float(errors[-1]) if order else error), None
            if order and limit < left < CLOSE * limit and len(order) >= LEAST_CLOSE:
                coefficients, left = reweighted(atoms[:, order], missing)
            if left > limit and not last:
                bad.append(cell)
                held.append(place)
                order, coefficients = order[: self.shape.interior], None
            if not order:
                continue
            if coefficients is None:
                coefficients, left = reweighted(atoms[:, order], missing)
            if bad and bad[-1] is cell and left > HELP * error:
                continue
            grown.add(level, centre, choices[order], coefficients, self.shape.windows)
        if kept:
            grown.clouds.append(cloud.part(np.unique(np.concatenate(kept))))
        return np.array(bad).reshape(-1, cells.shape[1]), np.unique(np.concatenate(held)) if held else np.zeros(0, int)

    def _missing(self, grown: Grown, level: int, cloud: Cloud, cells: Int, places: list[Int]) -> list[Float]:
        """The target without what each cell inherits, on its points."""
        sizes = np.array([len(place) for place in places])
        index = torch.from_numpy(np.concatenate(places))
        wanted = cloud.values[index].clone()
        if grown.count:
            seen = torch.from_numpy(np.repeat(cells, sizes, axis=0) / 2.0 ** (level - 1))
            points, tokens, entries = grown.basis(self.empty).entries(cloud.u[index], seen)
            coefficients = torch.from_numpy(np.concatenate(grown.coefficients))
            wanted.index_add_(0, points, -entries * coefficients[tokens])
        return np.split(wanted.numpy(), np.cumsum(sizes)[:-1])


def _among(cells: Int, held: Int) -> NDArray[np.bool_]:
    """Which rows (n, m) are among others."""
    if not len(held):
        return np.zeros(len(cells), dtype=bool)
    wanted, known = keyed(cells, held)
    return np.isin(wanted, known)
