"""From the weights of a network to its formula and the error of its evaluation.

The network runs once, for inputs x = F y + offset with y_k in box_k, on polynomials in y - middle of the box with
rational coefficients. A value is (polynomial, error): the computed one is off by at most the error, which covers the
rounding of every operation (`polynomials`: relative `unit`, underflow) and signs known to 2^-50 only. A ReLU of known
sign disappears, another becomes an unknown; clipped values and partition weights get names. What must come out is

    T = sum_n rho_n P_n(z_n),    rho_n = relu(1 - s_n) - relu(1 - s_n - w_n),    z_n clipped to [-1, 1],

with s_n and w_n sums of slope relu(quadratic in y). Whatever does not fit raises. Ranges are exact rationals; errors
are sums and products of floats >= 0, raised by 1e-9 in the end for their own rounding.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from flint import fmpq

from proofs_as_code.verifier.documents import LARGEST, require
from proofs_as_code.verifier.polynomials import TINY, Poly, Value, above, keeps, nearest, number, rational, spread
from proofs_as_code.verifier.ranges import bounded, extremes
from proofs_as_code.verifier.weights import Weights

MOST_LOOKS, LOOKS_A_TERM = 1 << 40, 1 << 10  # a product of two terms counts as many looks
MOST_AT_ONCE = 1 << 22  # of the pairs of a head, times the rows of their scores


class Unknown(NamedTuple):
    kind: str  # "y"; "relu": of of[0]; "clip": of of[0] to the range; "rho": relu(of[0]) - relu(of[1]); "free"
    low: fmpq
    high: fmpq
    of: tuple[Poly, ...] = ()


class Chart(NamedTuple):
    weight: tuple[int, fmpq]  # w = slope relu(cut-off): the number of that unknown, and the slope
    before: dict[int, fmpq]  # the same for s
    z: list[int]
    knots: dict[int, Poly]  # relu(a z_i + b) in P
    groups: dict[tuple[int, ...], dict[tuple[int, ...], fmpq]]  # P: knots of a term, exponents of z, coefficient


class Network:
    """The formula of a network for inputs F y + offset, y_k in box_k; `charts` and `error` are the result.

    Gates must close exactly, as those of the integer code do: slopes of one cut-off in two places are compared exactly.
    """

    def __init__(self, weights: Weights, frame: Any, offset: Any, box: Any, unit: float) -> None:
        self.looked = 0
        self.unit, self.ranges, self.numbers, self.inputs = unit, {}, {}, []  # type: ignore[var-annotated]
        self.middle = [(rational(low) + rational(high)) / 2 for low, high in box]
        halves = [(rational(high) - rational(low)) / 2 for low, high in box]
        self.unknowns = [Unknown("y", -half, half) for half in halves]
        self.state = [[(number(v), 0.0) for v in row] for row in weights.hidden0.tolist()]
        require(len(frame) <= len(self.state), "frame", f"at most {len(self.state)} rows, one a token", str(len(frame)))
        for token, row, start in zip(self.state, frame, offset, strict=False):
            x = Poly.of(((k,), rational(v)) for k, v in enumerate(row))
            x += Poly.of([((), sum(rational(v) * m for v, m in zip(row, self.middle, strict=True)) + rational(start))])
            error = unit * self.size(x) + TINY[unit] if x else 0.0
            token[0] = self.add([token[0], (x, error)]) if token[0][0] else (x, error)
            self.inputs.append(x)
        for query, key, value, layers in weights.blocks:
            self.attend(*(array.astype(np.float64) for array in (query, key, value)))
            self.feed_forward([[array.tolist() for array in layer] for layer in layers])
        out, error = self.state[weights.readout[0]][weights.readout[1]]
        self.error, self.charts = error * (1 + 1e-9), self.partition(out)

    def range(self, p: Poly) -> tuple[fmpq, fmpq]:
        """Bounds: sharp for a monomial times a polynomial in one clipped z, added up over such parts."""
        if p.keys() <= {()}:
            return p.get((), fmpq(0)), p.get((), fmpq(0))
        if p.ends is not None:
            return p.ends
        if (key := frozenset(p.items())) not in self.ranges:
            parts: dict[Any, dict[int, fmpq]] = {}
            for m, c in sorted(p.items(), key=lambda item: -len(item[0])):
                clips = {i for i in m if self.unknowns[i].kind == "clip"}
                z = min(clips) if len(clips) == 1 else None
                rest = tuple(i for i in m if i != z)
                if not clips:  # a constant part joins the polynomial with the same monomial
                    z = next((other for factor, other in parts if factor == rest), None)
                parts.setdefault((rest, z), {})[len(m) - len(rest)] = c
            low = high = fmpq(0)
            for (rest, z), powers in parts.items():
                ends = (powers[0], powers[0]) if z is None else self.extremes(powers, z)
                for i in set(rest):
                    corners = [bounded(a * b) for a in ends for b in self.extremes({rest.count(i): fmpq(1)}, i)]
                    ends = min(corners), max(corners)
                low, high = bounded(low + ends[0]), bounded(high + ends[1])
            self.ranges[key] = low, high
        p.ends = self.ranges[key]
        return p.ends

    def extremes(self, powers: dict[int, fmpq], i: int) -> tuple[fmpq, fmpq]:
        """Bounds of a polynomial in one unknown."""
        return extremes(powers, self.unknowns[i].low, self.unknowns[i].high)

    def size(self, p: Poly) -> float:
        return above(max(map(abs, self.range(p))))

    def unknown(self, kind: str, low: fmpq, high: fmpq, *of: Poly) -> Poly:
        """A new unknown, or the one with the same definition."""
        key = (kind, *(frozenset(p.items()) for p in of)) if of else len(self.unknowns)
        if self.numbers.setdefault(key, len(self.unknowns)) == len(self.unknowns):
            self.unknowns.append(Unknown(kind, low, high, of))
        return Poly({(self.numbers[key],): fmpq(1)})

    def look(self, numbers: int) -> None:
        """Count the numbers that were looked at, and the terms that were multiplied."""
        self.looked += numbers
        require(self.looked <= MOST_LOOKS, "network", f"at most {MOST_LOOKS} numbers to be looked at", "more")

    def kinds(self, p: Poly) -> set[str]:
        return {self.unknowns[i].kind for m in p for i in m}

    def add(self, parts: Iterable[Value]) -> Value:
        """fl of a sum, in any order, of values that may have been multiplied by a weight."""
        parts = [(p, e) for p, e in parts if p or e]
        error, size = sum(e for _, e in parts), sum(self.size(p) + e for p, e in parts)
        require(size < LARGEST, "network", "sums in the range of its arithmetic", "larger ones")
        if spread(self.unit, *parts) > 1 / self.unit:
            share = len(parts) * self.unit
            require(share < 0.5, "network", "sums of fewer terms", f"{len(parts)} of them")
            error += share / (1 - share) * size + len(parts) * TINY[self.unit]
        return Poly.of(item for p, _ in parts for item in p.items()), error

    def times(self, a: Value, b: Value) -> Value:
        (p, d), (q, e), unit = a, b, self.unit
        if not (p or d) or not (q or e):  # 0 times what is finite
            return Poly(), 0.0
        self.look(LOOKS_A_TERM * len(p) * len(q))
        error, whole = d * self.size(q) + self.size(p) * e + d * e, p * q
        if not (keeps(unit, a) or keeps(unit, b)) and spread(unit, (whole, d + e)) > 1 / unit:
            error += unit * (self.size(p) + d) * (self.size(q) + e) + TINY[unit]
        return whole, error

    def functional(self, weights: list[float], values: list[Value], bias: float = 0.0) -> Value:
        self.look(len(weights) + LOOKS_A_TERM * sum(len(v) for w, (v, _) in zip(weights, values, strict=True) if w))
        terms = [(v * number(w), e * abs(w)) for w, (v, e) in zip(weights, values, strict=True) if w]
        return self.add([*terms, (number(bias), 0.0)])

    def relu(self, value: Value, factor: Value | None = None) -> Value:
        """fl of relu(value) times a factor."""
        (p, error), factor = value, factor or (number(1), 0.0)
        low, high = self.range(p)
        if high <= 0:
            p, error = Poly(), error if high + rational(error) > 0 else 0.0
        elif -low * 2**50 <= max(high, -low):
            error += above(max(-low, fmpq(0)))
        elif any(factor[0]):
            most = (above(high) + error) * (self.size(factor[0]) + factor[1])
            require(most < LARGEST, "network", "products in the range of its arithmetic", "larger ones")
            return self.free(Poly(), most * (1 + 1e-9 + 2 * self.unit) + TINY[self.unit])
        else:
            for m, c in p.items():  # relu(relu(y) + rest) = relu(y + rest) where rest <= 0
                rest = p - Poly({m: c})
                if self.is_relu(m) and c > 0 and self.range(rest)[1] <= 0:
                    p = rest + self.unknowns[m[0]].of[0] * Poly({(): c})
                    break
            common = tuple(sorted(i for i in set.intersection(*map(set, p)) if self.unknowns[i].low >= 0))
            for i in common:
                p = Poly({m[: m.index(i)] + m[m.index(i) + 1 :]: c for m, c in p.items()})
            scale = abs(p[min(p)])  # the same unknown for all positive multiples
            p = p * Poly({(): 1 / scale})
            p = self.unknown("relu", fmpq(0), max(self.range(p)[1], fmpq(0)), p) * Poly({common: scale})
        return self.times((p, error), factor)

    def is_relu(self, m: tuple[int, ...]) -> bool:
        return len(m) == 1 and self.unknowns[m[0]].kind == "relu"

    def free(self, p: Poly, error: float) -> Value:
        low, high = self.range(p)
        return self.unknown("free", low - rational(error), high + rational(error)), 0.0

    def attend(self, query: np.ndarray, key: np.ndarray, value: np.ndarray) -> None:
        """Add the heads. Pairs whose score is < 0 in floats, by a margin for all rounding, are silent.

        What every head computes at every pair, silent or not, must be in the range of the arithmetic: 0 inf is NaN.
        """
        width, parts = query.shape[2], {}  # type: ignore[var-annotated]
        margin, floor = max(2.0**-36, (44 + 4 * width) * self.unit), (width + 4) * TINY[self.unit]
        ranges = [[(*map(nearest, self.range(p)), e) for p, e in token] for token in self.state]
        low, high, error = np.array(ranges).transpose(2, 0, 1)
        sizes = np.maximum(abs(low), abs(high)) + error

        def linear(w: np.ndarray) -> np.ndarray:
            size = sizes @ abs(w).T
            require(bool((size < LARGEST).all()), "network", "heads in the range of its arithmetic", "larger numbers")
            widen = margin * size + error @ abs(w).T + floor
            up, down = np.maximum(w, 0).T, np.minimum(w, 0).T
            return np.stack([low @ up + high @ down - widen, high @ up + low @ down + widen])

        self.look(len(self.state) * width * (1 + len(query)))

        def top(q: Any, k: Any) -> np.ndarray:
            corners = np.stack([a * b for a in q for b in k])
            return (corners.max(0) + margin * abs(corners).max(0) + floor).sum(-1)

        for q, k, v in zip(query, key, value, strict=True):
            left, right, said = linear(q), linear(k), linear(v)
            scores = abs(left).max((0, 1)) * abs(right).max((0, 1))
            small = bool(scores.sum() * max(1.0, abs(said).max()) < LARGEST)
            require(small, "network", "scores in the range of its arithmetic", "larger ones")
            heard = np.flatnonzero((sizes > 0) @ (v != 0).any(axis=0))
            if heard.size == 0:
                continue
            rows = np.flatnonzero(q.any(axis=1) & k.any(axis=1)).tolist()  # the others add 0 to a score
            hull = right[0][heard].min(0), right[1][heard].max(0)
            asked: dict[tuple[int, bool], list[Value]] = {}  # a token's rows of Q or K, once for all of its pairs
            hears = np.flatnonzero(~(top(left, hull) < 0))
            self.look(hears.size * heard.size * width)
            slab = max(1, MOST_AT_ONCE // (heard.size * width))
            acting = (
                np.argwhere(~(top(left[:, hears[n : n + slab], None], right[:, None, heard]) < 0)) + np.array((n, 0))
                for n in range(0, hears.size, slab)
            )
            for i, j in (pair for pairs in acting for pair in pairs):
                target, source, score = hears[i], self.state[heard[j]], (Poly(), 0.0)
                for token, matrix, own in ((target, q, True), (heard[j], k, False)):
                    if (token, own) not in asked:
                        asked[token, own] = [self.functional(matrix[r].tolist(), self.state[token]) for r in rows]
                for left_row, right_row in zip(asked[target, True], asked[heard[j], False], strict=True):
                    score = self.add([score, self.times(left_row, right_row)])
                for r in np.flatnonzero(v.any(axis=1)):
                    term = self.relu(score, self.functional(v[r].tolist(), source))
                    parts.setdefault((target, r), [self.state[target][r]]).append(term)
        for (t, r), terms in parts.items():
            total = self.add(terms)
            self.state[t][r] = self.free(*total) if "free" in self.kinds(total[0]) else total

    def feed_forward(self, layers: list[list[Any]]) -> None:
        for token in self.state if layers else []:
            channels = token
            for depth, (weight, bias) in enumerate(layers):
                fired = [self.relu(c) for c in channels] if depth else channels
                channels = [self.functional(w, fired, b) for w, b in zip(weight, bias, strict=True)]
            pairs = zip(token, channels, strict=True)
            token[:] = [self.named(a[0], *self.add([a, b])) if any(b) else a for a, b in pairs]

    def named(self, before: Poly, after: Poly, error: float) -> Value:
        """Knows clip(before, -1, 1) and relu(y) - relu(y - w), y = 2 - before, w >= 0; else keeps the range only."""
        one, kinds = number(1), self.kinds(after)
        y = one + one - before
        under, over, upper = (self.relu((p, 0.0)) for p in (y - number(3), before - one, y))
        if "relu" in kinds and (after, 0.0) == (before + under[0] - over[0], under[1] + over[1]):
            low, high = self.range(before)
            return self.unknown("clip", max(low, fmpq(-1)), min(high, fmpq(1)), before), error
        for m, c in after.items():
            if self.is_relu(m) and c < 0 and (after, 0.0) == (upper[0] + Poly({m: c}), upper[1]):
                w = y + self.unknowns[m[0]].of[0] * Poly({(): c})
                if self.range(w)[0] >= 0:
                    return self.unknown("rho", fmpq(0), min(self.range(p)[1] for p in (y, w)), y, y - w), error
        return self.free(after, error) if kinds & {"relu", "free"} else (after, error)

    def partition(self, out: Poly) -> list[Chart]:
        """T = sum rho P, term by term of the output."""
        charts, seen = [], 0
        for i, (kind, _, _, of) in enumerate(self.unknowns):
            if kind == "rho":
                s, w = number(1) - of[0], of[0] - of[1]
                cuts = all(self.is_relu(m) and c > 0 for m, c in (*s.items(), *w.items())) and len(w) == 1
                require(cuts, "network", "partition weights that are differences of sums of cut-offs")
                terms = {tuple(j for j in m if j != i): c for m, c in out.items() if m.count(i) == 1}
                seen += len(terms)
                knots = {j: self.unknowns[j].of[0] for m in terms for j in m if self.unknowns[j].kind == "relu"}
                z = sorted({j for m in (*terms, *(m for p in knots.values() for m in p)) for j in m if j not in knots})
                own = all(self.unknowns[j].kind == "clip" for j in z)
                require(own, "network", "local functions of the chart's z only", "one of more")
                simple = all({len(m) for m in p} <= {0, 1} and len(p) <= 2 for p in knots.values())
                require(simple, "network", "knots in one z", "one in several")
                groups: dict[tuple[int, ...], dict[tuple[int, ...], fmpq]] = {}
                for m, c in terms.items():  # by the knots in them; exponents of z, the last first
                    exponents = tuple(m.count(j) for j in reversed(z))
                    groups.setdefault(tuple(j for j in m if j in knots), {})[exponents] = c
                before, (weight,) = {m[0]: c for m, c in s.items()}, [(m[0], c) for m, c in w.items()]
                charts.append(Chart(weight, before, z, knots, groups))
        owned = {chart.weight[0] for chart in charts}
        require(seen == len(out) > 0, "network", "an output that is a sum of partition weights times local functions")
        chained = all(set(chart.before) <= owned for chart in charts)
        require(chained, "network", "prefix sums of the cut-offs of charts", "another cut-off in one")
        return charts
