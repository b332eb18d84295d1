"""What a feed-forward network made of a register: a clipped value, a window, a partition weight, or neither."""

from __future__ import annotations

from flint import arb, fmpq

from construct.certificates.extraction.arithmetic import ZERO, Arithmetic, Register
from construct.certificates.extraction.relus import EXACTLY, NEARLY, is_relu
from construct.certificates.polynomials import Monomial, Polynomial, Quantity

ROUNDED = 2.0**-20
MOST_RELUS = 256  # inside a window


class Recognition:
    """Names for clips, windows and partition weights, and the slopes of the cut-offs that were met so far."""

    def __init__(self, arithmetic: Arithmetic) -> None:
        self.arithmetic, self.names = arithmetic, arithmetic.names
        self.slopes: dict[Monomial, fmpq] = {}

    def named(self, after: Register, before: Register) -> Register | None:
        """A register without ReLUs as it is, a clip, window or partition weight by its name; None for anything else."""
        table = self.names.table
        if not any(table[i].kind == "relu" for m in after.polynomial.terms for i in m):
            return after
        quantity = self._as_clip(after.polynomial, before.polynomial)
        if quantity is None and self.arithmetic.sharp:
            quantity = self._as_window(after.polynomial)
        quantity = quantity or self._as_weight(after.polynomial)
        if quantity is None:
            return None
        error = after.error
        if quantity.kind == "clip" and self.arithmetic.sharp:
            quantity, more = _to_unit(quantity)
            error += more
        if quantity.kind == "rho" and self.arithmetic.negligible:
            quantity, more = self._telescoping(quantity)
            error += more
        return Register(Polynomial.of(self.names.shared(quantity)), error)

    def _telescoping(self, weight: Quantity) -> tuple[Quantity, arb]:
        """A weight whose slopes are those of the others, and what that changes.

        With inexact gates the same cut-off arrives with slopes that differ in their last digits, and 1 is 1 up to a
        trace; relu has Lipschitz constant 1.
        """
        sides, change = [], ZERO
        for side in weight.definition:
            terms = dict(side.terms)
            for m, c in side.terms.items():
                known = fmpq(1) if not m else self.slopes.setdefault(m, c)
                if c != known and abs(float(arb(c / known)) - 1) < NEARLY:
                    terms[m] = known
            polynomial = Polynomial(terms)
            change += self.arithmetic.size(side - polynomial)
            sides.append(polynomial)
        if not self.names.range(sides[0] - sides[1])[0] >= 0:
            return weight, ZERO
        high = (weight.high + change).upper()
        return Quantity("rho", ZERO, high, (sides[0], sides[1])), change

    def _as_clip(self, after: Polynomial, before: Polynomial) -> Quantity | None:
        """`q + relu(-limit - q) - relu(q - limit)`, or one side of it where the range of q needs no more; q is the
        register before, or that and a constant."""
        sides = dict((after - before).terms)
        before = before + Polynomial.constant(sides.pop((), fmpq(0)))
        low, high = self.names.range(before)
        if sum(c > 0 for c in sides.values()) > 1 or sum(c < 0 for c in sides.values()) > 1:
            return None
        for m, c in sides.items():
            if not is_relu(self.names, m):
                return None
            argument = self.names.table[m[0]].definition[0] * abs(c)
            limit = argument - before if c < 0 else argument + before
            if not limit.is_constant or not limit.value() < 0:
                return None
            bound = -arb(limit.value())
            if c < 0:
                high = high.min(bound)
            else:
                low = low.max(-bound)
        return Quantity("clip", low, high, (before,))

    def _as_window(self, polynomial: Polynomial) -> Quantity | None:
        """A piecewise affine function of the input in [0, 1], made of ReLUs of affine functions and of such ReLUs.

        Which one it is, a hat or another, is for those who bound it to say.
        """
        low, high = self.names.range(polynomial)
        if not (low >= -EXACTLY and high - 1 <= EXACTLY):  # what is beyond is the rounding of bounds
            return None
        seen, work = set[int](), [polynomial]
        while work:
            part = work.pop()
            if part.degree > 1 or not self.names.kinds(part) <= {"relu", "input", "linear"}:
                return None
            inner = {i for i in part.quantities() if self.names.table[i].kind == "relu"} - seen
            seen |= inner
            if len(seen) > MOST_RELUS:
                return None
            work += [self.names.table[i].definition[0] for i in inner]
        return Quantity("window", low, high, (polynomial,))

    def _as_weight(self, polynomial: Polynomial) -> Quantity | None:
        """`relu(y) - relu(y')` with y >= y' (or relu(y) = y >= 0)."""
        positive = Polynomial({m: c for m, c in polynomial.terms.items() if not is_relu(self.names, m) or c > 0})
        negative = polynomial - positive
        if len(negative.terms) != 1:
            return None
        ((m, c),) = negative.terms.items()
        lower = self.names.table[m[0]].definition[0] * -c
        upper = positive
        if len(positive.terms) == 1:
            ((n, e),) = positive.terms.items()
            if is_relu(self.names, n):
                upper = self.names.table[n[0]].definition[0] * e
        if upper is positive and not self.names.range(positive)[0] >= 0:
            return None
        if not self.names.range(upper - lower)[0] >= 0:
            return None
        top = self.names.range(upper)[1].min(self.names.range(upper - lower)[1]).max(ZERO)
        return Quantity("rho", ZERO, top.upper(), (upper, lower))


def _to_unit(clip: Quantity) -> tuple[Quantity, arb]:
    """A clip to [-1, 1] where its ends are those up to the rounding of a weight, and what that changes."""
    low, high = clip.low.max(arb(-1)), clip.high.min(arb(1))
    change = (low - clip.low).max(clip.high - high).upper()
    if not 0 < change <= ROUNDED:
        return clip, ZERO
    return Quantity("clip", low, high, clip.definition), change
