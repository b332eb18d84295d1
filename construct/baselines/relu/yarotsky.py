"""Yarotsky's network on the cube [-1, 1]^d: trapezoids times Taylor polynomials, by sawtooth products (2017).

The grid k in {0..N}^d has the nodes x_k = 2 k/N - 1, and u = N (x + 1)/2 - k. The sum runs over

    c[k, alpha] prod_i psi(3 u_i) u_i^alpha_i,    c[k, alpha] = (2/N)^|alpha| d^alpha f(x_k)/alpha!,    |alpha| <= s

with exact derivatives of f. Yarotsky writes the monomials in x - x_k; u is the same up to the scale, which goes into
the coefficients, and |u| <= 1 makes the errors of the products small multiples of them.

Source: arXiv 1610.01145, Theorem 1. The box bound of the products and the bounds of sums are in `taylor_terms`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from construct.baselines.relu.circuit import Circuit, Layer
from construct.baselines.relu.taylor_method import MOST_NODES, TaylorMethod
from construct.baselines.relu.taylor_network import TaylorNetwork
from construct.baselines.relu.taylor_terms import TaylorTerms
from construct.local import multi_indices
from construct.manifolds import Cube, Manifold
from construct.paper.derivatives import differentiable, partial_derivatives, refuse_detached
from construct.targets import evaluate_target
from construct.validation import integer, invalid, positive_integer

CHUNK_NODES = 1 << 16
PROBES = 64


@dataclass(frozen=True, eq=False, repr=False)
class YarotskyNetwork(TaylorNetwork):
    """The network on the cube: one chart, which the chains read from x directly."""

    @property
    def ambient(self) -> int:
        return self.terms.dim

    @property
    def start(self) -> int:
        return 0

    def layers(self, *, filled: bool = True) -> list[Layer]:
        """The chains, then the sum over total degrees."""
        circuit = Circuit(self.ambient)
        subnetworks = self.terms.subnetworks(circuit, "x", filled=filled)
        circuit.run(subnetworks)
        offset = -sum(float(bounds[0]) for _, bounds in self.terms.bounds())
        return circuit.finish(np.ones((1, len(subnetworks))), [offset])

    @property
    def point_entries(self) -> int:
        return 4 * len(self.terms.exponents)

    def evaluate(self, x: Tensor) -> Tensor:
        chart = torch.zeros(len(x), dtype=torch.long, device=x.device)
        return self.terms(chart, self.terms.slope * (x + self.terms.shift))


def yarotsky_network(
    target: Callable[..., Any], dim: int, *, cells: int, degree: int, compositions: int | None
) -> YarotskyNetwork:
    """The network for `target`, x (n, d) -> (n,), on [-1, 1]^d with N = cells and s = degree.

    compositions: m of the products, 1..26; None for exact products (see `TaylorTerms`).

    Raises:
        InputError: a resolution out of range, or a target that torch cannot differentiate `degree` times; for degree 0
            a numpy function will do.
    """
    dim, cells = positive_integer(dim, "dim"), positive_integer(cells, "cells")
    integer(degree, "degree")
    if (cells + 1) ** dim > MOST_NODES:
        raise invalid("cells", f"at most {MOST_NODES:,} nodes", got=f"{(cells + 1) ** dim:,}")
    nodes = torch.cartesian_prod(*[torch.arange(cells + 1)] * dim).reshape(-1, dim)
    points = nodes.double() * (2.0 / cells) - 1.0
    exponents = multi_indices(dim, degree)
    values = evaluate_target(target, points)
    if degree == 0:
        derivatives = values[:, None]
    else:
        known = differentiable(target)
        refuse_detached(known, points[:: max(1, len(points) // PROBES)])
        derivatives = torch.cat([partial_derivatives(known, x, exponents) for x in points.split(CHUNK_NODES)])
    if not bool(torch.isfinite(derivatives).all()):
        raise invalid("target", f"finite derivatives up to order {degree} at the nodes", got="NaN or infinity")
    factorials = torch.lgamma(exponents.double() + 1).sum(-1).exp()
    coefficients = derivatives * (2.0 / cells) ** exponents.sum(-1).double() / factorials
    kept = (coefficients != 0).any(-1)
    kept[:1] |= not bool(kept.any())  # the zero function keeps one node and is like any other
    terms = TaylorTerms(
        count=1,
        cells=cells,
        compositions=compositions,
        charts=torch.zeros(int(kept.sum()), dtype=torch.long),
        nodes=nodes[kept],
        coefficients=coefficients[kept],
        exponents=exponents,
        slope=cells / 2.0,
        shift=1.0,
    )
    return YarotskyNetwork(terms)


class Yarotsky(TaylorMethod):
    """Yarotsky 2017 as a `Method`."""

    name = "yarotsky"
    description = "trapezoids times Taylor polynomials by sawtooth products, on the cube (Yarotsky 2017)"

    def check(self, manifold: Manifold) -> None:
        """Only the cube, not embedded."""
        if not isinstance(manifold, Cube) or manifold.ambient != manifold.dim:
            raise invalid("manifold", f"a Cube with ambient = dim for {self.name}", manifold)

    def design(
        self, target: Callable[..., Any], manifold: Manifold, cells: int, degree: int, compositions: int | None
    ) -> YarotskyNetwork:
        return yarotsky_network(target, manifold.dim, cells=cells, degree=degree, compositions=compositions)

    def nodes(self, manifold: Manifold, cells: int) -> int:
        return int((cells + 1) ** manifold.dim)
