"""`load`: from a file back to a network."""

from __future__ import annotations

from os import PathLike
from typing import Any, cast, get_args

import torch

from construct import manifolds
from construct.claim import Claim
from construct.errors import InputError
from construct.files import read_saved
from construct.manifolds import Manifold
from construct.network import ON_MANIFOLD, Network, known_device
from construct.origin import Construction, Origin
from construct.planning import History, Trial
from construct.problem import Sizes
from construct.program.compile import Program
from construct.transformer.weights import Weights
from construct.validation import invalid, one_of


def load(
    path: str | PathLike[str],
    *,
    manifold: Manifold | None = None,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
) -> Network:
    """Read a network that `Network.save` wrote; weights are taken as they are in the file.

    Args:
        manifold: of a network on a user's own manifold, which files do not hold.
        dtype: None keeps the file's; in another one the network makes no claim.

    Raises:
        InputError: no file, or none of this library and this format, or no dtype or device for it.
        PrecisionError: the dtype cannot hold the network.
    """
    if dtype is not None and dtype not in ON_MANIFOLD:
        raise invalid("dtype", "torch.float64 or torch.float32", dtype)
    place, saved = known_device(device), read_saved(path)
    origin = claim = None
    if saved.program is not None and saved.origin is not None:
        try:
            origin = _origin(saved.program, saved.origin, manifold)
            claim = None if saved.origin["claim"] is None else Claim(**saved.origin["claim"])
            _check_same_shape(origin.program, saved.weights)
        except (KeyError, TypeError, InputError, RecursionError) as error:
            got = f"{path} ({type(error).__name__}: {error})"
            raise invalid("path", "a network of this library", got=got) from error
    net = Network(saved.weights, origin, claim=claim, dtype=saved.dtype, device=place)
    return net if dtype is None else net.to(dtype)


def _check_same_shape(program: Program, weights: Weights) -> None:
    """A file whose program has other blocks or tokens than its weights is damaged."""
    expected = len(program.stages), program.layout.count, program.layout.embedding_dim
    found = len(weights.blocks), *weights.hidden0.shape
    if found != expected:
        raise invalid("weights", f"(blocks, tokens, rows) = {expected}, as the program has", got=f"{found}")


def _origin(program: str, data: dict[str, Any], manifold: Manifold | None) -> Origin:
    named = data["manifold"]
    if manifold is None and named is not None:
        manifold = manifolds.from_spec(named)
    return Origin(
        construction=cast("Construction", one_of(data["construction"], "construction", get_args(Construction))),
        program=Program.from_json(program),
        sizes=Sizes(**data["sizes"]),
        coefficients=data["coefficients"],
        nonzero_coefficients=data["nonzero_coefficients"],
        manifold=manifold,
        history=History(tuple(Trial(**trial) for trial in data["history"])),
    )
