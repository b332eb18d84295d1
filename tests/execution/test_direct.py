"""Direct execution is the formula, whatever weights and points; the scores that it leaves out are not positive."""

import pytest
import torch

from construct.execution import direct
from construct.execution.dense import dense_values
from construct.execution.direct import Direct
from tests.transformer.networks import circle_network, random_network, sphere_network


@pytest.fixture(autouse=True)
def never_dense(monkeypatch):
    monkeypatch.setattr(direct, "DENSE", 0)


def agree(net, x, relative=1e-11):
    found, want = Direct(net).forward(x), dense_values(net, x)
    return ((found - want).abs() <= relative * want.abs() + relative).all()


@pytest.mark.parametrize("together", [0, 20, 10**9])
@pytest.mark.parametrize("seed", range(4))
def test_random_networks(seed, together, monkeypatch):
    """Nothing of a construction in them; scores one by one, as matrices, and both."""
    monkeypatch.setattr(direct, "FEWEST_TOGETHER", together)
    monkeypatch.setattr(direct, "SCORES_AT_ONCE", 100)  # batches of a few heads that hear differently many tokens
    monkeypatch.setattr(direct, "ENTRIES_AT_ONCE", {"cpu": 200, "other": 200})
    net = random_network(seed, sparse=0.6, blocks=3, heads=5).formula()
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(60, 3, dtype=torch.float64, generator=generator) * torch.logspace(-2, 2, 60)[:, None].double()
    assert agree(net, x)


@pytest.mark.parametrize("make", [circle_network, sphere_network])
@pytest.mark.parametrize("factor", [0.0, 1.0, 3.0, 30.0, 1000.0, 1e6])
def test_constructed_networks(make, factor):
    net = make()
    assert agree(net.formula(), factor * net.manifold.sample(9, seed=3))


@pytest.mark.parametrize(
    ("code", "dtype", "relative"), [("trigonometric", "float64", 1e-8), ("integer", "float32", 1e-3)]
)
def test_inexact_gates(code, dtype, relative):
    """Rounding in gates, of the code and of the dtype: by no more than in the formula."""
    net = circle_network(position_code=code, dtype=getattr(torch, dtype))
    assert agree(net.formula(), 2 * net.manifold.sample(9, seed=3).to(net.dtype), relative)


@pytest.mark.parametrize("factor", [1.0, 5.0, 300.0])
def test_gradients_where_values_vanish(factor):
    """A source whose value is 0 adds nothing, but its slope does: at the origin and on the axes."""
    net = random_network(2, blocks=2, sparse=0.5).formula()
    with torch.no_grad():
        net.hidden0[:3] = 0
    x = factor * torch.cat([torch.eye(3), torch.zeros(2, 3)]).double()
    slopes = []
    for function in (Direct(net).forward, lambda y: dense_values(net, y)):
        y = x.clone().requires_grad_()
        slopes.append(torch.autograd.grad(function(y).sum(), y)[0])
    assert (slopes[0] - slopes[1]).abs().max() <= 1e-10 * slopes[1].abs().max()
    assert slopes[1].abs().max() > 0


def test_what_is_left_out_is_most(monkeypatch):
    """Of the constructed sphere network's scores less than a hundredth is looked at near the box."""
    net = sphere_network()
    formula = net.formula()
    looked = []
    heard = direct._heard

    def counted(query, key):
        target, source = heard(query, key)
        assert target is not None and source is not None
        looked.append((int((target.sum(1) * source.sum(1)).sum()), target.shape[0] * target.shape[1] ** 2))
        return target, source

    monkeypatch.setattr(direct, "_heard", counted)
    Direct(formula).forward(3 * net.manifold.sample(4, seed=0))
    scores, every = (sum(column) for column in zip(*looked, strict=True))
    assert scores < every / 20


def test_overflow_is_not_hidden():
    net = circle_network()
    x = 1e200 * net.manifold.sample(2, seed=0)
    assert not torch.isfinite(Direct(net.formula()).forward(x)).any()
