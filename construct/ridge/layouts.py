"""The two layouts of a ridge approximator on one chart, by its directions: free width for a lattice, 5 for waves."""

from __future__ import annotations

from construct.program.compile import Program
from construct.ridge.approximator import RidgeApproximator
from construct.ridge.coordinates import Coordinates
from construct.ridge.directions import Directions
from construct.ridge.narrow import narrow_dense, narrow_numbers, narrow_overhead, narrow_program
from construct.ridge.program import free_dense, free_least, free_numbers, free_program
from construct.ridge.waves import Waves


def ridge_program(approximator: RidgeApproximator) -> Program:
    """The program that computes a ridge approximator: of width 5 for waves, else of k + 4."""
    return (narrow_program if isinstance(approximator.basis.family, Waves) else free_program)(approximator)


def needed_numbers(approximator: RidgeApproximator) -> int:
    """Stored numbers of `ridge_program(approximator)`, without making it."""
    return (narrow_numbers if isinstance(approximator.basis.family, Waves) else free_numbers)(approximator)


def least_numbers(coordinates: Coordinates, family: Directions, degree: int, *, shifted: bool = True) -> int:
    """Stored numbers of a network besides its coefficients, at least."""
    if isinstance(family, Waves):
        return narrow_overhead(family, degree, shifted=shifted)
    return free_least(coordinates, family, degree, shifted=shifted)


def dense_parameters(approximator: RidgeApproximator) -> int:
    """Dense parameters of `ridge_program(approximator)`, without making it."""
    return (narrow_dense if isinstance(approximator.basis.family, Waves) else free_dense)(approximator)
