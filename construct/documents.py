"""JSON documents from outside, taken field by field: nothing is converted, nothing unknown is passed over.

Every function takes a piece of a parsed document and the name of its place, `origin.sizes.charts`, and returns what was
asked for or raises an `InputError` that names the place. What a document may cost is bounded by its length: integers
fit 64 bits, lists and texts are no longer than stated.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Iterable
from dataclasses import fields
from typing import Any, NoReturn, TypeVar

import numpy as np

from construct.arrays import Float, Int
from construct.errors import InputError
from construct.validation import described, integer, invalid

LONGEST_LABEL = 200
LONGEST_NOTE = 2000
LARGEST_INTEGER = 2**63 - 1
DEEPEST_ARRAY = 8

Made = TypeVar("Made")


def parsed(text: str | bytes, name: str) -> Any:
    """The document of a JSON text, strictly: UTF-8, each key once, no NaN, no Infinity.

    Raises:
        InputError: it is none.
    """
    try:
        plain = text if isinstance(text, str) else text.decode("utf-8")
        return json.loads(plain, object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError, MemoryError) as error:
        raise invalid(name, "a JSON document", got=f"{type(error).__name__}: {error}") from None


def written(document: object, name: str) -> str:
    """A document as compact JSON, every number as it stands.

    Raises:
        InputError: something that JSON has no words for: NaN, an infinity, an object of another type.
    """
    try:
        return json.dumps(document, allow_nan=False, separators=(",", ":"))
    except (ValueError, TypeError, RecursionError) as error:
        raise invalid(name, "what a JSON document can hold", got=str(error)) from None


def record(data: object, name: str, required: Collection[str], optional: Collection[str] = ()) -> dict[str, Any]:
    """An object with exactly these keys."""
    if not isinstance(data, dict):
        raise invalid(name, "an object", data)
    missing = [key for key in required if key not in data]
    if missing:
        raise invalid(f"{name}.{missing[0]}", "a value", got="none")
    unknown = sorted(set(data) - set(required) - set(optional))
    if unknown:
        known = ", ".join([*required, *optional])
        raise invalid(name, f"no keys but {known}", got=f"also {described(unknown)}")
    return data


def a_list(data: object, name: str, *, least: int = 0, most: int | None = None) -> list[Any]:
    """A list of `least` to `most` entries."""
    long = isinstance(data, list) and len(data) >= least and (most is None or len(data) <= most)
    if not isinstance(data, list) or not long:
        entries = f"{least}" if least == most else f"at least {least}" if most is None else f"{least} to {most}"
        raise invalid(name, f"a list of {entries} entries", data)
    return data


def label(data: object, name: str) -> str:
    """A name that can be printed: no control characters, no escape sequences, not empty, not long."""
    return _printable(data, name, least=1, most=LONGEST_LABEL)


def remark(data: object, name: str) -> str:
    """Words that can be printed, perhaps none."""
    return _printable(data, name, least=0, most=LONGEST_NOTE)


def number(data: object, name: str) -> float:
    """A finite number; true, "1" and null are none."""
    if type(data) not in (int, float):
        raise invalid(name, "a finite number", data)
    try:
        value = float(data)  # type: ignore[arg-type]
    except OverflowError:
        value = math.inf
    if not math.isfinite(value):
        raise invalid(name, "a finite number", got="one beyond float64")
    return value


def whole(data: object, name: str, *, minimum: int = 0, maximum: int = LARGEST_INTEGER) -> int:
    """An integer; 1.0 and true are none."""
    if type(data) is not int:
        raise invalid(name, f"an integer >= {minimum}", data)
    return integer(data, name, minimum=minimum, maximum=maximum)


def flag(data: object, name: str) -> bool:
    """True or false."""
    if not isinstance(data, bool):
        raise invalid(name, "true or false", data)
    return data


def floats(data: object, name: str) -> Float:
    """Finite numbers, one alone or nested lists of equal lengths, as an array."""
    leaves, shape = _leaves(data, name)
    if not all(type(leaf) is float or type(leaf) is int for leaf in leaves):
        wrong = next(leaf for leaf in leaves if type(leaf) not in (int, float))
        raise invalid(name, "finite numbers", wrong)
    try:
        values = np.array(leaves, dtype=np.float64).reshape(shape)
    except OverflowError:
        raise invalid(name, "finite numbers", got="one beyond float64") from None
    if not np.isfinite(values).all():
        raise invalid(name, "finite numbers", got="one beyond float64")
    return values


def integers(data: object, name: str) -> Int:
    """Integers of 64 bits, one alone or nested lists of equal lengths, as an array; 2.0, true and "3" are none."""
    leaves, shape = _leaves(data, name)
    if not all(type(leaf) is int for leaf in leaves):
        raise invalid(name, "integers", next(leaf for leaf in leaves if type(leaf) is not int))
    try:
        return np.array(leaves, dtype=np.int64).reshape(shape)
    except OverflowError:
        raise invalid(name, "integers of 64 bits", got="a larger one") from None


def pairs(data: object, name: str, read: Callable[[object, str], Made]) -> dict[tuple[str, str], Made]:
    """`[[first, second, value], ...]` as a mapping from `(first, second)`, each pair once."""
    found: dict[tuple[str, str], Made] = {}
    for index, entry in enumerate(a_list(data, name)):
        place = f"{name}[{index}]"
        first, second, value = a_list(entry, place, least=3, most=3)
        key = label(first, f"{place}[0]"), label(second, f"{place}[1]")
        if key in found:
            raise invalid(place, "each pair once", got=f"{key} again")
        found[key] = read(value, f"{place}[2]")
    return found


def nullable(read: Callable[[Any, str], Made]) -> Callable[[Any, str], Made | None]:
    """`read`, or null."""
    return lambda data, name: None if data is None else read(data, name)


READERS: dict[str, Callable[[Any, str], Any]] = {
    "int": whole,
    "float": number,
    "bool": flag,
    "str": remark,
    "int | None": nullable(whole),
    "float | None": nullable(number),
    "tuple[int, ...]": lambda data, name: tuple(
        whole(entry, f"{name}[{i}]") for i, entry in enumerate(a_list(data, name, most=1000))
    ),
}
"""How a field of a frozen record is read, by its annotation as it is written in the source."""


def record_of(made: type[Made], data: object, name: str, without: Collection[str] = ()) -> Made:
    """A dataclass of plain fields from an object with exactly those keys; the class itself checks the ranges.

    Raises:
        InputError: another key, type or range.
    """
    wanted = {field.name: field.type for field in fields(made) if field.init and field.name not in without}  # type: ignore[arg-type]
    found = record(data, name, tuple(wanted))
    values = {}
    for key, annotation in wanted.items():
        read = READERS.get(str(annotation), label)  # a Literal is a word; the class knows which
        values[key] = read(found[key], f"{name}.{key}")
    return at_place(name, lambda: made(**values))


def at_place(name: str, make: Callable[[], Made]) -> Made:
    """What `make` returns; what it refuses is a field of this place."""
    try:
        return make()
    except InputError as error:
        field, expected, got = _told(str(error))
        raise invalid(f"{name}.{field}", expected, got=got) from error


# -- within -----------------------------------------------------------------------------------------------------------


def _once(items: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in items:
        if key in found:
            raise ValueError(f"the key {described(key)} twice")
        found[key] = value
    return found


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")


def _printable(data: object, name: str, *, least: int, most: int) -> str:
    if not isinstance(data, str) or not least <= len(data) <= most or not data.isprintable():
        raise invalid(name, f"a printable text of {least} to {most} characters", data)
    return data


def _told(text: str) -> tuple[str, str, str]:
    """The three parts of a refusal: the argument, what was expected, what was given."""
    field, _, rest = text.partition(": expected ")
    expected, _, got = rest.partition(", got ")
    return field, expected, got


def _leaves(data: object, name: str) -> tuple[list[Any], tuple[int, ...]]:
    leaves: list[Any] = [data]
    shape: list[int] = []
    while leaves and isinstance(leaves[0], list):
        length = len(leaves[0])
        if len(shape) == DEEPEST_ARRAY or any(not isinstance(row, list) or len(row) != length for row in leaves):
            raise invalid(name, "numbers, or lists of numbers of equal lengths", data)
        shape.append(length)
        leaves = [leaf for row in leaves for leaf in row]
    return leaves, tuple(shape)
