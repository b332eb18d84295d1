"""What the sparse plan makes of signed pairs, constants, signs and dead entries; the function stays the same."""

import numpy as np
import pytest
import torch

from construct import Network
from construct.execution.plans import FoldedPlan
from construct.execution.sparse import SparseExecutor
from construct.program import heads
from construct.program.constants import gate_constant
from construct.program.heads import A, B
from construct.program.layout import ONE, TokenGroup, TokenLayout
from construct.transformer import Weights
from construct.transformer.weights import FeedForward, Heads
from tests.transformer.networks import circle_network, random_network, sphere_network

LAYOUT = TokenLayout((TokenGroup("x", (2,)), TokenGroup("w", (4,))))
BOUND = np.array([4.0, 4.0, 1.0])


def interaction(target, source, entries, register, weight):
    form, value = heads.form(1, entries), heads.value(1, {(register, ONE): weight})
    at, of = heads.point(LAYOUT, np.array([target])), heads.point(LAYOUT, np.array([source]))
    return heads.interaction(LAYOUT, form, value, gate_constant(form, BOUND, LAYOUT.code.gap), target=at, source=of)


def signed(target, source, entries, register, weight):
    """The pair `relu(G) w - relu(-G) w`."""
    negated = {key: -entry for key, entry in entries.items()}
    both = [
        interaction(target, source, entries, register, weight),
        interaction(target, source, negated, register, -weight),
    ]
    return Heads.stack(both, 5)


def network(*blocks, registers=()):
    hidden = LAYOUT.initial_state()
    for token, value in registers:
        hidden[token, 0] = value
    stacked = tuple((Heads.stack(block, 5), FeedForward()) for block in blocks)
    return Network(Weights(hidden, stacked, (5, 1), np.ones(2)))


def plan_of(net):
    plan = SparseExecutor(net.transformer, net.box).plan
    assert isinstance(plan, FoldedPlan)
    return plan


def agree(net):
    x = 2 * torch.rand(50, net.ambient, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) - 1
    sparse = net(x)
    net.execution = "dense"
    dense = net(x)
    net.execution = "sparse"
    assert torch.allclose(sparse, dense, rtol=1e-12, atol=1e-13)
    return sparse


def test_a_signed_pair_of_reads_is_a_linear_read():
    net = network([signed(5, 0, {(ONE, A): 1.0}, B, 0.5)])
    (step,) = plan_of(net).steps
    assert not step.products and step.linear.coefficients.tolist() == [[0.5]]
    assert float(agree(net).min()) < 0


def test_a_signed_pair_of_products_needs_no_relu():
    net = network(
        [signed(2, 0, {(ONE, A): 1.0}, A, 1.0)],
        [signed(2, 1, {(A, A): 1.0}, B, 1.0)],
        [signed(5, 2, {(ONE, B): 1.0}, B, 1.0)],
    )
    products = [group for step in plan_of(net).steps for group in step.products]
    assert [(group.count, group.relu) for group in products] == [(1, False)]
    x = torch.tensor([[0.5, -0.25]], dtype=torch.float64)
    assert float(net(x)) == pytest.approx(-0.125)
    agree(net)


def test_pairs_that_do_not_cancel_keep_their_relu():
    net = network([interaction(5, 0, {(ONE, A): 1.0}, B, 1.0), interaction(5, 0, {(ONE, A): -1.0}, B, 2.0)])
    (step,) = plan_of(net).steps
    assert sum(group.count for group in step.products) == 2 and all(group.relu for group in step.products)
    assert float(agree(net).min()) >= 0


def test_an_offset_that_the_box_covers_is_linear_and_a_smaller_one_is_not():
    for offset, products in ((1.0, 0), (0.5, 1)):
        net = network([interaction(5, 0, {(ONE, A): 1.0, (ONE, ONE): offset}, B, 1.0)])
        (step,) = plan_of(net).steps
        assert len(step.products) == products
        agree(net)


def test_registers_that_nothing_has_changed_are_numbers():
    net = network([signed(5, 0, {(A, A): 1.0}, B, 1.0), signed(3, 0, {(ONE, A): 1.0}, A, 1.0)], registers=[(5, 0.5)])
    (step,) = plan_of(net).steps
    assert not step.products and step.linear.coefficients.tolist() == [[0.5]]
    agree(net)


def test_what_cannot_reach_the_output_is_not_computed():
    dead = [signed(3, 0, {(ONE, A): 1.0}, A, 1.0), signed(4, 1, {(ONE, A): 1.0}, A, 1.0)]
    net = network([*dead, signed(2, 1, {(ONE, A): 1.0}, A, 1.0)], [signed(5, 2, {(ONE, A): 1.0}, B, 1.0)])
    plan = plan_of(net)
    assert plan.inputs.tolist() == [1] and plan.initial.numel() == 4  # x_1, w_0, the output and 1
    agree(net)


def test_an_output_that_nothing_writes_is_constant():
    net = random_network(0, heads=0, layers=0)
    x = torch.zeros(3, 3, dtype=torch.float64)
    assert (
        torch.equal(net(x), net.transformer.hidden0[net.transformer.output].expand(3)) or net.transformer.output[1] == 0
    )


@pytest.mark.parametrize("heads_per_block", [1, 40])
def test_many_patterns_are_padded_with_zeros(heads_per_block):
    agree(random_network(3, heads=heads_per_block, sparse=0.6, blocks=2, scale=0.2))


@pytest.mark.parametrize("build", [circle_network, sphere_network])
def test_second_derivatives_survive_the_writes_in_place(build):
    net = build()
    x = net.manifold.sample(2, seed=7).requires_grad_()
    hessians = []
    for execution in ("sparse", "dense"):
        net.execution = execution
        (gradient,) = torch.autograd.grad(net(x).sum(), x, create_graph=True)
        hessians.append(torch.autograd.grad(gradient[:, 0].sum(), x)[0])
    sparse, dense = hessians
    assert torch.allclose(sparse, dense, rtol=1e-8, atol=1e-8 * float(dense.abs().max()))


def test_chunks_do_not_matter(monkeypatch):
    net = circle_network()
    x = net.manifold.sample(300, seed=0)
    whole = net(x)
    monkeypatch.setattr("construct.execution.plans.ENTRIES_PER_CHUNK", {"cpu": 1, "other": 1})
    assert torch.allclose(net(x), whole, rtol=1e-14, atol=1e-15)
