"""Checks of arguments shared by the whole library.

Every function returns the checked value in its plain type, or raises `InputError` with the argument's name,
what was expected and what was given.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence

import torch
from torch import Tensor

from construct.errors import InputError

_SHOWN = 80


def described(value: object) -> str:
    """A short description of an argument for an error message (shape and dtype instead of entries for
    tensors)."""
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)} and dtype {value.dtype}"
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def integer(value: object, name: str, *, minimum: int = 0, maximum: int | None = None) -> int:
    """An integer in [minimum, maximum]; `bool` and floats are refused, numpy integers are accepted."""
    upper = "" if maximum is None else f" and at most {maximum}"
    expected = f"{name} must be an integer, at least {minimum}{upper}"
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise InputError(f"{expected}; got {described(value)}")
    number = int(value)
    if number < minimum or (maximum is not None and number > maximum):
        raise InputError(f"{expected}; got {number}")
    return number


def positive_integer(value: object, name: str, *, maximum: int | None = None) -> int:
    """An integer in [1, maximum]."""
    return integer(value, name, minimum=1, maximum=maximum)


def real(value: object, name: str) -> float:
    """A finite real number."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not math.isfinite(value):
        raise InputError(f"{name} must be a finite real number; got {described(value)}")
    return float(value)


def positive_real(value: object, name: str, *, infinite: bool = False) -> float:
    """A real number > 0; `infinite` admits `inf`."""
    if infinite and isinstance(value, float) and value == math.inf:
        return value
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not math.isfinite(value) or value <= 0:
        raise InputError(f"{name} must be a {'' if infinite else 'finite '}real number > 0; got {described(value)}")
    return float(value)


def reals(value: object, name: str, length: int) -> tuple[float, ...]:
    """`length` finite real numbers, given as a sequence."""
    if isinstance(value, Tensor):
        value = value.tolist()
    if isinstance(value, str) or not isinstance(value, Sequence) or len(value) != length:
        raise InputError(f"{name} must be a sequence of {length} real numbers; got {described(value)}")
    return tuple(real(entry, f"{name}[{i}]") for i, entry in enumerate(value))


def floating_dtype(dtype: object, name: str = "dtype") -> torch.dtype:
    """A real floating point `torch.dtype`."""
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise InputError(f"{name} must be a real floating point torch.dtype; got {described(dtype)}")
    return dtype


def shaped(x: object, name: str, *last: int) -> Tensor:
    """A floating point tensor whose shape ends with `last`; the entries are not looked at."""
    wanted = ", ".join(["...", *map(str, last)])
    if not isinstance(x, Tensor):
        raise InputError(f"{name} must be a torch tensor of shape ({wanted}); got {described(x)}")
    if not x.dtype.is_floating_point:
        raise InputError(f"{name} must have a real floating point dtype; got {described(x)}")
    if x.ndim < len(last) or tuple(x.shape[x.ndim - len(last) :]) != last:
        raise InputError(f"{name} must have shape ({wanted}); got {described(x)}")
    return x


def finite_points(x: object, name: str, ambient: int) -> Tensor:
    """Finite points of shape (..., ambient) with a floating point dtype."""
    points = shaped(x, name, ambient)
    finite = torch.isfinite(points)
    if not bool(finite.all()):
        bad = int((~finite).sum())
        raise InputError(f"{name} must be finite; got {described(points)} with {bad} entries that are NaN or infinite")
    return points
