"""The blended approximator, evaluated directly from its formula: the oracle and the speed reference of the
network.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from scipy.spatial import cKDTree
from torch import Tensor

from construct.atlas import Atlas, telescope
from construct.atlas.checks import check_points
from construct.local.space import LocalSpace
from construct.progress import tick
from construct.validation import invalid

DENSE_CHARTS = 128
CHUNK_ENTRIES = 2**21


class ErrorBound(float):
    """An error bound that says how it is known: kind "measured" is the largest residual on finitely many
    nodes.
    """

    kind: str

    def __new__(cls, value: float, kind: str) -> ErrorBound:
        bound = super().__new__(cls, value)
        bound.kind = kind
        return bound

    def __repr__(self) -> str:
        return f"{float(self):.3g} ({self.kind})"

    def __reduce__(self) -> tuple[type[ErrorBound], tuple[float, str]]:
        return ErrorBound, (float(self), self.kind)


@dataclass(frozen=True, eq=False, repr=False)
class PiecewiseApproximator:
    """T(x) = sum_n rho_n(x) P_n(clamp(z_n(x), -1, 1)), with the telescoping partition rho of the atlas.

    Where the balls leave room, a last chart takes the rest of the partition, whose function is the constant `base`: T =
    base + sum_n rho_n (P_n - base). On M, |T - f| <= max_n sup |P_n - f| over the points of U_n where rho_n > 0, and
    |base - f| where no core is, whatever the overlaps. Off M it is finite, and `base` outside the balls.

    Attributes:
        atlas, space: where the local approximators live.
        coefficients: (n, c), finite.
        residual: (n,) sup residual of each chart on its fitting nodes, or None when unknown.
        base: finite; 0 says that the cores cover M, and that is what a certificate asks for then.
    """

    atlas: Atlas
    space: LocalSpace
    coefficients: Tensor
    residual: Tensor | None = None
    base: float = 0.0
    _tree: cKDTree = field(init=False)

    def __post_init__(self) -> None:
        expected = (self.atlas.count, self.space.count)
        if self.coefficients.shape != expected:
            raise invalid("coefficients", f"a tensor of shape {expected}", self.coefficients)
        if not bool(torch.isfinite(self.coefficients).all()):
            bad = int((~torch.isfinite(self.coefficients)).sum())
            raise invalid("coefficients", "finite entries", got=f"{bad} that are NaN or infinite")
        if not math.isfinite(self.base):
            raise invalid("base", "a finite number", self.base)
        if self.space.dim != self.atlas.manifold.dim:
            raise invalid("space", f"the dimension {self.atlas.manifold.dim} of the atlas", self.space.dim)
        object.__setattr__(self, "_tree", cKDTree(self.atlas.hull_centres.numpy()))

    @property
    def error_bound(self) -> ErrorBound:
        """max_n sup |P_n - f| over the fitting nodes, kind "measured"; infinite when the residuals are not
        known.
        """
        if self.residual is None:
            return ErrorBound(float("inf"), "unknown")
        return ErrorBound(float(self.residual.max()), "measured")

    @property
    def parameters(self) -> int:
        """Number of coefficients."""
        return self.coefficients.numel()

    def __call__(self, x: Tensor) -> Tensor:
        """x (P, D) float64 -> (P,)."""
        ambient = self.atlas.manifold.ambient
        check_points(x, ambient)
        dense = self.atlas.count <= DENSE_CHARTS
        width = ambient + (self.atlas.count * self.atlas.manifold.canonical if dense else 32 * self.space.dim)
        step = max(256, CHUNK_ENTRIES // width)
        parts = []
        for k in range(0, len(x), step):
            tick()
            parts.append(self._evaluate(x[k : k + step], dense))
        return torch.cat(parts) if parts else x.new_zeros(0)

    def _evaluate(self, x: Tensor, dense: bool) -> Tensor:
        y, off = self.atlas.split(x)
        point, chart, rho = self._dense_pairs(x) if dense else self._sparse_pairs(y, off)
        chart, order = chart.sort(stable=True)
        point, rho = point[order], rho[order]
        terms = torch.empty_like(rho)
        atlas, scales = self.atlas, self.atlas.coordinates.scales.tolist()
        start = 0
        for n, number in enumerate(torch.bincount(chart, minlength=atlas.count).tolist()):
            if number == 0:
                continue
            part = slice(start, start + number)
            z = (y[point[part]] - atlas.hull_centres[n]) @ atlas.hull_frames[n] / scales[n]
            terms[part] = self.space.combine(z.clamp(-1.0, 1.0), self.coefficients[n])
            start += number
        found = x.new_zeros(len(x)).index_add_(0, point, rho * terms)
        if self.base == 0.0:
            return found
        return found + self.base * (1.0 - x.new_zeros(len(x)).index_add_(0, point, rho))

    def _dense_pairs(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        rho = self.atlas.partition(x)
        point, chart = (rho > 0).nonzero(as_tuple=True)
        return point, chart, rho[point, chart]

    def _sparse_pairs(self, y: Tensor, off: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(point, chart, rho) for the charts whose balls hold a point, from a tree of the centres."""
        radius = float(self.atlas.cover.radii.max()) * (1 + 1e-9)
        found = cKDTree(y.numpy()).sparse_distance_matrix(self._tree, radius, output_type="ndarray")
        point, chart = torch.from_numpy(found["i"].copy()).long(), torch.from_numpy(found["j"].copy()).long()
        order = (point * self.atlas.count + chart).argsort()
        point, chart = point[order], chart[order]
        inside = (y[point] - self.atlas.hull_centres[chart]).square().sum(-1)
        w = self.atlas.bumps(inside + off[point], chart)
        number = torch.bincount(point, minlength=len(y))
        column = torch.arange(len(point)) - (number.cumsum(0) - number)[point]
        table = y.new_zeros(len(y), max(1, int(number.max()) if len(number) else 1))
        table[point, column] = w
        rho = telescope(table)[point, column]
        keep = rho > 0
        return point[keep], chart[keep], rho[keep]

    def __repr__(self) -> str:
        return (
            f"PiecewiseApproximator({self.atlas!r}, {self.space!r}, coefficients={self.parameters}, "
            f"error_bound={self.error_bound!r})"
        )
