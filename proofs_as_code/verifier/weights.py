"""The file of a network: its tensors by name, and their digest. Here the names are known, and nowhere else.

A safetensors file is a length, a JSON object of names with type, shape and place, and the bytes. It is read here from
its bytes, so that what is proved is about the very numbers in the file: no name twice, no byte outside a tensor or in
two of them, one type of weights, every number finite. Anything else refuses the file.
"""

from __future__ import annotations

import hashlib
import math
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from proofs_as_code.verifier.documents import Fields, integer, items, parsed, require, text

PROGRAM = "program"  # what the weights were compiled from: not looked at
DTYPES = {"F64": "<f8", "F32": "<f4", "I64": "<i8", "U8": "|u1"}
MOST_HEADER, MOST_ENTRIES = 1 << 26, 1 << 40
MOST_WIDTH = 64  # of the hidden state
ABOUT_ONE = 2.0**-20  # cos^2 + sin^2 - 1, as far as float32 rounds them


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

        def take(name: str, *shape: int | None, dtype: str = "float") -> np.ndarray:
            """The tensor of this name, whose axes are as long as `shape` says (None: any length)."""
            require(name in rest, "network", f"a tensor {name!r}", "none")
            array = rest.pop(name)
            fits = array.ndim == len(shape) and all(n in (None, m) for n, m in zip(shape, array.shape, strict=True))
            wanted = ", ".join("any" if n is None else str(n) for n in shape)
            require(fits, name, f"the shape ({wanted})", str(array.shape))
            require(array.dtype.name.startswith(dtype), name, f"numbers of type {dtype}", array.dtype.name)
            require(bool(np.isfinite(array).all()), name, "finite numbers", "NaN or infinite ones")
            return array

        hidden0 = take("hidden0", None, None)
        tokens, w = hidden0.shape
        require(w <= MOST_WIDTH, "hidden0", f"at most {MOST_WIDTH} rows", str(w))
        token, row = take("readout", 2, dtype="int64").tolist()
        require(0 <= token < tokens and 0 <= row < w, "readout", f"a place in {hidden0.shape}", f"({token}, {row})")
        while f"blocks.{len(blocks)}.attention.query" in rest:
            name, layers = f"blocks.{len(blocks)}", list[tuple[np.ndarray, np.ndarray]]()
            query = take(f"{name}.attention.query", None, w, w)
            key, value = (take(f"{name}.attention.{part}", len(query), w, w) for part in ("key", "value"))
            while f"{name}.ffn.layers.{len(layers)}.weight" in rest:
                layer = f"{name}.ffn.layers.{len(layers)}"
                layers.append((take(f"{layer}.weight", w, w), take(f"{layer}.bias", w)))
            blocks.append(Block(query, key, value, layers))
        require(not rest, "network", "the tensors of its blocks only", f"also {', '.join(map(ascii, sorted(rest)))}")
        return Weights(hidden0, blocks, (token, row))

    def dtype(self) -> str:
        """The one type of all weights."""
        heads = (array for block in self.blocks for array in block[:3])
        layers = (array for block in self.blocks for layer in block.layers for array in layer)
        names = {array.dtype.name for array in (self.hidden0, *heads, *layers)}
        require(len(names) == 1, "network", "weights of one dtype", ", ".join(sorted(names)))
        return names.pop()

    def angles(self) -> bool:
        """Whether two rows that neither the input nor a block writes are cos and sin of some angle at every token: a
        trigonometric code, whose gates close up to rounding only."""
        written = np.arange(self.hidden0.shape[1]) == 0
        for _, _, value, layers in self.blocks:
            written |= value.any(axis=(0, 2))
            for weight, bias in layers[-1:]:
                written |= weight.any(axis=1) | (bias != 0)
        pairs = combinations(self.hidden0.T[~written].astype(float), 2)
        return any(bool((abs(c * c + s * s - 1) < ABOUT_ONE).all() and ((c % 1) + (s % 1)).any()) for c, s in pairs)


def read(file: bytes) -> tuple[dict[str, np.ndarray], int | None]:
    """The tensors of a file, without the program that they were compiled from: what counts are the weights alone; and
    the number of inputs, where the file says it (the box of its metadata, lower and upper ends)."""
    size = int.from_bytes(file[:8], "little")
    whole = 0 < size <= min(MOST_HEADER, len(file) - 8)
    require(whole, "network", "a safetensors file", "no header where it should be")
    header, data, tensors, end = parsed(file[8 : 8 + size], "network"), file[8 + size :], dict[str, np.ndarray](), 0
    require(type(header) is dict, "network", "a header that is an object", header)
    described = Fields(header.pop("__metadata__", {}), "__metadata__")
    metadata = {name: described.take(name, text) for name in list(described.rest)}
    found = {name: entry(name, value) for name, value in header.items()}
    for name, (kind, shape, start, stop) in sorted(found.items(), key=lambda item: item[1][2:]):
        require(start == end and stop <= len(data), name, f"bytes from {end} on", f"{start} to {stop}")
        end, dtype = stop, np.dtype(DTYPES[kind])
        count = math.prod(shape)
        require(stop - start == count * dtype.itemsize, name, f"{count} numbers of {kind}", f"{stop - start} bytes")
        tensors[name] = np.ndarray(shape, dtype, data, start) if count else np.zeros(shape, dtype)
    require(end == len(data), "network", "tensors and nothing behind them", f"{len(data) - end} bytes more")
    inputs = None
    if "box" in metadata:
        ends = [items(e, "box", 1, MOST_HEADER) for e in items(parsed(metadata["box"].encode(), "box"), "box", 2, 2)]
        require(len(ends[0]) == len(ends[1]), "box", "as many lower as upper ends", metadata["box"])
        inputs = len(ends[0])
    return {name: array for name, array in tensors.items() if name != PROGRAM}, inputs


def entry(name: str, value: Any) -> tuple[str, tuple[int, ...], int, int]:
    """(type, shape, first byte, end) of a tensor."""
    fields, label = Fields(value, ascii(name)[:60]), ascii(name)[:60]
    kind = fields.take("dtype", text)
    require(kind in DTYPES, label, f"one of the types {', '.join(DTYPES)}", kind)
    shape = fields.take("shape", lambda v, n: [integer(i, n, 0, MOST_ENTRIES) for i in items(v, n, 0, 8)])
    size = math.prod(max(1, n) for n in shape)  # as an array of none is as long as its other axes
    require(size <= MOST_ENTRIES, label, f"at most {MOST_ENTRIES} numbers", f"{size}")
    start, stop = fields.take("data_offsets", lambda v, n: [integer(i, n, 0, 1 << 62) for i in items(v, n, 2, 2)])
    fields.end()
    return kind, tuple(shape), start, stop


def digest(tensors: dict[str, np.ndarray]) -> str:
    """SHA-256 over the tensors by name: name, shape, dtype (each with a zero byte behind), little-endian bytes."""
    total = hashlib.sha256()
    for name, array in sorted(tensors.items()):
        total.update(f"{name}\0{list(array.shape)}\0{array.dtype}\0".encode() + array.tobytes())
    return total.hexdigest()
