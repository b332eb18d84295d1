"""The ReLU rival: squares and products by sawtooth compositions, Yarotsky 2017 (arXiv 1610.01145), exactly.

Tooth g(x) = 2 relu(x) - 4 relu(x - 1/2) maps [0, 1] onto itself, up and down; g_k is its k-th iterate. Then

    f_m(x) = x - sum_(k <= m) g_k(x)/4^k   interpolates x^2 linearly at the nodes j 2^-m                   (width 3)
    0 <= f_m - x^2 <= 2^(-2m-2),  attained at every midpoint                              (h^2/4 for h = 2^-m)

Product on |x|, |y| <= M, with e = f_m - x^2:  p = 2 M^2 (f_m(|x+y|/2M) - f_m(|x|/2M) - f_m(|y|/2M)). On a cell e is
h^2 s(1 - s), of period h and even about nodes. With local coordinates s, t of x and +-y (the sign is that of x y),
e(x+y) - e(x) - e(y) = -2 h^2 s t for s + t <= 1, and -2 h^2 (1-s)(1-t) else. So the error has one sign,

    -M^2 2^(-2m) <= p - x y <= 0,   attained at s = t = 1/2,   and p = 0 exactly if a factor is 0 (f_m(0) = 0),

which sharpens |p - x y| <= M^2 2^(-2m): adding M^2 2^(-2m-1) to p halves the error (and gives up the zeros).

The polar product q = M^2 (f_m(|x+y|/2M) - f_m(|x-y|/2M)) has one square less. q - x y = M^2 (e(x+y) - e(x-y)) with both
errors in [0, h^2/4], so |q - x y| <= M^2 2^(-2m-2), attained at x = y = M h/2; where a factor is 0 both squares agree.

The weights are those of `construct.baselines.relu.sawtooth`, the very ones that the library's networks use.

A ReLU network on an interval is proved affine there when at every layer each preactivation has one sign at both ends
(then it is affine up to the next layer, by induction): this makes exact values at the nodes an exact supremum.
"""

from __future__ import annotations

from collections.abc import Sequence

from flint import fmpq
from hypothesis import strategies as st

from construct.arrays import Float
from construct.baselines.relu import sawtooth
from construct.baselines.relu.circuit import Layer
from proofs_as_code import rational
from proofs_as_code.framework import Hypothesis, Statement, Twin, Verdict, verdict

Layers = list[tuple[Float, Float]]
WHOLE = fmpq(1)


# -- weights ----------------------------------------------------------------------------------------------------


def dense(layers: Sequence[Layer]) -> Layers:
    """The same layers with matrices that hold their zeros."""
    return [(weight.toarray(), bias) for weight, bias in layers]


def square_layers(compositions: int) -> Layers:
    """The library's f_m, a ReLU network R -> R: m hidden layers of width 3, all weights dyadic."""
    return dense(sawtooth.square_layers(compositions))


def product_layers(compositions: int, bound: float, kind: str = "yarotsky") -> Layers:
    """The library's p, a ReLU network R^2 -> R for |x|, |y| <= bound: m + 1 hidden layers."""
    return dense(sawtooth.product_layers(compositions, bound, kind))


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


def polar(m: int, log_bound: int, points: list[tuple[fmpq, fmpq]], share: fmpq = WHOLE, outside: int = 1) -> Verdict:
    """`|q - x y| <= share M^2 2^(-2m-2)`, M = 2^log_bound, at x, y = M times the points (times `outside`, twin)."""
    bound = fmpq(2) ** log_bound
    layers = product_layers(m, float(bound), "polar")
    worst, where = fmpq(-1), {"x": 0.0, "y": 0.0}
    for s, t in points:
        x, y = outside * bound * s, outside * bound * t
        size = abs(preactivations(layers, [x, y])[-1][0] - x * y)
        if size > worst:
            worst, where = size, {"x": float(x), "y": float(y)}
    claimed = share * bound * bound / 4 ** (m + 1)
    return verdict(claimed, worst, kind="exact", points=len(points), dtype="rational", worst_point=where)


def zeros(m: int, log_bound: int, value: fmpq, shift: fmpq = rational.ZERO, kind: str = "yarotsky") -> Verdict:
    """p(x, 0) = p(0, y) = 0, exactly; shift: of the output, as a centred error would have it (twin)."""
    bound = fmpq(2) ** log_bound
    layers = product_layers(m, float(bound), kind)
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
    Statement(
        name="yarotsky.polar_product",
        source="ours; squares of Yarotsky 2017, Proposition 2",
        claim="two squares: |q(x, y) - x y| <= M^2 2^(-2m-2) for |x|, |y| <= M",
        latex=r"|q(x,y) - xy| \le M^2 2^{-2m-2},\ |x|, |y| \le M",
        hypotheses={"m": M, "log_bound": LOG_BOUND, "points": POINTS},
        check=lambda m, log_bound, points: polar(m, log_bound, [*half_grid(m + 1), *points]),
        twins=(
            Twin(
                "half_the_bound",
                "M^2 2^(-2m-3)",
                lambda m, log_bound, points: polar(m, log_bound, half_grid(m + 1), fmpq(1, 2)),
            ),
            Twin(
                "one_composition_less",
                "m - 1 compositions for the bound of m",
                lambda m, log_bound, points: polar(m - 1, log_bound, half_grid(m), fmpq(1, 4)),
                {"m": Hypothesis("2 <= m <= 6", st.integers(2, 6))},
            ),
            Twin(
                "outside_the_box",
                "|x| = |y| = 3 M",
                lambda m, log_bound, points: polar(m, log_bound, [(fmpq(1), fmpq(1))], outside=3),
            ),
        ),
    ),
    Statement(
        name="yarotsky.polar_product_zero",
        source="ours",
        claim="q(x, 0) = q(0, y) = 0 exactly",
        latex=r"q(x, 0) = q(0, y) = 0",
        hypotheses={"m": M, "log_bound": LOG_BOUND, "value": Hypothesis("|x|/M <= 1", rational.dyadics(1, 20))},
        check=lambda m, log_bound, value: zeros(m, log_bound, value, kind="polar"),
        twins=(
            Twin(
                "one_signed_error",
                "with M^2 2^(-2m-2) added, which gives the error one sign",
                lambda m, log_bound, value: zeros(m, log_bound, value, fmpq(4) ** (log_bound - m - 1), "polar"),
            ),
        ),
    ),
)
