"""Points outside the box: named, the same function, at a bounded cost, and never NaN."""

import warnings

import numpy as np
import pytest
import torch

import construct
from construct.errors import InputError, OutsideWarning
from construct.execution import executor, outside
from construct.execution.direct import Direct
from construct.execution.inside import scaled, times_outside, within
from construct.manifolds import Circle
from tests.transformer.networks import circle_network, exp_sin, random_network, sphere_network


def dense(net, x):
    return executor("dense", net.formula(), net.box).forward(x)


@pytest.fixture(scope="module", params=[circle_network, sphere_network])
def net(request):
    return request.param()


@pytest.mark.parametrize("factor", [2.1, 3.5, 8, 30, 500, 6371, 1e6])
def test_the_same_function_to_rounding(net, factor, monkeypatch):
    """Against the dense formula, for every way to evaluate: at once, after others, with gradients."""
    monkeypatch.setattr(outside, "PLAN", 0)  # a plan is made also where the formula is cheap
    x = net.manifold.sample(24, seed=5)
    x = torch.cat([x[:4], factor * x[4:]])
    want = dense(net, x)
    tolerance = 1e-11 * want.abs() + 1e-11
    for points in (x, x.flip(0), x[-1:], x):
        found = net(points, outside="evaluate")
        reference = dense(net, points)
        assert ((found - reference).abs() <= 1e-11 * reference.abs() + 1e-11).all()
    y = x.clone().requires_grad_()
    values = net(y, outside="evaluate")
    assert ((values.detach() - want).abs() <= tolerance).all()
    (gradient,) = torch.autograd.grad(values.sum(), y)
    (expected,) = torch.autograd.grad(dense(net, y2 := x.clone().requires_grad_()).sum(), y2)
    assert ((gradient - expected).abs() <= 1e-9 * expected.abs().amax() + 1e-9).all()


@pytest.mark.parametrize("seed", range(6))
def test_random_networks_outside(seed, monkeypatch):
    """Nothing of a construction in them: whatever the plans assume has to be checked."""
    monkeypatch.setattr(outside, "PLAN", 0)
    net = random_network(seed, sparse=0.6, blocks=3)
    generator = torch.Generator().manual_seed(seed)
    x = (
        torch.randn(200, 3, dtype=torch.float64, generator=generator)
        * 10 ** torch.linspace(-1, 2, 200)[:, None].double()
    )
    for part in x.split(50):
        want, found = dense(net, part), net(part, outside="evaluate")
        assert ((found - want).abs() <= 1e-10 * want.abs() + 1e-10).all()


def test_a_plan_whose_assumptions_fail_is_not_used(monkeypatch):
    """Samples at one point: no other point passes, and all are right nevertheless."""
    monkeypatch.setattr(outside, "PLAN", 0)
    monkeypatch.setattr(outside, "FEW", -(10**9))
    monkeypatch.setattr(outside, "MOST_TRIES", 1)
    monkeypatch.setattr(outside, "spread_over", lambda box, count, seed: box[1:].double())
    net = circle_network()
    x = 3 * net.manifold.sample(50, seed=1)
    net(x[:1], outside="evaluate")
    want = dense(net, x)
    assert ((net(x, outside="evaluate") - want).abs() <= 1e-11 * want.abs() + 1e-11).all()


def test_work_without_a_plan_is_bounded(monkeypatch):
    """Of thousands of points few are evaluated directly, and plans are made a few times; one point waits for none."""
    net = sphere_network()
    plans: list[int] = []
    rows: list[int] = []
    made, evaluated = outside.assumed_plan, Direct.forward

    def counted_plan(*args):
        plans.append(1)
        return made(*args)

    def counted_values(self, x):
        rows.append(len(x))
        return evaluated(self, x)

    monkeypatch.setattr(outside, "assumed_plan", counted_plan)
    monkeypatch.setattr(Direct, "forward", counted_values)
    x = net.manifold.sample(4000, seed=2)
    for factor in (3.6, 5.0, 9.0, 70.0, 500.0, 6371.0):
        net(torch.cat([x[:500], factor * x[-1:]]), outside="evaluate")
    assert not plans and rows == 6 * [1]
    rows.clear()
    for factor in (2.2, 3.0, 3.9):
        net(factor * x, outside="evaluate")
    assert sum(rows) <= 200 and len(plans) <= 12 + 4000 // outside.MOST_ROWS // 4
    count = len(plans)
    net(3.0 * x, outside="evaluate")
    assert len(plans) <= count + 8


def test_no_plans_are_tried_again_and_again_where_there_are_none(monkeypatch):
    """Far outside, where a plan would have too many pairs, giving up is remembered."""
    monkeypatch.setattr(outside, "PLAN", 0)
    plans: list[int] = []
    monkeypatch.setattr(outside, "assumed_plan", lambda *args: plans.append(1))
    net = circle_network()
    x = 100 * net.manifold.sample(300, seed=0)
    net(x, outside="evaluate")
    count = len(plans)
    for _ in range(5):
        found = net(x, outside="evaluate")
    assert len(plans) == count <= 6
    want = dense(net, x)
    assert ((found - want).abs() <= 1e-11 * want.abs() + 1e-11).all()


def test_warn_raise_evaluate():
    net = circle_network()
    inside = net.manifold.sample(10, seed=0)
    x = torch.cat([inside, 7 * inside[:3]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net(inside)
        net(inside, outside="raise")
        net(x, outside="evaluate")
    assert net.outside == "warn"
    for execution in ("dense", "sparse"):
        net.execution = execution
        with pytest.warns(OutsideWarning, match=r"3 of 13 outside it, by a factor of up to 3\.\d+$") as caught:
            net(x)
        assert len(caught) == 1 and caught[0].filename == __file__
        with pytest.raises(InputError, match=r"^x: expected points within the box of the network, got 3 of 13 outside"):
            net(x, outside="raise")
    net.outside = "raise"
    with pytest.raises(InputError, match="within the box"):
        net(x)
    assert torch.isfinite(net(x, outside="evaluate")).all()
    for wrong in ("ignore", 1, None):
        with pytest.raises(InputError, match=r"^outside: expected one of"):
            net.outside = wrong
    with pytest.raises(InputError, match=r"^outside: expected one of"):
        net(x, outside="ignore")
    assert issubclass(construct.OutsideWarning, UserWarning)


@pytest.mark.parametrize("size", [1e150, 1e200, 1e308])
@pytest.mark.parametrize("execution", ["dense", "sparse"])
def test_overflow_is_an_input_error(size, execution):
    net = circle_network()
    net.execution = execution
    x = torch.cat([net.manifold.sample(3, seed=0), size * net.manifold.sample(2, seed=1)])
    with pytest.raises(InputError, match=r"^x: expected points at which the numbers .* stay finite .*, got"):
        net(x, outside="evaluate")


def test_float32_overflows_earlier_and_says_so():
    net = circle_network(dtype=torch.float32)
    x = net.manifold.sample(5, seed=0, dtype=torch.float32)
    want = dense(net, 3 * x)
    assert torch.allclose(net(3 * x, outside="evaluate"), want, rtol=1e-3, atol=1e-2)
    with pytest.raises(InputError, match=r"stay finite in torch.float32"):
        net(1e20 * x, outside="evaluate")


def test_excess_is_the_scale_that_holds_the_point():
    box = torch.tensor([[-1.0, 0.0, 2.0], [3.0, 0.5, 2.0]], dtype=torch.float64)
    x = torch.tensor([[1.0, 0.25, 2.0], [9.0, 0.25, 2.0], [1.0, -1.0, 2.0], [0.0, 0.25, 2.5]], dtype=torch.float64)
    assert times_outside(x, box).tolist() == [0.0, 4.0, 5.0, np.inf]
    assert within(x, box).tolist() == [True, False, False, False]
    assert within(x, scaled(box, 4.0)).tolist() == [True, True, False, False]
    assert within(x, scaled(box, 5.0)).tolist() == [True, True, True, False]


@pytest.mark.parametrize(("construction", "said"), [("compact", "5e-2"), ("ridge", "4e-1")])
def test_the_docstring_says_what_a_network_is_worth_off_the_manifold(construction, said):
    """The figure of `Network` at a radial error of 1 % on the circle, to a factor of 1.5."""
    net = construct.approximate(exp_sin, Circle(), epsilon=1e-4, construction=construction)
    assert said in (construct.Network.__doc__ or "")
    x = Circle().sample(4000, seed=0)
    error = float((net(1.01 * x) - exp_sin(x)).abs().max())
    assert float(said) / 1.5 <= error <= 1.5 * float(said)
