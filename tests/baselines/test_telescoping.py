"""The ReLU network of the compact formula: module, elementwise, exact formula; partition; guards; search."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from construct import targets
from construct.atlas import atlas_for
from construct.baselines.relu.telescoping import TelescopingNetwork, same_formula
from construct.errors import EpsilonNotReached, InputError
from construct.local import PiecewiseApproximator, PolynomialSpace, SplineSpace, fit_charts
from construct.manifolds import Circle, Cube, Manifold, Sphere
from construct.measurement import measure

SMOOTH = targets.target("sin_product")

CASES: list[tuple[Manifold, int, int]] = [
    (Circle(), 5, 0),
    (Circle(), 5, 1),
    (Circle(), 4, 7),
    (Circle(ambient=4), 3, 9),
    (Sphere(2), 6, 2),
    (Sphere(2), 6, 5),
    (Sphere(2, ambient=8), 12, 4),
    (Cube(1), 1, 6),
    (Cube(2), 1, 3),
    (Cube(2), 9, 2),
    (Cube(3), 1, 4),
    (Sphere(3), 8, 2),
]
NAMES = [f"{manifold.name}-{manifold.ambient}-{charts}-{degree}" for manifold, charts, degree in CASES]


def fitted(manifold: Manifold, charts: int, degree: int) -> PiecewiseApproximator:
    return fit_charts(SMOOTH, atlas_for(manifold, charts=charts), PolynomialSpace(manifold.dim, degree), lawson=2)


def random_polynomials(manifold: Manifold, charts: int, degree: int, seed: int) -> PiecewiseApproximator:
    space = PolynomialSpace(manifold.dim, degree)
    generator = torch.Generator().manual_seed(seed)
    coefficients = torch.randn(charts, space.count, dtype=torch.float64, generator=generator)
    # some vanish, so that some products do not exist
    coefficients *= torch.rand(charts, space.count, generator=generator) < 0.7
    return PiecewiseApproximator(atlas_for(manifold, charts=charts), space, coefficients)


def points(manifold: Manifold, count: int = 100) -> Tensor:
    """On M, and in a box around it, off M."""
    generator = torch.Generator().manual_seed(5)
    off = 2 * torch.rand(count, manifold.ambient, dtype=torch.float64, generator=generator) - 1
    return torch.cat([manifold.sample(count, 3), 1.3 * off * manifold.largest_coordinates])


@pytest.mark.parametrize(("manifold", "charts", "degree"), CASES, ids=NAMES)
def test_module_elementwise_evaluation_and_counts_agree(manifold: Manifold, charts: int, degree: int) -> None:
    approximator, x = fitted(manifold, charts, degree), points(manifold)
    for m in (1, 4, 11):
        fast = TelescopingNetwork(approximator, m)
        net = fast.network()
        assert fast.counts == net.counts
        torch.testing.assert_close(fast(x), net(x), rtol=0, atol=1e-12)


@settings(max_examples=12, deadline=None)
@given(st.sampled_from(range(len(CASES))), st.integers(0, 1000), st.data())
def test_agreement_for_random_polynomials_and_compositions(case: int, seed: int, data: st.DataObject) -> None:
    manifold, charts, degree = CASES[case]
    approximator = random_polynomials(manifold, charts, degree, seed)
    stages = len(TelescopingNetwork(approximator, 1).stages)
    compositions = data.draw(st.lists(st.integers(1, 6), min_size=stages, max_size=stages))
    fast = TelescopingNetwork(approximator, compositions)
    x = points(manifold, 40)
    net = fast.network()
    torch.testing.assert_close(fast(x), net(x), rtol=0, atol=1e-11)
    assert fast.counts == net.counts


@pytest.mark.parametrize(("manifold", "charts", "degree"), CASES, ids=NAMES)
def test_many_compositions_give_the_formula_on_the_manifold(manifold: Manifold, charts: int, degree: int) -> None:
    """With exact squares and the distance exact too, it is the approximator itself."""
    approximator, x = random_polynomials(manifold, charts, degree, 1), manifold.sample(500, 4)
    fast = TelescopingNetwork(approximator, 26, 26)
    torch.testing.assert_close(fast(x), approximator(x), rtol=0, atol=1e-9)


def test_an_error_falls_by_four_with_every_composition() -> None:
    manifold = Circle()
    approximator, x = fitted(manifold, 4, 6), manifold.sample(2000, 4)
    limit = TelescopingNetwork(approximator, 26)(x)
    errors = [float((TelescopingNetwork(approximator, m)(x) - limit).abs().max()) for m in range(4, 12)]
    rate = math.log(errors[0] / errors[-1], 4) / (len(errors) - 1)
    assert 0.9 < rate < 1.1


@pytest.mark.parametrize("manifold", [Circle(), Sphere(2), Sphere(2, ambient=8), Cube(2)], ids=lambda m: repr(m))
def test_the_partition_sums_to_one_for_every_distance_that_is_allowed(manifold: Manifold) -> None:
    """T of constant polynomials 1 is sum_n rho_n: exactly 1 on M up to the product 1 * 1 and rho (1 - rho)."""
    atlas = atlas_for(manifold, charts=9)
    ones = PiecewiseApproximator(
        atlas, PolynomialSpace(manifold.dim, 0), torch.ones(atlas.count, 1, dtype=torch.float64)
    )
    x = torch.cat([manifold.sample(2000, 1), atlas.centres])
    least = TelescopingNetwork(ones, 1).distance
    for distance in (least, least + 1, least + 4):
        fast = TelescopingNetwork(ones, 26, distance)
        torch.testing.assert_close(fast(x), torch.ones(len(x), dtype=torch.float64), rtol=0, atol=1e-12)


@pytest.mark.parametrize("manifold", [Circle(), Sphere(2), Sphere(2, ambient=8)], ids=lambda m: repr(m))
def test_outside_all_balls_the_value_is_zero(manifold: Manifold) -> None:
    approximator = random_polynomials(manifold, 9, 2, 3)
    atlas = approximator.atlas
    x = manifold.sample(400, 1) * torch.rand(400, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    outside = x[(torch.cdist(x, atlas.centres) >= atlas.radius).all(dim=1)]
    assert len(outside) > 20
    for m in (1, 5):
        fast = TelescopingNetwork(approximator, m)
        assert not fast(outside).any()
        assert float(fast.network()(outside).abs().max()) < 1e-12


def test_too_coarse_a_distance_would_break_the_partition() -> None:
    approximator = fitted(Circle(), 5, 2)
    least = TelescopingNetwork(approximator, 3).distance
    assert least > 1
    with pytest.raises(InputError, match=f"distance_compositions.*at least {least}.*got {least - 1}"):
        TelescopingNetwork(approximator, 3, least - 1)


def test_float32_and_the_depth_do_not_depend_on_the_number_of_points() -> None:
    approximator = fitted(Circle(), 4, 5)
    fast = TelescopingNetwork(approximator, 6)
    net, x = fast.network(torch.float32), Circle().sample(50, 1)
    assert net(x.float()).dtype == torch.float32
    torch.testing.assert_close(net(x.float()).double(), fast(x), rtol=0, atol=1e-4)
    assert fast(x[:0]).shape == (0,)
    assert "4 charts" in repr(fast)


def test_bad_arguments_are_refused() -> None:
    manifold = Circle()
    approximator = fitted(manifold, 4, 5)
    splines = fit_charts(SMOOTH, atlas_for(manifold, charts=4), SplineSpace(1, 3), lawson=2)
    four = fitted(Cube(4), 1, 1)
    bad: list[tuple[Any, Any, str]] = [
        (splines, 4, "approximator: expected polynomials"),
        (four, 4, "approximator: expected polynomials"),
        (approximator, 0, "compositions"),
        (approximator, 27, "compositions"),
        (approximator, 2.5, "compositions"),
        (approximator, [3, 3], "compositions: expected 4"),
    ]
    for one, m, text in bad:
        with pytest.raises(InputError, match=text):
            TelescopingNetwork(one, m)
    for distance in (0, 27):
        with pytest.raises(InputError, match="distance_compositions"):
            TelescopingNetwork(approximator, 3, distance)
    with pytest.raises(InputError, match=r"x: expected .* shape \(\.\.\., 2\), got a tensor of shape \(4, 3\)"):
        TelescopingNetwork(approximator, 3)(torch.zeros(4, 3, dtype=torch.float64))
    with pytest.raises(InputError, match="x: expected finite"):
        TelescopingNetwork(approximator, 3)(torch.full((1, 2), math.nan, dtype=torch.float64))
    with pytest.raises(InputError, match="epsilon"):
        same_formula(approximator, SMOOTH, -1.0)


@pytest.mark.parametrize(("manifold", "charts", "degree", "epsilon"), [(Circle(), 4, 8, 1e-4), (Sphere(2), 6, 6, 1e-2)])
def test_the_search_meets_epsilon_and_one_composition_less_does_not(
    manifold: Manifold, charts: int, degree: int, epsilon: float
) -> None:
    approximator = fitted(manifold, charts, degree)
    net, measured = same_formula(approximator, SMOOTH, epsilon)
    assert measured.sup <= epsilon
    assert measure(net.network(), SMOOTH, manifold, samples=4000, seed=9).sup <= 1.02 * epsilon
    assert max(net.stages) > 1
    fewer = TelescopingNetwork(approximator, [max(1, m - 1) for m in net.stages], net.distance)
    assert measure(fewer, SMOOTH, manifold).sup > epsilon


def test_the_search_reports_what_the_formula_reaches() -> None:
    approximator = fitted(Circle(), 4, 4)
    reached = measure(approximator, SMOOTH, Circle()).sup
    with pytest.raises(EpsilonNotReached) as caught:
        same_formula(approximator, SMOOTH, reached / 3)
    assert reached / 3 < caught.value.best < 2 * reached
