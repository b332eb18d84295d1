"""Functions with singular sets, for which the error of a cell is proved: what the counts of `rates` are made with.

On [0, 1], S a closed set with its gaps (a, b), beta <= 1:

    end        f = x^beta, S = {0}: d' = 0
    gaps       f = ((x - a)(b - x)/(b - a))^beta on each gap, 0 on S: the Cantor set, d' = log 2/log 3, or 0 and all
               1/k, d' = 1/2 (Hausdorff dimension 0)
    line       f = x_1^beta on [0, 1]^2, S a side: d' = 1
    point      f = |x|^beta on [-1, 1]^2, S = {0}: d' = 0

(H) with H = 1: `s -> s^beta` moves by at most |s - s'|^beta, and x, |x| and `(x - a)(b - x)/(b - a)` by at most |x -
x'|; across gaps f is at most dist(x, S)^beta at either point.

(S): the Taylor polynomial of degree q at c, t = dist(c, S), misses f at c + z, `|z| <= kappa t`, by at most

    C_(q+1)/(q+1)! ((1 - kappa) t)^(beta-q-1) |z|^(q+1)

if derivatives of order j along any line are at most `C_j t^(beta-j)`. With `(beta)_j = beta (beta - 1) .. (beta - j +
1)`:

- x^beta: `C_j = |(beta)_j|`;
- gaps: `C_j = sum_i binom(j, i) |(beta)_i (beta)_(j-i)|`, by Leibniz' rule: with s <= b - x the distance, `s^(beta-i)
  (b - x)^(beta-j+i)/(b - a)^beta <= s^(beta-j)`;
- |x|^beta: `|c + s v|^beta = sum_j s^j C_j^(-beta/2)(-x)` at |c| = 1, |v| = 1, x = <c, v>, with Gegenbauer's
  polynomials, `C_j = j!` times the sum of the absolute coefficients of C_j^(-beta/2), which bounds it on [-1, 1].

(M): `vol(t < s)` is the sum of min(gap, 2s) over the gaps. Cantor, 3^-k <= s < 3^(1-k): 2^k intervals of length 3^-k
hold the set, so at most `2^k (3^-k + 2s) <= 3 s 2^k <= 6 s^(1-d')`, since `2^k = 3^(k d') < (3/s)^d'`. All 1/k, s <= 1:
`2s s^(-1/2)` about those above s^(1/2), and `s^(1/2) + s` for all others: at most `4 s^(1/2)`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from construct.arrays import Float
from construct.theory.lattice import LatticeGeometry, Singularity

CONE = 0.5
DIMS = {"end": 0.0, "cantor": math.log(2) / math.log(3), "sequence": 0.5, "line": 1.0, "point": 0.0}
CONTENTS = {"end": 1.0, "cantor": 6.0, "sequence": 6.0, "line": 1.0, "point": math.pi}


def falling(beta: float, j: int) -> float:
    """`beta (beta - 1) .. (beta - j + 1)`."""
    return math.prod(beta - i for i in range(j))


def gegenbauer(order: int, weight: float) -> list[float]:
    """Coefficients of C_j^(weight), by powers."""
    found = [0.0] * (order + 1)
    for k in range(order // 2 + 1):
        rising = math.prod(weight + i for i in range(order - k))
        power = order - 2 * k
        found[power] = (-1) ** k * rising * 2**power / (math.factorial(k) * math.factorial(power))
    return found


def derivative_bound(kind: str, beta: float, j: int) -> float:
    """C_j."""
    if kind in ("end", "line"):
        return abs(falling(beta, j))
    if kind == "point":
        return math.factorial(j) * sum(map(abs, gegenbauer(j, -beta / 2)))
    return sum(math.comb(j, i) * abs(falling(beta, i) * falling(beta, j - i)) for i in range(j + 1))


def taylor_bound(kind: str, beta: float, q: int, cone: float = CONE) -> float:
    """F of (S)."""
    return derivative_bound(kind, beta, q + 1) / math.factorial(q + 1) * (1 - cone) ** (beta - q - 1)


@lru_cache
def singular_set(kind: str, finest: float) -> Float:
    """S in [0, 1], increasing, down to gaps below a quarter of `finest`."""
    if kind == "cantor":
        points = np.array([0.0, 1.0])
        for _ in range(math.ceil(math.log(4 / finest) / math.log(3))):
            points = np.concatenate([points / 3, 2 / 3 + points / 3])
        return points
    if kind == "sequence":
        count = math.ceil(2 / math.sqrt(finest))
        return np.concatenate([[0.0], 1 / np.arange(count, 0, -1)])
    return np.array([0.0])


@dataclass(frozen=True)
class Target:
    """One of the functions: kind, beta, q."""

    kind: str
    beta: float
    order: int

    @property
    def dim(self) -> int:
        """d."""
        return 2 if self.kind in ("line", "point") else 1

    @property
    def singularity(self) -> Singularity:
        """(S), (H), (M)."""
        bound = taylor_bound(self.kind, self.beta, self.order)
        return Singularity(self.beta, self.order, bound, CONE, 1.0, DIMS[self.kind], CONTENTS[self.kind])

    @property
    def geometry(self) -> LatticeGeometry:
        """(V): at a corner of a square of side 1 there is a quarter of the disc of a radius up to 1."""
        d, side = self.dim, 2.0 if self.kind == "point" else 1.0
        share = {1: 1.0, 2: math.pi / 4}[d]
        return LatticeGeometry(d, d, d, side**d, share, 1.0, 1.0)

    def distance(self, centres: Float, finest: float) -> Float:
        """t at points (n, d), or (n, 1) where f depends on x_1 alone."""
        if self.kind == "point":
            return np.hypot(centres[:, 0], centres[:, 1])
        points = singular_set(self.kind, finest)
        above = np.searchsorted(points, centres[:, 0])
        left = centres[:, 0] - points[np.maximum(above - 1, 0)]
        right = points[np.minimum(above, len(points) - 1)] - centres[:, 0]
        return np.minimum(np.abs(left), np.abs(right))
