"""Which waves for a manifold and a degree: the cheapest that span the polynomials well.

Waves cost non-zeros by their folds and by the heads of the common part of signed ones; too few folds leave directions
on few lines, where some polynomial of low degree vanishes, and span less. So candidates are tried by cost, and measured
against as many directions in general position on a few smooth functions of the coordinates: rank, error, coefficients.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg import qr, solve_triangular

from construct.arrays import Float
from construct.errors import InputError
from construct.manifolds import Manifold
from construct.manifolds.canonical import canonical_form
from construct.progress import tick
from construct.ridge.coordinates import Coordinates
from construct.ridge.directions import lattice_size
from construct.ridge.fit import CUT
from construct.ridge.maps import chebyshev, shift_of
from construct.ridge.narrow import narrow_overhead
from construct.ridge.waves import Waves
from construct.validation import invalid

LARGEST = 1e3
"""Coefficients at most, for functions of size 1: float64 then computes the formula to 1e-12; for float32 ask for 30."""
LENGTHS = (256, 512, 1024, 2048)
ROOM = 1.7  # positions for each direction that is chosen
COMPLETE, WORSE = 0.9, 2.0  # of the rank, times the error that directions in general position have
FUNCTIONS, FREQUENCY, HIGHER = 6, 3.0, 0.3  # cosines; at least, and times the degree


@dataclass(frozen=True)
class Worth:
    """What directions are worth: rank of their atoms on M, error and largest coefficient of the test functions."""

    rank: int
    error: float
    largest: float


def wave_candidates(dim: int, length: int) -> Iterator[Waves]:
    """Waves of some evenly growing folds, octant and signed, by cost."""
    folds = {tuple(f + gap * i for i in range(dim - 1)) for f in range(1, 6) for gap in range(1, 5)}
    fitting = [f for f in folds if not f or 2 ** (f[-1] + 1) <= length]
    found = [Waves(f, length, signed) for f in sorted(fitting) for signed in (False, True)]
    return iter(sorted(found, key=wave_cost))


def wave_cost(waves: Waves) -> int:
    """Non-zeros that these waves cost beside maps and registers: at most so many, since neighbours may share a head."""
    return narrow_overhead(waves, 1, waves.dim if waves.signed else 0)


def waves_for(
    manifold: Manifold,
    coordinates: Coordinates,
    degree: int,
    *,
    seed: int = 0,
    largest: float = LARGEST,
    shifted: bool = True,
) -> Waves:
    """The cheapest waves whose atoms of a degree span the polynomials on M as directions in general position do.

    Args:
        largest: bound on the coefficients of functions of size 1; where no waves keep to it, those with the smallest.
        shifted: as of the atoms of `RidgeBasis`.

    Raises:
        InputError: no candidate spans these polynomials.
    """
    dim, shape = coordinates.count, (degree, shift_of(degree) if shifted else 0.0)
    rng = np.random.default_rng(seed)
    free = rng.uniform(-1.0, 1.0, (min(lattice_size(dim, degree), int(LENGTHS[-1] / ROOM)), dim))
    y = _drawn(manifold, coordinates, 4 * len(free) + 200, seed)
    wanted = _worth(y, free, shape, seed)
    if wanted.rank == len(free) < lattice_size(dim, degree):
        raise _beyond(manifold, f"{degree}, of more than {wanted.rank} dimensions")
    length = next((n for n in LENGTHS if n >= ROOM * wanted.rank), LENGTHS[-1])
    y = y[: 4 * wanted.rank + 200]
    best, smallest = None, np.inf
    for waves in wave_candidates(dim, length):
        tick()
        found = _worth(y, waves.vectors, shape, seed)
        if found.rank >= COMPLETE * wanted.rank and found.error <= WORSE * wanted.error + 1e-12:
            if found.largest <= largest:
                return waves
            if found.largest < smallest:
                best, smallest = waves, found.largest
    if best is None:
        raise _beyond(manifold, f"{degree}, of {wanted.rank} dimensions")
    return best


def _beyond(manifold: Manifold, got: str) -> InputError:
    return invalid("degree", f"one whose polynomials waves of {LENGTHS[-1]} positions span on {manifold!r}", got=got)


def _drawn(manifold: Manifold, coordinates: Coordinates, count: int, seed: int) -> Float:
    """(count, k): D does not enter."""
    return coordinates.within(manifold, canonical_form(manifold).sample(count, seed)).numpy()


def _worth(y: Float, directions: Float, shape: tuple[int, float], seed: int) -> Worth:
    """On points (N, k), scaled to what is allowed there; the shape of the atoms is p and delta."""
    forms, (degree, delta) = y @ directions.T, shape
    scaled = torch.from_numpy(delta + forms * ((1 - delta) / np.abs(forms).max()))
    atoms = chebyshev(scaled, degree).numpy()
    atoms -= atoms.mean(axis=0)  # the constant is stored apart
    rng = np.random.default_rng(seed)
    slopes, phases = rng.normal(size=(y.shape[1], FUNCTIONS)), rng.uniform(0, 2 * np.pi, FUNCTIONS)
    values = np.cos(y @ (slopes * (max(FREQUENCY, HIGHER * degree) / np.linalg.norm(slopes, axis=0))) + phases)
    values -= values.mean(axis=0)
    triangle, order = qr(atoms, mode="r", pivoting=True, check_finite=False)
    pivots = np.abs(np.diag(triangle))
    rank = int((pivots > CUT * pivots[0]).sum())
    orthonormal = qr(atoms[:, order[:rank]], mode="economic", overwrite_a=True, check_finite=False)[0]
    part = orthonormal.T @ values
    residual = values - orthonormal @ part
    coefficients = solve_triangular(triangle[:rank, :rank], part)
    return Worth(rank, float(np.abs(residual).max()), float(np.abs(coefficients).max()))
