"""Taylor polynomials on a grid in rational arithmetic: the sharp remainder, and what glued polynomials reproduce.

Polynomials are dictionaries `alpha -> coefficient`. For a polynomial of degree s + 1 the derivatives of order s are
affine, so that their Lipschitz constants in the largest-entry norm are sums of absolute values of derivatives of order
s + 1: the F of `beta = s + 1` is known exactly. `(z_1 + ... + z_d)^(s+1)` attains the bound.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial

import numpy as np
from hypothesis import strategies as st

from proofs_as_code.framework import Hypothesis, Statement, Twin, Verdict, verdict

Index = tuple[int, ...]
Polynomial = dict[Index, Fraction]
Point = tuple[Fraction, ...]


def indices(dim: int, degree: int) -> list[Index]:
    """All alpha with |alpha| <= degree."""
    return [a for a in itertools.product(range(degree + 1), repeat=dim) if sum(a) <= degree]


def factorial(alpha: Index) -> int:
    """alpha!"""
    return math.prod(math.factorial(a) for a in alpha)


def evaluate(polynomial: Polynomial, z: Point) -> Fraction:
    return sum(
        (c * math.prod(x**a for x, a in zip(z, alpha, strict=True)) for alpha, c in polynomial.items()), Fraction(0)
    )


def derivative(polynomial: Polynomial, order: Index) -> Polynomial:
    """d^order of a polynomial."""
    out: Polynomial = {}
    for alpha, c in polynomial.items():
        if all(a >= k for a, k in zip(alpha, order, strict=True)):
            factor = math.prod(math.perm(a, k) for a, k in zip(alpha, order, strict=True))
            out[tuple(a - k for a, k in zip(alpha, order, strict=True))] = c * factor
    return out


def taylor(polynomial: Polynomial, node: Point, degree: int) -> Polynomial:
    """The Taylor polynomial in `v = z - node`."""
    dim = len(node)
    return {a: evaluate(derivative(polynomial, a), node) / factorial(a) for a in indices(dim, degree)}


def lipschitz(polynomial: Polynomial, degree: int) -> Fraction:
    """F of a polynomial of degree s + 1: the largest sum_i |d^(alpha + e_i)| over |alpha| = s."""
    dim = len(next(iter(polynomial)))
    sums = []
    for alpha in indices(dim, degree):
        if sum(alpha) == degree:
            raised = [tuple(a + (i == j) for j, a in enumerate(alpha)) for i in range(dim)]
            sums.append(
                sum((abs(evaluate(derivative(polynomial, r), (Fraction(0),) * dim)) for r in raised), Fraction(0))
            )
    return max(sums)


@dataclass(frozen=True)
class Expansion:
    """A polynomial of degree `degree + 1`, random or (z_1 + ... + z_d)^(degree + 1), a node and a cell width 1/N."""

    dim: int
    degree: int
    cells: int
    extremal: bool
    seed: int

    def polynomial(self, degree: int | None = None) -> Polynomial:
        top = self.degree + 1 if degree is None else degree
        if self.extremal:
            powers = [a for a in indices(self.dim, top) if sum(a) == top]
            return {a: Fraction(math.factorial(top), factorial(a)) for a in powers}
        rng = np.random.default_rng(self.seed)
        return {a: Fraction(int(rng.integers(-9, 10)), 8) for a in indices(self.dim, top)}

    def node(self) -> Point:
        if self.extremal:
            return (Fraction(0),) * self.dim
        rng = np.random.default_rng(self.seed + 1)
        return tuple(Fraction(int(rng.integers(-self.cells, self.cells + 1)), self.cells) for _ in range(self.dim))


def check_remainder(
    case: Expansion,
    constant: Callable[[int, int], Fraction] | None = None,
    drop: int = 0,
    at: Fraction | None = None,
) -> Verdict:
    """|g(z) - sum_(|alpha|<=s)| <= F d^s/(s+1)! |v|^(s+1) on a grid of v in the support of a trapezoid.

    constant: another one, of (d, s); drop: orders that the expansion leaves out; at: node (at, ..., at).
    """
    g, s, d = case.polynomial(), case.degree, case.dim
    node = case.node() if at is None else (at,) * d
    expansion = taylor(g, node, s - drop)
    factor = Fraction(d**s, math.factorial(s + 1)) if constant is None else constant(d, s)
    F = lipschitz(g, s)
    steps = [Fraction(k, 6) * Fraction(1, case.cells) for k in (-4, -3, -1, 1, 2, 4)]
    worst = (Fraction(0), Fraction(0), (Fraction(0),) * d)
    for v in itertools.product(steps, repeat=d):
        error = abs(evaluate(g, tuple(a + b for a, b in zip(node, v, strict=True))) - evaluate(expansion, v))
        claimed = factor * F * max(map(abs, v)) ** (s + 1)
        worst = max(worst, (error - claimed, error, v), key=lambda w: w[0]) if worst[1] else (error - claimed, error, v)
    witness = {"dim": d, "degree": s, "v": [str(x) for x in worst[2]], "seed": case.seed, "extremal": case.extremal}
    return verdict(
        worst[1] - worst[0], worst[1], kind="exact", points=len(steps) ** d, dtype="rational", worst_point=witness
    )


# -- gluing ---------------------------------------------------------------------------------------


def trapezoid(u: Fraction) -> Fraction:
    """psi(3u): 1 for |u| <= 1/3, 0 for |u| >= 2/3."""
    return min(Fraction(1), max(Fraction(0), 2 - 3 * abs(u)))


def hat(u: Fraction) -> Fraction:
    return max(Fraction(0), 1 - abs(u))


def steep(u: Fraction) -> Fraction:
    """psi(2u), whose translates do not sum to one."""
    return min(Fraction(1), max(Fraction(0), 2 - 2 * abs(u)))


def glued(
    g: Polynomial, z: Point, cells: int, degree: int, bump: Callable[[Fraction], Fraction], modified: bool
) -> Fraction:
    """`sum_m prod_i bump(N z_i - m_i) sum_alpha (1 - |alpha|/(s+1))^modified d^alpha g(m/N) v^alpha / alpha!`."""
    total = Fraction(0)
    near = [range(math.floor(cells * x) - 1, math.floor(cells * x) + 3) for x in z]
    for m in itertools.product(*near):
        weight = math.prod(bump(cells * x - k) for x, k in zip(z, m, strict=True))
        if weight:
            node = tuple(Fraction(k, cells) for k in m)
            terms = taylor(g, node, degree)
            if modified:
                terms = {a: c * (1 - Fraction(sum(a), degree + 1)) for a, c in terms.items()}
            total += weight * evaluate(terms, tuple(x - y for x, y in zip(z, node, strict=True)))
    return total


def check_reproduction(
    case: Expansion, bump: Callable[[Fraction], Fraction], above: int = 0, modified: bool = False
) -> Verdict:
    """The glued Taylor polynomials of a polynomial of degree s + above are that polynomial."""
    g = case.polynomial(case.degree + above)
    rng = np.random.default_rng(case.seed + 2)
    points = [tuple(Fraction(int(k), 120) for k in row) for row in rng.integers(-100, 101, size=(4, case.dim))]
    errors = [abs(glued(g, z, case.cells, case.degree, bump, modified) - evaluate(g, z)) for z in points]
    worst = int(np.argmax([float(e) for e in errors]))
    witness = {"dim": case.dim, "degree": case.degree, "cells": case.cells, "z": [str(x) for x in points[worst]]}
    return verdict(Fraction(0), max(errors), kind="exact", points=len(points), dtype="rational", worst_point=witness)


def expansions(
    dims: Sequence[int], degrees: Sequence[int], *, extremal: bool | None = None
) -> st.SearchStrategy[Expansion]:
    return st.builds(
        Expansion,
        dim=st.sampled_from(list(dims)),
        degree=st.sampled_from(list(degrees)),
        cells=st.integers(1, 6),
        extremal=st.booleans() if extremal is None else st.just(extremal),
        seed=st.integers(0, 2**32 - 1),
    )


def _case(text: str, strategy: st.SearchStrategy[Expansion]) -> dict[str, Hypothesis]:
    return {"case": Hypothesis(text, strategy)}


EXTREMAL = _case("(z_1 + ... + z_d)^(s+1) about 0, d >= 2, s >= 1", expansions([2, 3], [1, 2], extremal=True))
POLYNOMIALS = _case("a rational polynomial, d <= 2, s <= 3", expansions([1, 2], [0, 1, 2, 3]))
ONE_ABOVE = _case("(z_1 + ... + z_d)^(s+1), s >= 1", expansions([1, 2], [1, 2, 3], extremal=True))


def _smooth_order(d: int, s: int) -> Fraction:
    return Fraction(d**s, math.factorial(s + 2))


def _one_dimension(d: int, s: int) -> Fraction:
    return Fraction(d ** (s - 1), math.factorial(s + 1))


EXACT: tuple[Statement, ...] = (
    Statement(
        name="taylor.remainder",
        source="HL24 Theorem 2, after Yarotsky 2017; sharp constant ours",
        claim="|g(z) - Taylor_s(z)| <= F d^s/(s+1)! |z - z_m|^(s+1), beta = s + 1; attained by (z_1 + ... + z_d)^(s+1)",
        latex=r"\Bigl|g(z)-\sum_{|\alpha|\le s}\tfrac{\partial^\alpha g(z_m)}{\alpha!}(z-z_m)^\alpha\Bigr|"
        r"\le F\,\frac{d^s\,\Gamma(\alpha+1)}{\Gamma(\beta+1)}\,|z-z_m|_\infty^\beta",
        hypotheses=_case("a rational polynomial of degree s + 1, d <= 3", expansions([1, 2, 3], [0, 1, 2])),
        check=check_remainder,
        twins=(
            Twin("next_factorial", "1/(s+2)! for 1/(s+1)!", partial(check_remainder, constant=_smooth_order), EXTREMAL),
            Twin("dimension", "d^(s-1) for d^s", partial(check_remainder, constant=_one_dimension), EXTREMAL),
            Twin(
                "order_missing",
                "the terms of order s left out",
                partial(check_remainder, drop=1, at=Fraction(1)),
                EXTREMAL,
            ),
        ),
    ),
    Statement(
        name="taylor.reproduction",
        source="HL24 Theorem 2, after Yarotsky 2017",
        claim="glued by trapezoids, the Taylor polynomials of degree s of a polynomial of degree s are that polynomial",
        latex=r"\sum_m\prod_i\psi(3(Nz_i-m_i))\,P_m=g\quad\text{for }\deg g\le s",
        hypotheses=POLYNOMIALS,
        check=partial(check_reproduction, bump=trapezoid),
        twins=(
            Twin(
                "degree_above",
                "deg g <= s: here s + 1",
                partial(check_reproduction, bump=trapezoid, above=1),
                ONE_ABOVE,
            ),
            Twin("no_partition", "the bumps sum to one", partial(check_reproduction, bump=steep), ONE_ABOVE),
        ),
    ),
    Statement(
        name="taylor.modified_reproduction",
        source="ours",
        claim="glued by hats with the factors 1 - j/(s+1), degree s + 1 is reproduced: one order gained",
        latex=r"\sum_m\prod_i\mathrm{hat}(Nz_i-m_i)\sum_{|\alpha|\le s}\Bigl(1-\tfrac{|\alpha|}{s+1}\Bigr)"
        r"\tfrac{\partial^\alpha g(z_m)}{\alpha!}(z-z_m)^\alpha=g\quad\text{for }\deg g\le s+1",
        hypotheses=POLYNOMIALS,
        check=partial(check_reproduction, bump=hat, above=1, modified=True),
        twins=(
            Twin("plain", "the factors 1 - j/(s+1)", partial(check_reproduction, bump=hat, above=1), ONE_ABOVE),
            Twin(
                "trapezoids",
                "hats: here trapezoids",
                partial(check_reproduction, bump=trapezoid, above=1, modified=True),
                ONE_ABOVE,
            ),
            Twin(
                "two_above",
                "deg g <= s + 1: here s + 2",
                partial(check_reproduction, bump=hat, above=2, modified=True),
                ONE_ABOVE,
            ),
        ),
    ),
)
