"""Closed forms of tangent extents: how far the points of a ball lie from its centre, seen in the tangent space."""

from __future__ import annotations

import math

ROUNDING = 1 + 1e-12


def circular_extent(radius: float, curvature_radius: float) -> float:
    """sup |V^T (x - c)| over |x - c| <= radius where every geodesic through c is a circle of radius R whose
    centre lies in the normal space (circle, sphere, SO(3)), widened for rounding.

    s sqrt(1 - s^2/(4 R^2)) grows up to s = sqrt(2) R, to R.
    """
    s = min(radius, math.sqrt(2.0) * curvature_radius)
    return s * math.sqrt(1.0 - s * s / (4.0 * curvature_radius**2)) * ROUNDING
