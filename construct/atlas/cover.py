"""Covers: balls around points of a manifold, each with a core, and the partitions of unity that live on them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import torch
from scipy.spatial import cKDTree
from torch import Tensor

from construct.atlas.checks import check_centres, check_points, check_tensor
from construct.manifolds import Manifold
from construct.validation import invalid, positive_integer

INSIDE = 0.98  # of the radius of a core, for a ball that lies in it


@dataclass(frozen=True, eq=False, repr=False)
class Cover:
    """Balls B(c_n, r_n) whose cores, of smaller radii, cover M; neighbours blend in the collars in between.

    All tensors float64 on the CPU.

    Attributes:
        manifold: M in R^D.
        centres: (n, D), on M.
        core_radii: (n,) every point of M is within core_radii[n] of some centre c_n (the searches for covers
            prove this, the class cannot).
        radii: (n,), 0 < core_radii < radii.
        neighbours: (p, 2) pairs m < n with |c_m - c_n| < r_m + r_n: all pairs of ambient balls that meet. A
            sampled graph could miss a pair, and then the partition sums to more than 1.

    Raises:
        InputError: a shape or an order of radii fails.
        OffManifoldError: a centre is not on M.
    """

    manifold: Manifold
    centres: Tensor
    core_radii: Tensor
    radii: Tensor
    neighbours: Tensor = field(init=False)

    def __post_init__(self) -> None:
        check_centres(self.centres, self.manifold)
        check_tensor(self.core_radii, "core_radii", self.count)
        check_tensor(self.radii, "radii", self.count)
        ordered = (self.core_radii > 0.0) & (self.core_radii < self.radii)
        if not bool(ordered.all()):
            n = int((~ordered).nonzero()[0])
            expected = f"more than core_radius = {float(self.core_radii[n]):.6g} > 0"
            raise invalid("radius", expected, got=f"{float(self.radii[n]):.6g} in chart {n}")
        object.__setattr__(self, "neighbours", ambient_neighbours(self.centres, self.radii))

    @property
    def count(self) -> int:
        """Number of balls n."""
        return len(self.centres)

    @cached_property
    def prefix_pairs(self) -> Tensor:
        """(q, 2) pairs m < n of which w_m has to be in the prefix sum s_n; see `needed_pairs`."""
        return needed_pairs(self.neighbours, self.centres, self.core_radii, self.radii)

    def covers(self, x: Tensor) -> Tensor:
        """Whether each of the points x (P, D) lies in a core, so that the partition sums to 1 there: (P,) bool."""
        return (self.squared_distance(x) <= squares(self.core_radii)).any(dim=-1)

    @property
    def most_earlier_neighbours(self) -> int:
        """The largest number of terms in one prefix sum s_n."""
        if len(self.neighbours) == 0:
            return 0
        return int(torch.bincount(self.neighbours[:, 1]).max())

    @cached_property
    def hull_centres(self) -> Tensor:
        """(n, k) the centres in the canonical coordinates y of the manifold, x = frame @ y + offset."""
        return self.manifold.restrict(self.centres)

    @cached_property
    def _squares(self) -> tuple[Tensor, Tensor]:
        """r_n^2 and r_n^2 - core_n^2, both (n,)."""
        inner, outer = squares(self.core_radii), squares(self.radii)
        return outer, outer - inner

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (P, D) as canonical coordinates y (P, k) and the squared distance (P,) to the linear hull of M, so
        that |x - c_n|^2 = |y - frame^T c_n|^2 + distance^2: cheap where D is much larger than k.
        """
        check_points(x, self.manifold.ambient)
        if not self.manifold.embedded:
            return x, x.new_zeros(len(x))
        y = self.manifold.restrict(x)
        return y, (x - self.manifold.embed(y)).square().sum(-1)

    def squared_distance(self, x: Tensor) -> Tensor:
        """|x - c_n|^2: x (P, D) -> (P, n)."""
        y, off = self.split(x)
        # differences, not |x|^2 - 2 <x, c> + |c|^2, which loses digits; in slices, to bound the memory
        step = max(1, 2**24 // max(1, y.numel()))
        inside = [(y.unsqueeze(1) - c).square().sum(-1) for c in self.hull_centres.split(step)]
        return torch.cat(inside, -1) + off.unsqueeze(-1)

    def bumps(self, squared_distance: Tensor, charts: Tensor | None = None) -> Tensor:
        """w_n = relu((r_n^2 - dist^2)/(r_n^2 - core_n^2)): >= 1 in the core, 0 outside the ball.

        squared_distance: (..., n), to every centre; or of the shape of `charts`, to the centres of these numbers.
        """
        outer, collar = self._squares if charts is None else (values[charts] for values in self._squares)
        return ((outer - squared_distance) / collar).clamp_min(0.0)

    def partition(self, x: Tensor) -> Tensor:
        """Telescoping partition of unity rho_n(x): x (P, D) -> (P, n).

        s_n = sum_(m<n) w_m and rho_n = relu(1 - s_n) - relu(1 - s_n - w_n) = min(1, s_n + w_n) - min(1, s_n),
        so sum_n rho_n = min(1, sum_n w_n), which is 1 on M. Non-neighbours may stay in the sum: where w_n > 0
        theirs is 0.
        """
        return telescope(self.bumps(self.squared_distance(x)))

    @cached_property
    def default_inner_radii(self) -> Tensor:
        """(n,) r' of `smooth_partition`: radius/1.05, or the middle of the collar if the core is not smaller."""
        inner, middle = self.radii / 1.05, 0.5 * (self.core_radii + self.radii)
        return torch.where(inner > self.core_radii * 1.001, inner, middle)

    def smooth_partition(self, x: Tensor, order: int, inner_radius: float | Tensor | None = None) -> Tensor:
        """rho_n = b_n / sum_m b_m, b_n = relu(1 - dist_n^2/r'_n^2)^order: x (P, D) -> (P, n), C^(order-1).

        r' = inner_radius, one number or (n,), lies between core radius and radius of every ball; by default
        `default_inner_radii`. Zero, not NaN, where no ball of radius r' holds x.
        """
        order = positive_integer(order, "order")
        inner = self.default_inner_radii
        if inner_radius is not None:
            inner = torch.as_tensor(inner_radius, dtype=torch.float64).expand(self.count)
        between = (self.core_radii < inner) & (inner < self.radii)
        if not bool(between.all()):
            n = int((~between).nonzero()[0])
            expected = f"between core_radius = {float(self.core_radii[n]):.6g} and radius = {float(self.radii[n]):.6g}"
            raise invalid("inner_radius", expected, got=f"{float(inner[n]):.6g} in chart {n}")
        b = (1.0 - self.squared_distance(x) / squares(inner)).clamp_min(0.0) ** order
        total = b.sum(-1, keepdim=True)
        return b / torch.where(total > 0.0, total, 1.0)

    def __repr__(self) -> str:
        return (
            f"Cover({self.manifold.name}, balls={self.count}, core_radii={spread(self.core_radii)}, "
            f"radii={spread(self.radii)}, neighbour pairs={len(self.neighbours)})"
        )


def squares(radii: Tensor) -> Tensor:
    """r_n^2 (n,) by Python's power."""
    return torch.tensor([r**2 for r in radii.tolist()], dtype=torch.float64)


def spread(values: Tensor) -> str:
    """The common value, or the smallest and the largest."""
    low, high = float(values.min()), float(values.max())
    return f"{low:.6g}" if low == high else f"{low:.6g}..{high:.6g}"


def telescope(w: Tensor) -> Tensor:
    """min(1, w_0 + ... + w_n) - min(1, w_0 + ... + w_(n-1)) for w >= 0, (..., n) -> (..., n).

    Differences of one sequence of clamped sums, so that they add up to min(1, sum w) to rounding.
    """
    left = (1.0 - w.cumsum(-1)).clamp_min(0.0)
    before = torch.cat((torch.ones_like(left[..., :1]), left[..., :-1]), -1)
    return before - left


def ambient_neighbours(centres: Tensor, radii: Tensor) -> Tensor:
    """Pairs (p, 2), m < n, lexicographic, of centres (n, D) closer than r_m + r_n, or so by rounding; radii (n,)."""
    widest = 2.0 * float(radii.max())
    pairs = cKDTree(centres.numpy()).query_pairs(widest * (1.0 + 1e-12), output_type="ndarray")
    table = torch.from_numpy(pairs.reshape(-1, 2)).long()
    table = torch.stack((table.amin(-1), table.amax(-1)), -1) if len(table) else table
    sums, gaps = radii[table].sum(-1), (centres[table[:, 0]] - centres[table[:, 1]]).norm(dim=-1)
    table = table[(sums >= widest) | (gaps < sums * (1.0 + 1e-12))]  # of the widest balls the tree has decided
    order = (table[:, 0] * len(centres) + table[:, 1]).argsort()
    return table[order]


def needed_pairs(neighbours: Tensor, centres: Tensor, core_radii: Tensor, radii: Tensor) -> Tensor:
    """The pairs m < n (q, 2) of neighbours (p, 2) without which min(1, s_n) would be another number.

    Where ball m lies in the core of m' < n, w_m' is at least 1 wherever w_m > 0, and m may be left out of s_n: of balls
    about one point, each in the core of the next, only the last before n is needed. m' itself stays, or lies in the
    core of another. `INSIDE` leaves room, so that a small cell that meets ball m lies in the core of m'.
    """
    if INSIDE * float(core_radii.max()) <= float(radii.min()):
        return neighbours
    gaps = torch.cdist(centres, centres, compute_mode="donot_use_mm_for_euclid_dist")
    inside = gaps + radii.unsqueeze(1) <= INSIDE * core_radii  # [m, m']: ball m in the core of m'
    numbers = torch.arange(len(centres))
    first = torch.where(inside, numbers, len(centres)).amin(dim=1)  # the first m' that holds ball m
    return neighbours[first[neighbours[:, 0]] >= neighbours[:, 1]]
