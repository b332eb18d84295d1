"""Sparse polynomials with rational coefficients over named quantities, and rigorous ranges of them.

A float64 is a dyadic rational, so everything that the heads of a network do to its registers, as long as the signs
inside the ReLUs are known, is polynomial arithmetic that can be carried out without any rounding.

A `Quantity` is what a polynomial is written in: an input coordinate, `relu(q)` of a polynomial q whose sign is not
known, a register after a feed-forward network (`clip(q)`, a partition weight), or a bounded unknown that nobody needs
to know more of. Each has a range that holds for every admissible input.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from flint import arb, fmpq

from construct.validation import invalid

Monomial = tuple[int, ...]  # numbers of quantities, sorted, with repetition

PRECISION = 96  # bits, enough to know signs to 2^-70 of the size
FLAT = 2.0**-70  # a sign is "known" up to this share of the size of the polynomial
COARSE = 2.0**-8
MOST_BITS = 1 << 14  # of the numerator or denominator of a coefficient: blocks that square double them
MOST_TERMS, MOST_PAIRS, MOST_DEGREE = 1 << 16, 1 << 20, 256  # of a polynomial; of terms in a product


def bounded(value: fmpq) -> fmpq:
    """A coefficient within the limit: a sum or product of two such ones has at most twice as many bits.

    Raises:
        InputError: it is longer.
    """
    if value.height_bits() > MOST_BITS:
        raise invalid("net", f"a formula whose coefficients have at most {MOST_BITS} bits", got="one with longer ones")
    return value


def _check_product(pairs: int, degree: int) -> None:
    """Refuse a product before it is computed."""
    if pairs > MOST_PAIRS or degree > MOST_DEGREE:
        expected = f"a formula of degree at most {MOST_DEGREE}, with products of at most {MOST_PAIRS} terms"
        raise invalid("net", expected, got=f"degree {degree}, {pairs} terms")


def rational(value: float) -> fmpq:
    """The rational number that a float is."""
    return fmpq(*float(value).as_integer_ratio())


class Polynomial:
    """`sum c_m prod_(i in m) quantity_i`; immutable."""

    __slots__ = ("known_range", "terms")

    def __init__(self, terms: Mapping[Monomial, fmpq] | None = None) -> None:
        self.terms: dict[Monomial, fmpq] = {m: bounded(c) for m, c in (terms or {}).items() if c != 0}
        if len(self.terms) > MOST_TERMS:
            raise invalid("net", f"a formula of at most {MOST_TERMS} terms a register", got=f"{len(self.terms)}")
        self.known_range: tuple[Quantities, tuple[arb, arb]] | None = None  # kept by `Quantities.range`

    @staticmethod
    def constant(value: fmpq) -> Polynomial:
        return Polynomial({(): value})

    @staticmethod
    def of(quantity: int) -> Polynomial:
        return Polynomial({(quantity,): fmpq(1)})

    @property
    def is_constant(self) -> bool:
        return not self.terms or (len(self.terms) == 1 and () in self.terms)

    @property
    def degree(self) -> int:
        return max(map(len, self.terms), default=0)

    def value(self) -> fmpq:
        """The constant term."""
        return self.terms.get((), fmpq(0))

    def __bool__(self) -> bool:
        return bool(self.terms)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Polynomial) and self.terms == other.terms

    def __hash__(self) -> int:
        return hash(self.key())

    def key(self) -> tuple[tuple[Monomial, str], ...]:
        """A hashable normal form."""
        return tuple(sorted((m, str(c)) for m, c in self.terms.items()))

    def __add__(self, other: Polynomial) -> Polynomial:
        small, large = (self, other) if len(self.terms) < len(other.terms) else (other, self)
        out = dict(large.terms)
        for m, c in small.terms.items():
            out[m] = bounded(out[m] + c if m in out else c)
        return Polynomial(out)

    def __sub__(self, other: Polynomial) -> Polynomial:
        return self + other * fmpq(-1)

    def __mul__(self, other: Polynomial | fmpq) -> Polynomial:
        if not isinstance(other, Polynomial):
            bounded(other)
            return Polynomial({m: bounded(c * other) for m, c in self.terms.items()})
        _check_product(len(self.terms) * len(other.terms), self.degree + other.degree)
        out: dict[Monomial, fmpq] = {}
        for m, c in self.terms.items():
            for n, d in other.terms.items():
                key = _merge(m, n)
                out[key] = bounded(out[key] + c * d if key in out else c * d)
        return Polynomial(out)

    def quantities(self) -> set[int]:
        return {i for m in self.terms for i in m}

    def without(self, quantity: int) -> Polynomial:
        """The cofactor of a quantity that occurs exactly once in every term."""
        return Polynomial({_remove(m, quantity): c for m, c in self.terms.items()})

    def __repr__(self) -> str:
        shown = [f"{float(arb(c)):.6g}*{m}" for m, c in list(self.terms.items())[:6]]
        return " + ".join(shown) + (" + ..." if len(self.terms) > 6 else "") if shown else "0"


def _merge(m: Monomial, n: Monomial) -> Monomial:
    if not m:
        return n
    if not n:
        return m
    return tuple(sorted(m + n))


def _remove(m: Monomial, quantity: int) -> Monomial:
    place = m.index(quantity)
    return m[:place] + m[place + 1 :]


def total(parts: Iterable[Polynomial]) -> Polynomial:
    """The sum of many polynomials."""
    out: dict[Monomial, fmpq] = {}
    for part in parts:
        for m, c in part.terms.items():
            out[m] = bounded(out[m] + c if m in out else c)
    return Polynomial(out)


@dataclass
class Quantity:
    """kind: "input", "relu", "clip", "rho", "linear", "map", "window" or "free"; low, high: its range; definition: what
    it is the value of ("relu": of relu(definition[0]); "clip": definition[0] clipped to the range; "rho":
    relu(definition[0]) - relu(definition[1]); "linear", "map", "window": definition[0] itself; "input": x_label plus
    the constant definition[0], if any)."""

    kind: str
    low: arb
    high: arb
    definition: tuple[Polynomial, ...] = ()
    label: object = None

    @property
    def nonnegative(self) -> bool:
        return bool(self.low >= 0)


@dataclass
class Quantities:
    """All quantities of one network, and the ranges of polynomials in them."""

    table: list[Quantity] = field(default_factory=list)
    _by_definition: dict[object, int] = field(default_factory=dict)
    _ranges: dict[object, tuple[arb, arb]] = field(default_factory=dict)

    def new(self, quantity: Quantity) -> int:
        self.table.append(quantity)
        return len(self.table) - 1

    def shared(self, quantity: Quantity) -> int:
        """The quantity with this kind, definition and range (which a clip is defined by), made once."""
        key = (quantity.kind, _exactly(quantity.low), _exactly(quantity.high), *(p.key() for p in quantity.definition))
        if key not in self._by_definition:
            self._by_definition[key] = self.new(quantity)
        return self._by_definition[key]

    def kinds(self, polynomial: Polynomial) -> set[str]:
        return {self.table[i].kind for i in polynomial.quantities()}

    def kinds_below(self, polynomial: Polynomial) -> set[str]:
        """Kinds of all quantities that a polynomial depends on, those in definitions included."""
        found, work = set[int](), [polynomial]
        while work:
            for i in work.pop().quantities() - found:
                found.add(i)
                work += self.table[i].definition
        return {self.table[i].kind for i in found}

    def range(self, polynomial: Polynomial) -> tuple[arb, arb]:
        """Proved bounds: exact signs as far as `FLAT` where the polynomial is one quantity's, times non-negative
        quantities; term by term otherwise."""
        if polynomial.is_constant:
            value = arb(polynomial.value())
            return value, value
        if polynomial.known_range is None or polynomial.known_range[0] is not self:
            polynomial.known_range = self, self._range(polynomial)
        return polynomial.known_range[1]

    def _range(self, polynomial: Polynomial) -> tuple[arb, arb]:
        common = self.common_factors(polynomial)
        rest = polynomial
        for i in common:
            rest = rest.without(i)
        low, high = self._factored(rest)
        for i in common:
            q = self.table[i]
            low, high = _product((low, high), (q.low, q.high))
        return low, high

    def _factored(self, polynomial: Polynomial) -> tuple[arb, arb]:
        """A product of a polynomial in one quantity and one in the others is bounded factor by factor."""
        names = sorted(polynomial.quantities())
        if len(names) < 2 or len(polynomial.terms) < 4:
            return self._separable(polynomial)
        for i in names:
            factors = split_off(polynomial, i)
            if factors is not None:
                return _product(self.range(factors[0]), self.range(factors[1]))
        return self._separable(polynomial)

    def common_factors(self, polynomial: Polynomial) -> list[int]:
        """Non-negative quantities that occur in every term."""
        terms = iter(polynomial.terms)
        shared = set(next(terms, ()))
        for m in terms:
            shared &= set(m)
            if not shared:
                return []
        return sorted(i for i in shared if self.table[i].nonnegative)

    def _separable(self, polynomial: Polynomial) -> tuple[arb, arb]:
        """A sum of polynomials of one quantity each is bounded one by one; anything else term by term."""
        if any(len(set(m)) > 1 for m in polynomial.terms):
            return self._termwise(polynomial)
        names = sorted(polynomial.quantities())
        if len(names) == 1:
            return self._univariate(polynomial, names[0], polynomial.value())
        low = high = arb(polynomial.value())
        for i in names:
            part = self._univariate(polynomial, i, fmpq(0))
            low, high = low + part[0], high + part[1]
        return low.lower(), high.upper()

    def _univariate(self, polynomial: Polynomial, name: int, constant: fmpq) -> tuple[arb, arb]:
        """Range of `constant` and the terms in one quantity."""
        q = self.table[name]
        degree = max(len(m) for m in polynomial.terms if m and m[0] == name)
        exact = [constant, *(polynomial.terms.get((name,) * k, fmpq(0)) for k in range(1, degree + 1))]
        if degree == 1:
            ends = [arb(exact[0]) + arb(exact[1]) * end for end in (q.low, q.high)]
            return _least(ends), _largest(ends)
        key = (tuple(map(str, exact)), _exactly(q.low), _exactly(q.high))
        if key not in self._ranges:
            self._ranges[key] = univariate_range(exact, q.low, q.high)
        return self._ranges[key]

    def _termwise(self, polynomial: Polynomial) -> tuple[arb, arb]:
        low = high = arb(0)
        for m, c in polynomial.terms.items():
            t_low = t_high = arb(1)
            for i in sorted(set(m)):
                q, n = self.table[i], m.count(i)
                corners = [q.low**n, q.high**n]
                p_low, p_high = _least(corners), _largest(corners)
                if n % 2 == 0 and not q.nonnegative and not q.high <= 0:
                    p_low = arb(0)
                products = [t_low * p_low, t_low * p_high, t_high * p_low, t_high * p_high]
                t_low, t_high = _least(products), _largest(products)
            weight = arb(c)
            if c < 0:
                t_low, t_high = t_high, t_low
            low, high = low + weight * t_low, high + weight * t_high
        return low.lower(), high.upper()


def _exactly(end: arb) -> object:
    """A key that no other ball has: the text of a ball is rounded."""
    return (end.mid().man_exp(), end.rad().man_exp()) if end.is_finite() else str(end)


def split_off(polynomial: Polynomial, name: int) -> tuple[Polynomial, Polynomial] | None:
    """`u(q) v(others)` with exactly that product, q the quantity `name`; None if there is no such factorisation."""
    slices: dict[int, dict[Monomial, fmpq]] = {}
    for m, c in polynomial.terms.items():
        slices.setdefault(m.count(name), {})[tuple(j for j in m if j != name)] = c
    first = slices[min(slices)]
    pivot = min(first)
    scales = {}
    for power, terms in slices.items():
        if terms.keys() != first.keys():
            return None
        scales[power] = terms[pivot] / first[pivot]
        if any(c != scales[power] * first[m] for m, c in terms.items()):
            return None
    return Polynomial({(name,) * power: scale for power, scale in scales.items()}), Polynomial(first)


def _product(a: tuple[arb, arb], b: tuple[arb, arb]) -> tuple[arb, arb]:
    corners = [a[0] * b[0], a[0] * b[1], a[1] * b[0], a[1] * b[1]]
    return _least(corners), _largest(corners)


def _least(values: list[arb]) -> arb:
    out = values[0]
    for value in values[1:]:
        out = out.min(value)
    return out.lower()


def _largest(values: list[arb]) -> arb:
    out = values[0]
    for value in values[1:]:
        out = out.max(value)
    return out.upper()


def univariate_range(coefficients: list[fmpq], low: arb, high: arb) -> tuple[arb, arb]:
    """Proved bounds of `sum_k c_k v^k` for v in [low, high].

    Both ends within `COARSE` of the size, and sharper near 0: an end whose sign is in doubt is followed down to `FLAT`
    of the size, which is quick since centred forms converge quadratically.
    """
    lower = _minimum(coefficients, low, high)
    upper = _minimum([-c for c in coefficients], low, high)
    return lower, -upper


def _minimum(coefficients: list[fmpq], low: arb, high: arb) -> arb:
    """A proved lower bound of the polynomial on [low, high]."""
    reach = arb(max(abs(float(low)), abs(float(high)), 1.0))
    size = sum((arb(abs(c)) * reach**k for k, c in enumerate(coefficients)), arb(0))
    values = [arb(c) for c in coefficients]
    slopes = [arb(c) * k for k, c in enumerate(coefficients)][1:]
    coarse, flat = size * COARSE, size * FLAT
    best = _at(values, (low + high) / 2).upper()  # an upper bound of the minimum
    proved: arb | None = None
    work = [(low.lower(), high.upper())]
    steps = 0
    while work:
        steps += 1
        left, right = work.pop()
        middle, half = (left + right) / 2, (right - left) / 2
        value = _at(values, middle)
        best = best.min(value.upper())
        ball = middle + half * arb(0, 1)
        bound = (value - (half * _at(slopes, ball)).abs_upper()).lower()
        best_gap = best - bound
        # near 0 the sign is worth more work: an end just below 0 is followed to its own size
        enough = coarse if bound >= 0 else flat if best >= 0 else coarse.min(flat.max(-best))
        if best_gap <= enough or bound >= best or (bound >= 0 and best_gap <= coarse) or steps > 20000:
            proved = bound if proved is None else proved.min(bound)
            continue
        work += [(left, middle), (middle, right)]
    assert proved is not None
    return proved.lower()


def _at(values: list[arb], point: arb) -> arb:
    out = arb(0)
    for value in reversed(values):
        out = out * point + value
    return out
