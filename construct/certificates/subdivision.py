"""Dividing the box of parameters, the worst cell first, until the bound is good enough."""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Protocol

from construct.certificates.cells import Bound, Cell
from construct.manifolds import Formula
from construct.progress import Progress, tick

DEEPEST = 30  # halvings of an axis after which a cell without any bound is given up


@dataclass
class Subdivision:
    """The cells that were looked at: a binary tree whose leaves cover the box, each with a bound.

    stuck: a tiny cell on which there is no finite bound, where the search gave up.
    """

    root: Cell
    bound: float
    seen: float
    leaves: int
    splits: dict[Cell, int] = field(default_factory=dict)
    stuck: Cell | None = None

    def tree(self) -> str:
        """Preorder: an axis for a cell that is divided, a point for a leaf."""
        out, stack = [], [self.root]
        while stack:
            cell = stack.pop()
            axis = self.splits.get(cell)
            if axis is None:
                out.append(".")
                continue
            out.append(str(axis))
            left, right = cell.halves(axis)
            stack += [right, left]
        return "".join(out)


class Bounds(Protocol):
    """What bounds |T - f| on cells, of which `together` at a time are best."""

    together: int

    @property
    def formula(self) -> Formula: ...

    def everywhere(self) -> tuple[int, ...]:
        """Candidates on the whole box."""

    def bounds(self, cells: Sequence[tuple[Cell, Sequence[int]]]) -> list[Bound]:
        """Of every cell with its candidates."""


def subdivide(
    bounds: Bounds,
    *,
    target: float,
    tolerance: float,
    most_cells: int,
    progress: Progress,
) -> Subdivision:
    """Divide the worst cell until the bound is at most `target`, or at most 1 + tolerance times a value that is
    attained by some |P_n - f|, or the cells are used up. The result is a proved bound in any case (inf if nothing is
    known).
    """
    root = Cell(bounds.formula.lower, bounds.formula.upper)
    ticket = count()
    (first,) = bounds.bounds([(root, bounds.everywhere())])
    heap = [(-first.bound, 0, next(ticket), root, first)]  # of equal bounds (inf) the smallest cell first
    seen, leaves = first.seen, 1
    splits: dict[Cell, int] = {}
    while True:
        tick()
        worst, depth = -heap[0][0], -heap[0][1]
        stuck = worst == math.inf and depth >= DEEPEST * bounds.formula.dim
        goal = max(target, (1 + tolerance) * seen)
        if stuck or worst <= goal or leaves >= most_cells:
            return Subdivision(root, worst, seen, leaves, splits, heap[0][3] if stuck else None)
        halves: list[tuple[Cell, Sequence[int]]] = []
        depths: list[int] = []
        while heap and -heap[0][0] > goal and len(halves) < 2 * bounds.together and leaves < most_cells:
            _, depth, _, cell, known = heapq.heappop(heap)
            splits[cell] = known.axis
            halves += [(half, known.near) for half in cell.halves(known.axis)]
            depths += [depth - 1] * 2
            leaves += 1
            if leaves % 50 == 0:
                progress(f"{leaves} cells: bound {worst:.3g}, seen {seen:.3g}", share_done(first.bound, worst, goal))
        for (half, _), depth, found in zip(halves, depths, bounds.bounds(halves), strict=True):
            seen = max(seen, found.seen)
            heapq.heappush(heap, (-found.bound, depth, next(ticket), half, found))


def share_done(first: float, bound: float, goal: float) -> float | None:
    """Of the way from the first bound to the goal, in decades; None where the bounds do not tell."""
    if not 0 < goal < first < math.inf:
        return None
    return min(max(math.log(first / max(bound, goal)) / math.log(first / goal), 0.0), 1.0)
