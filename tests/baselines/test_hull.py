"""Squares on the hull: their span, fits by few squares, module and elementwise values, searches, forms of the rival."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from construct import baselines, targets
from construct.arrays import Float
from construct.baselines.relu import chart_method, hull_search
from construct.baselines.relu.chart_method import ChenImproved
from construct.baselines.relu.chart_search import search_charts
from construct.baselines.relu.hull_fit import linear_fit, squares_fit
from construct.baselines.relu.hull_levels import next_level
from construct.baselines.relu.hull_network import HullDesign, HullNetwork
from construct.baselines.relu.hull_search import hull_by_hand, search_hull
from construct.errors import EpsilonNotReached, InputError
from construct.manifolds import Circle, Cube, Manifold, Sphere, Torus
from construct.measurement import measure
from construct.problem import Problem
from construct.ridge.coordinates import coordinates_of

SMOOTH = targets.target("exp_sin")
MANIFOLDS: list[Manifold] = [Circle(), Sphere(2), Sphere(2, ambient=8), Torus(), Cube(2)]
# polynomials of degree 1, 2, 4 restricted to M
DIMENSIONS = {"circle": (3, 5, 9), "sphere": (4, 9, 25), "torus": (4, 10, 34), "cube": (3, 6, 15)}


def features_of(manifold: Manifold, count: int = 1200, levels: int = 0, seed: int = 2) -> Float:
    found = coordinates_of(manifold, 0).of(manifold.sample(count, seed)).numpy()
    for _ in range(levels):
        found = np.hstack([found, next_level(found, 0).values])
    return np.asarray(found)


@pytest.mark.parametrize("manifold", MANIFOLDS, ids=repr)
def test_a_level_spans_all_products_with_one_square_for_each_dimension(manifold: Manifold) -> None:
    for level in (0, 1):
        features = features_of(manifold, levels=level)
        found = next_level(features, 0)
        one = np.hstack([np.ones((len(features), 1)), features])
        np.testing.assert_allclose((one @ found.forms.T) ** 2, found.values, rtol=0, atol=1e-12)
        assert found.values.max() <= 1 and np.count_nonzero(found.forms[:, 1:], axis=1).max() <= 2
        grown = np.hstack([one, found.values])
        assert grown.shape[1] == DIMENSIONS[manifold.name][level + 1]
        assert np.linalg.matrix_rank(grown, 1e-8) == grown.shape[1]
        for i in range(one.shape[1]):
            products = one * one[:, i, None]
            left = products - grown @ np.linalg.lstsq(grown, products, rcond=None)[0]
            assert np.abs(left).max() <= 1e-9


def test_a_level_without_new_squares_has_none() -> None:
    """On two points everything is affine."""
    features = np.repeat([[-1.0], [1.0]], 10, axis=0)
    assert next_level(features, 0).forms.shape == (0, 2)


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 999))
def test_a_square_is_found_again(seed: int) -> None:
    count, generator = 1, np.random.default_rng(seed)
    features = features_of(Sphere(2), 600, levels=1)
    one = np.hstack([np.ones((600, 1)), features])
    forms = generator.standard_normal((count, one.shape[1])) / 3
    values = one @ generator.standard_normal(one.shape[1]) + (one @ forms[0]) ** 2 * generator.choice([1.0, -1.0])
    found = squares_fit(features, values, count, 1e-7, seed, starts=4)
    rebuilt = one @ found.rest + (one @ found.forms.T) ** 2 @ found.signs
    assert found.error == pytest.approx(np.abs(rebuilt - values).max(), rel=1e-3, abs=1e-9)
    assert found.error <= 1e-6 * max(1.0, linear_fit(features, values).error)


def test_a_linear_fit_is_better_than_least_squares() -> None:
    features = features_of(Circle(), levels=2)
    values = SMOOTH(Circle().sample(1200, 2)).numpy()
    one = np.hstack([np.ones((1200, 1)), features])
    plain = np.abs(values - one @ np.linalg.lstsq(one, values, rcond=None)[0]).max()
    found = linear_fit(features, values)
    assert found.error < 0.95 * plain and found.forms.shape == (0, one.shape[1])
    assert np.abs(values - one @ found.rest).max() == pytest.approx(found.error, rel=1e-9)


@pytest.mark.parametrize("manifold", MANIFOLDS, ids=repr)
@pytest.mark.parametrize(("levels", "squares"), [(0, 0), (0, 1), (1, 2), (2, 0)])
def test_module_elementwise_evaluation_and_counts_agree(manifold: Manifold, levels: int, squares: int) -> None:
    x = manifold.sample(100, 6)
    stages = levels + (squares > 0)
    problem = Problem(SMOOTH, manifold)
    design = hull_by_hand(problem, {"levels": levels, "squares": squares, "compositions": 1}).design
    for compositions in (1, 6, [3, 5, 2][:stages]):
        network = HullNetwork(design, compositions)
        net = network.network()
        assert network.counts == net.counts
        torch.testing.assert_close(network(x), net(x), rtol=0, atol=1e-11)


def test_many_compositions_give_the_fit() -> None:
    problem = Problem(SMOOTH, Sphere(2))
    network = hull_by_hand(problem, {"levels": 1, "squares": 2, "compositions": 26})
    features, x = features_of(Sphere(2), 3000, levels=1), Sphere(2).sample(3000, 2)
    reached = squares_fit(features, SMOOTH(x).numpy(), 2, 0.0, 0).error
    assert reached / 2 < measure(network, SMOOTH, Sphere(2), samples=2000, rounds=2).sup < 2 * reached
    errors = [
        measure(HullNetwork(network.design, m), network, Sphere(2), samples=500, rounds=0).sup for m in range(4, 11)
    ]
    rate = math.log(errors[0] / errors[-1], 4) / (len(errors) - 1)
    assert 0.85 < rate < 1.15


@pytest.mark.parametrize(("manifold", "epsilon", "most"), [(Circle(), 1e-2, 330), (Sphere(2, ambient=8), 1e-2, 200)])
def test_the_search_meets_epsilon_with_few_numbers(manifold: Manifold, epsilon: float, most: int) -> None:
    found = search_hull(Problem(SMOOTH, manifold, epsilon))
    network = found.network
    assert found.measured.sup <= epsilon and network.counts.nonzero <= most
    assert measure(network.network(), SMOOTH, manifold, samples=2000, rounds=2, seed=9).sup <= 1.02 * epsilon
    fewer = HullNetwork(network.design, [max(1, m - 1) for m in network.stages])
    assert measure(fewer, SMOOTH, manifold, samples=2000, rounds=2).sup > epsilon
    assert [t.outcome for t in found.history].count("chosen") == 1


def test_the_search_says_what_was_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hull_search, "MOST_LEVELS", 2)
    with pytest.raises(EpsilonNotReached) as caught:
        search_hull(Problem(lambda x: x[..., 0].abs().sqrt(), Cube(1), 1e-4))
    assert 1e-4 < caught.value.best < 0.5


@pytest.mark.parametrize("manifold", MANIFOLDS, ids=repr)
def test_a_design_that_is_spread_is_the_same_function_in_range(manifold: Manifold) -> None:
    """The forms of a design are shrunk and stretched first; then the squares of some saturate, or of none."""
    found = hull_by_hand(Problem(SMOOTH, manifold), {"levels": 2, "squares": 1, "compositions": 26})
    x = manifold.sample(500, 8)
    design = found.design
    stretched = replace(design, levels=(3 * design.levels[0], *design.levels[1:]))
    scaled = [np.ones(level.shape[1]) for level in (*design.levels[1:], design.rest[None])]
    for row in scaled:
        start = 1 + design.coordinates.count
        row[start : start + len(design.levels[0])] = 1 / 9
    stretched = replace(
        stretched,
        levels=(stretched.levels[0], design.levels[1] * scaled[0]),
        rest=design.rest * scaled[1],
        forms=design.forms * scaled[1],
    )
    wrong = float((HullNetwork(stretched, 26)(x) - found(x)).abs().max())
    again = HullNetwork(stretched.spread(x, 0.01), 26)
    torch.testing.assert_close(again(x), found(x), rtol=0, atol=1e-7)
    assert wrong > 1e-3
    one = np.hstack([np.ones((len(x), 1)), design.coordinates.of(x).numpy()])
    assert np.abs(one @ again.design.levels[0].T).max(axis=0) == pytest.approx(1 / 1.01)


def test_designs_are_checked() -> None:
    y = coordinates_of(Circle(), 0)
    good: dict[str, Any] = {
        "ambient": 2, "coordinates": y, "levels": (np.eye(3)[1:],), "rest": np.ones(5), "forms": np.ones((1, 5)) / 5,
        "weights": np.ones(1), "largest": 5.0,
    }  # fmt: skip
    assert HullDesign(**good).squares == 3 and HullDesign(**good).stages == 2
    bad = [
        ("levels", (np.ones((2, 2)),)),
        ("rest", np.ones(4)),
        ("rest", np.full(5, np.nan)),
        ("forms", np.ones((2, 5))),
    ]
    for name, value in bad:
        with pytest.raises(InputError, match=name):
            HullDesign(**{**good, name: value})
    with pytest.raises(InputError, match="compositions"):
        _ = HullNetwork(HullDesign(**good), [3]).stages
    with pytest.raises(InputError, match="x"):
        HullNetwork(HullDesign(**good), 3)(torch.zeros(2, 3, dtype=torch.float64))


def test_the_rival_takes_the_smallest_of_its_forms(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each form is told what the best so far has; a form that finds more is not taken, nor one that finds nothing."""
    hull = ChenImproved(forms=("hull",)).build(SMOOTH, Circle(), 2e-1)
    assert hull.measured is not None and hull.measured.sup <= 2e-1 and hull.method == "chen_improved"
    limits: list[int | None] = []
    monkeypatch.setattr(chart_method, "search_charts", lambda problem, below: limits.append(below))
    best = ChenImproved().build(SMOOTH, Circle(), 2e-1)
    assert best.counts == hull.counts and limits == [hull.counts.nonzero]
    again = ChenImproved().fit(SMOOTH, Circle(), best.settings)
    assert 0.8 < again.counts.nonzero / best.counts.nonzero < 1.2


@pytest.mark.slow
def test_charts_alone_are_larger_on_the_circle() -> None:
    old = ChenImproved(forms=("charts",)).build(SMOOTH, Circle(), 1e-2)
    new = baselines.build("chen_improved", SMOOTH, Circle(), 1e-2)
    assert "charts" in old.settings and "levels" in new.settings and new.counts.nonzero < 0.7 * old.counts.nonzero
    assert search_charts(Problem(SMOOTH, Circle(), 1e-2), 50) is None
    ridge = ChenImproved(forms=("ridge",)).build(SMOOTH, Circle(), 1e-2)
    assert ridge.method == "chen_improved" and "maps" in ridge.settings and ridge.counts.nonzero > old.counts.nonzero


def test_a_rough_target_is_left_to_charts(monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[int | None] = []
    monkeypatch.setattr(chart_method, "search_charts", lambda problem, below: limits.append(below))
    with pytest.raises(EpsilonNotReached):
        ChenImproved(smoothness=0.5).build(SMOOTH, Circle(), 2e-1)
    assert limits == [None]


@pytest.mark.parametrize(
    ("settings_", "text"),
    [
        ({"levels": 1, "squares": 1}, "settings"),
        ({"levels": 9, "squares": 1, "compositions": 3}, "levels"),
        ({"levels": 1, "squares": -1, "compositions": 3}, "squares"),
        ({"levels": 1, "squares": 1, "compositions": [1, 2, 3]}, "compositions"),
        ({"levels": 1, "squares": 1, "compositions": 3, "charts": 4}, "settings"),
        ({"degree": 3, "maps": (2,), "compositions": 3}, "maps"),
    ],
)
def test_bad_settings_are_refused(settings_: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError, match=text):
        ChenImproved().fit(SMOOTH, Circle(), settings_)


@pytest.mark.parametrize("forms", [(), ("charts", "charts"), ("squares",), "charts"])
def test_bad_forms_are_refused(forms: Any) -> None:
    with pytest.raises(InputError, match="forms"):
        ChenImproved(forms=forms)


def test_a_manifold_of_many_dimensions_is_left_to_charts() -> None:
    """Its hull has too many coordinates for one polynomial: the other forms are not tried."""
    with pytest.raises(InputError, match="manifold"):
        search_hull(Problem(SMOOTH, Sphere(12), 1e-1))
