"""Layout W: the network is its formula on all of R^D, partition, counts, files, refusals."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import construct
from construct.errors import InputError
from construct.manifolds import Circle, Cube
from construct.network import Network
from construct.problem import Sizes
from construct.program.compile import Program
from construct.ridge.approximator import RidgeBasis
from construct.ridge.charts import SharedRidgeApproximator, fit_balls
from construct.ridge.coordinates import Coordinates
from construct.ridge.directions import Lattice
from construct.ridge.sampling import Sample
from construct.ridge.shared import shared_program
from construct.ridge.waves import Waves
from tests.program import interpreter

FAMILIES = [Waves((), 8), Waves((2,), 16, signed=True), Waves((2, 4), 32), Waves((2, 3), 16, signed=True)]


def approximator(waves, degree, more, charts, seed, *, centred=True):
    rng = np.random.default_rng(seed)
    k = waves.dim
    chosen = np.sort(rng.choice(k + more, k, replace=False))
    coordinates = Coordinates(chosen, np.zeros(k) if centred else rng.uniform(-0.5, 0.5, k), np.ones(k), 1.0)
    numbers = np.sort(rng.choice(waves.count, waves.count // 2, replace=False))
    basis = RidgeBasis(Cube(k + more), coordinates, degree, waves, numbers, rng.uniform(0.2, 0.7, k) / k)
    coefficients = rng.normal(size=(charts, len(numbers))) * (rng.random((charts, len(numbers))) < 0.7)
    return SharedRidgeApproximator(
        basis,
        rng.uniform(-1, 1, (charts, k)),
        radius=(radius := rng.uniform(0.5, 1.5)),
        core=rng.uniform(0.5, 0.9) * radius,
        coefficients=torch.from_numpy(coefficients),
        constants=torch.from_numpy(rng.normal(size=charts)),
    )


def formula(found, x):
    """Chart by chart, with cosines and minima."""
    basis, c = found.basis, found.basis.coordinates
    y = (x[:, c.chosen] - c.centre) * c.scale * basis.scales
    a = np.clip(min(0.25, 1.1 / basis.degree) + y @ basis.family.vectors[basis.numbers].T, -1, 1)
    atoms = 1 + np.cos(basis.degree * np.arccos(a))
    total, s = np.zeros(len(x)), np.zeros(len(x))
    for n in range(found.charts):
        square = ((x[:, c.chosen] - found.centres[n]) ** 2).sum(axis=1)
        w = np.maximum(found.radius**2 - square, 0) / (found.radius**2 - found.core**2)
        rho = np.minimum(1, s + w) - np.minimum(1, s)
        total += rho * (float(found.constants[n]) + atoms @ found.coefficients[n].numpy())
        s += w
    return total


@settings(max_examples=10, deadline=None)
@given(
    st.sampled_from(FAMILIES),
    st.sampled_from([1, 2, 3, 4, 6, 12]),
    st.integers(0, 2),
    st.integers(1, 3),
    st.integers(0, 2**31),
    st.booleans(),
)
def test_the_network_is_its_formula_on_all_of_space(waves, degree, more, charts, seed, centred):
    found = approximator(waves, degree, more, charts, seed, centred=centred)
    weights = shared_program(found).compile(found.manifold.box.numpy())
    rng = np.random.default_rng(seed)
    size = float(found.coefficients.abs().sum()) + 1
    network = Network(weights)
    network.outside = "evaluate"
    for execution in ("dense", "sparse"):
        network.execution = execution
        for stretch in (1.0, 3.0, 1e3):
            x = rng.uniform(-stretch, stretch, (6, waves.dim + more))
            want = formula(found, x)
            assert np.abs(found(torch.from_numpy(x)).numpy() - want).max() <= 1e-12 * degree**2 * size
            assert np.abs(network(torch.from_numpy(x)).numpy() - want).max() <= 1e-12 * degree**2 * size


@settings(max_examples=4, deadline=None)
@given(st.sampled_from([1, 2, 3, 6]), st.integers(0, 2**31))
def test_the_program_means_the_formula(degree, seed):
    """Rule by rule, without gates, constants or weights."""
    found = approximator(Waves((2,), 8, signed=True), degree, 1, 2, seed, centred=False)
    x = np.random.default_rng(seed).uniform(-1, 1, 3)
    size = float(found.coefficients.abs().sum()) + 1
    assert abs(interpreter.output(shared_program(found), x) - formula(found, x[None])[0]) <= 1e-12 * size


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 4), st.integers(0, 2**31))
def test_the_partition_sums_to_one_where_cores_cover(charts, seed):
    found = approximator(Waves((2,), 16), 3, 1, charts, seed)
    x = torch.from_numpy(np.random.default_rng(seed).uniform(-1, 1, (200, 3)))
    rho = found.partition(x).numpy()
    picked = x.numpy()[:, found.basis.coordinates.chosen]
    distance = np.linalg.norm(picked[:, None] - found.centres, axis=2).min(axis=1)
    assert np.all(rho >= 0)
    assert np.allclose(rho.sum(axis=1)[distance <= found.core], 1, atol=1e-12)
    assert np.all(rho.sum(axis=1)[distance >= found.radius] == 0)
    assert np.all(rho.sum(axis=1) <= 1 + 1e-12)


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(FAMILIES), st.sampled_from([3, 4, 6, 9]), st.integers(1, 3), st.integers(0, 2**31))
def test_counts_are_formulas(waves, degree, charts, seed):
    found = approximator(waves, degree, 1, charts, seed)
    counts = shared_program(found).counts
    threes, twos = sum(degree % 3**j == 0 for j in (1, 2)), sum(degree % 2**j == 0 for j in (1, 2))
    k = waves.dim
    reads = 4 + 5 * (k - 1) + waves.numbers + 9 + (7 * k if waves.signed else 0)
    idle = {3: 0, 4: 1, 6: -1, 9: 0}[degree]
    ends = 10 + 6 + 20 + 9 + 12 + 17 + 19 + 9 + (idle != 0) + 10 + 6 + 3
    assert counts.nonzero_parameters == found.parameters + charts * k + reads + 14 * threes + 15 * twos + ends
    assert counts.embedding_dim == 7
    assert counts.blocks == k + 1 + max(2, threes + twos) + 4
    assert counts.total_heads == k + 1 + 1 + (k if waves.signed else 0) + threes + twos + 2 + 2 + 1 + 1 + 1


def circle_basis(degree):
    waves = Waves((2,), 64)
    coordinates = Coordinates(np.arange(2), np.zeros(2), np.ones(2), 1.0)
    return RidgeBasis(Circle(), coordinates, degree, waves, np.arange(64), np.full(2, 0.35))


def test_charts_are_fitted_one_by_one():
    """A sharp target on the circle: eight balls of degree 6 are far better than one polynomial of this degree."""
    angles = 2 * np.pi * np.random.default_rng(0).random(3000)
    x = torch.from_numpy(np.stack([np.cos(angles), np.sin(angles)], axis=1))
    values = 1 / (1 + (x[:, 0] / 0.2) ** 2)
    places = np.pi / 4 * np.arange(8)
    centres = np.stack([np.cos(places), np.sin(places)], axis=1)
    fitted = fit_balls(circle_basis(6), Sample(x, values), centres, 0.9, 0.4)
    whole = fit_balls(circle_basis(6), Sample(x, values), np.zeros((1, 2)), 2.0, 1.5)
    errors = [float((found(x) - values).abs().max()) for found in (fitted, whole)]
    assert errors[0] < errors[1] / 5
    network = Network(shared_program(fitted).compile(np.ones(2)))
    assert (network(x[:50]) - fitted(x[:50])).abs().max() < 1e-9 * float(fitted.coefficients.abs().sum())


def test_empty_balls_are_refused():
    x = torch.zeros(5, 2, dtype=torch.float64)
    with pytest.raises(InputError, match="sample: expected points in every ball, got 0 in ball 0"):
        fit_balls(circle_basis(3), Sample(x, x[:, 0]), np.ones((1, 2)), 0.5, 0.2)
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(4, 2)))
    with pytest.raises(InputError, match="sample: expected more points than directions"):
        fit_balls(circle_basis(3), Sample(x, x[:, 0]), np.zeros((1, 2)), 50.0, 0.2)


def test_a_program_is_a_document():
    program = shared_program(approximator(Waves((2,), 16, signed=True), 6, 1, 2, 0, centred=False))
    again = Program.from_json(program.to_json())
    assert again.to_json() == program.to_json()
    assert np.array_equal(again.hidden0, program.hidden0)


def test_weights_are_small():
    weights = shared_program(approximator(Waves((2,), 128), 3, 0, 2, 0)).compile(np.ones(2))
    largest = max(
        float(np.abs(w).max())
        for heads, network in weights.blocks
        for w in (heads.query, heads.key, heads.value, *(v for layer in network.layers for v in layer))
        if w.size
    )
    assert largest <= 512  # in proportion to the positions


def test_others_are_refused():
    with pytest.raises(InputError, match="approximator: expected one whose directions are Waves of two folds"):
        shared_program(approximator(Waves((1,), 8), 3, 0, 2, 0))
    with pytest.raises(InputError, match="approximator: expected one whose directions are Waves of two folds"):
        shared_program(of_lattice())
    found = approximator(Waves((2,), 16), 3, 0, 2, 0)
    for changed, named in [
        ({"centres": np.zeros((2, 3))}, "centres: expected finite numbers"),
        ({"core": found.radius}, "core: expected a radius below"),
        ({"constants": torch.zeros(3)}, "constants: expected finite numbers"),
        ({"coefficients": found.coefficients * np.inf}, "coefficients: expected finite numbers"),
    ]:
        arguments = {name: getattr(found, name) for name in found.__dataclass_fields__} | changed
        with pytest.raises(InputError, match=named):
            SharedRidgeApproximator(**arguments)


def of_lattice():
    family = Lattice(2, 3)
    coordinates = Coordinates(np.arange(2), np.zeros(2), np.ones(2), 1.0)
    basis = RidgeBasis(Cube(2), coordinates, 3, family, np.arange(family.count), np.ones(2) / 9)
    zeros = torch.zeros(1, family.count, dtype=torch.float64)
    return SharedRidgeApproximator(basis, np.zeros((1, 2)), 1.0, 0.5, zeros, torch.zeros(1, dtype=torch.float64))


def test_a_network_of_several_balls_is_saved_and_loaded(tmp_path):
    found = approximator(FAMILIES[1], 3, 1, 3, seed=5)
    net = construct.network_of(found)
    assert net.origin is not None and net.origin.construction == "ridge" and net.origin.sizes == Sizes(3, 1, 3)
    used = int(found.coefficients.count_nonzero() + found.constants.count_nonzero())
    assert net.origin.nonzero_coefficients == used and net.architecture.embedding_dim == 7
    net.save(tmp_path / "net.safetensors")
    x = Cube(found.basis.coordinates.count + 1).sample(20, seed=1)
    loaded = construct.load(tmp_path / "net.safetensors")
    assert np.allclose(loaded(x), formula(found, x.numpy()), atol=1e-11)
    assert loaded.program.counts == net.program.counts
    with pytest.raises(InputError, match="position_code: expected 'integer'"):
        construct.network_of(found, position_code="trigonometric")
