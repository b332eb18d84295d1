"""Forgeries: networks and certificates that somebody has changed, and an evaluation that judges what is accepted.

`forgeries(genuine, rng, count)` draws changed pairs of files from a grammar: fields of the document and whole values,
expressions, boxes, frames, trees, numbers, keys; bits and bytes of both files; weights, heads, blocks, tokens, layers,
powers of two moved within a head and between the heads of one token, silent heads with NaN, infinities and huge
numbers; certificates of other networks. Digests are made anew, or not.

What a verifier accepts must be true: `benchmarks.judge` decides that.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from safetensors.numpy import load, save

from benchmarks.judge import Document, Tensors, blocks

Random = np.random.Generator


@dataclass(frozen=True)
class Genuine:
    """A network's file and its certificate, both true."""

    tensors: Tensors
    document: Document

    @staticmethod
    def of(network: bytes, certificate: bytes) -> Genuine:
        tensors = dict(sorted(load(network).items()))  # safetensors gives them in any order
        return Genuine(tensors, json.loads(certificate))


@dataclass(frozen=True)
class Forgery:
    """A changed pair of files; `digests`: whether the verifier is to look at digests."""

    kind: str
    network: bytes
    certificate: bytes
    digests: bool


# -- digests and files -----------------------------------------------------------------------------------------------


def document_digest(document: Document) -> str:
    """As the format says: SHA-256 of compact JSON with sorted keys, without the digest."""
    rest = {key: value for key, value in document.items() if key != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def weights_digest(tensors: Tensors) -> str:
    """As the format says: SHA-256 over names, shapes, dtypes and bytes, without the program."""
    total = hashlib.sha256()
    for name, array in sorted(tensors.items()):
        if name != "program":
            total.update(f"{name}\0{list(array.shape)}\0{array.dtype}\0".encode() + array.tobytes())
    return total.hexdigest()


def pair(kind: str, tensors: Tensors, document: Any, rng: Random, *, digested: float = 0.7) -> Forgery:
    """Files of a changed pair; with probability `digested` with digests that fit."""
    whole, document = bool(rng.random() < digested), copy.deepcopy(document)
    if whole and isinstance(document, dict):
        if isinstance(document.get("network"), dict):
            document["network"]["sha256"] = weights_digest(tensors)
        document["digest"] = document_digest(document)
    written = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    return Forgery(kind, save(written), json.dumps(document).encode(), digests=whole)


# -- the document ----------------------------------------------------------------------------------------------------

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 10**9, 10**400, 2**63, "", "x", "0", "nan", [], {}, [[]], [0.0], {"x": 1}),
    *(0.0, -0.0, 1.0, -1.0, 0.5, 1e-320, 1e308, -1e308, math.nan, math.inf, -math.inf, 1e30, 1e-30),
    *(["x", 0], ["x", 7], ["x", -1], ["x", True], ["x"], ["exp"], ["pow", ["x", 0], 0.5], ["pow", ["x", 0], 1.0]),
    *("\u202e", "\x1b[2J", "\ud800", "."),
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths to all parts of a JSON value, the whole one excepted."""
    items: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, part in items for found in ((*path, key), *places(part, (*path, key)))]


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def moved(number: float, rng: Random) -> float:
    """A number near another one, or not."""
    ways: list[Callable[[], float]] = [
        lambda: math.nextafter(number, rng.choice([-math.inf, math.inf])),
        lambda: number * float(rng.choice([0.5, 0.9, 0.99, 1.01, 1.1, 2.0, -1.0, 1e3, 1e-3])),
        lambda: number + float(rng.choice([-1.0, 1.0, 0.1, -0.1, 1e-6, 1e6, math.pi])),
        lambda: 0.0,
    ]
    return float(ways[rng.integers(len(ways))]())


def any_place(genuine: Genuine, rng: Random) -> Document:
    """One part of the document replaced, moved, removed or doubled."""
    document = copy.deepcopy(genuine.document)
    path = draw(places(document), rng)
    parent, key, old = at(document, path[:-1]), path[-1], at(document, path)
    choice = rng.integers(5)
    if choice == 0 and isinstance(old, int | float) and not isinstance(old, bool):
        parent[key] = type(old)(moved(old, rng)) if abs(old) < 1e15 else 0
    elif choice == 1:
        del parent[key]
    elif choice == 2 and isinstance(parent, list):
        parent.insert(key, copy.deepcopy(draw([old, *parent], rng)))
    elif choice == 2 and isinstance(parent, dict):
        parent[draw(["extra", "Bound", "bound ", "", "measured"], rng)] = copy.deepcopy(old)
    elif choice == 3:
        parent[key] = copy.deepcopy(at(document, draw(places(genuine.document), rng)))
    else:
        parent[key] = copy.deepcopy(draw(VALUES, rng))
    return document


def a_number(genuine: Genuine, rng: Random) -> Document:
    """One number of the document moved."""
    document = copy.deepcopy(genuine.document)
    path = draw([p for p in places(document) if type(at(document, p)) in (int, float)], rng)
    old = at(document, path)
    at(document, path[:-1])[path[-1]] = int(old + rng.choice([-1, 1, 2])) if type(old) is int else moved(old, rng)
    return document


def a_bound(genuine: Genuine, rng: Random) -> Document:
    """Other bounds, local + error <= bound as it should be: true if they are larger."""
    document = copy.deepcopy(genuine.document)
    for name in ("local", "error"):
        document[name] *= float(rng.choice([1.0, 0.0, 0.5, 0.9, 0.999, 1 + 1e-6, 1.5, 1e3], p=[0.3, *[0.1] * 7]))
    document["bound"] = math.nextafter(document["local"] + document["error"], math.inf)
    document["measured"]["sup"] = min(document["measured"]["sup"], document["bound"])
    return document


HEADS = ("exp", "sin", "cos", "sqrt", "tanh", "abs")


def expression(rng: Random, variables: int, depth: int = 3) -> Any:
    """A random tree."""
    if depth == 0 or rng.random() < 0.2:
        return ["x", int(rng.integers(variables))] if rng.random() < 0.7 else float(rng.normal())
    below = [expression(rng, variables, depth - 1) for _ in range(2)]
    choice = rng.integers(4)
    if choice < 2:
        return [("add", "mul", "div")[rng.integers(3)], *below]
    if choice == 2:
        return ["pow", below[0], draw([2, 3, -1, 0, 0.5, 1.5, -0.5], rng)]
    return [HEADS[rng.integers(6)], below[0]]


def an_expression(genuine: Genuine, rng: Random) -> Document:
    """A part of the target or of a component of the manifold is another expression."""
    document = copy.deepcopy(genuine.document)
    parents: list[tuple[Any, Any, int]] = [(document, "target", len(document["manifold"]["frame"]))]
    formula, dimension = document["manifold"]["formula"], len(document["manifold"]["lower"])
    parents += [(formula, k, dimension) for k in range(min(2, len(formula)))]
    parent, key, variables = parents[rng.integers(len(parents))]
    path = draw([(), *(p for p in places(parent[key]) if isinstance(at(parent[key], p), list))], rng)
    holder, last = (parent, key) if not path else (at(parent[key], path[:-1]), path[-1])
    old = holder[last]
    new = expression(rng, variables)
    ways = [new, ["add", old, ["mul", 1e-3, new]], ["mul", old, 1.001], ["tanh", old], ["add", old, 1e-9], ["abs", old]]
    holder[last] = copy.deepcopy(draw(ways, rng))
    return document


def a_shape(genuine: Genuine, rng: Random) -> Document:
    """Components, box, frame and canonical box no longer fit, or fit in another way."""
    document = copy.deepcopy(genuine.document)
    manifold, width = document["manifold"], len(document["canonical_box"])
    size = float(rng.choice([0.0, 1.0, 10.0, 1e6]))
    extra = draw([size, -size, ["x", 0], ["mul", size, ["x", 0]], expression(rng, len(manifold["lower"]))], rng)
    choice = rng.integers(9)
    if choice in (0, 1):  # more components than anything else knows of, some with a frame and a box that fit
        place = int(rng.integers(width + 1))
        manifold["formula"].insert(place, extra)
        if choice:
            document["canonical_box"].insert(place, [-abs(size), abs(size)])
            for row in manifold["frame"]:
                row.insert(place, float(rng.choice([0.0, 1.0, 1e-3])))
    elif choice == 2:
        document["canonical_box"] = draw([document["canonical_box"][:-1], document["canonical_box"] * 2, []], rng)
    elif choice == 3:
        manifold["frame"] = draw([manifold["frame"][:-1], [*manifold["frame"], [0.0] * width], [[]], []], rng)
    elif choice == 4:
        manifold["frame"] = (rng.normal(size=(len(manifold["frame"]), width))).tolist()
    elif choice == 5:
        manifold["formula"].reverse()
    elif choice == 6:
        manifold["lower"], manifold["upper"] = [-x for x in manifold["upper"]], [3 * x for x in manifold["upper"]]
    elif choice == 7:
        manifold["lower"], manifold["upper"] = manifold["lower"] + [0.0], manifold["upper"] + [1.0]
    else:
        manifold["upper"] = list(manifold["lower"])
    return document


def a_tree(genuine: Genuine, rng: Random) -> Document:
    """Another division of the box."""
    document = copy.deepcopy(genuine.document)
    tree, axes = document["tree"], len(document["manifold"]["lower"])
    place = int(rng.integers(len(tree)))
    more = tree[:place] + "." + tree[place:]
    other = draw([tree[:place], tree + tree, tree[::-1], more, ".", "0..", "", f"{axes}..", "²"], rng)
    turned = "".join(symbol if symbol == "." else str((int(symbol) + 1) % axes) for symbol in tree)
    document["tree"] = draw([other, f"{axes - 1}{tree}{tree}", turned], rng)
    if rng.random() < 0.7:
        document["cells"] = document["tree"].count(".")
    return document


# -- the network -----------------------------------------------------------------------------------------------------


def draw(options: Any, rng: Random) -> Any:
    return options[int(rng.integers(len(options)))]


def copied(genuine: Genuine) -> Tensors:
    return {name: array.copy() for name, array in genuine.tensors.items()}


def a_weight(genuine: Genuine, rng: Random) -> Tensors:
    """One or a few weights moved, preferably ones that are not 0."""
    tensors = copied(genuine)
    for _ in range(int(rng.integers(1, 4))):
        name = draw([n for n, a in tensors.items() if a.dtype.kind == "f" and a.size], rng)
        flat = tensors[name].reshape(-1)
        present = np.flatnonzero(flat)
        place = draw(present, rng) if len(present) and rng.random() < 0.8 else int(rng.integers(flat.size))
        special = [math.nan, math.inf, 1e200, 1e308, 1e-310, 5e-324, 1e5, -1e5]
        with np.errstate(over="ignore"):
            flat[place] = draw(special, rng) if rng.random() < 0.3 else moved(float(flat[place]), rng)
    return tensors


def a_coefficient(genuine: Genuine, rng: Random) -> Tensors:
    """An initial register, as those of the coefficients, moved by some multiple of the bound."""
    tensors = copied(genuine)
    bound = float(genuine.document["bound"])
    rows = tensors["hidden0"][-int(rng.integers(1, 8)) :, 0:2]
    rows[0, int(rng.integers(2))] += bound * float(rng.choice([1e-9, 1e-3, 0.1, 0.5, 1.0, 2.0, 10.0, -1.0, -3.0]))
    return tensors


def a_bit(genuine: Genuine, rng: Random) -> Tensors:
    """One bit of one weight."""
    tensors = copied(genuine)
    names = [n for n, a in tensors.items() if a.dtype.kind == "f"]
    sizes = np.array([tensors[n].size for n in names], dtype=float)
    flat = tensors[names[rng.choice(len(names), p=sizes / sizes.sum())]].reshape(-1)
    kind = np.uint64 if flat.itemsize == 8 else np.uint32
    flat.view(kind)[int(rng.integers(flat.size))] ^= kind(1 << int(rng.integers(8 * flat.itemsize)))
    return tensors


def a_silent_head(genuine: Genuine, rng: Random) -> Tensors:
    """One head more whose value matrix is 0 or acts on nothing, with whatever numbers in Q and K."""
    tensors = copied(genuine)
    block, width = int(rng.integers(blocks(tensors))), tensors["hidden0"].shape[1]
    dtype = tensors["hidden0"].dtype
    more = {part: np.zeros((1, width, width), dtype) for part in ("query", "key", "value")}
    for part in draw([("query",), ("key",), ("query", "key"), ("query", "key", "value")], rng):
        number = draw([math.nan, math.inf, 1e200, 1e308, 1e30, 1.0, 1e-300, 0.0], rng)
        with np.errstate(over="ignore"):
            more[part][0, int(rng.integers(width)), int(rng.integers(width))] = number
    for part, head in more.items():
        name = f"blocks.{block}.attention.{part}"
        tensors[name] = np.concatenate([tensors[name], head])
    return tensors


def scaled_heads(genuine: Genuine, rng: Random) -> Tensors:
    """Powers of two moved between Q, K and V of heads: exact, until something underflows or overflows."""
    tensors = copied(genuine)
    block = int(rng.integers(blocks(tensors)))
    query, key, value = (tensors[f"blocks.{block}.attention.{part}"] for part in ("query", "key", "value"))
    most = 1060 if query.dtype == np.float64 else 140
    heads = range(len(query)) if rng.random() < 0.5 else [int(rng.integers(max(1, len(query))))]
    a, b = int(rng.integers(-most, most + 1)), int(rng.integers(-60, 61))
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        for head in heads:
            if head < len(query):
                for array, power in zip((query, key, value), rng.permutation([a, b - a, -b]), strict=True):
                    array[head] = np.ldexp(array[head], int(power))
    return tensors


def other_heads(genuine: Genuine, rng: Random) -> Tensors:
    """A head removed, doubled, exchanged with another, or all of a block's in another order."""
    tensors = copied(genuine)
    block = int(rng.integers(blocks(tensors)))
    names = [f"blocks.{block}.attention.{part}" for part in ("query", "key", "value")]
    count = len(tensors[names[0]])
    one = int(rng.integers(count))
    order = draw(
        [np.delete(np.arange(count), one), np.append(np.arange(count), one), rng.permutation(count), np.arange(0)], rng
    )
    for name in names if rng.random() < 0.8 else names[:1]:
        tensors[name] = tensors[name][order]
    return tensors


def other_blocks(genuine: Genuine, rng: Random) -> Tensors:
    """A block or a layer of one removed, doubled or added."""
    tensors, count = copied(genuine), blocks(genuine.tensors)
    width, dtype = tensors["hidden0"].shape[1], tensors["hidden0"].dtype
    own = {name: array for name, array in tensors.items() if name.startswith(f"blocks.{count - 1}.")}
    choice = rng.integers(4)
    if choice == 0:  # the last block is gone
        return {name: array for name, array in tensors.items() if name not in own}
    if choice == 1:  # the last block twice
        return tensors | {name.replace(f"blocks.{count - 1}.", f"blocks.{count}."): a for name, a in own.items()}
    if choice == 2:  # a block that does nothing
        empty = np.zeros((int(rng.integers(2)), width, width), dtype)
        return tensors | {f"blocks.{count}.attention.{part}": empty for part in ("query", "key", "value")}
    layer = f"blocks.{int(rng.integers(count))}.ffn.layers.{int(rng.integers(4))}"
    weight = draw([np.zeros((width, width)), np.eye(width), rng.normal(size=(width, width))], rng).astype(dtype)
    return tensors | {f"{layer}.weight": weight, f"{layer}.bias": np.zeros(width, dtype)}


def other_tokens(genuine: Genuine, rng: Random) -> Tensors:
    """A token more or less, two exchanged, another output, another code, another type."""
    tensors = copied(genuine)
    hidden = tensors["hidden0"]
    one, two = rng.integers(len(hidden), size=2)
    choice = rng.integers(7)
    if choice == 0:
        tensors["hidden0"] = np.concatenate([hidden, hidden[one : one + 1]])
    elif choice == 1:
        tensors["hidden0"] = np.delete(hidden, one, axis=0)
    elif choice == 2:
        hidden[[one, two]] = hidden[[two, one]]
    elif choice == 3:
        tensors["readout"] = draw([[one, 0], [0, 0], [10**6, 0], [-1, 0], [0], [[0, 0]], [2.0, 1.0], [two, one]], rng)
        tensors["readout"] = np.array(tensors["readout"])
    elif choice == 4:
        hidden[one, 2:] = hidden[two, 2:]
    elif choice == 5:
        with np.errstate(over="ignore"):
            row = np.full((1, hidden.shape[1]), draw([0, 1e3, 1e200], rng)).astype(hidden.dtype)
        tensors["hidden0"] = np.concatenate([hidden, row])
    else:
        name = draw(sorted(tensors), rng)
        tensors[name] = tensors[name].astype(draw([np.float32, np.float16, np.int64, np.float64], rng))
    return tensors


def other_names(genuine: Genuine, rng: Random) -> Tensors:
    """A tensor that is gone, has another name or shape, or is there for nothing."""
    tensors = copied(genuine)
    name = draw(sorted(tensors), rng)
    choice = rng.integers(4)
    if choice == 0:
        del tensors[name]
    elif choice == 1:
        tensors[draw(["blocks.9.attention.query", "box", "blocks.00.attention.query", "Hidden0", "\x1b[2J"], rng)] = (
            np.ones(2)
        )
    elif choice == 2:
        tensors[name] = tensors[name].reshape(-1)
    else:
        tensors[name + draw(["x", ".0", " "], rng)] = tensors.pop(name)
    return tensors


DOCUMENTS = (any_place, any_place, a_number, a_bound, an_expression, an_expression, a_shape, a_tree)
NETWORKS = (
    *(a_weight, a_weight, a_coefficient, a_bit, a_silent_head, scaled_heads, other_heads, other_blocks, other_tokens),
    other_names,
)


# -- bytes -----------------------------------------------------------------------------------------------------------


def changed_bytes(data: bytes, rng: Random) -> bytes:
    """A bit flipped, a piece gone, twice there, or something behind it."""
    out = bytearray(data)
    place = int(rng.integers(len(data))) if rng.random() < 0.6 else int(rng.integers(min(len(data), 4000)))
    choice = rng.integers(5)
    if choice <= 1:
        out[place] ^= 1 << int(rng.integers(8))
    elif choice == 2:
        del out[place : place + int(rng.integers(1, 40))]
    elif choice == 3:
        out[place:place] = out[place : place + int(rng.integers(1, 40))]
    else:
        out += draw([b"\0", b" ", b"{}", bytes(100)], rng)
    return bytes(out)


def doubled_key(genuine: Genuine, rng: Random) -> bytes:
    """The document with one of its keys again, with another value, before or behind."""
    text = json.dumps(genuine.document)
    key = draw(sorted(genuine.document), rng)
    again = f"{json.dumps(key)}: {json.dumps(draw([genuine.document[key], 0.0, 1e-9, 'x'], rng))}"
    return (f"{{{again}, {text[1:]}" if rng.random() < 0.5 else f"{text[:-1]}, {again}}}").encode()


def forgeries(genuine: list[Genuine], rng: Random, count: int) -> Iterator[Forgery]:
    """`count` forgeries of the pairs, among which certificates are also exchanged."""
    for _ in range(count):
        one, other = draw(genuine, rng), draw(genuine, rng)
        choice = rng.random()
        if choice < 0.38:
            change = DOCUMENTS[rng.integers(len(DOCUMENTS))]
            yield pair(change.__name__, one.tensors, change(one, rng), rng, digested=0.9)
        elif choice < 0.80:
            change_network = NETWORKS[rng.integers(len(NETWORKS))]
            yield pair(change_network.__name__, change_network(one, rng), one.document, rng)
        elif choice < 0.86:
            mixed = Genuine(NETWORKS[rng.integers(len(NETWORKS))](one, rng), one.document)
            yield pair("both", mixed.tensors, DOCUMENTS[rng.integers(len(DOCUMENTS))](mixed, rng), rng, digested=0.9)
        elif choice < 0.90:
            yield pair("exchanged", one.tensors, other.document, rng)
        else:
            whole = pair("bytes", one.tensors, one.document, rng, digested=1.0)
            network, certificate, digests = whole.network, whole.certificate, bool(rng.random() < 0.3)
            if rng.random() < 0.4:
                network = changed_bytes(network, rng)
            elif rng.random() < 0.6:
                certificate = changed_bytes(certificate, rng)
            else:
                certificate = doubled_key(one, rng)
            yield Forgery("bytes", network, certificate, digests)
