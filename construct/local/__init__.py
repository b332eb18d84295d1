"""Local approximators on the charts, their fits, and the blended reference."""

from construct.local.charts import Sweep, fit_charts, node_values, sweep
from construct.local.fit import fit, least_residuals, least_square_fit, prefix_fits
from construct.local.nodes import Nodes, fitting_nodes
from construct.local.piecewise import ErrorBound, PiecewiseApproximator
from construct.local.polynomials import PolynomialSpace, multi_indices
from construct.local.space import BallNodes, Fit, LocalSpace
from construct.local.spaces import space_from_spec
from construct.local.splines import SplineSpace

__all__ = [
    "BallNodes",
    "ErrorBound",
    "Fit",
    "LocalSpace",
    "Nodes",
    "PiecewiseApproximator",
    "PolynomialSpace",
    "SplineSpace",
    "Sweep",
    "fit",
    "fit_charts",
    "fitting_nodes",
    "least_residuals",
    "least_square_fit",
    "multi_indices",
    "node_values",
    "prefix_fits",
    "space_from_spec",
    "sweep",
]
