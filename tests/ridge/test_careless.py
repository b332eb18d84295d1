"""What a careless user asks of ridge networks: wrong kinds, degrees too high, extreme targets, tiny budgets."""

from typing import Any

import numpy as np
import pytest
import torch

import construct
from construct import BudgetExceeded, InputError
from construct.errors import DeadlinePassed
from construct.manifolds import Circle, SpecialOrthogonal3, Sphere
from construct.problem import Problem
from construct.progress import watching
from construct.ridge import candidates, planner
from construct.ridge.fit import choose
from tests.transformer.networks import exp_sin

CIRCLE = Circle()


def ridge(target: Any, manifold: Any, epsilon: float | None = None, **options: Any) -> Any:
    return construct.approximate(target, manifold, epsilon, construction="ridge", progress=False, **options)


@pytest.mark.parametrize(
    "width",
    [np.array([5, 5]), np.array([]), torch.tensor([5, 5]), torch.tensor(5, device="meta"), 5.0, 5 + 0j,
     np.array(["free"], dtype=object)],
    ids=repr,
)  # fmt: skip
def test_widths_of_a_wrong_kind_are_refused(width):
    with pytest.raises(InputError, match=r"^embedding_dim: expected None, 5 or 'free', got "):
        ridge(exp_sin, CIRCLE, 1e-1, embedding_dim=width)


@pytest.mark.parametrize("width", [np.int64(5), np.array(5), torch.tensor(5), np.str_("free")], ids=repr)
def test_widths_of_numpy_and_torch_are_pythons(width):
    net = ridge(exp_sin, CIRCLE, degree=2, embedding_dim=width)
    assert net.architecture.embedding_dim == (6 if isinstance(width, str) else 5)


@pytest.mark.parametrize("options", [{"charts": 1}, {"cells": 1}, {"charts": 1, "cells": 1}])
def test_one_chart_says_nothing_of_the_size(options):
    with pytest.raises(InputError, match=r"^degree: expected an integer >= 0 for construction='ridge' without epsilon"):
        ridge(exp_sin, CIRCLE, **options)
    alone, same = ridge(exp_sin, CIRCLE, 1e-2), ridge(exp_sin, CIRCLE, 1e-2, **options)
    assert same.digest == alone.digest and len(same.origin.history) == len(alone.origin.history)


@pytest.mark.parametrize(
    ("manifold", "degree", "width", "why"),
    [
        (SpecialOrthogonal3(), 108, None, "takes .* tokens, of which there may be"),
        (Sphere(2), 108, None, "takes 221,815 tokens, of which there may be 60,000"),
        (Sphere(2), 48, 5, "waves of 2048 positions"),
    ],
)
def test_degrees_by_hand_that_are_too_high_are_refused_as_degrees(manifold, degree, width, why):
    with pytest.raises(InputError, match=rf"^degree: expected .* got {degree} .*{why}"):
        ridge(exp_sin, manifold, degree=degree, embedding_dim=width)


def test_degrees_by_hand_never_lose_directions_in_silence(monkeypatch):
    for module in (candidates, planner):
        monkeypatch.setattr(module, "MOST_COEFFICIENTS", 20)
    assert ridge(exp_sin, CIRCLE, degree=9).approximator.basis.count == 18
    with pytest.raises(InputError, match=r"degree: .* got 12 .more than 20 directions are independent"):
        ridge(exp_sin, CIRCLE, degree=12)


def test_a_part_of_a_family_never_grows_beyond_what_coefficients_may_use(monkeypatch):
    monkeypatch.setattr(candidates, "MOST_COEFFICIENTS", 40)
    monkeypatch.setattr(candidates, "POOL", 30)
    sizes = list[int]()

    def noted(basis, sample):
        sizes.append(basis.count)
        return choose(basis, sample)

    monkeypatch.setattr(candidates, "choose", noted)
    with pytest.raises(construct.EpsilonNotReached):
        ridge(exp_sin, Sphere(3), 1e-9)
    assert 30 < max(sizes) <= candidates.OVERSAMPLED * 40 + 1


@pytest.mark.parametrize("size", [0.0, 1e-320, 1e-200, 1.0, 1e150, 1e200, 1e299])
@pytest.mark.parametrize("wave", [lambda x: torch.ones_like(x[..., 0]), lambda x: torch.sin(3 * x[..., 0])])
def test_sparse_directions_for_constants_and_for_targets_of_any_size(wave, size):
    epsilon = 1e-2 * (size or 1.0)
    net = ridge(lambda x: size * wave(x), CIRCLE, epsilon, sparse=True)
    x = CIRCLE.sample(5000, seed=5)
    assert float((net(x) - size * wave(x)).abs().max()) <= epsilon
    assert net.claim.bound <= epsilon


def test_values_that_make_fits_overflow_are_refused_at_once():
    for options in ({"epsilon": 1e304}, {"degree": 4}, {"epsilon": 1e304, "embedding_dim": 5}):
        with pytest.raises(InputError, match=r"^target: expected values of at most 1e"):
            ridge(lambda x: 1e307 * torch.sin(3 * x[..., 0]), CIRCLE, **options)


@pytest.mark.parametrize("budget", [1, 300, 400, 500])
def test_the_best_error_is_that_of_a_network_within_the_budget(budget):
    with pytest.raises(BudgetExceeded) as caught:
        ridge(exp_sin, CIRCLE, 1e-4, max_parameters=budget)
    best, plan = caught.value.best, caught.value.plan
    assert (plan is None) == (best == np.inf)
    if plan is not None:
        built = construct.network_of(plan.approximator)
        assert built.architecture.parameters <= budget
        x = CIRCLE.sample(5000, seed=5)
        assert float((built(x) - exp_sin(x)).abs().max()) <= best * 1.01


def test_an_order_of_directions_that_would_take_too_long_is_not_begun(monkeypatch):
    monkeypatch.setattr(candidates, "POOL", 20)
    clock, begun = [0.0], list[int]()

    def slow(basis, sample):
        begun.append(basis.count)
        clock[0] += 1e-4 * basis.count**3
        return choose(basis, sample)

    monkeypatch.setattr(candidates, "choose", slow)
    problem = Problem(exp_sin, Sphere(2))
    with (
        pytest.raises(DeadlinePassed, match="for the order of 80 directions"),
        watching(False, 20.0, clock=lambda: clock[0]),
    ):
        planner.plan(problem, None, degree=12)
    assert begun == [20, 40]
