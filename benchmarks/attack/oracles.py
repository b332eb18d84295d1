"""Oracles: the formula of the class, JSON trees, files and digests, written from their descriptions with numpy alone.

Nothing here imports the library.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Tensors = dict[str, np.ndarray]
TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "U8": "u1", "I8": "i1", "BOOL": "?"}
NAMES = {np.dtype(code): name for name, code in TYPES.items()}


def dense(tensors: Mapping[str, np.ndarray], x: np.ndarray, precision: Any = np.float64) -> np.ndarray:
    """The network's values (P,) at x (P, D): tokens of `hidden0` as columns, x_j added to row 0 of token j;
    head `V H relu((K H)^T (Q H))`, rows of a score added in order; block `Z + FFN(Z)`, `Z = H + sum of heads`."""
    with np.errstate(all="ignore"):
        state = np.repeat(tensors["hidden0"].astype(precision)[None], len(x), axis=0)
        state[:, : x.shape[1], 0] += x
        block = 0
        while f"blocks.{block}.attention.query" in tensors:
            state = _block(tensors, f"blocks.{block}.", state, precision)
            block += 1
    token, row = (int(i) for i in tensors["readout"])
    return np.array(state[:, token, row])


def _block(tensors: Mapping[str, np.ndarray], name: str, state: np.ndarray, precision: Any) -> np.ndarray:
    query, key, value = (tensors[f"{name}attention.{part}"].astype(precision) for part in ("query", "key", "value"))
    middle = state.copy()
    for q, k, v in zip(query, key, value, strict=True):
        asked, offered, carried = state @ q.T, state @ k.T, state @ v.T
        score = asked[:, :, None, 0] * offered[:, None, :, 0]
        for r in range(1, q.shape[0]):
            score = score + asked[:, :, None, r] * offered[:, None, :, r]
        middle = middle + np.maximum(score, 0) @ carried
    if f"{name}ffn.layers.0.weight" not in tensors:
        return middle
    hidden, layer = middle, 0
    while f"{name}ffn.layers.{layer}.weight" in tensors:
        prefix = f"{name}ffn.layers.{layer}."
        hidden = np.maximum(hidden, 0) if layer else hidden
        hidden = hidden @ tensors[f"{prefix}weight"].astype(precision).T + tensors[f"{prefix}bias"].astype(precision)
        layer += 1
    return middle + hidden


def tree_values(tree: Any, x: np.ndarray) -> np.ndarray:
    """Values (P,) of a JSON tree at x (P, k): ["add", a, b], ["x", j], numbers, and so on."""
    if isinstance(tree, int | float):
        return np.full(len(x), float(tree))
    head, *rest = tree
    if head == "x":
        return np.array(x[:, rest[0]])
    with np.errstate(all="ignore"):
        a = tree_values(rest[0], x)
        if head == "pow":
            return np.array(a ** rest[1])
        if head in ("add", "mul", "div"):
            b = tree_values(rest[1], x)
            return np.array({"add": np.add, "mul": np.multiply, "div": np.divide}[head](a, b))
        functions: dict[str, Any] = {
            "exp": np.exp, "sin": np.sin, "cos": np.cos, "sqrt": np.sqrt, "tanh": np.tanh, "abs": np.abs,
        }  # fmt: skip
        return np.array(functions[head](a))


def read_file(data: bytes) -> tuple[Tensors, dict[str, str]]:
    """Tensors and metadata of a safetensors file that is well-formed."""
    (length,) = struct.unpack("<Q", data[:8])
    header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    metadata = header.pop("__metadata__", {})
    tensors = {}
    for name, entry in header.items():
        start, stop = entry["data_offsets"]
        flat = np.frombuffer(body[start:stop], dtype=TYPES[entry["dtype"]])
        tensors[name] = flat.reshape(entry["shape"]).copy()
    return tensors, metadata


def header_of(tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> tuple[dict[str, Any], bytes]:
    """Header and body of a safetensors file, to be changed."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    parts, place = [], 0
    for name in sorted(tensors, key=lambda n: (-tensors[n].dtype.itemsize, n)):
        part = np.ascontiguousarray(tensors[name]).tobytes()
        kind = NAMES[tensors[name].dtype]
        shape = list(tensors[name].shape)
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [place, place + len(part)]}
        parts.append(part)
        place += len(part)
    return header, b"".join(parts)


def file_bytes(header: Mapping[str, Any] | str, body: bytes) -> bytes:
    """A safetensors file of a header, as JSON or as its text, and a body."""
    text = (header if isinstance(header, str) else json.dumps(header)).encode("utf-8", "surrogatepass")
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + body


def write_file(tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> bytes:
    """A safetensors file."""
    return file_bytes(*header_of(tensors, metadata))


def same(a: Mapping[str, np.ndarray], b: Mapping[str, np.ndarray]) -> bool:
    """Bit by bit."""
    return a.keys() == b.keys() and all(
        a[n].dtype == b[n].dtype and a[n].shape == b[n].shape and a[n].tobytes() == b[n].tobytes() for n in a
    )


def weights_of(tensors: Mapping[str, np.ndarray]) -> Tensors:
    """All but the program."""
    return {name: array for name, array in tensors.items() if name != "program"}


def tensors_digest(tensors: Mapping[str, np.ndarray]) -> str:
    """SHA-256 by name: name, shape, dtype, each followed by a zero byte, then the little-endian bytes."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        total.update(f"{name}\0{list(array.shape)}\0{array.dtype}\0".encode() + array.tobytes())
    return total.hexdigest()


def file_digest(tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> str:
    """SHA-256 of a network's file: of the digests of its weights and its program, and of all other texts by name."""
    program = hashlib.sha256(tensors["program"].tobytes()).hexdigest() if "program" in tensors else None
    said = sorted((name, text) for name, text in metadata.items() if name != "digest")
    text = json.dumps([tensors_digest(weights_of(tensors)), program, said], separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def digested(tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> dict[str, str]:
    """Metadata with the digests that belong to the tensors, in the claim and in the certificate, too."""
    metadata, weights = dict(metadata), tensors_digest(weights_of(tensors))
    for name, path in (("claim", ("weights",)), ("certificate", ("network", "sha256"))):
        try:
            document = json.loads(metadata[name])
            place = document
            for key in path[:-1]:
                place = place[key]
            if path[-1] in place:
                place[path[-1]] = weights
                if name == "certificate":
                    document["digest"] = document_digest(document)
                metadata[name] = json.dumps(document, separators=(",", ":"))
        except (KeyError, TypeError, ValueError, RecursionError):
            continue
    if "digest" in metadata:
        metadata["digest"] = file_digest(tensors, metadata)
    return metadata


def document_digest(document: Mapping[str, Any]) -> str:
    """SHA-256 of a certificate without its digest, as compact JSON with sorted keys."""
    rest = {key: value for key, value in document.items() if key != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def box_points(lower: Sequence[float], upper: Sequence[float], count: int, rng: np.random.Generator) -> np.ndarray:
    """Points (n, d) of a box: random ones, and its corners, faces and middle."""
    low, high = np.asarray(lower, dtype=np.float64), np.asarray(upper, dtype=np.float64)
    unit = rng.random((count, len(low)))
    edge = rng.integers(0, 3, (count // 4, len(low))) / 2
    return np.asarray(np.clip(low + (high - low) * np.concatenate([unit, edge]), low, high))
