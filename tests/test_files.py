"""Open weights: thirty lines of numpy evaluate the exported file; what is saved comes back, or is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

import construct
from construct.certificates.weights import weights_digest
from construct.errors import InputError
from construct.history import History, Trial
from construct.manifolds import Circle, ParametricManifold
from tests.transformer.networks import certificate_of, circle_network, exp_sin, sphere_network


def evaluate(path, x):
    """The whole transformer in numpy, from the file alone: relu attention, w x w FFN, residuals."""
    weights = load_file(path)
    relu = lambda v: np.maximum(v, 0.0)  # noqa: E731
    token, row = weights["readout"]
    outputs = []
    for point in x:
        H = weights["hidden0"].T.copy()  # tokens are columns
        H[0, : len(point)] += point
        i = 0
        while f"blocks.{i}.attention.query" in weights:
            Z = H.copy()
            names = (f"blocks.{i}.attention.{n}" for n in ("query", "key", "value"))
            for Q, K, V in zip(*(weights[name] for name in names), strict=True):
                Z += V @ H @ relu((K @ H).T @ (Q @ H))
            F, j = Z, 0
            while f"blocks.{i}.ffn.layers.{j}.weight" in weights:
                layer = f"blocks.{i}.ffn.layers.{j}"
                F = weights[f"{layer}.weight"] @ (relu(F) if j else F) + weights[f"{layer}.bias"][:, None]
                j += 1
            H = Z + F if j else Z
            i += 1
        outputs.append(H[row, token])
    return np.array(outputs)


def paper_network():
    return construct.approximate(exp_sin, Circle(), construction="paper", cells=2, degree=1)


BUILDS = [circle_network, sphere_network, paper_network]


@pytest.mark.parametrize("build", BUILDS)
def test_exported_weights_evaluate_without_the_library(build, tmp_path):
    net = build()
    net.export_dense(tmp_path / "net.safetensors")
    x = net.manifold.sample(12, seed=9)
    want = net(x).numpy()
    got = evaluate(str(tmp_path / "net.safetensors"), x.numpy())
    assert np.abs(got - want).max() <= 1e-11 * np.abs(want).max()


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_save_and_load(build, dtype, tmp_path):
    net = build() if dtype == torch.float64 else build().to(dtype)
    net.save(tmp_path / "net.safetensors")
    other = construct.load(tmp_path / "net.safetensors")
    x = net.manifold.sample(50, seed=1, dtype=dtype)
    assert torch.equal(net(x), other(x))
    assert other.architecture == net.architecture and same_claim(other, net)
    said = repr(net).splitlines()
    assert repr(other).splitlines()[:5] == said[:5]
    assert net.claim is None or repr(other).splitlines()[5] == said[5].replace(" points", " points, as the file says")
    assert other(x, check=True).shape == (50,)
    assert construct.load(tmp_path / "net.safetensors", dtype=torch.float64).dtype == torch.float64


def same_claim(other, net):
    """The claim that was saved, about the weights in the file, and from a file."""
    if net.claim is None or other.claim is None:
        return net.claim is None and other.claim is None
    about = weights_digest(other)
    return other.claim == replace(net.claim, weights=about) and other.claim.read and not net.claim.read


@pytest.mark.parametrize("position_code", ["integer", "trigonometric"])
def test_where_a_network_came_from_is_loaded_too(position_code, tmp_path):
    options = {"construction": "compact", "position_code": position_code}
    net = construct.approximate(exp_sin, Circle(), epsilon=1e-2, **options)
    net.save(tmp_path / "net.safetensors")
    other = construct.load(tmp_path / "net.safetensors")
    assert net.origin is not None and other.origin is not None and len(net.origin.history) > 0
    assert other.program.to_json() == net.program.to_json() and str(other.program) == str(net.program)
    assert other.program.counts == net.program.counts
    assert str(other.origin.layout) == str(net.origin.layout) and other.origin.stages == net.origin.stages
    assert repr(other.manifold) == repr(net.manifold)
    assert other.origin.history == net.origin.history and str(other.origin.history) == str(net.origin.history)
    for name in ("construction", "sizes", "coefficients", "nonzero_coefficients", "code"):
        assert getattr(other.origin, name) == getattr(net.origin, name)
    assert same_claim(other, net)
    x = Circle().sample(5, seed=0)
    assert torch.equal(other.trace(x)["partition of unity"]["R.a"], net.trace(x)["partition of unity"]["R.a"])
    compiled = other.program.compile(net.box.numpy())
    assert all(np.array_equal(a, b.numpy()) for a, b in zip(tensors_of(compiled), net.parameters(), strict=True))


def tensors_of(weights):
    """In the order of the module's parameters."""
    blocks = [
        array
        for heads, ffn in weights.blocks
        for array in (heads.query, heads.key, heads.value, *(array for layer in ffn.layers for array in layer))
    ]
    return [weights.hidden0, *blocks]


def test_weights_alone_are_saved_without_an_origin(tmp_path):
    net = circle_network()
    net.origin = None
    net.save(tmp_path / "net.safetensors")
    other = construct.load(tmp_path / "net.safetensors")
    assert other.origin is None and torch.equal(other(torch.zeros(1, 2).double()), net(torch.zeros(1, 2).double()))
    with pytest.raises(InputError, match=r"^net: expected a network of known origin, got weights alone$"):
        _ = other.program


def test_a_network_on_a_users_manifold_is_saved_without_it(tmp_path):
    ellipse = ParametricManifold(
        lambda u: torch.stack([2 * torch.cos(u[..., 0]), torch.sin(u[..., 0])], -1),
        lower=[-np.pi],
        upper=[np.pi],
        periodic=[True],
        reach=0.5,
        lipschitz=[2.0],
    )
    net = construct.approximate(lambda x: x[..., 0] * x[..., 1], ellipse, epsilon=1e-2)
    net.save(tmp_path / "net.safetensors")
    other = construct.load(tmp_path / "net.safetensors")
    x = ellipse.sample(20, seed=0)
    assert torch.equal(net(x), other(x)) and other.manifold is None
    with pytest.raises(InputError, match=r"^check: expected a network that knows its manifold, got one on a manifold"):
        other(x, check=True)
    assert "  on        a manifold that its file does not name (construct.load(..., manifold=))" in repr(other)
    again = construct.load(tmp_path / "net.safetensors", manifold=ellipse)
    assert again.manifold is ellipse and again(x, check=True).shape == (20,)


def test_a_claim_is_what_was_saved(tmp_path):
    net = circle_network()
    other = net.claimed(replace(net.claim, bound=0.125))
    other.save(tmp_path / "net.safetensors")
    loaded = construct.load(tmp_path / "net.safetensors")
    assert same_claim(loaded, other) and loaded.claim is not None and loaded.claim.bound == 0.125


def test_a_claim_about_other_weights_is_not_written(tmp_path):
    net = circle_network()
    with pytest.raises(InputError, match=r"^claim: expected one of the weights .*, got one of 000"):
        net.claimed(replace(net.claim, weights="0" * 64))
    with net.edit() as transformer:
        transformer.hidden0[0, 0] += 1e-9
    net.save(tmp_path / "net.safetensors")
    assert construct.load(tmp_path / "net.safetensors").claim is None


def test_a_rigorous_claim_is_saved_with_its_certificate_and_marked_as_not_verified(tmp_path):
    target = construct.targets.target("exp_sin")
    net = construct.approximate(target, Circle(), epsilon=0.1, bound="rigorous")
    net.save(tmp_path / "net.safetensors")
    other = construct.load(tmp_path / "net.safetensors")
    found = certificate_of(other)
    assert same_claim(other, net) and found.document == certificate_of(net).document
    assert "(proved, " in repr(net) and "rigorous (not verified here)" in repr(other) and "proved" not in repr(other)
    found.save(tmp_path / "net.json")
    assert construct.load_certificate(tmp_path / "net.json").matches(other)
    with pytest.raises(InputError, match=r"^claim.kind: expected 'rigorous' only beside a certificate, got no"):
        net.claimed(net.claim).save(tmp_path / "other.safetensors")
    assert not (tmp_path / "other.safetensors").exists()


def test_changed_weights_are_saved_without_the_program_that_is_not_theirs(tmp_path):
    net = circle_network()
    with net.edit() as transformer:
        transformer.hidden0[0, 0] += 1e-9
    net.save(tmp_path / "net.safetensors")
    other = construct.load(tmp_path / "net.safetensors")
    assert other.origin is not None and net.origin is not None
    assert other.claim is None and repr(other.manifold) == repr(net.manifold) and other.origin.sizes == net.origin.sizes
    with pytest.raises(InputError, match=r"^net: expected a network whose program is known, got one whose weights"):
        print(other.program)
    assert "code" not in repr(other).splitlines()[0] and other.origin.stages == ()
    x = Circle().sample(5, seed=0)
    assert torch.equal(other(x), net(x)) and torch.equal(other.float()(x.float()), net.float()(x.float()))
    other.save(tmp_path / "again.safetensors")
    again = construct.load(tmp_path / "again.safetensors").origin
    assert again is not None and again.source is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rounded_weights_are_still_the_programs(dtype, tmp_path):
    net = circle_network().float().to(dtype)
    net.save(tmp_path / "net.safetensors")
    other = construct.load(tmp_path / "net.safetensors")
    assert str(other.program) == str(net.program) and other.dtype == dtype


@pytest.mark.parametrize("change", [torch.nan, torch.inf])
def test_weights_that_are_not_finite_are_not_saved(change, tmp_path):
    net = circle_network().requires_grad_()
    with torch.no_grad():
        net.transformer.stack[1].attention.key[0, 0, 0] = change
    with pytest.raises(InputError, match=r"^key: expected finite weights, got NaN or infinity"):
        net.save(tmp_path / "net.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_what_a_file_may_not_hold_is_not_saved(tmp_path):
    net = circle_network()
    program = net.program
    stages = (replace(program.stages[0], name="\x1b[2J"), *program.stages[1:])
    net.origin = replace(net.origin, source=replace(program, stages=stages), weights="")
    with pytest.raises(InputError, match=r"^program\..*stages\[0\]\.name: expected a printable text"):
        net.save(tmp_path / "net.safetensors")
    net.origin = replace(net.origin, source=program, history=History((Trial(1, 1, 1, 1, 1, 1.0, "a\nb", "c"),)))
    with pytest.raises(InputError, match=r"^origin\.history\[0\]\.kind: expected a printable text"):
        net.save(tmp_path / "net.safetensors")
    assert list(tmp_path.iterdir()) == []
