"""What a careless or hostile user does to a network: no silent wrong number, no claim that outlives its dtype."""

import copy
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import construct
from construct.errors import InputError, PrecisionError
from construct.manifolds import Circle, Cube, ParametricManifold
from construct.network import Network
from construct.program.codes import EntryRange
from construct.program.compile import Program
from construct.program.ffn import Ffn
from construct.program.gadgets import clip
from construct.program.rules import EVERY, Rule, Tokens, Where
from proofs_as_code.verifier.__main__ import main as verifier_main
from tests.transformer.networks import circle_network, exp_sin


def points(net, count=40):
    return net.manifold.sample(count, seed=3)


def both(net, x):
    found = []
    for execution in ("dense", "sparse"):
        net.execution = execution
        found.append(net(x))
    return found


@pytest.mark.parametrize("size", [1e20, 1e40, 1e80, 1e200])
def test_a_box_whose_bounds_overflow_is_executed_densely(size):
    net = circle_network()
    want = net(points(net))
    net = Network(replace(net.weights, box=np.full(2, size)), net.origin)
    dense, sparse = both(net, points(net))
    assert float((sparse - want).abs().max()) <= 1e-12 and float((dense - want).abs().max()) <= 1e-12
    assert net.output_bound > 0


@pytest.mark.parametrize("size", [1e290, 1e299])
def test_numbers_that_overflow_on_the_way_are_refused(size):
    with pytest.raises(PrecisionError, match=r"^dtype: expected a dtype that holds the numbers of block \d"):
        construct.approximate(lambda x: size * exp_sin(x), Circle(), charts=4, degree=6)


def test_a_network_owns_its_weights():
    """Writing to a network changes neither its program nor another network of the same weights."""
    net = circle_network()
    box = net.box.numpy().copy()
    weights = net.program.compile(box)
    one, other = Network(weights), Network(weights)
    want, start = other(points(net)), net.program.hidden0.copy()
    with one.edit() as transformer:
        transformer.hidden0[:, :2] *= 1.5
    with net.edit() as transformer:
        transformer.hidden0.mul_(1.5)
    assert torch.equal(other(points(net)), want) and np.array_equal(net.origin.program.hidden0, start)
    with pytest.raises(ValueError, match="read-only"):
        net.origin.program.hidden0[0, 0] = 1.0


def test_another_read_out_is_followed_or_refused():
    net = circle_network()
    x = points(net)
    net(x)
    state = {"transformer.readout": torch.tensor([3, 0])}
    net.load_state_dict(state, strict=False)
    dense, sparse = both(net, x)
    assert torch.allclose(dense, sparse, rtol=0, atol=1e-12) and net.transformer.output == (3, 0)
    with pytest.raises(InputError, match="readout: expected"):
        net.load_state_dict({"transformer.readout": torch.tensor([-1, 0])}, strict=False)


def test_a_claim_does_not_outlive_its_dtype(tmp_path):
    net = construct.approximate(exp_sin, Circle(), epsilon=1e-2)
    net.save(tmp_path / "net.safetensors")
    assert net.claim is not None and construct.load(tmp_path / "net.safetensors").claim == net.claim
    for other in (copy.deepcopy(net).float(), construct.load(tmp_path / "net.safetensors", dtype=torch.float32)):
        assert other.claim is None and other.certificate is None and other.dtype == torch.float32
    assert copy.deepcopy(net).to("cpu").claim == net.claim


@pytest.mark.parametrize(
    "cast", [lambda net: net.half(), lambda net: net.bfloat16(), lambda net: net.to(torch.float16)]
)
def test_other_dtypes_are_refused_and_leave_the_network_as_it_was(cast):
    net = circle_network()
    want = net(points(net))
    with pytest.raises(PrecisionError, match=r"dtype: expected torch.float64 or torch.float32"):
        cast(net)
    assert net.dtype == torch.float64 and torch.equal(net(points(net)), want)


def test_a_trigonometric_network_cannot_be_cast_past_its_guard(tmp_path):
    net = circle_network(position_code="trigonometric")
    net.save(tmp_path / "net.safetensors")
    with pytest.raises(PrecisionError, match="dtype: expected"):
        net.float()
    assert net.dtype == torch.float64
    with pytest.raises(PrecisionError, match="dtype: expected"):
        construct.load(tmp_path / "net.safetensors", dtype=torch.float32)


def test_autocast_changes_nothing():
    net = circle_network(dtype=torch.float32)
    x = points(net).float()
    want = both(net, x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = both(net, x)
    assert all(torch.equal(a, b) for a, b in zip(want, found, strict=True))


def test_points_at_which_numbers_overflow_are_named():
    net = circle_network()
    with pytest.raises(InputError, match=r"x: expected points at which the numbers .* stay finite .*, got 40 at"):
        net(points(net) * 1e200, outside="evaluate")


def test_a_network_can_be_built_and_run_in_inference_mode():
    with torch.inference_mode():
        net = circle_network()
        assert torch.isfinite(net(points(net))).all()


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda p: clip(p.layout, None, limit=-1.0), "limit: expected"),
        (lambda p: Ffn("clear", (), {}, EntryRange("t", 0, 5.5)), "last: expected an integer"),  # type: ignore[arg-type]
        (lambda p: Rule(Where({"u": np.array([2.5])}), EVERY, {("a", "1"): 1.0}), "rule: expected integer token"),
        (lambda p: Rule(Tokens(np.array([1.5])), EVERY, {("a", "1"): 1.0}), "rule: expected integer token"),
        (lambda p: Rule(EVERY, EVERY, {("a", "1"): 1.0}, same=("t",), shift=1.5), "shift: expected an integer"),  # type: ignore[arg-type]
        (lambda p: Rule(EVERY, EVERY, {("a", "1"): 1.0}, shift=1), "shift: expected 0 unless"),
        (lambda p: Program.from_json("[" * 200_000), "text: expected a program"),
        (lambda p: Program.from_json(p.to_json().replace('"tokens":[', '"tokens":[2.7,', 1)), "expected"),
    ],
)
def test_fractions_where_integers_belong_are_refused(build, text):
    with pytest.raises(InputError, match=text):
        build(circle_network().program)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"epsilon": 1e-2, "device": "nowhere"}, "device"),
        ({"epsilon": 1e-2, "device": "meta"}, "device"),
        ({"epsilon": 1e-2, "seed": 2**70}, "seed"),
        ({"epsilon": 1e-2, "progress": 5}, "progress"),
        ({"epsilon": 1e-2, "smoothness": 1e9, "construction": "paper"}, "smoothness"),
        ({"degree": 100_000}, "degree"),
        ({"degree": 100_000, "construction": "paper"}, "degree"),
        ({"charts": 10**9, "degree": 2}, "charts"),
        ({"cells": 10**9}, "max_parameters"),
    ],
)
def test_options_that_make_no_sense_are_refused_at_once(options, name):
    with pytest.raises(construct.ConstructError, match=f"^{name}: expected .*, got"):
        construct.approximate(exp_sin, Circle(), **options)


@pytest.mark.parametrize(("smoothness", "construction"), [(1e-9, "compact"), (5e-324, None)])
def test_a_target_of_no_smoothness_exceeds_the_budget(smoothness, construction):
    with pytest.raises(construct.EpsilonNotReached):
        construct.approximate(
            construct.targets.target("cusp"),
            Circle(),
            epsilon=1e-4,
            smoothness=smoothness,
            construction=construction,
            max_parameters=30_000,
        )


def test_files_that_cannot_be_written_are_named(tmp_path):
    net = circle_network()
    for write in (net.save, net.export_dense, net.export_onnx):
        for path in (tmp_path, tmp_path / "nowhere" / "net"):
            with pytest.raises(InputError, match="path: expected a file in a folder that exists"):
                write(path)


NOT_STRIDED = {
    "torch.sparse_coo": lambda: torch.ones(3, 2, dtype=torch.float64).to_sparse(),
    "torch.sparse_csr": lambda: torch.ones(3, 2, dtype=torch.float64).to_sparse_csr(),
    "nested": lambda: torch.nested.nested_tensor([torch.ones(1, 2), torch.ones(2, 2)], dtype=torch.float64),
}


@pytest.mark.filterwarnings("ignore:Sparse CSR:UserWarning", "ignore:The PyTorch API of nested:UserWarning")
@pytest.mark.parametrize("layout", NOT_STRIDED)
def test_points_that_are_not_strided_are_refused(layout):
    x = NOT_STRIDED[layout]()
    said = rf"^x: expected a torch tensor of shape .*, got a tensor of layout {layout}"
    for refuse in (circle_network(), Circle().project):
        with pytest.raises(InputError, match=said):
            refuse(x)


@pytest.mark.parametrize("check", [1, None, [0.1], "yes"])
def test_check_is_a_truth_value(check):
    net = circle_network()
    with pytest.raises(InputError, match=r"^check: expected True or False"):
        net(points(net), check=check)


@pytest.mark.parametrize("dtype", [{1: 2}, [], "float64", 5])
def test_what_is_no_dtype_is_refused_by_load(dtype, tmp_path):
    circle_network().save(tmp_path / "net.safetensors")
    with pytest.raises(InputError, match=r"^dtype: expected torch.float64 or torch.float32"):
        construct.load(tmp_path / "net.safetensors", dtype=dtype)


def test_long_paths_are_not_quoted_whole(tmp_path):
    path = str(tmp_path / ("long" * 1000))
    for refuse in (construct.load, construct.load_certificate, circle_network().save):
        with pytest.raises(InputError, match=r"^path: expected") as caught:
            refuse(path)
        assert len(str(caught.value)) < 1000


def test_a_network_that_is_its_target_is_certified_without_end_of_cells():
    """No error is attained, so none of which the bound could be a share: the part of rounding is what is left."""
    x = construct.expressions.variables(1)[0]
    net = construct.approximate(x, Cube(1), degree=1, charts=1)
    found = construct.certify(net, x, Cube(1), max_cells=2000)
    assert found.cells < 200 and 0 < found.bound < 1e-12
    inside = Cube(1).sample(1000, seed=3)
    assert float((net(inside) - inside[:, 0]).abs().max()) <= found.bound


def test_outside_is_looked_at_without_points_too():
    net = circle_network()
    with pytest.raises(InputError, match=r"^outside: expected one of"):
        net(points(net)[:0], outside="nowhere")


def test_escapes_of_a_target_do_not_reach_the_terminal():
    def target(x):
        raise ValueError("v\x1b[31m")

    with pytest.raises(InputError, match=r"^target: expected") as caught:
        construct.approximate(target, Circle(), 1e-1)
    assert "\x1b" not in str(caught.value)


def test_an_epsilon_without_a_value_is_refused():
    with pytest.raises(InputError, match=r"^epsilon: expected a finite real number > 0"):
        construct.approximate(exp_sin, Circle(), torch.tensor(0.1, device="meta"))  # type: ignore[arg-type]


def test_a_certificate_that_is_none_is_named_by_its_path(tmp_path):
    (tmp_path / "c.json").write_text("[1, 2")
    with pytest.raises(InputError, match=r"^path: expected a certificate of format"):
        construct.load_certificate(tmp_path / "c.json")


def ellipse(u):
    return torch.cat([2 * torch.cos(u), torch.sin(u)], dim=-1)


@pytest.mark.parametrize(
    ("changed", "name"), [({"lower": np.array("a")}, "lower"), ({"lower": 0.0}, "lower"), ({"periodic": 5}, "periodic")]
)
def test_bounds_of_parameters_that_are_no_sequences_are_refused(changed, name):
    arguments = {"lower": [0.0], "upper": [2 * math.pi], "periodic": [True], "reach": 0.4, "lipschitz": [2.0]}
    with pytest.raises(InputError, match=rf"^{name}: expected"):
        ParametricManifold(ellipse, **(arguments | changed))


@pytest.mark.parametrize("size", [1e160, 1e300])
def test_points_whose_distances_overflow_are_off_the_manifold(size):
    own = ParametricManifold(ellipse, [0.0], [2 * math.pi], [True], 0.4, [2.0])
    far = torch.tensor([[size, -size], [0.0, size]], dtype=torch.float64)
    assert torch.isfinite(own.project(far)).all() and not own.contains(far).any()
    assert own.contains(own.project(far)).all()


def test_values_of_a_target_that_are_sparse_are_refused():
    with pytest.raises(InputError, match=r"^target: expected .*, got a tensor of layout torch.sparse_coo"):
        construct.approximate(lambda x: x[..., 0].to_sparse(), Circle(), 1e-1)


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="no file that opens and cannot be read")
def test_a_file_that_cannot_be_read_is_named():
    for refuse in (construct.load, construct.load_certificate):
        with pytest.raises(InputError, match=r"^path: expected"):
            refuse("/proc/self/mem")


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b", "no/such/file", "."])
def test_the_verifier_refuses_what_is_no_file_in_one_line(name, capsys):
    assert verifier_main([name, name]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("error: NETWORK: expected a file, got ") and said.err.count("\n") == 1
    assert len(said.err) < 500 and "\0" not in said.err and not said.out
