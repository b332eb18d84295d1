"""JSON that leaves nothing open: no key twice, no NaN, no depth or length without end; and checks of single values.

`Fields` takes the fields of an object one by one; what is left over, or missing, refuses the file.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

MOST_BYTES = 1 << 28
LARGEST = 2.0**100  # of a number that is no constant of an expression
LONGEST_NUMBER = 400  # digits


class Refused(ValueError):
    """A step of the proof that fails, or something that is not understood."""


def require(holds: bool, name: str, expected: str, got: object = "something else") -> None:
    """A step of the proof; what does not hold, or is not understood, ends the check."""
    if not holds:
        shown = got if isinstance(got, str) and got.isprintable() else ascii(got)
        raise Refused(f"{name if name.isprintable() else ascii(name)}: expected {expected}, got {shown[:80]}")


def parsed(data: bytes, name: str) -> Any:
    """The JSON value of a file."""
    require(len(data) <= MOST_BYTES, name, f"at most {MOST_BYTES} bytes", str(len(data)))

    def whole(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        twice = len(pairs) - len(dict(pairs))
        require(twice == 0, name, "every key once", f"{twice} of them again, among {[key for key, _ in pairs]}")
        return dict(pairs)

    def finite(number: str) -> float:
        require(len(number) <= LONGEST_NUMBER and math.isfinite(float(number)), name, "finite numbers", number)
        return float(number)

    def short(number: str) -> int:
        require(len(number) <= LONGEST_NUMBER, name, f"integers of at most {LONGEST_NUMBER} digits", number)
        return int(number)

    try:
        hooks: dict[str, Any] = {"object_pairs_hook": whole, "parse_float": finite, "parse_int": short}
        return json.loads(data.decode(), parse_constant=finite, **hooks)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as failure:
        raise Refused(f"{name}: expected JSON, got {type(failure).__name__}: {ascii(str(failure))[:80]}") from failure


class Fields:
    """The fields of an object, each of which is taken once."""

    def __init__(self, value: Any, name: str) -> None:
        require(type(value) is dict, name, "an object", value)
        self.rest, self.name = dict(value), name

    def take(self, key: str, check: Callable[[Any, str], T]) -> T:
        """The checked value of a field that must be there."""
        name = f"{self.name}.{key}".removeprefix("certificate.")
        require(key in self.rest, name, "this field", "none")
        return check(self.rest.pop(key), name)

    def end(self) -> None:
        require(not self.rest, self.name, "no other fields", f"also {sorted(self.rest)}")


def text(value: Any, name: str, longest: int = 1 << 26) -> str:
    require(type(value) is str and len(value) <= longest, name, "a text", value)
    return str(value)


def shown(value: Any, name: str) -> str:
    """A line that a terminal shows as it is."""
    line = text(value, name, 10_000)
    require(line.isprintable(), name, "printable characters", value)
    return line


def exactly(*allowed: str) -> Callable[[Any, str], str]:
    def check(value: Any, name: str) -> str:
        require(type(value) is str and value in allowed, name, " or ".join(allowed)[:200], value)
        return str(value)

    return check


def sha256(value: Any, name: str) -> str:
    hexadecimal = type(value) is str and len(value) == 64 and set(value) <= set("0123456789abcdef")
    require(hexadecimal, name, "64 hexadecimal digits", value)
    return str(value)


def integer(value: Any, name: str, low: int, high: int) -> int:
    require(type(value) is int and low <= value <= high, name, f"an integer from {low} to {high}", value)
    return int(value)


def real(value: Any, name: str, low: float = -LARGEST, high: float = LARGEST) -> float:
    """A number with a point or an exponent, as floats are written."""
    require(type(value) is float and low <= value <= high, name, f"a float from {low:g} to {high:g}", value)
    return float(value)


def items(value: Any, name: str, least: int, most: int) -> list[Any]:
    require(type(value) is list, name, "a list", value)
    fits = least <= len(value) <= most
    require(fits, name, f"{least} entries" if least == most else f"{least} to {most} entries", f"{len(value)} of them")
    return list(value)


def reals(value: Any, name: str, least: int, most: int) -> list[float]:
    return [real(entry, f"{name}[{i}]") for i, entry in enumerate(items(value, name, least, most))]
