"""The network of Chen et al.: counts, the two evaluations, indicators, the formula in the limit, the method."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from construct.baselines.relu import chen
from construct.baselines.relu.chen import Chen, ChenNetwork, chen_network, largest_distance_error, ramp_sizes
from construct.errors import InputError
from construct.manifolds import Cube, Sphere
from construct.paper.taylor import paper_atlas, taylor_approximator

MANIFOLDS = {
    "circle": Sphere(1),
    "circle in R^4": Sphere(1, ambient=4),
    "sphere": Sphere(2),
    "sphere in R^6": Sphere(2, ambient=6),
    "square": Cube(2),
    "cube": Cube(3),
}


def wave(x):
    return torch.exp(0.5 * x[..., 0]) * torch.sin(2 * x.sum(-1) + 1)


SIZES = [(name, 1, 3) for name in MANIFOLDS] + [("circle", 0, 2), ("sphere", 0, 6), ("sphere in R^6", 2, 1)]


@pytest.mark.parametrize(("name", "degree", "m"), SIZES)
def test_fast_evaluation_and_counts_are_those_of_the_network(name, degree, m):
    manifold = MANIFOLDS[name]
    fast = Chen().design(wave, manifold, 1 if manifold.dim > 1 else 3, degree, m)
    net = fast.network()
    assert fast.counts == net.counts
    assert fast.weight_bound == pytest.approx(net.weight_bound, rel=1e-12)
    x = manifold.sample(60, seed=1)
    assert torch.allclose(fast(x), net(x), rtol=0, atol=2e-12)


def test_degree_three_on_the_circle():
    fast = Chen().design(wave, Sphere(1), 4, 3, 9)
    net, x = fast.network(), Sphere(1).sample(200, seed=1)
    assert fast.counts == net.counts
    assert torch.allclose(fast(x), net(x), rtol=0, atol=2e-12)


@pytest.mark.parametrize("name", ["circle", "sphere in R^6", "square"])
def test_indicators_are_one_on_the_support_and_zero_off_the_ball(name):
    manifold = MANIFOLDS[name]
    fast = Chen().design(wave, manifold, 2, 0, 3)
    x = manifold.sample(3000, seed=2)
    found, distance = fast.indicator(x), torch.cdist(x, fast.atlas.centres)
    assert torch.equal(found[distance <= fast.inner_radius], torch.ones(int((distance <= fast.inner_radius).sum())))
    assert not found[distance >= fast.atlas.radius].any()
    ring = found[(distance > fast.inner_radius) & (distance < fast.atlas.radius)]
    assert bool(((ring >= 0) & (ring <= 1)).all())


@settings(max_examples=10)
@given(st.sampled_from(sorted(MANIFOLDS)), st.floats(0.05, 0.999))
def test_ramp_sizes_satisfy_their_condition_and_no_smaller_do(name, share):
    atlas = paper_atlas(MANIFOLDS[name])
    inner = atlas.radius * share
    compositions, doublings = ramp_sizes(atlas, inner)
    room = atlas.radius**2 - inner**2
    error = largest_distance_error(atlas, compositions)
    assert error + atlas.radius**2 * 2.0**-doublings <= room * (1 + 1e-9)
    if doublings:
        assert error + atlas.radius**2 * 2.0 ** (1 - doublings) > room
    if compositions > 1:
        assert largest_distance_error(atlas, compositions - 1) > 0.9 * room


@pytest.mark.parametrize(("name", "cells", "degree"), [("circle", 6, 3), ("sphere", 3, 2), ("square", 3, 1)])
def test_exact_products_are_the_formula_off_the_rings(name, cells, degree):
    manifold = MANIFOLDS[name]
    formula = taylor_approximator(wave, paper_atlas(manifold), cells=cells, degree=degree)
    fast = chen_network(formula, None)
    x = manifold.sample(3000, seed=3)
    distance = torch.cdist(x, fast.atlas.centres)
    ring = ((distance > fast.inner_radius) & (distance < fast.atlas.radius)).any(-1)
    assert int((~ring).sum()) > 500
    assert torch.allclose(fast(x[~ring]), formula(x[~ring]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["circle", "sphere"])
def test_products_cost_no_more_than_the_bound(name):
    """At x: sum over charts of 2^d (K - 1) 4^-m W_n for the terms, and B_n 4^-m <= 2^d (s + 1) W_n 4^-m for the cut."""
    manifold = MANIFOLDS[name]
    exact, degree, dim = Chen().design(wave, manifold, 3, 2, None), 2, manifold.dim
    largest = float(exact.terms.coefficients.abs().sum(-1).max())
    x = manifold.sample(1000, seed=4)
    charts = (torch.cdist(x, exact.atlas.centres) < exact.atlas.radius).sum(-1)
    for m in (2, 5, 8):
        error = (exact.with_compositions(m)(x) - exact(x)).abs()
        bound = charts * 2**dim * (dim + degree - 1 + degree + 1) * largest * 4.0**-m
        assert bool((error <= bound + 1e-12).all())
        assert float(error.max()) > 1e-3 * float(bound.max())  # so the products are not exact ones


def test_the_zero_function():
    fast = Chen().design(lambda x: 0 * x[..., 0], Sphere(1), 2, 0, 3)
    assert fast.counts == fast.network().counts
    assert not fast(Sphere(1).sample(9, seed=0)).any()


def test_float32_and_shapes():
    manifold = Sphere(2, ambient=6)
    fast, x = Chen().design(wave, manifold, 3, 1, 6), manifold.sample(40, seed=5)
    single = fast(x.float().reshape(4, 10, 6))
    assert (single.dtype, single.shape) == (torch.float32, (4, 10))
    assert torch.allclose(single.double().flatten(), fast(x), atol=1e-3)
    assert "doublings" in repr(fast)


def test_bad_networks_are_refused():
    atlas = paper_atlas(Sphere(1))
    formula = taylor_approximator(wave, atlas, cells=2, degree=1)
    good = chen_network(formula, 3)
    with pytest.raises(InputError, match="doublings: expected error"):
        replace(good, doublings=good.doublings - 1)
    with pytest.raises(InputError, match="doublings: expected error"):
        ChenNetwork(good.terms, atlas, good.inner_radius, 1, good.doublings)
    with pytest.raises(InputError, match="inner_radius: expected a number between"):
        ramp_sizes(atlas, atlas.radius)
    with pytest.raises(InputError, match="inner_radius: expected a number so far below the radius"):
        ramp_sizes(atlas, math.nextafter(atlas.radius, 0.0))
    with pytest.raises(InputError, match="trapezoid"):
        chen_network(taylor_approximator(wave, atlas, cells=2, degree=1, bump="hat"), 3)
    with pytest.raises(InputError, match="compositions"):
        chen_network(formula, 0)


# -- the method -------------------------------------------------------------------------------------------------------


def test_build_reaches_epsilon():
    found = Chen(smoothness=2.0).build(wave, Sphere(1), 0.1)
    assert found.measured is not None
    assert found.measured.sup <= 0.1
    x = Sphere(1).sample(2000, seed=6)
    assert float((found(x) - wave(x)).abs().max()) <= 0.1
    assert found.counts == found.model.network().counts
    assert set(found.settings) == {"cells", "degree", "compositions"}


@pytest.mark.rate
def test_the_error_falls_like_cells_to_minus_degree_and_one():
    x = Sphere(1).sample(4000, seed=7)
    for degree in (1, 2):
        coarse, fine = (
            float((Chen().design(wave, Sphere(1), cells, degree, 18)(x) - wave(x)).abs().max()) for cells in (24, 96)
        )
        assert math.log(coarse / fine, 4) == pytest.approx(degree + 1, abs=0.25)


def test_bad_arguments_of_the_method_are_refused(monkeypatch):
    with pytest.raises(InputError, match="settings: expected those of chen"):
        Chen().fit(wave, Sphere(1), {"cells": 2, "degree": 1, "compositions": 3, "doublings": 3})
    with pytest.raises(InputError, match="smoothness"):
        Chen(smoothness=-1.0)
    with pytest.raises(InputError, match="exactly one of epsilon and budget"):
        Chen().build(wave, Sphere(1), 0.1, budget=100)
    monkeypatch.setattr(chen, "MOST_COMPOSITIONS", 1)
    with pytest.raises(InputError, match="inner_radius"):
        Chen().fit(wave, Sphere(1), {"cells": 2, "degree": 1, "compositions": 3})
