"""Settings of torch that take bits from arithmetic: what is kept out, and what has to be refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache

import torch

FULL = ("none", "ieee")
BACKENDS = {"cuda": "cuda", "cpu": "mkldnn"}  # whose setting decides over matrix products of float32
PROBE = 512  # rows of a product that is large enough for a library to have a fast way for it


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Without autocast, for tensors of the device and of the CPU."""
    with ExitStack() as stack:
        for kind in {"cpu", device.type}:
            stack.enter_context(torch.autocast(kind, enabled=False))
        yield


def reduced_products(device: str) -> str | None:
    """What matrix products of float32 are computed in on a kind of device, "tf32" or "bf16"; None: in float32.

    torch keeps the setting by backend (`torch.backends.cuda.matmul.fp32_precision`, which inherits from wider ones;
    "none" where nobody has set any); the flags of old, `allow_tf32` and `torch.set_float32_matmul_precision`, write it,
    too, but raise when they are read after the new ones were set. Before torch 2.9 there are only the flags.

    A CPU takes the setting as a permission: whether it makes use of it is found out by a product.
    """
    if device not in BACKENDS:
        return None
    found = _setting(device)
    if found in FULL or (device == "cpu" and not _loses_bits(found)):
        return None
    return found


def _setting(device: str) -> str:
    matmul = getattr(getattr(torch.backends, BACKENDS[device]), "matmul", None)
    try:
        found = str(matmul.fp32_precision)  # type: ignore[union-attr]
    except AttributeError:
        old = torch.get_float32_matmul_precision()
        tf32 = torch.backends.cuda.matmul.allow_tf32 if device == "cuda" else old == "high"
        found = "bf16" if old == "medium" and device == "cpu" else "tf32" if tf32 else "ieee"
    return found


@cache
def _loses_bits(setting: str) -> bool:
    """Whether products on this CPU lose bits under the present setting: 1 + 2^-20 times the identity."""
    with torch.inference_mode(False), torch.no_grad(), torch.autocast("cpu", enabled=False):
        value = torch.full((PROBE, PROBE), 1 + 2.0**-20, dtype=torch.float32, device="cpu")
        return not torch.equal(value @ torch.eye(PROBE, dtype=torch.float32, device="cpu"), value)
