"""Dividing the box of parameters, the worst cell first, until the bound is good enough."""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, field
from itertools import count

from construct.certificates.cells import Cell, CellBounds
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


def subdivide(
    bounds: CellBounds,
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
    first = bounds.bound(root, bounds.everywhere())
    heap = [(-first.bound, 0, next(ticket), root, first)]  # of equal bounds (inf) the smallest cell first
    seen, leaves = first.seen, 1
    splits: dict[Cell, int] = {}
    while True:
        tick()
        worst, depth = -heap[0][0], -heap[0][1]
        stuck = worst == math.inf and depth >= DEEPEST * bounds.formula.dim
        if stuck or worst <= max(target, (1 + tolerance) * seen) or leaves >= most_cells:
            return Subdivision(root, worst, seen, leaves, splits, heap[0][3] if stuck else None)
        _, _, _, cell, known = heapq.heappop(heap)
        splits[cell] = known.axis
        for half in cell.halves(known.axis):
            found = bounds.bound(half, known.near)
            seen = max(seen, found.seen)
            heapq.heappush(heap, (-found.bound, -depth - 1, next(ticket), half, found))
        leaves += 1
        if leaves % 50 == 0:
            share = share_done(first.bound, worst, max(target, (1 + tolerance) * seen))
            progress(f"{leaves} cells: bound {worst:.3g}, seen {seen:.3g}", share)


def share_done(first: float, bound: float, goal: float) -> float | None:
    """Of the way from the first bound to the goal, in decades; None where the bounds do not tell."""
    if not 0 < goal < first < math.inf:
        return None
    return min(max(math.log(first / max(bound, goal)) / math.log(first / goal), 0.0), 1.0)
