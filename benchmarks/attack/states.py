"""Networks in states: edited weights, other dtypes, copies, pickles, executions, and what is said of them afterwards.

A few operations are done to a copy of a network; then it is called in both executions. Right is the formula of the
weights that it was built with or that last went through a door (later changes were kept out), or of those that its
transformer holds now (the change was noticed); never anything else, and the same in both executions. A claim that is
still made must be of the weights that it was built with.
"""

from __future__ import annotations

import copy
import io
import math
import pickle
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch

import construct
from benchmarks.attack import oracles, pool, values
from benchmarks.attack.cases import FALSE, NOT_FINITE, RIGHT, WRONG, Case, Outcome, Surface
from benchmarks.attack.judge import OutOfTime, refusal
from construct.network import Network

NAMES_OF_ERRORS = {
    "x", "dtype", "device", "readout", "execution", "net", "weights", "query", "key", "value", "hidden0", "layers",
    "box", "blocks", "state_dict", "transformer", "outside", "path", "program", "claim", "epsilon",
}  # fmt: skip
NETS = ("segment", "random", "coarse circle", "circle", "trigonometric circle", "float32 circle", "claimed segment")
FACTORS = (0.5, 1.5, -1.0, 1e5, 1e-300, 1e300, math.nan, math.inf, 0.0)


def _parameter(net: Network, rng: np.random.Generator) -> torch.nn.Parameter:
    parameters = [p for p in net.transformer.parameters() if p.numel()]
    return parameters[int(rng.integers(len(parameters)))]


def _entry(p: torch.Tensor, rng: np.random.Generator) -> tuple[int, ...]:
    nonzero = p.detach().nonzero()
    if len(nonzero) and rng.random() < 0.8:
        return tuple(int(i) for i in nonzero[int(rng.integers(len(nonzero)))])
    return tuple(int(rng.integers(n)) for n in p.shape)


def _factor(rng: np.random.Generator) -> float:
    return FACTORS[int(rng.integers(len(FACTORS)))]


def in_place(net: Network, rng: np.random.Generator) -> Network:
    with torch.no_grad():
        p = _parameter(net, rng)
        p[_entry(p, rng)] *= _factor(rng)
    return net


def whole_tensor(net: Network, rng: np.random.Generator) -> Network:
    with torch.no_grad():
        _parameter(net, rng).mul_(1 + 0.1 * rng.random())
    return net


def through_data(net: Network, rng: np.random.Generator) -> Network:
    p = _parameter(net, rng)
    p.data[_entry(p, rng)] *= _factor(rng)
    return net


def new_data(net: Network, rng: np.random.Generator) -> Network:
    p = _parameter(net, rng)
    p.data = p.data * 1.25
    return net


def through_numpy(net: Network, rng: np.random.Generator) -> Network:
    p = _parameter(net, rng)
    p.detach().numpy()[_entry(p, rng)] *= _factor(rng)
    return net


def numpy_hidden0(net: Network, rng: np.random.Generator) -> Network:
    net.transformer.hidden0.detach().numpy()[:] += 0.1 * rng.random()
    return net


def new_parameter(net: Network, rng: np.random.Generator) -> Network:
    block = net.transformer.stack[int(rng.integers(len(net.transformer.stack)))]
    block.attention.value = torch.nn.Parameter(block.attention.value.detach() * 1.5, requires_grad=False)
    return net


def readout(net: Network, rng: np.random.Generator) -> Network:
    with torch.no_grad():
        net.transformer.readout.copy_(torch.tensor([int(rng.integers(-2, 6)), int(rng.integers(-2, 6))]))
    return net


def output(net: Network, rng: np.random.Generator) -> Network:
    net.transformer.output = (int(rng.integers(0, 4)), int(rng.integers(0, 4)))
    return net


def box(net: Network, rng: np.random.Generator) -> Network:
    with torch.no_grad():
        net.box.mul_(float(rng.choice([0.1, 0.5, 2.0, 1e10, 1e200, math.nan, 0.0, -1.0])))
    return net


def load_state(net: Network, rng: np.random.Generator) -> Network:
    state = {name: value.clone() for name, value in net.state_dict().items()}
    name = sorted(state)[int(rng.integers(len(state)))]
    roll = rng.random()
    if roll < 0.5 and state[name].is_floating_point():
        state[name] = state[name] * _factor(rng)
    elif roll < 0.6:
        del state[name]
    elif roll < 0.7:
        state[name] = state[name].reshape(-1)
    elif roll < 0.8:
        state[name] = state[name].double() + 0.5
    elif roll < 0.9:
        state["extra"] = torch.zeros(3)
    try:
        net.load_state_dict(state, strict=bool(rng.random() < 0.5))
    except RuntimeError as error:  # torch's own report of keys and shapes
        if "Error(s) in loading state_dict" not in str(error):
            raise
    return net


def trained(net: Network, rng: np.random.Generator) -> Network:
    net.requires_grad_()
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=1e-3)
    x = torch.zeros(2, net.ambient, dtype=net.dtype)
    loss = net(x).sum()
    if loss.requires_grad:
        loss.backward()
        optimizer.step()
    if rng.random() < 0.5:
        net.requires_grad_(False)
    return net


def cast(net: Network, rng: np.random.Generator) -> Network:
    casts: list[Callable[[Network], Any]] = [
        lambda n: n.half(), lambda n: n.bfloat16(), lambda n: n.float(), lambda n: n.double(),
        lambda n: n.to(torch.float32), lambda n: n.to(torch.float64), lambda n: n.to(torch.complex128),
        lambda n: n.to("cpu"), lambda n: n.to("meta"), lambda n: n.to("nowhere"), lambda n: n.to(torch.int64),
        lambda n: n.type(torch.float32), lambda n: n.to(torch.zeros(1)), lambda n: n.cpu(), lambda n: n.cuda(),
    ]  # fmt: skip
    return casts[int(rng.integers(len(casts)))](net) or net


def deep_copy(net: Network, rng: np.random.Generator) -> Network:
    return copy.deepcopy(net)


def flat_copy(net: Network, rng: np.random.Generator) -> Network:
    return copy.copy(net)


def pickled(net: Network, rng: np.random.Generator) -> Network:
    buffer = io.BytesIO()
    if rng.random() < 0.5:
        return pickle.loads(pickle.dumps(net))
    torch.save(net, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


def called(net: Network, rng: np.random.Generator) -> Network:
    net.execution = ("sparse", "dense")[int(rng.integers(2))]
    net(torch.zeros(2, net.ambient, dtype=net.dtype))
    return net


def modes(net: Network, rng: np.random.Generator) -> Network:
    return (net.train, net.eval, net.requires_grad_, net.share_memory)[int(rng.integers(4))]()


def dropped_block(net: Network, rng: np.random.Generator) -> Network:
    del net.transformer.blocks[int(rng.integers(len(net.transformer.blocks)))]
    return net


def edited(net: Network, rng: np.random.Generator) -> Network:
    """Through the one door, where there is one."""
    door = getattr(net, "edit", None)
    if door is None:
        return in_place(net, rng)
    with door() as weights:
        p = getattr(weights, "hidden0", None)
        if isinstance(p, torch.Tensor | np.ndarray):
            with torch.no_grad():
                p[0, 0] += 0.25
    return net


PASSIVE = {"called", "deep_copy", "flat_copy", "pickled", "modes", "cast", "box"}


DOORS = {"edited", "load_state", "trained", "cast"}


def blamed(steps: list[str]) -> str:
    """The last operation that changed weights, or the last."""
    return next((step for step in reversed(steps) if step not in PASSIVE), steps[-1])


OPERATIONS: dict[str, Callable[[Network, np.random.Generator], Network]] = {
    f.__name__: f
    for f in (
        in_place, whole_tensor, through_data, new_data, through_numpy, numpy_hidden0, new_parameter, readout, output,
        box, load_state, trained, cast, deep_copy, flat_copy, pickled, called, modes, dropped_block, edited,
    )
}  # fmt: skip


class States(Surface):
    """`net` after edits, moves and copies."""

    name = "net states"
    share = 10_000
    chunk = 50
    optional = frozenset({"third", "second", "context"})

    def prepare(self) -> None:
        self.pool = {name: pool.pooled(name) for name in NETS if name != "claimed segment"}
        segment = self.pool["segment"]
        target = pool.polynomial
        net = construct.approximate(target, segment.manifold, epsilon=0.5, charts=1, degree=3)
        self.pool["claimed segment"] = replace(segment, net=net, tensors=pool.tensors_of(net.transformer))

    def generate(self, rng: random.Random) -> Case:
        choices: dict[str, Any] = {"net": rng.choice(NETS), "seed": rng.getrandbits(32)}
        for name in ("first", "second", "third")[: rng.choice((1, 1, 2, 2, 3))]:
            choices[name] = rng.choice(tuple(OPERATIONS))
        if rng.random() < 0.4:
            choices["first"] = "called"  # so that there is something that may be out of date
        if rng.random() < 0.1:
            choices["context"] = rng.choice(("inference_mode", "no_grad"))
        if rng.random() < 0.05:
            choices["execution"] = values.odd(rng)
        return Case(choices)

    def run(self, case: Case) -> Outcome:
        found, rng = self.pool[case["net"]], np.random.default_rng(case["seed"])
        net = copy.deepcopy(found.net)
        steps = [case[name] for name in ("first", "second", "third") if name in case.choices]
        try:
            if "execution" in case.choices:
                net.execution = case["execution"]
                if case["execution"] not in ("sparse", "dense"):
                    return Outcome(FALSE, "execution", case.text)
            doors: list[oracles.Tensors] = []
            with np.errstate(all="ignore"):
                for name in steps:
                    net = OPERATIONS[name](net, rng)
                    if name in DOORS:  # the module is in step with the network now, whatever is done to it later,
                        earlier = doors if name == "cast" else []  # unless the cast is to what it was
                        doors = [*earlier, self.present(net)]
        except OutOfTime:
            raise
        except Exception as error:
            if isinstance(error, construct.ConstructError):
                return refusal(error, NAMES_OF_ERRORS)
            if self.by_torch(error):
                return Outcome("refused", "by torch")
            raise
        return self.judge(case, found, net, steps, doors)

    @staticmethod
    def by_torch(error: Exception) -> bool:
        """Torch's own refusal of what was asked of torch (a device it has not, say), before the library was asked."""
        if "CUDA" in str(error) or "meta tensor" in str(error):
            return True
        frame = error.__traceback__
        while frame is not None:
            if "/construct/" in frame.tb_frame.f_code.co_filename.replace("\\", "/"):
                return False
            frame = frame.tb_next
        return True

    def judge(
        self, case: Case, found: pool.Pooled, net: Network, steps: list[str], doors: list[oracles.Tensors]
    ) -> Outcome:
        """Both executions have the values of one and the same set of weights."""
        x = found.on[:4]
        at = torch.from_numpy(x).to(net.dtype) if net.dtype.is_floating_point else torch.from_numpy(x)
        got: dict[str, np.ndarray] = {}
        refusals: dict[str, Outcome] = {}
        for execution in ("dense", "sparse"):
            try:
                net.execution = execution
                if case.get("context") == "inference_mode":
                    with torch.inference_mode():
                        out = net(at)
                else:
                    out = net(at)
            except Exception as error:
                refusals[execution] = refusal(error, NAMES_OF_ERRORS)
                if refusals[execution].found:
                    return refusals[execution]
                continue
            got[execution] = out.detach().double().numpy()
            if not np.isfinite(got[execution]).all():
                return Outcome(NOT_FINITE, f"{execution} after {blamed(steps)}")
        weights = self.candidates(found, net, doors, steps)
        if refusals:
            return self.refused(case, refusals, got, weights, x, steps)
        for name, tensors in weights:
            precise = oracles.dense(tensors, at.double().numpy(), np.longdouble)
            kind = np.float32 if net.dtype == torch.float32 else np.float64
            rounded = oracles.dense(tensors, at.double().numpy().astype(kind), kind)
            with np.errstate(all="ignore"):
                lost = float(np.where(np.isfinite(rounded), np.abs(rounded - precise), np.inf).max())
                relative = 1e-9 if kind is np.float64 else 1e-4
                tolerance = found.tolerance + 1e3 * lost + relative * np.abs(precise) + (kind is np.float32) * 1e-4
                if all((np.abs(values_ - precise) <= tolerance).all() for values_ in got.values()):
                    if name != "built" and net.claim is not None:
                        return Outcome(FALSE, f"a claim that outlives {blamed(steps)}", str(net.claim))
                    return Outcome(RIGHT)
        text = {name: v.tolist() for name, v in got.items()}
        wanted = {name: oracles.dense(t, x, np.longdouble).astype(float).tolist() for name, t in weights}
        return Outcome(WRONG, f"after {blamed(steps)}", f"{text} instead of {wanted}")

    @staticmethod
    def present(net: Network) -> oracles.Tensors:
        """The weights of the public module, with the place that it reads its output from."""
        present = {name: np.array(tensor) for name, tensor in pool.tensors_of(net.transformer).items()}
        if "readout" in present:
            present["readout"] = np.array(net.transformer.output)
        return present

    @classmethod
    def candidates(
        cls, found: pool.Pooled, net: Network, doors: list[oracles.Tensors], steps: list[str]
    ) -> list[tuple[str, oracles.Tensors]]:
        """The weights that values may be those of: what it was built with, unless the last change was an edit; what the
        last door let in; and the present ones."""
        others = [("door", tensors) for tensors in doors] + [("present", cls.present(net))]
        if "cast" in steps:  # perhaps through float32 and back
            others.insert(0, ("rounded", pool.rounded(found.tensors)))
        others = [(name, tensors) for name, tensors in others if not oracles.same(tensors, found.tensors)]
        return others if others and blamed(steps) == "edited" else [("built", found.tensors), *others]

    @staticmethod
    def sizes(tensors: oracles.Tensors, x: np.ndarray) -> np.ndarray:
        positive = {n: np.abs(t) if t.dtype.kind == "f" else t for n, t in tensors.items()}
        return oracles.dense(positive, np.abs(x), np.longdouble)

    def refused(
        self, case: Case, refusals: dict[str, Outcome], got: dict[str, np.ndarray],
        weights: list[tuple[str, oracles.Tensors]], x: np.ndarray, steps: list[str],
    ) -> Outcome:  # fmt: skip
        """A network may refuse to run: weights that overflow or are not finite, another dtype than was given."""
        if got:
            _, tensors = weights[-1]
            with np.errstate(all="ignore"):
                size = self.sizes(tensors, x)
            if np.isfinite(size.astype(float)).all() and (size < 1e200).all():
                return Outcome(
                    WRONG, f"one execution refuses after {blamed(steps)}", next(iter(refusals.values())).detail
                )
        return next(iter(refusals.values()))
