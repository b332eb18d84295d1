"""Projections of manifolds that span many dimensions: distortion on other points, networks, codes with real vectors."""

import json
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist

import construct
from construct.certificates.weights import weights_digest
from construct.errors import BudgetExceeded, InputError
from construct.manifolds import Circle, Cube, ParametricManifold
from construct.network import Network
from construct.program.cells import code_from_spec
from construct.program.compile import Program
from construct.program.lattice import DirectionCode
from construct.ridge import projection
from construct.ridge.approximator import RidgeApproximator, RidgeBasis
from construct.ridge.coordinates import Coordinates, coordinates_of
from construct.ridge.directions import Lattice
from construct.ridge.layouts import dense_parameters, needed_numbers, ridge_program
from construct.ridge.narrow import narrow_program
from construct.ridge.program import ridge_box
from construct.ridge.projection import coordinates_for
from construct.ridge.waves import Waves
from construct.transformer.chosen import chosen_entries
from proofs_as_code.verifier.counting import COSINES, chosen, count


def waves_curve(frequencies, decay, ambient=None):
    """A curve that spans twice as many dimensions as it has frequencies."""
    n = torch.arange(1, frequencies + 1, dtype=torch.float64)

    def point(u):
        return torch.cat([torch.cos(n * u) / n**decay, torch.sin(n * u) / n**decay], dim=-1)

    return ParametricManifold(point, [0.0], [2 * np.pi], [True], "estimate", "estimate", ambient=ambient)


@cache
def curve():
    return waves_curve(7, 1.0)


@cache
def wide():
    return waves_curve(7, 1.0, ambient=60).placed(translation=[3.0] * 60, scale=2.0)


def target(x):
    return torch.exp(torch.sin(x[..., 0])) + x[..., 1]


@pytest.mark.parametrize("made", [curve, wide], ids=["canonical", "placed"])
def test_distances_change_by_no_more_than_is_said(made):
    manifold = made()
    with pytest.raises(InputError, match="which spans 14"):
        coordinates_of(manifold, 0)
    found = coordinates_for(manifold, 0)
    assert (
        found.count <= 3 and found.projection is not None and found.projection.shape == (found.count, manifold.ambient)
    )
    assert found.numbers == found.count * manifold.ambient and len(found.chosen) == 0
    x = manifold.sample(1500, seed=31)
    y = found.of(x).numpy()
    assert 0.9 <= np.abs(y).max() <= 1
    assert np.allclose(y, (x.numpy() @ found.projection.T - found.centre) * found.scale, rtol=0, atol=1e-10)
    points = manifold.restrict(x)
    assert torch.allclose(found.within(manifold, points), found.of(x), atol=1e-9)
    # every pair of points, near and far, of a sample of its own
    ratios = pdist(y) / pdist(x.numpy())
    assert 1 < found.condition < 4
    assert ratios.max() / ratios.min() <= 1.15 * found.condition


def test_few_dimensions_need_no_projection():
    for manifold in (Circle(ambient=9), Cube(2)):
        found, plain = coordinates_for(manifold, 0), coordinates_of(manifold, 0)
        assert found.projection is None and np.array_equal(found.chosen, plain.chosen)


def test_what_every_projection_distorts_is_refused(monkeypatch):
    monkeypatch.setattr(projection, "LARGEST_DISTORTION", 1.3)  # the curve has 1.6
    named = r"a projection to 3 coordinates distorts distances by at most 1.3, got at best one by 1\.6"
    with pytest.raises(InputError, match=named):
        construct.approximate(target, curve(), 1e-1, construction="ridge", progress=False)
    # the default goes on without it: compact is asked, and says what it takes
    with pytest.raises(BudgetExceeded, match="compact"):
        construct.approximate(target, curve(), 1e-1, max_parameters=300, progress=False)


@pytest.fixture(scope="module")
def net():
    return construct.approximate(target, wide(), 1e-1, construction="ridge", progress=False)


def test_the_network_is_its_formula_everywhere(net, tmp_path):
    x = wide().sample(3000, seed=5)
    assert float((net(x) - target(x)).abs().max()) <= 1e-1
    found = net.approximator
    c = found.basis.coordinates
    y = (x.numpy() @ c.projection.T - c.centre) * c.scale  # the formula, written out
    a = np.clip(found.basis.shift + (y * found.basis.scales) @ found.basis.directions.T, -1, 1)
    cosines = 1 + np.cos(found.degree * np.arccos(a))
    assert np.abs(net(x).numpy() - found.constant - cosines @ found.coefficients.numpy()).max() <= 1e-10
    far = 100 * torch.randn(40, 60, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert float((net(far, outside="evaluate") - found(far)).abs().max()) <= 1e-10
    net.save(tmp_path / "net.safetensors")
    loaded: Any = construct.load(tmp_path / "net.safetensors")
    assert torch.equal(loaded(x), net(x)) and loaded.architecture == net.architecture
    stored = net.architecture.stored_numbers
    assert stored == needed_numbers(found) == count(tmp_path / "net.safetensors").stored_numbers
    assert net.architecture.parameters == dense_parameters(found)
    k = found.basis.coordinates.count
    assert stored > k * 60 + k + 1 and net.architecture.embedding_dim == k + 4
    program = Program.from_json(net.program.to_json())
    again = Network(program.compile(ridge_box(wide())))
    assert weights_digest(again) == weights_digest(net)


@settings(max_examples=20)
@given(st.integers(1, 3), st.sampled_from([1, 2, 3, 6]), st.booleans(), st.booleans(), st.integers(0, 10**6))
def test_programs_and_their_counts(k, degree, signed, central, seed):
    rng = np.random.default_rng(seed)
    family = Lattice(k, 2, "octahedron" if signed else "principal")
    centre = rng.normal(size=k) if central else np.zeros(k)
    coordinates = Coordinates(np.zeros(0, dtype=np.int64), centre, np.ones(k) / 9, 1.0, rng.normal(size=(k, 5)))
    basis = RidgeBasis(Cube(5), coordinates, degree, family, np.arange(family.count), np.ones(k) / 2)
    found = RidgeApproximator(basis, torch.from_numpy(rng.normal(size=family.count)), float(rng.normal()))
    program = ridge_program(found)
    assert program.counts.stored_numbers == needed_numbers(found)
    assert program.counts.parameters == dense_parameters(found)
    x = torch.from_numpy(rng.normal(size=(30, 5)) * 30)
    made = Network(program.compile(ridge_box(Cube(5))))
    assert float((made(x, outside="evaluate") - found(x)).abs().max()) <= 1e-10


REALS = st.lists(st.lists(st.floats(-50, 50), min_size=2, max_size=2), min_size=1, max_size=4)


@settings(max_examples=60)
@given(REALS, st.integers(1, 4), st.sampled_from([np.float64, np.float32]))
def test_gates_to_real_vectors_are_shut_with_room_for_rounding(reals, order, dtype):
    family = Lattice(2, order, "octahedron").integers
    apart = np.arange(len(reals))
    integers = np.concatenate([np.zeros((len(reals), 2), dtype=np.int64), family])
    code = DirectionCode(len(integers), ("A", "B"), integers, apart, np.array(reals))
    values = np.hstack([code.values(), np.ones((code.tokens, 1))]).astype(dtype)
    assert np.array_equal(values[: len(reals), :2], np.array(reals, dtype=dtype))
    query, key = (part.astype(dtype) for part in code.same_gate(("A", "B")))
    left, right = values @ query.T, values @ key.T
    gates = np.zeros((code.tokens, code.tokens), dtype=dtype)
    for row in range(left.shape[1]):
        gates += np.outer(left[:, row], right[:, row])
    met = np.arange(len(reals), code.tokens)
    assert (np.diag(gates)[met] == 0).all()
    closed = ~np.eye(code.tokens, dtype=bool)
    closed[apart, apart] = True
    assert (gates[closed] <= -1).all()
    assert (gates[: len(reals)] < -1.9).all() or dtype is np.float32
    again = code_from_spec(json.loads(json.dumps(code.spec())), code.tokens)
    assert np.array_equal(again.values(), code.values()) and again.spec() == code.spec()
    # only the reals were chosen, by the library's counter and by the verifier's
    table = np.hstack([code.values(), np.ones((code.tokens, 1))])
    fractions = int(np.count_nonzero(np.array(reals)))
    assert chosen_entries(table) == fractions
    assert chosen(table.T.tolist(), COSINES["float64"]) == fractions


def test_fractions_of_other_tokens_make_all_entries_chosen():
    code = DirectionCode(
        7, ("A", "B"), np.concatenate([[[0, 0]], Lattice(2, 2).integers]), np.array([0]), np.array([[0.5, 0.1]])
    )
    table = np.hstack([code.values(), np.ones((7, 1))])
    assert chosen_entries(table) == chosen(table.T.tolist(), COSINES["float64"]) == 2
    table[3, 1] += 0.5
    everything = int(np.count_nonzero(table[:, :3]))
    assert chosen_entries(table) == chosen(table.T.tolist(), COSINES["float64"]) == everything


@pytest.mark.parametrize(
    ("reals", "named"),
    [
        (np.zeros((2, 2)), r"reals: expected real numbers \(1, 2\)"),
        (np.array([[np.inf, 0.0]]), "reals: expected real numbers"),
        (np.array([[1e9, 0.0]]), "reals: expected real numbers"),
        (np.array([[1, 0]]), "reals: expected real numbers"),
    ],
)
def test_other_vectors_are_refused(reals, named):
    with pytest.raises(InputError, match=named):
        DirectionCode(2, ("A", "B"), np.array([[0, 0], [1, 0]]), np.array([0]), reals)


def test_reals_stand_in_the_place_of_integers():
    with pytest.raises(InputError, match="integers: expected zeros for tokens that have real vectors"):
        DirectionCode(2, ("A",), np.array([[2], [1]]), np.array([0]), np.array([[0.5]]))
    code = DirectionCode(2, ("A",), np.array([[0], [1]]), np.array([0]), np.array([[0.5]]))
    with pytest.raises(InputError, match="entry: expected one of integers in every token"):
        code.entry_values("A")


def test_width_five_has_no_place_for_a_projection():
    with pytest.raises(InputError, match="embedding_dim: expected 'free' or None for a projection"):
        construct.approximate(target, curve(), 1e-1, construction="ridge", embedding_dim=5, progress=False)
    coordinates = Coordinates(np.zeros(0, dtype=np.int64), np.zeros(2), np.ones(2), 1.0, np.ones((2, 3)))
    family = Waves((3,), 16)
    basis = RidgeBasis(Cube(3), coordinates, 2, family, np.arange(4), np.ones(2))
    with pytest.raises(InputError, match="one of chosen input coordinates for width 5"):
        narrow_program(RidgeApproximator(basis, torch.ones(4, dtype=torch.float64), 0.0))
