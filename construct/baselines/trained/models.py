"""The networks that are trained: a feed-forward one and a softmax transformer on the tokens of the constructed network.

Every model maps points (P, D) to (P,), draws its initial weights in float64 on the CPU from the generator it is given,
and says how many affine layers or blocks and how many multiply-adds a point it has.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn

from construct.validation import invalid, one_of, positive_integer

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "gelu": nn.functional.gelu,
    "tanh": torch.tanh,
}


class Model(nn.Module, ABC):
    """Base of the trained networks: points (P, D) -> (P,).

    `depth` counts affine layers of a feed-forward network and blocks of a transformer.
    """

    depth: int

    @property
    @abstractmethod
    def multiply_adds(self) -> int:
        """Multiplications with an addition that one point takes: all matrix products, attention included."""

    @property
    def parameter_count(self) -> int:
        """Trainable numbers."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)

    def prepare(self, x: Tensor) -> None:
        """Adapt to sample points (P, D) before training; most models have nothing to do."""

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor: ...


def linear(fan_in: int, fan_out: int, generator: torch.Generator, *, gain: float = 1.0, bias: bool = True) -> nn.Linear:
    """Affine layer in float64: weights uniform with variance gain^2 / fan_in, biases uniform in +-1/sqrt(fan_in).

    gain = sqrt 2 keeps the variance through ReLU layers (He, Zhang, Ren, Sun 2015, arXiv 1502.01852, eq. 10).
    """
    layer = nn.Linear(fan_in, fan_out, bias=bias, dtype=torch.float64, device="meta")
    layer.weight = nn.Parameter(uniform((fan_out, fan_in), gain * math.sqrt(3 / fan_in), generator))
    if bias:
        layer.bias = nn.Parameter(uniform((fan_out,), 1 / math.sqrt(fan_in), generator))
    return layer


def uniform(shape: tuple[int, ...], bound: float, generator: torch.Generator) -> Tensor:
    """Float64 numbers uniform in [-bound, bound]."""
    return bound * (2 * torch.rand(shape, generator=generator, dtype=torch.float64) - 1)


def activation_named(name: object) -> Callable[[Tensor], Tensor]:
    """The activation called `name`. Raises `InputError` for an unknown one."""
    return ACTIVATIONS[one_of(name, "activation", ACTIVATIONS)]


class MultilayerPerceptron(Model):
    """W_(n+1) s(W_n ... s(W_1 x + b_1) ...) + b_(n+1), s the activation, n = `hidden` layers of `width` units."""

    def __init__(
        self, ambient: int, hidden: int, width: int, *, activation: str = "relu", generator: torch.Generator
    ) -> None:
        super().__init__()
        sizes = [positive_integer(ambient, "ambient")]
        sizes += [positive_integer(width, "width")] * positive_integer(hidden, "depth")
        self.activation = activation_named(activation)
        gain = math.sqrt(2) if activation != "tanh" else 1.0
        self.hidden = nn.ModuleList(linear(m, n, generator, gain=gain) for m, n in pairwise(sizes))
        self.last = linear(sizes[-1], 1, generator)
        self.depth = len(sizes)

    @property
    def multiply_adds(self) -> int:
        return sum(layer.weight.numel() for layer in self.modules() if isinstance(layer, nn.Linear))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.hidden:
            x = self.activation(layer(x))
        return self.last(x)[:, 0]


class TokenModel(Model):
    """A transformer on D + 1 tokens of `width` rows, read from its last token.

        h_j = x_j e_0 + p_j for j < D,   h_D = p_D,   p learned;      T(x) = <v, LN(h_D after the last block)> + c

    These are the tokens of the constructed network (x_j in row 0 of token j), with learned position codes.
    """

    def __init__(self, ambient: int, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.ambient, self.width = positive_integer(ambient, "ambient"), positive_integer(width, "width")
        self.position = nn.Parameter(torch.randn(ambient + 1, width, generator=generator, dtype=torch.float64))
        self.norm = nn.LayerNorm(width, dtype=torch.float64)
        self.readout = linear(width, 1, generator)
        self.blocks = nn.ModuleList()

    @property
    def tokens(self) -> int:
        """l = D + 1."""
        return self.ambient + 1

    def embed(self, x: Tensor) -> Tensor:
        """Tokens (P, l, w) of points (P, D)."""
        data = nn.functional.pad(x[:, :, None], (0, self.width - 1, 0, 1))
        return data + self.position

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.embed(x)
        last = len(self.blocks) - 1
        for index, block in enumerate(self.blocks):
            # of the last block only the output token is read, so only that one is computed
            hidden = block(hidden, 1 if index == last else self.tokens)
        return self.readout(self.norm(hidden[:, -1]))[:, 0]


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(P, l, heads * p) -> (P, heads, l, p)."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


class SoftmaxBlock(nn.Module):
    """h + A(LN h), then h + F(LN h): multi-head softmax attention and a feed-forward network of 4 w hidden units.

    Pre-norm order as in Xiong et al. 2020, arXiv 2002.04745; attention of Vaswani et al. 2017, arXiv 1706.03762, eq. 1.
    """

    def __init__(self, width: int, heads: int, activation: str, generator: torch.Generator) -> None:
        super().__init__()
        self.heads, self.activation = heads, activation_named(activation)
        self.norm1 = nn.LayerNorm(width, dtype=torch.float64)
        self.norm2 = nn.LayerNorm(width, dtype=torch.float64)
        self.query = linear(width, width, generator)
        self.key_value = linear(width, 2 * width, generator)
        self.out = linear(width, width, generator)
        self.up = linear(width, 4 * width, generator, gain=math.sqrt(2))
        self.down = linear(4 * width, width, generator)

    def forward(self, hidden: Tensor, targets: int) -> Tensor:
        """The last `targets` tokens after the block, (P, targets, w), of hidden states (P, l, w)."""
        normed = self.norm1(hidden)
        query = split_heads(self.query(normed[:, -targets:]), self.heads)
        key, value = (split_heads(part, self.heads) for part in self.key_value(normed).chunk(2, dim=-1))
        score = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
        mixed = (score.softmax(dim=-1) @ value).transpose(1, 2).flatten(2)
        hidden = hidden[:, -targets:] + self.out(mixed)
        return hidden + self.down(self.activation(self.up(self.norm2(hidden))))


class SoftmaxTransformer(TokenModel):
    """Standard pre-norm softmax transformer. `width` is divisible by `heads`, `InputError` otherwise."""

    def __init__(
        self, ambient: int, width: int, heads: int, blocks: int, *, activation: str = "gelu", generator: torch.Generator
    ) -> None:
        super().__init__(ambient, width, generator)
        check_heads(width, heads)
        self.depth = positive_integer(blocks, "blocks")
        self.blocks.extend(SoftmaxBlock(width, heads, activation, generator) for _ in range(blocks))

    @property
    def multiply_adds(self) -> int:
        w, tokens = self.width, self.tokens
        total = w
        for block in range(self.depth):
            targets = tokens if block < self.depth - 1 else 1
            # query, output, up and down of each target; key and value of each token; scores and mixture of each pair
            total += 10 * w * w * targets + 2 * w * w * tokens + 2 * w * targets * tokens
        return total


def check_heads(width: int, heads: int) -> None:
    """Raise `InputError` unless `heads` >= 1 divides `width`."""
    if positive_integer(width, "width") % positive_integer(heads, "heads"):
        raise invalid("width", f"a multiple of heads = {heads}", width)
