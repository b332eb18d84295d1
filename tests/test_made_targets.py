"""The spike, the chirp, and the function that is rough in every direction: built in, and made to measure."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import construct
from construct import targets
from construct.errors import InputError
from construct.manifolds import ParametricManifold


def test_a_chirp_is_lipschitz_and_has_a_cone() -> None:
    """Slope 3 / 0.06^2 |cos 50| away from (1, 0, 0) in every direction, and no more than 3 / 0.06^2 anywhere."""
    f = targets.target("chirp")
    h = 1e-7
    start = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    for direction in (1.0, 0.0, 0.0), (-1.0, 0.0, 0.0), (0.6, 0.0, -0.8):
        slope = float(f(start + h * torch.tensor(direction, dtype=torch.float64)) - f(start)) / h
        assert slope == pytest.approx(-3 / 0.06**2 * math.cos(50), rel=1e-3)
    x = torch.linspace(1.0, 1.01, 100_001, dtype=torch.float64)[:, None]
    steepest = float((f(x).diff().abs() / x[:, 0].diff()).max())
    assert 0.9 * 3 / 0.06**2 < steepest < 3 / 0.06**2
    assert f.length_scale is not None and f.length_scale == pytest.approx(0.06**2 / 3)
    phase = 3 / (0.06 + torch.tensor([0.0, f.length_scale], dtype=torch.float64))
    assert 0.9 < float(phase[0] - phase[1]) < 1.0  # about a radian


@given(
    st.floats(1e-3, 10),
    st.lists(st.floats(-3, 3), min_size=1, max_size=6),
    st.floats(-5, 5),
    st.lists(st.floats(-3, 3), min_size=1, max_size=8),
)
def test_a_spike_is_its_formula(width: float, centre: list[float], height: float, x: list[float]) -> None:
    f = targets.spike(width, tuple(centre), height)
    padded = [*x, *[0.0] * 8]
    apart = sum((padded[j] - c) ** 2 for j, c in enumerate(centre))
    want = math.sin(2 * padded[1]) + height * math.exp(-apart / (2 * width**2))
    assert float(f(torch.tensor(x, dtype=torch.float64))) == pytest.approx(want, rel=1e-9, abs=1e-12)
    assert f.length_scale == width and f.smooth and f.expression is not None


def test_the_built_in_spike_is_the_default_one() -> None:
    assert targets.spike().expression is targets.target("spike").expression
    assert "0.01" in repr(targets.spike(0.01)) and "(0,1)" in repr(targets.spike(centre=(0, 1)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"width": 0.0}, "width: expected a finite real number > 0, got 0"),
        ({"width": "thin"}, "width: expected a finite real number > 0"),
        ({"width": 1e-120}, "target: expected a length_scale .* got length_scale = 1e-120"),
        ({"centre": ()}, r"centre: expected a sequence of one number or more, got \(\)"),
        ({"centre": "100"}, "centre: expected a sequence of one number or more, got '100'"),
        ({"centre": 1.0}, "centre: expected a sequence of one number or more, got 1.0"),
        ({"centre": (0.0, math.nan)}, r"centre\[1\]: expected a finite real number, got nan"),
        ({"height": math.inf}, "height: expected a finite real number, got inf"),
    ],
)
def test_a_bad_spike_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}"):
        targets.spike(**arguments)


@pytest.mark.parametrize("name", ["sphere", "torus", "swiss_roll", "cube"])
@given(st.integers(0, 2**20), st.integers(0, 2**20))
@settings(max_examples=5)
def test_weierstrass_of_a_manifold_is_the_same_function_in_every_space(name: str, seed: int, points: int) -> None:
    plain = construct.manifolds.manifold(name)
    embedded = plain.placed(translation=(1.0, *[0.0] * (plain.ambient - 1)))
    for other in (construct.manifolds.manifold(name, ambient=plain.ambient + 4, seed=points % 97), embedded):
        x = other.sample(50, points)
        here, there = targets.weierstrass_all(plain, seed), targets.weierstrass_all(other, seed)
        assert there.smoothness == 0.5 and not there.smooth
        rounding = 2**23 * math.pi * 1e-14 * 24 * float(1 + x.abs().max())
        assert float((there(x) - here(other.restrict(x))).abs().max()) < rounding


def test_directions_of_weierstrass_lie_in_the_hull() -> None:
    """A circle in a plane of R^3, as a manifold whose canonical coordinates are three: what is normal to the plane does
    not enter, and of three directions in the plane the mean of naive sums is the value."""
    M = ParametricManifold(tilted_circle, [0.0], [2 * math.pi], [True], reach="estimate", lipschitz="estimate")
    f = targets.weierstrass_all(M, seed=4)
    normal = torch.tensor([0.0, -0.6, 0.8], dtype=torch.float64)
    x = M.sample(30, 1)
    assert M.canonical == 3 and float((x @ normal).abs().max()) < 1e-12
    assert float((f(x + 0.7 * normal) - f(x)).abs().max()) < 1e-6
    assert float((f(x + 0.7 * torch.tensor([1.0, 0.0, 0.0])) - f(x)).abs().max()) > 0.1
    vectors = np.random.default_rng(4).standard_normal((3, 3))
    vectors -= np.outer(vectors @ normal.numpy(), normal.numpy())
    vectors /= np.linalg.norm(vectors, axis=1)[:, None]
    along = x.numpy() @ vectors.T
    rough = sum(2 ** (-k / 2) * np.cos(2**k * math.pi * along) for k in range(24)).mean(axis=1)
    assert np.abs(f(x).numpy() - rough).max() < 1e-9


def tilted_circle(u: torch.Tensor) -> torch.Tensor:
    """Orthonormal axes (1, 0, 0) and (0, 0.8, 0.6)."""
    return torch.cat([torch.cos(u), 0.8 * torch.sin(u), 0.6 * torch.sin(u)], dim=-1)


def test_weierstrass_of_a_cube_is_the_built_in_and_other_seeds_are_others() -> None:
    cube = construct.manifolds.Cube(3)
    assert targets.weierstrass_all(cube).expression is targets.target("weierstrass_all").expression
    assert targets.weierstrass_all(cube, 1).expression is not targets.weierstrass_all(cube).expression
    with pytest.raises(InputError, match=r"manifold: expected a construct\.manifolds\.Manifold, got 'cube'"):
        targets.weierstrass_all("cube")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="seed"):
        targets.weierstrass_all(cube, -1)
