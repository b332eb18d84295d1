"""Trees of products: powers and Chebyshev polynomials in the fewest blocks, with registers that stay in [-1, 1].

A level is one block and multiplies registers by registers, so that degrees at most double: after k levels no register
has a degree above 2^k. Hence `ceil(log2 s)` levels are needed for `u^s` and suffice. It also makes an exact run at
2^k + 1 points a proof for all u: two polynomials of degree <= 2^k that agree there are equal.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from flint import fmpq, fmpq_poly
from hypothesis import strategies as st

from construct.program import products
from construct.program.heads import A
from construct.program.layout import TokenLayout
from construct.program.rules import Rule
from proofs_as_code import rational
from proofs_as_code.framework import Hypothesis, Statement, Twin, Verdict, verdict
from proofs_as_code.statements.program.products import UNIT, after, layout_of

# -- the trees ------------------------------------------------------------------------------------------------------


def power_level(layout: TokenLayout, degree: int, level: int) -> tuple[Rule, ...]:
    """Rules of one level of the power tree, tokens U_0 .. U_degree."""
    steps = products.power_steps(degree, level)
    j, partner = (np.array(column) for column in zip(*steps, strict=True))
    return products.multiply(j, partner, A)


def chebyshev_level(layout: TokenLayout, degree: int, level: int) -> tuple[Rule, ...]:
    """Rules of one level of the Chebyshev tree."""
    return products.chebyshev_level(layout.tokens("U"), degree, level)


ONE = fmpq(1)
LEVELS: dict[str, Callable[[TokenLayout, int, int], tuple[Rule, ...]]] = {
    "powers": power_level,
    "chebyshev": chebyshev_level,
}


def tree_registers(tree: str, degree: int, u: fmpq, levels: int) -> list[list[fmpq]]:
    """Registers `a` of U_0 .. U_degree before the first and after each of the first `levels` levels, exactly.

    U_0 starts at 1 and every other token at u.
    """
    layout = layout_of(degree + 1)
    state = rational.state(layout, [(u if j else fmpq(1), fmpq(0)) for j in range(degree + 1)])
    found = [state]
    for level in range(1, levels + 1):
        if products.power_steps(degree, level):
            state = after(LEVELS[tree](layout, degree, level), layout, UNIT, state)
        found.append(state)
    return [[one[j, layout.row("a")] for j in range(degree + 1)] for one in found]


def nodes(levels: int) -> list[fmpq]:
    """2^levels + 1 equidistant points of [-1, 1]: they determine a polynomial of degree 2^levels."""
    return [fmpq(k, 2 ** max(levels - 1, 0)) - 1 for k in range(2**levels + 1)]


def target_polynomials(tree: str, degree: int) -> list[fmpq_poly]:
    """u^0 .. u^degree, or T_0 .. T_degree by the three-term recurrence."""
    u = fmpq_poly([0, 1])
    found = [fmpq_poly([1]), u]
    while len(found) <= degree:
        found.append(u * found[-1] if tree == "powers" else 2 * u * found[-1] - found[-2])
    return found[: degree + 1]


def tree_values(tree: str, degree: int, dropped: int = 0) -> Verdict:
    """After `max(1, ceil(log2 s))` blocks every U_j holds u^j, or T_j(u), for all u in [-1, 1] (module docstring)."""
    levels = products.power_levels(degree)
    wanted = target_polynomials(tree, degree)
    worst, where = fmpq(0), {"j": 0, "u": 0.0}
    points = nodes(levels)
    for u in points:
        for j, value in enumerate(tree_registers(tree, degree, u, levels - dropped)[-1]):
            difference = abs(value - wanted[j](u))
            if difference > worst:
                worst, where = difference, {"j": j, "u": float(u)}
    return verdict(fmpq(0), worst, kind="exact", points=len(points) * (degree + 1), dtype="rational", worst_point=where)


# -- depth and bounds -------------------------------------------------------------------------------------------


def reachable(levels: int, most: int) -> set[int]:
    """Exponents up to `most` that products of registers, all at u (or 1) first, can have after `levels` levels."""
    exponents = {0, 1}
    for _ in range(levels):
        exponents |= {a + b for a in exponents for b in exponents if a + b <= most}
    return exponents


def schedule_levels(degree: int) -> int:
    """Levels after which the library's schedule has U_j at exponent j for all j, by following the exponents."""
    exponents = [min(j, 1) for j in range(degree + 1)]
    for level in range(1, degree + 2):
        before = list(exponents)
        for j, partner in products.power_steps(degree, level) if level <= products.power_levels(degree) else []:
            exponents[j] = before[j] + before[partner]
        if exponents == list(range(degree + 1)):
            return level
    return degree + 2


def depth(degree: int) -> Verdict:
    """The schedule's levels are the fewest: all sets of exponents are searched, level by level."""
    fewest = next(k for k in range(degree + 1) if degree in reachable(k, degree))
    measured = schedule_levels(degree)
    where = {"degree": degree}
    return verdict(max(1, fewest), measured, kind="exact", points=degree, dtype="integer", worst_point=where)


def one_level_less(degree: int) -> Verdict:
    """Claim of the twin: some product tree of one level less than the schedule's reaches the degree."""
    highest = max(reachable(products.power_levels(degree) - 1, degree))
    return verdict(0, degree - highest, kind="exact", points=1, dtype="integer", worst_point={"degree": degree})


def interpolated(points: list[fmpq], values: list[fmpq]) -> fmpq_poly:
    """The polynomial through the points, by Newton's divided differences."""
    table = list(values)
    for order in range(1, len(points)):
        for i in range(len(points) - 1, order - 1, -1):
            table[i] = (table[i] - table[i - 1]) / (points[i] - points[i - order])
    polynomial = fmpq_poly([0])
    for point, coefficient in zip(reversed(points), reversed(table), strict=True):
        polynomial = polynomial * fmpq_poly([-point, 1]) + coefficient
    return polynomial


def within_one(polynomial: fmpq_poly) -> bool:
    """Whether `1 - p^2 = (1 - u^2) q` with q a square or even with coefficients >= 0: then |p| <= 1 on [-1, 1].

    T_e: q = U_(e-1)^2, Pell's equation. u^e: q = 1 + u^2 + ... + u^(2e-2).
    """
    quotient, remainder = divmod(1 - polynomial * polynomial, fmpq_poly([1, 0, -1]))
    if not remainder.is_zero():
        return False
    coefficients = quotient.coeffs()
    if all(c >= 0 for c in coefficients[::2]) and not any(coefficients[1::2]):
        return True
    return is_square(quotient)


def is_square(polynomial: fmpq_poly) -> bool:
    """Whether a polynomial is the square of one with rational coefficients."""
    try:
        root = polynomial.sqrt()
    except ValueError:  # python-flint's DomainError
        return False
    return bool(root * root == polynomial)


def registers_bounded(tree: str, degree: int, stretch: fmpq = ONE) -> Verdict:
    """Every register of every level stays in [-1, 1] for |u| <= stretch: number of registers without a certificate."""
    levels = products.power_levels(degree)
    points = nodes(levels)
    runs = [tree_registers(tree, degree, u, levels) for u in points]
    scaled = fmpq_poly([0, stretch])
    missing = []
    for level in range(levels + 1):
        for j in range(1, degree + 1):
            found = interpolated(points, [run[level][j] for run in runs])
            if not within_one(found(scaled)):
                missing.append({"level": level, "j": j})
    return verdict(
        0, len(missing), kind="exact", points=levels * degree, dtype="rational", worst_point=(missing or [{}])[0]
    )


# -- statements -------------------------------------------------------------------------------------------------

DEGREES = Hypothesis("1 <= s <= 12", st.integers(1, 12))
AT_LEAST_TWO = Hypothesis("2 <= s <= 12", st.integers(2, 12))
TREES = Hypothesis("a tree of powers or of Chebyshev polynomials", st.sampled_from(sorted(LEVELS)))

STATEMENTS: tuple[Statement, ...] = (
    Statement(
        name="products.tree",
        source="Havrilla and Liao, proof of Theorem 2; Chebyshev ours",
        claim="max(1, ceil(log2 s)) blocks: U_j = u^j, or T_j(u), for all j <= s and all u in [-1, 1]",
        latex=r"U_j = u^j \text{ (or } T_j(u)),\ 0 \le j \le s,\ |u| \le 1,"
        r"\text{ after } \max(1, \lceil\log_2 s\rceil) \text{ blocks}",
        hypotheses={"tree": TREES, "degree": DEGREES},
        check=tree_values,
        examples=6,
        twins=(
            Twin(
                "one_level_dropped",
                "the last level of the tree is missing",
                lambda tree, degree: tree_values(tree, degree, 1),
                {"degree": AT_LEAST_TWO},
            ),
        ),
    ),
    Statement(
        name="products.depth",
        source="ours",
        claim="no tree of products reaches degree s in fewer than ceil(log2 s) levels, and the library's needs no more",
        latex=r"\min\{k : s \in E_k\} = \lceil\log_2 s\rceil,\ E_0 = \{0,1\},\ E_{k+1} = E_k + E_k",
        hypotheses={"degree": Hypothesis("1 <= s <= 64", st.integers(1, 64))},
        check=depth,
        twins=(
            Twin(
                "one_level_less",
                "a tree with one level less than ours reaches s",
                one_level_less,
                {"degree": Hypothesis("3 <= s <= 64", st.integers(3, 64))},
            ),
        ),
    ),
    Statement(
        name="products.registers_bounded",
        source="ours",
        claim="|u| <= 1: every register of every level is at most 1; 1 - U^2 = (1 - u^2) q with q >= 0 a certificate",
        latex=r"1 - U_j(u)^2 = (1 - u^2)\,q_j(u),\ q_j \ge 0",
        hypotheses={"tree": TREES, "degree": DEGREES},
        check=registers_bounded,
        examples=6,
        twins=(
            Twin(
                "data_outside_the_box",
                "|u| <= 9/8",
                lambda tree, degree: registers_bounded(tree, degree, fmpq(9, 8)),
            ),
        ),
    ),
)
