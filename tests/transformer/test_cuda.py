"""The same network on a CUDA device; skipped where there is none."""

from typing import Any

import pytest
import torch

import construct
from construct import PrecisionError
from tests.transformer.networks import sphere_network

backends: Any = torch.backends  # its attributes are made when torch is imported
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


@pytest.fixture
def settings():
    """Those of matrix products as they were, whatever API wrote them."""
    yield
    torch.set_float32_matmul_precision("highest")
    for backend in (backends, backends.cuda.matmul, backends.cudnn):
        if hasattr(backend, "fp32_precision"):  # torch 2.9 and later
            backend.fp32_precision = "none"


def old_flag():
    backends.cuda.matmul.allow_tf32 = True


def older_function():
    torch.set_float32_matmul_precision("high")


def new_setting():
    backends.cuda.matmul.fp32_precision = "tf32"


def new_setting_of_all():
    backends.fp32_precision = "tf32"


@pytest.mark.usefixtures("settings")
@pytest.mark.parametrize("write", [old_flag, older_function, new_setting, new_setting_of_all])
def test_tf32_is_refused(write):
    """However it was switched on; in float64, which it does not touch, the network goes on."""
    if write in (new_setting, new_setting_of_all) and not hasattr(backends.cuda.matmul, "fp32_precision"):
        pytest.skip("this torch has the old flags only")
    net, double = sphere_network(dtype=torch.float32, device="cuda"), sphere_network(device="cuda")
    x = net.manifold.sample(3, seed=0, dtype=torch.float32, device="cuda")
    want = double(x.double())
    assert torch.isfinite(net(x)).all()
    write()
    with pytest.raises(PrecisionError, match=r"^x: expected float64, or float32 with .*highest.*, got .* TF32"):
        net(x)
    assert torch.equal(double(x.double()), want)


@pytest.mark.parametrize("factor", [5.0, 300.0])
def test_points_outside_on_both_devices(factor):
    net = sphere_network()
    x = factor * net.manifold.sample(20, seed=1)
    want = net(x, outside="evaluate")
    found = net.to("cuda")(x.cuda(), outside="evaluate").cpu()
    assert torch.allclose(found, want, rtol=1e-10, atol=1e-11)
