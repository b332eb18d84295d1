"""Reading and writing networks as safetensors files."""

from __future__ import annotations

import json
from os import PathLike
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from construct import manifolds
from construct.errors import InputError
from construct.transformer.weights import FeedForward, Heads

if TYPE_CHECKING:
    from construct.transformer.module import Transformer

FORMAT = "construct-transformer/1"


def _tensors(net: Transformer) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in net.state_dict().items()}


def export_dense(net: Transformer, path: str | PathLike[str]) -> None:
    """Write the open weights and nothing else.

    Keys: `hidden0` (l, w), the hidden state at x = 0, to whose row 0 of token j the coordinate x_j is added (j < D);
    `blocks.{i}.query|key|value` (m, w, w); `blocks.{i}.ffn.{j}.weight` (w, w) and `.bias` (w,); `readout`
    (token, row). Head: `V H relu((K H)^T (Q H))` with tokens as columns; block: `Z + FFN(Z)`, `Z = H + sum of heads`.
    """
    save_file(_tensors(net), str(path))


def _named_manifold(net: Transformer) -> dict[str, Any] | None:
    """Specification of the network's manifold, None for a user's own: functions are not written to files."""
    if net.manifold is None:
        return None
    try:
        spec: dict[str, Any] = net.manifold.spec()
        manifolds.from_spec(spec)
        json.dumps(spec)
    except (InputError, TypeError):
        return None
    return spec


def save(net: Transformer, path: str | PathLike[str]) -> None:
    """Write the open weights with the labels, the box and the manifold (when it can be named) as metadata.

    A network on a user's own manifold is saved whole, but loads with `manifold` None: `check=True` needs it set again.
    """
    metadata = {
        "format": FORMAT,
        "ambient": str(net.ambient),
        "box": json.dumps(net.box.double().tolist()),
        "labels": json.dumps(net.labels),
        "manifold": json.dumps(_named_manifold(net)),
    }
    save_file(_tensors(net), str(path), metadata=metadata)


def load(
    path: str | PathLike[str], *, dtype: torch.dtype | None = None, device: torch.device | str = "cpu"
) -> Transformer:
    """Read a network that `save` wrote; dtype None keeps the file's.

    Raises:
        InputError: the file is no safetensors file of this library.
    """
    from construct.transformer.module import Transformer

    try:
        with safe_open(str(path), framework="pt") as handle:
            metadata = handle.metadata() or {}
            tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise InputError(f"path: no such file: {path}") from None
    except Exception as error:
        raise InputError(f"path: expected a safetensors file, got {path} ({error})") from error
    if metadata.get("format") != FORMAT:
        raise InputError(f"path: expected a file with format {FORMAT!r}, got {metadata.get('format')!r} in {path}")
    kept = tensors["hidden0"].dtype
    blocks: list[tuple[Heads, FeedForward]] = []
    while f"blocks.{len(blocks)}.query" in tensors:
        prefix = f"blocks.{len(blocks)}."
        query, key, value = (tensors[prefix + name].double().numpy() for name in ("query", "key", "value"))
        layers: list[tuple[Any, Any]] = []
        while f"{prefix}ffn.{len(layers)}.weight" in tensors:
            name = f"{prefix}ffn.{len(layers)}"
            layers.append((tensors[name + ".weight"].double().numpy(), tensors[name + ".bias"].double().numpy()))
        blocks.append((Heads(query, key, value), FeedForward(tuple(layers))))
    token, row = (int(i) for i in tensors["readout"])
    box = torch.tensor(json.loads(metadata["box"]), dtype=torch.float64).numpy()
    net = Transformer(
        tensors["hidden0"].double().numpy(),
        blocks,
        ambient=int(metadata["ambient"]),
        readout=(token, row),
        box=box,
        labels=json.loads(metadata["labels"]),
        dtype=dtype or kept,
        device=device,
    )
    spec = json.loads(metadata["manifold"])
    net.manifold = manifolds.from_spec(spec) if spec is not None else None
    return net
