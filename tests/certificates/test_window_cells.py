"""Bounds of lattice networks over cells: no sample exceeds them, and they are within 1.3 of what is measured."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from flint import arb, ctx, fmpq
from hypothesis import given, settings
from hypothesis import strategies as st

import construct
from construct.cells.approximator import CellApproximator
from construct.cells.growth import Shape
from construct.certificates import window_cells, windows
from construct.certificates.cells import Bound, Cell
from construct.certificates.extraction import extract
from construct.certificates.ridges import ridges_of
from construct.certificates.weights import weights_of
from construct.certificates.window_cells import WindowBounds
from construct.certificates.windows import UndecidedError, cells_of
from construct.errors import InputError
from construct.expressions import Expression, abs, constant, exp, sin, sqrt, tanh, variables
from construct.manifolds import Circle, Manifold, Sphere
from tests.certificates.cell_networks import formula, network_of, random_cells, refined
from tests.certificates.oracle import AtPoint, rational
from tests.certificates.random_networks import tampered
from tests.certificates.ridge_networks import built_in
from tests.certificates.test_ridge_cells import on_cell
from tests.certificates.test_ridge_cells import random_cells as random_boxes

SEEDS = st.integers(0, 2**31)
x, y, z = variables(3)


def window_bounds(drawn: CellApproximator, target: Expression, order: int, net: Any = None) -> WindowBounds:
    net, manifold = network_of(drawn) if net is None else net, drawn.manifold
    found = cells_of(extract(weights_of(net), net.box.double().numpy()), manifold.frame, manifold.offset)
    frame, offset = manifold.frame.tolist(), manifold.offset.tolist()
    return WindowBounds(found, target.restricted(manifold.ambient), manifold.formula(), frame, order, offset)


def boxes(
    rng: np.random.Generator, manifold: Manifold, bounds: WindowBounds, many: int = 6
) -> list[tuple[Cell, Bound]]:
    """Random cells and parts of them, looked at with the windows that were left, and their bounds."""
    cells = [(cell, bounds.everywhere()) for cell in random_boxes(rng, manifold, many)]
    found = list(zip(cells, bounds.bounds(cells), strict=True))
    halves = [
        (half, bound.near) for (cell, _), bound in found if cell.lower != cell.upper for half in cell.halves(bound.axis)
    ]
    if halves:
        found += zip(halves, bounds.bounds(halves), strict=True)
    return [(cell, bound) for (cell, _), bound in found]


@settings(max_examples=40)
@given(SEEDS, st.booleans())
def test_no_sample_exceeds_a_bound(seed: int, projected: bool) -> None:
    """Cells of all levels, many kinks on a cell and none, targets that are smooth and not."""
    rng = np.random.default_rng(seed)
    drawn = random_cells(rng, projected=projected)
    target = (exp(x) / 3, sin(3 * x), abs(x), tanh(40 * x), sqrt(abs(x - 0.25)), constant(1) + 0 * x)[rng.integers(6)]
    with ctx.workprec(96):
        bounds = window_bounds(drawn, target, int(rng.integers(1, 7)))
        found = boxes(rng, drawn.manifold, bounds)
    for cell, bound in found:
        points = on_cell(rng, drawn.manifold, cell)
        off = np.abs(formula(drawn, points.numpy()) - target(points).numpy())
        size = 1 + float(drawn.coefficients.abs().sum())
        assert off.max() <= bound.bound * (1 + 1e-12) + 1e-12 * size, (cell, bound)
        assert bound.seen <= bound.bound
        if cell.lower == cell.upper and math.isfinite(bound.bound):
            assert bound.bound <= off.max() + 1e-6 * size


@settings(max_examples=25)
@given(SEEDS)
def test_tampered_networks(seed: int) -> None:
    """Whatever a network has become, what is proved of it is true of it."""
    rng = np.random.default_rng(seed)
    drawn = random_cells(rng)
    net, target = tampered(network_of(drawn), rng), exp(x)
    net.execution = "dense"
    try:
        with ctx.workprec(96):
            bounds = window_bounds(drawn, target, 4, net)
            found = boxes(rng, drawn.manifold, bounds)
    except InputError:
        return
    for cell, bound in found:
        points = on_cell(rng, drawn.manifold, cell)
        values = net(points, outside="evaluate")
        size = 1e-9 * float(1 + values.abs().max() + drawn.coefficients.abs().sum())
        assert float((values - target(points)).abs().max()) <= bound.bound * (1 + 1e-9) + size


def test_cells_together_are_cells_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = random_cells(np.random.default_rng(8))
    with ctx.workprec(96):
        bounds = window_bounds(drawn, built_in("exp_sin"), 5)
        cells = [(cell, bounds.everywhere()) for cell in random_boxes(np.random.default_rng(0), drawn.manifold, 12)]
        together = bounds.bounds(cells)
        monkeypatch.setattr(window_cells, "MOST_ENTRIES", 40)
        parted = bounds.bounds(cells)
        apart = [bounds.bounds([cell])[0] for cell in cells]
    assert sum(math.isfinite(bound.bound) for bound in together) > 6
    for one in (parted, apart):
        for a, b in zip(together, one, strict=True):
            assert a.bound == pytest.approx(b.bound, rel=1e-9) and a.axis == b.axis and a.near == b.near
            assert a.seen == pytest.approx(b.seen)


def test_too_many_pieces_are_no_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cell that some kinks cross, with as few pieces or hinges allowed as it does not have."""
    drawn = random_cells(np.random.default_rng(8))
    cell = Cell(drawn.manifold.formula().lower, drawn.manifold.formula().upper)
    while True:
        with ctx.workprec(96):
            bounds = window_bounds(drawn, built_in("exp_sin"), 5)
            (found,) = bounds.bounds([(cell, bounds.everywhere())])
        if math.isfinite(found.bound):
            break
        cell = cell.halves(found.axis)[0]
    for name, few in (("MOST_PIECES", 0), ("MOST_HINGES", -1)):
        with monkeypatch.context() as patch, ctx.workprec(96):
            patch.setattr(window_cells, name, few)
            (none,) = bounds.bounds([(cell, bounds.everywhere())])
        assert none.bound == math.inf or name == "MOST_HINGES"


CASES: dict[str, tuple[Manifold, str, float, Shape]] = {
    "circle, cusp": (Circle(), "cusp", 1e-1, Shape(3, (0, 1), 0.4, 5, 3, 0)),
    "circle, cusp, one window": (Circle(), "cusp", 1e-1, Shape(3, (1,), 0.4, 5, 3, 0)),
    "circle, cusp, finer": (Circle(ambient=3), "cusp", 1e-2, Shape(3, (0, 1), 0.4, 5, 3, 0)),
    "circle, smooth": (Circle(), "exp_sin", 1e-2, Shape(3, (0, 1), 0.4, 5, 3, 0)),
}


def certified(manifold: Manifold, name: str, epsilon: float, shape: Shape) -> Any:
    target = built_in(name, manifold.ambient)
    net = network_of(refined(manifold, target, epsilon, shape))
    return net, target, construct.certify(net, target, manifold)


@pytest.mark.parametrize("name", CASES)
def test_proved_and_measured(name: str) -> None:
    manifold = CASES[name][0]
    net, target, certificate = certified(*CASES[name])
    assert 1 <= certificate.ratio <= 1.3 and certificate.error < 1e-6
    points = manifold.sample(20_000, seed=5)
    assert float((net(points) - target(points)).abs().max()) <= certificate.bound
    assert certificate.matches(net) and certificate.unverifiable is None


@pytest.mark.slow
def test_proved_and_measured_on_a_sphere() -> None:
    manifold = Sphere(2, ambient=5)
    net, target, certificate = certified(manifold, "cusp", 1e-1, Shape(6, (0, 1, 2), 0.8, 12, 3, 0))
    assert 1 <= certificate.ratio <= 1.3 and certificate.error < 1e-6
    points = manifold.sample(20_000, seed=5)
    assert float((net(points) - target(points)).abs().max()) <= certificate.bound


# -- windows ----------------------------------------------------------------------------------------------------------


@settings(max_examples=30)
@given(SEEDS, st.booleans())
def test_windows_with_known_signs_are_their_forms(seed: int, projected: bool) -> None:
    """At a point every window is the form that the signs there give, and no more than its upper bound."""
    rng = np.random.default_rng(seed)
    drawn = random_cells(rng, projected=projected)
    net, manifold = network_of(drawn), drawn.manifold
    with ctx.workprec(96):
        found = extract(weights_of(net), net.box.double().numpy())
        if not found.windowed:
            return
        held = cells_of(found, torch.eye(manifold.ambient, dtype=torch.float64)).windows
        names = sorted(i for i in found.rest.quantities() if found.quantities.table[i].kind == "window")
        assert held.count == 1 + len(names) and held.form_of(0, lambda hinge: False) == windows.ONE_FORM
        for point in manifold.sample(5, seed=seed % 1000).tolist():
            at = AtPoint(found.quantities.table, [rational(v) for v in point])
            inputs = [at.quantity(i) for i in held.variables]

            def value(form: int, inputs: list[fmpq] = inputs) -> fmpq:
                return sum((a * b for a, b in zip(held.forms[form], inputs, strict=False)), held.forms[form][-1])

            for n, name in enumerate(names, 1):
                form = held.form_of(n, lambda hinge, value=value: bool(value(hinge) >= 0))  # type: ignore[misc]
                assert value(form) == at.quantity(name)
                linear, constant = held.balls()
                float_value = linear.middle[form] @ np.array(point) + constant.middle[form]
                assert float_value == pytest.approx(float(arb(value(form))), abs=1e-9)
                ends = lambda f, value=value: (np.array([float(arb(value(f)))]),) * 2  # noqa: E731
                assert held.highest(n, ends)[0] >= float(arb(at.quantity(name))) - 1e-15


def test_hinges_are_asked_for_one_by_one() -> None:
    drawn = random_cells(np.random.default_rng(8))
    net = network_of(drawn)
    held = cells_of(extract(weights_of(net), net.box.double().numpy()), drawn.manifold.frame).windows

    def unknown(hinge: int) -> bool:
        raise UndecidedError(hinge)

    with pytest.raises(UndecidedError) as raised:
        held.form_of(1, unknown)
    form = held.forms[raised.value.hinge]
    assert next(c for c in form if c != 0) == 1  # a form and its multiples have one hinge


def test_windows_are_no_ridge_functions() -> None:
    drawn = random_cells(np.random.default_rng(8))
    net = network_of(drawn)
    found = extract(weights_of(net), net.box.double().numpy())
    with pytest.raises(InputError, match="a product with a window"):
        ridges_of(found, drawn.manifold.frame)


def test_too_many_forms_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = random_cells(np.random.default_rng(8))
    net = network_of(drawn)
    found = extract(weights_of(net), net.box.double().numpy())
    monkeypatch.setattr(windows, "MOST_FORMS", 3)
    with pytest.raises(InputError, match="windows of at most 3 affine forms"):
        cells_of(found, drawn.manifold.frame)
