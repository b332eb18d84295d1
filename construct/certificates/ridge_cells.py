"""Proved bounds of |T - f| over cells of the parameter box for ridge networks, many cells at once.

On a cell u = c + h s, s in [-1, 1]^d, y(u) = y(c) + delta(s) with delta a polynomial of degree m and a rest r that
Taylor's theorem bounds. With G_tj the coefficients of G at a_t = l_t(y(c)), lambda_t the linear part of l_t, and b of k
entries,

    T = constant + sum_b F_b delta^b,      F_b = |b|!/b! sum_t weight_t G_t|b| lambda_t^b,

so that what the ridge functions cancel in their sum is gone before anything is bounded. The coefficients T_a of s^a up
to degree m come from that. All else, products beyond degree m and what has r in it, is bounded by the same expression
in absolute values: with rho_in the sum of the sizes of delta_i in degree n, r_i as degree m + 1, rho_i = sum_n rho_in,
and phi_n = max_i rho_in / rho_i, every product of |b| = j factors is at most rho^b phi^j, degree by degree.

From that g = T - f is bounded with Lagrange's remainder of f in each order, the best of which counts; s^a is in [0, 1]
where all exponents are even. Composing l_t first would cost a jet for every direction, and enclosing powers of y over
the cell would lose what cancels; this costs one matrix product, in floats with radii (`ballarrays`).

Where l_t is beyond its clip at c, G is the constant at that end. Where the clip acts on a part of the cell only, that
costs how far it does times a bound of the slope, `sum_j j |weight_t G_tj| reach_t^(j-1)`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
from flint import arb
from numpy.typing import NDArray

from construct.arrays import Float, Int
from construct.certificates.ball_jets import BallJets
from construct.certificates.ballarrays import GROW, Balls
from construct.certificates.cells import Bound, Cell
from construct.certificates.enclosures import CellPoints, combination, points_on
from construct.certificates.jets import ZERO, Jet, JetSpace
from construct.certificates.ridges import Ridges
from construct.expressions import Expression
from construct.manifolds import Formula
from construct.progress import tick
from construct.validation import invalid

TOGETHER = 32
ROUNDING_SHARE = 2.0**-7  # of a bound: where the rounding of f in float64 is more, f is looked at again
LEAST_ORDERS, MOST_ORDERS = {1: 5, 2: 5, 3: 4}, {1: 9, 2: 9, 3: 5}
MOST_FORMS = 1 << 22  # entries of the tables of powers, of forms and of the jets of a cell


BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Points:
    """Jets on B cells, scaled to s: y, (B, k, S) and the rests of its components, (B, k); f at the centres and over the
    cells, (B, S); axis: the one along which a cell is longest on M, (B,)."""

    y: Balls
    rest: Float
    f: Balls
    spread: Balls
    axis: Int

    def at(self, place: int) -> Points:
        """Those on one cell, in memory that is shared."""
        row = slice(place, place + 1)
        return Points(self.y[row], self.rest[row], self.f[row], self.spread[row], self.axis[row])


class Powers:
    """Products delta^b, |b| <= degree, of `count` jets in `space`."""

    def __init__(self, space: JetSpace, count: int, degree: int) -> None:
        self.space, self.count = space, count
        self.levels: list[list[tuple[int, ...]]] = [[(0,) * count]]  # exponents, by the last factor
        self._factors: list[list[tuple[int, Int]]] = []  # the last factor, and the places of the other ones
        for _ in range(degree):
            below, level, factors = self.levels[-1], list[tuple[int, ...]](), list[tuple[int, Int]]()
            for axis in range(count):
                chosen = [n for n, b in enumerate(below) if not any(b[axis + 1 :])]
                level += [(*below[n][:axis], below[n][axis] + 1, *below[n][axis + 1 :]) for n in chosen]
                factors.append((axis, np.array(chosen)))
            self.levels.append(level)
            self._factors.append(factors)
        self._quotients = space.quotients()
        self.starts = [space.degrees.index(j) for j in range(space.order + 1)]

    def of_forms(self, linear: Balls) -> list[Balls]:
        """`|b|!/b! linear^b` for j = 1, 2, ..: linear (n, k) -> (n, n_j) each."""
        out, powers = list[Balls](), Balls.exact(np.ones((len(linear.middle), 1)))
        for level, factors in zip(self.levels[1:], self._factors, strict=True):
            powers = _joined([powers[:, chosen] * linear[:, axis : axis + 1] for axis, chosen in factors], 1)
            out.append(powers * Balls.exact(np.array([_multinomial(b) for b in level], dtype=np.float64)))
        return out

    def of_jets(self, delta: Balls) -> list[Balls]:
        """`delta^b` for j = 1, 2, ..: their terms of degree >= j, (B, n_j, S - starts[j]).

        delta: (B, k, S), without constant terms.
        """
        out = [delta[:, :, self.starts[1] :]]
        padded = Balls(*(np.concatenate([part, np.zeros_like(part[:, :, :1])], axis=2) for part in _pair(delta)))
        for j, factors in enumerate(self._factors[1:], 2):
            quotients = self._quotients[self.starts[j - 1] :, self.starts[j] :]
            pieces = [out[-1][:, chosen] @ padded[:, axis][:, quotients] for axis, chosen in factors]
            out.append(_joined(pieces, 1))
        return out

    def of_sizes(self, sizes: Float) -> list[Float]:
        """`|sizes^b|` for j = 1, 2, ..: (B, k) -> (B, n_j)."""
        out, powers = list[Float](), np.ones((len(sizes), 1))
        for factors in self._factors:
            powers = np.concatenate([powers[:, chosen] * sizes[:, axis : axis + 1] for axis, chosen in factors], axis=1)
            out.append(powers)
        return out


class SumOfRidges(Protocol):
    """What is asked of a network: ridge functions, the degree of T in y between clips, and the constant."""

    @property
    def groups(self) -> tuple[Ridges, ...]: ...

    @property
    def degree(self) -> int: ...

    @property
    def constant(self) -> arb: ...


class RidgeBounds:
    """Bounds of |T - f| over cells, for one ridge network, manifold and target.

    target reads x; formula, frame and offset say what x is; order: m.
    """

    def __init__(
        self,
        network: SumOfRidges,
        target: Expression,
        formula: Formula,
        frame: Sequence[Sequence[float]],
        order: int,
        offset: Sequence[float] | None = None,
    ) -> None:
        self.network, self.target, self.formula = network, target, formula
        self.frame = [[arb(v) for v in row] for row in frame]
        self.offset = [arb(v) for v in offset or [0.0] * len(self.frame)]
        if target.arity > len(self.frame):
            raise invalid("target", f"a function on R^{len(self.frame)}", got=f"one that reads x_{target.arity - 1}")
        self.space = JetSpace(formula.dim, order)
        count, degree = len(formula.components), min(order, network.degree)
        tokens = sum(len(group.low) for group in network.groups)
        size = _products(count, degree)
        if max(tokens, self.space.size) * size > MOST_FORMS:
            expected = f"at most {MOST_FORMS} products of {degree} of the {count} coordinates with {tokens} directions"
            raise invalid("net", expected, got="more")
        self.together = max(1, min(TOGETHER, MOST_FORMS // (size * self.space.size)))
        self.powers = Powers(self.space, count, degree)
        self.forms = [self.powers.of_forms(group.linear) for group in network.groups]
        self.constant = Balls.of([network.constant], (1,))
        read = max(target.arity, 1)
        self.rows = Balls.exact(np.array(frame, dtype=np.float64)[:read])
        self.shift = Balls.exact(np.array(offset or [0.0] * len(frame), dtype=np.float64)[:read])
        self.even = np.array([all(e % 2 == 0 for e in a) for a in self.space.indices])

    def everywhere(self) -> tuple[int, ...]:
        """No candidates to choose from."""
        return ()

    def target_is_finite(self, cell: Cell) -> bool:
        """Whether the target has a finite enclosure on a cell."""
        y = points_on(self.space, self.formula, cell.lower, cell.upper)
        return bool(self._target(y.spread)[0].is_finite())

    def bounds(self, cells: Sequence[tuple[Cell, Sequence[int]]]) -> list[Bound]:
        """|T - f| on every cell."""
        tick()
        with np.errstate(all="ignore"):  # what overflows is no bound
            points = self._points([cell for cell, _ in cells])
            bound, seen = self._bounded(points)
            # where the rounding of f is too much of that, or there is no bound at all
            for place in np.flatnonzero(~(points.f.radius[:, 0] <= ROUNDING_SHARE * bound)).tolist():
                there = points.at(place)
                self._point(there, cells[place][0])
                bound[place : place + 1], seen[place : place + 1] = self._bounded(there)
        seen = np.nan_to_num(seen, nan=0.0, posinf=0.0)
        return [Bound(b, s, a, ()) for b, s, a in zip(bound.tolist(), seen.tolist(), points.axis.tolist(), strict=True)]

    def _bounded(self, points: Points) -> tuple[Float, Float]:
        """Bounds, and what is attained at the centres."""
        value, rest = self._network(points)
        centre = value[:, 0] - points.f[:, 0]
        return self._largest(value, points, rest), np.maximum(np.abs(centre.middle) - centre.radius * GROW, 0.0)

    # -- jets --------------------------------------------------------------------------------------

    def _points(self, cells: Sequence[Cell]) -> Points:
        """The jets on some cells, in floats."""
        lower, upper = (np.array([getattr(cell, end) for cell in cells]) for end in ("lower", "upper"))
        middle = (lower + upper) / 2
        half = np.nextafter(np.maximum(upper - middle, middle - lower), np.inf)
        (y, f, rough), (spread_y, spread, rough_too) = (self._jets(middle, half, radius) for radius in (0 * half, half))
        start = self.powers.starts[-1]
        rest = (spread_y[:, :, start:] - y[:, :, start:]).size().sum(axis=2) * GROW
        rough |= rough_too
        rest[rough] = np.inf
        lengths = (spread_y.size()[:, :, 1 : 1 + self.space.dim] ** 2).sum(axis=1)
        axis = np.where(np.isfinite(lengths), lengths, np.inf).argmax(axis=1)
        f.radius[rough] = np.nan
        return Points(y, rest, f, spread, axis)

    def _jets(self, middle: Float, half: Float, radius: Float) -> tuple[Balls, Balls, BoolArray]:
        """y (B, k, S), f (B, S), and which cells are rough, for u = middle + half s within `radius` of the middle."""
        u = []
        for i, column in enumerate(middle.T):
            jet = Balls.exact(np.zeros((len(middle), self.space.size)))
            jet.middle[:, 0], jet.radius[:, 0], jet.middle[:, 1 + i] = column, radius[:, i], half[:, i]
            u.append(jet)
        algebra = BallJets(self.space, u, len(middle))
        y = list(self.formula.fold(algebra))
        stack = Balls(np.stack([jet.middle for jet in y], axis=1), np.stack([jet.radius for jet in y], axis=1))
        x = self.rows @ stack
        x.middle[:, :, 0], x.radius[:, :, 0] = _pair(x[:, :, 0] + self.shift)
        other = BallJets(self.space, [x[:, j] for j in range(x.shape[1])], len(middle))
        f = self.target.fold(other)
        return stack, f, algebra.rough | other.rough

    def _point(self, points: Points, cell: Cell) -> None:
        """The same for one cell in ball arithmetic, coefficient by coefficient, written into its place."""
        found = points_on(self.space, self.formula, cell.lower, cell.upper)
        weights = self.space.weights(found.half)
        y, rests = list[arb](), list[float]()
        for centre, spread in zip(found.centre, found.spread, strict=True):
            jet, rest = _taylor(self.space, centre, spread, weights)
            y += jet
            rests.append(rest)
        f, over = ([v * w for v, w in zip(self._target(j), weights, strict=True)] for j in (found.centre, found.spread))
        count, size = len(self.formula.components), self.space.size
        for old, new in (
            (points.y, Balls.of(y, (1, count, size))),
            (points.f, Balls.of(f, (1, size))),
            (points.spread, Balls.of(over, (1, size))),
        ):
            old.middle[:], old.radius[:] = new.middle, new.radius
        points.rest[:] = rests
        points.axis[:] = longest_axis(found)

    def _target(self, points: list[Jet]) -> Jet:
        rows = [combination(self.frame[j], self.offset[j], points, self.space.size) for j in range(self.target.arity)]
        return self.target.fold(self.space.over(rows or [self.space.constant(0)]))

    # -- the network -------------------------------------------------------------------------------

    def _network(self, points: Points) -> tuple[Balls, Float]:
        """T_a, (B, S), and a bound of the rest, (B,)."""
        cells, size = points.f.shape
        y, delta = points.y[:, :, 0], points.y
        delta = Balls(
            *(np.concatenate([np.zeros_like(part[:, :, :1]), part[:, :, 1:]], axis=2) for part in _pair(delta))
        )
        sizes = self._sizes(delta, points.rest)
        total, level_sums = self.constant + Balls.exact(np.zeros(cells)), list[Balls]()
        rest = np.zeros(cells)
        for group, forms in zip(self.network.groups, self.forms, strict=True):
            at = y @ group.linear.transposed() + group.constant
            start = np.clip(at.middle, group.low, group.high)
            clamped = start != at.middle  # the function is a constant there, but for a part of the cell
            weighted = group.series(start) * group.weight
            total = total + _sum(weighted[0])
            moving = Balls(*(np.where(clamped, 0.0, part) for part in _pair(weighted)))
            sums = [moving[j] @ form for j, form in enumerate(forms, 1) if j <= group.degree]
            level_sums = [a + b for a, b in zip(level_sums, sums, strict=False)] + (
                level_sums[len(sums) :] or sums[len(level_sums) :]
            )
            reach = np.where(clamped, 0.0, sizes.sum(axis=2) @ group.linear.size().T * GROW)
            off = self._off(group, at, clamped, delta, sizes)
            rest = rest + self._beyond(group, weighted.size(), reach, off, len(forms))
        value = _column(total, size, 0)
        for j, (level, products) in enumerate(zip(level_sums, self.powers.of_jets(delta), strict=False), 1):
            part = (level[:, None, :] @ products)[:, 0]
            value = value + Balls(*(np.pad(p, ((0, 0), (self.powers.starts[j], 0))) for p in _pair(part)))
        return value, (rest + self._truncated(level_sums, sizes)) * GROW

    def _sizes(self, delta: Balls, rest: Float) -> Float:
        """rho_in, (B, k, m + 1) for n = 1 .. m + 1."""
        ends = [*self.powers.starts, self.space.size]
        size = delta.size()
        parts = [size[:, :, a:b].sum(axis=2) * GROW for a, b in pairwise(ends[1:])]
        return np.stack([*parts, rest], axis=2)

    def _off(self, group: Ridges, at: Balls, clamped: BoolArray, delta: Balls, sizes: Float) -> Float:
        """How far the clip of l_t may be, on the cell, from what is expanded, (B, n).

        That is l_t itself, which may go beyond the ends; or an end, and l_t may come back between them.
        """
        if not (np.isfinite(group.low).any() or np.isfinite(group.high).any()):
            return at.radius
        order = min(2, self.space.order)
        end = [*self.powers.starts, self.space.size][order + 1]
        forms = group.linear @ delta[:, :, 1:end]  # (B, n, S')
        more = sizes[:, :, order:].sum(axis=2) @ group.linear.size().T * GROW + at.radius
        beyond = np.zeros(at.shape)
        for sign, high, low in ((1, group.high, group.low), (-1, -group.low, -group.high)):
            part, middle = (forms, at.middle) if sign > 0 else (-forms, -at.middle)
            up = np.where(self.even[1:end], np.maximum(part.high(), 0.0), part.size()).sum(axis=2)
            top = middle + (up + more) * GROW + 2.0**-50 * (np.abs(middle) + up)
            for limit, here in ((high, ~clamped), (low, clamped & (middle < low))):
                over = top - limit + 2.0**-50 * np.abs(limit)
                beyond = np.where(here & np.isfinite(limit), np.maximum(beyond, over), beyond)
        end_size = np.abs(np.clip(at.middle, group.low, group.high))
        return np.where(clamped, beyond + 2.0**-50 * (1 + end_size), at.radius + beyond)

    def _beyond(self, group: Ridges, weighted: Float, reach: Float, off: Float, levels: int) -> Float:
        """What clips and the rounding of a_t cost, and products of more than `levels` factors, (B,)."""
        far = (reach + off) * GROW
        slope, tail = np.zeros_like(far), np.zeros_like(far)
        for j in range(group.degree, 0, -1):
            slope = slope * far + j * weighted[j]
            if j > levels:
                tail = tail * reach + weighted[j]
        return (slope * off + tail * reach ** (levels + 1)).sum(axis=1) * GROW**2

    def _truncated(self, level_sums: Sequence[Balls], sizes: Float) -> Float:
        """Terms of degree above m in products of at most m factors, (B,)."""
        rho = sizes.sum(axis=2) * GROW
        share = np.where(rho[:, :, None] > 0, sizes / np.where(rho > 0, rho, 1.0)[:, :, None], 0.0).max(axis=1) * GROW
        order = self.space.order
        tails = np.cumsum(share[:, ::-1], axis=1)[:, ::-1]  # sum of phi_n, n > place
        power = np.zeros((len(share), order + 1))  # of phi^j, degrees 0 .. m
        power[:, 0] = 1.0
        beyond, total = np.zeros(len(share)), np.zeros(len(share))
        for sums, products in zip(level_sums, self.powers.of_sizes(rho), strict=False):
            beyond = beyond * tails[:, 0] + (power * tails[:, ::-1]).sum(axis=1)
            stepped = np.zeros_like(power)
            for n in range(1, order + 1):
                stepped[:, n] = (power[:, :n] * share[:, n - 1 :: -1][:, :n]).sum(axis=1)
            power = stepped
            total = total + (sums.size() * products).sum(axis=1) * beyond * GROW
        return total * GROW**2

    # -- the difference ----------------------------------------------------------------------------

    def _largest(self, value: Balls, points: Points, rest: Float) -> Float:
        """Bounds of |T - f|, (B,): the best of all orders of Lagrange's remainder of f."""
        at, over = value - points.f, value - points.spread
        best = np.full(len(rest), np.inf)
        ends = [*self.powers.starts, self.space.size]
        high = np.where(self.even, np.maximum(at.high(), 0.0), at.size())
        low = np.where(self.even, np.maximum(-at.low(), 0.0), at.size())
        own = value.size()
        for order in range(self.space.order + 1):
            a, b = ends[order], ends[order + 1]
            further = own[:, b:].sum(axis=1) + rest
            if order:
                further = further + over.size()[:, a:b].sum(axis=1)
                up, down = at.high()[:, 0] + high[:, 1:a].sum(axis=1), -at.low()[:, 0] + low[:, 1:a].sum(axis=1)
            else:
                up, down = over.high()[:, 0], -over.low()[:, 0]
            bound = (np.maximum(up, down) + further) * GROW
            bound = np.where(np.isfinite(bound), np.maximum(bound, 0.0), np.inf)
            best = np.minimum(best, bound)
        return np.nextafter(best, np.inf)


def order_of(dim: int, degree: int, count: int) -> int:
    """m for polynomials of a degree in `count` coordinates, lower where their products would be too many.

    |T - f| turns about as often as they do, so cells shrink like 1 / degree, and what is beyond degree m has to be
    small against an error that falls by a decade with each degree.
    """
    order = min(max(LEAST_ORDERS[dim], degree + 2), MOST_ORDERS[dim])
    while order > 1 and _products(count, min(order, degree)) * math.comb(dim + order, dim) > MOST_FORMS:
        order -= 1
    return order


def _products(count: int, degree: int) -> int:
    """Number of products of at most `degree` of `count` coordinates."""
    return math.comb(count + degree, degree)


def longest_axis(y: CellPoints) -> int:
    """The axis along which a cell is longest on the manifold."""
    lengths = []
    for i, half in enumerate(y.half):
        total = sum(float(jet[1 + i].abs_upper()) ** 2 for jet in y.spread)
        lengths.append(total * float(half) ** 2 if math.isfinite(total) else math.inf)
    return lengths.index(max(lengths))


def _taylor(space: JetSpace, centre: Jet, spread: Jet, weights: Sequence[arb]) -> tuple[list[arb], float]:
    """A function's Taylor polynomial in s, to the highest order in which it is known, and a bound of the rest."""
    known = [k for k in range(space.size) if not (centre[k].is_finite() and spread[k].is_finite())]
    order = space.degrees[known[0]] - 1 if known else space.order
    jet, rest = list[arb](), ZERO
    for k, degree in enumerate(space.degrees):
        jet.append(centre[k] * weights[k] if degree <= max(order, 0) else ZERO)
        if degree == order:
            rest += (spread[k] - centre[k]).abs_upper() * weights[k]
    bound = rest.abs_upper() if order >= 0 else arb.pos_inf()
    return jet, math.nextafter(float(bound.mid()), math.inf)


def _multinomial(b: Sequence[int]) -> int:
    return math.factorial(sum(b)) // math.prod(map(math.factorial, b))


def _pair(balls: Balls) -> tuple[Float, Float]:
    return balls.middle, balls.radius


def _joined(pieces: Sequence[Balls], axis: int) -> Balls:
    return Balls(*(np.concatenate(parts, axis=axis) for parts in zip(*map(_pair, pieces), strict=True)))


def _sum(values: Balls) -> Balls:
    """Over the last axis."""
    ones = Balls.exact(np.ones((values.shape[-1], 1)))
    return (values @ ones)[..., 0]


def _column(values: Balls, size: int, place: int) -> Balls:
    """(B,) -> (B, size) with zeros elsewhere."""
    out = Balls.exact(np.zeros((len(values.middle), size)))
    out.middle[:, place], out.radius[:, place] = values.middle, values.radius
    return out
