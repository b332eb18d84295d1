"""What is measured of an error: samples of the manifold, how finely they lie, and a search for the worst point."""

from construct.measurement.covers import MOST_POINTS, cover_of
from construct.measurement.exactness import INEXACT_SHARE, check_exact, exactness_points
from construct.measurement.measure import Measuring, absolute_error, cover_for, measure
from construct.measurement.search import Measurement, search_sup
from construct.measurement.seeds import derived_seed
from construct.measurement.survey import Jump, Survey, jumps_near, survey

__all__ = [
    "INEXACT_SHARE",
    "MOST_POINTS",
    "Jump",
    "Measurement",
    "Measuring",
    "Survey",
    "absolute_error",
    "check_exact",
    "cover_for",
    "cover_of",
    "derived_seed",
    "exactness_points",
    "jumps_near",
    "measure",
    "search_sup",
    "survey",
]
