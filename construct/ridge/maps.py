"""Chebyshev polynomials as a chain of two maps, each one self-gated head: `T3(a) = 4 a^3 - 3 a`, `T2(a) = 2 a^2 - 1`.

`T_p` with `p = 2^i 3^j` is j maps T3, then i maps T2, since `T_mn = T_m o T_n`. The shift `delta` of the atoms
`1 + T_p(delta + l)` has to be a point where no derivative of T_p vanishes: then these, over the principal lattice of
directions, span all polynomials of degree p (ridge lemma, `basis`).
"""

from __future__ import annotations

from torch import Tensor

from construct.validation import integer, invalid

LARGEST_DEGREE = 108
DEGREES = tuple(sorted(2**i * 3**j for i in range(7) for j in range(5) if 2**i * 3**j <= LARGEST_DEGREE))
"""The degrees that a chain of maps has, from 1 (no map) to 108."""
LARGEST_SHIFT, SHIFT = 0.25, 1.1
MOST = 2**40
"""Of a chain by hand: beyond, float64 knows nothing of the values of T_p."""


def chain(degree: int) -> tuple[int, ...]:
    """The maps of T_degree in the order in which they are applied: 3 for T3, then 2 for T2.

    Raises:
        InputError: degree is not of the form 2^i 3^j, or below 1.
    """
    left = integer(degree, "degree", minimum=1, maximum=MOST)
    maps: list[int] = []
    for m in (3, 2):
        while left % m == 0:
            maps.append(m)
            left //= m
    if left != 1:
        raise invalid("degree", "a product of twos and threes", degree)
    return tuple(maps)


def shift_of(degree: int) -> float:
    """delta of the atoms of a degree: `min(0.25, 1.1 / p)`.

    No derivative of T_p vanishes for `0 < |delta| < sin(pi / 2p)`: `y = T_p^(l)` solves `(1 - x^2) y'' - (2l + 1) x
    y' + (p^2 - l^2) y = 0`, so that `u = cos(phi)^l y(sin phi)` solves `u'' + (p^2 - l (l - 1) / cos(phi)^2) u = 0`
    and is even or odd; by Sturm's comparison with `cos(p phi)` and `sin(p phi)` an even u has no zero for `|phi| < pi
    / 2p`, an odd one none for `0 < |phi| < pi / p`. For p = 2 to 4 the shift is 0.25 < sin(pi / 8), and above `1.1 /
    p < sin(pi / 2p)`.
    """
    return min(LARGEST_SHIFT, SHIFT / degree)


def chebyshev(a: Tensor, degree: int) -> Tensor:
    """T_degree(a) for -1 <= a <= 1, by the maps that the network applies."""
    for m in chain(degree):
        a = (4 * a * a - 3) * a if m == 3 else 2 * a * a - 1
    return a
