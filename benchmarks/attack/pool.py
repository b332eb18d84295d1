"""Networks that the attacks start from, small ones of every kind, with what the oracles need to know of them."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

import construct
from benchmarks.attack import oracles
from construct import targets
from construct.manifolds import Circle, Cube, Manifold, ParametricManifold, Sphere
from construct.network import Network
from construct.transformer.weights import FeedForward, Heads, Weights

SLACK = 1000.0  # times the rounding that was measured
LEAST = {torch.float64: 1e-12, torch.float32: 1e-5}


@dataclass(frozen=True)
class Pooled:
    """A network, its weights as numpy arrays, and points of its manifold.

    Attributes:
        lower, upper: (D,) ends of the box.
        tolerance: of values inside the box, absolute.
        on: (n, D) points of the manifold, from a closed form of this file.
    """

    name: str
    net: Network
    tensors: oracles.Tensors
    lower: np.ndarray
    upper: np.ndarray
    on: np.ndarray
    tolerance: float

    @property
    def ambient(self) -> int:
        return len(self.lower)

    def inside(self, x: np.ndarray) -> np.ndarray:
        """Whether points (n, D) are in the box."""
        return np.asarray(((self.lower <= x) & (x <= self.upper)).all(axis=1))

    @property
    def manifold(self) -> Manifold:
        assert self.net.manifold is not None
        return self.net.manifold

    @property
    def knows_manifold(self) -> bool:
        return self.net.manifold is not None


def rounded(tensors: oracles.Tensors) -> oracles.Tensors:
    """Weights as float32 holds them, in their own dtype."""
    with np.errstate(over="ignore"):
        return {n: t.astype(np.float32).astype(t.dtype) if t.dtype.kind == "f" else t for n, t in tensors.items()}


def tensors_of(net: torch.nn.Module) -> oracles.Tensors:
    """Weights of a transformer as arrays of their own."""
    return {name: value.detach().cpu().numpy().copy() for name, value in net.state_dict().items()}


def on_circle(n: int, ambient: int = 2) -> np.ndarray:
    angle = np.linspace(0.1, 0.1 + 2 * math.pi, n, endpoint=False)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def on_sphere(n: int) -> np.ndarray:
    z = np.linspace(-1, 1, n)
    angle, r = np.arange(n) * 2.399963, np.sqrt(np.maximum(0, 1 - z**2))
    points = np.stack([r * np.cos(angle), r * np.sin(angle), z], axis=1)
    return np.asarray(points / np.linalg.norm(points, axis=1, keepdims=True))


def on_segment(n: int) -> np.ndarray:
    return np.linspace(-1, 1, n)[:, None]


def on_ellipse(n: int) -> np.ndarray:
    return on_circle(n) * np.array([1.0, 0.7])


def _ellipse() -> ParametricManifold:
    def function(u: torch.Tensor) -> torch.Tensor:
        return torch.stack([u[..., 0].cos(), 0.7 * u[..., 0].sin()], dim=-1)

    return ParametricManifold(function, [0.0], [2 * math.pi], [True], 0.49, [1.0])


def random_network(seed: int) -> Network:
    """Weights without a meaning: 4 tokens of 5 rows, D = 2."""
    rng = np.random.default_rng(seed)
    blocks = []
    for heads, layers in ((2, 1), (0, 2), (3, 0)):
        parts = [rng.normal(size=(heads, 5, 5)) * (rng.random((heads, 5, 5)) < 0.4) for _ in range(3)]
        ffn = tuple((rng.normal(size=(5, 5)) / 3, rng.normal(size=5)) for _ in range(layers))
        blocks.append((Heads(*parts), FeedForward(ffn)))
    return Network(Weights(rng.normal(size=(4, 5)), tuple(blocks), (3, 2), np.array([1.0, 1.5])))


exp_sin = targets.target("exp_sin")
polynomial = targets.target("polynomial")

BUILDERS: dict[str, tuple[Callable[[], Network], Callable[[int], np.ndarray]]] = {
    "segment": (lambda: construct.approximate(polynomial, Cube(1), charts=1, degree=3), on_segment),
    "circle": (lambda: construct.approximate(exp_sin, Circle(), epsilon=0.1), on_circle),
    "coarse circle": (lambda: construct.approximate(exp_sin, Circle(), charts=3, degree=1), on_circle),
    "float32 circle": (
        lambda: construct.approximate(exp_sin, Circle(), charts=4, degree=3, dtype=torch.float32),
        on_circle,
    ),
    "trigonometric circle": (
        lambda: construct.approximate(exp_sin, Circle(), charts=4, degree=2, position_code="trigonometric"),
        on_circle,
    ),
    "paper circle": (
        lambda: construct.approximate(exp_sin, Circle(), charts=4, cells=1, degree=1, construction="paper"),
        on_circle,
    ),
    "spline circle": (
        lambda: construct.approximate(targets.target("kink"), Circle(), charts=4, cells=3, smoothness=1.0),
        on_circle,
    ),
    "sphere": (lambda: construct.approximate(exp_sin, Sphere(2), charts=6, degree=1), on_sphere),
    "ellipse": (lambda: construct.approximate(exp_sin, _ellipse(), charts=8, degree=2), on_ellipse),
    "random": (lambda: random_network(5), on_circle),
}
NAMES = tuple(BUILDERS)


@functools.cache
def pooled(name: str) -> Pooled:
    """The network of this name, built when it is first asked for."""
    build, points = BUILDERS[name]
    net, on = build(), points(64)
    tensors, (lower, upper) = tensors_of(net.transformer), net.box.double().numpy().copy()
    inside = np.concatenate([on, lower + np.random.default_rng(0).random((32, len(lower))) * (upper - lower)])
    precise = np.float32 if net.dtype == torch.float32 else np.float64
    value = oracles.dense(tensors, inside.astype(precise), np.longdouble)
    rounded = oracles.dense(tensors, inside.astype(precise), precise)
    size = max(1.0, float(np.abs(value).max()))
    tolerance = SLACK * float(np.abs(value - rounded).max()) + LEAST[net.dtype] * size
    return Pooled(name, net, tensors, lower, upper, on, tolerance)
