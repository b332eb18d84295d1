"""ReLUs of polynomials: resolved where the range decides the sign, otherwise quantities of their own."""

from __future__ import annotations

from flint import arb, fmpq

from construct.certificates.extraction.arithmetic import ZERO
from construct.certificates.polynomials import Monomial, Polynomial, Quantities, Quantity

NEARLY = 2.0**-20  # a score negative by at most this share of its size counts as positive, at the price of an error
EXACTLY = 2.0**-60  # where gates are exact, what the rounding of bounds may be


def doubt(low: arb, high: arb, share: float = NEARLY) -> arb | None:
    """How far relu(y) may be from y for y in [low, high], where y counts as positive, since no more than this share of
    its size is below 0; None where its sign is open."""
    if low >= 0:
        return ZERO
    return (-low).upper() if -low <= abs(low).max(high) * share else None


def relu_quantity(names: Quantities, argument: Polynomial) -> Polynomial:
    """relu of a polynomial of unknown sign as a quantity; non-negative common factors and the scale in front."""
    front = Polynomial.constant(fmpq(1))
    for i in names.common_factors(argument):
        argument = argument.without(i)
        front = front * Polynomial.of(i)
    scale = abs(argument.terms[min(argument.terms)])
    normal = argument * (1 / scale)
    _, high = names.range(normal)
    name = names.shared(Quantity("relu", ZERO, high.max(ZERO).upper(), (normal,)))
    return front * Polynomial.of(name) * scale


def flattened(names: Quantities, polynomial: Polynomial) -> Polynomial:
    """`relu(relu(y) + rest) = relu(y + rest)` where rest <= 0: y + rest in place of relu(y) + rest."""
    for m, c in polynomial.terms.items():
        if is_relu(names, m) and c > 0:
            rest = polynomial - Polynomial({m: c})
            if rest and names.range(rest)[1] <= 0:
                return names.table[m[0]].definition[0] * c + rest
    return polynomial


def is_relu(names: Quantities, monomial: Monomial) -> bool:
    """Whether a monomial is one ReLU and nothing else."""
    return len(monomial) == 1 and names.table[monomial[0]].kind == "relu"
