"""The formula is a plain module: export, ONNX, compilation, function transforms, tracing and hooks agree with it."""

import importlib.util
import warnings

import numpy as np
import pytest
import torch

import construct
from construct.errors import InputError
from construct.export import PACKAGES
from construct.manifolds import Circle, Sphere
from tests.transformer.networks import circle_network, exp_sin, manifold_of, sphere_network

NETWORKS = {
    "compact circle": circle_network,
    "compact sphere": sphere_network,
    "paper circle": lambda: construct.approximate(exp_sin, Circle(), charts=4, cells=2, degree=2, construction="paper"),
}


@pytest.fixture(scope="module", params=list(NETWORKS))
def net(request):
    return NETWORKS[request.param]()


@pytest.fixture(scope="module")
def points(net):
    return manifold_of(net).sample(7, seed=1)


def test_the_formula_is_what_the_network_executes(net, points):
    want = net.transformer(points)
    for execution in ("dense", "sparse"):
        net.execution = execution
        assert float((net(points) - want).abs().max()) <= 1e-13 * float(1 + want.abs().max())
    assert torch.equal(net.transformer(points[0]), want[0])
    assert torch.allclose(net.transformer(points.reshape(1, 7, -1)), want.reshape(1, 7), rtol=0, atol=1e-14)


def test_torch_export_with_a_dynamic_batch(net, points):
    exported = torch.export.export(net.transformer, (points[:3],), dynamic_shapes=({0: torch.export.Dim("points")},))
    for count in (1, 2, 7):
        assert float((exported.module()(points[:count]) - net.transformer(points[:count])).abs().max()) <= 1e-14


def test_onnx_for_other_batch_sizes(net, points, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    net.export_onnx(tmp_path / "net.onnx")
    session = runtime.InferenceSession(str(tmp_path / "net.onnx"))
    for count in (1, 2, 7):
        (found,) = session.run(None, {"x": points[:count].numpy()})
        assert found.dtype == np.float64 and found.shape == (count,)
        assert float(np.abs(found - net.transformer(points[:count]).numpy()).max()) <= 1e-12


def test_onnx_without_its_packages_says_what_to_install(net, tmp_path, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in PACKAGES else found(name))
    with pytest.raises(InputError, match=r"export_onnx: expected .*construct-transformer\[onnx\].*, got no onnx"):
        net.export_onnx(tmp_path / "net.onnx")


def test_vmap(net, points):
    assert float((torch.func.vmap(net.transformer)(points) - net.transformer(points)).abs().max()) <= 1e-14


def test_jacrev_is_the_gradient_of_both_executions(net, points):
    jacobian = torch.func.vmap(torch.func.jacrev(net.transformer))(points)
    for execution in ("dense", "sparse"):
        net.execution = execution
        x = points.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(net(x).sum(), x)
        assert torch.allclose(jacobian, gradient, rtol=1e-9, atol=1e-9 * float(gradient.abs().max()))


def test_hessian_is_the_difference_of_gradients(net, points):
    hessian = torch.func.hessian(net.transformer)(points[0])
    gradient = torch.func.jacrev(net.transformer)
    h = 1e-6
    steps = h * torch.eye(net.ambient, dtype=torch.float64)
    difference = torch.stack([(gradient(points[0] + e) - gradient(points[0] - e)) / (2 * h) for e in steps])
    assert torch.allclose(hessian, difference, rtol=1e-4, atol=1e-4 * float(1 + hessian.abs().max()))


def test_jit_trace(net, points):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        traced = torch.jit.trace(net.transformer, points[:3])
    assert float((traced(points) - net.transformer(points)).abs().max()) <= 1e-14


def test_hooks_see_every_block_its_attention_and_its_ffn(net, points):
    """The hooked outputs recompose the block: Z = H + attention, Z + FFN(Z)."""
    seen: list[tuple[str, torch.Tensor, torch.Tensor]] = []
    handles = []
    for index, block in enumerate(net.transformer.blocks):
        for name, module in (("attention", block.attention), ("ffn", block.ffn), ("block", block)):
            hook = lambda m, args, out, name=name, index=index: seen.append((f"{name} {index}", args[0], out))  # noqa: E731
            handles.append(module.register_forward_hook(hook))
    net.transformer(points)
    for handle in handles:
        handle.remove()
    assert [name for name, _, _ in seen] == [
        f"{name} {i}" for i in range(len(net.transformer.blocks)) for name in ("attention", "ffn", "block")
    ]
    for (_, before, attention), (_, middle, ffn), (_, _, after) in zip(*[iter(seen)] * 3, strict=True):
        assert torch.equal(middle, before + attention) and torch.equal(after, middle + ffn)


def test_a_block_without_ffn_layers_adds_nothing(net, points):
    last = net.transformer.stack[-1]
    assert len(last.ffn) == 0
    hidden = net.transformer.embed(points)
    assert not last.ffn(hidden).any()
    assert torch.equal(last(hidden), hidden + last.attention(hidden))


def test_a_hook_that_silences_a_stage_changes_the_output(net, points):
    want = net.transformer(points)
    handle = net.transformer.blocks[0].attention.register_forward_hook(lambda m, args, out: torch.zeros_like(out))
    changed = net.transformer(points)
    handle.remove()
    assert float((changed - want).abs().max()) > 1e-3
    assert torch.equal(net.transformer(points), want)


@pytest.mark.slow  # the first compilation takes most of a minute
@pytest.mark.parametrize("name", list(NETWORKS))
def test_compile_without_graph_breaks(name):
    net = NETWORKS[name]()
    x = manifold_of(net).sample(7, seed=1)
    torch.compiler.reset()
    compiled = torch.compile(net.transformer, fullgraph=True)
    assert float((compiled(x) - net.transformer(x)).abs().max()) <= 1e-13


def test_the_sphere_in_a_higher_dimension_exports_too(tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    net = construct.approximate(exp_sin, Sphere(2, ambient=6), charts=4, degree=2, dtype=torch.float32)
    net.export_onnx(tmp_path / "net.onnx")
    x = manifold_of(net).sample(4, seed=0).float()
    (found,) = runtime.InferenceSession(str(tmp_path / "net.onnx")).run(None, {"x": x.numpy()})
    assert found.dtype == np.float32
    assert float(np.abs(found - net.transformer(x).numpy()).max()) <= 1e-4
