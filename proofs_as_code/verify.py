"""An independent check of error certificates: a network file and a certificate in, "verified" or a reason out.

Verified is: for every u in [lower, upper], the network with these very weights, evaluated in floating point at x = F y(u)
(dense formula, rows of a score added in order, other sums in any), is within `bound` of the target f(x). `verify_network`
finds T = sum_n rho_n P_n(z_n) from the weights, and the error of its evaluation. Here, cell by cell:

`Jets` are Taylor coefficients g_a in ball arithmetic, as far as g has them. On a cell with centre c and half-widths h
    g is in sum_(|a| < m) g_a(c) [-h, h]^a + sum_(|a| = m) g_a(cell) [-h, h]^a for each m (Lagrange's remainder).
`Cells`: where every s_n is the sum of the w before it, |T - f| <= max |P_n - f| + relu(1 - sum w) |f|. P_n counts where its
    cut-off b_n > 0 only: there g <= g + lambda b_n for lambda >= 0, for g = +-(P_n - f) and for the excess of z over its clip.

The tree of the certificate says how to divide the box: an axis, or a point for a leaf, in preorder. A leaf that does not
pass is halved up to `MORE` times, so nothing need be as sharp here as where it was made. Nothing of `construct` is used.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
import time
from itertools import pairwise, product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from flint import arb, arb_mat, arb_series, ctx
from safetensors.numpy import load

from proofs_as_code.verify_network import Chart, Network, Poly, rational, require

UNITS, MORE, ZERO, INF = {"float64": 2.0**-53, "float32": 2.0**-24}, 6, arb(0), arb("inf")
Jet = list[arb]


class Jets:
    """Lists of the coefficients g_a, |a| <= K, in d variables, by degree; shorter where g is less smooth."""

    def __init__(self, d: int, order: int) -> None:
        grid = (a for a in product(range(order + 1), repeat=d) if sum(a) <= order)
        self.index = sorted(grid, key=lambda a: (sum(a), [-e for e in a]))
        self.d, self.order, self.size = d, order, len(self.index)
        place = {a: k for k, a in enumerate(self.index)}
        less = [
            [place.get(tuple(np.subtract(a, b))) for a in self.index] for b in self.index
        ]  # row b: the place of a - b
        self.pairs = [[(b, row[a]) for b, row in enumerate(less) if row[a] is not None] for a in range(self.size)]
        self.places = {n: [k for row in less[:n] for k in row[:n]] for n in range(1, self.size + 1)}
        self.ends = [sum(1 for a in self.index if sum(a) <= m) for m in range(order + 1)]

    def matrix(self, a: Jet) -> arb_mat:
        """A with b a = b A for jets b as rows."""
        return arb_mat(len(a), len(a), [ZERO if k is None else a[k] for k in self.places[len(a)]])

    def mul(self, a: Jet, b: Jet) -> Jet:
        return [sum((a[i] * b[j] for i, j in pairs), ZERO) for pairs in self.pairs[: min(len(a), len(b))]]

    def add(self, a: Jet, b: Jet, factor: arb | int = 1) -> Jet:
        return [u + factor * v for u, v in zip(a, b, strict=False)]

    def compose(self, table: list[arb], n: int, factors: list[Jet]) -> Jet:
        """sum_b p_b prod factors_i^(b_i), 0 <= b_i < n, in the table b_1 the fastest: powers of one, Horner in the others."""
        by, size, rows = [self.matrix(f) for f in factors], min(map(len, factors), default=1), len(table) // n
        powers = [arb_mat(1, size, [arb(k == 0) for k in range(size)])]
        for _ in range(n - 1 if factors else 0):
            powers.append(powers[-1] * by[0])
        flat = (
            arb_mat(rows, len(powers), table) * arb_mat(len(powers), size, [v for p in powers for v in p.entries()])
        ).entries()
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

    def run(self, tree: Any, x: dict[int, Jet]) -> Jet:
        """An expression: a number, ["x", j], ["pow", tree, number], [function, tree, ...]."""
        if not isinstance(tree, list):
            require(type(tree) in (int, float), "an expression with something that is no number")
            return [arb(tree) if k == 0 else ZERO for k in range(self.size)]
        if tree[0] == "x":
            return x[tree[1]]
        a = [self.run(part, x) for part in (tree[1:2] if tree[0] == "pow" else tree[1:])]
        functions = {
            "add": self.add,
            "mul": self.mul,
            "div": lambda a, b: self.mul(a, self.power(b, -1)),
            "abs": self.abs,
        }
        functions |= {"sqrt": lambda a: self.power(a, 0.5), "pow": lambda a: self.power(a, tree[2])}
        functions |= {
            name: lambda a, name=name: self.smooth(a, getattr(arb_series, name)) for name in ("exp", "sin", "cos")
        }
        functions["tanh"] = lambda a: self.smooth(a, lambda t: 1 - 2 / ((2 * t).exp() + 1))
        out = functions[tree[0]](*a)
        return [out[0].nonnegative_part(), *out[1:]] if self.positive(tree) else out

    def positive(self, tree: Any) -> bool:
        """Whether an expression is >= 0 wherever it is defined, as far as its form shows."""
        if not isinstance(tree, list) or tree[0] in ("exp", "sqrt", "abs"):
            return isinstance(tree, list) or bool(tree >= 0)
        if tree[0] == "pow":
            return tree[2] % 2 == 0 or tree[2] % 1 != 0 or self.positive(tree[1])
        square = tree[0] == "mul" and tree[1] == tree[2]
        return square or (tree[0] in ("add", "mul", "div") and all(map(self.positive, tree[1:])))

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


class Cells:
    """Bounds of |T - f| on cells; pairs of jets are those at the centre and over the cell."""

    def __init__(self, network: Network, document: dict[str, Any]) -> None:
        manifold, self.box, self.charts = document["manifold"], document["canonical_box"], network.charts
        self.formula, self.target, self.unknowns = manifold["formula"], document["target"], network.unknowns
        self.jets, k = Jets(len(manifold["lower"]), document["order"]), len(self.box)
        self.monomials = [(), *((i,) for i in range(k)), *((i, j) for i in range(k) for j in range(i, k))]
        forms = {i: self.unknowns[i].of[0] for chart in self.charts for i in (chart.weight[0], *chart.z)}
        require(
            all(m in self.monomials for p in forms.values() for m in p), "a cut-off or coordinate not quadratic in y"
        )
        self.rows = {i: [arb(p.get(m, 0)) for m in self.monomials] for i, p in forms.items()}
        frame = [Poly.of(((i,), rational(v)) for i, v in enumerate(row)) for row in manifold["frame"]]
        self.frame = [[arb(p.get(m, 0)) for m in self.monomials] for p in frame]

    def forms(self, rows: list[list[arb]], sides: list[list[Jet]]) -> list[list[Jet]]:
        """Quadratic forms in y, as pairs of jets."""
        size, out = self.jets.size, []
        for side in sides:
            jets = arb_mat(len(side), size, [v for jet in side for v in jet])
            flat = (arb_mat(len(rows), len(side), [v for row in rows for v in row]) * jets).entries() if rows else []
            out.append([flat[k * size : (k + 1) * size] for k in range(len(rows))])
        return [list(pair) for pair in zip(*out, strict=True)]

    def bound(self, lower: list[float], upper: list[float], near: list[int], leaf: bool) -> tuple[list[int], arb]:
        """The charts with b > 0 somewhere on the cell, among those near; on a leaf a bound of |T - f|."""
        jets, middle = self.jets, [(a + b) / 2 for a, b in zip(lower, upper, strict=True)]
        half = [(arb(b) - m).max(m - arb(a)).upper() for a, b, m in zip(lower, upper, middle, strict=True)]
        self.weights = [math.prod((h**e for h, e in zip(half, a, strict=True)), start=arb(1)) for a in jets.index]
        self.half, sides = half, []
        for points in (list(map(arb, middle)), [m + h * arb(0, 1) for m, h in zip(middle, half, strict=True)]):
            steps = [[arb(int(sum(a) == a[i] == 1)) for a in jets.index] for i in range(jets.d)]
            y = [
                jets.run(tree, {i: [u, *e[1:]] for i, (u, e) in enumerate(zip(points, steps, strict=True))})
                for tree in self.formula
            ]
            one = [arb(k == 0) for k in range(jets.size)]
            sides.append([one, *y, *(jets.mul(y[i], y[j]) for i, j in self.monomials[len(y) + 1 :])])
        cut = dict(zip(near, self.forms([self.rows[self.charts[n].weight[0]] for n in near], sides), strict=True))
        ends = {n: jets.bounds(*cut[n], self.weights) for n in near}
        on = [n for n in near if not ends[n][1] <= 0]
        if not leaf:
            return on, INF
        for k, size in enumerate(self.box, start=1):
            low, high = jets.bounds(sides[0][k], sides[1][k], self.weights)
            if not (-size <= low and high <= size):
                return on, INF
        least, chain, total, active = {self.charts[n].weight[0]: ends[n][0].max(ZERO) for n in on}, {}, ZERO, []
        for n in on:  # a chart whose prefix sum is at least 1 is off; the prefix sums of the others must telescope
            before = {c: slope for c, slope in self.charts[n].before.items() if c in least}
            if not sum((arb(slope) * least[c] for c, slope in before.items()), ZERO) >= 1:
                if before != chain:
                    return on, INF
                cutoff, slope = self.charts[n].weight
                chain[cutoff], total = chain.get(cutoff, 0) + slope, total + arb(slope) * least[cutoff]
                active.append(n)
        x = self.forms(self.frame, sides)
        f = [jets.run(self.target, {j: pair[side] for j, pair in enumerate(x)}) for side in (0, 1)]
        worst = ZERO
        for n in active:
            worst = worst.max(self.chart(self.charts[n], cut[n], sides, f))  # NaN stays NaN
        low, high = jets.bounds(*f, self.weights)
        return on, worst + ((1 - total).max(ZERO) * high.max(-low) if not total >= 1 else 0)

    def where(self, g: list[Jet], b: list[Jet]) -> arb:
        """An upper bound of g where b > 0: the one of g + lambda b, with the lambda that makes the slope smallest."""
        top = bottom = 0.0
        for i, h in enumerate(self.half, start=1):
            top -= float(g[0][i]) * float(b[0][i]) * float(h) ** 2 if len(g[0]) > i else 0
            bottom += float(b[0][i]) ** 2 * float(h) ** 2
        factor = max(0.0, top / bottom) if bottom > 0 else 0.0
        high = self.jets.bounds(*(self.jets.add(u, v, arb(factor)) for u, v in zip(g, b, strict=True)), self.weights)[1]
        return high.min(self.jets.bounds(*g, self.weights)[1])

    def chart(self, chart: Chart, cut: list[Jet], sides: list[list[Jet]], f: list[Jet]) -> arb:
        """A bound of |P(clip z) - f| where b > 0."""
        jets, z = self.jets, self.forms([self.rows[i] for i in chart.z], sides)
        points, excess, reach, slopes = [pair[0][0] for pair in z], [], [], [ZERO] * len(z)
        for i, pair in zip(
            chart.z, z, strict=True
        ):  # how far z is beyond its clip, and the clipped and unclipped from the centre
            limits = (
                [[[-v for v in jet] for jet in pair], pair],
                [-arb(self.unknowns[i].low), arb(self.unknowns[i].high)],
            )
            over = [
                self.where([[jet[0] - limit, *jet[1:]] for jet in side], cut)
                for side, limit in zip(*limits, strict=True)
            ]
            excess.append(over[0].max(over[1]).max(ZERO))
            reach.append((pair[1][0] - pair[0][0]).abs_upper() + excess[-1])
        difference = [[-v for v in side] for side in f]
        for names, terms in chart.groups.items():
            n = 1 + max(map(sum, terms))
            table = [arb(terms.get(e, 0)) for e in product(range(n), repeat=len(z))]
            for point in points:  # the table of Q(point + .), axis by axis: the fastest becomes the slowest
                step = [math.comb(i, k) * point ** (i - k) if i >= k else ZERO for i in range(n) for k in range(n)]
                table = (arb_mat(len(table) // n, n, table) * arb_mat(n, n, step)).transpose().entries()
            argument = {
                j: (chart.z.index(max(max(p))), arb(p[max(p)]), arb(p.get((), 0))) for j, p in chart.knots.items()
            }
            for side in (0, 1):
                part = jets.compose(
                    table, n, [[pair[side][0] - c, *pair[side][1:]] for pair, c in zip(z, points, strict=True)]
                )
                for i, a, b in (argument[j] for j in names):
                    ramp = [a * z[i][side][0] + b, *(a * v for v in z[i][side][1:])]
                    part = jets.mul(part, [v / 2 for v in jets.add(ramp, jets.abs(ramp))])
                difference[side] = jets.add(difference[side], part)
            for i in range(
                len(z) if any(not v <= 0 for v in excess) else 0
            ):  # |d/dz_i| of Q times the ramps, on the box of all |z_j - point_j| <= reach_j
                value = slope = ZERO
                for e, c in zip(product(range(n), repeat=len(z)), table, strict=True):
                    powers = [r**k for r, k in zip(reach, reversed(e), strict=True)]
                    value += c.abs_upper() * math.prod(powers, start=arb(1))
                    k = e[len(z) - 1 - i]
                    powers[i] = k * reach[i] ** (k - 1) if k else ZERO
                    slope += c.abs_upper() * math.prod(powers, start=arb(1))
                for j, a, b in (argument[name] for name in names):
                    size = (a * points[j] + b).abs_upper() + abs(a) * reach[j]
                    value, slope = value * size, slope * size + (value * abs(a) if i == j else ZERO)
                slopes[i] += slope
        bound = self.where(difference, cut).max(self.where([[-v for v in side] for side in difference], cut)).max(ZERO)
        return (bound + sum((u * v for u, v in zip(excess, slopes, strict=True)), ZERO)).upper()


class Report(NamedTuple):
    """holds, or the reason why not."""

    holds: bool
    reason: str
    bound: float
    local: float
    error: float
    leaves: int
    seconds: float


def check(tensors: dict[str, np.ndarray], document: dict[str, Any], digests: bool) -> None:
    """Every step of the proof; raises what the first that fails raises."""
    if digests:
        text = json.dumps({k: v for k, v in document.items() if k != "digest"}, sort_keys=True, separators=(",", ":"))
        require(hashlib.sha256(text.encode()).hexdigest() == document["digest"], "the certificate was changed")
        keys = (f"{name}\0{list(a.shape)}\0{a.dtype}\0".encode() + a.tobytes() for name, a in sorted(tensors.items()))
        require(
            hashlib.sha256(b"".join(keys)).hexdigest() == document["network"]["sha256"], "the network is another one"
        )
    order, precision = document["order"], document["precision"]
    require(
        document["format"] == "construct-certificate/1" and document["kind"] == "rigorous", "another format or kind"
    )
    require(1 <= order < ctx.cap and 53 <= precision <= 4096, "an order or a precision out of range")
    unit, manifold = UNITS[document["arithmetic"]["dtype"]], document["manifold"]
    require(
        {a.dtype.name for n, a in tensors.items() if n != "readout"} == {document["arithmetic"]["dtype"]},
        "another dtype",
    )
    require(unit == document["arithmetic"]["unit"], "another unit round-off")
    require(all(a <= b for a, b in zip(manifold["lower"], manifold["upper"], strict=True)), "an empty box")
    network = Network(tensors, manifold["frame"], document["canonical_box"], unit)
    require(network.error <= document["error"], f"the error of evaluation may be {network.error:.3g}")
    require(
        rational(document["bound"]) >= rational(document["local"]) + rational(document["error"]), "the bound is no sum"
    )
    cells, tree, leaves = Cells(network, document), iter(document["tree"]), 0
    stack = [(manifold["lower"], manifold["upper"], list(range(len(network.charts))), 0)]
    while stack:
        lower, upper, near, depth = stack.pop()
        symbol = next(tree) if depth == 0 else "."
        near, bound = cells.bound(lower, upper, near, symbol == ".")
        leaves += symbol == "." and depth == 0
        if symbol == "." and bound <= document["local"]:
            continue
        require(depth < MORE, f"the bound is {bound} on the cell {lower}, {upper}")
        axis = int(symbol) if symbol != "." else max(range(len(lower)), key=lambda i: upper[i] - lower[i])
        middle, depth = (lower[axis] + upper[axis]) / 2, depth + (symbol == ".")
        stack.append(([*lower[:axis], middle, *lower[axis + 1 :]], upper, near, depth))
        stack.append((lower, [*upper[:axis], middle, *upper[axis + 1 :]], near, depth))
    require(next(tree, None) is None and leaves == document["cells"], "a tree with other leaves")


def verify(network_path: Any, certificate_path: Any, *, digests: bool = True) -> Report:
    start, network, text, values = (
        time.perf_counter(),
        Path(network_path).read_bytes(),
        Path(certificate_path).read_bytes(),
        [],
    )
    try:
        document = json.loads(text)
        values = [float(document[name]) for name in ("bound", "local", "error")] + [int(document["cells"])]
        with ctx.workprec(document["precision"]):
            check(load(network), document, digests)
        reason = ""
    except Exception as error:  # whatever breaks a step refuses the certificate
        reason = str(error) or type(error).__name__
    return Report(not reason, reason, *(values or [math.nan, math.nan, math.nan, 0]), time.perf_counter() - start)


def main(arguments: list[str]) -> int:
    paths = [a for a in arguments if a != "--semantic-only"]
    if len(paths) != 2 or not all(Path(path).is_file() for path in paths):
        print("usage: verify NETWORK.safetensors CERTIFICATE.json [--semantic-only]", file=sys.stderr)
        return 2
    report = verify(*paths, digests=len(paths) == len(arguments))
    print(
        f"{'verified' if report.holds else 'refused'}: |T - f| <= {report.bound:.6g} ({report.leaves} cells, {report.seconds:.1f} s)"
    )
    print(report.reason, end="\n" if report.reason else "")
    return 0 if report.holds else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
