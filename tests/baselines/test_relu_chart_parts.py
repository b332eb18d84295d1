"""Parts of the ReLU network on charts: schedules of neurons, levels of squares, signed squares, sawtooth layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.polynomial import chebyshev

from construct.baselines.relu.chart_layers import weighted_squares
from construct.baselines.relu.network import ReluNetwork
from construct.baselines.relu.schedule import Form, Schedule, stacked
from construct.baselines.relu.signed_squares import fewest_squares, signed_squares_of
from construct.baselines.relu.square_levels import coordinates, dimension, levels, multiplication
from construct.errors import InputError
from construct.local import multi_indices

Array = np.ndarray[Any, Any]


def chebyshev_values(z: Array, degree: int) -> Array:
    """T_a(z) for all |a| <= degree by cosines: z (P, d) -> (P, N)."""
    angles = np.arccos(np.clip(z, -1, 1))
    return np.stack([np.cos(angles * row).prod(axis=1) for row in multi_indices(z.shape[1], degree).numpy()], axis=1)


# -- schedules -----------------------------------------------------------------------------------


@settings(max_examples=40)
@given(seed=st.integers(0, 10**6), groups=st.integers(1, 6))
def test_a_schedule_computes_what_its_forms_say(seed: int, groups: int) -> None:
    """Random groups that read any earlier ones, some in later layers than need be, some read by nobody."""
    generator = np.random.default_rng(seed)
    net = Schedule(3)
    points = generator.standard_normal((20, 3))
    first = net.input().apply(generator.standard_normal((4, 3)), 0.3)
    forms, values = [net.relu(first)], [np.maximum(points @ first.terms[-1].toarray().T + 0.3, 0)]
    for _ in range(groups):
        chosen = generator.choice(len(forms), size=min(len(forms), 2), replace=False)
        rows = int(generator.integers(1, 5))
        form: Form | None = None
        value = np.zeros((20, rows))
        for number in chosen:
            weight = generator.standard_normal((rows, forms[number].rows)) * (generator.random((rows, 1)) < 0.7)
            part = forms[number].apply(weight, 0.1)
            form = part if form is None else form + part
            value = value + values[number] @ weight.T + 0.1
        assert form is not None
        forms.append(net.relu(form, form.latest + int(generator.integers(1, 4))))
        values.append(np.maximum(value, 0))
    weight = generator.standard_normal((1, forms[-1].rows))
    output = forms[-1].apply(weight, -0.2) + forms[0].apply(np.ones((1, 4)))
    expected = values[-1] @ weight.T - 0.2 + values[0].sum(axis=1, keepdims=True)
    network = ReluNetwork(net.finish(output))
    assert np.allclose(network(torch.from_numpy(points)).numpy(), expected[:, 0], atol=1e-10)
    assert net.counts(output) == network.counts


def test_what_nobody_reads_is_left_out() -> None:
    net = Schedule(2)
    used = net.relu(net.input())
    net.relu(used.apply(np.ones((50, 2))))
    layers = net.finish(used.rows_of([0]))
    assert [weight.shape for weight, _ in layers] == [(1, 2), (1, 1)]


def test_a_constant_output_keeps_the_sizes() -> None:
    net = Schedule(2)
    used = net.relu(net.input())
    network = ReluNetwork(net.finish(used.apply(np.zeros((1, 2)), 3.0)))
    assert network(torch.zeros(4, 2, dtype=torch.float64)).tolist() == [3.0] * 4
    assert network.counts == net.counts(used.apply(np.zeros((1, 2)), 3.0))


def test_bad_schedules_are_refused() -> None:
    net = Schedule(2)
    first = net.relu(net.input())
    with pytest.raises(InputError, match="layer"):
        net.relu(net.input(), 2)
    with pytest.raises(InputError, match="layer"):
        net.relu(first, 1)
    with pytest.raises(InputError, match="rows"):
        first + first.rows_of([0])
    with pytest.raises(InputError, match="columns"):
        first.apply(np.ones((1, 3)))
    with pytest.raises(InputError, match="forms"):
        stacked([])


# -- sawtooth squares ------------------------------------------------------------------------------


@settings(max_examples=25)
@given(m=st.integers(1, 12), seed=st.integers(0, 1000))
def test_squares_are_the_interpolant(m: int, seed: int) -> None:
    """f_m interpolates u^2 at j 2^-m, u = |2 v - 1|; outside [0, 1], v counts as its end."""
    generator = np.random.default_rng(seed)
    net = Schedule(2)
    v = net.input()
    weights = generator.uniform(0.1, 1.0, (1, 2))
    network = ReluNetwork(net.finish(weighted_squares(net, v, m, weights)))
    points = generator.uniform(-0.2, 1.2, (300, 2))
    nodes = np.linspace(0, 1, 2**m + 1)
    expected = np.interp(np.abs(2 * np.clip(points, 0, 1) - 1), nodes, nodes**2) @ weights[0]
    assert np.allclose(network(torch.from_numpy(points)).numpy(), expected, atol=1e-12)


def test_a_square_takes_seven_numbers_a_composition() -> None:
    sizes = []
    for m in (5, 6):
        net = Schedule(1)
        sizes.append(ReluNetwork(net.finish(weighted_squares(net, net.input(), m, np.ones((1, 1))))).counts.nonzero)
    assert sizes[1] - sizes[0] == 7  # four weights and a bias of the tooth, one of its sum, one that carries the sum


# -- levels ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dim", "degree"), [(1, 4), (2, 3), (3, 2)])
def test_multiplication_is_that_of_polynomials(dim: int, degree: int) -> None:
    generator = np.random.default_rng(dim)
    tensor, z = multiplication(dim, degree), generator.uniform(-1, 1, (30, dim))
    p, q = generator.standard_normal((2, dimension(dim, degree)))
    product = np.einsum("a,b,abk->k", p, q, tensor)
    factors = (chebyshev_values(z, degree) @ p) * (chebyshev_values(z, degree) @ q)
    assert np.allclose(chebyshev_values(z, 2 * degree) @ product, factors)


def test_multiplication_against_numpy() -> None:
    generator = np.random.default_rng(0)
    p, q = generator.standard_normal((2, 5))
    product = np.einsum("a,b,abk->k", p, q, multiplication(1, 4))
    assert np.allclose(product, chebyshev.chebmul(p, q))


@pytest.mark.parametrize(("dim", "count"), [(1, 4), (2, 2), (3, 2), (4, 1)])
def test_levels_span_the_polynomials_with_one_square_a_dimension(dim: int, count: int) -> None:
    z = np.random.default_rng(1).uniform(-1, 1, (50, dim))
    features = np.hstack([np.ones((50, 1)), z])
    basis = coordinates(dim)
    for number, level in enumerate(levels(dim, count)):
        forms = features @ (level.forms @ basis).T
        assert np.abs(forms).max() <= 1 + 1e-12
        features, basis = np.hstack([features, forms**2]), level.basis
        degree = 2 ** (number + 1)
        assert features.shape[1] == dimension(dim, degree)
        assert np.allclose(features @ basis.T, chebyshev_values(z, degree), atol=1e-11)
        assert np.abs(basis).sum(axis=1).max() < 20  # well conditioned


def test_bad_levels_are_refused() -> None:
    with pytest.raises(InputError, match="dim"):
        levels(0, 1)
    with pytest.raises(InputError, match="count"):
        levels(1, 6)


# -- signed squares --------------------------------------------------------------------------------


@pytest.mark.parametrize(("dim", "degree", "count"), [(1, 1, 2), (1, 2, 2), (1, 4, 2), (2, 1, 4), (2, 2, 3), (3, 1, 6)])
@pytest.mark.parametrize("common", [True, False])
def test_signed_squares_are_the_polynomials(dim: int, degree: int, count: int, common: bool) -> None:
    generator = np.random.default_rng(dim + 10 * degree)
    wanted = generator.standard_normal((4, dimension(dim, 2 * degree)))
    found = signed_squares_of(wanted, dim, degree, count, common=common)
    assert found is not None
    assert set(np.unique(found.signs)) <= {-1.0, 1.0}
    assert (found.signs == found.signs[0]).all() or not common
    z = generator.uniform(-1, 1, (40, dim))
    low, table = chebyshev_values(z, degree), chebyshev_values(z, 2 * degree)
    for n in range(4):
        value = low @ found.rest[n] + (low @ found.forms[n].T) ** 2 @ found.signs[n]
        assert np.allclose(value, table @ wanted[n], atol=1e-8)


def test_too_few_squares_are_not_found() -> None:
    """In d = 2, a quadratic form of rank 2 is no single square."""
    wanted = np.zeros((1, 6))
    wanted[0, 3], wanted[0, 5] = 1.0, 1.0
    assert signed_squares_of(wanted, 2, 1, 1) is None
    assert signed_squares_of(wanted, 2, 1, 2) is not None


def test_fewest_squares_counts_rotations() -> None:
    assert [fewest_squares(1, s) for s in (1, 2, 4)] == [1, 1, 1]
    assert [fewest_squares(d, 1) for d in (1, 2, 3, 4)] == [1, 2, 3, 4]  # the rank of a quadratic form
    assert [fewest_squares(2, s) for s in (2, 4)] == [2, 3]


def test_bad_polynomials_are_refused() -> None:
    with pytest.raises(InputError, match="coefficients"):
        signed_squares_of(np.ones((2, 4)), 1, 1, 2)
    with pytest.raises(InputError, match="coefficients"):
        signed_squares_of(np.full((2, 3), np.nan), 1, 1, 2)
    with pytest.raises(InputError, match="count"):
        signed_squares_of(np.ones((2, 3)), 1, 1, 0)
