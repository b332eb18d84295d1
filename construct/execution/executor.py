"""Executors: ways to evaluate the same weights, by name.

An executor sees the formula's module and the admissible box, nothing of who built them. It may keep what it derived
from the weights, as long as it notices when they change. A new one subclasses `Executor`, sets `name`, and is imported
by `construct.execution`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor

from construct.transformer.module import Transformer
from construct.transformer.weights import BlockBounds
from construct.validation import one_of

EXECUTORS: dict[str, type[Executor]] = {}


class Executor(ABC):
    """One way to evaluate a transformer on points (P, D)."""

    name: ClassVar[str]

    def __init_subclass__(cls) -> None:
        EXECUTORS[cls.name] = cls

    @abstractmethod
    def forward(self, net: Transformer, box: Tensor, x: Tensor) -> Tensor:
        """Values (P,) at x (P, D), inside the box (2, D) or not."""

    @abstractmethod
    def states(self, net: Transformer, box: Tensor, x: Tensor) -> list[Tensor]:
        """Hidden states (P, l, w) before the first block and after each, at x (P, D)."""

    @abstractmethod
    def multiply_adds(self, net: Transformer, box: Tensor) -> int:
        """Multiplications (with the addition that may follow) that one point inside the box takes."""

    def adopt(self, net: Transformer, box: Tensor, bounds: tuple[BlockBounds, ...]) -> None:
        """Take over bounds that were propagated through exactly these weights, where they are of use."""
        return


def executor(name: str) -> Executor:
    """A new executor called `name`.

    Raises:
        InputError: there is none of that name.
    """
    return EXECUTORS[one_of(name, "execution", EXECUTORS)]()
