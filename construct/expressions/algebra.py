"""What a number type has to offer so that an expression can be evaluated in it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Generic, TypeVar

T = TypeVar("T")


class Algebra(ABC, Generic[T]):
    """The operations that `Expression.fold` calls, once for every distinct subexpression, operands first.

    T is the number type: tensors, balls, jets, text, expressions themselves.
    """

    @abstractmethod
    def constant(self, value: int | float) -> T:
        """A finite constant; an int may have more than 53 bits."""

    @abstractmethod
    def variable(self, index: int) -> T:
        """The variable x_index, index >= 0."""

    @abstractmethod
    def add(self, a: T, b: T) -> T:
        """a + b."""

    @abstractmethod
    def multiply(self, a: T, b: T) -> T:
        """a b; a square arrives as the same object twice."""

    @abstractmethod
    def divide(self, a: T, b: T) -> T:
        """a / b."""

    @abstractmethod
    def power(self, a: T, exponent: int | float) -> T:
        """a^exponent: exponent an int of either sign, or a float that is no integer, for a >= 0 only."""

    @abstractmethod
    def exp(self, a: T) -> T:
        """e^a."""

    @abstractmethod
    def sin(self, a: T) -> T:
        """sin a."""

    @abstractmethod
    def cos(self, a: T) -> T:
        """cos a."""

    @abstractmethod
    def sqrt(self, a: T) -> T:
        """The root of a number >= 0."""

    @abstractmethod
    def tanh(self, a: T) -> T:
        """tanh a."""

    @abstractmethod
    def abs(self, a: T) -> T:
        """|a|."""

    def nonnegative(self, a: T) -> T:
        """a itself, which is known to be >= 0 from the structure of its expression.

        Called on the argument of `sqrt` and of a non-integer `power`. A type of enclosures may drop the negative
        numbers that rounding has added; for all others there is nothing to do.
        """
        return a
