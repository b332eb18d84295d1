"""Files of networks taken apart and put together again, with digests made anew: what a forger would do.

Written from the description of the format, with none of the library's code.
"""

import hashlib
import json
import struct

import numpy as np

DTYPES = {"F64": "<f8", "F32": "<f4", "I64": "<i8", "U8": "u1"}
NAMES = {"<f8": "float64", "<f4": "float32", "<i8": "int64", "|u1": "uint8"}
CODES = {np.dtype(text).str: code for code, text in DTYPES.items()}


def taken_apart(content):
    """Tensors and metadata of a safetensors file."""
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    metadata = header.pop("__metadata__", {})
    data = content[8 + length :]
    tensors = {
        name: np.frombuffer(data[slice(*e["data_offsets"])], DTYPES[e["dtype"]]).reshape(e["shape"]).copy()
        for name, e in header.items()
    }
    return tensors, metadata


def put_together(tensors, metadata):
    """A safetensors file."""
    header, parts, position = {"__metadata__": metadata}, [], 0
    for name, array in tensors.items():
        data = array.tobytes()
        ends = [position, position + len(data)]
        header[name] = {"dtype": CODES[array.dtype.str], "shape": list(array.shape), "data_offsets": ends}
        parts.append(data)
        position += len(data)
    return with_header(json.dumps(header).encode(), b"".join(parts))


def with_header(header, data):
    header += b" " * (-len(header) % 8)
    return struct.pack("<Q", len(header)) + header + data


def weights_digest(tensors):
    total = hashlib.sha256()
    for name in sorted(set(tensors) - {"program"}):
        array = tensors[name]
        total.update(f"{name}\0{list(array.shape)}\0{NAMES[array.dtype.str]}\0".encode() + array.tobytes())
    return total.hexdigest()


def file_digest(tensors, metadata):
    program = hashlib.sha256(tensors["program"].tobytes()).hexdigest() if "program" in tensors else None
    said = sorted([name, text] for name, text in metadata.items() if name != "digest")
    text = json.dumps([weights_digest(tensors), program, said], separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def forged(content, tensors=None, metadata=None, claim=None, *, bound=True):
    """A file with some tensors and some metadata replaced, or removed (None), and every digest made anew.

    `claim` are fields of the claim to replace; `bound=False` leaves the claim about the weights that it was about.
    """
    parts, said = taken_apart(content)
    parts |= tensors or {}
    parts = {name: array for name, array in parts.items() if array is not None}
    for name, text in (metadata or {}).items():
        said[name] = text if text is None or isinstance(text, str) else json.dumps(text)
    said = {name: text for name, text in said.items() if text is not None}
    if bound and "claim" in said and "claim" not in (metadata or {}):
        about = json.loads(said["claim"])
        if about is not None and about != (changed := about | {"weights": weights_digest(parts)} | (claim or {})):
            said["claim"] = json.dumps(changed)
    if "digest" in said and "digest" not in (metadata or {}):
        said["digest"] = file_digest(parts, said)
    return put_together(parts, said)


def as_bytes(text):
    return np.frombuffer(text.encode(), dtype=np.uint8).copy()
