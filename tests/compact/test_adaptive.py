"""Charts of several sizes: where they are put, what they cost, and when the planner takes them."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import construct
from construct.atlas import Cover
from construct.compact.adaptive import (
    AdaptiveCover,
    AdaptiveSearch,
    balls_about,
    base_of,
    core_of,
    cut_off,
    points_of,
    values_at,
)
from construct.compact.planner import CompactPlanner
from construct.local import PiecewiseApproximator, PolynomialSpace
from construct.manifolds import Circle, Manifold, Sphere
from construct.planning import Search
from construct.problem import Problem
from construct.targets import Target, target
from proofs_as_code.verifier import verify
from tests.transformer.networks import exp_sin

CIRCLE = Circle()


def spike(width: float) -> Target:
    def values(x: Tensor) -> Tensor:
        return torch.exp(-((x[..., 0] - 1) ** 2 + x[..., 1:].square().sum(-1)) / (2 * width**2))

    return Target("spike", f"a Gaussian of width {width:g}", values, length_scale=width)


def jump(x: Tensor) -> Tensor:
    return torch.where(x[..., 0] > 0.3, 0.1, 0.0).to(x)


def cover(
    function: Callable[[Tensor], Tensor], manifold: Manifold, goal: float, degree: int, most: int = 40
) -> AdaptiveCover:
    problem = Problem(function, manifold, goal)
    points = points_of(problem)
    values = values_at(problem, points)
    return AdaptiveCover(problem, PolynomialSpace(manifold.dim, degree), goal, points, values, most)


# -- parts ------------------------------------------------------------------------------------------------------------


@given(radius=st.floats(1e-6, 1e3))
@settings(max_examples=100, deadline=None)
def test_collars_are_powers_of_two(radius: float) -> None:
    collar = radius**2 - core_of(radius) ** 2
    assert abs(math.log2(collar) - round(math.log2(collar))) < 1e-12
    assert 0.0624 < collar / radius**2 < 0.1251


def test_cut_offs_are_those_of_the_cover() -> None:
    sphere = Sphere(2)
    centres, radii = sphere.sample(3, 1), [0.01, 0.3, 1.2]
    atlas = balls_about(sphere, centres, radii)
    assert isinstance(atlas.cover, Cover) and atlas.cover.radii.tolist() == radii
    x = torch.cat([sphere.sample(200, 2), sphere.project(centres.repeat(20, 1) + 0.01 * torch.randn(60, 3).double())])
    expected = atlas.bumps(atlas.squared_distance(x))
    for n, radius in enumerate(radii):
        torch.testing.assert_close(cut_off(x, centres[n], radius), expected[:, n], rtol=1e-9, atol=1e-9)


@given(values=st.lists(st.floats(-3, 3), min_size=30, max_size=60), goal=st.floats(0.01, 1))
@settings(max_examples=100, deadline=None)
def test_the_base_is_within_the_goal_of_most(values: list[float], goal: float) -> None:
    found = torch.tensor(values, dtype=torch.float64)

    def near(c: float) -> int:
        return int(((found - c).abs() <= goal * (1 + 1e-12)).sum())

    most = max(near(v + goal) for v in values)  # a best interval begins at a value
    base = base_of(found, goal)
    assert base != 0 and near(base) >= (0.98 * most if most >= 0.05 * len(values) else 0)
    assert 0 < base_of(torch.zeros(5, dtype=torch.float64), goal) < 0.001 * goal  # 0 would say that balls cover M
    assert base_of(torch.zeros(0, dtype=torch.float64), goal) != 0


# -- covers -----------------------------------------------------------------------------------------------------------


def test_a_cusp_takes_balls_in_geometric_progression() -> None:
    """Of the size at which the cusp is small, up to the largest: every ball much larger than the one before."""
    one = cover(target("cusp"), CIRCLE, 1e-2, 5)
    found = one.approximator()
    assert found is not None and len(one.balls) <= 12
    radii = [ball.radius for ball in one.balls if float((ball.centre - one.balls[0].centre).norm()) < 1e-9]
    assert len(radii) >= 4 and all(b >= 1.3 * a for a, b in pairwise(radii))
    assert radii[0] < 0.01 and float((one.balls[0].centre - torch.tensor([1.0, 0.0])).norm()) < radii[0]
    x = CIRCLE.project(torch.tensor([1.0, 0.0]) + 10 ** (-6 * torch.rand(4000, 1).double()) * torch.randn(4000, 2))
    x = torch.cat([x, CIRCLE.sample(4000, 99)])
    assert float((found(x) - target("cusp")(x)).abs().max()) <= 1.05e-2
    rho = found.atlas.partition(x).sum(-1)
    off = (rho < 1 - 1e-12).nonzero()[:, 0]
    assert float(rho.max()) <= 1 + 1e-12
    assert not len(off) or float((target("cusp")(x[off]) - found.base).abs().max()) <= 1.05e-2


def test_a_spike_takes_one_ball_and_the_base_the_rest() -> None:
    one = cover(spike(1e-3), CIRCLE, 1e-2, 12)
    found = one.approximator()
    assert found is not None and len(one.balls) == 1 and 0 < found.base < 1e-4
    assert 2e-3 < one.balls[0].radius < 2e-2
    x = CIRCLE.sample(3000, 5)
    assert float((found(x) - spike(1e-3)(x)).abs().max()) <= 1.05e-2


def test_covers_are_found_in_the_hull(monkeypatch: pytest.MonkeyPatch) -> None:
    """In R^60 the same balls as in the plane, and the target is asked at points of M in R^60."""
    wide = Circle(ambient=60, seed=3)

    def lifted(x: Tensor) -> Tensor:
        assert x.shape[-1] == 60
        return target("cusp")(wide.restrict(x))

    one, plain = cover(lifted, wide, 1e-1, 3), cover(target("cusp"), CIRCLE, 1e-1, 3)
    found, expected = one.approximator(), plain.approximator()
    assert found is not None and expected is not None
    assert [ball.radius for ball in one.balls] == pytest.approx([ball.radius for ball in plain.balls])
    x = CIRCLE.sample(500, 3)
    assert float((found(wide.embed(x)) - expected(x)).abs().max()) < 1e-2  # masks see rounding, so that fits differ
    assert float((found(wide.embed(x)) - target("cusp")(x)).abs().max()) < 1.05e-1


def test_a_constant_takes_a_chart_that_is_the_base() -> None:
    one = cover(lambda x: 0 * x[..., 0] + 2.0, CIRCLE, 1e-3, 1)
    found = one.approximator()
    assert found is not None and found.atlas.count == 1
    assert float((found(CIRCLE.sample(200, 1)) - 2.0).abs().max()) <= 1e-3


def test_what_cannot_be_covered_is_given_up() -> None:
    steep = cover(jump, CIRCLE, 0.06, 3)  # within twice epsilon, so that the problem is none of a jump
    steep.goal = 0.01
    assert steep.approximator() is None and len(steep.balls) == 0
    few = cover(target("cusp"), CIRCLE, 1e-2, 5, most=3)
    assert few.approximator() is None and len(few.balls) == 4


# -- planning ---------------------------------------------------------------------------------------------------------


@cache
def network(name: str) -> construct.Network:
    asked: dict[str, tuple[Target, Manifold, float, float | None]] = {
        "circle cusp": (target("cusp"), CIRCLE, 1e-2, 0.5),
        "circle spike": (spike(1e-3), CIRCLE, 1e-2, None),
        "sphere cusp": (target("cusp"), Sphere(2), 1e-1, 0.5),
    }
    function, manifold, epsilon, smoothness = asked[name]
    return construct.approximate(function, manifold, epsilon, smoothness=smoothness, construction="compact")


@pytest.mark.parametrize(
    ("name", "function", "epsilon", "most"),
    [
        ("circle cusp", target("cusp"), 1e-2, 800),  # 11,497 with charts of one size
        ("circle spike", spike(1e-3), 1e-2, 200),  # 57,543
        ("sphere cusp", target("cusp"), 1e-1, 500),
    ],
)
def test_rough_and_sharp_targets_take_few_numbers(name: str, function: Target, epsilon: float, most: int) -> None:
    net = network(name)
    assert net.manifold is not None
    assert net.architecture.stored_numbers <= most and net.architecture.embedding_dim == 5
    assert net.architecture.blocks == 5
    assert net.claim is not None and net.claim.bound <= epsilon
    assert construct.measure(net, function, net.manifold, seed=11).sup <= epsilon
    found = net.approximator
    assert isinstance(found, PiecewiseApproximator)
    x = torch.cat([net.manifold.sample(300, 6), found.atlas.centres])
    assert float((net(x) - found(x)).abs().max()) <= 1e-9
    assert net.origin is not None and "radii" in str([trial.note for trial in net.origin.history.trials])
    assert [trial.outcome for trial in net.origin.history.trials].count("chosen") == 1


def test_files_and_proofs_know_bases_and_radii(tmp_path: Path) -> None:
    net = network("circle cusp")
    net.save(tmp_path / "net.safetensors")
    x = CIRCLE.sample(100, 3)
    assert torch.equal(construct.load(tmp_path / "net.safetensors")(x), net(x))
    proof = construct.certify(net, target("cusp"), CIRCLE, max_cells=5000)
    assert proof.measured is not None and net.claim is not None and net.claim.bound <= proof.bound <= 2e-2
    proof.save(tmp_path / "proof.json")
    report = verify(tmp_path / "net.safetensors", tmp_path / "proof.json")
    assert report.holds, report.reason


def test_a_changed_base_is_not_verified(tmp_path: Path) -> None:
    net = construct.approximate(target("cusp"), CIRCLE, 2e-1, smoothness=0.5, construction="compact")
    found = net.approximator
    assert isinstance(found, PiecewiseApproximator) and found.base != 0 and net.origin is not None
    proof = construct.certify(net, target("cusp"), CIRCLE)
    proof.save(tmp_path / "proof.json")
    out = int(net.program.layout.tokens("out")[0])
    with net.edit() as transformer:
        transformer.hidden0[out, 1] *= 0.5
    net.save(tmp_path / "net.safetensors")
    report = verify(tmp_path / "net.safetensors", tmp_path / "proof.json", digests=False)
    assert not report.holds and report.reason.startswith("local: expected at least")


def test_codes_and_formats_that_round_keep_charts_of_one_size() -> None:
    for options in ({"position_code": "trigonometric"}, {"dtype": torch.float32}):
        net = construct.approximate(target("cusp"), CIRCLE, 2e-1, smoothness=0.5, construction="compact", **options)
        found = net.approximator
        assert isinstance(found, PiecewiseApproximator) and found.atlas.even and found.base == 0.0


def test_smooth_targets_keep_charts_of_one_size(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(self: AdaptiveSearch) -> None:
        raise AssertionError("nothing is rough here")

    monkeypatch.setattr(AdaptiveSearch, "cheapest", never)
    net = construct.approximate(exp_sin, CIRCLE, 1e-3, construction="compact")
    found = net.approximator
    assert isinstance(found, PiecewiseApproximator) and found.atlas.even and found.base == 0.0


def test_the_smaller_of_both_is_taken() -> None:
    """A Gaussian of width 0.3 says that it is sharp, and one chart more is all that this saves."""
    said = Target("said", "a smooth function that says it is sharp", exp_sin, length_scale=0.01)
    problem = Problem(said, CIRCLE, 1e-3)
    even = CompactPlanner(problem, Search(problem, "somebody"), adaptive=False).plan()
    both = CompactPlanner(problem, Search(problem, "somebody")).plan()
    assert even.approximator.atlas.even
    numbers = [construct.network_of(plan.approximator).architecture.stored_numbers for plan in (even, both)]
    assert numbers[1] <= numbers[0]


def test_errors_that_differ_much_are_noticed() -> None:
    """A spike that nobody told of: the charts of one size do not do, or are dear; those of several are asked."""
    narrow = spike(0.02)
    problem = Problem(narrow.function, CIRCLE, 1e-2)
    search = Search(problem, "somebody")
    planner = CompactPlanner(problem, search)
    found = planner.plan().approximator
    assert planner.uneven and found.base != 0 and found.atlas.count <= 3
    x = CIRCLE.sample(3000, 8)
    assert float((found(x) - narrow(x)).abs().max()) <= 1e-2


def test_dear_covers_are_of_no_use() -> None:
    problem = Problem(target("cusp"), CIRCLE, 1e-2, 0.5)
    search = Search(problem, "somebody", dearest=100)
    assert AdaptiveSearch(search).cheapest() is None
    assert all(trial.cost is None or trial.cost < 100 for trial in search.history.trials)
