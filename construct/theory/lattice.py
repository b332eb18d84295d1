"""The theorems on the lattice construction as formulas: how many cells, tokens, blocks and heads it takes, before any
network.

*Setting.* M compact, d-dimensional, of class C^max(2, ceil beta); y: M -> R^r linear coordinates that do not fold M, `Y
= y(M)`; windows in all of them, m = r. Cells of spacing rho are the stars `gauge(y/rho - n) <= 1` of the Kuhn
triangulation: within rho of their centre in every coordinate, `sqrt(r) rho` in all, and of diameter `2 sqrt(r) rho`.

- (V) Y has the volume V, and `vol(Y in B(c, rho)) >= omega rho^d` for c in Y, rho <= rho_0 (`ball_share`).

*Cells that meet Y:* at most `5^r V/(omega rho^d)`. In each take a point c_n of Y. The balls B(c_n, rho) have volume
omega rho^d, and a point of Y is in at most 5^r of them, since then `|y/rho - n| <= 2` in every coordinate. (The hats
themselves overlap r + 1 times at most, but these balls leave the stars.)

*Theorem A* (exactness, every x in R^D) has no constants: `lattice_blocks`, `lattice_heads`, `lattice_depth`.

*Theorem B* (every Hölder f). Hypothesis (T): `f - P_c` on Y is at most `F |y - c|^beta` on the stars that hold c, P_c
the Taylor polynomial of degree `q = ceil(beta) - 1` at c in coordinates z of the tangent plane of Y at c, `|z| <= |y -
c|`. On a star of spacing `h = (eps/F)^(1/beta)/(2 sqrt r)` this is at most eps, and P_c is a polynomial of degree q <=
p in y. The atoms of one stretched principal lattice span the polynomials of degree p on the star, `K = C(p + r, r)` of
them, not C(q + r, r); no clip is met. The blend is as good as its worst cell: `N = K 5^r V/(omega h^d)`, of the order
eps^(-d/beta) with no logarithm. The codes do not depend on f. On flat pieces F is `theorem.taylor_constant` times the
Hölder constant (in the largest-entry norm).

*Theorem C* (adaptive). S in Y compact, t = dist(., S). Hypotheses:

- (S) off S: `|f - P_c| <= F t^(beta-q-1) |y - c|^(q+1)` where `|y - c| <= kappa t`, t that of c, kappa <= 1, q + 1 >
  beta (M and f of class C^(q+1) there, in tangent coordinates);
- (H) everywhere: `|f(y) - f(y')| <= H |y - y'|^beta`, so beta <= 1;
- (M) finite upper Minkowski content: `vol(t < s) <= C s^(d - d')` for all s > 0. Upper Minkowski dimension d' alone
  gives this with any larger d' only; Hausdorff dimension is not enough.

The algorithm: tol = eps, all K atoms, no refit. Level 1: all cells. A cell is good if `P_c`, or the constant f(c), is
within eps of f on its star; then its tokens make its polynomial that. If not it has no token, and inherits. Children of
bad cells make the next level; all others are good, as their parents are. Let `D = 2 sqrt(r) rho`.

- With `D <= kappa t` and `F t^(beta-q-1) D^(q+1) <= eps` a cell is good: bad ones are within `t(rho) = max(D/kappa, (F
  D^(q+1)/eps)^(1/(q+1-beta)))` of S.
- With `H D^beta <= eps` all are: levels end at `rho_min = (eps/H)^(1/beta)/(2 sqrt r)`.
- Bad cells of spacing rho: at most `5^r/(omega rho^d) min(V, C (t(rho) + rho)^(d-d'))`, by (M) and the balls as above.
- A cell has 2^(r+1) - 1 children. So cells with tokens are at most those of level 1, and 2^(r+1) - 1 times the bad ones
  of all levels with rho > rho_min. At `rho = rho_min 2^j` the second part of t(rho) makes `eps^(-d'/beta) 2^(j (beta
  (d-d')/(q+1-beta) - d'))`: a geometric sum, whose ends are `eps^(-d'/beta)` and, at t = 1, `eps^(-d/(q+1))`: N is of
  the order of their sum, with a factor log(1/eps) where both are equal. The first part makes a multiple of rho^-d' a
  level: no more than that, and for d' = 0 a bounded number, O(log 1/eps) in all, which the other sum is above.

*Coefficients.* `monomial_cost`: what sum |c| makes one monomial of degree <= q of a cell's u. With `|d^a f(c)| <= G`
(Theorem B) Taylor polynomials have coefficients in u with the sum `<= G e^(2 d sqrt(r) h)`, as those of `z_i = h sum_j
V_ji (u_j - c_j)` have at most `2 sqrt(r) h`. In C, with `|d^a f(c)| <= G t^(beta-|a|)`, |f| <= G, the same on a
descendant's star, centre in the star of the cell, is at most `3 sqrt(r) rho <= 3/2 kappa t`: `G max(1, t^beta) e^(3 d
kappa/2)`, twice that with what is inherited.

With q growing like log(1/eps) a point singularity of an analytic f takes N = O(log(1/eps)^(r+1)), and ^(d+1) where M is
algebraic, since a cell takes the dimension of the polynomials of degree p on Y; no function here says so, as analytic
bounds of all derivatives are needed and `monomial_cost` grows exponentially.

*Outside of it:* tolerances theta eps with a fit of all coefficients, marks that lower the tolerance of some cells (a
child then may have less than its parents' mean), fewer than K tokens a cell, tokens in bad cells, and goodness looked
at on samples: what `construct.cells` does. Not covered either: m < r windows, where a star may hold several sheets of
Y. Where a projection is read its r D numbers are codes; in C the codes depend on f, `r + m + 2` integers a token of
O(log 1/eps) bits.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import product

from construct.cells.approximator import reach_of
from construct.cells.program import cell_overhead
from construct.ridge.maps import chain, shift_of
from construct.validation import integer, invalid, positive_integer, positive_real, real

LARGEST_WEIGHT = 8.0
"""Of the fixed ones: 2 C of a gate on the numbers of tokens, with the constant 4 that compilation takes for 2."""
MOST_OCTAVES = 900  # of 1/rho^d: float64 holds 2^1023


@dataclass(frozen=True)
class LatticeGeometry:
    """What the formulas need of `Y = y(M)`: hypothesis (V) of the module.

    dim, coordinates, ambient: d <= r, D; volume: V; share: omega; largest: rho_0; extent: largest |y_i| on M.
    """

    dim: int
    coordinates: int
    ambient: int
    volume: float
    share: float
    largest: float
    extent: float

    def __post_init__(self) -> None:
        positive_integer(self.dim, "dim")
        integer(self.coordinates, "coordinates", minimum=self.dim)
        positive_integer(self.ambient, "ambient")
        for name in ("volume", "share", "largest", "extent"):
            positive_real(getattr(self, name), name)

    @property
    def diameter(self) -> float:
        """Of a star of spacing 1, `2 sqrt(r)`."""
        return 2 * math.sqrt(self.coordinates)


@dataclass(frozen=True)
class Singularity:
    """A function that is smooth off S: hypotheses (S), (H), (M) of the module.

    smoothness: beta <= 1; order: q, q + 1 > beta; bound: F; cone: kappa; holder: H; dim: d'; content: C.
    """

    smoothness: float
    order: int
    bound: float
    cone: float
    holder: float
    dim: float
    content: float

    def __post_init__(self) -> None:
        for name in ("smoothness", "bound", "cone", "holder", "content"):
            positive_real(getattr(self, name), name)
        for name in ("smoothness", "cone"):
            if not getattr(self, name) <= 1:
                raise invalid(name, "a number in (0, 1]", getattr(self, name))
        integer(self.order, "order", minimum=0)
        if not self.order + 1 > self.smoothness:
            raise invalid("order", f"q with q + 1 > beta = {self.smoothness:g}", self.order)
        if not real(self.dim, "dim") >= 0:
            raise invalid("dim", "a number >= 0", self.dim)


@dataclass(frozen=True)
class LatticeSizes:
    """Sizes of a lattice network with `cells` cells; the paper's symbols in brackets.

    blocks [L_T], heads [m] of the widest block, total_heads, ffn_depth [L_FFN], embedding_dim [d_embd]: exact, and the
    same for all cells. tokens [l], weight_bound [kappa], parameters: upper bounds; non-zeros without the position code.
    """

    cells: int
    blocks: int
    heads: int
    total_heads: int
    ffn_depth: int
    embedding_dim: int
    tokens: int
    weight_bound: float
    parameters: int


# -- cells ------------------------------------------------------------------------------------------------------------


def ball_share(dim: int, ratio: float) -> float:
    """omega for a Y without boundary of reach tau and `rho_0 = ratio tau`: the volume of the unit ball of R^d times
    `(1 - ratio^2/4)^(d/2)` (Niyogi, Smale and Weinberger 2008, Lemma 5.3).

    y(M) has at least the reach `kappa^2 reach(M)/|y|` where `|y(x) - y(x')| >= kappa |x - x'|`.
    """
    if not 0 < real(ratio, "ratio") < 2:
        raise invalid("ratio", "a number in (0, 2)", ratio)
    ball = math.pi ** (dim / 2) / math.gamma(positive_integer(dim, "dim") / 2 + 1)
    return float(ball * (1 - ratio**2 / 4) ** (dim / 2))


def lattice_cells(geometry: LatticeGeometry, spacing: float) -> int:
    """`5^r V/(omega rho^d)`: cells of one spacing that meet Y, at most."""
    if not positive_real(spacing, "spacing") <= geometry.largest:
        raise invalid("spacing", f"at most rho_0 = {geometry.largest:g}", spacing)
    return _floor(_packing(geometry, spacing) * geometry.volume)


def atoms_per_cell(degree: int, coordinates: int) -> int:
    """`K = C(p + r, r)`."""
    return math.comb(_degree(degree) + positive_integer(coordinates, "coordinates"), coordinates)


def uniform_spacing(geometry: LatticeGeometry, smoothness: float, bound: float, epsilon: float) -> float:
    """`(eps/F)^(1/beta)/(2 sqrt r)`, or rho_0: on cells of that spacing (T) gives an error of at most eps."""
    root = (positive_real(epsilon, "epsilon") / positive_real(bound, "bound")) ** (
        1 / positive_real(smoothness, "smoothness")
    )
    return min(geometry.largest, root / geometry.diameter)


def good_spacing(geometry: LatticeGeometry, singularity: Singularity, epsilon: float) -> float:
    """rho_min: of that spacing or less all cells are good, by (H)."""
    root = (positive_real(epsilon, "epsilon") / singularity.holder) ** (1 / singularity.smoothness)
    return root / geometry.diameter


def bad_distance(geometry: LatticeGeometry, singularity: Singularity, epsilon: float, spacing: float) -> float:
    """t(rho): farther from S no cell of spacing rho is bad."""
    across, s = geometry.diameter * positive_real(spacing, "spacing"), singularity
    taylor = s.bound * across ** (s.order + 1) / positive_real(epsilon, "epsilon")
    return max(across / s.cone, taylor ** (1 / (s.order + 1 - s.smoothness)))


def bad_cells(geometry: LatticeGeometry, singularity: Singularity, epsilon: float, spacing: float) -> float:
    """How many cells of a spacing are bad, at most."""
    if spacing <= good_spacing(geometry, singularity, epsilon):
        return 0.0
    near = bad_distance(geometry, singularity, epsilon, spacing) + spacing
    volume = singularity.content * near ** (geometry.dim - singularity.dim)
    return _packing(geometry, spacing) * min(geometry.volume, volume)


def adaptive_cells(
    geometry: LatticeGeometry, singularity: Singularity, epsilon: float, first: float | None = None
) -> int:
    """Cells with tokens, at most, Theorem C; first: spacing of level 1, by default rho_0. The sum over the levels.

    Raises:
        InputError: a singular set of dimension d or more, or so small an epsilon that there are hundreds of levels.
    """
    if not singularity.dim < geometry.dim:
        raise invalid("singularity", f"a set of a dimension below {geometry.dim}", singularity.dim)
    first = geometry.largest if first is None else positive_real(first, "first")
    most = MOST_OCTAVES // geometry.dim
    levels = list(_spacings(first, good_spacing(geometry, singularity, epsilon), most))
    bad = sum(bad_cells(geometry, singularity, epsilon, spacing) for spacing in levels)
    return lattice_cells(geometry, first) + _floor((2 ** (geometry.coordinates + 1) - 1) * bad)


def uniform_exponent(dim: int, smoothness: float) -> float:
    """d/beta."""
    return positive_integer(dim, "dim") / positive_real(smoothness, "smoothness")


def adaptive_exponent(dim: int, singular: float, smoothness: float, order: int) -> float:
    """`max(d'/beta, d/(q + 1))`; where both are equal there is a factor log(1/eps) besides."""
    fine = real(singular, "singular") / positive_real(smoothness, "smoothness")
    return max(fine, positive_integer(dim, "dim") / (integer(order, "order") + 1))


# -- the network ------------------------------------------------------------------------------------------------------


def lattice_blocks(degree: int) -> int:
    """`2 + i + j` for `p = 2^i 3^j`, and not `2 + ceil(log3 p)`."""
    return 2 + len(chain(_degree(degree)))


def lattice_heads(windows: int, degree: int, *, projected: bool = False) -> tuple[int, int]:
    """Heads of the widest block, m + 2, and of all, m + 4 and one a map; m more where a projection is read."""
    read = positive_integer(windows, "windows") * (1 + projected)
    return read + 2, read + 4 + len(chain(_degree(degree)))


def lattice_depth(windows: int) -> int:
    """`3 + ceil(log2 m)`: the maxima are a tree."""
    return 3 + (positive_integer(windows, "windows") - 1).bit_length()


def lattice_width(coordinates: int, windows: int) -> int:
    """`r + 2m + 8`."""
    return positive_integer(coordinates, "coordinates") + 2 * positive_integer(windows, "windows") + 8


def lattice_sizes(
    geometry: LatticeGeometry,
    degree: int,
    cells: int,
    *,
    spacing: float,
    finest: float | None = None,
    coefficient: float = 0.0,
    projected: bool = False,
) -> LatticeSizes:
    """Sizes with K tokens in each of some cells.

    Args:
        spacing, finest: h, and that of the last level, by default the same.
        coefficient: the largest |c|, of c_0, the centre and the entries of a projection too.
    """
    r, h = geometry.coordinates, positive_real(spacing, "spacing")
    level = h / positive_real(finest or h, "finest")  # lambda
    reach, tokens = reach_of(degree), cells * atoms_per_cell(degree, r)
    heads, total = lattice_heads(r, degree, projected=projected)
    most = geometry.ambient + 2 + tokens
    largest = level * geometry.extent / h + 1  # of |n|
    kappa = max(LARGEST_WEIGHT, coefficient, h, 1 / h, most**2 / 4, level * reach, reach * largest)
    return LatticeSizes(
        cells=integer(cells, "cells"),
        blocks=lattice_blocks(degree),
        heads=heads,
        total_heads=total,
        ffn_depth=lattice_depth(r),
        embedding_dim=lattice_width(r, r),
        tokens=most,
        weight_bound=kappa,
        parameters=tokens + 1 + r + cell_overhead(r, r, degree, signed=projected),
    )


# -- coefficients -----------------------------------------------------------------------------------------------------


def monomial_cost(degree: int, coordinates: int, order: int | None = None) -> float:
    """The largest sum |c| that makes one monomial of degree at most `order` (p) of u on a star of K atoms.

    `u^b = sum_alpha c_alpha (1 + T_p(delta + v s <alpha, u>))`, `s = floor(R/p)`, has `c_alpha = b!/(g^(|b|)(delta) (v
    s)^|b|) [y^b] L_alpha`, g = 1 + T_p, with the Lagrange polynomials of the principal lattice, `L_alpha(y) = prod_i
    binom(y_i, alpha_i) binom(p - |y|, p - |alpha|)`: by Taylor's formula, since `sum_alpha alpha^a [y^b] L_alpha` is 1
    for a = b and 0 else. In rational arithmetic, up to the last rounding.
    """
    p, r = _degree(degree), positive_integer(coordinates, "coordinates")
    order = p if order is None else integer(order, "order", maximum=p)
    sums = _lagrange_sums(p, r)
    derivatives = _derivatives(p, Fraction(shift_of(p)))
    derivatives[0] += 1
    step = Fraction((1 - shift_of(p)) / reach_of(p)) * (reach_of(p) // p)
    costs = [
        math.prod(map(math.factorial, b)) * total / (abs(derivatives[sum(b)]) * step ** sum(b))
        for b, total in sums.items()
        if sum(b) <= order
    ]
    return float(max(costs))


def coefficient_bound(
    geometry: LatticeGeometry, degree: int, order: int, size: float, spacing: float, cone: float | None = None
) -> float:
    """Bounds `sum |c|` of a cell, from a bound G of the derivatives of f; cone: kappa of Theorem C, None: Theorem B.

    In Theorem C size is `G max(1, T^beta)`, T the largest distance from S.
    """
    cost = monomial_cost(degree, geometry.coordinates, order) * positive_real(size, "size")
    if cone is None:
        return cost * math.exp(geometry.dim * geometry.diameter * positive_real(spacing, "spacing"))
    return 2 * cost * math.exp(1.5 * geometry.dim * positive_real(cone, "cone"))


# -- parts ------------------------------------------------------------------------------------------------------------


def _degree(degree: int) -> int:
    if not chain(degree):
        raise invalid("degree", "a product of twos and threes of at least 2", degree)
    return degree


def _packing(geometry: LatticeGeometry, spacing: float) -> float:
    """`5^r/(omega rho^d)`."""
    return float(5**geometry.coordinates / (geometry.share * spacing**geometry.dim))


def _floor(count: float) -> int:
    """The integer below, for a bound that rounding may have made too small."""
    return math.floor(count * (1 + 1e-12))


def _spacings(first: float, last: float, most: int) -> Iterator[float]:
    """first, first/2, .. above last, at most so many."""
    for level in range(most):
        if first * 0.5**level <= last:
            return
        yield first * 0.5**level
    raise invalid("epsilon", f"one for at most {most} levels", got=f"one for cells of {last:.3g}")


Polynomial = dict[tuple[int, ...], Fraction]


def _times(one: Polynomial, other: Polynomial) -> Polynomial:
    found: Polynomial = {}
    for (a, x), (b, y) in product(one.items(), other.items()):
        key = tuple(i + j for i, j in zip(a, b, strict=True))
        found[key] = found.get(key, Fraction(0)) + x * y
    return found


def _binomial(argument: Polynomial, count: int) -> Polynomial:
    """`argument (argument - 1) .. (argument - count + 1)/count!`."""
    zero = tuple([0] * len(next(iter(argument))))
    found: Polynomial = {zero: Fraction(1)}
    for k in range(count):
        factor = dict(argument)
        factor[zero] = factor.get(zero, Fraction(0)) - k
        found = {key: value / (k + 1) for key, value in _times(found, factor).items()}
    return found


def _lagrange_sums(p: int, r: int) -> Polynomial:
    """`sum over alpha of |[y^b] L_alpha|` for all b."""
    units = [tuple(int(i == j) for j in range(r)) for i in range(r)]
    zero = tuple([0] * r)
    powers = [[_binomial({unit: Fraction(1)}, k) for k in range(p + 1)] for unit in units]
    rest = {zero: Fraction(p), **dict.fromkeys(units, Fraction(-1))}
    left = [_binomial(rest, k) for k in range(p + 1)]
    sums: Polynomial = {}
    for alpha in product(range(p + 1), repeat=r):
        if sum(alpha) <= p:
            term = left[p - sum(alpha)]
            for i, k in enumerate(alpha):
                term = _times(term, powers[i][k])
            for b, value in term.items():
                sums[b] = sums.get(b, Fraction(0)) + abs(value)
    return sums


def _derivatives(p: int, at: Fraction) -> list[Fraction]:
    """`T_p^(l)`, l = 0 .. p."""
    before, polynomial = [1], [0, 1]
    for _ in range(p - 1):
        longer = [0, *(2 * c for c in polynomial)]
        before, polynomial = polynomial, [c - (before[i] if i < len(before) else 0) for i, c in enumerate(longer)]
    found = []
    for _ in range(p + 1):
        found.append(sum((c * at**i for i, c in enumerate(polynomial)), Fraction(0)))
        polynomial = [i * c for i, c in enumerate(polynomial)][1:]
    return found
