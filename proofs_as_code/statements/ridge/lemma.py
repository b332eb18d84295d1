"""The ridge lemma: which polynomials the atoms of a lattice of directions span, by exact ranks.

Let g be a polynomial of degree at most p in one variable and A the principal lattice `{alpha >= 0, |alpha|_1 <= p}`
in Z^k. Then the functions `g(delta + <alpha, y>)`, alpha in A, span exactly the homogeneous parts

    { forms of degree l in y :  l <= p,  g^(l)(delta) != 0 },

so their rank is the sum of `C(k - 1 + l, l)` over those l, and they span all polynomials of degree at most p if and
only if no derivative `g^(l)(delta)`, l = 0..p, vanishes. With a constant besides, l = 0 needs nothing.

Proof. Taylor's formula: `g(delta + <alpha, y>) = sum_l g^(l)(delta)/l! <alpha, y>^l`, and `<alpha, y>^l = sum over
|m| = l of (l over m) alpha^m y^m`. So the matrix of the coefficients of y^m, |m| <= p, is `V D` with `V = (alpha^m)`
and D diagonal, `D_m = g^(|m|)(delta)/m!`. V is square, `C(p + k, k)` by as many, and invertible: the principal
lattice of order p is unisolvent for polynomials of degree p (one that vanishes on A vanishes on `alpha_1 = 0, .., p`
one after the other: on `alpha_1 = 0` it is 0 by induction over k, hence divisible by alpha_1, and the quotient, of
degree p - 1, vanishes on the lattice of order p - 1 moved by e_1). So the rank of V D is the number of m with `D_m !=
0`. QED

The atoms of the construction are `1 + T_p`: `g = 1 + T_p`, whose derivatives are those of T_p from l = 1 on.
Restricted to M the span is that of the restricted polynomials, and any largest independent subset is a basis of it;
there a derivative that vanishes may be harmless, since forms of degree l can come back from degrees above, as on
spheres, where |y|^2 = 1.

Without a shift, delta = 0: `T_p^(l + 2)(0) = (l^2 - p^2) T_p^(l)(0)` (l times the derivative of Chebyshev's equation
`(1 - x^2) T'' - x T' + p^2 T = 0` at 0), and T_p is even or odd as p is, so that of its derivatives of order at most p
those vanish at 0 that have the other parity, and no others. With a constant besides the atoms span it and the forms of
degrees l = p, p - 2, ..: all that an even or odd target takes.

How it is checked. Atoms are expanded by polynomial arithmetic in y, T_p by the chain of maps that the network
applies; nothing of the proof enters. Where delta is algebraic, the root of a polynomial m, the coefficients are in
Q[t]/(m): every entry becomes the matrix of its multiplication on that field, and the rank over Q is deg m times the
rank over the field.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from math import comb
from typing import Any

import numpy as np
from flint import Ordering, fmpq, fmpq_mat, fmpq_mpoly, fmpq_mpoly_ctx, fmpq_poly, fmpz_poly
from hypothesis import strategies as st

from construct.ridge.directions import Lattice
from construct.ridge.maps import chain
from proofs_as_code import rational
from proofs_as_code.framework import Hypothesis, Statement, Twin, Verdict, verdict
from proofs_as_code.statements.atlas.reach import Point, sphere_point, torus_point

Exponents = tuple[int, ...]
ONE = fmpq(1)
SHARE = fmpq(7, 5)
"""`7/(5p) < sin(pi/2p)` for every p >= 2: p sin(pi/2p) increases with p, and 2 sin(pi/4) > 7/5."""


@dataclass(frozen=True)
class Space:
    """k variables, and degree p."""

    dim: int
    degree: int

    @property
    def size(self) -> int:
        """Dimension of the polynomials of that degree."""
        return comb(self.dim + self.degree, self.dim)


def field_of(modulus: fmpq_poly) -> list[fmpq_mat]:
    """Matrices of the multiplications by 1, t, t^2, .. on Q[t]/(m), m irreducible."""
    factors = modulus.factor()[1]
    assert len(factors) == 1 and factors[0][1] == 1, "the modulus of a field is irreducible"
    size = modulus.degree()
    companion = fmpq_mat(size, size)
    for i in range(size):
        if i + 1 < size:
            companion[i + 1, i] = ONE
        companion[i, size - 1] = -modulus[i] / modulus[size]
    powers = [fmpq_mat(size, size, [int(i == j) for i in range(size) for j in range(size)])]
    while len(powers) < size:
        powers.append(companion * powers[-1])
    return powers


def variables_of(dim: int) -> tuple[fmpq_mpoly, list[fmpq_mpoly]]:
    """t, which stands for delta, and y_1 .. y_k."""
    context = fmpq_mpoly_ctx.get(("t", *(f"y{i}" for i in range(dim))), Ordering.lex)
    first, *others = context.gens()
    return first, others


def mapped(a: Any, degree: int) -> Any:
    """T_p(a) in any ring, by the chain."""
    for m in chain(degree):
        a = 4 * a * a * a - 3 * a if m == 3 else 2 * a * a - 1
    return a


def composed(g: fmpq_poly, a: Any) -> Any:
    """g(a) in any ring that has rational numbers, by Horner's rule."""
    value = 0 * a
    for coefficient in reversed(g.coeffs()):
        value = value * a + coefficient
    return value


def rank_of(functions: list[fmpq_mpoly], modulus: fmpq_poly) -> int:
    """Rank of polynomials in (t, y) as polynomials in y over Q[t]/(m)."""
    powers = field_of(modulus)
    size = len(powers)
    rows: list[dict[Exponents, list[fmpq]]] = []
    for function in functions:
        row: dict[Exponents, list[fmpq]] = {}
        for (power, *exponents), coefficient in function.to_dict().items():
            parts = row.setdefault(tuple(exponents), [])
            parts.extend([fmpq(0)] * (power + 1 - len(parts)))
            parts[power] += coefficient
        rows.append(row)
    places = {monomial: i for i, monomial in enumerate(sorted({e for row in rows for e in row}))}
    entries = fmpq_mat(size * len(rows), size * max(1, len(places)))
    for i, row in enumerate(rows):
        for monomial, parts in row.items():
            reduced = divmod(fmpq_poly(parts), modulus)[1]
            for j, coefficient in enumerate(reduced.coeffs()):
                for a in range(size):
                    for b in range(size):
                        entries[size * i + a, size * places[monomial] + b] += coefficient * powers[j][a, b]
    return entries.rank() // size


def forms_over(vectors: Sequence[Sequence[fmpq | int]]) -> list[fmpq_mpoly]:
    """`t + <alpha, y>` of every direction."""
    shift, y = variables_of(len(vectors[0]))
    return [sum((entry * y[i] for i, entry in enumerate(alpha)), shift) for alpha in vectors]


def lattice_of(space: Space, order: int | None = None, left_out: int = 0) -> list[list[int]]:
    """The principal lattice of order p (or another), without its last members."""
    vectors: list[list[int]] = Lattice(space.dim, order or space.degree).integers.tolist()
    return vectors[: len(vectors) - left_out]


def deficiency(claimed: int, rank: int, atoms: int, where: dict[str, Any]) -> Verdict:
    """Exact verdict: the rank is what is claimed."""
    worst = where | {"claimed rank": claimed, "rank": rank}
    return verdict(0, abs(claimed - rank), kind="exact", points=atoms, dtype="rational", worst_point=worst)


def check_spans(
    space: Space, unit: fmpq, constant: bool, modulus: fmpq_poly | None = None, left_out: int = 0
) -> Verdict:
    """Rank of `1 + T_p(delta + <alpha, y>)`, delta = 7u/(5p) or a root of a polynomial, against all polynomials."""
    shift = unit * SHARE / space.degree
    forms = forms_over(lattice_of(space, left_out=left_out))
    atoms = [1 + mapped(form, space.degree) for form in forms]
    atoms += [1 + 0 * atoms[0]] if constant else []
    rank = rank_of(atoms, modulus or fmpq_poly([-shift, 1]))
    return deficiency(
        space.size, rank, len(atoms), vars(space) | {"delta": str(modulus or shift), "constant": constant}
    )


def check_at(space: Space, unit: fmpq, constant: bool, shift: fmpq) -> Verdict:
    """The same for one delta."""
    return check_spans(space, unit, constant, fmpq_poly([-shift, 1]))


def check_parity(space: Space, unit: fmpq, *, constant: bool = True, every: bool = False) -> Verdict:
    """Rank of `1 + T_p(delta + <alpha, y>)` and a constant against it and the forms of p's parity; every: all forms."""
    p = space.degree
    wanted = {order for order in range(p + 1) if every or (p - order) % 2 == 0} | {0}
    claimed = sum(comb(space.dim - 1 + order, order) for order in wanted)
    shift = unit * SHARE / p
    atoms = [1 + mapped(form, p) for form in forms_over(lattice_of(space))]
    atoms += [1 + 0 * atoms[0]] if constant else []
    rank = rank_of(atoms, fmpq_poly([-shift, 1]))
    return deficiency(claimed, rank, len(atoms), vars(space) | {"delta": str(shift), "constant": constant})


def derivative_of(degree: int, order: int) -> fmpz_poly:
    """T_p^(l)."""
    found = fmpz_poly.chebyshev_t(degree)
    for _ in range(order):
        found = found.derivative()
    return found


@lru_cache
def near_zero() -> fmpq_poly:
    """The minimal polynomial of the root 0.199939 of T_9^(5), of degree 4."""
    content, factors = derivative_of(9, 5).factor()
    assert content != 0 and len(factors) == 1
    return fmpq_poly(factors[0][0])


def check_rank(
    space: Space,
    shift: fmpq,
    coefficients: list[int],
    constant: bool,
    *,
    order: int | None = None,
    left_out: int = 0,
    all_degrees: bool = False,
) -> Verdict:
    """Rank of `g(delta + <alpha, y>)`, `g = sum_l c_l (x - delta)^l`, against the degrees l with c_l != 0.

    all_degrees: claim every degree, whatever vanishes; order: of the lattice, instead of p.
    """
    used = [*coefficients[: space.degree], coefficients[-1] or 1]
    moved, g = fmpq_poly([-shift, 1]), fmpq_poly([0])
    for c in reversed(used):
        g = g * moved + c
    atoms = [composed(g, form) for form in forms_over(lattice_of(space, order, left_out))]
    atoms += [1 + 0 * atoms[0]] if constant else []
    wanted = {degree for degree, c in enumerate(used) if c or all_degrees} | ({0} if constant else set())
    claimed = sum(comb(space.dim - 1 + degree, degree) for degree in wanted)
    rank = rank_of(atoms, fmpq_poly([-shift, 1]))
    return deficiency(claimed, rank, len(atoms), vars(space) | {"delta": str(shift), "g": str(used)})


# -- restricted to M --------------------------------------------------------------------------------------------------

RESTRICTED = {"circle": (2, 3, 4, 6, 8, 9, 12), "sphere": (2, 3, 4, 6), "torus": (2, 3, 4, 6)}


def restricted_size(name: str, p: int) -> int:
    """Dimension of the polynomials of degree p restricted to M: `C(p + k, k)` less the multiples of M's equation."""
    k, degree = {"circle": (2, 2), "sphere": (3, 2), "torus": (3, 4)}[name]
    return comb(p + k, k) - (comb(p - degree + k, k) if p >= degree else 0)


def points_on(name: str, count: int, seed: int) -> list[Point]:
    """Rational points of the unit circle, the unit sphere or the ring torus with radii 2 and 1, none of them twice."""
    rng = np.random.default_rng(seed)
    numbers = [fmpq(int(a), 16) for a in rng.choice(np.arange(-40, 41), 2 * count, replace=count > 40)]
    pairs = [numbers[2 * i : 2 * i + 2] for i in range(count)]
    if name == "torus":
        return [torus_point(fmpq(2), ONE, pair)[0] for pair in pairs]
    return [sphere_point(pair[:1] if name == "circle" else pair, ONE) for pair in pairs]


def check_restricted(case: tuple[str, int], unit: fmpq, seed: int, off: fmpq = ONE) -> Verdict:
    """Rank of the atoms at rational points, somewhat more than there are dimensions; off: factor of one coordinate."""
    name, p = case
    space = Space(2 if name == "circle" else 3, p)
    size, shift = restricted_size(name, p), unit * SHARE / p
    points = [
        [off * point[0], *point[1:]] if i % 2 else point
        for i, point in enumerate(points_on(name, space.size + 4, seed))
    ]
    directions = rational.matrix(lattice_of(space))
    forms = (rational.matrix(points) * directions.transpose()).tolist()
    rank = fmpq_mat([[1 + mapped(shift + form, p) for form in row] for row in forms]).rank()
    return deficiency(size, rank, len(points), {"M": name, "p": p, "delta": str(shift)})


# -- statements -------------------------------------------------------------------------------------------------------

SIZES = [(1, p) for p in (2, 3, 4, 6, 8, 9, 12, 16, 18, 24, 27)] + [(2, p) for p in (2, 3, 4, 6, 8, 9, 12)]
SIZES += [(3, p) for p in (2, 3, 4, 6)] + [(4, 2), (4, 3), (5, 2)]
SPACE = Hypothesis("k <= 5 coordinates, p = 2^i 3^j", st.sampled_from([Space(*size) for size in SIZES]))
UNIT = Hypothesis(
    "delta = 7u/(5p), 0 < |u| < 1, so that 0 < |delta| < sin(pi/2p)",
    st.tuples(st.integers(1, 63), st.sampled_from([-1, 1])).map(lambda pair: fmpq(pair[0] * pair[1], 64)),
)
ZERO_SHIFT = Hypothesis("delta = 0", st.just(fmpq(0)))
CONSTANT = Hypothesis("with a constant besides, or without", st.booleans())
NO_CONSTANT = Hypothesis("without a constant besides", st.just(False))
SMALL = Hypothesis("k <= 3, p <= 6", st.sampled_from([Space(*s) for s in SIZES if s[0] <= 3 and s[1] <= 6]))
DERIVATIVES = Hypothesis(
    "g with any of its derivatives at delta zero", st.lists(st.integers(-2, 2), min_size=8, max_size=8)
)
ALL_OTHERS = Hypothesis("no other derivative vanishes", st.just([1, 0, 1, 1, 1, 1, 1, 1]))
NONE_ZERO = Hypothesis("no derivative vanishes", st.lists(st.integers(1, 3), min_size=8, max_size=8))

STATEMENTS: tuple[Statement, ...] = (
    Statement(
        name="ridge.lemma.spans",
        source="ours",
        claim="for 0 < |delta| < sin(pi/2p) the atoms 1 + T_p(delta + <alpha, y>), alpha >= 0, |alpha|_1 <= p, are a "
        "basis of the polynomials of degree p in y",
        latex=r"For $0<|\delta|<\sin\frac{\pi}{2p}$ the $1+T_p(\delta+\langle\alpha,y\rangle)$, "
        r"$\alpha\in\mathbb{N}^k$, $|\alpha|_1\le p$, are a basis of the polynomials of degree $p$.",
        hypotheses={"space": SPACE, "unit": UNIT, "constant": CONSTANT},
        check=check_spans,
        twins=(
            Twin("shift zero", "delta != 0", check_spans, {"unit": ZERO_SHIFT}),
            Twin(
                "a root of T_9^(5)",
                "no derivative vanishes at delta: delta = 0.199939.., exactly, in Q[t]/(224 t^4 - 84 t^2 + 3)",
                lambda space, unit, constant: check_spans(space, unit, constant, near_zero()),
                {"space": Hypothesis("p = 9, k <= 2", st.sampled_from([Space(1, 9), Space(2, 9)]))},
                examples=4,
            ),
            Twin(
                "a root of T_p'",
                "no derivative vanishes at delta: T_3'(1/2) = T_6'(1/2) = T_9'(1/2) = 0",
                partial(check_at, shift=fmpq(1, 2)),
                {
                    "space": Hypothesis(
                        "p in {3, 6, 9}", st.sampled_from([Space(k, p) for k in (1, 2) for p in (3, 6, 9)])
                    )
                },
            ),
            Twin(
                "1 + T_p(delta) = 0",
                "1 + T_p(delta) != 0 without a constant besides: delta = -1, where only that vanishes for odd p",
                partial(check_at, shift=fmpq(-1)),
                {
                    "space": Hypothesis("p odd", st.sampled_from([Space(k, p) for k in (1, 2) for p in (3, 9)])),
                    "constant": NO_CONSTANT,
                },
            ),
            Twin(
                "a member removed",
                "all of the lattice: one direction less, no constant besides",
                partial(check_spans, left_out=1),
                {"space": SMALL, "constant": NO_CONSTANT},
            ),
        ),
        examples=20,
    ),
    Statement(
        name="ridge.lemma.rank",
        source="ours",
        claim="for every polynomial g of degree p the rank of g(delta + <alpha, y>) over the principal lattice of "
        "order p is the sum of C(k-1+l, l) over the l with g^(l)(delta) != 0",
        latex=r"\mathrm{rank}\,\{g(\delta+\langle\alpha,y\rangle)\}_{|\alpha|_1\le p} = "
        r"\sum_{l:\, g^{(l)}(\delta)\ne 0}\binom{k-1+l}{l}",
        hypotheses={
            "space": SMALL,
            "shift": Hypothesis("any rational delta", rational.dyadics(2, 3)),
            "coefficients": DERIVATIVES,
            "constant": CONSTANT,
        },
        check=check_rank,
        twins=(
            Twin(
                "necessity",
                "only degrees whose derivative does not vanish: all claimed, g'(delta) = 0",
                partial(check_rank, all_degrees=True),
                {"coefficients": ALL_OTHERS},
            ),
            Twin(
                "lattice too small",
                "the order of the lattice is the degree: p - 1",
                lambda space, **others: check_rank(space, **others, order=space.degree - 1),
                {"coefficients": NONE_ZERO, "constant": NO_CONSTANT},
            ),
            Twin(
                "a member removed",
                "all of the lattice: one direction less",
                partial(check_rank, left_out=1),
                {"coefficients": NONE_ZERO, "constant": NO_CONSTANT},
            ),
        ),
        examples=25,
    ),
    Statement(
        name="ridge.lemma.parity",
        source="ours",
        claim="without a shift the atoms 1 + T_p(<alpha, y>) over the principal lattice of order p, and a constant, "
        "span it and the forms of degrees p, p - 2, .., and nothing else",
        latex=r"The $1+T_p(\langle\alpha,y\rangle)$, $|\alpha|_1\le p$, and 1 span the polynomials of degree $p$ of "
        r"the parity of $p$, and 1.",
        hypotheses={"space": SPACE, "unit": ZERO_SHIFT},
        check=check_parity,
        twins=(
            Twin("shifted", "delta = 0", check_parity, {"unit": UNIT}),
            Twin("both parities", "forms of p's parity alone: all claimed", partial(check_parity, every=True)),
            Twin(
                "no constant",
                "a constant besides: where 1 + T_p(0) = 0",
                partial(check_parity, constant=False),
                {"space": Hypothesis("p in {2, 6}", st.sampled_from([Space(k, p) for k in (1, 2) for p in (2, 6)]))},
            ),
        ),
        examples=20,
    ),
    Statement(
        name="ridge.lemma.restricted",
        source="ours",
        claim="restricted to M the rank of the atoms is that of the polynomials of degree p: 2p + 1 on the circle, "
        "(p + 1)^2 on the sphere, C(p+3, 3) - C(p-1, 3) on the ring torus",
        latex=r"Restricted to $M$ the rank of the atoms is that of the polynomials: $2p+1$ on the circle, $(p+1)^2$ on "
        r"$S^2$, $\binom{p+3}{3}-\binom{p-1}{3}$ on the ring torus.",
        hypotheses={
            "case": Hypothesis(
                "circle, sphere or torus", st.sampled_from([(m, p) for m, of in RESTRICTED.items() for p in of])
            ),
            "unit": UNIT,
            "seed": Hypothesis("rational points of M, a few more than dimensions", st.integers(0, 2**31)),
        },
        check=check_restricted,
        twins=(
            Twin(
                "off M",
                "points of M: every second one stretched along an axis",
                partial(check_restricted, off=fmpq(5, 4)),
                {
                    "case": Hypothesis(
                        "p at least the degree of M", st.sampled_from([("circle", 4), ("sphere", 3), ("torus", 4)])
                    )
                },
            ),
            Twin(
                "shift zero",
                "delta != 0: the atoms have one parity",
                check_restricted,
                {
                    "unit": ZERO_SHIFT,
                    "case": Hypothesis("M = -M", st.sampled_from([("circle", 4), ("sphere", 3), ("torus", 4)])),
                },
            ),
        ),
        examples=8,
    ),
)
