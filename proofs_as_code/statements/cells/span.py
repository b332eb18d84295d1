"""The atoms of a cell: they span all polynomials of degree p, their clip is idle, and what a monomial costs.

A cell has no constant of its own, so that the ridge lemma (`ridge.lemma`) is needed with l = 0: the atoms `1 +
T_p(delta + v <alpha, u>)`, alpha over s times the principal lattice of order p, `s = floor(R/p)`, span all polynomials
of degree p in u if and only if `1 + T_p(delta) != 0` and `T_p^(l)(delta) != 0` for l = 1 .. p. For `0 < delta <
sin(pi/2p)` that is so: no derivative vanishes, and `|T_p(delta)| < 1`, as T_p is +-1 only at `cos(k pi/p)`, of which 0
alone is in [0, sin(pi/2p)). It takes all `K = C(p + r, r)`: T_p has all degrees, and fewer atoms span other
polynomials.

Clip. On the star of a cell `max(0, u) + max(0, -u) <= 1`, so that `|<alpha, u>| <= |alpha|_1 <= R` and `|delta + v
<alpha, u>| <= delta + (1 - delta) = 1`. It is attained at u = (1, .., 1), alpha >= 0. R >= p is needed for s >= 1; v =
(1 - delta)/R is at most delta, which `out` needs, since R >= 24 and R >= p.

Cost. `construct.theory.lattice.monomial_cost` is the largest sum of |c| that makes a monomial, in closed form; here the
matrix of the atoms' coefficients is inverted.

Floats are taken as the rational numbers that they are; v is rounded, so that the clip may cut by 2^-52.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import product

from flint import fmpq, fmpq_mat, fmpq_poly
from hypothesis import strategies as st

from construct.cells.approximator import reach_of
from construct.ridge.maps import DEGREES, shift_of
from construct.theory.lattice import monomial_cost
from proofs_as_code import rational
from proofs_as_code.framework import Hypothesis, Statement, Twin, Verdict, verdict
from proofs_as_code.statements.atlas.reach import dot
from proofs_as_code.statements.cells.hat import Vertex, gauge, units
from proofs_as_code.statements.ridge.lemma import (
    Space,
    composed,
    deficiency,
    forms_over,
    lattice_of,
    mapped,
    near_zero,
    rank_of,
)

ROUNDING = fmpq(1, 2**52)


def scale_of(degree: int) -> fmpq:
    """v, as the library has it."""
    return rational.rational((1 - shift_of(degree)) / reach_of(degree))


def atoms_of(space: Space, order: int | None = None) -> list[object]:
    """`1 + T_p(t + v s <alpha, u>)`, t for delta."""
    stretch = reach_of(space.degree) // space.degree * scale_of(space.degree)
    vectors = [[stretch * entry for entry in alpha] for alpha in lattice_of(space, order)]
    return [1 + mapped(form, space.degree) for form in forms_over(vectors)]


def check_polynomials(space: Space, modulus: fmpq_poly | None = None) -> Verdict:
    """Rank of a cell's atoms against C(p + r, r); modulus: of delta, if another."""
    shift = rational.rational(shift_of(space.degree))
    atoms = atoms_of(space)
    rank = rank_of(atoms, modulus or fmpq_poly([-shift, 1]))  # type: ignore[arg-type]
    return deficiency(space.size, rank, len(atoms), vars(space) | {"delta": str(modulus or shift)})


def check_order(space: Space, order: int, whole: bool = True) -> Verdict:
    """What the polynomials of degree q add to the span of a cell's atoms; not whole: the lattice is of order q."""
    q = min(order, space.degree)
    shift = rational.rational(shift_of(space.degree))
    atoms, modulus = atoms_of(space, None if whole else q), fmpq_poly([-shift, 1])
    alone = rank_of(atoms, modulus)  # type: ignore[arg-type]
    both = rank_of(atoms + _monomials(space.dim, q), modulus)  # type: ignore[arg-type]
    return deficiency(alone, both, len(atoms), vars(space) | {"q": q})


def _monomials(dim: int, degree: int) -> list[object]:
    steps = forms_over([[int(i == j) for j in range(dim)] for i in range(dim)])
    zero = forms_over([[0] * dim])[0]
    found: list[object] = []
    for exponents in lattice_of(Space(dim, degree)):
        term = composed(fmpq_poly([1]), zero)
        for step, exponent in zip(steps, exponents, strict=True):
            term = term * (step - zero) ** exponent
        found.append(term)
    return found


# -- the clip ---------------------------------------------------------------------------------------------------------


def check_clip(degree: int, alpha: Vertex, u: list[fmpq], reach: Callable[[int], int] = reach_of) -> Verdict:
    """`|delta + v <alpha, u>| <= 1` on a star, the first entry of alpha such that its 1-norm is R; reach: another."""
    r = len(alpha)
    size = reach(degree)
    first = size - sum(abs(a) for a in alpha[1:])
    direction = (first, *alpha[1:])
    inside = [c / max(fmpq(1), gauge(u[:r])) for c in u[:r]]
    ends = [[fmpq(sign * c) for c in e] for sign in (1, -1) for e in units(r)]
    delta, v = rational.rational(shift_of(degree)), scale_of(degree)
    values = [abs(delta + v * dot([fmpq(a) for a in direction], x)) for x in [inside, *ends]]
    where = {"p": degree, "alpha": direction}
    return verdict(1 + ROUNDING, max(values), kind="exact", points=len(values), dtype="rational", worst_point=where)


def check_reach(degree: int, reach: Callable[[int], int] = reach_of) -> Verdict:
    """The principal lattice of order p has its place, and v <= delta: how much is missing of either."""
    size, delta = reach(degree), rational.rational(shift_of(degree))
    missing = max(fmpq(degree - size), (1 - delta) / size - delta)
    return verdict(fmpq(0), missing, kind="exact", points=2, dtype="rational", worst_point={"p": degree, "R": size})


# -- coefficients -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Costs:
    """The largest sum |c| of one monomial, by degree of the monomials."""

    by_order: tuple[fmpq, ...]


@lru_cache
def costs_of(space: Space) -> Costs:
    """By inverting the matrix of the atoms' coefficients: column b of it makes u^b."""
    shift = rational.rational(shift_of(space.degree))
    monomials = [e for e in product(range(space.degree + 1), repeat=space.dim) if sum(e) <= space.degree]
    rows = []
    for atom in atoms_of(space):
        row = dict.fromkeys(monomials, fmpq(0))
        for (power, *exponents), coefficient in atom.to_dict().items():  # type: ignore[attr-defined]
            row[tuple(exponents)] += coefficient * shift**power
        rows.append([row[e] for e in monomials])
    inverse = fmpq_mat(rows).inv()  # of (atoms, monomials): (monomials, atoms)
    sums = [sum((abs(inverse[i, j]) for j in range(len(rows))), fmpq(0)) for i in range(len(monomials))]
    return Costs(
        tuple(
            max(total for e, total in zip(monomials, sums, strict=True) if sum(e) <= order)
            for order in range(space.degree + 1)
        )
    )


def check_cost(space: Space, order: int, stretched: bool = True) -> Verdict:
    """`monomial_cost` against the inverse, relative; not stretched: the plain lattice claimed to be as good."""
    order = min(order, space.degree)
    exact = costs_of(space).by_order[order]
    if not stretched:
        exact *= (reach_of(space.degree) // space.degree) ** order
    off = abs(rational.rational(monomial_cost(space.degree, space.dim, order)) / exact - 1)
    where = vars(space) | {"q": order, "cost": float(exact.p) / float(exact.q)}
    return verdict(ROUNDING, off, kind="exact", points=1, dtype="rational", worst_point=where)


# -- statements -------------------------------------------------------------------------------------------------------

SIZES = [(r, p) for r in (1, 2, 3) for p in (2, 3, 4, 6)] + [(1, 8), (2, 8), (1, 9), (2, 9), (1, 12), (4, 2), (4, 3)]
SPACE = Hypothesis("r <= 4 coordinates, p <= 12", st.sampled_from([Space(*size) for size in SIZES]))
SMALL = Hypothesis("r <= 3, p <= 4", st.sampled_from([Space(r, p) for r in (1, 2, 3) for p in (2, 3, 4)]))
DEGREE = Hypothesis("p up to 108", st.sampled_from([p for p in DEGREES if p > 1]))
ALPHA = Hypothesis(
    "alpha in Z^r of 1-norm R", st.lists(st.integers(-3, 3), min_size=1, max_size=4).map(tuple)
)  # the first entry is what is left
STAR = Hypothesis("u in the star, and its vertices", st.lists(rational.dyadics(2, 4), min_size=4, max_size=4))


def at(shift: fmpq) -> fmpq_poly:
    return fmpq_poly([-shift, 1])


def spaces(*sizes: tuple[int, int]) -> Hypothesis:
    return Hypothesis(f"(r, p) in {sizes}", st.sampled_from([Space(*size) for size in sizes]))


STATEMENTS: tuple[Statement, ...] = (
    Statement(
        name="cells.span.polynomials",
        source="ours",
        claim="K = C(p+r, r) atoms 1 + T_p(delta + v s <alpha, u>), |alpha|_1 <= p, s = floor(R/p), span all "
        "polynomials of degree p, constants among them, with the library's delta and v",
        latex=r"The $K=\binom{p+r}{r}$ atoms $1+T_p(\delta+vs\langle\alpha,u\rangle)$, $|\alpha|_1\le p$, "
        r"$s=\lfloor R/p\rfloor$, span all polynomials of degree $p$.",
        hypotheses={"space": SPACE},
        check=check_polynomials,
        twins=(
            Twin("delta = 0", "delta != 0", partial(check_polynomials, modulus=at(fmpq(0)))),
            Twin(
                "a root of T_p'",
                "no derivative vanishes at delta: 1/2, T_3'(1/2) = T_6'(1/2) = T_9'(1/2) = 0",
                partial(check_polynomials, modulus=at(fmpq(1, 2))),
                {"space": spaces((1, 3), (2, 3), (1, 6), (2, 6), (1, 9))},
            ),
            Twin(
                "a root of T_9^(5)",
                "no derivative vanishes at delta: 0.199939.., exactly",
                lambda space: check_polynomials(space, near_zero()),
                {"space": spaces((1, 9), (2, 9))},
                examples=2,
            ),
            Twin(
                "1 + T_p(delta) = 0",
                "there is no constant in a cell: delta = -1, p odd, where that alone vanishes",
                partial(check_polynomials, modulus=at(fmpq(-1))),
                {"space": spaces((1, 3), (2, 3), (3, 3), (1, 9))},
            ),
        ),
        examples=20,
    ),
    Statement(
        name="cells.span.order",
        source="ours",
        claim="the atoms of a cell span all polynomials of degree q <= p; C(q+r, r) of them do not, where q < p",
        latex=r"The $\binom{p+r}{r}$ atoms of a cell span the polynomials of degree $q\le p$.",
        hypotheses={"space": SMALL, "order": Hypothesis("1 <= q <= p", st.integers(1, 4))},
        check=check_order,
        twins=(
            Twin(
                "C(q+r, r) atoms",
                "the lattice has the order p: q < p",
                partial(check_order, whole=False),
                {"space": spaces((1, 3), (2, 3), (1, 4), (2, 4)), "order": Hypothesis("q = 1 or 2", st.integers(1, 2))},
            ),
        ),
        examples=10,
    ),
    Statement(
        name="cells.span.clip",
        source="ours",
        claim="|delta + v <alpha, u>| <= 1 on the star of a cell for |alpha|_1 <= R: no clip is met",
        latex=r"$|\delta+v\langle\alpha,u\rangle|\le 1$ on the star of a cell for $|\alpha|_1\le R$.",
        hypotheses={"degree": DEGREE, "alpha": ALPHA, "u": STAR},
        check=check_clip,
        twins=(
            Twin(
                "|alpha|_1 = R + 1",
                "|alpha|_1 <= R: R + 1, at a vertex",
                partial(check_clip, reach=lambda degree: reach_of(degree) + 1),
                {"alpha": Hypothesis("alpha >= 0", st.lists(st.integers(0, 3), min_size=1, max_size=4).map(tuple))},
            ),
        ),
        examples=60,
    ),
    Statement(
        name="cells.span.reach",
        source="ours",
        claim="R = max(24, p) >= p, and v = (1 - delta)/R <= delta, for every p up to 108",
        latex=r"$R=\max(24,p)\ge p$ and $v=(1-\delta)/R\le\delta$.",
        hypotheses={"degree": DEGREE},
        check=check_reach,
        twins=(
            Twin(
                "R = 24",
                "R >= p: 24",
                partial(check_reach, reach=lambda degree: 24),
                {"degree": Hypothesis("p > 24", st.sampled_from([p for p in DEGREES if p > 24]))},
            ),
            Twin("R = 2", "v <= delta: R = 2", partial(check_reach, reach=lambda degree: 2)),
        ),
        examples=40,
    ),
    Statement(
        name="cells.span.cost",
        source="ours",
        claim="the largest sum |c| that makes a monomial of degree <= q, by Lagrange polynomials in closed form, is "
        "that of the inverted matrix",
        latex=r"\sum_\alpha|c_\alpha|=\frac{b!}{|g^{(|b|)}(\delta)|(vs)^{|b|}}\sum_\alpha|[y^b]L_\alpha|",
        hypotheses={"space": SMALL, "order": Hypothesis("0 <= q <= p", st.integers(0, 4))},
        check=check_cost,
        twins=(
            Twin(
                "the plain lattice",
                "the lattice is stretched by floor(R/p): as if it were not",
                partial(check_cost, stretched=False),
                {"order": Hypothesis("1 <= q", st.integers(1, 4))},
            ),
        ),
        examples=20,
    ),
)
