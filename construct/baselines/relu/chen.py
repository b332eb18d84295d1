"""The network of Chen, Jiang, Liao and Zhao on a manifold: chart determination, projections, Taylor terms, glue (2019).

    f_hat(x) = sum_n B_n p(S_n(x)/B_n, 1_n(x)),     1_n = clamp((r^2 - d_n)/Delta, 0, 1),     Delta = r^2 2^-k

- d_n = sum_j b_nj^2 f_m'(|x_j - c_nj|/b_nj), a square by sawtooth for each of the D coordinates and each chart, for
  |x_j - c_nj| <= b_nj on M. The sawtooth overestimates:  0 <= d_n - |x - c_n|^2 <= E_n = 4^-m'/4 sum_j b_nj^2.
- 1_n = min(1, 2^k relu(1 - d_n/r^2)): k doubling layers `v <- relu(2 v)`, then 1 - relu(1 - v).
- z_n = V_n^T (x - c_n)/scale, affine and exact, clipped to [-1, 1].
- S_n: trapezoids times Taylor polynomials of `(f rho_n) o phi_n^-1` on the grid {-N..N}^d (`taylor_terms`).
- one more product p, on the box |S_n|/B_n <= 1, 0 <= 1_n <= 1; it vanishes exactly where 1_n does.

*The ramp does no harm.* Off the ball of radius r, d_n >= |x - c_n|^2 >= r^2, so 1_n = 0. On supp rho_n, which lies in
the ball of radius r' < r, d_n <= r'^2 + E_n, so 1_n = 1 if r'^2 + E_n <= r^2 - Delta, that is if

    E_n + Delta <= r^2 - r'^2                                                                                    (*)

In the ring between, S_n approximates f rho_n = 0, and a factor in [0, 1] only helps. `ramp_sizes` takes the smallest
m' with E_n <= 0.9 (r^2 - r'^2) for all charts, then the smallest k: a doubling layer costs one weight a chart, a
composition about 8 D. Neither depends on the accuracy. (Chen et al. let Delta fall with epsilon, which costs more.)

Source: arXiv 1908.01842, section 4. Nothing is trained.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from construct.arrays import Float
from construct.atlas import Atlas
from construct.baselines.relu.circuit import Circuit, Layer, Subnetwork, after, before, copies, layer
from construct.baselines.relu.sawtooth import (
    MOST_COMPOSITIONS,
    product_layers,
    product_value,
    signed_square_value,
    signed_squares,
)
from construct.baselines.relu.taylor_method import TaylorMethod
from construct.baselines.relu.taylor_network import TaylorNetwork
from construct.baselines.relu.taylor_terms import TaylorTerms
from construct.manifolds import Manifold
from construct.paper.taylor import TaylorApproximator, paper_atlas, taylor_approximator
from construct.validation import invalid

SHARE = 0.9


@dataclass(frozen=True, eq=False, repr=False)
class ChenNetwork(TaylorNetwork):
    """The network on a manifold.

    Attributes:
        atlas: charts, radius r and scale;  inner_radius: r', which holds the support of rho_n.
        distance_compositions: m', 1..26;  doublings: k >= 0. They satisfy (*), or InputError is raised.
    """

    atlas: Atlas
    inner_radius: float
    distance_compositions: int
    doublings: int

    def __post_init__(self) -> None:
        room = self.atlas.radius**2 - self.inner_radius**2
        error = largest_distance_error(self.atlas, self.distance_compositions)
        ramp = self.atlas.radius**2 * 2.0**-self.doublings
        if not error + ramp <= room * (1 + 1e-12):
            sizes = f"error {error:.6g} of {self.distance_compositions} compositions, ramp {ramp:.6g}"
            raise invalid("doublings", f"error + ramp <= {room:.6g}, so that indicators are 1 on the cores", got=sizes)

    @property
    def ambient(self) -> int:
        return self.atlas.manifold.ambient

    @property
    def start(self) -> int:
        return 2

    @property
    def point_entries(self) -> int:
        return self.atlas.count * max(self.ambient, 4 * len(self.terms.exponents))

    # -- the network ------------------------------------------------------------------------------------------------

    def layers(self, *, filled: bool = True) -> list[Layer]:
        """Charts; terms beside indicators; their products and the sum."""
        circuit = Circuit(self.ambient)
        box = self.atlas.manifold.largest_coordinates.numpy()
        shifted = Subnetwork("x + box", [layer(sparse.eye_array(self.ambient), box)], nonnegative=True)
        circuit.run([self._coordinates(circuit), shifted])
        circuit.run([*self.terms.subnetworks(circuit, "z + 1", filled=filled), self._indicators(circuit, box)])
        products, bounds = self._products(circuit)
        circuit.run([products])
        return circuit.finish(bounds[None])

    def _coordinates(self, circuit: Circuit) -> Subnetwork:
        """clip(z) + 1 = relu(z + 1) - relu(z - 1) >= 0 of every chart and coordinate, held in one neuron each."""
        frames, scale = self.atlas.frames.numpy(), self.atlas.scale
        rows = frames.transpose(0, 2, 1).reshape(-1, self.ambient) / scale
        offset = -np.einsum("nji,nj->ni", frames, self.atlas.centres.numpy()).ravel() / scale
        count = len(rows)
        ends = layer(np.repeat(rows, 2, axis=0), np.repeat(offset, 2) + np.tile([1.0, -1.0], count))
        clip = layer(sparse.kron(sparse.eye_array(count), np.array([[1.0, -1.0]])))
        layers = [*before(layer(circuit.select("x")), [ends]), clip, layer(sparse.eye_array(count))]
        return Subnetwork("z + 1", layers, nonnegative=True)

    def _indicators(self, circuit: Circuit, box: Float) -> Subnetwork:
        """1_n of every chart, from x + box."""
        count, square = self.atlas.count, self.atlas.radius**2
        centres, bounds = self.atlas.centres.numpy(), coordinate_bounds(self.atlas)
        wide = layer(circuit.select("x + box", np.tile(np.eye(self.ambient), (count, 1))), (-box - centres).ravel())
        sums = sparse.kron(sparse.eye_array(count), np.full((1, self.ambient), -1.0 / square))
        ramp = after(signed_squares(self.distance_compositions, bounds.ravel()), layer(sums, np.ones(count)))
        eye = sparse.eye_array(count)
        doubled = [layer(2.0 * eye)] * self.doublings
        flipped = [layer(-1.0 * eye, np.ones(count))] * 2
        return Subnetwork("indicator", [*before(wide, ramp), *doubled, *flipped], nonnegative=True)

    def _products(self, circuit: Circuit) -> tuple[Subnetwork, Float]:
        """p(S_n/B_n, 1_n) of every chart, and B_n."""
        count, compositions = self.atlas.count, self.terms.compositions
        assert compositions is not None
        parts, bounds = self._bounds()
        inverse = sparse.diags_array(1.0 / bounds)
        sums = sum(
            (circuit.select(f"S{total}", inverse) for total in parts), sparse.csr_array((count, circuit.channels))
        )
        pairs = sparse.vstack([sums, circuit.select("indicator")]).tocsr()
        order = np.arange(2 * count).reshape(2, count).T.ravel()  # grouped by chart
        offset = np.concatenate([-sum(parts.values()) / bounds, np.zeros(count)])
        products = copies(product_layers(compositions, 1.0), count)
        return Subnetwork("products", before(layer(pairs[order], offset[order]), products)), bounds

    def _bounds(self) -> tuple[dict[int, Float], Float]:
        """B_(n,j) of every total degree, and their sums B_n, 1 where there is nothing."""
        parts = dict(self.terms.bounds())
        total = np.sum(list(parts.values()), axis=0) if parts else np.zeros(self.atlas.count)
        return parts, np.where(total > 0, total, 1.0)

    # -- fast evaluation --------------------------------------------------------------------------------------------

    def indicator(self, x: Tensor) -> Tensor:
        """1_n, as the network computes it: x (P, D) -> (P, n)."""
        atlas = self.atlas
        offset = x[:, None] - atlas.centres.to(x)
        bounds = torch.as_tensor(coordinate_bounds(atlas)).to(x)
        distance = signed_square_value(offset, self.distance_compositions, bounds).sum(-1)
        return (2.0**self.doublings * (1.0 - distance / atlas.radius**2).clamp_min(0.0)).clamp_max(1.0)

    def evaluate(self, x: Tensor) -> Tensor:
        atlas, terms = self.atlas, self.terms
        indicator = self.indicator(x)
        point, chart = (indicator > 0).nonzero(as_tuple=True)
        flat = atlas.frames.movedim(1, 0).reshape(self.ambient, -1).to(x)
        offset = torch.einsum("nji,nj->ni", atlas.frames, atlas.centres).to(x)
        z = ((x @ flat).reshape(len(x), atlas.count, -1) - offset)[point, chart] / atlas.scale
        local = terms(chart, terms.slope * (z.clamp(-1.0, 1.0) + 1.0))
        bounds = torch.as_tensor(self._bounds()[1]).to(x)[chart]
        factor, share = indicator[point, chart], local / bounds
        exact = terms.compositions is None
        cut = share * factor if exact else product_value(share, factor, terms.compositions or 0, 1.0)
        return x.new_zeros(len(x)).index_add_(0, point, bounds * cut)

    def __repr__(self) -> str:
        return (
            f"ChenNetwork({self.terms!r}, {self.atlas!r}, {self.distance_compositions} compositions in distances, "
            f"{self.doublings} doublings)"
        )


def coordinate_bounds(atlas: Atlas) -> Float:
    """b_nj >= |x_j - c_nj| on M, from the ends of M's box, with room for rounding and never 0; (n, D)."""
    (lower, upper), centres = atlas.manifold.box, atlas.centres
    largest = torch.maximum(upper - centres, centres - lower)
    bounds: Float = largest.clamp_min(1e-3 * atlas.radius).numpy() * (1.0 + 1e-9)
    return bounds


def largest_distance_error(atlas: Atlas, compositions: int) -> float:
    """max_n E_n, the largest overestimate of a squared distance."""
    return float((coordinate_bounds(atlas) ** 2).sum(axis=1).max()) * 4.0**-compositions / 4.0


def ramp_sizes(atlas: Atlas, inner_radius: float) -> tuple[int, int]:
    """m' and k that satisfy (*).

    Raises:
        InputError: inner_radius is not between 0 and the radius, or so close to it that 26 compositions do not do.
    """
    room = atlas.radius**2 - inner_radius**2
    if not 0.0 < inner_radius < atlas.radius:
        raise invalid("inner_radius", f"a number between 0 and radius = {atlas.radius:.6g}", inner_radius)
    for compositions in range(1, MOST_COMPOSITIONS + 1):
        error = largest_distance_error(atlas, compositions)
        if error <= SHARE * room:
            return compositions, max(0, math.ceil(math.log2(atlas.radius**2 / (room - error)) - 1e-12))
    far = f"so far below the radius {atlas.radius:.6g} of the charts that {MOST_COMPOSITIONS} compositions do"
    raise invalid("inner_radius", f"a number {far}", inner_radius)


def chen_network(approximator: TaylorApproximator, compositions: int | None) -> ChenNetwork:
    """The network that glues the Taylor polynomials of an approximator with trapezoids.

    compositions: m of the products, 1..26; None for exact products (see `TaylorTerms`).

    Raises:
        InputError: compositions out of range, or an approximator with hats.
    """
    if approximator.bump != "trapezoid":
        raise invalid("approximator", "bump = 'trapezoid'", approximator.bump)
    atlas, cells = approximator.atlas, approximator.cells
    terms = TaylorTerms(
        count=atlas.count,
        cells=2 * cells,
        compositions=compositions,
        charts=approximator.charts,
        nodes=approximator.nodes + cells,
        coefficients=approximator.coefficients,
        exponents=approximator.exponents,
        slope=float(cells),
        shift=0.0,
    )
    return ChenNetwork(terms, atlas, approximator.inner_radius, *ramp_sizes(atlas, approximator.inner_radius))


@lru_cache(maxsize=8)
def _atlas(manifold: Manifold) -> Atlas:
    return paper_atlas(manifold)


class Chen(TaylorMethod):
    """Chen et al. 2019 as a `Method`, on every manifold that `paper_atlas` covers."""

    name = "chen"
    description = "charts by approximate distances, Taylor terms by sawtooth products (Chen, Jiang, Liao, Zhao 2019)"

    def design(
        self, target: Callable[..., Any], manifold: Manifold, cells: int, degree: int, compositions: int | None
    ) -> ChenNetwork:
        approximator = taylor_approximator(target, _atlas(manifold), cells=cells, degree=degree)
        return chen_network(approximator, compositions)

    def nodes(self, manifold: Manifold, cells: int) -> int:
        return int(_atlas(manifold).count * (2 * cells + 1) ** manifold.dim)
