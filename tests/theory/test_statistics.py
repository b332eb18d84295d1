"""Covering numbers, sensitivity and sizes against independent oracles: recursions, brute force, automatic gradients."""

import itertools
import math
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

import construct
from construct.errors import InputError
from construct.execution.plans import propagate
from construct.manifolds import Circle
from construct.network import Network
from construct.theory import (
    Geometry,
    class_log_lipschitz,
    data_exponent,
    generalization_bound,
    log_covering_number,
    model_exponent,
    network_log_lipschitz,
    oracle_bound,
    paper_blocks,
    paper_cells,
    paper_error,
    paper_sizes,
    step_constants,
    taylor_constant,
)
from construct.transformer.weights import FeedForward, Heads, Weights

GEOMETRY = Geometry(dim=2, ambient=3, charts=12, overlap=5, radius=1.0, inner_radius=0.9, scale=0.9, box=1.0)
SIZES: dict[str, Any] = dict(blocks=3, heads=4, tokens=7, width=5, ffn_depth=3, weight_bound=2.5, state_bound=6.0)


def random_network(seed, *, tokens=4, width=3, blocks=2, heads=2, layers=2, scale=0.4):
    rng = np.random.default_rng(seed)

    def draw(*shape):
        return scale * rng.normal(size=shape)

    parts = [
        (
            Heads(*(draw(heads, width, width) for _ in range(3))),
            FeedForward(tuple((draw(width, width), draw(width)) for _ in range(layers))),
        )
        for _ in range(blocks)
    ]
    return Network(Weights(draw(tokens, width), tuple(parts), (1, 2), np.full(2, 0.5)))


def positive_network(tokens=4, width=3):
    """Positive weights, equal tokens, x = 0: every change of a parameter raises the output, nothing cancels."""
    rng = np.random.default_rng(0)

    def draw(*shape):
        return 0.2 + 0.3 * rng.random(shape)

    layers = tuple((draw(width, width), draw(width)) for _ in range(3))
    parts = [(Heads(*(draw(2, width, width) for _ in range(3))), FeedForward(layers)) for _ in range(2)]
    parts.append((Heads.none(width), FeedForward()))
    hidden = np.broadcast_to(draw(width), (tokens, width)).copy()
    return Network(Weights(hidden, tuple(parts), (2, 1), np.zeros(1)))


def gradient_sum(net, x):
    """sum |dT/dtheta| over all parameters at one point, by automatic differentiation of the dense execution."""
    net.execution = "dense"
    net.requires_grad_()
    value = net(x[None])[0]
    grads = torch.autograd.grad(value, list(net.parameters()), allow_unused=True)
    net.requires_grad_(False)
    return sum(float(g.abs().sum()) for g in grads if g is not None)


def plain_recursion(blocks, heads, tokens, width, ffn_depth, weight_bound, state_bound):
    """Step 4 written out in rationals, constants from sums instead of closed forms."""
    kappa, bound, w, depth = Fraction(weight_bound), Fraction(state_bound), width, ffn_depth
    a = 3 * heads * tokens * w**4 * kappa**2 * bound**2
    activation, weights = bound, Fraction(0)
    for i in range(1, depth + 1):
        weights += (w * kappa) ** (depth - i) * (w + 1) ** i * kappa ** (i - 1) * bound
        activation = w * kappa * activation + kappa
        assert activation <= ((w + 1) * kappa) ** i * bound
    feed = (w * kappa) ** depth if depth else 0
    change = Fraction(1)
    for _ in range(blocks):
        change = (1 + feed) * (change + a * kappa * change + a * bound) + weights
    return change


def log_of(fraction):
    return math.log(fraction.numerator) - math.log(fraction.denominator)


# -- the class ------------------------------------------------------------------------------------


@pytest.mark.parametrize("blocks", [0, 1, 5, 14])
@pytest.mark.parametrize("depth", [0, 1, 4, 30])
@pytest.mark.parametrize("kappa, bound", [(1.0, 1.0), (2.5, 6.0), (1e6, 1e9)])
def test_closed_form_is_the_recursion(blocks, depth, kappa, bound):
    sizes = SIZES | dict(blocks=blocks, ffn_depth=depth, weight_bound=kappa, state_bound=bound)
    assert class_log_lipschitz(**sizes) == pytest.approx(log_of(plain_recursion(**sizes)), rel=1e-12, abs=1e-12)


def test_closed_form_without_heads_and_without_ffn():
    assert class_log_lipschitz(**SIZES | dict(heads=0, ffn_depth=0)) == 0.0  # only the initial state is left
    sizes = SIZES | dict(heads=0)
    assert class_log_lipschitz(**sizes) == pytest.approx(log_of(plain_recursion(**sizes)), rel=1e-13)


def test_nothing_overflows():
    value = class_log_lipschitz(20, 10**9, 10**9, 5, 200, 1e15, 1e30)
    assert math.isfinite(value) and value > 1e4
    assert math.isfinite(log_covering_number(1e-9, 10**12, 1e15, value))


@pytest.mark.parametrize("name", list(SIZES))
def test_lipschitz_constant_grows_in_everything(name):
    assert class_log_lipschitz(**SIZES) < class_log_lipschitz(**SIZES | {name: SIZES[name] + 1})


def test_theory_bound_is_weaker():
    """The one-line bound log Lambda <= L log A + log(1 + L (M + F (w+1)^F kappa^(F-1) M))."""
    L, F, w, kappa, M = (SIZES[k] for k in ("blocks", "ffn_depth", "width", "weight_bound", "state_bound"))
    growth = step_constants(SIZES["heads"], SIZES["tokens"], w, F, kappa, M).growth
    loose = L * math.log(growth) + math.log(1 + L * (M + F * (w + 1) ** F * kappa ** (F - 1) * M))
    assert class_log_lipschitz(**SIZES) <= loose


@pytest.mark.parametrize("name, value", [
    ("blocks", -1), ("heads", 1.5), ("tokens", 0), ("width", 0), ("ffn_depth", -1), ("weight_bound", 0.5),
    ("state_bound", math.nan), ("weight_bound", math.inf), ("state_bound", "1"),
])  # fmt: skip
def test_class_refuses(name, value):
    with pytest.raises(InputError, match=name):
        class_log_lipschitz(**SIZES | {name: value})


def test_random_nets_stay_within_the_class_constant():
    for seed in range(20):
        net = random_network(seed)
        rng = np.random.default_rng(seed)
        kappa = max(1.0, max(float(p.abs().max()) for p in net.parameters()) + 1e-4)
        states = [b.after.magnitude().max() for b in propagate(net.transformer, net.box)]
        log_lambda = class_log_lipschitz(2, 2, 4, 3, 2, kappa, max(1.0, 2 * max(states)))
        x = torch.from_numpy(rng.uniform(-0.5, 0.5, size=(50, 2)))
        before = net(x)
        with net.edit():
            for p in net.parameters():
                p += 1e-4 * torch.from_numpy(rng.choice([-1.0, 1.0], size=p.shape))
        assert 0.0 < float((net(x) - before).abs().max()) <= math.exp(log_lambda) * 1e-4


# -- covering number ------------------------------------------------------------------------------


def test_covering_number_small_by_hand():
    # Lambda = 2.95, kappa = 2, delta = 1/2: 23.6, hence 24 cells an axis
    assert log_covering_number(0.5, 7, 2.0, math.log(2.95)) == pytest.approx(7 * math.log(24), rel=1e-12)
    assert log_covering_number(100.0, 7, 2.0, math.log(3.0)) == 0.0  # one ball
    assert log_covering_number(0.5, 0, 2.0, 1.0) == 0.0


def test_a_cover_of_one_parameter_by_brute_force():
    """T = theta^2 on theta in [-2, 2]: Lambda = 4; the cells' members must be within delta of each other."""
    delta = 0.1
    cells = round(math.exp(log_covering_number(delta, 1, 2.0, math.log(4.0))))
    edges = np.linspace(-2, 2, cells + 1)
    assert np.abs(np.diff(edges**2)).max() <= delta
    assert np.abs(np.diff(np.linspace(-2, 2, cells // 2 + 1) ** 2)).max() > delta


@pytest.mark.parametrize("arguments", [
    (0.0, 3, 2.0, 1.0), (math.nan, 3, 2.0, 1.0), (0.1, -1, 2.0, 1.0), (0.1, 3, 0.0, 1.0), (0.1, 3, 2.0, math.inf),
])  # fmt: skip
def test_covering_number_refuses(arguments):
    with pytest.raises(InputError):
        log_covering_number(*arguments)


# -- one network ----------------------------------------------------------------------------------


def test_network_constant_is_sharp_on_a_positive_network():
    net = positive_network()
    exact = gradient_sum(net, torch.zeros(1, dtype=torch.float64))
    assert network_log_lipschitz(net) == pytest.approx(math.log(exact), abs=1e-6)
    assert network_log_lipschitz(net) >= math.log(exact)


@pytest.mark.parametrize("seed", range(5))
def test_network_constant_bounds_the_gradient(seed):
    net = random_network(seed)
    log_lambda = network_log_lipschitz(net)
    for x in torch.tensor(list(itertools.product([-0.5, 0.1, 0.5], repeat=2)), dtype=torch.float64):
        assert gradient_sum(net, x) <= math.exp(log_lambda)


def test_a_network_whose_states_overflow_has_no_constant():
    net = random_network(0)
    with net.edit():
        for p in net.parameters():
            p *= 1e200
    with pytest.raises(InputError, match="net: expected weights whose states are bounded by numbers"):
        network_log_lipschitz(net)


@pytest.mark.parametrize("radius", [1e-6, 1e-2, 0.3])
def test_finite_moves_are_bounded(radius):
    for seed in range(5):
        net = random_network(seed)
        claimed = math.exp(network_log_lipschitz(net, radius)) * radius
        x = torch.tensor([[0.5, -0.5], [0.0, 0.2], [-0.5, -0.5]], dtype=torch.float64)
        before = net(x)
        generator = torch.Generator().manual_seed(seed)
        with net.edit():
            for p in net.parameters():
                p += radius * (2 * torch.randint(0, 2, p.shape, generator=generator).double() - 1)
        net.execution = "dense"
        assert 0.0 < float((net(x, outside="evaluate") - before).abs().max()) <= claimed


def test_network_constant_grows_with_the_radius_and_is_below_that_of_the_class():
    net = construct.approximate(lambda x: x[..., 0] * x[..., 1], Circle(), charts=4, degree=3)
    a = net.architecture
    values = [network_log_lipschitz(net, radius) for radius in (0.0, 1e-30, 1e-6, 1.0)]
    assert values == sorted(values) and values[0] < values[-1]
    states = max(float(s.magnitude().max()) for b in propagate(net.transformer, net.box) for s in (b.before, b.after))
    sizes = (a.blocks, a.heads, a.tokens, a.embedding_dim, a.ffn_depth, a.weight_bound, states)
    assert values[0] < class_log_lipschitz(*sizes)


@pytest.mark.parametrize("radius", [-1e-9, math.nan, math.inf, "0"])
def test_network_constant_refuses(radius):
    with pytest.raises(InputError, match="radius"):
        network_log_lipschitz(positive_network(), radius)


# -- sizes ----------------------------------------------------------------------------------------


def test_taylor_constant_at_integers_and_halves():
    assert taylor_constant(3, 1.0) == pytest.approx(1.0)  # s = 0: F |v|
    assert taylor_constant(3, 3.0) == pytest.approx(9 / 6)  # d^2 / 3!
    assert taylor_constant(1, 1.5) == pytest.approx(1 / 1.5)  # z_+^1.5: F = 1.5, remainder |v|^1.5
    assert taylor_constant(2, 0.25) == pytest.approx(1.0)


@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0, 3.5])
@pytest.mark.parametrize("epsilon", [0.3, 1e-2, 1e-5])
def test_cells_are_the_fewest(beta, epsilon):
    cells = paper_cells(GEOMETRY, beta, 3.0, epsilon)
    assert paper_error(GEOMETRY, beta, 3.0, cells) <= epsilon
    assert cells == 1 or paper_error(GEOMETRY, beta, 3.0, cells - 1) > epsilon * (1 - 1e-9)


def test_blocks_by_hand():
    assert [paper_blocks(d, 1) for d in range(1, 7)] == [7, 9, 10, 10, 11, 11]  # the README's table
    assert [paper_blocks(1, s) for s in (0, 1, 2, 3, 4, 5, 8, 9)] == [7, 7, 7, 8, 8, 9, 9, 10]


def test_sizes_grow_with_accuracy_but_blocks_do_not():
    sizes = [paper_sizes(GEOMETRY, 2.0, 1.0, epsilon=epsilon) for epsilon in (1e-1, 1e-2, 1e-3)]
    assert len({s.blocks for s in sizes}) == 1
    for name in ("heads", "tokens", "ffn_depth", "parameters", "entries", "weight_bound", "state_bound"):
        values = [getattr(s, name) for s in sizes]
        assert values == sorted(values) and values[0] < values[-1], name


@pytest.mark.parametrize("change", [
    {"dim": 4}, {"dim": 0}, {"overlap": 13}, {"radius": 0.8}, {"scale": math.nan}, {"box": -1.0}, {"charts": 2.5},
])  # fmt: skip
def test_geometry_refuses(change):
    with pytest.raises(InputError, match="|".join([*change, "inner_radius", "ambient"])):
        replace(GEOMETRY, **change)


def test_sizes_refuse():
    with pytest.raises(InputError, match="epsilon"):
        paper_sizes(GEOMETRY, 2.0, 1.0)
    with pytest.raises(InputError, match="epsilon"):
        paper_sizes(GEOMETRY, 2.0, 1.0, epsilon=0.0)
    with pytest.raises(InputError, match="smoothness"):
        paper_sizes(GEOMETRY, math.inf, 1.0, cells=3)
    with pytest.raises(InputError, match="cells"):
        paper_sizes(GEOMETRY, 2.0, 1.0, cells=0)


# -- generalization -------------------------------------------------------------------------------


def test_bound_is_the_sum_of_its_parts_and_says_what_it_is():
    found = generalization_bound(10**6, 2, 3, 2.0, charts=12, overlap=5)
    assert found.kind == "a-priori"
    assert found.bound == pytest.approx(found.approximation + found.variance + found.discretization)
    assert found.approximation == pytest.approx(4 * found.epsilon**2)
    assert 1 <= found.sizes.cells <= (10**6) ** (1 / 6)
    assert found.trivial == 4.0
    assert found.data_exponent == pytest.approx(2 / 3) and found.model_exponent == pytest.approx(2.0)
    by_hand = (24 + 16 / 3) * found.log_covering / 10**6 + 24 * (1 + math.log(2)) / 10**6
    assert found.variance == pytest.approx(by_hand)


@pytest.mark.parametrize("dim, beta", [(1, 0.5), (1, 2.0), (2, 1.0), (3, 1.5)])
def test_slope_in_the_number_of_samples(dim, beta):
    samples = [2**k for k in range(120, 181, 6)]
    found = [generalization_bound(n, dim, dim + 3, beta) for n in samples]
    exponent = data_exponent(beta, dim)
    logs = [math.log(b.bound) - exponent * math.log(b.log_factor) for b in found]
    slope = np.polyfit(np.log([float(n) for n in samples]), logs, 1)[0]
    assert -slope == pytest.approx(exponent, rel=0.01)
    # the factor that was divided out is polylogarithmic: log N per parameter grows slower than log(n)^3
    growth = math.log(found[-1].log_factor / found[0].log_factor) / math.log(180 / 120)
    assert 0 < growth < 3
    # balanced: N ~ (n/Q)^(1/(2 beta + d)), and both halves of the bound have the same order
    cells = [math.log(b.sizes.cells) for b in found]
    rate = np.polyfit([math.log(n) - math.log(b.log_factor) for n, b in zip(samples, found, strict=True)], cells, 1)[0]
    assert rate == pytest.approx(1 / (2 * beta + dim), rel=0.02)
    assert all(0.1 < b.approximation / b.variance < 10 for b in found)


@pytest.mark.parametrize("n", [10**4, 10**12, 2**150])
def test_the_balanced_size_is_the_best(n):
    best = generalization_bound(n, 2, 3, 1.0, charts=6)
    for factor in (0.1, 0.5, 0.9, 1.1, 2.0, 10.0):
        cells = max(1, round(factor * best.sizes.cells))
        assert best.bound <= generalization_bound(n, 2, 3, 1.0, charts=6, cells=cells).bound * (1 + 1e-3)


def test_bound_shrinks_with_samples_and_grows_with_noise_and_dimension():
    base = generalization_bound(10**8, 2, 4, 1.0).bound
    assert generalization_bound(10**9, 2, 4, 1.0).bound < base
    assert generalization_bound(10**8, 2, 4, 1.0, noise=2.0).bound > base
    assert generalization_bound(10**8, 3, 4, 1.0).bound > base
    assert generalization_bound(10**8, 2, 40, 1.0).bound > base


def test_exponents():
    assert data_exponent(1.0, 2) == 0.5 and model_exponent(1.0, 2) == 1.0
    for bad in (0.0, math.nan, -1.0):
        with pytest.raises(InputError, match="smoothness"):
            data_exponent(bad, 2)
        with pytest.raises(InputError, match="smoothness"):
            model_exponent(bad, 2)


def test_oracle_bound_by_hand_and_refusals():
    parts = oracle_bound(0.5, 2.0, 10, bound=3.0, noise=1.0, delta=0.1)
    assert parts == pytest.approx((2.0, ((24 + 48) * 2 + 24 * (1 + math.log(2))) / 10, 4.4 + 0.04))
    for name in ("approximation", "log_covering", "noise", "delta", "bound", "samples"):
        arguments: dict[str, Any] = dict(
            approximation=0.5, log_covering=2.0, samples=10, bound=3.0, noise=1.0, delta=0.1
        )
        with pytest.raises(InputError, match=name):
            oracle_bound(**arguments | {name: -1})
        with pytest.raises(InputError, match=name):
            oracle_bound(**arguments | {name: math.nan})


@pytest.mark.parametrize("change", [
    {"samples": 0}, {"samples": 1.5}, {"dim": 0}, {"ambient": 1}, {"smoothness": 0.0}, {"radius": -1.0},
    {"holder": math.nan}, {"noise": -1.0}, {"cells": 0},
])  # fmt: skip
def test_generalization_bound_refuses(change):
    arguments: dict[str, Any] = dict(samples=100, dim=2, ambient=3, smoothness=1.0)
    with pytest.raises(InputError, match=next(iter(change))):
        generalization_bound(**arguments | change)
