"""Taylor coefficients in ball arithmetic, and bounds from them.

The coefficients g_a = d^a g / a! of a function, at a point or over a cell (then balls that contain them at all points
of the cell), as far as the function has them. On a cell with centre c and half-widths h, for each order m

    g  is in  sum_(|a| < m) g_a(c) [-h, h]^a + sum_(|a| = m) g_a(cell) [-h, h]^a    (Lagrange's remainder).

A composition with a smooth function is the composition of the truncated power series (python-flint's `arb_series`); a
product or power that cannot be negative is cut at 0. |g| where g changes sign has its value and the hull of +-g' only.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise, product
from typing import Any

import numpy as np
from flint import arb, arb_mat, arb_series, ctx

from proofs_as_code.verifier.expressions import Steps, positive

Jet = list[arb]
ZERO, INF = arb(0), arb("inf")


class Jets:
    """Lists of the coefficients g_a, |a| <= K, in d variables, by degree; shorter where g is less smooth."""

    def __init__(self, d: int, order: int) -> None:
        grid = (a for a in product(range(order + 1), repeat=d) if sum(a) <= order)
        self.index = sorted(grid, key=lambda a: (sum(a), [-e for e in a]))
        self.d, self.order, self.size = d, order, len(self.index)
        place = {a: k for k, a in enumerate(self.index)}
        less = [[place.get(tuple(np.subtract(a, b)), -1) for a in self.index] for b in self.index]  # a - b, -1 for none
        self.pairs = [[(b, row[a]) for b, row in enumerate(less) if row[a] >= 0] for a in range(self.size)]
        self.lines = [
            [place[tuple(n * (i == j) for j in range(d))] for n in range(order + 1)] for i in range(d)
        ]  # of t_i^n
        self.places = {n: [k for row in less[:n] for k in row[:n]] for n in range(1, self.size + 1)}
        self.ends = [sum(1 for a in self.index if sum(a) <= m) for m in range(order + 1)]

    def matrix(self, a: Jet) -> arb_mat:
        """A with b a = b A for jets b as rows."""
        return arb_mat(len(a), len(a), [a[k] if k >= 0 else ZERO for k in self.places[len(a)]])

    def mul(self, a: Jet, b: Jet) -> Jet:
        return [sum((a[i] * b[j] for i, j in pairs), ZERO) for pairs in self.pairs[: min(len(a), len(b))]]

    def add(self, a: Jet, b: Jet, factor: arb | int = 1) -> Jet:
        return [u + factor * v for u, v in zip(a, b, strict=False)]

    def compose(self, table: list[arb], n: int, factors: list[Jet]) -> Jet:
        """sum_b p_b prod factors_i^(b_i), 0 <= b_i < n, b_1 the fastest in the table: powers, then Horner's scheme."""
        size, rows = min(map(len, factors), default=self.size), len(table) // n
        if len(table) == 1:
            return [table[0] if k == 0 else ZERO for k in range(size)]
        by = [self.matrix(f) for f in factors]
        powers = [arb_mat(1, size, [arb(k == 0) for k in range(size)])]
        for _ in range(n - 1):
            powers.append(powers[-1] * by[0])
        first = arb_mat(len(powers), size, [v for p in powers for v in p.entries()])
        flat = (arb_mat(rows, len(powers), table) * first).entries()
        for matrix in reversed(by[1:]):
            rows //= n
            blocks = [arb_mat(rows, size, flat[k * rows * size : (k + 1) * rows * size]) for k in range(n)]
            while len(blocks) > 1:
                last = blocks.pop() * matrix
                blocks[-1] += last
            flat = blocks[0].entries()
        return list(flat)

    def smooth(self, f: Jet, function: Any) -> Jet:
        """A function of power series, applied to f."""
        series = function(arb_series([f[0], 1], prec=self.order + 1)).coeffs()
        moving = [k for k, v in enumerate(f[1:], start=1) if not v.is_zero()]
        if len(moving) == 1 and moving[0] <= self.d:  # affine in one variable: so are the powers
            out = [ZERO] * len(f)
            for place, c, n in zip(self.lines[moving[0] - 1], series, range(self.order + 1), strict=False):
                if place < len(f):
                    out[place] = c * f[moving[0]] ** n
            return out
        return self.compose([*series, *[ZERO] * (self.order + 1 - len(series))], self.order + 1, [[ZERO, *f[1:]]])

    def abs(self, f: Jet) -> Jet:
        if f[0] >= 0 or f[0] <= 0:
            return f if f[0] >= 0 else [-v for v in f]
        return [f[0].abs_upper() * arb(0.5, 0.5), *(arb(0, 1) * v for v in f[1 : self.d + 1])]

    def power(self, f: Jet, p: float) -> Jet:
        if p % 1 == 0 and p >= 0:
            half = self.power(f, p // 2) if p else [arb(k == 0) for k in range(len(f))]
            return half if not p else self.mul(self.mul(half, half), f) if p % 2 else self.mul(half, half)
        if not f[0] > 0 and (p % 1 or not f[0] < 0):  # no derivative, and at 0 a value for p > 0 only
            return [f[0].nonnegative_part().upper() ** arb(p) * arb(0.5, 0.5) if f[0] >= 0 and p > 0 else arb("nan")]
        return self.smooth(f, (lambda t: t ** arb(p)) if p % 1 else lambda t: (1 / t) ** int(-p))

    def tanh(self, f: Jet) -> Jet:
        """From t' = s, s = 1 - t^2: the value from the two ends, which bounds it by 1 on balls of any width."""
        t, s = [f[0].lower().tanh().union(f[0].upper().tanh()) if f[0].is_finite() else arb("nan")], list[arb]()
        for k in range(self.order + 1):
            square = sum((t[i] * t[k - i] for i in range(1, k)), 2 * t[0] * t[k] if k else t[0].abs_upper() ** 2)
            s.append(-square if k else (1 - arb(t[0].abs_lower()) ** 2).union(1 - square).nonnegative_part())
            t.append(s[k] / (k + 1))
        return self.compose(t[:-1], self.order + 1, [[ZERO, *f[1:]]])

    def run(self, steps: Steps, x: dict[int, Jet]) -> Jet:
        """An expression, step by step."""
        functions: dict[str, Callable[..., Jet]] = {
            "add": lambda a, b: self.add(a, b),
            "mul": self.mul,
            "div": lambda a, b: self.mul(a, self.power(b, -1)),
            "sqrt": lambda a: self.power(a, 0.5),
            "abs": self.abs,
            "exp": lambda a: self.smooth(a, arb_series.exp),
            "sin": lambda a: self.smooth(a, arb_series.sin),
            "cos": lambda a: self.smooth(a, arb_series.cos),
            "tanh": self.tanh,
        }
        out: list[Jet] = []
        for (head, *rest), never_negative in zip(steps, positive(steps), strict=True):
            if head == "const":
                jet = [arb(rest[0]) if k == 0 else ZERO for k in range(self.size)]
            elif head == "x":
                jet = x[rest[0]]
            elif head == "pow":
                jet = self.power(out[rest[0]], rest[1])
            elif head == "mul" and rest[0] == rest[1]:
                jet = self.power(out[rest[0]], 2)
            else:
                jet = functions[head](*(out[place] for place in rest))
            out.append([jet[0].nonnegative_part(), *jet[1:]] if never_negative else jet)
        return out[-1]

    def looks(self, steps: Steps) -> int:
        """About how many looks it takes to run an expression at a point and over a cell."""
        product = self.size**2 << 4
        kinds = {"x": 0, "const": 0, "add": self.size << 7, "mul": product, "abs": self.size << 7}
        looks = sum(kinds.get(head, product * (self.order + 1)) for head, *_ in steps)
        return 2 * (looks + (len(steps) << 12)) * (1 + ctx.prec // 256)

    def bounds(self, centre: Jet, cell: Jet, weights: list[arb]) -> tuple[arb, arb]:
        """A lower and an upper bound of g on the cell, from all orders m; weights: h^a."""
        low, high = (cell[0].lower(), cell[0].upper()) if cell[0].is_finite() else (-INF, INF)
        spread, n = ZERO, min(len(centre), len(cell))
        for start, end in pairwise(self.ends):
            if end > n or not centre[0].is_finite():
                break
            rest = sum((cell[k].abs_upper() * weights[k] for k in range(start, end)), spread)
            if rest.is_finite():
                low, high = low.max((centre[0] - rest).lower()), high.min((centre[0] + rest).upper())
            spread = sum((centre[k].abs_upper() * weights[k] for k in range(start, end)), spread)
        return low, high
