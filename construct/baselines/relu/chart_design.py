"""What a ReLU network on charts has to compute, as arrays: charts, classes, polynomials as squares, bounds.

Charts whose balls lie apart form a *class*, and a class evaluates one polynomial at a time: gates, exact in ReLU,
select the coordinates and the coefficients of the chart that x lies in. All squares are taken once per class, so their
number does not depend on the number of charts. With `d~2` the squared distance to the centre c_n (sawtooth squares of
the coordinates, over-estimated by at most delta) and U_n the set `d~2 < r^2`, inside the ball of radius r:

    gate      relu(kappa (d~2 - r^2))                       0 on U_n, >= 1 outside the ball of radius e
    select    relu(u - top gate_n), 0 <= u <= top           u on U_n, 0 outside the ball of radius e
    cut-off   g_n = relu((d~2 - core^2 - delta)/(r^2 - core^2 - delta))     0 in the core, >= 1 outside U_n
    value     relu(P + h - top g_n)                         P + h in the core, less in the collar, 0 outside U_n

`2 e` is the smallest distance of two centres of a class and kappa = 1/(e^2 - r^2), so at most one chart of a class is
open anywhere. The charts are joined by the *maximum* over classes, minus h: in every point of M some core contributes
P_n + h with `|P_n - f| <= eps`, and nothing is larger than f + eps + h. So no product with a partition of unity is
needed, and the bound is the same `max_n sup_(U_n) |P_n - f|`; in the collars, where balls overlap, the function is
another one than the blend of `PiecewiseApproximator`. Needed: delta < r^2 - core^2, which fixes the compositions of the
distance whatever epsilon.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log

import numpy as np
import torch

from construct.arrays import Float, Int
from construct.atlas import Atlas
from construct.baselines.relu.sawtooth import MOST_COMPOSITIONS
from construct.baselines.relu.signed_squares import SignedSquares, fewest_squares, signed_squares_of
from construct.baselines.relu.square_levels import HIGHEST_LEVEL, coordinates, dimension, levels
from construct.local import LocalSpace, PiecewiseApproximator, PolynomialSpace, SplineSpace
from construct.validation import invalid, positive_integer

APART = 0.01
"""Balls of a class lie apart by at least this: e^2 >= (1 + APART) r^2."""
GRID_POINTS = 20_000
SLACK = 0.01  # of a maximum over a grid, for what lies between its points
MORE_SQUARES = 3
SPEND = 0.5  # of the collar r^2 - core^2 that the distance may lose


@dataclass(frozen=True, eq=False)
class ChartDesign:
    """n charts in k coordinates y = hull^T x, C classes, F features per class (the coordinates z first).

    Attributes:
        ambient: D;  hull: (D, k) or None where y = x;  box: (k,) bounds of |y_j| on M.
        centres: (n, k);  frames: (n, k, d), divided by the scale: z_n = frames_n^T (y - centres_n).
        core, radius: of the balls;  kinds: (n,) class of each chart;  kappa: slope of the gates.
        levels: number of levels of squares below the features;  knots: of splines, in t = (z + 1)/2, or empty.
        affine: (n, 1 + F) of `l_n` over 1 and the features; over 1 and y (n, 1 + k) where `direct`.
        forms: (n, r, 1 + F) of q_n, over |q_n| <= bounds (C, r);  signs: (C, r).
        spread: |q_n|/bounds wherever z is clipped, up to a half: `(1 + q/bounds)/2 <= spread`.
        direct: P_n is affine and read off y.
        lift: l_n + lift >= 0 on U_n;  top: l_n + lift <= top wherever z is clipped.
        shift: P_n + shift >= 0 on U_n;  ceiling: of the values that the cut-off closes.
    """

    ambient: int
    hull: Float | None
    box: Float
    centres: Float
    frames: Float
    core: float
    radius: float
    kinds: Int
    kappa: float
    levels: int
    knots: Float
    affine: Float
    forms: Float
    signs: Float
    bounds: Float
    spread: float
    direct: bool
    lift: float
    top: float
    shift: float
    ceiling: float

    @property
    def dim(self) -> int:
        return int(self.frames.shape[2])

    @property
    def charts(self) -> int:
        return len(self.centres)

    @property
    def classes(self) -> int:
        return int(self.kinds.max()) + 1

    @property
    def squares(self) -> int:
        """r, squares above the features."""
        return int(self.forms.shape[1])

    @property
    def shared(self) -> bool:
        """Whether some class has more than one chart, so that gates have to select."""
        return self.classes < self.charts

    @property
    def stages(self) -> int:
        """Stages of squares after the distance: one per level, one for the squares above."""
        return 0 if self.direct else self.levels + (self.squares > 0)

    def distance_error(self, compositions: int) -> float:
        """delta: `0 <= d~2 - dist^2 <= sum_j box_j^2 4^-m / 4`."""
        return float((self.box**2).sum()) * 4.0**-compositions / 4

    @property
    def distance_compositions(self) -> int:
        """Fewest compositions for which the distance loses at most half of the collar."""
        allowed = SPEND * (self.radius**2 - self.core**2)
        return min(MOST_COMPOSITIONS, max(1, ceil(log(self.distance_error(0) / allowed, 4))))

    def distance_compositions_checked(self, compositions: int | None) -> int:
        """The argument, or the fewest; raises `InputError` where the distance would lose all of the collar."""
        least = self.distance_compositions
        if compositions is None:
            return least
        m = positive_integer(compositions, "distance_compositions", maximum=MOST_COMPOSITIONS)
        if self.distance_error(m) >= 0.99 * (self.radius**2 - self.core**2):
            raise invalid("distance_compositions", f"about {least} for this collar", m)
        return m


def colours(atlas: Atlas) -> Int:
    """Classes (n,) of charts whose balls lie apart, by saturation (Brelaz 1979): the next chart is the one whose
    neighbours show the most colours."""
    centres, n = atlas.span_centres.numpy(), atlas.count
    distance = np.sqrt(((centres[:, None] - centres[None]) ** 2).sum(axis=-1))
    near = (distance**2 / 4 < (1 + APART) * atlas.radius**2) & ~np.eye(n, dtype=bool)
    colour = np.full(n, -1)
    seen = np.zeros((n, n), dtype=bool)
    for _ in range(n):
        rank = np.where(colour < 0, seen.sum(axis=1) * n + near.sum(axis=1), -1)
        chart = int(rank.argmax())
        colour[chart] = int(np.flatnonzero(~seen[chart])[0])
        seen[near[chart], colour[chart]] = True
    return colour


def design_of(
    approximator: PiecewiseApproximator,
    *,
    shared: bool = True,
    squares: bool = True,
    solve: bool = True,
    seed: int = 0,
) -> ChartDesign:
    """The design for a blended approximator.

    Args:
        shared: one polynomial per class of charts that lie apart; otherwise one per chart.
        squares: the upper half of the degrees by few signed squares, solved for each chart; otherwise levels up to the
            degree and an affine read-out.
        solve: False takes ones for the squares instead: a design to count, not to evaluate.
        seed: of the starts of the solver.

    Raises:
        InputError: splines in d > 1, charts of several sizes, a degree above 2^5, or a polynomial that was not
            resolved into squares.
    """
    atlas = approximator.atlas
    if approximator.base or not atlas.even:
        raise invalid("approximator", "charts of one size that cover M, without a base", approximator)
    kinds = colours(atlas) if shared else np.arange(atlas.count)
    centres, frames = atlas.span_centres.numpy(), atlas.span_frames.numpy() / atlas.scale
    hull, box = _hull(atlas)
    nodes, inside = _grid(atlas.manifold.dim, atlas.radius / atlas.scale)
    local = _local_functions(approximator, nodes, kinds, squares, solve, seed)
    sizes = _bounds(local, inside, kinds)
    affine, top = local.affine, sizes.top
    if local.direct:
        affine = _over_hull(affine, centres, frames)
        top = float((affine[:, 0] + np.abs(affine[:, 1:]) @ box).max())
    return ChartDesign(
        ambient=atlas.manifold.ambient,
        hull=hull,
        box=box,
        centres=_cleaned(centres),
        frames=_cleaned(frames),
        core=atlas.core_radius,
        radius=atlas.radius,
        kinds=kinds,
        kappa=_kappa(centres, kinds, atlas.radius),
        levels=local.levels,
        knots=local.knots,
        affine=affine,
        forms=local.forms,
        signs=sizes.signs,
        bounds=sizes.bounds,
        spread=sizes.spread,
        direct=local.direct,
        lift=sizes.lift,
        top=top + sizes.lift,
        shift=sizes.shift,
        ceiling=top + sizes.positive + sizes.shift,
    )


def _hull(atlas: Atlas) -> tuple[Float | None, Float]:
    """hull and box of a design: the map from x to y, and bounds of |y_j| on M."""
    manifold = atlas.manifold
    hull = manifold.frame.numpy() if manifold.ambient != manifold.canonical else None
    largest = manifold.largest_coordinates.numpy()
    bound = largest if hull is None else np.abs(hull).T @ largest
    return hull, np.minimum(bound, manifold.radius_bound) * (1 + 1e-9)


@dataclass(frozen=True, eq=False)
class _LocalFunctions:
    """P_n = l_n + sum of signed squares of q_n, over 1 and the features; with their values at the nodes.

    Attributes:
        levels, knots, direct, affine, forms: as in `ChartDesign`, the affine part over the features in any case.
        signs: (n, r) of the squares of every chart.
        lower: (P, n) values of l_n;  above: (P, n, r) values of q_n.
    """

    levels: int
    knots: Float
    direct: bool
    affine: Float
    forms: Float
    signs: Float
    lower: Float
    above: Float


def _local_functions(
    approximator: PiecewiseApproximator, nodes: Float, kinds: Int, squares: bool, solve: bool, seed: int
) -> _LocalFunctions:
    """The polynomials or splines of all charts over the features of a design, evaluated at the nodes (P, d)."""
    space, coefficients = approximator.space, approximator.coefficients.numpy()
    if space.name == SplineSpace.name and space.dim == 1:
        knots = np.arange(1, space.cells) / space.cells
        affine = _truncated_powers(coefficients)
        hinges = np.maximum((nodes + 1) / 2 - knots, 0.0)
        lower = np.hstack([np.ones((len(nodes), 1)), nodes, hinges]) @ affine.T
        n = len(affine)
        forms, signs, above = np.zeros((n, 0, 1)), np.zeros((n, 0)), np.zeros((*lower.shape, 0))
        return _LocalFunctions(0, knots, False, affine, forms, signs, lower, above)
    if space.name != PolynomialSpace.name:
        raise invalid("space", "polynomials, or splines in d = 1", space)
    count, resolved = _resolved(coefficients, space, kinds, squares, solve, seed)
    basis = levels(space.dim, count)[-1].basis if count else coordinates(space.dim)
    affine, forms = resolved.rest @ basis, resolved.forms @ basis
    table = _values(nodes, space.dim, count) @ np.linalg.inv(basis).T
    lower = table @ affine.T
    above = np.einsum("pf,nrf->pnr", table, forms) if forms.shape[1] else np.zeros((*lower.shape, 0))
    return _LocalFunctions(count, np.zeros(0), space.degree <= 1, affine, forms, resolved.signs, lower, above)


@dataclass(frozen=True, eq=False)
class _Bounds:
    """signs, bounds, spread, lift and shift of a design; top of l_n, and what positive squares add at most."""

    signs: Float
    bounds: Float
    spread: float
    lift: float
    shift: float
    top: float
    positive: float


def _bounds(local: _LocalFunctions, inside: Float, kinds: Int) -> _Bounds:
    """Bounds from the values at the nodes, with slack; `inside` (P,) says which of them lie in the ball."""
    lower, above, signs = local.lower, local.above, local.signs
    if signs.shape[1] and not all((signs[kinds == c] == signs[kinds == c][0]).all() for c in range(kinds.max() + 1)):
        raise invalid("squares", "the same signs for all charts of a class", got="different ones")
    bounds = np.zeros((kinds.max() + 1, signs.shape[1]))
    np.maximum.at(bounds, kinds, np.abs(above[inside]).max(axis=0) * (1 + SLACK) + 1e-300)
    class_signs = np.zeros_like(bounds)
    class_signs[kinds] = signs
    values = lower[inside] + np.einsum("nr,pnr->pn", signs, above[inside] ** 2)
    span = float(values.max() - values.min()) + 1e-6 * float(np.abs(values).max()) + 1e-12
    return _Bounds(
        signs=class_signs,
        bounds=bounds,
        spread=0.5 + float((np.abs(above).max(axis=0) / bounds[kinds]).max(initial=1.0)) / 2,
        lift=-float(lower[inside].min()) + SLACK * span,
        shift=-float(values.min()) + SLACK * span + span,
        top=float(lower.max()) + SLACK * span,
        positive=float((bounds**2 * (class_signs > 0)).sum(axis=1).max()),
    )


def _over_hull(affine: Float, centres: Float, frames: Float) -> Float:
    """Affine functions (n, 1 + d) of z as functions (n, 1 + k) of y."""
    constant = affine[:, 0] - np.einsum("nkd,nk,nd->n", frames, centres, affine[:, 1:])
    return np.column_stack([constant, np.einsum("nkd,nd->nk", frames, affine[:, 1:])])


def _resolved(
    coefficients: Float, space: LocalSpace, kinds: Int, squares: bool, solve: bool, seed: int
) -> tuple[int, SignedSquares]:
    """Levels below the features, and P_n over the polynomials of those levels and squares above."""
    d, p = space.dim, space.degree
    count = max(0, ceil(np.log2(max(p, 1))))
    if count > HIGHEST_LEVEL:
        raise invalid("degree", f"at most {2**HIGHEST_LEVEL}", p)
    full = np.zeros((len(coefficients), dimension(d, 2**count)))
    full[:, : coefficients.shape[1]] = coefficients
    if count == 0 or not squares:
        empty = np.zeros((len(full), 0))
        return count, SignedSquares(full, np.zeros((len(full), 0, full.shape[1])), empty)
    degree = 2 ** (count - 1)
    common = len(set(kinds.tolist())) < len(kinds)
    first = fewest_squares(d, degree)
    if not solve:
        low = dimension(d, degree)
        r = first + (d > 1)
        return count - 1, SignedSquares(full[:, :low], np.ones((len(full), r, low)), np.ones((len(full), r)))
    for r in range(first, first + MORE_SQUARES):
        found = signed_squares_of(full, d, degree, r, common=common, seed=seed)
        if found is not None:
            return count - 1, found
    raise invalid("squares", f"polynomials of degree {p} that are {first} to {r} signed squares", got="others")


def _kappa(centres: Float, kinds: Int, radius: float) -> float:
    """1/(e^2 - r^2) for the closest pair of a class, 0 where no class has two charts."""
    distance = ((centres[:, None] - centres[None]) ** 2).sum(axis=-1)
    together = (kinds[:, None] == kinds[None]) & ~np.eye(len(kinds), dtype=bool)
    return 1.0 / float(distance[together].min() / 4 - radius**2) if together.any() else 0.0


def _grid(dim: int, radius: float) -> tuple[Float, Float]:
    """Chebyshev points of the cube (P, d), and which of them lie in the ball that holds phi_n(U_n)."""
    per_axis = max(5, round(min(GRID_POINTS, 2_000 * dim) ** (1 / dim)))
    axis = torch.cos(torch.pi * torch.arange(per_axis, dtype=torch.float64) / (per_axis - 1))
    nodes = torch.cartesian_prod(*[axis] * dim).reshape(-1, dim)
    return nodes.numpy(), (nodes.norm(dim=1) <= radius * (1 + 1e-9)).numpy()


def _values(nodes: Float, dim: int, count: int) -> Float:
    """T_a at the nodes, (P, N)."""
    return np.asarray(PolynomialSpace(dim, 2**count).evaluate(torch.from_numpy(nodes)).numpy())


def _truncated_powers(nodal: Float) -> Float:
    """Nodal values (n, N + 1) over 1, z and relu(t - j/N), t = (z + 1)/2: jumps of the slope."""
    cells = nodal.shape[1] - 1
    slope = np.diff(nodal, axis=1) * cells
    constant = nodal[:, :1] + slope[:, :1] / 2
    return np.hstack([constant, slope[:, :1] / 2, np.diff(slope, axis=1)])


def _cleaned(values: Float) -> Float:
    """Drop entries that are rounding noise of an exact zero."""
    return np.where(np.abs(values) > 1e-14 * max(np.abs(values).max(), 1e-300), values, 0.0)
