"""Hats of the Kuhn triangulation: a partition of unity that is linear, refines itself, and has parents and children."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from construct.cells.kuhn import children, kuhn_hat, members, parents

MOST = 4


def dyadic(draw_from, bits):
    return draw_from.map(lambda j: j / 2**bits)


def points(entries, least=1, most=MOST):
    """(1 to 20, m) float64."""
    return st.integers(least, most).flatmap(
        lambda m: st.lists(st.lists(entries, min_size=m, max_size=m), min_size=1, max_size=20).map(
            lambda rows: torch.tensor(rows, dtype=torch.float64)
        )
    )


def cells(least=1, most=MOST, size=5):
    """(0 to 5, m) int64, negative ones too."""
    return st.integers(least, most).flatmap(
        lambda m: st.lists(st.lists(st.integers(-(2**30), 2**30), min_size=m, max_size=m), max_size=size).map(
            lambda rows: np.array(rows, dtype=np.int64).reshape(-1, m)
        )
    )


EXACT = dyadic(st.integers(-64, 64), 4)  # ties and planes are frequent, and nothing rounds
REAL = st.floats(-1e6, 1e6) | st.sampled_from([0.0, -0.0, 1e-300, -1e-300, 0.5, 2.0**40 + 0.25])


def solved(vertices, z):
    """Barycentric coordinates in rational arithmetic, by Gauss and Jordan."""
    size = len(vertices)
    rows = [[Fraction(1)] * size + [Fraction(1)]]
    rows += [[Fraction(v[i]) for v in vertices] + [Fraction(z[i])] for i in range(len(z))]
    for i in range(size):
        pivot = next(k for k in range(i, size) if rows[k][i])
        rows[i], rows[pivot] = rows[pivot], rows[i]
        rows[i] = [entry / rows[i][i] for entry in rows[i]]
        for k in range(size):
            if k != i:
                rows[k] = [a - rows[k][i] * b for a, b in zip(rows[k], rows[i], strict=True)]
    return [row[-1] for row in rows]


def nodal(u):
    """The function that is 1 at 0, 0 at the other vertices and linear on simplices, by trying those of all cubes."""
    found = set()
    for corner in itertools.product(*[{int(np.floor(c)), int(np.ceil(c)) - 1} for c in u]):
        for order in itertools.permutations(range(len(u))):
            vertices = [list(corner)]
            for i in order:
                vertices.append([c + (j == i) for j, c in enumerate(vertices[-1])])
            values = solved(vertices, u)
            if min(values) >= 0:
                found.add(sum(value for v, value in zip(vertices, values, strict=True) if not any(v)))
    assert len(found) == 1, "simplices that share a point agree there"
    return found.pop()


@settings(max_examples=60)
@given(points(dyadic(st.integers(-20, 20), 3), most=3))
def test_the_hat_is_the_nodal_function(u):
    assert [Fraction(v) for v in kuhn_hat(u[:4]).tolist()] == [nodal(row) for row in u[:4].tolist()]


@settings(max_examples=200)
@given(points(EXACT))
def test_members_are_barycentric_coordinates(z):
    """Values >= 0 of sum 1 whose mean of the vertices is z: unique on a simplex, whose vertices form a chain."""
    vertices, values = members(z)
    assert vertices.shape == (*z.shape[:1], z.shape[1] + 1, z.shape[1]) and vertices.dtype == torch.int64
    assert values.shape == vertices.shape[:2] and (values >= 0).all()
    assert torch.equal(values.sum(dim=1), torch.ones(len(z), dtype=torch.float64))
    assert torch.equal((values[..., None] * vertices).sum(dim=1), z)
    steps = vertices.diff(dim=1)
    assert ((steps == 0) | (steps == 1)).all() and (steps.sum(dim=2) == 1).all()
    assert torch.equal(vertices[:, 0], z.floor().long())


@settings(max_examples=100)
@given(points(EXACT, most=3))
def test_all_other_hats_are_zero(z):
    for point in z[:2]:
        vertices, values = members(point[None])
        held = dict(zip(map(tuple, vertices[0].tolist()), values[0].tolist(), strict=True))
        for offset in itertools.product(range(-2, 4), repeat=len(point)):
            n = point.floor() + torch.tensor(offset)
            assert float(kuhn_hat(point - n)) == held.get(tuple(n.long().tolist()), 0.0)


@settings(max_examples=200)
@given(points(REAL, most=9))
def test_any_numbers(z):
    """Far away, in nine dimensions, at -0: sum 1 up to rounding, and the values of the hat."""
    vertices, values = members(z)
    assert (values >= 0).all() and (values.sum(dim=1) - 1).abs().max() <= 1e-15 * (z.shape[1] + 1)
    assert (kuhn_hat(z[:, None] - vertices) - values).abs().max() <= 1e-15 * (z.shape[1] + 1)


@settings(max_examples=100)
@given(points(EXACT, most=3))
def test_the_hat_is_symmetric_and_at_most_one(u):
    assert torch.equal(kuhn_hat(u), kuhn_hat(-u)) and torch.equal(kuhn_hat(u), kuhn_hat(u.flip(1)))
    assert ((kuhn_hat(u) >= 0) & (kuhn_hat(u) <= 1)).all()
    assert torch.equal(kuhn_hat(u) == 1, (u == 0).all(dim=1))


@settings(max_examples=100)
@given(points(dyadic(st.integers(-40, 40), 4), most=3))
def test_refinement(z):
    fine = torch.tensor(list(itertools.product(range(-2, 3), repeat=z.shape[1])), dtype=torch.float64)
    total = (kuhn_hat(fine / 2) * kuhn_hat(2 * z[:, None] - fine)).sum(dim=1)
    assert torch.equal(total, kuhn_hat(z))


@settings(max_examples=100)
@given(cells())
def test_parents_are_the_hats_that_are_not_zero_at_half(k):
    lower, upper = parents(k)
    assert np.array_equal(lower + upper, k) and ((upper - lower == 0) | (upper - lower == 1)).all()
    half = torch.from_numpy(k / 2)
    for side in (lower, upper):
        expected = torch.where(torch.from_numpy((lower == upper).all(axis=1)), 1.0, 0.5).double()
        assert torch.equal(kuhn_hat(half - torch.from_numpy(side)), expected)


@settings(max_examples=100)
@given(cells())
def test_children_are_those_whose_parents_they_have(n):
    m = n.shape[1]
    found = children(n)
    assert found.dtype == np.int64 and found.shape[1] == m
    assert np.array_equal(found, np.unique(found, axis=0)), "each once, sorted"
    if len(n) == 1:
        assert len(found) == 2 ** (m + 1) - 1
    held = set(map(tuple, n.tolist()))
    above = zip(*(map(tuple, side.tolist()) for side in parents(found)), strict=True)
    assert all(held & set(both) for both in above)
    near = 2 * n[:, None] + np.array(list(itertools.product(range(-2, 3), repeat=m)))
    others = set(map(tuple, near.reshape(-1, m).tolist())) - set(map(tuple, found.tolist()))
    if others:
        for side in parents(np.array(sorted(others), dtype=np.int64)):
            assert not held & set(map(tuple, side.tolist()))


@settings(max_examples=100)
@given(points(dyadic(st.integers(-32, 32), 4), most=3), st.data())
def test_a_child_sees_no_more_than_its_parents(z, data):
    m = z.shape[1]
    k = np.array([data.draw(st.lists(st.integers(-3, 3), min_size=m, max_size=m))], dtype=np.int64)
    own = kuhn_hat(2 * z - torch.from_numpy(k))
    for side in parents(k):
        assert (kuhn_hat(z - torch.from_numpy(side)) >= own / 2).all()


@pytest.mark.parametrize("m", [1, 2, 3])
def test_nothing_has_no_members_and_no_children(m):
    vertices, values = members(torch.zeros(0, m, dtype=torch.float64))
    assert vertices.shape == (0, m + 1, m) and values.shape == (0, m + 1)
    none = np.zeros((0, m), dtype=np.int64)
    assert children(none).shape == (0, m) and all(side.shape == (0, m) for side in parents(none))
