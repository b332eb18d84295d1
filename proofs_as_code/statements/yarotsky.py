"""The ReLU rival: squares and products by sawtooth compositions, Yarotsky 2017 (arXiv 1610.01145), exactly.

Tooth g(x) = 2 relu(x) - 4 relu(x - 1/2) maps [0, 1] onto itself, up and down; g_k is its k-th iterate. Then

    f_m(x) = x - sum_(k <= m) g_k(x)/4^k   interpolates x^2 linearly at the nodes j 2^-m                   (width 3)
    0 <= f_m - x^2 <= 2^(-2m-2),  attained at every midpoint                              (h^2/4 for h = 2^-m)

Product on |x|, |y| <= M, with e = f_m - x^2:  p = 2 M^2 (f_m(|x+y|/2M) - f_m(|x|/2M) - f_m(|y|/2M)). On a cell e is
h^2 s(1 - s), of period h and even about nodes. With local coordinates s, t of x and +-y (the sign is that of x y),
e(x+y) - e(x) - e(y) = -2 h^2 s t for s + t <= 1, and -2 h^2 (1-s)(1-t) else. So the error has one sign,

    -M^2 2^(-2m) <= p - x y <= 0,   attained at s = t = 1/2,   and p = 0 exactly if a factor is 0 (f_m(0) = 0),

which sharpens |p - x y| <= M^2 2^(-2m): adding M^2 2^(-2m-1) to p halves the error (and gives up the zeros).

A ReLU network on an interval is proved affine there when at every layer each preactivation has one sign at both ends
(then it is affine up to the next layer, by induction): this makes exact values at the nodes an exact supremum.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from flint import fmpq
from hypothesis import strategies as st

from construct.tokens.codes import Float
from proofs_as_code import rational
from proofs_as_code.framework import Hypothesis, Statement, Twin, Verdict, verdict

Layers = list[tuple[Float, Float]]
TOOTH = np.array([2.0, -4.0])
WHOLE = fmpq(1)


# -- weights ----------------------------------------------------------------------------------------------------


def square_layers(compositions: int) -> Layers:
    """f_m as a ReLU network R -> R: m hidden layers of width 3, all weights dyadic.

    Hidden layer k: `relu(g_(k-1)), relu(g_(k-1) - 1/2)` and what is left, `x - sum_(i < k) g_i/4^i = f_(k-1) >= 0`.
    """
    layers: Layers = [(np.ones((3, 1)), np.array([0.0, -0.5, 0.0]))]
    for k in range(1, compositions):
        left = np.concatenate([-TOOTH / 4.0**k, [1.0]])
        tooth = np.concatenate([TOOTH, [0.0]])
        layers.append((np.stack([tooth, tooth, left]), np.array([0.0, -0.5, 0.0])))
    layers.append((np.concatenate([-TOOTH / 4.0**compositions, [1.0]])[None], np.zeros(1)))
    return layers


def product_layers(compositions: int, bound: float) -> Layers:
    """p as a ReLU network R^2 -> R, for |x|, |y| <= bound: three squares side by side, m + 1 hidden layers.

    The first layer takes `relu(+-u)` for u in (x + y, x, y); |u|/2M enters the squares.
    """
    sums = np.array([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    layers: Layers = [(np.concatenate([sums, -sums]), np.zeros(6))]
    absolute = np.concatenate([np.eye(3), np.eye(3)], axis=1) / (2 * bound)
    for index, (weight, bias) in enumerate(square_layers(compositions)):
        wide = np.kron(np.eye(3), weight) if index else np.kron(np.eye(3), weight) @ absolute
        layers.append((np.asarray(wide, dtype=np.float64), np.tile(bias, 3)))
    weight, bias = layers.pop()
    signs = 2 * bound**2 * np.array([[1.0, -1.0, -1.0]])
    return [*layers, (signs @ weight, signs @ bias)]


def preactivations(layers: Layers, x: Sequence[fmpq]) -> list[list[fmpq]]:
    """Values of every affine layer at x, exactly; the last are the outputs."""
    values, found = list(x), []
    for index, (weight, bias) in enumerate(layers):
        if index:
            values = [max(fmpq(0), value) for value in values]
        rows = [[rational.rational(w) for w in row] for row in weight.tolist()]
        values = [
            sum((w * v for w, v in zip(row, values, strict=True) if w), rational.rational(b))
            for row, b in zip(rows, bias.tolist(), strict=True)
        ]
        found.append(values)
    return found


# -- the square -------------------------------------------------------------------------------------------------


def affine_between(left: list[list[fmpq]], right: list[list[fmpq]]) -> bool:
    """Whether no hidden preactivation changes its sign between two points: the network is affine between them."""
    return all(
        a * b >= 0 for one, other in zip(left[:-1], right[:-1], strict=True) for a, b in zip(one, other, strict=True)
    )


def square_error(compositions: int, cells: int) -> tuple[fmpq, fmpq, float] | None:
    """Exact (min, max, argmax) of f - x^2 over [0, 1], from `cells` equal cells; None if f is not affine on one.

    On a cell [l, r] with values a, b the difference is concave: its least value is at an end, its largest where
    2 x = (b - a)/(r - l), or at an end if that is outside.
    """
    layers = square_layers(compositions)
    ends = [fmpq(j, cells) for j in range(cells + 1)]
    runs = [preactivations(layers, [x]) for x in ends]
    values = [run[-1][0] for run in runs]
    least = min(value - x * x for value, x in zip(values, ends, strict=True))
    largest, where = fmpq(-1), 0.0
    for j in range(cells):
        if not affine_between(runs[j], runs[j + 1]):
            return None
        slope = (values[j + 1] - values[j]) * cells
        x = max(ends[j], min(ends[j + 1], slope / 2))
        error = values[j] + slope * (x - ends[j]) - x * x
        if error > largest:
            largest, where = error, float(x)
    return least, largest, where


def square(m: int, fewer: int = 0, exponent: int = 2) -> Verdict:
    """`0 <= f_m - x^2 <= 2^(-2m-exponent)` on all of [0, 1]; fewer: compositions that are missing."""
    found = square_error(m - fewer, 2**m)
    if found is None:
        return verdict(0, 1, kind="exact", points=0, dtype="rational", worst_point={"not": "affine on cells"})
    least, largest, where = found
    claimed = fmpq(1, 2 ** (2 * m + exponent))
    measured = largest if least >= 0 else claimed - least  # a negative error violates the claim
    return verdict(claimed, measured, kind="exact", points=2**m, dtype="rational", worst_point={"m": m, "x": where})


# -- the product ------------------------------------------------------------------------------------------------


def product(m: int, log_bound: int, points: list[tuple[fmpq, fmpq]], share: fmpq = WHOLE, outside: int = 1) -> Verdict:
    """`0 <= x y - p <= share M^2 2^(-2m)`, M = 2^log_bound, at x, y = M times the points (times `outside`, twin)."""
    bound = fmpq(2) ** log_bound
    layers = product_layers(m, float(bound))
    claimed = share * bound * bound / 4**m
    worst, where = -claimed, {"x": 0.0, "y": 0.0}
    for s, t in points:
        x, y = outside * bound * s, outside * bound * t
        short = x * y - preactivations(layers, [x, y])[-1][0]
        size = short if short >= 0 else claimed - short  # p above x y violates the claim
        if size > worst:
            worst, where = size, {"x": float(x), "y": float(y)}
    return verdict(claimed, worst, kind="exact", points=len(points), dtype="rational", worst_point=where)


def zeros(m: int, log_bound: int, value: fmpq, shift: fmpq = rational.ZERO) -> Verdict:
    """p(x, 0) = p(0, y) = 0, exactly; shift: of the output, as a centred error would have it (twin)."""
    bound = fmpq(2) ** log_bound
    layers = product_layers(m, float(bound))
    found = [
        preactivations(layers, pair)[-1][0] + shift for pair in ([bound * value, fmpq(0)], [fmpq(0), bound * value])
    ]
    return verdict(fmpq(0), max(abs(p) for p in found), kind="exact", points=2, dtype="rational")


def half_grid(m: int) -> list[tuple[fmpq, fmpq]]:
    """Pairs in [-1, 1]^2 at nodes and midpoints of the cells of |u|/2M, at most 17 values each, the finest included."""
    step = fmpq(1, 2**m)
    axis = sorted({sign * step * j for j in range(9) for sign in (1, -1) if step * j <= 1})
    return [(x, y) for x in axis for y in axis]


M = Hypothesis("1 <= m <= 6 compositions", st.integers(1, 6))
LOG_BOUND = Hypothesis("M = 2^k, -1 <= k <= 3", st.integers(-1, 3))
POINTS = Hypothesis(
    "points of [-1, 1]^2", st.lists(st.tuples(rational.dyadics(1, 10), rational.dyadics(1, 10)), max_size=20)
)

STATEMENTS: tuple[Statement, ...] = (
    Statement(
        name="yarotsky.square",
        source="Yarotsky 2017, Proposition 2",
        claim="m sawtooth compositions, width 3: 0 <= f_m(x) - x^2 <= 2^(-2m-2) on [0, 1], the supremum attained",
        latex=r"0 \le f_m(x) - x^2 \le 2^{-2m-2},\ 0 \le x \le 1",
        hypotheses={"m": M},
        check=square,
        twins=(
            Twin(
                "one_composition_less",
                "m - 1 compositions for the bound of m",
                lambda m: square(m, 1),
                {"m": Hypothesis("2 <= m <= 6", st.integers(2, 6))},
            ),
            Twin("half_the_bound", "2^(-2m-3)", lambda m: square(m, 0, 3)),
        ),
        examples=6,
    ),
    Statement(
        name="yarotsky.product",
        source="Yarotsky 2017, Proposition 3; one sign and sharpness ours",
        claim="-M^2 2^(-2m) <= p(x, y) - x y <= 0 for |x|, |y| <= M",
        latex=r"-M^2 2^{-2m} \le p(x,y) - xy \le 0,\ |x|, |y| \le M",
        hypotheses={"m": M, "log_bound": LOG_BOUND, "points": POINTS},
        check=lambda m, log_bound, points: product(m, log_bound, [*half_grid(m), *points]),
        twins=(
            Twin(
                "half_the_bound",
                "M^2 2^(-2m-1)",
                lambda m, log_bound, points: product(m, log_bound, half_grid(m), fmpq(1, 2)),
            ),
            Twin(
                "one_composition_less",
                "m - 1 compositions for the bound of m",
                lambda m, log_bound, points: product(m - 1, log_bound, half_grid(m - 1), fmpq(1, 4)),
                {"m": Hypothesis("2 <= m <= 6", st.integers(2, 6))},
            ),
            Twin(
                "outside_the_box",
                "|x| = |y| = 3 M",
                lambda m, log_bound, points: product(m, log_bound, [(fmpq(1), fmpq(1))], outside=3),
            ),
        ),
    ),
    Statement(
        name="yarotsky.product_zero",
        source="Yarotsky 2017, Proposition 3",
        claim="p(x, 0) = p(0, y) = 0 exactly",
        latex=r"p(x, 0) = p(0, y) = 0",
        hypotheses={"m": M, "log_bound": LOG_BOUND, "value": Hypothesis("|x|/M <= 1", rational.dyadics(1, 20))},
        check=zeros,
        twins=(
            Twin(
                "centred_error",
                "with M^2 2^(-2m-1) added, which halves the largest error",
                lambda m, log_bound, value: zeros(m, log_bound, value, fmpq(4) ** (log_bound - m) / 2),
            ),
        ),
    ),
)
