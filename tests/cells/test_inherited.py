"""What is left to fit on a cell: the target less the mean of what its parents have, by going up through them."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from construct.cells.approximator import CellBasis, reach_of
from construct.cells.growth import Grown, Growth, Shape
from construct.cells.points import Cloud, Thrower
from construct.manifolds import Sphere
from construct.problem import Problem
from construct.ridge.coordinates import Coordinates
from construct.ridge.maps import shift_of

MOST_LEVELS = 4


def parts(seed, r, m, degree):
    """A growth with some cells of every level, about 0."""
    rng = np.random.default_rng(seed)
    windows = np.sort(rng.permutation(r)[:m])
    none, flat = np.zeros(0, dtype=np.int64), np.zeros((0, r), dtype=np.int64)
    coordinates = Coordinates(np.arange(r), np.zeros(r), np.ones(r), 1.0)
    empty = CellBasis(Sphere(2), coordinates, windows, degree, 1.0, none, flat, flat)
    shape = Shape(degree, tuple(windows.tolist()), 1.0, 0, 4, 2)
    grown = Grown()
    grown.add(0, np.zeros(r, dtype=np.int64), rng.integers(-4, 5, (2, r)), rng.normal(size=2))
    for level in range(1, MOST_LEVELS):
        for cell in np.unique(rng.integers(-2, 3, (4, r)), axis=0):
            grown.add(level, cell, rng.integers(-6, 7, (2, r)), rng.normal(size=2))
    thrower = Thrower(Problem(lambda x: x[:, 0], Sphere(2)), coordinates, 1.0, 0)
    return Growth(thrower, empty, shape, 0), grown, windows


def atom(direction, centre, factor, degree, u):
    """`1 + T_p` by cosines."""
    delta = shift_of(degree)
    forms = (factor * u - centre) @ direction
    return 1 + np.cos(degree * np.arccos(np.clip(delta + (1 - delta) / reach_of(degree) * forms, -1, 1)))


def polynomial(grown, windows, degree, level, cell, u):
    """P of a cell of a level, with the tokens up to it; cell None: level 0."""
    total = np.zeros(len(u))
    if level > 1:
        for n in (tuple(k // 2 for k in cell), tuple(-(-k // 2) for k in cell)):
            total = total + polynomial(grown, windows, degree, level - 1, n, u) / 2
    elif level == 1:
        total = polynomial(grown, windows, degree, 0, None, u)
    held = zip(grown.levels, grown.centres, grown.directions, grown.coefficients, strict=True)
    for levels, centres, directions, coefficients in held:
        if levels[0] == level and (level == 0 or tuple(centres[0][windows].tolist()) == cell):
            for centre, direction, c in zip(centres, directions, coefficients, strict=True):
                total = total + c * atom(direction, centre, 2.0 ** max(0, level - 1), degree, u)
    return total


@settings(max_examples=30)
@given(st.integers(0, 2**31), st.integers(1, 3), st.integers(1, 3), st.sampled_from([2, 3, 6]))
def test_what_is_missing_on_a_cell(seed, r, m, degree):
    growth, grown, windows = parts(seed, r, min(m, r), degree)
    rng = np.random.default_rng(seed)
    u = rng.uniform(-1, 1, (12, r))
    wanted = torch.from_numpy(rng.normal(size=12))
    cloud = Cloud(torch.from_numpy(u), torch.from_numpy(u), wanted)
    cells = np.unique(rng.integers(-5, 6, (3, len(windows))), axis=0)
    places = [np.sort(rng.permutation(12)[: rng.integers(1, 9)]) for _ in cells]
    found = growth._missing(grown, MOST_LEVELS, cloud, cells, places)
    assert len(found) == len(cells)
    for cell, place, left in zip(cells.tolist(), places, found, strict=True):
        above = polynomial(grown, windows, degree, MOST_LEVELS, tuple(cell), u[place])
        assert np.abs(left - (wanted.numpy()[place] - above)).max() < 1e-10


@settings(max_examples=10)
@given(st.integers(0, 2**31))
def test_without_tokens_all_is_missing(seed):
    growth = parts(seed, 2, 2, 3)[0]
    u = torch.rand(6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    (left,) = growth._missing(Grown(), 1, Cloud(u, u, u[:, 0]), np.zeros((1, 2), dtype=np.int64), [np.arange(6)])
    assert np.array_equal(left, u[:, 0].numpy())
