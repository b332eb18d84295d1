"""The paper's construction as a program, lemma by lemma: narrow heads, one product tree per term, deep ramps.

    1        charts     Z.a = z;  x.b = x^2                      FFN: clip Z.a
    2        nodes      H.a = U_j.a = N z - k;  R.b = dist^2     FFN: clip H.a, U.a
    3 .. 2+p powers     U_j.a = u^j                              FFN: H.b = bump (block 3)
    3+p      bumps      U_j.b = bump(u) u^j                      FFN of block 4: R.a = indicator
    d >= 2   terms      P_(tau,i).a = U.b; then ceil(log2 d) blocks of products
    last     sum, cut, read-out

`p = max(1, ceil(log2 s))`: L = 6 + p blocks for d = 1, else 7 + p + ceil(log2 d), for any number of cells.

A head's value reads only the constant row, so it adds `v relu(u_t^T G u_s)` to one register of one token. What has no
sign takes two heads: a *signed read* is `relu(a_s) - relu(-a_s)`, an *in-place product* `a_t <- a_t a_s` adds
`+-relu(+-a_t (a_s - 1))`.

Clips are identities on the true values. They keep the bounds that interval arithmetic can prove, from which
the gate constants are computed, of order one (theory, section 4).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, log2

import numpy as np

from construct.arrays import Float, Int
from construct.paper.grid import TaylorApproximator, constant_doublings
from construct.paper.layout import PaperLayout, layout_of
from construct.program.compile import Program, Stage
from construct.program.ffn import Ffn
from construct.program.heads import A, B, Entries
from construct.program.layout import ONE
from construct.program.products import multiply, narrow, signed
from construct.program.rules import Rule
from construct.validation import one_of, positive_real

RAMPS = ("constant", "epsilon")


def paper_program(approximator: TaylorApproximator, position_code: str = "integer") -> Program:
    """The program of glued Taylor polynomials."""
    return program_of(layout_of(approximator, position_code), approximator.coefficients.numpy())


def program_of(layout: PaperLayout, coefficients: Float) -> Program:
    """The program of a layout and coefficients (q, A), one for each kept node and exponent."""
    stages = PaperStages(layout, coefficients)
    return Program(layout.tokens, stages.registers(), tuple(stages.all()))


@dataclass(frozen=True, eq=False)
class PaperStages:
    """The stages, in the order of the proof; coefficients (q, A)."""

    layout: PaperLayout
    coefficients: Float

    def tokens(self, group: str) -> Int:
        return self.layout.tokens.tokens(group)

    def registers(self) -> dict[tuple[str, str], Float | float]:
        """H.a = U_j.a = -k - N, U_0.a = 1; Z.a = -V^T (c + B)/scale, which turns the sum of relu(x_j + B_j) into z.
        x.a = -origin, if that is not 0."""
        g = self.layout
        shift = -(g.univariate[:, 2] + g.cells).astype(np.float64)
        powers = np.tile(shift[:, None], (1, g.degree + 1))
        powers[:, 0] = 1.0
        chart = -np.einsum("nDd,nD->nd", g.frames / g.scale, g.centres + g.box)
        start: dict[tuple[str, str], Float | float] = {("x", A): -g.origin} if np.any(g.origin) else {}
        return start | {("Z", A): chart, ("H", A): shift, ("U", A): powers}

    def all(self) -> Iterator[Stage]:
        g = self.layout
        yield self.charts()
        yield self.nodes()
        for level in range(1, g.power_blocks + 1):
            yield self.powers(level)
        yield self.bumps()
        if g.dim >= 2:
            yield self.terms()
            for level in range(1, g.product_blocks + 1):
                yield self.products(level)
        yield from (self.sum(), self.cut(), self.read_out())

    # -- stages -----------------------------------------------------------------------------------

    def charts(self) -> Stage:
        """Z.a = V^T (x - c)/scale from `v relu(x_j + B_j)`; x_j.b = relu(x_j^2). Then clip z to [-1, 1]."""
        g, x = self.layout, self.tokens("x")
        chart, j, i = np.nonzero(g.frames)
        z, weights = self.tokens("Z")[chart, i], g.frames[chart, j, i] / g.scale
        reads = narrow(z, x[j], {(ONE, A): 1.0, (ONE, ONE): g.box[j]}, A, weights)
        return Stage("charts", (reads, narrow(x, x, {(A, A): 1.0}, B, 1.0)), _clip("Z"))

    def nodes(self) -> Stage:
        """H.a = U_j.a = N z - k from `N relu(z + 1)`; R.b = sum_j relu(x_j^2 - 2 c_j x_j + c_j^2). Clip u."""
        g = self.layout
        z = self.tokens("Z")[g.univariate[:, 0], g.univariate[:, 1]]
        targets = np.concatenate([self.tokens("H")[:, None], self.tokens("U")[:, 1:]], axis=1)
        shift = narrow(targets, z[:, None], {(ONE, A): 1.0, (ONE, ONE): 1.0}, A, float(g.cells))
        form: Entries = {(ONE, B): 1.0, (ONE, A): -2.0 * g.centres, (ONE, ONE): g.centres * g.centres}
        distance = narrow(self.tokens("R")[:, None], self.tokens("x")[None, :], form, B, 1.0)
        return Stage("nodes", (shift, distance), _clip("H", "U"))

    def powers(self, level: int) -> Stage:
        """U_j.a = u^j by doubling exponents; FFN of block 3: H.b = bump(u), of block 4: R.a = indicator."""
        u, kind = self.tokens("U"), self.layout.bump
        rules = [rule for j, k in self.layout.power_steps(level) for rule in multiply(u[:, j], u[:, k], A)]
        bump = Ffn("bump", ("H",), {"kind": kind, "scale": 3.0 if kind == "trapezoid" else 1.0})
        return Stage(f"powers {level}", tuple(rules), {1: bump, 2: self._ramp()}.get(level, _clip("U")))

    def bumps(self) -> Stage:
        """U_j.b = bump(u) u^j: one head where the sign of u^j is known, else two."""
        u, h = self.tokens("U"), self.tokens("H")[:, None]
        even = narrow(u[:, 0::2], h, {(A, B): 1.0}, B, 1.0)
        odd = signed(u[:, 1::2], h, {(A, B): 1.0}, B, 1.0)
        ffn = self._ramp() if self.layout.power_blocks == 1 else _clip("U", row=B)
        return Stage("bumps", (even, *odd), ffn)

    def terms(self) -> Stage:
        """P_(tau,i).a = U_(n, i, m_i, alpha_i).b."""
        g = self.layout
        source = self.tokens("U")[g.factors[:, None, :], g.exponents[None, :, :]]
        return Stage("terms", signed(self.tokens("P"), source, {(ONE, B): 1.0}, A, 1.0), _clip("P"))

    def products(self, level: int) -> Stage:
        """One level of every term's product tree."""
        p = self.tokens("P")
        rules = [rule for i, j in self.layout.product_steps(level) for rule in multiply(p[..., i], p[..., j], A)]
        return Stage(f"products {level}", tuple(rules), _clip("P"))

    def sum(self) -> Stage:
        """S_n.b = sum c * term. The bumps sum to at most one, so |S_n.b| <= max_m sum_alpha |c|: clip."""
        g = self.layout
        if g.dim == 1:
            source, register = self.tokens("U")[g.factors, g.exponents[:, 0]], B
        else:
            source, register = self.tokens("P")[:, :, 0], A
        target = np.broadcast_to(self.tokens("S")[g.charts][:, None], source.shape)
        rules = signed(target, source, {(ONE, register): 1.0}, B, self.coefficients)
        largest = float(np.abs(self.coefficients).sum(axis=1).max(initial=0.0))
        return Stage("sum", rules, _clip("S", row=B, limit=largest * (1 + 1e-9)))

    def cut(self) -> Stage:
        """S_n.b <- S_n.b R_n.a, the chart's indicator."""
        return Stage("cut", multiply(self.tokens("S"), self.tokens("R"), B))

    def read_out(self) -> Stage:
        """out.b = sum_n S_n.b."""
        rules: tuple[Rule, ...] = signed(self.tokens("out"), self.tokens("S"), {(ONE, B): 1.0}, B, 1.0)
        return Stage("read-out", rules)

    def _ramp(self) -> Ffn:
        g = self.layout
        return Ffn("indicator_ramp", ("R",), {"radius_squared": g.radius**2, "doublings": g.doublings})


def _clip(*groups: str, row: str = A, limit: float = 1.0) -> Ffn:
    """An FFN that clips a register of some groups, an identity on its true values."""
    return Ffn("clip", groups, {"row": row, "limit": limit})


def ramp_doublings(
    radius: float, inner_radius: float, cells: int, degree: int, *, ramp: str = "epsilon", epsilon: float | None = None
) -> int:
    """k of the chart indicator, `Delta = r^2 2^-k`.

    "constant": the smallest k with `Delta <= r^2 - r'^2`, enough because f rho_n vanishes beyond r'.
    "epsilon": the paper's `Delta <= epsilon r^2`, hence `k = ceil(log2(1/epsilon))`, where that is more;
    epsilon defaults to `N^-(s+1)`, the order of the local error.
    """
    least = constant_doublings(radius, inner_radius)
    if one_of(ramp, "ramp", RAMPS) == "constant":
        return least
    wanted = float(cells) ** -(degree + 1) if epsilon is None else positive_real(epsilon, "epsilon")
    return max(least, ceil(log2(1 / wanted)))
