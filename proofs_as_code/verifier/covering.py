"""Which points a box of parameters has: periods and symmetries of a formula, proved by normal forms.

A component is brought into the form sum c u^p e^(i q u) times atoms, with Gaussian rational c, rational q and atoms for
what is none of that (a function of something, by the normal form of its argument). Two components with the same form
are the same function. With u_j replaced by s_j u_j + t_j pi, that shows periods and symmetries:

- u_i is periodic if the formula does not change for u_i + P pi;
- half a period is enough if the formula does not change for a map that exchanges the halves (u_i + P pi / 2; -u_i;
  P pi / 2 - u_i), while later parameters are shifted by half their period or reflected, within boxes that have it all.
  Later ones only: so the parameters can be moved into the box one by one, the first first.
"""

from __future__ import annotations

import math
from itertools import product
from typing import Any

from flint import arb, fmpq

from proofs_as_code.verifier.expressions import Steps

Key = tuple[tuple[Any, ...], tuple[int, ...], tuple[Any, ...]]  # frequencies, powers (the last one of pi), atoms
Form = dict[Key, tuple[fmpq, fmpq]]  # real and imaginary parts of the coefficients
Move = tuple[int, fmpq]  # u -> s u + t pi

MOST_TERMS, MOST_POWER = 400, 16
MOST_BITS, MOST_ATOMS, MOST_WORK = 1 << 12, 64, 1 << 20  # of a number; in one term; terms that are added, all in all
STAY: Move = (1, fmpq(0))


class Unknown(Exception):
    """Too long for a normal form: more terms, bits, atoms or work than the limits below."""


class Budget:
    """What all normal forms of one statement may cost, and their atoms: each is known by its number, so that none is
    written out within another."""

    def __init__(self) -> None:
        self.work, self.atoms = 0, dict[Any, int]()

    def spend(self, terms: int) -> None:
        self.work += terms
        if self.work > MOST_WORK:
            raise Unknown


def bounded(value: fmpq) -> fmpq:
    """A number of at most MOST_BITS bits: a sum or product of two such ones is never longer than twice that."""
    if value.height_bits() > MOST_BITS:
        raise Unknown
    return value


class Forms:
    """Normal forms of steps with the parameters moved; `met`: the frequencies of each parameter."""

    def __init__(self, moves: list[Move], budget: Budget) -> None:
        self.budget = budget
        self.moves, self.d = moves, len(moves)
        self.met: list[set[Any]] = [set() for _ in moves]
        self.none: Key = ((fmpq(0),) * (self.d + 1), (0,) * (self.d + 1), ())

    def of(self, steps: Steps) -> tuple[Any, ...]:
        """The form of the last step, as something to compare."""
        out: list[Form] = []
        for head, *rest in steps:
            self.budget.spend(1)
            if head == "const":
                out.append({self.none: (fmpq(*float(rest[0]).as_integer_ratio()), fmpq(0))} if rest[0] else {})
                if type(rest[0]) is int and rest[0]:
                    out[-1] = {self.none: (fmpq(rest[0]), fmpq(0))}
            elif head == "x":
                sign, shift = self.moves[rest[0]]
                moved = {self.power(rest[0]): (fmpq(sign), fmpq(0)), self.power(self.d): (shift, fmpq(0))}
                out.append({key: c for key, c in moved.items() if c[0] != 0})
            elif head == "add":
                out.append(self.add(out[rest[0]], out[rest[1]]))
            elif head == "mul":
                out.append(self.multiply(out[rest[0]], out[rest[1]]))
            elif head == "pow" and type(rest[1]) is int and 0 < rest[1] <= MOST_POWER:
                whole = out[rest[0]]
                for _ in range(rest[1] - 1):
                    whole = self.multiply(whole, out[rest[0]])
                out.append(whole)
            elif head in ("sin", "cos"):
                out.append(self.wave(head, out[rest[0]]))
            elif head == "div" and list(out[rest[1]]) == [self.none] and out[rest[1]][self.none][1] == 0:
                inverse = 1 / out[rest[1]][self.none][0]
                out.append({key: (bounded(a * inverse), bounded(b * inverse)) for key, (a, b) in out[rest[0]].items()})
            else:
                inner = [comparable(out[place]) for place in (rest[:1] if head == "pow" else rest)]
                if head == "abs":  # |-a| = |a|
                    negative = {key: (-re, -im) for key, (re, im) in out[rest[0]].items()}
                    inner = [min(inner[0], comparable(negative))]
                out.append(self.atom(head, *inner, *(map(repr, rest[1:]) if head == "pow" else ())))
            if len(out[-1]) > MOST_TERMS:
                raise Unknown
        return comparable(out[-1])

    def power(self, place: int) -> Key:
        return self.none[0], tuple(int(i == place) for i in range(self.d + 1)), ()

    def add(self, a: Form, b: Form) -> Form:
        self.budget.spend(len(a) + len(b))
        out = dict(a)
        for key, (re, im) in b.items():
            old = out.get(key, (fmpq(0), fmpq(0)))
            out[key] = bounded(old[0] + re), bounded(old[1] + im)
        return {key: c for key, c in out.items() if c[0] != 0 or c[1] != 0}

    def multiply(self, a: Form, b: Form) -> Form:
        out: Form = {}
        if len(a) * len(b) > MOST_TERMS * 10:
            raise Unknown
        self.budget.spend(len(a) * len(b))
        for (q, p, atoms), (re, im) in a.items():
            for (r, s, others), (x, y) in b.items():
                if len(atoms) + len(others) > MOST_ATOMS:
                    raise Unknown
                frequencies = [bounded(u + v) for u, v in zip(q, r, strict=True)]
                c = bounded(re * x - im * y), bounded(re * y + im * x)
                turn = frequencies[-1] * 2  # e^(i pi / 2) is i
                whole = int(turn.p // turn.q)
                frequencies[-1] = (turn - whole) / 2
                for _ in range(whole % 4):
                    c = -c[1], c[0]
                powers = tuple(u + v for u, v in zip(p, s, strict=True))
                if any(power.bit_length() > MOST_BITS for power in powers):
                    raise Unknown
                key = tuple(frequencies), powers, tuple(sorted((*atoms, *others)))
                out = self.add(out, {key: c})
        return out

    def wave(self, head: str, argument: Form) -> Form:
        """sin or cos of an argument that is linear in the parameters and pi; otherwise an atom."""
        frequencies, offset = [fmpq(0)] * (self.d + 1), fmpq(0)
        for (inner, powers, atoms), (re, im) in argument.items():
            if any(inner) or atoms or im != 0 or sum(powers) > 1:
                return self.atom(head, comparable(argument))
            if sum(powers):
                frequencies[powers.index(1)] = re
            else:
                offset = re
        for met, q in zip(self.met, frequencies, strict=False):
            met |= {(int(q.p), int(q.q))} if q != 0 else set()
        out: Form = {}
        for sign in (1, -1):  # cos = (e^i. + e^-i.) / 2, sin = -i (e^i. - e^-i.) / 2
            factor = (fmpq(1, 2), fmpq(0)) if head == "cos" else (fmpq(0), fmpq(-sign, 2))
            turned: Form = {(tuple(sign * q for q in frequencies), self.none[1], ()): factor}
            turn: Form = {self.none: (fmpq(1), fmpq(0))}
            if offset != 0:  # e^(i offset) with its real and imaginary parts as atoms
                real, imaginary = (next(iter(self.atom(part, str(offset)))) for part in ("cos", "sin"))
                turn = {real: (fmpq(1), fmpq(0)), imaginary: (fmpq(0), fmpq(sign))}
            out = self.add(out, self.multiply(turned, turn))
        return out

    def atom(self, *what: Any) -> Form:
        number = self.budget.atoms.setdefault(what, len(self.budget.atoms))
        return {(self.none[0], self.none[1], (number,)): (fmpq(1), fmpq(0))}


def comparable(form: Form) -> tuple[Any, ...]:
    return tuple(sorted(((*map(str, q), "|", *p, "|", *a), str(re), str(im)) for (q, p, a), (re, im) in form.items()))


def forms(formula: list[Steps], moves: list[Move], budget: Budget) -> list[tuple[Any, ...]]:
    maker = Forms(moves, budget)
    return [maker.of(steps) for steps in formula]


def periods_of(formula: list[Steps], d: int, budget: Budget) -> list[fmpq | None]:
    """The period of each parameter in units of pi, from the frequencies that occur; None where there is none."""
    maker, out = Forms([STAY] * d, budget), list[fmpq | None]()
    whole = [maker.of(steps) for steps in formula]
    for i, met in enumerate(maker.met):
        if not met:
            out.append(None)
            continue
        denominator = 1
        for _, q in met:
            denominator = math.lcm(denominator, q)
            if denominator.bit_length() > MOST_BITS:
                raise Unknown
        common = math.gcd(*(p * (denominator // q) for p, q in met))
        periods = [fmpq(2 * denominator, common * part) for part in (1, 2, 3, 4, 6, 8)]  # squares have half of them
        shifts = [[(1, p) if j == i else STAY for j in range(d)] for p in periods]
        kept = [p for p, moves in zip(periods, shifts, strict=True) if forms(formula, moves, budget) == whole]
        out.append(min(kept, default=None))
    return out


def coverings(formula: list[Steps], lower: list[float], upper: list[float]) -> list[tuple[bool, str]]:
    """For each parameter: whether its part of the box has the points for all real values, and why, in words."""
    try:
        return proved_coverings(formula, lower, upper, Budget())
    except Unknown:
        return [(False, "an interval of a formula whose periods are not known")] * len(lower)


def proved_coverings(
    formula: list[Steps], lower: list[float], upper: list[float], budget: Budget
) -> list[tuple[bool, str]]:
    """The same; raises Unknown."""
    d, out = len(lower), list[tuple[bool, str]]()
    periods, whole = periods_of(formula, d, budget), forms(formula, [STAY] * d, budget)
    closed = [False] * d
    for i in reversed(range(d)):
        period = periods[i]
        if period is None:
            out.append((False, "an interval"))
            continue
        length, width = arb(period) * arb.pi(), arb(upper[i]) - arb(lower[i])
        if width >= length:
            closed[i] = True
            out.append((True, f"a full period, {period} pi"))
        elif any(forms(formula, moves, budget) == whole for moves in symmetries(i, periods, closed, lower, upper)):
            closed[i] = True
            out.append((True, f"half of the period {period} pi, of which the other half has the same points"))
        else:
            out.append((False, f"{float(width / length):.4g} of the period {period} pi"))
    return out[::-1]


def symmetries(
    i: int, periods: list[fmpq | None], closed: list[bool], lower: list[float], upper: list[float]
) -> list[list[Move]]:
    """Maps that exchange the halves of parameter i and keep the box of the others."""
    period = periods[i]
    assert period is not None
    pi, halves = arb.pi(), list[Move]()
    half, quarter, low, high = arb(period) * pi / 2, arb(period) * pi / 4, arb(lower[i]), arb(upper[i])
    if high - low >= half:
        halves.append((1, period / 2))
    if (low <= 0 and high >= half) or (low <= -half and high >= 0):
        halves.append((-1, fmpq(0)))
    if (low <= -quarter and high >= quarter) or (low <= quarter and high >= 3 * quarter):
        halves.append((-1, period / 2))
    others = []
    for j in range(i + 1, len(periods)):
        later = periods[j]
        if closed[j] and later is not None:
            others.append([(s, t) for s in (1, -1) for t in (fmpq(0), later / 2)])
        else:
            others.append([STAY, (-1, fmpq(0))] if lower[j] == -upper[j] else [STAY])
    return [[STAY] * i + [own, *rest] for own in halves for rest in product(*others)]
