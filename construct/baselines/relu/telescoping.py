"""The formula of the compact transformer as a ReLU network: sawtooth squares in place of attention's exact products.

    T(x) = sum_n rho_n(x) P_n(clamp(z_n(x), -1, 1)),      rho_n = relu(1 - s_n) - relu(1 - s_n - w_n)

of `PiecewiseApproximator`. Every approximation below is a square f_m (`sawtooth`), `0 <= f_m(u) - u^2 <= 4^-m / 4`.

*Partition.* With `|y_j| <= box_j` on M for the k coordinates of the linear hull, `q = sum_j box_j^2 f_m'(|y_j|/box_j)`
is taken once for all charts, and `d~_n = q - 2 <c_n, y> + |c_n|^2` over-estimates the squared distance:

    0 <= d~_n - |x - c_n|^2 <= E = 4^-m' / 4 sum_j box_j^2                                                         (1)
    w_n = relu((r^2 - d~_n)/(r^2 - core^2 - E)),      s_n = sum of w_m over the earlier neighbours of n

Outside its ball d~_n >= r^2, so w_n = 0. In its core d~_n <= core^2 + E, so w_n >= 1. The cores cover M, hence
`sum_n rho_n = min(1, sum_n w_n) = 1` on M, and rho_n = 0 outside the ball, for every m' with `E < r^2 - core^2`. E only
moves weight between the charts of a collar: the bound `max_n sup_(U_n) |P_n - f|` stays. The supports of non-neighbours
are apart, as those of w_n lie in the balls. One chart alone covers M, where its rho is 1: the network is P_1 there.
Off M, (1) holds for |x - c_n| measured in the linear hull and within the box only.

*Chebyshev.* A level of squares takes the degrees up to h to those up to 2 h, the last two of three squares shared:

    T_2k = 2 T_k^2 - 1,      T_(2k+1) = 2 T_k T_(k+1) - T_1,      x y = 2 ((x + y)/2)^2 - x^2/2 - y^2/2

*Polynomials.* In d = 1 P is affine in the T_k. In d > 1 `P = A_0 + sum_i T_i(z_1) A_i(z_2, ..)`, A_i alike; A_i is a
constant for i = p. These products, and rho_n P_n, are polar (`sawtooth`): `B (f_m(|t + a|/2) - f_m(|t - a|/2))`,
`a = A_i/B_i`, off by at most B_i 4^-m / 4 and exactly 0 where a factor is. B_i bounds |A_i| on the ball that holds z_n
where rho_n > 0, from a grid with slack: a square saturates at |u| = 1, so too small a bound costs accuracy only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from construct.arrays import Float
from construct.atlas import telescope
from construct.baselines.base import BaselineCounts
from construct.baselines.relu.circuit import Layer
from construct.baselines.relu.network import ReluNetwork
from construct.baselines.relu.sawtooth import MOST_COMPOSITIONS, per_stage, square_value
from construct.baselines.relu.telescoping_layers import TelescopingLayers
from construct.baselines.relu.telescoping_terms import Terms, level_of
from construct.compact.planner import sizes_of
from construct.local import PiecewiseApproximator
from construct.measurement import Measurement, measure
from construct.planning import Search
from construct.problem import Problem
from construct.progress import Progress, silent
from construct.targets import evaluate_target
from construct.validation import finite_points, invalid, positive_integer

CHUNK_ENTRIES = 2**21
SAMPLES = 6_000
ROUNDS = 16
TIGHTER = 0.9  # of what epsilon leaves above the error of the formula
MORE_DISTANCE = 3


@dataclass(frozen=True, eq=False, repr=False)
class TelescopingNetwork:
    """The network; call it on x (P, D) for its values (P,), elementwise and only where rho_n > 0.

    Attributes:
        approximator: the formula, with polynomials in d <= 3.
        compositions: m of all squares, or of every stage: one per level of degrees, one per coordinate after the first
            (degree >= 2), one for rho_n P_n (more than one chart); 1..26 each.
        distance_compositions: m' of the distance; None takes the fewest that (1) allows.

    Raises:
        InputError: splines, d > 3, compositions out of range or of a wrong number, `E < r^2 - core^2` violated.
    """

    approximator: PiecewiseApproximator
    compositions: int | Sequence[int]
    distance_compositions: int | None = None
    terms: Terms = field(init=False)
    stages: tuple[int, ...] = field(init=False)
    distance: int = field(init=False)

    def __post_init__(self) -> None:
        terms = Terms(self.approximator)
        stages = per_stage(self.compositions, terms.stages)
        least = terms.least_distance
        distance = least if self.distance_compositions is None else self.distance_compositions
        distance = positive_integer(distance, "distance_compositions", maximum=MOST_COMPOSITIONS)
        if self.approximator.atlas.count > 1 and terms.distance_error(distance) > terms.collar:
            raise invalid("distance_compositions", f"at least {least} for this collar", distance)
        object.__setattr__(self, "terms", terms)
        object.__setattr__(self, "stages", stages)
        object.__setattr__(self, "distance", distance)

    @cached_property
    def counts(self) -> BaselineCounts:
        """Sizes of the network, without its layers."""
        return TelescopingLayers(self.terms, self.stages, self.distance).counts()

    @cached_property
    def layers(self) -> list[Layer]:
        """The affine layers."""
        return TelescopingLayers(self.terms, self.stages, self.distance).layers()

    def network(self, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu") -> ReluNetwork:
        """The torch module."""
        return ReluNetwork(self.layers, dtype=dtype, device=device)

    def __call__(self, x: Tensor) -> Tensor:
        """Values at x (P, D) -> (P,): what the module computes, up to rounding.

        Raises:
            InputError: another shape, or an entry that is not finite.
        """
        ambient = self.approximator.atlas.manifold.ambient
        if finite_points(x, "x", ambient).ndim != 2:
            raise invalid("x", f"a tensor of shape (P, {ambient})", x)
        step = max(
            64,
            CHUNK_ENTRIES // (self.approximator.atlas.count * len(self.terms.box) + 4 * len(self.terms.coefficients)),
        )
        parts = [self._evaluate(part) for part in x.split(step)] if len(x) else []
        return torch.cat(parts) if parts else x.new_zeros(0)

    def _evaluate(self, x: Tensor) -> Tensor:
        atlas, d = self.approximator.atlas, self.approximator.space.dim
        manifold, (slope, outer) = atlas.manifold, self.terms.ramp(self.distance)
        y = x @ manifold.frame.to(x) if manifold.ambient != manifold.canonical else x
        box, centres, frames = torch.as_tensor(self.terms.box).to(x), atlas.span_centres.to(x), atlas.span_frames.to(x)
        y = box * (y / box).clamp_min(-1.0)
        if atlas.count > 1:
            far = (_square(y / box, self.distance) @ box**2)[:, None] - 2 * y @ centres.T + centres.square().sum(-1)
            rho = telescope((slope * (outer - far)).clamp_min(0.0))
        else:
            rho = x.new_ones(len(x), 1)
        point, chart = (rho > 0).nonzero(as_tuple=True)
        z = torch.einsum("qk,qki->iq", y[point] - centres[chart], frames[chart] / atlas.scale).clamp(-1.0, 1.0)
        table = [torch.ones_like(z), z]
        for level in range(self.terms.levels):
            degrees, needed, _ = level_of(self.terms.degree, len(table) - 1)
            m = self.stages[level]
            own = {k: _square(table[k], m) for k in needed}
            for k in degrees:
                if k % 2 == 0:
                    table.append(2 * own[k // 2] - 1)
                    continue
                half = k // 2
                product = 2 * _square((table[half] + table[half + 1]) / 2, m) - (own[half] + own[half + 1]) / 2
                table.append((2 * product - z).clamp_min(-1.0))

        def at(constants: Float) -> Tensor:
            return torch.as_tensor(constants).to(x)[chart]

        values = {
            prefix: sum(
                (at(self.terms.coefficients[t]) * table[t[-1]][d - 1] for t in self.terms.tails(prefix)),
                z.new_zeros(len(chart)),
            )
            for prefix in self.terms.prefixes(d - 1)
        }
        for q in range(d - 2, -1, -1):
            below, values, m = values, {}, self.stages[self.terms.levels + d - 2 - q] if self.terms.degree > 1 else 1
            for prefix in self.terms.prefixes(q):
                products, plain = self.terms.pairs(prefix)
                total = below[(*prefix, 0)]
                for term in plain:
                    total = total + at(self.terms.constant(term)) * table[term[-1]][q]
                for term in products:
                    total = total + _product(table[term[-1]][q], below[term], at(self.terms.bounds[term]), m)
                values[prefix] = total
        if atlas.count == 1:
            return values[()]
        terms = _product(rho[point, chart], values[()], at(self.terms.bounds[()]), self.stages[-1])
        return x.new_zeros(len(x)).index_add_(0, point, terms)

    def __repr__(self) -> str:
        return (
            f"TelescopingNetwork: {self.approximator.atlas.count} charts, {self.approximator.space!r}, "
            f"compositions {self.stages}, distance {self.distance}"
        )


def same_formula(
    approximator: PiecewiseApproximator,
    target: Callable[..., Any],
    epsilon: float,
    *,
    seed: int = 0,
    progress: Progress = silent,
) -> tuple[TelescopingNetwork, Measurement]:
    """The network with the fewest compositions whose measured error is at most epsilon.

    On `SAMPLES` points equal compositions are found by bisection, then those of each stage are lowered, the dearest
    first; m' is the fewest that the collar allows, up to `MORE_DISTANCE` more where that is not enough. A measurement
    confirms; a worst point that misses epsilon joins the sample, and a little less is allowed.

    Raises:
        InputError: epsilon not a number > 0, or what `TelescopingNetwork` refuses.
        EpsilonNotReached: none was found; `best` is the smallest error measured.
    """
    problem = Problem(target, approximator.atlas.manifold, epsilon, seed=seed, progress=progress)
    search = Search(problem, "the ReLU network of this formula", margin=1.0)
    sizes = sizes_of(approximator.atlas, approximator.space)

    def measured(network: TelescopingNetwork) -> Measurement:
        found, counts = measure(network, target, problem.manifold, seed=seed), network.counts
        note = f"compositions {' '.join(map(str, network.stages))}, distance {network.distance}"
        dense, nonzero = counts.dense, counts.nonzero
        search.record(sizes, found.sup, "measured", parameters=dense, cost=nonzero, note=note, make=lambda: network)
        return found

    least = Terms(approximator).least_distance
    for distance in range(least, min(MOST_COMPOSITIONS, least + MORE_DISTANCE) + 1):
        exact = TelescopingNetwork(approximator, MOST_COMPOSITIONS, distance)
        sample, allowed = problem.manifold.sample(SAMPLES, seed + 7), problem.wanted
        for _ in range(ROUNDS):
            values = evaluate_target(target, sample)
            floor = float((exact(sample) - values).abs().max())
            if floor > allowed:
                measured(exact)
                break
            network = _fewest(approximator, distance, sample, values, allowed)
            found = measured(network)
            if found.sup <= problem.wanted:
                return network, found
            sample, allowed = torch.cat([sample, found.worst_point[None]]), floor + TIGHTER * (allowed - floor)
    raise search.failure()


def _fewest(
    approximator: PiecewiseApproximator, distance: int, x: Tensor, values: Tensor, allowed: float
) -> TelescopingNetwork:
    """The network with few compositions that errs by at most `allowed` on x, as the most do."""
    stages = Terms(approximator).stages

    def built(m: Sequence[int]) -> TelescopingNetwork:
        return TelescopingNetwork(approximator, m, distance)

    def enough(m: Sequence[int]) -> bool:
        return float((built(m)(x) - values).abs().max()) <= allowed

    low, high = 0, MOST_COMPOSITIONS
    while stages and high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough((middle,) * stages) else (middle, high)
    found = [high] * stages
    base = built([2] * stages).counts.nonzero
    price = [built([2 + (s == stage) for s in range(stages)]).counts.nonzero - base for stage in range(stages)]
    for stage in sorted(range(stages), key=lambda s: -price[s]):
        while found[stage] > 1:
            found[stage] -= 1
            if not enough(found):
                found[stage] += 1
                break
    return built(found)


def _square(u: Tensor, compositions: int) -> Tensor:
    """f_m(|u|), |u| clipped to 1."""
    return square_value(u.abs().clamp_max(1.0), compositions)


def _product(t: Tensor, value: Tensor, bound: Tensor, compositions: int) -> Tensor:
    """The polar product of t and a value with |value| <= bound."""
    a = (value / bound).clamp_min(-1.0)
    return bound * (_square((t + a) / 2, compositions) - _square((t - a) / 2, compositions))
