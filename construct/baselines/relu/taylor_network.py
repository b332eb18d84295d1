"""What the networks of Yarotsky 2017 and of Chen et al. 2019 have in common: counting, building, fast evaluation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from construct.baselines.base import BaselineCounts
from construct.baselines.relu.circuit import Layer
from construct.baselines.relu.network import ReluNetwork
from construct.baselines.relu.taylor_terms import LayerSizes, TaylorTerms, layer_sizes
from construct.planning import over_budget
from construct.problem import Sizes
from construct.validation import finite_points

MOST_WEIGHTS = 1 << 24
CHUNK_ENTRIES = 1 << 21


@dataclass(frozen=True, eq=False, repr=False)
class TaylorNetwork(ABC):
    """A ReLU network around `TaylorTerms`; call it on points (..., D) for its values by fast evaluation.

    The network that can be written down is `network()`; both are the same function up to rounding, on |x_j| <= box_j.
    """

    terms: TaylorTerms

    @property
    @abstractmethod
    def ambient(self) -> int:
        """D."""

    @property
    @abstractmethod
    def start(self) -> int:
        """Hidden layers before the first of the terms."""

    @abstractmethod
    def layers(self, *, filled: bool = True) -> list[Layer]:
        """All affine layers; without the terms if not filled."""

    @abstractmethod
    def evaluate(self, x: Tensor) -> Tensor:
        """Fast evaluation of finite x (P, D) -> (P,)."""

    @property
    @abstractmethod
    def point_entries(self) -> int:
        """Numbers that the fast evaluation of one point holds at once, roughly."""

    def with_compositions(self, compositions: int | None) -> TaylorNetwork:
        """The same network with other products."""
        return replace(self, terms=replace(self.terms, compositions=compositions))

    @cached_property
    def _skeleton(self) -> tuple[list[Layer], LayerSizes]:
        """The layers without terms, and the sizes of all layers: a network's sizes are affine in its terms."""
        layers = self.layers(filled=False)
        rows, weights, biases = (size.copy() for size in layer_sizes(layers))
        for total, more in zip((rows, weights, biases), self.terms.sizes(), strict=True):
            total[self.start : self.start + len(more)] += more
        return layers, (rows, weights, biases)

    @cached_property
    def counts(self) -> BaselineCounts:
        """Exact sizes, by formula: nothing is built but one chain for every exponent, and what is not a term."""
        rows, weights, biases = self._skeleton[1]
        dense = sum(o * (i + 1) for i, o in pairwise([self.ambient, *rows.tolist()]))
        return BaselineCounts(int(weights.sum() + biases.sum()), dense, len(rows), int(weights.sum()))

    @property
    def weight_bound(self) -> float:
        """kappa, the largest absolute weight or bias."""
        entries = [part for weight, bias in self._skeleton[0] for part in (weight.data, bias) if part.size]
        return max(self.terms.weight_bound(), *(float(np.abs(part).max()) for part in entries))

    def network(
        self,
        *,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
        most_weights: int = MOST_WEIGHTS,
    ) -> ReluNetwork:
        """The network itself.

        Raises:
            BudgetExceeded: more than `most_weights` non-zero weights.
        """
        nonzero, terms = self.counts.nonzero, self.terms
        if nonzero > most_weights:
            sizes = Sizes(terms.count, terms.cells, int(terms.exponents.sum(dim=1).max()))
            raise over_budget(nonzero, f"{sizes}", most_weights, limit="most_weights")
        return ReluNetwork(self.layers(), dtype=dtype, device=device)

    def __call__(self, x: Tensor) -> Tensor:
        """Values at x (..., D), in its dtype and on its device.

        Raises:
            InputError: another last dimension, or an entry that is not finite.
        """
        flat = finite_points(x, "x", self.ambient).reshape(-1, self.ambient)
        parts = [self.evaluate(part) for part in flat.split(max(64, CHUNK_ENTRIES // self.point_entries))]
        return torch.cat(parts).reshape(x.shape[:-1])

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.terms!r})"
