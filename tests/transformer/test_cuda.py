"""The same network on a CUDA device; skipped where there is none."""

import pytest
import torch

import construct
from construct import PrecisionError
from tests.transformer.networks import sphere_network

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]


@pytest.mark.parametrize("execution", ["sparse", "dense"])
def test_cuda_equals_cpu(execution):
    net = sphere_network()
    x = net.manifold.sample(50, seed=1)
    want = net(x)
    net = net.to("cuda")
    net.execution = execution
    assert torch.allclose(net(x.cuda()).cpu(), want, rtol=1e-11, atol=1e-12)
    assert construct.measure(net, lambda p: net(p), net.manifold, samples=500).sup == 0.0


def test_tf32_is_refused(monkeypatch):
    net = sphere_network(dtype=torch.float32, device="cuda")
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", True)
    with pytest.raises(PrecisionError, match="TF32"):
        net(net.manifold.sample(3, seed=0, dtype=torch.float32, device="cuda"))
