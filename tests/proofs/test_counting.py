"""The verifier's own count of a network's file against the library's, on networks of all kinds and on forged ones."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save

import construct
from construct.cells.program import cell_nonzeros, cell_numbers, cell_program
from construct.files import write_dense
from construct.manifolds import Circle, Cube, Sphere
from construct.network import Network
from construct.ridge.approximator import RidgeApproximator, RidgeBasis
from construct.ridge.coordinates import coordinates_of
from construct.ridge.directions import Lattice
from construct.ridge.program import free_numbers, free_program
from proofs_as_code.verifier import counting
from proofs_as_code.verifier.__main__ import main
from proofs_as_code.verifier.counting import Sizes, count
from proofs_as_code.verifier.documents import Refused
from tests.certificates import cell_networks
from tests.program.test_program import programs
from tests.transformer.networks import exp_sin, random_network


def ridge(manifold, degree, shape="principal", *, order=None, zeros=0, picked=False, seed=0):
    """A program with drawn coefficients, `zeros` of them 0; the scales do not matter here."""
    coordinates = coordinates_of(manifold, seed)
    family = Lattice(coordinates.count, order or degree, shape)
    numbers = np.arange(0, family.count, 2)
    basis = RidgeBasis(manifold, coordinates, degree, family, numbers, np.full(coordinates.count, 0.1))
    coefficients = torch.rand(len(numbers), generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.5
    coefficients[:zeros] = 0.0
    approximator = RidgeApproximator(basis, coefficients, 0.25)
    program = free_program(approximator, picked=picked)
    assert picked or program.counts.stored_numbers == free_numbers(approximator)
    return program


def built(construction, manifold=Circle(), **settings):  # noqa: B008
    return lambda: construct.approximate(exp_sin, manifold, construction=construction, **settings)


def of(program, manifold):
    return lambda: Network(program().compile(manifold.box.numpy()))


NETWORKS = {
    "compact": built("compact", charts=4, degree=3),
    "compact, trigonometric": built("compact", charts=4, degree=3, position_code="trigonometric"),
    "compact, float32": built("compact", charts=4, degree=2, dtype=torch.float32),
    "trigonometric, float32": built(
        "compact", Cube(1), charts=1, cells=2, degree=1, position_code="trigonometric", dtype=torch.float32
    ),
    "compact, cells": built("compact", Cube(1), charts=1, cells=4, degree=1),
    "compact on a sphere": built("compact", Sphere(2), charts=6, degree=2),
    "paper": built("paper", charts=4, cells=2, degree=1),
    "paper, trigonometric": built("paper", charts=4, cells=2, degree=1, position_code="trigonometric"),
}  # fmt: skip
RIDGES = {
    "ridge": (ridge(Sphere(2, ambient=5), 4), Sphere(2, ambient=5)),
    "ridge, signed": (ridge(Circle(ambient=4), 6, "octahedron", zeros=2), Circle(ambient=4)),
    "ridge on a curve": (ridge(Cube(1), 3), Cube(1)),
}
PICKED = {
    "ridge, picked": (ridge(Sphere(2, ambient=5), 4, picked=True), Sphere(2, ambient=5)),
    "ridge, signed, picked": (ridge(Sphere(2), 3, "octahedron", picked=True), Sphere(2)),
}


def library(counts):
    return Sizes(*(getattr(counts, name) for name in Sizes._fields))


def on_disk(net, folder):
    path = folder / "net.safetensors"
    write_dense(net.transformer, path)
    return path


@pytest.mark.parametrize("name", NETWORKS)
def test_codes_of_compact_and_paper_networks_are_given(name, tmp_path):
    """All numbers that a compact or a paper network stores are those of its non-zeros, before it is compiled, after,
    and by the verifier's count of the file."""
    net = NETWORKS[name]()
    a = net.architecture
    assert a.chosen_entries == 0 and a.stored_numbers == a.nonzero_parameters > 0
    assert net.program.counts.stored_numbers == a.stored_numbers or net.dtype == torch.float32
    net.save(tmp_path / "whole.safetensors")
    assert count(tmp_path / "whole.safetensors") == count(on_disk(net, tmp_path)) == library(a)


@pytest.mark.parametrize("name", [*RIDGES, *PICKED])
def test_directions_of_a_ridge_network(name, tmp_path):
    """Whole lattices are given, all but the unit vectors of the k inputs; picked directions count entry by entry."""
    program, manifold = (RIDGES | PICKED)[name]
    net = Network(program.compile(manifold.box.numpy()))
    a, code = net.architecture, program.layout.code
    k = len(code.named)
    other = np.count_nonzero(code.integers[manifold.ambient + 1 :]) if name in PICKED else 0
    assert a.chosen_entries == program.counts.chosen_entries == k + other
    assert count(on_disk(net, tmp_path)) == library(a)
    assert a.stored_numbers == a.nonzero_parameters + a.chosen_entries


def test_reports_show_stored_numbers():
    program, manifold = PICKED["ridge, picked"]
    net = Network(program.compile(manifold.box.numpy()))
    a = net.architecture
    text = f"{a.nonzero_parameters:,} non-zero, {a.stored_numbers:,} stored numbers, largest"
    assert text in repr(net) and a.stored_numbers > a.nonzero_parameters


@settings(max_examples=25, deadline=None)
@given(programs())
def test_drawn_programs(tmp_path_factory, program):
    net = Network(program.compile(np.ones(2)))
    assert count(on_disk(net, tmp_path_factory.mktemp("drawn"))) == library(net.architecture) == library(program.counts)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([0.0, 0.5]), st.sampled_from([torch.float64, torch.float32]))
def test_random_networks(tmp_path_factory, seed, sparse, dtype):
    net = random_network(seed, sparse=sparse, dtype=dtype)
    assert count(on_disk(net, tmp_path_factory.mktemp("random"))) == library(net.architecture)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.booleans(), st.sampled_from([torch.float64, torch.float32]))
def test_cells_count_one_by_one(tmp_path_factory, seed, projected, dtype):
    """Directions, centres, cells and levels were chosen, one by one; a token's number, its square and 1 are given.

    Unless a row is, by chance, the squares of another one, which the two counts see both.
    """
    drawn = cell_networks.random_cells(np.random.default_rng(seed), projected=projected)
    net, program = cell_networks.network_of(drawn, dtype), cell_program(drawn)
    a = net.architecture
    assert count(on_disk(net, tmp_path_factory.mktemp("cells"))) == library(a)
    assert a.nonzero_parameters == cell_nonzeros(drawn)
    rows = program.layout.code.values().astype(np.dtype(str(dtype).removeprefix("torch."))).T[:-2]
    own = {tuple(row) for row in rows}
    squares = {tuple(row) for row in rows**2}
    plain = not own & squares and not any((np.cumsum(rows**2, axis=0) == row).all(axis=1).any() for row in rows)
    if plain and dtype == torch.float64:
        assert a.stored_numbers == cell_numbers(drawn) and library(program.counts) == library(a)
    assert a.stored_numbers <= cell_numbers(drawn)
    assert a.chosen_entries > 0


# -- forged files -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tensors():
    """The ridge network's tensors; code rows are a, b, A1 .. A3, q, 1, of 5 inputs, the output and 35 directions."""
    program, manifold = RIDGES["ridge"]
    net = Network(program.compile(manifold.box.numpy()))
    return {name: t.detach().numpy() for name, t in net.transformer.state_dict().items()} | {
        "readout": np.array(net.transformer.output)
    }


def forged(tensors, change, folder):
    changed = {name: array.copy() for name, array in tensors.items()}
    change(changed)
    path = folder / "forged.safetensors"
    path.write_bytes(save(changed))
    return path


def shuffled(changed):
    code = changed["hidden0"]
    order = np.random.default_rng(0).permutation(35)
    code[6:] = code[6:][order]


def swapped(changed):
    code = changed["hidden0"]
    code[[9, 20]] = code[[20, 9]]


def wrong_q(changed):
    changed["hidden0"][12, 5] += 1


def another_apart(changed):
    changed["hidden0"][12, 5] = changed["hidden0"][0, 5]


def non_zero(changed):
    query = changed["blocks.0.attention.query"]
    query[tuple(np.argwhere(query == 0)[0])] = 1e-9


def coefficient(changed):
    changed["hidden0"][-1 - int(changed["hidden0"][-1, 1] != 0), 1] = 0.5


ENTRIES = np.count_nonzero(Lattice(3, 4).integers)
FORGERIES = {
    "shuffled": (shuffled, 0, ENTRIES),  # every direction was chosen, then
    "two swapped": (swapped, 0, ENTRIES),
    "a wrong square": (wrong_q, 0, ENTRIES + 6 + 34),  # q is no row of squares: its 40 non-zeros count, too
    "another token apart": (another_apart, 0, 0),  # still a formula
    "an extra non-zero": (non_zero, 1, 0),
    "an extra coefficient": (coefficient, 1, 0),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_forged_networks_count_what_the_rule_says(name, tensors, tmp_path):
    change, nonzero, chosen = FORGERIES[name]
    honest = count(forged(tensors, lambda changed: None, tmp_path))
    found = count(forged(tensors, change, tmp_path))
    assert found.nonzero_parameters - honest.nonzero_parameters == nonzero
    assert found.chosen_entries - honest.chosen_entries == chosen
    assert found.stored_numbers - honest.stored_numbers == nonzero + chosen
    assert found.code_entries == honest.code_entries


def test_the_command_line(tensors, tmp_path, capsys):
    path = forged(tensors, lambda changed: None, tmp_path)
    found = count(path)
    assert main(["--count", str(path)]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown == [f"{name}: {size}" for name, size in found._asdict().items()]
    path.write_bytes(save({name: array for name, array in load(path.read_bytes()).items() if name != "readout"}))
    assert main(["--count", str(path)]) == 1
    assert capsys.readouterr().out == "refused (network: expected a tensor 'readout', got none)\n"
    with pytest.raises(Refused, match="network: expected a tensor 'readout', got none"):
        count(path)
    for arguments, message in (
        (["--count"], "arguments: expected NETWORK, got 0 of them"),
        (["--count", "nowhere"], "NETWORK: expected a file, got nowhere"),
        (["--count", str(path), str(path)], "arguments: expected NETWORK, got 2 of them"),
    ):
        assert main(arguments) == 2
        assert capsys.readouterr().err == f"error: {message}\n"
    assert main(["--help"]) == 0 and "--count NETWORK" in capsys.readouterr().out


@pytest.mark.parametrize(
    "file", [b"", b"x" * 100, save({"hidden0": np.full((2, 3), np.nan), "readout": np.array([0, 0])})]
)
def test_what_is_no_network_is_refused(file, tmp_path):
    (tmp_path / "f").write_bytes(file)
    with pytest.raises(Refused):
        count(tmp_path / "f")


def hostile(path, rows, **parts):
    tensors = {"hidden0": np.array(rows, dtype=float), "readout": np.zeros(2, dtype=np.int64)} | parts
    path.write_bytes(save(tensors))
    return path


def test_what_is_too_much_to_count_is_refused(tmp_path, monkeypatch):
    path = hostile(tmp_path / "net.safetensors", np.zeros((100, 5)))
    assert count(path).code_entries == 400
    monkeypatch.setattr(counting, "MOST_CODE", 399)
    with pytest.raises(Refused, match="network: expected a code of at most 399 entries, got 400"):
        count(path)


def test_networks_of_two_types_and_endless_shapes_are_refused(tmp_path):
    heads = {f"blocks.0.attention.{part}": np.zeros((1, 5, 5), np.float32) for part in ("query", "key", "value")}
    with pytest.raises(Refused, match="network: expected weights of one dtype, got float32, float64"):
        count(hostile(tmp_path / "net.safetensors", np.zeros((3, 5)), **heads))
    header = b'{"hidden0":{"dtype":"F64","shape":[1099511627776,1099511627776,0],"data_offsets":[0,0]}}'
    (tmp_path / "net.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(Refused, match=r"expected at most 1099511627776 numbers, got 1208925819614629174706176"):
        count(tmp_path / "net.safetensors")


@pytest.mark.parametrize(("reach", "listed"), [(-1, 0), (499, 999), (500, 1001)])
def test_a_lattice_that_is_cut_off_is_not_walked_through_again_and_again(monkeypatch, reach, listed):
    """-500, -499, ..., each of which may begin a lattice: the largest one whose end is there counts."""
    line = [float(v) for v in range(-500, reach + 1)]
    steps, original = [], counting.members

    def counted(k, order, signed):
        for member in original(k, order, signed):
            steps.append(member)
            yield member

    monkeypatch.setattr(counting, "members", counted)
    rows = [line, [v * v for v in line]]
    assert counting.listed([(int(v),) for v in line]) == set(range(len(line) - listed, len(line)))
    assert counting.chosen(rows, 0.0) <= len(line) and len(steps) <= 4 * len(line)
