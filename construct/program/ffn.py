"""Feed-forward gadgets with w = 5 channels, gated by position.

The FFN is the same for all tokens, so a gadget that is meant for tokens `first..last` carries up to two channels
whose sum `g` is 0 on the range and at least `floor` outside (`PositionCode.range_gate`); subtracting `C g` inside
a ReLU silences it there when `C floor` is at least the largest value that it could take.

All gadgets are residual: they return what is *added* to the token. `relu` acts after every layer but the last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from construct.arrays import Float
from construct.errors import InputError
from construct.program.layout import TokenLayout
from construct.transformer.weights import FeedForward

Affine = Mapping[str, float]  # row name -> coefficient; "one" is the constant


def affine_layers(
    layout: TokenLayout,
    first: Sequence[Affine | Float],
    middle: Sequence[Float],
    output: Mapping[str, Float],
) -> FeedForward:
    """A network from its channels.

    first: affine functions of the token, by row name, or functionals over `(code0, code1, 1)`.
    middle: matrices (channels, previous channels + 1), the last column being the bias.
    output: for each written row the combination of the last channels (bias last).
    """
    width = layout.embedding_dim
    if len(first) > width:
        raise InputError(f"first: at most {width} channels fit an FFN of width {width}, got {len(first)}")
    one = layout.row("one")
    weight, bias = np.zeros((width, width)), np.zeros(width)
    for channel, coefficients in enumerate(first):
        if isinstance(coefficients, Mapping):
            for name, coefficient in coefficients.items():
                weight[channel, layout.row(name)] += coefficient
        else:
            weight[channel, list(layout.code_rows)] += coefficients
    bias[:] = weight[:, one]
    weight[:, one] = 0.0
    layers = [(weight, bias)]
    for matrix in middle:
        weight, bias = np.zeros((width, width)), np.zeros(width)
        rows, columns = matrix.shape
        weight[:rows, : columns - 1], bias[:rows] = matrix[:, :-1], matrix[:, -1]
        layers.append((weight, bias))
    weight, bias = np.zeros((width, width)), np.zeros(width)
    for name, combination in output.items():
        weight[layout.row(name), : len(combination) - 1] = combination[:-1]
        bias[layout.row(name)] = combination[-1]
    layers.append((weight, bias))
    return FeedForward(tuple(layers))


def _gated(layout: TokenLayout, span: tuple[int, int] | None, bound: float) -> tuple[list[Float], float]:
    """Gate functionals of a range and the constant that silences values up to `bound` outside."""
    if span is None:
        return [], 0.0
    rows, floor = layout.code.range_gate(*span)
    constant = max(bound, 0.0) * 1.01 / floor
    return list(rows), float(2.0 ** np.ceil(np.log2(constant))) if constant > 0 else 1.0


def clip(layout: TokenLayout, row: str = "a", limit: float = 1.0) -> FeedForward:
    """`row <- clip(row, -limit, limit)` on every token: `+ relu(-limit - r) - relu(r - limit)`; exact."""
    first = [{row: -1.0, "one": -limit}, {row: 1.0, "one": -limit}]
    return affine_layers(layout, first, [], {row: np.array([1.0, -1.0, 0.0])})


def gated_clip(
    layout: TokenLayout, span: tuple[int, int], bound: float, row: str = "a", limit: float = 1.0
) -> FeedForward:
    """`row <- clip(row, -limit, limit)` on a range; `bound >= |row|` over the tokens outside. Three layers."""
    gate, constant = _gated(layout, span, bound)
    first: list[Affine | Float] = [{row: -1.0, "one": -limit}, {row: 1.0, "one": -limit}, *gate]
    closed = [-constant] * len(gate)
    middle = np.array([[1.0, 0.0, *closed, 0.0], [0.0, 1.0, *closed, 0.0]])
    return affine_layers(layout, first, [middle], {row: np.array([1.0, -1.0, 0.0])})


def clear(layout: TokenLayout, span: tuple[int, int], bound: float, row: str = "a") -> FeedForward:
    """`row <- 0` on a range; `bound >= |row|` over the tokens outside. Three layers."""
    gate, constant = _gated(layout, span, bound)
    first: list[Affine | Float] = [{row: 1.0}, {row: -1.0}, *gate]
    closed = [-constant] * len(gate)
    middle = np.array([[1.0, 0.0, *closed, 0.0], [0.0, 1.0, *closed, 0.0]])
    return affine_layers(layout, first, [middle], {row: np.array([-1.0, 1.0, 0.0])})


def bump(
    layout: TokenLayout, span: tuple[int, int], kind: str, *, source: str = "a", target: str = "b", scale: float = 1.0
) -> FeedForward:
    """`target += bump(scale * source)` on a range. Three layers, 4 channels.

    hat(u) = relu(1 - relu(u) - relu(-u));  trapezoid(u) = relu(1 - relu(u - 1) - relu(-u - 1)): 1 on [-1, 1],
    0 off [-2, 2]. The gated value never exceeds 1, whatever the source holds.
    """
    if kind not in ("hat", "trapezoid"):
        raise InputError(f"kind: expected 'hat' or 'trapezoid', got {kind!r}")
    edge = 0.0 if kind == "hat" else -1.0
    gate, constant = _gated(layout, span, 1.0)
    first: list[Affine | Float] = [{source: scale, "one": edge}, {source: -scale, "one": edge}, *gate]
    middle = np.array([[-1.0, -1.0, *([-constant] * len(gate)), 1.0]])
    return affine_layers(layout, first, [middle], {target: np.array([1.0, 0.0])})


def clamp(layout: TokenLayout, span: tuple[int, int], argument: Affine, *, target: str = "b") -> FeedForward:
    """`target += clamp(u, 0, 1)` on a range, `u` affine in the rows: `relu(1 - relu(1 - u))`. Three layers.

    Exactly 1 where u >= 1 and exactly 0 where u <= 0; the gated value never exceeds 1.
    """
    gate, constant = _gated(layout, span, 1.0)
    flipped = {row: -coefficient for row, coefficient in argument.items()}
    flipped["one"] = flipped.get("one", 0.0) + 1.0
    first: list[Affine | Float] = [flipped, *gate]
    middle = np.array([[-1.0, *([-constant] * len(gate)), 1.0]])
    return affine_layers(layout, first, [middle], {target: np.array([1.0, 0.0])})


def indicator_ramp(
    layout: TokenLayout,
    span: tuple[int, int],
    *,
    radius_squared: float,
    doublings: int,
    source: str = "b",
    target: str = "a",
) -> FeedForward:
    """`target += clamp((r^2 - source)/Delta, 0, 1)`, `Delta = r^2 2^-doublings`, on a range: chart indicator.

    `v = relu(1 - source/r^2)`; `doublings` layers `v <- relu(2 v)` that carry the gate channels with weights O(1);
    `relu(1 - v)`; `relu(1 - . - C g)`; output. Depth `doublings + 4` (Havrilla and Liao; Chen et al. 2019).
    """
    gate, constant = _gated(layout, span, 1.0)
    count = len(gate)
    first: list[Affine | Float] = [{source: -1.0 / radius_squared, "one": 1.0}, *gate]
    carry = np.hstack([np.eye(1 + count), np.zeros((1 + count, 1))])
    double, flip = carry.copy(), carry.copy()
    double[0, 0] = 2.0
    flip[0, 0], flip[0, -1] = -1.0, 1.0
    close = np.array([[-1.0, *([-constant] * count), 1.0]])
    return affine_layers(layout, first, [double] * doublings + [flip, close], {target: np.array([1.0, 0.0])})


def telescoping_weight(layout: TokenLayout, span: tuple[int, int], *, slope: float, bound: float) -> FeedForward:
    """On a range, `a = 1 + s` and `b` become `a = rho`, with `w = relu(slope b)`:

        rho = min(1, s + w) - min(1, s) = relu(1 - s) - relu(1 - s - w)            (partition of unity, ours)

    Layer 1: `p = relu(2 - a) = relu(1 - s)`, `w`, `q = relu(a)`, two gate channels: five in all.
    Layer 2: `relu(p - C g)`, `relu(p - w - C g)`, `relu(q - C g)`. Layer 3: `a += h1 - h2 - h3`.
    bound: largest |a| + 2 over the tokens outside the range.
    """
    gate, constant = _gated(layout, span, bound)
    first: list[Affine | Float] = [{"a": -1.0, "one": 2.0}, {"b": slope}, {"a": 1.0}, *gate]
    closed = [-constant] * len(gate)
    middle = np.array([[1.0, 0.0, 0.0, *closed, 0.0], [1.0, -1.0, 0.0, *closed, 0.0], [0.0, 0.0, 1.0, *closed, 0.0]])
    return affine_layers(layout, first, [middle], {"a": np.array([1.0, -1.0, -1.0, 0.0])})


def silence(layout: TokenLayout, span: tuple[int, int], bound: float, row: str = "a") -> FeedForward:
    """Push `row` of every token outside `span` to at most 0, given `|row| <= bound`: `row -= C g`, g >= floor."""
    gate, constant = _gated(layout, span, bound)
    if not gate:
        return FeedForward()
    return affine_layers(layout, gate, [], {row: np.array([-constant] * len(gate) + [0.0])})
