"""Lattice networks made by hand: any cells, directions and coefficients, fitted or not."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from construct import Network
from construct.cells.approximator import CellApproximator, CellBasis
from construct.cells.growth import Shape
from construct.cells.program import cell_program
from construct.cells.refine import Refinement
from construct.manifolds import Circle, Cube, Manifold, Sphere
from construct.problem import Problem
from construct.ridge.coordinates import Coordinates, coordinates_of
from construct.ridge.program import ridge_box

MANIFOLDS = {1: Cube(1), 2: Circle(), 3: Sphere(2)}


def network_of(approximator: CellApproximator, dtype: torch.dtype = torch.float64) -> Network:
    program = cell_program(approximator)
    return Network(program.compile(ridge_box(approximator.manifold), dtype), dtype=dtype)


def random_cells(rng: np.random.Generator, *, projected: bool = False, most: int = 7) -> CellApproximator:
    """Cells that meet M, some of level 0, with directions and coefficients of any size."""
    r = int(rng.integers(1, 4))
    manifold = MANIFOLDS[r]
    m = int(rng.integers(1, r + 1))
    windows = np.sort(rng.permutation(r)[:m])
    centre = rng.choice([0.0, 0.125], r)
    forms = rng.uniform(-1, 1, (r, manifold.ambient)) if projected else None
    chosen = np.zeros(0, dtype=np.int64) if projected else np.arange(r)
    coordinates = Coordinates(chosen, centre, np.ones(r), 1.0, forms)
    count, spacing = int(rng.integers(2, most + 1)), float(rng.choice([0.4, 0.7]))
    empty = np.zeros((0, r), dtype=np.int64)
    degree = int(rng.choice([2, 3, 4, 6]))
    none = CellBasis(manifold, coordinates, windows, degree, spacing, empty[:, 0], empty, empty)
    levels = np.sort(rng.integers(0, 5, count))
    levels[-1] = max(levels[-1], 1)
    near = none.units(manifold.sample(count, seed=int(rng.integers(1000)))).numpy()
    factors = np.where(levels > 0, np.ldexp(0.5, levels), 0.0)[:, None]
    centres = np.rint(factors * near).astype(np.int64)
    directions = rng.integers(-3, 4, (count, r))
    basis = CellBasis(manifold, coordinates, windows, degree, spacing, levels, centres, directions)
    coefficients = rng.normal(size=count) * 10.0 ** rng.integers(-2, 2)
    return CellApproximator(basis, torch.from_numpy(coefficients), float(rng.choice([0.0, rng.normal()])))


def refined(manifold: Manifold, target: Any, epsilon: float, shape: Shape, most: int = 3000) -> CellApproximator:
    """The adaptive fit of a target."""
    problem = Problem(target, manifold, epsilon, None, 0, lambda *_: None, None)
    found = Refinement(problem, coordinates_of(manifold, 0), shape, 4.0, 20).run(epsilon, most)
    assert found is not None
    return found.approximator


def formula(approximator: CellApproximator, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """T at points (P, D), in extended precision, from its definition."""
    wide, basis = np.longdouble, approximator.basis
    coordinates = basis.coordinates
    read = x.astype(wide)
    if coordinates.projection is None:
        y = read[:, coordinates.chosen] - coordinates.centre
    else:
        y = read @ coordinates.projection.T.astype(wide) - coordinates.centre
    u, total = y / wide(basis.spacing), np.full(len(x), wide(approximator.constant))
    for level, centre, alpha, c in zip(
        basis.levels.tolist(), basis.centres, basis.directions, approximator.coefficients.tolist(), strict=True
    ):
        factor = 2.0 ** (level - 1) if level else 1.0
        z = factor * u[:, basis.windows] - centre[basis.windows]
        hat = np.maximum(0, 1 - np.maximum(0, z.max(axis=1)) - np.maximum(0, (-z).max(axis=1))) if level else 1.0
        a = np.clip(wide(basis.shift) + wide(basis.scale) * ((factor * u - centre) @ alpha.astype(wide)), -1, 1)
        total += wide(c) * hat * (1 + np.cos(basis.degree * np.arccos(a)))
    return np.asarray(total)
