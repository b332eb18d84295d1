"""The ReLU network on charts: module against elementwise evaluation, and both against the exact polynomials."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from construct import targets
from construct.atlas import atlas_for
from construct.baselines.relu.chart_design import colours, design_of
from construct.baselines.relu.chart_method import ChenImproved
from construct.baselines.relu.chart_search import same_fit
from construct.baselines.relu.charts import ChartsNetwork, networked
from construct.errors import BudgetExceeded, EpsilonNotReached, InputError
from construct.local import LocalSpace, PiecewiseApproximator, PolynomialSpace, SplineSpace, fit_charts
from construct.manifolds import Circle, Cube, Manifold, Sphere, Torus
from construct.measurement import measure

SMOOTH = targets.target("sin_product")

CASES: list[tuple[Manifold, int, LocalSpace]] = [
    (Circle(), 5, PolynomialSpace(1, 0)),
    (Circle(), 9, PolynomialSpace(1, 1)),
    (Circle(), 6, PolynomialSpace(1, 4)),
    (Circle(ambient=5), 4, PolynomialSpace(1, 5)),
    (Circle(), 8, SplineSpace(1, 5)),
    (Sphere(2), 6, PolynomialSpace(2, 3)),
    (Sphere(2, ambient=8), 12, PolynomialSpace(2, 4)),
    (Sphere(2, ambient=8), 14, PolynomialSpace(2, 1)),
    (Sphere(3), 8, PolynomialSpace(3, 2)),
    (Torus(), 50, PolynomialSpace(2, 2)),
    (Cube(1), 1, PolynomialSpace(1, 9)),
    (Cube(1), 4, PolynomialSpace(1, 3)),
    (Cube(2), 1, PolynomialSpace(2, 4)),
    (Cube(2), 9, PolynomialSpace(2, 2)),
    (Cube(3), 1, PolynomialSpace(3, 3)),
]


NAMES = [f"{manifold.name}-{charts}-{space!r}" for manifold, charts, space in CASES]


def fitted(manifold: Manifold, charts: int, space: LocalSpace) -> PiecewiseApproximator:
    return fit_charts(SMOOTH, atlas_for(manifold, charts=charts), space, lawson=2)


def points(manifold: Manifold, count: int = 150) -> Tensor:
    """On M, and in its box off M."""
    generator = torch.Generator().manual_seed(5)
    off = (
        2 * torch.rand(count, manifold.ambient, dtype=torch.float64, generator=generator) - 1
    ) * manifold.largest_coordinates
    return torch.cat([manifold.sample(count, 3), off])


@pytest.mark.parametrize(("manifold", "charts", "space"), CASES, ids=NAMES)
def test_module_and_elementwise_evaluation_agree(manifold: Manifold, charts: int, space: LocalSpace) -> None:
    approximator = fitted(manifold, charts, space)
    x = points(manifold)
    for shared in (True, False) if charts > 1 else (True,):
        for squares in (True, False):
            design = design_of(approximator, shared=shared, squares=squares)
            for m in (1, 6):
                found = networked(design, m)
                module = found.network()
                scale = design.ceiling * module.weight_bound
                assert float((module(x) - found(x)).abs().max()) <= 1e-14 * scale
                assert module.counts == found.counts


@pytest.mark.parametrize(("manifold", "charts", "space"), CASES, ids=NAMES)
def test_values_lie_between_those_of_the_charts(manifold: Manifold, charts: int, space: LocalSpace) -> None:
    """max over cores that hold x <= T(x) <= max over balls that hold x, up to what the squares lose; chart by chart."""
    approximator = fitted(manifold, charts, space)
    atlas = approximator.atlas
    x = manifold.sample(300, 9)
    values = torch.full((len(x), atlas.count), math.nan, dtype=torch.float64)
    distance = torch.stack([(x - c).norm(dim=1) for c in atlas.centres], dim=1)
    for n in range(atlas.count):
        z = ((x - atlas.centres[n]) @ atlas.frames[n] / atlas.scale).clamp(-1.0, 1.0)
        values[:, n] = space.evaluate(z) @ approximator.coefficients[n]
    least = torch.where(distance <= atlas.core_radius, values, -math.inf).amax(dim=1)
    most = torch.where(distance < atlas.radius, values, -math.inf).amax(dim=1)
    assert bool(torch.isfinite(least).all())
    for shared in (True, False):
        found = ChartsNetwork.of(approximator, 20, shared=shared)(x)
        assert bool((found >= least - 1e-8).all())
        assert bool((found <= most + 1e-8).all())


def test_the_error_falls_fourfold_with_a_composition() -> None:
    approximator = fitted(Sphere(2), 20, PolynomialSpace(2, 4))
    design = design_of(approximator)
    x = approximator.atlas.manifold.sample(2000, 1)
    exact = networked(design, 26)(x)
    errors = [float((networked(design, m)(x) - exact).abs().max()) for m in (4, 7, 10)]
    for coarse, fine in pairwise(errors):
        assert 30 < coarse / fine < 130  # 4^3 = 64


def test_classes_lie_apart() -> None:
    for manifold, charts in ((Circle(), 12), (Sphere(2), 32), (Torus(), 80)):
        atlas = atlas_for(manifold, charts=charts)
        colour = colours(atlas)
        for a in range(atlas.count):
            for b in range(a):
                if colour[a] == colour[b]:
                    assert float((atlas.centres[a] - atlas.centres[b]).norm()) > 2 * atlas.radius
        assert len(set(colour.tolist())) < atlas.count / 2


def test_sharing_makes_squares_independent_of_the_charts() -> None:
    """Compositions cost the same for 8 and for 32 charts on the circle, where two classes do for both."""
    grown = []
    for charts in (8, 32):
        design = design_of(fitted(Circle(), charts, PolynomialSpace(1, 4)), squares=False)
        assert design.classes == 2
        sizes = [networked(design, (6, m)).counts.nonzero for m in (8, 9)]
        grown.append(sizes[1] - sizes[0])
    assert grown[0] == grown[1]


def test_the_distance_needs_few_compositions() -> None:
    design = design_of(fitted(Sphere(2), 20, PolynomialSpace(2, 2)))
    collar = design.radius**2 - design.core**2
    least = design.distance_compositions
    assert design.distance_error(least) <= collar / 2 < design.distance_error(least - 1)
    with pytest.raises(InputError, match="distance_compositions"):
        networked(design, 6, 1)


def test_float32() -> None:
    found = ChartsNetwork.of(fitted(Circle(), 6, PolynomialSpace(1, 4)), 6)
    x = Circle().sample(500, 2)
    module = found.network(dtype=torch.float32)
    assert module(x.float()).dtype == torch.float32
    assert float((module(x.float()).double() - found(x)).abs().max()) < 2e-3


def test_bad_arguments_are_refused() -> None:
    approximator = fitted(Circle(), 6, PolynomialSpace(1, 4))
    with pytest.raises(InputError, match=r"compositions: expected 2 integers, one per stage of squares, got \(3,\)"):
        ChartsNetwork.of(approximator, (3,))
    with pytest.raises(InputError, match="compositions"):
        ChartsNetwork.of(approximator, 0)
    with pytest.raises(InputError, match="compositions"):
        ChartsNetwork.of(approximator, 27)
    with pytest.raises(InputError, match="x"):
        ChartsNetwork.of(approximator, 3)(torch.zeros(4, 3, dtype=torch.float64))
    splines = fitted(Cube(2), 1, SplineSpace(2, 3))
    with pytest.raises(InputError, match="space"):
        ChartsNetwork.of(splines, 3)


@pytest.mark.parametrize("epsilon", [1e-2, 1e-4])
def test_same_fit(epsilon: float) -> None:
    approximator = fitted(Circle(), 8, PolynomialSpace(1, 7))
    found = same_fit(approximator, SMOOTH, epsilon)
    assert found.approximator is approximator
    assert found.measured.sup <= epsilon
    assert measure(found.network.network(), SMOOTH, Circle(), seed=4).sup <= 1.05 * epsilon
    # not one composition less everywhere
    fewer = [max(1, m - 1) for m in found.network.compositions]
    assert measure(networked(found.network.design, fewer), SMOOTH, Circle()).sup > epsilon


def test_same_fit_refuses_what_the_fit_cannot() -> None:
    approximator = fitted(Circle(), 6, PolynomialSpace(1, 2))
    with pytest.raises(EpsilonNotReached, match="epsilon") as caught:
        same_fit(approximator, SMOOTH, 1e-9)
    assert 1e-6 < caught.value.best < 1
    with pytest.raises(InputError, match="epsilon"):
        same_fit(approximator, SMOOTH, -1.0)


@pytest.mark.parametrize("compositions", [np.int64(5), torch.tensor(5), np.array([5, 5]), torch.tensor([5, 5]), (5, 5)])
def test_compositions_of_numpy_and_torch(compositions: Any) -> None:
    plain = {"charts": 6, "degree": 4, "compositions": 5}
    given = ChenImproved().fit(SMOOTH, Circle(), {**plain, "compositions": compositions})
    assert given.model.compositions == (5, 5)
    assert given.counts == ChenImproved().fit(SMOOTH, Circle(), plain).counts


def test_method_by_hand() -> None:
    method = ChenImproved()
    by_hand = method.fit(SMOOTH, Circle(), {"charts": 8, "degree": 3, "compositions": 6, "distance_compositions": 6})
    assert by_hand.model.distance_compositions == 6
    assert by_hand.counts == by_hand.model.network().counts
    assert by_hand(Circle().sample(5, 0)).shape == (5,)


@pytest.mark.slow
def test_method_by_epsilon() -> None:
    method = ChenImproved(forms=("charts",))
    found = method.build(SMOOTH, Circle(), 3e-2)
    assert found.measured is not None and found.measured.sup <= 3e-2
    assert found.counts.nonzero < 600
    repeated = method.fit(SMOOTH, Circle(), found.settings)  # without dropping small coefficients
    assert found.counts.nonzero <= repeated.counts.nonzero <= 1.3 * found.counts.nonzero
    assert measure(repeated, SMOOTH, Circle()).sup <= 1.05 * 3e-2
    rough = targets.target("root")
    spline = ChenImproved(smoothness=0.5).build(rough, Circle(), 1e-1)
    assert "cells" in spline.settings and spline.measured is not None and spline.measured.sup <= 1e-1
    assert measure(method.fit(rough, Circle(), spline.settings), rough, Circle()).sup <= 1.05e-1


def test_ladder_grows() -> None:
    sizes = [rung["charts"] * rung["degree"] for rung in ChenImproved().ladder(Circle())]
    assert sizes == sorted(sizes)


@pytest.mark.slow
def test_method_within_a_budget() -> None:
    found = ChenImproved().build(SMOOTH, Circle(), budget=400)
    assert found.counts.nonzero <= 400 and found.measured is not None and found.measured.sup <= 1e-2
    with pytest.raises(BudgetExceeded, match="budget"):
        ChenImproved().build(SMOOTH, Circle(), budget=5)


@pytest.mark.parametrize(
    "settings",
    [
        {"charts": 6},
        {"degree": 2, "compositions": 3, "cells": 4},
        {"charts": 6, "degree": 4, "compositions": [1, 2, 3, 4]},
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"settings|compositions"):
        ChenImproved().fit(SMOOTH, Circle(), settings)
