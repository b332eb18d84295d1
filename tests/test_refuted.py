"""A plan whose claim was refuted is remembered with the error that refuted it, and a jump at that place ends it."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import construct
from construct import EpsilonNotReached, PlanningInterrupted, TimeoutReached
from construct import progress as progress_module
from construct.history import BestPlan
from construct.manifolds import Circle, Sphere
from construct.measurement import jumps_near
from construct.measurement.survey import find_jumps
from construct.planning import offer, refute
from construct.problem import Best, Problem, Sizes
from construct.progress import watching
from tests.test_progress import Clock

CIRCLE = Circle()
ANGLE, WIDTH = 1.0005, 2e-5
PEAK = torch.tensor([[math.cos(ANGLE), math.sin(ANGLE)]], dtype=torch.float64)


def spiked(x: Tensor) -> Tensor:
    """x0, and a continuous spike of height 1 that planning misses and a claim of fine resolution sees."""
    away = (x - PEAK[0].to(x)).norm(dim=-1) / WIDTH
    return x[..., 0] + torch.exp(-(away**2))


def band(x: Tensor) -> Tensor:
    """A jump on both sides of a band about (-1, 0) that is too narrow for the survey."""
    return (x[..., 1].abs() < 1e-5) * (x[..., 0] < 0) * 1.0 + x[..., 0]


class Stages:
    """Progress that is interrupted in the planning after the first claim, once it has measured something."""

    def __init__(self, error: type[BaseException] | None, clock: Clock | None = None) -> None:
        self.error, self.clock, self.claimed, self.after = error, clock, False, 0

    def __call__(self, stage: str, share: float | None) -> None:
        self.claimed = self.claimed or stage == "measuring"
        if self.claimed and "measured error" in stage:
            self.after += 1
            if self.error is not None:
                raise self.error
            if self.clock is not None:
                self.clock.time += 1e9


def is_honest(found: Any) -> None:
    """At the peak the plan is as wrong as it says, by an evaluation of its own."""
    assert found.plan is not None and found.best == found.plan.error
    error = float((found.plan.approximator(PEAK) - spiked(PEAK)).abs().max())
    assert 0.5 < error <= found.best * (1 + 1e-6)  # the claim's worst point is that close to the peak
    assert "fitted error 0.0" not in str(found)


def test_what_is_interrupted_after_a_refuted_claim_has_no_refuted_number() -> None:
    stages = Stages(KeyboardInterrupt)
    with pytest.raises(PlanningInterrupted) as caught:
        construct.approximate(spiked, CIRCLE, 1e-2, resolution=4e-6, progress=stages)
    assert stages.after == 1
    is_honest(caught.value)


def test_what_runs_out_of_time_after_a_refuted_claim_has_no_refuted_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_module, "now", clock := Clock(step=0.0))
    stages = Stages(None, clock)
    with pytest.raises(TimeoutReached) as caught:
        construct.approximate(spiked, CIRCLE, 1e-2, resolution=4e-6, timeout=1e8, progress=stages)
    assert stages.after == 1
    is_honest(caught.value)


def test_a_plan_that_was_second_takes_the_place_of_one_that_is_refuted() -> None:
    problem = Problem(spiked, CIRCLE, 1e-2)
    good: Callable[[Tensor], Tensor] = spiked
    flat: Callable[[Tensor], Tensor] = lambda x: x[..., 0]  # noqa: E731
    with watching(False) as watch:
        offer(BestPlan(Sizes(degree=1), 1e-6, "measured", None, flat))
        offer(BestPlan(Sizes(degree=2), 1e-3, "measured", None, good))
        offer(BestPlan(Sizes(degree=3), 1e-9, "fitted", None, flat))  # a fit says less of the same plan
        assert [(p.sizes.degree, p.error) for p in watch.offers] == [(1, 1e-6), (2, 1e-3)]
        refute(problem, PEAK)
        assert [(p.sizes.degree, p.kind) for p in watch.offers] == [(2, "measured"), (1, "measured")]
        assert watch.offers[0].error == 1e-3 and watch.offers[1].error == pytest.approx(1.0)
        offer(BestPlan(Sizes(degree=1), 1e-6, "measured", None, flat))  # nobody forgets
        assert watch.offers[1].error == pytest.approx(1.0)
    problem.best.offer(1e-6, flat)
    problem.best.offer(1e-3, good)
    assert problem.best.function is flat
    problem.watching(PEAK)
    assert problem.best.function is good and problem.best.error == 1e-3
    best = Best()
    assert best.error == math.inf and best.function is None
    for k in range(100):
        best.offer(1 / (k + 1), lambda x: x)
    assert best.error == 0.01 and len(best.offers) < 10


def test_a_jump_that_only_the_claim_meets_ends_the_search_at_once() -> None:
    assert find_jumps(band, CIRCLE) == ()
    told: list[str] = [""]
    with pytest.raises(EpsilonNotReached) as caught:
        construct.approximate(band, CIRCLE, 1e-2, progress=lambda stage, share: told.append(stage))
    claims = sum(now == "measuring" != before for before, now in itertools.pairwise(told))
    assert claims == 1  # planning began again and again before, 113 trials in all
    text = str(caught.value)
    assert "a jump from" in text and "x = (-1, " in text and "1e-05" in text
    assert caught.value.plan is not None and caught.value.best == caught.value.plan.error
    assert 0.5 <= caught.value.best < 1.1  # what was measured, and no extrapolation


@pytest.mark.parametrize("width", [1e-3, 1e-5, 1e-7])
def test_jumps_are_found_from_a_point_between_them(width: float) -> None:
    def lid(x: Tensor) -> Tensor:
        return ((x[..., 2] - 0.5).abs() < width) * 2.0 + x[..., 0]

    sphere = Sphere(2)
    start = sphere.project(torch.tensor([[0.3, 0.8124, 0.5]], dtype=torch.float64))[0]
    height = torch.tensor([math.sqrt(0.75), 0.0, 0.5], dtype=torch.float64)
    for point in (start, sphere.project(height[None])[0]):
        found = jumps_near(lid, sphere, point)
        assert found and found[0].height == pytest.approx(2.0, abs=1e-9)
        assert min(abs(float(found[0].left[2]) - 0.5 + s * width) for s in (1, -1)) < 1e-12


@pytest.mark.parametrize("steep", [1e3, 1e6, 1e9])
def test_no_jumps_are_found_where_a_function_is_continuous(steep: float) -> None:
    at = CIRCLE.project(torch.tensor([[0.1, 1.0]], dtype=torch.float64))[0]
    assert jumps_near(lambda x: torch.tanh(steep * (x[..., 0] - at[0])), CIRCLE, at) == ()
    assert jumps_near(lambda x: (x[..., 0] - at[0]).abs().sqrt(), CIRCLE, at) == ()
    assert jumps_near(spiked, CIRCLE, PEAK[0]) == ()
