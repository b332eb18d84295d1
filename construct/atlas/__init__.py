"""Covers by balls, tangent charts and partitions of unity."""

from construct.atlas.atlas import Atlas, ambient_neighbours, telescope
from construct.atlas.catalogue import atlas_for, build, candidate_atlases, default_ratio
from construct.atlas.cover import cover, proved_radius
from construct.atlas.extent import tangent_extent
from construct.atlas.nets import canonical_form

__all__ = [
    "Atlas",
    "ambient_neighbours",
    "atlas_for",
    "build",
    "candidate_atlases",
    "canonical_form",
    "cover",
    "default_ratio",
    "proved_radius",
    "tangent_extent",
    "telescope",
]
