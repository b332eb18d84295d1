"""Covers by balls, tangent charts and partitions of unity."""

from construct.atlas.atlas import Atlas
from construct.atlas.catalogue import atlas_for, candidate_atlases, default_ratio, tangent_atlas
from construct.atlas.coordinates import ChartCoordinates
from construct.atlas.cover import Cover, ambient_neighbours, telescope
from construct.atlas.covering import find_cover, proved_radius
from construct.atlas.extent import tangent_extent
from construct.atlas.packing import least_charts

__all__ = [
    "Atlas",
    "ChartCoordinates",
    "Cover",
    "ambient_neighbours",
    "atlas_for",
    "candidate_atlases",
    "default_ratio",
    "find_cover",
    "least_charts",
    "proved_radius",
    "tangent_atlas",
    "tangent_extent",
    "telescope",
]
