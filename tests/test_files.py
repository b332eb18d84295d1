"""Open weights: thirty lines of numpy evaluate the exported file; what is saved comes back, or is refused."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load_file
from safetensors.torch import save_file

import construct
from construct.errors import InputError
from construct.manifolds import Circle, ParametricManifold
from tests.transformer.networks import circle_network, exp_sin, sphere_network


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
    assert other.architecture == net.architecture and other.claim == net.claim
    assert repr(other) == repr(net)
    assert other(x, check=True).shape == (50,)
    assert construct.load(tmp_path / "net.safetensors", dtype=torch.float64).dtype == torch.float64


@pytest.mark.parametrize("position_code", ["integer", "trigonometric"])
def test_where_a_network_came_from_is_loaded_too(position_code, tmp_path):
    net = construct.approximate(exp_sin, Circle(), epsilon=1e-2, position_code=position_code)
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
    assert other.claim == net.claim
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


def test_files_of_others_are_refused(tmp_path):
    net = circle_network()
    net.export_dense(tmp_path / "open.safetensors")
    with pytest.raises(InputError, match=r"^path: expected a network of format 2, got format None in "):
        construct.load(tmp_path / "open.safetensors")
    (tmp_path / "text").write_text("no weights")
    with pytest.raises(InputError, match=r"^path: expected a safetensors file, got "):
        construct.load(tmp_path / "text")
    with pytest.raises(InputError, match=r"^path: expected a file, got .*missing, which is not there$"):
        construct.load(tmp_path / "missing")


def rewritten(path, *, tensors=None, metadata=None):
    """The file with some tensors and some metadata replaced, or removed (None)."""
    with safe_open(str(path), framework="pt") as handle:
        held = dict(handle.metadata() or {})
        parts = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
    parts |= tensors or {}
    held |= metadata or {}
    save_file(
        {name: tensor for name, tensor in parts.items() if tensor is not None},
        str(path),
        metadata={name: text for name, text in held.items() if text is not None},
    )
    return path


def test_an_old_file_is_refused_as_one(tmp_path):
    circle_network().save(tmp_path / "net.safetensors")
    path = rewritten(tmp_path / "net.safetensors", metadata={"format": "construct-transformer/1"})
    with pytest.raises(
        InputError, match=r"^path: expected a file of format 2, got format 1 in .*, which this version no longer reads"
    ):
        construct.load(path)


def as_bytes(text):
    return torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8).clone()


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "net.safetensors"
    circle_network().save(path)
    return path.read_bytes(), json.loads(circle_network().program.to_json())


def damages(program):
    """What can happen to a file, by name."""

    def other(**parts):
        return {"tensors": {"program": as_bytes(json.dumps(program | parts))}}

    stages = program["stages"]
    unknown_ffn = [{**stages[0], "ffn": {"gadget": "clip", "groups": ["nowhere"], "numbers": {}}}, *stages[1:]]
    unknown_number = [{**stages[0], "ffn": {"gadget": "clip", "groups": [], "numbers": {"size": 1.0}}}, *stages[1:]]
    far = {"target": {"tokens": [10**6]}, "source": "every", "value": [["a", "1", 1.0]]}
    huge = {"target": {"tokens": [10**30]}, "source": "every", "value": [["a", "1", 1.0]]}
    last = "blocks.4.attention."
    return {
        "hidden state": {"tensors": {"hidden0": None}},
        "read-out": {"tensors": {"readout": None}},
        "read-out of three numbers": {"tensors": {"readout": torch.tensor([0, 1, 2])}},
        "key": {"tensors": {"blocks.1.attention.key": None}},
        "query": {"tensors": {"blocks.1.attention.query": None}},
        "last query": {"tensors": {f"{last}query": None}},
        "last block": {"tensors": dict.fromkeys((f"{last}query", f"{last}key", f"{last}value"))},
        "layer": {"tensors": {"blocks.0.ffn.layers.0.weight": None}},
        "bias": {"tensors": {"blocks.0.ffn.layers.1.bias": None}},
        "shape of a bias": {"tensors": {"blocks.0.ffn.layers.1.bias": torch.zeros(4, dtype=torch.float64)}},
        "NaN": {"tensors": {"hidden0": torch.full((3, 5), torch.nan, dtype=torch.float64)}},
        "box": {"metadata": {"box": None}},
        "box of words": {"metadata": {"box": '["wide"]'}},
        "text of the program": {"tensors": {"program": as_bytes("[")}},
        "bytes of the program": {"tensors": {"program": torch.full((9,), 255, dtype=torch.uint8)}},
        "program without stages": other(stages=None),
        "program of fewer stages": other(stages=stages[:-1]),
        "read-out of the program": other(readout=["nowhere", "b"]),
        "groups of the FFN": other(stages=unknown_ffn),
        "numbers of the FFN": other(stages=unknown_number),
        "tokens of a rule": other(stages=[{**stages[0], "rules": [far]}, *stages[1:]]),
        "huge tokens of a rule": other(stages=[{**stages[0], "rules": [huge]}, *stages[1:]]),
        "no origin": {"metadata": {"origin": None}},
        "origin that is no JSON": {"metadata": {"origin": "{"}},
        "origin without sizes": {"metadata": {"origin": '{"construction": "compact"}'}},
        "origin that is a list": {"metadata": {"origin": "[1]"}},
    }


@pytest.mark.parametrize("name", sorted(damages({"stages": [{}]})))
def test_a_damaged_file_is_refused(name, saved, tmp_path):
    content, program = saved
    path = tmp_path / "net.safetensors"
    path.write_bytes(content)
    assert construct.load(path).origin is not None
    with pytest.raises(InputError, match=r"^path: expected a network of this library, got .*net.safetensors \("):
        construct.load(rewritten(path, **damages(program)[name]))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"sizes": {"charts": -1, "cells": 1, "degree": 1}}, "charts: expected"),
        ({"construction": "tiny"}, "construction: expected"),
        ({"manifold": {"name": "nowhere"}}, ""),
        ({"history": [{"charts": 1}]}, "TypeError"),
        ({"claim": {"epsilon": 1}}, "TypeError"),
    ],
)
def test_a_damaged_origin_is_refused(change, text, tmp_path):
    net = circle_network()
    net.save(tmp_path / "net.safetensors")
    assert net.origin is not None
    origin = net.origin.to_json() | {"claim": asdict(net.claim)} | change
    path = rewritten(tmp_path / "net.safetensors", metadata={"origin": json.dumps(origin)})
    with pytest.raises(InputError, match=rf"^path: expected a network of this library, got .* \(.*{text}"):
        construct.load(path)


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
    with pytest.raises(InputError, match=r"^check: expected a network that knows its manifold, got"):
        other(x, check=True)
    again = construct.load(tmp_path / "net.safetensors", manifold=ellipse)
    assert again.manifold is ellipse and again(x, check=True).shape == (20,)


def test_a_claim_is_what_was_saved(tmp_path):
    net = circle_network()
    other = net.claimed(replace(net.claim, bound=0.125))
    other.save(tmp_path / "net.safetensors")
    assert construct.load(tmp_path / "net.safetensors").claim == other.claim != net.claim
