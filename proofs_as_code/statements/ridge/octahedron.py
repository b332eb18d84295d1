"""Directions of both signs: which octahedron spans the polynomials of degree p.

Theorem. The atoms `1 + T_p(delta + <alpha, y>)`, alpha in Z^k with `|alpha|_1 <= m`, span all polynomials of degree p
in k coordinates (if no derivative of T_p vanishes at delta) if and only if `m >= min(p, floor((p + k)/2))`.

Proof. As in the ridge lemma this says that no polynomial of degree at most p but 0 vanishes on the octahedron. Let
`x_0, x_1, .. = 0, 1, -1, 2, -2, ..`, so that `|x_a| = ceil(a/2)`, and `N_a(x) = prod over i of prod over j < a_i of
(x_i - x_j)`, of degree |a|_1.

Enough: the points `(x_(a_1), .., x_(a_k))`, |a|_1 <= p, are unisolvent for polynomials of degree p, since the matrix
of the N_a at them is triangular with a diagonal without zeros. Their 1-norms `sum ceil(a_i/2)` are at most p, and at
most `(p + k)/2`, hence at most `min(p, floor((p + k)/2))`: they are members of the octahedron.

Necessary: N_a does not vanish at a point `(x_(b_1), .., x_(b_k))` only if b >= a, hence only where its 1-norm is at
least `sum ceil(a_i/2)`. So N_a vanishes on the octahedron of order m as soon as that sum is m + 1. With as many odd
a_i as there can be, `min(k, m + 1)`, its degree is `2 (m + 1) - min(k, m + 1) = max(2m + 2 - k, m + 1)`, which is at
most p for every `m < min(p, floor((p + k)/2))`. QED

For large p this is half the order of the principal lattice; restricted to M fewer may do.
"""

from __future__ import annotations

from functools import partial
from itertools import product
from typing import Any

from flint import fmpq, fmpq_poly
from hypothesis import strategies as st

from construct.ridge.directions import Lattice
from proofs_as_code.framework import Hypothesis, Statement, Twin, Verdict, verdict
from proofs_as_code.statements.ridge.lemma import (
    SHARE,
    UNIT,
    ZERO_SHIFT,
    Space,
    deficiency,
    forms_over,
    mapped,
    rank_of,
)


def least_order(space: Space) -> int:
    """`min(p, floor((p + k)/2))`."""
    return min(space.degree, (space.degree + space.dim) // 2)


def check_signed(space: Space, unit: fmpq, less: int = 0) -> Verdict:
    """Rank of the atoms over the octahedron of the least order (or `less` below) against all polynomials."""
    vectors: list[list[int]] = Lattice(space.dim, least_order(space) - less, "octahedron").integers.tolist()
    atoms = [1 + mapped(form, space.degree) for form in forms_over(vectors)]
    rank = rank_of(atoms, fmpq_poly([-unit * SHARE / space.degree, 1]))
    return deficiency(space.size, rank, len(atoms), vars(space) | {"order": least_order(space) - less})


def node(a: int) -> int:
    """x_a of 0, 1, -1, 2, -2, .."""
    return (a + 1) // 2 * (1 if a % 2 else -1)


def check_vanishing(space: Space, more: int = 0) -> Verdict:
    """The N_a of the proof on the octahedron one below the least order, or `more` above: all 0, of degree <= p."""
    order = least_order(space) - 1 + more
    parts = min(space.dim, order + 1 - more)
    rest = order + 1 - more - parts
    a = [2 * (1 + (rest if i == 0 else 0)) - 1 for i in range(parts)] + [0] * (space.dim - parts)
    members: list[list[int]] = Lattice(space.dim, max(1, order), "octahedron").integers.tolist()
    off: Any = [x for x in members if sum(map(abs, x)) <= order and newton(a, x) != 0]
    failed = len(off) + max(0, sum(a) - space.degree)
    where = vars(space) | {"order": order, "a": a, "x": off[:1]}
    return verdict(0, failed, kind="exact", points=len(members), dtype="integers", worst_point=where)


def newton(a: list[int], x: list[int]) -> int:
    """N_a(x)."""
    value = 1
    for entry, count in zip(x, a, strict=True):
        for j in range(count):
            value *= entry - node(j)
    return value


SPACES = [Space(k, p) for k, p in product((1, 2, 3), (2, 3, 4, 6))] + [
    Space(1, 16),
    Space(2, 9),
    Space(4, 2),
    Space(4, 3),
]
SPACE = Hypothesis("k <= 4 coordinates, p = 2^i 3^j", st.sampled_from(SPACES))
LARGER = Hypothesis("k <= 5, p up to 9", st.builds(Space, st.integers(1, 5), st.sampled_from([2, 3, 4, 6, 8, 9])))

STATEMENTS: tuple[Statement, ...] = (
    Statement(
        name="ridge.lemma.signed",
        source="ours",
        claim="the atoms over all alpha in Z^k with |alpha|_1 <= m span the polynomials of degree p for m = min(p, "
        "floor((p + k)/2)), and for no smaller m",
        latex=r"The atoms over $\alpha\in\mathbb{Z}^k$, $|\alpha|_1\le m$, span the polynomials of degree $p$ if and "
        r"only if $m\ge\min(p,\lfloor(p+k)/2\rfloor)$.",
        hypotheses={"space": SPACE, "unit": UNIT},
        check=check_signed,
        twins=(
            Twin(
                "an order less",
                "m >= min(p, floor((p + k)/2)): one less",
                partial(check_signed, less=1),
                {"space": Hypothesis("the least order is 2 or more", st.sampled_from(SPACES[1:]))},
                examples=10,
            ),
            Twin("shift zero", "delta != 0", check_signed, {"unit": ZERO_SHIFT}),
        ),
        examples=20,
    ),
    Statement(
        name="ridge.lemma.vanishing",
        source="ours",
        claim="below m = min(p, floor((p + k)/2)) some Newton polynomial of degree at most p vanishes at every alpha "
        "with |alpha|_1 <= m",
        latex=r"Below $m=\min(p,\lfloor(p+k)/2\rfloor)$ some Newton polynomial of degree $\le p$ vanishes at all "
        r"$|\alpha|_1\le m$.",
        hypotheses={"space": LARGER},
        check=check_vanishing,
        twins=(Twin("the least order", "below the least order: on it", partial(check_vanishing, more=1)),),
        examples=20,
    ),
)
