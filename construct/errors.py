"""Exceptions of the library.

Every message names the argument, what was expected and what was given.
"""

from __future__ import annotations


class ConstructError(Exception):
    """Base class of every error that this library raises on purpose."""


class InputError(ConstructError, ValueError):
    """An argument has the wrong shape, type, range or a non-finite entry."""


class OutsideWarning(UserWarning):
    """Points outside the box of a network were evaluated; nothing is said of its values there."""


class OffManifoldError(InputError):
    """A point that has to lie on the manifold does not."""


class PrecisionError(ConstructError, ArithmeticError):
    """Floating point of the requested dtype cannot hold the construction."""


class EpsilonNotReached(ConstructError, RuntimeError):
    """The requested accuracy cannot be met; `best` is the smallest sup error that was reached.

    `best` is `inf` when no candidate could be evaluated at all.
    """

    def __init__(self, message: str, best: float) -> None:
        super().__init__(message)
        self.best = best


class BudgetExceeded(EpsilonNotReached):
    """The accuracy needs more parameters than `max_parameters` allows."""
