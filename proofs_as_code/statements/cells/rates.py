"""Theorems B and C: exponents of the number of cells, fitted to counts of the theorem's own algorithm.

The algorithm (`construct.theory.lattice`): tolerance eps, all atoms in every cell that has any, no marks and no refit,
and goodness decided by the proved error of `targets`, so that nothing is measured on samples: a cell of spacing rho
with centre c, at the distance t from S, all of whose points are within D of c, is good if

    D <= kappa t  and  F t^(beta-q-1) D^(q+1) <= eps,     or     D^beta <= eps.

Good cells among children of bad ones have tokens. What is counted is exact but for rounding in these inequalities.

Theorem B counts all cells of one spacing `(eps/F)^(1/beta)/(2 sqrt r)` that meet the unit circle (each star is a
hexagon, which meets it iff 1 is between the least and the largest distance of its points from 0) or a cube.

Exponents are slopes of log N against log(1/eps) by least squares over three octaves of eps or more, with the interval
of 95 %: all of that has to be within 8 % of the theorem's. Sizes N vary with the place of eps between two levels, by a
factor that is bounded and nearly periodic, which is what the residuals are; and the term of the smaller exponent bends
the curve, so that eps has to be small where both are near. N is also compared with the theorem's bound, constants
included, at every eps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

import numpy as np
from flint import arb, arb_series
from hypothesis import strategies as st
from scipy import stats

from construct.arrays import Float, Int
from construct.cells.kuhn import children
from construct.theory.lattice import (
    LatticeGeometry,
    adaptive_cells,
    adaptive_exponent,
    good_spacing,
    lattice_cells,
    uniform_exponent,
    uniform_spacing,
)
from proofs_as_code.framework import Hypothesis, Statement, Twin, Verdict, verdict
from proofs_as_code.statements.cells.targets import (
    CONTENTS,
    DIMS,
    Target,
    derivative_bound,
    gegenbauer,
    singular_set,
    taylor_bound,
)
from proofs_as_code.subdivision import bounded

WINDOW = 0.08
"""How far from the theorem's exponent the interval may reach, relative to it."""

# -- the algorithm ----------------------------------------------------------------------------------------------------


@lru_cache(maxsize=256)
def grown_cells(target: Target, epsilon: float) -> int:
    """Cells with tokens. Where f depends on x_1 alone, so does goodness: cells are counted by n_1."""
    s, low, side = target.singularity, int(target.kind == "point"), 1 if target.kind == "line" else target.dim
    finest = good_spacing(target.geometry, s, epsilon)
    spacing, count = 1.0, 0
    cells = _box(-low, 1, side)
    while len(cells):
        across = math.sqrt(side) * spacing
        t = target.distance(cells.astype(np.float64) * spacing, finest)
        with np.errstate(divide="ignore"):
            error = s.bound * t ** (s.smoothness - s.order - 1) * across ** (s.order + 1)
        taylor = (across <= s.cone * t) & (error <= epsilon)
        good = taylor | (s.holder * across**s.smoothness <= epsilon)
        along = round(1 / spacing) + 1 if target.kind == "line" else 1
        count += int(good.sum()) * along
        cells, spacing = children(cells[~good]), spacing / 2
        cells = cells[((cells >= -low / spacing) & (cells <= 1 / spacing)).all(axis=1)]
    return count


def _box(first: int, last: int, dim: int) -> Int:
    return np.stack(np.meshgrid(*[np.arange(first, last + 1)] * dim, indexing="ij"), axis=-1).reshape(-1, dim)


def circle_cells(spacing: float) -> int:
    """Stars of R^2 whose inside meets the unit circle."""
    radius = 1 / spacing
    rows = np.arange(-math.ceil(radius) - 2, math.ceil(radius) + 3)
    inner = np.sqrt(np.maximum(0, (radius - 1.5) ** 2 - rows**2))
    outer = np.sqrt(np.maximum(0, (radius + 1.5) ** 2 - rows**2))
    low, high = np.floor(inner).astype(int), np.ceil(outer).astype(int)
    first = np.repeat(rows, high - low + 1)
    starts = np.cumsum(high - low + 1) - (high - low + 1)
    second = np.arange(len(first)) - np.repeat(starts - low, high - low + 1)
    cells = np.unique(np.concatenate([np.stack([first, s * second], axis=1) for s in (1, -1)]), axis=0)
    corners = cells[:, None] + np.array([[1, 0], [1, 1], [0, 1], [-1, 0], [-1, -1], [0, -1]])  # in their order
    sides = np.roll(corners, -1, axis=1) - corners
    along = np.clip(-(corners * sides).sum(axis=2) / (sides**2).sum(axis=2), 0, 1)
    nearest = np.linalg.norm(corners + along[..., None] * sides, axis=2).min(axis=1)
    inside = (np.abs(cells).max(axis=1) <= 1) & (cells[:, 0] * cells[:, 1] >= 0)  # 0 is in the star
    nearest[inside] = 0.0
    farthest = np.linalg.norm(corners, axis=2).max(axis=1)
    return int(((nearest < radius) & (radius < farthest)).sum())


def cube_cells(dim: int, spacing: float) -> int:
    """Stars of R^d whose inside meets [0, 1]^d: `0 <= n_i < 1/rho + 1`."""
    return math.ceil(1 / spacing + 1) ** dim


# -- exponents --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fit:
    """A slope and half of its interval."""

    slope: float
    half: float


def fitted(epsilons: Float, counts: list[int]) -> Fit:
    """Least squares of log N against log(1/eps), 95 %."""
    found = stats.linregress(-np.log(epsilons), np.log(counts))
    return Fit(float(found.slope), float(stats.t.ppf(0.975, len(counts) - 2) * found.stderr))


def by_exponent(
    exponent: float, epsilons: Float, counts: list[int], bounds: list[int], where: dict[str, Any]
) -> Verdict:
    """All of the interval is within `WINDOW` of the exponent, and no count above its bound, which is added."""
    fit = fitted(epsilons, counts)
    above = max(0.0, max(math.log(n / bound) for n, bound in zip(counts, bounds, strict=True)))
    where = where | {"exponent": exponent, "slope": fit.slope, "half": fit.half, "counts": counts[-1]}
    off = (abs(fit.slope - exponent) + fit.half) / exponent + above
    return verdict(WINDOW, off, kind="sampled", points=len(counts), dtype="float64", worst_point=where)


def octaves(first: float, count: float, step: float = 0.25) -> Float:
    """eps = 2^-first, .., over so many octaves."""
    return np.exp2(-first - np.arange(0, count + step / 2, step))


CIRCLE = LatticeGeometry(1, 2, 2, 2 * math.pi, 2.0, 1.0, 1.0)
"""An arc of a chord rho to both sides is longer than 2 rho."""


def cube_geometry(dim: int) -> LatticeGeometry:
    """[0, 1]^d: at a corner there is 2^-d of the ball."""
    ball = math.pi ** (dim / 2) / math.gamma(dim / 2 + 1)
    return LatticeGeometry(dim, dim, dim, 1.0, ball / 2**dim, 1.0, 1.0)


def check_uniform(case: tuple[str, int], smoothness: float, box: bool = False, short: float = 0.0) -> Verdict:
    """Exponent of the cells of one spacing against d/beta.

    box: all cells of [-1, 1]^r; short: by how much the polynomials' order of approximation is below beta.
    """
    name, dim = case
    geometry = CIRCLE if name == "circle" else cube_geometry(dim)
    used = smoothness - short
    rho = np.exp2(-5.0 - np.arange(0, 3 / used + 0.01, 0.25 / used))
    epsilons = (geometry.diameter * rho) ** used
    counts, bounds = [], []
    for epsilon in epsilons.tolist():
        spacing = uniform_spacing(geometry, used, 1.0, epsilon)
        stars = circle_cells(spacing) if name == "circle" else cube_cells(dim, spacing)
        bounds.append(lattice_cells(geometry, spacing))
        counts.append((2 * math.ceil(1 / spacing) + 1) ** geometry.coordinates if box else stars)
    where = {"M": name, "d": dim, "beta": smoothness}
    return by_exponent(uniform_exponent(dim, smoothness), epsilons, counts, bounds, where)


def check_stars(number: int, multiplicity: int = 25) -> Verdict:
    """Stars that meet the circle against `multiplicity V/(omega rho^d)`: 5^r, or what is claimed."""
    spacing = 1 / (8 + number / 16)
    claimed = lattice_cells(CIRCLE, spacing) * multiplicity / 25
    return verdict(
        claimed, circle_cells(spacing), kind="sampled", points=1, dtype="float64", worst_point={"rho": spacing}
    )


RANGES = {
    Target("end", 0.5, 1): (12, 5),
    Target("end", 0.75, 1): (12, 5),
    Target("end", 0.5, 2): (16, 6),
    Target("end", 0.75, 2): (20, 6),
    Target("end", 0.5, 3): (20, 6),
    Target("cantor", 0.5, 1): (6, 5),
    Target("cantor", 0.5, 2): (6, 5),
    Target("cantor", 0.75, 2): (8, 8),
    Target("sequence", 0.5, 2): (6, 6),
    Target("sequence", 0.5, 3): (6, 6),
    Target("line", 0.5, 2): (8, 6),
    Target("line", 0.75, 1): (8, 6),
    Target("point", 0.5, 2): (6, 4),
    Target("point", 0.75, 1): (6, 3.5),
    Target("point", 0.75, 2): (6, 4),
}
"""First octave and number of octaves of eps."""


def check_adaptive(target: Target, short: int = 0, singular: float | None = None, uniform: bool = False) -> Verdict:
    """Exponent of the cells with tokens against `max(d'/beta, d/(q+1))`.

    short: by how much the algorithm's q is less, on a range from 2^-6 on; singular: d' of the claim, if another;
    uniform: the claim is d/beta.
    """
    epsilons = octaves(6, 4) if short else octaves(*RANGES[target])
    used = replace(target, order=target.order - short)
    counts = [grown_cells(used, float(epsilon)) for epsilon in epsilons]
    bounds = [adaptive_cells(used.geometry, used.singularity, float(epsilon)) for epsilon in epsilons]
    dim = DIMS[target.kind] if singular is None else singular
    exponent = adaptive_exponent(target.dim, dim, target.beta, target.order)
    if uniform:
        exponent = uniform_exponent(target.dim, target.beta)
    return by_exponent(exponent, epsilons, counts, bounds, vars(target))


# -- the model --------------------------------------------------------------------------------------------------------


def check_model(target: Target, across: float, length: float, plain: bool = False) -> Verdict:
    """`|f(c + z) - P_c(c + z)| <= F |z|^(q+1)` for all |z| <= across at t = 1, c = 1 (scaled); length: of the gap.

    plain: F without `(1 - kappa)^(beta-q-1)`. On the line: the largest error over all z. In the plane: over all z and
    angles.
    """
    kind, beta, q = target.kind, arb(target.beta), target.order
    factor = derivative_bound(kind, target.beta, q + 1) / math.factorial(q + 1)
    claimed = (factor if plain else taylor_bound(kind, target.beta, q)) * across ** (q + 1)
    where = vars(target) | {"across": across, "length": length}
    if kind == "point":
        polynomials = [gegenbauer(j, -target.beta / 2) for j in range(q + 1)]

        def plane(box: list[arb]) -> arb:
            z, cosine = box
            powers = [sum((arb(c) * (-cosine) ** i for i, c in enumerate(p)), arb(0)) for p in polynomials]
            taylor = sum((value * z**j for j, value in enumerate(powers)), arb(0))
            return abs(_power(1 + 2 * z * cosine + z * z, beta / 2) - taylor)

        return bounded(plane, [(0.0, across), (-1.0, 1.0)], claimed).verdict(claimed, where)
    own = kind in ("end", "line")
    base = arb_series([1, 1], prec=q + 1)
    if not own:
        base = base * arb_series([length - 1, -1], prec=q + 1) / length
    coefficients = list((base.log() * beta).exp())

    def line(box: list[arb]) -> arb:
        (z,) = box
        value = 1 + z if own else (1 + z) * (length - 1 - z) / length
        taylor = sum((c * z**j for j, c in enumerate(coefficients)), arb(0))
        return abs(_power(value, beta) - taylor)

    return bounded(line, [(-across, across)], claimed).verdict(claimed, where)


def _power(value: arb, exponent: arb) -> arb:
    """Of a ball of positive numbers, by its ends: the power is increasing."""
    return (value.lower() ** exponent).union(value.upper() ** exponent)


def check_content(kind: str, octave: int, dim: float | None = None) -> Verdict:
    """`vol(t < s)`, s = 2^-octave, against `C s^(d - d')`; dim: d', if another."""
    s = 2.0**-octave
    gaps = np.diff(singular_set(kind, s))
    volume = float(np.minimum(gaps, 2 * s).sum()) if len(gaps) else s
    claimed = CONTENTS[kind] * s ** (1 - (DIMS[kind] if dim is None else dim))
    return verdict(claimed, volume, kind="sampled", points=1, dtype="float64", worst_point={"S": kind, "s": s})


# -- statements -------------------------------------------------------------------------------------------------------

FLAT = [("circle", 1), ("cube", 1), ("cube", 2), ("cube", 3)]
CASE = Hypothesis("the unit circle in R^2, or cubes of d = 1, 2, 3", st.sampled_from(FLAT))
BETA = Hypothesis("beta in {1/2, 1, 3/2, 5/2}", st.sampled_from([0.5, 1.0, 1.5, 2.5]))
TARGET = Hypothesis("a function of `targets`", st.sampled_from(list(RANGES)))
MODEL = Hypothesis(
    "x^beta, gaps or |x|^beta, q <= 3, beta <= 1",
    st.builds(
        Target, st.sampled_from(["end", "cantor", "point"]), st.sampled_from([0.25, 0.5, 0.75]), st.integers(0, 3)
    ),
)
LENGTH = Hypothesis("a gap at least twice the distance", st.sampled_from([2.0, 2.5, 4.0, 64.0]))
ACROSS = Hypothesis("|z| <= kappa t, kappa = 1/2", st.sampled_from([0.25, 0.375, 0.5]))


STEEP = [target for target in RANGES if target.order >= 2 and DIMS[target.kind] == 0]


def of_kinds(*kinds: str) -> Hypothesis:
    """Some of the functions."""
    return Hypothesis(", ".join(kinds), st.sampled_from([target for target in RANGES if target.kind in kinds]))


STATEMENTS: tuple[Statement, ...] = (
    Statement(
        name="cells.rate.model",
        source="ours",
        claim="|f - P_c| <= F t^(beta-q-1) |z|^(q+1) for |z| <= kappa t: x^beta, gaps, |x|^beta, F = C_(q+1)/(q+1)! "
        "(1 - kappa)^(beta-q-1)",
        latex=r"$|f-P_c|\le F\,t^{\beta-q-1}|z|^{q+1}$ for $|z|\le\kappa t$, "
        r"$F=\frac{C_{q+1}}{(q+1)!}(1-\kappa)^{\beta-q-1}$.",
        hypotheses={"target": MODEL, "across": ACROSS, "length": LENGTH},
        check=check_model,
        twins=(
            Twin(
                "derivatives at the centre",
                "F has the factor (1 - kappa)^(beta-q-1): without it",
                partial(check_model, plain=True),
                {
                    "target": Hypothesis(
                        "x^beta", st.builds(Target, st.just("end"), st.sampled_from([0.25, 0.5]), st.integers(0, 3))
                    )
                },
            ),
        ),
        examples=24,
    ),
    Statement(
        name="cells.rate.content",
        source="ours",
        claim="vol(dist(., S) < s) <= C s^(1 - d'): a point, the Cantor set, d' = log 2/log 3, all 1/k, d' = 1/2",
        latex=r"\mathrm{vol}\{\mathrm{dist}(\cdot,S)<s\}\le C\,s^{1-d'}",
        hypotheses={
            "kind": Hypothesis("S", st.sampled_from(["end", "cantor", "sequence"])),
            "octave": Hypothesis("s = 2^-j", st.integers(1, 22)),
        },
        check=check_content,
        twins=(
            Twin(
                "Hausdorff dimension",
                "the dimension is Minkowski's, 1/2 for all 1/k: Hausdorff's, 0",
                partial(check_content, dim=0.0),
                {
                    "kind": Hypothesis("all 1/k", st.just("sequence")),
                    "octave": Hypothesis("s small", st.integers(8, 22)),
                },
            ),
        ),
        examples=30,
    ),
    Statement(
        name="cells.rate.stars",
        source="ours",
        claim="at most 5^r V/(omega rho^d) stars of spacing rho meet Y: the circle",
        latex=r"At most $5^r\,\mathrm{vol}(Y)/(\omega\rho^d)$ stars of spacing $\rho$ meet $Y$.",
        hypotheses={"number": Hypothesis("rho = 1/(8 + j/16)", st.integers(0, 4000))},
        check=check_stars,
        twins=(
            Twin(
                "r + 1 of them",
                "balls of radius rho about points of Y overlap 5^r times at most: r + 1 times, as the hats do",
                partial(check_stars, multiplicity=3),
            ),
        ),
        examples=30,
    ),
    Statement(
        name="cells.rate.uniform",
        source="ours",
        claim="cells of one spacing with an error of eps: exponent d/beta, fitted over 3 octaves of eps, whatever r is",
        latex=r"$N\sim\varepsilon^{-d/\beta}$ for cells of one spacing.",
        hypotheses={"case": CASE, "smoothness": BETA},
        check=check_uniform,
        twins=(
            Twin(
                "cells of the box",
                "cells that meet M: all of the box, with r for d",
                partial(check_uniform, box=True),
                {"case": Hypothesis("the circle", st.just(("circle", 1)))},
                examples=3,
            ),
            Twin(
                "a degree less",
                "polynomials of degree ceil(beta) - 1: errors of order beta - 1",
                partial(check_uniform, short=1.0),
                {"smoothness": Hypothesis("beta in {3/2, 5/2}", st.sampled_from([1.5, 2.5]))},
                examples=3,
            ),
        ),
        examples=12,
    ),
    Statement(
        name="cells.rate.adaptive",
        source="ours",
        claim="cells with tokens: exponent max(d'/beta, d/(q+1)), fitted over 3 octaves of eps and more, and never "
        "above the theorem's bound",
        latex=r"$N\sim\varepsilon^{-d'/\beta}+\varepsilon^{-d/(q+1)}$ cells with tokens, $d'$ the upper Minkowski "
        r"dimension of $S$.",
        hypotheses={"target": TARGET},
        check=check_adaptive,
        twins=(
            Twin(
                "a degree less",
                "q is what a cell's tokens span: q - 1",
                partial(check_adaptive, short=1),
                {"target": Hypothesis("q >= 2, d' = 0", st.sampled_from(STEEP))},
                examples=4,
            ),
            Twin(
                "Hausdorff dimension",
                "d' is Minkowski's: Hausdorff's, 0 for all 1/k",
                partial(check_adaptive, singular=0.0),
                {"target": of_kinds("sequence")},
                examples=2,
            ),
            Twin(
                "a line for a point",
                "d' = 1 for a side of a square: 0",
                partial(check_adaptive, singular=0.0),
                {"target": of_kinds("line")},
                examples=2,
            ),
            Twin(
                "as if uniform",
                "max(d'/beta, d/(q+1)): d/beta",
                partial(check_adaptive, uniform=True),
                examples=4,
            ),
        ),
        examples=12,
    ),
)
