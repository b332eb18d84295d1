"""The command line does what the library does, and refuses in one line."""

import ast
import io
import json
import math
import os
import subprocess
import sys
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import save_file
from typer.testing import CliRunner, Result

import construct
from construct import manifolds, targets
from construct.architecture import Architecture
from construct.cli import app
from construct.errors import InputError
from construct.manifolds import Circle, Sphere
from construct.problem import Sizes
from construct.report import MEANINGS, json_text, progress_bar
from construct.requests import build_manifold
from tests.transformer.networks import random_network

ROOT = Path(__file__).resolve().parents[1]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments], terminal_width=200)


def refused(*arguments: object) -> str:
    """The one line that a refusal says on stderr."""
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stderr.count("\n") == 1 and result.stderr.startswith("error: ")
    assert result.stdout == "" and "Traceback" not in result.stderr
    return result.stderr


def said_as_json(*arguments: object, code: int = 0) -> dict[str, Any]:
    """What a command says with `--json`: one object, with none of the constants that JSON has not."""
    result = run(*arguments, "--json")
    assert result.exit_code == code, result.output

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    said = json.loads(result.stdout, parse_constant=refuse)
    assert isinstance(said, dict)
    return said


@pytest.fixture(scope="module")
def circle_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A circle network, built from the shell with everything that the command can write."""
    folder = tmp_path_factory.mktemp("cli")
    result = run(
        *("approximate", "--manifold", "circle", "--ambient", 4, "--target", "exp_sin", "--epsilon", "1e-3"),
        *("--out", folder / "circle.safetensors", "--plot", folder / "circle.png", "--samples", 2000),
    )
    assert result.exit_code == 0, result.output
    (folder / "printed").write_text(result.stdout)
    return folder / "circle.safetensors"


def test_approximate_prints_the_architecture_and_both_errors(circle_file: Path) -> None:
    printed = (circle_file.parent / "printed").read_text()
    for name in MEANINGS:
        assert name in printed
    for symbol in ("L_T", "L_FFN", "w_FFN", "d_embd", "kappa"):
        assert symbol in printed
    assert "sup error claimed" in printed and "measured, " in printed and "rms error" in printed


def test_approximate_writes_a_network_that_meets_epsilon(circle_file: Path) -> None:
    net = construct.load(circle_file)
    measured = construct.measure(net, targets.target("exp_sin"), Circle(ambient=4), samples=2000)
    assert measured.sup <= 1e-3


def test_approximate_draws(circle_file: Path) -> None:
    assert (circle_file.parent / "circle.png").read_bytes().startswith(b"\x89PNG")


def test_meanings_cover_the_architecture_and_the_sizes() -> None:
    shown = {field.name for part in (Architecture, Sizes) for field in fields(part)} | {"output_bound"}
    assert set(MEANINGS) == shown


def test_info_is_the_repr(circle_file: Path) -> None:
    result = run("info", circle_file)
    assert result.exit_code == 0
    assert repr(construct.load(circle_file)) in result.stdout
    assert "nonzero_parameters" in result.stdout


def test_info_prints_the_whole_program_and_the_history(circle_file: Path) -> None:
    net = construct.load(circle_file)
    assert net.origin is not None and len(net.origin.history) > 1
    program, history = str(net.program), str(net.origin.history)
    assert run("info", "--program", circle_file).stdout == f"{program}\n"
    assert run("info", circle_file, "--history").stdout == f"{history}\n"
    assert run("info", circle_file, "--history", "--program").stdout == f"{program}\n{history}\n"


def test_info_of_sizes_by_hand_has_no_history(tmp_path: Path) -> None:
    out = tmp_path / "hand.safetensors"
    made = run("approximate", "--manifold", "circle", "--degree", 3, "--samples", 500, "--out", out)
    assert made.exit_code == 0 and "sizes given by hand" in made.stdout and "epsilon" not in made.stdout
    assert "sizes given by hand" in run("info", "--history", out).stdout
    assert said_as_json("info", out)["origin"]["history"] == []


def test_a_resolution_is_asked_for_and_said() -> None:
    arguments = ("approximate", "--manifold", "circle", "--epsilon", "1e-1", "--samples", 500, "--resolution", "2e-4")
    said = said_as_json(*arguments)
    assert 0 < said["measured"]["resolution"] <= 2e-4 and 0 < said["network"]["claim"]["resolution"] <= 2e-4
    assert "resolution" in run(*arguments).stdout
    refused = run(*arguments[:-1], "1e-9")
    assert refused.exit_code == 2 and "resolution: expected a resolution that takes at most" in refused.stderr


def test_info_as_json_is_all_that_is_known(circle_file: Path) -> None:
    net = construct.load(circle_file)
    assert net.origin is not None and net.claim is not None
    said = said_as_json("info", circle_file)
    assert "program" not in said
    assert said["architecture"] == asdict(net.architecture) and said["output_bound"] == net.output_bound
    assert said["claim"] == json.loads(json.dumps(asdict(net.claim)))
    assert (said["ambient"], said["dtype"]) == (4, "float64")
    assert said["origin"]["sizes"] == asdict(net.origin.sizes)
    assert said["origin"]["history"] == net.origin.history.records()
    assert said["origin"]["position_code"] == "direction" and len(said["origin"]["stages"]) == net.architecture.blocks
    assert said["manifold"]["specification"]["name"] == "circle" and said["manifold"]["reach"] == 1.0
    with_program = said_as_json("info", circle_file, "--program")
    assert with_program["program"] == json.loads(net.program.to_json())


def test_approximate_as_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A target that prints cannot spoil the object, and the files are named in it."""
    (tmp_path / "loud.py").write_text("import torch\n\ndef f(x):\n    print('hello')\n    return x[..., 0].sin()\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    out, plot = tmp_path / "net.safetensors", tmp_path / "net.png"
    arguments = ("--manifold", "circle", "--target", "loud:f", "--epsilon", "1e-2", "--samples", 500)
    said = said_as_json("approximate", *arguments, "--out", out, "--plot", plot)
    assert said["files"] == {"network": str(out), "figure": str(plot)} and out.exists() and plot.exists()
    assert said["within_epsilon"] is True and said["epsilon"] == 1e-2 and said["target"] == "loud:f"
    assert said["measured"]["sup"] <= 1e-2 and len(said["measured"]["worst_point"]) == 2
    assert said["network"]["architecture"] == asdict(construct.load(out).architecture)
    assert said["network"]["certificate"] is None


def test_a_proved_network_comes_with_its_certificate(tmp_path: Path) -> None:
    out = tmp_path / "net.safetensors"
    arguments = ("--manifold", "circle", "--epsilon", "1e-2", "--bound", "rigorous", "--samples", 500)
    said = said_as_json("approximate", *arguments, "--out", out)
    assert said["files"]["certificate"] == str(tmp_path / "net.json")
    certificate = construct.load_certificate(tmp_path / "net.json")
    assert said["network"]["certificate"]["bound"] == certificate.bound == said["network"]["claim"]["bound"] <= 1e-2
    again = said_as_json("certify", out, "--target", "exp_sin", "--out", tmp_path / "again.json")
    assert again["files"] == {"certificate": str(tmp_path / "again.json")} and again["within_epsilon"] is None
    assert again["certificate"]["network_sha256"] == certificate.document["network"]["sha256"]
    overwriting = ("--out", tmp_path / "net.json", "--bound", "rigorous")
    assert "out: expected a file that is not used" in refused("approximate", "--manifold", "circle", *overwriting)


def test_an_epsilon_that_is_not_proved_is_exit_code_1(circle_file: Path) -> None:
    asked = ("certify", circle_file, "--target", "exp_sin", "--epsilon", "1e-9", "--max-cells", 100)
    result = run(*asked)
    assert result.exit_code == 1 and "Certificate(rigorous" in result.stdout
    assert result.stderr.startswith("error: proved bound") and result.stderr.count("\n") == 1
    assert said_as_json(*asked, code=1)["within_epsilon"] is False


def test_a_network_that_misses_epsilon_is_saved_with_exit_code_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = construct.Measurement(math.inf, math.nan, torch.zeros(2), 7)
    monkeypatch.setattr(construct, "measure", lambda *args, **kwargs: found)
    asked = ("approximate", "--manifold", "circle", "--epsilon", "1e-1", "--out", tmp_path / "net.safetensors")
    said = said_as_json(*asked, code=1)
    assert said["within_epsilon"] is False and said["measured"]["sup"] is said["measured"]["rms"] is None
    assert "above epsilon = 0.1" in run(*asked).stderr and (tmp_path / "net.safetensors").exists()


def test_json_has_no_number_that_is_not_finite() -> None:
    record = {"a": math.nan, "b": [1.5, -math.inf, (math.inf, 2)], "c": {"d": True, "e": None}}
    assert json.loads(json_text(record)) == {"a": None, "b": [1.5, None, [None, 2]], "c": {"d": True, "e": None}}


def test_evaluate_prints_or_writes_the_values(circle_file: Path, tmp_path: Path) -> None:
    x = Circle(ambient=4).sample(5, seed=3)
    want = construct.load(circle_file)(x)
    np.save(tmp_path / "x.npy", x.numpy())
    printed = run("evaluate", circle_file, "--points", tmp_path / "x.npy")
    assert [float(line) for line in printed.stdout.split()] == want.tolist()
    assert run("evaluate", circle_file, "--points", tmp_path / "x.npy", "--out", tmp_path / "y.npy").exit_code == 0
    assert torch.equal(torch.from_numpy(np.load(tmp_path / "y.npy")), want)
    said = said_as_json("evaluate", circle_file, "--points", tmp_path / "x.npy")
    assert said["values"] == want.tolist() and said["shape"] == [5]
    said = said_as_json("evaluate", circle_file, "--points", tmp_path / "x.npy", "--out", tmp_path / "values")
    assert said["files"] == {"values": str(tmp_path / "values")} and "values" not in said
    assert np.load(tmp_path / "values").tolist() == want.tolist()


def test_evaluate_warns_of_points_outside_the_box_in_one_line(circle_file: Path, tmp_path: Path) -> None:
    x = 50 * Circle(ambient=4).sample(3, seed=3)
    np.save(tmp_path / "x.npy", x.numpy())
    printed = run("evaluate", circle_file, "--points", tmp_path / "x.npy")
    want = construct.load(circle_file)(x, outside="evaluate")
    assert printed.exit_code == 0 and [float(line) for line in printed.stdout.split()] == want.tolist()
    (line,) = printed.stderr.splitlines()
    assert line.startswith("warning: x: expected points within the box") and "got 3 of 3 outside it" in line


@pytest.mark.parametrize("shape", [(0, 4), (4,), (2, 3, 4)])
def test_evaluate_takes_points_of_any_number(circle_file: Path, tmp_path: Path, shape: tuple[int, ...]) -> None:
    np.save(tmp_path / "x.npy", np.zeros(shape))
    said = said_as_json("evaluate", circle_file, "--points", tmp_path / "x.npy")
    assert said["shape"] == list(shape[:-1]) == list(np.shape(said["values"]))


@pytest.mark.slow
def test_export_writes_the_same_function(circle_file: Path, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    assert run("export", circle_file, "--onnx", tmp_path / "net.onnx").exit_code == 0
    x = Circle(ambient=4).sample(7, seed=1)
    values = onnxruntime.InferenceSession(tmp_path / "net.onnx").run(None, {"x": x.numpy()})[0]
    assert np.abs(values - construct.load(circle_file)(x).numpy()).max() <= 1e-10


def test_export_goes_to_the_file_named(circle_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Path] = []
    monkeypatch.setattr(construct.Network, "export_onnx", lambda self, path: written.append(path))
    said = run("export", circle_file, "--onnx", tmp_path / "net.onnx")
    assert written == [tmp_path / "net.onnx"] and said.stdout == f"onnx written to {written[0]}\n"


def test_evaluate_refuses_points_that_are_none(circle_file: Path, tmp_path: Path) -> None:
    def said(name: str) -> str:
        return refused("evaluate", circle_file, "--points", tmp_path / name)

    for name, array in {
        "wrong": np.zeros((5, 3)),
        "scalar": np.zeros(()),
        "nan": np.full((1, 4), np.nan),
        "text": np.array(["a"]),
        "complex": np.zeros((1, 4), dtype=np.complex128),
        "object": np.array([{}]),
    }.items():
        np.save(tmp_path / f"{name}.npy", array, allow_pickle=True)
    np.savez(tmp_path / "archive.npz", x=np.zeros((1, 4)))
    (tmp_path / "not.npy").write_text("hello")
    (tmp_path / "empty.npy").touch()
    assert "points: expected a tensor of shape (..., 4), got" in said("wrong.npy")
    assert "points: expected a tensor of shape (..., 4), got" in said("scalar.npy")
    assert "points: expected finite points" in said("nan.npy")
    for name in ("text.npy", "complex.npy"):
        assert "points: expected an array of real numbers, got" in said(name)
    for name in ("not.npy", "empty.npy", "archive.npz", "object.npy"):
        assert "points: expected a .npy file of numbers, got" in said(name)
    assert "points: expected a file, got" in said(".") and "which is a folder" in said(".")
    os.mkfifo(tmp_path / "pipe.npy")
    assert "pipe.npy, which is a pipe" in said("pipe.npy")
    assert "none.npy, which is not there" in said("none.npy")


def saved(path: Path, **metadata: str) -> Path:
    save_file({"hidden0": torch.zeros(3, 5), "readout": torch.tensor([0, 1])}, path, metadata=metadata or None)
    return path


@pytest.mark.parametrize(
    "command",
    [
        ("info",),
        ("info", "--json", "--program"),
        ("evaluate", "--points", "x.npy"),
        ("certify", "--target", "exp_sin"),
        ("export", "--onnx", "x.onnx"),
    ],
)
def test_a_file_that_is_no_network_is_refused(tmp_path: Path, command: tuple[str, ...]) -> None:
    (tmp_path / "not.safetensors").write_text("hello, this is not a network")
    (tmp_path / "empty.safetensors").touch()
    for name in ("not", "empty"):
        assert "path: expected a safetensors file" in refused(*command, tmp_path / f"{name}.safetensors")
    assert "path: expected a file, got" in refused(*command, tmp_path / "missing.safetensors")
    assert "which is a folder" in refused(*command, tmp_path)
    old = saved(tmp_path / "old.safetensors", format="construct-transformer/1")
    assert "build the network again" in refused(*command, old)
    assert "got format None" in refused(*command, saved(tmp_path / "plain.safetensors"))
    half = saved(tmp_path / "half.safetensors", format="3", box="[1, 2]")
    assert "path: expected a network of format 3, got" in refused(*command, half)


def test_weights_alone_have_no_program(tmp_path: Path) -> None:
    bare = tmp_path / "bare.safetensors"
    random_network(0, ambient=2).save(bare)
    assert run("info", bare).exit_code == 0 and "charts" not in run("info", bare).stdout
    assert said_as_json("info", bare)["origin"] is None
    assert "net: expected a network of known origin" in refused("info", bare, "--program")
    assert "file: expected a network that knows its planner" in refused("info", bare, "--history")
    assert "file: expected a network that knows its manifold" in refused("certify", bare, "--target", "exp_sin")


def test_no_command_writes_over_what_it_reads(circle_file: Path, tmp_path: Path) -> None:
    before = circle_file.read_bytes()
    np.save(tmp_path / "x.npy", np.zeros((1, 4)))
    points = ("evaluate", circle_file, "--points", tmp_path / "x.npy")
    for command in (
        (*points, "--out", circle_file),
        (*points, "--out", tmp_path / "x.npy"),
        ("certify", circle_file, "--target", "exp_sin", "--out", circle_file),
        ("export", circle_file, "--onnx", circle_file),
    ):
        assert "expected a file that is not used otherwise" in refused(*command)
    assert circle_file.read_bytes() == before


@pytest.mark.parametrize("spelling", ["relative", "dotted", "roundabout", "symbolic", "hard"])
def test_a_file_is_known_under_every_spelling(
    spelling: str, circle_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused before any work: the target does not even exist. The contents are what they were."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    net, points = tmp_path / "net.safetensors", tmp_path / "x.npy"
    net.write_bytes(circle_file.read_bytes())
    np.save(points, np.zeros((1, 4)))

    def spelt(path: Path) -> str:
        link = tmp_path / f"link-{path.name}"
        if spelling == "symbolic":
            link.symlink_to(path)
        elif spelling == "hard":
            link.hardlink_to(path)
        names = {"relative": path.name, "dotted": f"./{path.name}", "roundabout": f"sub/../{path.name}"}
        return names.get(spelling, str(link))

    before = {path: path.read_bytes() for path in (net, points)}
    other, other_points = spelt(net), spelt(points)
    for argument, *command in (
        ("out", "certify", net, "--target", "no_such_target", "--out", other),
        ("out", "certify", other, "--target", "no_such_target", "--out", net),
        ("out", "evaluate", net, "--points", points, "--out", other),
        ("out", "evaluate", net, "--points", points, "--out", other_points),
        ("onnx", "export", net, "--onnx", other),
    ):
        assert f"error: {argument}: expected a file that is not used otherwise" in refused(*command)
    assert before == {path: path.read_bytes() for path in before}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--manifold", "ball"), "manifold: expected one of ('circle'"),
        (("--manifold", "circle", "--target", "nope"), "target: expected one of ('exp_sin'"),
        (("--manifold", "circle", "--target", "no_such_module:f"), "importable module"),
        (("--manifold", "circle", "--target", "__import__('os')"), "target: expected"),
        (("--manifold", "circle", "--epsilon", "0"), "epsilon: expected a finite real number > 0"),
        (("--manifold", "circle", "--epsilon", "-1"), "epsilon: expected a finite real number > 0"),
        (("--manifold", "circle", "--epsilon", "nan"), "epsilon: expected a finite real number > 0"),
        (("--manifold", "circle", "--epsilon", "-1", "--json"), "epsilon: expected a finite real number > 0"),
        (("--manifold", "circle", "--smoothness", "0"), "smoothness"),
        (("--manifold", "circle", "--smoothness", "nan"), "smoothness"),
        (("--manifold", "circle", "--charts", "0"), "charts: expected an integer >= 1"),
        (("--manifold", "circle", "--charts", "2"), "charts: expected enough to cover"),
        (("--manifold", "circle", "--cells", "0"), "cells: expected an integer >= 1"),
        (("--manifold", "circle", "--degree", "-1"), "degree: expected an integer >= 0"),
        (("--manifold", "circle", "--cells", "4", "--degree", "3"), "degree: expected 1"),
        (("--manifold", "circle", "--samples", "0"), "samples: expected an integer >= 1"),
        (("--manifold", "circle", "--seed", "-1"), "seed: expected an integer >= 0"),
        (("--manifold", "circle", "--seed", str(2**80)), "seed: expected an integer >= 0"),
        (("--manifold", "circle", "--dtype", "bfloat16"), "dtype: expected one of ('float64', 'float32')"),
        (("--manifold", "circle", "--ambient", "1"), "ambient"),
        (("--manifold", "circle", "--dim", "2"), "dim"),
        (("--manifold", "circle", "--option", "radius"), "option: expected key=number"),
        (("--manifold", "circle", "--option", "radius=__import__('os')"), "option: expected key=number"),
        (("--manifold", "circle", "--option", "radius=-1"), "radius"),
        (("--manifold", "circle", "--option", "radius=nan"), "radius"),
        (("--manifold", "circle", "--option", "colour=1"), "colour"),
        (("--manifold", "sphere", "--dim", "2", "--option", "dim=3"), "option: expected each argument once"),
        (("--manifold", "circle", "--out", "no/such/x.safetensors"), "out: expected a file in a folder that exists"),
        (("--manifold", "circle", "--out", "."), "out: expected a file in a folder that exists"),
        (("--manifold", "circle", "--plot", "."), "plot: expected a file in a folder that exists"),
        (("--manifold", "circle", "--plot", "x.txt"), "plot: expected a name that ends in one of"),
        (("--manifold", "circle", "--out", "x.png", "--plot", "x.png"), "plot: expected a file that is not used"),
        (("--manifold", "sphere", "--dim", "3", "--plot", "x.png"), "manifold: expected dimension 1 or 2"),
        (("--manifold", "circle", "--max-parameters", "10"), "parameters"),
        (("--manifold", "circle", "--device", "nowhere"), "device: expected a torch device of this machine"),
        (("--manifold", "circle", "--device", "meta"), "device: expected a torch device of this machine"),
        (("--manifold", "circle", "--construction", "other"), "construction"),
        (("--manifold", "circle", "--position-code", "other"), "position_code"),
        (("--manifold", "circle", "--bound", "rigorous", "--construction", "paper"), "construction: expected"),
    ],
)
def test_approximate_refuses_in_one_line(arguments: tuple[str, ...], message: str) -> None:
    assert message in refused("approximate", *arguments)


def test_errors_after_the_work_are_one_line_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(error: Exception) -> Any:
        def approximate(*args: Any, **kwargs: Any) -> None:
            raise error

        return approximate

    asked = ("approximate", "--manifold", "circle")
    for error in (OSError("I/O error:\ndisk full"), MemoryError(), RuntimeError("can't allocate memory")):
        monkeypatch.setattr(construct, "approximate", fails(error))
        refused(*asked)
    monkeypatch.setattr(construct, "approximate", fails(RuntimeError("a mistake of ours")))
    assert isinstance(run(*asked).exception, RuntimeError)


def test_an_unknown_option_is_refused_by_usage() -> None:
    result = run("approximate", "--manifold", "circle", "--nonsense")
    assert result.exit_code == 2 and "nonsense" in result.output


def test_a_function_of_a_module_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_targets.py").write_text("import torch\n\ndef wave(x):\n    return torch.sin(2 * x[..., 0])\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    result = run(
        *("approximate", "--manifold", "circle", "--target", "my_targets:wave", "--epsilon", "1e-2"),
        *("--samples", 500, "--out", tmp_path / "wave.safetensors"),
    )
    assert result.exit_code == 0, result.output
    x = Circle().sample(100, seed=0)
    assert (construct.load(tmp_path / "wave.safetensors")(x) - torch.sin(2 * x[:, 0])).abs().max() <= 1e-2


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_is_shown_on_a_terminal_only(terminal: bool) -> None:
    text = io.StringIO()
    with progress_bar(Console(file=text, force_terminal=terminal)) as progress:
        progress("fitting [charts]", 0.5)
        progress("measuring", None)
    assert ("measuring" in text.getvalue()) is terminal
    assert terminal or text.getvalue() == ""


def test_a_time_limit_and_an_interrupt_end_with_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "net.safetensors"
    command = ("approximate", "--manifold", "circle", "--epsilon", "1e-3", "--out", out)
    result = run(*command, "--timeout", "1e-9")
    assert result.exit_code == 2 and result.stdout == ""
    assert result.stderr.startswith("error: timeout: expected") and result.stderr.count("\n") == 1
    result = run(*command, "--timeout", "-1")
    assert result.exit_code == 2 and "timeout: expected a finite real number > 0" in result.stderr

    def interrupted(*arguments: object, **options: object) -> None:
        raise construct.PlanningInterrupted("the network was interrupted; the best so far is degree 3: .. 0.5", 0.5)

    monkeypatch.setattr(construct, "approximate", interrupted)
    result = run(*command)
    assert result.exit_code == 130 and result.stdout == ""
    assert result.stderr == (
        "error: the network was interrupted; the best so far is degree 3: .. 0.5; nothing was written\n"
    )
    monkeypatch.setattr(construct, "approximate", stop)
    result = run(*command)
    assert result.exit_code == 130 and result.stderr == "error: interrupted; nothing was written\n"
    assert list(tmp_path.iterdir()) == []


def stop(*arguments: object, **options: object) -> None:
    """Ctrl-C outside of planning."""
    raise KeyboardInterrupt


def test_lists() -> None:
    listed = run("manifolds").stdout
    assert all(name in listed for name in manifolds.manifold_names()) and "major=2" in listed
    listed = run("targets").stdout
    assert all(name in listed for name in targets.target_names()) and "0.5" in listed and "analytic" in listed


def test_build_manifold() -> None:
    sphere = build_manifold("sphere", 2, 8, ["radius=2", "seed=5"])
    assert isinstance(sphere, Sphere) and (sphere.dim, sphere.ambient, float(sphere.reach)) == (2, 8, 2.0)
    assert torch.equal(sphere.frame, Sphere(dim=2, ambient=8, seed=5).frame)
    with pytest.raises(InputError, match=r"option: expected key=number, .*, got '=3'"):
        build_manifold("sphere", 2, None, ["=3"])


def shell(*command: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, env=environment)


def test_it_is_a_module() -> None:
    command = (sys.executable, "-m", "construct")
    shown = shell(*command, "targets")
    assert shown.returncode == 0 and "exp_sin" in shown.stdout and shown.stderr == ""
    assert run("--version").stdout == f"construct {construct.__version__}\n"
    wrong = shell(*command, "approximate", "--manifold", "ball")
    assert wrong.returncode == 2 and wrong.stderr.startswith("error: manifold: expected one of")


def test_it_is_a_script_that_finds_the_targets_of_this_folder(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("number = 3\n")
    script = tmp_path / "bin" / "construct"
    script.parent.mkdir()
    script.write_text("from construct.cli import main\nmain()\n")
    said = shell(
        sys.executable, str(script), *["approximate", "--manifold", "circle", "--target", "mine:number"], cwd=tmp_path
    )
    assert said.stderr == "error: target: expected a callable, got 'mine:number' of type int\n"


def test_no_public_function_has_the_name_of_one_of_the_library() -> None:
    def public(path: Path) -> set[str]:
        found = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)]
        return {node.name for node in found if not node.name.startswith("_")}

    face = ROOT / "construct"
    faces = [face / name for name in ("cli.py", "requests.py")]
    others = [path for path in face.rglob("*.py") if path not in faces]
    assert set().union(*map(public, faces)).isdisjoint(set().union(*map(public, others)))
