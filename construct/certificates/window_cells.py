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

MOST_PIECES = 64  # of a cell; with more it is divided without a bound
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
            found = self._pieces(hinges, place, windows)
            if found is None:
                bound[place] = np.inf
                left.append(windows)
                continue
            cells += [place] * len(found)
            pieces += found
            positive = np.any([piece.forms != ZERO_FORM for piece in found], axis=0)
            left.append([window for window in windows if positive[window]])
        start = 0
        while start < len(pieces):
            stop = self._together(pieces, start)
            rows, some = np.array(cells[start:stop]), pieces[start:stop]
            there = Points(points.y[rows], points.rest[rows], points.f[rows], points.spread[rows], points.axis[rows])
            value, rest = self._combined(there, np.stack([piece.forms for piece in some]))
            largest = self._largest(value, there, rest)
            largest[~(largest >= 0)] = np.inf
            np.maximum.at(bound, rows, largest)
            centre = value[:, 0] - there.f[:, 0]
            attained = np.maximum(np.abs(centre.middle) - centre.radius * GROW, 0.0)
            for n, piece in enumerate(some):
                if hinges.at_centre(int(rows[n]), piece.signs):
                    seen[rows[n]] = np.fmax(seen[rows[n]], attained[n])
            start = stop
        return bound, seen, left

    def _together(self, pieces: Sequence[Piece], start: int) -> int:
        """The end of a run of pieces that are looked at together."""
        used, most = pieces[start].forms != ZERO_FORM, max((group.degree for group in self.network.groups), default=0)
        for stop in range(start + 1, len(pieces)):
            used = used | (pieces[stop].forms != ZERO_FORM)
            tokens = sum(int(used[place].sum()) for place in self.lattice.places)
            if (stop + 1 - start) * (tokens + int(used.sum())) * (most + 1) > MOST_ENTRIES:
                return stop
        return len(pieces)

    def _pieces(self, hinges: _Hinges, place: int, near: Sequence[int]) -> list[Piece] | None:
        """The pieces of a cell; None where they are too many."""
        forms = np.full(self.windows.count, ZERO_FORM)
        forms[0] = ONE_FORM
        work, found = [(dict[int, bool](), forms, list(near))], list[Piece]()
        while work:
            signs, forms, open_ones = work.pop()
            later = list[int]()
            for n, window in enumerate(open_ones):
                try:
                    forms[window] = self.windows.form_of(window, lambda h, s=signs: hinges.positive(place, h, s))
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

    def _combined(self, points: Points, forms: Int) -> tuple[Balls, Float]:
        """T_a, (B, S), and a bound of the rest, (B,), for windows that are the given forms, (B, n)."""
        rows, size = points.f.shape
        used = np.flatnonzero((forms != ZERO_FORM).any(axis=0))
        y, delta = points.y[:, :, 0], _moving(points.y)
        sizes = self._sizes(delta, points.rest)
        rho = sizes.sum(axis=2) * GROW
        linear, constant = (part[forms[:, used]] for part in self.windows.balls())  # (B, n, k), (B, n)
        window = (linear @ y[:, :, None])[..., 0] + constant
        change = (linear.size() @ rho[:, :, None])[..., 0] * GROW
        constants = self.lattice.constants[used]
        total = (window @ constants[:, None])[:, 0]
        sums = [Balls.exact(np.zeros((rows, len(level)))) for level in self.powers.levels[1:]]
        sums[0] = (constants[None, None, :] @ linear)[:, 0]  # products of one factor are in the order of the factors
        rest = np.zeros(rows)
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
            total = total + ((window[:, of] * weighted[0])[:, None, :] @ _ones(len(chosen)))[:, 0, 0]
            moving = Balls(*(np.where(clamped, 0.0, part) for part in (weighted.middle, weighted.radius)))
            for j in range(1, len(levels) + 1):
                if j <= group.degree:
                    sums[j - 1] = sums[j - 1] + (window[:, of] * moving[j]) @ levels[j - 1][chosen]
                if j <= group.degree + 1:
                    before = weighted[0] if j == 1 else moving[j - 1]
                    below = _ones(len(chosen)) if j == 1 else levels[j - 2][chosen]
                    for i, columns in enumerate(self.raised[j - 1]):
                        part = (linear[:, of, i] * before) @ below
                        sums[j - 1] = sums[j - 1] + _spread(part, columns, len(self.powers.levels[j]))
            reach = np.where(clamped, 0.0, rho @ group.linear.size().T * GROW)
            off = self._off(group, at, clamped, delta, sizes)
            rest = rest + self._lost(weighted.size(), reach, off, window.size()[:, of], change[:, of], len(levels))
        value = Balls.exact(np.zeros((rows, size)))
        value.middle[:, 0], value.radius[:, 0] = total.middle, total.radius
        for j, (level, products) in enumerate(zip(sums, self.powers.of_jets(delta), strict=False), 1):
            part = (level[:, None, :] @ products)[:, 0]
            pad = ((0, 0), (self.powers.starts[j], 0))
            value = value + Balls(np.pad(part.middle, pad), np.pad(part.radius, pad))
        return value, (rest + self._truncated(sums, sizes)) * GROW

    def _lost(self, weighted: Float, reach: Float, off: Float, window: Float, change: Float, levels: int) -> Float:
        """What clips and the rounding of a_t cost, and products of more than `levels` factors, the windows among them,
        (B,)."""
        far = (reach + off) * GROW
        slope, tail, longer = np.zeros_like(far), np.zeros_like(far), np.zeros_like(far)
        for j in range(len(weighted) - 1, 0, -1):
            slope = slope * far + j * weighted[j]
            if j > levels:
                tail = tail * reach + weighted[j]
            if j > levels - 1:
                longer = longer * reach + weighted[j]
        lost = (window + change) * slope * off + window * tail * reach ** (levels + 1)
        lost = lost + change * longer * reach**levels
        return np.asarray(lost.sum(axis=1) * GROW**3)


class _Hinges:
    """Signs of hinges on B cells, and at their centres."""

    def __init__(self, bounds: WindowBounds, points: Points, delta: Balls, sizes: Float) -> None:
        self.bounds, self.y, self.delta, self.sizes = bounds, points.y[:, :, 0], delta, sizes
        order = min(2, bounds.space.order)
        self.end = [*bounds.powers.starts, bounds.space.size][order + 1]
        self.more = sizes[:, :, order:].sum(axis=2) * GROW
        self.known: dict[int, tuple[Float, Float, Float, Float]] = {}

    def positive(self, place: int, hinge: int, signs: Signs) -> bool:
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
        """Its lower and upper ends on all cells, and those at their centres, (B,) each."""
        if hinge not in self.known:
            linear, constant = (part[hinge : hinge + 1] for part in self.bounds.windows.balls())
            at = (self.y @ linear.transposed() + constant)[:, 0]
            form = (linear @ self.delta[:, :, 1 : self.end])[:, 0]
            more = (self.more @ linear.size().T)[:, 0] * GROW
            even = self.bounds.even[1 : self.end]
            up = np.where(even, np.maximum(form.high(), 0.0), form.size()).sum(axis=1)
            down = np.where(even, np.maximum(-form.low(), 0.0), form.size()).sum(axis=1)
            low, high = at.low(), at.high()
            rounding = 2.0**-50 * (np.abs(low) + np.abs(high) + up + down)
            ends = low - (down + more) * GROW - rounding, high + (up + more) * GROW + rounding
            self.known[hinge] = (*ends, low, high)
        return self.known[hinge]


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


def _ones(count: int) -> Balls:
    return Balls.exact(np.ones((count, 1)))


def _spread(part: Balls, columns: Int, size: int) -> Balls:
    """(B, n) -> (B, size), its columns at these places."""
    out = Balls.exact(np.zeros((len(part.middle), size)))
    out.middle[:, columns], out.radius[:, columns] = part.middle, part.radius
    return out

