"""Planner of the lattice construction: shapes of networks are tried in a fixed order, each to have fewer numbers.

What a shape costs is not known before it has been tried: how many tokens of level 0, how many for a cell, how far cells
may be off on their own, which coordinates the windows look through. The first shapes are those that do well for most
targets, then one thing at a time is varied about the best so far. A shape that needs more tokens than a network of the
best cost could have is given up as soon as it has them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from construct.cells.approximator import CellApproximator
from construct.cells.growth import Shape
from construct.cells.program import cell_dense, cell_numbers, cell_overhead
from construct.cells.refine import Refinement
from construct.history import History
from construct.measurement.search import search_sup
from construct.measurement.seeds import derived_seed
from construct.planning import Search
from construct.problem import SEARCH_SAMPLES, Problem, Sizes
from construct.ridge.coordinates import Coordinates
from construct.ridge.projection import coordinates_for
from construct.validation import invalid

MOST_WINDOWS = 3  # coordinates that windows look through
MOST_COORDINATES = 6
LEVELS, LEVELS_SINGLE = 30, 8  # at most; of float32: beyond, coordinates times 2^L are known to less than 1e-4
MOST_NUMBERS, LEAST_NUMBERS = 50_000, 8  # that the tokens of a network store
RESERVE = 0.95  # of the goal, so that the measurement on other points meets it
TRIALS, EFFORT = 10, 12_000  # shapes that are tried, and numbers that all rounds of these store: some 1 ms each
CONFIRMED, SEARCHES, AGREED = 4, 3, 0.98  # times; searches each, whose errors may be this share of the goal


@dataclass(frozen=True)
class CellPlan:
    """The approximator that was chosen, and how."""

    approximator: CellApproximator
    history: History


@dataclass(frozen=True)
class Variant:
    """A shape and how strict its cells are."""

    shape: Shape
    theta: float

    def __str__(self) -> str:
        s = self.shape
        looked = ", ".join(f"y{place + 1}" for place in s.windows)
        tokens = f"{s.base} tokens, {s.most} a cell, {s.interior} within"
        return f"windows {looked} of {s.spacing:.2g}, {tokens}, {self.theta:g} epsilon"


@dataclass
class CellPlanner:
    """The search for one problem.

    Raises:
        InputError: M spans too many dimensions.
    """

    problem: Problem
    search: Search
    single: bool = False
    coordinates: Coordinates = field(init=False)
    effort: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.problem.progress("lattice: coordinates", None)
        self.coordinates = coordinates_for(self.problem.manifold, self.problem.seed)
        if self.coordinates.count > MOST_COORDINATES:
            expected = f"one that spans at most {MOST_COORDINATES} dimensions, for cells"
            got = f"{self.problem.manifold!r}, which spans {self.coordinates.count}"
            raise invalid("manifold", expected, got=got)

    def plan(self) -> CellPlan:
        """The smallest network that one of at most `TRIALS` shapes leads to.

        Raises:
            BudgetExceeded, EpsilonNotReached: none reaches epsilon.
        """
        best: CellApproximator | None = None
        numbers, chosen, tried = None, None, set[Variant]()
        for _ in range(TRIALS):
            variant = next((v for v in self._variants(chosen) if v not in tried), None)
            if variant is None or (best is not None and self.effort > EFFORT):
                break
            tried.add(variant)
            found = self._found(variant, numbers)
            if found is not None and (best is None or cell_numbers(found) < cell_numbers(best)):
                best, numbers, chosen = found, cell_numbers(found), variant
        if best is not None and chosen is not None:
            best = self._confirmed(best, chosen)
        if best is None:
            raise self.search.failure()
        return CellPlan(best, self.search.chosen(sizes_of(best), str(chosen)))

    def _confirmed(self, made: CellApproximator, variant: Variant) -> CellApproximator:
        """An approximator, where searches from other points find no larger error; else what its variant leads to when
        these points are watched as well. Where that is nothing, the last one: its claim will be measured."""
        found = made
        for attempt in range(CONFIRMED):
            error, worst = self.problem.error(found), list[Tensor]()
            for number in range(SEARCHES):
                seed = derived_seed(self.problem.seed, "planning", 100 + SEARCHES * attempt + number)
                seen = search_sup(error, self.problem.manifold, SEARCH_SAMPLES, seed)
                if seen.sup > AGREED * self.search.goal:
                    worst.append(seen.worst_point)
            if not worst:
                return found
            self.problem = self.problem.watching(torch.stack(worst))
            better = self._found(variant, None)
            if better is None:
                break
            found = better
        return found

    def _found(self, variant: Variant, below: int | None) -> CellApproximator | None:
        """What a variant leads to, where that is within epsilon, the budget, and fewer than `below` numbers."""
        shape = variant.shape
        limit = min(n for n in (below, self.search.dearest, 2**31) if n is not None)
        overhead = cell_overhead(self.coordinates.count, len(shape.windows), shape.degree)
        most = min(MOST_NUMBERS, limit - overhead)
        if most < LEAST_NUMBERS:
            self.search.dear(Sizes(1, None, shape.degree), overhead + LEAST_NUMBERS, str(variant))
            return None

        def say(made: CellApproximator, error: float) -> None:
            kind, numbers = "measured" if error <= self.search.goal else "sampled", cell_numbers(made)
            self.effort += numbers
            self.search.record(sizes_of(made), error, kind, parameters=cell_dense(made), cost=numbers,
                               note=str(variant), make=lambda: made)  # fmt: skip

        levels = LEVELS_SINGLE if self.single else LEVELS
        refinement = Refinement(self.problem, self.coordinates, shape, variant.theta, levels)
        found = refinement.run(RESERVE * self.search.goal, most, say)
        if found is None or cell_numbers(found.approximator) >= limit:
            return None
        made = found.approximator
        return made if self.search.affordable(sizes_of(made), cell_dense(made), str(variant)) else None

    def _variants(self, best: Variant | None) -> Iterator[Variant]:
        """First ones, then those that differ from the best in one thing."""
        places = range(self.coordinates.count)
        half = float((1 / self.coordinates.scale).max())
        windows = tuple(places)[:MOST_WINDOWS]
        one = self.problem.manifold.dim == 1
        first = Shape(3, windows, 0.7 * half, 4, 3, 0) if one else Shape(6, windows, 0.5 * half, 12, 2, 2)
        yield Variant(first, 7.0 if one else 4.0)
        if best is None:
            yield Variant(replace(first, most=2, interior=1), 4.0)
            for degree, spacing in itertools.product((3, 6), (0.4, 0.8)):
                yield Variant(replace(first, degree=degree, spacing=spacing * half, most=4), 4.0)
            return
        shape, theta = best.shape, best.theta
        for place in places if one else ():
            yield Variant(replace(shape, windows=(place,)), theta)
        for share in (0.35, 0.5, 0.8):
            yield Variant(replace(shape, spacing=share * half), theta)
        yield Variant(shape, 7.0 if theta < 7 else 4.0)
        for place in () if one else places:
            yield Variant(replace(shape, windows=(place,)), theta)
        yield Variant(replace(shape, base=2 * shape.base), theta)
        yield Variant(replace(shape, most=shape.most + 1), theta)
        if shape.most > 1:
            yield Variant(replace(shape, most=shape.most - 1), theta)
        yield Variant(replace(shape, base=shape.base // 2), theta)
        yield Variant(replace(shape, interior=0 if shape.interior else 1), theta)


def plan(problem: Problem, budget: int | None, *, single: bool = False) -> CellPlan:
    """The fewest stored numbers whose measured error is at most epsilon; see `CellPlanner`."""
    search = Search(problem, "the lattice construction", budget)
    return CellPlanner(problem, search, single).plan()


def sizes_of(approximator: CellApproximator) -> Sizes:
    """One chart, cells of all levels, the degree."""
    basis = approximator.basis
    labels = np.column_stack([basis.levels, basis.cells])
    return Sizes(1, max(1, len(np.unique(labels, axis=0))), basis.degree)
