"""`approximate`: random targets on random manifolds with random options.

Oracle: what is returned has an error of at most epsilon at points of the manifold from a closed form of this attack,
with values of the target by numpy; at some of them the network is the dense formula of its weights. Everything else is
to be refused, in time.
"""

from __future__ import annotations

import inspect
import random
from typing import Any

import numpy as np
import torch

import construct
from benchmarks.attack import oracles, pool, spaces, targets, values
from benchmarks.attack.cases import FALSE, NOT_FINITE, RIGHT, STATE, WRONG, Case, Given, Outcome, Surface
from benchmarks.attack.judge import refusal

ARGUMENTS = {
    "target", "manifold", "epsilon", "smoothness", "construction", "position_code", "charts", "cells", "degree",
    "bound", "max_parameters", "dtype", "device", "seed", "progress", "timeout", "resolution",
}  # fmt: skip
TAKES = inspect.signature(construct.approximate).parameters
SECONDS = 8.0  # given as `timeout` to most calls
FRESH = 3000
COMPARED = 6


class Building(Surface):
    """`approximate`."""

    name = "approximate"
    share = 1_000
    limit = 20.0
    chunk = 4
    optional = frozenset({
        "smoothness", "construction", "position_code", "bound", "dtype", "device", "seed", "progress", "resolution",
    })  # fmt: skip

    def generate(self, rng: random.Random) -> Case:
        space = spaces.space(rng)
        choices: dict[str, Any] = {"manifold": Given(space.text, space)}
        roll = rng.random()
        function: Any
        if roll < 0.35:
            function = targets.smooth(rng, 1)
        elif roll < 0.5:
            function = targets.named(rng)
        elif roll < 0.68:
            function = targets.rough(rng)
        elif roll < 0.97:
            function = targets.hostile(rng)
        else:
            function = values.odd(rng)
        choices["target"] = Given(function.text, function)
        if rng.random() < 0.6:
            choices["epsilon"] = values.epsilon(rng)
        else:
            for name, usual in (("charts", (4, 5, 8)), ("cells", (1, 2, 3)), ("degree", (0, 1, 2, 3))):
                if rng.random() < 0.6:
                    choices[name] = values.size(rng, usual)
        choices["max_parameters"] = rng.choice((3_000, 30_000, 300_000)) if rng.random() < 0.97 else values.odd(rng)
        self.options(rng, choices)
        for name, often, value in (("timeout", 0.9, SECONDS), ("resolution", 0.05, 0.1)):
            drawn = value if rng.random() < 0.95 else values.odd(rng)
            if rng.random() < often and name in TAKES:
                choices[name] = drawn
        return Case(choices)

    @staticmethod
    def options(rng: random.Random, choices: dict[str, Any]) -> None:
        for name, often, usual in (
            ("smoothness", 0.1, (0.5, 1.0, 2.0)), ("construction", 0.15, ("paper", "paper", "compact")),
            ("position_code", 0.1, ("trigonometric", "integer")), ("bound", 0.06, ("rigorous", "measured")),
            ("dtype", 0.1, (torch.float32, torch.float64)), ("device", 0.03, ("cpu", "cuda", "meta")),
            ("seed", 0.1, (1, 2**63 - 1)), ("progress", 0.04, (False, None)),
        ):  # fmt: skip
            if rng.random() < often:
                choices[name] = rng.choice(usual) if rng.random() < 0.75 else values.odd(rng)

    def run(self, case: Case) -> Outcome:
        space, function = case["manifold"], case["target"]
        manifold = space
        if isinstance(space, spaces.Space):
            try:
                manifold = space.make()
            except Exception as error:
                return refusal(error, space.arguments | {"spacing"})
        target = function.target if isinstance(function, targets.Function) else function
        options = {name: case[name] for name in case.choices if name not in ("manifold", "target")}
        try:
            net = construct.approximate(target, manifold, **options)
        except Exception as error:
            if isinstance(error, construct.EpsilonNotReached) and np.isnan(error.best):
                return Outcome(NOT_FINITE, "EpsilonNotReached.best", str(error))
            return refusal(error, ARGUMENTS)
        except (SystemExit, GeneratorExit) as error:
            return Outcome("raw exception", f"the target's {type(error).__name__} passed through")
        if not isinstance(space, spaces.Space) or not isinstance(function, targets.Function):
            return Outcome(FALSE, "a manifold or target that is none", case.text)
        return self.judge(case, net, manifold, space, function)

    def judge(self, case: Case, net: Any, manifold: Any, space: spaces.Space, function: targets.Function) -> Outcome:
        """The network is within epsilon, and is what its weights say."""
        tensors = pool.tensors_of(net.transformer)
        x = manifold.sample(COMPARED, 5)
        out = net(x.to(net.dtype)).double().numpy()
        if not np.isfinite(out).all():
            return Outcome(NOT_FINITE, "network", str(out))
        if net.transformer.tokens**2 * sum(len(b.attention.query) for b in net.transformer.stack) < 3e6:
            at = x.to(net.dtype).double().numpy()
            precise = np.float32 if net.dtype == torch.float32 else np.float64
            rounded = oracles.dense(tensors, at.astype(precise), precise)
            size = max(1.0, float(np.abs(rounded).max()))
            if not (np.abs(out - rounded) <= (1e-3 if precise is np.float32 else 1e-8) * size).all():
                return Outcome(WRONG, "network is not its formula", f"{out} instead of {rounded}")
        if function.text in targets.UNSEEN:
            return Outcome(RIGHT)
        if function.text in targets.BEYOND and self.sound_there(manifold, function):
            return Outcome(RIGHT)
        if function.values is None and not function.sound:
            return Outcome(FALSE, f"target: {function.text}", str(net.claim))
        if net.claim is None or not np.isfinite(net.claim.bound):
            return Outcome(FALSE, "no claim", repr(net))
        if function.text == "writes to x":
            return Outcome(STATE, "a target that writes to x")
        if space.points is None or function.values is None:
            return Outcome(RIGHT)
        return self.measured(case, net, manifold, space, function)

    @staticmethod
    def sound_there(manifold: Any, function: targets.Function) -> bool:
        """Whether a target that is not finite beyond some x0 is finite on this manifold, which may not reach there."""
        return bool(torch.isfinite(function.target(manifold.sample(10 * FRESH, 6))).all())

    @staticmethod
    def measured(case: Case, net: Any, manifold: Any, space: spaces.Space, function: targets.Function) -> Outcome:
        """|T - f| at points that the library has not chosen."""
        assert space.points is not None and function.values is not None
        on = space.points(FRESH, np.random.default_rng(12)) @ manifold.frame.numpy().T
        at = torch.from_numpy(on).to(net.dtype)
        got = net(at).double().numpy()
        goal = function.values(at.double().numpy())
        error = float(np.abs(got - goal).max())
        epsilon = case.get("epsilon")
        rigorous = net.claim.kind == "rigorous"
        limit = net.claim.bound if rigorous or epsilon is None else float(epsilon)
        slack = (
            1.0 if epsilon is not None or rigorous else 1.5
        )  # without epsilon nothing is promised; look for nonsense
        if error <= limit * slack + 1e-12 * float(np.abs(goal).max()):
            return Outcome(RIGHT)
        kind = function.text.split(" ")[0] if function.sound else function.text
        what = f"a {net.claim.kind} claim on a {'rough' if function.smoothness is None else 'named'} target ({kind})"
        return Outcome(FALSE, what[:80], f"error {error:.4g} where at most {limit:.4g} is claimed; {net.claim}")
