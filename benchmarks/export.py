"""What else evaluates the formula: torch.export, ONNX, torch.compile, torch.func, tracing, hooks, against the module.

For three networks: the largest difference from `net.transformer(x)` at points of the manifold, other numbers of points
than the example's included. `jacrev` is compared with the gradient of the sparse execution, `hooks` counts the hooks
that fired (three a block) and compares the recomposed blocks. float64; the largest absolute value is given beside it.
"""

from __future__ import annotations

import tempfile
import warnings
from functools import partial
from pathlib import Path

import onnxruntime
import torch
from torch import Tensor

import construct
from benchmarks.tables import Row, Study, arguments
from construct import targets
from construct.manifolds import Circle, Sphere
from construct.network import Network

POINTS, EXAMPLE = 64, 3
WAYS = ("torch.export", "ONNX", "compile fullgraph", "vmap", "jacrev", "jit.trace", "hooks")
NETWORKS = ("ridge circle", "ridge_5 circle", "compact circle", "compact sphere", "paper circle")


def build(name: str) -> Network:
    """One of the networks."""
    target = targets.target("exp_sin")
    if name == "ridge circle":
        return construct.approximate(target, Circle(), epsilon=1e-4, construction="ridge")
    if name == "ridge_5 circle":
        return construct.approximate(target, Circle(), epsilon=1e-4, construction="ridge", embedding_dim=5)
    if name == "compact circle":
        return construct.approximate(target, Circle(), epsilon=1e-4, construction="compact")
    if name == "compact sphere":
        return construct.approximate(target, Sphere(2), epsilon=1e-2, construction="compact")
    return construct.approximate(target, Circle(), charts=4, cells=2, degree=2, construction="paper")


def exported(net: Network, x: Tensor) -> Tensor:
    shapes = ({0: torch.export.Dim("points")},)
    return torch.export.export(net.transformer, (x[:EXAMPLE],), dynamic_shapes=shapes).module()(x)


def onnx(net: Network, x: Tensor) -> Tensor:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.onnx"
        net.export_onnx(path)
        session = onnxruntime.InferenceSession(str(path))
        return torch.from_numpy(session.run(None, {"x": x.numpy()})[0])


def compiled(net: Network, x: Tensor) -> Tensor:
    torch.compiler.reset()
    return torch.compile(net.transformer, fullgraph=True)(x)


def traced(net: Network, x: Tensor) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.trace(net.transformer, x[:EXAMPLE])(x)


def hooked(net: Network, x: Tensor) -> Tensor:
    """The output recomposed from what hooks on every attention and FFN saw."""
    seen: list[Tensor] = []
    modules = [m for block in net.transformer.stack for m in (block.attention, block.ffn)]
    handles = [m.register_forward_hook(lambda m, args, out: seen.append(out)) for m in modules]
    net.transformer(x)
    for handle in handles:
        handle.remove()
    assert len(seen) == len(modules)
    token, row = net.transformer.output
    return (net.transformer.embed(x) + torch.stack(seen).sum(dim=0))[:, token, row]


def gradients(net: Network, x: Tensor) -> Tensor:
    return torch.func.vmap(torch.func.jacrev(net.transformer))(x)


def gradients_of_the_execution(net: Network, x: Tensor) -> Tensor:
    at = x.clone().requires_grad_()
    return torch.autograd.grad(net(at).sum(), at)[0]


def compare(name: str, way: str) -> Row:
    """Largest difference of one way for one network."""
    net = build(name)
    x = net.manifold.sample(POINTS, seed=1)
    run = {
        "torch.export": exported,
        "ONNX": onnx,
        "compile fullgraph": compiled,
        "vmap": lambda net, x: torch.func.vmap(net.transformer)(x),
        "jacrev": gradients,
        "jit.trace": traced,
        "hooks": hooked,
    }[way]
    want = gradients_of_the_execution(net, x) if way == "jacrev" else net.transformer(x)
    found = run(net, x).detach()
    return {
        "difference": f"{float((found - want).abs().max()):.1e}",
        "largest": f"{float(want.abs().max()):.3g}",
        "heads": net.architecture.total_heads,
        "tokens": net.architecture.tokens,
    }


def main() -> None:
    """Run the study."""
    options = arguments(__doc__)
    study = Study("export", ("network", "way"), options)
    for name in NETWORKS[:2] if options.quick else NETWORKS:
        for way in WAYS:
            study.run({"network": name, "way": way}, partial(compare, name, way))
    worst = max(float(row["difference"]) for row in study.rows)
    study.markdown(
        [f"torch {torch.__version__}, onnxruntime {onnxruntime.__version__}; largest difference {worst:.1e}."]
    )


if __name__ == "__main__":
    main()
