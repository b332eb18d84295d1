"""Several ridge approximators of one basis on balls, joined by the telescoping partition of unity.

    T(x) = sum_n rho_n(x) (c_n0 + sum_t c_nt (1 + T_p(clip(delta + <alpha_t, v y(x)>, -1, 1))))
    rho_n = relu(1 - s_n) - relu(1 - s_n - w_n),  s_n = sum_(m < n) w_m
    w_n = relu(r^2 - |x' - c_n|^2) / (r^2 - core^2)

x' are the inputs that are read: a centre is k numbers, and may lie off M. Where balls of radius core cover M the rho_n
sum to 1. The basis is the same for all balls: it is computed once.

Measured: for no target that was tried does this store fewer numbers than one chart of a higher degree (`shared`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg import qr, solve_triangular
from torch import Tensor

from construct.arrays import Float
from construct.manifolds import Manifold
from construct.progress import tick
from construct.ridge.approximator import CHUNK_ENTRIES, RidgeBasis
from construct.ridge.fit import CUT
from construct.ridge.sampling import Sample
from construct.validation import coefficients_of, invalid, numeric, positive_real

NARROWEST = 1e-9
"""1 - (core / radius)^2 at least: the slope of w is one over that."""


@dataclass(frozen=True, eq=False)
class SharedRidgeApproximator:
    """A combination of the atoms of a basis for each of N balls.

    Attributes:
        basis: of all of them.
        centres: (N, k), in the inputs that are read.
        radius, core: of every ball: where w_n is positive, and where it is at least 1; radius > core > 0.
        coefficients: (N, n), finite.
        constants: (N,) c_n0.
    """

    basis: RidgeBasis
    centres: Float
    radius: float
    core: float
    coefficients: Tensor
    constants: Tensor

    def __post_init__(self) -> None:
        if not isinstance(self.basis, RidgeBasis):
            raise invalid("basis", "a RidgeBasis", self.basis)
        count = len(numeric(self.centres, "centres", None, self.basis.coordinates.count))
        if not count:
            raise invalid("centres", "at least one", self.centres)
        if not positive_real(self.radius, "radius") > positive_real(self.core, "core"):
            raise invalid("core", f"a radius below {self.radius:.6g}", self.core)
        if 1 - (self.core / self.radius) ** 2 < NARROWEST:
            raise invalid("core", f"at most {math.sqrt(1 - NARROWEST):.9g} of the radius {self.radius:.6g}", self.core)
        coefficients_of(self.coefficients, "coefficients", count, self.basis.count)
        coefficients_of(self.constants, "constants", count)

    @property
    def manifold(self) -> Manifold:
        return self.basis.manifold

    @property
    def degree(self) -> int:
        """p."""
        return self.basis.degree

    @property
    def charts(self) -> int:
        """N."""
        return len(self.centres)

    @property
    def parameters(self) -> int:
        """Number of coefficients that are not 0, constants included."""
        return int(self.coefficients.count_nonzero() + self.constants.count_nonzero())

    @property
    def slope(self) -> float:
        """r^2 / (r^2 - core^2): w_n is this times `1 - |x' - c_n|^2 / r^2`."""
        return 1 / (1 - (self.core / self.radius) ** 2)

    def partition(self, x: Tensor) -> Tensor:
        """rho at points x (P, D), (P, N)."""
        picked = x[:, torch.from_numpy(self.basis.coordinates.chosen)]
        squares = ((picked[:, None, :] - torch.from_numpy(self.centres)) / self.radius).square().sum(dim=2)
        w = (self.slope * (1 - squares)).clamp(0.0, 1.0)  # above 1 it makes no difference to rho
        s = w.cumsum(dim=1) - w
        return (1 - s).clamp(min=0.0) - (1 - s - w).clamp(min=0.0)

    def __call__(self, x: Tensor) -> Tensor:
        """x (P, D) float64 -> (P,)."""
        step = max(256, CHUNK_ENTRIES // (self.basis.count + self.charts))
        parts = []
        for first in range(0, len(x), step):
            tick()
            part = x[first : first + step].double()
            atoms = self.basis.atoms(self.basis.coordinates.of(part))
            parts.append((self.partition(part) * (self.constants + atoms @ self.coefficients.T)).sum(dim=1))
        return torch.cat(parts) if parts else x.new_zeros(0)


def fit_balls(basis: RidgeBasis, sample: Sample, centres: Float, radius: float, core: float) -> SharedRidgeApproximator:
    """Least squares on the points of a sample in each ball, with the directions that are independent there.

    Raises:
        InputError: a ball with fewer points than independent directions.
    """
    coordinates = basis.coordinates
    picked = sample.y.numpy() / coordinates.scale + coordinates.centre
    coefficients, constants = np.zeros((len(centres), basis.count)), np.zeros(len(centres))
    for n, centre in enumerate(centres):
        tick()
        inside = np.flatnonzero(((picked - centre) ** 2).sum(axis=1) < radius**2)
        atoms, values = basis.atoms(sample.y[inside]).numpy(), sample.values[inside].numpy()
        if len(inside) <= 1:
            raise invalid("sample", "points in every ball", got=f"{len(inside)} in ball {n}")
        means, mean = atoms.mean(axis=0), values.mean()
        orthonormal, triangle, order = qr(atoms - means, mode="economic", pivoting=True)
        pivots = np.abs(np.diag(triangle))
        rank = int((pivots > CUT * pivots[0]).sum())
        if rank + 1 >= len(inside):
            raise invalid("sample", "more points than directions in every ball", got=f"{len(inside)} in ball {n}")
        solved = solve_triangular(triangle[:rank, :rank], orthonormal[:, :rank].T @ (values - mean))
        coefficients[n, order[:rank]] = solved
        constants[n] = mean - means[order[:rank]] @ solved
    return SharedRidgeApproximator(
        basis, centres, radius, core, torch.from_numpy(coefficients), torch.from_numpy(constants)
    )
