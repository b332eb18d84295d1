"""Boxes lower_j <= x_j <= upper_j: one array (2, D), the lower ends and then the upper ones.

Where half-widths alone are given, (D,), the box lies around the origin. A network reads x_j minus the box's *centre*,
which costs it nothing but D initial registers, so that everything behind depends on half-widths only. The centre is a
short number: a multiple of a power of two, 1/64 to 1/32 of the largest half-width. So it is exactly 0 for a manifold
that lies around the origin, rounding noise or not, and float32 holds it as float64 does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from construct.arrays import Float
from construct.errors import PrecisionError
from construct.validation import invalid, message

STEP = 5  # the centre is a multiple of 2^-5 of the power of two below the largest half-width
FLATTEST = 1e-3  # no side is taken to be narrower than this share of the widest
RESOLUTION = 2.0**-12  # of the largest half-width: points of a dtype must lie closer than that


def ends(box: object, name: str = "box", length: int | None = None) -> Float:
    """(2, D) float64, from an array of that shape or from half-widths (D,) around the origin.

    Raises:
        InputError: another shape, NaN, infinity, or an upper end below its lower one.
    """
    size = "D" if length is None else str(length)
    expected = f"finite ends of shape (2, {size}), lower and then upper, or half-widths ({size},) >= 0"
    try:
        array = np.asarray(box.detach().cpu() if isinstance(box, Tensor) else box, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise invalid(name, expected, box) from error
    if array.ndim == 1:
        array = np.stack([-array, array])
    if array.ndim != 2 or array.shape[0] != 2 or array.shape[1] < 1 or array.shape[1] != (length or array.shape[1]):
        raise invalid(name, expected, box)
    if not (np.isfinite(array).all() and (array[0] <= array[1]).all()):
        raise invalid(name, expected, got=f"{array.tolist()}")
    return array


@dataclass(frozen=True, eq=False)
class CentredBox:
    """|x_j - centre_j| <= half_j; (D,) each."""

    centre: Float
    half: Float

    @property
    def ends(self) -> Float:
        """(2, D)."""
        return np.stack([self.centre - self.half, self.centre + self.half])

    @property
    def registers(self) -> Float:
        """(D,) bounds of x_j - centre_j for x between the ends, as they were rounded."""
        lower, upper = self.ends
        largest = np.maximum(upper - self.centre, self.centre - lower)
        return np.where(self.centre == 0, self.half, np.nextafter(largest, np.inf))


def centred(box: Float, margin: float = 1.0) -> CentredBox:
    """The box (2, D) around its centre, its half-widths times `margin`."""
    lower, upper = box
    widest = float((upper - lower).max()) / 2
    step = 2.0 ** (np.floor(np.log2(widest)) - STEP) if widest > 0 else 0.0
    middle = lower + (upper - lower) / 2
    centre = np.round(middle / step) * step + 0.0 if step else middle
    half = np.maximum(upper - centre, centre - lower)
    return CentredBox(centre, margin * np.maximum(half, FLATTEST * half.max()))


def check_resolved(box: Float, dtype: torch.dtype, name: str, what: str) -> None:
    """Raises PrecisionError, about the argument `name`, where numbers of `dtype` in a box (2, D) lie too far apart."""
    largest, widest = float(np.abs(box).max()), float((box[1] - box[0]).max()) / 2
    if not largest * torch.finfo(dtype).eps <= RESOLUTION * widest:
        farthest = RESOLUTION / torch.finfo(dtype).eps
        expected = f"{what} no farther from the origin than {farthest:.3g} times half its size"
        raise PrecisionError(message(name, expected, got=f"{largest:.3g} and {widest:.3g} in {dtype}"))
