"""What the statements on the lattice construction count and evaluate, against oracles of their own."""

import itertools
import math

import numpy as np
import pytest
import torch
from flint import fmpq
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import eval_gegenbauer

from construct.cells.kuhn import kuhn_hat
from construct.cells.program import cell_program
from proofs_as_code.statements.cells import hat as hats
from proofs_as_code.statements.cells import inheritance, networks, rates, targets, theorem
from proofs_as_code.statements.ridge.networks import evaluated


def test_gauge_and_hat_are_the_library_s():
    points = [[fmpq(i, 8), fmpq(j, 8), fmpq(k, 8)] for i, j, k in itertools.product(range(-10, 11, 3), repeat=3)]
    assert hats.values_of(kuhn_hat, points) == [hats.psi(point) for point in points]


def test_barycentric_coordinates_of_a_plane_point():
    """On a face of several simplices: (1/2, 1/2) is the middle of the diagonal, (1/2, 0) that of a side."""
    for point, vertices in (((1, 1), [(0, 0), (1, 1)]), ((1, 0), [(0, 0), (1, 0)]), ((3, 1), [(1, 0), (2, 1)])):
        found, differing = hats.barycentric([fmpq(c, 2) for c in point])
        assert found == dict.fromkeys(vertices, fmpq(1, 2)) and differing == 0


@settings(max_examples=20)
@given(networks.nets((2, 3, 4, 6, 9)), st.lists(st.integers(-64, 64), min_size=5, max_size=5))
def test_the_exact_formula_is_the_library_s(net, numbers):
    approximator = net.approximator()
    x = [fmpq(n, 16) for n in numbers[: net.ambient]]
    value = float(approximator(torch.tensor([[n / 16 for n in numbers[: net.ambient]]], dtype=torch.float64)))
    exact = networks.formula(approximator, x)
    assert value == pytest.approx(float(exact.p) / float(exact.q), rel=1e-10, abs=1e-10)


def test_gate_constants_are_changed():
    net = networks.CellNet(4, 2, 2, 6, 1.0, False, 3)
    program = cell_program(net.approximator())
    weights = program.compile(np.ones(4))
    two, four = (networks.gated(program, weights, constant) for constant in (2.0, 4.0))
    for (mine, _), (theirs, _) in zip(four.blocks, weights.blocks, strict=True):
        assert np.array_equal(mine.query, theirs.query) and np.array_equal(mine.key, theirs.key)
    assert not np.array_equal(two.blocks[1][0].query, four.blocks[1][0].query)
    x = [fmpq(1, 3)] * 4
    assert evaluated(two, x) == evaluated(four, x)


def test_polynomials_of_cells_by_hand():
    """Two tokens: one on level 1, one on level 2, and what their children inherit."""
    tower = inheritance.Tower(1, 1, 2, 2, 5)
    exact = inheritance.Exact(tower.approximator())
    u = [fmpq(1, 8)]
    for k in range(-3, 4):
        lower, upper = exact.own(1, (k // 2,), u), exact.own(1, (-(-k // 2),), u)
        own = exact.own(0, None, u) + (lower + upper) / 2 + exact.own(2, (k,), u)
        assert exact.polynomial(2, (k,), u) == own


# -- targets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weight", [-0.125, -0.25, -0.375, 0.5])
def test_gegenbauer_polynomials(weight):
    x = np.linspace(-1, 1, 21)
    for order in range(1, 6):
        value = np.polynomial.Polynomial(targets.gegenbauer(order, weight))(x)
        assert np.allclose(value, eval_gegenbauer(order, weight, x), atol=1e-12)


@pytest.mark.parametrize("kind", ["end", "cantor", "sequence"])
def test_distances(kind):
    target, finest = targets.Target(kind, 0.5, 2), 1e-3
    points = targets.singular_set(kind, finest)
    assert points[0] == 0 and (np.diff(points) > 0).all() and points[-1] == (0 if kind == "end" else 1)
    x = np.random.default_rng(0).uniform(0, 1, 200)
    x[:2] = 0, 1
    expected = np.abs(x[:, None] - points).min(axis=1)
    assert np.allclose(target.distance(x[:, None], finest), expected, atol=1e-15)


def test_the_cantor_set_has_no_middle_thirds():
    points = targets.singular_set("cantor", 1e-2)
    digits = np.rint(points * 3**9).astype(int)
    assert len(points) == 2 ** (1 + math.ceil(math.log(400, 3)))
    for point in digits.tolist():  # of the two expansions of an end of a gap one has no digit 1
        assert any("1" not in np.base_repr(n, 3) for n in (point, point - 1) if n >= 0)


@pytest.mark.parametrize(("kind", "beta", "order"), [("end", 0.5, 2), ("cantor", 0.75, 1), ("sequence", 0.5, 2)])
def test_singular_functions_are_hoelder_with_constant_one(kind, beta, order):
    points = targets.singular_set(kind, 1e-2)
    x = np.sort(np.random.default_rng(1).uniform(0, 1, 400))

    def f(x):
        if kind == "end":
            return x**beta
        above = np.clip(np.searchsorted(points, x), 1, len(points) - 1)
        a, b = points[above - 1], points[above]
        return ((x - a) * (b - x) / (b - a)) ** beta

    assert (np.abs(f(x)[:, None] - f(x)) <= np.abs(x[:, None] - x) ** beta + 1e-12).all()


# -- counts -----------------------------------------------------------------------------------------------------------


def naive_cells(beta, q, epsilon, dim):
    """The algorithm for |x|^beta on [0, 1] or [-1, 1]^2 in plain loops, cells in a set."""
    kind = "end" if dim == 1 else "point"
    bound, low = targets.taylor_bound(kind, beta, q), 0 if dim == 1 else -1
    cells = set(itertools.product(range(low, 2), repeat=dim))
    level, count = 0, 0
    while cells:
        rho, bad = 0.5**level, []
        for cell in cells:
            t, across = math.dist(cell, [0] * dim) * rho, math.sqrt(dim) * rho
            if across**beta <= epsilon or (
                across <= 0.5 * t and bound * t ** (beta - q - 1) * across ** (q + 1) <= epsilon
            ):
                count += 1
            else:
                bad.append(cell)
        level += 1
        children = {
            tuple(2 * c + sign * e for c, e in zip(cell, unit, strict=True))
            for cell in bad
            for sign in (1, -1)
            for unit in itertools.product((0, 1), repeat=dim)
        }
        cells = {c for c in children if all(low * 2**level <= entry <= 2**level for entry in c)}
    return count


@pytest.mark.parametrize("epsilon", [0.5, 0.1, 0.03])
@pytest.mark.parametrize(("beta", "q"), [(0.5, 1), (0.75, 2)])
def test_cells_with_tokens(epsilon, beta, q):
    assert rates.grown_cells(targets.Target("end", beta, q), epsilon) == naive_cells(beta, q, epsilon, 1)
    assert rates.grown_cells(targets.Target("point", beta, q), epsilon) == naive_cells(beta, q, epsilon, 2)


def test_cells_of_a_line_are_those_of_its_profile():
    """As many in x_1, and all of them along it."""
    epsilon = 0.1
    by_line = rates.grown_cells(targets.Target("line", 0.5, 1), epsilon)
    levels, cells, rho = 0, {0, 1}, 1.0
    bound = targets.taylor_bound("line", 0.5, 1)
    while cells:
        good = {n for n in cells if rho**0.5 <= epsilon or (n >= 2 and bound * (n * rho) ** -1.5 * rho**2 <= epsilon)}
        levels += len(good) * (round(1 / rho) + 1)
        cells = {2 * n + e for n in cells - good for e in (-1, 0, 1) if 0 <= 2 * n + e <= 2 / rho}
        rho /= 2
    assert by_line == levels


@pytest.mark.parametrize("spacing", [0.5, 0.3, 0.11, 0.037])
def test_stars_of_the_circle(spacing):
    """Against the cells in which 50,000 points of it lie: those that it only grazes may be missing."""
    angles = np.linspace(0, 2 * math.pi, 50_001)
    z = torch.from_numpy(np.stack([np.cos(angles), np.sin(angles)], axis=1) / spacing)
    radius = math.ceil(1 / spacing) + 2
    held = sum(
        bool((kuhn_hat(z - torch.tensor(n, dtype=torch.float64)) > 0).any())
        for n in itertools.product(range(-radius, radius + 1), repeat=2)
        if abs(math.hypot(*n) - 1 / spacing) <= 1.5
    )
    assert held <= rates.circle_cells(spacing) <= held + 0.02 * held + 4


def test_stars_of_cubes():
    for dim, spacing in ((1, 0.3), (2, 0.5), (2, 0.3)):
        grid = torch.cartesian_prod(*[torch.linspace(0, 1, 101, dtype=torch.float64)] * dim).reshape(-1, dim) / spacing
        cells = itertools.product(range(-3, 8), repeat=dim)
        held = sum(bool((kuhn_hat(grid - torch.tensor(n, dtype=torch.float64)) > 0).any()) for n in cells)
        assert held == rates.cube_cells(dim, spacing)


def test_slopes_and_intervals():
    epsilons = rates.octaves(3, 3)
    assert epsilons[0] == 1 / 8 and epsilons[-1] == 1 / 64 and len(epsilons) == 13
    exact = rates.fitted(epsilons, (epsilons**-1.5).tolist())
    assert exact.slope == pytest.approx(1.5) and exact.half < 1e-6
    noisy = rates.fitted(epsilons, (epsilons**-1.5 * np.exp(0.1 * (-1) ** np.arange(13))).tolist())
    assert abs(noisy.slope - 1.5) <= noisy.half < 0.2


def test_a_count_above_its_bound_is_no_rate():
    epsilons = rates.octaves(3, 3)
    counts = (epsilons**-1.0).tolist()
    assert rates.by_exponent(1.0, epsilons, counts, counts, {}).holds
    assert not rates.by_exponent(1.0, epsilons, counts, [n / 2 for n in counts], {}).holds


# -- Theorem C carried out --------------------------------------------------------------------------------------------


def test_atoms_make_monomials():
    for degree in (3, 4, 6):
        solved = np.linalg.inv(theorem.atoms(degree))
        assert np.abs(theorem.atoms(degree) @ solved - np.eye(degree + 1)).max() < 1e-9


def test_the_approximator_is_the_blend_of_its_cells():
    """At a point: hats of the finest level times polynomials, found again by going up through the parents."""
    beta, q, degree, epsilon = 0.5, 1, 3, 0.05
    grown, s = theorem.carried_out(beta, q, degree, epsilon), theorem.power(beta, q)
    finest = int(grown.approximator.basis.levels.max())

    def value(level, cell, x):
        own = theorem.polynomial_of(s, epsilon, cell, 2.0 ** (1 - level))
        if level == 1:
            return (0.0, True) if own is None else (float(own(x - cell)), False)
        parts = [value(level - 1, n, x) for n in (cell // 2, -(-cell // 2))]
        if not any(part[1] for part in parts):  # both parents are good
            return sum(part[0] for part in parts) / 2, False
        if own is None:
            return sum(part[0] for part in parts) / 2, True
        return float(own(x * 2 ** (level - 1) - cell)), False

    for x in (0.0, 1e-4, -0.003, 0.04, 0.3, -0.77):
        z = x * 2 ** (finest - 1)
        n = math.floor(z)
        blend = (1 - (z - n)) * value(finest, n, x)[0] + (z - n) * value(finest, n + 1, x)[0]
        assert float(grown.approximator(torch.tensor([[x]], dtype=torch.float64))) == pytest.approx(blend, abs=1e-9)
        assert abs(blend - abs(x) ** beta) <= epsilon
