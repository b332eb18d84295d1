"""Fewest links in a tube against brute force from both sides, and the shallow network that they make."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from torch import Tensor

from construct.baselines.relu.links import Polyline, fewest_links
from construct.baselines.relu.shallow_spline import ShallowSpline
from construct.errors import BudgetExceeded, EpsilonNotReached, InputError
from construct.manifolds import Circle, Cube, Manifold
from construct.measurement import measure

Array = np.ndarray[Any, Any]


def random_tube(seed: int, size: int) -> tuple[Array, Array, Array]:
    generator = np.random.default_rng(seed)
    x = np.concatenate([[0.0], np.cumsum(generator.uniform(0.2, 1.0, size - 1))])
    middle, width = generator.standard_normal(size), generator.uniform(0.1, 0.9, size)
    return x, middle - width, middle + width


def pieces_needed(x: Array, low: Array, high: Array) -> int:
    """Fewest pieces of a discontinuous piecewise-linear function in the tube: a lower bound, by linear programmes."""

    def feasible(first: float, last: float) -> bool:
        at = np.concatenate([[first], x[(x > first) & (x < last)], [last]])
        rows = np.column_stack([np.ones(len(at)), at])
        bound = np.concatenate([np.interp(at, x, high), -np.interp(at, x, low)])
        return bool(linprog([0, 0], np.vstack([rows, -rows]), bound + 1e-9, bounds=[(None, None)] * 2).status == 0)

    count, start = 0, float(x[0])
    while start < x[-1] - 1e-9:
        count += 1
        if feasible(start, float(x[-1])):
            return count
        inside, outside = start, float(x[-1])
        while outside - inside > 1e-6:
            middle = (inside + outside) / 2
            inside, outside = (middle, outside) if feasible(start, middle) else (inside, middle)
        start = inside
    return count


def links_on_lattice(x: Array, low: Array, high: Array, levels: int = 7, parts: int = 2) -> int:
    """Fewest links with breakpoints on a lattice of the tube, by dynamic programming: an upper bound."""
    at = np.unique(np.concatenate([np.linspace(a, b, parts + 1) for a, b in pairwise(x)]))
    share = np.linspace(0.0, 1.0, levels)
    bottom, top = np.interp(at, x, low), np.interp(at, x, high)
    y = bottom[:, None] + (top - bottom)[:, None] * share
    best = np.full(y.shape, 10**6)
    best[0] = 0
    for j in range(1, len(at)):
        for i in range(j):
            t = (at[i + 1 : j] - at[i]) / (at[j] - at[i])
            line = y[i][:, None, None] * (1 - t) + y[j][None, :, None] * t
            inside = ((line >= bottom[i + 1 : j] - 1e-12) & (line <= top[i + 1 : j] + 1e-12)).all(axis=2)
            found = np.where(inside, best[i][:, None] + 1, 10**6).min(axis=0)
            best[j] = np.minimum(best[j], found)
    return int(best[-1].min())


def assert_in_tube(found: Polyline, x: Array, low: Array, high: Array) -> None:
    assert found.start == x[0]
    assert (np.diff(found.knots) > -1e-12).all()
    at = np.union1d(x, found.knots)
    assert at[0] == x[0] and at[-1] == x[-1]
    scale = high.max() - low.min()
    assert (found(at) >= np.interp(at, x, low) - 1e-9 * scale).all()
    assert (found(at) <= np.interp(at, x, high) + 1e-9 * scale).all()


@settings(max_examples=25)
@given(seed=st.integers(0, 10**6), size=st.integers(2, 8))
def test_links_lie_between_two_bounds(seed: int, size: int) -> None:
    x, low, high = random_tube(seed, size)
    found = fewest_links(x, low, high)
    assert found is not None
    assert_in_tube(found, x, low, high)
    assert pieces_needed(x, low, high) <= len(found.slopes) <= links_on_lattice(x, low, high)


@settings(max_examples=60)
@given(seed=st.integers(0, 10**6), size=st.integers(2, 100))
def test_the_number_of_links_does_not_depend_on_the_direction(seed: int, size: int) -> None:
    """Greedy from the left, from the right and upside down: three different runs, one optimum."""
    x, low, high = random_tube(seed, size)
    runs = [fewest_links(x, low, high), fewest_links(-x[::-1], low[::-1], high[::-1]), fewest_links(x, -high, -low)]
    assert all(run is not None for run in runs)
    assert len({len(run.slopes) for run in runs if run is not None}) == 1
    assert_in_tube(runs[0], x, low, high)  # type: ignore[arg-type]


@settings(max_examples=30)
@given(seed=st.integers(0, 10**6))
def test_giving_up(seed: int) -> None:
    x, low, high = random_tube(seed, 30)
    found = fewest_links(x, low, high)
    assert found is not None
    links = len(found.slopes)
    assert fewest_links(x, low, high, links) is not None
    assert fewest_links(x, low, high, links - 1) is None


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_parabola_takes_the_links_of_the_theory(sign: float) -> None:
    """A line of length l is off from x^2 by l^2/8 at best: exactly ceil(2 / sqrt(8 eps)) links on [-1, 1]."""
    x = np.linspace(-1.0, 1.0, 4001)
    for links in (1, 2, 3, 7):
        eps = (2 / links) ** 2 / 8
        above = fewest_links(x, sign * x**2 - 1.001 * eps, sign * x**2 + 1.001 * eps)
        below = fewest_links(x, sign * x**2 - 0.99 * eps, sign * x**2 + 0.99 * eps)
        assert above is not None and below is not None
        assert len(above.slopes) == links
        assert len(below.slopes) == links + 1


def wave(x: Tensor) -> Tensor:
    return torch.exp(x[..., 0]) * torch.sin(3 * x[..., 0])


def test_links_follow_the_second_derivative() -> None:
    """links ~ integral sqrt|f''| / (4 sqrt eps)."""
    x = np.linspace(-1.0, 1.0, 20_001)
    curvature = np.exp(x) * (6 * np.cos(3 * x) - 8 * np.sin(3 * x))
    total = float(np.trapezoid(np.sqrt(np.abs(curvature)), x)) / 4
    for eps in (1e-3, 1e-4, 1e-5):
        found = ShallowSpline().build(wave, Cube(1), eps)
        assert found.settings["knots"] + 1 == pytest.approx(total / math.sqrt(eps), rel=0.03)
        assert found.measured is not None and 0.95 * eps <= found.measured.sup <= eps
        assert found.counts.nonzero <= 3 * (found.settings["knots"] + 1) + 1
        assert found.counts.depth == 2


def test_given_knots_reach_the_error_that_needs_them() -> None:
    """The smallest error of n knots, a little more of which needs n and a little less n + 1."""
    method, interval = ShallowSpline(cells=2**10), Cube(1)
    for knots in (0, 4):
        found = method.fit(wave, interval, {"knots": knots})
        error = measure(found, wave, interval).sup
        assert found.settings["knots"] == knots
        assert method.build(wave, interval, 1.002 * error).settings["knots"] == knots
        assert method.build(wave, interval, 0.998 * error).settings["knots"] == knots + 1


def test_network_is_the_polyline() -> None:
    x = np.linspace(-1.0, 1.0, 257)
    values = np.exp(x) * np.sin(3 * x)
    found = fewest_links(x, values - 0.01, values + 0.01)
    baseline = ShallowSpline(cells=256).build(wave, Cube(1), 0.0102)
    assert found is not None
    at = torch.linspace(-1.0, 1.0, 1001, dtype=torch.float64)
    assert float((baseline(at[:, None]) - wave(at[:, None])).abs().max()) <= 0.0102
    assert baseline.model.counts == baseline.counts
    kinks = -baseline.model.stack[0].bias
    assert float(kinks[0]) == -1.0 and bool((kinks.diff() > 0).all())


def test_constant_and_kinked_targets() -> None:
    interval = Cube(1)
    constant = ShallowSpline(cells=64).build(lambda x: torch.full_like(x[..., 0], 2.0), interval, 1e-9)
    assert constant.settings == {"knots": 0}
    nothing = ShallowSpline(cells=64).fit(lambda x: 0 * x[..., 0], interval, {"knots": 3})
    assert bool((nothing(interval.sample(50, 0)).abs() < 1e-12).all())
    kink = ShallowSpline(cells=64).build(lambda x: x[..., 0].abs(), interval, 1e-3)
    assert kink.settings == {"knots": 1}
    root = ShallowSpline().build(lambda x: x[..., 0].abs().sqrt(), interval, 2e-2)
    assert root.measured is not None and root.measured.sup <= 2e-2


def test_budget_and_dtype() -> None:
    method, interval = ShallowSpline(cells=512), Cube(1)
    found = method.build(wave, interval, budget=40, dtype=torch.float32)
    assert found.counts.nonzero <= 40 and found.settings["knots"] == 12
    assert found.model.stack[0].values.dtype == torch.float32
    with pytest.raises(BudgetExceeded, match="budget"):
        method.build(wave, interval, budget=3)


def test_an_epsilon_below_the_grid_is_refused() -> None:
    with pytest.raises(EpsilonNotReached, match="epsilon"):
        ShallowSpline(cells=2**17).build(wave, Cube(1), 1e-10)


@pytest.mark.parametrize("manifold", [Circle(), Cube(2), Cube(1, ambient=3)])
def test_other_manifolds_are_refused(manifold: Manifold) -> None:
    with pytest.raises(InputError, match="manifold"):
        ShallowSpline().build(lambda x: x[..., 0], manifold, 0.1)


def test_bad_settings_are_refused() -> None:
    with pytest.raises(InputError, match="settings"):
        ShallowSpline().fit(wave, Cube(1), {"knots": 2, "degree": 1})
    with pytest.raises(InputError, match="knots"):
        ShallowSpline().fit(wave, Cube(1), {"knots": -1})
    with pytest.raises(InputError, match="knots"):
        ShallowSpline().fit(wave, Cube(1), {})
    with pytest.raises(InputError, match="cells"):
        ShallowSpline(cells=1)


def test_bad_tubes_are_refused() -> None:
    x, low, high = random_tube(0, 5)
    with pytest.raises(InputError, match="shape"):
        fewest_links(x, low[:-1], high)
    with pytest.raises(InputError, match="increasing"):
        fewest_links(x[::-1].copy(), low, high)
    with pytest.raises(InputError, match="below high"):
        fewest_links(x, high, low)
    with pytest.raises(InputError, match="NaN"):
        fewest_links(x, low, np.where(x == x[2], np.nan, high))
