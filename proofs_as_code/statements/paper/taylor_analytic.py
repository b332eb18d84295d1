"""Local approximation on a cell: HL24, Theorem 2, the Taylor step; rigorous error bounds in d = 1 by ball arithmetic.

*How a sup is enclosed.* On a subcell `m + [-r, r]` the error e is analytic. Truncated power series with ball
coefficients (`arb_series`) about m give `e_0(m), ..., e_(k-1)(m)`; about the whole subcell as a ball they give an
enclosure of `e_k = e^(k)/k!` at all its points; by Taylor's theorem
`e(m + x) in sum_(j<k) e_j(m) x^j + e_k([m - r, m + r]) x^k`. The subcells end at the kinks of the bumps, which are
multiples of 1/(3N).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from flint import arb, arb_series, fmpq
from hypothesis import strategies as st

from construct.theory import taylor_constant
from proofs_as_code.framework import Hypothesis, Statement, Twin, Verdict

ORDER = 5  # of the enclosing Taylor models
PARTS = 8  # subcells between two kinks


@dataclass(frozen=True)
class Analytic:
    """A function on [-1, 1] by its power series, with `|f^(k)| <= derivative(k)`, and its size on Bernstein ellipses.

    ellipse: M(rho), sup of |f| on the ellipse with foci +-1 and half-axes (rho +- 1/rho)/2; infinite where f has a
    pole.
    """

    name: str
    series: Callable[[arb_series], arb_series]
    derivative: Callable[[int], float]
    ellipse: Callable[[float], float]


def _pole(z: arb_series) -> arb_series:
    return 1 / (2 - z)


FUNCTIONS = {
    f.name: f
    for f in (
        # |exp z| <= e^(Re z); |cos 3z| <= cosh(3 Im z), so that |f^(k)| <= 3^k on the reals; f^(k) = k!/(2 - z)^(k+1)
        Analytic("exp", arb_series.exp, lambda k: math.e, lambda rho: math.exp((rho + 1 / rho) / 2)),
        Analytic("cos3", lambda z: (3 * z).cos(), lambda k: 3.0**k, lambda rho: math.cosh(1.5 * (rho - 1 / rho))),
        Analytic(
            "pole",
            _pole,
            lambda k: float(math.factorial(k)),
            lambda rho: 1 / (2 - (rho + 1 / rho) / 2) if (rho + 1 / rho) / 2 < 2 else math.inf,
        ),
    )
}


@dataclass(frozen=True)
class Grid:
    """A function, N cells per unit, degree s of the Taylor polynomials."""

    function: str
    cells: int
    degree: int


Series = Callable[[arb_series], arb_series]


def enclose(error: Series, left: fmpq, right: fmpq) -> arb:
    """A ball that contains |error| at every point of [left, right]."""
    middle, radius = arb((left + right) / 2), arb((right - left) / 2)
    x = arb(0, radius.upper())
    at_middle = error(arb_series([middle, 1], prec=ORDER + 1))
    everywhere = error(arb_series([middle + x, 1], prec=ORDER + 1))
    total = everywhere[ORDER]
    for j in reversed(range(ORDER)):
        total = at_middle[j] + total * x
    return abs(total)


def sup_error(error: Callable[[int], Series], left: int, right: int, unit: int, parts: int) -> tuple[arb, float]:
    """Upper bound of |error| over [left, right]/unit and where it is largest; `error(i)` is analytic on [i,
    i+1]/unit.
    """
    worst, place = arb(0), 0.0
    for i in range(left, right):
        for part in range(parts):
            low, high = fmpq(i * parts + part, unit * parts), fmpq(i * parts + part + 1, unit * parts)
            found = enclose(error(i), low, high).upper()
            if not found <= worst:
                worst, place = found, float(arb((low + high) / 2))
    return worst, place


def node_series(f: Analytic, node: fmpq, degree: int) -> list[arb]:
    """Taylor coefficients f^(j)(node)/j!, j <= degree."""
    series = f.series(arb_series([arb(node), 1], prec=degree + 1))
    return [series[j] for j in range(degree + 1)]


def glued_error(f: Analytic, case: Grid, bump: str, modified: bool) -> Callable[[int], Series]:
    """`f - sum_m bump(N z - m) P_m` on [i, i + 1]/(3N), where each bump is affine."""
    N, s = case.cells, case.degree

    def on(i: int) -> Series:
        lower = i // 3  # nodes i/3 rounded down and up
        pieces = []
        for m in (lower, lower + 1):
            sign = 1 if m == lower else -1  # u = N z - m is >= 0 for the lower node
            if bump == "hat":
                pieces.append((m, (1, -sign)))  # 1 - |u|
            else:  # psi(3u) = 2 - 3|u| on the middle third, 1 or 0 on the others
                third = i - 3 * lower
                near = third == (0 if m == lower else 2)
                pieces.append((m, (2, -3 * sign) if third == 1 else (int(near), 0)))
        terms = [(m, weight, node_series(f, fmpq(m, N), s)) for m, weight in pieces if weight != (0, 0)]

        def error(z: arb_series) -> arb_series:
            total = f.series(z)
            for m, (constant, slope), coefficients in terms:
                v = z - arb(fmpq(m, N))
                value = arb_series([0], prec=ORDER + 1)
                for j in reversed(range(s + 1)):
                    factor = fmpq(s + 1 - j, s + 1) if modified else fmpq(1)
                    value = value * v + coefficients[j] * arb(factor)
                total = total - (constant + slope * N * v) * value
            return total

        return error

    return on


def _proved(claimed: float, measured: arb, cells: int, witness: dict[str, object]) -> Verdict:
    holds = bool(measured <= arb(claimed))
    return Verdict(claimed, float(measured), "rigorous", cells, "arb", witness, holds)


def check_glued(case: Grid, modified: bool = False, extra: int = 0) -> Verdict:
    """sup |f - glued| <= F c (2/(3N))^(s+1) for trapezoids; modified hats: F c' N^-(s+2). extra: orders claimed in
    excess.
    """
    f, s, N = FUNCTIONS[case.function], case.degree, case.cells
    bump, beta = ("hat", s + 2) if modified else ("trapezoid", s + 1)
    error, place = sup_error(glued_error(f, case, bump, modified), -3 * N, 3 * N, 3 * N, PARTS)
    if modified:
        # f = its Taylor polynomial of degree s + 1 at z, reproduced, plus r with |r^(j)(z_m)| <= F |v|^(s+2-j)/(s+2-j)!
        weights = sum((1 - j / (s + 1)) * math.comb(s + 2, j) for j in range(s + 1))
        constant, step = weights / math.factorial(s + 2), 1.0 / N
    else:
        constant, step = taylor_constant(1, beta), 2.0 / (3.0 * N)
    claimed = f.derivative(beta) * constant * step ** (beta + extra) * (1 - 1e-12)
    witness = vars(case) | {"z": place}
    return _proved(claimed, error, 6 * N * PARTS, witness)


@dataclass(frozen=True)
class Ellipse:
    """A function, degree n of its interpolant in Chebyshev points, and a Bernstein ellipse."""

    function: str
    degree: int
    rho: float


def chebyshev_interpolant(f: Analytic, degree: int) -> list[arb]:
    """Chebyshev coefficients of the interpolant of degree n in the n + 1 points cos((2k + 1) pi / (2n + 2))."""
    n = degree + 1
    angles = [arb.pi() * (2 * k + 1) / (2 * n) for k in range(n)]
    values = [f.series(arb_series([angle.cos()], prec=1))[0] for angle in angles]
    out = []
    for j in range(n):
        total = sum((v * (j * angle).cos() for v, angle in zip(values, angles, strict=True)), arb(0))
        out.append(total * (1 if j == 0 else 2) / n)
    return out


def check_chebyshev(case: Ellipse, size: float | None = None) -> Verdict:
    """sup |f - p_n| <= 4 M(rho) rho^-n / (rho - 1) on [-1, 1]. size: a constant that claims to be M(rho)."""
    f = FUNCTIONS[case.function]
    coefficients = chebyshev_interpolant(f, case.degree)

    def error(z: arb_series) -> arb_series:
        zero = arb_series([0], prec=ORDER + 1)
        ahead, behind = zero, zero  # Clenshaw
        for c in reversed(coefficients[1:]):
            ahead, behind = 2 * z * ahead - behind + c, ahead
        return f.series(z) - (z * ahead - behind + coefficients[0])

    found, place = sup_error(lambda i: error, -24, 24, 24, 2)
    M = f.ellipse(case.rho) if size is None else size
    claimed = 4 * M * case.rho**-case.degree / (case.rho - 1) * (1 - 1e-12)
    return _proved(claimed, found, 96, vars(case) | {"z": place})


NAMES = st.sampled_from(sorted(FUNCTIONS))
GRIDS = {
    "case": Hypothesis(
        "exp, cos 3z or 1/(2 - z) on [-1, 1], N <= 6 cells per unit, s <= 3",
        st.builds(Grid, function=NAMES, cells=st.integers(1, 6), degree=st.integers(0, 3)),
    )
}
FINE = {"case": Hypothesis("cos 3z, N = 96 cells", st.builds(Grid, st.just("cos3"), st.just(96), st.integers(0, 1)))}

ANALYTIC: tuple[Statement, ...] = (
    Statement(
        name="taylor.glued",
        source="HL24 Theorem 2, after Yarotsky 2017; constant ours",
        claim="sup |f - sum_m psi(3(N z - m)) P_m| <= F/(s+1)! (2/(3N))^(s+1), d = 1",
        latex=r"\sup_{[-1,1]}\Bigl|f-\sum_m\psi(3(Nz-m))P_m\Bigr|\le\frac{F}{(s+1)!}\Bigl(\frac{2}{3N}\Bigr)^{s+1}",
        hypotheses=GRIDS,
        check=check_glued,
        twins=(Twin("order_above", "N^-(s+1): here N^-(s+2)", partial(check_glued, extra=1), FINE, examples=2),),
    ),
    Statement(
        name="taylor.modified_hats",
        source="ours",
        claim="sup |f - sum_m hat(N z - m) P~_m| <= F N^-(s+2) sum_j (1 - j/(s+1)) binom(s+2, j)/(s+2)!, d = 1",
        latex=r"\sup_{[-1,1]}\Bigl|f-\sum_m\mathrm{hat}(Nz-m)\tilde P_m\Bigr|\le\frac{F}{(s+2)!}"
        r"\sum_{j\le s}\Bigl(1-\tfrac{j}{s+1}\Bigr)\tbinom{s+2}{j}N^{-(s+2)}",
        hypotheses=GRIDS,
        check=partial(check_glued, modified=True),
        twins=(
            Twin(
                "order_above", "N^-(s+2): here N^-(s+3)", partial(check_glued, modified=True, extra=1), FINE, examples=2
            ),
        ),
    ),
    Statement(
        name="taylor.chebyshev",
        source="Bernstein 1912; Trefethen, Approximation Theory and Approximation Practice, Theorem 8.2",
        claim="interpolation in n + 1 Chebyshev points: sup |f - p_n| <= 4 M rho^-n/(rho - 1), M = sup |f| on the"
        " ellipse",
        latex=r"\sup_{[-1,1]}|f-p_n|\le\frac{4M\rho^{-n}}{\rho-1},\quad M=\sup_{E_\rho}|f|",
        hypotheses={
            "case": Hypothesis(
                "exp, cos 3z, or 1/(2 - z) with rho < 2 + sqrt 3",
                st.builds(
                    Ellipse, function=NAMES, degree=st.integers(1, 12), rho=st.sampled_from([1.5, 2.0, 3.0, 3.5])
                ),
            )
        },
        check=check_chebyshev,
        twins=(
            Twin(
                "pole_inside",
                "f analytic in the ellipse: 1/(2 - z) has its pole at rho = 3.732, here rho = 6",
                partial(check_chebyshev, size=1.0),
                {
                    "case": Hypothesis(
                        "1/(2 - z), rho = 6", st.builds(Ellipse, st.just("pole"), st.integers(10, 12), st.just(6.0))
                    )
                },
                examples=3,
            ),
        ),
    ),
)
