"""Bounds of |T - f| on cells for T = constant + sum_t weight_t G_t(l_t(y)), many cells at once.

On a cell u = c + h s, |s_i| <= 1, let y = y(c) + d(s) + r with the Taylor polynomial d of degree m and |r_i| bounded.
About y(c) the sum T is a polynomial in d + r with the coefficients

    F_b = |b|!/b! sum_t weight_t g_(t,|b|) lambda_t^b,     G_t(l_t(y(c)) + x) = sum_j g_(t,j) x^j,    |b| <= m,

in which ridge functions that cancel have done so. The powers of d are multiplied out up to degree m in s; what is left
of the products of up to m factors, and all of those of more, is bounded by sums of absolute values. l_t(y(c)) is a
float a_t, and off by little; that, and what a clip may change, costs sum_j j |g_(t,j)| x^(j-1) a unit, x a bound of
|l_t - a_t|.
Where a_t is beyond a clip, G_t is a constant, but for the part of the cell where l_t is not.

f has Lagrange's remainder, in each order: the least of these bounds counts. A product of even powers of s is in [0, 1].
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
from flint import arb

from proofs_as_code.verifier.documents import require
from proofs_as_code.verifier.formulas import Ridge
from proofs_as_code.verifier.groups import Group
from proofs_as_code.verifier.jets import ZERO, Jet, Jets
from proofs_as_code.verifier.near import (
    RAISED,
    TINY,
    Array,
    Near,
    U,
    balls,
    dot,
    joined,
    plus,
    rationals,
    times,
)
from proofs_as_code.verifier.network import Network
from proofs_as_code.verifier.schema import Certificate

AT_ONCE, MOST_FORMS = 32, 1 << 22
Place = tuple[list[float], list[float], int]  # a cell, and how often a leaf was halved for it


class RidgeCells:
    """Bounds of |T - f| on cells, for one network and certificate."""

    def __init__(self, network: Network, proof: Certificate) -> None:
        manifold = proof.manifold
        self.formula, self.target, self.middle = manifold.formula, proof.target, list(map(arb, network.middle))
        self.ends = [(arb(y.low), arb(y.high)) for y in network.unknowns[: len(proof.box)]]
        self.jets, k = Jets(len(manifold.lower), proof.order), len(proof.box)
        chains: dict[Any, list[Ridge]] = {}
        for ridge in network.ridges:
            chains.setdefault(ridge.chain, []).append(ridge)
        parts = [(c, Group.parts(c, members, MOST_FORMS)) for c, members in chains.items()]
        self.groups = [Group(chain, part, k) for chain, some in parts for part in some]
        self.factors = min(proof.order, max((group.degree for group in self.groups), default=0))
        products = math.comb(k + self.factors, k)
        size = max(len(network.ridges), self.jets.size) * products
        require(size <= MOST_FORMS, "network", f"at most {MOST_FORMS} products of forms", str(size))
        entries = max(products * self.jets.size, *(group.size for group in self.groups), 1)
        self.at_once = max(1, min(AT_ONCE, MOST_FORMS // entries))
        self.looks = sum(map(self.jets.looks, (*self.formula, self.target))) + (products * self.jets.size**2 << 3)
        self.looks += sum(group.size * (group.degree + 1) + products * group.size for group in self.groups) << 3
        self.frame = [[arb(p.get((i,), 0)) for i in range(k)] for p in network.inputs]
        self.shift = [arb(p.get((), 0)) for p in network.inputs]
        self.constant, self.even = (
            rationals([network.constant], 1),
            np.array([not any(e % 2 for e in a) for a in self.jets.index]),
        )
        self.starts = [0, *self.jets.ends]
        # monomials b of each degree: as the last factor and the place of the others, and |b|!/b!
        self.steps, monomials = list[list[tuple[int, Array]]](), [[(0,) * k]]
        for _ in range(self.factors):
            steps = [(i, np.array([n for n, b in enumerate(monomials[-1]) if not any(b[i + 1 :])])) for i in range(k)]
            monomials.append(
                [(*b[:i], b[i] + 1, *b[i + 1 :]) for i, ns in steps for b in (monomials[-1][n] for n in ns)]
            )
            self.steps.append(steps)
        self.forms = []
        for group in self.groups:
            power, forms = Near(np.ones((len(group.low), 1)), np.zeros((len(group.low), 1))), list[Near]()
            for steps, level in zip(self.steps, monomials[1:], strict=True):
                power = joined(
                    [times(power.at(slice(None), ns), group.linear.at(slice(None), [i])) for i, ns in steps], 1
                )
                many = [math.factorial(sum(b)) // math.prod(map(math.factorial, b)) for b in level]
                forms.append(times(power, Near(np.array(many, dtype=float), np.zeros(len(many)))))
            self.forms.append(forms)
        where = {a: n for n, a in enumerate(self.jets.index)}
        less = [[where.get(tuple(x - y for x, y in zip(a, b, strict=True)), -1) for a in where] for b in where]
        self.quotients = np.array(less)

    # -- jets ----------------------------------------------------------------------------------------------------------

    def taylor(self, centre: Jet, cell: Jet, weights: list[arb]) -> tuple[list[arb], float]:
        """The Taylor polynomial in s as far as it is known, zeros behind it, and a bound of the rest."""
        known = min(len(centre), len(cell))
        while known and not all(v.is_finite() for jet in (centre, cell) for v in jet[:known]):
            known -= 1
        order = max((m for m, end in enumerate(self.starts[1:]) if end <= known), default=-1)
        if order < 0:
            return [ZERO] * self.jets.size, math.inf
        start, end = self.starts[order : order + 2]
        rest = sum(((cell[n] - centre[n]).abs_upper() * weights[n] for n in range(start, end)), ZERO).abs_upper()
        jet = [centre[n] * weights[n] if n < end else ZERO for n in range(self.jets.size)]
        return jet, math.nextafter(float(rest), math.inf)

    def points(self, cells: list[Place]) -> tuple[Near, Array, Near, Near, Array]:
        """y (cells, k, S) and rests (cells, k); f at centres and over cells (cells, S); whether y is in its box."""
        y, rests, centres, spreads, inside = list[arb](), list[float](), list[arb](), list[arb](), list[bool]()
        jets, nan = self.jets, arb("nan")
        for lower, upper, _ in cells:
            middle = [(a + b) / 2 for a, b in zip(lower, upper, strict=True)]
            half = [(arb(b) - m).max(m - arb(a)).upper() for a, b, m in zip(lower, upper, middle, strict=True)]
            weights = [math.prod((h**e for h, e in zip(half, a, strict=True)), start=arb(1)) for a in jets.index]
            sides = []
            for where in (list(map(arb, middle)), [m + h * arb(0, 1) for m, h in zip(middle, half, strict=True)]):
                u = {i: [p, *(arb(n == i) for n in range(jets.size - 1))] for i, p in enumerate(where)}
                components = [jets.run(steps, u) for steps in self.formula]
                sides.append([[c[0] - m, *c[1:]] for c, m in zip(components, self.middle, strict=True)])
            within = True
            for centre, cell, (low, high) in zip(*sides, self.ends, strict=True):
                jet, rest = self.taylor(centre, cell, weights)
                y += jet
                rests.append(rest)
                least, largest = jets.bounds(centre, cell, weights)
                within = within and bool(low <= least) and bool(largest <= high)
            inside.append(within)
            for side, out in zip(sides, (centres, spreads), strict=True):
                smooth = min(map(len, side))
                x = {j: self.combined(row, shift, side, smooth) for j, (row, shift) in enumerate(self.inputs())}
                f = jets.run(self.target, x)[: jets.size]
                out += [v * w for v, w in zip(f, weights, strict=False)] + [nan] * (jets.size - len(f))
        n, k, size = len(cells), len(self.formula), jets.size
        at, over = balls(centres, n, size), balls(spreads, n, size)
        return balls(y, n, k, size), np.array(rests).reshape(n, k), at, over, np.array(inside)

    def inputs(self) -> list[tuple[list[arb], arb]]:
        """Rows of x = F (y - middle) + shift that the target reads."""
        read = max((step[1] for step in self.target if step[0] == "x"), default=0) + 1
        return list(zip(self.frame[:read], self.shift[:read], strict=True))

    def combined(self, row: list[arb], shift: arb, y: list[Jet], smooth: int) -> Jet:
        total = [shift, *[ZERO] * (smooth - 1)]
        for weight, jet in zip(row, y, strict=True):
            if not weight.is_zero():
                total = [t + weight * v for t, v in zip(total, jet, strict=False)]
        return total

    # -- the network ---------------------------------------------------------------------------------------------------

    def bounds(self, cells: list[Place]) -> Array:
        """Upper bounds of |T - f|; NaN or infinite where there is none."""
        y, rests, f, spread, inside = self.points(cells)
        d, rho = self.moves(y, rests)
        value, lost = self.expanded(y, d, rho, self.constant)
        return np.where(inside, self.difference(value, f, spread, lost), np.inf)

    def moves(self, y: Near, rests: Array) -> tuple[Near, Array]:
        """d, and the sizes of its entries by degree 1 .. m, and of the rest as degree m + 1."""
        d = Near(y.value.copy(), y.off.copy())
        d.value[:, :, 0] = d.off[:, :, 0] = 0
        sizes = [d.most()[:, :, a:b].sum(2) for a, b in pairwise(self.starts[1:])]
        return d, np.stack([*sizes, rests], 2) * RAISED

    def expanded(
        self, y: Near, d: Near, rho: Array, constant: Near, windows: Array | None = None
    ) -> tuple[Near, Array]:
        """A constant and the ridge functions: coefficients (cells, S), and bounds of what is left (cells,). On one
        cell, for n windows, those of each: n constants, (n, S) and (n,)."""
        at, n, size = y.at(slice(None), slice(None), 0), len(rho if windows is None else windows), self.jets.size
        value, sums, lost = Near(np.zeros((n, size)), np.zeros((n, size))), list[Near](), np.zeros(n)
        value.value[:, 0], value.off[:, 0] = constant.value, constant.off
        for group, forms in zip(self.groups, self.forms, strict=True):
            a = plus(dot(at, Near(group.linear.value.T, group.linear.off.T)), group.constant)
            start = np.clip(a.value, -group.low, group.high)
            ended = start != a.value  # beyond an end of the clip the function is constant
            g = group.series(start)
            if windows is not None:
                own = group.windows == windows[:, None]
                g = Near(np.where(own, g.value, 0), np.where(own, g.off, 0))
            whole = dot(g.at(0), Near(np.ones((len(group.low), 1)), np.zeros((len(group.low), 1))))
            self.add_from(0, value, Near(whole.value, whole.off))
            moves = Near(np.where(ended, 0, g.value), np.where(ended, 0, g.off))
            more = [dot(moves.at(j), form) for j, form in enumerate(forms[: group.degree], start=1)]
            both = [plus(p, q) for p, q in zip(sums, more, strict=False)]
            sums = both + sums[len(both) :] + more[len(both) :]
            reach = np.where(ended, 0, rho.sum(2) @ group.linear.most().T * RAISED)
            lost = lost + self.lost(g.most(), reach, self.off(group, a, ended, d, rho), len(forms))
        powers = self.powers(d)
        for j, (coefficients, power) in enumerate(zip(sums, powers, strict=False), start=1):
            part = dot(coefficients.at(slice(None), None), power).at(slice(None), 0)
            self.add_from(self.starts[j], value, part)
        return value, (lost + self.cut([c.most() for c in sums], rho)) * RAISED

    def add_from(self, start: int, value: Near, part: Near) -> None:
        """Add to some coefficients of s, those from `start` on, as many as there are."""
        columns = slice(start, start + part.value.shape[1])
        value.value[:, columns], value.off[:, columns] = plus(value.at(slice(None), columns), part)

    def powers(self, d: Near) -> list[Near]:
        """Products of 1, 2, ... factors d: of j of them the terms of degree j and more."""
        zero = np.zeros_like(d.value[:, :, :1])
        padded, out = joined([d, Near(zero, zero)], 2), [d.at(slice(None), slice(None), slice(self.starts[1], None))]
        for j, steps in enumerate(self.steps[1:], start=2):
            table = self.quotients[self.starts[j - 1] :, self.starts[j] :]
            matrices = [padded.at(slice(None), i).at(slice(None), table) for i, _ in steps]
            rows = [out[-1].at(slice(None), ns) for _, ns in steps]
            out.append(joined([dot(row, matrix) for row, matrix in zip(rows, matrices, strict=True)], 1))
        return out

    def off(self, group: Group, a: Near, ended: Array, d: Near, rho: Array) -> Array:
        """How far clip(l_t) may be on the cell from what is expanded: from l_t, which may leave the clip, or from the
        end
        at which it is, which it may leave."""
        m = min(2, self.jets.order)
        first, last = self.starts[1], self.starts[m + 1]
        forms = dot(group.linear, d.at(slice(None), slice(None), slice(first, last)))
        more = (rho[:, :, m:].sum(2) @ group.linear.most().T + a.off) * RAISED
        out = np.zeros(a.value.shape)
        for turned, at, ends in (
            (forms, a.value, (group.high, -group.low)),
            (forms.negative(), -a.value, (group.low, -group.high)),
        ):
            up = np.where(self.even[first:last], np.maximum(turned.top(), 0), turned.most()).sum(2)
            most = at + (up + more) * RAISED + 16 * U * (abs(at) + up)
            for end, here in zip(ends, (~ended, ended & (at < ends[1])), strict=True):
                over = most - end + 16 * U * abs(end)
                out = np.where(here & np.isfinite(end), np.maximum(out, over), out)
        return (out + np.where(ended, 16 * U, a.off)) * RAISED

    def lost(self, g: Array, reach: Array, off: Array, factors: int) -> Array:
        """For |l_t - a_t| <= reach: what being off costs, and products of more factors than are multiplied out."""
        far, slope, tail = (reach + off) * RAISED, 0 * reach, 0 * reach
        for j in range(len(g) - 1, 0, -1):
            slope = slope * far + j * g[j]
            tail = tail * reach + g[j] if j > factors else tail
        return (slope * off + tail * reach ** (factors + 1)).sum(1) * RAISED * RAISED + TINY

    def cut(self, sums: list[Array], rho: Array) -> Array:
        """Terms of degree m + 1 and more in products of j <= m factors: at most those of sum_b |F_b| r^b (q_1 s +
        ...)^j,
        r_i the sum of the rho_i, q_n the largest share that degree n has of one."""
        whole = rho.sum(2) * RAISED
        share = (rho / np.where(whole > 0, whole, 1)[:, :, None]).max(1) * RAISED
        m, n = self.jets.order, len(rho)
        behind = share[:, ::-1].cumsum(1)[:, ::-1]  # behind[i] = q_(i+1) + ... + q_(m+1)
        low, high, out, power = np.zeros((n, m + 1)), np.zeros(n), np.zeros(n), np.ones((n, 1))
        low[:, 0] = 1
        for coefficients, steps in zip(sums, self.steps, strict=False):
            high = high * behind[:, 0] + (low * behind[:, ::-1]).sum(1)
            low = np.stack([np.zeros(n), *((low[:, :e] * share[:, e - 1 :: -1]).sum(1) for e in range(1, m + 1))], 1)
            power = np.concatenate([power[:, ns] * whole[:, i : i + 1] for i, ns in steps], 1)
            out = out + (coefficients * power).sum(1) * high
        return out * RAISED * RAISED

    def difference(self, value: Near, f: Near, spread: Near, lost: Array) -> Array:
        """The least bound of all orders."""
        at, over = plus(value, f.negative()), plus(value, spread.negative())
        sides = [np.where(self.even, np.maximum(g.top(), 0), g.most()) for g in (at, at.negative())]
        best = np.full(len(lost), np.inf)
        for m in range(self.jets.order + 1):
            start, end = self.starts[m], self.starts[m + 1]
            more = value.most()[:, end:].sum(1) + lost
            if m:
                more = more + over.most()[:, start:end].sum(1)
                ends = [
                    g.top()[:, 0] + side[:, 1:start].sum(1) for g, side in zip((at, at.negative()), sides, strict=True)
                ]
            else:
                ends = [over.top()[:, 0], over.negative().top()[:, 0]]
            best = np.fmin(best, (np.maximum(*ends) + more) * RAISED)
        return np.nextafter(np.maximum(best, 0), np.inf)
