"""Limits of wall-clock and of steps, and what a training run records of itself."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

from construct.validation import invalid, positive_integer, positive_real


@dataclass(frozen=True)
class Record:
    """A look at the validation set: `step` gradients and `seconds` after the start; errors in units of the target.

    `sup` and `rms` are of the network as it was then, not of the best so far.
    """

    phase: str
    step: int
    seconds: float
    rms: float
    sup: float


@dataclass
class Meter:
    """Time and gradients since the start of a run."""

    start: float = field(default_factory=time.perf_counter)
    steps: int = 0

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.start


@dataclass
class Budget:
    """A stretch of a run that is over after so many seconds or so many steps, whichever comes first.

    `steps` alone makes a run reproducible, with `seconds` it depends on the machine.
    """

    meter: Meter
    seconds: float
    steps: float

    def __post_init__(self) -> None:
        self._since, self._from = self.meter.seconds, self.meter.steps

    @property
    def used(self) -> float:
        """Fraction used, in [0, 1]."""
        time_used = (self.meter.seconds - self._since) / max(self.seconds, 1e-9)
        steps_used = (self.meter.steps - self._from) / max(self.steps, 1e-9)
        return min(1.0, max(time_used, steps_used))

    @property
    def over(self) -> bool:
        return self.used >= 1

    def part(self, share: float) -> Budget:
        """A new budget of this share of the whole, from now on, and never past the end of this one."""
        left = 1 - self.used
        steps = self.steps if math.isinf(self.steps) else max(1.0, round(min(share, left) * self.steps))
        return Budget(self.meter, min(share, left) * self.seconds, steps)


def budget(seconds: float | None, steps: int | None) -> Budget:
    """The whole of a run. Raises `InputError` unless at least one limit is given and both are > 0."""
    if seconds is None and steps is None:
        raise invalid("seconds", "a limit by seconds or by steps", got="neither")
    time_limit = math.inf if seconds is None else positive_real(seconds, "seconds")
    return Budget(Meter(), time_limit, math.inf if steps is None else positive_integer(steps, "steps"))
