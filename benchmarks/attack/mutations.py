"""Mutations of JSON values by their grammar, of tensors, and of bytes, each with a text of what it did."""

from __future__ import annotations

import json
import math
import random
from typing import Any

import numpy as np

from benchmarks.attack import oracles

ODD_TEXTS = ("", "\x1b[2J\x1b[31mred", "nan", "Infinity", "circle\nverified", "é" * 50, "x" * 5000, "\u202eabc",
             "../../x", "\x00", "0",
             "rigorous", "float16")  # fmt: skip
ODD_NUMBERS: tuple[Any, ...] = (
    0, 1, -1, 2, 2**31, 2**63, 10**400, 0.5, -0.5, 1e-99, 1e-320, 1e308, math.nan, math.inf, -math.inf, True, "3", None,
    [], {}, [1], 2.0,
)  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of all nodes of a JSON value but the root."""
    found = []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, entry in items:
        found += [(*path, key), *places(entry, (*path, key))]
    return found


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def mutate_json(value: Any, rng: random.Random, within: tuple[Any, ...] | None = None) -> tuple[Any, str]:
    """A copy of a JSON value with one node changed, and what was done. `within`: only below this path."""
    value = json.loads(json.dumps(value))
    found = [path for path in places(value) if within is None or path[: len(within)] == within]
    if not found:
        return value, "nothing"
    depth = rng.choice(sorted({len(path) for path in found}))  # so that long lists do not take all mutations
    path = rng.choice([p for p in found if len(p) == depth])
    parent, key, old = at(value, path[:-1]), path[-1], at(value, path)
    name = "/".join(map(str, path))
    roll = rng.random()
    if roll < 0.12:
        del parent[key]
        return value, f"{name} deleted"
    if roll < 0.2 and isinstance(parent, dict):
        parent[rng.choice(("extra", "__proto__", "", str(key) + " "))] = old
        return value, f"{name} copied under another key"
    if roll < 0.3 and isinstance(parent, list):
        parent.insert(key, old)
        return value, f"{name} repeated"
    if roll < 0.36 and isinstance(old, list | dict):
        parent[key] = type(old)()
        return value, f"{name} emptied"
    if roll < 0.4:
        nested: Any = old
        for _ in range(rng.choice((1, 50, 400))):
            nested = [nested]
        parent[key] = nested
        return value, f"{name} nested"
    parent[key], text = _other(old, rng)
    return value, f"{name}: {text}"


def _other(old: Any, rng: random.Random) -> tuple[Any, str]:
    """Another value in place of one."""
    if isinstance(old, bool) or old is None or rng.random() < 0.25:
        new: Any = rng.choice(ODD_NUMBERS + ODD_TEXTS)
    elif isinstance(old, int):
        new = rng.choice((old + 1, old - 1, -old, old * 2, old + 0.5, float(old), str(old), *ODD_NUMBERS))
    elif isinstance(old, float):
        new = rng.choice((
            -old, old * 2, old / 2, old * 1e5, old * (1 + 2**-40), old + 1, int(old) if abs(old) < 1e9 else 0, str(old),
            *ODD_NUMBERS,
        ))  # fmt: skip
    elif isinstance(old, str):
        new = rng.choice((old[:-1], old + "x", old.upper(), old[::-1], *ODD_TEXTS, *ODD_NUMBERS))
    else:
        new = rng.choice(ODD_NUMBERS + ODD_TEXTS)
    shown = repr(new)
    return new, f"{str(old)[:40]!r} became {shown if len(shown) < 60 else shown[:60] + '...'}"


def mutate_tensors(tensors: oracles.Tensors, rng: random.Random) -> tuple[oracles.Tensors, str]:
    """A copy of the tensors with one thing changed, and what was done."""
    tensors = {name: array.copy() for name, array in tensors.items()}
    names = sorted(n for n in tensors if n != "program" and tensors[n].size)
    name = rng.choice(names)
    array = tensors[name]
    kind = rng.choice(("value", "value", "value", "bit", "bit", "dtype", "shape", "missing", "extra", "rename", "block",
                       "layer", "readout", "head", "head", "power of two", "scale", "swap", "silent head"))  # fmt: skip
    blocks = sum(1 for n in tensors if n.endswith("attention.query"))
    if kind == "value":
        flat = array.reshape(-1)
        place = rng.choice(np.flatnonzero(flat).tolist() or [0]) if rng.random() < 0.7 else rng.randrange(flat.size)
        new = rng.choice(
            (math.nan, math.inf, 1e300, 0.0, -1.0, 5e-324, float(flat[place]) * 2, float(flat[place]) + 1e-9)
        )
        if array.dtype.kind != "f":
            new = rng.randrange(-3, 100)
        with np.errstate(all="ignore"):
            flat[place] = new
        return tensors, f"{name}[{place}] = {new!r}"
    if kind == "bit":
        data = array.view(np.uint8).reshape(-1)
        place, bit = rng.randrange(data.size), rng.randrange(8)
        data[place] ^= 1 << bit
        return tensors, f"bit {bit} of byte {place} of {name}"
    if kind == "dtype":
        other = rng.choice(("<f4", "<f2", "<i8", "u1", "<f8", "?"))
        with np.errstate(all="ignore"):
            tensors[name] = array.astype(other)
        return tensors, f"{name} as {other}"
    if kind == "shape":
        other_shape = rng.choice(
            (array.reshape(-1), array[None], array[..., :-1] if array.ndim else array, array.T, array[:0])
        )
        tensors[name] = np.ascontiguousarray(other_shape)
        return tensors, f"{name} of shape {other_shape.shape}"
    if kind == "missing":
        del tensors[name]
        return tensors, f"{name} missing"
    if kind == "extra":
        other = rng.choice(("extra", f"blocks.{blocks}.attention.query", "blocks.0.ffn.layers.9.weight", "blocks.00.x"))
        tensors[other] = array.copy()
        return tensors, f"extra tensor {other}"
    if kind == "rename":
        other = rng.choice((name.upper(), name + " ", name.replace("0", "7"), ""))
        tensors[other] = tensors.pop(name)
        return tensors, f"{name} renamed to {other!r}"
    if kind == "block" and blocks:
        which = rng.choice((blocks - 1, rng.randrange(blocks)))
        for n in [n for n in tensors if n.startswith(f"blocks.{which}.")]:
            del tensors[n]
        return tensors, f"block {which} missing"
    if kind == "layer":
        layers = sorted({n.rpartition(".")[0] for n in tensors if ".ffn.layers." in n})
        if layers:
            which_layer = rng.choice(layers)
            for n in [n for n in tensors if n.startswith(which_layer + ".")]:
                del tensors[n]
            return tensors, f"{which_layer} missing"
    if kind == "readout":
        tensors["readout"] = np.array(rng.choice(([0, 0], [-1, 0], [10**6, 0], [1], [1, 2, 3], [0.5, 1.0], [[0, 0]])))
        return tensors, f"readout = {tensors['readout'].tolist()}"
    if kind in ("head", "silent head", "power of two") and blocks:
        which = rng.randrange(blocks)
        parts = [f"blocks.{which}.attention.{part}" for part in ("query", "key", "value")]
        return _heads(tensors, kind, parts, rng)
    if kind == "swap":
        other = rng.choice(names)
        tensors[name], tensors[other] = tensors[other], tensors[name]
        return tensors, f"{name} and {other} swapped"
    if array.dtype.kind == "f":
        factor = rng.choice((2.0, 0.5, 1e5, -1.0, 1 + 1e-9, 1e-200, 1e200))
        with np.errstate(all="ignore"):
            tensors[name] = array * factor
        return tensors, f"{name} times {factor:g}"
    return tensors, "nothing"


def _heads(tensors: oracles.Tensors, kind: str, parts: list[str], rng: random.Random) -> tuple[oracles.Tensors, str]:
    """One more head, one less, one that should be silent, or powers of two moved from one factor to another."""
    arrays = [tensors[part] for part in parts]
    count = len(arrays[0])
    width = arrays[0].shape[-1]
    if kind == "head" and count and rng.random() < 0.5:
        which = rng.randrange(count)
        for part, array in zip(parts, arrays, strict=True):
            tensors[part] = np.delete(array, which, axis=0)
        return tensors, f"head {which} of {parts[0]} missing"
    if kind == "power of two" and count:
        which, power = rng.randrange(count), rng.choice((10, 100, 500, 1000, -100, -500, -1000))
        first, second = rng.sample(range(3), 2)
        with np.errstate(all="ignore"):
            arrays[first][which] *= 2.0**power
            arrays[second][which] *= 2.0**-power
        return tensors, f"2^{power} from {parts[second]}[{which}] to {parts[first]}"
    new = [np.zeros((1, width, width)) for _ in parts]
    where = rng.randrange(width), rng.randrange(width)
    size = rng.choice((math.nan, math.inf, 1e200, 1e300, 1.0, 1e-320))
    new[rng.randrange(2)][(0, *where)] = size
    if kind == "head":
        for array in new:
            array[(0, rng.randrange(width), rng.randrange(width))] = rng.choice((1.0, -1.0, 1e3))
    for part, array, extra in zip(parts, arrays, new, strict=True):
        tensors[part] = np.concatenate([array, extra.astype(array.dtype)])
    return tensors, f"one more {kind} in {parts[0]}, {size:g}"


def mutate_bytes(data: bytes, rng: random.Random) -> tuple[bytes, str]:
    """Bytes with one thing changed, and what was done."""
    raw = bytearray(data)
    header = int.from_bytes(data[:8], "little") if len(data) >= 8 else 0
    near = min(len(data), 8 + header) if 0 < header < len(data) else len(data)
    place = rng.randrange(near) if rng.random() < 0.6 and near else rng.randrange(max(1, len(data)))
    kind = rng.choice(("bit", "bit", "bit", "byte", "truncated", "appended", "inserted", "removed", "zeroed", "length"))
    if kind == "bit":
        bit = rng.randrange(8)
        raw[place] ^= 1 << bit
        return bytes(raw), f"bit {bit} of byte {place} flipped"
    if kind == "byte":
        raw[place] = rng.randrange(256)
        return bytes(raw), f"byte {place} = {raw[place]}"
    if kind == "truncated":
        return bytes(raw[:place]), f"cut off at {place}"
    if kind == "appended":
        more = rng.choice((b"\0", b" " * 8, data[:64], b"x" * 10_000))
        return bytes(raw) + more, f"{len(more)} bytes appended"
    if kind == "inserted":
        raw[place:place] = bytes([rng.randrange(256)])
        return bytes(raw), f"a byte inserted at {place}"
    if kind == "removed":
        del raw[place : place + rng.choice((1, 8, 100))]
        return bytes(raw), f"bytes removed at {place}"
    if kind == "zeroed":
        stop = min(len(raw), place + rng.choice((1, 8, 512)))
        raw[place:stop] = bytes(stop - place)
        return bytes(raw), f"bytes {place} to {stop} zeroed"
    raw[:8] = rng.choice((0, 1, 7, len(data), 2**31, 2**63, 2**64 - 1, header + 8)).to_bytes(8, "little")
    return bytes(raw), "another length of the header"
