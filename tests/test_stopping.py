"""Searches that have no end: what stops them, what they say, and what they leave behind.

Rules are tested with errors and clocks that are made up; then the requests that once ran for minutes, as they are.
"""

import math
import pickle
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any

import pytest
import torch
from torch import Tensor

import construct
from construct import BudgetExceeded, EpsilonNotReached, PlanningInterrupted, TimeoutReached, baselines
from construct import progress as progress_module
from construct.atlas import Atlas, candidate_atlases
from construct.compact.outlook import needed_charts
from construct.compact.planner import CompactPlanner
from construct.errors import DeadlinePassed
from construct.history import BestPlan
from construct.local import PolynomialSpace, Sweep, least_residuals, sweep
from construct.manifolds import Circle, Cube, Manifold, Sphere, Torus
from construct.obstacle import find_obstacle, least_error
from construct.paper import planner as paper_planner
from construct.planning import Search, offer, slow_decay, stoppable
from construct.problem import Problem, Sizes
from construct.progress import watching
from construct.rounding import rounding_floor
from tests.test_progress import Clock
from tests.transformer.networks import exp_sin


def noise(x: Tensor) -> Tensor:
    """A hash of x in [-1, 1]: the same at the same point, unrelated at points that differ."""
    weights = torch.tensor([12.9898, 78.233, 37.719], dtype=x.dtype)[: x.shape[-1]]
    return 2 * torch.frac(torch.frac((x * weights).sum(-1)) * 43758.5453).abs() - 1


def noisy(x: Tensor) -> Tensor:
    return exp_sin(x) + 3e-3 * noise(x)


def jump(x: Tensor) -> Tensor:
    return torch.sign(x[..., 0] - 0.1)


def bump(x: Tensor) -> Tensor:
    """exp(-1/(1 - r^2)) inside a ball of radius 0.8 around (1, 0, ..), 0 outside: smooth, not analytic on its rim."""
    square = ((x[..., 0] - 1) ** 2 + (x[..., 1:] ** 2).sum(-1)) / 0.64
    return torch.where(square < 1, torch.exp(-1 / (1 - square).clamp_min(1e-3)), torch.zeros_like(square))


def linear(x: Tensor) -> Tensor:
    return x[..., 0] + 2 * x[..., 1] - 0.5


# -- rules ------------------------------------------------------------------------------------------------------------


def test_a_decay_is_slow_when_three_refinements_gain_less_than_half_the_order() -> None:
    sizes = [40, 64, 100, 160]
    said = slow_decay([0.52, 0.515, 0.51, 0.5], sizes, 2.0)
    assert said == "lowered the error from 0.52 to 0.5, where order 2 was expected"
    assert slow_decay([0.52 * (40 / n) ** 2 for n in sizes], sizes, 2.0) is None
    assert slow_decay([0.52 * (40 / n) ** 1.1 for n in sizes], sizes, 2.0) is None
    assert slow_decay([0.52 * (40 / n) ** 0.9 for n in sizes], sizes, 2.0) is not None
    assert slow_decay([0.5, 0.5, 0.5], sizes[:3], 2.0) is None  # two refinements
    assert slow_decay([0.5] * 4, [100, 102, 104, 106], 2.0) is None  # too small a step to tell
    assert slow_decay([0.5, 9.0, 9.0, 0.0], sizes, 2.0) is None and slow_decay([math.inf] * 4, sizes, 2.0) is None


def search(epsilon: float = 0.1, budget: int | None = None) -> Search:
    return Search(Problem(lambda x: x[..., 0], Circle(), epsilon), "somebody", budget)


def test_cells_are_not_refined_without_end() -> None:
    tried = list[int]()

    def attempt(cells: int) -> tuple[int, float]:
        tried.append(cells)
        return cells, 0.5

    one = search()
    assert one.fewest(attempt, order=2, goal=0.1, aim=0.1, first=4, most_steps=50, obstacle=lambda: "a wall") is None
    assert len(tried) == 4
    assert str(one.failure()).endswith(
        f"three refinements from 4 to {tried[-1]} cells lowered the error from 0.5 to 0.5, where order 2 was expected; "
        "a wall"
    )
    tried.clear()  # a feature that is not resolved yet has the same errors, and no obstacle
    assert search().fewest(attempt, order=2, goal=0.1, aim=0.1, first=4, most_steps=9) is None and len(tried) == 9


def test_the_best_plan_is_the_best_that_was_measured() -> None:
    one = search()
    for error, kind in ((0.5, "fitted"), (0.4, "fitted"), (0.7, "measured"), (0.6, "measured"), (0.65, "measured")):
        one.record(Sizes(degree=3), error, kind, parameters=7, make=partial(str, f"{kind} {error}"))
    one.record(Sizes(degree=4), 0.01, "at least")
    found = one.failure()
    assert found.best == 0.6 and found.plan.approximator == "measured 0.6" and found.plan.kind == "measured"
    assert found.plan.sizes == Sizes(degree=3) and found.plan.parameters == 7
    assert str(found).endswith("the best sup error reached is 0.6 (measured)")
    assert str(found.plan) == "degree 3: measured error 0.6"
    other = search()
    other.record(Sizes(degree=4), 0.01, "at least")  # of one chart: nobody has reached it
    assert other.failure().best == math.inf and other.failure().plan is None


def test_what_is_predicted_to_take_too_long_is_not_begun() -> None:
    clock, done = Clock(), list[str]()
    one = search()
    with pytest.raises(DeadlinePassed, match="about 50 s for much with 9 s left"), watching(False, 10.0, clock=clock):
        with one.timed("little", 1.0):
            clock.time += 1.0
        with one.timed("more than can be foreseen", 100.0):  # no prediction from a hundredth of the work
            done.append("more")
            clock.time += 0.0
        one.pace = {"": (1.0, 2.0)}
        with one.timed("much", 50.0):
            done.append("much")
    assert done == ["more"]


def test_the_end_from_outside_carries_the_best_plan() -> None:
    plan = BestPlan(Sizes(degree=3), 0.25, "fitted", None, "approximator")
    clock = Clock(0.3)
    with (
        pytest.raises(TimeoutReached) as timed,
        watching(False, 1.0, clock=clock) as watch,
        stoppable(watch, "the network"),
    ):
        offer(plan)
        while True:
            progress_module.tick()
    assert timed.value.plan is plan and timed.value.best == 0.25
    assert str(timed.value) == (
        "timeout: expected more time for the network, got 1 s; the best so far is degree 3: fitted error 0.25"
    )
    with pytest.raises(PlanningInterrupted) as stopped, watching(False) as watch, stoppable(watch, "the network"):
        raise KeyboardInterrupt
    assert stopped.value.plan is None and stopped.value.best == math.inf
    assert str(stopped.value) == "the network was interrupted; nothing was fitted so far"
    with (
        pytest.raises(DeadlinePassed),  # not the deadline of this search
        watching(False, 1.0, clock=Clock(0.3)),
        watching(False) as inner,
        stoppable(inner, "a part"),
    ):
        while True:
            progress_module.tick()


def test_a_search_within_a_search_keeps_what_it_knows() -> None:
    plan = BestPlan(Sizes(degree=3), 0.25, "fitted", None, None)
    with (
        pytest.raises(PlanningInterrupted) as stopped,
        watching(False) as outer,
        stoppable(outer, "all"),
        watching(False) as inner,
        stoppable(inner, "a part"),
    ):
        offer(plan)
        raise KeyboardInterrupt
    assert stopped.value.plan is plan


def test_the_exceptions_are_what_their_catchers_expect() -> None:
    assert issubclass(PlanningInterrupted, KeyboardInterrupt) and not issubclass(PlanningInterrupted, Exception)
    assert issubclass(TimeoutReached, EpsilonNotReached)
    for kind in (EpsilonNotReached, BudgetExceeded, TimeoutReached, PlanningInterrupted):
        again = pickle.loads(pickle.dumps(kind("epsilon: no", 0.5, "plan")))
        assert (type(again), str(again), again.best, again.plan) == (kind, "epsilon: no", 0.5, "plan")
    assert EpsilonNotReached("no").best == math.inf


# -- obstacles --------------------------------------------------------------------------------------------------------


def test_the_bound_from_below_is_one() -> None:
    """|z|^1 on [-1, 1] by polynomials of degree 3 (that is 2): the minimax error is 1/8, by z^2 + 1/8."""
    z = torch.linspace(-1, 1, 2001, dtype=torch.float64)[None, :, None]
    values, mask = z[..., 0].abs(), torch.ones(1, 2001, dtype=torch.bool)
    least, residual = least_residuals(PolynomialSpace(1, 3), z, values, mask, steps=60)
    assert 0.115 < float(least) <= 0.125 + 1e-9 and float(residual.max()) >= 0.125
    exact, _ = least_residuals(PolynomialSpace(1, 3), z, z[..., 0] ** 3, mask)
    assert float(exact) < 1e-13


@pytest.mark.parametrize(
    ("target", "manifold", "words"),
    [
        (jump, Circle(), "jump or noise"),
        (jump, Sphere(2), "jump or noise"),
        (noisy, Sphere(2), "jump or noise"),
        (lambda x: (x[..., 0] - 0.1).abs().sqrt(), Sphere(2), r"less smooth there \(order 0\.[45]\)"),
        (lambda x: torch.sin(300 * x[..., 0]), Circle(), "the smallest charts that may be had, of radius 0.05"),
    ],
    ids=["jump on a curve", "jump on a surface", "noise", "root", "wave"],
)
def test_obstacles_are_found_and_named(target: Callable[[Tensor], Tensor], manifold: Manifold, words: str) -> None:
    start = manifold.project(torch.tensor([0.3, 0.8, 0.2][: manifold.ambient], dtype=torch.float64))
    loose = Problem(target, manifold, 2.0)  # which has no quarrel with a jump: the look from close by is meant here
    found = find_obstacle(replace(loose, epsilon=1e-3), start, 0.6, 0.05, 6)
    assert found is not None and found.least > 1e-3
    assert torch.allclose(manifold.project(found.point), found.point)
    assert re.search(words, found.text), found.text


@pytest.mark.parametrize("target", [exp_sin, bump, linear])
@pytest.mark.parametrize("manifold", [Circle(), Sphere(2), Cube(2)], ids=lambda m: m.name)
def test_no_obstacle_where_there_is_none(target: Callable[[Tensor], Tensor], manifold: Manifold) -> None:
    start = manifold.sample(1, 5)[0]
    assert find_obstacle(Problem(target, manifold, 1e-4), start, 0.6, 0.05, 12) is None


def test_a_narrow_feature_of_a_smooth_target_may_look_rough_and_is_named_too() -> None:
    """Runge's function has all derivatives: what is in the way is its width, and only below it does the order show."""
    circle, width = Circle(), 0.02
    start = circle.project(torch.tensor([0.1, 1.0], dtype=torch.float64))
    steep = Problem(lambda x: 1 / (1 + (x[..., 0] / width) ** 2), circle, 1e-9)
    coarse, fine = (find_obstacle(steep, start, 0.6, radius, 6) for radius in (5 * width, 2 * width))
    assert coarse is not None and fine is not None
    for found in (coarse, fine):
        assert "narrower features" in found.text if found.rough else "smallest charts" in found.text


def test_rounding_is_no_obstacle() -> None:
    assert least_error(Problem(exp_sin, Circle(), 1e-15), Circle().sample(1, 0)[0], 0.1, PolynomialSpace(1, 20))[0] == 0


# -- predictions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dim", "degree"), [(1, 24), (2, 18), (3, 12)])
@pytest.mark.parametrize("needed", [300, 1000, 25_000])
def test_the_charts_that_a_decay_asks_for(dim: int, degree: int, needed: int) -> None:
    """Errors C n^(-(degree + 1) / dim), for which n = (C / epsilon)^(dim / (degree + 1)) charts are needed."""
    wanted, power = 1e-7, (degree + 1) / dim
    misses = [(n, wanted * (needed / n) ** power) for n in (20, 60, 200)]
    for seen in (misses, misses[:1]):
        said = needed_charts(seen, degree, dim, wanted)
        if needed <= 700:
            assert said == ""  # as many may be tried
        else:
            found = re.search(rf"predicts about (\S+) charts of degree {degree}, of at most 700", said)
            assert found is not None and abs(float(found[1]) / needed - 1) < 0.06
    assert needed_charts([], degree, dim, wanted) == ""


def fitted_degree(target: Callable[[Tensor], Tensor], atlas: Atlas, epsilon: float, highest: int) -> int | None:
    """The smallest degree that fits on all charts, from fits of all degrees on all charts up to where the last four
    errors, continued as a geometric sequence, end above 4 epsilon."""
    lowest = 0
    for top in (6, 10, 14, highest):
        sups = sweep(target, atlas, range(lowest, top + 1), lawson=3).sups
        for degree, sup in enumerate(sups, lowest):
            if sup <= epsilon:
                return degree
        if sups[-1] * min((sups[-1] / sups[-4]) ** (1 / 3), 1.0) ** (highest - top) > 4 * epsilon:
            return None
        lowest = top + 1
    return None


@pytest.mark.parametrize(("ridge", "epsilon"), [(0, 1e-2), (0, 1e-4), (0, 1e-6), (0, 1e-8), (1, 1e-5), (1, 1e-6)])
def test_a_look_at_the_worst_chart_changes_no_degree(
    ridge: int, epsilon: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What fits on all charts is found as it is without the look; what does not fit on one is not fitted on all."""

    def wavy(x: Tensor) -> Tensor:
        smooth = torch.sin(5 * x[..., 0] + 3 * x[..., 1] * x[..., 2])
        return smooth + ridge * 0.03 / (1 + 100 * (x[..., 0] - 0.3) ** 2)

    sphere = Sphere(2)
    atlas = next(islice(candidate_atlases(sphere, 700, growth=1.5), 3, None))
    problem = Problem(wavy, sphere, epsilon)
    planner = CompactPlanner(problem, Search(problem, "somebody", None))
    looked = list[range]()
    fit_all = CompactPlanner._sweep

    def spied(self: CompactPlanner, atlas: Atlas, degrees: range) -> Sweep:
        looked.append(degrees)
        return fit_all(self, atlas, degrees)

    monkeypatch.setattr(CompactPlanner, "_sweep", spied)
    found = planner.smallest_degree(atlas, None)
    wanted = fitted_degree(wavy, atlas, epsilon, planner.highest_degree)
    assert (None if found is None else found.space.degree) == wanted
    if ridge:
        assert wanted is None and len(looked) == 1  # of four groups; the others were spared
    assert len([degrees for degrees in looked if wanted not in degrees]) <= 2


# -- the requests that once had no end --------------------------------------------------------------------------------


def refused(target: Callable[..., Any], manifold: Manifold, epsilon: float, **options: Any) -> EpsilonNotReached:
    """What `approximate` raises. The best plan can be built, and has at least about the error that it claims."""
    with pytest.raises(EpsilonNotReached) as caught:
        construct.approximate(target, manifold, epsilon, **options)
    found = caught.value
    assert found.plan is not None and found.plan.error == found.best > epsilon
    net = construct.network_of(found.plan.approximator)
    assert net.origin is not None and net.origin.sizes == found.plan.sizes
    measured = construct.measure(net, target, manifold, samples=2000, rounds=0).sup
    assert measured <= 3 * found.best and (found.plan.kind != "measured" or measured <= 1.01 * found.best)
    return found


@pytest.mark.parametrize("manifold", [Circle(), Sphere(2, ambient=5)], ids=lambda m: m.name)
def test_a_noisy_target_is_refused_for_its_noise(manifold: Manifold) -> None:
    with pytest.raises(EpsilonNotReached, match=r"jump|noise"):
        construct.approximate(lambda x: noise(x[..., :3]), manifold, 1e-3)
    ripple = lambda x: 1e-2 * torch.sin(3e4 * x[..., 0])  # noqa: E731  noise in all but name, and continuous
    found = refused(lambda x: exp_sin(x[..., :3]) + ripple(x) if x.shape[-1] > 2 else ripple(x), manifold, 1e-3)
    assert "jump or noise" in str(found) and "order" in str(found)


def test_noise_below_epsilon_is_no_obstacle() -> None:
    sphere = Sphere(2)
    net = construct.approximate(noisy, sphere, 1e-2)
    assert construct.measure(net, noisy, sphere, samples=2000, seed=9).sup <= 1e-2


@pytest.mark.parametrize(
    ("manifold", "smoothness"), [(Circle(), None), (Sphere(2), None), (Circle(), 0.5), (Cube(2), 1)]
)
def test_a_jump_is_refused_and_named(manifold: Manifold, smoothness: float | None) -> None:
    for target in (jump, lambda x: torch.tanh(1e6 * (x[..., 0] - 0.1))):
        with pytest.raises(EpsilonNotReached, match="jump") as caught:
            construct.approximate(target, manifold, 0.1, smoothness=smoothness)
        first = re.search(r"x = \((-?[\d.e-]+)", str(caught.value))
        assert first is not None and abs(float(first[1]) - 0.1) < 0.02  # the place of the jump


def test_a_smooth_bump_succeeds() -> None:
    for manifold, epsilon in ((Circle(), 1e-4), (Sphere(2), 1e-2)):
        net = construct.approximate(bump, manifold, epsilon)
        assert construct.measure(net, bump, manifold, samples=2000, seed=9).sup <= epsilon


def test_an_epsilon_below_rounding_is_refused_at_once_with_what_rounding_allows() -> None:
    stages = list[str]()
    with pytest.raises(EpsilonNotReached, match=r"epsilon: .* got 1e-16; .*; float64 keeps about \de-15 for values"):
        construct.approximate(
            exp_sin, construct.manifolds.SpecialOrthogonal3(), 1e-16, progress=lambda stage, _: stages.append(stage)
        )
    assert not any("charts" in stage for stage in stages)
    net = construct.approximate(lambda x: torch.ones_like(x[..., 0]), Circle(), 1e-15)  # may be met exactly
    assert net.claim is not None and net.claim.bound <= 1e-15
    scaled = Problem(lambda x: 1e6 * exp_sin(x), Circle(), 1e-3)
    assert 1e5 < rounding_floor(scaled) / rounding_floor(Problem(exp_sin, Circle(), 1e-3)) < 1e7


def test_an_epsilon_near_rounding_is_refused_after_three_refinements_without_gain() -> None:
    found = refused(exp_sin, Circle(), 1e-15)
    assert "float64 keeps about" in str(found) and found.best < 1e-13


def test_the_paper_construction_does_not_refine_without_end() -> None:
    steep = lambda x: torch.tanh(1e7 * (x[..., 0] - 0.1)) + x[..., 1]  # noqa: E731  steeper than any grid can resolve
    loose = Problem(steep, Circle(), 3.0)
    with pytest.raises(EpsilonNotReached) as caught:
        paper_planner.plan(replace(loose, epsilon=0.1), 30_000_000)
    assert "three refinements from 4 to" in str(caught.value) or isinstance(caught.value, BudgetExceeded)


@pytest.mark.parametrize("slope", [30.0, 100.0])
def test_a_feature_that_coarse_grids_do_not_see_is_no_obstacle(slope: float) -> None:
    """The errors do not fall until a cell is as small as the feature."""
    for construction in ("paper", "compact"):
        net = construct.approximate(
            lambda x: torch.tanh(slope * x[..., 0]),
            Circle(),
            0.1,
            construction=construction,
        )
        assert net.claim is not None and net.claim.bound <= 0.1


@pytest.mark.slow
def test_a_torus_with_a_narrow_hole_succeeds() -> None:
    """Reach 0.1: 3607 charts, whose cover alone took seven minutes."""
    torus = Torus(1, 0.9)
    net = construct.approximate(linear, torus, 0.1)
    assert net.claim is not None and net.claim.bound <= 0.1


@pytest.mark.slow
def test_an_epsilon_out_of_reach_on_the_rotations_is_refused() -> None:
    found = refused(lambda x: exp_sin(x[..., :3]), construct.manifolds.SpecialOrthogonal3(), 1e-11)
    assert "the smallest charts that may be had" in str(found) and found.plan.kind == "measured"
    target = construct.targets.target("exp_sin")
    found = refused(target, construct.manifolds.SpecialOrthogonal3(), 1e-8)
    words = r"the best sup error reached is \S+ \(measured\); the decay of the error predicts about \S+ charts"
    assert re.search(words, str(found)) and found.best < 1e-2


# -- time and Ctrl-C --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("construction", ["compact", "paper"])
@pytest.mark.parametrize("share", [0.02, 0.4, 0.95])
def test_the_time_is_looked_at_everywhere(construction: Any, share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a clock that counts looks: whenever the time is up, it ends at the next look, and what was best is there."""
    sphere: Manifold = Sphere(2) if construction == "compact" else Circle()
    options = {"construction": construction, "progress": False}
    monkeypatch.setattr(progress_module, "now", clock := Clock(step=1.0))
    construct.approximate(exp_sin, sphere, 0.2, **options)
    total, clock.time = clock.time, 0.0
    with pytest.raises(TimeoutReached, match=r"^timeout: expected (more time|about .* s for .*) for the network, got"):
        construct.approximate(exp_sin, sphere, 0.2, timeout=share * total, **options)
    assert clock.time <= share * total + 10
    clock.time = 0.0
    net = construct.approximate(exp_sin, sphere, 0.2, timeout=100 * total, **options)
    assert net.claim is not None and net.claim.bound <= 0.2


def test_the_best_plan_of_a_timeout_can_be_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_module, "now", clock := Clock(step=1.0))
    target, circle = construct.targets.target("exp_sin"), Circle()
    construct.approximate(target, circle, 1e-3, bound="rigorous", progress=False)
    total, clock.time = clock.time, 0.0
    with pytest.raises(TimeoutReached) as caught:
        construct.approximate(target, circle, 1e-3, bound="rigorous", timeout=0.9 * total, progress=False)
    plan = caught.value.plan
    assert plan is not None and plan.kind == "measured" and plan.error <= 1e-3
    net = construct.network_of(plan.approximator)
    assert construct.measure(net, target, circle, samples=2000, seed=9).sup <= 1.001 * plan.error


def stop_at(word: str) -> Callable[[str, float | None], None]:
    """Progress that is interrupted, as by Ctrl-C, when a stage has that word."""

    def progress(stage: str, fraction: float | None) -> None:
        if word in stage:
            raise KeyboardInterrupt

    return progress


def test_ctrl_c_leaves_the_best_plan() -> None:
    with pytest.raises(KeyboardInterrupt) as caught:
        construct.approximate(exp_sin, Sphere(2), 1e-3, progress=stop_at("measured error"))
    stopped = caught.value
    assert isinstance(stopped, PlanningInterrupted) and stopped.plan is not None
    assert str(stopped).startswith("the network was interrupted; the best so far is ")
    assert stopped.best == stopped.plan.error and construct.network_of(stopped.plan.approximator) is not None
    with pytest.raises(PlanningInterrupted) as caught:
        construct.approximate(exp_sin, Sphere(2), 1e-3, construction="compact", progress=stop_at("charts"))
    assert caught.value.plan is None


def test_rivals_leave_their_best_too() -> None:
    method = baselines.method("global_polynomial")
    with pytest.raises(EpsilonNotReached) as caught:
        method.build(lambda x: (x[..., 0] - 0.1).abs(), Circle(), 1e-9)
    plan = caught.value.plan
    assert plan is not None and plan.error == caught.value.best and plan.approximator.counts.nonzero > 0
    with pytest.raises(PlanningInterrupted) as stopped:
        method.build(exp_sin, Circle(), 1e-12, progress=stop_at("measured error"))
    assert stopped.value.plan is not None and stopped.value.plan.approximator.method == "global_polynomial"
