"""Seeded points of a manifold for training, validation and centres, each purpose with a stream of its own."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from construct.manifolds import Manifold

PURPOSES = ("centres", "training", "validation", "thinning")
OVERSAMPLING = 10  # candidates per well spread point
EDGE = 4  # one point in so many is thrown outwards where M has an edge
FARTHEST_THROW = 10.0  # ratio of the longest throw to the shortest


def stream(seed: int, purpose: str) -> int:
    """A seed for one purpose, so that no two share points, nor any with the error search of `measure`."""
    return int(np.random.SeedSequence([seed, PURPOSES.index(purpose)]).generate_state(1, np.uint64)[0] >> 1)


def scattered(manifold: Manifold, n: int, seed: int, purpose: str) -> Tensor:
    """`with_edge` from the stream of one purpose."""
    return with_edge(manifold, n, stream(seed, purpose))


def with_edge(manifold: Manifold, n: int, number: int) -> Tensor:
    """n points of M (n, D): uniform, and every fourth thrown outwards and projected back where M has an edge.

    A uniform sample misses the edge, on which the error of a global fit is largest. number: seed.
    """
    x = manifold.sample(n, number)
    if not manifold.has_boundary or n < EDGE:
        return x
    generator = torch.Generator().manual_seed(number)
    edge = n // EDGE
    direction = torch.randn(edge, manifold.canonical, generator=generator, dtype=torch.float64)
    length = FARTHEST_THROW ** -torch.rand(edge, 1, generator=generator, dtype=torch.float64)
    step = 2 * manifold.canonical_radius * length * direction / direction.norm(dim=1, keepdim=True)
    thrown = manifold.project(x[:edge] + manifold.directions(step))
    return torch.cat([thrown, x[edge:]])


def well_spread(manifold: Manifold, n: int, seed: int) -> Tensor:
    """n points of M (n, D) by farthest-point insertion among `OVERSAMPLING` n: each the farthest from those before.

    So every prefix is well spread, too. The distances are those of R^D.
    """
    x = scattered(manifold, OVERSAMPLING * n, seed, "centres")
    y = manifold.restrict(x).numpy()
    columns = np.ascontiguousarray(y.T)
    chosen = np.zeros(n, dtype=np.int64)
    chosen[0] = int(((y - y.mean(axis=0)) ** 2).sum(axis=1).argmax())
    nearest = np.full(len(y), np.inf)
    for i in range(1, n):
        apart = ((columns - columns[:, chosen[i - 1], None]) ** 2).sum(axis=0)
        np.minimum(nearest, apart, out=nearest)
        chosen[i] = int(nearest.argmax())
    return x[torch.from_numpy(chosen)]
