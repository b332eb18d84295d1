"""Every door and every back door: what a network evaluates is its own, and what is said is said of exactly that."""

import copy
import io
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import construct
from construct.claim import Claim
from construct.errors import InputError, PrecisionError
from construct.manifolds import Circle
from construct.transformer.module import Transformer
from tests.transformer.networks import circle_network, exp_sin, manifold_of


@pytest.fixture(scope="module")
def made():
    net = construct.approximate(exp_sin, Circle(), charts=5, degree=6)
    assert net.claim is not None
    return net


@pytest.fixture
def net(made):
    return copy.deepcopy(made)


X = Circle().sample(40, seed=3)
LINE = 0.1 * torch.arange(1, 41, dtype=torch.float64)[:, None] * torch.ones(2, dtype=torch.float64) / 4


def formula_in_numpy(weights, x):
    """The function of weights as data, in loops over heads: an oracle that shares nothing with the library."""
    out = []
    for point in x.numpy():
        h = weights.hidden0.copy()
        h[: len(point), 0] += point
        for heads, ffn in weights.blocks:
            z = h.copy()
            for q, k, v in zip(heads.query, heads.key, heads.value, strict=True):
                z += np.maximum((h @ q.T) @ (h @ k.T).T, 0) @ (h @ v.T)
            f = z
            for i, (w, b) in enumerate(ffn.layers):
                f = (np.maximum(f, 0) if i else f) @ w.T + b
            h = z + f if ffn.layers else z
        out.append(h[weights.readout])
    return torch.tensor(np.array(out))


def both(net, x):
    found = []
    for execution in ("dense", "sparse"):
        net.execution = execution
        found.append(net(x, outside="evaluate").detach())
    return found


def right(net, x=LINE):
    """Both executions are the formula of the weights that the network says it has; values of the sparse one."""
    want, (dense, sparse) = formula_in_numpy(net.weights, x), both(net, x)
    size = 1e-11 * float(1 + want.abs().max())
    assert float((dense - want).abs().max()) <= size and float((sparse - want).abs().max()) <= size
    return sparse


def numpy_view(net):
    net.transformer.hidden0.numpy()[:, 1] *= 1.5


def through_data(net):
    net.transformer.hidden0.data[:, 1] += 0.25


def replaced_data(net):
    net.transformer.hidden0.data = 2 * net.transformer.hidden0.data


def in_place(net):
    with torch.no_grad():
        net.transformer.stack[-1].attention.value.mul_(3)


def other_output(net):
    net.transformer.output = (0, 0)
    net.transformer.readout.fill_(0)


def through_parameters(net):
    for parameter in net.parameters():
        parameter.data.mul_(1.01)


def half_public(net):
    net.transformer.half()


def shorter(net):
    net.transformer.blocks = net.transformer.blocks[:1]


def loaded_public(net):
    net.transformer.load_state_dict(
        {n: 0.5 * t for n, t in net.transformer.state_dict().items() if n == "hidden0"}, strict=False
    )


def box_written(net):
    net.box.fill_(1e-3)


def weights_of_the_copy(net):
    with torch.no_grad():
        net.formula().hidden0.mul_(2)


def state_written(net):
    net.state_dict()["transformer.hidden0"].mul_(2)


def traced(net):
    for stage in net.trace(X[:2]).states:
        stage.mul_(2)


BACK_DOORS = [
    numpy_view, through_data, replaced_data, in_place, other_output, through_parameters, half_public, shorter,
    loaded_public, box_written, weights_of_the_copy, state_written, traced,
]  # fmt: skip


@pytest.mark.parametrize("poke", BACK_DOORS)
def test_what_is_done_to_the_public_module_does_not_reach_a_sealed_network(net, made, poke, tmp_path):
    kept = net.transformer  # also through a reference from before
    want, text, claim = right(net), repr(net), net.claim
    poke(net)
    assert torch.equal(right(net), want) and repr(net) == text and net.claim == claim is not None
    assert net.digest == made.digest and net.architecture == made.architecture
    assert net.multiply_adds() == made.multiply_adds() and net.output_bound == made.output_bound
    net.save(tmp_path / "net.safetensors")
    assert torch.equal(construct.load(tmp_path / "net.safetensors")(LINE), want)
    poke(net)
    assert torch.equal(copy.deepcopy(net)(LINE), want) and isinstance(kept, nn.Module)
    net.requires_grad_()  # brings the public module back in step first
    assert torch.equal(net.transformer.hidden0.detach(), made.transformer.hidden0) and net.claim is None
    right(net)
    net.requires_grad_(False)
    assert net.claim == claim and net.digest == made.digest


def test_weights_are_handed_out_read_only(net):
    weights = net.weights
    for array in (weights.hidden0, weights.box, weights.blocks[0][0].query):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    want = net(X)
    torch.from_numpy(weights.hidden0.copy()).zero_()
    torch.utils.dlpack.from_dlpack(net.formula().hidden0.detach()).zero_()
    assert torch.equal(net(X), want)


def test_the_output_is_memory_of_its_own():
    """A network whose output no block writes returns a number of hidden0, not a view of it."""
    net = circle_network()
    with net.edit() as transformer:
        transformer.output = (3, 3)
    want = net(X[:1]).clone()
    for execution in ("dense", "sparse"):
        net.execution = execution
        net(X[:1]).add_(1.0)
        assert torch.equal(net(X[:1]), want)


def test_training_is_live_and_sealing_takes_it(net, made):
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-12)  # made before the network is opened
    net.requires_grad_()
    before = right(net)
    for _ in range(3):
        optimizer.zero_grad()
        net(X).square().mean().backward()
        optimizer.step()
        assert "open for changes" in repr(net) and net.claim is None
    trained = right(net)
    assert not torch.equal(trained, before)
    for parameter in net.parameters():  # as an average of weights does
        parameter.data.lerp_(torch.zeros_like(parameter), 1e-3)
    averaged = right(net)
    assert not torch.equal(averaged, trained)
    net.requires_grad_(False)
    assert (
        torch.allclose(right(net), averaged, rtol=1e-11, atol=1e-12) and net.claim is None and net.certificate is None
    )
    assert "weights changed since the claim" in repr(net) and "none trained" not in repr(net)
    sealed = right(net)
    through_data(net)
    assert torch.equal(right(net), sealed)
    assert made.claim is not None


def test_a_program_is_not_shown_as_that_of_other_weights(net, tmp_path):
    str(net.program)
    with net.edit() as transformer:
        transformer.hidden0[:, 1] *= 1.5
    with pytest.raises(InputError, match=r"^net: expected the weights that its program compiles to, got weights that"):
        _ = net.program
    assert net.approximator is None and net.origin is not None
    assert torch.allclose(net.trace(X[:5])["read-out"]["out.b"][:, 0], net(X[:5]), rtol=0, atol=1e-11)
    net.save(tmp_path / "net.safetensors")
    other = construct.load(tmp_path / "net.safetensors")
    assert torch.equal(other(X), net(X)) and other.claim is None
    with pytest.raises(InputError):
        _ = other.program


def test_edit_is_a_door_and_all_or_nothing(net):
    claim, start = net.claim, right(net)
    with net.edit() as transformer:
        transformer.hidden0[:, 1] *= 1.5
        inside = right(net)
        assert net.is_open and net.claim is None
    assert torch.equal(right(net), inside) and not torch.equal(inside, start) and not net.is_open
    with net.edit() as transformer:
        transformer.hidden0[:, 1] /= 1.5
    if torch.equal(net.transformer.hidden0, transformer.hidden0) and net.digest == claim.weights:
        assert net.claim == claim
    good = right(net)
    with pytest.raises(KeyError), net.edit() as transformer:
        transformer.hidden0.zero_()
        raise KeyError
    with pytest.raises(InputError, match="hidden0: expected a finite array"), net.edit() as transformer:
        transformer.hidden0[0, 0] = float("nan")
    with pytest.raises(InputError, match="readout: expected"), net.edit() as transformer:
        transformer.readout[0] = 10**6
    with pytest.raises(InputError, match=r"hidden0: expected torch.float64"), net.edit() as transformer:
        transformer.half()
    with pytest.raises(InputError, match="transformer: expected blocks"), net.edit() as transformer:
        transformer.blocks[0] = nn.Identity()
    assert torch.equal(right(net), good) and not net.is_open


def test_blocks_can_be_taken_out(net):
    with net.edit() as transformer:
        transformer.blocks = transformer.blocks[:2]
    assert net.architecture.blocks == 2
    right(net)
    with pytest.raises(InputError, match=r"^net: expected \(tokens, blocks\) = .*, got"):
        net.trace(X)


def test_a_diverged_training_is_refused_until_it_is_mended(net):
    net.requires_grad_()
    with torch.no_grad():
        net.transformer.hidden0[0, 0] = float("inf")
    with pytest.raises(InputError, match="hidden0: expected a finite array"):
        net(X)
    assert "none that can be evaluated" in repr(net)
    with pytest.raises(InputError, match="hidden0"):
        net.requires_grad_(False)
    with torch.no_grad():
        net.transformer.hidden0[0, 0] = 0.0
    net.requires_grad_(False)
    right(net)


@pytest.mark.parametrize("assign", [False, True])
def test_loading_is_a_door(net, made, assign):
    state = {name: 1.25 * t if t.is_floating_point() else t for name, t in net.state_dict().items()}
    through_data(net)
    net.load_state_dict(state, assign=assign)
    want = right(net)
    assert net.claim is None and torch.equal(net.transformer.hidden0, state["transformer.hidden0"])
    state["transformer.hidden0"].zero_()  # shared with the public module where assign=True
    assert torch.equal(right(net), want)
    net.load_state_dict(made.state_dict(), assign=assign)
    assert net.claim == made.claim and net.digest == made.digest and str(net.program) == str(made.program)


def test_nothing_comes_in_beside_what_is_loaded(net, made):
    through_data(net)
    net.load_state_dict({"transformer.readout": made.transformer.readout}, strict=False)
    assert net.digest == made.digest


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"transformer.hidden0": torch.full((1,), 1.0)}, RuntimeError),
        ({"transformer.nothing": torch.ones(1)}, RuntimeError),
        ({"transformer.readout": torch.tensor([-1, 0])}, InputError),
    ],
)
def test_a_refused_state_changes_nothing(net, made, change, error):
    state = {n: 2 * t if t.is_floating_point() else t for n, t in made.state_dict().items()} | change
    with pytest.raises(error):
        net.load_state_dict(state)
    assert net.digest == made.digest and net.claim == made.claim
    right(net)


def test_nan_is_not_loaded(net, made):
    state = made.state_dict()
    state["transformer.hidden0"][0, 0] = float("nan")
    for assign in (False, True):
        with pytest.raises(InputError, match="hidden0: expected a finite array"):
            net.load_state_dict(state, assign=assign)
        assert net.digest == made.digest
    with pytest.raises(InputError, match=r"expected torch.float64"):
        net.load_state_dict(
            {n: t.half() if t.is_floating_point() else t for n, t in made.state_dict().items()}, assign=True
        )
    assert net.digest == made.digest


def test_inside_another_module(net, made):
    outer = nn.Sequential(nn.Linear(2, 2, dtype=torch.float64), net)
    through_data(net)
    state = outer.state_dict()
    assert torch.equal(state["1.transformer.hidden0"], made.state_dict()["transformer.hidden0"])
    state["1.transformer.hidden0"][:, 1] *= 2
    outer.load_state_dict(state)
    assert net.claim is None
    right(net)
    outer.requires_grad_()  # of an outer module: noticed by the network's next call
    outer(0.1 * X).sum().backward()
    assert net.is_open and net.transformer.hidden0.grad is not None
    torch.optim.SGD(outer.parameters(), lr=1e-6).step()
    right(net)
    outer.load_state_dict(outer.state_dict())
    assert net.is_open
    with pytest.raises(PrecisionError, match="dtype: expected"):
        outer.half()


def test_functional_call(net, made):
    doubled = {f"transformer.{n}": 2 * p.detach() for n, p in net.transformer.named_parameters() if n.endswith("value")}
    formula = {n.removeprefix("transformer."): p for n, p in doubled.items()}
    plain = torch.func.functional_call(net.transformer, formula, (X,))
    with pytest.raises(
        InputError, match=r"^net: expected an open network .*, got a sealed one, with parameters replaced"
    ):
        torch.func.functional_call(net, doubled, (X,))
    assert torch.equal(right(net), right(copy.deepcopy(made)))
    net.requires_grad_()
    found = torch.func.functional_call(net, doubled, (X,))
    assert torch.allclose(found, plain, rtol=1e-10, atol=1e-10 * float(plain.abs().max()))
    assert torch.allclose(right(net), right(copy.deepcopy(made)), rtol=1e-12, atol=1e-12)


def test_copies_share_what_cannot_change_and_nothing_else(net, made):
    other, again = copy.deepcopy(net), copy.copy(net)
    with other.edit() as transformer:
        transformer.hidden0[:, 1] *= 2
    again.requires_grad_()
    with torch.no_grad():
        again.transformer.hidden0[:, 1] *= 3
    right(other), right(again)
    assert net.digest == made.digest and net.claim == made.claim and not net.is_open
    assert len({n.digest for n in (net, other, again)}) == 3


def test_pickle_and_torch_save(net, made):
    buffer = io.BytesIO()
    torch.save(net, buffer)
    buffer.seek(0)
    for other in (pickle.loads(pickle.dumps(net)), torch.load(buffer, weights_only=False)):
        assert other.digest == made.digest and other.claim == made.claim and torch.equal(other(X), made(X))
        through_data(other)
        assert other.digest == made.digest
        other.requires_grad_()
        right(other)


@pytest.mark.parametrize("way", ["pickle", "torch.save", "file", "deepcopy", "built"])
def test_networks_made_in_inference_mode_can_be_opened(way, net, tmp_path):
    """What is read or copied under `torch.inference_mode` trains and is edited as any other network."""
    data, buffer = pickle.dumps(net), io.BytesIO()
    torch.save(net, buffer)
    buffer.seek(0)
    net.save(tmp_path / "net")
    with torch.inference_mode():
        other = {
            "pickle": lambda: pickle.loads(data),
            "torch.save": lambda: torch.load(buffer, weights_only=False),
            "file": lambda: construct.load(tmp_path / "net"),
            "deepcopy": lambda: copy.deepcopy(net),
            "built": lambda: construct.approximate(lambda x: x[..., 0], Circle(), charts=4, degree=2),
        }[way]()
        other(X[:2])
    before = other(X).clone()
    with other.edit() as transformer:
        transformer.stack[-1].attention.value.mul_(2.0)
    assert not torch.equal(other(X), before)
    other.requires_grad_()
    other(X).square().mean().backward()
    assert any(p.grad is not None and bool(p.grad.any()) for p in other.parameters())


def test_plans_made_in_inference_mode_serve_gradients(net):
    with torch.inference_mode():
        net(X)
        net(100 * X, outside="evaluate")
    x = X.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(net(x).sum(), x)
    assert torch.isfinite(gradient).all()


# -- claims -----------------------------------------------------------------------------------------------------------


def test_a_claim_is_bound_to_weights_and_dtype(net):
    claim = net.claim
    assert claim.weights == net.digest
    single = copy.deepcopy(net).float()
    assert single.claim is None and "in torch.float32 now, claimed in torch.float64" in repr(single)
    assert str(single.program) == str(net.program)
    assert single.digest != net.digest
    with pytest.raises(InputError, match=r"^claim: expected one of the weights .*, got one of"):
        single.claimed(claim)
    assert single.claimed(replace(claim, weights="")).claim.weights == single.digest
    with pytest.raises(InputError, match=r"^claim: expected a construct.Claim"):
        net.claimed("small")
    assert net.claimed(None).claim is None and net.claim == claim
    assert Claim(None, 1.0, "measured", 1).weights == ""


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_precisions_that_hold_no_code_are_refused(net, made, dtype):
    with pytest.raises(PrecisionError, match="dtype: expected"):
        net.to(dtype)
    assert net.digest == made.digest and torch.equal(net(X), made(X))
    net.requires_grad_()
    net.transformer.to(dtype)
    with pytest.raises((InputError, PrecisionError), match=r"hidden0: expected torch.float64"):
        net(X)
    assert made.transformer.to(torch.float64) is made.transformer


def test_moves_that_are_none(net, made):
    for move in (
        lambda n: n.to("cpu"),
        lambda n: n.double(),
        lambda n: n.to(torch.float64),
        lambda n: n.share_memory(),
    ):
        assert move(net).claim == made.claim and net.digest == made.digest
    for move in (lambda n: n.to("meta"), lambda n: n.to_empty(device="meta")):
        with pytest.raises((InputError, NotImplementedError)):
            move(net)
        assert net.digest == made.digest


# -- what the check of a call costs -----------------------------------------------------------------------------------


class Counted(dict):
    """A dictionary that counts how often it is asked."""

    asked = 0

    def get(self, *args):
        Counted.asked += 1
        return super().get(*args)

    def __getitem__(self, name):
        Counted.asked += 1
        return super().__getitem__(name)

    def items(self):
        Counted.asked += len(self)
        return super().items()


@pytest.mark.parametrize("charts", [4, 9])
def test_a_sealed_call_looks_at_one_parameter_whatever_the_size(charts):
    net = construct.approximate(exp_sin, Circle(), charts=charts, degree=6)
    net(X)
    for module in net.transformer.modules():
        module._parameters = Counted(module._parameters)
    net(X)  # the public module was asked for: this once its parameters are compared
    Counted.asked = 0
    net(X)
    assert Counted.asked == 0  # that one is kept by hand
    assert isinstance(net.transformer, Transformer) and manifold_of(net) is not None
