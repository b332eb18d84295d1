"""Tangent charts: orthogonal projections to the tangent spaces at points of a manifold, and their inverses."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from construct.atlas.checks import check_centres, check_points, check_tensor
from construct.manifolds import Manifold
from construct.validation import invalid


@dataclass(frozen=True, eq=False, repr=False)
class ChartCoordinates:
    """phi_n(x) = V_n^T (x - c_n) / scale_n, V_n an orthonormal basis of the tangent space at c_n.

    All tensors float64 on the CPU.

    Attributes:
        manifold: M of dimension d in R^D.
        centres: (n, D), on M.
        frames: (n, D, d), orthonormal columns that span the tangent spaces at the centres.
        scales: (n,), > 0.

    Raises:
        InputError: a shape, a sign or an identity above fails.
        OffManifoldError: a centre is not on M.
    """

    manifold: Manifold
    centres: Tensor
    frames: Tensor
    scales: Tensor

    def __post_init__(self) -> None:
        d, ambient = self.manifold.dim, self.manifold.ambient
        check_centres(self.centres, self.manifold)
        check_tensor(self.frames, "frames", self.count, ambient, d)
        check_tensor(self.scales, "scales", self.count)
        if not bool((self.scales > 0.0).all()):
            raise invalid("scale", "a number > 0", float(self.scales.min()))
        eye = torch.eye(d, dtype=torch.float64)
        off = float((self.frames.mT @ self.frames - eye).abs().max())
        if not off < 1e-10:
            raise invalid("frames", "orthonormal columns", got=f"products that are off by {off:.3g}")
        mixed = self.manifold.tangent_basis(self.centres).mT @ self.frames
        off = float((mixed.mT @ mixed - eye).abs().max())
        if not off < 1e-6:
            raise invalid("frames", "columns that span the tangent spaces at the centres", got=f"an error of {off:.3g}")

    @property
    def count(self) -> int:
        """Number of charts n."""
        return len(self.centres)

    @cached_property
    def hull_centres(self) -> Tensor:
        """(n, k) the centres in the canonical coordinates y of the manifold, x = frame @ y + offset."""
        return self.manifold.restrict(self.centres)

    @cached_property
    def hull_frames(self) -> Tensor:
        """(n, k, d) the tangent bases in canonical coordinates."""
        return self.manifold.frame.T @ self.frames if self.manifold.embedded else self.frames

    def chart_coordinates(self, x: Tensor) -> Tensor:
        """z_n = V_n^T (x - c_n) / scale_n for every chart: x (P, D) -> (P, n, d)."""
        check_points(x, self.manifold.ambient)
        y = self.manifold.restrict(x)
        n, k, d = self.hull_frames.shape
        offset = torch.einsum("nkd,nk->nd", self.hull_frames, self.hull_centres)
        flat = self.hull_frames.movedim(1, 0).reshape(k, n * d)
        return ((y @ flat).reshape(-1, n, d) - offset) / self.scales.unsqueeze(-1)

    def inverse(self, z: Tensor) -> Tensor:
        """The point of M near c_n with chart coordinates z: (n, q, d) -> (n, q, D).

        Defined where |z| scale < radius sqrt(1 - radius^2/(4 reach^2)) with a radius below the manifold's
        `chart_radius_bound`; finite everywhere. Past an edge it is on the manifold's smooth extension.
        """
        if z.ndim != 3 or z.shape[0] != self.count or z.shape[-1] != self.manifold.dim:
            raise invalid("z", f"a tensor of shape ({self.count}, q, {self.manifold.dim})", z)
        steps = z * self.scales[:, None, None]
        return self.manifold.chart_inverse(self.centres.unsqueeze(1), self.frames.unsqueeze(1), steps)

    def __repr__(self) -> str:
        return f"ChartCoordinates({self.manifold.name}, charts={self.count}, d={self.manifold.dim})"
