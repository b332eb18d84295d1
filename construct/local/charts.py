"""From a target to local approximators: evaluate it on the nodes once, fit one space or many degrees."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from construct.atlas import Atlas
from construct.local.fit import LAWSON_STEPS, check_values, fit, prefix_fits
from construct.local.nodes import Nodes, fitting_nodes
from construct.local.piecewise import PiecewiseApproximator
from construct.local.polynomials import PolynomialSpace, coefficients_of_degree
from construct.local.space import Fit, LocalSpace
from construct.progress import tick
from construct.targets import evaluate_target
from construct.validation import integer, invalid

Target = Callable[[Tensor], Tensor]
CHUNK_POINTS = 2**17


@dataclass(frozen=True)
class Sweep:
    """Fits of several total degrees on one atlas, from one set of target values.

    Attributes:
        degrees: increasing; fits[i] holds the coefficients (n, c_i) and sup residuals (n,) for degrees[i].
    """

    atlas: Atlas
    degrees: tuple[int, ...]
    fits: tuple[Fit, ...]

    @property
    def sups(self) -> tuple[float, ...]:
        """Largest residual on the nodes for each degree: the bound max_n sup_(U_n) |P_n - f|, measured."""
        return tuple(one.sup for one in self.fits)

    def approximator(self, degree: int) -> PiecewiseApproximator:
        """The blended approximator of one of the degrees."""
        if degree not in self.degrees:
            raise invalid("degree", f"one of {self.degrees}", degree)
        found = self.fits[self.degrees.index(degree)]
        space = PolynomialSpace(self.atlas.manifold.dim, degree)
        return PiecewiseApproximator(self.atlas, space, found.coefficients, found.residual)


def node_values(target: Target, nodes: Nodes) -> Tensor:
    """target at the nodes of the mask, 0 elsewhere: (n, q). It is evaluated at points of M only.

    Raises:
        InputError: wrong shape or non-finite values, naming `target`.
    """
    values = torch.zeros(nodes.mask.shape, dtype=torch.float64)
    points = nodes.x[nodes.mask]
    parts = []
    for k in range(0, len(points), CHUNK_POINTS):
        tick(k / len(points))
        parts.append(evaluate_target(target, points[k : k + CHUNK_POINTS]))
    values[nodes.mask] = torch.cat(parts)
    check_values(values, nodes.mask)
    return values


def fit_charts(
    target: Target, atlas: Atlas, space: LocalSpace, *, lawson: int = LAWSON_STEPS, density: float = 1.0
) -> PiecewiseApproximator:
    """Fit `target`, a function (..., D) -> (...) on the manifold, on every chart of `atlas`, and blend.

    Args:
        lawson: reweighting steps towards the minimax fit, 0 for least squares.
        density: factor on the number of nodes per direction.
    """
    nodes = fitting_nodes(atlas, space, density=density)
    found = fit(space, nodes.z, node_values(target, nodes), nodes.mask, lawson=lawson)
    return PiecewiseApproximator(atlas, space, found.coefficients, found.residual)


def sweep(
    target: Target, atlas: Atlas, degrees: Sequence[int], *, lawson: int = LAWSON_STEPS, density: float = 1.0
) -> Sweep:
    """Polynomial fits of every degree: the target is evaluated once, on nodes for the largest degree.

    Args:
        degrees: total degrees >= 0; sorted, duplicates dropped.
    """
    ordered = sorted({integer(degree, "degrees") for degree in degrees})
    if not ordered:
        raise invalid("degrees", "at least one integer >= 0", got="none")
    d = atlas.manifold.dim
    space = PolynomialSpace(d, ordered[-1])
    nodes = fitting_nodes(atlas, space, density=density)
    values = node_values(target, nodes)
    counts = [coefficients_of_degree(d, degree) for degree in ordered]
    fits = prefix_fits(space, nodes.z, values, nodes.mask, counts, lawson=lawson)
    return Sweep(atlas, tuple(ordered), tuple(fits))
