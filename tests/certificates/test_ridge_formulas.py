"""Ridge networks from their weights: against exact rational evaluation, floating point, and the formula itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from flint import arb, ctx, fmpq
from hypothesis import given, settings
from hypothesis import strategies as st

from construct import Network
from construct.certificates.charts import charts_of
from construct.certificates.extraction import NetworkFormula, extract, screening
from construct.certificates.extraction.maps import has_maps
from construct.certificates.ridges import ridges_of
from construct.certificates.weights import weights_of
from construct.errors import InputError
from construct.manifolds import Circle
from construct.targets import target
from construct.transformer import Weights
from construct.transformer.weights import FeedForward, Heads
from proofs_as_code import rational as exactly
from tests.certificates.oracle import UNITS, AtPoint, network, points_in, rational, tensor
from tests.certificates.random_networks import tampered
from tests.certificates.ridge_networks import fitted, formula, network_of, random_ridges

SEEDS = st.integers(0, 2**31)
DTYPES = (torch.float64, torch.float32)


def dense(net: Network, x: list[fmpq]) -> fmpq:
    net.execution = "dense"
    return rational(float(net(tensor(x, net.dtype), outside="evaluate")))


def off(found: NetworkFormula, net: Network, x: list[fmpq], unit: float) -> bool:
    """Whether the formula is further from the network than it says."""
    value = dense(net, x) if unit else exactly.transformer(net.transformer, x)
    return not abs(arb(AtPoint(found.quantities.table, x).formula(found) - value)) <= found.error


@settings(max_examples=40)
@given(SEEDS)
def test_formula_is_the_network(seed: int) -> None:
    """Random lattices of one to three coordinates, random coefficients, clips that act and clips that do not."""
    rng = np.random.default_rng(seed)
    ridges = random_ridges(rng, share=float(rng.choice([0.5, 0.98, 1.5])))
    dtype = DTYPES[rng.integers(2)]
    net = network_of(ridges, dtype, picked=bool(rng.integers(2)))
    box, unit = net.box.double().numpy(), (0.0, UNITS[dtype])[rng.integers(2)]
    with ctx.workprec(96):
        found = extract(weights_of(net), box, unit)
        for x in points_in(box[1], 3, seed):
            assert not off(found, net, x, unit)
    size = float(ridges.coefficients.abs().sum()) + abs(ridges.constant)
    assert found.error <= max(unit, 1e-18) * size * 1000 * ridges.degree**2
    assert not found.weights and found.quantities.kinds(found.rest) <= {"map", "clip", "linear", "input"}


@settings(max_examples=25)
@given(SEEDS)
def test_the_ridges_are_those_that_were_written(seed: int) -> None:
    """Directions, degree, weights and clip, read back; in float64 up to rounding."""
    rng = np.random.default_rng(seed)
    ridges = random_ridges(rng, share=1.3)
    net, frame = network_of(ridges), torch.eye(ridges.manifold.ambient, dtype=torch.float64)
    found = ridges_of(extract(weights_of(net), net.box.numpy(), 2.0**-53), frame)
    assert all(group.degree == ridges.degree for group in found.groups)
    x = ridges.manifold.sample(50, seed=1).numpy()
    total = np.full(50, float(found.constant), dtype=np.longdouble)
    for group in found.groups:
        a = x @ group.linear.middle.T + group.constant.middle
        a = np.clip(a, group.low, group.high)
        total += group.series(a).middle[0] @ group.weight.middle
    assert np.abs(total - formula(ridges, x)).max() <= 1e-11 * (1 + float(ridges.coefficients.abs().sum()))


@settings(max_examples=30)
@given(SEEDS)
def test_tampered_networks_are_refused_or_understood(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ridges = random_ridges(rng, share=float(rng.choice([0.9, 1.2])))
    dtype = DTYPES[rng.integers(2)]
    net = tampered(network_of(ridges, dtype), rng)
    box, unit = net.box.double().numpy(), (0.0, UNITS[dtype])[rng.integers(2)]
    try:
        found = extract(weights_of(net), box, unit)
    except InputError:
        return
    with ctx.workprec(96):
        for x in points_in(box[1], 3, seed):
            assert not off(found, net, x, unit)


def test_only_the_output_is_followed_to_the_end() -> None:
    """The read-out of a network with many tokens: one token hears, the others do so in vain."""
    ridges = fitted(Circle(), target("exp_sin"), 9)
    net = network_of(ridges)
    assert len(net.transformer.hidden0) == 3 + 55
    found = extract(weights_of(net), net.box.numpy(), 2.0**-53)
    assert len(found.rest.terms) == ridges.parameters - (float(ridges.coefficients[0]) != 0 and 0)
    assert found.error < 1e-10


def test_compact_networks_have_no_maps() -> None:
    assert not has_maps(weights_of(network("circle", charts=3, degree=5)))
    assert has_maps(weights_of(network_of(fitted(Circle(), target("exp_sin"), 3))))


def test_a_gate_that_is_open_to_others_is_no_map() -> None:
    """Two tokens with the same code: each hears both, which is no T3 of its own register."""
    ridges = fitted(Circle(), target("exp_sin"), 3)
    net = network_of(ridges)
    with net.edit() as transformer:
        transformer.hidden0[-1, 2:5] = transformer.hidden0[-2, 2:5]
    try:
        found = extract(weights_of(net), net.box.numpy(), 0.0)
    except InputError:
        return
    with ctx.workprec(96):
        assert not any(off(found, net, x, 0.0) for x in points_in(net.box[1].numpy(), 4, 0))


def test_ridges_are_no_charts() -> None:
    net = network_of(fitted(Circle(), target("exp_sin"), 3))
    found = extract(weights_of(net), net.box.numpy(), 0.0)
    with pytest.raises(InputError, match="outside the partition of unity"):
        charts_of(found, torch.eye(2, dtype=torch.float64))


def test_products_of_two_forms_are_refused() -> None:
    """b of the output token hears a of one clipped token times a of another."""
    hidden = np.array([[0.0, 0, 1, 0, 1], [0, 0, 0, 1, 1]])
    layers: list[Any] = []
    for weight, bias in (([[-1, 0], [1, 0]], [-1, -1]), ([[1, -1]], [])):
        full = np.zeros((5, 5))
        full[: len(weight), :2] = weight
        layers.append((full, np.r_[bias, np.zeros(5 - len(bias))]))
    query, key, value = np.zeros((3, 1, 5, 5))
    query[0, 0, 0] = query[0, 0, 4] = 1.0
    query[0, 0, 4] = 2.0
    key[0, 0, 4] = value[0, 1, 0] = 1.0
    blocks = ((Heads.none(5), FeedForward(tuple(layers))), (Heads(query, key, value), FeedForward()))
    net = Network(Weights(hidden, blocks, (0, 1), np.array([2.0, 2.0])))
    with pytest.raises(InputError, match="got an output without partition weights"):
        extract(weights_of(net), np.array([2.0, 2.0]))


@pytest.mark.parametrize("at_once", [7, 1 << 22])
def test_pairs_that_may_act(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    """Those that the corners of the ranges allow, whatever is left out before, and in how many parts."""
    monkeypatch.setattr(screening, "ENTRIES_AT_ONCE", at_once)
    rng = np.random.default_rng(5)
    for _ in range(30):
        middle, radius = rng.normal(size=(2, 9, 4)), rng.choice([0.0, 0.1, 1.0], (2, 9, 4))
        q, k = ((m - r, m + r) for m, r in zip(middle, radius, strict=True))
        targets, sources = (np.flatnonzero(rng.random(9) < 0.7) for _ in range(2))
        found = screening._pairwise(q, k, targets, sources, 1e-11)
        corners = np.array(
            [[[a * b for a in (q[0][t], q[1][t]) for b in (k[0][s], k[1][s])] for s in range(9)] for t in range(9)]
        )
        allowed = corners.max(axis=2).sum(axis=-1) >= 0
        assert found == [(t, s) for t in targets.tolist() for s in sources.tolist() if allowed[t, s]]


def test_a_register_that_hears_the_map_of_another_one_has_that() -> None:
    """a = clip(2 x), b = T3(x) by two heads, which is no map; then b - a is added to a, by one head.

    What a gets is 4 q^3 - 3 q, as of a map, but q is not a.
    """
    first, second = np.zeros((2, 3, 3))
    first[:2, 0], second[0, :2] = (-1, 1), (1, -1)
    clip = FeedForward(((first, np.array([-1.0, -1.0, 0.0])), (second, np.zeros(3))))
    one, square, value = np.zeros((3, 3)), np.zeros((2, 3, 3)), np.zeros((3, 3, 3))
    one[0, 2] = 1
    square[:, 0, 2], square[:, 1, 1] = 1, (-1, 1)  # 1 - b^2
    value[0, :2, 0], value[1, 1, 1], value[2, 0, :2] = 1, -1, (-1, 1)
    none, (query, key) = FeedForward(), square
    blocks = (
        (Heads(one[None], one[None], value[:1]), clip),
        (Heads(np.stack([query] * 2), np.stack([key] * 2), np.stack([value[1], 3 * value[1]])), none),
        (Heads(one[None], one[None], value[2:]), none),
    )
    net = Network(Weights(np.array([[0.0, 0.0, 1.0]]), blocks, (0, 0), np.array([1.0])))
    with pytest.raises(InputError, match="got an output without partition weights"):  # a cubic in x itself
        extract(weights_of(net), np.array([1.0]), 0.0)
