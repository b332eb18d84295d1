"""The table of atoms: every univariate function of the compact construction is what its rule makes.

Stage *partition* turns (a, b) = (z, 1) into (a, b) + relu(G) A (a, b, 1) with the table's form and value, every token
on itself; stage *basis* lets a holder hear `A` by the form and value of its rule. Both are polynomials in z as long as
the scores are >= 0 on [-1, 1], where no relu cuts. The coefficients are dyadic, so that polynomials are found exactly;
a polynomial is >= 0 on [-1, 1] if it has no root of odd order inside (counted by Sturm's theorem on the factors of odd
order) and one value there that is positive.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

from flint import fmpq, fmpq_poly
from hypothesis import strategies as st

from construct.compact.atoms import ATOMS, POWERS_FORM, POWERS_VALUE, AtomRule, atom_rule, derived
from construct.program.heads import A, B
from construct.program.layout import ONE
from proofs_as_code import rational
from proofs_as_code.framework import Hypothesis, Statement, Twin, Verdict, verdict
from proofs_as_code.statements.compact.basis import basis_polynomials

Registers = Mapping[str, fmpq_poly]
Z, UNIT, NOTHING = fmpq_poly([0, 1]), fmpq_poly([1]), fmpq_poly([0])


def acted(
    target: Registers, source: Registers, form: Mapping[Any, Any], value: Mapping[Any, Any]
) -> tuple[Registers, fmpq_poly]:
    """Registers of a token after one head without its relu, and the head's score."""
    score = sum((rational.rational(float(g)) * target[i] * source[j] for (i, j), g in form.items()), NOTHING)
    after = dict(target)
    for (i, j), v in value.items():
        after[i] = after[i] + rational.rational(float(v)) * score * source[j]
    return after, score


def holder(a: fmpq_poly, b: fmpq_poly) -> Registers:
    """Registers (a, b, 1)."""
    return {A: a, B: b, ONE: UNIT}


def made(rule: AtomRule) -> tuple[Registers, list[fmpq_poly]]:
    """Both registers of an atom's holder after both stages, and the scores of the heads on the way."""
    first, powers = acted(holder(Z, UNIT), holder(Z, UNIT), POWERS_FORM, POWERS_VALUE)
    before = {"A": first, "T": first, "B": holder(Z, NOTHING)}.get(rule.holder, holder(NOTHING, NOTHING))
    if not rule.form:
        return before, [powers]
    after, score = acted(before, first, rule.form, rule.value)
    return after, [powers, score]


def chebyshev_polynomial(coefficients: list[fmpq]) -> fmpq_poly:
    """`sum_k c_k T_k`."""
    found, before, last = NOTHING, UNIT, Z
    for c in coefficients:
        found, before, last = found + c * before, last, 2 * Z * last - before
    return found


def sturm_changes(chain: list[fmpq_poly], at: fmpq) -> int:
    """Sign changes of a chain at a point."""
    signs = [value > 0 for value in (p(at) for p in chain) if value != 0]
    return sum(a != b for a, b in pairwise(signs))


def roots_between(p: fmpq_poly, low: fmpq, high: fmpq) -> int:
    """Roots of a squarefree polynomial in (low, high], which is not 0 at both ends: Sturm's theorem."""
    chain = [p, p.derivative()]
    while not chain[-1].is_zero() and chain[-1].degree() > 0:
        chain.append(-divmod(chain[-2], chain[-1])[1])
    return sturm_changes(chain, low) - sturm_changes(chain, high)


def nowhere_negative(p: fmpq_poly) -> bool:
    """Whether p >= 0 on [-1, 1]."""
    if p.is_zero():
        return True
    ends = [fmpq_poly([1, 1]), fmpq_poly([1, -1])]  # 1 + z and 1 - z: positive inside
    for end in ends:
        while divmod(p, end)[1].is_zero():
            p = divmod(p, end)[0]
    odd = UNIT
    for factor, power in p.factor()[1]:
        odd = odd * factor if power % 2 else odd
    inside = fmpq(0)
    while p(inside) == 0:
        inside = (inside + 1) / 2
    return bool(p(inside) > 0) and (odd.degree() < 1 or roots_between(odd, fmpq(-1), fmpq(1)) == 0)


def largest_coefficient(p: fmpq_poly) -> fmpq:
    return max((abs(c) for c in p.coeffs()), default=fmpq(0))


def check_atom(rule: AtomRule) -> Verdict:
    """The rule's polynomial against its identity, its formula and the library's series; its scores; its degree."""
    after, scores = made(rule)
    found = after[rule.register]
    facts: dict[str, Any] = {"kind": "exact", "points": rule.index + 1, "dtype": "rational"}
    where = {"index": rule.index}
    if not all(nowhere_negative(score) for score in scores):
        return verdict(0, 1, worst_point=where | {"reason": "a score is negative somewhere"}, **facts)
    if any(register != rule.register for register, _ in rule.value) or found.degree() != rule.index:
        return verdict(0, 1, worst_point=where | {"reason": "another register, or another degree"}, **facts)
    identity: Any = rule.identity  # in any ring
    wanted = {
        "identity": identity(Z, 2 * Z * Z - 1, 4 * Z * Z * Z - 3 * Z),
        "formula": basis_polynomials()[rule.index - 1],
        "series": chebyshev_polynomial([rational.rational(float(c)) for c in derived(rule)]),
    }
    off = {name: largest_coefficient(found - p) for name, p in wanted.items()}
    worst = max(off, key=lambda name: off[name])
    return verdict(fmpq(0), off[worst], worst_point=where | {"against": worst}, **facts)


def changed(index: int) -> Verdict:
    """Every single coefficient of the table's value moved by k/8, 0 < |k| <= 7: the one that is found least."""
    rule = atom_rule(index)
    moves = [(key, k) for key in rule.value for k in range(-7, 8) if k]
    found = [check_atom(replace(rule, value={**rule.value, key: float(rule.value[key]) + k / 8})) for key, k in moves]
    return min(found, key=lambda one: (not one.holds, one.measured))


def turned(index: int) -> Verdict:
    """Form and value with the opposite signs: the same polynomial, but a score <= 0, which the relu cuts."""
    rule = atom_rule(index)
    form, value = ({key: -float(v) for key, v in part.items()} for part in (rule.form, rule.value))
    return check_atom(replace(rule, form=form, value=value))


MADE = {"index": Hypothesis("an atom with a rule of its own", st.sampled_from([r.index for r in ATOMS if r.form]))}

STATEMENTS: tuple[Statement, ...] = (
    Statement(
        name="compact.atoms",
        source="ours",
        claim="every atom of the table: what its rule makes of z is its identity, its formula and the series that the "
        "network is built from, of degree k; all scores are >= 0 on [-1, 1]",
        latex=r"Each rule of the table makes its $F_k(z)$, of degree $k$, with scores $\ge 0$ on $[-1,1]$.",
        hypotheses={"index": Hypothesis("1 <= k <= 8", st.sampled_from([rule.index for rule in ATOMS]))},
        check=lambda index: check_atom(atom_rule(index)),
        twins=(
            Twin("a changed coefficient", "the table's value: a coefficient moved by k/8, 0 < |k| <= 7", changed, MADE),
            Twin("turned signs", "scores are >= 0: form and value with opposite signs", turned, MADE),
        ),
        examples=16,
    ),
)
