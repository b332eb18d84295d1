"""The training protocol: it learns, it is reproducible by steps, it keeps its limits and it refuses bad input."""

import itertools
import math
from typing import Any

import pytest
import torch

from construct import targets
from construct.baselines.trained import Protocol, ReluMlp, TanhMlp, TrainedMethod, TrainingDiverged, train
from construct.baselines.trained.budget import budget
from construct.baselines.trained.method import CrateMethod, SoftmaxMethod
from construct.baselines.trained.models import Model, MultilayerPerceptron
from construct.baselines.trained.optimise import gauss_newton, lbfgs
from construct.baselines.trained.training import halvings
from construct.errors import InputError
from construct.manifolds import Circle
from construct.measurement import measure

QUICK = Protocol(learning_rates=(1e-3, 1e-2), seeds=1, batch=64)


def target(x: torch.Tensor) -> torch.Tensor:
    return torch.exp(x[..., 0]) + 5 * x[..., 1]


def small(generator: torch.Generator) -> Model:
    return MultilayerPerceptron(2, 1, 8, activation="tanh", generator=generator)


def large(generator: torch.Generator) -> Model:
    return MultilayerPerceptron(2, 2, 40, generator=generator)


def quick(make: Any = small, **changes: Any) -> Any:
    settings: dict[str, Any] = {"seconds": None, "steps": 300, "samples": 400, "validation": 400, "protocol": QUICK}
    return train(make, target, Circle(), **{**settings, **changes})


@pytest.mark.parametrize(("make", "most"), [(small, 1e-4), (large, 0.2)])
def test_it_learns_and_reports_what_it_returns(make: Any, most: float) -> None:
    made = quick(make)
    found = measure(made, target, Circle(), samples=2000, seed=7)
    assert found.sup < most
    # the units are those of the target, and the figures are of the network that is returned
    assert found.sup == pytest.approx(made.sup, rel=0.3)
    assert found.rms == pytest.approx(made.rms, rel=0.3)
    assert made.sup == min(record.sup for record in made.history)
    assert not any(p.requires_grad for p in made.network.parameters())


def test_the_phases_follow_each_other() -> None:
    for make, method in ((small, "gauss-newton"), (large, "lbfgs")):
        history = quick(make).history
        phases = [phase for phase, _ in itertools.groupby(record.phase for record in history)]
        assert phases == ["sweep", "adam", f"{method}-2", f"{method}-8"]
        for before, after in itertools.pairwise(history):
            assert before.step <= after.step and before.seconds <= after.seconds
            assert after.rms <= after.sup


def test_steps_make_it_reproducible() -> None:
    x = Circle().sample(50, seed=3)
    first, same, other = (quick(seed=seed, steps=60)(x) for seed in (1, 1, 2))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_global_generators_stay_as_they_are() -> None:
    state = torch.get_rng_state()
    quick(steps=20)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_number_of_steps_is_kept() -> None:
    for make in (small, large):
        made = quick(make, steps=100)
        assert made.steps <= 105  # each stretch has one step at least


def test_float32_comes_back_as_float32() -> None:
    made = quick(dtype=torch.float32)
    x = Circle().sample(5, seed=0, dtype=torch.float32)
    assert made(x).dtype == torch.float32


def test_a_constant_target_is_learnt() -> None:
    made = train(small, lambda x: x[..., 0] * 0 + 3, Circle(), seconds=None, steps=60, samples=100, validation=50)
    assert made.sup < 1e-2


def test_divergence_is_an_error() -> None:
    class Broken(MultilayerPerceptron):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) * math.nan

    with pytest.raises(TrainingDiverged, match="learning_rates"):
        quick(lambda generator: Broken(2, 1, 4, generator=generator))


def test_one_diverged_run_is_discarded() -> None:
    made = quick(large, protocol=Protocol(learning_rates=(1e-2, 1e30), seeds=1, batch=64))
    assert made.learning_rate == 1e-2 and math.isfinite(made.sup)


def test_gauss_newton_solves_linear_least_squares_and_then_the_8_norm() -> None:
    draw = torch.Generator().manual_seed(0)
    matrix = torch.randn(60, 4, generator=draw, dtype=torch.float64)
    values = torch.randn(60, generator=draw, dtype=torch.float64)
    found: list[torch.Tensor] = []

    def solve(norm: int) -> torch.Tensor:
        def look(v: torch.Tensor) -> float:
            found.append(v)
            return 1.0

        zero = torch.zeros(4, dtype=torch.float64)
        gauss_newton(zero, lambda v: matrix @ v - values, lambda v: matrix, norm, budget(None, 200), looks=1, look=look)
        return found[-1]

    assert torch.allclose(solve(2), torch.linalg.lstsq(matrix, values[:, None]).solution[:, 0], atol=1e-10)
    v = solve(8)
    residual = matrix @ v - values
    slope = matrix.T @ residual.pow(7)  # the gradient of the sum of 8th powers vanishes at its minimum
    assert float(slope.abs().max()) < 1e-6 * float((matrix.abs().T @ residual.abs().pow(7)).max())


def test_lbfgs_finds_the_minimum_of_a_quadratic() -> None:
    v = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    goal = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)

    def loss() -> torch.Tensor:
        value = (torch.tensor([1.0, 10.0, 100.0]) * (v - goal).square()).sum()
        value.backward()
        return value.detach()

    lbfgs([v], loss, budget(None, 100), history=10, looks=1, look=lambda: 1.0)
    assert torch.allclose(v.detach(), goal, atol=1e-8)


def test_halvings() -> None:
    assert halvings(8) == [8, 4, 2] and halvings(3) == [3, 2] and halvings(1) == [1]


@pytest.mark.parametrize("method", [ReluMlp, TanhMlp, SoftmaxMethod, CrateMethod])
def test_methods_give_what_they_say(method: type[TrainedMethod]) -> None:
    made = method(seconds=None, steps=40, samples=300)
    found = made.fit(targets.target("exp_sin"), Circle(), {"width": 8})
    assert found.family == "trained" and found.method == made.name
    assert found.settings["width"] == 8 and found.settings["steps"] == 40 and found.settings["samples"] == 300
    assert found.counts.nonzero == sum(p.numel() for p in found.model.network.parameters())
    x = Circle().sample(7, seed=0)
    assert found(x.reshape(7, 1, 2)).shape == (7, 1)
    spread = float(targets.target("exp_sin")(Circle().sample(500, seed=1)).std())
    assert measure(found, targets.target("exp_sin"), Circle(), samples=500).rms < 1.5 * spread


def test_settings_go_before_the_method_s_own() -> None:
    found = TanhMlp(steps=1000).fit(target, Circle(), {"width": 4, "steps": 10, "seconds": None, "samples": 50})
    assert found.settings["steps"] == 10 and found.model.steps < 40


def test_build_looks_for_an_epsilon() -> None:
    found = TanhMlp(seconds=None, steps=100, samples=300).build(target, Circle(), epsilon=0.1)
    assert found.measured is not None and found.measured.sup <= 0.1


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"steps": None}, "seconds: expected a limit by seconds or by steps, got neither"),
        ({"seconds": 0.0}, "seconds: expected a finite real number > 0, got 0.0"),
        ({"steps": 0}, "steps: expected an integer >= 1, got 0"),
        ({"samples": 0}, "samples: expected an integer >= 1"),
        ({"validation": 1.5}, "validation: expected an integer >= 1, got 1.5"),
        ({"seed": -1}, "seed: expected an integer >= 0, got -1"),
    ],
)
def test_bad_arguments_are_refused(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError, match=text):
        quick(**changes)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"learning_rates": ()}, "learning_rates: expected at least one"),
        ({"learning_rates": (-1.0,)}, "learning_rates: expected a finite real number > 0, got -1.0"),
        ({"batch": 0}, "batch: expected an integer >= 1, got 0"),
        ({"sweep": 0.0}, "sweep: expected shares"),
        ({"sweep": 0.5, "adam": 0.6}, "sweep: expected shares"),
        ({"squares": 1.5}, "squares: expected a share"),
    ],
)
def test_bad_protocols_are_refused(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError, match=text):
        Protocol(**settings)


def test_unknown_settings_are_refused() -> None:
    allowed = "depth, width, activation, seconds, steps, samples"
    with pytest.raises(InputError, match=rf"settings: expected those of mlp \({allowed}\), got heads"):
        ReluMlp().fit(target, Circle(), {"heads": 3})
    with pytest.raises(InputError, match=r"seconds: expected a finite real number > 0, got -1\.0"):
        ReluMlp(seconds=-1.0)
