"""Settings of torch that take bits: autocast does nothing, TF32 is refused in every state of the flags."""

from typing import Any

import pytest
import torch

from construct.errors import PrecisionError
from construct.execution import precision
from construct.execution.precision import reduced_products
from tests.transformer.networks import circle_network

backends: Any = torch.backends  # its attributes are made when torch is imported


@pytest.fixture(autouse=True)
def flags():
    """The settings as they were, whatever API wrote them."""
    yield
    torch.set_float32_matmul_precision("highest")  # writes "ieee" to the backends, which would not inherit any more
    backends.fp32_precision = "none"
    for backend in (backends.cuda, backends.mkldnn):
        backend.matmul.fp32_precision = "none"
    backends.cudnn.fp32_precision = "none"


def new_cuda(value):
    backends.cuda.matmul.fp32_precision = value


def generic(value):
    backends.fp32_precision = value


def generic_then_ieee():
    backends.fp32_precision = "tf32"
    backends.cuda.matmul.fp32_precision = "ieee"


def old_flag():
    backends.cuda.matmul.allow_tf32 = True


def new_cpu(value):
    backends.mkldnn.matmul.fp32_precision = value


@pytest.mark.parametrize(
    ("write", "cuda", "cpu"),
    [
        (lambda: None, None, None),
        (old_flag, "tf32", None),
        (lambda: new_cuda("tf32"), "tf32", None),
        (lambda: new_cuda("ieee"), None, None),
        (lambda: torch.set_float32_matmul_precision("high"), "tf32", "tf32"),
        (lambda: torch.set_float32_matmul_precision("medium"), "tf32", "bf16"),
        (lambda: torch.set_float32_matmul_precision("highest"), None, None),
        (lambda: generic("tf32"), "tf32", "tf32"),
        (lambda: generic("ieee"), None, None),
        (generic_then_ieee, None, "tf32"),
        (lambda: new_cpu("bf16"), None, "bf16"),
    ],
)
def test_every_state_of_the_flags(write, cuda, cpu, monkeypatch):
    monkeypatch.setattr(precision, "_loses_bits", lambda setting: True)  # a CPU that makes use of the permission
    write()
    assert reduced_products("cuda") == cuda and reduced_products("cpu") == cpu
    assert reduced_products("mps") is None
    monkeypatch.setattr(precision, "_loses_bits", lambda setting: False)
    assert reduced_products("cpu") is None


def test_float32_is_refused_where_products_lose_bits(monkeypatch):
    net, double = circle_network(dtype=torch.float32), circle_network()
    x = net.manifold.sample(5, seed=0)
    want = net(x.float())
    monkeypatch.setattr(precision, "_loses_bits", lambda setting: True)
    torch.set_float32_matmul_precision("medium")
    with pytest.raises(PrecisionError, match=r"^x: expected float64, or float32 with .*highest.*, got .* BF16"):
        net(x.float())
    with pytest.raises(PrecisionError, match="BF16"):
        net.trace(x.float())
    assert torch.isfinite(double(x)).all()
    torch.set_float32_matmul_precision("highest")
    assert torch.equal(net(x.float()), want)


def test_a_probe_finds_products_of_few_bits(monkeypatch):
    precision._loses_bits.cache_clear()
    assert precision._loses_bits("ieee") is False
    full = torch.full
    monkeypatch.setattr(torch, "full", lambda *args, **kwargs: full(*args, **kwargs).bfloat16())
    eye = torch.eye
    monkeypatch.setattr(torch, "eye", lambda *args, **kwargs: 1.5 * eye(*args, **{**kwargs, "dtype": torch.bfloat16}))
    assert precision._loses_bits("bf16") is True
    precision._loses_bits.cache_clear()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("execution", ["dense", "sparse"])
@pytest.mark.parametrize("low", [torch.bfloat16, torch.float16])
def test_autocast_changes_nothing(dtype, execution, low):
    """Bit for bit: values, traces, points outside, and what is derived for the first time under autocast."""
    net = circle_network(dtype=dtype)
    net.execution = execution
    x = net.manifold.sample(20, seed=1).to(dtype)
    want = net(x), net(3 * x, outside="evaluate"), net.trace(x).states, net.multiply_adds()
    fresh = circle_network(dtype=dtype)
    fresh.execution = execution
    with torch.autocast("cpu", dtype=low):
        found = fresh(x), fresh(3 * x, outside="evaluate"), fresh.trace(x).states, fresh.multiply_adds()
        other = circle_network(dtype=dtype)
        traced = other.trace(x).states
    assert torch.equal(want[0], found[0]) and torch.equal(want[1], found[1]) and want[3] == found[3]
    assert all(torch.equal(a, b) for a, b in zip(want[2], found[2], strict=True))
    assert all(torch.equal(a, b) for a, b in zip(circle_network(dtype=dtype).trace(x).states, traced, strict=True))
    fresh.requires_grad_()
    with torch.autocast("cpu", dtype=low):
        live = fresh(x)
    assert torch.equal(live.detach(), fresh(x).detach()) and live.dtype == dtype
