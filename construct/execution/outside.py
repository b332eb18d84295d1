"""Points outside the box: the same function, by plans for larger boxes, at a bounded cost.

Bounds propagated from a larger box say next to nothing after a few blocks: what one gate lets through makes the next
bound larger. What the points do is milder by far. So a plan for a larger box is made of *assumed* bounds: hulls of the
states that sample points have before each block, widened. The pairs of a block are proved for its hull, and each point
is checked, block by block, to be in the hulls as it is evaluated: on points that pass, the plan leaves out nothing. The
others become samples of a wider plan, a few times, then of a plan for them alone; what is left, points that are too far
off, and few points at all are evaluated directly (`direct`).

Cost: a plan costs about what the plan of the box costs (`MOST_CANDIDATES` bounds it), and is kept; it is made when the
points that were evaluated directly have cost as much. Then a point costs a few times what a point inside does. From
about 50 times the box on a tenth of all scores is positive, and no plan is worth while: a point costs what that takes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from construct.execution.bounds import input_intervals, propagate_block
from construct.execution.direct import Direct
from construct.execution.inside import scaled, spread_over, times_outside
from construct.execution.pairs import TooManyPairs
from construct.execution.plans import (
    FoldedPlan,
    as_numpy,
    block_weights,
    bounds_are_finite,
    folded_plan,
    heads_on_pairs,
    in_chunks,
    plain_tensors,
)
from construct.transformer.module import Block, Transformer
from construct.transformer.weights import BlockBounds, HeadPairs, Intervals

FACTORS = (2.0, 4.0, 8.0, 16.0, 64.0, 256.0, 1024.0, 2.0**14)
"""Larger boxes, as factors of the box. Points that are in none of them are evaluated directly."""

SAMPLES = 192  # of the larger box
MOST_ROWS = 64  # points of the caller that join the samples at a time
WIDER = 0.25  # of its width, to each side of a hull
ROUNDING = 1e-9  # and this share of its magnitude
MOST_CANDIDATES = 1 << 14  # pairs that a plan may ask for, besides `PER_PAIR` for each pair of the plan of the box
PER_PAIR = 8
FEW = 1 << 11  # pairs up to which a plan on proved bounds is the cheaper one
MOST_TRIES = 4  # plans for a box
PLAN = 1 << 19
"""Heads times tokens times points that take, evaluated directly, as long as to make a plan.

Measured, CPU seconds of one core: a plan for a larger box takes 0.05 to 0.2 s (circle and sphere, epsilon 1e-2
and 1e-4), direct evaluation 0.1 to 0.6 microseconds for each head and token. Larger: plans come later, and a few
points outside never wait for one; smaller: many points outside are fast sooner."""
ENTRIES_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class Check:
    """Entries of the state and the bounds, (n, 1) each, between which a plan assumes them to be."""

    entries: Tensor
    lower: Tensor
    upper: Tensor

    def passed(self, state: Tensor) -> Tensor:
        """Which points (P,) of a state (entries, P) are within the bounds; NaN is not."""
        found = state.detach().index_select(0, self.entries)
        return ((found >= self.lower) & (found <= self.upper)).all(dim=0)


@dataclass(frozen=True)
class AssumedPlan:
    """A plan on assumed bounds, with the checks before each step; `points` (S, D) are the samples of its hulls, None
    where the bounds are proved for the whole box."""

    plan: FoldedPlan
    checks: list[Check]
    points: Tensor | None

    def forward(self, net: Transformer, x: Tensor) -> tuple[Tensor, Tensor]:
        """Values (P,) at points (P, D) of its box, and for which of them they are those of the network."""
        parts = [self._values(net, part) for part in in_chunks(x, self.plan.size)]
        values, passed = zip(*parts, strict=True)
        return torch.cat(values), torch.cat(passed)

    def _values(self, net: Transformer, x: Tensor) -> tuple[Tensor, Tensor]:
        state = self.plan.start(net, x)
        passed = torch.ones(x.shape[0], dtype=torch.bool, device=x.device)
        for step, check in zip(self.plan.steps, self.checks, strict=True):
            passed &= check.passed(state)
            step.run(state)
        if self.plan.readout is None:
            return net.hidden0[net.output].expand(x.shape[0]), passed
        return state[self.plan.readout], passed


class Surroundings:
    """Evaluates points outside the box of a network whose weights do not change.

    Args:
        inside: pairs of the plan of the box.
    """

    def __init__(self, net: Transformer, box: Tensor, inside: int) -> None:
        self.net, self.box, self.direct = net, box, Direct(net)
        self.inside, self.most = inside, MOST_CANDIDATES + PER_PAIR * inside
        self._hopeless: set[float] = set()  # boxes of which not even a few points could be planned for
        self._plans: dict[float, AssumedPlan] = {}
        self._tries, self._rows = dict.fromkeys(FACTORS, 0), dict.fromkeys(FACTORS, 0)

    def forward(self, x: Tensor) -> Tensor:
        """Values (P,) at x (P, D)."""
        out = x.new_zeros(x.shape[0])
        which = torch.bucketize(times_outside(x, self.box), torch.tensor(FACTORS, dtype=x.dtype, device=x.device))
        for number in which.unique().tolist():
            index = (which == number).nonzero()[:, 0]
            found = self._of_box(FACTORS[number], x[index]) if number < len(FACTORS) else self.direct.forward(x[index])
            out = out.index_put((index,), found)
        return out

    def _of_box(self, factor: float, x: Tensor) -> Tensor:
        """Values at points of the box `factor` times as large."""
        out, left = x.new_zeros(x.shape[0]), torch.arange(x.shape[0], device=x.device)
        while left.numel():
            plan = self._plans.get(factor)
            if plan is not None:
                out, left = _evaluated(plan, self.net, x, out, left)
            if left.numel() and not self._wider(factor, x[left].detach()):
                break
        for part in left.split(MOST_ROWS):
            hopeful = factor not in self._hopeless and self._worth(len(part))
            plan = self._plan(factor, x[part].detach()) if hopeful else None
            if plan is not None:
                out, part = _evaluated(plan, self.net, x, out, part)
            elif hopeful:
                self._hopeless.add(factor)
            if part.numel():
                out = out.index_put((part,), self.direct.forward(x[part]))
        return out

    def _worth(self, rows: int) -> bool:
        """Whether a plan costs less than to evaluate points directly."""
        return rows * self.direct.entries > PLAN

    def _wider(self, factor: float, x: Tensor) -> bool:
        """Whether there is a new plan for the box, in which points like these have been considered.

        Points are evaluated directly until that has cost as much as a plan: so it is never much dearer than either.
        """
        self._rows[factor] += x.shape[0]
        if self._tries[factor] >= MOST_TRIES or not self._worth(self._rows[factor]):
            return False
        self._tries[factor] += 1
        old, chosen = self._plans.get(factor), x[:: -(-x.shape[0] // MOST_ROWS)]
        plan = self._plan(factor, None) if old is None else None
        if plan is None:
            first = spread_over(scaled(self.box, factor), SAMPLES, seed=0).to(x) if old is None else old.points
            plan = self._plan(factor, chosen if first is None else torch.cat([first, chosen]))
        if plan is None and old is None:  # the samples may do what no point of the caller does
            plan = self._plan(factor, chosen)
        if plan is None:
            self._tries[factor] = MOST_TRIES
            return False
        self._plans[factor] = plan
        return True

    def _plan(self, factor: float, points: Tensor | None) -> AssumedPlan | None:
        most = self.most if points is not None else FEW + 2 * self.inside
        with plain_tensors():
            return assumed_plan(self.net, scaled(self.box, factor), points, most)


def _evaluated(plan: AssumedPlan, net: Transformer, x: Tensor, out: Tensor, left: Tensor) -> tuple[Tensor, Tensor]:
    """`out` with the values at those of the points x[left] that pass a plan, and those that do not."""
    values, passed = plan.forward(net, x[left])
    return out.index_put((left[passed],), values[passed]), left[~passed]


def assumed_plan(net: Transformer, box: Tensor, points: Tensor | None, most: int) -> AssumedPlan | None:
    """The plan for a box (of inputs) on the hulls of the states at points (S, D), or, without points, on proved bounds;
    None where it would have to look at more than `most` pairs, or where numbers overflow."""
    hidden = None if points is None else net.embed(points).permute(1, 2, 0)
    state = input_intervals(as_numpy(net.hidden0), as_numpy(box))
    bounds: list[BlockBounds] = []
    assumed = [np.zeros(state.lower.shape, dtype=bool)]
    with np.errstate(over="ignore", invalid="ignore"):
        for block in net.stack:
            heads, ffn = block_weights(block)
            try:
                found = propagate_block(heads.query, heads.key, heads.value, list(ffn.layers), state, most)
            except TooManyPairs:
                return None
            bounds.append(found)
            most -= len(found.pairs)
            state = found.after
            if hidden is not None:
                hidden = _after(block, found.pairs, hidden)
                if not bool(torch.isfinite(hidden).all()):
                    return None
                state = _intersection(found.after, _hull(hidden))
            assumed.append((state.lower > found.after.lower) | (state.upper < found.after.upper))
    if not bounds_are_finite(bounds):
        return None
    plan = folded_plan(net, bounds, everything=points is not None)
    checks = [_check(bound.before, where, plan, net) for bound, where in zip(bounds, assumed, strict=False)]
    return AssumedPlan(plan, checks, points)


def _after(block: Block, pairs: HeadPairs, hidden: Tensor) -> Tensor:
    """Hidden states (l, w, S) after a block, from some of its pairs at a time."""
    step = max(1, ENTRIES_AT_ONCE // math.prod(hidden.shape[1:]))
    middle = hidden.clone()
    for start in range(0, len(pairs), step):
        window = slice(start, start + step)
        part = HeadPairs(pairs.head[window], pairs.target[window], pairs.source[window])
        middle += heads_on_pairs(block, part, hidden)
    return middle + block.ffn(middle.transpose(1, 2)).transpose(1, 2) if len(block.ffn) else middle


def _hull(hidden: Tensor) -> Intervals:
    """Bounds of states (l, w, S), widened; exact where all of them are 0."""
    lower, upper = as_numpy(hidden.amin(dim=2)), as_numpy(hidden.amax(dim=2))
    margin = WIDER * (upper - lower) + ROUNDING * np.maximum(np.abs(lower), np.abs(upper))
    return Intervals(lower - margin, upper + margin)


def _intersection(one: Intervals, other: Intervals) -> Intervals:
    """Of two bounds of the same states; the first where the two contradict each other by rounding."""
    lower, upper = np.maximum(one.lower, other.lower), np.minimum(one.upper, other.upper)
    sound = lower <= upper
    return Intervals(np.where(sound, lower, one.lower), np.where(sound, upper, one.upper))


def _check(state: Intervals, assumed: NDArray[np.bool_], plan: FoldedPlan, net: Transformer) -> Check:
    """The entries of the plan's state whose bounds are assumed, not proved."""
    rows = np.array(plan.rows)
    where = np.flatnonzero(assumed[:, rows].T.ravel())
    lower, upper = (side[:, rows].T.ravel()[where] for side in (state.lower, state.upper))
    # where anything is assumed, everything is kept: entry row * tokens + token
    made = [torch.as_tensor(side, dtype=net.dtype, device=net.device)[:, None] for side in (lower, upper)]
    return Check(torch.as_tensor(where, device=net.device), *made)
