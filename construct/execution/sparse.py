"""Sparse execution: the same weights, only the token pairs on which a head can be non-zero.

The pairs come from `bounds.propagate_block` (branch and bound on the weights, with interval bounds on the data).
Rows that no block writes (position code, row of ones) are known numbers, so every pair's score is a bilinear form
over the written rows and 1, the paper's `u_t^T G u_s`; `folding` turns these forms into a few tensor operations a
block (`steps`), which are a plan (`plans`).

When gradients in the weights are wanted, every row counts as written, no pair is dropped for a zero value and the
FFN runs on all tokens: gradients then agree with the dense execution's.

Points outside the box go through plans that are found for larger boxes (`outside`).
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from construct.execution.cost import sparse_multiply_adds
from construct.execution.dense import DenseExecutor, dense_values
from construct.execution.executor import Executor
from construct.execution.inside import within
from construct.execution.outside import Surroundings
from construct.execution.plans import (
    FoldedPlan,
    PairPlan,
    bounds_are_finite,
    folded_plan,
    pair_plan,
    plain_tensors,
    propagate,
)
from construct.transformer.module import Transformer
from construct.transformer.weights import BlockBounds
from construct.validation import invalid


class SparseExecutor(Executor):
    """Only pairs on which a head can be non-zero, found from the weights for the box of inputs.

    Points outside the box are the same function, up to rounding: their pairs are found for them. Where bounds overflow,
    no pair is proved to be silent, and the execution is dense.
    """

    name = "sparse"

    def __init__(self, net: Transformer, box: Tensor, bounds: Sequence[BlockBounds] | None = None) -> None:
        super().__init__(net, box, bounds)
        self._plan: FoldedPlan | None = None
        self._pair_plan: PairPlan | None = None
        self._surroundings: Surroundings | None = None
        self._proved: bool | None = None

    def forward(self, x: Tensor, live: Transformer | None = None) -> Tensor:
        if not self.proved:
            return dense_values(live or self.net, x)
        inside = within(x, self.box)
        if bool(inside.all()):
            return self._inside(x, live)
        out = x.new_zeros(x.shape[0])
        index_in, index_out = inside.nonzero()[:, 0], (~inside).nonzero()[:, 0]
        far = x[index_out]
        out = out.index_put((index_out,), self.surroundings.forward(far) if live is None else dense_values(live, far))
        if index_in.numel():
            out = out.index_put((index_in,), self._inside(x[index_in], live))
        return out

    def _inside(self, x: Tensor, live: Transformer | None) -> Tensor:
        return self.plan.forward(self.net, x) if live is None else self.pair_plan.forward(live, x)

    def states(self, x: Tensor, live: Transformer | None = None) -> list[Tensor]:
        outside = ~within(x, self.box)
        if bool(outside.any()):
            raise invalid(
                "x", "points within the box, where the sparse plan holds", got=f"{int(outside.sum())} outside"
            )
        if not self.proved:
            return DenseExecutor(self.net, self.box).states(x, live)
        if live is not None:
            return self.pair_plan.states(live, x)
        with plain_tensors():
            plan = folded_plan(self.net, self._bounds(), everything=True)
        return plan.states(self.net, x)

    def multiply_adds(self) -> int:
        return sparse_multiply_adds(self.plan.steps)

    def _bounds(self) -> Sequence[BlockBounds]:
        if self.bounds is None:
            self.bounds = propagate(self.net, self.box)
        return self.bounds

    @property
    def proved(self) -> bool:
        """Whether the bounds are finite: otherwise no pair is known to be silent."""
        if self._proved is None:
            self._proved = bounds_are_finite(self._bounds())
        return self._proved

    @property
    def plan(self) -> FoldedPlan:
        """The token pairs of every block and what they are folded into."""
        if self._plan is None:
            with plain_tensors():
                self._plan = folded_plan(self.net, self._bounds())
        return self._plan

    @property
    def pair_plan(self) -> PairPlan:
        """The pairs for gradients in the weights."""
        if self._pair_plan is None:
            self._pair_plan = pair_plan(self.net, self._bounds())
        return self._pair_plan

    @property
    def surroundings(self) -> Surroundings:
        """What evaluates points outside the box."""
        if self._surroundings is None:
            inside = sum(len(bound.pairs) for bound in self._bounds())
            self._surroundings = Surroundings(self.net, self.box, inside)
        return self._surroundings
