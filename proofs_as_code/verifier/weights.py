"""The file of a network: its tensors by name, and their digest. Here the names are known, and nowhere else."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np
from safetensors.numpy import load


class Refused(ValueError):
    """A step of the proof that fails, or something that is not understood."""


def require(holds: bool, name: str, expected: str, got: object = "something else") -> None:
    """A step of the proof; what does not hold, or is not understood, ends the check."""
    if not holds:
        text = got if isinstance(got, str) else repr(got)
        raise Refused(f"{name}: expected {expected}, got {text[:80]}")


class Block(NamedTuple):
    """Heads of shape (m, w, w), and the weights (w, w) and biases (w,) of the feed-forward network."""

    query: np.ndarray
    key: np.ndarray
    value: np.ndarray
    layers: list[tuple[np.ndarray, np.ndarray]]


class Weights(NamedTuple):
    """The state (l, w) at x = 0, to whose entry (j, 0) x_j is added; the blocks; the entry that is the output."""

    hidden0: np.ndarray
    blocks: list[Block]
    readout: tuple[int, int]

    @staticmethod
    def of(tensors: dict[str, np.ndarray]) -> Weights:
        """The tensors of a file in their places; one that is missing, or belongs nowhere, refuses the file."""
        rest, blocks = dict(tensors), list[Block]()

        def take(name: str) -> np.ndarray:
            require(name in rest, "network", f"a tensor {name!r}", "none")
            return rest.pop(name)

        hidden0, (token, row) = take("hidden0"), take("readout").tolist()
        while f"blocks.{len(blocks)}.attention.query" in rest:
            name, layers = f"blocks.{len(blocks)}", list[tuple[np.ndarray, np.ndarray]]()
            query, key, value = (take(f"{name}.attention.{part}") for part in ("query", "key", "value"))
            while f"{name}.ffn.layers.{len(layers)}.weight" in rest:
                layer = f"{name}.ffn.layers.{len(layers)}"
                layers.append((take(f"{layer}.weight"), take(f"{layer}.bias")))
            blocks.append(Block(query, key, value, layers))
        require(not rest, "network", "the tensors of its blocks only", f"also {', '.join(sorted(rest))}")
        return Weights(hidden0, blocks, (int(token), int(row)))

    def dtype(self) -> str:
        """The one type of all weights."""
        heads = (array for block in self.blocks for array in block[:3])
        layers = (array for block in self.blocks for layer in block.layers for array in layer)
        names = {array.dtype.name for array in (self.hidden0, *heads, *layers)}
        require(len(names) == 1, "network", "weights of one dtype", ", ".join(sorted(names)))
        return names.pop()


def read(file: bytes) -> dict[str, np.ndarray]:
    """The tensors of a file, without the program that they were compiled from: what counts are the weights alone."""
    return {name: array for name, array in load(file).items() if name != "program"}


def digest(tensors: dict[str, np.ndarray]) -> str:
    """SHA-256 over the tensors by name: name, shape, dtype (each with a zero byte behind), little-endian bytes."""
    total = hashlib.sha256()
    for name, array in sorted(tensors.items()):
        total.update(f"{name}\0{list(array.shape)}\0{array.dtype}\0".encode() + array.tobytes())
    return total.hexdigest()
