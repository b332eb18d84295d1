"""Coordinates of the hull of M: against linear regression on samples; |y| <= 1; large D; what spans too much."""

import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from construct.errors import InputError
from construct.manifolds import (
    Circle,
    Cube,
    FlatTorus,
    ParametricManifold,
    SpecialOrthogonal3,
    Sphere,
    SwissRoll,
    Torus,
    embedding,
)
from construct.ridge.coordinates import Coordinates, coordinates_of

HULLS = [(Circle(), 2), (Circle(ambient=9), 2), (Sphere(2, ambient=8), 3), (Sphere(3), 4), (Cube(2, ambient=5), 2),
         (SwissRoll(), 3), (Torus(ambient=30), 3), (FlatTorus(2), 4), (SpecialOrthogonal3(), 9)]  # fmt: skip


def check(manifold, coordinates, hull):
    """Against regression of all coordinates on the chosen ones, on points that the choice has not seen."""
    x = manifold.sample(3000, seed=77).numpy()
    y = coordinates.of(torch.from_numpy(x)).numpy()
    assert coordinates.count == hull == y.shape[1]
    assert np.abs(y).max() <= 1 + 1e-12
    assert (np.diff(coordinates.chosen) > 0).all() and coordinates.chosen[-1] < manifold.ambient
    picked = x[:, coordinates.chosen]
    assert np.allclose(y, (picked - coordinates.centre) * coordinates.scale, rtol=0, atol=1e-13)
    centred, middle = picked - picked.mean(axis=0), x - x.mean(axis=0)
    back = np.linalg.lstsq(centred, middle, rcond=None)[0]
    assert np.abs(centred @ back - middle).max() <= 1e-9 * np.abs(middle).max()  # nothing is lost
    assert coordinates.condition == pytest.approx(np.linalg.norm(back, 2), rel=1e-6)


@pytest.mark.parametrize(("manifold", "hull"), HULLS, ids=lambda v: repr(v)[:30])
def test_all_coordinates_are_linear_in_the_chosen_ones(manifold, hull):
    coordinates = coordinates_of(manifold, 3)
    check(manifold, coordinates, hull)
    # pivoted QR: what is lost in condition is far below its bound 2^k sqrt(D)
    assert coordinates.condition <= 4 * np.sqrt(manifold.ambient)
    points = manifold.restrict(manifold.sample(50, seed=5))
    assert torch.allclose(coordinates.within(manifold, points), coordinates.of(manifold.embed(points)), atol=1e-12)


@settings(max_examples=15)
@given(
    st.sampled_from([Circle(ambient=4), Torus(), Cube(2)]),
    st.floats(-1e3, 1e3),
    st.floats(1e-3, 1e3),
    st.integers(0, 10**6),
)
def test_placed_manifolds(base, moved, scale, seed):
    turn = np.linalg.qr(np.random.default_rng(seed).normal(size=(base.ambient, base.ambient)))[0]
    placed = base.placed(translation=[moved] * base.ambient, scale=scale, rotation=turn.tolist())
    check(placed, coordinates_of(placed, seed), {1: 2, 2: base.canonical}[base.dim])


def curve(ambient, frequencies=1):
    """A curve in R^D whose coordinates are waves of the first few frequencies, with phases of their own."""
    k = torch.arange(ambient, dtype=torch.float64)
    n = 1 + k % frequencies

    def point(u):
        return torch.cos(n * u[..., :1] + k)

    speed = float(n.norm())
    return ParametricManifold(point, [0.0], [2 * np.pi], [True], 0.05 * ambient**0.5, [speed])


def test_a_large_space_is_cheap(monkeypatch):
    monkeypatch.setattr(embedding, "LARGEST_AMBIENT", 10_000)
    manifold = Sphere(2, ambient=10_000)
    tracemalloc.start()
    coordinates = coordinates_of(manifold, 0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert coordinates.count == 3 and coordinates.condition <= 4 * 10_000**0.5
    x = manifold.sample(200, seed=1)
    assert float(coordinates.of(x).abs().max()) <= 1 + 1e-12
    assert peak <= 10e6  # bytes of numpy: no sample in R^D, no (D, D) matrix


def test_what_spans_too_much_is_refused():
    with pytest.raises(InputError, match=r"manifold: expected one that spans at most 12 dimensions, .* spans 26"):
        coordinates_of(curve(26, frequencies=13), 0)


def test_a_point_like_hull_still_has_a_coordinate():
    flat = Coordinates(np.array([1]), np.array([2.0]), np.array([0.5]), 1.0)
    assert flat.of(torch.tensor([[9.0, 4.0, 7.0]], dtype=torch.float64)).tolist() == [[1.0]]
