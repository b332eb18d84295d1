"""How the time of a training is spent, and what comes out."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from construct.baselines.trained.budget import Record
from construct.baselines.trained.models import Model
from construct.errors import ConstructError
from construct.validation import invalid, positive_integer, positive_real, real

CHUNK = 512  # points evaluated at once: arrays of more than a few 100 kB cost several times as much a point


class TrainingDiverged(ConstructError, RuntimeError):
    """No run of the sweep ended with finite values."""


@dataclass(frozen=True)
class Protocol:
    """How the time is spent; every share is a fraction of the whole.

    Attributes:
        learning_rates, seeds: the sweep tries each of the rates with each of so many initial weights.
        sweep, adam: shares of the phases 1 and 2 before L-BFGS.
        adam_newton: share of phase 2 before Gauss-Newton, which gains far more in the same time.
        squares: of what is left, the share of phase 3; phase 4 has the rest.
        batch: points of an Adam step.
        history: pairs of vectors that L-BFGS keeps.
        newton: most trainable numbers for Gauss-Newton.
        points: samples of the phases 3 and 4 for each trainable number (at least `FEWEST`, at most all).
        looks: looks at the validation set in each of the phases 2 to 4.
    """

    learning_rates: tuple[float, ...] = (3e-4, 1e-3, 3e-3, 1e-2)
    seeds: int = 2
    sweep: float = 0.15
    adam: float = 0.65
    adam_newton: float = 0.2
    squares: float = 0.65
    batch: int = 256
    history: int = 100
    newton: int = 1500
    points: int = 4
    looks: int = 12

    def __post_init__(self) -> None:
        if not self.learning_rates:
            raise invalid("learning_rates", "at least one", got="none")
        for rate in self.learning_rates:
            positive_real(rate, "learning_rates")
        for name in ("seeds", "batch", "history", "newton", "points", "looks"):
            positive_integer(getattr(self, name), name)
        sweep, adam, adam_newton, squares = (
            real(getattr(self, name), name) for name in ("sweep", "adam", "adam_newton", "squares")
        )
        if not (sweep > 0 and min(adam, adam_newton) >= 0 and sweep + max(adam, adam_newton) <= 1):
            raise invalid("sweep", "shares of sum at most 1", got=f"{sweep}, adam {adam}, {adam_newton}")
        if not 0 <= squares <= 1:
            raise invalid("squares", "a share in [0, 1]", squares)


class Scaled(nn.Module):
    """`mean + scale * model(x)`, evaluated in chunks: the network in the units of the target, (P, D) -> (P,)."""

    mean: Tensor
    scale: Tensor

    def __init__(self, model: Model, mean: float, scale: float) -> None:
        super().__init__()
        self.model = model
        for name, value in (("mean", mean), ("scale", scale)):
            self.register_buffer(name, torch.tensor(value, dtype=torch.float64, device=next(model.parameters()).device))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.mean + self.scale * self.model(part) for part in x.split(CHUNK)])


@dataclass(frozen=True, eq=False)
class Training:
    """A trained network with its story. `network` maps (P, D) to (P,) in the units of the target.

    `sup` and `rms` are on the validation points, `phase` is the one whose weights were best.
    """

    network: Scaled
    history: tuple[Record, ...]
    learning_rate: float
    seed: int
    phase: str
    rms: float
    sup: float
    seconds: float
    steps: int

    def __call__(self, x: Tensor) -> Tensor:
        return self.network(x)
