"""Yarotsky's network on the cube: the counts, the two evaluations, polynomials, the error bound, the method."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from construct.baselines.relu import taylor_method
from construct.baselines.relu.taylor_terms import TaylorTerms, chain_layers
from construct.baselines.relu.yarotsky import Yarotsky, yarotsky_network
from construct.errors import BudgetExceeded, EpsilonNotReached, InputError
from construct.manifolds import Cube, Sphere
from construct.problem import Problem


def wave(x):
    return torch.exp(0.5 * x[..., 0]) * torch.sin(2 * x.sum(-1) + 1)


def cube_points(dim, count, seed):
    return torch.from_numpy(np.random.default_rng(seed).uniform(-1, 1, (count, dim)))


def naive(points, cells, degree, derivative):
    """Trapezoids times Taylor polynomials with exact products, by loops; derivative(alpha, node) of the target."""
    found = []
    for x in points.tolist():
        total = 0.0
        for k in itertools.product(range(cells + 1), repeat=len(x)):
            u = [cells * (c + 1) / 2 - j for c, j in zip(x, k, strict=True)]
            bump = math.prod(max(0.0, min(1.0, 2 - 3 * abs(v))) for v in u)
            if bump == 0:
                continue
            node = [2 * j / cells - 1 for j in k]
            for alpha in itertools.product(range(degree + 1), repeat=len(x)):
                if sum(alpha) <= degree:
                    steps = (((c - a) ** p / math.factorial(p)) for c, a, p in zip(x, node, alpha, strict=True))
                    total += bump * derivative(alpha, node) * math.prod(steps)
        found.append(total)
    return torch.tensor(found, dtype=torch.float64)


SIZES = [(1, s, m) for s in range(4) for m in (1, 9)] + [(2, 0, 4), (2, 1, 1), (2, 3, 3), (3, 0, 2), (3, 1, 3)]


@pytest.mark.parametrize(("dim", "degree", "m"), SIZES)
def test_fast_evaluation_and_counts_are_those_of_the_network(dim, degree, m):
    fast = yarotsky_network(wave, dim, cells={1: 5, 2: 3, 3: 1}[dim], degree=degree, compositions=m)
    net = fast.network()
    assert fast.counts == net.counts
    assert fast.weight_bound == pytest.approx(net.weight_bound, rel=1e-12)
    x = cube_points(dim, 100, 0)
    corners = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=dim)), dtype=torch.float64)
    x = torch.cat([x, corners])
    assert torch.allclose(fast(x), net(x), rtol=0, atol=2e-12)


@pytest.mark.parametrize(("dim", "cells", "degree"), [(1, 4, 3), (2, 3, 2), (2, 2, 0)])
def test_exact_products_are_the_formula(dim, cells, degree):
    weights = [0.7, -1.3][:dim]

    def target(x):
        return torch.exp((x * torch.tensor(weights, dtype=torch.float64)).sum(-1))

    def derivative(alpha, node):
        inner = sum(w * c for w, c in zip(weights, node, strict=True))
        return math.exp(inner) * math.prod(w**a for w, a in zip(weights, alpha, strict=True))

    found = yarotsky_network(target, dim, cells=cells, degree=degree, compositions=None)
    x = cube_points(dim, 30, 1)
    assert torch.allclose(found(x), naive(x, cells, degree, derivative), rtol=0, atol=1e-13)


@settings(max_examples=12)
@given(st.integers(1, 2), st.integers(0, 3), st.integers(1, 12), st.integers(0, 2**31))
def test_products_cost_no_more_than_the_bound(dim, degree, m, seed):
    """2^d nodes, K - 1 products of error 4^-m each, coefficients of at most W = max sum |c| (K = d + s at most)."""
    fast = yarotsky_network(wave, dim, cells=3, degree=degree, compositions=m)
    x = cube_points(dim, 200, seed)
    largest = float(fast.terms.coefficients.abs().sum(-1).max())
    bound = 2**dim * (dim + degree - 1) * 4.0**-m * largest
    assert float((fast(x) - fast.with_compositions(None)(x)).abs().max()) <= bound + 1e-12


@settings(max_examples=12)
@given(st.lists(st.integers(0, 2), min_size=1, max_size=3), st.integers(1, 8), st.integers(0, 2**31))
def test_a_chain_is_zero_off_its_trapezoid_and_stays_in_the_box(alpha, m, seed):
    u = np.random.default_rng(seed).uniform(-4, 4, (40, len(alpha)))
    values = u.T
    for number, (weight, bias) in enumerate(chain_layers(tuple(alpha), m)):
        values = weight @ (np.maximum(values, 0) if number else values) + bias[:, None]
    outside = (np.abs(u) >= 2 / 3).any(axis=1)
    assert (np.abs(values[0, outside]) <= 1e-15).all()  # rounding of sums in another order
    assert (np.abs(values) <= 1 + 1e-12).all()
    bump = np.clip(2 - 3 * np.abs(u), 0, 1).prod(axis=1)
    want = bump * (np.clip(u, -1, 1) ** np.array(alpha)).prod(axis=1)
    factors = len(alpha) + sum(alpha)
    assert (np.abs(values[0] - want) <= (factors - 1) * 4.0**-m + 1e-12).all()


def test_polynomials_are_reproduced_up_to_the_products():
    def quadratic(x):
        return 0.5 * x[..., 0] ** 2 - x[..., 0] * x[..., 1] + 0.25

    x = cube_points(2, 200, 2)
    exact = yarotsky_network(quadratic, 2, cells=3, degree=2, compositions=None)
    assert torch.allclose(exact(x), quadratic(x), rtol=0, atol=1e-13)
    assert float((exact.with_compositions(1)(x) - quadratic(x)).abs().max()) > 1e-3
    assert float((exact.with_compositions(20)(x) - quadratic(x)).abs().max()) < 1e-9


def test_the_zero_function():
    fast = yarotsky_network(lambda x: 0 * x[..., 0], 2, cells=2, degree=1, compositions=3)
    assert fast.counts == fast.network().counts
    assert not fast(cube_points(2, 5, 0)).any()
    assert fast.weight_bound == 1.0


def test_dtype_shapes_and_repr():
    fast = yarotsky_network(wave, 2, cells=3, degree=1, compositions=6)
    x = cube_points(2, 12, 3)
    assert fast(x.reshape(3, 4, 2)).shape == (3, 4)
    single = fast(x.float())
    assert single.dtype == torch.float32
    assert torch.allclose(single.double(), fast(x), atol=1e-4)
    assert "6 compositions" in repr(fast)
    with pytest.raises(InputError, match=r"x: expected a tensor of shape \(\.\.\., "):
        fast(x[:, :1])
    with pytest.raises(BudgetExceeded, match="most_weights"):
        fast.network(most_weights=10)


def test_bad_networks_are_refused():
    with pytest.raises(InputError, match="compositions"):
        yarotsky_network(wave, 1, cells=2, degree=1, compositions=27)
    with pytest.raises(InputError, match="cells"):
        yarotsky_network(wave, 1, cells=0, degree=1, compositions=2)
    with pytest.raises(InputError, match="cells: expected at most"):
        yarotsky_network(wave, 3, cells=1000, degree=1, compositions=2)
    with pytest.raises(InputError, match="target: expected finite derivatives"):
        yarotsky_network(lambda x: (x[..., 0] ** 2).sqrt(), 1, cells=2, degree=1, compositions=2)
    with pytest.raises(InputError, match=r"compositions: .* \(exact products are no ReLU network\), got None"):
        yarotsky_network(wave, 1, cells=2, degree=1, compositions=None).network()


def test_bad_terms_are_refused():
    good: dict[str, Any] = {
        "count": 2,
        "cells": 3,
        "compositions": 2,
        "charts": torch.tensor([0, 1]),
        "nodes": torch.tensor([[1], [2]]),
        "coefficients": torch.ones(2, 2, dtype=torch.float64),
        "exponents": torch.tensor([[0], [1]]),
        "slope": 1.0,
        "shift": 0.0,
    }
    assert TaylorTerms(**good).terms == 4
    for name, bad, message in [
        ("charts", torch.tensor([0, 2]), r"charts: expected integers in 0\.\.1, got 0\.\.2"),
        ("charts", torch.tensor([1, 0]), "nodes: expected nodes sorted"),
        ("nodes", torch.tensor([[1], [4]]), r"nodes: expected integers in 0\.\.3, got 1\.\.4"),
        ("coefficients", torch.full((2, 2), math.nan), "coefficients: expected finite"),
        ("coefficients", torch.ones(2, 3), "coefficients: expected nodes"),
    ]:
        with pytest.raises(InputError, match=message):
            TaylorTerms(**{**good, name: bad})


# -- the method -------------------------------------------------------------------------------------------------------


def test_build_reaches_epsilon_with_the_fewest_weights_it_tried():
    epsilon = 5e-2
    found = Yarotsky().build(wave, Cube(1), epsilon)
    assert found.measured is not None
    assert found.measured.sup <= epsilon
    x = cube_points(1, 2000, 5)
    assert float((found(x) - wave(x)).abs().max()) <= epsilon
    assert found.counts == found.model.network().counts
    chosen = [trial for trial in found.history if trial.outcome == "chosen"]
    assert [trial.cost for trial in chosen] == [found.counts.nonzero] and len(found.history) > 5
    again = Yarotsky().fit(wave, Cube(1), found.settings)
    assert again.counts == found.counts
    settings_ = found.settings
    for worse in ({"cells": max(1, settings_["cells"] // 2)}, {"compositions": max(1, settings_["compositions"] - 2)}):
        changed = Yarotsky().fit(wave, Cube(1), {**settings_, **worse})
        if {**settings_, **worse} != settings_:
            assert float((changed(x) - wave(x)).abs().max()) > epsilon


def test_rough_and_numpy_targets_take_degree_zero():
    def rough(x):
        return np.sqrt(np.abs(np.asarray(x)[..., 0]))

    assert Yarotsky().degrees(Problem(rough, Cube(1))) == (0,)
    assert Yarotsky().degrees(Problem(wave, Cube(1), smoothness=0.5)) == (0,)
    assert Yarotsky().degrees(Problem(wave, Cube(1), smoothness=2.5)) == (2,)
    assert Yarotsky().build(rough, Cube(1), 0.2).settings["degree"] == 0
    assert Yarotsky(smoothness=1.5).build(wave, Cube(1), 0.2).settings["degree"] == 1


def test_ladder_and_budget():
    ladder = Yarotsky().ladder(Cube(2))
    nodes = [(rung["cells"] + 1) ** 2 for rung in ladder]
    assert nodes == sorted(set(nodes))
    assert nodes[-1] <= taylor_method.MOST_NODES
    assert {rung["degree"] for rung in Yarotsky(smoothness=3.0).ladder(Cube(1))} == {2}
    found = Yarotsky().build(wave, Cube(1), budget=1500)
    assert 500 < found.counts.nonzero <= 1500
    with pytest.raises(BudgetExceeded):
        Yarotsky().build(wave, Cube(1), budget=5)


def test_an_epsilon_out_of_reach_raises(monkeypatch):
    monkeypatch.setattr(taylor_method, "MOST_NODES", 8)
    with pytest.raises(EpsilonNotReached, match="reaches") as caught:
        Yarotsky(smoothness=1.0).build(wave, Cube(1), 1e-3)
    assert 1e-3 < caught.value.best < 2.0


def test_bad_arguments_of_the_method_are_refused():
    for manifold in (Cube(2, ambient=3), Sphere(1)):
        with pytest.raises(InputError, match="manifold: expected a Cube with ambient = dim for yarotsky"):
            Yarotsky().fit(wave, manifold, {"cells": 2, "degree": 1, "compositions": 3})
    with pytest.raises(InputError, match="settings: expected those of yarotsky"):
        Yarotsky().fit(wave, Cube(1), {"cells": 2, "degree": 1, "compositions": 3, "width": 3})
    with pytest.raises(InputError, match="got no compositions"):
        Yarotsky().fit(wave, Cube(1), {"cells": 2, "degree": 1})
    with pytest.raises(InputError, match="compositions: expected"):
        Yarotsky().fit(wave, Cube(1), {"cells": 2, "degree": 1, "compositions": None})
    with pytest.raises(InputError, match="smoothness"):
        Yarotsky(smoothness=0.0)
