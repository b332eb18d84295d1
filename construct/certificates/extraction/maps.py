"""Maps of a register by a head that only the token itself hears: `T3(a) = 4 a^3 - 3 a`, `T2(a) = 2 a^2 - 1`.

Each gets a name, so that the next one multiplies one quantity and no polynomial of high degree: |T3| and |T2| are at
most 1 where |a| is.
"""

from __future__ import annotations

import numpy as np
from flint import arb, fmpq

from construct.certificates.polynomials import Polynomial, Quantities, Quantity
from construct.certificates.weights import BlockWeights, NetworkWeights

NAMED = ("linear", "clip", "map")  # what a chain of maps starts from, and goes on with
CHEBYSHEV = {3: {3: fmpq(4), 1: fmpq(-3)}, 2: {2: fmpq(2), 0: fmpq(-1)}}  # coefficient by power, by degree


def map_rows(block: BlockWeights) -> dict[int, int]:
    """The heads whose weights are those of T3 or T2 of a register, and its row.

    T3: the value is -4 times the register a, the score has the term -a_t a_s. T2: the value is -2 a less the entry of
    one other row, the ones, and the score has the term -a_t times that.
    """
    found = {}
    for head in np.flatnonzero(np.isin(block.value.diagonal(axis1=1, axis2=2), (-4.0, -2.0)).any(axis=1)).tolist():
        query, key, entries = block.query[head], block.key[head], np.argwhere(block.value[head])
        row = int(entries[0, 0])
        others = [int(column) for _, column in entries if column != row]
        same_row = bool((entries[:, 0] == row).all()) and len(entries) - len(others) == 1
        slope, factor = block.value[head, row, row], others[0] if others else row
        cubic, quadratic = slope == -4 and not others, slope == -2 and block.value[head, row, others].tolist() == [-1]
        if same_row and (cubic or quadratic) and query[:, row] @ key[:, factor] == -1:
            found[head] = row
    return found


def has_maps(weights: NetworkWeights) -> bool:
    """Whether some head is a map of a register, as in a ridge network."""
    return any(map_rows(block) for block in weights.blocks)


def named_in_unit(names: Quantities, polynomial: Polynomial) -> int | None:
    """The quantity that a register is, if it is one in [-1, 1] with a name."""
    ((m, c),) = polynomial.terms.items() if len(polynomial.terms) == 1 else [((), fmpq(0))]
    if len(m) != 1 or c != 1:
        return None
    quantity = names.table[m[0]]
    return m[0] if quantity.kind in NAMED and quantity.low >= -1 and quantity.high <= 1 else None


def chebyshev_degree(polynomial: Polynomial, quantity: int) -> int | None:
    """3 or 2 for T3 or T2 of this quantity, None for anything else."""
    degree = max(map(len, polynomial.terms), default=0)
    wanted = {(quantity,) * power: c for power, c in CHEBYSHEV.get(degree, {}).items()}
    return degree if wanted and polynomial.terms == wanted else None


def chebyshev_map(names: Quantities, quantity: int, degree: int) -> int:
    """T3 or T2 of a quantity in [-1, 1], as a quantity."""
    definition = Polynomial({(quantity,) * power: c for power, c in CHEBYSHEV[degree].items()})
    return names.shared(Quantity("map", arb(-1), arb(1), (definition,)))


def is_affine(names: Quantities, polynomial: Polynomial) -> bool:
    """Whether a register is an affine form of the input other than an input itself."""
    if polynomial.degree != 1 or (len(polynomial.terms) == 1 and min(polynomial.terms.values()) == 1):
        return False
    return names.kinds(polynomial) <= {"input", "linear"}
