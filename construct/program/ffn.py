"""Feed-forward gadgets, gated by position; at most five channels each.

The FFN is the same for all tokens, so a gadget that is meant for tokens `first..last` carries up to two channels
whose sum `g` is 0 on the range and at least `floor` outside (`PositionCode.range_gate`); subtracting `C g` inside
a ReLU silences it there when `C floor` is at least the largest value that it could take (`constants.range_constant`).

All gadgets are residual: they return what is *added* to the token. `relu` acts after every layer but the last. Each is
a function of the layout, the range (None: all tokens), the gate constant and its own numbers; a program names it by
an `Ffn`, which is data, and `GADGETS` says what each name builds and which bound its constant rests on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from inspect import signature
from typing import Any

import numpy as np

from construct.arrays import Float
from construct.documents import a_list, at_place, label, number, record, whole
from construct.program.codes import EntryRange, Span
from construct.program.constants import range_constant
from construct.program.layout import ONE, TokenLayout
from construct.transformer.weights import FeedForward
from construct.validation import integer, invalid, one_of, positive_real

MOST_GROUPS, MOST_ROWS, LARGEST_END = 1000, 64, 2**53  # of a document
MOST_DOUBLINGS = 1023  # 2^1024 is no float64
LONGEST_WAVE = 26  # doublings: t^2 <= 2^52 is exact
MOST_WINDOWS = 16

Affine = Mapping[str, float]  # row name -> coefficient; ONE is the constant
Outside = Callable[[str], float]  # row name -> largest absolute value over the tokens outside the range


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


# -- FFNs as data -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Gadget:
    """What a name stands for: how its weights are built, what the gate has to silence, what it does in words."""

    build: Callable[..., FeedForward]  # (layout, span, constant, **numbers)
    silenced: Callable[[Outside, Mapping[str, Any]], float]
    text: str


def _row_outside(outside: Outside, numbers: Mapping[str, Any]) -> float:
    return outside(numbers.get("row", "a"))


def _one(outside: Outside, numbers: Mapping[str, Any]) -> float:
    return 1.0


GADGETS = {
    "clip": Gadget(clip, _row_outside, "{row} <- clip({row}, -{limit:.6g}, {limit:.6g})"),
    "shifted_clip": Gadget(shifted_clip, _row_outside, "{row} <- clip({row} + {shift:.6g}, -{limit:.6g}, {limit:.6g})"),
    "clear": Gadget(clear, _row_outside, "{row} <- 0"),
    "bump": Gadget(bump, _one, "{target} += {kind}({scale:.6g} {source})"),
    "clamp": Gadget(clamp, _one, "{target} += clamp({argument}, 0, 1)"),
    "indicator_ramp": Gadget(
        indicator_ramp, _one, "{target} += clamp(2^{doublings} (1 - {source}/{radius_squared:.6g}), 0, 1)"
    ),
    "telescoping_weight": Gadget(
        telescoping_weight,
        lambda outside, numbers: 2 + outside("a"),
        "a <- relu(2 - a) - relu(2 - a - relu({slope:.6g} b))",
    ),
    "silence": Gadget(
        silence,
        lambda outside, numbers: outside(numbers.get("row", "a")) - numbers.get("most", 0.0),
        "{row} <= {most:.6g} outside",
    ),
    "cell_window": Gadget(cell_window, _one, "{target} += psi(e - n), {row} <- clip({row} + {shift:.6g}, -1, 1)"),
    "zigzag": Gadget(zigzag, _one, "{row} += wave_{folds} - wave_{held} of {source} / 2^{doublings}"),
}


@dataclass(frozen=True)
class Ffn:
    """The FFN of a stage: a gadget by name, the groups of tokens that it is meant for, its numbers.

    Attributes:
        gadget: a key of `GADGETS`.
        groups: side by side in the layout; none: every token, or those of `where`.
        numbers: keyword arguments of the gadget.
        where: a range of a code entry, instead of groups.
    """

    gadget: str
    groups: tuple[str, ...] = ()
    numbers: Mapping[str, Any] = field(default_factory=dict)
    where: EntryRange | None = None

    def __post_init__(self) -> None:
        one_of(self.gadget, "gadget", GADGETS)
        if self.groups and self.where is not None:
            raise invalid("where", "None beside groups", self.where)

    def span(self, layout: TokenLayout) -> Span | None:
        """First and last token that it is meant for."""
        return layout.span(*self.groups) if self.groups else self.where

    def constant(self, layout: TokenLayout, outside: Outside) -> float:
        """The gate constant for the bounds that hold outside the range."""
        return range_constant(layout.code, self.span(layout), GADGETS[self.gadget].silenced(outside, self.numbers))

    def weights(self, layout: TokenLayout, constant: float) -> FeedForward:
        return GADGETS[self.gadget].build(layout, self.span(layout), constant, **self.numbers)

    def text(self) -> str:
        where = " and ".join(self.groups) if self.groups else "every token"
        if self.where is not None:
            where = f"tokens with {self.where.first} <= {self.where.entry} <= {self.where.last}"
        gadget = GADGETS[self.gadget]
        defaults = {name: p.default for name, p in signature(gadget.build).parameters.items()}
        return f"{gadget.text.format(**defaults | dict(self.numbers))} on {where}"

    def to_json(self) -> dict[str, Any]:
        data = {"gadget": self.gadget, "groups": list(self.groups), "numbers": dict(self.numbers)}
        return data if self.where is None else data | {"where": list(astuple(self.where))}


def ffn_from_json(data: object, name: str = "ffn") -> Ffn:
    """The FFN that `Ffn.to_json` described.

    Raises:
        InputError: a field that is not as `to_json` writes it, or a number that the gadget does not take, named below
            `name`.
    """
    found = record(data, name, ("gadget", "groups", "numbers"), ("where",))
    gadget = one_of(found["gadget"], f"{name}.gadget", tuple(GADGETS))
    entries = a_list(found["groups"], f"{name}.groups", most=MOST_GROUPS)
    groups = tuple(label(group, f"{name}.groups[{i}]") for i, group in enumerate(entries))
    numbers = _numbers_from_json(gadget, found["numbers"], f"{name}.numbers")
    span = _range_from_json(found["where"], f"{name}.where") if "where" in found else None
    return at_place(name, lambda: Ffn(gadget, groups, numbers, span))


def _numbers_from_json(gadget: str, data: object, name: str) -> dict[str, Any]:
    """The keyword arguments of a gadget, each of the type that its signature says."""
    parameters = signature(GADGETS[gadget].build).parameters.values()
    taken = {p.name: p for p in parameters if p.kind is p.KEYWORD_ONLY}
    needed = [key for key, p in taken.items() if p.default is p.empty]
    found = record(data, name, needed, [key for key in taken if key not in needed])
    return {key: NUMBERS[str(taken[key].annotation)](value, f"{name}.{key}") for key, value in found.items()}


def _affine_from_json(data: object, name: str) -> dict[str, float]:
    found = record(data, name, (), data if isinstance(data, dict) else ())
    if not 1 <= len(found) <= MOST_ROWS:
        raise invalid(name, f"1 to {MOST_ROWS} rows", len(found))
    return {label(row, name): number(coefficient, f"{name}.{row}") for row, coefficient in found.items()}


def _range_from_json(data: object, name: str) -> EntryRange:
    entry, first, last = a_list(data, name, least=3, most=3)
    ends = {"minimum": -LARGEST_END, "maximum": LARGEST_END}
    low, high = whole(first, f"{name}[1]", **ends), whole(last, f"{name}[2]", **ends)
    return at_place(name, lambda: EntryRange(label(entry, f"{name}[0]"), low, high))


NUMBERS: dict[str, Callable[[Any, str], Any]] = {
    "str": label,
    "float": number,
    "int": lambda data, name: whole(data, name, maximum=MOST_DOUBLINGS),
    "Affine": _affine_from_json,
}
"""How a number of a gadget is read, by the annotation of its parameter."""
