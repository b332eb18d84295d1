"""The lattice approximator: ridge polynomials on the cells of lattices of several sizes, blended by hats.

    T(x) = c_0 + sum_t c_t psi(lambda_t z - n_t) (1 + T_p(clip(delta + v <alpha_t, lambda_t u - m_t>, -1, 1)))

u = y(x) / h are r coordinates of x in units of the spacing h, z those m of them that are looked through as windows. A
token t has a level L: `lambda = 2^(L-1)`, a cell n_t in Z^m, a centre m_t in Z^r that is n_t in the windows, and a
direction alpha_t in Z^r. Level 0 is the whole of M: no window, `T_p(clip(delta + v <alpha_t, u>))`.

psi is the nodal hat of `kuhn`, so that the cells of one level are a partition of unity, each of one level blended of
those of the next: with `P_n` the polynomial on cell n of level L, the same function has `(P_floor(k/2) + P_ceil(k/2))
/ 2` on cell k of level L + 1. A network whose tokens add `Q_k` on some cells k therefore is `sum_k psi_k P_k` of the
finest level, `P_k` being what cell k inherits and `Q_k`; and

    |f - T| <= max over the cells k of the finest level that meet M of sup |f - P_k| over M in the support of psi_k.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from construct.arrays import Float, Int
from construct.cells.kuhn import members
from construct.manifolds import Manifold
from construct.progress import tick
from construct.ridge.coordinates import Coordinates
from construct.ridge.maps import chain, chebyshev, shift_of
from construct.validation import coefficients_of, invalid, numeric, positive_integer, positive_real, real

CHUNK_ENTRIES = 2**22
MOST_TOKENS = 2**20
LEAST_REACH = 24
LARGEST_LEVEL = 48  # 2^47 times a coordinate: of float64 no more than 6 bits are left


def reach_of(degree: int) -> int:
    """R of a degree: `|<alpha, u - m>| <= R` is wanted on the support of a cell; `v = (1 - delta) / R`.

    At least p, so that the principal lattice has its place, and 24, so that a cell may be lopsided. Then `1 / (R + 1)
    <= delta`, with which the token `out` keeps 1 (see `program`).
    """
    return max(LEAST_REACH, degree)


@dataclass(frozen=True, eq=False)
class CellBasis:
    """What a token adds per unit of its coefficient, for N tokens.

    Attributes:
        manifold: M.
        coordinates: y, of which there are r; their scale is not used.
        windows: (m,) places of the windows among them, increasing.
        degree: p >= 2, a product of twos and threes.
        spacing: h, in the unit of x.
        levels: (N,) L, from 0.
        centres: (N, r) integers, n in the windows; 0 on level 0.
        directions: (N, r) integers, alpha.
    """

    manifold: Manifold
    coordinates: Coordinates
    windows: Int
    degree: int
    spacing: float
    levels: Int
    centres: Int
    directions: Int

    def __post_init__(self) -> None:
        for name, kind in (("manifold", Manifold), ("coordinates", Coordinates)):
            if not isinstance(getattr(self, name), kind):
                raise invalid(name, f"an object of the kind {kind.__name__}", getattr(self, name))
        self.coordinates.check(self.manifold.ambient)
        positive_integer(self.degree, "degree")
        if not chain(self.degree):
            raise invalid("degree", "at least 2: one block of the network multiplies by the windows", self.degree)
        positive_real(self.spacing, "spacing")
        count, r = len(numeric(self.levels, "levels", None, whole=True)), self.coordinates.count
        windows = numeric(self.windows, "windows", None, whole=True)
        if not 1 <= len(windows) <= r or (np.diff(windows) <= 0).any() or windows[0] < 0 or windows[-1] >= r:
            raise invalid("windows", f"one or more increasing numbers below {r}", self.windows)
        if count > MOST_TOKENS:
            raise invalid("levels", f"of at most {MOST_TOKENS:,} tokens", got=f"{count:,}")
        if ((self.levels < 0) | (self.levels > LARGEST_LEVEL)).any():
            raise invalid("levels", f"levels from 0 to {LARGEST_LEVEL}", self.levels)
        numeric(self.directions, "directions", count, r, whole=True)
        if numeric(self.centres, "centres", count, r, whole=True)[self.levels == 0].any():
            raise invalid("centres", "zeros on level 0", self.centres)

    @property
    def count(self) -> int:
        """N."""
        return len(self.levels)

    @property
    def shift(self) -> float:
        """delta."""
        return shift_of(self.degree)

    @property
    def scale(self) -> float:
        """v."""
        return (1 - self.shift) / reach_of(self.degree)

    @cached_property
    def factors(self) -> Float:
        """(N,) lambda."""
        return np.where(self.levels > 0, np.ldexp(0.5, self.levels), 0.0)

    @cached_property
    def cells(self) -> Int:
        """(N, m) n."""
        return self.centres[:, self.windows]

    @cached_property
    def offsets(self) -> Int:
        """(N,) `<alpha, centre>`."""
        return (self.directions * self.centres).sum(axis=1)

    def units(self, x: Tensor) -> Tensor:
        """u of points (P, D), (P, r)."""
        coordinates = self.coordinates
        return coordinates.of(x) / torch.from_numpy(coordinates.scale) / self.spacing

    def subset(self, chosen: Int) -> CellBasis:
        """Some of the tokens, in this order."""
        return replace(
            self, levels=self.levels[chosen], centres=self.centres[chosen], directions=self.directions[chosen]
        )

    def atoms(self, u: Tensor, tokens: Tensor) -> Tensor:
        """`1 + T_p(..)` of tokens (E,) at points u (E, r), (E,)."""
        factor, direction, offset = (held[tokens] for held in self._tensors)
        forms = (direction * u).sum(dim=1) * factor - offset
        return 1 + chebyshev((self.shift + self.scale * forms).clamp(-1.0, 1.0), self.degree)

    @cached_property
    def _tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        """lambda, of level 0: 1; alpha; `<alpha, centre>`."""
        factors = torch.from_numpy(np.where(self.levels > 0, self.factors, 1.0))
        return (
            factors,
            torch.from_numpy(self.directions.astype(np.float64)),
            torch.from_numpy(self.offsets.astype(float)),
        )

    def entries(self, u: Tensor, seen: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """What is not 0 of the matrix of points u (P, r) by tokens: points (E,), tokens (E,) and numbers (E,).

        seen: (P, m), where the windows are evaluated, in place of the windows of u. At `seen = k / lambda`, a vertex of
        the lattice of a level, the tokens of coarser ones make what cell k of that level inherits: its ancestors have
        there the hat that they have in the refinement.
        """
        seen = u[:, torch.from_numpy(self.windows)] if seen is None else seen
        parts = [self._base_entries(u)]
        for level in self.tables:
            parts.append(level.entries(self, u, seen))
        points, tokens, values = zip(*parts, strict=True)
        return torch.cat(points), torch.cat(tokens), torch.cat(values)

    def _base_entries(self, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        base = torch.from_numpy(np.flatnonzero(self.levels == 0))
        points = torch.arange(len(u)).repeat_interleave(len(base))
        tokens = base.repeat(len(u))
        return points, tokens, self.atoms(u[points], tokens)

    @cached_property
    def tables(self) -> tuple[LevelTable, ...]:
        """Cells by level, the coarse first."""
        return tuple(LevelTable(self, int(level)) for level in np.unique(self.levels) if level > 0)

    @cached_property
    def most_active(self) -> int:
        """How many tokens a point may hear at most: those of level 0, and of m + 1 cells of each level."""
        base = int((self.levels == 0).sum())
        return base + sum((len(self.windows) + 1) * level.most for level in self.tables)


class LevelTable:
    """The cells of one level that have tokens, to look up."""

    def __init__(self, basis: CellBasis, level: int) -> None:
        mine = np.flatnonzero(basis.levels == level)
        cells, place = np.unique(basis.cells[mine], axis=0, return_inverse=True)
        self.factor = float(np.ldexp(0.5, level))
        order = np.argsort(place.ravel(), kind="stable")
        self._tokens = torch.from_numpy(mine[order])
        counts = np.bincount(place.ravel(), minlength=len(cells))
        self.most = int(counts.max())
        self._counts = torch.from_numpy(counts)
        self._starts = torch.from_numpy(np.cumsum(counts) - counts)
        self._stages = _stages(torch.from_numpy(cells))

    def cell_pairs(self, seen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Points (P, m), numbers of cells and hats, where these are positive, (E,) each."""
        vertices, hats = members(self.factor * seen)
        points, which = (hats > 0).nonzero(as_tuple=True)
        found, known = self._places(vertices[points, which])
        return points[known], found[known], hats[points, which][known]

    def _places(self, cells: Tensor) -> tuple[Tensor, Tensor]:
        """Numbers of cells (E, m) among those that have tokens, and which there are."""
        found, known = torch.zeros(len(cells), dtype=torch.int64), torch.ones(len(cells), dtype=torch.bool)
        for j, (entries, held) in enumerate(self._stages):
            place, same = _searched(entries, cells[:, j].contiguous())
            found, also = _searched(held, found * len(entries) + place)
            known &= same & also
        return found, known

    def entries(self, basis: CellBasis, u: Tensor, seen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `CellBasis.entries`."""
        points, cells, hats = self.cell_pairs(seen)
        counts = self._counts[cells]
        pair = torch.arange(len(cells)).repeat_interleave(counts)
        first = counts.cumsum(0) - counts
        tokens = self._tokens[self._starts[cells][pair] + torch.arange(len(pair)) - first[pair]]
        return points[pair], tokens, hats[pair] * basis.atoms(u[points[pair]], tokens)


def _searched(held: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Places in an increasing list, and where what is wanted is there."""
    found = torch.searchsorted(held, wanted).clamp(max=len(held) - 1)
    return found, held[found] == wanted


def _stages(cells: Tensor) -> tuple[tuple[Tensor, Tensor], ...]:
    """Of cells (n, m), in lexicographic order, for each coordinate its values and the numbers that the coordinates up
    to it make, both increasing: no number is above n^2, however large the coordinates are."""
    stages, found = [], torch.zeros(len(cells), dtype=torch.int64)
    for column in cells.T:
        entries, place = torch.unique(column, return_inverse=True)
        held, found = torch.unique(found * len(entries) + place, return_inverse=True)
        stages.append((entries, held))
    return tuple(stages)


@dataclass(frozen=True, eq=False)
class CellApproximator:
    """A combination of what the tokens of a basis add.

    Attributes:
        basis: one token of the network each.
        coefficients: (N,), finite.
        constant: c_0.
        residual: largest error on the points of the fit, None when unknown.
    """

    basis: CellBasis
    coefficients: Tensor
    constant: float = 0.0
    residual: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.basis, CellBasis):
            raise invalid("basis", "a CellBasis", self.basis)
        coefficients_of(self.coefficients, "coefficients", self.basis.count)
        object.__setattr__(self, "constant", real(self.constant, "constant"))

    @property
    def manifold(self) -> Manifold:
        return self.basis.manifold

    @property
    def degree(self) -> int:
        """p."""
        return self.basis.degree

    @property
    def parameters(self) -> int:
        """Number of coefficients that are not 0, that of the constant included."""
        return int(self.coefficients.count_nonzero()) + (self.constant != 0)

    def __call__(self, x: Tensor) -> Tensor:
        """x (P, D) float64 -> (P,). Only the cells that a point lies in are looked at."""
        return self._in_parts(x, lambda part: self.basis.units(part.double()))

    def at(self, u: Tensor) -> Tensor:
        """u = y / h (P, r) float64 -> (P,)."""
        return self._in_parts(u, lambda part: part)

    def _in_parts(self, given: Tensor, units: Callable[[Tensor], Tensor]) -> Tensor:
        used = np.flatnonzero(self.coefficients.numpy())
        basis, weights = self.basis.subset(used), self.coefficients[torch.from_numpy(used)]
        step = max(256, CHUNK_ENTRIES // max(1, basis.most_active))
        parts = []
        for k in range(0, len(given), step):
            tick()
            u = units(given[k : k + step])
            points, tokens, values = basis.entries(u)
            total = torch.full((len(u),), self.constant, dtype=torch.float64)
            parts.append(total.index_add_(0, points, values * weights[tokens]))
        return torch.cat(parts) if parts else given.new_zeros(0)
