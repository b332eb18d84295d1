"""The constants of a `TelescopingNetwork`: coefficients, which products there are, their bounds, the ramp."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import ceil, log, log2

import numpy as np
import torch

from construct.arrays import Float
from construct.local import LocalSpace, PiecewiseApproximator, PolynomialSpace, multi_indices
from construct.validation import invalid

HIGHEST_DIM = 3
COLLAR = 0.99  # of r^2 - core^2 that the distance may lose at most
SLACK = 0.02  # of a maximum over a grid, for what lies between its points
PER_AXIS = {1: 400, 2: 60, 3: 24}  # points of the grid

Index = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Terms:
    """What a formula with polynomials in d <= 3 multiplies. Multi-indices of the polynomials are cut into prefixes: the
    polynomial A_prefix is in the coordinates after those of the prefix.

    Raises:
        InputError: splines, charts of several sizes, or d > 3.
    """

    approximator: PiecewiseApproximator

    def __post_init__(self) -> None:
        space = self.approximator.space
        if space.name != PolynomialSpace.name or space.dim > HIGHEST_DIM:
            raise invalid("approximator", f"polynomials in d <= {HIGHEST_DIM}", space)
        if self.approximator.base or not self.approximator.atlas.even:
            raise invalid("approximator", "charts of one size that cover M, without a base", self.approximator)

    @property
    def space(self) -> LocalSpace:
        return self.approximator.space

    @property
    def degree(self) -> int:
        """p, the total degree of the polynomials."""
        return self.space.degree

    @property
    def levels(self) -> int:
        """Levels of squares that take degree 1 to degree p."""
        return ceil(log2(max(1, self.degree)))

    @property
    def stages(self) -> int:
        """Stages of squares: levels, one per coordinate after the first, one for rho_n P_n."""
        return self.levels + (self.space.dim - 1) * (self.degree > 1) + (self.approximator.atlas.count > 1)

    @property
    def collar(self) -> float:
        """What E may be at most."""
        atlas = self.approximator.atlas
        return COLLAR * (atlas.radius**2 - atlas.core_radius**2)

    @property
    def least_distance(self) -> int:
        """The fewest compositions that the collar allows."""
        return max(1, ceil(log(self.distance_error(0) / self.collar, 4) + 1e-9))

    @cached_property
    def box(self) -> Float:
        """(k,) bounds of the hull coordinates |y_j| on M."""
        manifold = self.approximator.atlas.manifold
        box = manifold.largest_coordinates
        if manifold.ambient != manifold.canonical:
            box = manifold.frame.abs().T @ box
        smallest = 1e-9 * float(box.max())
        return np.asarray(box.clamp_max(manifold.radius_bound).clamp_min(smallest).numpy() * (1 + 1e-9))

    def distance_error(self, compositions: int) -> float:
        """E of (1)."""
        return float((self.box**2).sum()) * 4.0**-compositions / 4

    def ramp(self, compositions: int) -> tuple[float, float]:
        """(slope, r^2): w_n = relu(slope (r^2 - d~_n))."""
        atlas = self.approximator.atlas
        error = self.distance_error(compositions)
        return 1.0 / (atlas.radius**2 - atlas.core_radius**2 - error), atlas.radius**2

    @cached_property
    def coefficients(self) -> dict[Index, Float]:
        """Multi-index -> (n,)."""
        columns = self.approximator.coefficients.numpy().T
        return dict(zip(map(tuple, multi_indices(self.space.dim, self.degree).tolist()), columns, strict=True))

    def tails(self, prefix: Index) -> list[Index]:
        """The multi-indices that begin with a prefix."""
        return [index for index in self.coefficients if index[: len(prefix)] == prefix]

    @cached_property
    def bounds(self) -> dict[Index, Float]:
        """B (n,) of |A_prefix|, a polynomial in the coordinates after the prefix; 1 where it vanishes."""
        atlas, d = self.approximator.atlas, self.space.dim
        reach = atlas.radius / atlas.scale * (1 + 1e-9)
        tables: dict[int, Float] = {}
        for left in range(1, d + 1):
            axis = torch.cos(torch.pi * torch.arange(PER_AXIS[left], dtype=torch.float64) / (PER_AXIS[left] - 1))
            nodes = torch.cartesian_prod(*[axis] * left).reshape(-1, left)
            tables[left] = PolynomialSpace(left, self.degree).evaluate(nodes[nodes.norm(dim=1) <= reach]).numpy()
        places = {left: _places(left, self.degree) for left in tables}
        found: dict[Index, Float] = {}
        for prefix in {index[:q] for index in self.coefficients for q in range(d)}:
            tails, left = self.tails(prefix), d - len(prefix)
            columns = tables[left][:, [places[left][index[len(prefix) :]] for index in tails]]
            values = np.abs(columns @ np.stack([self.coefficients[index] for index in tails])).max(axis=0)
            found[prefix] = np.where(values > 0, values * (1 + SLACK), 1.0)
        return found

    def pairs(self, prefix: Index) -> tuple[list[Index], list[Index]]:
        """Of `A_prefix = A_(prefix, 0) + sum_i T_i A_(prefix, i)` the i that need a product, and those that do not."""
        room = self.degree - sum(prefix)
        terms = [(*prefix, i) for i in range(1, room + 1)]
        vary = [any(self.coefficients[t].any() for t in self.tails(term) if any(t[len(term) :])) for term in terms]
        products = [term for term, needed in zip(terms, vary, strict=True) if needed]
        return products, [term for term, needed in zip(terms, vary, strict=True) if not needed]

    def constant(self, prefix: Index) -> Float:
        """The coefficient (n,) of a prefix that goes on with zeros."""
        return self.coefficients[prefix + (0,) * (self.space.dim - len(prefix))]

    def prefixes(self, length: int) -> list[Index]:
        return sorted({index[:length] for index in self.coefficients})

    def products(self, length: int) -> list[Index]:
        """All terms that take part in a product with T_i of coordinate number `length`."""
        return [term for prefix in self.prefixes(length) for term in self.pairs(prefix)[0]]


def level_of(degree: int, highest: int) -> tuple[list[int], list[int], list[int]]:
    """Degrees from highest + 1 to 2 highest, the k whose T_k^2 and the k whose ((T_k + T_(k+1))/2)^2 they need."""
    degrees = list(range(highest + 1, min(2 * highest, degree) + 1))
    mixed = [k // 2 for k in degrees if k % 2]
    needed = {k // 2 for k in degrees if k % 2 == 0} | set(mixed) | {k + 1 for k in mixed}
    return degrees, sorted(needed), mixed


def _places(dim: int, degree: int) -> dict[Index, int]:
    """The column of every multi-index."""
    return {tuple(index): column for column, index in enumerate(PolynomialSpace(dim, degree).indices.tolist())}
