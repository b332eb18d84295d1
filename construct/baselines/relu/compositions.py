"""The fewest compositions of several stages of squares that keep an error small, as few numbers as can be."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from construct.baselines.relu.sawtooth import MOST_COMPOSITIONS
from construct.validation import invalid, positive_real

Compositions = tuple[int, ...]
"""m of every stage, 1 to 26 each."""


def prices(stages: int, nonzero: Callable[[Compositions], int]) -> list[int]:
    """What one composition more costs, stage by stage."""
    if stages < 2:
        return [1] * stages
    base = nonzero((2,) * stages)
    return [nonzero(tuple(2 + (s == stage) for s in range(stages))) - base for stage in range(stages)]


def fewest_compositions(
    stages: int, enough: Callable[[Compositions], bool], nonzero: Callable[[Compositions], int]
) -> Compositions | None:
    """Equal compositions by bisection, then each lowered by itself; None where not even the most are enough.

    A second start has one less everywhere but in the stage that is cheapest to raise.
    """
    if not enough((MOST_COMPOSITIONS,) * stages):
        return None
    low, high = 0, MOST_COMPOSITIONS
    while stages and high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough((middle,) * stages) else (middle, high)
    equal, price = (high,) * stages, prices(stages, nonzero)
    ends = [_lowered(equal, price, enough)]
    if stages > 1 and 1 < high < MOST_COMPOSITIONS:
        cheap = min(range(stages), key=lambda s: price[s])
        raised = tuple(high + 1 if s == cheap else high - 1 for s in range(stages))
        if enough(raised):
            ends.append(_lowered(raised, price, enough))
    return min(ends, key=nonzero)


def _lowered(compositions: Compositions, price: list[int], enough: Callable[[Compositions], bool]) -> Compositions:
    """Lower the stage that saves most, one composition at a time, as long as that is enough."""
    for stage in sorted(range(len(compositions)), key=lambda s: -price[s]):
        while compositions[stage] > 1:
            trial = (*compositions[:stage], compositions[stage] - 1, *compositions[stage + 1 :])
            if not enough(trial):
                break
            compositions = trial
    return compositions


def bounded_compositions(weights: Sequence[float], allowed: float, price: Sequence[float]) -> Compositions:
    """Cheapest compositions with `sum_s weights_s 4^-m_s <= allowed`.

    With real m_s the shares of the error are proportional to the prices (Lagrange). From the integers below these the
    stage that lowers the error most for its price is raised until the sum is small enough; then what is not needed is
    taken back, the dearest first.

    Raises:
        InputError: allowed not a number > 0, or more than 26 compositions needed.
    """
    allowed = positive_real(allowed, "allowed")
    total = sum(price)
    wanted = [math.log(w * total / (allowed * c), 4) for w, c in zip(weights, price, strict=True)]
    found = [max(1, math.floor(m)) for m in wanted]

    def error(m: Sequence[int]) -> float:
        return sum(w * 4.0**-k for w, k in zip(weights, m, strict=True))

    while error(found) > allowed:
        gain = [w * 4.0**-k / c for w, k, c in zip(weights, found, price, strict=True)]
        found[max(range(len(found)), key=lambda s: gain[s])] += 1
    for stage in sorted(range(len(found)), key=lambda s: -price[s]):
        while found[stage] > 1 and error([m - (s == stage) for s, m in enumerate(found)]) <= allowed:
            found[stage] -= 1
    if max(found, default=1) > MOST_COMPOSITIONS:
        raise invalid("allowed", f"an error that {MOST_COMPOSITIONS} compositions keep", allowed)
    return tuple(found)
