"""Lattice approximators by hand, drawn from a seed, and their formula token by token in plain numpy."""

import numpy as np
import torch

from construct.cells.approximator import CellApproximator, CellBasis, reach_of
from construct.manifolds import Circle, Cube, Sphere, Torus
from construct.ridge.coordinates import coordinates_of
from construct.ridge.maps import shift_of

MANIFOLDS = {"circle": Circle(), "sphere": Sphere(2, ambient=5), "torus": Torus(), "cube": Cube(2)}


def drawn(
    seed: int, manifold: str = "circle", degree: int = 3, windows: int | None = None, tokens: int = 7
) -> CellApproximator:
    """An approximator of some tokens on levels 0 to 4, about points of M."""
    rng, m = np.random.default_rng(seed), MANIFOLDS[manifold]
    coordinates = coordinates_of(m, 0)
    r = coordinates.count
    count = r if windows is None else min(windows, r)
    places = np.sort(rng.permutation(r)[:count])
    spacing, reach = float(rng.uniform(0.3, 1.2)), reach_of(degree)
    levels = rng.integers(0, 5, tokens)
    u = coordinates.of(m.sample(tokens, seed)).numpy() / coordinates.scale / spacing
    factors = np.where(levels > 0, 2.0 ** (levels - 1), 0.0)
    centres = np.rint(factors[:, None] * u + rng.uniform(-0.5, 0.5, (tokens, r))).astype(np.int64)
    centres[levels == 0] = 0
    directions = rng.integers(-reach // r, reach // r + 1, (tokens, r))
    basis = CellBasis(m, coordinates, places, degree, spacing, levels, centres, directions)
    return CellApproximator(basis, torch.from_numpy(rng.normal(size=tokens)), float(rng.normal()))


def formula(approximator: CellApproximator, x: np.ndarray) -> np.ndarray:
    """T at points (P, D), from the definition: loops, no tables, cosines in place of maps."""
    basis, total = approximator.basis, np.full(len(x), approximator.constant)
    y = x[:, basis.coordinates.chosen] - basis.coordinates.centre
    p, reach = basis.degree, reach_of(basis.degree)
    delta = shift_of(p)
    for level, centre, alpha, c in zip(
        basis.levels, basis.centres, basis.directions, approximator.coefficients.numpy(), strict=True
    ):
        factor = 2.0 ** (level - 1) if level else 1.0
        local = factor * y / basis.spacing - centre
        hat = np.ones(len(x))
        if level:
            seen = local[:, basis.windows]
            above, below = np.maximum(seen, 0).max(axis=1), np.maximum(-seen, 0).max(axis=1)
            hat = np.maximum(0, 1 - above - below)
        a = np.clip(delta + (1 - delta) / reach * (local @ alpha), -1, 1)
        total = total + c * hat * (1 + np.cos(p * np.arccos(a)))
    return total
