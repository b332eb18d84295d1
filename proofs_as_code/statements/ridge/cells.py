"""Hoelder targets with cells: what the ridge basis gives, and how much of it is checked.

Corollary. Let M be a compact d-dimensional submanifold of class C^max(2, ceil beta) without boundary, y: M -> R^r
linear coordinates with `|y(x) - y(x')| >= kappa |x - x'|`, kappa > 0, f of norm F in C^beta of the tangent charts of
y(M), `q = ceil(beta) - 1`, `p = 2^i 3^j >= max(q, 2)`, `0 < |delta| < sin(pi/2p)`. Then there are a number c, which
depends on (M, y, beta, p) alone, and for every eps in (0, 1) cells and coefficients with

    sup over M of |f - sum_n psi_n P_n| <= eps,
    P_n = sum over alpha of c_(n, alpha) (1 + T_p(delta + v <alpha, (y - y_n)/h>)),

alpha over the principal lattice of order p, in all `N K <= c (1 + F/eps)^(d/beta)` coefficients, `K = C(p + r, r)`:
p, delta, v and the directions are the same in every cell, for every f and every eps.

Proof. (1) Take `h = (eps/(c F))^(1/beta)`, or less, below the reach of y(M), which is at least kappa^2 reach(M)/|y|,
|y| the largest stretch of y: by Federer 4.18, since `dist(y(w), y(T)) <= |y| dist(w, T) <= |y| |w|^2/(2 reach(M))`
and `|w| <= |y(w)|/kappa`. Near y_n the set y(M) is a graph over its tangent plane, and the Taylor polynomial of
degree q of f in tangent coordinates `z = V^T (y - y_n)` misses f by at most `c F |z|^beta`; with d = 1 by `F |z|^beta
Gamma(beta - q + 1)/Gamma(beta + 1)`, since `f^(q)` moves by at most F |z|^(beta - q). (2) It is a polynomial of
degree q in `u = (y - y_n)/h`, hence one of degree p, hence by the ridge lemma a combination of the K atoms, `v = (1 -
delta)/(p max |u_i|)`, so that no clip is met. K counts the polynomials of degree p, not q: T_p has all degrees, and
fewer atoms span other polynomials. (3) psi_n >= 0 with sum 1: the blend misses f by no more than the worst P_n does
on the support of its psi_n. (4) Balls of radius h/4 about the centres of a maximal packing are disjoint and each
holds a volume of at least c h^d of M, so that N <= c h^(-d). QED

Checked: (1) for d = 1 and the targets `x^beta`, beta = q + 1/2, whose q-th derivative has the Hoelder constant `F =
Gamma(beta + 1)/Gamma(beta - q + 1)`, with the exact constant, for *every* centre a > 0 and point x >= 0: with `w =
sqrt(x/a)`

    f(x) - P_a(x) = a^beta (w - 1)^(q+1) Q(w),
    |f(x) - P_a(x)| <= |x - a|^beta   iff   |w - 1| Q(w)^2 <= (w + 1)^(2q+1),

Q a polynomial with rational coefficients: a polynomial inequality on [0, 1] and on [1, oo). It is attained at a = 0.
The reach of linear images, which is that of ellipses. (2) by exact ranks, for r <= 3. (1) to (3) together on cells
[n, n + 1] h of the line with hats, in ball arithmetic over whole cells: the ridge formula with its K coefficients in
each cell, and its error.

Not checked: the constants on curved M and for d >= 2, (4), and how networks run cells (the layouts' own statements
do, as far as they are built). For other beta only the algebra changes: there w is another root of x/a.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import product

from flint import arb, fmpq, fmpq_mat, fmpq_poly, fmpz_poly
from hypothesis import strategies as st

from construct.ridge.maps import shift_of
from proofs_as_code import rational
from proofs_as_code.framework import Hypothesis, Statement, Twin, Verdict, verdict
from proofs_as_code.statements.atlas.reach import SPHERE_PAIR, Point, dot, minus, sphere_point
from proofs_as_code.statements.compact.atoms import nowhere_negative
from proofs_as_code.statements.ridge.lemma import ONE, SHARE, Space, deficiency, forms_over, lattice_of, mapped, rank_of
from proofs_as_code.subdivision import bounded, evaluate

W = fmpq_poly([0, 1])
HALF = fmpq(1, 2)

# -- the reach of a linear image --------------------------------------------------------------------------------------


def check_reach(axes: list[fmpq], pair: list[Point], factor: fmpq) -> Verdict:
    """Federer's inequality on the image of a sphere under y = diag(axes), tau = factor kappa^2/|y|, squared.

    At y(p) the normal is `p_i/axes_i`, so that `dist(y(q) - y(p), T) = |<q - p, p>| / |(p_i/axes_i)|`.
    """
    p, q = (sphere_point(point, ONE) for point in pair)
    used = axes[: len(p)]
    tau = factor * min(used) ** 2 / max(used)
    chord = [a * (s - t) for a, s, t in zip(used, q, p, strict=True)]
    across, normal = dot(minus(q, p), p), [t / a for a, t in zip(used, p, strict=True)]
    claimed, measured = dot(chord, chord) ** 2 * dot(normal, normal), 4 * tau**2 * across**2
    where = {"axes": [str(a) for a in used], "tau": str(tau)}
    return verdict(claimed, measured, kind="exact", points=1, dtype="rational", worst_point=where)


# -- (1) the Taylor polynomial ----------------------------------------------------------------------------------------


def binomial(beta: fmpq, j: int) -> fmpq:
    """`beta (beta - 1) .. (beta - j + 1)/j!`."""
    value = fmpq(1)
    for i in range(j):
        value *= (beta - i) / (i + 1)
    return value


@lru_cache
def quotient(order: int, beta: fmpq) -> fmpq_poly:
    """Q of `w^(2 beta) - sum over j <= order of binom(beta, j) (w^2 - 1)^j = (w - 1)^(order + 1) Q(w)`, 2 beta odd."""
    taylor = sum((binomial(beta, j) * (W * W - 1) ** j for j in range(order + 1)), fmpq_poly([0]))
    found, left = divmod(W ** int(2 * beta) - taylor, (W - 1) ** (order + 1))
    assert left.is_zero(), "the Taylor polynomial has the derivatives of f at a"
    return found


def nowhere_negative_from(p: fmpq_poly, low: int, finite: bool) -> bool:
    """Whether p >= 0 on [low, low + 1] (finite) or on [low, oo), in z on [-1, 1]: `w - low` is `(1 + z)/2` or
    `(1 + z)/(1 - z)`."""
    if finite:
        return nowhere_negative(p(fmpq_poly([low + HALF, HALF])))
    moved = p(fmpq_poly([low, 1]))  # in w - 1 >= 0
    up, down = fmpq_poly([1, 1]), fmpq_poly([1, -1])
    degree = moved.degree()
    return nowhere_negative(
        sum((c * up**i * down ** (degree - i) for i, c in enumerate(moved.coeffs())), fmpq_poly([0]))
    )


def check_taylor(q: int, share: fmpq = ONE, short: int = 0) -> Verdict:
    """`|f - P_a| <= share |x - a|^beta`, f = x^beta, for all x >= 0 and a > 0.

    share: of the claim; short: by how many degrees P_a is too short.
    """
    beta = q + HALF
    order = q - short
    right = share**2 * (W + 1) ** (2 * q + 1)
    # |f - P_a|^2 = a^(2 beta) (w - 1)^(2 order + 2) Q^2 against a^(2 beta) |w^2 - 1|^(2 beta), over that power of w - 1
    powers = 2 * q + 1 - 2 * order - 2
    squared = quotient(order, beta) ** 2
    failed = []
    for name, away, low, finite in (("x < a", 1 - W, 0, True), ("x > a", W - 1, 1, False)):
        left, limit = (squared * away**-powers, right) if powers < 0 else (squared, right * away**powers)
        if not nowhere_negative_from(limit - left, low, finite):
            failed.append(name)
    where = {"q": q, "beta": str(beta), "failed": failed}
    return verdict(0, len(failed), kind="exact", points=2, dtype="rational", worst_point=where)


# -- (2) tokens in a cell ---------------------------------------------------------------------------------------------


def check_tokens(space: Space, q: int, stretch: int, unit: fmpq, order: int | None = None) -> Verdict:
    """What the monomials of degree at most q add to the rank of a stretched lattice; order: of it, instead of p."""
    q = min(q, space.degree)
    vectors = [[stretch * entry for entry in alpha] for alpha in lattice_of(space, order)]
    modulus = fmpq_poly([-unit * SHARE / space.degree, 1])
    atoms = [1 + mapped(form, space.degree) for form in forms_over(vectors)]
    steps = forms_over([[int(i == j) for j in range(space.dim)] for i in range(space.dim)])
    zero = 0 * steps[0]
    y = [step - form for step, form in zip(steps, forms_over([[0] * space.dim] * space.dim), strict=True)]
    monomials = []
    for exponents in lattice_of(Space(space.dim, max(q, 1))):
        term = zero + 1
        for variable, exponent in zip(y, exponents, strict=True):
            term = term * variable**exponent
        monomials.append(term)
    before, after = rank_of(atoms, modulus), rank_of(atoms + monomials, modulus)
    return deficiency(before, after, len(atoms), vars(space) | {"q": q, "stretch": stretch})


# -- (1) to (3) on an interval ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cell:
    """q of beta = q + 1/2, p >= q, and the number n of the cell [n, n + 1] h."""

    q: int
    degree: int
    number: int

    @property
    def beta(self) -> fmpq:
        return self.q + HALF


def atoms_of(degree: int, tokens: int) -> list[fmpq_poly]:
    """The atoms `1 + T_p(delta + v t u)`, t = 0 .. tokens - 1, on a cell |u| <= 1: v = (1 - delta)/p."""
    delta, chebyshev = rational.rational(shift_of(degree)), fmpz_poly.chebyshev_t(degree)
    return [1 + chebyshev(fmpq_poly([delta, (1 - delta) / degree * t])) for t in range(tokens)]


@lru_cache
def monomials_by_atoms(degree: int, tokens: int) -> fmpq_mat:
    """(tokens, tokens): column j makes u^j of the atoms, as far as degree tokens - 1."""
    atoms = atoms_of(degree, tokens)
    return fmpq_mat([[atom[j] for atom in atoms] for j in range(tokens)]).inv()


@lru_cache
def deviations(degree: int, tokens: int) -> list[fmpq_poly]:
    """What the atoms make of each u^j, less u^j: 0 for all with `p + 1` atoms."""
    atoms, solved = atoms_of(degree, tokens), monomials_by_atoms(degree, tokens)
    made = [sum((solved[t, j] * atom for t, atom in enumerate(atoms)), fmpq_poly([0])) for j in range(tokens)]
    return [p - W**j for j, p in enumerate(made)]


def missed(q: int, order: int, node: int, root: arb) -> arb:
    """`f - P_node` at x = root^2, by (1)."""
    if node == 0:
        return root ** (2 * q + 1)
    r = arb(node).sqrt()
    return r ** (2 * q - order) * (root - r) ** (order + 1) * evaluate(quotient(order, q + HALF), root / r)


def deviation(cell: Cell, order: int, node: int, tokens: int, u: arb) -> arb:
    """By how much the combination of atoms differs from P_node, at u = x - node."""
    found = arb(0)
    for j, p in enumerate(deviations(cell.degree, tokens)[: order + 1]):
        if node and not p.is_zero():
            taylor = arb(binomial(cell.beta, j)) * arb(node).sqrt() ** int(2 * (cell.beta - j))
            found += taylor * evaluate(p, u)
    return found


def check_holder(cell: Cell, *, short: int = 0, fewer: bool = False, alone: bool = False) -> Verdict:
    """The blend's error over h^beta is at most 1 on a whole cell; h = 1, since f(h x) = h^beta f(x).

    short: by how many degrees the Taylor polynomials are too short; fewer: q + 1 atoms a cell; alone: without the hat
    of the next node.
    """
    n, order, tokens = cell.number, cell.q - short, cell.q + 1 if fewer else cell.degree + 1

    def error(box: list[arb]) -> arb:
        (root,) = box
        t = root * root - n
        left = missed(cell.q, order, n, root) - deviation(cell, order, n, tokens, t)
        right = missed(cell.q, order, n + 1, root) - deviation(cell, order, n + 1, tokens, t - 1)
        return abs((1 - t) * left + t * (root ** (2 * cell.q + 1) if alone else right))

    ends = (math.nextafter(math.sqrt(n), 0.0), math.nextafter(math.sqrt(n + 1), math.inf))
    return bounded(error, [ends], 1.0).verdict(1.0, vars(cell))


# -- statements -------------------------------------------------------------------------------------------------------

ORDER = Hypothesis("beta = q + 1/2, q <= 6", st.integers(0, 6))
SPACES = Hypothesis(
    "r <= 3 coordinates, p in {2, 3, 4, 6}", st.sampled_from([Space(r, p) for r, p in product((1, 2, 3), (2, 3, 4, 6))])
)
UNIT = Hypothesis("0 < |delta| < sin(pi/2p)", st.sampled_from([fmpq(j, 8) for j in range(-7, 8) if j]))
NUMBER = st.integers(0, 3) | st.integers(0, 1000)
CELL = Hypothesis(
    "q <= 3, p >= max(q, 2), any of the first 1,000 cells",
    st.builds(Cell, st.integers(0, 2), st.sampled_from([2, 3, 4, 6]), NUMBER)
    | st.builds(Cell, st.just(3), st.sampled_from([3, 4, 6]), NUMBER),
)
AXES = Hypothesis(
    "y = diag of rational axes in [1/4, 4]",
    st.lists(st.integers(1, 16).map(lambda j: fmpq(j, 4)), min_size=4, max_size=4),
)
VERTEX = Hypothesis(
    "near the end of the longer axis", st.integers(4, 10).map(lambda j: [[fmpq(1)], [1 + fmpq(1, 2**j)]])
)
ELLIPSE = Hypothesis("the first axis longer", st.integers(4, 16).map(lambda j: [fmpq(j, 4), HALF, ONE, ONE]))

STATEMENTS: tuple[Statement, ...] = (
    Statement(
        name="ridge.cells.reach",
        source="ours",
        claim="linear coordinates y with |y(w)| >= kappa |w|: the reach of y(M) is at least kappa^2 reach(M)/|y|; "
        "ellipsoids",
        latex=r"$\mathrm{reach}(y(M))\ge\kappa^2\,\mathrm{reach}(M)/|y|$ for linear $y$, on ellipsoids.",
        hypotheses={"axes": AXES, "pair": SPHERE_PAIR, "factor": Hypothesis("tau = kappa^2/|y|", st.just(ONE))},
        check=check_reach,
        twins=(
            Twin(
                "reach overstated",
                "tau = kappa^2/|y|, the reach of an ellipse: 1.2 of it",
                check_reach,
                {"axes": ELLIPSE, "pair": VERTEX, "factor": Hypothesis("1.2", st.just(fmpq(6, 5)))},
            ),
        ),
        examples=30,
    ),
    Statement(
        name="ridge.cells.taylor",
        source="ours",
        claim="f = x^beta, beta = q + 1/2: the Taylor polynomial of degree q at a misses f by at most |x - a|^beta, "
        "for all a > 0 and x >= 0 (F Gamma(beta-q+1)/Gamma(beta+1) = 1)",
        latex=r"$|f(x)-P_a(x)|\le F\,\frac{\Gamma(\beta-q+1)}{\Gamma(\beta+1)}\,|x-a|^\beta$ for $f=x^\beta$, "
        r"$\beta=q+\frac12$, all $a>0$, $x\ge 0$.",
        hypotheses={"q": ORDER},
        check=check_taylor,
        twins=(
            Twin(
                "constant understated",
                "the constant is attained as a -> 0: 0.99 of it",
                partial(check_taylor, share=fmpq(99, 100)),
            ),
            Twin(
                "a degree less",
                "the polynomial has degree q: q - 1",
                partial(check_taylor, short=1),
                {"q": Hypothesis("1 <= q <= 6", st.integers(1, 6))},
            ),
        ),
        examples=20,
    ),
    Statement(
        name="ridge.cells.tokens",
        source="ours",
        claim="C(p+r, r) atoms of one stretched principal lattice, the same in every cell, span all polynomials of "
        "degree q <= p",
        latex=r"The $\binom{p+r}{r}$ atoms of a stretched principal lattice of order $p$ span all polynomials of "
        r"degree $q\le p$.",
        hypotheses={
            "space": SPACES,
            "q": Hypothesis("0 <= q <= p", st.integers(0, 6)),
            "stretch": Hypothesis("lattice times 1 to 8", st.integers(1, 8)),
            "unit": UNIT,
        },
        check=check_tokens,
        twins=(
            Twin(
                "C(q+r, r) atoms",
                "the order of the lattice is p: q < p, q >= 1",
                lambda space, q, **others: check_tokens(space, q, **others, order=q),
                {
                    "q": Hypothesis("q = 1 or 2", st.sampled_from([1, 2])),
                    "space": Hypothesis("p > 2", st.sampled_from([Space(r, p) for r in (1, 2) for p in (3, 4, 6)])),
                },
            ),
        ),
        examples=20,
    ),
    Statement(
        name="ridge.cells.holder",
        source="ours",
        claim="x^beta in cells of size h, hats, p + 1 ridge atoms in each: the error is at most eps = h^beta on every "
        "cell, with (p + 1)(eps^(-1/beta) + 1) coefficients on [0, 1]; p, delta and directions do not depend on eps",
        latex=r"$x^\beta$ in cells of size $h$, $p+1$ ridge atoms in each: error at most $\varepsilon=h^\beta$, with "
        r"$(p+1)(\varepsilon^{-1/\beta}+1)$ coefficients on $[0,1]$.",
        hypotheses={"cell": CELL},
        check=check_holder,
        twins=(
            Twin(
                "a degree less",
                "Taylor polynomials of degree q: q - 1",
                partial(check_holder, short=1),
                {
                    "cell": Hypothesis(
                        "q = 2, far from 0", st.builds(Cell, st.just(2), st.just(3), st.integers(500, 1000))
                    )
                },
            ),
            Twin(
                "q + 1 atoms",
                "p + 1 atoms a cell: q + 1 < p + 1",
                partial(check_holder, fewer=True),
                {
                    "cell": Hypothesis(
                        "q = 1, far from 0", st.builds(Cell, st.just(1), st.just(3), st.integers(500, 1000))
                    )
                },
            ),
            Twin(
                "a hat left out",
                "hats sum to 1: those of the next node are missing",
                partial(check_holder, alone=True),
                {
                    "cell": Hypothesis(
                        "far from 0", st.builds(Cell, st.integers(0, 2), st.just(3), st.integers(10, 1000))
                    )
                },
            ),
        ),
        examples=40,
    ),
)
