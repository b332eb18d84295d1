"""The compact construction's basis: eight polynomials of degree 1..8 in two blocks of cubic heads.

Source: ours. A head whose value reads the source adds `relu(u_t^T G u_s) A u_s`, of degree three in the data, so the
degree triples per block. Of z in the tokens A = (a, b), with |z| <= 1 so that every relu is open:

    block 2   relu(1 - a_t a_s) (-4 a, -2 b), self-gated, b = 1:  A = (T3, T2), since z - 4 z (1 - z^2) = T3 and
              1 - 2 (1 - z^2) = T2;  B.a = z
    block 3   relu(1 - T2) (T3, T2) -> C = (F5, F4);  relu(T3_t T3_s) (2, 4 T2) on the twin -> (F6, F8);
              relu(1 + z T3) T3 -> B.b = F7

The checks run these two blocks of a built network in rational arithmetic. All registers but the A tokens' are anywhere
in the bounds that hold there, so a head that heard one of them would be seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from flint import fmpq, fmpq_mat, fmpq_poly
from hypothesis import strategies as st

from construct.atlas import atlas_for
from construct.compact.atoms import atom_rule, atom_scale, atom_series
from construct.compact.basis import ATOM_DEGREE, LineBasis, PolynomialAxis
from construct.compact.geometry import chart_geometry
from construct.compact.layout import CompactLayout
from construct.compact.program import program_of
from construct.manifolds import Circle
from construct.transformer.weights import FeedForward, Heads, Intervals
from proofs_as_code import rational
from proofs_as_code.framework import Hypothesis, Statement, Twin, Verdict, verdict
from proofs_as_code.statements.program.trees import interpolated
from proofs_as_code.subdivision import bounded, centred

CHARTS = 3
DEGREES = range(1, ATOM_DEGREE + 1)


@dataclass(frozen=True)
class BasisBlocks:
    """Blocks 2 and 3 of a compact network, the bounds before them, and the layout that names its tokens."""

    layout: CompactLayout
    blocks: tuple[tuple[Heads, FeedForward], ...]
    before: Intervals


@lru_cache
def built() -> BasisBlocks:
    """A network on the circle that uses all of F_1 .. F_8: giants 1, F8 and babies up to F8."""
    atlas = atlas_for(Circle(), charts=CHARTS)
    axis = PolynomialAxis(2 * ATOM_DEGREE)
    pairs = next(line for line in axis.lines() if {giant for giant, _ in line} == {0, ATOM_DEGREE})
    layout = CompactLayout(chart_geometry(atlas, project=False), LineBasis(axis, pairs).product)
    shape = CHARTS, len(layout.basis.left), len(layout.basis.right)
    coefficients = np.arange(np.prod(shape), dtype=np.float64).reshape(shape) - 20.0
    weights = program_of(layout, coefficients).compile(layout.geometry.inputs)
    assert weights.bounds is not None
    return BasisBlocks(layout, weights.blocks[1:3], weights.bounds[1].before)


def state_before(parts: BasisBlocks, z: list[fmpq], fill: list[fmpq]) -> fmpq_mat:
    """A state (l, w) before block 2: A.a = z_n in both twins, A.b = 1, all else at `fill` within its bounds."""
    lower, upper = (rational.matrix(bound) for bound in (parts.before.lower, parts.before.upper))
    state = fmpq_mat(lower)
    layout = parts.layout.tokens
    for token in range(layout.count):
        for row in range(layout.embedding_dim):
            share = fill[(token + row) % len(fill)]
            state[token, row] = lower[token, row] + share * (upper[token, row] - lower[token, row])
    for chart in range(CHARTS):
        for token in layout.tokens("A")[chart, 0]:
            state[int(token), layout.row("a")] = z[chart]
    return state


def basis_registers(z: list[fmpq], fill: list[fmpq], mirrored: bool = False, silent: bool = False) -> list[list[fmpq]]:
    """F_1 .. F_8 as the network holds them after block 3, one list per chart.

    mirrored: the values of block 3 with the opposite sign; silent: without the heads of block 3 that write to twins.
    """
    parts = built()
    layout = parts.layout.tokens
    state = state_before(parts, z, fill)
    for index, (batch, ffn) in enumerate(parts.blocks):
        if index == 1 and mirrored:
            batch = Heads(batch.query, batch.key, -batch.value)
        if index == 1 and silent:
            batch = without_squares(batch)
        state = state + rational.attention(batch, state)
        state = state + rational.feed_forward(ffn, state)
    found = []
    for chart in range(CHARTS):
        row = []
        for k in DEGREES:
            atom = atom_rule(k)
            row.append(state[int(parts.layout.held(atom.holder)[chart, 0]), layout.row(atom.register)])
        found.append(row)
    return found


def without_squares(batch: Heads) -> Heads:
    """The heads but those whose form is `a_t a_s` alone: K reads `a`, and neither Q nor K the constant in that row."""
    layout = built().layout.tokens
    a, _, one = layout.data_rows
    data = np.abs(batch.query[:, :, a]) * np.abs(batch.key[:, :, a])
    squares = (data > 0).any(axis=1) & (batch.value[:, layout.row("a"), one] != 0)
    return Heads(batch.query[~squares], batch.key[~squares], batch.value[~squares])


def basis_polynomials() -> list[fmpq_poly]:
    """F_1 .. F_8 from their formulas, with T2 and T3 written out."""
    one, z = fmpq_poly([1]), fmpq_poly([0, 1])
    t2, t3 = fmpq_poly([-1, 0, 2]), fmpq_poly([0, -3, 0, 4])
    square = t3 * t3
    return [z, t2, t3, (one - t2) * t2, (one - t2) * t3, t3 + 2 * square, (one + z * t3) * t3, t2 + 4 * square * t2]


def values(z: list[fmpq], fill: list[fmpq], mirrored: bool = False) -> Verdict:
    """The eight registers of every chart against F_1(z) .. F_8(z)."""
    polynomials = basis_polynomials()
    worst, where = fmpq(0), {"k": 0, "z": 0.0}
    for chart, row in enumerate(basis_registers(z, fill, mirrored)):
        for k, value in zip(DEGREES, row, strict=True):
            difference = abs(value - polynomials[k - 1](z[chart]))
            if difference > worst:
                worst, where = difference, {"k": k, "z": float(z[chart])}
    points = CHARTS * ATOM_DEGREE
    return verdict(fmpq(0), worst, kind="exact", points=points, dtype="rational", worst_point=where)


def degrees(fill: list[fmpq], silent: bool = False) -> Verdict:
    """Register k is a polynomial in z of degree exactly k: interpolated from runs at 12 points.

    Two cubic blocks make degrees up to 9 at most, which 10 points determine.
    """
    points = [fmpq(k, 6) - 1 for k in range(12)]
    runs = [basis_registers(points[i : i + CHARTS], fill, silent=silent) for i in range(0, len(points), CHARTS)]
    rows = [row for run in runs for row in run]
    wrong = [k for k in DEGREES if interpolated(points, [row[k - 1] for row in rows]).degree() != k]
    return verdict(
        0, len(wrong), kind="exact", points=len(points), dtype="rational", worst_point={"k": wrong[0] if wrong else 0}
    )


def scaled(index: int, scale: float) -> Verdict:
    """`scale |F_k| <= 1` on [-1, 1], so that `1 + kappa F_k >= 0` is a factor whose relu is open."""
    series = [rational.rational(float(c)) for c in atom_series(index)]
    chebyshev = [fmpq_poly([1]), fmpq_poly([0, 1])]
    while len(chebyshev) < len(series):
        chebyshev.append(2 * fmpq_poly([0, 1]) * chebyshev[-1] - chebyshev[-2])
    polynomial = fmpq_poly([0])
    for coefficient, t in zip(series, chebyshev, strict=False):
        polynomial += rational.rational(scale) * coefficient * t
    found = [bounded(centred(sign * polynomial), [(-1.0, 1.0)], 1.0) for sign in (1, -1)]
    worst = max(found, key=lambda one: (not one.proved, one.bound))
    return worst.verdict(1.0, {"k": index})


FILL = Hypothesis(
    "every other register anywhere in the bounds that hold before block 2",
    st.lists(rational.dyadics(1).map(abs), min_size=1, max_size=7),
)
odd = st.integers(-128, 127).map(lambda k: fmpq(2 * k + 1, 256))
outside = st.tuples(st.integers(9, 16), st.sampled_from([-1, 1])).map(lambda pair: fmpq(pair[0] * pair[1], 8))
DEGREE = Hypothesis("1 <= k <= 8", st.integers(1, ATOM_DEGREE))


def coordinates(strategy: st.SearchStrategy[fmpq], text: str) -> Hypothesis:
    """One chart coordinate z for each chart."""
    return Hypothesis(text, st.lists(strategy, min_size=CHARTS, max_size=CHARTS))


STATEMENTS: tuple[Statement, ...] = (
    Statement(
        name="basis.values",
        source="ours",
        claim="two blocks: the tokens of a coordinate hold F_1(z), .., F_8(z) exactly, for |z| <= 1",
        latex=r"F_1 = z,\ F_2 = T_2,\ F_3 = T_3,\ F_4 = (1-T_2)T_2,\ F_5 = (1-T_2)T_3,\ F_6 = T_3 + 2T_3^2,\ "
        r"F_7 = (1 + zT_3)T_3,\ F_8 = T_2 + 4T_3^2T_2",
        hypotheses={"z": coordinates(rational.dyadics(1), "|z| <= 1"), "fill": FILL},
        check=values,
        twins=(
            Twin(
                "clip_removed",
                "the clip to [-1, 1] is missing: |z| > 1 reaches block 2",
                values,
                {"z": coordinates(outside, "9/8 <= |z| <= 2")},
            ),
            Twin(
                "signs_flipped",
                "the values of block 3 have the opposite sign",
                lambda z, fill: values(z, fill, True),
                {"z": coordinates(odd, "0 < |z| < 1, where no F_k vanishes")},
            ),
        ),
    ),
    Statement(
        name="basis.degrees",
        source="ours",
        claim="deg F_k = k for k = 1..8: with 1 a basis of the polynomials of degree 8 (triangular)",
        latex=r"\deg F_k = k,\ 1 \le k \le 8",
        hypotheses={"fill": FILL},
        check=degrees,
        twins=(
            Twin(
                "squares_missing",
                "the heads 2 T3^2 and 4 T3^2 T2 on the twins are missing: F_6 = T3 and F_8 = T2 repeat",
                lambda fill: degrees(fill, True),
            ),
        ),
        examples=3,
    ),
    Statement(
        name="basis.scaled",
        source="ours",
        claim="kappa |F_k| <= 1 on [-1, 1], so 1 + kappa F_k >= 0, for the library's kappa",
        latex=r"1 + \kappa_k F_k(z) \ge 0,\ |z| \le 1",
        hypotheses={"index": DEGREE},
        check=lambda index: scaled(index, atom_scale(index)),
        twins=(
            Twin(
                "kappa_too_large",
                "kappa = 1.01/max|F_k|",
                lambda index: scaled(index, 1.01 * atom_scale(index)),
                examples=8,
            ),
        ),
    ),
)
