"""Jets: truncated Taylor series in d variables whose coefficients are balls.

On a cell `u = c + h t`, `t in [-1, 1]^d`, every smooth g satisfies, for each order m,

    g(c + h t)  in  sum_(|a| < m) g_a(c) (h t)^a  +  sum_(|a| = m) g_a(cell) (h t)^a,      g_a = d^a g / a!

(Taylor's theorem with Lagrange's remainder): the coefficients below m at the centre, those of order m enclosed over the
whole cell. Both come from the same arithmetic, run once on the centre and once on the cell.

Products are convolutions. Functions use the Euler operator `E = sum_i t_i d_i`, which multiplies the coefficient of
`t^a` by |a|: `E exp(f) = exp(f) E f`, `E f^p = p f^(p-1) E f`, and so on, give one recurrence for any number of
variables. Where a function is not differentiable (abs or a root at 0) the value is still enclosed and the derivatives
are NaN, or, for abs, the first is the hull of both sides; whoever bounds with them takes an order m whose coefficients
are finite.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from itertools import product

import numpy as np
from flint import arb, arb_mat

from construct.arrays import Int
from construct.expressions import Algebra
from construct.expressions.balls import integer_power, magnitude, monotone

ZERO, ONE, NAN = arb(0), arb(1), arb.nan()
SIDES = arb(0, 1)

Jet = list[arb]


@cache
def jet_exponents(dim: int, order: int) -> tuple[tuple[int, ...], ...]:
    """All exponents of total degree <= order, by degree."""
    grid = [a for a in product(range(order + 1), repeat=dim) if sum(a) <= order]
    return tuple(sorted(grid, key=lambda a: (sum(a), [-e for e in a])))


class JetSpace(Algebra[Jet]):
    """Arithmetic of jets of one number of variables and one order: an algebra for `Expression.fold`.

    variables: the jets of x_0, x_1, ... that `variable` returns.
    """

    def __init__(self, dim: int, order: int, variables: Sequence[Jet] = ()) -> None:
        self.dim, self.order = dim, order
        self.variables = list(variables)
        self.indices = jet_exponents(dim, order)
        self.size = len(self.indices)
        self.degrees = [sum(a) for a in self.indices]
        self.pairs = _convolution(dim, order)
        self.squares = tuple(tuple((i, j) for i, j in pairs if i <= j) for pairs in self.pairs)
        self.partner = tuple(dict(pairs) for pairs in self.pairs)  # of i at exponent k: the j with a_i + a_j = a_k
        self._angle: tuple[Jet, tuple[Jet, Jet]] | None = None  # the last argument of sin and cos: both are asked for
        self._weights: tuple[Sequence[arb], list[arb]] | None = None

    def over(self, variables: Sequence[Jet]) -> JetSpace:
        """The same arithmetic with other variables."""
        other = object.__new__(JetSpace)
        other.__dict__.update(self.__dict__)
        other.variables, other._angle = list(variables), None
        return other

    def coordinates(self, point: Sequence[arb]) -> list[Jet]:
        """Jets of the d coordinates at a point, or over a cell given by balls."""
        return [
            [point[i], *(ONE if a[i] == 1 and sum(a) == 1 else ZERO for a in self.indices[1:])] for i in range(self.dim)
        ]

    # -- the algebra ------------------------------------------------------------------------------

    def constant(self, value: int | float) -> Jet:
        return [arb(value)] + [ZERO] * (self.size - 1)

    def variable(self, index: int) -> Jet:
        return self.variables[index]

    def add(self, a: Jet, b: Jet) -> Jet:
        return [p + q for p, q in zip(a, b, strict=True)]

    def scale(self, a: Jet, factor: arb) -> Jet:
        return [p * factor for p in a]

    def multiply(self, a: Jet, b: Jet) -> Jet:
        """Product; zeros are left out, unless a coefficient of the other factor is not known: 0 NaN is NaN."""
        if a is b:
            return self._squared(a)
        out = []
        known = all(v.is_finite() for v in a) and all(v.is_finite() for v in b)
        nonzero_a, nonzero_b = ([not (known and v.is_zero()) for v in jet] for jet in (a, b))
        for pairs in self.pairs:
            total = ZERO
            for i, j in pairs:
                if nonzero_a[i] and nonzero_b[j]:
                    total += a[i] * b[j]
            out.append(total)
        return out

    def _squared(self, a: Jet) -> Jet:
        out = [integer_power(a[0], 2)]
        twice = [v + v for v in a]
        for pairs in self.squares[1:]:
            total = ZERO
            for i, j in pairs:
                total += twice[i] * a[j] if i < j else a[i] * a[i]
            out.append(total)
        return out

    def divide(self, a: Jet, b: Jet) -> Jet:
        """Quotient; NaN where b may vanish."""
        if not _away_from_zero(b[0]):
            return [NAN] * self.size
        out: Jet = []
        for k, pairs in enumerate(self.pairs):
            total = a[k]
            for i, j in pairs:
                if i:
                    total -= b[i] * out[j]
            out.append(total / b[0])
        return out

    def power(self, a: Jet, exponent: float) -> Jet:
        """`a^p`: products for integers p, else the recurrence of the Euler operator, which needs a_0 > 0."""
        if float(exponent).is_integer() and exponent >= 0:
            return self._integer_power(a, int(exponent))
        if float(exponent).is_integer():
            return self.divide(self.constant(1), self._integer_power(a, -int(exponent)))
        if not a[0] > 0:
            value = _root_at_zero(a[0], exponent) if a[0] >= 0 and exponent > 0 else NAN
            return [value] + [NAN] * (self.size - 1)
        p = arb(exponent)
        out: Jet = [a[0] ** p]
        for k, pairs in enumerate(self.pairs[1:], start=1):
            total = ZERO
            for i, j in pairs:
                if i:
                    total += (p * self.degrees[i] - self.degrees[j]) * a[i] * out[j]
            out.append(total / (a[0] * self.degrees[k]))
        return out

    def _integer_power(self, a: Jet, exponent: int) -> Jet:
        out, base, rest = None, a, exponent
        while rest:
            if rest & 1:
                out = base if out is None else self.multiply(out, base)
            rest >>= 1
            if rest:
                base = self.multiply(base, base)
        if out is None:
            return self.constant(1)
        return [integer_power(a[0], exponent), *out[1:]]

    def exp(self, a: Jet) -> Jet:
        out: Jet = [a[0].exp()]
        moving = self._moving(a)
        for k in range(1, self.size):
            out.append(_euler(self.partner[k], moving, out) / self.degrees[k])
        return out

    def sin(self, a: Jet) -> Jet:
        return self._sin_cos(a)[0]

    def cos(self, a: Jet) -> Jet:
        return self._sin_cos(a)[1]

    def _sin_cos(self, a: Jet) -> tuple[Jet, Jet]:
        if self._angle is None or self._angle[0] is not a:
            s, c = [a[0].sin()], [a[0].cos()]
            moving = self._moving(a)
            for k in range(1, self.size):
                s_next = _euler(self.partner[k], moving, c) / self.degrees[k]
                c.append(-_euler(self.partner[k], moving, s) / self.degrees[k])
                s.append(s_next)
            self._angle = a, (s, c)
        return self._angle[1]

    def tanh(self, a: Jet) -> Jet:
        """`E g = (1 - g^2) E f`."""
        out: Jet = [monotone(arb.tanh, a[0])]
        slope: Jet = [1 - out[0] * out[0]]
        moving = self._moving(a)
        for k in range(1, self.size):
            out.append(_euler(self.partner[k], moving, slope) / self.degrees[k])
            square = ZERO
            for i, j in self.squares[k]:
                square += 2 * out[i] * out[j] if i < j else out[i] * out[i]
            slope.append(-square)
        return out

    def sqrt(self, a: Jet) -> Jet:
        return self.power(a, 0.5)

    def nonnegative(self, a: Jet) -> Jet:
        return [a[0].nonnegative_part(), *a[1:]]

    def abs(self, a: Jet) -> Jet:
        if a[0] >= 0:
            return a
        if a[0] <= 0:
            return [-v for v in a]
        first = [v * SIDES for v in a[1 : 1 + self.dim]] if self.order else []
        return [magnitude(a[0]), *first] + [NAN] * (self.size - 1 - len(first))

    def _moving(self, f: Jet) -> list[tuple[int, arb]]:
        """The coefficients of `E f` that do not vanish, with their places."""
        return [(i, m * v) for i, (m, v) in enumerate(zip(self.degrees, f, strict=True)) if m and not v.is_zero()]

    def weights(self, half: Sequence[arb]) -> list[arb]:
        """`h^a` for all exponents; the last ones are kept, since a cell asks for many bounds."""
        if self._weights is None or self._weights[0] is not half:
            out = []
            for a in self.indices:
                weight = ONE
                for h, e in zip(half, a, strict=True):
                    weight *= h**e
                out.append(weight)
            self._weights = half, out
        return self._weights[1]

    # -- polynomials ------------------------------------------------------------------------------

    def quotients(self) -> Int:
        """For exponents (b, a) the place of a - b, the last one where it has a negative entry: (S, S)."""
        places = [-1 if k is None else k for k in _quotients(self.dim, self.order)]
        return np.array(places).reshape(self.size, self.size)

    def times(self, a: Jet) -> arb_mat:
        """The matrix A with `(b a) = b A` for jets as rows."""
        return arb_mat(self.size, self.size, [ZERO if k is None else a[k] for k in _quotients(self.dim, self.order)])

    def row(self, a: Jet) -> arb_mat:
        return arb_mat(1, self.size, a)

    def compose(self, coefficients: Sequence[Sequence[arb]], factors: Sequence[Jet], degree: int) -> Jet:
        """`sum_b p_b prod_i factors_i^(b_i)` over all |b| <= degree in d' = len(factors) >= 1 variables.

        coefficients: lines of length degree + 1 over the first exponent, one for each (b_2, ..., b_d') in lexicographic
        order, as `lines_of` gives them. Powers of the first factor once, then Horner's scheme in the others; a product
        with a fixed jet is a product with its matrix, which runs in C.
        """
        powers = self.constant(1)
        first = self.times(factors[0])
        row = self.row(powers)
        rows = [powers]
        for _ in range(degree):
            row = row * first
            rows.append(row.entries())
        sums = arb_mat(len(coefficients), degree + 1, [c for line in coefficients for c in line])
        inner = (sums * arb_mat(degree + 1, self.size, [v for r in rows for v in r])).entries()
        lines = [self.row(inner[k * self.size : (k + 1) * self.size]) for k in range(len(coefficients))]
        for factor in reversed(factors[1:]):
            by = self.times(factor)
            shorter = []
            for start in range(0, len(lines), degree + 1):
                total = lines[start + degree]
                for k in range(degree - 1, -1, -1):
                    total = total * by + lines[start + k]
                shorter.append(total)
            lines = shorter
        return list(lines[0].entries())


def _euler(partner: Mapping[int, int], moving: Sequence[tuple[int, arb]], g: Jet) -> arb:
    """A coefficient of `E f * g`."""
    total = ZERO
    for i, factor in moving:
        j = partner.get(i)
        if j is not None:
            total += factor * g[j]
    return total


@cache
def _quotients(dim: int, order: int) -> tuple[int | None, ...]:
    """Row by row for exponents (b, a): the place of a - b, None where it has a negative entry."""
    indices = jet_exponents(dim, order)
    place = {a: k for k, a in enumerate(indices)}
    return tuple(place.get(tuple(x - y for x, y in zip(a, b, strict=True))) for b in indices for a in indices)


def lines_of(table: dict[tuple[int, ...], arb], dim: int, degree: int) -> list[list[arb]]:
    """Coefficients by exponent as the lines that `compose` takes."""
    others = product(range(degree + 1), repeat=dim - 1)
    return [[table.get((k, *rest), ZERO) for k in range(degree + 1)] for rest in others]


@cache
def _convolution(dim: int, order: int) -> tuple[tuple[tuple[int, int], ...], ...]:
    """For each exponent a the pairs (b, a - b)."""
    indices = jet_exponents(dim, order)
    place = {a: k for k, a in enumerate(indices)}
    table = []
    for a in indices:
        below = product(*(range(e + 1) for e in a))
        table.append(tuple((place[b], place[tuple(x - y for x, y in zip(a, b, strict=True))]) for b in below))
    return tuple(table)


def _away_from_zero(value: arb) -> bool:
    return bool(value > 0) or bool(value < 0)


def _root_at_zero(value: arb, exponent: float) -> arb:
    """Enclosure of v^p, p > 0, over a ball of numbers >= 0 that touches 0."""
    top = value.upper() ** arb(exponent)
    return arb(0).union(top)


def lagrange_bound(space: JetSpace, centre: Jet, cell: Jet, half: Sequence[arb]) -> arb:
    """Smallest of the bounds of |g| over the cell, one for each order m with finite coefficients.

    centre, cell: jets of g at the centre and over the cell; half: half-widths h. Returns +inf if none is finite.
    """
    weights = space.weights(half)
    total, best = ZERO, arb.pos_inf()
    position = 0
    for m in range(space.order + 1):
        rest = ZERO
        stop = position
        while stop < space.size and space.degrees[stop] == m:
            rest += cell[stop].abs_upper() * weights[stop]
            stop += 1
        bound = (total + rest).upper()
        if bound.is_finite() and bound < best:
            best = bound
        for k in range(position, stop):
            total += centre[k].abs_upper() * weights[k]
        if not total.is_finite():
            break
        position = stop
    return best


def lagrange_range(space: JetSpace, centre: Jet, cell: Jet, half: Sequence[arb]) -> arb:
    """A ball that contains g on the cell: the plain enclosure, intersected with the Taylor enclosures."""
    weights = space.weights(half)
    best = cell[0]
    spread = ZERO
    position = 1
    for m in range(1, space.order + 1):
        rest = ZERO
        stop = position
        while stop < space.size and space.degrees[stop] == m:
            rest += cell[stop].abs_upper() * weights[stop]
            stop += 1
        candidate = centre[0] + SIDES * (spread + rest)
        if candidate.is_finite() and (not best.is_finite() or candidate.rad() < best.rad()):
            best = candidate
        for k in range(position, stop):
            spread += centre[k].abs_upper() * weights[k]
        if not spread.is_finite():
            break
        position = stop
    return best
