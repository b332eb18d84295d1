"""The ReLU network of the lattice formula: module and elementwise, exact hats, bound, counts, search."""

from __future__ import annotations

import itertools
import math
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from construct.baselines.relu.cell_network import CellReluNetwork, same_cells
from construct.baselines.relu.ridge_maps import orders
from construct.cells.approximator import CellApproximator, CellBasis
from construct.errors import EpsilonNotReached, InputError
from construct.manifolds import Circle, Cube, Manifold, Sphere
from construct.ridge.coordinates import coordinates_of

CASES: list[tuple[Manifold, int, tuple[int, ...]]] = [
    (Circle(), 2, (0,)),
    (Circle(ambient=4), 6, (0, 1)),
    (Sphere(2), 3, (0, 1, 2)),
    (Cube(2), 4, (0, 1)),
    (Cube(1), 9, (0,)),
]


@cache
def coordinates(case: int):  # type: ignore[no-untyped-def]
    return coordinates_of(CASES[case][0], 0)


def random_formula(case: int, seed: int, tokens: int = 12, *, base: bool = True) -> CellApproximator:
    """Tokens on levels 0 to 3 in cells about points of M, with random directions and coefficients, some of them 0."""
    manifold, degree, windows = CASES[case]
    rng = np.random.default_rng(seed)
    read, spacing = coordinates(case), 0.7
    r = read.count
    levels = rng.integers(0 if base else 1, 4, tokens)
    u = read.of(manifold.sample(tokens, seed)).numpy() / read.scale / spacing
    centres = np.where(levels[:, None] > 0, np.round(u * np.ldexp(0.5, levels)[:, None]), 0).astype(np.int64)
    directions = rng.integers(-3, 4, (tokens, r))
    basis = CellBasis(manifold, read, np.array(windows), degree, spacing, levels, centres, directions)
    coefficients = torch.from_numpy(rng.standard_normal(tokens) * (rng.random(tokens) < 0.8))
    return CellApproximator(basis, coefficients, float(rng.standard_normal()))


def everywhere(manifold: Manifold, seed: int, count: int = 60) -> torch.Tensor:
    """Points of M and far from it."""
    x = manifold.sample(count, seed)
    generator = torch.Generator().manual_seed(seed)
    return torch.cat([x, 3 * torch.randn(x.shape, generator=generator, dtype=torch.float64)])


cases = st.integers(0, len(CASES) - 1)
seeds = st.integers(0, 2**16)


@given(cases, seeds, st.integers(1, 5), st.integers(1, 5), st.booleans())
@settings(max_examples=40, deadline=None)
def test_the_module_computes_what_is_said_elementwise(case: int, seed: int, one: int, two: int, last: bool) -> None:
    formula = random_formula(case, seed)
    maps = orders(formula.degree)[-1 if last else 0]
    stages = [one] * (sum(1 if m == 2 else 2 for m in maps)) + [two]
    network = CellReluNetwork(formula, stages, maps)
    x = everywhere(formula.manifold, seed)
    module = network.network()
    assert float((module(x) - network(x)).abs().max()) < 1e-10
    counts, said = module.counts, network.counts
    assert (counts.nonzero, counts.dense, counts.depth, counts.multiply_adds) == (
        said.nonzero, said.dense, said.depth, said.multiply_adds,
    )  # fmt: skip


@given(cases, seeds, st.integers(1, 8))
@settings(max_examples=40, deadline=None)
def test_the_error_is_within_its_bound_in_all_of_space(case: int, seed: int, m: int) -> None:
    formula = random_formula(case, seed)
    network = CellReluNetwork(formula, m)
    x = everywhere(formula.manifold, seed, 200)
    error = float((network(x) - naive(formula, x)).abs().max())
    assert error <= network.error_bound + 1e-11
    finer = CellReluNetwork(formula, m + 1).error_bound
    assert finer == pytest.approx(network.error_bound / 4)


def naive(formula: CellApproximator, x: torch.Tensor) -> torch.Tensor:
    """The formula of the lattice approximator in plain Python: cos(p arccos), the hat from its definition."""
    basis = formula.basis
    read, values = basis.coordinates, []
    for point in x.numpy():
        z = point[read.chosen] - read.centre
        total = formula.constant
        for t in range(basis.count):
            level, alpha, centre = int(basis.levels[t]), basis.directions[t], basis.centres[t]
            factor = 2.0 ** (level - 1) if level else 1.0
            a = basis.shift + basis.scale * float(alpha @ (factor * z / basis.spacing - centre))
            atom = 1 + math.cos(basis.degree * math.acos(min(1.0, max(-1.0, a))))
            e = [factor * z[j] / basis.spacing - centre[j] for j in basis.windows.tolist()] if level else []
            psi = max(0.0, 1 - max(0.0, *e) - max(0.0, *(-t for t in e))) if level else 1.0
            total += float(formula.coefficients[t]) * psi * atom
        values.append(total)
    return torch.tensor(values, dtype=torch.float64)


@given(cases, seeds)
@settings(max_examples=20, deadline=None)
def test_with_many_compositions_it_is_the_formula(case: int, seed: int) -> None:
    formula = random_formula(case, seed)
    x = formula.manifold.sample(100, seed)
    assert float((CellReluNetwork(formula, 24)(x) - formula(x)).abs().max()) < 1e-9


def test_off_all_cells_nothing_but_level_0_and_the_constant_is_left() -> None:
    """Products vanish exactly where a hat does, however coarse the squares are."""
    for case in range(len(CASES)):
        formula = random_formula(case, 5, base=False)
        x = 1e3 + everywhere(formula.manifold, 1)
        assert float((CellReluNetwork(formula, 1)(x) - formula.constant).abs().max()) == 0


def test_formulas_with_one_kind_of_token() -> None:
    """Level 0 alone has no hat and no product; a formula of nothing is its constant."""
    formula = random_formula(0, 3)
    keep = torch.from_numpy(formula.basis.levels == 0)
    alone = CellApproximator(formula.basis, formula.coefficients * keep, 0.25)
    network = CellReluNetwork(alone, 20)
    assert len(network.cells[0]) == 0 and bool(keep.any())
    x = formula.manifold.sample(50, 0)
    assert float((network.network()(x) - alone(x)).abs().max()) < 1e-9
    assert network.counts.depth < CellReluNetwork(formula, 20).counts.depth


def test_tokens_of_one_cell_share_its_hat_and_its_product() -> None:
    """A token more in a cell that has one takes what it would on level 0, a token in a cell of its own takes more."""
    manifold, degree, windows = CASES[3]

    def count(levels: list[int], centres: list[list[int]]) -> int:
        basis = CellBasis(
            manifold, coordinates(3), np.array(windows), degree, 0.5, np.array(levels), np.array(centres),
            np.array([[1, 0], [0, 1], [1, 1]])[: len(levels)],
        )  # fmt: skip
        return CellReluNetwork(CellApproximator(basis, torch.ones(len(levels), dtype=torch.float64)), 5).counts.nonzero

    one = count([1], [[0, 0]])
    same, other = count([1, 1], [[0, 0], [0, 0]]), count([1, 1], [[0, 0], [1, 1]])
    line = count([1, 1], [[0, 0], [0, 1]])  # the first coordinates are the same
    assert one < same < line < other


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"compositions": 0}, "compositions"),
        ({"compositions": 27}, "compositions"),
        ({"compositions": (3, 3)}, "compositions: expected 3 integers"),
        ({"compositions": 3, "maps": (3, 3)}, "maps: expected one of"),
    ],
)
def test_bad_networks_of_cells_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}"):
        CellReluNetwork(random_formula(3, 0), **arguments)  # type: ignore[arg-type]


def test_points_of_another_space_are_refused() -> None:
    network = CellReluNetwork(random_formula(3, 0), 3)
    for bad in (torch.zeros(3, 5), torch.zeros(2), torch.full((1, 2), math.nan)):
        with pytest.raises(InputError, match="x"):
            network(bad.double())


def test_the_search_finds_the_fewest_compositions() -> None:
    formula = random_formula(4, 2, tokens=6)
    network, measured = same_cells(formula, formula, 1e-2)
    assert measured.sup <= 1e-2
    x = formula.manifold.sample(4000, 9)
    assert float((network(x) - formula(x)).abs().max()) <= 1.05e-2
    finer, _ = same_cells(formula, formula, 1e-5)
    assert finer.counts.nonzero > network.counts.nonzero and finer.counts.depth > network.counts.depth
    for stage in itertools.islice(range(len(network.stages)), 5):  # no stage can do with one less
        fewer = [m - (s == stage) for s, m in enumerate(network.stages)]
        if min(fewer) > 0:
            assert float((CellReluNetwork(formula, fewer, network.chain)(x) - formula(x)).abs().max()) > 0.8e-2


def test_a_formula_that_is_not_good_enough_is_told() -> None:
    formula = random_formula(4, 2, tokens=6)
    with pytest.raises(EpsilonNotReached, match="the ReLU network of this formula") as caught:
        same_cells(formula, lambda x: formula(x) + 0.1 * torch.cos(3 * x[..., 0]), 1e-2)
    assert 0.05 < caught.value.best < 0.2
