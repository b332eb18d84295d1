"""`construct.approximate` as a user calls it: epsilon is met, resolution by hand, and bad input is refused."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import construct
from construct import BudgetExceeded, ConstructError, EpsilonNotReached, InputError, PrecisionError
from construct.local import PolynomialSpace
from construct.manifolds import Circle, Cube, FlatTorus, Sphere
from construct.problem import Sizes
from tests.transformer.networks import coefficients_of, exp_sin

CIRCLE = Circle()


def claim_of(net):
    assert net.claim is not None
    return net.claim


def fresh_error(net, target, manifold):
    """Error on points that the planner did not see."""
    x = manifold.sample(20_000, seed=12345)
    return float((net(x) - target(x)).abs().max())


@pytest.mark.parametrize("epsilon", [1e-1, 1e-3, 1e-6, 1e-10])
def test_epsilon_is_met_on_the_circle_without_waste(epsilon):
    target = CIRCLE.lift(lambda u: torch.exp(torch.sin(3 * u[..., 0])))
    net = construct.approximate(target, CIRCLE, epsilon=epsilon, construction="compact")
    assert fresh_error(net, target, CIRCLE) <= claim_of(net).bound * 1.001 <= epsilon * 1.001
    assert claim_of(net).bound >= epsilon / 50
    assert claim_of(net).kind == "measured" and claim_of(net).epsilon == epsilon


def test_aims_on_circle_and_sphere():
    target = CIRCLE.lift(lambda u: torch.exp(torch.sin(3 * u[..., 0])))
    report = construct.approximate(target, CIRCLE, epsilon=1e-6, construction="compact").architecture
    assert report.nonzero_parameters <= 1600 and report.blocks == 5
    sphere = Sphere(2, ambient=8)
    net = construct.approximate(exp_sin, sphere, epsilon=1e-4, construction="compact")
    assert net.architecture.nonzero_parameters <= 6500 and net.architecture.blocks == 5
    assert fresh_error(net, exp_sin, sphere) <= 1e-4


def test_rough_target_with_smoothness():
    root = construct.targets.target("root")
    net = construct.approximate(root, CIRCLE, epsilon=1e-1, smoothness=0.5)
    assert fresh_error(net, root, CIRCLE) <= 1e-1


def test_numpy_targets_work():
    def target(x):
        return np.cos(2 * np.asarray(x)[..., 0])

    net = construct.approximate(target, CIRCLE, epsilon=1e-3)
    x = CIRCLE.sample(100, seed=1)
    assert np.abs(net(x).numpy() - target(x.numpy())).max() <= 1e-3


@settings(max_examples=5, deadline=None)
@given(st.floats(-2, 2), st.floats(-2, 2), st.integers(1, 4))
def test_random_trigonometric_targets(a, b, frequency):
    target = CIRCLE.lift(lambda u: a * torch.cos(frequency * u[..., 0]) + b * torch.sin(u[..., 0]))
    net = construct.approximate(target, CIRCLE, epsilon=1e-2)
    assert fresh_error(net, target, CIRCLE) <= 1e-2


def test_resolution_by_hand():
    net = construct.approximate(exp_sin, CIRCLE, charts=7, degree=5)
    assert net.origin is not None and net.origin.sizes == Sizes(7, 1, 5) and len(net.origin.history) == 0
    assert claim_of(net).epsilon is None and claim_of(net).bound > 0
    net = construct.approximate(exp_sin, CIRCLE, charts=4, cells=9)
    assert net.origin is not None and net.origin.sizes == Sizes(4, 9, 1)


def test_seeds_and_repeats_give_the_same_network():
    nets = [construct.approximate(exp_sin, Circle(ambient=6, seed=3), epsilon=1e-3) for _ in range(2)]
    for first, second in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        assert torch.equal(first, second)


def test_progress_is_reported():
    stages = []
    construct.approximate(exp_sin, CIRCLE, epsilon=1e-1, progress=lambda stage, fraction: stages.append(stage))
    assert any("charts" in s for s in stages) and stages[-1] == "measuring"


def test_float32_network_meets_its_epsilon_and_refuses_what_it_cannot():
    net = construct.approximate(exp_sin, CIRCLE, epsilon=1e-3, dtype=torch.float32)
    x = CIRCLE.sample(1000, seed=3, dtype=torch.float32)
    assert net(x).dtype == torch.float32
    assert float((net(x).double() - exp_sin(x.double())).abs().max()) <= 1e-3
    with pytest.raises(EpsilonNotReached, match="float64 has more room") as caught:
        construct.approximate(exp_sin, CIRCLE, epsilon=1e-9, dtype=torch.float32)
    assert 1e-9 < caught.value.best < 1e-2


def test_float32_with_the_trigonometric_code_is_refused_where_it_would_miss_epsilon():
    with pytest.raises((EpsilonNotReached, PrecisionError), match=r"float32.*trigonometric"):
        construct.approximate(exp_sin, Sphere(2), epsilon=1e-3, dtype=torch.float32, position_code="trigonometric")


def test_an_epsilon_below_rounding_is_refused_with_the_best_error():
    with pytest.raises(
        EpsilonNotReached, match=r"^epsilon: expected an error that .*, got 1e-15; the best sup error reached is"
    ) as caught:
        construct.approximate(exp_sin, CIRCLE, epsilon=1e-15)
    assert 0 < caught.value.best < 1e-9


def test_the_budget_is_respected():
    with pytest.raises(BudgetExceeded, match="max_parameters") as caught:
        construct.approximate(exp_sin, Sphere(2), epsilon=1e-5, construction="compact", max_parameters=5000)
    assert caught.value.best > 1e-5
    with pytest.raises(BudgetExceeded, match="max_parameters") as caught:
        construct.approximate(exp_sin, Sphere(2), epsilon=1e-5, max_parameters=500)
    assert caught.value.best > 1e-5
    with pytest.raises(BudgetExceeded, match=r"^max_parameters: expected at least .*, got 100$"):
        construct.approximate(exp_sin, CIRCLE, charts=4, degree=3, max_parameters=100)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"epsilon": 0.0}, "epsilon: expected a finite real number > 0, got 0.0"),
        ({"epsilon": -1.0}, "epsilon"),
        ({"epsilon": math.nan}, "epsilon"),
        (
            {"epsilon": None},
            "epsilon: expected a finite real number > 0 unless charts, cells or degree is given, got None",
        ),
        ({"smoothness": 0.0}, "smoothness: expected a finite real number > 0"),
        ({"smoothness": -0.5}, "smoothness"),
        ({"charts": 0}, "charts: expected an integer >= 1, got 0"),
        ({"cells": 2.5}, "cells"),
        ({"degree": -1}, "degree"),
        ({"cells": 3, "degree": 2}, "degree: expected 1 in the compact construction with cells = 3, got 2"),
        ({"max_parameters": 0}, "max_parameters"),
        ({"construction": "tiny"}, "construction: expected one of"),
        ({"position_code": "binary"}, "position_code: expected one of"),
        ({"dtype": torch.bfloat16}, "dtype: expected torch.float64 or torch.float32"),
        ({"target": 3}, "target: expected a callable"),
        ({"manifold": "circle"}, "manifold: expected a construct.manifolds.Manifold"),
        ({"target": lambda x: x}, "target"),
        ({"target": lambda x: x[..., 0] + 1j}, "target"),
        ({"target": lambda x: x[..., 0] * math.nan}, "target"),
        ({"target": lambda x: torch.where(x[..., 0] > 0.9, math.inf, 1.0)}, "target"),
    ],
)
def test_bad_input_is_refused(change, text):
    arguments = {"target": exp_sin, "manifold": CIRCLE, "epsilon": 1e-1, **change}
    with pytest.raises(InputError, match=text):
        construct.approximate(arguments.pop("target"), arguments.pop("manifold"), **arguments)


def test_every_error_is_a_construct_error():
    for kind in (InputError, EpsilonNotReached, BudgetExceeded, PrecisionError):
        assert issubclass(kind, ConstructError)


def test_one_chart_without_neighbours():
    net = construct.approximate(exp_sin, Cube(2), epsilon=1e-2)
    assert net.origin is not None and net.origin.sizes.charts == 1
    assert fresh_error(net, exp_sin, Cube(2)) <= 1e-2


@settings(max_examples=30)
@given(st.integers(1, 5), st.integers(1, 20), st.floats(0, 2), st.integers(0, 2**31))
def test_trimming_changes_no_row_by_more_than_its_tolerance(rows, columns, tolerance, seed):
    coefficients = torch.randn(rows, columns, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    kept = PolynomialSpace(1, columns - 1).trimmed(coefficients, tolerance)
    assert bool(((kept == 0) | (kept == coefficients)).all())
    dropped = (coefficients - kept).abs().sum(dim=1)
    assert float(dropped.max()) <= tolerance
    smallest = torch.where(kept == 0, math.inf, kept.abs()).amin(dim=1)
    assert bool((dropped + smallest > tolerance).all())  # nothing more could have gone


def test_a_target_of_one_coordinate_keeps_few_coefficients():
    torus = FlatTorus(2)
    net = construct.approximate(lambda x: torch.sin(3 * x[..., 0]), torus, epsilon=1e-3, construction="compact")
    full = coefficients_of(net).numel()
    assert net.origin is not None and net.origin.nonzero_coefficients < 0.9 * full
    assert net.origin.coefficients == full


@pytest.mark.parametrize("dimension", [3, 10, 100])
def test_in_any_ambient_dimension_the_plan_is_the_cheapest_for_that_dimension(dimension):
    """The sizes that are cheapest in R^3 are never cheaper in R^D than the plan for R^D: a chart reads D inputs."""
    manifold = Sphere(2, ambient=dimension)
    function = lambda x: exp_sin(manifold.restrict(x))  # noqa: E731
    net = construct.approximate(function, manifold, epsilon=1e-2, construction="compact")
    cheapest = construct.approximate(exp_sin, Sphere(2), epsilon=1e-2, construction="compact")
    assert cheapest.origin is not None and net.claim is not None
    sizes = cheapest.origin.sizes
    other = construct.approximate(function, manifold, charts=sizes.charts, degree=sizes.degree)
    assert net.architecture.nonzero_parameters <= other.architecture.nonzero_parameters
    assert net.claim.bound <= 1e-2


def test_a_rough_target_at_a_small_epsilon_exceeds_the_budget():
    with pytest.raises(BudgetExceeded, match=r"max_parameters: .* extrapolated from \d+") as caught:
        construct.approximate(construct.targets.target("root"), CIRCLE, epsilon=1e-5, smoothness=0.5)
    assert 1e-5 < caught.value.best < 1


@pytest.mark.parametrize("epsilon", [0.99, 2.0, 10.0])
def test_a_coarse_epsilon_ends_with_a_low_degree(epsilon: float) -> None:
    """Degree 1 does and degree 0 does not, or degree 0 does: the search for the lowest degree has to stop."""
    target, circle = construct.targets.target("exp_sin"), Circle()
    net = construct.approximate(target, circle, epsilon, construction="compact")
    assert construct.measure(net, target, circle, samples=2000, seed=3).sup <= epsilon
    assert net.origin is not None and net.origin.sizes.degree is not None and net.origin.sizes.degree <= 1
