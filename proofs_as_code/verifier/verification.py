"""From a network file and a certificate to "verified", or the reason why not.

Verified is: for every u in [lower, upper], the network with these very weights, evaluated in floating point (IEEE 754,
to nearest, gradual underflow) at the x nearest to F y(u), is within `bound` of the target f(F y(u)); dense formula,
rows of a score added in order, other sums in any.

0. `schema` and `weights` refuse whatever is not a certificate or a network.
1. `network` finds T = sum_n rho_n P_n(z_n) from the weights, or T = constant + sum_t weight_t G(l_t), and bounds the
   error
   of its evaluation.
2. Ridge functions G(l_t): `ridgecells`, times windows: `windowcells`. Else, on a cell of the box where every s_n is the
   sum of the w before it, |T - f| <= max |P_n - f| + relu(1 - sum w) |f|.
   P_n counts only where its cut-off b_n > 0: there g <= g + lambda b_n for every lambda >= 0, which is used for
   g = +-(P_n - f) and for the excess of z_n over its clip. The functions are enclosed by `jets`.
3. The tree of the certificate divides the box: an axis, or a point for a leaf, in preorder. A leaf that does not pass
   is halved up to `MORE` times, so nothing need be as sharp here as where the certificate was made.

Gates must close exactly, as those of integer codes do: a trigonometric code is refused, in these words, whatever its
certificate says. Nothing of `construct` is used. What cannot be shown, or is not understood, refuses the certificate.
"""

from __future__ import annotations

import hashlib
import math
import time
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from flint import arb, arb_mat, ctx, fmpq

from proofs_as_code.verifier.documents import Refused, require
from proofs_as_code.verifier.formulas import NONE, Chart
from proofs_as_code.verifier.jets import INF, ZERO, Jet, Jets
from proofs_as_code.verifier.network import Network
from proofs_as_code.verifier.polynomials import rational
from proofs_as_code.verifier.schema import UNITS, Certificate, certificate
from proofs_as_code.verifier.statement import statement
from proofs_as_code.verifier.walks import check_cells
from proofs_as_code.verifier.weights import Weights, digest, read
from proofs_as_code.verifier.windowcells import WindowCells

MOST_TABLE, MOST_MONOMIALS = 1 << 16, 1 << 23  # coefficients of one local function; of all quadratic forms
MORE, ABOUT = 6, "the one that the certificate is about"
CODES = "a code of integers, whose gates close exactly", "a trigonometric code, which this verifier cannot check"


class Cells:
    """Bounds of |T - f| on cells; pairs of jets are those at the centre and over the cell."""

    def __init__(self, network: Network, proof: Certificate) -> None:
        manifold, self.box, self.charts = proof.manifold, proof.box, network.charts
        self.formula, self.target, self.unknowns = manifold.formula, proof.target, network.unknowns
        self.jets, k, self.middle = Jets(len(manifold.lower), proof.order), len(self.box), network.middle
        self.look, self.base = network.look, arb(network.constant)
        self.looks = [sum(map(self.jets.looks, steps)) for steps in (self.formula, [self.target])]
        forms_in_all = len(proof.manifold.frame) + 4 * len(network.charts)
        size = (k + 1) * (k + 2) // 2 * forms_in_all
        require(size <= MOST_MONOMIALS, "canonical_box", f"at most {MOST_MONOMIALS} coefficients of forms", str(size))
        self.monomials = [(), *((i,) for i in range(k)), *((i, j) for i in range(k) for j in range(i, k))]
        forms = {i: self.unknowns[i].of[0] for chart in self.charts for i in (chart.weight[0], *chart.z)}
        quadratic = {m for p in forms.values() for m in p} <= set(self.monomials)
        require(quadratic, "network", "cut-offs and z that are quadratic in y")
        self.rows = {i: [arb(p.get(m, 0)) for m in self.monomials] for i, p in forms.items()}
        frame = network.inputs
        self.frame = [[arb(p.get(m, 0)) for m in self.monomials] for p in frame]

    def forms(self, rows: list[list[arb]], sides: list[list[Jet]]) -> list[list[Jet]]:
        """Quadratic forms in y, as pairs of jets."""
        out = []
        for side in sides:
            size = len(side[0])
            jets = arb_mat(len(side), size, [v for jet in side for v in jet])
            flat = (arb_mat(len(rows), len(side), [v for row in rows for v in row]) * jets).entries() if rows else []
            out.append([flat[k * size : (k + 1) * size] for k in range(len(rows))])
        return [list(pair) for pair in zip(*out, strict=True)]

    def bound(self, lower: list[float], upper: list[float], near: list[int], leaf: bool) -> tuple[list[int], arb]:
        """The charts with b > 0 somewhere on the cell, among those near; on a leaf a bound of |T - f|."""
        self.look(self.looks[0] + leaf * self.looks[1] + (len(near) * len(self.monomials) * self.jets.size << 6))
        jets, middle = self.jets, [(a + b) / 2 for a, b in zip(lower, upper, strict=True)]
        half = [(arb(b) - m).max(m - arb(a)).upper() for a, b, m in zip(lower, upper, middle, strict=True)]
        self.weights = [math.prod((h**e for h, e in zip(half, a, strict=True)), start=arb(1)) for a in jets.index]
        self.half, sides = half, []
        for points in (list(map(arb, middle)), [m + h * arb(0, 1) for m, h in zip(middle, half, strict=True)]):
            u = {i: [p, *(arb(sum(a) == a[i]) for a in jets.index[1:])] for i, p in enumerate(points)}
            u = {i: [v if k <= jets.d else ZERO for k, v in enumerate(jet)] for i, jet in u.items()}
            y = [jets.run(steps, u) for steps in self.formula]
            y = [[jet[0] - m, *jet[1:]] for jet, m in zip(y, map(arb, self.middle), strict=True)]
            smooth = min(map(len, y))  # no further than the least smooth of them
            one, y = [arb(k == 0) for k in range(smooth)], [jet[:smooth] for jet in y]
            sides.append([one, *y, *(jets.mul(y[i], y[j]) for i, j in self.monomials[len(y) + 1 :])])
        cut = dict(zip(near, self.forms([self.rows[self.charts[n].weight[0]] for n in near], sides), strict=True))
        ends = {n: jets.bounds(cut[n][0], cut[n][1], self.weights) for n in near}
        on = [n for n in near if not ends[n][1] <= 0]
        if not leaf:
            return on, INF
        for k, (_, below, above, _) in enumerate(self.unknowns[: len(self.box)], start=1):
            low, high = jets.bounds(sides[0][k], sides[1][k], self.weights)
            if not (arb(below) <= low and high <= arb(above)):
                return on, INF
        least = {self.charts[n].weight[0]: ends[n][0].max(ZERO) for n in on}
        chain: dict[int, fmpq] = {}
        total, active = ZERO, []
        for n in on:  # a chart whose prefix sum is at least 1 is off; the prefix sums of the others must telescope
            before = {c: slope for c, slope in self.charts[n].before.items() if c in least}
            if not sum((arb(slope) * least[c] for c, slope in before.items()), ZERO) >= 1:
                if before != chain:
                    return on, INF
                cutoff, slope = self.charts[n].weight
                chain[cutoff], total = chain.get(cutoff, fmpq(0)) + slope, total + arb(slope) * least[cutoff]
                active.append(n)
        x = self.forms(self.frame, sides)
        f = [jets.run(self.target, {j: pair[side] for j, pair in enumerate(x)}) for side in (0, 1)]
        worst = ZERO
        for n in active:
            worst = worst.max(self.chart(self.charts[n], cut[n], sides, f))  # NaN stays NaN
        if total >= 1:
            return on, worst
        low, high = jets.bounds(f[0], f[1], self.weights)  # the rest of the partition is the base's
        off = (high - self.base).max(self.base - low)
        both = worst + (1 - total).max(ZERO) * off
        return on, both if self.base == 0 else both.min(worst.max(off))

    def where(self, g: list[Jet], b: list[Jet]) -> arb:
        """An upper bound of g where b > 0: the one of g + lambda b, with the lambda that makes the slope smallest."""
        top = bottom = 0.0
        for i, h in enumerate(self.half, start=1):
            top -= float(g[0][i]) * float(b[0][i]) * float(h) ** 2 if len(g[0]) > i < len(b[0]) else 0
            bottom += float(b[0][i]) ** 2 * float(h) ** 2 if len(b[0]) > i else 0
        factor = max(0.0, top / bottom) if bottom > 0 else 0.0
        centre, cell = (self.jets.add(u, v, arb(factor)) for u, v in zip(g, b, strict=True))
        return self.jets.bounds(centre, cell, self.weights)[1].min(self.jets.bounds(g[0], g[1], self.weights)[1])

    def chart(self, chart: Chart, cut: list[Jet], sides: list[list[Jet]], f: list[Jet]) -> arb:
        """A bound of |P(clip z) - f| where b > 0."""
        jets, z = self.jets, self.forms([self.rows[i] for i in chart.z], sides)
        points, excess, reach, slopes = [pair[0][0] for pair in z], [], [], [ZERO] * len(z)
        for i, pair in zip(chart.z, z, strict=True):  # how far z is beyond its clip; how far both are from the centre
            over = [[jet[0] - arb(self.unknowns[i].high), *jet[1:]] for jet in pair]
            under = [[arb(self.unknowns[i].low) - jet[0], *(-v for v in jet[1:])] for jet in pair]
            excess.append(self.where(over, cut).max(self.where(under, cut)).max(ZERO))
            reach.append((pair[1][0] - pair[0][0]).abs_upper() + excess[-1])
        difference, knots = [[-v for v in side] for side in f], {}
        for j, p in chart.knots.items():  # relu(a z_i + b)
            i, a, b = chart.z.index(max(max(p))), arb(p[max(p)]), arb(p.get((), 0))
            arguments = [[a * jet[0] + b, *(a * v for v in jet[1:])] for jet in z[i]]
            knots[j] = i, a, b, [[v / 2 for v in jets.add(jet, jets.abs(jet))] for jet in arguments]
        for names, terms in chart.groups.items():
            n = 1 + max(map(sum, terms))
            require(
                n ** len(z) <= MOST_TABLE, "network", f"local functions of at most {MOST_TABLE} coefficients", "more"
            )
            self.look((n ** len(z) * (n + jets.size) << 7) + (n * jets.size**2 << 7))
            table = [arb(terms.get(e, 0)) for e in product(range(n), repeat=len(z))]
            for point in points:  # the table of Q(point + .), axis by axis: the fastest becomes the slowest
                step = [math.comb(i, k) * point ** (i - k) if i >= k else ZERO for i in range(n) for k in range(n)]
                table = (arb_mat(len(table) // n, n, table) * arb_mat(n, n, step)).transpose().entries()
            for side in (0, 1):
                steps = [[pair[side][0] - c, *pair[side][1:]] for pair, c in zip(z, points, strict=True)]
                part = jets.compose(table, n, steps)
                for *_, ramp in (knots[j] for j in names):
                    part = jets.mul(part, ramp[side])
                difference[side] = jets.add(difference[side], part)
            # |d/dz_i| of Q times the ramps, on the box of all |z_j - point_j| <= reach_j, if it is needed
            for i in range(len(z) if any(not v <= 0 for v in excess) else 0):
                value = slope = ZERO
                for e, c in zip(product(range(n), repeat=len(z)), table, strict=True):
                    powers = [r**k for r, k in zip(reach, reversed(e), strict=True)]
                    value += c.abs_upper() * math.prod(powers, start=arb(1))
                    k = e[len(z) - 1 - i]
                    powers[i] = k * reach[i] ** (k - 1) if k else ZERO
                    slope += c.abs_upper() * math.prod(powers, start=arb(1))
                for j, a, b, _ in (knots[name] for name in names):
                    size = (a * points[j] + b).abs_upper() + abs(a) * reach[j]
                    value, slope = value * size, slope * size + (value * abs(a) if i == j else ZERO)
                slopes[i] += slope
        bound = self.where(difference, cut).max(self.where([[-v for v in side] for side in difference], cut)).max(ZERO)
        return (bound + sum((u * v for u, v in zip(excess, slopes, strict=True)), ZERO)).upper()


class Report(NamedTuple):
    """holds, or the reason why not; what was proved, line by line; and what was only said, which nobody checked."""

    holds: bool
    reason: str
    bound: float
    local: float
    error: float
    leaves: int
    seconds: float
    function: str = ""
    manifold: str = ""
    box: tuple[str, ...] = ()
    covers: str = ""
    dtype: str = ""
    network_sha256: str = ""
    certificate_sha256: str = ""
    statement: tuple[str, ...] = ()
    unchecked: dict[str, Any] | None = None


def check(tensors: dict[str, Any], proof: Certificate) -> Weights:
    """Every step of the proof; raises what the first that fails raises."""
    weights, manifold = Weights.of(tensors), proof.manifold
    require(weights.dtype() == proof.dtype, "arithmetic.dtype", f"{weights.dtype()}, as the weights have", proof.dtype)
    with np.errstate(all="ignore"):  # infinities and NaN are below no limit
        require(not weights.angles(), "network", *CODES)
        network = Network(weights, manifold.frame, manifold.offset, proof.box, UNITS[proof.dtype])
    require(network.error <= proof.error, "error", f"at least {network.error:.6g}", proof.error)
    bound, local, error = map(rational, (proof.bound, proof.local, proof.error))
    require(bound >= local + error, "bound", "at least local + error", proof.bound)
    if network.charts:
        walk(Cells(network, proof), proof, list(range(len(network.charts))))
    elif network.constants or any(ridge.window != NONE for ridge in network.ridges):
        with np.errstate(all="ignore"):
            windows = WindowCells(network, proof)
            walk(windows, proof, windows.names)
    else:
        with np.errstate(all="ignore"):
            check_cells(network, proof)
    return weights


def walk(cells: Cells | WindowCells, proof: Certificate, everything: list[int]) -> None:
    """|T - f| <= local on every leaf of the tree, which divides the whole box; everything: all charts or windows."""
    local, tree = arb(rational(proof.local)), iter(proof.tree)
    stack = [(proof.manifold.lower, proof.manifold.upper, everything, 0)]
    while stack:
        lower, upper, near, depth = stack.pop()
        symbol = next(tree) if depth == 0 else "."
        near, found = cells.bound(lower, upper, near, symbol == ".")
        if symbol == "." and found <= local:
            continue
        least = f"at least {float(found):.6g} for the cell from {lower} to {upper}"
        require(depth < MORE, "local", least, proof.local)
        axis = int(symbol) if symbol != "." else max(range(len(lower)), key=lambda i: upper[i] - lower[i])
        middle, depth = (lower[axis] + upper[axis]) / 2, depth + (symbol == ".")
        stack.append(([*lower[:axis], middle, *lower[axis + 1 :]], upper, near, depth))
        stack.append((lower, [*upper[:axis], middle, *upper[axis + 1 :]], near, depth))


def verify(network_path: Any, certificate_path: Any, *, digests: bool = True) -> Report:
    """Check a certificate, without `digests` by mathematics alone; raises OSError only, if a file cannot be read."""
    start, network, text = time.perf_counter(), Path(network_path).read_bytes(), Path(certificate_path).read_bytes()
    try:
        proof, (tensors, inputs) = certificate(text, digests), read(network)
        own = len(proof.manifold.frame)
        require(inputs in (None, own), "manifold.frame", f"{inputs} rows, for the inputs of the network", str(own))
        require(not digests or digest(tensors) == proof.network, "network", ABOUT, "another one")
        with ctx.workprec(proof.precision):
            weights = check(tensors, proof)
            proved = statement(proof, weights, *(hashlib.sha256(file).hexdigest() for file in (network, text)))
    except Exception as failure:  # whatever breaks a step refuses the certificate
        understood = isinstance(failure, Refused)
        got = str(failure) if understood else f"{type(failure).__name__}: {ascii(str(failure))[:200]}"
        reason = got if understood else f"files: expected what the proof can be read from, got {got}"
        return Report(False, reason, math.nan, math.nan, math.nan, 0, time.perf_counter() - start)
    seconds = time.perf_counter() - start
    return Report(True, "", proof.bound, proof.local, proof.error, proof.cells, seconds, *proved)
