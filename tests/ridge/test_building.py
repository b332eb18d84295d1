"""The default takes the fewest stored numbers of all constructions; bad arguments are refused."""

from typing import Any

import numpy as np
import pytest
import torch

import construct
from construct import EpsilonNotReached, InputError
from construct.building import Choices, stored_numbers
from construct.manifolds import Circle, Cube, ParametricManifold, Sphere
from construct.planning import DEFAULT_BUDGET
from construct.problem import Sizes
from construct.ridge.approximator import RidgeApproximator
from tests.transformer.networks import exp_sin

CIRCLE = Circle()


def default(target: Any, manifold: Any, epsilon: float | None = None, **options: Any) -> Any:
    return construct.approximate(target, manifold, epsilon, progress=False, **options)


def kink(x):
    return (x[..., 0] - 0.3).abs()


def peak(x):
    return 1 / (1 + ((x[..., 0] - 0.3) / 0.02) ** 2)


def test_the_default_is_the_smaller_and_says_so():
    net, numbers = default(exp_sin, CIRCLE, 1e-3), {}
    for construction in ("ridge", "compact"):
        alone = default(exp_sin, CIRCLE, 1e-3, construction=construction)
        numbers[construction] = alone.architecture.stored_numbers
        assert stored_numbers(alone.approximator) == numbers[construction]
    assert net.origin.construction == "ridge" == min(numbers, key=numbers.__getitem__)
    assert net.architecture.stored_numbers == min(numbers.values())
    assert both_are_in_the_history(net)


@pytest.mark.slow
def test_the_default_is_compact_where_one_polynomial_does_not_do():
    net = default(peak, CIRCLE, 5e-2)
    assert net.origin.construction == "compact" and both_are_in_the_history(net)
    assert net.architecture.stored_numbers == stored_numbers(net.approximator)


def both_are_in_the_history(net):
    trials = list(net.origin.history)
    notes = {trial.note.split(",")[0].split(":")[0] for trial in trials}
    chosen = [trial.cost for trial in trials if trial.outcome == "chosen"]
    return {"ridge", "compact"} <= notes and chosen == [net.architecture.stored_numbers]


@pytest.mark.parametrize(
    "options",
    [{"charts": 7, "degree": 4}, {"charts": 4, "cells": 5}, {"position_code": "trigonometric", "epsilon": 1e-1}],
)
def test_what_only_compact_has_is_compact(options):
    net = default(exp_sin, CIRCLE, options.pop("epsilon", None), **options)
    assert net.origin.construction == "compact"


def choices(construction=None, position_code="integer", sizes=None, bound="measured", embedding_dim=None, sparse=False):
    return Choices(
        construction, position_code, sizes or Sizes(None, None, None), bound, DEFAULT_BUDGET, torch.float64, "cpu",
        embedding_dim, sparse,
    )  # fmt: skip


def test_candidates():
    assert choices().candidates == ("ridge", "compact")
    assert choices("lattice").candidates == ("lattice",)
    assert choices(sizes=Sizes(None, None, 4)).candidates == ("ridge",)
    assert (
        choices(sizes=Sizes(3, None, None)).candidates == choices(sizes=Sizes(None, 3, None)).candidates == ("compact",)
    )
    assert choices(position_code="trigonometric").candidates == ("compact",)
    assert choices(bound="rigorous").candidates == ("ridge", "compact")
    assert choices("paper").candidates == ("paper",)
    assert choices(embedding_dim=5).narrow and not choices(embedding_dim="free").narrow and not choices().narrow


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"embedding_dim": 6}, "embedding_dim: expected None, 5 or 'free', got 6"),
        ({"embedding_dim": True}, "embedding_dim: expected"),
        ({"embedding_dim": "narrow"}, "embedding_dim: expected"),
        ({"embedding_dim": [5]}, "embedding_dim: expected"),
        ({"embedding_dim": 5.5}, "embedding_dim: expected"),
        ({"sparse": 1}, "sparse: expected True or False, got 1"),
        ({"sparse": "yes"}, "sparse: expected"),
        ({"sparse": True, "construction": "compact"}, "sparse: expected False where no ridge network is planned"),
        ({"sparse": True, "position_code": "trigonometric"}, "sparse: expected False"),
        ({"construction": "ridge", "position_code": "trigonometric"}, "position_code: expected 'integer'"),
        ({"construction": "ridge", "charts": 2}, "charts: expected None or 1 for construction='ridge'"),
        ({"construction": "ridge", "cells": 3}, "cells: expected None or 1 for construction='ridge'"),
        ({"construction": "lattice", "position_code": "trigonometric"}, "position_code: expected 'integer'"),
        ({"construction": "lattice", "charts": 1}, "charts: expected None for construction='lattice'"),
        ({"construction": "lattice", "cells": 3}, "cells: expected None for construction='lattice'"),
        ({"construction": "lattice", "degree": 3}, "degree: expected None for construction='lattice'"),
        ({"construction": "lattice", "embedding_dim": 5}, "embedding_dim: expected None for construction='lattice'"),
        ({"construction": "lattice", "sparse": True}, "sparse: expected False for construction='lattice'"),
        ({"construction": "paper", "bound": "rigorous"}, "construction: expected one of .* for bound='rigorous'"),
        ({"construction": "ridges"}, "construction: expected one of"),
    ],
)
def test_other_arguments_are_refused(options, named):
    with pytest.raises(InputError, match=named):
        default(exp_sin, CIRCLE, 1e-2, **options)


def wide_curve(frequencies):
    def point(u):
        n = torch.arange(1, frequencies + 1, dtype=torch.float64)
        return torch.cat([torch.cos(n * u), torch.sin(n * u)], dim=-1) / n

    return ParametricManifold(point, [0.0], [2 * np.pi], [True], "estimate", "estimate")


def test_both_fail_with_the_best_of_both():
    with pytest.raises(EpsilonNotReached) as caught:
        default(kink, Cube(2), 1e-4, max_parameters=800)
    assert np.isfinite(caught.value.best)


def test_the_target_is_refused_as_everywhere():
    with pytest.raises(InputError, match="target"):
        default(lambda x: x, Sphere(2), 1e-2)


def test_what_float32_rounds_too_much_as_ridge_is_compact_by_default():
    target, manifold, epsilon = construct.targets.target("exp_sin"), Circle(), 5e-6
    with pytest.raises(EpsilonNotReached, match="float64 has more room"):
        construct.approximate(target, manifold, epsilon, construction="ridge", dtype=torch.float32)
    net = construct.approximate(target, manifold, epsilon, dtype=torch.float32)
    assert net.origin is not None and net.origin.construction == "compact" and net.claim is not None
    x = manifold.sample(20_000, seed=77, dtype=torch.float32)
    assert float((net(x).double() - target(x.double())).abs().max()) <= net.claim.bound * 1.05 <= epsilon * 1.05


def test_float32_ridge_networks_keep_small_coefficients():
    """On the sphere coefficients of 20 times the target, which float64 bears, cost two digits in float32."""
    target, sphere = construct.targets.target("exp_sin"), Sphere(2)
    net = construct.approximate(target, sphere, 2e-5, construction="ridge", dtype=torch.float32)
    assert net.claim is not None and net.claim.bound <= 2e-5 and isinstance(net.approximator, RidgeApproximator)
    assert float(net.approximator.coefficients.abs().max()) <= 1.2
