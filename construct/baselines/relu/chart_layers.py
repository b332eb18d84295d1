"""The layers of a `ChartDesign`: every quantity as neurons >= 0. A single chart needs no cut-off."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import sparse

from construct.arrays import Float
from construct.baselines.base import BaselineCounts
from construct.baselines.relu.chart_design import ChartDesign
from construct.baselines.relu.circuit import Layer
from construct.baselines.relu.schedule import Form, Schedule, stacked
from construct.baselines.relu.square_levels import coordinates, levels


def weighted_squares(net: Schedule, v: Form, compositions: int, weights: Float, constant: Form | None = None) -> Form:
    """`constant + weights @ f_m(|2 v - 1|)` for v (J,) in [0, 1]: f_m the interpolant of the square at j 2^-m.

    With the teeth `g_1 = 2 v - 4 relu(v - 1/2)`, `g_(k+1) = 2 g_k - 4 relu(g_k - 1/2)`,

        f_m(|2 v - 1|) = 1 - sum_(k <= m + 1) g_k / 4^(k-1)

    Neurons of step k: `relu(g_k), relu(g_k - 1/2)` and one accumulator per output. It reads g_k one layer late, as one
    neuron instead of two: 6 numbers a layer and square and one a layer and output, where `sawtooth.square_layers` has 8
    for each square. v outside [0, 1] counts
    as its nearest end. Every partial sum has to be >= 0, which is up to the constant.
    """
    m, width = compositions, v.rows
    weight = sparse.csr_array(weights, dtype=np.float64)
    total = np.asarray(weight @ np.ones(width))
    level, half = _teeth(net, v, v.latest + 1)
    sums = Form({}, total, 0) if constant is None else net.relu(constant + Form({}, total, 0), level.latest)
    for k in range(1, m + 1):
        tooth = level.scaled(2.0) + half.scaled(-4.0)
        above, half = _teeth(net, tooth, half.latest + 1)
        if k > 1:
            sums = net.relu(sums + level.apply(-weight / 4.0 ** (k - 2)), half.latest)
        level = above
    sums = sums + level.apply(-weight / 4.0 ** (m - 1))
    return sums + (level.scaled(2.0) + half.scaled(-4.0)).apply(-weight / 4.0**m)


def _teeth(net: Schedule, form: Form, layer: int) -> tuple[Form, Form]:
    return net.relu(form, layer), net.relu(form.scaled(1.0, -0.5), layer)


def narrowed(net: Schedule, v: Form, alive: int) -> Form:
    """v as neurons first, where its readers (two per form) and `alive` carried neurons make that the cheaper way."""
    return net.relu(v) if v.reads > 3 * v.rows + alive else v


class ChartLayers:
    """Builds the network stage by stage.

    compositions: of the stages of squares, one each;  distance: of the squared distance.
    """

    def __init__(self, design: ChartDesign, compositions: Sequence[int], distance: int) -> None:
        self.design, self.compositions, self.distance = design, tuple(compositions), distance
        self.net = Schedule(design.ambient)
        self.eye = sparse.eye_array(design.classes, format="csr")
        kinds = design.kinds
        self.member = sparse.csr_array(  # (C, n)
            (np.ones(design.charts), (kinds, np.arange(design.charts))), shape=(design.classes, design.charts)
        )

    def layers(self) -> list[Layer]:
        """All affine layers."""
        return self.net.finish(self._output())

    def counts(self) -> BaselineCounts:
        """Their sizes, without them."""
        return self.net.counts(self._output())

    def _output(self) -> Form:
        design = self.design
        self.coordinates = self._coordinates()
        if design.charts > 1:
            self.squared = self._squared_distance()
        if design.direct:
            y = self.coordinates.apply(np.diag(2 * design.box), -design.box)
            pieces = self._open(y.apply(design.affine[:, 1:], design.affine[:, 0]))
        else:
            features = self._features(self._chart_coordinates())
            pieces = self._resolved(features) if design.squares else self._open(self._read(features, design.affine))
        if design.charts == 1:
            return pieces
        return self._maximum(pieces).scaled(1.0, -design.shift)

    # -- charts -----------------------------------------------------------------------------------

    def _coordinates(self) -> Form:
        """(1 + y_j/box_j)/2, in [0, 1] on M."""
        design = self.design
        x = self.net.input()
        y = x if design.hull is None else x.apply(design.hull.T)
        return self.net.relu(y.apply(np.diag(0.5 / design.box), 0.5))

    def _squared_distance(self) -> Form:
        """d~2 (n,) as forms of y and one neuron, sum_j y_j^2."""
        design, box = self.design, self.design.box
        total = self.net.relu(weighted_squares(self.net, self.coordinates, self.distance, (box**2)[None]))
        same = total.apply(np.ones((design.charts, 1)), (design.centres**2).sum(axis=1))
        # -2 <c, y>, y = box (2 v - 1)
        linear = self.coordinates.apply(-4 * design.centres * box, 2 * design.centres @ box)
        return same + linear

    def _gate(self, layer: int) -> Form:
        """relu(kappa (d~2 - r^2)) in a given layer, (n,)."""
        design = self.design
        return self.net.relu(self.squared.scaled(design.kappa, -design.kappa * design.radius**2), layer)

    def _cut_off(self, layer: int) -> Form:
        """g_n, 0 in the core and >= 1 outside U_n, (n,)."""
        design = self.design
        inner = design.core**2 + design.distance_error(self.distance)
        slope = 1.0 / (design.radius**2 - inner)
        return self.net.relu(self.squared.scaled(slope, -slope * inner), layer)

    def _chart_coordinates(self) -> Form:
        """t = (1 + z)/2 clipped to [0, 1], (d C,), coordinate by coordinate: `relu(1 - relu(1 - t) - gate)`."""
        design = self.design
        n, d = design.charts, design.dim
        frames = design.frames.transpose(2, 0, 1).reshape(d * n, -1)  # rows (i, n)
        shift = np.einsum("nkd,nk->dn", design.frames, design.centres).ravel()
        z = self.coordinates.apply(2 * frames * design.box, -frames @ design.box - shift)
        layer = self.squared.latest + 1 if design.shared else None
        clipped = self.net.relu(z.scaled(-0.5, 0.5), layer).scaled(-1.0, 1.0)
        if not design.shared:
            return self.net.relu(clipped)
        gate = self._gate(clipped.latest).apply(np.tile(np.eye(n), (d, 1)))
        chosen = self.net.relu(clipped + gate.scaled(-1.0))
        return self.net.relu(chosen.apply(sparse.kron(sparse.eye_array(d), self.member)))

    # -- polynomials ------------------------------------------------------------------------------

    def _features(self, t: Form) -> Form:
        """All features (F C,), feature by feature: z, then squares of levels, or hinges of splines."""
        design = self.design
        z = t.scaled(2.0, -1.0)
        if len(design.knots):
            ones = np.ones((len(design.knots), 1))
            hinges = t.apply(sparse.kron(ones, self.eye), -np.repeat(design.knots, design.classes))
            return stacked([z, self.net.relu(hinges)])
        found = z
        basis = coordinates(design.dim)
        for number, level in enumerate(levels(design.dim, design.levels)):
            forms = level.forms @ basis
            v = self._mixed(found, forms / 2).scaled(1.0, 0.5)
            v = narrowed(self.net, v, found.rows + len(design.box) + 1)
            new = weighted_squares(self.net, v, self.compositions[number], np.eye(v.rows))
            found = stacked([found, self.net.relu(new)])
            basis = level.basis
        return found

    def _mixed(self, features: Form, table: Float) -> Form:
        """The same combinations (J, 1 + F) of 1 and the features in every class: (J C,)."""
        return features.apply(sparse.kron(table[:, 1:], self.eye), np.repeat(table[:, 0], self.design.classes))

    def _read(self, features: Form, table: Float) -> Form:
        """Combinations (n, 1 + F) of 1 and the features, for every chart those of its class: (n,)."""
        design = self.design
        n, count = table.shape[0], table.shape[1] - 1
        column = np.arange(count)[None] * design.classes + design.kinds[:, None]
        row = np.broadcast_to(np.arange(n)[:, None], column.shape)
        matrix = sparse.csr_array(
            (table[:, 1:].ravel(), (row.ravel(), column.ravel())), shape=(n, count * design.classes)
        )
        return features.apply(matrix, table[:, 0])

    def _resolved(self, features: Form) -> Form:
        """relu(l + sum_i sign_i q_i^2 + h - ..) for every class, (C,)."""
        design = self.design
        r, classes = design.squares, design.classes
        owner = np.tile(np.arange(classes), r)  # of the squares, i by i
        rest = self._read(features, design.affine)
        v = [
            self._read(features, design.forms[:, i]).apply(np.diag(0.5 / design.bounds[design.kinds, i]), 0.5)
            for i in range(r)
        ]
        weights = sparse.csr_array(
            ((design.signs * design.bounds**2).T.ravel(), (owner, np.arange(r * classes))), shape=(classes, r * classes)
        )
        negative = np.where(design.signs < 0, design.bounds**2, 0.0).sum(axis=1)
        if design.shared:
            layer = features.latest + 1
            gate = self._gate(layer - 1 if layer - 1 > self.squared.latest else layer)
            select = self.member
            rest = self.net.relu(rest.scaled(1.0, design.lift) + gate.scaled(-design.top))
            rest = rest.apply(select, -design.lift)
            v = [self.net.relu(one + gate.scaled(-design.spread)).apply(select) for one in v]
        forms = narrowed(self.net, stacked(v), features.rows + len(design.box) + 1)
        constant = rest.scaled(1.0, design.shift + negative)
        value = weighted_squares(self.net, forms, self.compositions[-1], weights, constant).scaled(1.0, -negative)
        if design.charts == 1:
            return value.scaled(1.0, -design.shift)
        if not design.shared:
            cut = self._cut_off(max(value.latest, self.squared.latest + 1))
            return self.net.relu(value + cut.scaled(-design.ceiling))
        inside = self.net.relu(self._cut_off(value.latest - 1).scaled(-1.0, 1.0), value.latest)
        return self.net.relu(value + inside.apply(design.ceiling * self.member, -design.ceiling))

    def _open(self, pieces: Form) -> Form:
        """Sums over the classes of relu(P_n + h - ceiling g_n), (C,)."""
        design = self.design
        if design.charts == 1:
            return pieces
        layer = max(pieces.latest, self.squared.latest + 1)
        cut = self._cut_off(layer).scaled(-design.ceiling)
        return self.net.relu(pieces.scaled(1.0, design.shift) + cut).apply(self.member)

    def _maximum(self, values: Form) -> Form:
        """The largest of several values >= 0, in pairs: `max(a, b) = b + relu(a - b)`."""
        while values.rows > 1:
            pairs = values.rows // 2
            eye = sparse.eye_array(values.rows, format="csr")
            first, second = eye[0 : 2 * pairs : 2], eye[1 : 2 * pairs : 2]
            # of an odd number the last one waits
            kept = sparse.vstack([second, eye[2 * pairs :]], format="csr")
            raised = self.net.relu(values.apply(first - second))
            others = self.net.relu(values.apply(kept))
            values = others + raised.apply(sparse.eye_array(others.rows, pairs))
        return values
