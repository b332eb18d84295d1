"""Directions spread over half a shell, against all integer vectors that are near."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from construct.errors import InputError
from construct.ridge.directions import Lattice, shell, shell_size


def by_trying(dim, order):
    near = itertools.product(range(-order, order + 1), repeat=dim)
    wanted = range(order**2 - order + 1, order**2 + 1)
    return sorted(v for v in near if sum(n * n for n in v) in wanted and next(n for n in v if n) > 0)


SIZES = [(k, m) for k in range(1, 7) for m in range(1, {1: 9, 2: 12, 3: 8, 4: 5}.get(k, 3))]


@pytest.mark.parametrize(("dim", "order"), SIZES)
def test_a_shell_is_what_trying_all_vectors_finds(dim, order):
    assert shell(dim, order).tolist() == [list(v) for v in by_trying(dim, order)]
    assert shell_size(dim, order) == len(by_trying(dim, order))


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 3), st.integers(1, 60))
def test_no_two_directions_are_parallel_and_all_norms_are_near(dim, order):
    family = Lattice(dim, order, "shell")
    vectors = family.integers
    assert family.count == len(vectors) and family.signed
    norms = np.linalg.norm(vectors, axis=1)
    assert order - 1 < norms.min() and norms.max() <= order
    both = {tuple(v) for v in vectors.tolist()} | {tuple(v) for v in (-vectors).tolist()}
    assert len(both) == 2 * len(vectors)


def test_large_shells_have_the_members_of_their_volume():
    for dim, order in ((2, 5000), (3, 120)):
        ball = {2: math.pi, 3: 4 * math.pi / 3}[dim]
        volume = ball * (order**dim - (order * order - order) ** (dim / 2)) / 2
        assert abs(Lattice(dim, order, "shell").count / volume - 1) < 0.05


def test_shells_of_one_dimension_are_refused():
    with pytest.raises(InputError, match=r"^dim: expected 2 or more for a shell"):
        Lattice(1, 7, "shell")


def test_shapes_of_other_names_are_refused():
    with pytest.raises(InputError, match=r"^shape: expected one of "):
        Lattice(2, 3, "ball")  # type: ignore[arg-type]
