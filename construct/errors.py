"""Exceptions of the library.

Every message names the argument, what was expected and what was given.
"""

from __future__ import annotations

import math
from typing import Any


class ConstructError(Exception):
    """Base class of every error that this library raises on purpose."""


class InputError(ConstructError, ValueError):
    """An argument has the wrong shape, type, range or a non-finite entry.

    Of a target: at a point where it was evaluated. Regions of NaN below the resolution of a claim are not seen.
    """


class OutsideWarning(UserWarning):
    """Points outside the box of a network were evaluated; nothing is said of its values there."""


class OffManifoldError(InputError):
    """A point that has to lie on the manifold does not."""


class PrecisionError(ConstructError, ArithmeticError):
    """Floating point of the requested dtype cannot hold the construction."""


class DeadlinePassed(ConstructError):
    """The time of a watch is up: `expected` says what would take how much more.

    Whoever set the deadline turns this into an error that says what was reached.
    """

    def __init__(self, expected: str, watch: Any) -> None:
        super().__init__(f"timeout: expected {expected}, got {watch.timeout:g} s")
        self.expected, self.watch = expected, watch


class EpsilonNotReached(ConstructError, RuntimeError):
    """The requested accuracy cannot be met.

    Attributes:
        best: the smallest sup error that was reached, `inf` when none was measured: then the message says so.
        plan: what reached it (`construct.history.BestPlan`: sizes, error, how the error is known, approximator), or
            None. `construct.network_of(plan.approximator)` is its network.
    """

    def __init__(self, message: str, best: float = math.inf, plan: Any = None) -> None:
        super().__init__(message)
        self.best, self.plan = best, plan

    def __reduce__(self) -> tuple[type[EpsilonNotReached], tuple[str, float, Any]]:
        return type(self), (str(self), self.best, self.plan)


class BudgetExceeded(EpsilonNotReached):
    """The accuracy needs more parameters than `max_parameters` allows."""


class TimeoutReached(EpsilonNotReached):
    """The accuracy needs more time than `timeout` allows."""


class PlanningInterrupted(KeyboardInterrupt):
    """Ctrl-C in the middle of planning; `best` and `plan` as in `EpsilonNotReached`.

    A `KeyboardInterrupt` and no `ConstructError`: what catches errors must not swallow it.
    """

    def __init__(self, message: str, best: float = math.inf, plan: Any = None) -> None:
        super().__init__(message)
        self.best, self.plan = best, plan

    def __reduce__(self) -> tuple[type[PlanningInterrupted], tuple[str, float, Any]]:
        return type(self), (str(self), self.best, self.plan)
