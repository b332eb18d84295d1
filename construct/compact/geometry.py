"""What the compact network needs of an atlas: chart geometry in R^D, or in the affine hull."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from construct.arrays import Float, Int
from construct.atlas import Atlas
from construct.boxes import CentredBox, centred

BOX_MARGIN = 2.0  # admissible inputs: twice the half-widths of M, around the centre of its box
POWER = 1e-12  # how near to a power of two a number is taken to be one: r^2 - core^2 is rounded
HULL_MARGIN = 1 + 1e-9  # for the rounding of the hull coordinates' bounds


@dataclass(frozen=True)
class ChartGeometry:
    """What the network needs of an atlas, in the coordinates that its first chart block reads.

    Attributes:
        centres (n, k), frames (n, k, d); radius, core, scale as in `Atlas`, of all charts or (n,); neighbours (p, 2)
            with m < n: of which charts the cut-offs are in the prefix sum of n.
        inputs: (D,) bounds of what the input tokens hold, |x_j - origin_j|.
        hull: (D, k) with orthonormal columns when the coordinates are `hull^T (x - origin)`, else None.
        origin: (D,), what the input tokens subtract; centres are relative to it.
    """

    centres: Float
    frames: Float
    inputs: Float
    radius: Float | float
    core: Float | float
    scale: Float | float
    neighbours: Int
    hull: Float | None
    origin: Float | float = 0.0

    @property
    def charts(self) -> int:
        return int(self.centres.shape[0])

    @property
    def dim(self) -> int:
        return int(self.frames.shape[2])

    @property
    def scaled_frames(self) -> Float:
        """V_n / scale_n (n, k, d)."""
        return np.asarray(self.frames / np.reshape(self.scale, (-1, 1, 1)))

    @property
    def lift(self) -> Float | float:
        """Where the cut-offs begin: token R_n holds lift_n (r_n^2 - dist^2), and w_n = slope relu of it.

        1 where all collars are equal. Else `unit / (r_n^2 - core_n^2)` (n,), unit a power of two above all collars: at
        least 1, so that the clip after the squares turns it into 1. That is exact where it is a power of two itself.
        """
        collar = np.asarray(self.collar)
        if collar.ndim == 0:
            return 1.0
        lift = 1.0 / self.slope / collar
        near = np.exp2(np.round(np.log2(lift)))
        return np.maximum(np.where(np.abs(lift - near) <= POWER * near, near, lift), 1.0)

    @property
    def slope(self) -> float:
        """Of all cut-offs."""
        collar = np.asarray(self.collar)
        return float(1.0 / collar if collar.ndim == 0 else 2.0 ** -np.ceil(np.log2(collar.max() * (1 - POWER))))

    @property
    def collar(self) -> Float | float:
        """r^2 - core^2."""
        return self.radius**2 - self.core**2

    @property
    def box(self) -> Float:
        """(k,) bounds on the coordinates that the chart block reads."""
        if self.hull is None:
            return self.inputs
        hull = np.abs(self.hull).T @ self.inputs
        return np.asarray(hull * HULL_MARGIN)


def chart_geometry(atlas: Atlas, *, project: bool) -> ChartGeometry:
    """In R^D, or with `project` in the affine hull R^k, into which the network projects first."""
    box = input_box(atlas)
    centres, frames = atlas.centres.numpy() - box.centre, atlas.frames.numpy()
    hull: Float | None = None
    if project:
        hull = atlas.manifold.frame.numpy()
        centres, frames = centres @ hull, np.einsum("Dk,nDd->nkd", hull, frames)
    radius: Float | float
    core: Float | float
    scale: Float | float
    if atlas.even:
        radius, core, scale = atlas.radius, atlas.core_radius, atlas.scale
    else:
        cover = atlas.cover
        radius, core, scale = (v.numpy() for v in (cover.radii, cover.core_radii, atlas.coordinates.scales))
    return ChartGeometry(
        centres=_cleaned(centres),
        frames=_cleaned(frames),
        inputs=box.registers,
        radius=radius,
        core=core,
        scale=scale,
        neighbours=atlas.prefix_pairs.numpy(),
        hull=hull,
        origin=box.centre,
    )


def _cleaned(values: Float) -> Float:
    """Drop entries that are rounding noise of an exact zero (below 1e-15 of the largest)."""
    return np.where(np.abs(values) > 1e-15 * max(np.abs(values).max(), 1e-300), values, 0.0)


def input_box(atlas: Atlas) -> CentredBox:
    """The box of the admissible inputs."""
    return centred(atlas.manifold.box.numpy(), BOX_MARGIN)
