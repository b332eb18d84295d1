"""Checks of the data of covers and charts."""

from __future__ import annotations

import torch
from torch import Tensor

from construct.errors import OffManifoldError
from construct.manifolds import Manifold
from construct.validation import described, invalid, message


def check_tensor(value: Tensor, name: str, *shape: int) -> None:
    """Refuse anything but a finite float64 CPU tensor of this shape."""
    if (
        not isinstance(value, Tensor)
        or value.shape != shape
        or value.dtype != torch.float64
        or value.device.type != "cpu"
    ):
        raise invalid(name, f"a float64 CPU tensor of shape {shape}", value)
    if not bool(torch.isfinite(value).all()):
        raise invalid(name, "finite entries", got=f"{int((~torch.isfinite(value)).sum())} that are NaN or infinite")


def check_centres(centres: Tensor, manifold: Manifold) -> None:
    """Refuse anything but centres (n, D), n >= 1, on the manifold."""
    if not isinstance(centres, Tensor) or centres.ndim != 2 or len(centres) == 0:
        raise invalid("centres", f"a tensor of shape (n, {manifold.ambient}), n >= 1", centres)
    check_tensor(centres, "centres", len(centres), manifold.ambient)
    on = manifold.contains(centres)
    if not bool(on.all()):
        got = f"{int((~on).sum())} of {len(on)} that are not"
        raise OffManifoldError(message("centres", f"points on {manifold.name}", got=got))


def check_points(x: Tensor, ambient: int) -> None:
    """Refuse anything but float64 points (P, ambient)."""
    if not isinstance(x, Tensor) or x.ndim != 2 or x.shape[-1] != ambient or x.dtype != torch.float64:
        raise invalid("x", f"a float64 tensor of shape (P, {ambient})", got=described(x))
