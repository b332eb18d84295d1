"""Proved bounds of |T - f| over cells of the parameter box for lattice networks.

A hinge, an affine form on whose sign some window depends, has one sign on most cells. For those that may change it on a
cell, every choice of signs makes one *piece*: there all windows are affine, and T is the polynomial

    T = sum_n window_n(y) (constant_n + sum_t weight_t G_t(l_t(y))),

on whatever part of the cell has these signs. That polynomial is bounded over the whole cell, which holds for the part
as well, and the largest bound of all pieces is one of the cell. So kinks cost a factor near 1 where cells are small
against the lattice, and nothing is lost of what tokens with the same window, or windows of one partition, cancel.

As in `ridge_cells`, with the same quantities: with window_n = w_n + <omega_n, delta> at y(c) + delta, the coefficients
of delta^b, |b| = j, are

    F_b = sum_t weight_t (w G_tj |b|!/b! lambda_t^b + sum_i omega_i G_t,j-1 (j-1)!/(b - e_i)! lambda_t^(b - e_i)),

with the windows of the tokens t. What clips change and the products that are left out cost at most |w| and
|<omega, delta>| times what they cost there. Windows that are 0 on a cell are not looked at on parts of it again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from construct.arrays import Float, Int
from construct.certificates.ballarrays import GROW, Balls
from construct.certificates.cells import Bound, Cell
from construct.certificates.ridge_cells import ROUNDING_SHARE, Points, RidgeBounds
from construct.certificates.ridges import Ridges
from construct.certificates.windows import ONE_FORM, ZERO_FORM, NetworkCells, UndecidedError
from construct.expressions import Expression
from construct.manifolds import Formula
from construct.progress import tick

WINDOW_ORDERS = {1: 5, 2: 5, 3: 3}  # of the expansions, by d: cells are small against the lattice
MOST_PIECES = 64  # of a cell, as about a vertex of a lattice of three windows; with more it is divided without a bound
MOST_HINGES = 7  # that windows ask for first
MOST_ENTRIES = 1 << 22  # coefficients of ridge functions at once

Signs = Mapping[int, bool]


@dataclass(frozen=True, eq=False)
class Piece:
    """Signs of hinges, and the numbers of the forms that the windows are then, (n,)."""

    signs: dict[int, bool]
    forms: Int


class WindowBounds(RidgeBounds):
    """Bounds of |T - f| over cells, for one lattice network, manifold and target; arguments as of `RidgeBounds`."""

    def __init__(
        self,
        network: NetworkCells,
        target: Expression,
        formula: Formula,
        frame: Sequence[Sequence[float]],
        order: int,
        offset: Sequence[float] | None = None,
    ) -> None:
        super().__init__(network, target, formula, frame, order, offset)
        self.lattice, self.windows = network, network.windows
        place = [{b: n for n, b in enumerate(level)} for level in self.powers.levels]
        units = np.eye(self.powers.count, dtype=int).tolist()
        self.raised = [  # of the exponents of a degree those with one more of each factor, (k, n_j)
            np.array([[above[tuple(x + y for x, y in zip(b, unit, strict=True))] for b in level] for unit in units])
            for level, above in zip(self.powers.levels, place[1:], strict=False)
        ]

    def everywhere(self) -> tuple[int, ...]:
        """All windows, the candidates on the whole box."""
        return tuple(range(1, self.windows.count))

    def bounds(self, cells: Sequence[tuple[Cell, Sequence[int]]]) -> list[Bound]:
        """|T - f| on every cell, given with the windows that may be positive on it."""
        tick()
        near = [list(windows) for _, windows in cells]
        with np.errstate(all="ignore"):  # what overflows is no bound
            points = self._points([cell for cell, _ in cells])
            bound, seen, near = self._pieced(points, near)
            for place in np.flatnonzero(~(points.f.radius[:, 0] <= ROUNDING_SHARE * bound)).tolist():
                there = points.at(place)
                self._point(there, cells[place][0])
                bound[place : place + 1], seen[place : place + 1], (near[place],) = self._pieced(there, [near[place]])
        seen = np.nan_to_num(seen, nan=0.0, posinf=0.0)
        parts = zip(bound.tolist(), seen.tolist(), points.axis.tolist(), near, strict=True)
        return [Bound(b, s, a, tuple(windows)) for b, s, a, windows in parts]

    # -- pieces ------------------------------------------------------------------------------------

    def _pieced(self, points: Points, near: list[list[int]]) -> tuple[Float, Float, list[list[int]]]:
        """Bounds, what is attained at the centres, and the windows that may be positive, of B cells."""
        delta = _moving(points.y)
        sizes = self._sizes(delta, points.rest)
        hinges = _Hinges(self, points, delta, sizes)
        cells, pieces, left = list[int](), list[Piece](), list[list[int]]()
        bound, seen = np.zeros(len(near)), np.zeros(len(near))
        for place, windows in enumerate(near):
            windows = [window for window in windows if hinges.highest(window)[place] > 0]
            found = self._pieces(hinges, place, windows)
            if found is None:
                bound[place] = np.inf
                left.append(windows)
                continue
            cells += [place] * len(found)
            pieces += found
            positive = np.any([piece.forms != ZERO_FORM for piece in found], axis=0)
            left.append([window for window in windows if positive[window]])
        for some in self._together(cells, pieces):
            rows = np.array([cells[n] for n in some])
            asked, rows_of = np.unique(rows, return_inverse=True)
            there = _rows(points, asked)
            value, rest = self._combined(there, rows_of, np.stack([pieces[n].forms for n in some]))
            largest = self._largest(value, _rows(points, rows), rest)
            largest[~(largest >= 0)] = np.inf
            np.maximum.at(bound, rows, largest)
            centre = value[:, 0] - points.f[rows, 0]
            attained = np.maximum(np.abs(centre.middle) - centre.radius * GROW, 0.0)
            for place, n, least in zip(rows.tolist(), some, attained, strict=True):
                if hinges.at_centre(place, pieces[n].signs):
                    seen[place] = np.fmax(seen[place], least)
        return bound, seen, left

    def _together(self, cells: Sequence[int], pieces: Sequence[Piece]) -> list[range]:
        """Runs of pieces that are looked at together."""
        most, runs, start = 1 + max((group.degree for group in self.network.groups), default=0), list[range](), 0
        used = np.zeros(self.windows.count, dtype=bool)
        for stop, piece in enumerate(pieces):
            used |= piece.forms != ZERO_FORM
            tokens = sum(int(used[place].sum()) for place in self.lattice.places) + int(used.sum())
            if stop > start and (stop + 1 - start) * tokens * most > MOST_ENTRIES:
                runs.append(range(start, stop))
                start, used = stop, piece.forms != ZERO_FORM
        return [*runs, range(start, len(pieces))] if pieces else []

    def _pieces(self, hinges: _Hinges, place: int, near: Sequence[int]) -> list[Piece] | None:
        """The pieces of a cell; None where they are too many."""
        forms = np.full(self.windows.count, ZERO_FORM)
        forms[0] = ONE_FORM
        pending, undecided_hinges = list[int](), set[int]()
        for window in near:
            try:
                forms[window] = self.windows.form_of(window, partial(hinges.positive, place, {}))
            except UndecidedError as undecided:
                pending.append(window)
                undecided_hinges.add(undecided.hinge)
                if len(undecided_hinges) > MOST_HINGES:
                    return None
        work, found = [(dict[int, bool](), forms, pending)], list[Piece]()
        while work:
            signs, forms, open_ones = work.pop()
            later = list[int]()
            for n, window in enumerate(open_ones):
                try:
                    forms[window] = self.windows.form_of(window, partial(hinges.positive, place, signs))
                except UndecidedError as undecided:
                    later, hinge = open_ones[n:], undecided.hinge
                    break
            if not later:
                found.append(Piece(signs, forms))
            else:
                work += [({**signs, hinge: side}, forms.copy(), later) for side in (True, False)]
            if len(found) + len(work) > MOST_PIECES:
                return None
        return found

    # -- the network -------------------------------------------------------------------------------

    def _combined(self, points: Points, rows: Int, forms: Int) -> tuple[Balls, Float]:
        """T_a, (R, S), and a bound of the rest, (R,), for windows that are the given forms (R, n) on the cells `rows`
        (R,)."""
        used = np.flatnonzero((forms != ZERO_FORM).any(axis=0))
        y, delta = points.y[:, :, 0], _moving(points.y)
        sizes = self._sizes(delta, points.rest)
        rho = sizes.sum(axis=2) * GROW
        linear, constant = (part[forms[:, used]] for part in self.windows.balls())  # (R, n, k), (R, n)
        window = (linear @ y[rows][:, :, None])[..., 0] + constant
        change = (linear.size() @ rho[rows][:, :, None])[..., 0] * GROW
        constants = self.lattice.constants[used]
        total = (window @ constants[:, None])[:, 0]
        sums = [Balls.exact(np.zeros((len(rows), len(level)))) for level in self.powers.levels[1:]]
        sums[0] = (constants[None, None, :] @ linear)[:, 0]  # products of one factor are in the order of the factors
        rest = np.zeros(len(rows))
        where = np.full(self.windows.count, -1)
        where[used] = np.arange(len(used))
        for whole, places, levels in zip(self.network.groups, self.lattice.places, self.forms, strict=True):
            chosen = np.flatnonzero(where[places] >= 0)
            if not chosen.size:
                continue
            group, of = _part(whole, chosen), where[places[chosen]]
            at = y @ group.linear.transposed() + group.constant
            start = np.clip(at.middle, group.low, group.high)
            clamped = start != at.middle
            weighted = group.series(start) * group.weight
            reach = np.where(clamped, 0.0, rho @ group.linear.size().T * GROW)
            off = self._off(group, at, clamped, delta, sizes)
            costs = self._costs(weighted.size(), reach, off, len(levels))
            own, moved = window[:, of], change[:, of]
            first, more, longer = (cost[rows] for cost in costs)
            lost = (own.size() + moved) * first + own.size() * more + moved * longer
            rest = rest + lost.sum(axis=1) * GROW**2
            moving = Balls(*(np.where(clamped, 0.0, part) for part in (weighted.middle, weighted.radius)))
            total = total + _row_sums(own * weighted[0][rows])
            before, below = weighted[0][rows], _ones(len(chosen))
            for j, level in enumerate(levels[: group.degree + 1], 1):
                for i, columns in enumerate(self.raised[j - 1]):
                    part = (linear[:, of, i] * before) @ below
                    sums[j - 1] = sums[j - 1] + _spread(part, columns, len(self.powers.levels[j]))
                if j <= group.degree:
                    before, below = moving[j][rows], level[chosen]
                    sums[j - 1] = sums[j - 1] + (own * before) @ below
        value = Balls.exact(np.zeros((len(rows), self.space.size)))
        value.middle[:, 0], value.radius[:, 0] = total.middle, total.radius
        powers = self.powers.of_jets(delta)
        for cell in range(len(points.rest)):
            here = np.flatnonzero(rows == cell)
            for level, products, start_at in zip(sums, powers, self.powers.starts[1:], strict=False):
                part = level[here] @ products[cell]
                found = value[here, start_at:] + part
                value.middle[here, start_at:], value.radius[here, start_at:] = found.middle, found.radius
        return value, (rest + self._truncated(sums, sizes[rows])) * GROW

    def _costs(self, weighted: Float, reach: Float, off: Float, levels: int) -> tuple[Float, Float, Float]:
        """What clips and the rounding of a_t cost a unit of the window and of its change; products of more than
        `levels` factors a unit of the window; and those of `levels` factors and more of its change, (B, n) each."""
        far = (reach + off) * GROW
        slope, tail, longer = np.zeros_like(far), np.zeros_like(far), np.zeros_like(far)
        for j in range(len(weighted) - 1, 0, -1):
            slope = slope * far + j * weighted[j]
            tail = tail * reach + weighted[j] if j > levels else tail
            longer = longer * reach + weighted[j] if j >= levels else longer
        return slope * off * GROW, tail * reach ** (levels + 1) * GROW, longer * reach**levels * GROW


class _Hinges:
    """Signs of hinges on B cells, and at their centres."""

    def __init__(self, bounds: WindowBounds, points: Points, delta: Balls, sizes: Float) -> None:
        self.bounds, self.y, self.delta, self.sizes = bounds, points.y[:, :, 0], delta, sizes
        order = min(2, bounds.space.order)
        self.end = [*bounds.powers.starts, bounds.space.size][order + 1]
        self.more = sizes[:, :, order:].sum(axis=2) * GROW
        self.known: dict[int, tuple[Float, Float, Float, Float]] = {}
        self._highest: dict[int, Float] = {}
        own = sorted({ZERO_FORM, *bounds.windows.own})
        self.known.update(zip(own, zip(*self._of(own), strict=True), strict=True))
        self.known[ZERO_FORM] = (np.zeros(len(self.y.middle)),) * 4  # without what underflow may add

    def highest(self, window: int) -> Float:
        """Upper bounds of a window, NaN where there are none, (B,)."""
        if window not in self._highest:
            found = self.bounds.windows.highest(window, lambda form: self.ends(form)[:2])
            self._highest[window] = np.where(np.isnan(found), np.inf, found)
        return self._highest[window]

    def positive(self, place: int, signs: Signs, hinge: int) -> bool:
        """Whether a hinge is >= 0 on a cell, or assumed to be; raises where it may be < 0 as well."""
        if hinge in signs:
            return signs[hinge]
        low, high, *_ = self.ends(hinge)
        if low[place] >= 0:
            return True
        if high[place] <= 0:
            return False
        raise UndecidedError(hinge)

    def at_centre(self, place: int, signs: Signs) -> bool:
        """Whether the signs are for sure those at the centre of a cell."""
        for hinge, side in signs.items():
            _, _, low, high = self.ends(hinge)
            if not (low[place] >= 0 if side else high[place] <= 0):
                return False
        return True

    def ends(self, hinge: int) -> tuple[Float, Float, Float, Float]:
        """The lower and upper ends of a form on all cells, and those at their centres, (B,) each."""
        if hinge not in self.known:
            low, high, *centre = self._of([hinge])
            self.known[hinge] = low[0], high[0], centre[0][0], centre[1][0]
        return self.known[hinge]

    def _of(self, forms: Sequence[int]) -> tuple[Float, Float, Float, Float]:
        """The same for some forms, (n, B) each."""
        linear, constant = (part[list(forms)] for part in self.bounds.windows.balls())
        at = linear @ self.y.transposed() + constant[:, None]
        turned = Balls(
            *(part[:, :, 1 : self.end].transpose(1, 0, 2) for part in (self.delta.middle, self.delta.radius))
        )
        cells, terms = turned.shape[1:]
        flat = Balls(turned.middle.reshape(-1, cells * terms), turned.radius.reshape(-1, cells * terms))
        product = linear @ flat
        form = Balls(*(part.reshape(-1, cells, terms) for part in (product.middle, product.radius)))
        more = linear.size() @ self.more.T * GROW
        even = self.bounds.even[1 : self.end]
        up = np.where(even, np.maximum(form.high(), 0.0), form.size()).sum(axis=2)
        down = np.where(even, np.maximum(-form.low(), 0.0), form.size()).sum(axis=2)
        low, high = at.low(), at.high()
        rounding = 2.0**-50 * (np.abs(low) + np.abs(high) + up + down)
        return low - (down + more) * GROW - rounding, high + (up + more) * GROW + rounding, low, high


def _moving(y: Balls) -> Balls:
    """Jets without their values."""
    delta = Balls(y.middle.copy(), y.radius.copy())
    delta.middle[:, :, 0] = delta.radius[:, :, 0] = 0.0
    return delta


def _part(group: Ridges, chosen: Int) -> Ridges:
    return replace(
        group,
        linear=group.linear[chosen],
        constant=group.constant[chosen],
        low=group.low[chosen],
        high=group.high[chosen],
        weight=group.weight[chosen],
    )


def _rows(points: Points, rows: Int) -> Points:
    """Those on some cells, repeated or not."""
    return Points(points.y[rows], points.rest[rows], points.f[rows], points.spread[rows], points.axis[rows])


def _row_sums(values: Balls) -> Balls:
    """(R, n) -> (R,)."""
    return (values @ _ones(values.shape[1]))[:, 0]


def _ones(count: int) -> Balls:
    return Balls.exact(np.ones((count, 1)))


def _spread(part: Balls, columns: Int, size: int) -> Balls:
    """(B, n) -> (B, size), its columns at these places."""
    out = Balls.exact(np.zeros((len(part.middle), size)))
    out.middle[:, columns], out.radius[:, columns] = part.middle, part.radius
    return out
