"""T2 and T3 by sawtooth squares, and what their errors become in a chain of such maps.

A square f_m (`sawtooth`) is off by `0 <= f_m(u) - u^2 <= 2 h`, `h = 4^-m / 8`; subtracting h halves the error.

    T2(a) = 2 a^2 - 1         one square:     2 (f_m(a) - h) - 1                           off by at most 4^-m / 4
    T3(a) = 2 a T2(a) - a     three squares:  b = max(2 (f_m(a) - h) - 1, -1)
                                              2 (f_n((a + b)/2) - f_n((a - b)/2)) - a      4^-m / 2 + 4^-n / 2

Of the ways to a cubic this is the cheapest that we know: a product takes two squares (polar), and two factors that are
known before it take one more, since no square of a quadratic is a cubic. Of the factors of `T3(a) + a = a (4 a^2 - 2)`
the second is read as `2 T2`, between -2 and 2: any other split `a (4 a^2 - c) + (c - 3) a` has a larger bound.

*Chain.* Let `e = |ã - a|` be the error of an argument a in [-1, 1]. The network holds `v = relu((1 + ã)/2)`, so that
`ã >= -1`, and squares saturate at 1. For ã in [-1, 1] `|T_m(ã) - T_m(a)| <= m^2 e`, since |T_m'| <= m^2. For ã > 1
every formula above moves by at most 3 (ã - 1) from its value at 1 (a saturated square does not move, the slopes of
f_n are at most 2), which is less than m^2 (ã - 1). Hence, the maps after map i having degree `p / (m_1 .. m_i)`,

    |T~_p(a) - T_p(a)| <= sum_i (p / (m_1 .. m_i))^2 local_i                  for -1 <= a <= 1                      (1)

with the errors of the table as local_i; p^2 is attained at the ends of the interval. So an error of epsilon takes
`log_4(p^2 / epsilon) + O(1)` compositions in every stage: depth and size grow with log(1/epsilon) where one head of
attention computes a map exactly.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from construct.baselines.relu.sawtooth import square_value
from construct.ridge.maps import chain

LOCAL = {2: (0.25,), 3: (0.5, 0.5)}
"""Error of a map over 4^-m, for each of its stages of squares."""


def orders(degree: int) -> tuple[tuple[int, ...], ...]:
    """The maps of T_degree, threes first and twos first: the same polynomial, networks of different size."""
    maps = chain(degree)
    return tuple(dict.fromkeys((maps, maps[::-1])))


def amplifications(maps: Sequence[int]) -> tuple[float, ...]:
    """Weights w of the stages of squares in `|T~_p - T_p| <= sum_s w_s 4^-m_s`, from (1)."""
    found: list[float] = []
    after = 1
    for m in reversed(maps):
        found[:0] = [after**2 * local for local in LOCAL[m]]
        after *= m
    return tuple(found)


def half_error(compositions: int) -> float:
    """h = 4^-m / 8."""
    return float(4.0**-compositions / 8)


def chain_value(a: Tensor, maps: Sequence[int], compositions: Sequence[int]) -> Tensor:
    """T~_p(a), elementwise: what the layers compute for a <= 3, up to rounding; below -1 as at -1."""
    stages, last = iter(compositions), len(maps) - 1
    a = a.clamp_min(-1.0)
    for number, m in enumerate(maps):
        first = next(stages)
        b = 2 * (saturated_square(a, first) - half_error(first)) - 1
        if m == 3:
            second, b = next(stages), b.clamp_min(-1.0)
            b = 2 * (saturated_square((a + b) / 2, second) - saturated_square((a - b) / 2, second)) - a
        a = b if number == last else b.clamp_min(-1.0)
    return a


def saturated_square(u: Tensor, compositions: int) -> Tensor:
    """f_m(|u|), |u| clipped to 1."""
    return square_value(u.abs().clamp_max(1.0), compositions)


def chain_error(maps: Sequence[int], compositions: Sequence[int]) -> float:
    """The bound (1)."""
    return sum(w * 4.0**-m for w, m in zip(amplifications(maps), compositions, strict=True))
