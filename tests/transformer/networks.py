"""Small networks to test executions with: random ones and constructed ones."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

import construct
from construct.manifolds import Circle, Manifold, Sphere
from construct.network import Network
from construct.transformer.weights import FeedForward, Heads, Weights


def random_network(
    seed, *, tokens=6, width=5, ambient=3, blocks=2, heads=3, layers=2, scale=0.4, sparse=0.0, dtype=torch.float64
):
    """Dense Gaussian weights, a share `sparse` of them zero; nothing of a construction in it."""
    rng = np.random.default_rng(seed)

    def draw(*shape):
        return scale * rng.normal(size=shape) * (rng.uniform(size=shape) >= sparse)

    parts = tuple(
        (
            Heads(*(draw(heads, width, width) for _ in range(3))),
            FeedForward(tuple((draw(width, width), draw(width)) for _ in range(layers))),
        )
        for _ in range(blocks)
    )
    readout = int(rng.integers(tokens)), int(rng.integers(width))
    return Network(Weights(rng.normal(size=(tokens, width)), parts, readout, np.ones(ambient)), dtype=dtype)


def plain(net: Network) -> Any:
    """The public module of a network and its box, without the network, which refuses more."""
    return SimpleNamespace(transformer=net.transformer, box=net.box)


def exp_sin(x):
    second, third = (x[..., j] if x.shape[-1] > j else torch.zeros_like(x[..., 0]) for j in (1, 2))
    return torch.exp(x[..., 0]) * torch.sin(3 * second + third)


def manifold_of(net: Network) -> Manifold:
    """The manifold of a network that has one."""
    assert net.manifold is not None
    return net.manifold


def certificate_of(net: Network) -> construct.Certificate:
    """The certificate of a network that has one."""
    assert net.certificate is not None
    return net.certificate


def coefficients_of(net: Network) -> torch.Tensor:
    """The coefficients of a network's approximator."""
    assert net.approximator is not None
    return net.approximator.coefficients


def circle_network(**options):
    return construct.approximate(exp_sin, Circle(), charts=5, degree=6, **options)


def sphere_network(**options):
    return construct.approximate(exp_sin, Sphere(2), charts=6, degree=4, **options)
