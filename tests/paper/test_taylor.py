"""Taylor polynomials on a grid: derivatives, gluing, orders of convergence, and what is refused."""

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import mpmath  # type: ignore[import-untyped]
import numpy as np
import pytest
import torch
from torch import Tensor

from construct import targets
from construct.errors import InputError
from construct.local import multi_indices
from construct.manifolds import Circle, Cube, FlatTorus, Helix, Manifold, Sphere
from construct.paper.derivatives import partial_derivatives
from construct.paper.grid import TaylorApproximator, bump_value, constant_doublings
from construct.paper.taylor import (
    OwnPartition,
    kept_nodes,
    paper_atlas,
    partition_order,
    taylor_approximator,
    taylor_degree,
)

EXP_SIN = targets.target("exp_sin")


def smooth(x: Tensor) -> Tensor:
    return torch.exp(x[..., 0] / 2) + torch.sin(2 * x[..., -1] + 0.3)


def sup(approximator: TaylorApproximator, target: Callable[[Tensor], Tensor], points: int = 4000) -> float:
    x = approximator.atlas.manifold.sample(points, seed=1)
    return float((approximator(x) - target(x)).abs().max())


# -- derivatives ------------------------------------------------------------------------------------------


def test_partial_derivatives_of_an_exponential_are_powers_of_its_rates() -> None:
    z = torch.linspace(-1, 1, 15, dtype=torch.float64).reshape(5, 3)
    rates = torch.tensor([2.0, -1.0, 0.5], dtype=torch.float64)
    exponents = multi_indices(3, 4)
    found = partial_derivatives(lambda y: (y @ rates).exp(), z, exponents)
    expected = (rates**exponents).prod(-1) * (z @ rates).exp()[:, None]
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=0)


def test_coefficients_on_the_cube_are_analytic_derivatives() -> None:
    """One chart, rho = 1, z = x: c = d^alpha f / (alpha! N^|alpha|)."""
    rates = torch.tensor([1.5, -0.7], dtype=torch.float64)
    found = taylor_approximator(lambda x: (x @ rates).exp(), paper_atlas(Cube(2)), cells=3, degree=4)
    assert len(found.nodes) == 49
    factorials = torch.tensor([[math.factorial(k) for k in row] for row in found.exponents.tolist()])
    scale = (rates**found.exponents).prod(-1) / (factorials.prod(-1) * 3.0 ** found.exponents.sum(-1))
    expected = (found.nodes.double() / 3 @ rates).exp()[:, None] * scale
    torch.testing.assert_close(found.coefficients, expected, rtol=1e-10, atol=1e-12)


def test_coefficients_on_the_circle_agree_with_fifty_digit_differences() -> None:
    """An oracle of its own: g = f rho_n of the angle, in mpmath, differentiated with 50 digits."""
    approximator = taylor_approximator(EXP_SIN, paper_atlas(Circle()), cells=5, degree=3)
    atlas, inner, order = approximator.atlas, approximator.inner_radius, partition_order(3)
    centres = [tuple(map(float, c)) for c in atlas.centres]

    def local(n: int) -> Callable[[Any], Any]:
        frame, (c0, c1) = tuple(map(float, atlas.frames[n, :, 0])), centres[n]

        def g(z: Any) -> Any:
            y = z * atlas.scale
            height = mpmath.sqrt(1 - y * y)
            x0, x1 = c0 * height + frame[0] * y, c1 * height + frame[1] * y
            bumps = [max(1 - ((x0 - a) ** 2 + (x1 - b) ** 2) / inner**2, 0) ** order for a, b in centres]
            return mpmath.exp(x0) * mpmath.sin(3 * x1) * bumps[n] / sum(bumps)

        return g

    with mpmath.workdps(50):
        for row in range(0, len(approximator.nodes), 7):
            n, m = int(approximator.charts[row]), int(approximator.nodes[row, 0])
            for j in range(4):
                exact = mpmath.diff(local(n), mpmath.mpf(m) / 5, j) / mpmath.factorial(j) / 5**j
                assert abs(float(exact) - float(approximator.coefficients[row, j])) < 1e-11


def test_own_partition_is_the_smooth_partition_of_the_atlas() -> None:
    atlas = paper_atlas(Sphere(2))
    x = atlas.manifold.sample(200, seed=3)
    charts = torch.arange(200) % atlas.count
    own = OwnPartition(atlas, atlas.default_inner_radius, 3)(x, charts)
    whole = atlas.smooth_partition(x, 3)
    torch.testing.assert_close(own, whole[torch.arange(200), charts], rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(whole.sum(-1), torch.ones(200, dtype=torch.float64))


# -- nodes and gluing -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["trapezoid", "hat"])
def test_bumps_sum_to_one(kind: str) -> None:
    t = torch.linspace(-2, 2, 4001, dtype=torch.float64)
    total = sum(bump_value(kind, t - k) for k in range(-3, 4))
    assert isinstance(total, Tensor)
    torch.testing.assert_close(total, torch.ones_like(t), rtol=0, atol=1e-14)


def test_trapezoid_is_psi_of_three_u() -> None:
    u = torch.linspace(-1, 1, 601, dtype=torch.float64)
    v = 3 * u
    psi = torch.relu(1 - torch.relu(v - 1) - torch.relu(-v - 1))
    torch.testing.assert_close(bump_value("trapezoid", u), psi, rtol=0, atol=1e-15)


@pytest.mark.parametrize("manifold", [Circle(), Sphere(2), Helix(), Cube(2)], ids=repr)
def test_a_node_is_dropped_only_where_the_partition_vanishes(manifold: Manifold) -> None:
    atlas, cells = paper_atlas(manifold), 6
    charts, nodes, points = kept_nodes(atlas, cells, atlas.default_inner_radius)
    assert bool(torch.isfinite(points).all())
    kept = {(n, *m) for n, m in zip(charts.tolist(), nodes.tolist(), strict=True)}
    grid = torch.cartesian_prod(*[torch.arange(-cells, cells + 1)] * manifold.dim).reshape(-1, manifold.dim)
    z = (grid.double() / cells).expand(atlas.count, -1, -1)
    x = atlas.inverse(z)
    dropped = 0
    for n in range(atlas.count):
        rho = atlas.smooth_partition(x[n], 1)[:, n]
        used = (
            (rho > 1e-9)
            & manifold.contains(x[n])
            & ((atlas.chart_coordinates(x[n])[:, n] - z[n]).abs().amax(-1) < 1e-9)
        )
        for m, wanted in zip(grid.tolist(), used.tolist(), strict=True):
            assert (n, *m) in kept or not wanted
            dropped += (n, *m) not in kept
    assert dropped > 0 or manifold.name == "cube"


@pytest.mark.parametrize(
    ("manifold", "bump"), [(Circle(), "trapezoid"), (Sphere(2), "trapezoid"), (Cube(2), "hat")], ids=repr
)
def test_evaluation_is_the_formula_summed_over_all_nodes(manifold: Manifold, bump: str) -> None:
    t = taylor_approximator(smooth, paper_atlas(manifold), cells=3, degree=2, bump=bump)
    x = manifold.sample(6, seed=5)
    expected = np.zeros(6)
    for p in range(6):
        for q in range(len(t.charts)):
            n = int(t.charts[q])
            offset = x[p] - t.atlas.centres[n]
            r2 = t.atlas.radius**2
            indicator = min(1.0, max(0.0, (r2 - float(offset @ offset)) / (r2 * 2.0**-t.doublings)))
            u = (offset @ t.atlas.frames[n] / t.atlas.scale).clamp(-1, 1) * 3 - t.nodes[q]
            for alpha, c in zip(t.exponents.tolist(), t.coefficients[q].tolist(), strict=True):
                factors = [float(bump_value(bump, v)) * float(v) ** a for v, a in zip(u, alpha, strict=True)]
                expected[p] += indicator * c * math.prod(factors)
    np.testing.assert_allclose(t(x).numpy(), expected, rtol=1e-12, atol=1e-13)


def test_finite_off_the_manifold_and_zero_far_away() -> None:
    t = taylor_approximator(smooth, paper_atlas(Sphere(2)), cells=4, degree=2)
    x = torch.randn(500, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3
    assert bool(torch.isfinite(t(x)).all())
    assert bool((t(100 + x) == 0).all())


def test_the_zero_function_keeps_one_node() -> None:
    t = taylor_approximator(lambda x: 0 * x[..., 0], paper_atlas(Circle()), cells=4, degree=1)
    assert len(t.charts) == 1 and sup(t, lambda x: 0 * x[..., 0]) == 0


# -- orders -----------------------------------------------------------------------------------------------


@pytest.mark.rate
@pytest.mark.parametrize("degree", range(5))
@pytest.mark.parametrize(("bump", "modified", "gain"), [("trapezoid", False, 1), ("hat", False, 1), ("hat", True, 2)])
def test_order_of_convergence(degree: int, bump: str, modified: bool, gain: int) -> None:
    """`O(h^(s+1))`; plain hats gain one order for s = 0 only, the modified ones for every s."""
    atlas = paper_atlas(Cube(1))
    ends = (8, 32) if degree < 4 else (4, 16)
    errors = [
        sup(
            taylor_approximator(smooth, atlas, cells=n, degree=degree, bump=bump, modified=modified),
            smooth,
            20_000,
        )
        for n in ends
    ]
    order = math.log(errors[0] / errors[1], ends[1] / ends[0])
    expected = degree + (2 if bump == "hat" and degree == 0 else gain)
    assert abs(order - expected) < 0.15, (errors, order)


@pytest.mark.rate
def test_a_partition_of_order_one_loses_the_order() -> None:
    """The negative twin: with q = 1 instead of s + 1 the local target is only Lipschitz (theory, section 6)."""
    atlas = paper_atlas(Circle())
    good = sup(taylor_approximator(smooth, atlas, cells=64, degree=3), smooth)
    t = taylor_approximator(smooth, atlas, cells=64, degree=3)
    rough = OwnPartition(atlas, t.inner_radius, 1)
    x = atlas.inverse((t.nodes.double() / 64).expand(atlas.count, -1, -1))[t.charts, torch.arange(len(t.charts))]
    # the values of the rough partition with the derivatives of the smooth one are no Taylor polynomials
    spoiled = t.coefficients.clone()
    spoiled[:, 0] = smooth(x) * rough(x, t.charts)
    assert sup(replace(t, coefficients=spoiled), smooth) > 100 * good


def test_hoelder_target_with_values_only() -> None:
    root = targets.target("root")
    errors = [sup(taylor_approximator(root, paper_atlas(Circle()), cells=n, degree=0), root) for n in (8, 128)]
    assert 0.35 < math.log(errors[0] / errors[1], 16) < 0.65


# -- targets and arguments --------------------------------------------------------------------------------


def test_numpy_targets_have_values_but_no_derivatives() -> None:
    atlas = paper_atlas(Circle())

    def numpy_target(x: Any) -> Any:
        a = np.asarray(x)
        return np.exp(a[..., 0] / 2) + np.sin(2 * a[..., -1] + 0.3)

    found = taylor_approximator(numpy_target, atlas, cells=4, degree=0)
    torch.testing.assert_close(found.coefficients, taylor_approximator(smooth, atlas, cells=4, degree=0).coefficients)
    with pytest.raises(InputError, match=r"target: expected .*compact"):
        taylor_approximator(numpy_target, atlas, cells=4, degree=1)


def test_a_detached_target_is_refused() -> None:
    with pytest.raises(InputError, match="target: expected a function that torch can differentiate"):
        taylor_approximator(lambda x: smooth(x.detach()), paper_atlas(Circle()), cells=4, degree=1)


def test_infinite_derivatives_are_refused() -> None:
    atlas = paper_atlas(Cube(1))
    with pytest.raises(InputError, match="target: expected finite derivatives up to order 1"):
        taylor_approximator(lambda x: x[..., 0].abs().sqrt(), atlas, cells=4, degree=1)


def test_wrong_values_are_refused() -> None:
    atlas = paper_atlas(Circle())
    with pytest.raises(InputError, match="target: expected one value per row, shape"):
        taylor_approximator(lambda x: x, atlas, cells=4, degree=1)
    with pytest.raises(InputError, match="target: expected finite values"):
        taylor_approximator(lambda x: x[..., 0] / 0, atlas, cells=4, degree=1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cells": 0}, "cells"),
        ({"degree": -1}, "degree"),
        ({"bump": "box"}, "bump: expected one of"),
        ({"modified": True}, "modified: expected bump='hat'"),
        ({"inner_radius": 2.0}, "inner_radius: expected between"),
        ({"cells": 10**8}, "cells: expected at most"),
    ],
)
def test_arguments_are_checked(change: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"cells": 3, "degree": 1, **change}
    with pytest.raises(InputError, match=message):
        taylor_approximator(smooth, paper_atlas(Circle()), **arguments)


def test_the_data_are_checked() -> None:
    t = taylor_approximator(smooth, paper_atlas(Circle()), cells=3, degree=1)
    changes: list[tuple[dict[str, Any], str]] = [
        ({"nodes": t.nodes.flip(0)}, "nodes: expected them sorted"),
        ({"nodes": t.nodes * 5}, "nodes: expected"),
        ({"charts": t.charts + 99}, "charts: expected numbers in"),
        ({"coefficients": t.coefficients * math.nan}, "coefficients: expected finite"),
        ({"coefficients": t.coefficients[:, :1]}, "coefficients: expected nodes"),
        ({"doublings": 0}, "doublings: expected at least"),
    ]
    for change, message in changes:
        with pytest.raises(InputError, match=message):
            replace(t, **change)
    with pytest.raises(InputError, match="x: expected float64 of shape"):
        t(torch.zeros(3, 3, dtype=torch.float64))


def test_degree_of_a_smoothness() -> None:
    assert [taylor_degree(beta) for beta in (0.5, 1.0, 1.5, 2.0, 3.1)] == [0, 0, 1, 1, 3]
    for beta in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(InputError, match="smoothness: expected"):
            taylor_degree(beta)


def test_the_indicator_is_one_on_the_support_and_zero_outside() -> None:
    for inner, radius in itertools.product((0.5, 0.9, 0.99), (1.0, 1.3)):
        k = constant_doublings(radius, inner)
        assert radius**2 * 2.0**-k <= (radius**2 - inner**2) * (1 + 1e-9)
        assert k == 0 or radius**2 * 2.0 ** (1 - k) > radius**2 - inner**2
    t = taylor_approximator(smooth, paper_atlas(FlatTorus(2)), cells=2, degree=0)
    x = t.atlas.manifold.sample(2000, seed=0)
    inside = t.atlas.smooth_partition(x, 1, t.inner_radius) > 0
    indicator = t.indicator(x)
    assert bool((indicator[inside] == 1).all())
    assert bool((indicator[t.atlas.squared_distance(x) > t.atlas.radius**2] == 0).all())
