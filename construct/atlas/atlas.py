"""Atlas: a cover by balls, and tangent charts on them.

On B(c_n, r_n) ∩ M the charts are injective for every radius below `manifold.chart_radius_bound` (the reach in
general). The core balls cover M, with proof; the collar between core and ball is where neighbours blend.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from construct.atlas.coordinates import ChartCoordinates
from construct.atlas.cover import Cover, spread
from construct.manifolds import Manifold
from construct.validation import invalid


@dataclass(frozen=True, eq=False, repr=False)
class Atlas:
    """A finite atlas of tangent charts: their balls and their coordinates, chart by chart.

    The attributes and methods of both are also the atlas's. `radius`, `core_radius` and `scale` are the common
    values of all charts; they raise InputError where the charts differ.

    Attributes:
        cover: the balls, radii < manifold.chart_radius_bound.
        coordinates: the charts, with the same centres; |V_n^T (x - c_n)|_inf <= scale_n <= r_n for x in
            M ∩ B(c_n, r_n) (`tangent_extent` proves the first, the class cannot).

    Raises:
        InputError: cover and coordinates do not belong together, or a radius or a scale is too large.
    """

    cover: Cover
    coordinates: ChartCoordinates

    def __post_init__(self) -> None:
        cover, charts = self.cover, self.coordinates
        if cover.manifold is not charts.manifold or not torch.equal(cover.centres, charts.centres):
            raise invalid("coordinates", "charts with the manifold and the centres of the cover", charts)
        bound, largest = self.manifold.chart_radius_bound, float(cover.radii.max())
        if not largest < bound:
            raise invalid("radius", injective_below(self.manifold), got=f"{largest:.6g}")
        if not bool((charts.scales <= cover.radii * (1 + 1e-12)).all()):
            n = int((charts.scales / cover.radii).argmax())
            expected = f"at most radius = {float(cover.radii[n]):.6g}"
            raise invalid("scale", expected, got=f"{float(charts.scales[n]):.6g} in chart {n}")

    @classmethod
    def uniform(
        cls, manifold: Manifold, centres: Tensor, frames: Tensor, core_radius: float, radius: float, scale: float
    ) -> Atlas:
        """The atlas with one core radius, one radius and one scale for all charts: centres (n, D), frames (n, D, d)."""
        core_radii, radii, scales = (
            torch.full((len(centres),), value, dtype=torch.float64) for value in (core_radius, radius, scale)
        )
        return cls(Cover(manifold, centres, core_radii, radii), ChartCoordinates(manifold, centres, frames, scales))

    @classmethod
    def of_balls(cls, manifold: Manifold, centres: Tensor, core_radii: Tensor, radii: Tensor) -> Atlas:
        """The atlas of balls around centres (n, D) with radii of their own (n,), in the order of the partition.

        The frames are the manifold's tangent bases, the scales its closed bounds of tangent images, or the radii. That
        the cores cover M is for who chooses them; where they do not, the partition sums to less than 1.
        """
        frames = manifold.tangent_basis(centres)
        scales = radii.clone()
        for n, radius in enumerate(radii.tolist()):
            bound = manifold.tangent_bound(centres[n : n + 1], frames[n : n + 1], radius)
            scales[n] = radius if bound is None else min(radius, bound)
        return cls(Cover(manifold, centres, core_radii, radii), ChartCoordinates(manifold, centres, frames, scales))

    # -- values common to all charts -------------------------------------------------------------------------

    @cached_property
    def core_radius(self) -> float:
        """Every point of M is within it of a centre."""
        return common(self.cover.core_radii, "core_radius")

    @cached_property
    def radius(self) -> float:
        """Of every ball."""
        return common(self.cover.radii, "radius")

    @cached_property
    def scale(self) -> float:
        """Of every chart's coordinates."""
        return common(self.coordinates.scales, "scale")

    @property
    def default_inner_radius(self) -> float:
        """r' of `smooth_partition`."""
        return common(self.cover.default_inner_radii, "default_inner_radius")

    # -- of the cover ----------------------------------------------------------------------------------------

    @property
    def manifold(self) -> Manifold:
        """M of dimension d in R^D."""
        return self.cover.manifold

    @property
    def centres(self) -> Tensor:
        """(n, D), on M."""
        return self.cover.centres

    @property
    def count(self) -> int:
        """Number of charts n."""
        return self.cover.count

    @property
    def neighbours(self) -> Tensor:
        """(p, 2) pairs m < n of balls that meet."""
        return self.cover.neighbours

    @property
    def prefix_pairs(self) -> Tensor:
        """See `Cover.prefix_pairs`."""
        return self.cover.prefix_pairs

    @property
    def even(self) -> bool:
        """Whether all charts have one radius, one core radius and one scale."""
        values = (self.cover.radii, self.cover.core_radii, self.coordinates.scales)
        return all(bool((v == v[0]).all()) for v in values)

    @property
    def most_earlier_neighbours(self) -> int:
        """The largest number of terms in one prefix sum s_n."""
        return self.cover.most_earlier_neighbours

    @property
    def hull_centres(self) -> Tensor:
        """(n, k) the centres in the canonical coordinates y of the manifold, x = frame @ y + offset."""
        return self.cover.hull_centres

    @property
    def span(self) -> Tensor | None:
        """(D, k), the manifold's frame where k < D; None where the linear coordinates frame^T x are x itself."""
        return None if self.manifold.ambient == self.manifold.canonical else self.manifold.frame

    @property
    def span_centres(self) -> Tensor:
        """(n, k) the centres in the coordinates `span`^T x."""
        return self.centres if self.span is None else self.centres @ self.span

    @property
    def span_frames(self) -> Tensor:
        """(n, k, d) the tangent bases in the coordinates `span`^T x."""
        return self.frames if self.span is None else self.span.T @ self.frames

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """See `Cover.split`."""
        return self.cover.split(x)

    def squared_distance(self, x: Tensor) -> Tensor:
        """|x - c_n|^2: x (P, D) -> (P, n)."""
        return self.cover.squared_distance(x)

    def bumps(self, squared_distance: Tensor, charts: Tensor | None = None) -> Tensor:
        """See `Cover.bumps`."""
        return self.cover.bumps(squared_distance, charts)

    def partition(self, x: Tensor) -> Tensor:
        """Telescoping partition of unity rho_n(x): x (P, D) -> (P, n)."""
        return self.cover.partition(x)

    def smooth_partition(self, x: Tensor, order: int, inner_radius: float | Tensor | None = None) -> Tensor:
        """See `Cover.smooth_partition`: x (P, D) -> (P, n)."""
        return self.cover.smooth_partition(x, order, inner_radius)

    # -- of the charts ---------------------------------------------------------------------------------------

    @property
    def frames(self) -> Tensor:
        """(n, D, d), orthonormal bases of the tangent spaces at the centres."""
        return self.coordinates.frames

    @property
    def hull_frames(self) -> Tensor:
        """(n, k, d) the tangent bases in canonical coordinates."""
        return self.coordinates.hull_frames

    def chart_coordinates(self, x: Tensor) -> Tensor:
        """z_n = V_n^T (x - c_n) / scale_n for every chart: x (P, D) -> (P, n, d)."""
        return self.coordinates.chart_coordinates(x)

    def inverse(self, z: Tensor) -> Tensor:
        """The point of M near c_n with chart coordinates z: (n, q, d) -> (n, q, D); see `ChartCoordinates`."""
        return self.coordinates.inverse(z)

    def __repr__(self) -> str:
        cover = self.cover
        return (
            f"Atlas({self.manifold.name}, charts={self.count}, core_radius={spread(cover.core_radii)}, "
            f"radius={spread(cover.radii)} (bound {self.manifold.chart_radius_bound:.6g}), "
            f"scale={spread(self.coordinates.scales)}, neighbour pairs={len(self.neighbours)})"
        )


def common(values: Tensor, name: str) -> float:
    """The one value of all charts, (n,). Raises InputError where they differ."""
    if not bool((values == values[0]).all()):
        raise invalid(
            name, "the same value in every chart", got=f"{spread(values)}; see the atlas's cover and coordinates"
        )
    return float(values[0])


def injective_below(manifold: Manifold) -> str:
    """What a radius is expected to be."""
    bound = manifold.chart_radius_bound
    return f"less than {bound:.6g}, below which the charts of {manifold.name} are proved injective"
