"""Atoms: the univariate functions that the tokens of a coordinate hold, each made by one rule.

    F1 = z, F2 = T2, F3 = T3, F4 = (1 - T2) T2, F5 = (1 - T2) T3, F6 = T3 + 2 T3^2, F7 = (1 + z T3) T3,
    F8 = T2 + 4 T3^2 T2                                       on [-1, 1], of degree 1..8

Each chart coordinate has up to four kinds of tokens, its *holders*. When the charts are done, `A` and its twin `T` hold
(z, 1). Stage *partition* turns both into (T3, T2), by one self-gated head in all tokens at once, and reads z into `B`.
Stage *basis* makes the others: a holder hears `A`, and adds `relu(G) A_value` to what it has. The table below is all
there is to an atom: where it is kept, how it is made, what it must be. On import every series is derived from its rule,
in exact (dyadic) arithmetic, and compared with the identity; a score that could be negative is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.polynomial import Chebyshev, chebyshev

from construct.arrays import Float
from construct.program.heads import A, B, Entries
from construct.program.layout import ONE

Series = Chebyshev
Contents = Mapping[str, tuple[Series, Series]]  # holder -> what its registers (a, b) hold

POWERS_FORM: Entries = {(ONE, ONE): 1.0, (A, A): -1.0}
"""Stage *partition*, every token on itself: `relu(1 - a a) (-4 a, -2 b)` turns (z, 1) into (T3, T2)."""
POWERS_VALUE: Entries = {(A, A): -4.0, (B, B): -2.0}


@dataclass(frozen=True)
class AtomRule:
    """How one atom comes about.

    Attributes:
        index: its degree.
        holder, register: where it is kept.
        identity: what it is, from z, T2 and T3.
        form, value: of the rule of stage *basis* by which the holder hears `A`; empty for what is there before.
    """

    index: int
    holder: str
    register: str
    identity: Callable[[Series, Series, Series], Series]
    form: Entries = field(default_factory=dict)
    value: Entries = field(default_factory=dict)

    @cached_property
    def series(self) -> Float:
        """Chebyshev coefficients of what the rule makes."""
        return derived(self)

    @cached_property
    def scale(self) -> float:
        """kappa = 1/max|F| on [-1, 1], from the critical points, rounded down so that 1 + kappa F >= 0."""
        return float((1 - 1e-9) / np.abs(_extrema(self.series)).max())


ATOMS: tuple[AtomRule, ...] = (
    AtomRule(1, "B", A, lambda z, t2, t3: z),
    AtomRule(2, "A", B, lambda z, t2, t3: t2),
    AtomRule(3, "A", A, lambda z, t2, t3: t3),
    AtomRule(4, "C", B, lambda z, t2, t3: (1 - t2) * t2, {(ONE, ONE): 1.0, (ONE, B): -1.0}, {(B, B): 1.0}),
    AtomRule(5, "C", A, lambda z, t2, t3: (1 - t2) * t3, {(ONE, ONE): 1.0, (ONE, B): -1.0}, {(A, A): 1.0}),
    AtomRule(6, "T", A, lambda z, t2, t3: t3 + 2 * t3**2, {(A, A): 1.0}, {(A, ONE): 2.0}),
    AtomRule(7, "B", B, lambda z, t2, t3: (1 + z * t3) * t3, {(ONE, ONE): 1.0, (A, A): 1.0}, {(B, A): 1.0}),
    AtomRule(8, "T", B, lambda z, t2, t3: t2 + 4 * t3**2 * t2, {(A, A): 1.0}, {(B, B): 4.0}),
)
TWINS = ("A", "T")  # holders that lie side by side: one token group with an axis `twin`


def atom_rule(index: int) -> AtomRule:
    """The table's line for `F_index`."""
    return next(rule for rule in ATOMS if rule.index == index)


def highest_degree() -> int:
    """The highest degree of an atom: what two stages of cubic heads make of z."""
    return max(rule.index for rule in ATOMS)


def holders(indices: set[int]) -> tuple[str, ...]:
    """Holders that the atoms of these degrees need, in the order of the table's first mention, without the twins."""
    found = dict.fromkeys(rule.holder for rule in ATOMS if rule.index in indices)
    return tuple(holder for holder in found if holder not in TWINS)


def has_twin(indices: set[int]) -> bool:
    """Whether an atom of these degrees is kept in the twin of `A`."""
    return any(rule.holder == TWINS[1] for rule in ATOMS if rule.index in indices)


def holder_role(holder: str) -> str:
    """What a holder keeps, in words: `(F5, F4)`; 0 in a register that keeps no atom."""
    kept = {rule.register: f"F{rule.index}" for rule in ATOMS if rule.holder == holder}
    return f"({', '.join(kept.get(row, '0') for row in (A, B))})"


def basis_rules(indices: set[int]) -> list[tuple[str, Entries, Entries]]:
    """`(holder, form, value)` of stage *basis*: one rule makes all the atoms of a holder that have the same form."""
    merged: dict[str, tuple[Entries, dict[tuple[str, str], float | Float]]] = {}
    for rule in ATOMS:
        if not rule.form:
            continue
        form, value = merged.setdefault(rule.holder, (rule.form, {}))
        if dict(form) != dict(rule.form):
            raise AssertionError(f"F{rule.index}: one holder, one form; {rule.holder} has two")
        if rule.index in indices:
            value.update(rule.value)
    return [(holder, form, value) for holder, (form, value) in merged.items() if value]


@dataclass(frozen=True)
class Atom:
    """One univariate factor: `F_index` of a coordinate (knot None), perhaps squared, or `relu(z - knot)`."""

    coordinate: int
    index: int
    knot: float | None = None
    squared: bool = False

    def factor(self) -> Float:
        """Chebyshev coefficients of the factor of Psi that a polynomial atom makes."""
        phi = atom_scale(self.index) * atom_series(self.index)
        if self.squared:
            phi = chebyshev.chebmul(chebyshev.chebadd([1.0], phi), phi) / 2
        return np.asarray(chebyshev.chebadd([1.0], phi))


def atom_series(index: int) -> Float:
    """Chebyshev coefficients of F_index, derived from its rule."""
    return atom_rule(index).series


def atom_scale(index: int) -> float:
    """kappa of F_index, see `AtomRule.scale`."""
    return atom_rule(index).scale


def derived(rule: AtomRule) -> Float:
    """Chebyshev coefficients of what a rule makes.

    Raises:
        AssertionError: its score can be negative on [-1, 1], so that the ReLU would cut it.
    """
    contents = _before_basis()
    held = dict(zip((A, B), contents[rule.holder], strict=True))
    if any(i != rule.register for i, _ in rule.value):
        raise AssertionError(f"F{rule.index}: its rule writes another register than {rule.register}")
    if not rule.form:
        return _trimmed(held[rule.register])
    target = held | {ONE: Chebyshev([1.0])}
    source = dict(zip((A, B), contents["A"], strict=True)) | {ONE: Chebyshev([1.0])}
    score = _sum([float(g) * target[i] * source[j] for (i, j), g in rule.form.items()])
    if _extrema(_trimmed(score)).min() < -1e-12:
        raise AssertionError(f"F{rule.index}: its score is negative somewhere on [-1, 1]")
    added = [float(v) * score * source[j] for (i, j), v in rule.value.items() if i == rule.register]
    return _trimmed(_sum([held[rule.register], *added]))


def _extrema(series: Float) -> Float:
    """Values at the ends of [-1, 1] and at the critical points between."""
    roots = chebyshev.chebroots(chebyshev.chebder(series)) if series.size > 2 else np.zeros(0)
    real = roots.real[(np.abs(roots.imag) < 1e-9) & (np.abs(roots.real) <= 1)]
    return np.asarray(chebyshev.chebval(np.concatenate([[-1.0, 1.0], real]), series))


def _before_basis() -> Contents:
    """What the holders hold when stage *basis* reads: the self-gated head of stage *partition* applied to (z, 1)."""
    u = {A: Chebyshev([0.0, 1.0]), B: Chebyshev([1.0]), ONE: Chebyshev([1.0])}
    score = _sum([float(g) * u[i] * u[j] for (i, j), g in POWERS_FORM.items()])
    after = {
        row: u[row] + _sum([float(v) * score * u[j] for (i, j), v in POWERS_VALUE.items() if i == row])
        for row in (A, B)
    }
    nothing = Chebyshev([0.0])
    known = {"A": (after[A], after[B]), "T": (after[A], after[B]), "B": (u[A], nothing)}
    return known | {rule.holder: (nothing, nothing) for rule in ATOMS if rule.holder not in known}


def _sum(parts: list[Series]) -> Series:
    total = Chebyshev([0.0])
    for part in parts:
        total = total + part
    return total


def _trimmed(series: Series) -> Float:
    return np.asarray(chebyshev.chebtrim(series.coef))


def check_atoms() -> None:
    """Compare every atom's series, as its rule makes it, with its identity and its degree.

    Raises:
        AssertionError: naming the atom.
    """
    z, t2, t3 = (Chebyshev.basis(k) for k in (1, 2, 3))
    for rule in ATOMS:
        series, wanted = rule.series, _trimmed(rule.identity(z, t2, t3))
        if series.size - 1 != rule.index or not np.array_equal(series, wanted):
            raise AssertionError(f"F{rule.index}: its rule makes {series.tolist()}, its identity is {wanted.tolist()}")
    if [rule.index for rule in ATOMS] != list(range(1, len(ATOMS) + 1)):
        raise AssertionError("the atoms have degrees 1, 2, ... in order")


check_atoms()
