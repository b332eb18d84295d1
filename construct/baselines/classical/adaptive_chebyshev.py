"""Adaptive Chebyshev polynomials: boxes are halved where a polynomial is not good enough, or takes too many numbers."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from scipy.linalg import qr
from torch import Tensor

from construct.arrays import Float
from construct.baselines.base import (
    Baseline,
    BaselineCounts,
    Method,
    Options,
    Settings,
    error_of,
    known,
    require_dtype,
    require_manifold,
    sized,
    tried,
)
from construct.baselines.classical.box_points import BoxPoints, BoxSampler
from construct.baselines.classical.chebyshev_tree import Leaf, LeafBasis, Node, Split, halves, leaves, products
from construct.baselines.sampling import scattered, stream
from construct.errors import EpsilonNotReached
from construct.local.fit import RIDGE, minimax
from construct.manifolds import Manifold
from construct.measurement import measure
from construct.measurement.survey import survey
from construct.planning import Search
from construct.problem import Problem
from construct.progress import Progress, silent
from construct.ridge.coordinates import Coordinates, coordinates_of
from construct.validation import integer, invalid, message, positive_real

DECADES = 8
FIRST_POINTS = 4000
SIZES = {1: (40, 120), 2: (60, 200, 700), 3: (80, 250, 750)}
"""Most coefficients of a leaf, one look after another, by d, the last for more as well."""
HOPEFUL = 1.5  # times the degree that these allow is what the decay of the errors may ask for
FEW_DEGREES = 4  # with fewer the decay is not known
CAPS = (0, 1, 3)
POINTS_EACH = 5  # of a leaf for each coefficient, half of them at least to check it
FITTED_EACH = 4  # points for each coefficient at most in a fit
LAWSON, LAWSON_LARGE, LARGE = 12, 4, 200  # steps; for more than LARGE coefficients
LEAST_SQUARES_LOSS = 3.0  # how much larger than the smallest possible its largest error is taken to be
SLOWING = 0.7  # of an earlier rate of decay: slower is none of an analytic function
CHEAP = 12  # numbers of a leaf that is not split
WORSE = 1.25  # times the numbers of a leaf, that its halves may take for the split to be looked into
MOST_NODES, DEEPEST = 20_000, 60
ROUNDING = 1e-9  # of a side, that points of M may be outside of its box
STRICTER = (0.9, 0.8, 0.65, 0.5)  # shares of epsilon that are asked of the leaves' points


@dataclass(frozen=True)
class Prefixes:
    """Least squares fits of all degrees of one basis on the points of a box, from one factorisation."""

    basis: LeafBasis
    errors: list[float]  # largest one of each degree, on the points of the fit
    orthonormal: Tensor
    triangle: Tensor
    values: Tensor

    def degree_for(self, tolerance: float, *, powers: bool) -> float:
        """The degree that the decay of the errors asks for, infinite where they do not fall, or, unless `powers`, only
        like a power of the degree."""
        e, last = self.errors, len(self.errors) - 1
        if e[last] <= tolerance:
            return last
        quarter, half = last // 4, last // 2
        if last < FEW_DEGREES:
            return last + 1
        if not e[half] > 1.1 * e[last] > 0:
            return math.inf
        missing, rate = math.log(e[last] / tolerance), math.log(e[half] / e[last]) / (last - half)
        if quarter > 1 and rate * (half - quarter) < SLOWING * math.log(e[quarter] / e[half]):
            return last * math.exp(min(50.0, missing / (rate * last))) if powers else math.inf
        return last + missing / rate

    def coefficients(self, count: int) -> tuple[Float, float]:
        """Near-minimax ones (count,) of the first products, and the largest error on the points."""
        q, steps = self.orthonormal[None, :, :count], LAWSON if count <= LARGE else LAWSON_LARGE
        found, error = minimax(q, self.values[None], torch.ones_like(self.values)[None], steps=steps)
        solved = torch.linalg.solve_triangular(self.triangle[:count, :count], found[0][:, None], upper=True)
        return solved[:, 0].numpy(), float(error)


@dataclass(frozen=True, eq=False)
class Looked:
    """A box, the points of M in it, and the polynomial on it with its numbers: None and infinity where none is good
    enough, None and 1 where there are no points."""

    points: BoxPoints
    lower: Float
    upper: Float
    leaf: Leaf | None
    cost: float


@dataclass
class Growing:
    """The growth of one tree.

    tolerance: what the errors at the points of every leaf have to be within. nodes: how many were looked at.
    """

    sampler: BoxSampler
    dim: int
    tolerance: float
    progress: Progress
    nodes: int = field(default=0, init=False)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Most coefficients of a leaf, one look after another."""
        return SIZES[min(self.dim, max(SIZES))]

    def node(self, box: Looked, limit: float = math.inf, depth: int = 0) -> tuple[Node | None, int]:
        """The node with the fewest numbers that is found for a box, and how many; (None, 0) where it takes `limit`.

        Raises:
            EpsilonNotReached: the tree becomes too large or too deep.
        """
        if not len(box.points):
            return None, 1
        if box.cost > CHEAP:
            split, cost = self._split(box, min(limit, box.cost), depth)
            if split is not None:
                return split, cost
        return (box.leaf, int(box.cost)) if box.cost < limit else (None, 0)

    def _split(self, box: Looked, limit: float, depth: int) -> tuple[Split | None, int]:
        """The split of a box; (None, 0) where it takes `limit` numbers or more, or does not look as if it paid."""
        axis = int(np.argmax(np.ptp(box.points.u, axis=0)))
        first, second = halves(box.lower, box.upper, axis)
        parts = [self.looked(box.points, *first, depth + 1), self.looked(box.points, *second, depth + 1)]
        if WORSE * box.cost < sum(part.cost for part in parts) < math.inf:
            return None, 0
        total, children = 1, list[Node | None]()
        for part in parts:
            child, cost = self.node(part, limit - total - (1 if part is parts[0] else 0), depth + 1)
            if cost == 0:
                return None, 0
            total += cost
            children.append(child)
        if total >= limit:
            return None, 0
        return Split(axis, float(second[0][axis]), float(first[1][axis]), (children[0], children[1])), total

    def looked(self, points: BoxPoints, lower: Float, upper: Float, depth: int = 0) -> Looked:
        """A box with its points, some of which are among those given, and its leaf."""
        self._count(depth)
        here = self.sampler.filled(points, lower, upper, POINTS_EACH * self.sizes[0])
        if not len(here):
            return Looked(here, lower, upper, None, 1)
        leaf, here = self.leaf(here, lower, upper)
        return Looked(here, lower, upper, leaf, math.inf if leaf is None else sum(leaf.stored))

    def leaf(self, points: BoxPoints, lower: Float, upper: Float) -> tuple[Leaf | None, BoxPoints]:
        """The polynomial with the fewest numbers that is within the tolerance, if any, and the points, maybe more."""
        best: Leaf | None = None
        left = bases(points.u, self.dim)
        for size in self.sizes:
            hopes = list[tuple[float, LeafBasis]]()
            points = self.sampler.filled(points, lower, upper, POINTS_EACH * size)
            for basis in left:
                most = size if best is None else min(size, sum(best.stored) - basis.integers - 2)
                if most < 1:
                    continue
                prefixes = prefix_errors(basis, points, lower, upper, most)
                found = self._fitted(prefixes, points, lower, upper)
                if found is not None and (best is None or sum(found.stored) < sum(best.stored)):
                    best = found
                degree = prefixes.degree_for(self.tolerance, powers=size == self.sizes[0])
                share = degree / basis.degree_within(self.sizes[-1])
                if share < HOPEFUL:
                    hopes.append((share, basis))
            if best is not None or not hopes:
                break
            left = [basis for _, basis in sorted(hopes, key=lambda hope: hope[0])][:2]
        return best, points

    def _fitted(self, prefixes: Prefixes, points: BoxPoints, lower: Float, upper: Float) -> Leaf | None:
        """The lowest degree that is within the tolerance at all points, by bisection, as if errors fell."""
        promising = [p for p, error in enumerate(prefixes.errors) if error <= LEAST_SQUARES_LOSS * self.tolerance]
        if not promising:
            return None

        def tried_leaf(degree: int) -> Leaf | None:
            coefficients, error = prefixes.coefficients(prefixes.basis.count(degree))
            leaf = Leaf(lower, upper, prefixes.basis, degree, coefficients)
            return leaf if max(error, np.abs(leaf(points.u) - points.f).max()) <= self.tolerance else None

        last = len(prefixes.errors) - 1
        low, high = promising[0], next((p for p in promising if prefixes.errors[p] <= self.tolerance), last)
        best = next((leaf for p in range(high, min(high + 2, last + 1)) if (leaf := tried_leaf(p)) is not None), None)
        while best is not None and low < best.degree:
            middle = (low + best.degree) // 2
            leaf = tried_leaf(middle)
            low, best = (middle + 1, best) if leaf is None else (low, leaf)
        return best

    def _count(self, depth: int) -> None:
        self.nodes += 1
        self.progress(f"{AdaptiveChebyshev.name}: {self.nodes} boxes", None)
        if self.nodes > MOST_NODES or depth > DEEPEST:
            expected = f"an error that {AdaptiveChebyshev.name} reaches with {MOST_NODES:,} boxes, {DEEPEST} deep"
            raise EpsilonNotReached(message("epsilon", expected, self.tolerance))


def bases(u: Float, dim: int) -> list[LeafBasis]:
    """Those that are tried on points u (n, k) of a d-dimensional M: all products, or caps on k - d coordinates, those
    in which M is least of a graph over the others."""
    k = u.shape[1]
    if k == dim:
        return [LeafBasis(k)]
    directions = np.linalg.svd(u - u.mean(axis=0), full_matrices=False)[2][:dim]
    free = tuple(sorted(int(j) for j in qr(directions, mode="economic", pivoting=True)[2][:dim]))
    return [*(LeafBasis(k, cap, free) for cap in CAPS), LeafBasis(k)]


def prefix_errors(basis: LeafBasis, points: BoxPoints, lower: Float, upper: Float, most: int) -> Prefixes:
    """Fits on every other point, or fewer, with at most `most` products, and half as many as the fit has points."""
    fitted = points.part(slice(None, None, max(2, len(points) // (FITTED_EACH * most)))) if len(points) > 2 else points
    degree = basis.degree_within(max(1, min(most, len(fitted) // 2)))
    exponents = basis.exponents(degree)
    matrix = torch.from_numpy(np.ascontiguousarray(products(exponents, lower, upper, fitted.u)))
    ridge = RIDGE * math.sqrt(len(fitted)) * torch.eye(len(exponents), dtype=torch.float64)
    orthonormal, triangle = torch.linalg.qr(torch.cat([matrix, ridge]))
    orthonormal = orthonormal[: len(fitted)]
    residual = values = torch.from_numpy(fitted.f)
    ends = np.searchsorted(exponents.sum(axis=1), np.arange(degree + 1), side="right")
    errors, start = list[float](), 0
    for end in ends.tolist():
        part = orthonormal[:, start:end]
        residual, start = residual - part @ (part.T @ residual), end
        errors.append(float(residual.abs().max()))
    return Prefixes(basis, errors, orthonormal, triangle, values)


class AdaptiveChebyshev(Method):
    """A tree of overlapping boxes with a Chebyshev polynomial on each leaf, blended smoothly: asked for an epsilon.

    Aiton and Driscoll 2018, "An adaptive partition of unity method for Chebyshev polynomial interpolation", and 2019
    for several variables, with least squares on leaves that are no boxes. Here: the box is that of the coordinates that
    parametrise the affine hull of M (`coordinates_of`, as the ridge construction reads them); a box is halved along the
    axis in which its points of M are widest; a leaf is fitted on points of M in its whole box, by least squares and
    Lawson's reweighting, in the basis (`LeafBasis`) and degree with the fewest numbers that is within epsilon there; a
    leaf of more than `CHEAP` numbers is split all the same where its children take fewer.

    Settings: {"epsilon": e}, which holds at the points of the leaves; `build` asks for less until the measured error is
    within epsilon.

    Stored: the coefficients, and 2 k ends of the box. Chosen besides: for each node one integer (the axis of a split,
    the degree of a leaf, or that M has no points there), for each leaf with a capped basis the cap and the coordinates
    that are capped, or are not if these are fewer, and the k coordinates that are read, unless they are all. Boxes,
    overlaps, weights and exponents follow from these. Multiply-adds: the most at 1000 points.
    """

    name = "adaptive_chebyshev"
    family = "classical"
    description = "adaptive tree of Chebyshev polynomials, smoothly blended (Aiton and Driscoll 2018; own)"

    def check(self, manifold: Manifold) -> None:
        coordinates_of(manifold, 0)

    def ladder(self, manifold: Manifold) -> Sequence[Settings]:
        """epsilon = 10^(-k/2) from 1 to 1e-8."""
        return [{"epsilon": 10 ** (-k / 2)} for k in range(2 * DECADES + 1)]

    def fit(
        self,
        target: Callable[..., Any],
        manifold: Manifold,
        settings: Settings,
        *,
        seed: int = 0,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
        progress: Progress = silent,
    ) -> Baseline:
        """The tree of one epsilon.

        Args:
            dtype: of its argument and its value; in between it computes in float64.

        Raises:
            InputError: an epsilon that is missing or not positive, another setting, a device other than the CPU, a
                manifold that spans more dimensions than `coordinates_of` takes.
            EpsilonNotReached: more than `MOST_NODES` boxes, or deeper than `DEEPEST`.
        """
        require_manifold(manifold)
        require_dtype(dtype)
        if torch.device(device).type != "cpu":
            raise invalid("device", f"cpu, where {self.name} computes", got=str(device))
        known(settings, ("epsilon",), self.name)
        epsilon = positive_real(settings.get("epsilon"), "epsilon")
        start, seed = time.perf_counter(), integer(seed, "seed")
        coordinates = coordinates_of(manifold, seed)
        sampler = BoxSampler(target, manifold, coordinates, np.random.default_rng(stream(seed, "training")))
        x = torch.cat([scattered(manifold, FIRST_POINTS, seed, "training"), survey(target, manifold, None).watched])
        points = sampler.at(manifold.restrict(x))
        half = (1 + ROUNDING) / coordinates.scale
        growing = Growing(sampler, manifold.dim, epsilon, progress)
        tree, _ = growing.node(growing.looked(points, -half, half))
        assert tree is not None  # without a limit, and with points, there is one
        return self._baseline(tree, coordinates, manifold, {"epsilon": epsilon}, dtype, time.perf_counter() - start)

    def _baseline(
        self,
        tree: Node,
        coordinates: Coordinates,
        manifold: Manifold,
        settings: Settings,
        dtype: torch.dtype,
        seconds: float,
    ) -> Baseline:
        def read(x: Tensor) -> Float:
            return coordinates.of(x.detach().double()).numpy() / coordinates.scale

        def function(x: Tensor) -> Tensor:
            return torch.from_numpy(tree(read(x))).to(dtype)

        (coefficients, integers), k = tree.stored, coordinates.count
        found = list(leaves(tree))
        numbers, chosen = coefficients + 2 * k, integers + (k if k < manifold.ambient else 0)
        work = k + int(tree.work(read(manifold.sample(1000, 0))).max())
        shape: Settings = {"leaves": len(found), "highest": max(leaf.degree for leaf in found)}
        return Baseline(
            method=self.name,
            family=self.family,
            settings={**settings, **shape},
            counts=BaselineCounts(numbers, numbers, 1, work, chosen),
            seconds=seconds,
            function=function,
            manifold=manifold,
            dtype=dtype,
            model=tree,
        )

    def to_epsilon(self, problem: Problem, options: Options) -> Baseline:
        """Trees of a smaller and smaller share of epsilon, until the measured error is within it."""
        start, search = time.perf_counter(), Search(problem, self.name, margin=1.0)
        for share in STRICTER:
            settings: Settings = {"epsilon": share * problem.wanted}
            found = self.fitted(problem, settings, options)
            found = replace(found, measured=measure(found, problem.target, problem.manifold, seed=problem.seed + 1))
            tried(search, settings, found)
            if error_of(found) <= problem.wanted:
                return replace(found, seconds=time.perf_counter() - start, history=search.chosen(*sized(settings)))
        raise search.failure()
