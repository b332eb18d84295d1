"""One function on all of M by squares of polynomials in the coordinates of the hull, as a ReLU network.

    levels    s = f_m((1, phi) form), features phi <- (phi, s)                  `hull_levels`
    value     (1, phi) rest + sum_i weight_i f_m((1, phi) form_i)               `hull_fit`

A square saturates where its form leaves [-1, 1], which it does not do on M.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from construct.arrays import Float
from construct.baselines.base import BaselineCounts
from construct.baselines.relu.chart_layers import narrowed, weighted_squares
from construct.baselines.relu.circuit import Layer
from construct.baselines.relu.compositions import Compositions
from construct.baselines.relu.network import ReluNetwork
from construct.baselines.relu.ridge_maps import saturated_square
from construct.baselines.relu.sawtooth import per_stage
from construct.baselines.relu.schedule import Form, Schedule, stacked
from construct.progress import tick
from construct.ridge.coordinates import Coordinates
from construct.validation import invalid, shaped

CHUNK_ENTRIES = 2**20
ROOM = 1.1  # of the largest rest on the points of the fit: partial sums stay >= 0


@dataclass(frozen=True, eq=False)
class HullDesign:
    """What the network computes.

    Attributes:
        ambient: D;  coordinates: y, |y| <= 1 on M, the first features.
        levels: forms (J_l, 1 + F_l) over 1 and the features so far.
        rest: (1 + F,);  forms: (r, 1 + F), |form| <= 1 on M;  weights: (r,), signed.
        largest: of |rest| on M.
    """

    ambient: int
    coordinates: Coordinates
    levels: tuple[Float, ...]
    rest: Float
    forms: Float
    weights: Float
    largest: float

    def __post_init__(self) -> None:
        features = self.coordinates.count
        for forms in self.levels:
            if forms.ndim != 2 or forms.shape[1] != 1 + features:
                raise invalid("levels", f"forms (J, {1 + features})", forms)
            features += len(forms)
        for name, shape in (
            ("rest", (1 + features,)), ("forms", (len(self.weights), 1 + features)), ("weights", (len(self.weights),))
        ):  # fmt: skip
            array = getattr(self, name)
            if array.shape != shape or not np.isfinite(array).all():
                raise invalid(name, f"a finite array of shape {shape}", array)

    @property
    def stages(self) -> int:
        """Stages of squares."""
        return len(self.levels) + (len(self.weights) > 0)

    @property
    def squares(self) -> int:
        """All squares."""
        return sum(map(len, self.levels)) + len(self.weights)

    def spread(self, x: Tensor, slack: float) -> HullDesign:
        """The same function with every form scaled to [-1, 1] on points x (P, D), with slack: no square saturates."""
        one = np.hstack([np.ones((len(x), 1)), self.coordinates.of(x).numpy()])
        rest, forms, levels = self.rest, self.forms, list(self.levels)
        for number, level in enumerate(levels):
            values = one @ level.T
            size, own = _sizes(values, slack), slice(one.shape[1], one.shape[1] + len(level))
            levels[number] = level / size[:, None]
            for later, other in enumerate(levels[number + 1 :], number + 1):
                levels[later] = _scaled(other, own, size**2)
            rest, forms = _scaled(rest[None], own, size**2)[0], _scaled(forms, own, size**2)
            one = np.hstack([one, (values / size) ** 2])
        size = _sizes(one @ forms.T, slack)
        largest = float(np.abs(one @ rest).max())
        return HullDesign(
            self.ambient, self.coordinates, tuple(levels), rest, forms / size[:, None], self.weights * size**2, largest
        )


def _sizes(values: Float, slack: float) -> Float:
    """Largest absolute values of columns, with slack."""
    return np.asarray(np.maximum(np.abs(values).max(axis=0), np.finfo(np.float64).tiny) * (1 + slack))


def _scaled(rows: Float, columns: slice, factors: Float) -> Float:
    """Rows with some columns multiplied."""
    found = rows.copy()
    found[:, columns] *= factors
    return found


@dataclass(frozen=True, eq=False, repr=False)
class HullNetwork:
    """The network; call it on x (P, D) for its values (P,), elementwise.

    Attributes:
        design: the function.
        compositions: m of every stage of squares, or one for all; 1..26 each.
    """

    design: HullDesign
    compositions: int | Sequence[int]

    @cached_property
    def stages(self) -> Compositions:
        """m of every stage."""
        return per_stage(self.compositions, self.design.stages)

    @cached_property
    def counts(self) -> BaselineCounts:
        """Sizes of the network, without its layers."""
        net = Schedule(self.design.ambient)
        return net.counts(self._output(net))

    @cached_property
    def layers(self) -> list[Layer]:
        """The affine layers."""
        net = Schedule(self.design.ambient)
        return net.finish(self._output(net))

    def network(self, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu") -> ReluNetwork:
        """The torch module."""
        return ReluNetwork(self.layers, dtype=dtype, device=device)

    def _output(self, net: Schedule) -> Form:
        design, y = self.design, self.design.coordinates
        place = (np.arange(y.count), y.chosen)
        rows = sparse.csr_array((y.scale / 2, place), shape=(y.count, design.ambient))
        features = net.relu(net.input().apply(rows, (1 - y.scale * y.centre) / 2)).scaled(2.0, -1.0)
        for forms, m in zip(design.levels, self.stages, strict=False):
            v = _halved(net, features, forms)
            new = net.relu(weighted_squares(net, v, m, sparse.eye_array(len(forms))))
            features = stacked([features, new])
        rest = features.apply(design.rest[None, 1:], design.rest[:1])
        if not len(design.weights):
            return rest
        lift = ROOM * design.largest + float(np.maximum(-design.weights, 0.0).sum())
        v = _halved(net, features, design.forms)
        found = weighted_squares(net, v, self.stages[-1], design.weights[None], rest.scaled(1.0, lift))
        return found.scaled(1.0, -lift)

    def __call__(self, x: Tensor) -> Tensor:
        """Values at x (P, D) -> (P,): what the module computes on M, up to rounding.

        Raises:
            InputError: another shape.
        """
        if shaped(x, "x", self.design.ambient).ndim != 2:
            raise invalid("x", f"a tensor of shape (P, {self.design.ambient})", x)
        parts = [x.new_zeros(0)]
        for part in x.split(max(64, CHUNK_ENTRIES // (1 + len(self.design.rest)))):
            tick()
            parts.append(self._evaluate(part))
        return torch.cat(parts)

    def _evaluate(self, x: Tensor) -> Tensor:
        design = self.design
        found = torch.cat([torch.ones_like(x[:, :1]), design.coordinates.of(x).clamp_min(-1.0)], dim=1)
        for forms, m in zip(design.levels, self.stages, strict=False):
            found = torch.cat([found, saturated_square(found @ torch.from_numpy(forms).to(x).T, m)], dim=1)
        value = found @ torch.from_numpy(design.rest).to(x)
        if len(design.weights):
            squares = saturated_square(found @ torch.from_numpy(design.forms).to(x).T, self.stages[-1])
            value = value + squares @ torch.from_numpy(design.weights).to(x)
        return value

    def __repr__(self) -> str:
        levels = ", ".join(str(len(forms)) for forms in self.design.levels)
        return f"HullNetwork: squares ({levels}) and {len(self.design.weights)}, compositions {self.stages}"


def _halved(net: Schedule, features: Form, forms: Float) -> Form:
    """(1 + form)/2, as neurons where that is the cheaper way."""
    v = features.apply(forms[:, 1:] / 2, (1 + forms[:, 0]) / 2)
    return narrowed(net, v, features.rows)
