"""Feed-forward networks as data: a program names one by an `Ffn`, a gadget with its range and its numbers.

`GADGETS` says what each name builds (`gadgets`) and which bound its gate constant rests on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass, field
from inspect import signature
from typing import Any

from construct.documents import a_list, at_place, label, number, record, whole
from construct.program.codes import EntryRange, Span
from construct.program.constants import range_constant
from construct.program.gadgets import (
    MOST_DOUBLINGS,
    bump,
    cell_window,
    clamp,
    clear,
    clip,
    indicator_ramp,
    shifted_clip,
    silence,
    telescoping_weight,
    zigzag,
)
from construct.program.layout import TokenLayout
from construct.transformer.weights import FeedForward
from construct.validation import invalid, one_of

MOST_GROUPS, MOST_ROWS, LARGEST_END = 1000, 64, 2**53  # of a document

Outside = Callable[[str], float]  # row name -> largest absolute value over the tokens outside the range


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
