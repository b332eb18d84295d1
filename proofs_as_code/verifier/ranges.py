"""Limits of exact arithmetic, and the range of a polynomial in one unknown within a limited number of steps.

Every rational number here has at most MOST_BITS bits in numerator and denominator: what is larger refuses the
certificate, and the bits of a power are bounded before it is computed. Sums and products of numbers within the limit
have at most twice as many bits, and are looked at one by one.
"""

from __future__ import annotations

from functools import lru_cache

from flint import arb, arb_poly, ctx, fmpq, fmpq_poly

from proofs_as_code.verifier.documents import require

MOST_BITS = 1 << 14  # of a numerator or denominator
MOST_TERMS, MOST_PAIRS, MOST_DEGREE = 1 << 16, 1 << 20, 256  # of a polynomial; of terms in a product
MOST_STEPS = 2000  # intervals that are looked at for one end of a range
PRECISION = 128  # bits, of the values at which a range is looked for
SHARE = arb(2) ** -60  # of the size of a polynomial: how near its critical points its ends are followed


def bounded(value: fmpq) -> fmpq:
    """A number within the limit."""
    fits = value.height_bits() <= MOST_BITS
    require(fits, "network", f"rational numbers of at most {MOST_BITS} bits", "larger ones")
    return value


def rational_of(ball: arb) -> fmpq:
    """The number that an exact ball is."""
    exponent = abs(int(ball.mid().man_exp()[1])) if ball.is_finite() else MOST_BITS
    require(exponent < MOST_BITS, "network", f"rational numbers of at most {MOST_BITS} bits", "larger ones")
    return ball.fmpq()


def power_sum(powers: dict[int, fmpq], at: fmpq) -> fmpq:
    """sum c_k at^k, if what it takes is within the limit."""
    bits = max(powers) * at.height_bits() + sum(c.height_bits() for c in powers.values())
    require(bits <= 4 * MOST_BITS, "network", f"powers of at most {4 * MOST_BITS} bits", f"{bits}")
    return bounded(fmpq_poly([powers.get(k, 0) for k in range(max(powers) + 1)])(at))


def extremes(powers: dict[int, fmpq], low: fmpq, high: fmpq) -> tuple[fmpq, fmpq]:
    """Bounds of sum c_k v^k for v in [low, high]: exact where it is monotone, has one power only, or degree 2."""
    degree, values = max(powers), [power_sum(powers, low), power_sum(powers, high)]
    if degree < 2 or low == high:
        return min(values), max(values)
    inner = [k for k in powers if k and powers[k] != 0]
    if len(inner) < 2 or degree == 2:
        turn = -powers.get(1, fmpq(0)) / (2 * powers[2]) if degree == 2 and powers[2] != 0 else fmpq(0)
        if low < turn < high:
            values.append(power_sum(powers, bounded(turn)))
        return min(values), max(values)
    return searched(tuple(sorted(powers.items())), low, high, *values)


@lru_cache(1 << 12)
def searched(powers: tuple[tuple[int, fmpq], ...], low: fmpq, high: fmpq, *values: fmpq) -> tuple[fmpq, fmpq]:
    """`extremes` where there is no formula, from the values at the ends; one network asks the same again and again."""
    known = dict(powers)
    exact = fmpq_poly([known.get(k, 0) for k in range(max(known) + 1)])
    with ctx.workprec(PRECISION):
        return least(exact, low, high, list(values)), -least(-exact, low, high, [-v for v in values])


def least(exact: fmpq_poly, low: fmpq, high: fmpq, ends: list[fmpq]) -> fmpq:
    """A lower bound on [low, high], by halving: an interval on which the derivative has one sign is done, as its ends
    are those of others or the given ones; another by its centred form. After MOST_STEPS all are taken as they are."""
    p, slope, proved = arb_poly(exact), arb_poly(exact.derivative()), min(ends)
    left, right = arb(low), arb(high)
    reach = left.abs_upper().max(right.abs_upper()).max(arb(1))
    size = sum((abs(arb(c)) * reach**k for k, c in enumerate(exact.coeffs())), arb(0))
    best, work, steps = arb(min(ends)).upper(), [(left, right)], 0
    while work:
        left, right = work.pop()
        middle, steps = ((left + right) / 2).mid(), steps + 1
        cell = left.union(right)
        turns, value = slope(cell), p(middle)
        best = best.min(value.upper())
        if turns > 0 or turns < 0:
            inside = (p(end) for end in (left, right) if not (end.contains(low) or end.contains(high)))
            proved = min(proved, *(rational_of(v.lower()) for v in inside), proved)
            continue
        bound = (value - ((cell - middle) * turns).abs_upper()).lower().max(p(cell).lower())
        if best - bound <= size * SHARE or bound >= best or steps >= MOST_STEPS:
            proved = min(proved, rational_of(bound))
            continue
        work += [(middle, right), (left, middle)]
    return bounded(proved)
