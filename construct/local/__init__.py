"""Local approximators on the charts, their fits, and the blended reference."""

from construct.local.approximate import Sweep, approximate, node_values, sweep
from construct.local.families import LocalSpace, PolynomialSpace, SplineSpace, multi_indices
from construct.local.fit import Fit, fit, prefix_fits
from construct.local.nodes import Nodes, fitting_nodes
from construct.local.piecewise import ErrorBound, PiecewiseApproximator

__all__ = [
    "ErrorBound",
    "Fit",
    "LocalSpace",
    "Nodes",
    "PiecewiseApproximator",
    "PolynomialSpace",
    "SplineSpace",
    "Sweep",
    "approximate",
    "fit",
    "fitting_nodes",
    "multi_indices",
    "node_values",
    "prefix_fits",
    "sweep",
]
