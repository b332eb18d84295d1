"""The layers of a `TelescopingNetwork`: every T and A as a neuron `v = relu((1 + u)/2)`, sums lifted to be >= 0."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import sparse

from construct.arrays import Float
from construct.baselines.base import BaselineCounts
from construct.baselines.relu.chart_layers import weighted_squares
from construct.baselines.relu.circuit import Layer
from construct.baselines.relu.schedule import Form, Schedule, stacked
from construct.baselines.relu.telescoping_terms import Index, Terms, level_of

LARGEST_T = 5.0  # of a computed T_k: products lie in [-1, 2], so 2 x y - T_1 is in [-3, 5] and cut at -1


class TelescopingLayers:
    """Builds the network. stages: compositions of every stage of squares;  distance: those of the distance."""

    def __init__(self, terms: Terms, stages: Sequence[int], distance: int) -> None:
        self.terms, self.stages, self.distance = terms, tuple(stages), distance

    def counts(self) -> BaselineCounts:
        """Sizes of the network, without its layers."""
        net = Schedule(self.terms.approximator.atlas.manifold.ambient)
        return net.counts(self._output(net))

    def layers(self) -> list[Layer]:
        """The affine layers."""
        net = Schedule(self.terms.approximator.atlas.manifold.ambient)
        return net.finish(self._output(net))

    def _output(self, net: Schedule) -> Form:
        atlas, box, n = self.terms.approximator.atlas, self.terms.box, self.terms.approximator.atlas.count
        x, manifold = net.input(), atlas.manifold
        y = x.apply(manifold.frame.numpy().T) if manifold.ambient != manifold.canonical else x
        v = net.relu(y.apply(np.diag(0.5 / box), 0.5))  # (1 + y_j/box_j)/2
        polynomial = self._polynomial(net, self._chebyshev(net, self._clipped(net, v)))
        if n == 1:
            return polynomial
        bounds = self.terms.bounds[()]
        held = net.relu(polynomial.apply(np.diag(0.5 / bounds), 0.5))
        rho = self._partition(net, v, held.latest)
        quarter = held.scaled(0.5, 0.25)
        forms = stacked([quarter + rho.scaled(0.25), quarter + rho.scaled(-0.25)])
        total = float(bounds.sum())  # keeps the sum >= 0
        weights = np.concatenate([bounds, -bounds])[None]
        return weighted_squares(net, forms, self.stages[-1], weights, _offset(np.array([total]))).scaled(1.0, -total)

    def _partition(self, net: Schedule, v: Form, end: int) -> Form:
        """rho (n,), as neurons; late, where carrying y and q is cheaper than carrying rho."""
        atlas, box, (slope, outer) = self.terms.approximator.atlas, self.terms.box, self.terms.ramp(self.distance)
        n, centres = atlas.count, atlas.span_centres.numpy()
        q = net.relu(weighted_squares(net, v, self.distance, (box**2)[None]))
        linear = v.apply(-4 * centres * box, (2 * centres @ box) + (centres**2).sum(axis=1))  # y = box (2 v - 1)
        far = q.apply(np.ones((n, 1))) + linear
        layer = max(q.latest + 1, end - 2) if n > len(box) + 1 else None
        w = net.relu(far.scaled(-slope, slope * outer), layer)
        first, second = atlas.neighbours.numpy().T
        before = w.apply(sparse.coo_array((-np.ones(len(first)), (second, first)), shape=(n, n)), 1.0)
        return net.relu(net.relu(before) + net.relu(before + w.scaled(-1.0)).scaled(-1.0))

    def _clipped(self, net: Schedule, v: Form) -> Form:
        """(1 + z)/2 clipped to [0, 1], rows (coordinate, chart)."""
        atlas, box = self.terms.approximator.atlas, self.terms.box
        frames = (atlas.span_frames / atlas.scale).movedim(2, 0).numpy()  # (d, n, k)
        rows = frames.reshape(-1, len(box))
        shift = np.einsum("ink,nk->in", frames, atlas.span_centres.numpy()).ravel()
        z = v.apply(2 * rows * box, -rows @ box - shift)
        return net.relu(net.relu(z.scaled(-0.5, 0.5)).scaled(-1.0, 1.0))

    def _chebyshev(self, net: Schedule, one: Form) -> list[Form]:
        """v of T_1..T_p (index 0 unused), each with rows (coordinate, chart)."""
        table, size = [one, one], one.rows
        eye = sparse.eye_array(size, format="csr")
        for level in range(self.terms.levels):
            degrees, needed, mixed = level_of(self.terms.degree, len(table) - 1)
            forms = [table[k] for k in needed] + [(table[k] + table[k + 1]).scaled(0.5) for k in mixed]
            weights = np.zeros((len(degrees), len(forms)))
            constants = []
            for row, k in enumerate(degrees):
                half = k // 2
                if k % 2 == 0:
                    weights[row, needed.index(half)] = 1.0
                    constants.append(_offset(np.zeros(size)))
                    continue
                weights[row, needed.index(half)] = weights[row, needed.index(half + 1)] = -0.5
                weights[row, len(needed) + mixed.index(half)] = 2.0
                constants.append(one.scaled(-1.0, 2.0))  # 1 + x y - v_1, lifted by 1, since x y >= -1
            big = sparse.kron(weights, eye)
            lift = np.repeat(np.array(degrees) % 2, size)
            values = weighted_squares(net, stacked(forms), self.stages[level], big, stacked(constants))
            held = net.relu(values.scaled(1.0, -lift))
            table += [held.rows_of(np.arange(row * size, (row + 1) * size)) for row in range(len(degrees))]
        return table

    def _polynomial(self, net: Schedule, table: list[Form]) -> Form:
        """P (n,), coordinate by coordinate from the last one."""
        d, n = self.terms.approximator.space.dim, self.terms.approximator.atlas.count

        def chebyshev(coordinate: int, k: int, weight: Float) -> Form:  # weight * T_k
            return table[k].rows_of(coordinate * n + np.arange(n)).apply(np.diag(2 * weight), -weight)

        values: dict[Index, Form] = {}
        sizes: dict[Index, Float] = {}  # rigorous bounds, for lifts
        for prefix in self.terms.prefixes(d - 1):
            form, size = _offset(self.terms.constant(prefix)), np.abs(self.terms.constant(prefix))
            for index in self.terms.tails(prefix):
                if index[-1]:
                    form = form + chebyshev(d - 1, index[-1], self.terms.coefficients[index])
                    size = size + LARGEST_T * np.abs(self.terms.coefficients[index])
            values[prefix], sizes[prefix] = form, size
        for q in range(d - 2, -1, -1):
            # all in the layer after the last form, since the sums that products join start there
            ready = 1 + max(form.latest for form in (*values.values(), *table))
            held = {
                t: net.relu(values[t].apply(np.diag(0.5 / self.terms.bounds[t]), 0.5), ready)
                for t in self.terms.products(q)
            }
            rows: list[Form] = []
            plus: list[Form] = []
            minus: list[Form] = []
            owner: list[int] = []
            prefixes = self.terms.prefixes(q)
            new_sizes: dict[Index, Float] = {}
            for number, prefix in enumerate(prefixes):
                form, size = values[(*prefix, 0)], sizes[(*prefix, 0)]
                products, plain = self.terms.pairs(prefix)
                for term in plain:
                    form = form + chebyshev(q, term[-1], self.terms.constant(term))
                    size = size + LARGEST_T * np.abs(self.terms.constant(term))
                for term in products:
                    t, a = table[term[-1]].rows_of(q * n + np.arange(n)), held[term]
                    plus.append((t + a).scaled(0.5))
                    minus.append((t + a.scaled(-1.0)).scaled(0.5, 0.5))
                    size = size + self.terms.bounds[term]
                    owner.append(number)
                rows.append(form.apply(np.eye(n), size))
                new_sizes[prefix] = size
            found = stacked(rows)
            if owner:
                place = np.array([self.terms.bounds[term] for term in self.terms.products(q)])
                column = np.arange(len(owner) * n)
                row = (np.array(owner)[:, None] * n + np.arange(n)).ravel()
                weight = sparse.coo_array((place.ravel(), (row, column)), shape=(len(prefixes) * n, len(column)))
                both = sparse.hstack([weight, -weight])
                stage = self.terms.levels + d - 2 - q
                found = weighted_squares(net, stacked([*plus, *minus]), self.stages[stage], both, found)
            sizes = new_sizes
            values = {
                prefix: found.rows_of(number * n + np.arange(n)).apply(np.eye(n), -sizes[prefix])
                for number, prefix in enumerate(prefixes)
            }
        return values[()]


def _offset(values: Float) -> Form:
    """Constants as forms."""
    return Form({}, np.asarray(values, dtype=np.float64), 0)
