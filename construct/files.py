"""Files of networks: safetensors with the weights under the names of the formula's module, the rest as metadata.

    hidden0 (l, w), readout (token, row)
    blocks.{i}.attention.query|key|value (m, w, w)
    blocks.{i}.ffn.layers.{j}.weight (w, w), .bias (w,)
    program: the program's JSON text as bytes, in files of `save` (weights are what is evaluated and proved of)

Metadata: `format` (a number), `box` (JSON: lower ends, upper ends), `origin` (JSON object or null).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialised
from torch import Tensor

from construct.transformer.module import Transformer
from construct.transformer.weights import FeedForward, Heads, Weights
from construct.validation import invalid

FORMAT = 2
PROGRAM = "program"

FileName = str | PathLike[str]


@dataclass(frozen=True)
class Saved:
    """What a file holds: weights, their dtype, the program's text, and what is said of where they came from."""

    weights: Weights
    dtype: torch.dtype
    program: str | None
    origin: dict[str, Any] | None


def write_dense(net: Transformer, path: FileName) -> None:
    """Write the weights and nothing else; thirty lines of numpy can evaluate them.

    `hidden0` is the hidden state at x = 0, to whose row 0 of token j the coordinate x_j is added (j < D). Head:
    `V H relu((K H)^T (Q H))` with tokens as columns; block: `Z + FFN(Z)`, `Z = H + sum of heads`.
    """
    _write(path, serialised(_tensors(net)))


def write_saved(
    net: Transformer, box: Tensor, path: FileName, *, program: str | None, origin: Mapping[str, Any] | None
) -> None:
    """Write a network that `read_saved` reads."""
    tensors = _tensors(net)
    if program is not None:
        tensors[PROGRAM] = torch.from_numpy(np.frombuffer(program.encode(), dtype=np.uint8).copy())
    metadata = {
        "format": str(FORMAT),
        "box": json.dumps(box.detach().to("cpu", torch.float64).tolist()),
        "origin": json.dumps(origin),
    }
    _write(path, serialised(tensors, metadata))


def check_writable(path: FileName) -> Path:
    """A path that a file can be written to, as far as its folder tells.

    Raises:
        InputError: it is a folder, or in none.
    """
    place = Path(path)
    if place.is_dir() or not place.absolute().parent.is_dir():
        raise invalid("path", "a file in a folder that exists", got=f"{path}")
    return place


def _write(path: FileName, data: bytes) -> None:
    check_writable(path).write_bytes(data)


def read_saved(path: FileName) -> Saved:
    """Read a network's file.

    Raises:
        InputError: no such file, no safetensors file, another format, or weights that are not a network's.
    """
    if not Path(path).is_file():
        raise invalid("path", "a file", got=f"{path}, which is {'a folder' if Path(path).is_dir() else 'not there'}")
    try:
        with safe_open(str(path), framework="pt") as handle:
            metadata = handle.metadata() or {}
            tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise invalid("path", "a safetensors file", got=f"{path} ({error})") from error
    _check_format(metadata.get("format"), path)
    try:
        box = np.array(json.loads(metadata["box"]), dtype=np.float64)
        text = bytes(tensors[PROGRAM].numpy()).decode() if PROGRAM in tensors else None
        return Saved(_weights(tensors, box), tensors["hidden0"].dtype, text, json.loads(metadata["origin"]))
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise invalid("path", "a network of this library", got=f"{path} ({type(error).__name__}: {error})") from error


def _check_format(found: str | None, path: FileName) -> None:
    if found == str(FORMAT):
        return
    if found is not None and found.startswith("construct-transformer/"):
        expected = f"a file of format {FORMAT}"
        got = (
            f"format {found.rpartition('/')[2]} in {path}, which this version no longer reads; build the network again"
        )
        raise invalid("path", expected, got=got)
    raise invalid("path", f"a network of format {FORMAT}", got=f"format {found!r} in {path}")


def _tensors(net: Transformer) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in net.state_dict().items()}


def _weights(tensors: Mapping[str, Tensor], box: np.ndarray[Any, Any]) -> Weights:
    numbers = {name: t.double().numpy() for name, t in tensors.items() if t.dtype.is_floating_point}
    blocks: list[tuple[Heads, FeedForward]] = []
    while f"blocks.{len(blocks)}.attention.query" in numbers:
        prefix = f"blocks.{len(blocks)}."
        layers: list[tuple[Any, Any]] = []
        while f"{prefix}ffn.layers.{len(layers)}.weight" in numbers:
            name = f"{prefix}ffn.layers.{len(layers)}"
            layers.append((numbers[f"{name}.weight"], numbers[f"{name}.bias"]))
        heads = Heads(*(numbers[f"{prefix}attention.{name}"] for name in ("query", "key", "value")))
        blocks.append((heads, FeedForward(tuple(layers))))
    token, row = (int(i) for i in tensors["readout"])
    weights = Weights(numbers["hidden0"], tuple(blocks), (token, row), box)
    unused = set(tensors) - set(Transformer(weights, device="meta").state_dict()) - {PROGRAM}
    if unused:
        raise invalid("tensors", "those of whole blocks and layers, numbered from 0", got=f"also {sorted(unused)}")
    return weights
