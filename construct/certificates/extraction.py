"""From weights to formulas: the function of a network, with proof, as polynomials in charts and partition weights.

The network runs once, on symbols instead of numbers. A register is a polynomial with rational coefficients plus a bound
on how far the register of the computed network may be off. Heads multiply polynomials; a ReLU is resolved when the
range of its argument decides the sign, and becomes a quantity of its own when not. What comes out is

    T(x) = sum_n rho_n(x) P_n(z_n(x)),     rho_n = relu(1 - s_n) - relu(1 - s_n - w_n),     w_n = slope relu(b_n(x)),

with the polynomials P_n, the chart coordinates z_n (clipped to [-1, 1]) and the cut-offs b_n read from the weights, not
from whoever assigned them, and an error that covers

- pairs of tokens on which a head was taken to be silent: proved with the ranges of all registers, exactly where a gate
  is exact;
- gates that are not exactly zero where they should be (trigonometric code);
- scores that are taken to be positive although they may be negative by a little (2^-20 of their size at most);
- with `unit` = u > 0, the rounding of every operation and of the input (running error analysis, standard model
  fl(a op b) = (a op b)(1 + e), |e| <= u, plus underflow). Sums are taken in any order, but for the rows of a score,
  which are added from the first to the last as the dense execution does; what a sparse execution multiplies out is not
  covered. Sums of numbers that are integer multiples of one power of two, with a total below 1/u of it, are exact in
  any order: so the integer code's gates are exact.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from flint import arb, ctx, fmpq

from construct.arrays import Float, Int
from construct.certificates.polynomials import Polynomial, Quantities, Quantity, rational, total
from construct.errors import InputError
from construct.transformer import Transformer

PRECISION = 96  # bits, enough to know signs to 2^-70 of the size
MARGIN = 1e-11  # relative, far above the rounding of the float64 screening of pairs
MARGIN_UNITS = 64  # and, in unit round-offs of the network, above what it may itself lose in a score
UNDERFLOW = arb(2) ** -100  # a product of this size and below: what it loses is covered by `_rounding` in any format
LARGEST = 2.0**100  # of a register or score: nothing overflows, in float32 neither
SMALLEST_STEP = 2**120  # numbers that are multiples of its inverse do not underflow
HEADS_AT_ONCE = 64
EXTRA_OPERATIONS = 3  # room for executions that regroup
NEARLY = 2.0**-20  # a score negative by at most this share of its size counts as positive, at the price of an error
NEGLIGIBLE = 2.0**-28  # with inexact gates, terms below this share of a register or score become part of its error
MOST_TERMS = 40  # a register with more linear terms gets a name

ZERO = arb(0)


@dataclass
class Register:
    """Value of one entry of the hidden state: |computed - polynomial| <= error."""

    polynomial: Polynomial
    error: arb

    @staticmethod
    def fixed(value: float) -> Register:
        return Register(Polynomial.constant(rational(value)), ZERO)


@dataclass(frozen=True)
class NetworkFormula:
    """`T = rest + sum_n rho_n terms[n]` in the quantities of `quantities`; `error` bounds |computed - T|.

    weights: numbers of the partition weights rho_n, in the order of their tokens.
    """

    quantities: Quantities
    weights: tuple[int, ...]
    terms: tuple[Polynomial, ...]
    rest: Polynomial
    error: arb


def extract(net: Transformer, box: Float, unit: float = 0.0) -> NetworkFormula:
    """The formula of a network for inputs |x_j| <= box_j.

    Args:
        box: (D,) half-widths; what is proved holds for inputs inside.
        unit: unit round-off of the arithmetic whose errors are to be included; 0 for exact arithmetic.

    Raises:
        InputError: the weights are not those of a telescoping partition of polynomials (a network of another kind, or
            weights that were changed), or not finite; a box that does not fit.
    """
    half = np.asarray(box, dtype=np.float64)
    if half.shape != (net.ambient,) or not ((half >= 0) & (half <= LARGEST)).all():
        raise InputError(f"box: expected {net.ambient} finite half-widths >= 0, got shape {half.shape}")
    if not 0 <= unit <= 2.0**-8:
        raise InputError(f"unit: expected a unit round-off, between 0 and 2^-8, got {unit}")
    if not all(bool(parameter.isfinite().all()) for parameter in net.parameters()):
        raise InputError("net: expected finite weights, got NaN or infinity")
    with ctx.workprec(max(ctx.prec, PRECISION)):
        return _Execution(net, half, unit).run()


class _Execution:
    def __init__(self, net: Transformer, box: Float, unit: float) -> None:
        self.unit = unit
        self.margin = max(MARGIN, MARGIN_UNITS * unit)
        self.negligible = NEGLIGIBLE if net.labels.get("position_code") == "trigonometric" else 0.0
        self.blocks = [
            (
                *(getattr(block, name).detach().double().cpu().numpy() for name in ("query", "key", "value")),
                [
                    (layer.weight.detach().double().cpu().numpy(), layer.bias.detach().double().cpu().numpy())
                    for layer in block.ffn_layers
                ],
            )
            for block in net.stack
        ]
        self.readout = tuple(int(i) for i in net.readout)
        self.names = Quantities()
        self.slopes: dict[tuple[int, ...], fmpq] = {}
        hidden = net.hidden0.detach().double().cpu().numpy()
        self.tokens, self.width = hidden.shape
        self.state = [[Register.fixed(value) for value in row] for row in hidden]
        self.low, self.high = hidden.copy(), hidden.copy()
        for j, half in enumerate(box):
            bound = arb(float(half))
            name = self.names.new(Quantity("input", -bound, bound, label=j))
            start = Register(Polynomial.of(name), bound * unit)
            self.state[j][0] = self._added(self.state[j][0], start) if hidden[j, 0] else start
            self._bound(j, 0)

    # -- ranges -----------------------------------------------------------------------------------

    def _bound(self, token: int, row: int) -> None:
        """Refresh the float bounds of a register, rounded outwards, its error included."""
        register = self.state[token][row]
        low, high = self.names.range(register.polynomial)
        self.low[token, row] = np.nextafter(float((low - register.error).lower()), -np.inf)
        self.high[token, row] = np.nextafter(float((high + register.error).upper()), np.inf)
        if register.polynomial.is_constant and register.error == 0:
            self.low[token, row] = self.high[token, row] = float(arb(register.polynomial.value()).mid())
        if not (self.low[token, row] >= -LARGEST and self.high[token, row] <= LARGEST):
            raise InputError(f"net: expected registers below {LARGEST:.0e}, cannot bound row {row} of token {token}")

    # -- the network ------------------------------------------------------------------------------

    def run(self) -> NetworkFormula:
        for query, key, value, layers in self.blocks:
            changed = self._attention(query, key, value)
            self._name_registers(changed)
            if layers:
                self._feed_forward(layers)
        out = self.state[self.readout[0]][self.readout[1]]
        return self._formula(out)

    def _attention(self, query: Float, key: Float, value: Float) -> set[tuple[int, int]]:
        parts: dict[tuple[int, int], list[tuple[Polynomial, arb]]] = defaultdict(list)
        for head, target, source in self._candidates(query, key, value):
            self._act(query[head], key[head], value[head], target, source, parts)
        updates = {}
        for (token, row), contributions in parts.items():
            old = self.state[token][row]
            polynomials = [old.polynomial, *(p for p, _ in contributions)]
            error = old.error
            for _, e in contributions:
                error = error + e
            if self.unit:
                sizes = [self._size(p) for p in polynomials]
                if not self._exact_sum(polynomials, error):
                    error += self._rounding(len(polynomials), sum(sizes, error))
            updates[token, row] = self._pruned(Register(total(polynomials), error))
        for (token, row), register in updates.items():
            self.state[token][row] = register
            self._bound(token, row)
        return set(updates)

    def _pruned(self, register: Register) -> Register:
        """Terms that are traces of gates (trigonometric code) go into the error."""
        terms = register.polynomial.terms
        if len(terms) < 2 or not self.negligible:
            return register
        sizes = {m: self._size(Polynomial({m: c})) for m, c in terms.items()}
        limit = max(float(s) for s in sizes.values()) * self.negligible
        small = [m for m, s in sizes.items() if float(s) <= limit]
        if not small:
            return register
        error = register.error + sum((sizes[m] for m in small), ZERO)
        return Register(Polynomial({m: c for m, c in terms.items() if sizes[m] > limit}), error)

    def _act(
        self,
        query: Float,
        key: Float,
        value: Float,
        target: int,
        source: int,
        parts: dict[tuple[int, int], list[tuple[Polynomial, arb]]],
    ) -> None:
        """Contribution of one head at one pair."""
        used = [r for r in range(self.width) if query[r].any() and key[r].any()]
        score, score_error, size = self._score(query[used], key[used], target, source)
        low, high = self.names.range(score)
        if (high + score_error).upper() <= 0 or (high <= 0 and score_error == 0):
            return
        for row in range(self.width):
            if not value[row].any():
                continue
            v, v_error = self._functional(value[row], source)
            v_size = self._size(v)
            if not v and v_error == 0:
                continue
            if high <= 0:  # silent in exact arithmetic, perhaps not in floating point
                leak = score_error * (v_size + v_error)
                parts[target, row].append((Polynomial(), leak + self._rounding(1, leak)))
                continue
            fired, doubt = self._relu(score, low, high, source, v)
            s_error = score_error + doubt
            error = s_error * (v_size + v_error) + size * v_error
            error += self._product_rounding((fired, s_error), (v, v_error), (size + s_error) * (v_size + v_error))
            if fired is None:
                bound = (high + score_error).upper() * (v_size + v_error)
                bound = (bound + self._rounding(1, bound)).upper()
                name = self.names.new(Quantity("free", -bound, bound))
                parts[target, row].append((Polynomial.of(name), ZERO))
            else:
                parts[target, row].append((fired * v, error))

    def _product_rounding(
        self, left: tuple[Polynomial | None, arb], right: tuple[Polynomial | None, arb], size: arb
    ) -> arb:
        """What a product of two registers with their errors loses, its size being at most `size`.

        Nothing if both are known numbers whose product can be represented; underflow only if one of them is 0 or +-2^k.
        """
        known = [p.value() for p, error in (left, right) if p is not None and p.is_constant and error == 0]
        if len(known) == 2 and self._exact_sum([Polynomial.constant(known[0] * known[1])], ZERO):
            return ZERO
        return self._rounding(1, ZERO if any(v == 0 or _odd_part(v) == 1 for v in known) else size)

    def _score(self, query: Float, key: Float, target: int, source: int) -> tuple[Polynomial, arb, arb]:
        """`sum_r <Q_r, h_t> <K_r, h_s>`, a bound on its error, and one on its size."""
        products, error = [], ZERO
        partial = Polynomial()
        for q_row, k_row in zip(query, key, strict=True):
            q, q_error = self._functional(q_row, target)
            k, k_error = self._functional(k_row, source)
            if (not q and q_error == 0) or (not k and k_error == 0):
                continue
            q_size, k_size = self._size(q), self._size(k)
            error += q_error * k_size + q_size * k_error + q_error * k_error
            error += self._product_rounding((q, q_error), (k, k_error), (q_size + q_error) * (k_size + k_error))
            product = q * k
            products.append(product)
            partial = partial + product
            if len(products) > 1 and not self._exact_sum(products, error):
                error += self._rounding(1, self._size(partial) + error)
        kept = self._pruned(Register(partial, error))
        return kept.polynomial, kept.error, self._size(kept.polynomial)

    def _functional(self, weights: Float, token: int) -> tuple[Polynomial, arb]:
        """`<w, h_token>` and a bound on its error."""
        parts, error, sizes = [], ZERO, ZERO
        for row in np.flatnonzero(weights):
            register, weight = self.state[token][row], rational(weights[row])
            part = register.polynomial * weight
            if not part and register.error == 0:
                continue
            parts.append(part)
            error += register.error * abs(arb(weight))
            if self.unit:
                sizes += (self._size(register.polynomial) + register.error) * abs(arb(weight))
        if not self._exact_sum(parts, error):
            error += self._rounding(len(parts), sizes)
        return total(parts), error

    def _exact_sum(self, parts: list[Polynomial], error: arb) -> bool:
        """Whether a sum is exact in any order, and every term can be represented; error: of the terms, all together."""
        if not self.unit:
            return True
        if not error.is_zero():
            return False
        values = []
        for part in parts:
            if not part.is_constant:
                return False
            if part:
                values.append(part.value())
        if len(values) == 0:
            return True
        scale = max(int(v.q) for v in values)
        if scale & (scale - 1) or scale > SMALLEST_STEP:  # weights are floats: a power of two, unless it underflows
            return False
        integers = [abs(int(v.p) * (scale // int(v.q))) for v in values]
        shift = min((i & -i) for i in integers)
        return sum(integers) // shift <= 1 / self.unit

    def _rounding(self, operations: int, size: arb) -> arb:
        """What a number of roundings, each of at most `size`, may come to: gamma_n size; 0 in exact arithmetic."""
        if not self.unit:
            return ZERO
        n = arb(self.unit) * (operations + EXTRA_OPERATIONS)
        return (n / (1 - n) * (size + UNDERFLOW)).upper() if n < 1 else arb.pos_inf()

    def _size(self, polynomial: Polynomial) -> arb:
        low, high = self.names.range(polynomial)
        return abs(low).max(abs(high)).upper()

    def _relu(
        self, score: Polynomial, low: arb, high: arb, source: int | None = None, v: Polynomial | None = None
    ) -> tuple[Polynomial | None, arb]:
        """relu of a polynomial and how far off it may be; None for a bounded unknown."""
        if low >= 0:
            return score, ZERO
        size = abs(low).max(high)
        if -low <= size * NEARLY:
            return score, (-low).upper()
        if v is not None and not v.is_constant:
            common = self.names.common_factors(score)
            if not common:
                return None, ZERO
        candidates = []
        if source is not None:
            candidates = [register.polynomial for register in self.state[source][:2]]
        for candidate in candidates:  # a gate that is not exactly zero: the register itself, off by little
            difference = score - candidate
            if difference and len(difference.terms) <= 2 and self._size(difference) <= size * 1e-6:
                return self._relu_quantity(candidate), self._size(difference)
        return self._relu_quantity(score), ZERO

    def _relu_quantity(self, argument: Polynomial) -> Polynomial:
        """relu of a polynomial of unknown sign as a quantity; non-negative common factors and the scale in front."""
        front = Polynomial.constant(fmpq(1))
        for i in self.names.common_factors(argument):
            argument = argument.without(i)
            front = front * Polynomial.of(i)
        scale = abs(argument.terms[min(argument.terms)])
        normal = argument * (1 / scale)
        _, high = self.names.range(normal)
        name = self.names.shared(Quantity("relu", ZERO, high.max(ZERO).upper(), (normal,)))
        return front * Polynomial.of(name) * scale

    # -- which pairs act ---------------------------------------------------------------------------

    def _candidates(self, query: Float, key: Float, value: Float) -> list[tuple[int, int, int]]:
        """Pairs that the ranges of the registers do not prove silent, in floating point included.

        Per head, targets are kept whose score may be positive with the hull of all sources that have a value, then
        sources with the hull of those targets; what remains is looked at pair by pair.
        """
        found = []
        q_low, q_high = self.low, self.high
        for start in range(0, query.shape[0], HEADS_AT_ONCE):
            window = slice(start, start + HEADS_AT_ONCE)
            q = _functional_range(query[window], q_low, q_high, self.margin)
            k = _functional_range(key[window], q_low, q_high, self.margin)
            v = _functional_range(value[window], q_low, q_high, self.margin)
            if not (np.abs(q).max() * np.abs(k).max() <= LARGEST and np.abs(v).max() <= LARGEST):
                raise InputError(f"net: expected scores below {LARGEST:.0e}, cannot bound those from head {start} on")
            speaks = ((v[0] != 0) | (v[1] != 0)).any(axis=2)  # (m, l)
            k_low = np.where(speaks[:, :, None], k[0], np.inf).min(axis=1)[:, None, :]
            k_high = np.where(speaks[:, :, None], k[1], -np.inf).max(axis=1)[:, None, :]
            heard = speaks.any(axis=1)
            k_low, k_high = np.where(np.isfinite(k_low), k_low, 0.0), np.where(np.isfinite(k_high), k_high, 0.0)
            targets = ~(_upper(q, (k_low, k_high), self.margin) < 0)
            q_low_t = np.where(targets[:, :, None], q[0], np.inf).min(axis=1)[:, None, :]
            q_high_t = np.where(targets[:, :, None], q[1], -np.inf).max(axis=1)[:, None, :]
            q_low_t = np.where(np.isfinite(q_low_t), q_low_t, 0.0)
            q_high_t = np.where(np.isfinite(q_high_t), q_high_t, 0.0)
            sources = ~(_upper((q_low_t, q_high_t), k, self.margin) < 0) & speaks
            for h in np.flatnonzero(heard):
                t, s = np.flatnonzero(targets[h]), np.flatnonzero(sources[h])
                found += [(start + int(h), int(a), int(b)) for a, b in self._pairwise(q, k, int(h), t, s)]
        return found

    def _pairwise(
        self, q: tuple[Float, Float], k: tuple[Float, Float], head: int, targets: Int, sources: Int
    ) -> list[tuple[int, int]]:
        if targets.size == 0 or sources.size == 0:
            return []
        upper = _upper(
            (q[0][head][targets][:, None, :], q[1][head][targets][:, None, :]),
            (k[0][head][sources][None, :, :], k[1][head][sources][None, :, :]),
            self.margin,
        )
        i, j = np.nonzero(~(upper < 0))
        return list(zip(targets[i].tolist(), sources[j].tolist(), strict=True))

    # -- feed-forward networks ---------------------------------------------------------------------

    def _name_registers(self, changed: set[tuple[int, int]]) -> None:
        """Registers that hold unknowns become one unknown; long linear ones get a name."""
        for token, row in changed:
            register = self.state[token][row]
            if "free" in self.names.kinds(register.polynomial):
                self._forget(token, row)
            elif len(register.polynomial.terms) > MOST_TERMS and self.names.kinds(register.polynomial) == {"input"}:
                if any(len(m) > 1 for m in register.polynomial.terms):
                    continue
                low, high = self.names.range(register.polynomial)
                name = self.names.shared(Quantity("linear", low, high, (register.polynomial,)))
                self.state[token][row] = Register(Polynomial.of(name), register.error)

    def _forget(self, token: int, row: int) -> None:
        """Keep the range of a register only."""
        register = self.state[token][row]
        low, high = self.names.range(register.polynomial)
        name = self.names.new(Quantity("free", (low - register.error).lower(), (high + register.error).upper()))
        self.state[token][row] = Register(Polynomial.of(name), ZERO)
        self._bound(token, row)

    def _feed_forward(self, layers: list[tuple[Float, Float]]) -> None:
        for token in range(self.tokens):
            before = self.state[token]
            channels = before
            for depth, (weight, bias) in enumerate(layers):
                fired = channels if depth == 0 else [self._fire(c) for c in channels]
                channels = [self._affine(weight[i], bias[i], fired) for i in range(self.width)]
            updated = list(before)
            for row, channel in enumerate(channels):
                if channel.polynomial or not channel.error.is_zero():
                    updated[row] = self._added(before[row], channel)
            rows = [row for row in range(self.width) if updated[row] is not before[row]]
            self.state[token] = updated
            for row in rows:
                self._alias(token, row, before[row])
                self._bound(token, row)

    def _affine(self, weights: Float, bias: float, channels: list[Register]) -> Register:
        parts = [Polynomial.constant(rational(bias))] if bias else []
        error, sizes = ZERO, arb(abs(float(bias)))
        for i in np.flatnonzero(weights):
            weight = rational(weights[i])
            part = channels[i].polynomial * weight
            if not part and channels[i].error == 0:
                continue
            parts.append(part)
            error += channels[i].error * abs(arb(weight))
            if self.unit:
                sizes += (self._size(channels[i].polynomial) + channels[i].error) * abs(arb(weight))
        if not self._exact_sum(parts, error):
            error += self._rounding(len(parts), sizes)
        return Register(total(parts), error)

    def _fire(self, channel: Register) -> Register:
        """relu of a channel."""
        if not channel.polynomial:
            return channel
        low, high = self.names.range(channel.polynomial)
        if high <= 0:
            excess = (high + channel.error).upper()
            return Register(Polynomial(), channel.error if excess > 0 else ZERO)
        flat = self._flattened(channel.polynomial)
        if flat is not channel.polynomial:  # its sign is another one where y < 0
            low, high = self.names.range(flat)
        polynomial, doubt = self._relu(flat, low, high)
        assert polynomial is not None
        return Register(polynomial, channel.error + doubt)

    def _flattened(self, polynomial: Polynomial) -> Polynomial:
        """`relu(relu(y) + rest) = relu(y + rest)` where rest <= 0: y + rest in place of relu(y) + rest."""
        for m, c in polynomial.terms.items():
            if len(m) == 1 and c > 0 and self.names.table[m[0]].kind == "relu":
                rest = polynomial - Polynomial({m: c})
                if rest and self.names.range(rest)[1] <= 0:
                    return self.names.table[m[0]].definition[0] * c + rest
        return polynomial

    def _added(self, before: Register, channel: Register) -> Register:
        parts = [before.polynomial, channel.polynomial]
        error = before.error + channel.error
        if (before.polynomial or not before.error.is_zero()) and not self._exact_sum(parts, error):
            error += self._rounding(1, self._size(before.polynomial) + self._size(channel.polynomial) + error)
        return Register(total(parts), error)

    def _alias(self, token: int, row: int, before: Register) -> None:
        """Name what a feed-forward network made: a clipped value or a partition weight; otherwise forget it."""
        register = self.state[token][row]
        relus = [m for m in register.polynomial.terms if any(self.names.table[i].kind == "relu" for i in m)]
        if not relus:
            return
        quantity = self._as_clip(register.polynomial, before.polynomial) or self._as_weight(register.polynomial)
        if quantity is None:
            self._forget(token, row)
            return
        error = register.error
        if quantity.kind == "rho" and self.negligible:
            quantity, more = self._telescoping(quantity)
            error += more
        self.state[token][row] = Register(Polynomial.of(self.names.shared(quantity)), error)

    def _telescoping(self, weight: Quantity) -> tuple[Quantity, arb]:
        """A weight whose slopes are those of the others, and what that changes.

        With inexact gates the same cut-off arrives with slopes that differ in their last digits, and 1 is 1 up to a
        trace; relu has Lipschitz constant 1.
        """
        sides, change = [], ZERO
        for side in weight.definition:
            terms = dict(side.terms)
            for m, c in side.terms.items():
                known = fmpq(1) if not m else self.slopes.setdefault(m, c)
                if c != known and abs(float(arb(c / known)) - 1) < NEARLY:
                    terms[m] = known
            polynomial = Polynomial(terms)
            change += self._size(side - polynomial)
            sides.append(polynomial)
        if not self.names.range(sides[0] - sides[1])[0] >= 0:
            return weight, ZERO
        high = (weight.high + change).upper()
        return Quantity("rho", ZERO, high, (sides[0], sides[1])), change

    def _as_clip(self, after: Polynomial, before: Polynomial) -> Quantity | None:
        """`q + relu(-limit - q) - relu(q - limit)`, or one side of it where the range of q needs no more."""
        low, high = self.names.range(before)
        sides = (after - before).terms
        if sum(c > 0 for c in sides.values()) > 1 or sum(c < 0 for c in sides.values()) > 1:
            return None
        for m, c in sides.items():
            if len(m) != 1 or self.names.table[m[0]].kind != "relu":
                return None
            argument = self.names.table[m[0]].definition[0] * abs(c)
            limit = argument - before if c < 0 else argument + before
            if not limit.is_constant or not limit.value() < 0:
                return None
            bound = -arb(limit.value())
            if c < 0:
                high = high.min(bound)
            else:
                low = low.max(-bound)
        return Quantity("clip", low, high, (before,))

    def _as_weight(self, polynomial: Polynomial) -> Quantity | None:
        """`relu(y) - relu(y')` with y >= y' (or relu(y) = y >= 0)."""
        positive = Polynomial({m: c for m, c in polynomial.terms.items() if not _is_relu(self.names, m) or c > 0})
        negative = polynomial - positive
        if len(negative.terms) != 1:
            return None
        ((m, c),) = negative.terms.items()
        lower = self.names.table[m[0]].definition[0] * -c
        upper = positive
        if len(positive.terms) == 1:
            ((n, e),) = positive.terms.items()
            if _is_relu(self.names, n):
                upper = self.names.table[n[0]].definition[0] * e
        if upper is positive and not self.names.range(positive)[0] >= 0:
            return None
        if not self.names.range(upper - lower)[0] >= 0:
            return None
        top = self.names.range(upper)[1].min(self.names.range(upper - lower)[1]).max(ZERO)
        return Quantity("rho", ZERO, top.upper(), (upper, lower))

    # -- the result --------------------------------------------------------------------------------

    def _formula(self, out: Register) -> NetworkFormula:
        weights = [i for i, q in enumerate(self.names.table) if q.kind == "rho"]
        grouped: dict[int, dict[tuple[int, ...], fmpq]] = {i: {} for i in weights}
        rest: dict[tuple[int, ...], fmpq] = {}
        for m, c in out.polynomial.terms.items():
            present = [i for i in m if i in grouped]
            if not present:
                rest[m] = c
            elif len(present) == 1:
                place = m.index(present[0])
                grouped[present[0]][m[:place] + m[place + 1 :]] = c
            else:
                raise InputError("net: expected an output linear in the partition weights, got a product of two")
        if "free" in self.names.kinds_below(out.polynomial):
            raise InputError(
                "net: expected a network whose output is a partition of unity times polynomials of the chart "
                "coordinates (compact construction); the signs inside its ReLUs are not decided by the ranges of its "
                "registers"
            )
        if not weights:
            raise InputError("net: expected a telescoping partition of unity (compact construction), found none")
        terms = tuple(Polynomial(grouped[i]) for i in weights)
        return NetworkFormula(self.names, tuple(weights), terms, Polynomial(rest), out.error)


def _is_relu(names: Quantities, monomial: tuple[int, ...]) -> bool:
    return len(monomial) == 1 and names.table[monomial[0]].kind == "relu"


def _odd_part(value: fmpq) -> int:
    """m of |value| = m 2^k, m odd, for a dyadic rational other than 0."""
    p = abs(int(value.p))
    return p // (p & -p)


def _functional_range(weight: Float, low: Float, high: Float, margin: float) -> tuple[Float, Float]:
    """Range of `weight @ h_token`, (m, r, w) and (l, w) -> two (m, l, r), widened for rounding."""
    positive, negative = np.maximum(weight, 0.0), np.minimum(weight, 0.0)
    lower = np.einsum("mrw,lw->mlr", positive, low) + np.einsum("mrw,lw->mlr", negative, high)
    upper = np.einsum("mrw,lw->mlr", positive, high) + np.einsum("mrw,lw->mlr", negative, low)
    widen = margin * np.einsum("mrw,lw->mlr", np.abs(weight), np.maximum(np.abs(low), np.abs(high)))
    return lower - widen, upper + widen


def _upper(q: tuple[Float, Float], k: tuple[Float, Float], margin: float) -> Float:
    """Upper bound of `sum_r q_r k_r`, widened for rounding, the network's own included."""
    products = np.stack([q[0] * k[0], q[0] * k[1], q[1] * k[0], q[1] * k[1]])
    upper = products.max(axis=0)
    return np.asarray(upper.sum(axis=-1) + margin * np.abs(products).max(axis=0).sum(axis=-1))
