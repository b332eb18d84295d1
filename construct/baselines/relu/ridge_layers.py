"""The layers of a `RidgeReluNetwork`: every T of every direction as a neuron `v = relu((1 + T)/2)`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import sparse

from construct.arrays import Float
from construct.baselines.base import BaselineCounts
from construct.baselines.relu.chart_layers import weighted_squares
from construct.baselines.relu.circuit import Layer
from construct.baselines.relu.ridge_maps import half_error
from construct.baselines.relu.schedule import Form, Schedule, stacked

LIFT = 2.0
"""Keeps partial sums >= 0: v <= 2, since 2 (f - f) - a <= 3 for a >= -1."""


class RidgeLayers:
    """Builds `c_0 + sum_t c_t (1 + T~_p(rows_t x + shifts_t))`.

    rows: (C, D);  shifts: (C,);  coefficients: (C,);  constant: c_0;  maps: 2 and 3 in the order in which they are
    applied, at least one;  compositions: of the stages of squares, one for a 2, two for a 3.
    """

    def __init__(
        self,
        rows: sparse.csr_array,
        shifts: Float,
        coefficients: Float,
        constant: float,
        maps: Sequence[int],
        compositions: Sequence[int],
    ) -> None:
        self.rows, self.shifts, self.coefficients, self.constant = rows, shifts, coefficients, constant
        self.maps, self.compositions = tuple(maps), tuple(compositions)

    def counts(self) -> BaselineCounts:
        """Sizes of the network, without its layers."""
        net = Schedule(self.rows.shape[1])
        return net.counts(self._output(net))

    def layers(self) -> list[Layer]:
        """The affine layers."""
        net = Schedule(self.rows.shape[1])
        return net.finish(self._output(net))

    def _output(self, net: Schedule) -> Form:
        v = net.relu(net.input().apply(self.rows / 2, (1 + self.shifts) / 2))
        coefficients = sparse.csr_array(self.coefficients[None])
        return chained(net, v, self.maps, self.compositions, coefficients, np.array([self.constant]))


def chained(
    net: Schedule, v: Form, maps: Sequence[int], compositions: Sequence[int], c: sparse.csr_array, constant: Float
) -> Form:
    """`constant + c @ (1 + T~_p(2 v - 1))` of neurons v (N,) in [0, 1], c (R, N), constant (R,)."""
    stages = iter(compositions)
    eye = sparse.eye_array(v.rows, format="csr")
    for m in maps[:-1]:
        first = next(stages)
        if m == 2:
            v = net.relu(weighted_squares(net, v, first, eye).scaled(1.0, -half_error(first)))
            continue
        forms, minus = _factors(net, v, first)
        # (1 + T3)/2 = 1 + f - f - v
        weights = sparse.hstack([eye, -eye])
        found = weighted_squares(net, forms, next(stages), weights, minus.scaled(1.0, 1.0 + LIFT))
        v = net.relu(found.scaled(1.0, -LIFT))
    total, size = np.asarray(c.sum(axis=1)), np.asarray(abs(c).sum(axis=1))
    first = next(stages)
    if maps[-1] == 2:  # c (1 + T2) = 2 c (f - h)
        lift = -2.0 * np.asarray(c.minimum(0).sum(axis=1))
        found = weighted_squares(net, v, first, 2 * c, Form({}, lift, 0))
        return found.scaled(1.0, constant - lift - 2 * half_error(first) * total)
    forms, minus = _factors(net, v, first)  # c (1 + T3) = 2 c (f - f + 1 - v)
    lift = 2.0 * (1.0 + LIFT) * size
    found = weighted_squares(net, forms, next(stages), 2 * sparse.hstack([c, -c]), minus.apply(2 * c, lift))
    return found.scaled(1.0, constant + 2 * total - lift)


def _factors(net: Schedule, v: Form, compositions: int) -> tuple[Form, Form]:
    """Both squares of a product a T2(a), as forms in [0, 1], and -v."""
    eye = sparse.eye_array(v.rows, format="csr")
    g = net.relu(weighted_squares(net, v, compositions, eye).scaled(1.0, -half_error(compositions)))
    forms = stacked([(v + g).scaled(0.5), (v + g.scaled(-1.0)).scaled(0.5, 0.5)])
    return forms, v.scaled(-1.0)
