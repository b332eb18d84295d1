"""Random targets: smooth, rough, false and hostile ones, with their values by numpy."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from benchmarks.attack.judge import TargetError
from construct import expressions, targets

GENERATOR = torch.Generator()  # the global one is to stay as it was
UNSEEN = {"random", "reversed", "depends on the batch", "another at every call", "NaN on every axis"}
BEYOND = {"NaN beyond", "inf beyond"}
"""Targets that break a promise which no call can show; that they are accepted is no finding."""

Values = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Function:
    """A target, and its values in numpy where it has any; `sound`: finite float64 values of the right shape."""

    text: str
    target: Any
    values: Values | None
    sound: bool = True
    smoothness: float | None = None


def _third(x: Any) -> Any:
    return x[..., 2] if x.shape[-1] > 2 else 0.0 * x[..., 0]


def _second(x: Any) -> Any:
    return x[..., 1] if x.shape[-1] > 1 else 0.0 * x[..., 0]


BUILT_IN: dict[str, tuple[Values, float | None]] = {
    "exp_sin": (lambda x: np.exp(x[..., 0]) * np.sin(3 * _second(x) + _third(x)), None),
    "sin_product": (lambda x: np.sin(2 * x[..., 0]) * np.cos(3 * _second(x)) * np.cos(_third(x)), None),
    "polynomial": (lambda x: x[..., 0] ** 3 - 3 * x[..., 0] * _second(x) ** 2 + x[..., 0] * _third(x) / 2 + 0.25, None),
    "oscillation": (lambda x: np.cos(10 * x[..., 0] + 4 * _second(x)), None),
    "runge": (lambda x: 1 / (1 + (x[..., 0] / 0.2) ** 2), None),
    "tanh_front": (lambda x: np.tanh((x[..., 0] - _second(x) / 2) / 0.2), None),
    "kink": (lambda x: np.abs(x[..., 0]), 1.0),
    "root": (lambda x: np.sqrt(np.abs(x[..., 0])), 0.5),
}


def tree(rng: random.Random, depth: int, names: int) -> Any:
    """A random JSON tree of a smooth function."""
    if depth == 0 or rng.random() < 0.2:
        return ["x", rng.randrange(names)] if rng.random() < 0.7 else rng.choice((0.5, 1.0, 2, -1.5, 3.0))
    head = rng.choice(("add", "mul", "add", "mul", "sin", "cos", "tanh", "pow", "exp"))
    if head in ("add", "mul"):
        return [head, tree(rng, depth - 1, names), tree(rng, depth - 1, names)]
    if head == "pow":
        return ["pow", tree(rng, depth - 1, names), rng.choice((2, 3))]
    inner = tree(rng, depth - 1, names)
    return ["exp", ["sin", inner]] if head == "exp" else [head, inner]


def torch_values(node: Any, x: torch.Tensor) -> torch.Tensor:
    """The tree in torch operations."""
    if isinstance(node, int | float):
        return torch.full(x.shape[:-1], float(node), dtype=x.dtype)
    head, *rest = node
    if head == "x":
        return x[..., rest[0]]
    a = torch_values(rest[0], x)
    if head in ("add", "mul"):
        b = torch_values(rest[1], x)
        return a + b if head == "add" else a * b
    if head == "pow":
        return a ** rest[1]
    return {"sin": torch.sin, "cos": torch.cos, "tanh": torch.tanh, "exp": torch.exp}[head](a)


def numpy_values(node: Any, x: np.ndarray) -> np.ndarray:
    from_rows = x.reshape(-1, x.shape[-1])
    return _tree_values(node, from_rows).reshape(x.shape[:-1])


def _tree_values(node: Any, x: np.ndarray) -> np.ndarray:
    if isinstance(node, int | float):
        return np.full(len(x), float(node))
    head, *rest = node
    if head == "x":
        return np.array(x[:, rest[0]])
    a = _tree_values(rest[0], x)
    if head in ("add", "mul"):
        b = _tree_values(rest[1], x)
        return a + b if head == "add" else a * b
    if head == "pow":
        return np.array(a ** rest[1])
    return np.array({"sin": np.sin, "cos": np.cos, "tanh": np.tanh, "exp": np.exp}[head](a))


def smooth(rng: random.Random, ambient: int) -> Function:
    """A tree as an expression, in torch, or in numpy."""
    node = tree(rng, 3, min(ambient, 3))
    way = rng.choice(("expression", "torch", "numpy"))
    if way == "expression":
        return Function(f"from_json({node})", expressions.from_json(node), lambda x: _tree_values(node, x))
    if way == "torch":
        return Function(f"torch {node}", lambda x: torch_values(node, x), lambda x: _tree_values(node, x))

    def by_numpy(x: Any) -> Any:
        return numpy_values(node, np.asarray(x))

    return Function(f"numpy {node}", by_numpy, lambda x: _tree_values(node, x))


def named(rng: random.Random) -> Function:
    name = rng.choice(tuple(BUILT_IN))
    found, beta = BUILT_IN[name]
    return Function(f"targets.target({name!r})", targets.target(name), found, smoothness=beta)


def rough(rng: random.Random) -> Function:
    """Jumps, narrow features, noise."""
    c = rng.uniform(-0.9, 0.9)
    size = rng.choice((0.01, 0.1, 1.0, 100.0))
    width = rng.choice((1e-3, 1e-2, 0.05))

    def noise(x: Any) -> Any:
        return size * ((x[..., 0] * 12345.678 + c) % 1.0)

    options: dict[str, tuple[Callable[[Any], Any], Values]] = {
        f"{size} sign(x0 - {c})": (
            lambda x: size * torch.sign(x[..., 0] - c), lambda x: size * np.sign(x[..., 0] - c)),
        f"sin(x0) + {size} (x0 > {c})": (
            lambda x: torch.sin(x[..., 0]) + size * (x[..., 0] > c),
            lambda x: np.sin(x[..., 0]) + size * (x[..., 0] > c)),
        f"{size} floor(7 x0)": (lambda x: size * torch.floor(7 * x[..., 0]), lambda x: size * np.floor(7 * x[..., 0])),
        f"bump of width {width} at {c}": (
            lambda x: torch.exp(-(((x[..., 0] - c) / width) ** 2)),
            lambda x: np.exp(-(((x[..., 0] - c) / width) ** 2))),
        f"noise {size}": (noise, noise),
        f"tanh((x0 - {c}) / {width})": (
            lambda x: torch.tanh((x[..., 0] - c) / width), lambda x: np.tanh((x[..., 0] - c) / width)),
    }  # fmt: skip
    text = rng.choice(tuple(options))
    return Function(text, *options[text])


def _raises(error: BaseException) -> Callable[[Any], Any]:
    def target(x: Any) -> Any:
        raise error

    return target


def _writes(x: Any) -> Any:
    y = x[..., 0] * 1.0
    x[...] = 0.0
    return y


def _forgets(calls: list[int]) -> Callable[[Any], Any]:
    def target(x: Any) -> Any:
        calls.append(1)
        return x[..., 0] * len(calls)

    return target


def hostile(rng: random.Random) -> Function:
    """What is no target, or one that breaks a promise."""
    c, threshold = rng.uniform(-1, 1), rng.choice((0.5, 0.9, 0.99))
    choices: dict[str, Any] = {
        "float32 values": lambda x: x[..., 0].float() if isinstance(x, torch.Tensor) else x[..., 0].astype("f4"),
        "integer values": lambda x: (10 * x[..., 0]).round().long() if isinstance(x, torch.Tensor) else None,
        "bool values": lambda x: x[..., 0] > 0,
        "complex values": lambda x: x[..., 0] + 0j,
        "shape (n, 1)": lambda x: x[..., :1],
        "shape (n, D)": lambda x: x,
        "shape ()": lambda x: x.sum(),
        "constant float": lambda x: 1.5,
        "constant int": lambda x: 3,
        "constant tensor": lambda x: torch.tensor(1.5),
        "None": lambda x: None,
        "list": lambda x: [0.0] * len(x),
        "string": lambda x: "a",
        "one point": lambda x: math.sin(x[0]),
        "one point, items": lambda x: float(x[0]) * 2,
        "KeyError": _raises(KeyError("k")),
        "ValueError": _raises(ValueError("v\x1b[31m")),
        "StopIteration": _raises(StopIteration()),
        "SystemExit": _raises(SystemExit(3)),
        "GeneratorExit": _raises(GeneratorExit()),
        "RecursionError": _raises(RecursionError()),
        "AssertionError": _raises(AssertionError()),
        "MemoryError": _raises(MemoryError()),
        "own error": _raises(TargetError("own")),
        "NaN beyond": lambda x: torch.where(x[..., 0] > threshold, math.nan, x[..., 0]),
        "inf beyond": lambda x: torch.where(x[..., 0] > threshold, math.inf, x[..., 0]),
        "NaN on every axis": lambda x: x[..., 0] / x[..., 0].sign(),
        "1e300": lambda x: 1e300 * x[..., 0],
        "1e-300": lambda x: 1e-300 * x[..., 0],
        "1e308 twice": lambda x: 1.7e308 * torch.tanh(100 * x[..., 0]),
        "writes to x": _writes,
        "another at every call": _forgets([]),
        "random": lambda x: torch.rand(x.shape[:-1], dtype=torch.float64, generator=GENERATOR),
        "float32 inside": lambda x: (x.float() @ torch.ones(x.shape[-1], 1))[..., 0],
        "needs float32": lambda x: (x @ torch.ones(x.shape[-1], 1, dtype=torch.float32))[..., 0],
        "detached item": lambda x: torch.tensor([float(v) for v in x[..., 0]]).double(),
        "requires grad": lambda x: x[..., 0] * torch.ones(1, dtype=torch.float64, requires_grad=True),
        "view of x": lambda x: x[..., 0],
        "a class": dict,
        "wants two": lambda x, y: x[..., 0],
        "keyword only": lambda *, x: x[..., 0],
        "reversed": lambda x: x[..., 0].flip(0),
        "depends on the batch": lambda x: x[..., 0] - x[..., 0].mean(),
        "sparse": lambda x: x[..., 0].to_sparse(),
        "no memory": lambda x: torch.empty(2**45, dtype=torch.float64)[: len(x)],
        "masked": lambda x: np.ma.masked_array(np.asarray(x)[..., 0], mask=np.asarray(x)[..., 0] > c),
        "object array": lambda x: np.asarray(x)[..., 0].astype(object),
        "numpy float16": lambda x: np.asarray(x)[..., 0].astype(np.float16),
        "numpy longdouble": lambda x: np.asarray(x)[..., 0].astype(np.longdouble),
    }  # fmt: skip
    text = rng.choice(tuple(choices))
    known: dict[str, Values] = {
        "view of x": lambda x: x[..., 0], "requires grad": lambda x: x[..., 0], "1e300": lambda x: 1e300 * x[..., 0],
        "1e-300": lambda x: 1e-300 * x[..., 0], "float32 values": lambda x: x[..., 0].astype("f4").astype("f8"),
        "float32 inside": lambda x: x.astype("f4").sum(axis=-1).astype("f8"),
        "detached item": lambda x: x[..., 0].astype("f4").astype("f8"), "writes to x": lambda x: x[..., 0],
    }  # fmt: skip
    return Function(text, choices[text], known.get(text), sound=False)
