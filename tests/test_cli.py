"""The command line does what the library does, and refuses in one line."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner, Result

import construct
from construct import manifolds, targets
from construct.cli import MEANINGS, app, build_manifold, progress_on
from construct.errors import InputError
from construct.manifolds import Circle, Sphere

ROOT = Path(__file__).resolve().parents[1]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments], terminal_width=200)


def refused(*arguments: object) -> str:
    """The one line that a refusal says on stderr."""
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stderr.count("\n") == 1 and result.stderr.startswith("error: ")
    assert "Traceback" not in result.output
    return result.stderr


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
    measured = construct.measure(net, targets.get("exp_sin"), Circle(ambient=4), samples=2000)
    assert measured.sup <= 1e-3


def test_approximate_draws(circle_file: Path) -> None:
    assert (circle_file.parent / "circle.png").read_bytes().startswith(b"\x89PNG")


def test_meanings_cover_the_architecture(circle_file: Path) -> None:
    from dataclasses import fields

    assert set(MEANINGS) == {field.name for field in fields(construct.load(circle_file).architecture)}


def test_info_is_the_repr(circle_file: Path) -> None:
    result = run("info", circle_file)
    assert result.exit_code == 0
    assert repr(construct.load(circle_file)).split("\n")[0][:60] in result.stdout
    assert "nonzero_parameters" in result.stdout


def test_evaluate_prints_or_writes_the_values(circle_file: Path, tmp_path: Path) -> None:
    x = Circle(ambient=4).sample(5, seed=3)
    want = construct.load(circle_file)(x)
    np.save(tmp_path / "x.npy", x.numpy())
    printed = run("evaluate", circle_file, "--points", tmp_path / "x.npy")
    assert [float(line) for line in printed.stdout.split()] == want.tolist()
    assert run("evaluate", circle_file, "--points", tmp_path / "x.npy", "--out", tmp_path / "y.npy").exit_code == 0
    assert torch.equal(torch.from_numpy(np.load(tmp_path / "y.npy")), want)


def test_evaluate_refuses_points_that_are_none(circle_file: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "wrong.npy", np.zeros((5, 3)))
    assert "4" in refused("evaluate", circle_file, "--points", tmp_path / "wrong.npy")
    np.save(tmp_path / "text.npy", np.array(["a"]))
    assert "points: expected real numbers" in refused("evaluate", circle_file, "--points", tmp_path / "text.npy")
    (tmp_path / "not.npy").write_text("hello")
    assert "points: expected a .npy file" in refused("evaluate", circle_file, "--points", tmp_path / "not.npy")
    np.save(tmp_path / "object.npy", np.array([{}]), allow_pickle=True)
    assert "points: expected a .npy file" in refused("evaluate", circle_file, "--points", tmp_path / "object.npy")
    assert "none.npy" in refused("evaluate", circle_file, "--points", tmp_path / "none.npy")


def test_a_file_that_is_no_network_is_refused(tmp_path: Path) -> None:
    (tmp_path / "not.safetensors").write_text("hello, this is not a network")
    refused("info", tmp_path / "not.safetensors")
    refused("info", tmp_path / "missing.safetensors")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--manifold", "ball"), "manifold: expected one of circle"),
        (("--manifold", "circle", "--target", "nope"), "target: expected one of ('exp_sin'"),
        (("--manifold", "circle", "--target", "no_such_module:f"), "importable module"),
        (("--manifold", "circle", "--target", "__import__('os')"), "target: expected"),
        (("--manifold", "circle", "--epsilon", "0"), "epsilon"),
        (("--manifold", "circle", "--epsilon", "-1"), "epsilon"),
        (("--manifold", "circle", "--smoothness", "0"), "smoothness"),
        (("--manifold", "circle", "--dtype", "bfloat16"), "dtype: expected one of float64, float32"),
        (("--manifold", "circle", "--ambient", "1"), "ambient"),
        (("--manifold", "circle", "--dim", "2"), "dim"),
        (("--manifold", "circle", "--option", "radius"), "option: expected key=number"),
        (("--manifold", "circle", "--option", "radius=__import__('os')"), "option: expected key=number"),
        (("--manifold", "circle", "--option", "radius=-1"), "radius"),
        (("--manifold", "circle", "--option", "colour=1"), "colour"),
        (
            ("--manifold", "circle", "--out", "no/such/folder/x.safetensors"),
            "out: expected a file in an existing folder",
        ),
        (("--manifold", "sphere", "--dim", "3", "--plot", "x.png"), "manifold: expected dimension 1 or 2"),
        (("--manifold", "circle", "--max-parameters", "10"), "parameters"),
        (("--manifold", "circle", "--device", "nowhere"), "device: expected a torch device of this machine"),
        (("--manifold", "circle", "--construction", "other"), "construction"),
        (("--manifold", "circle", "--position-code", "other"), "position_code"),
    ],
)
def test_approximate_refuses_in_one_line(arguments: tuple[str, ...], message: str) -> None:
    assert message in refused("approximate", *arguments)


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
    with progress_on(Console(file=text, force_terminal=terminal)) as progress:
        progress("fitting [charts]", 0.5)
        progress("measuring", None)
    assert ("measuring" in text.getvalue()) is terminal
    assert terminal or text.getvalue() == ""


def test_lists() -> None:
    listed = run("manifolds").stdout
    assert all(name in listed for name in manifolds.names()) and "major=2" in listed
    listed = run("targets").stdout
    assert all(name in listed for name in targets.names()) and "0.5" in listed and "analytic" in listed


def test_build_manifold() -> None:
    sphere = build_manifold("sphere", 2, 8, ["radius=2", "seed=5"])
    assert isinstance(sphere, Sphere) and (sphere.dim, sphere.ambient, float(sphere.reach)) == (2, 8, 2.0)
    assert torch.equal(sphere.frame, Sphere(dim=2, ambient=8, seed=5).frame)
    with pytest.raises(InputError, match="option: expected key=number, got '=3'"):
        build_manifold("sphere", 2, None, ["=3"])


def test_it_is_a_module() -> None:
    command = [sys.executable, "-m", "construct"]
    shown = subprocess.run([*command, "targets"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert shown.returncode == 0 and "exp_sin" in shown.stdout
    wrong = subprocess.run(
        [*command, "approximate", "--manifold", "ball"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert wrong.returncode == 2 and wrong.stderr.startswith("error: manifold: expected one of")
