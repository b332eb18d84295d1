"""Checks of arguments shared by the whole library, and the one dialect in which they are refused.

Every error about an argument reads `name: expected ..., got ...` and is made by `invalid`. The other functions return
the checked value in its plain type or raise such an error. Where a number is expected, numpy and torch scalars (a
tensor without axes) are accepted like Python's own.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from construct.errors import InputError

_SHOWN = 80
_NOTHING = object()


def described(value: object) -> str:
    """A short description of an argument for an error message (shape and dtype instead of entries for
    tensors)."""
    if isinstance(value, Tensor) and not is_strided(value):
        return f"a tensor of layout {'nested' if value.is_nested else value.layout}"
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)} and dtype {value.dtype}"
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape} and dtype {value.dtype}"
    try:
        text = repr(value)
    except Exception:  # of a foreign object, or nested too deeply: the refusal has to be told all the same
        return f"a {type(value).__name__}"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def is_strided(x: Tensor) -> bool:
    """Whether a tensor has its entries in memory one by one: not sparse, nor nested."""
    return not x.is_nested and x.layout == torch.strided


def message(name: str, expected: str, given: object = _NOTHING, *, got: str | None = None) -> str:
    """`name: expected ..., got ...`; `given` is described, `got` is taken as it stands, its escape sequences apart."""
    return printable(f"{name}: expected {expected}, got {described(given) if got is None else got}")


def printable(text: str) -> str:
    """A text fit for a terminal: characters that are not printable as Python escapes, new lines as they are."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


def invalid(name: str, expected: str, given: object = _NOTHING, *, got: str | None = None) -> InputError:
    """The error for an argument of the wrong shape, type, range or with a non-finite entry; the caller raises it."""
    return InputError(message(name, expected, given, got=got))


def scalar(value: object) -> object:
    """A numpy or torch scalar as Python's own number; anything else as it is."""
    if isinstance(value, Tensor) and (value.is_meta or not is_strided(value)):
        return value
    if isinstance(value, Tensor | np.ndarray) and value.ndim == 0:
        return value.item()
    return value.item() if isinstance(value, np.generic) else value


def integer(value: object, name: str, *, minimum: int = 0, maximum: int | None = None) -> int:
    """An integer in [minimum, maximum]; `bool` and floats are refused."""
    upper = "" if maximum is None else f" and <= {maximum}"
    number = scalar(value)
    if isinstance(number, bool) or not isinstance(number, numbers.Integral):
        raise invalid(name, f"an integer >= {minimum}{upper}", value)
    checked = int(number)
    if checked < minimum or (maximum is not None and checked > maximum):
        raise invalid(name, f"an integer >= {minimum}{upper}", checked)
    return checked


def positive_integer(value: object, name: str, *, maximum: int | None = None) -> int:
    """An integer in [1, maximum]."""
    return integer(value, name, minimum=1, maximum=maximum)


def real(value: object, name: str) -> float:
    """A finite real number."""
    number = scalar(value)
    if isinstance(number, bool) or not isinstance(number, numbers.Real) or not _is_finite(number):
        raise invalid(name, "a finite real number", value if isinstance(value, str) else number)
    return float(number)


def _is_finite(number: numbers.Real) -> bool:
    """Whether float64 holds it: 10^400 is an integer, and none of its numbers."""
    try:
        return math.isfinite(number)
    except OverflowError:
        return False


def positive_real(value: object, name: str, *, infinite: bool = False) -> float:
    """A real number > 0; `infinite` admits `inf`."""
    number = scalar(value)
    if infinite and isinstance(number, float) and number == math.inf:
        return number
    if isinstance(number, bool) or not isinstance(number, numbers.Real) or not _is_finite(number) or number <= 0:
        raise invalid(name, f"a {'' if infinite else 'finite '}real number > 0", number)
    return float(number)


def reals(value: object, name: str, length: int) -> tuple[float, ...]:
    """`length` finite real numbers, given as a sequence."""
    if isinstance(value, Tensor | np.ndarray):
        value = value.tolist()
    if isinstance(value, str) or not isinstance(value, Sequence) or len(value) != length:
        raise invalid(name, f"a sequence of {length} real numbers", value)
    return tuple(real(entry, f"{name}[{i}]") for i, entry in enumerate(value))


def numeric(value: object, name: str, *shape: int | None, whole: bool = False) -> NDArray[Any]:
    """A numpy array of finite real numbers, of integers if `whole`, of a shape; None: any length."""
    wanted = f"({', '.join('n' if n is None else str(n) for n in shape)}{',' * (len(shape) == 1)})"
    expected = f"{'integers' if whole else 'finite numbers'} {wanted}, a numpy array"
    if not isinstance(value, np.ndarray) or value.dtype.kind not in ("iu" if whole else "iuf"):
        raise invalid(name, expected, value)
    if value.ndim != len(shape) or any(n not in (None, have) for n, have in zip(shape, value.shape, strict=True)):
        raise invalid(name, expected, value)
    if not whole and not np.isfinite(value).all():
        raise invalid(name, expected, got=f"{described(value)} with NaN or infinity")
    return value


def coefficients_of(value: object, name: str, *shape: int) -> Tensor:
    """A tensor of finite float64 numbers of a shape, on the CPU and not part of a graph."""
    expected = f"finite numbers {shape}, a float64 tensor on the CPU without gradient"
    if not isinstance(value, Tensor) or not is_strided(value) or value.dtype != torch.float64:
        raise invalid(name, expected, value)
    if value.shape != shape or value.device.type != "cpu" or value.requires_grad:
        graph = ", with gradient" if value.requires_grad else ""
        raise invalid(name, expected, got=f"{described(value)} on {value.device}{graph}")
    if not bool(torch.isfinite(value).all()):
        raise invalid(name, expected, got=f"{described(value)} with NaN or infinity")
    return value


def one_of(value: object, name: str, allowed: Collection[str]) -> str:
    """One of the names in `allowed`."""
    if not isinstance(value, str) or value not in allowed:
        raise invalid(name, f"one of {tuple(allowed)}", value)
    return value


def floating_dtype(dtype: object, name: str = "dtype") -> torch.dtype:
    """A real floating point `torch.dtype`."""
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise invalid(name, "a real floating point torch.dtype", dtype)
    return dtype


def shaped(x: object, name: str, *last: int) -> Tensor:
    """A floating point tensor whose shape ends with `last`; the entries are not looked at."""
    wanted = ", ".join(["...", *map(str, last)])
    if not isinstance(x, Tensor) or not is_strided(x):
        raise invalid(name, f"a torch tensor of shape ({wanted})", x)
    if not x.dtype.is_floating_point:
        raise invalid(name, "a tensor with a real floating point dtype", x)
    if x.ndim < len(last) or tuple(x.shape[x.ndim - len(last) :]) != last:
        raise invalid(name, f"a tensor of shape ({wanted})", x)
    return x


def finite_points(x: object, name: str, ambient: int) -> Tensor:
    """Finite points of shape (..., ambient) with a floating point dtype."""
    points = shaped(x, name, ambient)
    finite = torch.isfinite(points)
    if not bool(finite.all()):
        bad = int((~finite).sum())
        raise invalid(name, "finite points", got=f"{described(points)} with {bad} entries that are NaN or infinite")
    return points
