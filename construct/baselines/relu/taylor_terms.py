"""Sums of trapezoids times monomials as ReLU networks, one chain of approximate products per term (Yarotsky 2017).

On every chart n there is a grid of nodes k in {0..L}^d, and a position t_n(x) in R^d in units of the cells:

    S_n = sum_k sum_alpha c[n, k, alpha] prod_i psi(3 u_i) u_i^alpha_i,     u = t_n - k,   |alpha| <= s

psi(v) = relu(1 - relu(v - 1) - relu(-v - 1)) is 1 for |v| <= 1 and 0 for |v| >= 2: two hidden layers, exact. In the
monomials u is clipped to [-1, 1], which changes nothing where the trapezoid is not 0 (|u| < 2/3).

A term is the product of K = d + |alpha| factors in [-1, 1], nested as Yarotsky does, trapezoids outside:

    v_1 = u_i,   v_(j+1) = p(factor_(j+1), v_j),   v_K,      K - 1 sawtooth products of the box bound 1

*The box holds.* p is affine on the triangles cut by the lines x, y, x + y in 2 h Z, h = 2^-m, and equals x y at their
corners (the errors of the squares vanish there). For m >= 1 the square [-1, 1]^2 is a union of such triangles, so
|p| <= max |x y| = 1 on it: no factor ever leaves the box.

*Zeros.* p(0, y) = 0 exactly (in exact arithmetic; to 1e-16 in float64), so a term vanishes off the support of its
trapezoid. At any x at most 2^d nodes of a chart are left. The fast evaluation computes these only, with
`product_value`: the same function, up to rounding.

*Errors.* Every product adds at most 4^-m to the error of a chain, since the other factor is at most 1. The trapezoids
sum to one, so with W_n = max_k sum_alpha |c[n, k, alpha]|

    |S_n - exact| <= 2^d (K - 1) 4^-m W_n,        |S_n| <= min(2^d, 1 + 2^d (K - 1) 4^-m) W_n = B_n.

Source: D. Yarotsky, Error bounds for approximations with deep ReLU networks, Neural Networks 94 (2017), Theorem 1,
arXiv 1610.01145; the same chains in Chen, Jiang, Liao and Zhao 2019, arXiv 1908.01842.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from construct.arrays import Float, Int
from construct.baselines.relu.circuit import Circuit, Layer, Subnetwork, before, copies, layer
from construct.baselines.relu.sawtooth import MOST_COMPOSITIONS, product_layers, product_value
from construct.validation import invalid, positive_integer

ROOM = 1.0 + 1e-9
"""On bounds that keep a neuron >= 0, so that rounding does not clip it."""

LayerSizes = tuple[Int, Int, Int]
"""Rows, non-zero weights and non-zero biases of every affine layer, each (layers,)."""


def layer_sizes(layers: list[Layer] | tuple[Layer, ...]) -> LayerSizes:
    """Rows, non-zero weights and non-zero biases of a network, layer by layer."""
    rows = np.array([weight.shape[0] for weight, _ in layers], dtype=np.int64)
    weights = np.array([weight.count_nonzero() for weight, _ in layers], dtype=np.int64)
    return rows, weights, np.array([np.count_nonzero(bias) for _, bias in layers], dtype=np.int64)


@lru_cache(maxsize=512)
def chain_layers(alpha: tuple[int, ...], compositions: int) -> tuple[Layer, ...]:
    """The chain of one term of exponent alpha about the node 0: a network u (d,) -> prod psi(3 u_i) u_i^alpha_i.

    Every row of the first layer reads one u_i. 2 + (K - 1)(m + 1) hidden layers.
    """
    dim = len(alpha)
    circuit = Circuit(dim)
    subnetworks = []
    for i in range(dim):
        column = np.eye(dim)[i : i + 1]
        trapezoid = [layer(np.array([[3.0], [-3.0]]) * column, [-1.0, -1.0]), layer([[-1.0, -1.0]], [1.0])]
        subnetworks.append(Subnetwork(f"psi{i}", [*trapezoid, layer([[1.0]])], nonnegative=True))
        if alpha[i]:  # clip(u) + 1 = relu(u + 1) - relu(u - 1) >= 0, one neuron while it waits
            clip = [layer(np.ones((2, 1)) * column, [1.0, -1.0]), layer([[1.0, -1.0]])]
            subnetworks.append(Subnetwork(f"u{i}", [*clip, layer([[1.0]])], nonnegative=True))
    circuit.run(subnetworks)
    chain = [f"u{i}" for i in range(dim) for _ in range(alpha[i])] + [f"psi{i}" for i in reversed(range(dim))]
    value = chain[0]
    for position, factor in enumerate(chain[1:], start=1):
        names = (factor, value)
        pair = sparse.csr_array(sparse.vstack([circuit.select(name) for name in names]))
        read = layer(pair, [-1.0 if name.startswith("u") else 0.0 for name in names])
        product = Subnetwork("value", before(read, product_layers(compositions, 1.0)))
        circuit.run([product], keep=list(dict.fromkeys(chain[position + 1 :])))
        value = "value"
    return tuple(circuit.finish(circuit.select(value)))


@dataclass(frozen=True, eq=False, repr=False)
class TaylorTerms:
    """The sums S_n above, n = 0..count - 1, of a position `t_n = slope (w_n + shift)`, w_n (d,) what the chains read.

    Attributes:
        count: number of charts;  cells: L >= 1;  compositions: m of every product, in 1..26, or None for exact
            products: the limit m -> infinity, which can be evaluated but is no network.
        charts (q,), nodes (q, d) in 0..L: where there are coefficients; sorted by chart, then node, none twice.
        coefficients: (q, A), for the rows of exponents (A, d). Zeros cost no weights.
    """

    count: int
    cells: int
    compositions: int | None
    charts: Tensor
    nodes: Tensor
    coefficients: Tensor
    exponents: Tensor
    slope: float
    shift: float
    _keys: Tensor = field(init=False)

    def __post_init__(self) -> None:
        positive_integer(self.count, "count")
        positive_integer(self.cells, "cells")
        if self.compositions is not None:
            positive_integer(self.compositions, "compositions", maximum=MOST_COMPOSITIONS)
        shapes = tuple(self.nodes.shape), tuple(self.coefficients.shape)
        if shapes != ((len(self.charts), self.dim), (len(self.charts), len(self.exponents))) or not len(self.charts):
            raise invalid("coefficients", "nodes (q, d) and coefficients (q, A), q >= 1", shapes)
        for name, values, most in (("charts", self.charts, self.count - 1), ("nodes", self.nodes, self.cells)):
            if not bool(((values >= 0) & (values <= most)).all()):
                raise invalid(name, f"integers in 0..{most}", got=f"{int(values.min())}..{int(values.max())}")
        if not bool(torch.isfinite(self.coefficients).all()):
            raise invalid("coefficients", "finite numbers", got="NaN or infinity")
        keys = self._key(self.charts, self.nodes)
        if not bool((keys[1:] > keys[:-1]).all()):
            raise invalid("nodes", "nodes sorted by chart and node, none twice", got="another order")
        object.__setattr__(self, "_keys", keys)

    @property
    def dim(self) -> int:
        """d."""
        return int(self.exponents.shape[1])

    @property
    def terms(self) -> int:
        """Number of coefficients that are not zero, each with a chain of its own."""
        return int((self.coefficients != 0).sum())

    def _key(self, charts: Tensor, nodes: Tensor) -> Tensor:
        key = charts.clone()
        for i in range(self.dim):
            key = key * (self.cells + 1) + nodes[:, i]
        return key

    # -- the network ------------------------------------------------------------------------------------------------

    def subnetworks(self, circuit: Circuit, group: str, *, filled: bool = True) -> list[Subnetwork]:
        """One subnetwork per total degree j, which reads w (charts times d) and gives S_(n,j) + B_(n,j) >= 0 (charts,).

        A last hidden layer holds the sum in one neuron a chart, so that nothing downstream reads the chains again.
        filled: False leaves out every term and keeps what does not depend on them, for counting.
        """
        start, stop = circuit.groups[group]
        if stop - start != self.count * self.dim:
            raise invalid(group, f"{self.count * self.dim} channels", stop - start)
        found = []
        for total, bounds in self.bounds():
            parts = [self._class(column, start, circuit.channels, filled) for column in self._columns(total)]
            first = layer(sparse.vstack([p[0][0] for p in parts]), np.concatenate([p[0][1] for p in parts]))
            middle = [
                layer(sparse.block_diag([w for w, _ in row], format="csr"), np.concatenate([b for _, b in row]))
                for row in zip(*(p[1:-1] for p in parts), strict=True)
            ]
            gathered = layer(sparse.hstack([p[-1][0] for p in parts]), bounds)
            hold = layer(sparse.eye_array(self.count))
            found.append(Subnetwork(f"S{total}", [first, *middle, gathered, hold], nonnegative=True))
        return found

    def bounds(self) -> Iterator[tuple[int, Float]]:
        """Every total degree j that has terms, with the bounds B_(n,j) (charts,)."""
        dim, orders = self.dim, self.exponents.sum(-1)
        size = self.coefficients.abs().double()
        loss = 0.0 if self.compositions is None else 4.0**-self.compositions
        for total in range(int(orders.max()) + 1):
            if not self._columns(total):
                continue
            at_node = size[:, orders == total].sum(-1)
            largest = at_node.new_zeros(self.count).scatter_reduce(0, self.charts, at_node, "amax")
            share = min(2.0**dim, 1.0 + 2.0**dim * (dim + total - 1) * loss)
            yield total, (ROOM * share * largest).numpy()

    def _columns(self, total: int) -> list[int]:
        """Columns of one total degree that have terms; the zero function keeps the first column, without terms."""
        used = (self.coefficients != 0).any(0)
        used[0] |= not bool(used.any())
        used &= self.exponents.sum(-1) == total
        return [int(column) for column in used.nonzero()[:, 0]]

    def _chain(self, column: int) -> tuple[Layer, ...]:
        if self.compositions is None:
            raise invalid("compositions", "an integer (exact products are no ReLU network)", None)
        return chain_layers(tuple(self.exponents[column].tolist()), self.compositions)

    def _first(self, column: int, rows: Tensor) -> tuple[Int, Float, Float]:
        """First layer of the chains of some nodes: coordinate and weight of each row (r,), biases (T, r)."""
        weight, bias = self._chain(column)[0]
        axis, factor = weight.indices.astype(np.int64), weight.data
        offset = self.slope * self.shift - self.nodes[rows].double().numpy()[:, axis]
        return axis, self.slope * factor, factor * offset + bias

    def _class(self, column: int, start: int, channels: int, filled: bool) -> list[Layer]:
        """The chains of one exponent side by side; the last layer sums them, times coefficients, by chart."""
        rows = (self.coefficients[:, column] != 0).nonzero()[:, 0] if filled else torch.zeros(0, dtype=torch.long)
        charts = self.charts[rows].numpy()
        axis, factor, bias = self._first(column, rows)
        columns = (start + charts[:, None] * self.dim + axis).ravel()
        data, ends = np.tile(factor, len(rows)), np.arange(columns.size + 1)
        first = layer(sparse.csr_array((data, columns, ends), shape=(columns.size, channels)), bias.ravel())
        _, *middle, (last, _) = self._chain(column)
        values = self.coefficients[rows, column].double().numpy()
        gather = sparse.csr_array((values, (charts, np.arange(len(rows)))), shape=(self.count, len(rows)))
        return [first, *copies(middle, len(rows)), layer(sparse.kron(gather, last))]

    def sizes(self) -> LayerSizes:
        """What the terms alone add to each layer of the network, counted from the first that they reach."""
        depth = max(len(self._chain(c)) for total, _ in self.bounds() for c in self._columns(total))
        found = np.zeros((3, depth), dtype=np.int64)
        for total, _ in self.bounds():
            for column in self._columns(total):
                rows = (self.coefficients[:, column] != 0).nonzero()[:, 0]
                one = np.stack(layer_sizes(self._chain(column))) * len(rows)
                one[2, 0] = np.count_nonzero(self._first(column, rows)[2])
                one[0, -1] = one[2, -1] = 0  # the sums belong to the charts
                found[:, : one.shape[1]] += one
        return found[0], found[1], found[2]

    def weight_bound(self) -> float:
        """Largest absolute weight or bias in what `sizes` counts."""
        largest = 0.0
        for column in (c for total, _ in self.bounds() for c in self._columns(total)):
            rows = (self.coefficients[:, column] != 0).nonzero()[:, 0]
            if not len(rows):
                continue
            _, factor, bias = self._first(column, rows)
            *middle, (last, _) = self._chain(column)[1:]
            inner = [np.abs(part).max() for weight, b in middle for part in (weight.data, b)]
            read = np.abs(last.data).max() * float(self.coefficients[rows, column].abs().max())
            largest = max(largest, read, np.abs(factor).max(), np.abs(bias).max(), *inner)
        return float(largest)

    # -- fast evaluation --------------------------------------------------------------------------------------------

    def __call__(self, charts: Tensor, t: Tensor) -> Tensor:
        """S_n of charts (p,) at positions t (p, d) -> (p,), of the dtype of t: the active nodes only."""
        low = t.floor().clamp(0, self.cells - 1)
        total = t.new_zeros(len(t))
        keys, coefficients = self._keys.to(t.device), self.coefficients.to(t)
        for corner in itertools.product((0.0, 1.0), repeat=self.dim):
            node = low + torch.tensor(corner, dtype=t.dtype, device=t.device)
            u = t - node
            psi = (2.0 - 3.0 * u.abs()).clamp(0.0, 1.0)
            wanted = self._key(charts, node.long())
            position = torch.searchsorted(keys, wanted).clamp_max(len(keys) - 1)
            active = ((keys[position] == wanted) & (psi > 0).all(-1)).nonzero()[:, 0]
            values = self._chains(u[active].clamp(-1.0, 1.0), psi[active])
            total[active] += (coefficients[position[active]].T * values).sum(0)
        return total

    def _chains(self, u: Tensor, psi: Tensor) -> Tensor:
        """Every chain at offsets u (p, d) with trapezoids psi (p, d) -> (A, p)."""
        monomials: dict[tuple[int, ...], Tensor] = {}
        for alpha in map(tuple, self.exponents.tolist()):
            if sum(alpha) == 0:
                continue
            axis = max(i for i, power in enumerate(alpha) if power)
            lower = tuple(power - (i == axis) for i, power in enumerate(alpha))
            monomials[alpha] = self._product(u[:, axis], monomials[lower]) if sum(lower) else u[:, axis]
        bump = psi[:, -1]
        rest = torch.stack(list(monomials.values())) if monomials else u.new_zeros(0, len(u))
        rest = self._product(bump, rest)
        for i in reversed(range(self.dim - 1)):
            bump, rest = self._product(psi[:, i], bump), self._product(psi[:, i], rest)
        return torch.cat([bump[None], rest])

    def _product(self, x: Tensor, y: Tensor) -> Tensor:
        """x y, or what the network makes of it."""
        return x * y if self.compositions is None else product_value(x, y, self.compositions, 1.0)

    def __repr__(self) -> str:
        kind = "exact products" if self.compositions is None else f"{self.compositions} compositions"
        return f"TaylorTerms({self.count} charts, {self.cells} cells, {self.terms:,} terms, {kind})"
