"""`construct.certify`, `approximate(bound="rigorous")` and the certificate on disk, as a user meets them."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from typer.testing import CliRunner

import construct
from construct import cli, targets
from construct.errors import BudgetExceeded, EpsilonNotReached, InputError
from construct.expressions import exp, sin, sqrt, tanh, variables
from construct.manifolds import Circle, Cube, Helix, Manifold, ParametricManifold, Sphere, Torus, TrefoilKnot
from proofs_as_code.verifier import verify
from tests.transformer.networks import certificate_of

Code = Literal["integer", "trigonometric"]
CODES: tuple[Code, ...] = ("integer", "trigonometric")

exp_sin = targets.target("exp_sin")
x, y, z = variables(3)


@pytest.fixture(scope="module")
def circle_net() -> construct.Network:
    return construct.approximate(exp_sin, Circle(), epsilon=1e-2, construction="compact")


@pytest.mark.parametrize(
    ("manifold", "target", "epsilon"),
    [
        (Circle(), exp_sin, 1e-6),
        (Circle(ambient=7), exp_sin, 1e-2),
        (Circle(), sqrt(2 + x) * tanh(3 * y), 1e-4),
        (TrefoilKnot(), exp(x / 3) * sin(z), 1e-2),
        (Helix(), exp_sin, 1e-3),
        (Sphere(2), exp_sin, 2e-1),
        (Cube(dim=2), exp_sin, 1e-2),
    ],
    ids=repr,
)
def test_the_proved_bound_is_at_most_epsilon_and_above_the_measured(manifold: Any, target: Any, epsilon: float) -> None:
    net = construct.approximate(target, manifold, epsilon=epsilon, bound="rigorous")
    certificate = certificate_of(net)
    assert certificate.kind == "rigorous" and certificate.matches(net)
    assert certificate.bound <= epsilon
    measured = construct.measure(net, target, manifold, seed=17).sup
    assert measured <= certificate.bound
    assert certificate.bound >= certificate.local + certificate.error
    claim = net.claim
    assert claim is not None and claim.kind == "rigorous" and claim.bound == certificate.bound
    assert "proved" in repr(net)


@pytest.mark.parametrize(("name", "beta", "epsilon"), [("kink", 1.0, 1e-2), ("cusp", 0.5, 2e-1), ("root", 0.5, 1e-1)])
def test_piecewise_linear_networks_of_rough_targets_are_certified(name: str, beta: float, epsilon: float) -> None:
    target = targets.target(name)
    net = construct.approximate(target, Circle(), epsilon=epsilon, smoothness=beta, bound="rigorous")
    assert construct.measure(net, target, Circle(), seed=5).sup <= certificate_of(net).bound <= epsilon


@pytest.mark.parametrize("code", CODES)
def test_what_the_independent_verifier_cannot_check_says_so(tmp_path: Path, code: Code) -> None:
    """A trigonometric code: proved here, refused there, and both say why."""
    net = construct.approximate(exp_sin, Circle(), charts=4, degree=1, position_code=code)
    certificate = construct.certify(net, exp_sin, Circle(), tolerance=3.0)
    words = "the independent verifier cannot check trigonometric codes"
    assert certificate.unverifiable == (words if code == "trigonometric" else None)
    assert (words in repr(certificate)) == (code == "trigonometric")
    net.save(tmp_path / "net.safetensors")
    certificate.save(tmp_path / "net.json")
    report = verify(tmp_path / "net.safetensors", tmp_path / "net.json")
    assert report.holds == (code == "integer"), report.reason
    assert report.holds or report.reason == (
        "network: expected a code of integers, whose gates close exactly, got a trigonometric code, which this "
        "verifier cannot check"
    )
    arguments = ["certify", str(tmp_path / "net.safetensors"), "--target", "exp_sin", "--tolerance", "3"]
    said, record = (CliRunner().invoke(cli.app, [*arguments, *more]).stdout for more in ([], ["--json"]))
    assert (words in " ".join(said.split())) == (code == "trigonometric")
    assert json.loads(record)["certificate"]["unverifiable"] == certificate.unverifiable


@pytest.mark.parametrize("code", CODES)
def test_a_loaded_network_knows_whether_its_certificate_can_be_verified(tmp_path: Path, code: Code) -> None:
    net = construct.approximate(exp_sin, Circle(), epsilon=0.5, bound="rigorous", position_code=code)
    net.save(tmp_path / "net.safetensors")
    again = construct.load(tmp_path / "net.safetensors").certificate
    assert net.certificate is not None and again is not None and again == net.certificate
    assert again.unverifiable == net.certificate.unverifiable
    assert (again.unverifiable is None) == (code == "integer")


def test_tolerance_brings_the_bound_near_the_measured_error(circle_net: construct.Network) -> None:
    sharp = construct.certify(circle_net, exp_sin, Circle(), tolerance=0.02)
    rough = construct.certify(circle_net, exp_sin, Circle(), tolerance=1.0)
    assert sharp.measured <= sharp.bound <= rough.bound
    assert sharp.cells > rough.cells and sharp.ratio < 1.3


def test_another_target_gets_a_bound_that_says_so(circle_net: construct.Network) -> None:
    runge = targets.target("runge")
    certificate = construct.certify(circle_net, runge, Circle())
    assert certificate.bound >= construct.measure(circle_net, runge, Circle()).sup > 1.0


def test_a_changed_coefficient_makes_the_bound_larger(circle_net: construct.Network) -> None:
    moved = construct.approximate(exp_sin, Circle(), epsilon=1e-2, construction="compact")
    with moved.edit() as transformer:
        transformer.hidden0[-1, 1] += 0.05  # a coefficient of the last chart
    certificate = construct.certify(moved, exp_sin, Circle())
    error = (moved(Circle().sample(4000, 3)) - exp_sin(Circle().sample(4000, 3))).abs().max()
    assert not certificate.matches(circle_net)
    assert certificate.bound >= float(error)


def test_balls_that_do_not_cover_are_found_out() -> None:
    net = construct.approximate(exp_sin, Circle(), epsilon=1e-2, construction="compact")
    cutoff = int(net.transformer.hidden0[:, 1].abs().argmax())  # r^2 - |c|^2 - sum B^2 of a chart
    with net.edit() as transformer:
        transformer.hidden0[cutoff, 1] -= 0.3  # a smaller ball
    with pytest.raises(InputError, match=r"^net: expected a partition of unity.*, got one that proves nothing near"):
        construct.certify(net, exp_sin, Circle())


def test_a_saved_network_is_certified_and_the_certificate_read_back(
    tmp_path: Path, circle_net: construct.Network
) -> None:
    circle_net.save(tmp_path / "net.safetensors")
    net = construct.load(tmp_path / "net.safetensors")
    certificate = construct.certify(net, exp_sin, Circle())
    certificate.save(tmp_path / "certificate.json")
    again = construct.load_certificate(tmp_path / "certificate.json")
    assert again == certificate and again.matches(circle_net)
    document = json.loads((tmp_path / "certificate.json").read_text())
    document["seconds"] /= 2
    (tmp_path / "certificate.json").write_text(json.dumps(document))
    with pytest.raises(
        InputError, match=r"^path: expected .* \(digest: expected an unchanged certificate, got .*digest"
    ):
        construct.load_certificate(tmp_path / "certificate.json")
    with pytest.raises(InputError, match=r"^path: expected .* \(certificate: expected a JSON document, got "):
        construct.load_certificate(tmp_path / "net.safetensors")
    with pytest.raises(InputError, match=r"^path: expected a file, got "):
        construct.load_certificate(tmp_path / "none.json")


def test_bad_arguments_are_refused(circle_net: construct.Network) -> None:
    circle = Circle()
    cases: list[tuple[str, Callable[[], Any]]] = [
        ("net", lambda: construct.certify(lambda v: v, exp_sin, circle)),  # type: ignore[arg-type]
        ("target", lambda: construct.certify(circle_net, lambda v: v[..., 0], circle)),
        ("manifold", lambda: construct.certify(circle_net, exp_sin, "circle")),  # type: ignore[arg-type]
        ("manifold", lambda: construct.certify(circle_net, exp_sin, Circle(ambient=5))),
        ("kind", lambda: construct.certify(circle_net, exp_sin, circle, kind="sampled")),
        ("tolerance", lambda: construct.certify(circle_net, exp_sin, circle, tolerance=-1.0)),
        ("max_cells", lambda: construct.certify(circle_net, exp_sin, circle, max_cells=0)),
        ("epsilon", lambda: construct.certify(circle_net, exp_sin, circle, epsilon=math.nan)),
    ]
    for name, call in cases:
        with pytest.raises(InputError, match=rf"^{name}: expected .*, got "):
            call()


def test_what_cannot_be_proved_is_refused_before_anything_is_built() -> None:
    circle = Circle()
    cases: list[tuple[str, Callable[[], Any]]] = [
        ("bound", lambda: construct.approximate(exp_sin, circle, epsilon=0.1, bound="proved")),  # type: ignore[arg-type]
        ("bound", lambda: construct.approximate(exp_sin, circle, epsilon=0.1, bound="rigorous", construction="paper")),
        ("target", lambda: construct.approximate(lambda v: v[..., 0], circle, epsilon=0.1, bound="rigorous")),
    ]
    for name, call in cases:
        with pytest.raises(InputError, match=name):
            call()


def test_a_network_of_the_paper_is_refused() -> None:
    net = construct.approximate(exp_sin, Circle(), epsilon=3e-1, construction="paper")
    with pytest.raises(InputError, match=r"^net: expected a compact network.*, got an output that depends on ReLUs"):
        construct.certify(net, exp_sin, Circle())


def test_a_manifold_without_a_formula_is_refused() -> None:
    ellipse = ParametricManifold(
        lambda u: torch.stack([2 * torch.cos(u[..., 0]), torch.sin(u[..., 0])], -1),
        [0.0],
        [2 * math.pi],
        [True],
        reach=0.5,
        lipschitz=[2.0],
    )
    with pytest.raises(InputError, match="formula"):
        construct.approximate(exp_sin, ellipse, epsilon=1e-1, bound="rigorous")


def test_too_few_cells_and_an_epsilon_below_the_rounding_are_refused(circle_net: construct.Network) -> None:
    with pytest.raises(BudgetExceeded, match=r"^max_cells: expected more cells for a finite bound on .*, got 2$"):
        construct.certify(circle_net, exp_sin, Circle(), max_cells=2)
    with pytest.raises(EpsilonNotReached, match="rounding"):
        construct.certify(circle_net, exp_sin, Circle(), epsilon=1e-13)
    with pytest.raises(EpsilonNotReached, match="float32"):
        construct.approximate(exp_sin, Circle(), epsilon=1e-4, bound="rigorous", dtype=torch.float32)


def test_a_resolution_by_hand_is_certified_as_it_is() -> None:
    net = construct.approximate(exp_sin, Circle(), charts=6, degree=9, bound="rigorous")
    assert certificate_of(net).bound < 1e-4
    with pytest.raises(EpsilonNotReached, match="proved"):
        construct.approximate(
            exp_sin, Circle(), 1.05 * certificate_of(net).measured, charts=6, degree=9, bound="rigorous"
        )


@pytest.mark.slow
def test_a_ring_torus() -> None:
    net = construct.approximate(exp_sin, Torus(), epsilon=1e-1, construction="compact")
    certificate = construct.certify(net, exp_sin, Torus())
    assert 1.0 <= certificate.ratio <= 3.0


def test_command_line(tmp_path: Path) -> None:
    runner = CliRunner()
    network, document = tmp_path / "circle.safetensors", tmp_path / "circle.json"
    arguments = [
        "approximate",
        "--manifold",
        "circle",
        "--epsilon",
        "1e-2",
        "--bound",
        "rigorous",
        "--out",
        str(network),
    ]
    done = runner.invoke(cli.app, arguments)
    assert done.exit_code == 0, done.output
    assert document.exists() and "rigorous" in done.output
    out = tmp_path / "again.json"
    done = runner.invoke(cli.app, ["certify", str(network), "--target", "exp_sin", "--out", str(out)])
    assert done.exit_code == 0 and "rigorous" in done.output
    assert construct.load_certificate(out).matches(construct.load(network))
    done = runner.invoke(cli.app, ["certify", str(network), "--target", "runge", "--epsilon", "1e-2"])
    assert done.exit_code == 1
    done = runner.invoke(cli.app, ["certify", str(tmp_path / "none"), "--target", "exp_sin"])
    assert done.exit_code == 2


def test_what_is_proved_by_default_is_the_smaller_network():
    net = construct.approximate(exp_sin, Circle(), epsilon=1e-2, bound="rigorous")
    assert net.origin is not None and net.origin.construction == "ridge" and net.certificate is not None
    assert net.claim is not None and net.certificate.bound == net.claim.bound <= 1e-2
    assert net.architecture.stored_numbers < 100
    compact = construct.approximate(exp_sin, Circle(), epsilon=1e-2, bound="rigorous", construction="compact")
    assert compact.origin is not None and compact.origin.construction == "compact"
    assert compact.certificate is not None and compact.certificate.bound <= 1e-2


@pytest.mark.parametrize(
    ("manifold", "width", "value", "dtype"),
    [
        (Circle(), "free", 2.0, torch.float32),
        pytest.param(Circle(), 5, -1e-3, torch.float64, marks=pytest.mark.slow),
        (Sphere(2), "free", 0.0, torch.float64),
        pytest.param(Sphere(2), 5, 2.0, torch.float32, marks=pytest.mark.slow),
    ],
    ids=repr,
)
def test_a_constant_is_proved_as_the_constant_that_it_is(
    tmp_path: Path, manifold: Manifold, width: Any, value: float, dtype: torch.dtype
) -> None:
    target = 0 * x + value
    net = construct.approximate(target, manifold, 1e-2, bound="rigorous", embedding_dim=width, dtype=dtype)
    assert net.origin is not None and net.origin.construction == "ridge"
    assert getattr(net.approximator, "parameters", None) == (value != 0)
    certificate = certificate_of(net)
    assert certificate.bound <= 10 * (abs(value) + 1) * torch.finfo(dtype).eps
    net.save(tmp_path / "net.safetensors")
    certificate.save(tmp_path / "net.json")
    report = verify(tmp_path / "net.safetensors", tmp_path / "net.json")
    assert report.holds, report.reason
    if width == "free":  # of another function it is 0.25 away
        assert 0.25 <= construct.certify(net, target + 0.25, manifold).bound < 0.2501


@pytest.mark.parametrize("value", [0.0, 2.0])
def test_the_constant_of_a_compact_network_is_verified_too(tmp_path: Path, value: float) -> None:
    net = construct.approximate(0 * x + value, Circle(), 1e-2, construction="compact")
    construct.certify(net, 0 * x + value, Circle(), epsilon=1e-2).save(tmp_path / "net.json")
    net.save(tmp_path / "net.safetensors")
    report = verify(tmp_path / "net.safetensors", tmp_path / "net.json")
    assert report.holds, report.reason
