"""Executors: ways to evaluate the same weights, by name.

An executor is made for a formula's module and its admissible box, and sees nothing of who built them. It keeps what it
derives from the weights, so they must not change while it lives: `construct.Network` makes executors for weights that
nobody else can reach, and new ones when they have changed. A new way subclasses `Executor`, sets `name`, and is
imported by `construct.execution`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from construct.transformer.module import Transformer
from construct.transformer.weights import BlockBounds
from construct.validation import one_of

EXECUTORS: dict[str, type[Executor]] = {}


class Executor(ABC):
    """One way to evaluate a transformer on points (P, D).

    Args:
        net: the formula; its weights must not change while the executor lives.
        box: of the admissible inputs.
        bounds: what was propagated through exactly these weights for this box, where somebody has done so.
    """

    name: ClassVar[str]

    def __init_subclass__(cls) -> None:
        EXECUTORS[cls.name] = cls

    def __init__(self, net: Transformer, box: Tensor, bounds: Sequence[BlockBounds] | None = None) -> None:
        self.net, self.box, self.bounds = net, box, bounds

    @abstractmethod
    def forward(self, x: Tensor, live: Transformer | None = None) -> Tensor:
        """Values (P,) at x (P, D), inside the box or not.

        live: a module of the same weights, whose parameters a gradient is wanted in.
        """

    @abstractmethod
    def states(self, x: Tensor, live: Transformer | None = None) -> list[Tensor]:
        """Hidden states (P, l, w) before the first block and after each, at x (P, D)."""

    @abstractmethod
    def multiply_adds(self) -> int:
        """Multiplications (with the addition that may follow) that one point inside the box takes."""


def executor(name: str, net: Transformer, box: Tensor, bounds: Sequence[BlockBounds] | None = None) -> Executor:
    """The executor called `name` of weights that will not change.

    Raises:
        InputError: there is none of that name.
    """
    return EXECUTORS[one_of(name, "execution", EXECUTORS)](net, box, bounds)
