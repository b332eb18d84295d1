"""A ReLU network with assigned weights as a torch module: affine layers with a relu in between, stored sparse."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from construct.baselines.base import BaselineCounts
from construct.baselines.relu.circuit import Layer
from construct.validation import invalid, shaped

CHUNK_ENTRIES = 1 << 24
LARGEST_DENSE = 1 << 27


class SparseLinear(nn.Module):
    """`x -> W x + b` with W (out, in) in coordinate form: only entries that are not zero are stored and counted."""

    indices: Tensor

    def __init__(self, weight: Layer, *, dtype: torch.dtype, device: torch.device | str) -> None:
        super().__init__()
        matrix, bias = weight[0].tocoo(), weight[1]
        matrix.sum_duplicates()
        matrix.eliminate_zeros()
        if not (np.isfinite(matrix.data).all() and np.isfinite(bias).all()):
            raise invalid("weight", "finite weights and biases", got="NaN or infinity")
        self.out_features, self.in_features = matrix.shape
        indices = np.stack([c.astype(np.int64) for c in matrix.coords])
        self.register_buffer("indices", torch.as_tensor(indices, device=device))
        self.values = nn.Parameter(torch.as_tensor(matrix.data, dtype=dtype, device=device), requires_grad=False)
        self.bias = nn.Parameter(torch.as_tensor(bias, dtype=dtype, device=device), requires_grad=False)

    def matrix(self) -> Tensor:
        """W as a sparse tensor."""
        shape = (self.out_features, self.in_features)
        return torch.sparse_coo_tensor(self.indices, self.values, shape, is_coalesced=True, check_invariants=False)

    def forward(self, x: Tensor) -> Tensor:
        """x (P, in) -> (P, out)."""
        return torch.sparse.mm(self.matrix(), x.T).T + self.bias


class ReluNetwork(nn.Module):
    """Affine layers with a relu between one and the next; x (..., D) -> (...), one output.

    Raises:
        InputError: sizes that do not fit, more than one output, weights that are not finite.
    """

    def __init__(
        self, layers: Sequence[Layer], *, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu"
    ) -> None:
        super().__init__()
        sizes = [weight.shape for weight, _ in layers]
        fit = all(one[0] == two[1] for one, two in pairwise(sizes))
        if not sizes or not fit or sizes[-1][0] != 1:
            raise invalid("layers", "matrices that fit and one output", got=f"shapes {sizes}")
        self.layers = nn.ModuleList(SparseLinear(one, dtype=dtype, device=device) for one in layers)
        self.ambient = int(sizes[0][1])

    @property
    def stack(self) -> list[SparseLinear]:
        """The affine layers, in order."""
        return [layer for layer in self.layers if isinstance(layer, SparseLinear)]

    @property
    def widths(self) -> list[int]:
        """D, the hidden widths, 1."""
        return [self.ambient, *(layer.out_features for layer in self.stack)]

    @property
    def counts(self) -> BaselineCounts:
        """Non-zero weights and biases, those of fully connected layers of the same widths, affine layers."""
        nonzero = sum(int(p.count_nonzero()) for p in self.parameters())
        widths = self.widths
        dense = sum(o * (i + 1) for i, o in pairwise(widths))
        return BaselineCounts(nonzero, dense, len(self.layers), sum(layer.values.numel() for layer in self.stack))

    @property
    def weight_bound(self) -> float:
        """kappa, the largest absolute weight or bias."""
        return max(float(p.abs().max()) for p in self.parameters() if p.numel())

    def forward(self, x: Tensor) -> Tensor:
        """Evaluate at points x (..., D); result (...).

        Raises:
            InputError: another last dimension.
        """
        shaped(x, "x", self.ambient)
        flat = x.reshape(-1, self.ambient)
        step = max(1, CHUNK_ENTRIES // max(self.widths))
        parts = [self._evaluate(part) for part in flat.split(step)]
        return torch.cat(parts).reshape(x.shape[:-1])

    def _evaluate(self, x: Tensor) -> Tensor:
        *hidden, last = self.stack
        for layer in hidden:
            x = torch.relu(layer(x))
        return last(x)[:, 0]

    def to_sequential(self) -> nn.Sequential:
        """The same function as a plain `nn.Sequential` of `nn.Linear` and `nn.ReLU`; output (..., 1).

        Raises:
            InputError: more than 2^27 dense weights.
        """
        dense = self.counts.dense
        if dense > LARGEST_DENSE:
            raise invalid("network", f"at most {LARGEST_DENSE:,} dense weights", got=f"{dense:,}")
        modules: list[nn.Module] = []
        for layer in self.stack:
            linear = nn.Linear(layer.in_features, layer.out_features, device="meta")
            linear.weight = nn.Parameter(layer.matrix().to_dense(), requires_grad=False)
            linear.bias = nn.Parameter(layer.bias.clone(), requires_grad=False)
            modules += [linear, nn.ReLU()]
        return nn.Sequential(*modules[:-1])

    def __repr__(self) -> str:
        counts, widths = self.counts, self.widths
        return (
            f"ReluNetwork: R^{self.ambient} -> R, {counts.depth} affine layers, width {max(widths[1:])}, "
            f"{counts.nonzero:,} non-zero of {counts.dense:,} weights, largest {self.weight_bound:.4g}; none trained"
        )
