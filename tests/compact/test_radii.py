"""Compact networks of charts with radii of their own, and of a base: the formula, in as many heads and blocks."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from construct.atlas import Atlas
from construct.baselines.relu.chart_design import design_of
from construct.baselines.relu.telescoping_terms import Terms
from construct.compact.geometry import ChartGeometry, chart_geometry
from construct.errors import InputError, PrecisionError
from construct.local import PiecewiseApproximator, PolynomialSpace, SplineSpace
from construct.manifolds import Circle, Manifold, Sphere
from construct.program.compile import Program
from construct.theorem import network_of

CASES: list[tuple[Manifold, PolynomialSpace | SplineSpace]] = [
    (Circle(), PolynomialSpace(1, 1)),
    (Circle(3.0), PolynomialSpace(1, 8)),
    (Circle(0.01), PolynomialSpace(1, 2)),
    (Circle(ambient=30, seed=1), SplineSpace(1, 4)),
    (Sphere(2), PolynomialSpace(2, 3)),
    (Sphere(2, ambient=9), PolynomialSpace(2, 1)),
]


def approximator(case: int, seed: int, base: float, smallest: float = 1e-2) -> PiecewiseApproximator:
    """Balls of radii down to `smallest` of the largest, some about one point; random coefficients."""
    manifold, space = CASES[case]
    generator = torch.Generator().manual_seed(seed)
    centres = manifold.sample(6, seed)
    centres[1:3] = centres[0]
    share = torch.rand(6, generator=generator, dtype=torch.float64)
    radii = 0.9 * manifold.chart_radius_bound * smallest**share
    cores = radii * (0.85 + 0.14 * torch.rand(6, generator=generator, dtype=torch.float64))
    coefficients = torch.randn(6, space.count, generator=generator, dtype=torch.float64)
    return PiecewiseApproximator(Atlas.of_balls(manifold, centres, cores, radii), space, coefficients, base=base)


def points(found: PiecewiseApproximator, seed: int) -> torch.Tensor:
    """Of M, of all balls, and off M."""
    manifold, radii = found.atlas.manifold, found.atlas.cover.radii
    generator = torch.Generator().manual_seed(seed)
    about = found.atlas.centres.repeat(60, 1)
    steps = torch.randn(about.shape, generator=generator, dtype=torch.float64)
    near = about + radii.repeat(60).unsqueeze(1) * steps / manifold.dim
    return torch.cat([manifold.sample(200, seed), manifold.project(near), 1.3 * manifold.sample(50, seed + 1)])


@given(case=st.integers(0, len(CASES) - 1), seed=st.integers(0, 10**6), base=st.sampled_from([0.0, 0.7, -3.0]))
@settings(max_examples=6, deadline=None)
def test_the_network_is_its_formula(case: int, seed: int, base: float) -> None:
    found = approximator(case, seed, base)
    net = network_of(found)
    x = points(found, seed)
    assert float((net(x) - found(x)).abs().max()) <= 1e-8  # the cut-offs amplify rounding by 1 / (r^2 - core^2)
    assert float((net.transformer(x[::7]) - found(x[::7])).abs().max()) <= 1e-8
    counted = asdict(net.architecture)
    assert counted.pop("weight_bound") > 0 and asdict(net.program.counts) == counted
    again = Program.from_json(net.program.to_json())
    assert again.to_json() == net.program.to_json() and again.counts == net.program.counts


@pytest.mark.parametrize("case", range(len(CASES)))
def test_radii_cost_no_head_and_no_block(case: int) -> None:
    """Against the atlas of the same centres and one radius, whose balls all meet: a head for every pair."""
    uneven = approximator(case, 5, 0.0)
    manifold, space = CASES[case]
    radius = 0.9 * manifold.chart_radius_bound
    wide = torch.full((6,), radius, dtype=torch.float64)
    centres = uneven.atlas.centres[:1].repeat(6, 1)
    even = PiecewiseApproximator(Atlas.of_balls(manifold, centres, 0.9 * wide, wide), space, uneven.coefficients)
    apart = PiecewiseApproximator(
        Atlas.of_balls(manifold, centres, wide * (0.9 - 1e-3 * torch.arange(6)), wide), space, uneven.coefficients
    )
    a, b = network_of(even).architecture, network_of(apart).architecture
    assert even.atlas.even and not apart.atlas.even
    assert len(even.atlas.prefix_pairs) == len(apart.atlas.prefix_pairs) == 15
    assert (a.blocks, a.heads, a.tokens, a.nonzero_parameters) == (b.blocks, b.heads, b.tokens, b.nonzero_parameters)


def test_a_base_costs_one_number() -> None:
    without, over = (network_of(approximator(4, 1, base)).architecture for base in (0.0, 0.5))
    assert over.stored_numbers == without.stored_numbers + 1 and over.heads == without.heads


def test_off_the_balls_the_network_is_its_base() -> None:
    found = approximator(4, 2, 0.25)
    net = network_of(found)
    outside = 1.9 * found.atlas.manifold.sample(20, 0)
    assert not bool((found.atlas.squared_distance(outside) < found.atlas.cover.radii**2).any())
    assert float((net(outside) - 0.25).abs().max()) <= 1e-12


@given(seed=st.integers(0, 10**6), unit=st.sampled_from([1e-6, 1.0, 1e5]))
@settings(max_examples=40, deadline=None)
def test_lifts_are_at_least_one_and_exact_for_dyadic_collars(seed: int, unit: float) -> None:
    rng = np.random.default_rng(seed)
    radius = unit * 10 ** (-3 * rng.random(5))
    dyadic = np.sqrt(radius**2 - 2.0 ** np.floor(np.log2(radius**2 / 8)))
    for core in (radius * (0.8 + 0.19 * rng.random(5)), dyadic):
        g = geometry(radius, core)
        lift = np.asarray(g.lift)
        assert (lift >= 1).all() and 2.0 ** np.round(np.log2(g.slope)) == g.slope
        np.testing.assert_allclose(lift * g.slope * (radius**2 - core**2), 1.0, rtol=1e-9)
    assert (2.0 ** np.round(np.log2(lift)) == lift).all()
    even = geometry(0.5, 0.4)
    assert even.lift == 1.0 and even.slope == 1.0 / (0.5**2 - 0.4**2)


def geometry(radius: np.ndarray | float, core: np.ndarray | float) -> ChartGeometry:
    count = np.size(radius)
    frames = np.zeros((count, 2, 1))
    pairs = np.zeros((0, 2), dtype=np.int64)
    return ChartGeometry(np.zeros((count, 2)), frames, np.ones(2), radius, core, radius, pairs, None)


def test_an_even_atlas_keeps_its_numbers() -> None:
    """Of one radius they are scalars, from which the same weights come as ever (`test_weights_hash`)."""
    circle = Circle()
    sizes = torch.full((3,), 0.5, dtype=torch.float64)
    even = chart_geometry(Atlas.of_balls(circle, circle.sample(3, 0), 0.9 * sizes, sizes), project=False)
    assert (even.radius, even.core) == (0.5, 0.45) and isinstance(even.scale, float)


def test_codes_that_cannot_hold_small_charts_are_refused() -> None:
    with pytest.raises(PrecisionError, match=r"dtype: expected a dtype that holds a gate constant of .*'charts'"):
        network_of(approximator(4, 2, 0.0, smallest=1e-6), position_code="trigonometric")


def test_rivals_of_this_formula_know_neither_radii_nor_bases() -> None:
    sizes = torch.full((3,), 0.9, dtype=torch.float64)
    atlas, space = Atlas.of_balls(Circle(), Circle().sample(3, 0), 0.95 * sizes, sizes), PolynomialSpace(1, 3)
    based = PiecewiseApproximator(atlas, space, torch.ones(3, 4, dtype=torch.float64), base=0.5)
    for found in (approximator(1, 3, 0.0), based):
        for build in (design_of, Terms):
            with pytest.raises(InputError, match=r"^approximator: expected charts of one size that cover M"):
                build(found)
