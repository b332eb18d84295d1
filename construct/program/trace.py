"""Traces: the named registers of a program after each stage, as an execution of the weights finds them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from construct.program.layout import TokenLayout
from construct.validation import one_of

INPUT = "input"  # the state before the first stage


@dataclass(frozen=True, eq=False)
class StageTrace(Mapping[str, Tensor]):
    """Slots `"GROUP.register"` to values (points, *axes of the group), after one stage."""

    layout: TokenLayout
    state: Tensor  # (points, l, w)

    def __getitem__(self, slot: str) -> Tensor:
        group, _, register = one_of(slot, "slot", slots(self.layout)).rpartition(".")
        tokens = self.layout.tokens(group)
        values = self.state[:, tokens.ravel(), self.layout.row(register)]
        return values.reshape(len(values), *tokens.shape)

    def __iter__(self) -> Iterator[str]:
        return iter(slots(self.layout))

    def __len__(self) -> int:
        return len(slots(self.layout))


@dataclass(frozen=True, eq=False)
class Trace(Mapping[str, StageTrace]):
    """Stages, in order, to their slots: `trace["partition of unity"]["R.a"]`; `"input"` comes first."""

    layout: TokenLayout
    stages: Sequence[str]
    states: Sequence[Tensor]

    def __getitem__(self, stage: str) -> StageTrace:
        names = list(self)
        return StageTrace(self.layout, self.states[names.index(one_of(stage, "stage", names))])

    def __iter__(self) -> Iterator[str]:
        return iter((INPUT, *self.stages))

    def __len__(self) -> int:
        return 1 + len(self.stages)

    def axes(self, slot: str) -> tuple[str, ...]:
        """What the axes of a slot's values mean."""
        group = one_of(slot, "slot", slots(self.layout)).rpartition(".")[0]
        return ("point", *self.layout.group(group).axes)


def slots(layout: TokenLayout) -> tuple[str, ...]:
    """Every `GROUP.register` of a layout."""
    return tuple(f"{group.name}.{register}" for group in layout.groups for register in layout.registers)
