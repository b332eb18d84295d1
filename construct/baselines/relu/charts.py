"""The ReLU network on charts: built layer by layer, and the same function evaluated elementwise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from construct.arrays import Float
from construct.baselines.base import BaselineCounts
from construct.baselines.relu.chart_design import ChartDesign, design_of
from construct.baselines.relu.chart_layers import ChartLayers
from construct.baselines.relu.circuit import Layer
from construct.baselines.relu.network import ReluNetwork
from construct.baselines.relu.sawtooth import per_stage, square_value
from construct.baselines.relu.square_levels import coordinates, levels
from construct.local import PiecewiseApproximator
from construct.validation import invalid, shaped

CHUNK_ENTRIES = 2**22


@dataclass(frozen=True, eq=False, repr=False)
class ChartsNetwork:
    """`max over classes of the value of the chart that holds x`, with sawtooth squares; see `chart_design`.

    Attributes:
        design: charts, classes and polynomials.
        compositions: of every stage of squares, the lowest level first; 1..26 each.
        distance_compositions: of the squares in the distance.
    """

    design: ChartDesign
    compositions: tuple[int, ...]
    distance_compositions: int

    @classmethod
    def of(
        cls,
        approximator: PiecewiseApproximator,
        compositions: int | Sequence[int],
        distance_compositions: int | None = None,
        *,
        shared: bool = True,
        squares: bool = True,
        seed: int = 0,
    ) -> ChartsNetwork:
        """The network for a blended approximator; `shared`, `squares` and `seed` as in `design_of`."""
        return networked(design_of(approximator, shared=shared, squares=squares, seed=seed), compositions,
                         distance_compositions)  # fmt: skip

    @cached_property
    def layers(self) -> list[Layer]:
        """The affine layers of the network."""
        return ChartLayers(self.design, self.compositions, self.distance_compositions).layers()

    @cached_property
    def counts(self) -> BaselineCounts:
        """Sizes of the network."""
        return ChartLayers(self.design, self.compositions, self.distance_compositions).counts()

    def network(self, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu") -> ReluNetwork:
        """The torch module."""
        return ReluNetwork(self.layers, dtype=dtype, device=device)

    def __call__(self, x: Tensor) -> Tensor:
        """Values at x (P, D) -> (P,), elementwise: what the network computes, up to rounding."""
        if shaped(x, "x", self.design.ambient).ndim != 2:
            raise invalid("x", f"a tensor of shape (P, {self.design.ambient})", x)
        design = self.design
        width = design.charts * (design.dim + 4 + design.squares) + design.classes * design.affine.shape[1]
        parts = [self._evaluate(part) for part in x.split(max(64, CHUNK_ENTRIES // width))]
        return torch.cat(parts) if parts else x.new_zeros(0)

    def _evaluate(self, x: Tensor) -> Tensor:
        design = self.design

        def tensor(array: Float) -> Tensor:
            return torch.as_tensor(array, dtype=x.dtype, device=x.device)

        box, kinds = tensor(design.box), torch.as_tensor(design.kinds, device=x.device)
        y = x if design.hull is None else x @ tensor(design.hull)
        y = box * (y / box).clamp_min(-1.0)
        gate = cut = None
        if design.charts > 1:
            centres = tensor(design.centres)
            total = _square(y / box, self.distance_compositions) @ box**2
            distance = total[:, None] - 2 * y @ centres.T + (centres**2).sum(dim=1)
            inner = design.core**2 + design.distance_error(self.distance_compositions)
            cut = ((distance - inner) / (design.radius**2 - inner)).clamp_min(0.0)
            gate = (design.kappa * (distance - design.radius**2)).clamp_min(0.0) if design.shared else None
        affine = tensor(design.affine)
        if design.direct:
            return self._opened(y @ affine[:, 1:].T + affine[:, 0], cut, kinds)
        features = self._features(self._coordinates(y, gate, kinds))  # (P, 1 + F, C)
        table = features[:, :, kinds]
        rest = torch.einsum("pfn,nf->pn", table, affine)
        if not design.squares:
            return self._opened(rest, cut, kinds)
        bounds = tensor(design.bounds)
        v = 0.5 + torch.einsum("pfn,nrf->pnr", table, tensor(design.forms)) / (2 * bounds[kinds])
        if gate is not None:
            rest = self._summed((rest + design.lift - design.top * gate).clamp_min(0.0), kinds) - design.lift
            v = self._summed((v - design.spread * gate[..., None]).clamp_min(0.0), kinds)
        value = rest + (tensor(design.signs) * bounds**2 * _square(2 * v - 1, self.compositions[-1])).sum(dim=2)
        if cut is None:
            return value[:, 0]
        inside = self._summed((1 - cut).clamp_min(0.0), kinds) if gate is not None else 1 - cut
        return (value + design.shift - design.ceiling * (1 - inside)).clamp_min(0.0).amax(dim=1) - design.shift

    def _opened(self, pieces: Tensor, cut: Tensor | None, kinds: Tensor) -> Tensor:
        """The largest over classes of the sum of relu(P_n + h - ceiling g_n), minus h: (P, n) -> (P,)."""
        design = self.design
        if cut is None:
            return pieces[:, 0]
        values = (pieces + design.shift - design.ceiling * cut).clamp_min(0.0)
        return self._summed(values, kinds).amax(dim=1) - design.shift

    def _coordinates(self, y: Tensor, gate: Tensor | None, kinds: Tensor) -> Tensor:
        """z (P, d, C), clipped."""
        design = self.design
        frames, centres = torch.as_tensor(design.frames).to(y), torch.as_tensor(design.centres).to(y)
        z = torch.einsum("pk,nkd->pdn", y, frames) - torch.einsum("nk,nkd->dn", centres, frames)
        low = (0.5 - z / 2).clamp_min(0.0)
        if gate is None:
            return 2 * (1 - low).clamp_min(0.0) - 1
        return 2 * self._summed((1 - low - gate[:, None]).clamp_min(0.0).movedim(2, 1), kinds).movedim(1, 2) - 1

    def _features(self, z: Tensor) -> Tensor:
        """1 and the features (P, 1 + F, C)."""
        design = self.design
        one = torch.ones_like(z[:, :1])
        if len(design.knots):
            knots = torch.as_tensor(design.knots).to(z)[None, :, None]
            return torch.cat((one, z, ((z + 1) / 2 - knots).clamp_min(0.0)), 1)
        found = torch.cat((one, z), 1)
        basis = coordinates(design.dim)
        for number, level in enumerate(levels(design.dim, design.levels)):
            forms = torch.as_tensor(level.forms @ basis).to(z)
            q = torch.einsum("jf,pfc->pjc", forms, found)
            found = torch.cat((found, _square(q, self.compositions[number])), 1)
            basis = level.basis
        return found

    def _summed(self, values: Tensor, kinds: Tensor) -> Tensor:
        """Sums over the charts of a class: (P, n, ..) -> (P, C, ..)."""
        out = values.new_zeros(len(values), self.design.classes, *values.shape[2:])
        return out.index_add_(1, kinds, values)

    def __repr__(self) -> str:
        design = self.design
        return (
            f"ChartsNetwork: {design.charts} charts in {design.classes} classes, {design.levels} levels and "
            f"{design.squares} squares, compositions {self.compositions}, distance {self.distance_compositions}"
        )


def networked(
    design: ChartDesign, compositions: int | Sequence[int], distance_compositions: int | None = None
) -> ChartsNetwork:
    """The network of a design; one number of compositions for all stages, or one each.

    Raises:
        InputError: another number of compositions than stages, or one outside 1..26.
    """
    stages = per_stage(compositions, design.stages)
    return ChartsNetwork(design, stages, design.distance_compositions_checked(distance_compositions))


def _square(u: Tensor, compositions: int) -> Tensor:
    """f_m(|u|), |u| clipped to 1."""
    return square_value(u.abs().clamp_max(1.0), compositions)
