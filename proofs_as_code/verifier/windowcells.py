"""Bounds of |T - f| on cells for T = sum_n w_n(y) R_n(y), R_n a constant and ridge functions, w_n windows.

A window is made of affine forms of y and ReLUs. A form in it vanishes on a *plane*; forms that are multiples of each
other have one. On a cell that no plane meets all windows are affine. On another one they are, wherever the signs of the
forms are given: for each choice of signs T is, on the part of the cell that has them, sum_n A_n R_n with affine A_n.
The largest bound of these sums over the whole cell is one of T.

R_n is expanded by `ridgecells`: coefficients of s, up to degree m, and a bound of what is left. A_n is an expansion of
degree 1 in y. Their product up to degree m is multiplied out; terms beyond it are at most sums of products of
absolute values, and so is what comes from what was left.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from flint import arb, fmpq

from proofs_as_code.verifier.formulas import NONE
from proofs_as_code.verifier.jets import INF, ZERO, Jets
from proofs_as_code.verifier.near import RAISED, Array, Near, dot, joined, plus, rationals
from proofs_as_code.verifier.network import Network
from proofs_as_code.verifier.polynomials import Poly, number
from proofs_as_code.verifier.ridgecells import RidgeCells
from proofs_as_code.verifier.schema import Certificate

MOST_PARTS = 128  # of a cell, one for each choice of signs; about a vertex of a lattice in three windows there are 2^6
Plane = tuple[tuple[tuple[int, ...], int, int], ...]  # a form with the leading coefficient 1: p and q of each


class Circuit(NamedTuple):
    """A window, or the argument of a ReLU: constant, and coefficients of y and of ReLUs."""

    form: Poly
    constant: arb
    linear: list[tuple[int, arb]]
    relus: list[tuple[int, fmpq, arb]]


class OpenPlane(Exception):
    """A plane on whose side something depends."""


class Signs:
    """The signs of forms on one cell, where y is (k, S) and off by `rests` (k,)."""

    def __init__(self, y: Near, rests: Array, even: Array) -> None:
        self.y, self.rests, self.even = y, rests, even
        self.known: dict[Plane, int] = {}

    def of(self, form: Poly, chosen: dict[Plane, int]) -> int:
        """1 for >= 0, -1 for <= 0; raises `OpenPlane` where it may be both and nothing was chosen."""
        if form.keys() <= {()}:
            return 1 if form.get((), fmpq(0)) > 0 else -1
        leading = form[min(m for m in form if m)]
        normal = {m: c / leading for m, c in form.items()}
        plane = tuple((m, int(c.p), int(c.q)) for m, c in sorted(normal.items()))
        if plane not in self.known:
            self.known[plane] = self.side(normal)
        side = self.known[plane] or chosen.get(plane, 0)
        if not side:
            raise OpenPlane(plane)
        return side if leading > 0 else -side

    def side(self, form: dict[tuple[int, ...], fmpq]) -> int:
        k = len(self.rests)
        row = rationals([form.get((i,), fmpq(0)) for i in range(k)], k)
        jet = dot(row.at(None), self.y).at(0)
        first = plus(jet.at(slice(1)), rationals([form.get((), fmpq(0))], 1))
        more = (row.most() * self.rests).sum()
        tops = []
        for sign in (1, -1):
            turned = jet if sign > 0 else jet.negative()
            start = first if sign > 0 else first.negative()
            moving = np.where(self.even[1:], np.maximum(turned.top()[1:], 0), turned.most()[1:]).sum()
            tops.append(float(start.top()[0] + (moving + more) * RAISED + 2.0**-48 * (abs(start.value[0]) + moving)))
        return -1 if tops[0] <= 0 else 1 if tops[1] <= 0 else 0


class WindowCells(RidgeCells):
    """Bounds of |T - f| on cells, for one network with windows and a certificate."""

    def __init__(self, network: Network, proof: Certificate) -> None:
        super().__init__(network, proof)
        self.k, self.look, unknowns = len(proof.box), network.look, network.unknowns
        self.names = sorted({ridge.window for ridge in network.ridges if ridge.window != NONE} | set(network.constants))
        self.constants = {NONE: network.constant, **network.constants}
        forms = {i: unknown.of[0] if unknown.of else Poly({(i,): fmpq(1)}) for i, unknown in enumerate(unknowns)}
        self.order_of = {name: [*(network.inner(forms[name]) or ()), name] for name in self.names}
        self.circuits = {i: self.circuit(forms[i]) for order in self.order_of.values() for i in order}
        self.coarse, self.degrees = Jets(len(proof.manifold.lower), 1), list(pairwise(self.starts))
        self.node_looks = sum(map(self.coarse.looks, self.formula))
        self.window_looks = max((len(order) for order in self.order_of.values()), default=0) * (self.k + 4) << 11

    def circuit(self, form: Poly) -> Circuit:
        parts = [(m[0], c) for m, c in form.items() if m]
        linear = [(i, arb(c)) for i, c in parts if i < self.k]
        return Circuit(form, arb(form.get((), fmpq(0))), linear, [(i, c, arb(c)) for i, c in parts if i >= self.k])

    # -- windows -------------------------------------------------------------------------------------------------------

    def may_be_positive(self, name: int, y: list[arb]) -> bool:
        """Whether a window may be positive for y in these intervals; one of the y is no window, and may be negative."""
        if name < self.k:
            return True
        values: dict[int, arb] = {}
        for i in self.order_of[name]:
            circuit = self.circuits[i]
            total = sum((c * y[j] for j, c in circuit.linear), circuit.constant)
            total = sum((c * values[j] for j, _, c in circuit.relus), total)
            if i != name and not total >= 0:
                total = ZERO if total <= 0 else ZERO.union(total.upper()) if total.is_finite() else arb(0, "inf")
            values[i] = total
        return not values[name] <= 0

    def form_of(self, name: int, signs: Signs, chosen: dict[Plane, int]) -> Poly:
        """The affine form that a window is where the signs are the chosen ones."""
        values: dict[int, Poly] = {}
        for i in self.order_of[name]:
            circuit = self.circuits[i]
            terms = [(m, c) for m, c in circuit.form.items() if not m or m[0] < self.k]
            for j, factor, _ in circuit.relus:
                terms += [(m, factor * c) for m, c in values[j].items()]
            values[i] = Poly.of(terms)
            if i != name and signs.of(values[i], chosen) < 0:
                values[i] = Poly()
        return values[name]

    def parts(self, near: list[int], signs: Signs) -> list[list[Poly]] | None:
        """The forms of the windows, for every choice of signs; None where there are too many."""
        found, work = list[list[Poly]](), [(dict[Plane, int](), list[Poly]())]
        while work:
            chosen, forms = work.pop()
            forms = list(forms)
            try:
                for name in near[len(forms) :]:
                    self.look(self.window_looks)
                    forms.append(self.form_of(name, signs, chosen))
                found.append(forms)
            except OpenPlane as plane:
                work += [({**chosen, plane.args[0]: side}, forms) for side in (1, -1)]
            if len(found) + len(work) > MOST_PARTS:
                return None
        return found

    # -- cells ---------------------------------------------------------------------------------------------------------

    def bound(self, lower: list[float], upper: list[float], near: list[int], leaf: bool) -> tuple[list[int], arb]:
        """The windows that may be positive on a cell, among those near; on a leaf a bound of |T - f|."""
        self.look(self.node_looks + len(near) * self.window_looks + leaf * self.looks)
        y = self.range_of_y(lower, upper)
        near = [name for name in near if self.may_be_positive(name, y)]
        if not leaf:
            return near, INF
        bound = self.on_leaf(lower, upper, near)
        return near, arb(bound) if math.isfinite(bound) else INF

    def range_of_y(self, lower: list[float], upper: list[float]) -> list[arb]:
        jets, middle = self.coarse, [(a + b) / 2 for a, b in zip(lower, upper, strict=True)]
        half = [(arb(b) - m).max(m - arb(a)).upper() for a, b, m in zip(lower, upper, middle, strict=True)]
        sides = []
        for where in (list(map(arb, middle)), [m + h * arb(0, 1) for m, h in zip(middle, half, strict=True)]):
            u = {i: [p, *(arb(n == i) for n in range(jets.d))] for i, p in enumerate(where)}
            sides.append([jets.run(steps, u) for steps in self.formula])
        found = []
        for centre, cell, m in zip(*sides, self.middle, strict=True):
            low, high = jets.bounds(centre, cell, [arb(1), *half])
            found.append(low.union(high) - m if low.is_finite() and high.is_finite() else arb(0, "inf"))
        return found

    def on_leaf(self, lower: list[float], upper: list[float], near: list[int]) -> float:
        """A bound of |T - f|; infinite or NaN where there is none."""
        y, rests, f, spread, inside = self.points([(lower, upper, 0)])
        signs = Signs(y.at(0), rests[0], self.even)
        parts = self.parts(near, signs) if inside[0] else None
        if parts is None:
            return math.inf
        size, degree = self.jets.size, self.jets.order
        self.look(len(parts) * len(near) * size**2 << 5)
        d, rho = self.moves(y, rests)
        windows, n = [NONE, *near], 1 + len(near)
        constants = rationals([self.constants.get(name, fmpq(0)) for name in windows], n)
        r, r_lost = self.expanded(y, d, rho, constants, np.array(windows))  # (n, S), (n,)
        forms = [p for part in parts for p in (number(1), *part)]
        a = rationals([p.get((i,), fmpq(0)) for p in forms for i in range(self.k)], len(parts), n, self.k)
        w = dot(a, y.at(0))  # (parts, n, S)
        first = rationals([p.get((), fmpq(0)) for p in forms], len(parts), n)
        w.value[..., 0], w.off[..., 0] = plus(w.at(..., 0), first)
        w_lost = (a.most() * rests[0]).sum(2) * RAISED
        zero = np.zeros((len(parts), n, 1))
        matrices = joined([w, Near(zero, zero)], 2).at(..., self.quotients)
        products = dot(r.at(None, slice(None), None), matrices).at(..., 0, slice(None))  # (parts, n, S)
        value = dot(Near(np.ones((1, n)), np.zeros((1, n))), products).at(slice(None), 0)
        r_sizes, w_sizes = (np.stack([v.most()[..., i:j].sum(-1) for i, j in self.degrees], -1) for v in (r, w))
        from_on = r_sizes[:, ::-1].cumsum(1)[:, ::-1]  # of degree p and more
        beyond = sum(w_sizes[..., q] * from_on[:, degree + 1 - q] for q in range(1, degree + 1))
        more = beyond + r_lost * (w_sizes.sum(-1) + w_lost) + r_sizes.sum(-1) * w_lost
        lost = more.sum(1) * RAISED * RAISED
        return float(self.difference(value, f, spread, lost).max())
