"""The transformer class of Havrilla and Liao as a `torch.nn.Module`: the formula, and nothing else.

    hidden state  H = hidden0 + (x_j in row 0 of token j, j < D)            (l tokens of w rows)
    head(H)_t     = sum_s relu(<Q h_t, K h_s>) V h_s
    block(H)      = Z + FFN(Z),  Z = H + sum of the block's heads
    T(x)          = one entry of the last hidden state

No check, no chunking, no control flow that depends on data: `torch.export`, ONNX, `torch.compile`, `torch.func` and
hooks work as they do on any module. Faster ways to evaluate the same weights are in `construct.execution`; checks of
the input are in `construct.Network`.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from construct.arrays import Float
from construct.transformer.weights import FeedForward, Heads, Weights
from construct.validation import invalid

ENTRIES_AT_ONCE = {"cpu": 1 << 18, "other": 1 << 21}
"""Scores of pairs of tokens that `in_parts` holds together; 2 MB of float64 stay in a CPU's cache."""


def _entries(device: torch.device) -> int:
    return ENTRIES_AT_ONCE.get(device.type, ENTRIES_AT_ONCE["other"])


def _frozen(values: Float, dtype: torch.dtype, device: torch.device | str) -> nn.Parameter:
    """A parameter of its own memory: writing to it changes nothing that it was made from."""
    own = torch.from_numpy(np.array(values, dtype=np.float64, order="C"))
    return nn.Parameter(own.to(dtype=dtype, device=device), requires_grad=False)


def _read_out_again(net: nn.Module, incompatible: object) -> None:
    """The place of the output is a number in the formula and a tensor in files: keep the first to the second."""
    assert isinstance(net, Transformer)
    token, row = (int(i) for i in net.readout)
    if not (0 <= token < net.hidden0.shape[0] and 0 <= row < net.hidden0.shape[1]):
        raise invalid("readout", f"(token, row) within {tuple(net.hidden0.shape)}", (token, row))
    net.output = (token, row)


class MultiHeadAttention(nn.Module):
    """All heads of a block, `sum_i V_i H relu((K_i H)^T (Q_i H))`; query, key, value (m, w, w).

    Scores are accumulated row by row, from the first to the last. The gates come first, so that a gate that is exactly
    0 stays exactly 0 until data is added, whatever a matrix-product kernel would do.
    """

    query: nn.Parameter
    key: nn.Parameter
    value: nn.Parameter

    def __init__(self, heads: Heads, *, dtype: torch.dtype, device: torch.device | str) -> None:
        super().__init__()
        for name in ("query", "key", "value"):
            setattr(self, name, _frozen(getattr(heads, name), dtype, device))
        self.count, self.width = len(heads), int(heads.query.shape[1])  # numbers, not shapes: tracing keeps no test

    def forward(self, hidden: Tensor) -> Tensor:
        """What the heads add to hidden states (..., l, w)."""
        return self.heads(hidden, slice(None)) if self.count else torch.zeros_like(hidden)

    def heads(self, hidden: Tensor, window: slice) -> Tensor:
        """What some of the heads add, at least one."""
        query, key, value = self.query[window], self.key[window], self.value[window]
        tokens = hidden.unsqueeze(-3)  # (..., 1, l, w)
        q, k, v = tokens @ query.mT, tokens @ key.mT, tokens @ value.mT
        score = q[..., 0].unsqueeze(-1) * k[..., 0].unsqueeze(-2)
        for row in range(1, self.width):
            score = score + q[..., row].unsqueeze(-1) * k[..., row].unsqueeze(-2)
        return (torch.relu(score) @ v).sum(dim=-3)

    def in_parts(self, hidden: Tensor) -> Tensor:
        """What all heads add to hidden states (P, l, w), a few heads at a time."""
        points, tokens, _ = hidden.shape
        out = torch.zeros_like(hidden)
        step = max(1, _entries(hidden.device) // max(points * tokens * tokens, 1))
        for start in range(0, self.query.shape[0], step):
            out = out + self.heads(hidden, slice(start, start + step))
        return out


class FeedForwardNetwork(nn.Module):
    """`W_L relu(... relu(W_1 h + b_1) ...) + b_L` on each token alone; without layers 0."""

    def __init__(self, ffn: FeedForward, *, dtype: torch.dtype, device: torch.device | str) -> None:
        super().__init__()
        layers = []
        for weight, bias in ffn.layers:
            linear = nn.Linear(weight.shape[0], weight.shape[0], dtype=dtype, device="meta")
            linear.weight, linear.bias = _frozen(weight, dtype, device), _frozen(bias, dtype, device)
            layers.append(linear)
        self.layers = nn.ModuleList(layers)

    @property
    def affine(self) -> list[nn.Linear]:
        """Its affine layers, in order."""
        return cast("list[nn.Linear]", list(self.layers))

    def __len__(self) -> int:
        return len(self.layers)

    def forward(self, hidden: Tensor) -> Tensor:
        """What the FFN adds to tokens (..., w)."""
        if len(self.layers) == 0:
            return torch.zeros_like(hidden)
        for index, layer in enumerate(self.layers):
            hidden = layer(hidden if index == 0 else torch.relu(hidden))
        return hidden


class Block(nn.Module):
    """`Z + FFN(Z)`, `Z = H + MHA(H)`."""

    def __init__(self, heads: Heads, ffn: FeedForward, *, dtype: torch.dtype, device: torch.device | str) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(heads, dtype=dtype, device=device)
        self.ffn = FeedForwardNetwork(ffn, dtype=dtype, device=device)

    def forward(self, hidden: Tensor) -> Tensor:
        """Hidden states (..., l, w) after the block."""
        middle = hidden + self.attention(hidden)
        return middle + self.ffn(middle)

    def in_parts(self, hidden: Tensor) -> Tensor:
        """The same for hidden states (P, l, w), a few heads at a time."""
        middle = hidden + self.attention.in_parts(hidden)
        return middle + self.ffn(middle) if len(self.ffn) else middle


class Transformer(nn.Module):
    """The formula with assigned weights: points (..., D) to values (...).

    The function is determined by the parameters alone (and by D and the read-out, which are indices). Parameters are
    frozen; `requires_grad_()` opens them. All heads and all pairs of tokens are evaluated at once: for many points or
    large networks call the `Network`, which does so in chunks or sparsely.

    Args:
        weights: hidden0, heads and FFN of each block, read-out, box; bounds are not looked at.
        dtype, device: of the parameters.
    """

    hidden0: nn.Parameter
    readout: Tensor
    input_row: Tensor

    def __init__(
        self, weights: Weights, *, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu"
    ) -> None:
        super().__init__()
        self.hidden0 = _frozen(weights.hidden0, dtype, device)
        self.register_buffer("readout", torch.tensor(weights.readout, dtype=torch.int64, device=device))
        first = torch.zeros(weights.hidden0.shape[1], dtype=dtype, device=device)
        first[0] = 1.0
        self.register_buffer("input_row", first, persistent=False)
        self.blocks = nn.ModuleList(Block(h, f, dtype=dtype, device=device) for h, f in weights.blocks)
        self.ambient, self.tokens = weights.ambient, int(weights.hidden0.shape[0])
        self.output = weights.readout
        self.register_load_state_dict_post_hook(_read_out_again)
        self.eval()  # nothing here behaves otherwise in training

    @property
    def stack(self) -> list[Block]:
        """The blocks, in order."""
        return cast("list[Block]", list(self.blocks))

    @property
    def dtype(self) -> torch.dtype:
        return self.hidden0.dtype

    @property
    def device(self) -> torch.device:
        return self.hidden0.device

    def embed(self, x: Tensor) -> Tensor:
        """Hidden states (..., l, w) before the first block, for points (..., D)."""
        column = nn.functional.pad(x, (0, self.tokens - self.ambient))
        return self.hidden0 + column.unsqueeze(-1) * self.input_row

    @property
    def points_at_once(self) -> int:
        """How many points `in_parts` evaluates together."""
        return max(1, _entries(self.device) // (4 * self.tokens**2))

    def in_parts(self, x: Tensor) -> Tensor:
        """The values (P,) at points (P, D), a few points and heads at a time, so that memory stays bounded."""
        token, row = self.output
        parts = []
        for part in x.split(self.points_at_once):
            hidden = self.embed(part)
            for block in self.stack:
                hidden = block.in_parts(hidden)
            parts.append(hidden[:, token, row])
        return torch.cat(parts)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.embed(x)
        for block in self.blocks:
            hidden = block(hidden)
        token, row = self.output
        return hidden[..., token, row]


def weights_held(net: Transformer, box: Tensor) -> Weights:
    """The weights that a module holds now, as data (float64, of which float32 is a part)."""

    def array(tensor: Tensor) -> Float:
        return tensor.detach().to("cpu", torch.float64).numpy()

    blocks = tuple(
        (
            Heads(array(block.attention.query), array(block.attention.key), array(block.attention.value)),
            FeedForward(tuple((array(layer.weight), array(layer.bias)) for layer in block.ffn.affine)),
        )
        for block in net.stack
    )
    return Weights(array(net.hidden0), blocks, net.output, array(box))


def evaluated_formula(net: Any) -> Any:
    """The formula that a network evaluates: of a `construct.Network`, whose public module is another one, a copy; of
    anything else its `transformer`, None if it has none."""
    own = getattr(net, "formula", None)
    return own() if callable(own) else getattr(net, "transformer", None)
