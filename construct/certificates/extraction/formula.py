"""The result: the output of a network as a sum of partition weights times polynomials."""

from __future__ import annotations

from dataclasses import dataclass

from flint import arb, fmpq

from construct.certificates.extraction.arithmetic import Register
from construct.certificates.extraction.maps import NAMED
from construct.certificates.polynomials import Monomial, Polynomial, Quantities
from construct.errors import InputError
from construct.validation import invalid


@dataclass(frozen=True)
class NetworkFormula:
    """`T = rest + sum_n rho_n terms[n]` in the quantities of `quantities`; `error` bounds |computed - T|.

    weights: numbers of the partition weights rho_n, in the order of their tokens; none in a ridge network, whose rest
    is a sum of functions of one linear form each, nor in a lattice network, where windows multiply them, nor where the
    output is the same for all inputs.
    """

    quantities: Quantities
    weights: tuple[int, ...]
    terms: tuple[Polynomial, ...]
    rest: Polynomial
    error: arb

    @property
    def windowed(self) -> bool:
        """Whether some of it is multiplied by windows."""
        return any(parted(self.quantities, term)[0] is not None for term in self.rest.terms)


def parted(names: Quantities, term: Monomial) -> tuple[int | None, Monomial]:
    """The window of a term, or the input that multiplies something else (a window that is affine for all inputs is no
    quantity), and what is left."""
    windows = [i for i in term if names.table[i].kind == "window"]
    inputs = [i for i in term if names.table[i].kind == "input"]
    if not windows and len(inputs) < len(term):
        windows = inputs
    if not windows:
        return None, term
    place = term.index(windows[0])
    return windows[0], term[:place] + term[place + 1 :]


def formula_of(names: Quantities, out: Register) -> NetworkFormula:
    """The output register as a formula.

    Raises:
        InputError: it is not linear in partition weights, depends on something of which only the range is known, or
            there are no partition weights and it is no sum of ridge functions either.
    """
    constant = out.polynomial.is_constant
    weights = () if constant else tuple(i for i, q in enumerate(names.table) if q.kind == "rho")
    grouped: dict[int, dict[Monomial, fmpq]] = {i: {} for i in weights}
    rest: dict[Monomial, fmpq] = {}
    for m, c in out.polynomial.terms.items():
        present = [i for i in m if i in grouped]
        if not present:
            rest[m] = c
        elif len(present) == 1:
            place = m.index(present[0])
            grouped[present[0]][m[:place] + m[place + 1 :]] = c
        else:
            raise _unexpected("an output with a product of two partition weights")
    if "free" in names.kinds_below(out.polynomial):
        raise _unexpected("an output that depends on ReLUs whose signs the ranges of the registers leave open")
    if not weights and not _is_ridge(names, out.polynomial):
        raise _unexpected("an output without partition weights")
    return NetworkFormula(names, weights, tuple(Polynomial(grouped[i]) for i in weights), Polynomial(rest), out.error)


def _is_ridge(names: Quantities, polynomial: Polynomial) -> bool:
    """Whether every term is a power of one clipped or named form, or of a map of one, or an input times a number; one
    window may multiply it."""
    for term in polynomial.terms:
        _, m = parted(names, term)
        kinds = {names.table[i].kind for i in m}
        if len(set(m)) > 1 or not (kinds <= set(NAMED) or (kinds == {"input"} and len(m) == 1)):
            return False
    return True


def _unexpected(found: str) -> InputError:
    expected = (
        "a compact network, a telescoping partition of unity times polynomials of the chart coordinates, or a ridge or "
        "lattice network"
    )
    return invalid("net", expected, got=found)
