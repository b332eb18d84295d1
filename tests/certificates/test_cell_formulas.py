"""Lattice networks from their weights: against exact rational evaluation, floating point, and the formula itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from flint import arb, ctx
from hypothesis import given, settings
from hypothesis import strategies as st

from construct import Network
from construct.cells.approximator import CellApproximator
from construct.certificates.extraction import extract, recognition
from construct.certificates.weights import weights_of
from construct.errors import InputError
from tests.certificates.cell_networks import formula, network_of, random_cells
from tests.certificates.oracle import UNITS, AtPoint, points_in, rational
from tests.certificates.random_networks import tampered
from tests.certificates.test_ridge_formulas import DTYPES, off

SEEDS = st.integers(0, 2**31)


@settings(max_examples=30)
@given(SEEDS, st.booleans())
def test_formula_is_the_network(seed: int, projected: bool) -> None:
    """Cells of all levels, one to three windows, coordinates or a projection, off M too."""
    rng = np.random.default_rng(seed)
    drawn = random_cells(rng, projected=projected)
    dtype = DTYPES[rng.integers(2)]
    net = network_of(drawn, dtype)
    box, unit = net.box.double().numpy(), (0.0, UNITS[dtype])[rng.integers(2)]
    with ctx.workprec(96):
        found = extract(weights_of(net), box, unit)
        for x in points_in(box[1], 3, seed):
            assert not off(found, net, x, unit)
    size = float(drawn.coefficients.abs().sum()) + abs(drawn.constant)
    finest = float(max(drawn.basis.factors.max(), 1.0)) / drawn.basis.spacing
    assert found.error <= max(unit, 1e-17) * size * finest * 1000 * drawn.degree**2
    kinds = found.quantities.kinds(found.rest)
    assert not found.weights and kinds <= {"map", "window", "input"}  # a window may be affine in the whole box
    assert found.windowed == bool(kinds & {"window", "input"})


def test_windows_are_shared_and_are_the_hats() -> None:
    """One window a cell, whatever its tokens; at 500 points of M it is the hat of the definition."""
    seen = 0
    for seed in range(12):
        drawn = random_cells(np.random.default_rng(seed))
        net = network_of(drawn)
        with ctx.workprec(96):
            found = extract(weights_of(net), net.box.double().numpy())
            names = sorted(i for i in found.rest.quantities() if found.quantities.table[i].kind == "window")
            basis = drawn.basis
            cells = {
                (int(level), *cell) for level, cell in zip(basis.levels, basis.cells.tolist(), strict=True) if level
            }
            assert 0 < len(names) <= len(cells)
            for x in drawn.manifold.sample(4, seed=seed).tolist():
                at = AtPoint(found.quantities.table, [rational(v) for v in x])
                exact = float(arb(at.formula(found)))
                assert exact == pytest.approx(float(formula(drawn, np.array([x]))[0]), abs=1e-9)
                total = sum(float(arb(at.quantity(i))) > 0 for i in names)
                seen += total > 0
    assert seen > 10


@settings(max_examples=30)
@given(SEEDS)
def test_tampered_networks_are_refused_or_understood(seed: int) -> None:
    rng = np.random.default_rng(seed)
    drawn = random_cells(rng, projected=bool(rng.integers(2)))
    dtype = DTYPES[rng.integers(2)]
    net = tampered(network_of(drawn, dtype), rng)
    box, unit = net.box.double().numpy(), (0.0, UNITS[dtype])[rng.integers(2)]
    try:
        found = extract(weights_of(net), box, unit)
    except InputError:
        return
    with ctx.workprec(96):
        for x in points_in(box[1], 3, seed):
            assert not off(found, net, x, unit)


def changed(net: Network, part: str, layer: int, channel: int, factor: float) -> Network:
    """The first FFN with the entries of one channel changed."""
    affine = net.transformer.stack[0].ffn.affine[layer]
    with net.edit():
        getattr(affine, part).data[channel] *= factor
    return net


def test_a_hat_with_another_kink_is_that_function() -> None:
    """relu(e - n) with n / 2 in place of n: understood, since it is piecewise affine in [0, 1], as what it is."""
    drawn = random_cells(np.random.default_rng(3))
    net = network_of(drawn)
    weight = net.transformer.stack[0].ffn.affine[0].weight
    with net.edit():
        weight.data[0, int(weight[0].nonzero()[:, 0].max())] *= 0.5
    with ctx.workprec(96):
        found = extract(weights_of(net), net.box.double().numpy())
        for x in points_in(net.box[1].double().numpy(), 8, 1):
            assert not off(found, net, x, 0.0)
    assert found.windowed


def test_what_is_no_window_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hat of height 2; one with too many ReLUs inside."""
    drawn = random_cells(np.random.default_rng(3))
    with pytest.raises(InputError, match="output that depends on ReLUs whose signs"):
        net = changed(network_of(drawn), "bias", 1, 0, 2.0)
        extract(weights_of(net), net.box.double().numpy())
    net = network_of(drawn)
    assert extract(weights_of(net), net.box.double().numpy()).windowed
    monkeypatch.setattr(recognition, "MOST_RELUS", 1)
    with pytest.raises(InputError, match="output that depends on ReLUs whose signs"):
        extract(weights_of(net), net.box.double().numpy())


def test_a_map_and_another_head_of_its_token() -> None:
    """In the first block of maps a token hears itself twice, in a and in b: the map is seen; twice in a: no map."""
    drawn = random_cells(np.random.default_rng(8))
    net = network_of(drawn)
    found = extract(weights_of(net), net.box.double().numpy())
    assert "map" in found.quantities.kinds(found.rest)
    attention = net.transformer.stack[1].attention
    with net.edit():
        attention.value.data[1] = torch.zeros_like(attention.value[1])
        attention.value.data[1, 0, 0] = -0.5  # the window head now writes a
    with pytest.raises(InputError, match="compact network"):
        extract(weights_of(net), net.box.double().numpy())


def test_a_kink_near_the_end_of_the_box_is_a_kink() -> None:
    """On a box that ends 1e-9 beyond the top of a hat of slope 2^11: no sign is taken for another one, at no price."""
    drawn = next(d for d in map(one_line, range(200)) if d is not None)
    basis = drawn.basis
    fine = type(basis)(basis.manifold, basis.coordinates, basis.windows, basis.degree, basis.spacing,
                       np.array([12]), np.array([[900]]), np.array([[1]]))  # fmt: skip
    net = network_of(type(drawn)(fine, drawn.coefficients[:1]))
    top = 900 / 2.0**11 * basis.spacing + float(basis.coordinates.centre[0])
    for low in (top - 1e-9, top, top + 1e-9):
        box = np.array([[low], [low + 0.01]])
        with ctx.workprec(96):
            found = extract(weights_of(net), box)
            assert found.error <= 1e-24
            for x in (low, low + 1e-4, low + 0.01):
                assert not off(found, net, [rational(x)], 0.0)


def one_line(seed: int) -> CellApproximator | None:
    drawn = random_cells(np.random.default_rng(seed))
    return drawn if drawn.basis.coordinates.count == 1 else None
