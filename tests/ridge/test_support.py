"""Bounds of linear forms on M: above closed forms and dense samples, close to them, and proved."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from construct.manifolds import (
    Circle,
    Cube,
    Helix,
    Net,
    ParametricManifold,
    Reach,
    SpecialOrthogonal3,
    Sphere,
    SwissRoll,
    Torus,
)
from construct.measurement import cover_of
from construct.ridge.coordinates import coordinates_of
from construct.ridge.support import support

NET = 20_000


def net_of(manifold, most):
    net = cover_of(manifold, most)
    assert net is not None
    return net


def torus_support(torus, w):
    """max <w, x> on a torus of revolution about the last axis: R |(w_1, w_2)| + r |w|."""
    return torus.major * np.hypot(w[:, 0], w[:, 1]) + torus.minor * np.linalg.norm(w, axis=1)


CLOSED = [
    (Sphere(2, radius=1.5), lambda m, w: 1.5 * np.linalg.norm(w, axis=1)),
    (Circle(radius=0.3), lambda m, w: 0.3 * np.linalg.norm(w, axis=1)),
    (Torus(), torus_support),
    (Cube(3), lambda m, w: np.abs(w) @ m.half_widths.numpy()),
]


def directions(draw, k):
    rows = draw(st.lists(st.lists(st.integers(-9, 9), min_size=k, max_size=k), min_size=1, max_size=6))
    return np.array(rows, dtype=np.float64)


@settings(max_examples=25)
@given(st.sampled_from(CLOSED), st.data())
def test_near_closed_forms_and_never_below(case, data):
    manifold, closed = case
    coordinates = coordinates_of(manifold, 0)
    alpha = directions(data.draw, coordinates.count)
    bounds = support(manifold, coordinates, alpha, cover_of(manifold, NET))
    w = np.zeros((len(alpha), manifold.ambient))
    w[:, coordinates.chosen] = alpha * coordinates.scale
    middle = (w[:, coordinates.chosen] @ coordinates.centre)[:, None]
    want = np.maximum(closed(manifold, w), 0) + 0 * middle[:, 0]
    if np.any(coordinates.centre):  # M is symmetric about its centre
        want = closed(manifold, w) if not isinstance(manifold, Cube) else np.abs(alpha).sum(axis=1)
    assert (bounds >= want * (1 - 1e-12)).all()
    assert (bounds <= want * 1.01 + 1e-9).all()


@settings(max_examples=12)
@given(
    st.sampled_from([Sphere(2, ambient=8), SwissRoll(), Helix(), Torus(ambient=5).placed(translation=[3.0] * 5)]),
    st.data(),
)
def test_never_below_dense_samples(manifold, data):
    coordinates = coordinates_of(manifold, 1)
    alpha = directions(data.draw, coordinates.count)
    seen = np.abs(coordinates.of(manifold.sample(20_000, seed=9)).numpy() @ alpha.T).max(axis=0)
    for net in (cover_of(manifold, 2000), None):
        assert (support(manifold, coordinates, alpha, net) >= seen).all()


def test_the_box_alone_and_the_smaller_of_both():
    manifold = SpecialOrthogonal3()
    coordinates, alpha = coordinates_of(manifold, 0), np.eye(9)[:2] * 3.0 - np.eye(9)[1:3]
    box = support(manifold, coordinates, alpha, None)
    assert box == pytest.approx([4.0, 4.0])
    assert (support(manifold, coordinates, alpha, cover_of(manifold, 20_000)) <= box).all()
    assert (support(Cube(2), coordinates_of(Cube(2), 0), np.array([[2.0, -1.0]]), cover_of(Cube(2), 9)) <= 3.0001).all()


def circle_with(reach):
    def point(u):
        return torch.cat([torch.cos(u), torch.sin(u)], dim=-1)

    return ParametricManifold(point, [0.0], [2 * np.pi], [True], reach, [1.0])


def test_a_reach_that_was_measured_proves_nothing():
    """The second-order bound takes a reach that is known; else the first-order one is all there is."""
    exact, measured = circle_with(Reach(1.0, "exact")), circle_with(Reach(1.0, "numeric"))
    alpha = np.array([[1.0, 2.0]])
    bounds = []
    for manifold in (exact, measured):
        net = net_of(manifold, 40)
        bounds.append(float(support(manifold, coordinates_of(manifold, 0), alpha, net)[0]))
        seen = float((net.points.numpy() * coordinates_of(manifold, 0).scale @ alpha[0]).max())
        size = float(np.linalg.norm(alpha * coordinates_of(manifold, 0).scale))
        first, second = seen + size * net.radius, seen + size * net.radius**2 / 2
        assert second < first < 3
        assert bounds[-1] == pytest.approx(second if manifold is exact else first, rel=1e-9)
    assert bounds[0] < bounds[1]


def test_an_edge_has_the_first_order_bound_only():
    strip = Cube(1)
    coordinates = coordinates_of(strip, 0)
    net = net_of(strip, 9)
    inner = Net(net.points[net.points[:, 0].abs() < 0.99 * float(strip.half_widths[0])], 2 * net.radius)
    assert float(support(strip, coordinates, np.array([[5.0]]), inner)[0]) >= 5.0
