"""Ridge networks made by hand: any directions, coefficients and scales, fitted or not."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.linalg
import torch

from construct import Network, targets
from construct.expressions import Expression
from construct.manifolds import Circle, Cube, Manifold, Sphere
from construct.ridge.approximator import RidgeApproximator, RidgeBasis
from construct.ridge.coordinates import Coordinates, coordinates_of
from construct.ridge.directions import Lattice
from construct.ridge.maps import shift_of
from construct.ridge.program import free_program

MANIFOLDS = {1: Cube(1), 2: Circle(), 3: Sphere(2)}
DEGREES = (1, 2, 3, 4, 6, 9)


def built_in(name: str, ambient: int = 3) -> Expression:
    """The expression of a built-in target on R^ambient."""
    found = targets.target(name).expression
    assert found is not None
    return found.restricted(ambient)


def network_of(approximator: RidgeApproximator, dtype: torch.dtype = torch.float64, *, picked: bool = False) -> Network:
    program = free_program(approximator, picked=picked)
    return Network(program.compile(approximator.manifold.box.numpy(), dtype=dtype), dtype=dtype)


def scaled(basis: RidgeBasis, points: torch.Tensor, share: float) -> RidgeBasis:
    """The same with scales for which the largest |<alpha, v y>| on the points is `share` (1 - delta)."""
    largest = float((basis.coordinates.of(points) @ torch.from_numpy(basis.family.vectors).T).abs().max())
    scales = np.full(basis.coordinates.count, share * (1 - basis.shift) / largest)
    return RidgeBasis(basis.manifold, basis.coordinates, basis.degree, basis.family, basis.numbers, scales)


def random_ridges(rng: np.random.Generator, share: float = 0.98) -> RidgeApproximator:
    """Some directions of a lattice with coefficients of any size; share above 1: the clip acts on M."""
    k = int(rng.integers(1, 4))
    manifold = MANIFOLDS[k]
    degree, shape = int(rng.choice(DEGREES)), ("principal", "octahedron")[rng.integers(2)]
    family = Lattice(k, int(rng.integers(1, 3 if k == 3 else 4)), shape)  # type: ignore[arg-type]
    centre = rng.choice([0.0, 0.125], k)
    coordinates = Coordinates(np.arange(k), centre, rng.uniform(0.5, 1.0, k), 1.0)
    chosen = np.sort(rng.permutation(family.count)[: int(rng.integers(2, 9))])
    basis = RidgeBasis(manifold, coordinates, degree, family, chosen, np.ones(k))
    basis = scaled(basis, manifold.sample(500, seed=0), share)
    coefficients = rng.normal(size=len(chosen)) * 10.0 ** rng.integers(-3, 2)
    return RidgeApproximator(basis, torch.from_numpy(coefficients), float(rng.normal()))


def fitted(manifold: Manifold, target: Any, degree: int, *, share: float = 0.99) -> RidgeApproximator:
    """A least-squares fit with as many directions of the principal lattice as are independent on M."""
    coordinates = coordinates_of(manifold, 1)
    family = Lattice(coordinates.count, degree)
    basis = RidgeBasis(manifold, coordinates, degree, family, np.arange(family.count), np.ones(coordinates.count))
    return solved(scaled(basis, manifold.sample(4000, seed=0), share), target)


def solved(basis: RidgeBasis, target: Any) -> RidgeApproximator:
    """The same for any basis."""
    points = basis.manifold.sample(2000, seed=2)
    atoms = np.asarray(_atoms(basis, points.numpy()), dtype=np.float64)
    triangle, order = scipy.linalg.qr(atoms - atoms.mean(axis=0), mode="r", pivoting=True)
    size = np.abs(np.diag(triangle[: len(order)]))
    chosen = np.sort(order[: int((size > 1e-9 * size[0]).sum())])
    matrix = np.hstack([np.ones((len(atoms), 1)), atoms[:, chosen]])
    solved = np.linalg.lstsq(matrix, target(points).numpy(), rcond=None)[0]
    return RidgeApproximator(basis.subset(chosen), torch.from_numpy(solved[1:].copy()), float(solved[0]))


def _atoms(basis: RidgeBasis, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """`1 + T_p(..)` at points (P, D), in extended precision."""
    wide, coordinates = np.longdouble, basis.coordinates
    y = (x.astype(wide)[:, coordinates.chosen] - coordinates.centre) * coordinates.scale * basis.scales
    a = np.clip(shift_of(basis.degree) + y @ basis.directions.T.astype(wide), -1, 1)
    return np.asarray(1 + np.cos(basis.degree * np.arccos(a)))


def formula(approximator: RidgeApproximator, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """T at points (P, D), in extended precision, from its definition."""
    coefficients = approximator.coefficients.numpy().astype(np.longdouble)
    return np.asarray(approximator.constant + _atoms(approximator.basis, x) @ coefficients)
