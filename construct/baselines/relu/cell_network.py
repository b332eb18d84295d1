"""The formula of the lattice transformer as a ReLU network: hats exactly, maps and products by sawtooth squares.

    T(x) = c_0 + sum_t c_t psi(lambda_t z - n_t) (1 + T_p(clip(delta + v <alpha_t, lambda_t u - m_t>, -1, 1)))

of `CellApproximator`. All but squares is exact: the clip is `1 - a = 2 relu(1 - relu((1 - a)/2))` and so on, a hat is

    psi(e) = relu(1 - M(e) - M(-e)),   M_1 = relu(e_1),   M_j = M_(j-1) + relu(relu(e_j) - M_(j-1)).

T_p is the chain of `ridge_maps`, with errors of an atom of at most E = `chain_error`. The tokens of one cell n have one
hat, so that they are added first, `s_n = sum_t c_t (1 + T~_t)`, and one product a cell is enough, polar, with
`|s_n| <= G_n = 2 sum_t |c_t|`:

    psi s = G (f((psi + s/G)/2) - f((psi - s/G)/2)),   off by at most G 4^-m / 4, and 0 where psi = 0.

A level has hats of sum 1, of which k + 1 are not 0 where k coordinates are windows. So with `C_n = sum_t |c_t|`

    |network - T| <= E (sum_(level 0) |c_t| + sum_L max_n C_n) + 4^-m / 4 sum_L (the k + 1 largest G_n)              (1)

everywhere in R^D. What is compared: a head multiplies b by w, or maps a, in all tokens with the same dozen of numbers;
here each token has squares of its own, and each cell a hat and a product.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from construct.arrays import Float, Int
from construct.baselines.base import BaselineCounts
from construct.baselines.relu.chart_layers import weighted_squares
from construct.baselines.relu.circuit import Layer
from construct.baselines.relu.compositions import Compositions, fewest_compositions
from construct.baselines.relu.network import ReluNetwork
from construct.baselines.relu.ridge_layers import chained
from construct.baselines.relu.ridge_maps import amplifications, chain_error, chain_value, orders, saturated_square
from construct.baselines.relu.sawtooth import MOST_COMPOSITIONS, per_stage
from construct.baselines.relu.schedule import Form, Schedule, stacked
from construct.cells.approximator import CellApproximator, CellBasis
from construct.cells.kuhn import kuhn_hat
from construct.measurement import Measurement, measure
from construct.planning import Search
from construct.problem import Problem, Sizes
from construct.progress import Progress, silent, tick
from construct.targets import evaluate_target
from construct.validation import finite_points, invalid

CHUNK_ENTRIES = 2**20
SAMPLES, ROUNDS, TIGHTER = 6_000, 8, 0.9


@dataclass(frozen=True, eq=False, repr=False)
class CellReluNetwork:
    """The network; call it on x (P, D) for its values (P,), elementwise.

    Attributes:
        approximator: the formula.
        compositions: m of all squares, or of every stage: one for a T2, two for a T3, then one for the products with
            hats; 1..26 each.
        maps: T3 and T2 in the order in which they are applied, threes first by default.

    Raises:
        InputError: maps that are not those of the degree in a known order, compositions out of range or of a wrong
            number.
    """

    approximator: CellApproximator
    compositions: int | Sequence[int]
    maps: Sequence[int] | None = None
    stages: Compositions = field(init=False)
    chain: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        known = orders(self.approximator.degree)
        chain = known[0] if self.maps is None else tuple(self.maps)
        if chain not in known:
            raise invalid("maps", f"one of {known}", self.maps)
        object.__setattr__(self, "chain", chain)
        object.__setattr__(self, "stages", per_stage(self.compositions, len(amplifications(chain)) + 1))

    @cached_property
    def used(self) -> tuple[CellBasis, Float]:
        """Tokens whose coefficients are not 0, and these (N,)."""
        coefficients = self.approximator.coefficients.numpy()
        places = np.flatnonzero(coefficients)
        return self.approximator.basis.subset(places), coefficients[places]

    @cached_property
    def cells(self) -> tuple[Int, Int]:
        """Cells that have tokens, level and n, (C, 1 + m), and of each token the number of its cell, C on level 0."""
        basis = self.used[0]
        windowed = basis.levels > 0
        rows = np.column_stack([basis.levels, basis.cells])
        found, place = np.unique(rows[windowed], axis=0, return_inverse=True)
        numbers = np.full(basis.count, len(found), dtype=np.int64)
        numbers[windowed] = place.ravel()
        return found, numbers

    @cached_property
    def sums(self) -> sparse.csr_array:
        """(C + 1, N): the coefficients of the tokens of each cell, and of level 0."""
        (cells, numbers), coefficients = self.cells, self.used[1]
        shape = (len(cells) + 1, len(coefficients))
        return sparse.csr_array((coefficients, (numbers, np.arange(len(coefficients)))), shape=shape)

    @cached_property
    def bounds(self) -> Float:
        """(C,) G_n."""
        return 2.0 * np.asarray(abs(self.sums).sum(axis=1))[:-1]

    @cached_property
    def error_bound(self) -> float:
        """Bound (1) of |network - formula|, rounding aside."""
        basis, coefficients = self.used
        cells, _ = self.cells
        total, largest = float(np.abs(coefficients[basis.levels == 0]).sum()), 0.0
        for level in np.unique(cells[:, 0]):
            mine = np.sort(self.bounds[cells[:, 0] == level])[::-1]
            total += mine[0] / 2
            largest += float(mine[: len(basis.windows) + 1].sum())
        return total * chain_error(self.chain, self.stages[:-1]) + largest * float(4.0 ** -self.stages[-1]) / 4

    @cached_property
    def _scheduled(self) -> tuple[Schedule, Form]:
        basis = self.used[0]
        net = Schedule(basis.manifold.ambient)
        return net, _output(self, net)

    @cached_property
    def counts(self) -> BaselineCounts:
        """Sizes of the network, without its layers."""
        net, output = self._scheduled
        return net.counts(output)

    @cached_property
    def layers(self) -> list[Layer]:
        """The affine layers."""
        net, output = self._scheduled
        return net.finish(output)

    def network(self, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu") -> ReluNetwork:
        """The torch module."""
        return ReluNetwork(self.layers, dtype=dtype, device=device)

    def __call__(self, x: Tensor) -> Tensor:
        """Values at x (P, D) -> (P,): what the module computes, up to rounding.

        Raises:
            InputError: another shape, or an entry that is not finite.
        """
        basis = self.used[0]
        ambient = basis.manifold.ambient
        if finite_points(x, "x", ambient).ndim != 2:
            raise invalid("x", f"a tensor of shape (P, {ambient})", x)
        parts = [x.new_zeros(0, dtype=torch.float64)]
        for part in x.double().split(max(64, CHUNK_ENTRIES // max(1, basis.count))):
            tick()
            parts.append(self._values(basis.units(part)))
        return torch.cat(parts).to(x)

    def _values(self, u: Tensor) -> Tensor:
        (basis, _), (cells, _) = self.used, self.cells
        factors, sums = torch.from_numpy(_factors(basis)), self.sums
        forms = u @ torch.from_numpy(basis.directions.astype(np.float64)).T * factors
        a = (basis.shift + basis.scale * (forms - torch.from_numpy(basis.offsets.astype(np.float64)))).clamp(-1.0, 1.0)
        atoms = 1 + chain_value(a, self.chain, self.stages[:-1])
        found = torch.from_numpy(np.ascontiguousarray((sums @ atoms.numpy().T).T))  # (P, C + 1)
        values = self.approximator.constant + found[:, -1]
        if not len(cells):
            return values
        z = u[:, torch.from_numpy(basis.windows)]
        scale = torch.from_numpy(np.ldexp(0.5, cells[:, 0]))
        psi = kuhn_hat(scale[None, :, None] * z[:, None] - torch.from_numpy(cells[:, 1:].astype(np.float64)))
        bounds = torch.from_numpy(self.bounds)
        share, m = found[:, :-1] / bounds, self.stages[-1]
        squares = saturated_square((psi + share) / 2, m) - saturated_square((psi - share) / 2, m)
        return values + squares @ bounds

    def __repr__(self) -> str:
        maps = ", ".join(f"T{m}" for m in self.chain)
        tokens, cells = self.used[0].count, len(self.cells[0])
        return f"CellReluNetwork: {tokens} tokens, {cells} cells, maps {maps}, compositions {self.stages}"


def _factors(basis: CellBasis) -> Float:
    """(N,) lambda, 1 on level 0."""
    return np.where(basis.levels > 0, basis.factors, 1.0)


def _output(network: CellReluNetwork, net: Schedule) -> Form:
    """The last affine form of the network."""
    (basis, _), (cells, _) = network.used, network.cells
    u, constant = _units(net, basis), network.approximator.constant
    directions = sparse.csr_array((_factors(basis) * basis.scale)[:, None] * basis.directions)
    a = u.apply(directions, basis.shift - basis.scale * basis.offsets)
    v = net.relu(net.relu(a.scaled(-0.5, 0.5)).scaled(-1.0, 1.0))  # (1 + clip(a)) / 2
    found = chained(net, v, network.chain, network.stages[:-1], network.sums, np.zeros(len(cells) + 1))
    base = found.rows_of([len(cells)]).scaled(1.0, constant)
    if not len(cells):
        return base
    psi, bounds = _hats(net, u, basis, cells), network.bounds
    share = found.rows_of(np.arange(len(cells))).apply(sparse.diags_array(1 / bounds, format="csr"))
    both = stacked([(psi + share).scaled(0.25, 0.5), (psi + share.scaled(-1.0)).scaled(0.25, 0.5)])
    # of level 0 no more than the chain's error below its smallest value
    lift = float(bounds.sum()) + abs(constant) + 4.0 * float(abs(network.sums[[len(cells)]]).sum())
    weights = np.concatenate([bounds, -bounds])[None]
    squares = weighted_squares(net, both, network.stages[-1], weights, base.scaled(1.0, lift))
    return squares.scaled(1.0, -lift)


def _units(net: Schedule, basis: CellBasis) -> Form:
    """u = y / h, (r,), as forms of the inputs."""
    coordinates = basis.coordinates
    if coordinates.projection is not None:
        read = sparse.csr_array(coordinates.projection)
    else:
        places = (np.ones(coordinates.count), (np.arange(coordinates.count), coordinates.chosen))
        read = sparse.csr_array(places, shape=(coordinates.count, basis.manifold.ambient))
    return net.input().apply(read / basis.spacing, -coordinates.centre / basis.spacing)


def _hats(net: Schedule, u: Form, basis: CellBasis, cells: Int) -> Form:
    """psi of every cell (C,); cells of one level with the same n_j share the neurons relu(+-(lambda z_j - n_j))."""
    maxima = list[Form]()
    for sign in (1.0, -1.0):
        highest: Form | None = None
        for j, window in enumerate(basis.windows.tolist()):
            lines, place = np.unique(cells[:, [0, 1 + j]], axis=0, return_inverse=True)
            e = u.rows_of(np.full(len(lines), window)).apply(
                sparse.diags_array(sign * np.ldexp(0.5, lines[:, 0]), format="csr"), -sign * lines[:, 1]
            )
            part = net.relu(e).rows_of(place.ravel())
            highest = part if highest is None else highest + net.relu(part + highest.scaled(-1.0))
        assert highest is not None  # there is a window
        maxima.append(highest.scaled(-1.0))
    return net.relu((maxima[0] + maxima[1]).scaled(1.0, 1.0))


def same_cells(
    approximator: CellApproximator,
    target: Callable[..., Any],
    epsilon: float,
    *,
    seed: int = 0,
    progress: Progress = silent,
) -> tuple[CellReluNetwork, Measurement]:
    """The smallest network of this formula, over both orders of the maps, whose measured error is at most epsilon.

    The fewest compositions that a sample of M allows and a measurement confirms; a worst point that misses epsilon
    joins the sample, and a little less is allowed.

    Raises:
        InputError: epsilon not a number > 0.
        EpsilonNotReached: none was found; `best` is the smallest error measured.
    """
    problem = Problem(target, approximator.manifold, epsilon, seed=seed, progress=progress)
    search = Search(problem, "the ReLU network of this formula", margin=1.0)
    floor = measure(approximator, target, problem.manifold, seed=seed)
    x = torch.cat([problem.manifold.sample(SAMPLES, seed + 7), floor.worst_point[None]])
    allowed = problem.wanted
    for _ in range(ROUNDS):
        if floor.sup >= allowed:
            break
        values = evaluate_target(target, x)
        found = [_fewest(approximator, maps, x, values, allowed) for maps in orders(approximator.degree)]
        fitting = [network for network in found if network is not None]
        if not fitting:
            break
        network = min(fitting, key=lambda one: one.counts.nonzero)
        measured = _measured(network, search)
        if measured.sup <= problem.wanted:
            return network, measured
        x = torch.cat([x, measured.worst_point[None]])
        allowed = floor.sup + TIGHTER * (allowed - floor.sup)
    else:
        raise search.failure()
    _measured(CellReluNetwork(approximator, MOST_COMPOSITIONS), search)
    raise search.failure()


def _fewest(
    approximator: CellApproximator, maps: Sequence[int], x: Tensor, values: Tensor, allowed: float
) -> CellReluNetwork | None:
    def enough(m: Compositions) -> bool:
        return float((CellReluNetwork(approximator, m, maps)(x) - values).abs().max()) <= allowed

    stages = len(amplifications(maps)) + 1
    found = fewest_compositions(stages, enough, lambda m: CellReluNetwork(approximator, m, maps).counts.nonzero)
    return None if found is None else CellReluNetwork(approximator, found, maps)


def _measured(network: CellReluNetwork, search: Search) -> Measurement:
    problem, counts = search.problem, network.counts
    found = measure(network, problem.target, problem.manifold, seed=problem.seed)
    note = f"compositions {' '.join(map(str, network.stages))}, maps {' '.join(map(str, network.chain))}"
    sizes = Sizes(None, None, network.approximator.degree)
    search.record(
        sizes, found.sup, "measured", parameters=counts.dense, cost=counts.nonzero, note=note, make=lambda: network
    )
    return found
