"""CRATE, the white-box transformer of Yu, Buchanan, Pai et al. 2023, arXiv 2306.01129, on the tokens of `TokenModel`.

Tokens are the columns of Z (w, l). One block is

    Z'  = Z + MSSA(LN Z)                                                      eq. 13
    Z'' = ISTA(LN Z')                                                         eq. 17

    SSA_k(Z) = (U_k^T Z) softmax((U_k^T Z)^T (U_k^T Z))                       eq. 11, softmax over each column
    MSSA(Z)  = W [SSA_1(Z); ...; SSA_K(Z)]                                    eq. 12
    ISTA(Z)  = relu(Z + eta D^T (Z - D Z) - eta lambda)                       eq. 17

Eq. 12 has W = [U_1, ..., U_K] up to a factor; the authors' code learns W on its own, scales the scores by 1/sqrt(p),
p the dimension of a subspace, and puts a layer norm before each half. So does this.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from construct.baselines.trained.models import TokenModel, check_heads, linear, split_heads
from construct.validation import positive_integer, positive_real

STEP, SPARSITY = 0.1, 0.1  # eta and lambda of the authors' code


class SubspaceAttention(nn.Module):
    """MSSA: query, key and value are the same projection on K = `heads` subspaces of dimension p = w / K.

    `subspaces.weight` (K p, w) holds the U_k^T one below the other, `out.weight` (w, K p) is W.
    """

    def __init__(self, width: int, heads: int, generator: torch.Generator) -> None:
        super().__init__()
        self.heads = heads
        self.subspaces = linear(width, width, generator, bias=False)
        self.out = linear(width, width, generator)

    def forward(self, z: Tensor, targets: int) -> Tensor:
        """MSSA for the last `targets` tokens: z (P, l, w) -> (P, targets, w)."""
        projected = split_heads(self.subspaces(z), self.heads)
        score = projected[:, :, -targets:] @ projected.transpose(-1, -2) / math.sqrt(projected.shape[-1])
        return self.out((score.softmax(dim=-1) @ projected).transpose(1, 2).flatten(2))


class SparseStep(nn.Module):
    """ISTA: one proximal gradient step of min |Z - D A|^2 / 2 + lambda |A|_1 over A >= 0, from A = Z (eq. 17).

    `dictionary` (w, w) is D. Raises `InputError` unless `step` (eta) and `sparsity` (lambda) are > 0.
    """

    def __init__(self, width: int, generator: torch.Generator, *, step: float, sparsity: float) -> None:
        super().__init__()
        self.step, self.sparsity = positive_real(step, "step"), positive_real(sparsity, "sparsity")
        self.dictionary = nn.Parameter(linear(width, width, generator, gain=math.sqrt(2), bias=False).weight.detach())

    def forward(self, z: Tensor) -> Tensor:
        """Tokens (..., w) -> (..., w), each on its own. Tokens are rows here, so D z is `z @ D.T`."""
        residual = z - z @ self.dictionary.T
        return torch.relu(z + self.step * (residual @ self.dictionary) - self.step * self.sparsity)


class CrateBlock(nn.Module):
    """ISTA(LN Z'), Z' = Z + MSSA(LN Z)."""

    def __init__(self, width: int, heads: int, generator: torch.Generator, step: float, sparsity: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, dtype=torch.float64)
        self.norm2 = nn.LayerNorm(width, dtype=torch.float64)
        self.attention = SubspaceAttention(width, heads, generator)
        self.sparse = SparseStep(width, generator, step=step, sparsity=sparsity)

    def forward(self, hidden: Tensor, targets: int) -> Tensor:
        """The last `targets` tokens after the block, (P, targets, w), of hidden states (P, l, w)."""
        hidden = hidden[:, -targets:] + self.attention(self.norm1(hidden), targets)
        return self.sparse(self.norm2(hidden))


class Crate(TokenModel):
    """CRATE with `blocks` blocks of `heads` subspaces. `width` is divisible by `heads`, `InputError` otherwise."""

    def __init__(
        self,
        ambient: int,
        width: int,
        heads: int,
        blocks: int,
        *,
        step: float = STEP,
        sparsity: float = SPARSITY,
        generator: torch.Generator,
    ) -> None:
        super().__init__(ambient, width, generator)
        check_heads(width, heads)
        self.depth = positive_integer(blocks, "blocks")
        self.blocks.extend(CrateBlock(width, heads, generator, step, sparsity) for _ in range(blocks))

    @property
    def multiply_adds(self) -> int:
        w, tokens = self.width, self.tokens
        total = w
        for block in range(self.depth):
            targets = tokens if block < self.depth - 1 else 1
            # U of each token; W, D and D^T of each target; scores and mixture of each pair
            total += w * w * tokens + 3 * w * w * targets + 2 * w * targets * tokens
        return total
