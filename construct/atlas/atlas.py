"""Atlas: balls of one radius, tangent charts and two partitions of unity.

Charts are the orthogonal projections phi_n(x) = V_n^T (x - c_n) / scale, V_n an orthonormal basis of the
tangent space at c_n. On B(c_n, radius) ∩ M they are injective for every radius below
`manifold.chart_radius_bound` (the reach in general). The core balls cover M, with proof; the collar between
core and ball is where neighbours blend.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import torch
from scipy.spatial import cKDTree
from torch import Tensor

from construct.errors import InputError, OffManifoldError
from construct.manifolds import Manifold
from construct.validation import positive_integer


@dataclass(frozen=True, eq=False, repr=False)
class Atlas:
    """A finite atlas of tangent charts with uniform radii. All tensors float64 on the CPU.

    Attributes:
        manifold: M of dimension d in R^D.
        centres: (n, D), on M.
        frames: (n, D, d), orthonormal columns that span the tangent spaces at the centres.
        core_radius: every point of M is within it of a centre (covers prove this, the class cannot).
        radius: core_radius < radius < manifold.chart_radius_bound.
        scale: |V_n^T (x - c_n)|_inf <= scale for x in M ∩ B(c_n, radius).
        neighbours: (p, 2) pairs m < n with |c_m - c_n| < 2 radius: all pairs of ambient balls that meet. A
            sampled graph could miss a pair, and then the partition sums to more than 1.

    Raises:
        InputError: a shape, an order of radii or an identity above fails.
        OffManifoldError: a centre is not on M.
    """

    manifold: Manifold
    centres: Tensor
    frames: Tensor
    core_radius: float
    radius: float
    scale: float
    neighbours: Tensor = field(init=False)

    def __post_init__(self) -> None:
        d, D, n = self.manifold.dim, self.manifold.ambient, len(self.centres)
        _check_tensor("centres", self.centres, (n, D))
        _check_tensor("frames", self.frames, (n, D, d))
        if n == 0:
            raise InputError("centres must hold at least one chart; got none")
        if not 0.0 < self.core_radius < self.radius:
            raise InputError(
                f"radius must be more than core_radius = {self.core_radius:.6g} > 0; got {self.radius:.6g}"
            )
        bound = self.manifold.chart_radius_bound
        if not self.radius < bound:
            raise InputError(
                f"radius must be less than {bound:.6g}, below which the charts of {self.manifold.name} are "
                f"proved injective; got {self.radius:.6g}"
            )
        if not 0.0 < self.scale <= self.radius * (1 + 1e-12):
            raise InputError(f"scale must be in (0, radius = {self.radius:.6g}]; got {self.scale:.6g}")
        eye = torch.eye(d, dtype=torch.float64)
        if not float((self.frames.mT @ self.frames - eye).abs().max()) < 1e-10:
            raise InputError("frames must have orthonormal columns")
        on = self.manifold.contains(self.centres)
        if not bool(on.all()):
            raise OffManifoldError(
                f"centres must lie on {self.manifold.name}; got {int((~on).sum())} of {n} that do not"
            )
        mixed = self.manifold.tangent_basis(self.centres).mT @ self.frames
        if not float((mixed.mT @ mixed - eye).abs().max()) < 1e-6:
            raise InputError("frames must span the tangent spaces at the centres")
        object.__setattr__(self, "neighbours", ambient_neighbours(self.centres, self.radius))

    @property
    def count(self) -> int:
        """Number of charts n."""
        return len(self.centres)

    @property
    def most_earlier_neighbours(self) -> int:
        """The largest number of terms in one prefix sum s_n."""
        if len(self.neighbours) == 0:
            return 0
        return int(torch.bincount(self.neighbours[:, 1]).max())

    @cached_property
    def hull_centres(self) -> Tensor:
        """(n, k) the centres in the canonical coordinates y of the manifold, x = frame @ y."""
        return self.manifold.restrict(self.centres)

    @cached_property
    def hull_frames(self) -> Tensor:
        """(n, k, d) the tangent bases in canonical coordinates."""
        return self.frames if self.manifold.ambient == self.manifold.canonical else self.manifold.frame.T @ self.frames

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (P, D) as canonical coordinates y (P, k) and the squared distance (P,) to the linear hull of M, so
        that |x - c_n|^2 = |y - frame^T c_n|^2 + distance^2: cheap where D is much larger than k.
        """
        _check_points(x, self.manifold.ambient)
        if self.manifold.ambient == self.manifold.canonical:
            return x, x.new_zeros(len(x))
        y = self.manifold.restrict(x)
        return y, (x - self.manifold.embed(y)).square().sum(-1)

    def chart_coordinates(self, x: Tensor) -> Tensor:
        """z_n = V_n^T (x - c_n) / scale for every chart: x (P, D) -> (P, n, d)."""
        y, _ = self.split(x)
        n, k, d = self.hull_frames.shape
        offset = torch.einsum("nkd,nk->nd", self.hull_frames, self.hull_centres)
        flat = self.hull_frames.movedim(1, 0).reshape(k, n * d)
        return ((y @ flat).reshape(-1, n, d) - offset) / self.scale

    def squared_distance(self, x: Tensor) -> Tensor:
        """|x - c_n|^2: x (P, D) -> (P, n)."""
        y, off = self.split(x)
        # differences, not |x|^2 - 2 <x, c> + |c|^2, which loses digits; in slices, to bound the memory
        step = max(1, 2**24 // max(1, y.numel()))
        inside = [(y.unsqueeze(1) - c).square().sum(-1) for c in self.hull_centres.split(step)]
        return torch.cat(inside, -1) + off.unsqueeze(-1)

    def inverse(self, z: Tensor) -> Tensor:
        """The point of M near c_n with chart coordinates z: (n, q, d) -> (n, q, D).

        Defined where |z| scale < radius sqrt(1 - radius^2/(4 reach^2)); finite everywhere. Past an edge it is
        on the manifold's smooth extension.
        """
        if z.ndim != 3 or z.shape[0] != self.count or z.shape[-1] != self.manifold.dim:
            raise InputError(f"z must have the shape ({self.count}, q, {self.manifold.dim}); got {tuple(z.shape)}")
        return self.manifold.chart_inverse(self.centres.unsqueeze(1), self.frames.unsqueeze(1), z * self.scale)

    def bumps(self, squared_distance: Tensor) -> Tensor:
        """w = relu((r^2 - dist^2)/(r^2 - r_core^2)): >= 1 in the core, 0 outside the ball. Any shape."""
        inner, outer = self.core_radius**2, self.radius**2
        return ((outer - squared_distance) / (outer - inner)).clamp_min(0.0)

    def partition(self, x: Tensor) -> Tensor:
        """Telescoping partition of unity rho_n(x): x (P, D) -> (P, n).

        s_n = sum_(m<n) w_m and rho_n = relu(1 - s_n) - relu(1 - s_n - w_n) = min(1, s_n + w_n) - min(1, s_n),
        so sum_n rho_n = min(1, sum_n w_n), which is 1 on M. Non-neighbours may stay in the sum: where w_n > 0
        theirs is 0.
        """
        return telescope(self.bumps(self.squared_distance(x)))

    def smooth_partition(self, x: Tensor, order: int, inner_radius: float | None = None) -> Tensor:
        """rho_n = b_n / sum_m b_m, b_n = relu(1 - dist_n^2/r'^2)^order: x (P, D) -> (P, n), C^(order-1).

        r' = inner_radius lies in (core_radius, radius); default: radius/1.05, or the middle if that is not
        above the core radius. Zero, not NaN, where no ball of radius r' holds x.
        """
        order = positive_integer(order, "order")
        inner = self.default_inner_radius if inner_radius is None else float(inner_radius)
        if not self.core_radius < inner < self.radius:
            raise InputError(
                f"inner_radius must be between core_radius = {self.core_radius:.6g} and radius = "
                f"{self.radius:.6g}; got {inner:.6g}"
            )
        b = (1.0 - self.squared_distance(x) / inner**2).clamp_min(0.0) ** order
        total = b.sum(-1, keepdim=True)
        return b / torch.where(total > 0.0, total, 1.0)

    @property
    def default_inner_radius(self) -> float:
        """r' of `smooth_partition`: radius/1.05, or the middle of the collar if the core is not smaller."""
        inner = self.radius / 1.05
        return inner if inner > self.core_radius * 1.001 else 0.5 * (self.core_radius + self.radius)

    def __repr__(self) -> str:
        return (
            f"Atlas({self.manifold.name}, charts={self.count}, core_radius={self.core_radius:.6g}, "
            f"radius={self.radius:.6g} (bound {self.manifold.chart_radius_bound:.6g}), "
            f"scale={self.scale:.6g}, neighbour pairs={len(self.neighbours)})"
        )


def telescope(w: Tensor) -> Tensor:
    """min(1, w_0 + ... + w_n) - min(1, w_0 + ... + w_(n-1)) for w >= 0, (..., n) -> (..., n).

    Differences of one sequence of clamped sums, so that they add up to min(1, sum w) to rounding.
    """
    left = (1.0 - w.cumsum(-1)).clamp_min(0.0)
    before = torch.cat((torch.ones_like(left[..., :1]), left[..., :-1]), -1)
    return before - left


def ambient_neighbours(centres: Tensor, radius: float) -> Tensor:
    """Pairs (p, 2), m < n, lexicographic, of centres (n, D) closer than 2 radius, or so by rounding."""
    reach = 2.0 * radius * (1.0 + 1e-12)
    pairs = cKDTree(centres.numpy()).query_pairs(reach, output_type="ndarray")
    table = torch.from_numpy(pairs.reshape(-1, 2)).long()
    table = torch.stack((table.amin(-1), table.amax(-1)), -1) if len(table) else table
    order = (table[:, 0] * len(centres) + table[:, 1]).argsort()
    return table[order]


def _check_tensor(name: str, value: Tensor, shape: tuple[int, ...]) -> None:
    if value.shape != shape or value.dtype != torch.float64 or value.device.type != "cpu":
        raise InputError(
            f"{name} must be a float64 CPU tensor of shape {shape}; got {value.dtype}, {tuple(value.shape)}"
        )
    if not bool(torch.isfinite(value).all()):
        raise InputError(f"{name} must be finite")


def _check_points(x: Tensor, ambient: int) -> None:
    if x.ndim != 2 or x.shape[-1] != ambient:
        raise InputError(f"x must have the shape (P, {ambient}); got {tuple(x.shape)}")
    if x.dtype != torch.float64:
        raise InputError(f"x must be float64; got {x.dtype}")
