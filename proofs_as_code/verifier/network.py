"""From the weights of a network to its formula and the error of its evaluation.

The network runs once, for inputs x = F y + offset with y_k in box_k, on polynomials in y - middle of the box with
rational coefficients. A value is (polynomial, error): the computed one is off by at most the error, which covers the
rounding of every operation (`arithmetic`) and signs known to 2^-50 only. A ReLU of known sign disappears, another
becomes an unknown; clipped values, partition weights, windows, and T2 and T3 of a register get names. `formulas` says
what must come out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from flint import fmpq

from proofs_as_code.verifier import arithmetic
from proofs_as_code.verifier.arithmetic import Arithmetic, Unknown
from proofs_as_code.verifier.documents import LARGEST, require
from proofs_as_code.verifier.formulas import NONE, partition, ridges
from proofs_as_code.verifier.polynomials import TINY, Poly, Value, above, nearest, number, rational
from proofs_as_code.verifier.weights import Weights

MOST_LOOKS = arithmetic.MOST_LOOKS
LOOKS_A_PAIR, LOOKS_A_REGISTER = 1 << 17, 1 << 11  # of a pair that acts; of a register, in each block
MOST_AT_ONCE = 1 << 22  # of the pairs of a head, times the rows of their scores
SLOPES = (-4.0, -2.0)  # of a register in the values of the heads that make T3 and T2 of it
NEARLY = fmpq(1, 1 << 20)  # how far from 1 the end of a clip may be
MOST_RELUS = 256  # inside a window
MAPS = {3: {1: fmpq(-3), 3: fmpq(4)}, 2: {0: fmpq(-1), 2: fmpq(2)}}

Head = tuple[np.ndarray, np.ndarray, np.ndarray]  # Q, K, V


class Network(Arithmetic):
    """The formula of a network for inputs F y + offset, y_k in box_k: `charts`, or `constant`, `ridges` and, by windows
    other than 1, `constants`; and `error`.

    Gates must close exactly, as those of the integer code do: slopes of one cut-off in two places are compared exactly.
    """

    def __init__(self, weights: Weights, frame: Any, offset: Any, box: Any, unit: float) -> None:
        super().__init__(unit)
        self.inputs: list[Poly] = []
        self.middle = [(rational(low) + rational(high)) / 2 for low, high in box]
        halves = [(rational(high) - rational(low)) / 2 for low, high in box]
        self.unknowns += [Unknown("y", -half, half) for half in halves]
        self.state = [[(number(v), 0.0) for v in row] for row in weights.hidden0.tolist()]
        require(len(frame) <= len(self.state), "frame", f"at most {len(self.state)} rows, one a token", str(len(frame)))
        for token, row, start in zip(self.state, frame, offset, strict=False):
            x = Poly.of(((k,), rational(v)) for k, v in enumerate(row))
            x += Poly.of([((), sum(rational(v) * m for v, m in zip(row, self.middle, strict=True)) + rational(start))])
            error = unit * self.size(x) + TINY[unit] if x else 0.0
            token[0] = self.add([token[0], (x, error)]) if token[0][0] else (x, error)
            self.inputs.append(x)
        self.between = Poly()  # any number in [-1, 1]
        place, row = weights.readout
        for n, (query, key, value, layers) in enumerate(weights.blocks, start=1):
            wanted: Sequence[int] = (
                range(len(self.state)) if n < len(weights.blocks) else (place,)
            )  # the others hear in vain
            heads = list(zip(*(array.astype(np.float64) for array in (query, key, value)), strict=True))
            self.attend(heads, wanted)
            self.feed_forward([[array.tolist() for array in layer] for layer in layers], wanted)
        out, error = self.state[place][row]
        self.error = error * (1 + 1e-9)
        base, self.charts = partition(self, out) if "rho" in self.kinds(out) else (fmpq(0), [])
        self.constants, self.ridges = ridges(self, Poly() if self.charts else out)
        self.constant = self.constants.pop(NONE) + base

    def look(self, numbers: int) -> None:
        """Count the numbers that were looked at, and the terms that were multiplied."""
        self.looked += numbers
        require(self.looked <= MOST_LOOKS, "network", f"at most {MOST_LOOKS} numbers to be looked at", "more")

    def attend(self, heads: Sequence[Head], wanted: Sequence[int]) -> None:
        """Add the heads, to the wanted tokens. Pairs whose score is < 0 in floats, by a margin for all rounding, are
        silent.

        What every head computes at every pair, silent or not, must be in the range of the arithmetic: 0 inf is NaN.
        """
        for q, k, v in heads:
            for r in np.flatnonzero(np.isin(v.diagonal(), SLOPES)).tolist():
                others = [column for column in np.flatnonzero(v[r]).tolist() if column != r] or [r]
                if len(np.argwhere(v)) <= 2 and q[:, r] @ k[:, others[0]] == -1:  # as of T3 and T2
                    self.name_forms(r)
        width, parts = len(self.state[0]), dict[tuple[int, int], list[Value]]()
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

        self.look(len(self.state) * width * (LOOKS_A_REGISTER + len(heads)))

        def top(q: Any, k: Any) -> np.ndarray:
            corners = np.stack([a * b for a in q for b in k])
            return (corners.max(0) + margin * abs(corners).max(0) + floor).sum(-1)

        mapped: dict[tuple[int, int], list[tuple[Value, Head]]] = {}
        for q, k, v in heads:
            left, right, said = linear(q), linear(k), linear(v)
            scores = abs(left).max((0, 1)) * abs(right).max((0, 1))
            small = bool(scores.sum() * max(1.0, abs(said).max()) < LARGEST)
            require(small, "network", "scores in the range of its arithmetic", "larger ones")
            heard = np.flatnonzero((sizes > 0) @ (v != 0).any(axis=0))
            if heard.size == 0:
                continue
            hull = right[0][heard].min(0), right[1][heard].max(0)
            asked: dict[tuple[int, bool], list[Value]] = {}  # a token's rows of Q or K, once for all of its pairs
            hears = np.array(wanted)[~(top(left[:, wanted], hull) < 0)]
            self.look(hears.size * heard.size * width)
            slab = max(1, MOST_AT_ONCE // (heard.size * width))
            acting = (
                np.argwhere(~(top(left[:, hears[n : n + slab], None], right[:, None, heard]) < 0)) + np.array((n, 0))
                for n in range(0, hears.size, slab)
            )
            for i, j in (pair for pairs in acting for pair in pairs):
                target, source = int(hears[i]), int(heard[j])
                if target == source and (found := self.map_of(target, (q, k, v))):
                    mapped.setdefault((target, found[0]), []).append((found[1], (q, k, v)))
                    continue
                for r, term in self.terms(target, source, (q, k, v), asked):
                    parts.setdefault((target, r), []).append(term)
        for (t, r), found_maps in mapped.items():  # a map is all that its register hears, or it is a term like others
            if len(found_maps) > 1 or (t, r) in parts:
                more = [term for _, one in found_maps for row, term in self.terms(t, t, one, {}) if row == r]
                parts.setdefault((t, r), []).extend(more)
        kept = {place: found[0][0] for place, found in mapped.items() if place not in parts}
        for (t, r), terms in parts.items():
            total = self.add([self.state[t][r], *terms])
            kept[t, r] = self.free(*total) if "free" in self.kinds(total[0]) else total
        for (t, r), value in kept.items():
            self.state[t][r] = value

    def terms(self, target: int, source: int, head: Head, asked: dict[Any, list[Value]]) -> list[tuple[int, Value]]:
        """What a head adds to the rows of a target from one source."""
        q, k, v = head
        self.look(LOOKS_A_PAIR)
        rows = np.flatnonzero(q.any(axis=1) & k.any(axis=1)).tolist()  # the others add 0 to a score
        for token, matrix, own in ((target, q, True), (source, k, False)):
            if (token, own) not in asked:
                asked[token, own] = [self.functional(matrix[r].tolist(), self.state[token]) for r in rows]
        score: Value = Poly(), 0.0
        for left, right in zip(asked[target, True], asked[source, False], strict=True):
            score = self.add([score, self.times(left, right)])
        said = np.flatnonzero(v.any(axis=1)).tolist()
        return [(r, self.relu(score, self.functional(v[r].tolist(), self.state[source]))) for r in said]

    def name_forms(self, r: int) -> None:
        """Registers that are affine in y and in [-1, 1] as unknowns: what follows is a polynomial in them."""
        for token in self.state:
            p, error = token[r]
            affine = any(p) and all(len(m) < 2 and self.unknowns[i].kind == "y" for m in p for i in (m or (0,)))
            low, high = self.range(p)
            if affine and low >= -1 and high <= 1:
                token[r] = self.unknown("form", low, high, p), error

    def map_of(self, t: int, head: Head) -> tuple[int, Value] | None:
        """The row and the value that a token gets by hearing itself, if that is T3 or T2 of a named register.

        The register is w + e, |w| <= 1, e small. a + relu(1 - a^2)(-4 a) and a + relu(1 - a)(-2 a - 1) are T3 and T2 up
        to 1, and a beyond, where no ReLU fires: they have the Lipschitz constants 9 and 4 (1 + |e|). What one block
        rounds is that of a number in [-1, 1], and at most (1 + |e|)^3 of it for one beyond.
        """
        (r, *others), (p, error) = np.flatnonzero(head[2].any(axis=1)).tolist(), (Poly(), 0.0)
        if not others:
            p, error = self.state[t][r]
        m = next(iter(p), ())
        if len(p) != 1 or len(m) != 1 or p[m] != 1 or not error <= 0.25:
            return None
        kind, low, high, _ = self.unknowns[m[0]]
        if kind not in ("clip", "form", "map") or low < -1 or high > 1:
            return None
        self.between = self.between or self.unknown("clip", fmpq(-1), fmpq(1))
        before, self.state[t][r] = self.state[t][r], (self.between, 0.0)
        ((_, term),) = self.terms(t, t, head, {})
        total, local = self.add([(self.between, 0.0), term])
        self.state[t][r] = before
        (between,) = self.between
        for degree, powers in MAPS.items():
            if total == {between * power: c for power, c in powers.items()}:
                slope = 9 if degree == 3 else 4 * (1 + error)
                definition = Poly({m * power: c for power, c in powers.items()})
                return r, (self.unknown("map", fmpq(-1), fmpq(1), definition), local * (1 + error) ** 3 + slope * error)
        return None

    def feed_forward(self, layers: list[list[Any]], wanted: Iterable[int]) -> None:
        for token in (self.state[t] for t in wanted) if layers else ():
            channels = token
            for depth, (weight, bias) in enumerate(layers):
                fired = [self.relu(c) for c in channels] if depth else channels
                channels = [self.functional(w, fired, b) for w, b in zip(weight, bias, strict=True)]
            pairs = zip(token, channels, strict=True)
            token[:] = [self.named(a[0], *self.add([a, b])) if any(b) else a for a, b in pairs]

    def named(self, before: Poly, after: Poly, error: float) -> Value:
        """Knows clip(before + constant, -1, 1), relu(y) - relu(y - w), y = 2 - before, w >= 0, and what is piecewise
        affine and in [0, 1]; else keeps the range only."""
        kinds, y = self.kinds(after), number(2) - before
        clip, upper = self.clip(before, after), self.relu((y, 0.0))
        if "relu" in kinds and clip:
            return clip[0], error + clip[1]
        for m, c in after.items():
            if self.is_relu(m) and c < 0 and (after, 0.0) == (upper[0] + Poly({m: c}), upper[1]):
                w = y + self.unknowns[m[0]].of[0] * Poly({(): c})
                if self.range(w)[0] >= 0:
                    return self.unknown("rho", fmpq(0), min(self.range(p)[1] for p in (y, w)), y, y - w), error
        if "relu" in kinds and self.inner(after) is not None and 0 <= self.range(after)[0] <= self.range(after)[1] <= 1:
            return self.unknown("window", *self.range(after), after), error
        return self.free(after, error) if kinds & {"relu", "free"} else (after, error)

    def inner(self, p: Poly) -> list[int] | None:
        """The ReLUs of which p is made, each behind those in it, if all that is in them are affine forms of y and other
        ReLUs; None if there is something else, or more than MOST_RELUS."""
        found, work = set[int](), [p]
        while work:
            part = work.pop()
            self.look(len(part) << 7)
            if any(len(m) > 1 for m in part) or not self.kinds(part) <= {"relu", "y"}:
                return None
            more = {i for m in part for i in m if self.unknowns[i].kind == "relu"} - found
            found |= more
            if len(found) > MOST_RELUS:
                return None
            work += [self.unknowns[i].of[0] for i in more]
        return sorted(found)  # an unknown is made after those that it is made of

    def clip(self, before: Poly, after: Poly) -> tuple[Poly, float] | None:
        """q + relu(low - q) - relu(q - high), q = before + constant, as clip(q, -1, 1) and what is lost where low is
        not quite -1 or high not quite 1: they are rounded weights. One of the two may be missing where q never needs
        it."""
        q = before + Poly.of([((), after.get((), fmpq(0)) - before.get((), fmpq(0)))])
        (low, high), seen = self.range(q), set[bool]()
        for m, c in (after - q).items():
            if not self.is_relu(m) or (c > 0) in seen:
                return None
            seen.add(c > 0)
            argument = self.unknowns[m[0]].of[0] * Poly({(): abs(c)})
            limit = argument + q if c > 0 else q - argument
            if any(limit) or abs(abs(limit.get((), fmpq(0))) - 1) > NEARLY or (limit[()] < 0) != (c > 0):
                return None
            low, high = (max(low, limit[()]), high) if c > 0 else (low, min(high, limit[()]))
        change = max(-1 - low, high - 1)  # of an end that is there, or of the range of q where there is none
        low, high = max(low, fmpq(-1)), min(high, fmpq(1))
        if not seen or change > NEARLY or low > high:
            return None
        return self.unknown("clip", low, high, q), above(change) if change > 0 else 0.0
