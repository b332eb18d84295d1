"""The ReLU network of the ridge formula: exact chains in rationals, module and elementwise, bound, growth, search."""

from __future__ import annotations

import math
from fractions import Fraction
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from construct import baselines, targets
from construct.baselines.relu.compositions import bounded_compositions, fewest_compositions
from construct.baselines.relu.ridge_layers import RidgeLayers
from construct.baselines.relu.ridge_maps import amplifications, chain_error, chain_value, orders
from construct.baselines.relu.ridge_method import RidgeRelu
from construct.baselines.relu.ridge_network import RidgeReluNetwork, same_ridge
from construct.errors import EpsilonNotReached, InputError
from construct.manifolds import Circle, Cube, Manifold, Sphere, Torus
from construct.measurement import measure
from construct.problem import Problem
from construct.ridge.approximator import RidgeApproximator
from construct.ridge.planner import plan

SMOOTH = targets.target("exp_sin")
DEGREES = (2, 3, 4, 6, 9, 12)
CASES: list[tuple[Manifold, int]] = [
    (Circle(), 2),
    (Circle(), 6),
    (Circle(ambient=4), 9),
    (Sphere(2, ambient=8), 3),
    (Sphere(2), 4),
    (Torus(), 3),
    (Cube(2), 6),
]


@cache
def formula(case: int) -> RidgeApproximator:
    """The fit of a case; the ones after it have random coefficients, some of them 0."""
    manifold, degree = CASES[case]
    return plan(Problem(SMOOTH, manifold), None, degree=degree).approximator


def random_formula(case: int, seed: int) -> RidgeApproximator:
    basis, generator = formula(case).basis, torch.Generator().manual_seed(seed)
    coefficients = torch.randn(basis.count, dtype=torch.float64, generator=generator)
    coefficients *= torch.rand(basis.count, generator=generator) < 0.7
    return RidgeApproximator(basis, coefficients, float(torch.randn(1, generator=generator)))


# -- one chain, exactly ------------------------------------------------------------------------------------------------


def interpolated(u: Fraction, m: int) -> Fraction:
    """The chord of the square over the cell j 2^-m of |u|, 1 beyond 1."""
    u = min(abs(u), Fraction(1))
    j = min(math.floor(u * 2**m), 2**m - 1)
    low, high = Fraction(j, 2**m), Fraction(j + 1, 2**m)
    return low**2 + (u - low) * (high**2 - low**2) / (high - low)


def chebyshev_of(a: Fraction, degree: int) -> Fraction:
    """T_degree by its recurrence."""
    one, two = Fraction(1), a
    for _ in range(degree - 1):
        one, two = two, 2 * a * two - one
    return two


def network_chain(a: Fraction, maps: tuple[int, ...], compositions: list[int]) -> Fraction:
    """What the network is to compute, map by map."""
    stages = iter(compositions)
    a = max(a, Fraction(-1))
    for place, m in enumerate(maps):
        first = next(stages)
        b = 2 * interpolated(a, first) - Fraction(1, 4 * 4**first) - 1
        if m == 3:
            second, b = next(stages), max(b, Fraction(-1))
            b = 2 * interpolated((a + b) / 2, second) - 2 * interpolated((a - b) / 2, second) - a
        a = b if place == len(maps) - 1 else max(b, Fraction(-1))
    return a


chains = st.sampled_from([maps for degree in DEGREES for maps in orders(degree)])
arguments = st.fractions(-1, 1, max_denominator=10**6)


@st.composite
def a_chain(draw: st.DrawFn, most: int = 12) -> tuple[tuple[int, ...], list[int]]:
    maps = draw(chains)
    stages = sum(m - 1 for m in maps)
    return maps, draw(st.lists(st.integers(1, most), min_size=stages, max_size=stages))


@settings(max_examples=200, deadline=None)
@given(a_chain(), arguments)
def test_the_bound_of_a_chain_holds_in_exact_arithmetic(
    chain: tuple[tuple[int, ...], list[int]], argument: Fraction
) -> None:
    maps, compositions = chain
    degree = math.prod(maps)
    error = abs(network_chain(argument, maps, compositions) - chebyshev_of(argument, degree))
    assert error <= Fraction(chain_error(maps, compositions))  # dyadic, so exact


@pytest.mark.parametrize(("maps", "share"), [((2,), 0.99), ((3,), 0.45), ((2, 2), 0.3), ((3, 3), 0.1)])
def test_the_bound_is_not_idle(maps: tuple[int, ...], share: float) -> None:
    """A chain does err by a good part of it; so the bound with one composition more does not hold."""
    compositions = [4] * sum(m - 1 for m in maps)
    grid = [Fraction(k, 1500) for k in range(-1500, 1501)]
    degree = math.prod(maps)
    largest = max(abs(network_chain(a, maps, compositions) - chebyshev_of(a, degree)) for a in grid)
    bound = chain_error(maps, compositions)
    assert share * bound <= largest <= bound


@settings(max_examples=25, deadline=None)
@given(a_chain(6), arguments)
def test_layers_and_elementwise_values_are_the_exact_chain(
    chain: tuple[tuple[int, ...], list[int]], argument: Fraction
) -> None:
    maps, compositions = chain
    a = float(argument)
    exact = float(1 + network_chain(Fraction(a), maps, compositions))
    fast = 1 + chain_value(torch.tensor([a], dtype=torch.float64), maps, compositions)
    one = np.ones(1)
    built = RidgeLayers(sparse.csr_array(np.ones((1, 1))), 0 * one, one, 0.0, maps, compositions)
    values = np.array([a], dtype=np.longdouble)
    for number, (weight, bias) in enumerate(layers := built.layers()):
        values = weight.toarray().astype(np.longdouble) @ values + bias
        values = values if number == len(layers) - 1 else np.maximum(values, 0)
    slope = 1e-15 * 9.0 ** len(maps)
    assert abs(float(fast) - exact) <= 50 * slope
    assert abs(float(values[0]) - exact) <= 50 * slope


def test_amplifications_are_those_of_the_maps_after() -> None:
    assert amplifications((2,)) == (0.25,) and amplifications((3,)) == (0.5, 0.5)
    assert amplifications((3, 2)) == (2.0, 2.0, 0.25)  # times 4, the square of 2
    assert amplifications((2, 3)) == (2.25, 0.5, 0.5)  # times 9
    assert orders(6) == ((3, 2), (2, 3)) and orders(9) == ((3, 3),)


# -- networks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", range(len(CASES)))
def test_module_elementwise_evaluation_and_counts_agree(case: int) -> None:
    approximator = formula(case)
    x = approximator.manifold.sample(150, 3)
    for maps, m in product(orders(approximator.degree), (1, 7)):
        fast = RidgeReluNetwork(approximator, m, maps)
        net = fast.network()
        assert fast.counts == net.counts
        assert fast.counts.depth == len(net.stack)
        scale = 1 + float(approximator.coefficients.abs().sum())
        torch.testing.assert_close(fast(x), net(x), rtol=0, atol=1e-12 * scale)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, len(CASES) - 1), st.integers(0, 999), st.data())
def test_a_network_keeps_its_bound_on_the_manifold(case: int, seed: int, data: st.DataObject) -> None:
    """Against the polynomial by cosines, which shares nothing with the chain."""
    approximator = random_formula(case, seed)
    maps = data.draw(st.sampled_from(orders(approximator.degree)))
    stages = len(amplifications(maps))
    compositions = data.draw(st.lists(st.integers(1, 20), min_size=stages, max_size=stages))
    fast = RidgeReluNetwork(approximator, compositions, maps)
    x, basis = approximator.manifold.sample(400, seed), approximator.basis
    a = basis.shift + (basis.coordinates.of(x) * torch.from_numpy(basis.scales)) @ torch.from_numpy(basis.directions).T
    assert float(a.abs().max()) <= 1  # no clip acts
    values = approximator.constant + (1 + torch.cos(approximator.degree * torch.acos(a))) @ approximator.coefficients
    rounding = 1e-12 * (1 + float(approximator.coefficients.abs().sum()))
    assert float((fast(x) - values).abs().max()) <= fast.error_bound + rounding


def test_what_is_zero_is_no_direction_of_the_network() -> None:
    approximator = random_formula(1, 4)
    zeros = int((approximator.coefficients == 0).sum())
    assert zeros > 0 and len(RidgeReluNetwork(approximator, 3).used[0]) == approximator.basis.count - zeros


def test_layers_and_numbers_grow_with_the_logarithm_of_the_accuracy() -> None:
    """Four times the accuracy is one composition more in every stage: the same layers and numbers every time."""
    approximator = formula(1)
    weights = [float(approximator.coefficients.abs().sum()) * w for w in amplifications((3, 2))]
    counts = []
    for k in range(4, 14):
        compositions = bounded_compositions(weights, 4.0**-k, [6.0, 13.0, 6.0])
        network = RidgeReluNetwork(approximator, compositions, (3, 2))
        assert network.error_bound <= 4.0**-k < 16 * network.error_bound
        counts.append(network.counts)
    assert np.unique(np.diff([c.depth for c in counts])).tolist() == [3]
    steps = np.unique(np.diff([c.nonzero for c in counts]))
    used = len(RidgeReluNetwork(approximator, 3).used[0])
    assert len(steps) == 1 and 20 * used <= steps[0] <= 30 * used


def test_float32_and_no_points() -> None:
    fast = RidgeReluNetwork(formula(1), 6)
    x = Circle().sample(50, 1)
    net = fast.network(torch.float32)
    assert net(x.float()).dtype == torch.float32
    torch.testing.assert_close(net(x.float()).double(), fast(x), rtol=0, atol=1e-3)
    assert fast(x[:0]).shape == (0,) and "T3, T2" in repr(fast)


# -- searches ----------------------------------------------------------------------------------------------------------


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.floats(1e-3, 1e3), st.integers(1, 50)), min_size=1, max_size=3), st.floats(1e-9, 1e-1))
def test_compositions_by_the_bound_are_nearly_the_cheapest(parts: list[tuple[float, int]], allowed: float) -> None:
    """Against all compositions in a box; none of those found can be lowered."""
    weights, price = [w for w, _ in parts], [float(p) for _, p in parts]
    found = bounded_compositions(weights, allowed, price)

    def error(m: tuple[int, ...]) -> float:
        return sum(w * 4.0**-k for w, k in zip(weights, m, strict=True))

    def cost(m: tuple[int, ...]) -> float:
        return sum(p * k for p, k in zip(price, m, strict=True))

    assert error(found) <= allowed
    for stage, m in enumerate(found):
        assert m == 1 or error((*found[:stage], m - 1, *found[stage + 1 :])) > allowed
    near = product(*[range(max(1, m - 3), m + 4) for m in found])
    best = min(cost(m) for m in near if error(m) <= allowed)
    assert cost(found) <= best + max(price)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 26), min_size=1, max_size=4))
def test_the_fewest_compositions_are_found_where_each_stage_has_its_own_limit(limits: list[int]) -> None:
    found = fewest_compositions(
        len(limits), lambda m: all(k >= limit for k, limit in zip(m, limits, strict=True)), lambda m: sum(m)
    )
    assert found == tuple(limits)
    assert fewest_compositions(2, lambda m: False, lambda m: sum(m)) is None


@pytest.mark.parametrize(("case", "epsilon"), [(1, 4e-2), (3, 2e-2)])
def test_the_search_meets_epsilon_and_fewer_compositions_do_not(case: int, epsilon: float) -> None:
    approximator = formula(case)
    manifold = approximator.manifold
    network, measured = same_ridge(approximator, SMOOTH, epsilon)
    assert measured.sup <= epsilon
    assert measure(network.network(), SMOOTH, manifold, samples=2000, rounds=2, seed=9).sup <= 1.02 * epsilon
    fewer = RidgeReluNetwork(approximator, [max(1, m - 1) for m in network.stages], network.chain)
    assert measure(fewer, SMOOTH, manifold, samples=4000, rounds=2).sup > epsilon
    proved, found = same_ridge(approximator, SMOOTH, epsilon, proved=True)
    assert found.sup <= epsilon and proved.counts.nonzero >= network.counts.nonzero
    assert proved.error_bound <= epsilon - measure(approximator, SMOOTH, manifold).sup


def test_the_search_reports_what_the_formula_reaches() -> None:
    approximator = formula(1)
    reached = measure(approximator, SMOOTH, Circle()).sup
    for proved in (False, True):
        with pytest.raises(EpsilonNotReached) as caught:
            same_ridge(approximator, SMOOTH, reached / 3, proved=proved)
        assert reached / 3 < caught.value.best < 2 * reached


def test_the_method_by_epsilon_and_by_hand() -> None:
    found = baselines.build("ridge_relu", SMOOTH, Circle(), 3e-2)
    assert found.measured is not None and found.measured.sup <= 3e-2
    assert found.counts == found.model.network().counts
    assert [t.outcome for t in found.history].count("chosen") == 1
    again = RidgeRelu().fit(SMOOTH, Circle(), found.settings)
    assert again.counts == found.counts and measure(again, SMOOTH, Circle()).sup <= 3.1e-2
    with pytest.raises(EpsilonNotReached):
        RidgeRelu().build(lambda x: (x[..., 0].abs()).sqrt(), Cube(1), 1e-6)


def test_bad_arguments_are_refused() -> None:
    approximator = formula(1)
    bad: list[tuple[Any, Any, str]] = [
        (0, None, "compositions"),
        (27, None, "compositions"),
        ([3, 3], None, "compositions: expected 3"),
        (3, (2, 2), "maps: expected one of"),
        (3, (3,), "maps: expected one of"),
    ]
    for compositions, maps, text in bad:
        with pytest.raises(InputError, match=text):
            RidgeReluNetwork(approximator, compositions, maps)
    with pytest.raises(InputError, match=r"x: expected .* shape \(\.\.\., 2\), got a tensor of shape \(4, 3\)"):
        RidgeReluNetwork(approximator, 3)(torch.zeros(4, 3, dtype=torch.float64))
    with pytest.raises(InputError, match="x: expected finite"):
        RidgeReluNetwork(approximator, 3)(torch.full((1, 2), math.nan, dtype=torch.float64))
    with pytest.raises(InputError, match="epsilon"):
        same_ridge(approximator, SMOOTH, -1.0)
    for allowed in (0.0, math.nan, 1e-40):
        with pytest.raises(InputError, match="allowed"):
            bounded_compositions([1.0], allowed, [1.0])
    for settings_, text in (({"degree": 5, "compositions": 3}, "degree"), ({"degree": 6}, "settings")):
        with pytest.raises(InputError, match=text):
            RidgeRelu().fit(SMOOTH, Circle(), settings_)
    with pytest.raises(InputError, match="manifold"):
        RidgeRelu().check(Sphere(12))
