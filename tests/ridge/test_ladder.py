"""Which waves: they span what directions in general position span, the cheapest that do, with small coefficients."""

import numpy as np
import pytest

from construct.errors import InputError
from construct.manifolds import Circle, Cube, Sphere
from construct.ridge.coordinates import coordinates_of
from construct.ridge.ladder import wave_candidates, wave_cost, waves_for


def atoms(manifold, waves, degree, points=3000):
    """Centred atoms with cosines, the constant in front; |a| <= 1 on the points."""
    y = coordinates_of(manifold, 0).of(manifold.sample(points, 5)).numpy()
    forms, delta = y @ waves.vectors.T, min(0.25, 1.1 / degree)
    a = delta + forms * (1 - delta) / np.abs(forms).max()
    return y, np.hstack([np.ones((points, 1)), np.cos(degree * np.arccos(np.clip(a, -1, 1)))])


@pytest.mark.parametrize(
    ("manifold", "degree", "dimension"),
    [(Circle(), 9, 19), (Circle(ambient=5), 16, 33), (Sphere(2), 6, 49), (Sphere(2, ambient=8), 9, 100)],
)
def test_they_span_the_polynomials_and_no_cheaper_ones_do(manifold, degree, dimension):
    found = waves_for(manifold, coordinates_of(manifold, 0), degree)
    assert np.linalg.matrix_rank(atoms(manifold, found, degree)[1], tol=1e-6) == dimension
    for cheaper in wave_candidates(found.dim, found.length):
        if wave_cost(cheaper) < wave_cost(found):
            y, basis = atoms(manifold, cheaper, degree)
            worst = 0.0
            for slope in np.random.default_rng(0).normal(size=(4, y.shape[1])):
                values = np.cos(3 * y @ slope / np.linalg.norm(slope) + 1)
                solved = np.linalg.lstsq(basis, values, rcond=1e-12)[0]
                worst = max(worst, np.abs(solved).max() / 50, np.abs(basis @ solved - values).max() / 1e-4)
            assert worst > 1 or np.linalg.matrix_rank(basis, tol=1e-9) < dimension


def test_a_bound_on_coefficients_costs_numbers():
    manifold = Sphere(2, ambient=8)
    coordinates = coordinates_of(manifold, 0)
    free, bound = (waves_for(manifold, coordinates, 6, largest=size) for size in (1e3, 10.0))
    assert wave_cost(bound) > wave_cost(free)


def test_candidates_come_by_cost():
    for dim in (1, 2, 3, 5):
        costs = [wave_cost(waves) for waves in wave_candidates(dim, 256)]
        assert costs == sorted(costs)
        assert len(costs) >= 1


def test_degrees_beyond_the_positions_are_refused():
    manifold = Cube(3)
    with pytest.raises(InputError, match="degree: expected one whose polynomials waves of"):
        waves_for(manifold, coordinates_of(manifold, 0), 27)
