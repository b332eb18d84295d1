"""Feed-forward gadgets, gated by position; at most five channels each, and twice as many as there are windows.

The FFN is the same for all tokens, so a gadget that is meant for tokens `first..last` carries up to two channels
whose sum `g` is 0 on the range and at least `floor` outside (`PositionCode.range_gate`); subtracting `C g` inside
a ReLU silences it there when `C floor` is at least the largest value that it could take (`constants.range_constant`).

All gadgets are residual: they return what is *added* to the token. `relu` acts after every layer but the last. Each is
a function of the layout, the range (None: all tokens), the gate constant and its own numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from construct.arrays import Float
from construct.program.codes import Span
from construct.program.layout import ONE, TokenLayout
from construct.transformer.weights import FeedForward
from construct.validation import integer, invalid, one_of, positive_real

MOST_DOUBLINGS = 1023  # 2^1024 is no float64
LONGEST_WAVE = 26  # doublings: t^2 <= 2^52 is exact
MOST_WINDOWS = 16

Affine = Mapping[str, float]  # row name -> coefficient; ONE is the constant


def affine_layers(
    layout: TokenLayout,
    first: Sequence[Affine | Float],
    middle: Sequence[Float],
    output: Mapping[str, Float],
) -> FeedForward:
    """A network from its channels.

    first: affine functions of the token, by row name, or functionals over `(code, 1)`.
    middle: matrices (channels, previous channels + 1), the last column being the bias.
    output: for each written row the combination of the last channels (bias last).
    """
    width = layout.embedding_dim
    if len(first) > width:
        raise invalid("first", f"at most {width} channels, the width of the FFN", len(first))
    one = layout.row(ONE)
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


def _gate(layout: TokenLayout, span: Span | None) -> list[Float]:
    """Gate functionals of a range."""
    return [] if span is None else list(layout.code.span_gate(span)[0])


def clip(
    layout: TokenLayout, span: Span | None = None, constant: float = 0.0, *, row: str = "a", limit: float = 1.0
) -> FeedForward:
    """`row <- clip(row, -limit, limit)`: `+ relu(-limit - r) - relu(r - limit)`, exact.

    On every token two layers; on a range three, silenced outside: `C floor >= |row|` over the tokens there.
    """
    if not limit >= 0:
        raise invalid("limit", "a number >= 0", limit)
    first: list[Affine | Float] = [{row: -1.0, ONE: -limit}, {row: 1.0, ONE: -limit}]
    added = {row: np.array([1.0, -1.0, 0.0])}
    if span is None:
        return affine_layers(layout, first, [], added)
    gate = _gate(layout, span)
    closed = [-constant] * len(gate)
    middle = np.array([[1.0, 0.0, *closed, 0.0], [0.0, 1.0, *closed, 0.0]])
    return affine_layers(layout, [*first, *gate], [middle], added)


def shifted_clip(
    layout: TokenLayout, span: Span | None, constant: float, *, shift: float, row: str = "a", limit: float = 1.0
) -> FeedForward:
    """`row <- clip(row + shift, -limit, limit)` on every token, exact; two layers, seven numbers.

    `shift + relu(-limit - shift - r) - relu(r + shift - limit)` is added.
    """
    if span is not None:
        raise invalid("span", "None: a shift of every token", span)
    if not limit >= 0:
        raise invalid("limit", "a number >= 0", limit)
    first: list[Affine | Float] = [{row: -1.0, ONE: -limit - shift}, {row: 1.0, ONE: shift - limit}]
    return affine_layers(layout, first, [], {row: np.array([1.0, -1.0, shift])})


def clear(layout: TokenLayout, span: Span | None, constant: float, *, row: str = "a") -> FeedForward:
    """`row <- 0` on a range; `C floor >= |row|` over the tokens outside. Three layers."""
    gate = _gate(layout, span)
    first: list[Affine | Float] = [{row: 1.0}, {row: -1.0}, *gate]
    closed = [-constant] * len(gate)
    middle = np.array([[1.0, 0.0, *closed, 0.0], [0.0, 1.0, *closed, 0.0]])
    return affine_layers(layout, first, [middle], {row: np.array([-1.0, 1.0, 0.0])})


def bump(
    layout: TokenLayout,
    span: Span | None,
    constant: float,
    *,
    kind: str,
    source: str = "a",
    target: str = "b",
    scale: float = 1.0,
) -> FeedForward:
    """`target += bump(scale * source)` on a range. Three layers, 4 channels.

    hat(u) = relu(1 - relu(u) - relu(-u));  trapezoid(u) = relu(1 - relu(u - 1) - relu(-u - 1)): 1 on [-1, 1],
    0 off [-2, 2]. The gated value never exceeds 1, whatever the source holds.
    """
    edge = 0.0 if one_of(kind, "kind", ("hat", "trapezoid")) == "hat" else -1.0
    gate = _gate(layout, span)
    first: list[Affine | Float] = [{source: scale, ONE: edge}, {source: -scale, ONE: edge}, *gate]
    middle = np.array([[-1.0, -1.0, *([-constant] * len(gate)), 1.0]])
    return affine_layers(layout, first, [middle], {target: np.array([1.0, 0.0])})


def clamp(
    layout: TokenLayout, span: Span | None, constant: float, *, argument: Affine, target: str = "b"
) -> FeedForward:
    """`target += clamp(u, 0, 1)` on a range, `u` affine in the rows: `relu(1 - relu(1 - u))`. Three layers.

    Exactly 1 where u >= 1 and exactly 0 where u <= 0; the gated value never exceeds 1.
    """
    gate = _gate(layout, span)
    flipped = {row: -coefficient for row, coefficient in argument.items()}
    flipped[ONE] = flipped.get(ONE, 0.0) + 1.0
    first: list[Affine | Float] = [flipped, *gate]
    middle = np.array([[-1.0, *([-constant] * len(gate)), 1.0]])
    return affine_layers(layout, first, [middle], {target: np.array([1.0, 0.0])})


def indicator_ramp(
    layout: TokenLayout,
    span: Span | None,
    constant: float,
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
    positive_real(radius_squared, "radius_squared")
    integer(doublings, "doublings", maximum=MOST_DOUBLINGS)
    gate = _gate(layout, span)
    count = len(gate)
    first: list[Affine | Float] = [{source: -1.0 / radius_squared, ONE: 1.0}, *gate]
    carry = np.hstack([np.eye(1 + count), np.zeros((1 + count, 1))])
    double, flip = carry.copy(), carry.copy()
    double[0, 0] = 2.0
    flip[0, 0], flip[0, -1] = -1.0, 1.0
    close = np.array([[-1.0, *([-constant] * count), 1.0]])
    return affine_layers(layout, first, [double] * doublings + [flip, close], {target: np.array([1.0, 0.0])})


def telescoping_weight(layout: TokenLayout, span: Span | None, constant: float, *, slope: float) -> FeedForward:
    """On a range, `a = 1 + s` and `b` become `a = rho`, with `w = relu(slope b)`:

        rho = min(1, s + w) - min(1, s) = relu(1 - s) - relu(1 - s - w)            (partition of unity, ours)

    Layer 1: `p = relu(2 - a) = relu(1 - s)`, `w`, `q = relu(a)`, two gate channels: five in all.
    Layer 2: `relu(p - C g)`, `relu(p - w - C g)`, `relu(q - C g)`. Layer 3: `a += h1 - h2 - h3`.
    `C floor >= |a| + 2` over the tokens outside the range.
    """
    gate = _gate(layout, span)
    first: list[Affine | Float] = [{"a": -1.0, ONE: 2.0}, {"b": slope}, {"a": 1.0}, *gate]
    closed = [-constant] * len(gate)
    middle = np.array([[1.0, 0.0, 0.0, *closed, 0.0], [1.0, -1.0, 0.0, *closed, 0.0], [0.0, 0.0, 1.0, *closed, 0.0]])
    return affine_layers(layout, first, [middle], {"a": np.array([1.0, -1.0, -1.0, 0.0])})


def silence(
    layout: TokenLayout, span: Span | None, constant: float, *, row: str = "a", most: float = 0.0
) -> FeedForward:
    """Push `row` of every token outside a range to at most `most` <= 0: `row -= C g`, `C floor >= |row| - most`."""
    if not most <= 0:
        raise invalid("most", "a number <= 0", most)
    gate = _gate(layout, span)
    if not gate:
        return FeedForward()
    return affine_layers(layout, gate, [], {row: np.array([-constant] * len(gate) + [0.0])})


def zigzag(
    layout: TokenLayout,
    span: Span | None,
    constant: float,
    *,
    doublings: int,
    folds: int,
    held: int = 0,
    source: str = "t",
    row: str = "a",
) -> FeedForward:
    """`row += w_folds(t) - w_held(t)` on every token: the next of the waves of a position t, in place of the last.

    `w_f = 2^f u / T` with `T = 2^doublings`, u being t after f tent folds `u <- relu(u) - 2 relu(u - M)`, M = T/2,
    T/4, ..; 0 where t <= 0, and, for f >= 2, where t >= T: there the first fold is not positive. `w_0` is taken as 0.
    One layer a fold and one more; two channels, `relu(u)` and `relu(u - M)`, and after `w_held` one that carries it.
    """
    if span is not None:
        raise invalid("span", "None: waves of every token", span)
    integer(doublings, "doublings", minimum=1, maximum=LONGEST_WAVE)
    integer(folds, "folds", minimum=1, maximum=doublings)
    integer(held, "held", maximum=folds - 1)
    length = 2.0**doublings
    first: list[Affine | Float] = [{source: 1.0}, {source: 1.0, ONE: -length / 2}]
    middle = []
    for level in range(1, folds):
        carried = [0.0] * (0 < held < level - 1)
        rows = [[1.0, -2.0, *carried, 0.0], [1.0, -2.0, *carried, -length / 2.0 ** (level + 1)]]
        if 0 < held < level:
            rows.append([0.0, 0.0, 1.0, 0.0] if carried else [1.0, 0.0, 0.0])
        middle.append(np.array(rows))
    carrying = 0 < held < folds - 1
    output = np.array([1.0, -2.0, *([0.0] * carrying), 0.0]) * (2.0**folds / length)
    if held:
        output[2 if carrying else 0] -= 2.0**held / length
    return affine_layers(layout, first, middle, {row: output})


def zigzag_numbers(folds: int, held: int) -> int:
    """Non-zeros of `zigzag`: 3 + 5 a fold after the first + 2, and what carries the wave that is held."""
    carrying = folds - held if 0 < held < folds - 1 else 0
    return 5 * folds + carrying


def cell_window(
    layout: TokenLayout,
    span: Span | None,
    constant: float,
    *,
    shift: float,
    windows: int,
    row: str = "a",
    target: str = "w",
) -> FeedForward:
    """`target += psi(e - n)` and `row <- clip(row + shift, -1, 1)` on every token, rows e1, e2, .. and n1, n2, ..;
    exact.

    psi(u) = relu(1 - max(0, u_1, .., u_m) - max(0, -u_1, .., -u_m)), the nodal hat of the Kuhn triangulation, is at
    most 1 whatever e holds. Layer 1: `relu(e_j - n_j)`, `relu(n_j - e_j)`, `relu(-1 - shift - row)`, `relu(row + shift
    - 1)`. Then maxima of numbers >= 0 as a tree, `max(x, y) = x + relu(y - x)` with two channels for one maximum, the
    sum of which the next layer takes; the two channels of the clip are carried. Then psi; depth 3 + ceil(log2 m).
    """
    if span is not None:
        raise invalid("span", "None: windows of every token", span)
    integer(windows, "windows", minimum=1, maximum=MOST_WINDOWS)
    names = range(1, windows + 1)
    first: list[Affine | Float] = [{f"e{j}": sign, f"n{j}": -sign} for sign in (1.0, -1.0) for j in names]
    first += [{row: -1.0, ONE: -1.0 - shift}, {row: 1.0, ONE: shift - 1.0}]
    sides = [[[j] for j in range(windows)], [[windows + j] for j in range(windows)]]  # channels that add up to a number
    clips, channels, middle = [2 * windows, 2 * windows + 1], 2 * windows + 2, list[Float]()
    while len(sides[0]) > 1:
        rows, kept = list[Float](), list[list[list[int]]]()
        for side in sides:
            merged = list[list[int]]()
            for k in range(0, len(side), 2):
                merged.append([len(rows)])
                rows.append(_sum(side[k], channels))
                if k + 1 < len(side):
                    merged[-1].append(len(rows))
                    rows.append(_sum(side[k + 1], channels) - _sum(side[k], channels))
            kept.append(merged)
        rows += [_sum([channel], channels) for channel in clips]
        sides, clips, channels = kept, [len(rows) - 2, len(rows) - 1], len(rows)
        middle.append(np.array(rows))
    psi = -_sum([*sides[0][0], *sides[1][0]], channels)
    psi[-1] = 1.0
    middle.append(np.array([psi, *(_sum([channel], channels) for channel in clips)]))
    output = {target: np.array([1.0, 0.0, 0.0, 0.0]), row: np.array([0.0, 1.0, -1.0, shift])}
    return affine_layers(layout, first, middle, output)


def _sum(channels: Sequence[int], count: int) -> Float:
    """The sum of some of `count` channels, and no constant."""
    row = np.zeros(count + 1)
    row[list(channels)] = 1.0
    return row


def window_numbers(windows: int) -> int:
    """Non-zeros of `cell_window`: 17, 31, 49 for m = 1, 2, 3."""
    total, sides = 4 * windows + 4, [1] * windows
    while len(sides) > 1:
        merged = [sides[k : k + 2] for k in range(0, len(sides), 2)]
        total += 2 * sum(2 * pair[0] + pair[1] if len(pair) == 2 else pair[0] for pair in merged) + 2
        sides = [len(pair) for pair in merged]
    return total + 2 * sides[0] + 3 + 4
