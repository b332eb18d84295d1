"""Dense and sparse are the same function, with the same gradients; bounds hold; nothing but the weights counts."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from construct import Network
from construct.errors import InputError, OffManifoldError
from construct.execution import executor
from construct.execution.plans import propagate
from construct.execution.sparse import SparseExecutor
from construct.transformer import Weights
from construct.transformer.weights import FeedForward, Heads
from tests.program.oracle import feed_forward, head_output
from tests.transformer.networks import circle_network, random_network, sphere_network

SEEDS = st.integers(0, 2**31)


def naive(net, x):
    """Token by token in numpy, from the formula of the class."""
    hidden = net.transformer.hidden0.detach().numpy().copy()
    hidden[: len(x), 0] += x
    states = [hidden]
    for block in net.transformer.blocks:
        weights = [getattr(block.attention, name).detach().numpy() for name in ("query", "key", "value")]
        middle = hidden + sum(head_output(q, k, v, hidden) for q, k, v in zip(*weights, strict=True))
        layers = tuple((layer.weight.detach().numpy(), layer.bias.detach().numpy()) for layer in block.ffn.affine)
        hidden = middle + feed_forward(FeedForward(layers), middle)
        states.append(hidden)
    token, row = (int(i) for i in net.transformer.readout)
    return hidden[token, row], states


@settings(max_examples=40, deadline=None)
@given(
    SEEDS, st.integers(1, 3), st.integers(0, 3), st.integers(1, 3), st.sampled_from([0.0, 0.7]), st.sampled_from([5, 7])
)
def test_executions_agree_with_the_naive_oracle(seed, blocks, heads, layers, sparse, width):
    net = random_network(seed, blocks=blocks, heads=heads, layers=layers, sparse=sparse, width=width)
    x = torch.rand(4, 3, dtype=torch.float64) * 2 - 1
    want = torch.tensor([naive(net, row.numpy())[0] for row in x])
    assert torch.allclose(net.transformer(x), want, rtol=1e-11, atol=1e-12)
    states = [torch.tensor(np.stack(s)) for s in zip(*(naive(net, row.numpy())[1] for row in x), strict=True)]
    for execution in ("dense", "sparse"):
        net.execution = execution
        assert torch.allclose(net(x), want, rtol=1e-11, atol=1e-12)
        found = executor(execution, net.transformer, net.box).states(x)
        assert len(found) == len(states)
        assert all(torch.allclose(a, b, rtol=1e-10, atol=1e-11) for a, b in zip(found, states, strict=True))


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.sampled_from([0.0, 0.6]))
def test_propagated_bounds_contain_every_state(seed, sparse):
    net = random_network(seed, blocks=2, sparse=sparse)
    bounds = propagate(net.transformer, net.box)
    for row in np.random.default_rng(seed).uniform(-1, 1, (20, 3)):
        _, states = naive(net, row)
        for state, bound in zip(states[1:], bounds, strict=True):
            slack = 1e-9 * (1 + np.abs(state))
            assert np.all(state >= bound.after.lower - slack) and np.all(state <= bound.after.upper + slack)


@pytest.mark.parametrize("build", [circle_network, sphere_network])
def test_constructed_networks_agree_dense_and_sparse(build):
    net = build()
    scatter = net.box[0] + torch.rand(10, net.ambient, dtype=torch.float64) * (net.box[1] - net.box[0])
    x = torch.cat([net.manifold.sample(20, seed=3), scatter])
    sparse = net(x)
    net.execution = "dense"
    dense = net(x)
    assert float((dense - sparse).abs().max()) <= 1e-12 * float(dense.abs().max())
    plan, size = SparseExecutor(net.transformer, net.box).plan, net.architecture
    assert sum(len(p) for p in plan.pairs) < 0.02 * size.total_heads * size.tokens**2


@pytest.mark.parametrize("seed", range(4))
def test_gradients_of_both_executions_agree(seed):
    net = random_network(seed, blocks=2)
    x = torch.rand(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).requires_grad_()
    net.requires_grad_()
    grads = []
    for execution in ("dense", "sparse"):
        net.execution = execution
        grads.append(torch.autograd.grad(net(x).sum(), [x, *net.parameters()], allow_unused=False))
    for dense, sparse in zip(*grads, strict=True):
        assert torch.allclose(dense, sparse, rtol=1e-9, atol=1e-9 * float(dense.abs().max() + 1e-300))


def test_gradients_of_a_constructed_network_agree():
    net = circle_network()
    x = net.manifold.sample(6, seed=1).requires_grad_()
    grads = []
    for execution in ("dense", "sparse"):
        net.execution = execution
        grads.append(torch.autograd.grad(net(x).sum(), x)[0])
    assert torch.allclose(grads[0], grads[1], rtol=1e-9, atol=1e-9)
    net.requires_grad_()
    weights = []
    for execution in ("dense", "sparse"):
        net.execution = execution
        weights.append(torch.autograd.grad(net(x.detach()).sum(), list(net.parameters())))
    for dense, sparse in zip(*weights, strict=True):
        assert torch.allclose(dense, sparse, rtol=1e-8, atol=1e-8 * float(dense.abs().max() + 1e-300))


def test_gradient_in_x_is_the_derivative():
    net = sphere_network()
    x = net.manifold.sample(4, seed=5).requires_grad_()
    (grad,) = torch.autograd.grad(net(x).sum(), x)
    direction = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    h = 1e-6
    with torch.no_grad():
        difference = (net(x + h * direction) - net(x - h * direction)) / (2 * h)
    assert torch.allclose((grad * direction).sum(-1), difference, atol=1e-6)


def test_a_changed_weight_changes_the_sparse_pattern():
    """The pattern comes from the weights: opening one gate by hand must be noticed."""
    net = circle_network()
    x = net.manifold.sample(8, seed=2)
    before = net(x)
    with net.edit() as transformer:
        query = transformer.blocks[-1].attention.query
        query.zero_()
        query[:, 0, -1] = 1.0  # a constant score: every token adds to every token
    sparse = net(x)
    net.execution = "dense"
    assert torch.allclose(sparse, net(x), rtol=1e-12)
    assert not torch.allclose(sparse, before)


def test_only_the_weights_decide():
    net = circle_network()
    other = copy.deepcopy(net)
    other = other.claimed(None)
    other.origin = None
    bare = random_like(net)
    bare.load_state_dict(net.state_dict())
    x = net.manifold.sample(10, seed=4)
    assert torch.equal(net(x), other(x)) and torch.equal(net(x), bare(x))


def random_like(net):
    """A network of the same shapes with other weights."""
    blocks = []
    for block in net.transformer.blocks:
        shape = tuple(block.attention.query.shape)
        rng = np.random.default_rng(0)
        layers = tuple((rng.normal(size=(5, 5)), rng.normal(size=5)) for _ in range(len(block.ffn)))
        blocks.append((Heads(*(rng.normal(size=shape) for _ in range(3))), FeedForward(layers)))
    hidden = np.zeros(tuple(net.transformer.hidden0.shape))
    return Network(Weights(hidden, tuple(blocks), net.transformer.output, net.box.numpy()))


def test_to_moves_dtype_and_keeps_the_function():
    net = sphere_network()
    x = net.manifold.sample(200, seed=6)
    single = copy.deepcopy(net).to(torch.float32)
    assert single.dtype == torch.float32 and single(x.float()).dtype == torch.float32
    assert float((single(x.float()).double() - net(x)).abs().max()) < 1e-4


def test_batch_shapes_and_empty_input():
    net = circle_network()
    x = net.manifold.sample(6, seed=0)
    assert net(x.reshape(2, 3, 2)).shape == (2, 3)
    assert net(x[0]).shape == ()
    assert net(x[:0]).shape == (0,)


def test_bad_points_are_refused():
    net = circle_network()
    x = net.manifold.sample(3, seed=0)
    with pytest.raises(
        InputError, match=r"^x: expected a torch tensor of shape \(\.\.\., 2\), got a tensor of shape \(3, 3\)"
    ):
        net(torch.zeros(3, 3, dtype=torch.float64))
    with pytest.raises(InputError, match=r"x: expected dtype torch\.float64, got torch\.float32"):
        net(x.float())
    with pytest.raises(
        InputError, match=r"^x: expected finite points, got a tensor of shape \(2, 2\) .* with 1 entries"
    ):
        net(torch.tensor([[0.0, 1.0], [float("nan"), 0.0]], dtype=torch.float64))
    with pytest.raises(InputError, match=r"^x: expected a torch tensor .*, got an array of shape \(3, 2\)"):
        net(x.numpy())
    with pytest.raises(OffManifoldError, match="got 1 off it"):
        net(torch.tensor([[1.0, 0.0], [1.0, 1.0]], dtype=torch.float64), check=True)
    assert net(x, check=True).shape == (3,)
    net.origin = None
    with pytest.raises(InputError, match=r"^check: expected a network that knows its manifold, got"):
        net(x, check=True)
    with pytest.raises(InputError, match="execution: expected one of"):
        net.execution = "fast"


def test_bad_networks_are_refused():
    hidden, none = np.zeros((4, 5)), ((Heads.none(5), FeedForward()),)
    with pytest.raises(InputError, match=r"^box: expected shape \(2, D\) with 1 <= D <= 4 tokens, got \(2, 5\)$"):
        Weights(hidden, none, (0, 0), np.ones(5))
    with pytest.raises(InputError, match=r"^readout: expected \(token, row\) within \(4, 5\), got \(4, 0\)$"):
        Weights(hidden, none, (4, 0), np.ones(2))
    with pytest.raises(InputError, match=r"^box: expected finite ends of shape \(2, D\)"):
        Weights(hidden, none, (0, 0), np.ones((3, 1)))
    with pytest.raises(InputError, match=r"^box: expected finite ends .*, got \[\[-1.0, 1.0\], \[1.0, -1.0\]\]$"):
        Weights(hidden, none, (0, 0), np.array([1.0, -1.0]))
    with pytest.raises(InputError, match=r"^blocks\[0\]: expected matrices of 5 rows, got heads of 4$"):
        Weights(hidden, ((Heads.none(4), FeedForward()),), (0, 0), np.ones(2))
    with pytest.raises(InputError, match=r"^bounds: expected one for each of 1 blocks, got 0$"):
        Weights(hidden, none, (0, 0), np.ones(2), ())
    with pytest.raises(InputError, match=r"^hidden0: expected a finite array"):
        Weights(hidden * np.nan, none, (0, 0), np.ones(2))


def test_architecture_is_counted_from_the_tensors():
    net = sphere_network()
    report = net.architecture
    blocks, hidden = net.transformer.stack, net.transformer.hidden0
    heads = [block.attention.query.shape[0] for block in blocks]
    layers = [len(block.ffn) for block in blocks]
    registers = int((hidden[:, :2] != 0).sum())
    assert report.blocks == len(heads) and report.heads == max(heads) and report.total_heads == sum(heads)
    assert report.parameters == 75 * sum(heads) + 30 * sum(layers) + registers
    assert report.nonzero_parameters == sum(int((p != 0).sum()) for b in blocks for p in b.parameters()) + registers
    assert report.ffn_width == report.embedding_dim == 5 and report.tokens == hidden.shape[0]
    assert report.weight_bound == max(float(p.abs().max()) for p in net.parameters() if p.numel())
    x = net.manifold.sample(500, seed=0)
    assert float(net(x).abs().max()) <= net.output_bound
    text = repr(net)
    assert "5 blocks" in text and "none trained" in text and "Sphere" in text


@pytest.mark.parametrize("build", [circle_network, sphere_network])
def test_traces_name_what_the_states_hold(build):
    net = build()
    x = net.manifold.sample(7, seed=8)
    traces = []
    for execution in ("dense", "sparse"):
        net.execution = execution
        traces.append(net.trace(x))
    dense, sparse = traces
    assert list(dense) == ["input", *net.origin.stages] and len(dense) == 1 + len(net.origin.stages)
    for stage in dense:
        for slot, values in dense[stage].items():
            assert values.shape == (7, *net.origin.layout.group(slot.split(".")[0]).shape)
            assert torch.allclose(values, sparse[stage][slot], rtol=1e-11, atol=1e-12)
    assert torch.equal(dense["input"]["x.a"], x)
    rho = dense["partition of unity"]["R.a"]
    assert dense.axes("R.a") == ("point", "chart") and float((rho.sum(dim=1) - 1).abs().max()) <= 1e-12
    assert torch.allclose(dense["read-out"]["out.b"][:, 0], net(x), rtol=0, atol=1e-12)
    with pytest.raises(InputError, match=r"^stage: expected one of .*, got 'nowhere'$"):
        dense["nowhere"]
    with pytest.raises(InputError, match=r"^slot: expected one of .*, got 'R.c'$"):
        dense["input"]["R.c"]
    with pytest.raises(InputError, match=r"^x: expected points within the box, .*, got 1 outside$"):
        net.trace(100 * x[:1])
