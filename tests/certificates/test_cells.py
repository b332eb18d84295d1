"""Bounds over cells and their subdivision: against samples of |T - f|, for networks built, changed and made up."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from flint import arb, ctx, fmpq
from hypothesis import given, settings
from hypothesis import strategies as st

from construct import measure, targets
from construct.certificates.cells import Cell, CellBounds
from construct.certificates.charts import Chart, Coordinate, NetworkCharts, Quadratic, charts_of
from construct.certificates.extraction import extract
from construct.certificates.subdivision import Subdivision, subdivide
from construct.certificates.weights import weights_of
from construct.errors import InputError
from construct.expressions import Expression, abs, constant, exp, sin, tanh, variables
from construct.manifolds import Formula
from construct.progress import silent
from tests.certificates.oracle import box_of, network
from tests.certificates.random_networks import tampered
from tests.transformer.networks import manifold_of

SEEDS = st.integers(0, 2**31)

NETWORKS: dict[str, dict[str, Any]] = {
    "circle": {"charts": 3, "degree": 5},
    "circle, splines of the cusp": {"charts": 3, "cells": 4, "target": "cusp"},
    "circle, splines of the kink": {"charts": 4, "cells": 3, "target": "kink"},
    "circle in R^12": {"charts": 4, "degree": 3, "ambient": 12},
    "sphere": {"name": "sphere", "charts": 6, "degree": 4},
}


@pytest.fixture(autouse=True)
def precision():
    with ctx.workprec(96):
        yield


def target_of(name: str) -> Any:
    return targets.target(NETWORKS[name].get("target", "exp_sin"))


def cell_bounds(net: Any, target: Any) -> CellBounds:
    charts = charts_of(extract(weights_of(net), box_of(net)), manifold_of(net).frame)
    expression = target.expression.restricted(manifold_of(net).ambient)
    return CellBounds(charts, expression, manifold_of(net).formula(), manifold_of(net).frame.tolist())


def divided(bounds: CellBounds, tolerance: float = 0.1, most: int = 4000) -> Subdivision:
    return subdivide(bounds, target=0.0, tolerance=tolerance, most_cells=most, progress=silent)


def errors(net: Any, target: Any, u: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """|T - f| at parameters (n, d), in floating point."""
    x = manifold_of(net).embed(manifold_of(net).formula()(torch.tensor(u)))
    return np.asarray((net(x) - target(x)).abs())


def leaves(found: Subdivision) -> list[Cell]:
    out, stack, tree = [], [found.root], iter(found.tree())
    while stack:
        cell, mark = stack.pop(), next(tree)
        if mark == ".":
            out.append(cell)
        else:
            left, right = cell.halves(int(mark))
            stack += [right, left]
    assert not list(tree)
    return out


@pytest.mark.parametrize("name", NETWORKS)
def test_bound_holds_on_every_leaf(name):
    """And is within the tolerance of the measured error, so that it says something."""
    net, target = network(**NETWORKS[name]), target_of(name)
    bounds = cell_bounds(net, target)
    found = divided(bounds, most=600)
    draw, cells = np.random.default_rng(0), leaves(found)
    assert len(cells) == found.leaves and math.isfinite(found.bound)
    assert sum(math.prod(b - a for a, b in zip(c.lower, c.upper, strict=True)) for c in cells) == pytest.approx(
        math.prod(b - a for a, b in zip(found.root.lower, found.root.upper, strict=True))
    )
    for number in draw.choice(len(cells), min(len(cells), 60), replace=False):
        cell = cells[number]
        bound = bounds.bound(cell, bounds.everywhere()).bound
        assert bound <= found.bound * (1 + 1e-9)
        u = np.vstack([draw.uniform(cell.lower, cell.upper, (20, len(cell.lower))), cell.lower, cell.upper])
        assert errors(net, target, u).max() <= bound + 1e-12
    seen = measure(net, target, manifold_of(net), seed=1).sup
    assert seen <= found.bound + 1e-12
    assert found.bound <= seen * (1.6 if manifold_of(net).dim == 1 else 4)


@settings(max_examples=25)
@given(SEEDS)
def test_any_cell(seed):
    """Cells that no subdivision would choose: wide ones, thin ones, points."""
    draw = np.random.default_rng(seed)
    name = list(NETWORKS)[draw.integers(len(NETWORKS))]
    net, target = network(**NETWORKS[name]), target_of(name)
    bounds = KNOWN.setdefault(name, cell_bounds(net, target))
    lower, upper = np.array(bounds.formula.lower), np.array(bounds.formula.upper)
    ends = np.sort(draw.uniform(lower, upper, (2, lower.size)), axis=0)
    width = draw.choice([1.0, 0.1, 0.01, 0.0], lower.size)
    ends[1] = ends[0] + width * (ends[1] - ends[0])
    cell = Cell(tuple(ends[0].tolist()), tuple(ends[1].tolist()))
    found = bounds.bound(cell, bounds.everywhere())
    assert errors(net, target, draw.uniform(ends[0], ends[1], (30, lower.size))).max() <= found.bound + 1e-12
    if not width.any():
        assert found.bound <= errors(net, target, ends[:1]).max() + found.seen + 1e-9


KNOWN: dict[str, CellBounds] = {}


def test_smaller_cells_have_smaller_bounds():
    """Up to what another centre changes: the worst of both halves against the whole."""
    bounds = cell_bounds(network(**NETWORKS["circle"]), target_of("circle"))
    for start in np.linspace(0, 6, 13).tolist():
        cell = Cell((start,), (start + 0.125,))
        whole = bounds.bound(cell, bounds.everywhere())
        halves = [bounds.bound(half, whole.near) for half in cell.halves(0)]
        assert max(h.bound for h in halves) <= whole.bound * (1 + 1e-3)
        assert all(set(h.near) <= set(whole.near) for h in halves)


@settings(max_examples=25)
@given(SEEDS)
def test_tampered_networks(seed):
    """A network that was changed is refused, or its own error is bounded."""
    draw = np.random.default_rng(seed)
    name = list(NETWORKS)[draw.integers(3)]
    target, net = target_of(name), tampered(network(**NETWORKS[name]), draw)
    net.execution = "dense"
    try:
        bounds = cell_bounds(net, target)
    except InputError:
        return
    found = divided(bounds, most=150)
    u = draw.uniform(bounds.formula.lower, bounds.formula.upper, (400, 1))
    assert errors(net, target, u).max() <= found.bound + float(bounds.network.error) + 1e-9


def test_chart_without_its_polynomial():
    """A chart whose tokens were emptied counts as 0, not as absent."""
    name = "circle"
    net, target = copy.deepcopy(network(**NETWORKS[name])), target_of(name)
    whole = divided(cell_bounds(net, target)).bound
    written = net.transformer.hidden0[:, 1].nonzero()[:, 0]
    with net.edit() as transformer:
        transformer.hidden0[int(written[-1]), 1] = 0
    net.execution = "dense"
    bounds = cell_bounds(net, target)
    found = divided(bounds)
    worst = errors(net, target, np.linspace(0, 2 * np.pi, 999)[:, None]).max()
    assert whole < 0.2 * worst <= worst <= found.bound <= 3 * worst


def test_head_of_a_neighbour_removed():
    """Without the earlier chart in its prefix sum a chart is counted twice where both are: never proved small."""
    net, target = copy.deepcopy(network(**NETWORKS["circle"])), target_of("circle")
    small = divided(cell_bounds(net, target)).bound
    block = net.transformer.stack[1].attention
    steepest = block.value[:, 0, 4].max()
    reads = (block.value[:, 0, 4] == steepest).nonzero()[:, 0].tolist()
    worse = []
    for head in reads:
        changed = copy.deepcopy(net)
        with changed.edit() as transformer:
            transformer.stack[1].attention.value[head] = 0
        changed.execution = "dense"
        worst = errors(changed, target, np.linspace(0, 2 * np.pi, 999)[:, None]).max()
        assert worst <= divided(cell_bounds(changed, target), most=200).bound
        worse.append(worst > 10 * small)
    assert worse == [True, True, False]  # where charts 1 and 2 meet the target is almost 0


# -- networks that are made up: every rule of the argument on its own -----------------------------------------------

y0, y1 = variables(2)
INTERVAL = Formula((y0,), (-1.0,), (1.0,))


def numbers(*values: float) -> tuple[arb, ...]:
    return tuple(arb(v) for v in values)


def ball(centre: float, radius: float) -> Quadratic:
    """radius^2 - (y - centre)^2."""
    return Quadratic(((0, 0, arb(-1)),), numbers(2 * centre), arb(radius) ** 2 - arb(centre) ** 2, ())


def chart(cutoff: int, before: dict[int, int], *coefficients: float, limit: float = 1.0, **rest: Any) -> Chart:
    """Slope 4, z = y, a polynomial in z."""
    terms = tuple(((k, *rest.get("powers", ())), arb(c)) for k, c in enumerate(coefficients))
    coordinate = Coordinate(numbers(1), arb(0), arb(-limit), arb(limit))
    slopes = {c: fmpq(4) * n for c, n in before.items()}
    return Chart(cutoff, arb(4), slopes, fmpq(4), (coordinate,), rest.get("knots", ()), terms)


def made_up(cutoffs: list[Quadratic], *charts: Chart, target: Expression = constant(0) * y0) -> CellBounds:  # noqa: B008
    return CellBounds(NetworkCharts(tuple(cutoffs), charts, arb(0)), target, INTERVAL, [[1.0]])


def bound_at(bounds: CellBounds, lower: float, upper: float) -> float:
    return bounds.bound(Cell((lower,), (upper,)), bounds.everywhere()).bound


def test_chart_in_the_core_of_another():
    """It is off there only if the other one is in its prefix sum."""
    cutoffs = [ball(0, 2), ball(0, 0.5)]
    first, wild = chart(0, {}, 0.0), (100.0, 3.0)
    assert bound_at(made_up(cutoffs, first, chart(1, {0: 1}, *wild)), -0.1, 0.1) < 1e-12
    assert bound_at(made_up(cutoffs, first, chart(1, {}, *wild)), -0.1, 0.1) >= 100
    assert bound_at(made_up(cutoffs, first, chart(1, {}, *wild)), 0.6, 0.8) < 1e-12


def test_cutoff_of_two_charts_counts_twice():
    """rho_0 + rho_1 + rho_2 > 1 if the third sees the common cut-off once."""
    cutoffs = [ball(0, 0.4), ball(0, 0.5)]
    both = [chart(0, {}, 1.0), chart(0, {0: 1}, 1.0)]
    assert math.isfinite(bound_at(made_up(cutoffs, *both, chart(1, {0: 2}, 1.0)), -0.01, 0.01))
    assert bound_at(made_up(cutoffs, *both, chart(1, {0: 1}, 1.0)), -0.01, 0.01) == math.inf


def test_cutoff_of_no_chart():
    """A prefix sum with a term that nobody accounts for: the weights need not sum to 1."""
    assert bound_at(made_up([ball(0, 2), ball(0, 2)], chart(0, {1: 1}, 0.0), target=exp(y0)), -0.1, 0.1) == math.inf


def test_deficit_is_charged():
    """One ball that does not cover: f itself is the error where the weight is small."""
    bounds = made_up([ball(0, 0.5)], chart(0, {}, 2.0), target=constant(0) * y0 + 2)
    assert bound_at(bounds, -0.01, 0.01) == pytest.approx(2 * (1 - 4 * 0.2499), rel=1e-2)
    assert bound_at(bounds, 0.44, 0.45) >= 2 * (1 - 4 * (0.25 - 0.44**2))


@pytest.mark.parametrize("lower", [0.3, 0.45, 0.55, 0.8])
def test_clipped_coordinates(lower):
    """P(z) = z^2 - z^5 with z clipped at 1/2, against f = z^2 - z^5: exact below, off above, cells on either side."""
    bounds = made_up([ball(0, 2)], chart(0, {}, 0, 0, 1, 0, 0, -1, limit=0.5), target=y0**2 - y0**5)
    upper = lower + 0.1
    u = np.linspace(lower, upper, 101)
    off = np.abs((np.minimum(u, 0.5) ** 2 - np.minimum(u, 0.5) ** 5) - (u**2 - u**5)).max()
    found = bound_at(bounds, lower, upper)
    assert off <= found <= 60 * off + 1e-9


def test_slope_of_a_steep_knot_beyond_the_clip():
    """P = relu(8 z - 3), z clipped at 1/2; f = relu(8 y - 3): the excess costs 8 times what is clipped."""
    knotted = chart(0, {}, 1.0, limit=0.5, powers=(1,), knots=((0, arb(8), arb(-3)),))
    bounds = made_up([ball(0, 2)], knotted, target=8 * y0 - 3)
    assert 8 * 0.2 <= bound_at(bounds, 0.6, 0.7) <= 8 * 0.2 + 1
    assert bound_at(bounds, 0.4, 0.45) < 1e-6


def test_restriction_to_the_ball():
    """P - f = y^2 - 1/4 is large where b <= 0 only, and 0 at the rim: the multiplier sees that."""
    bounds = made_up([ball(0, 0.5), ball(1, 2)], chart(0, {}, 0, 4), chart(1, {0: 1}, 0, 4), target=4 * y0)
    assert bound_at(bounds, 0.45, 0.55) < 1e-9
    steep = made_up([ball(0, 0.5), ball(1, 2)], chart(0, {}, -0.25, 4, 1), chart(1, {0: 1}, 0, 4), target=4 * y0)
    assert 0.25 - 0.45**2 <= bound_at(steep, 0.45, 0.75) < 0.1 < 0.75**2 - 0.25


@settings(max_examples=150)
@given(SEEDS)
def test_any_charts(seed):
    """Charts at random: balls, prefix sums, clips, knots and targets that need not fit; no sample exceeds a bound."""
    draw = np.random.default_rng(seed)
    dim, tall = int(draw.integers(1, 3)), int(draw.integers(2))
    u = variables(dim)
    components = [*u, *[sum((v * v for v in u), constant(0)) / 2] * tall]
    k = dim + tall
    formula = Formula(tuple(components), (-1.0,) * dim, (1.0,) * dim)
    last = variables(k)[-1]
    target = (exp(y0) / 3, sin(3 * y0 + last), abs(y0), tanh(4 * y0), (y0 * y0) ** 0.25)[draw.integers(5)]
    network = random_charts(draw, dim, k)
    bounds = CellBounds(network, target, formula, np.eye(k).tolist())
    for _ in range(4):
        half, centre = draw.choice([0.25, 0.1, 0.02]), draw.uniform(-0.75, 0.75, dim)
        cell = Cell(tuple((centre - half).tolist()), tuple((centre + half).tolist()))
        found = bounds.bound(cell, bounds.everywhere()).bound
        if math.isfinite(found):
            points = torch.tensor(draw.uniform(cell.lower, cell.upper, (12, dim)))
            y = formula(points)
            off = [value(network, row) for row in y.tolist()] - target(y).numpy()
            assert np.abs(off).max() <= found * (1 + 1e-12) + 1e-12


def random_charts(draw: np.random.Generator, dim: int, k: int) -> NetworkCharts:
    count = int(draw.integers(1, 4))
    cutoffs = []
    for _ in range(count + int(draw.random() < 0.2)):
        centre, level = draw.uniform(-1, 1, k), draw.uniform(0.2, 3)
        square = tuple((i, i, arb(-1)) for i in range(k))
        cutoffs.append(Quadratic(square, numbers(*(2 * centre)), arb(float(level - centre @ centre)), ()))
    slopes = draw.choice([1, 4, 10], len(cutoffs)).tolist()
    charts = []
    for number in range(count):
        own = number if draw.random() < 0.9 else int(draw.integers(len(cutoffs)))
        before = {c: fmpq(slopes[c]) for c in range(number)}
        if draw.random() < 0.3:
            others = draw.integers(len(cutoffs), size=draw.integers(3))
            before = {int(c): fmpq(int(draw.choice([1, 4, 10]))) for c in others}
        coordinates = []
        for i in range(dim):
            limit, scale = draw.choice([1.0, 0.8, 0.5]), draw.choice([1.0, 2.0, 0.7])
            row = numbers(*(scale * (j == i) for j in range(k)))
            coordinates.append(Coordinate(row, arb(draw.uniform(-0.5, 0.5)), arb(-limit), arb(limit)))
        knots = tuple(
            (int(draw.integers(dim)), arb(draw.choice([1.0, -1, 4, -3])), arb(draw.choice([-1, 1, 0.5, 0])))
            for _ in range(draw.integers(0, 3) * (draw.random() < 0.5))
        )
        exponents = {tuple(draw.integers(0, 3, dim + len(knots)).tolist()) for _ in range(draw.integers(0, 5))}
        terms = tuple((e, arb(draw.normal())) for e in sorted(exponents))
        charts.append(Chart(own, arb(slopes[own]), before, fmpq(slopes[own]), tuple(coordinates), knots, terms))
    return NetworkCharts(tuple(cutoffs), tuple(charts), arb(0))


def value(network: NetworkCharts, y: list[float]) -> float:
    """`sum rho_n P_n` in floats, by the definitions."""
    relu = lambda v: max(v, 0.0)  # noqa: E731
    weights = []
    for form in network.cutoffs:
        square = sum(float(c) * y[i] * y[j] for i, j, c in form.square)
        weights.append(
            relu(square + sum(float(c) * v for c, v in zip(form.linear, y, strict=True)) + float(form.constant))
        )
    total = 0.0
    for n in network.charts:
        prefix = sum(float(arb(slope)) * weights[c] for c, slope in n.before.items())
        rho = relu(1 - prefix) - relu(1 - prefix - float(n.slope) * weights[n.cutoff])
        z = [sum(float(c) * v for c, v in zip(q.linear, y, strict=True)) + float(q.constant) for q in n.coordinates]
        z = [min(max(v, float(q.low)), float(q.high)) for v, q in zip(z, n.coordinates, strict=True)]
        z += [relu(float(a) * z[i] + float(b)) for i, a, b in n.knots]
        total += rho * sum(float(c) * math.prod(v**e for v, e in zip(z, powers, strict=True)) for powers, c in n.terms)
    return total


def test_target_beyond_the_ambient_space():
    with pytest.raises(InputError, match="target: expected a function on R\\^1"):
        made_up([ball(0, 2)], chart(0, {}, 0.0), target=y1)


def test_charts_refuse_a_cutoff_of_no_chart():
    net = copy.deepcopy(network(**NETWORKS["circle"]))
    formula = extract(weights_of(net), box_of(net))
    first = formula.weights[0]
    fewer = type(formula)(formula.quantities, formula.weights[1:], formula.terms[1:], formula.rest, formula.error)
    assert any(first != w for w in fewer.weights)
    with pytest.raises(InputError, match="cut-off of no chart"):
        charts_of(fewer, manifold_of(net).frame)
