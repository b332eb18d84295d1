"""Whether a network and its certificate are true, as far as dense points tell, by an evaluation of their own.

`judge(network, certificate)` uses neither the library nor the verifier: the tensors of the file in the formula of the
transformer class, in plain numpy and in the dtype of the weights; target and manifold from their JSON trees, in
extended precision.
"""

from __future__ import annotations

import json
from itertools import product
from typing import Any

import numpy as np
from safetensors.numpy import load

Array = np.ndarray[Any, Any]
Tensors = dict[str, Array]
Document = dict[str, Any]

WIDE = np.longdouble
MOST_POINTS = 60
SLACK = 1e-14  # relative, of the oracle's own arithmetic


def blocks(tensors: Tensors) -> int:
    """The number of blocks, by their names."""
    return sum(name.endswith("attention.query") for name in tensors)


def value(tree: Any, x: Array) -> Array:
    """An expression at points x (n, d), in extended precision."""
    if not isinstance(tree, list):
        return np.full(len(x), WIDE(tree) if isinstance(tree, float) else WIDE(str(tree)))
    if tree[0] == "x":
        return np.asarray(x[:, tree[1]])
    a = [value(part, x) for part in (tree[1:2] if tree[0] == "pow" else tree[1:])]
    if tree[0] == "pow":
        return np.asarray(a[0] ** (tree[2] if isinstance(tree[2], int) else WIDE(tree[2])))
    two = {"add": np.add, "mul": np.multiply, "div": np.divide}
    return np.asarray(two[tree[0]](*a) if tree[0] in two else getattr(np, tree[0])(*a))


def dense(tensors: Tensors, x: Array) -> Array:
    """The formula of the class at points (n, D), in the dtype of the weights; scores row by row."""
    hidden = np.repeat(tensors["hidden0"][None], len(x), axis=0)
    hidden[:, : x.shape[1], 0] += x.astype(hidden.dtype)
    for block in range(blocks(tensors)):
        query, key, value = (tensors[f"blocks.{block}.attention.{part}"] for part in ("query", "key", "value"))
        total = np.zeros_like(hidden)
        for q, k, v in zip(query, key, value, strict=True):
            left, right = hidden @ q.T, hidden @ k.T
            score = left[:, :, None, 0] * right[:, None, :, 0]
            for row in range(1, q.shape[0]):
                score = score + left[:, :, None, row] * right[:, None, :, row]
            total = total + np.maximum(score, 0) @ (hidden @ v.T)
        hidden = hidden + total
        channels, layer = hidden, 0
        while f"blocks.{block}.ffn.layers.{layer}.weight" in tensors:
            name = f"blocks.{block}.ffn.layers.{layer}"
            channels = (np.maximum(channels, 0) if layer else channels) @ tensors[f"{name}.weight"].T
            channels, layer = channels + tensors[f"{name}.bias"], layer + 1
        hidden = hidden + channels if layer else hidden
    token, row = tensors["readout"].tolist()
    return np.asarray(hidden[:, token, row])


def worst_error(tensors: Tensors, document: Document, count: int = MOST_POINTS) -> float:
    """The largest |T - f| on a grid of the box, ends included; NaN and infinities count as infinite."""
    manifold = document["manifold"]
    ends = list(zip(manifold["lower"], manifold["upper"], strict=True))
    each = max(3, round(count ** (1 / len(ends))))
    u = np.array(list(product(*(np.linspace(a, b, each) for a, b in ends))), dtype=WIDE)
    with np.errstate(all="ignore"):
        y = np.stack([value(tree, u) for tree in manifold["formula"]], axis=-1)
        x = y @ np.array(manifold["frame"], dtype=WIDE).T + np.array(manifold["offset"], dtype=WIDE)
        difference = np.abs(dense(tensors, x).astype(WIDE) - value(document["target"], x))
        errors = np.where(np.isfinite(difference), difference, np.inf)
        return float(errors.max())


def judge(network: bytes, certificate: bytes) -> bool:
    """Whether a pair of files that a verifier accepted is true on a grid, and says nothing false of itself."""
    tensors, document = load(network), json.loads(certificate)
    bound = float(document["bound"])
    return worst_error(tensors, document) <= bound * (1 + SLACK) and document["measured"]["sup"] <= bound
