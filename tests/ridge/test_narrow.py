"""Layout Z: the network is its formula on all of R^D, counts, files, precision, refusals."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from construct.errors import InputError, PrecisionError
from construct.manifolds import Cube
from construct.network import Network
from construct.program.compile import Program
from construct.ridge.approximator import RidgeApproximator, RidgeBasis
from construct.ridge.coordinates import Coordinates
from construct.ridge.directions import Lattice
from construct.ridge.maps import DEGREES
from construct.ridge.narrow import narrow_dense, narrow_numbers, narrow_overhead, narrow_program
from construct.ridge.program import free_overhead
from construct.ridge.waves import LONGEST, Waves
from tests.program import interpreter

FAMILIES = [
    Waves((), 8),
    Waves((2,), 16),
    Waves((1,), 8, signed=True),
    Waves((2, 4), 32, signed=True),
    Waves((1, 2), 16),
    Waves((2, 3, 5), 64),
]


def approximator(waves, degree, ambient, seed, *, equal=False, centred=True, constant=0.3):
    """Random coefficients, some of them 0; the inputs that are read in any places."""
    rng = np.random.default_rng(seed)
    k = waves.dim
    chosen = np.sort(rng.choice(ambient, k, replace=False))
    centre = np.zeros(k) if centred else rng.uniform(-0.5, 0.5, k)
    scale = np.ones(k) if equal else rng.uniform(0.5, 2.0, k)
    scales = np.full(k, 0.7 / k) / scale if equal else rng.uniform(0.2, 0.7, k) / k
    numbers = np.sort(rng.choice(waves.count, max(1, waves.count // 2), replace=False))
    coefficients = rng.normal(size=len(numbers)) * (rng.random(len(numbers)) < 0.8)
    basis = RidgeBasis(Cube(ambient), Coordinates(chosen, centre, scale, 1.0), degree, waves, numbers, scales)
    return RidgeApproximator(basis, torch.from_numpy(coefficients), constant)


def formula(found, x):
    """The approximator again, with cosines."""
    basis = found.basis
    c = basis.coordinates
    y = (x[:, c.chosen] - c.centre) * c.scale * basis.scales
    delta = min(0.25, 1.1 / basis.degree)
    total = np.full(len(x), found.constant)
    for number, coefficient in zip(basis.numbers, found.coefficients.tolist(), strict=True):
        a = np.clip(delta + y @ basis.family.vectors[number], -1, 1)
        total += coefficient * (1 + np.cos(basis.degree * np.arccos(a)))
    return total


def networks(found, **options):
    weights = narrow_program(found).compile(found.manifold.box.numpy())
    for execution in ("dense", "sparse"):
        network = Network(weights, **options)
        network.execution, network.outside = execution, "evaluate"
        yield network


@settings(max_examples=20, deadline=None)
@given(
    st.sampled_from(FAMILIES),
    st.sampled_from([1, 2, 3, 4, 6, 9]),
    st.integers(0, 3),
    st.integers(0, 2**31),
    st.booleans(),
    st.booleans(),
)
def test_the_network_is_its_formula_on_all_of_space(waves, degree, more, seed, equal, centred):
    found = approximator(waves, degree, waves.dim + more, seed, equal=equal, centred=centred)
    rng = np.random.default_rng(seed)
    size = float(found.coefficients.abs().sum()) + 1
    for stretch, network in itertools.product((1.0, 4.0, 1e3), list(networks(found))):
        x = rng.uniform(-stretch, stretch, (6, waves.dim + more))
        values = network(torch.from_numpy(x)).numpy()
        assert np.abs(values - formula(found, x)).max() <= 1e-13 * stretch * degree**2 * size
        assert np.abs(values - found(torch.from_numpy(x)).numpy()).max() <= 1e-13 * stretch * degree * size


@settings(max_examples=8, deadline=None)
@given(st.sampled_from(FAMILIES[:3]), st.sampled_from([1, 2, 3, 6]), st.integers(0, 2**31))
def test_the_program_means_the_formula(waves, degree, seed):
    """Rule by rule, without gates, constants or weights."""
    found = approximator(waves, degree, waves.dim + 1, seed, centred=False)
    x = np.random.default_rng(seed).uniform(-2, 2, waves.dim + 1)
    size = float(found.coefficients.abs().sum()) + 1
    assert abs(interpreter.output(narrow_program(found), x) - formula(found, x[None])[0]) <= 1e-12 * size


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(FAMILIES),
    st.sampled_from([1, 2, 3, 4, 6, 12]),
    st.integers(0, 3),
    st.integers(0, 2**31),
    st.booleans(),
    st.booleans(),
)
def test_counts_are_formulas(waves, degree, more, seed, equal, centred):
    found = approximator(waves, degree, waves.dim + more, seed, equal=equal, centred=centred)
    counts = narrow_program(found).counts
    threes = sum(degree % 3**j == 0 for j in (1, 2))
    twos = sum(degree % 2**j == 0 for j in (1, 2, 3))
    k, stored = waves.dim, found.parameters
    joint = common_heads(found) if waves.signed else 0
    below = 3 if waves.folds[:1] == (1,) else 0
    overhead = 4 + 5 * (k - 1) + waves.numbers + 8 + 7 + 5 * joint + 10 * threes + 11 * twos + 3 + below + 4
    assert counts.nonzero_parameters == stored + overhead + (0 if centred else k)
    assert counts.embedding_dim == 5
    assert narrow_numbers(found) == counts.stored_numbers == counts.nonzero_parameters + 1  # where the inputs begin
    assert narrow_dense(found) == counts.parameters
    assert counts.blocks == k + 2 + max(1, threes + twos)
    assert counts.total_heads == k + 2 + threes + twos + joint
    assert counts.tokens == waves.dim + more + 2 * waves.length + 1
    assert counts.ffn_depth <= max(2, *waves.folds, 1) + 1


def common_heads(found):
    """One for each coordinate, less one for each pair of neighbours with equal scales."""
    c, scales = found.basis.coordinates, found.basis.scales * found.basis.coordinates.scale
    left, heads = list(zip(c.chosen.tolist(), scales.tolist(), strict=True)), 0
    while left:
        place, scale = left.pop(0)
        heads += 1
        if left and left[0] == (place + 1, scale):
            left.pop(0)
    return heads


def test_neighbours_share_the_head_of_the_common_part():
    together = approximator(Waves((2, 4), 32, signed=True), 3, 3, 0, equal=True)
    apart = approximator(Waves((2, 4), 32, signed=True), 3, 3, 0)
    assert common_heads(together) == 2
    assert common_heads(apart) == 3
    assert narrow_program(apart).counts.total_heads - narrow_program(together).counts.total_heads == 1


def test_no_position_is_chosen():
    """The code is -T..T in order, and the inputs' in order: two runs, whatever the coefficients are."""
    program = narrow_program(approximator(Waves((2,), 16), 3, 5, 0))
    t = program.layout.code.entry_values("t")
    assert program.layout.code.rows == ("t", "t^2")
    assert t.tolist() == [*range(17, 22), *range(-16, 17)]
    below = narrow_program(approximator(Waves((1,), 16), 3, 5, 0)).layout.code.entry_values("t")
    assert below.tolist() == list(range(-21, 17))


@settings(max_examples=6, deadline=None)
@given(st.sampled_from(FAMILIES), st.sampled_from([3, 6]), st.integers(0, 2**31))
def test_a_program_is_a_document(waves, degree, seed):
    program = narrow_program(approximator(waves, degree, waves.dim + 1, seed, centred=False))
    again = Program.from_json(program.to_json())
    assert again.to_json() == program.to_json()
    assert np.array_equal(again.hidden0, program.hidden0)
    box = np.ones(waves.dim + 1)
    for (heads, layers), (others, others_layers) in zip(
        program.compile(box).blocks, again.compile(box).blocks, strict=True
    ):
        for name in ("query", "key", "value"):
            assert np.array_equal(getattr(heads, name), getattr(others, name))
        assert all(
            np.array_equal(w, v) and np.array_equal(b, c)
            for (w, b), (v, c) in zip(layers.layers, others_layers.layers, strict=True)
        )
    assert "read 1" in str(program)


def test_many_inputs_are_read_by_a_gate(monkeypatch):
    found = approximator(Waves((2, 4), 32, signed=True), 6, 6, 1)
    plain = narrow_program(found)
    monkeypatch.setattr("construct.ridge.narrow.MOST_PAIRS", 10)
    monkeypatch.setattr("construct.ridge.narrow.COLLECTED", 10)
    program = narrow_program(found)
    assert program.counts.nonzero_parameters == plain.counts.nonzero_parameters + 2 * 2 + 2  # two reads, read-out
    assert program.counts.stored_numbers == narrow_numbers(found)
    network = Network(program.compile(found.manifold.box.numpy()))
    network.outside = "evaluate"
    x = torch.from_numpy(np.random.default_rng(0).uniform(-30, 30, (20, 6)))
    for execution in ("dense", "sparse"):
        network.execution = execution
        assert (network(x) - found(x)).abs().max() < 1e-10


def test_weights_are_small():
    """At most about 2 T but for the codes: 2,048 with T = 1,024."""
    found = approximator(Waves((2, 4), 256, signed=True), 3, 3, 0)
    weights = narrow_program(found).compile(found.manifold.box.numpy())
    assert max(float(np.abs(w).max()) for w in tensors(weights)) <= 512


def tensors(weights):
    for heads, network in weights.blocks:
        yield from (w for w in (heads.query, heads.key, heads.value) if w.size)
        yield from (w for layer in network.layers for w in layer)


def test_float32():
    found = approximator(Waves((2, 4), 256), 3, 4, 3)
    weights = narrow_program(found).compile(found.manifold.box.numpy(), torch.float32)
    x = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (20, 4))).float()
    network = Network(weights, dtype=torch.float32)
    size = float(found.coefficients.abs().sum())
    for execution in ("dense", "sparse"):
        network.execution = execution
        assert (network(x).double() - found(x.double())).abs().max() < 3e-6 * size


def test_float32_is_refused_where_the_gates_are_not_exact():
    narrow_program(approximator(Waves((2, 4), 512), 3, 4, 3)).compile(np.ones(4), torch.float32)
    found = approximator(Waves((2, 4), 1024), 3, 4, 3)
    with pytest.raises(PrecisionError, match=r"dtype: expected a dtype that holds gates of size .* exactly, got"):
        narrow_program(found).compile(found.manifold.box.numpy(), torch.float32)


def test_directions_of_another_kind_are_refused():
    basis = RidgeBasis(
        Cube(2), Coordinates(np.arange(2), np.zeros(2), np.ones(2), 1.0), 3, Lattice(2, 3), np.arange(4), np.ones(2) / 9
    )
    with pytest.raises(InputError, match="approximator: expected one whose directions are Waves"):
        narrow_program(RidgeApproximator(basis, torch.ones(4, dtype=torch.float64), 0.0))
    with pytest.raises(InputError, match="approximator: expected one whose directions are Waves"):
        narrow_numbers(RidgeApproximator(basis, torch.ones(4, dtype=torch.float64), 0.0))


@pytest.mark.parametrize("k", range(1, 13))
def test_the_free_width_stores_less_besides_as_many_coefficients(k):
    """The dearest of one (both signs, a gate at the read-out) beside the cheapest waves of the other, one run more."""
    folds = {tuple(f + gap * i for i in range(k - 1)) for f in range(1, 6) for gap in range(1, 5)}
    fitting = [Waves(f, LONGEST) for f in folds if not f or 2 ** (f[-1] + 1) <= LONGEST]
    for degree in DEGREES:
        free = free_overhead(k, degree, signed=True, gated=True) + k
        assert free < min(narrow_overhead(waves, degree) + 1 for waves in fitting)
