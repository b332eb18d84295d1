"""The network of a lattice approximator is its formula on all of R^D, and has the sizes that the formulas say."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import construct
from construct.cells.approximator import CellApproximator, CellBasis
from construct.cells.kuhn import members
from construct.cells.program import cell_dense, cell_nonzeros, cell_numbers, cell_program
from construct.errors import InputError, PrecisionError
from construct.program.cells import CellCode
from construct.program.gadgets import cell_window, window_numbers
from construct.program.layout import TokenGroup, TokenLayout
from construct.ridge.maps import chain
from construct.ridge.program import ridge_box
from tests.cells.drawn import MANIFOLDS, drawn, formula

seeds = st.integers(0, 10_000)
kinds = st.sampled_from(sorted(MANIFOLDS))
degrees = st.sampled_from([2, 3, 4, 6, 9, 27])


def points(manifold, seed):
    """On M, about it and far away: (P, D)."""
    torch.manual_seed(seed)
    on = manifold.sample(20, seed)
    return torch.cat([on, on + 0.3 * torch.randn_like(on), 1e5 * torch.randn_like(on)])


@given(seeds, kinds, degrees, st.integers(1, 3))
@settings(max_examples=20)
def test_the_formula_is_the_definition(seed, kind, degree, windows):
    made = drawn(seed, kind, degree, windows)
    x = points(made.manifold, seed)
    size = 1 + float(made.coefficients.abs().sum())
    assert np.abs(made(x).numpy() - formula(made, x.numpy())).max() <= 1e-9 * size


@given(seeds, kinds, degrees, st.integers(1, 3))
@settings(max_examples=12)
def test_the_network_is_the_formula_on_all_of_space(seed, kind, degree, windows):
    made = drawn(seed, kind, degree, windows)
    net = construct.network_of(made)
    x = points(made.manifold, seed)
    size = 1 + float(made.coefficients.abs().sum())
    for execution in ("sparse", "dense"):
        net.execution = execution
        assert float((net(x, outside="evaluate") - made(x)).abs().max()) <= 1e-9 * size, execution


@given(seeds, kinds, degrees, st.integers(1, 3), st.integers(1, 30))
@settings(max_examples=12)
def test_counts_are_formulas(seed, kind, degree, windows, tokens):
    made = drawn(seed, kind, degree, windows, tokens)
    net = construct.network_of(made)
    counts, r, m = net.architecture, made.basis.coordinates.count, len(made.basis.windows)
    maps = len(chain(degree))
    assert counts.nonzero_parameters == cell_nonzeros(made)
    code = net.program.layout.code.values()[:, :-2]  # but for the token's number
    assert counts.nonzero_parameters + np.count_nonzero(code) == cell_numbers(made)
    assert counts.stored_numbers <= cell_numbers(made)  # a row of few tokens may look like a formula
    assert counts.parameters == cell_dense(made)
    assert (counts.blocks, counts.total_heads) == (2 + maps, m + 4 + maps)
    assert counts.ffn_depth == 3 + math.ceil(math.log2(m))
    assert counts.embedding_dim == r + 2 * m + 8
    assert counts.tokens == made.manifold.ambient + 1 + int(made.coefficients.count_nonzero())
    assert net.origin is not None and net.origin.construction == "lattice"


@pytest.mark.parametrize(("windows", "wanted"), [(1, 17), (2, 31), (3, 49)])
def test_non_zeros_of_the_window(windows, wanted):
    made = drawn(3, "torus", 3, windows)
    layers = cell_program(made).compile(ridge_box(made.manifold)).blocks[0][1].layers
    assert window_numbers(windows) == wanted == sum(np.count_nonzero(w) + np.count_nonzero(b) for w, b in layers)


@given(st.integers(1, 9), seeds)
@settings(max_examples=20)
def test_the_window_is_the_hat_and_the_clip_for_any_number_of_coordinates(windows, seed):
    rng = np.random.default_rng(seed)
    registers = ("a", "b", "w", *(f"e{j + 1}" for j in range(windows)))
    cells = rng.integers(-3, 4, (6, windows))
    code = CellCode(6, tuple(f"n{j + 1}" for j in range(windows)), cells)
    layout = TokenLayout((TokenGroup("x", (6,)),), code, registers)
    ffn = cell_window(layout, None, 0.0, shift=0.125, windows=windows)
    state = layout.initial_state()
    a = rng.choice([-7.0, -0.75, 0.0, 0.5, 9.0], 6)
    e = cells + rng.integers(-6, 7, (6, windows)) / 8  # all sums below are exact
    state[:, 0], state[:, 3 : 3 + windows] = a, e
    h = state.T
    for k, (weight, bias) in enumerate(ffn.layers):
        h = weight @ h + bias[:, None]
        h = np.maximum(h, 0) if k + 1 < len(ffn.layers) else h
    after = state + h.T
    u = e - cells
    above, below = np.maximum(u, 0).max(axis=1), np.maximum(-u, 0).max(axis=1)
    assert np.array_equal(after[:, 2], np.maximum(0, 1 - above - below))
    assert np.array_equal(after[:, 0], np.clip(a + 0.125, -1, 1))
    assert np.array_equal(np.delete(after, [0, 2], axis=1), np.delete(state, [0, 2], axis=1))
    assert len(ffn.layers) == 3 + math.ceil(math.log2(windows))
    assert window_numbers(windows) == sum(np.count_nonzero(w) + np.count_nonzero(b) for w, b in ffn.layers)


@given(seeds, st.sampled_from(["circle", "sphere"]))
@settings(max_examples=10)
def test_what_a_cell_inherits_is_what_the_blend_has_at_its_vertex(seed, kind):
    """Frozen at a vertex k of a finer lattice, windows have the weights that ancestors of cell k have in refinement."""
    made = drawn(seed, kind, 3, None, 9)
    coarse = made.basis.subset(np.flatnonzero(made.basis.levels <= 3))
    weights = made.coefficients[torch.from_numpy(np.flatnonzero(made.basis.levels <= 3))]
    x = made.manifold.sample(200, seed + 1)
    u = coarse.units(x)
    windows = torch.from_numpy(coarse.windows)
    finer = 8.0  # level 4
    vertices, hats = members(finer * u[:, windows])
    total = torch.zeros(len(x), dtype=torch.float64)
    for k in range(vertices.shape[1]):
        points, tokens, entries = coarse.entries(u, vertices[:, k] / finer)
        inherited = torch.zeros(len(x), dtype=torch.float64).index_add_(0, points, entries * weights[tokens])
        total += hats[:, k] * inherited
    plain = CellApproximator(coarse, weights)
    assert float((total - plain(x)).abs().max()) <= 1e-9 * (1 + float(weights.abs().sum()))


def test_a_saved_network_is_the_same(tmp_path):
    made = drawn(5, "sphere", 6)
    net = construct.network_of(made)
    net.save(tmp_path / "net.safetensors")
    loaded, x = construct.load(tmp_path / "net.safetensors"), made.manifold.sample(50, 1)
    assert torch.equal(loaded(x), net(x))
    assert loaded.origin is not None and loaded.origin.construction == "lattice"
    assert loaded.architecture.stored_numbers == net.architecture.stored_numbers
    assert str(loaded.program) == str(net.program)


def test_float32_holds_few_levels_and_says_where_it_ends():
    made = drawn(1, "circle", 3, None, 3)
    assert construct.network_of(made, dtype=torch.float32)(made.manifold.sample(5, 0).float()).dtype == torch.float32
    basis = made.basis
    deep = CellBasis(basis.manifold, basis.coordinates, basis.windows, 3, basis.spacing, np.array([26]),
                     np.array([[2**25 + 1, 0]]), np.array([[3, 1]]))  # fmt: skip
    with pytest.raises(PrecisionError, match="dtype"):
        construct.network_of(CellApproximator(deep, torch.ones(1, dtype=torch.float64)), dtype=torch.float32)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"degree": 1}, "degree"),
        ({"degree": 5}, "degree"),
        ({"spacing": 0.0}, "spacing"),
        ({"windows": np.array([0, 0])}, "windows"),
        ({"windows": np.array([], dtype=np.int64)}, "windows"),
        ({"windows": np.array([2])}, "windows"),
        ({"levels": np.array([49])}, "levels"),
        ({"levels": np.array([-1])}, "levels"),
        ({"levels": np.array([0])}, "centres"),
        ({"directions": np.array([[1]])}, "directions"),
        ({"centres": np.array([[0.5, 1.0]])}, "centres"),
        ({"manifold": None}, "manifold"),
    ],
)
def test_parts_by_hand_that_are_no_basis_are_refused(changed, named):
    basis = drawn(1, "circle", 3).basis
    parts: dict[str, Any] = {
        "manifold": basis.manifold,
        "coordinates": basis.coordinates,
        "windows": np.array([0, 1]),
        "degree": 3,
        "spacing": 0.5,
        "levels": np.array([1]),
        "centres": np.array([[1, 0]]),
        "directions": np.array([[2, 1]]),
    }
    CellBasis(**parts)
    with pytest.raises(InputError, match=named):
        CellBasis(**parts | changed)


@pytest.mark.parametrize("coefficients", [torch.ones(3), torch.tensor([math.nan] * 7, dtype=torch.float64)])
def test_coefficients_by_hand_are_checked(coefficients):
    with pytest.raises(InputError, match="coefficients"):
        CellApproximator(drawn(1).basis, coefficients)


def test_the_code_refuses_names_and_numbers_that_it_cannot_hold():
    with pytest.raises(InputError, match="named"):
        CellCode(2, ("t",), np.zeros((2, 1), dtype=np.int64))
    with pytest.raises(InputError, match="integers"):
        CellCode(2, ("n",), np.zeros((3, 1), dtype=np.int64))
    with pytest.raises(InputError, match="reals"):
        CellCode(2, ("n",), np.zeros((2, 1), dtype=np.int64), np.full((1, 1), math.inf))
    with pytest.raises(InputError, match="integers"):
        CellCode(2, ("n",), np.ones((2, 1), dtype=np.int64), np.ones((1, 1)))
