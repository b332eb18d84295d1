"""Small networks that nobody designed, and designed ones that somebody has changed."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch

from construct import Network
from construct.transformer import Weights
from construct.transformer.weights import FeedForward, Heads

Array = np.ndarray[Any, np.dtype[np.float64]]

WIDTH = 5
WEIGHTS = np.array([1, -1, 2, -2, 0.5, -0.5, 3, 1 / 3, 0.1, 1e-20, -1e-20, -4, 64, -64, 1e-9])


def _sparse(rng: np.random.Generator, shape: int | tuple[int, ...], density: float) -> Array:
    return np.asarray(rng.choice(WEIGHTS, shape) * (rng.random(shape) < density))


def _clip_like(rng: np.random.Generator) -> FeedForward:
    """Clips of both registers, some right, some with a slope, a side or a limit too many."""
    first, second = np.zeros((WIDTH, WIDTH)), np.zeros((WIDTH, WIDTH))
    bias, offset = np.zeros(WIDTH), np.zeros(WIDTH)
    for channel in range(4):
        side = 1 if channel % 2 else -1
        first[channel, int(rng.random() < 0.2)] = side * (1 if rng.random() < 0.9 else 2)
        bias[channel] = -rng.choice([1, 0.5, 0.25])
        if rng.random() < (0.9 if channel < 2 else 0.3):
            second[0, channel] = -side * rng.choice([1, 1, 1, 0.5, 2])
    if rng.random() < 0.2:
        offset[0] = rng.choice([-1, 0.5])
    return FeedForward(((first, bias), (second, offset)))


def _feed_forward(rng: np.random.Generator) -> FeedForward:
    kind = rng.integers(5)
    if kind == 0:
        return FeedForward()
    if kind <= 2:
        return _clip_like(rng)
    layers = [(_sparse(rng, (WIDTH, WIDTH), 0.3), _sparse(rng, WIDTH, 0.4)) for _ in range(int(kind) - 1)]
    return FeedForward(tuple(layers))


def _heads(rng: np.random.Generator, place: Array) -> Heads:
    """Up to three heads, gated to a pair of tokens or not at all."""
    count = int(rng.integers(0, 4))
    query, key = (_sparse(rng, (count, WIDTH, WIDTH), 0.15) for _ in range(2))
    value = np.zeros((count, WIDTH, WIDTH))
    value[:, :2] = _sparse(rng, (count, 2, WIDTH), 0.25)
    for head in range(count):
        if rng.random() < 0.6:
            t, s = rng.choice(place, 2)
            constant = rng.choice([1.0, 4.0, 64.0])
            query[head], key[head] = 0, 0
            query[head, 0, 2:], key[head, 0, 4] = [2 * t, -1, -t * t], constant
            query[head, 1, 4], key[head, 1, 2:] = constant, [2 * s, -1, -s * s]
            query[head, 2], key[head, 2] = _sparse(rng, WIDTH, 0.3), _sparse(rng, WIDTH, 0.4)
    return Heads(query, key, value)


def random_network(rng: np.random.Generator, dtype: torch.dtype = torch.float64) -> Network:
    """Two to four tokens with an integer code, one to three blocks."""
    tokens = int(rng.integers(2, 5))
    hidden = _sparse(rng, (tokens, WIDTH), 0.4)
    place = np.arange(tokens, dtype=np.float64) - tokens // 2
    hidden[:, 2], hidden[:, 3] = place, place**2
    hidden[:, 4] = 1 if rng.random() < 0.9 else 1 / 3
    blocks = tuple((_heads(rng, place), _feed_forward(rng)) for _ in range(rng.integers(1, 4)))
    ambient = int(rng.integers(1, tokens + 1))
    box = np.full(ambient, rng.choice([0.5, 1, 2]))
    return Network(Weights(hidden, blocks, (0, 1), box), dtype=dtype)


def tampered(net: Network, rng: np.random.Generator) -> Network:
    """A copy with one to three weights or heads changed."""
    changed = copy.deepcopy(net)
    with changed.edit():
        for _ in range(rng.integers(1, 4)):
            if rng.random() < 0.25:
                _change_head(changed, rng)
            else:
                _change_weight(changed, rng)
    return changed


def _change_weight(net: Network, rng: np.random.Generator) -> None:
    parameters = [p for p in net.parameters() if p.numel()]
    flat = parameters[rng.integers(len(parameters))].data.view(-1)
    present = flat.nonzero()[:, 0]
    chosen = present if len(present) and rng.random() < 0.8 else torch.arange(len(flat))
    place = int(chosen[rng.integers(len(chosen))])
    old = float(flat[place])
    choices = [
        0.0,
        -old,
        old * (1 + 2.0 ** -rng.integers(1, 50)),
        old + rng.normal(),
        old * 2.0 ** rng.integers(-3, 4),
        old + rng.integers(-2, 3),
        float(rng.integers(-3, 4)),
    ]
    flat[place] = choices[rng.integers(len(choices))]


def _change_head(net: Network, rng: np.random.Generator) -> None:
    """One head off, or a copy of another one of its block."""
    stack = net.transformer.stack
    block = stack[rng.integers(len(stack))].attention
    one, other = rng.integers(block.query.shape[0], size=2)
    if rng.random() < 0.5:
        block.value.data[one] = 0
        return
    for weight in (block.query, block.key, block.value):
        weight.data[one] = weight.data[other]
