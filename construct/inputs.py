"""What a network may be evaluated at: the dtypes and devices of its numbers, and points that it accepts."""

from __future__ import annotations

import warnings
from typing import Literal

import torch
from torch import Tensor

from construct.errors import InputError, OffManifoldError, OutsideWarning, PrecisionError
from construct.execution.inside import times_outside, within
from construct.execution.precision import reduced_products
from construct.origin import Origin, unknown_manifold
from construct.validation import finite_points, invalid, is_strided, message

Outside = Literal["raise", "warn", "evaluate"]
ON_MANIFOLD = {torch.float64: 1e-8, torch.float32: 1e-4}
"""The dtypes of networks, and how far from M a point of them may be."""


def check_input(x: Tensor, ambient: int, dtype: torch.dtype, device: torch.device) -> None:
    """Refuse what is no finite tensor (..., D) of a network's dtype on its device, and float32 where torch multiplies
    matrices in fewer bits.

    Raises:
        InputError: another type, shape, dtype or device, or an entry that is not finite.
        PrecisionError: matrix products in TF32 or bfloat16.
    """
    if not isinstance(x, Tensor) or not is_strided(x) or x.ndim < 1 or x.shape[-1] != ambient:
        raise invalid("x", f"a torch tensor of shape (..., {ambient})", x)
    if x.dtype != dtype:
        raise invalid("x", f"dtype {dtype}", got=f"{x.dtype}")
    if x.device != device:
        raise invalid("x", f"device {device}", got=f"{x.device}")
    reduced = reduced_products(x.device.type) if x.dtype == torch.float32 else None
    if reduced is not None:
        expected = 'float64, or float32 with torch.set_float32_matmul_precision("highest")'
        got = f"float32 with {reduced.upper()} matrix products, which keep 8 or 11 bits where 24 are needed"
        raise PrecisionError(message("x", expected, got=got))
    finite_points(x, "x", ambient)


def check_on_manifold(x: Tensor, origin: Origin | None) -> None:
    """Refuse points (..., D) that are not on the manifold of a network of that origin.

    Raises:
        InputError: it has none.
        OffManifoldError: a point is not on it.
    """
    if origin is None or origin.manifold is None:
        got = "one built or loaded without it" if origin is None else f"one on {unknown_manifold(origin.elsewhere)}"
        raise invalid("check", "a network that knows its manifold", got=got)
    tolerance = ON_MANIFOLD[x.dtype] + origin.manifold.rounding(x.dtype)
    on = origin.manifold.contains(x.detach().to("cpu", torch.float64), tolerance)
    if not bool(on.all()):
        expected = f"points on {origin.manifold!r} within {tolerance:g}"
        raise OffManifoldError(message("x", expected, got=f"{int((~on).sum())} off it"))


def look_outside(x: Tensor, box: Tensor, wanted: str) -> None:
    """Say of points (P, D) outside a box what `wanted`, an `Outside`, wants to be said; called by `Network.forward`.

    Raises:
        InputError: wanted="raise", and some are.
    """
    if wanted == "evaluate" or bool(within(x, box).all()):
        return
    count, factor = int((~within(x, box)).sum()), float(times_outside(x, box).max())
    got = f"{count} of {len(x)} outside it, by a factor of up to {factor:.3g}"
    if wanted == "raise":
        raise invalid("x", "points within the box of the network", got=got)
    warnings.warn(
        message("x", "points within the box of the network, beyond which nothing is said of its values", got=got),
        OutsideWarning,
        stacklevel=6,  # of whoever called the network: `forward`, two of torch and `Network.__call__` are in between
    )


def bad_dtype(dtype: torch.dtype) -> InputError | PrecisionError:
    """What is wrong with a dtype: of floating point it has too few bits for a position code."""
    expected = "torch.float64 or torch.float32"
    if isinstance(dtype, torch.dtype) and dtype.is_floating_point:
        return PrecisionError(message("dtype", expected, dtype))
    return invalid("dtype", expected, dtype)


def known_device(device: torch.device | str) -> torch.device:
    """A device on which tensors can be made here.

    Raises:
        InputError: it is none.
    """
    try:
        place = torch.device(device)
        torch.empty(0, device=place)
    except (RuntimeError, AssertionError, TypeError, ValueError) as error:
        raise invalid("device", "a torch device of this machine", device) from error
    if place.type == "meta":
        raise invalid("device", "a torch device of this machine", device)
    return place
