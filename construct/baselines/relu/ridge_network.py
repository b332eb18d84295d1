"""The formula of the ridge transformer as a ReLU network: sawtooth squares in place of cubic heads.

    T(x) = c_0 + sum_t c_t (1 + T_p(delta + <alpha_t, v y(x)>))

of `RidgeApproximator`, map by map: T_p is the chain of T3 and T2 that attention applies, each from squares
(`ridge_maps`). On M no clip of the formula acts, since |delta + <alpha, v y>| <= 1 there is proved, and the network has
none. With the errors of one atom from (1) of `ridge_maps`

    |network - T| <= sum_t |c_t| sum_s w_s 4^-m_s         on M.                                              (2)

What is compared: a map takes attention one head of 2k + 8 or 2k + 9 numbers in all, for every direction and every
epsilon, because a head acts on all tokens with the same weights and multiplies exactly. A ReLU network shares nothing
between neurons: each direction has squares of its own, each square some `log_4(1/epsilon)` layers of six numbers. Both
are counted by the one rule, numbers that are not zero; directions are weights here and position code there.
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

from construct.arrays import Float
from construct.baselines.base import BaselineCounts
from construct.baselines.relu.circuit import Layer
from construct.baselines.relu.compositions import Compositions, bounded_compositions, fewest_compositions, prices
from construct.baselines.relu.network import ReluNetwork
from construct.baselines.relu.ridge_layers import RidgeLayers
from construct.baselines.relu.ridge_maps import amplifications, chain_error, chain_value, orders
from construct.baselines.relu.sawtooth import MOST_COMPOSITIONS, per_stage
from construct.measurement import Measurement, measure
from construct.planning import Search
from construct.problem import Problem, Sizes
from construct.progress import Progress, silent, tick
from construct.ridge.approximator import RidgeApproximator
from construct.targets import evaluate_target
from construct.validation import finite_points, invalid, positive_real

CHUNK_ENTRIES = 2**20
SAMPLES = 6_000
ROUNDS = 8
TIGHTER = 0.9  # of what epsilon leaves above the error of the formula


@dataclass(frozen=True, eq=False, repr=False)
class RidgeReluNetwork:
    """The network; call it on x (P, D) of M for its values (P,), elementwise.

    Attributes:
        approximator: the formula.
        compositions: m of all squares, or of every stage: one for a T2, two for a T3; 1..26 each.
        maps: T3 and T2 in the order in which they are applied, threes first by default.

    Raises:
        InputError: maps that are not those of the degree in a known order, compositions out of range or of a wrong
            number.
    """

    approximator: RidgeApproximator
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
        object.__setattr__(self, "stages", per_stage(self.compositions, len(amplifications(chain))))

    @cached_property
    def used(self) -> tuple[Float, Float]:
        """Coefficients (C,) that are not 0 and their directions (C, k)."""
        coefficients = self.approximator.coefficients.numpy()
        places = np.flatnonzero(coefficients)
        return coefficients[places], self.approximator.basis.directions[places]

    @cached_property
    def error_bound(self) -> float:
        """Bound (2) of |network - formula| on M, rounding aside."""
        return float(np.abs(self.used[0]).sum()) * chain_error(self.chain, self.stages)

    @cached_property
    def _layers(self) -> RidgeLayers:
        basis, (coefficients, directions) = self.approximator.basis, self.used
        coordinates, ambient = basis.coordinates, basis.manifold.ambient
        forms = directions * basis.scales * coordinates.scale  # of x - centre
        place = sparse.csr_array(
            (np.ones(coordinates.count), (np.arange(coordinates.count), coordinates.chosen)),
            shape=(coordinates.count, ambient),
        )
        rows = sparse.csr_array(sparse.csr_array(forms) @ place)
        shifts = basis.shift - forms @ coordinates.centre
        return RidgeLayers(rows, shifts, coefficients, self.approximator.constant, self.chain, self.stages)

    @cached_property
    def counts(self) -> BaselineCounts:
        """Sizes of the network, without its layers."""
        return self._layers.counts()

    @cached_property
    def layers(self) -> list[Layer]:
        """The affine layers."""
        return self._layers.layers()

    def network(self, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu") -> ReluNetwork:
        """The torch module."""
        return ReluNetwork(self.layers, dtype=dtype, device=device)

    def __call__(self, x: Tensor) -> Tensor:
        """Values at x (P, D) -> (P,): what the module computes, up to rounding, where every argument is at most 3.

        Raises:
            InputError: another shape, or an entry that is not finite.
        """
        basis = self.approximator.basis
        ambient = basis.manifold.ambient
        if finite_points(x, "x", ambient).ndim != 2:
            raise invalid("x", f"a tensor of shape (P, {ambient})", x)
        coefficients, directions = (torch.from_numpy(part).to(x) for part in self.used)
        parts = [x.new_zeros(0)]
        for part in x.split(max(64, CHUNK_ENTRIES // max(1, len(coefficients)))):
            tick()
            y = basis.coordinates.of(part) * torch.from_numpy(basis.scales).to(x)
            atoms = 1 + chain_value(basis.shift + y @ directions.T, self.chain, self.stages)
            parts.append(self.approximator.constant + atoms @ coefficients)
        return torch.cat(parts)

    def __repr__(self) -> str:
        maps = ", ".join(f"T{m}" for m in self.chain)
        return f"RidgeReluNetwork: {len(self.used[0])} directions, maps {maps}, compositions {self.stages}"


def same_ridge(
    approximator: RidgeApproximator,
    target: Callable[..., Any],
    epsilon: float,
    *,
    proved: bool = False,
    seed: int = 0,
    progress: Progress = silent,
) -> tuple[RidgeReluNetwork, Measurement]:
    """The smallest network of this formula whose measured error is at most epsilon, over both orders of the maps.

    proved: compositions from the bound (2), so that |network - formula| is at most what epsilon leaves above the
    measured error of the formula. By default the fewest that a sample of M allows and a measurement confirms; a worst
    point that misses epsilon joins the sample, and a little less is allowed.

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
        share = positive_real(allowed - floor.sup, "share")
        values = evaluate_target(target, x)
        found = [
            _proved(approximator, maps, share) if proved else _sampled(approximator, maps, x, values, allowed)
            for maps in orders(approximator.degree)
        ]
        fitting = [network for network in found if network is not None]
        if not fitting:
            break
        network = min(fitting, key=lambda one: one.counts.nonzero)
        measured = _measured(network, search)
        if measured.sup <= problem.wanted:
            return network, measured
        x, allowed = torch.cat([x, measured.worst_point[None]]), floor.sup + TIGHTER * share
    else:
        raise search.failure()
    _measured(RidgeReluNetwork(approximator, MOST_COMPOSITIONS), search)
    raise search.failure()


def _measured(network: RidgeReluNetwork, search: Search) -> Measurement:
    """Measure a network and note it."""
    problem, counts = search.problem, network.counts
    found = measure(network, problem.target, problem.manifold, seed=problem.seed)
    note = f"compositions {' '.join(map(str, network.stages))}, maps {' '.join(map(str, network.chain))}"
    sizes = Sizes(1, 1, network.approximator.degree)
    search.record(
        sizes, found.sup, "measured", parameters=counts.dense, cost=counts.nonzero, note=note, make=lambda: network
    )
    return found


def _proved(approximator: RidgeApproximator, maps: Sequence[int], share: float) -> RidgeReluNetwork | None:
    """The cheapest compositions whose bound (2) is at most `share`; None where 26 are not enough."""
    total = float(approximator.coefficients.abs().sum())
    weights = [max(total, np.finfo(np.float64).tiny) * w for w in amplifications(maps)]

    def nonzero(m: Compositions) -> int:
        return RidgeReluNetwork(approximator, m, maps).counts.nonzero

    if chain_error(maps, (MOST_COMPOSITIONS,) * len(weights)) * total > share:
        return None
    return RidgeReluNetwork(approximator, bounded_compositions(weights, share, prices(len(weights), nonzero)), maps)


def _sampled(
    approximator: RidgeApproximator, maps: Sequence[int], x: Tensor, values: Tensor, allowed: float
) -> RidgeReluNetwork | None:
    """The fewest compositions that keep the error on x at most `allowed`."""

    def built(m: Compositions) -> RidgeReluNetwork:
        return RidgeReluNetwork(approximator, m, maps)

    def enough(m: Compositions) -> bool:
        return float((built(m)(x) - values).abs().max()) <= allowed

    stages = len(amplifications(maps))
    found = fewest_compositions(stages, enough, lambda m: built(m).counts.nonzero)
    return None if found is None else built(found)
