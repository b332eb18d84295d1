"""Files of networks: safetensors with the weights under the names of the formula's module, the rest as metadata.

    hidden0 (l, w), readout (token, row)
    blocks.{i}.attention.query|key|value (m, w, w)
    blocks.{i}.ffn.layers.{j}.weight (w, w), .bias (w,)
    program: the program's JSON text as bytes, of a network whose weights are those of a program

Metadata, JSON texts all: `format` (a number), `box` (lower ends, upper ends), `origin` (object or null), `claim`
(object or null), `certificate` (object or null), `digest`. The digest is over everything else in the file. Anybody can
compute one, so it tells accidents, not forgeries; what mathematics can tell of a forgery is checked by
`construct.loading`.

A file is read once, from beginning to end, and looked at before anything is made of it: names, types, shapes and
lengths have to be those of a network, and what they may cost is bounded by the length of the file.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from math import prod
from os import PathLike
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save as serialised
from torch import Tensor

from construct.arrays import Float
from construct.certificates.weights import tensors_digest
from construct.claim import Claim
from construct.documents import (
    a_list,
    at_place,
    floats,
    label,
    nullable,
    number,
    parsed,
    record,
    record_of,
    whole,
    written,
)
from construct.errors import InputError
from construct.history import History, Trial
from construct.problem import CONSTRUCTIONS, Sizes
from construct.program.compile import Program
from construct.storage import FileName, opened, shortened, write_atomically
from construct.transformer.module import Transformer
from construct.transformer.weights import FeedForward, Heads, Weights
from construct.validation import described, invalid, one_of

FORMAT = 3
PROGRAM = "program"
ENTRIES = ("format", "box", "origin", "claim", "certificate", "digest")
ORIGINS = ("construction", "sizes", "coefficients", "nonzero_coefficients", "manifold", "history")
TYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "I64": np.dtype("<i8"),
    "U8": np.dtype("u1"),
}
FLOATING = {"F64": torch.float64, "F32": torch.float32}

MOST_BYTES = 2**33  # of a file: a billion parameters
MOST_HEADER = 2**25
MOST_TRIALS = 100_000
MOST_TENSORS = 50_000
PROGRAM_SHARE = 16, 2**20  # most bytes of a program: this multiple of those of the weights, and some more


@dataclass(frozen=True)
class SavedOrigin:
    """What a file says of where a network came from; `manifold` is a specification that nobody has looked at."""

    construction: str
    sizes: Sizes
    coefficients: int
    nonzero_coefficients: int
    manifold: dict[str, Any] | None
    history: History


@dataclass(frozen=True)
class Saved:
    """What a file holds, checked field by field: weights, their dtype and digest, the program's text, and what is said
    of where they came from and of their error."""

    weights: Weights
    dtype: torch.dtype
    digest: str
    program: str | None
    origin: SavedOrigin | None
    claim: Claim | None
    certificate: dict[str, Any] | None


@dataclass(frozen=True)
class _Tensor:
    """An entry of the header: where in the data a tensor is, and what it is."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


# -- writing ----------------------------------------------------------------------------------------------------------


def write_dense(net: Transformer, path: FileName) -> None:
    """Write the weights and nothing else; thirty lines of numpy can evaluate them.

    `hidden0` is the hidden state at x = 0, to whose row 0 of token j the coordinate x_j is added (j < D). Head:
    `V H relu((K H)^T (Q H))` with tokens as columns; block: `Z + FFN(Z)`, `Z = H + sum of heads`.
    """
    write_atomically(path, serialised(_tensors(net)))


def write_saved(
    net: Transformer,
    box: Tensor,
    path: str | PathLike[str],
    *,
    program: str | None,
    origin: Mapping[str, Any] | None,
    claim: Claim | None,
    certificate: Mapping[str, Any] | None,
) -> None:
    """Write a network that `read_saved` reads.

    Raises:
        InputError: no path to write to, or something that no file may hold: NaN, labels that cannot be printed.
    """
    tensors = _tensors(net)
    text = None if program is None else program.encode()
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    weights = tensors_digest(arrays)
    bound = None if claim is None else replace(claim, weights=weights)
    documents = {
        "format": FORMAT,
        "box": box.detach().to("cpu", torch.float64).tolist(),
        "origin": origin,
        "claim": None if bound is None else {key: value for key, value in asdict(bound).items() if key != "read"},
        "certificate": certificate,
    }
    metadata = {name: written(document, name) for name, document in documents.items()}
    metadata["digest"] = _digest(weights, text, metadata)
    _claim_and_certificate(_documents(metadata), weights)
    nullable(_origin)(parsed(metadata["origin"], "origin"), "origin")
    _weights(arrays, _box(parsed(metadata["box"], "box")))
    if program is not None:
        at_place(PROGRAM, lambda: Program.from_json(program))
    if text is not None:
        tensors[PROGRAM] = torch.from_numpy(np.frombuffer(text, dtype=np.uint8).copy())
    write_atomically(path, serialised(tensors, metadata))


def _tensors(net: Transformer) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in net.state_dict().items()}


def _digest(weights: str, program: bytes | None, metadata: Mapping[str, str]) -> str:
    """SHA-256 of all that a file says: of the digests of weights and program, and of every text of its metadata."""
    said = {name: text for name, text in metadata.items() if name != "digest"}
    code = None if program is None else hashlib.sha256(program).hexdigest()
    return hashlib.sha256(written([weights, code, sorted(said.items())], "digest").encode()).hexdigest()


# -- reading ----------------------------------------------------------------------------------------------------------


def read_saved(path: FileName) -> Saved:
    """Read a network's file.

    Raises:
        InputError: no such file, no safetensors file, another format, or contents that are not a network's; the error
            names the path and the field.
    """
    with opened(path, most=MOST_BYTES) as (stream, size):
        try:
            (length,) = struct.unpack("<Q", stream.read(8).ljust(8, b"\xff"))
            if not 2 <= length <= min(MOST_HEADER, size - 8):
                expected = f"a length of the header from 2 to {MOST_HEADER:,} that fits into the file"
                raise invalid("length", expected, got=f"{length:,} in a file of {size:,} bytes")
            entries, metadata = _header(stream.read(length), size - 8 - length)
        except InputError as error:
            raise invalid("path", "a safetensors file", got=f"{shortened(str(path))} ({error})") from error
        _check_format(metadata.get("format"), path)
        try:
            _check_tensors(entries)
            data = stream.read(size - 8 - length)
            if len(data) != size - 8 - length:
                raise invalid("tensors", f"{size - 8 - length:,} bytes", got=f"{len(data):,}")
            return _saved(entries, metadata, data)
        except (InputError, MemoryError) as error:
            raise invalid(
                "path", f"a network of format {FORMAT}", got=f"{shortened(str(path))} ({error or 'too large'})"
            ) from error


def _check_format(found: str | None, path: FileName) -> None:
    if found == str(FORMAT):
        return
    old = re.fullmatch(r"(?:construct-transformer/)?(\d{1,9})", found or "")
    if old is not None and int(old[1]) < FORMAT:
        got = f"format {old[1]} in {shortened(str(path))}, which this version no longer reads; build the network again"
        raise invalid("path", f"a file of format {FORMAT}", got=got)
    raise invalid("path", f"a network of format {FORMAT}", got=f"format {described(found)} in {shortened(str(path))}")


def _header(text: bytes, rest: int) -> tuple[dict[str, _Tensor], dict[str, str]]:
    """Tensors and metadata of a header; the tensors fill the rest of the file, without gaps or overlaps."""
    data = parsed(text, "header")
    entries = record(data, "header", (), data if isinstance(data, dict) else ())
    metadata = entries.pop("__metadata__", {})
    record(metadata, "metadata", (), metadata if isinstance(metadata, dict) else ())
    for name, value in metadata.items():
        if not isinstance(value, str):
            raise invalid(f"metadata[{name[:40]!r}]", "a text", value)
    tensors = {name: _entry(entry, f"tensors[{name[:80]!r}]") for name, entry in entries.items()}
    position = 0
    for name, tensor in sorted(tensors.items(), key=lambda item: (item[1].start, item[1].end)):
        if tensor.start != position:
            raise invalid(f"tensors[{name[:80]!r}]", f"data from byte {position:,} on", got=f"{tensor.start:,}")
        position = tensor.end
    if position != rest:
        raise invalid("tensors", f"data of {position:,} bytes", got=f"{rest:,}")
    return tensors, metadata


def _entry(data: object, name: str) -> _Tensor:
    found = record(data, name, ("dtype", "shape", "data_offsets"))
    dtype = one_of(found["dtype"], f"{name}.dtype", tuple(TYPES))
    sizes = a_list(found["shape"], f"{name}.shape", most=3)
    shape = tuple(whole(size, f"{name}.shape", maximum=MOST_BYTES) for size in sizes)
    ends = a_list(found["data_offsets"], f"{name}.data_offsets", least=2, most=2)
    start, end = (whole(place, f"{name}.data_offsets", maximum=MOST_BYTES) for place in ends)
    if end - start != prod(shape) * TYPES[dtype].itemsize:
        raise invalid(f"{name}.data_offsets", f"those of {prod(shape):,} numbers of type {dtype}", got=f"{ends}")
    return _Tensor(dtype, shape, start, end)


def _check_tensors(entries: Mapping[str, _Tensor]) -> None:
    """That the tensors are those of whole blocks and layers, numbered from 0, of one dtype and width."""
    rest = dict(entries)

    def take(name: str, dtype: str | None, *shape: int | None) -> tuple[int, ...]:
        if name not in rest:
            raise invalid(f"tensors[{name!r}]", "a tensor", got="none")
        found = rest.pop(name)
        if dtype is not None and found.dtype != dtype:
            raise invalid(f"tensors[{name!r}]", f"type {dtype}", found.dtype)
        if len(found.shape) != len(shape) or any(n not in (None, m) for n, m in zip(shape, found.shape, strict=True)):
            words = ", ".join("any" if n is None else str(n) for n in shape)
            raise invalid(f"tensors[{name!r}]", f"shape ({words})", found.shape)
        return found.shape

    dtype = entries["hidden0"].dtype if "hidden0" in entries else "F64"
    one_of(dtype, "tensors['hidden0'].dtype", tuple(FLOATING))
    width = take("hidden0", dtype, None, None)[1]
    if not width or len(entries) > MOST_TENSORS:
        raise invalid("tensors", f"at most {MOST_TENSORS:,}, of at least one row", got=f"{len(entries):,} of {width}")
    take("readout", "I64", 2)
    program = rest.get(PROGRAM)
    if program is not None:
        take(PROGRAM, "U8", None)
        most = PROGRAM_SHARE[0] * sum(e.end - e.start for e in rest.values()) + PROGRAM_SHARE[1]
        if program.shape[0] > most:
            raise invalid(f"tensors[{PROGRAM!r}]", f"at most {most:,} bytes", got=f"{program.shape[0]:,}")
    blocks = 0
    while any(f"blocks.{blocks}.attention.{name}" in rest for name in ("query", "key", "value")):
        prefix = f"blocks.{blocks}"
        heads = take(f"{prefix}.attention.query", dtype, None, width, width)[0]
        for name in ("key", "value"):
            take(f"{prefix}.attention.{name}", dtype, heads, width, width)
        layers = 0
        while any(f"{prefix}.ffn.layers.{layers}.{name}" in rest for name in ("weight", "bias")):
            take(f"{prefix}.ffn.layers.{layers}.weight", dtype, width, width)
            take(f"{prefix}.ffn.layers.{layers}.bias", dtype, width)
            layers += 1
        blocks += 1
    if rest:
        shown = ", ".join(repr(name[:60]) for name in sorted(rest)[:3])
        raise invalid("tensors", "those of whole blocks and layers, numbered from 0", got=f"also {shown}")


def _saved(entries: Mapping[str, _Tensor], metadata: Mapping[str, str], data: bytes) -> Saved:
    arrays: dict[str, NDArray[Any]] = {
        name: np.frombuffer(memoryview(data)[t.start : t.end], TYPES[t.dtype]).reshape(t.shape)
        for name, t in entries.items()
    }
    text = arrays.pop(PROGRAM).tobytes() if PROGRAM in arrays else None
    record(dict(metadata), "metadata", ENTRIES)
    digest = tensors_digest(arrays)
    if metadata["digest"] != _digest(digest, text, metadata):
        raise invalid("digest", "that of the contents", got=f"{described(metadata['digest'])}; something was changed")
    documents = _documents(metadata)
    origin = nullable(_origin)(documents["origin"], "origin")
    if text is not None and origin is None:
        raise invalid("origin", "one beside a program", None)
    claim, certificate = _claim_and_certificate(documents, digest)
    dtype = FLOATING[entries["hidden0"].dtype]
    return Saved(
        weights=_weights(arrays, _box(documents["box"])),
        dtype=dtype,
        digest=digest,
        program=None if text is None else _decoded(text),
        origin=origin,
        claim=claim,
        certificate=certificate,
    )


def _documents(metadata: Mapping[str, str]) -> dict[str, Any]:
    return {name: parsed(text, name) for name, text in metadata.items() if name != "digest"}


def _decoded(text: bytes) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        raise invalid(PROGRAM, "a text in UTF-8", got=str(error)) from None


def _box(data: object) -> Float:
    """(2, D), lower and then upper ends; `Weights` checks that they are ends, and D."""
    box = np.array(floats(data, "box"), dtype=np.float64)
    if box.ndim != 2:
        raise invalid("box", "a list of lower ends and one of upper ends", data)
    return box


def _weights(arrays: Mapping[str, NDArray[Any]], box: Float) -> Weights:
    """The weights of tensors whose names and shapes have been checked."""
    numbers = {name: array.astype(np.float64, copy=False) for name, array in arrays.items() if array.dtype.kind == "f"}
    blocks: list[tuple[Heads, FeedForward]] = []
    while f"blocks.{len(blocks)}.attention.query" in numbers:
        prefix = f"blocks.{len(blocks)}."
        layers: list[tuple[Any, Any]] = []
        while f"{prefix}ffn.layers.{len(layers)}.weight" in numbers:
            name = f"{prefix}ffn.layers.{len(layers)}"
            layers.append((numbers[f"{name}.weight"], numbers[f"{name}.bias"]))
        heads = Heads(*(numbers[f"{prefix}attention.{name}"] for name in ("query", "key", "value")))
        blocks.append((heads, FeedForward(tuple(layers))))
    token, row = (int(i) for i in arrays["readout"])
    return Weights(numbers["hidden0"], tuple(blocks), (token, row), box)


def _origin(data: object, name: str) -> SavedOrigin:
    found = record(data, name, ORIGINS)
    history = a_list(found["history"], f"{name}.history", most=MOST_TRIALS)
    specification = found["manifold"]
    if specification is not None:
        label(record(specification, f"{name}.manifold", ("name",), specification)["name"], f"{name}.manifold.name")
        for key in specification:
            label(key, f"{name}.manifold")
    coefficients = whole(found["coefficients"], f"{name}.coefficients")
    return SavedOrigin(
        construction=one_of(found["construction"], f"{name}.construction", CONSTRUCTIONS),
        sizes=record_of(Sizes, found["sizes"], f"{name}.sizes"),
        coefficients=coefficients,
        nonzero_coefficients=whole(found["nonzero_coefficients"], f"{name}.nonzero_coefficients", maximum=coefficients),
        manifold=specification,
        history=History(tuple(_trial(trial, f"{name}.history[{i}]") for i, trial in enumerate(history))),
    )


def _trial(data: object, name: str) -> Trial:
    trial = record_of(Trial, data, name)
    for field in fields(trial):
        value = getattr(trial, field.name)
        if isinstance(value, float) and value < 0:
            raise invalid(f"{name}.{field.name}", "a number >= 0", value)
    return trial


def _claim_and_certificate(documents: Mapping[str, Any], digest: str) -> tuple[Claim | None, dict[str, Any] | None]:
    """A claim speaks of these weights, and a rigorous one stands beside a certificate of a bound that is no larger."""
    claim: Claim | None = None
    if documents["claim"] is not None:
        claim = replace(record_of(Claim, documents["claim"], "claim", without=("read",)), read=True)
        if claim.weights != digest:
            raise invalid("claim.weights", "the digest of these weights", claim.weights)
    certificate = documents["certificate"]
    if certificate is not None:
        record(certificate, "certificate", ("bound", "kind", "network"), certificate)
        named = record(certificate["network"], "certificate.network", ("sha256",), certificate["network"])
        if named["sha256"] != digest:
            raise invalid("certificate.network.sha256", "the digest of these weights", named["sha256"])
    if claim is not None and claim.kind == "rigorous":
        if certificate is None:
            raise invalid("claim.kind", "'rigorous' only beside a certificate", got="no certificate")
        if not number(certificate["bound"], "certificate.bound") <= claim.bound:
            raise invalid("claim.bound", "at least that of the certificate", claim.bound)
    return claim, certificate
