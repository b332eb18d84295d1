"""Random manifolds with usual, absurd and false parameters; points of them by closed forms of this file."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from benchmarks.attack import values
from benchmarks.attack.cases import Given
from construct import manifolds
from construct.manifolds import ParametricManifold, Product, ProjectedManifold

Points = Callable[[int, np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class Space:
    """How a manifold is made, and canonical points (n, k) of it; None where nothing is known."""

    text: str
    make: Callable[[], Any]
    points: Points | None
    arguments: frozenset[str]
    d: int = 1


def circle(radius: float = 1.0) -> Points:
    def points(n: int, rng: np.random.Generator) -> np.ndarray:
        angle = rng.random(n) * 2 * math.pi
        return radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)

    return points


def sphere(d: int, radius: float = 1.0) -> Points:
    def points(n: int, rng: np.random.Generator) -> np.ndarray:
        x = rng.normal(size=(n, d + 1))
        return np.asarray(radius * x / np.linalg.norm(x, axis=1, keepdims=True))

    return points


def cube(d: int) -> Points:
    def points(n: int, rng: np.random.Generator) -> np.ndarray:
        x = rng.random((n, d)) * 2 - 1
        x[: n // 8] = np.sign(x[: n // 8])  # corners
        return np.asarray(x)

    return points


def torus(major: float = 2.0, minor: float = 1.0) -> Points:
    def points(n: int, rng: np.random.Generator) -> np.ndarray:
        u, v = rng.random((2, n)) * 2 * math.pi
        r = major + minor * np.cos(v)
        return np.stack([r * np.cos(u), r * np.sin(u), minor * np.sin(v)], axis=1)

    return points


def trefoil(n: int, rng: np.random.Generator) -> np.ndarray:
    t = rng.random(n) * 2 * math.pi
    r = 2 + np.cos(3 * t)
    return np.stack([r * np.cos(2 * t), r * np.sin(2 * t), np.sin(3 * t)], axis=1)


def both(first: Points, second: Points) -> Points:
    return lambda n, rng: np.concatenate([first(n, rng), second(n, rng)], axis=1)


NAMED: dict[str, tuple[dict[str, Any], Points | None, int]] = {
    "circle": ({}, circle(), 1),
    "cube": ({"dim": 1}, cube(1), 1),
    "sphere": ({"dim": 2}, sphere(2), 2),
    "helix": ({}, None, 1),
    "trefoil": ({}, trefoil, 1),
    "torus": ({}, torus(), 2),
    "flat_torus": ({"dim": 2}, None, 2),
    "klein_bottle": ({}, None, 2),
    "moebius": ({}, None, 2),
    "swiss_roll": ({}, None, 2),
}
OFTEN = ("circle", "circle", "circle", "cube", "cube", "sphere")
PARAMETERS = ("radius", "dim", "ambient", "seed", "major", "minor", "pitch", "turns", "half_width", "scale", "width",
              "radii")  # fmt: skip


def usual(rng: random.Random) -> Space:
    """A named manifold as it comes, perhaps in a larger space."""
    name = rng.choice(OFTEN) if rng.random() < 0.85 else rng.choice(tuple(NAMED))
    options, points, d = NAMED[name]
    if rng.random() < 0.2:
        options = {**options, "ambient": rng.choice((5, 8, 20))}
    return Space(
        f"manifold({name!r}, **{options})", lambda: manifolds.manifold(name, **options), points, frozenset(), d
    )


def absurd(rng: random.Random) -> Space:
    """A named manifold with a parameter that is not usual, or none."""
    name = rng.choice(manifolds.manifold_names())
    parameter = rng.choice(PARAMETERS)
    value = (
        values.odd(rng) if rng.random() < 0.5 else Given("", rng.choice((1e-9, 1e-3, 0.5, 2.0, 1e6, 1e30, 3, 7, 40)))
    )
    given = value.text or repr(value.value)
    options = {parameter: value.value}
    if name == "product":
        options = {"first": manifolds.Circle(), "second": value.value}
    found = circle(float(value.value)) if name == "circle" and parameter == "radius" and not value.text else None
    text = f"manifold({name!r}, {parameter}={given})"
    names = frozenset({*PARAMETERS, *options, "first", "second", "arguments", "name", "spec", "spacing", "reach"})
    return Space(text, lambda: manifolds.manifold(name, **options), found, names, 3)


def own(rng: random.Random) -> Space:
    """A user's manifold: an ellipse by its parameters, a circle by its projection, right or wrong."""
    a = rng.choice((1.0, 0.5, 0.2, 3.0))
    reach = rng.choice((min(1.0, a) ** 2 / max(1.0, a) * 0.9, 0.1, 1.0, 10.0))
    fault = rng.choice(("none", "none", "none", "numpy", "NaN", "constant", "lipschitz", "odd", "shape"))

    def function(u: torch.Tensor) -> Any:
        t = u[..., 0]
        if fault == "numpy":
            return np.stack([np.cos(t.numpy()), a * np.sin(t.numpy())], axis=-1)
        if fault == "NaN":
            return torch.stack([t.cos(), (a * t.sin() - 0.99 * a).sqrt()], dim=-1)
        if fault == "constant":
            return torch.ones(*t.shape, 2, dtype=t.dtype)
        if fault == "shape":
            return t.cos()
        return torch.stack([t.cos(), a * t.sin()], dim=-1)

    def project(x: torch.Tensor) -> Any:
        if fault == "numpy":
            return torch.from_numpy(x.numpy() / np.linalg.norm(x.numpy(), axis=-1, keepdims=True))
        if fault == "constant":
            return torch.ones_like(x)
        if fault == "shape":
            return x.norm(dim=-1)
        return x / x.norm(dim=-1, keepdim=True) if fault != "NaN" else x / 0

    lipschitz = 0.3 if fault == "lipschitz" else max(1.0, a)
    odd = values.odd(rng)
    fault_text = f"{fault} {odd.text}" if fault == "odd" else fault
    names = frozenset({
        "function", "lower", "upper", "periodic", "reach", "lipschitz", "project", "dim", "ambient", "box", "sample",
        "formula", "orthogonal", "seed",
    })  # fmt: skip

    def ellipse(n: int, generator: np.random.Generator) -> np.ndarray:
        return circle()(n, generator) * np.array([1.0, a])

    if rng.random() < 0.5:
        arguments: dict[str, Any] = {"lower": [0.0], "upper": [2 * math.pi], "periodic": [True], "reach": reach,
                                     "lipschitz": [lipschitz]}  # fmt: skip
        if fault == "odd":
            arguments[rng.choice(tuple(arguments))] = odd.value
        text = f"ParametricManifold(ellipse 1, {a}; reach {reach}, fault {fault_text})"
        return Space(text, lambda: ParametricManifold(function, **arguments), ellipse, names)
    reach = rng.choice((0.9, 0.5, 1.0))
    arguments = {"dim": 1, "ambient": 2, "reach": reach, "box": [1.1, 1.1]}
    if fault == "odd":
        arguments[rng.choice(tuple(arguments))] = odd.value
    text = f"ProjectedManifold(circle; reach {reach}, fault {fault_text})"
    return Space(text, lambda: ProjectedManifold(project, **arguments), circle(), names)


def product(rng: random.Random) -> Space:
    """A product of two."""
    known: dict[str, tuple[Callable[[], Any], Points]] = {
        "Circle()": (manifolds.Circle, circle()), "Cube(1)": (lambda: manifolds.Cube(1), cube(1)),
        "Circle(0.5)": (lambda: manifolds.Circle(0.5), circle(0.5)),
    }  # fmt: skip
    first, second = rng.choice(tuple(known)), rng.choice(tuple(known))
    points = both(known[first][1], known[second][1])
    names = frozenset({"first", "second", "ambient", "seed"})
    return Space(
        f"Product({first}, {second})", lambda: Product(known[first][0](), known[second][0]()), points, names, 2
    )


def space(rng: random.Random) -> Space | Given:
    """A random manifold, or something that is none."""
    roll = rng.random()
    if roll < 0.7:
        return usual(rng)
    if roll < 0.82:
        return absurd(rng)
    if roll < 0.92:
        return own(rng)
    return product(rng) if roll < 0.96 else values.odd(rng)
