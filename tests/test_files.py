"""Open weights: a stranger's thirty lines of numpy evaluate the exported file; save and load round trip."""

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

import construct
from construct.errors import InputError
from construct.manifolds import ParametricManifold
from tests.transformer.networks import circle_network, sphere_network


def evaluate(path, x):
    """The whole transformer in numpy, from the file alone: relu attention, 5x5 FFN, residuals."""
    weights = load_file(path)
    relu = lambda v: np.maximum(v, 0.0)  # noqa: E731
    token, row = weights["readout"]
    outputs = []
    for point in x:
        H = weights["hidden0"].T.copy()  # tokens are columns
        H[0, : len(point)] += point
        i = 0
        while f"blocks.{i}.query" in weights:
            Z = H.copy()
            for Q, K, V in zip(*(weights[f"blocks.{i}.{n}"] for n in ("query", "key", "value")), strict=True):
                Z += V @ H @ relu((K @ H).T @ (Q @ H))
            F, j = Z, 0
            while f"blocks.{i}.ffn.{j}.weight" in weights:
                F = (
                    weights[f"blocks.{i}.ffn.{j}.weight"] @ (relu(F) if j else F)
                    + weights[f"blocks.{i}.ffn.{j}.bias"][:, None]
                )
                j += 1
            H = Z + F if j else Z
            i += 1
        outputs.append(H[row, token])
    return np.array(outputs)


@pytest.mark.parametrize("build", [circle_network, sphere_network])
def test_exported_weights_evaluate_without_the_library(build, tmp_path):
    net = build()
    net.export_dense(tmp_path / "net.safetensors")
    x = net.manifold.sample(12, seed=9)
    want = net(x).numpy()
    got = evaluate(str(tmp_path / "net.safetensors"), x.numpy())
    assert np.abs(got - want).max() <= 1e-11 * np.abs(want).max()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_save_and_load(dtype, tmp_path):
    net = sphere_network(dtype=dtype)
    net.save(tmp_path / "net.safetensors")
    other = construct.load(tmp_path / "net.safetensors")
    x = net.manifold.sample(50, seed=1, dtype=dtype)
    assert torch.equal(net(x), other(x))
    assert other.architecture == net.architecture and other.claim == net.claim
    assert repr(other) == repr(net)
    assert other(x, check=True).shape == (50,)
    assert construct.load(tmp_path / "net.safetensors", dtype=torch.float64).dtype == torch.float64


def test_files_of_others_are_refused(tmp_path):
    net = circle_network()
    net.export_dense(tmp_path / "open.safetensors")
    with pytest.raises(InputError, match="path: expected a file with format"):
        construct.load(tmp_path / "open.safetensors")
    (tmp_path / "text").write_text("no weights")
    with pytest.raises(InputError, match="path: expected a safetensors file"):
        construct.load(tmp_path / "text")
    with pytest.raises(InputError, match="path: no such file"):
        construct.load(tmp_path / "missing")


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
    with pytest.raises(InputError, match="knows no manifold"):
        other(x, check=True)
