"""Directions of width 5 span: which waves of the position are enough for all polynomials of degree p.

Lemma. Let `f_0 = 0 < f_1 < .. < f_(k-1)`, T a power of two, and `w(t) = (t/T, w_1(t), .., w_(k-1)(t))`, t = 1..T, w_i
the triangle wave of `2^f_i` pieces. If `2^(f_i - f_(i-1)) >= p + 1` for every i and `T >= (p + 1) 2^f_(k-1)`, a
polynomial of degree p that vanishes at all w(t) is 0. Hence, as in the ridge lemma, the atoms `1 + T_p(delta + <w(t),
y>)` span all polynomials of degree p in y if no derivative of T_p vanishes at delta; so do those of signed waves, an
affine image.

Proof. By induction over k. k = 1: T >= p + 1 numbers. k > 1: over each of the `2^f_1` pieces of w_1 the first two
coordinates run along a line, hence w(t) stays in a hyperplane, in which (t/T, w_2, .., w_(k-1)) are coordinates:
waves of `T/2^f_1` positions, up to an affine map, that satisfy the hypotheses with k - 1. (Over k = 2 these are
T/2^f_1 >= p + 1 points of a line.) So the polynomial vanishes on `2^f_1 >= p + 1` different hyperplanes; the linear
forms of all of them divide it, and its degree is at most p. QED

The first condition is sharp: with `2^f_1 <= p` the product of the linear forms is a polynomial of degree at most p
that vanishes at all directions. The others are enough, and not needed on every M: restricted to M the rank is
smaller.
"""

from __future__ import annotations

from dataclasses import dataclass

from flint import fmpq, fmpq_poly
from hypothesis import strategies as st

from construct.ridge.waves import Waves
from proofs_as_code import rational
from proofs_as_code.framework import Hypothesis, Statement, Twin, Verdict
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


@dataclass(frozen=True)
class Curve:
    """Degree p, folds f_1 .. f_(k-1), T, signed or not."""

    degree: int
    folds: tuple[int, ...]
    length: int
    signed: bool

    @property
    def space(self) -> Space:
        return Space(len(self.folds) + 1, self.degree)


def check_waves_span(curve: Curve, unit: fmpq) -> Verdict:
    """Rank of the atoms over the library's waves against all polynomials of degree p."""
    vectors = Waves(curve.folds, curve.length, curve.signed).vectors.tolist()
    forms = forms_over([[rational.rational(entry) for entry in alpha] for alpha in vectors])
    atoms = [1 + mapped(form, curve.degree) for form in forms]
    rank = rank_of(atoms, fmpq_poly([-unit * SHARE / curve.degree, 1]))
    return deficiency(curve.space.size, rank, len(atoms), vars(curve))


def curves(degrees: tuple[int, ...], steps: int, missing: int = 0, short: int = 0) -> st.SearchStrategy[Curve]:
    """The fewest folds and positions that the lemma asks for; missing: folds less in the first step; short: fewer
    doublings of T."""

    def curve(degree: int, signed: bool) -> Curve:
        step = degree.bit_length()  # 2^step >= p + 1
        folds = tuple(step * (i + 1) - missing for i in range(steps))
        return Curve(degree, folds, 2 ** ((folds[-1] if folds else 0) + step - short), signed)

    return st.builds(curve, st.sampled_from(degrees), st.booleans())


SMALL = curves((2, 3, 4, 6), 0) | curves((2, 3, 4, 6), 1) | curves((2, 3), 2)

STATEMENTS: tuple[Statement, ...] = (
    Statement(
        name="ridge.waves.span",
        source="ours",
        claim="waves of folds f_1 < f_2 < .. of T positions with 2^(f_i - f_(i-1)) >= p + 1 and T >= (p + 1) "
        "2^f_(k-1): the atoms 1 + T_p(delta + <w(t), y>) span all polynomials of degree p in k coordinates",
        latex=r"If $2^{f_i-f_{i-1}}\ge p+1$ and $T\ge(p+1)\,2^{f_{k-1}}$, the atoms over the waves span all "
        r"polynomials of degree $p$ in $k$ coordinates.",
        hypotheses={
            "curve": Hypothesis("k <= 3, p <= 6, as few folds and positions as that takes, signed or not", SMALL),
            "unit": UNIT,
        },
        check=check_waves_span,
        twins=(
            Twin(
                "too few folds",
                "2^f_1 >= p + 1: p = 4 or 6 with 2^f_1 = 4 lines",
                check_waves_span,
                {"curve": Hypothesis("2^f_1 <= p", curves((4, 6), 1, missing=1))},
            ),
            Twin("shift zero", "no derivative vanishes at delta: delta = 0", check_waves_span, {"unit": ZERO_SHIFT}),
            Twin(
                "too few positions",
                "T >= p + 1: T = 2^j <= p",
                check_waves_span,
                {"curve": Hypothesis("k = 1, T <= p", curves((2, 3, 4, 6), 0, short=1))},
            ),
        ),
        examples=20,
    ),
)
