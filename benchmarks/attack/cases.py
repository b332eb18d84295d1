"""What a surface is, what a case is, and what may come out of one.

A case is made of named choices and is reproducible from (seed, surface, number) alone. What comes out of it is right (a
value that an oracle confirmed), refused (in the library's dialect), or a finding of one of `FINDINGS`.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

RIGHT, REFUSED = "right", "refused"
RAW = "raw exception"
WRONG = "silent wrong value"
NOT_FINITE = "NaN or infinity out"
FALSE = "accepted what is false"
TURNED_AWAY = "refused what is right"
DIALECT = "error outside the dialect"
ESCAPE = "terminal escape printed"
LEFT_OVER = "left-over file"
WARNING = "raw warning"
STATE = "global state changed"
HANG = "hang"
CRASH = "crash"
FINDINGS = (RAW, WRONG, NOT_FINITE, FALSE, TURNED_AWAY, DIALECT, ESCAPE, LEFT_OVER, WARNING, STATE, HANG, CRASH)
_SHOWN = 160


@dataclass(frozen=True)
class Outcome:
    """What came out of a case.

    Attributes:
        kind: "right", "refused" or one of `FINDINGS`.
        what: what findings of a kind are grouped by, e.g. the exception and the frame that raised it.
        detail: the rest, for people.
    """

    kind: str
    what: str = ""
    detail: str = ""

    @property
    def found(self) -> bool:
        return self.kind not in (RIGHT, REFUSED)


@dataclass(frozen=True)
class Given:
    """A value with the text that makes it."""

    text: str
    value: Any = field(compare=False)


@dataclass(frozen=True)
class Case:
    """Named choices; those that are `Given` are shown by their text."""

    choices: dict[str, Any]

    def __getitem__(self, name: str) -> Any:
        chosen = self.choices[name]
        return chosen.value if isinstance(chosen, Given) else chosen

    def get(self, name: str, default: Any = None) -> Any:
        return self[name] if name in self.choices else default

    def without(self, name: str) -> Case:
        return replace(self, choices={key: value for key, value in self.choices.items() if key != name})

    @property
    def text(self) -> str:
        """All choices in one line, without control characters."""
        return ", ".join(f"{name}={shown(value)}" for name, value in self.choices.items())


def shown(value: Any) -> str:
    """A short text of a choice."""
    try:
        text = value.text if isinstance(value, Given) else repr(value)
    except Exception as error:
        text = f"<no repr: {type(error).__name__}>"
    text = printable(text)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}... ({len(text)} characters)"


def printable(text: str) -> str:
    """Text in which control characters and lone surrogates are written out."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


class Surface(ABC):
    """One attacked surface: a generator of cases, and a way to run and judge one.

    Attributes:
        name: of the surface.
        share: cases of it in 10^6.
        limit: seconds of processor time that one case may take; above it is a hang.
        chunk: cases that a worker takes at once.
        optional: choices that a minimised case may do without.
    """

    name: ClassVar[str]
    share: ClassVar[int]
    limit: ClassVar[float] = 10.0
    chunk: ClassVar[int] = 50
    optional: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, seed: int, folder: Path) -> None:
        """`folder` is one of its own, to be written to."""
        self.seed, self.folder = seed, folder
        self.prepare()

    def prepare(self) -> None:
        """What all cases need."""
        return

    def case(self, number: int) -> Case:
        """The case of this number."""
        return self.generate(random.Random(f"{self.seed}/{self.name}/{number}"))

    @abstractmethod
    def generate(self, rng: random.Random) -> Case:
        """A random case."""

    @abstractmethod
    def run(self, case: Case) -> Outcome:
        """Do it and judge it; what it raises is judged as a raw exception."""

    def simpler(self, case: Case) -> Iterator[Case]:
        """Cases with one choice less."""
        for name in case.choices:
            if name in self.optional:
                yield case.without(name)
