"""Fine-tuning: gradient descent on a copy of a constructed network, in its sparse execution.

The variables are *relative* changes s of the weights that are not zero, theta = theta_0 (1 + s): zeros stay zero, and
one learning rate suits weights from 1e-4 to 1e4. The token pairs of the plan are found once, at theta_0; what is
trained is the network on those pairs. Whether a head stays silent elsewhere is not assumed but measured: the result is
evaluated by a fresh plan, and where that is no better than the start, the start is returned.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from construct.baselines.trained.budget import Budget, Record, budget
from construct.baselines.trained.optimise import gauss_newton
from construct.execution.plans import PairPlan, pair_plan, propagate
from construct.manifolds import Manifold
from construct.measurement import Measurement, measure
from construct.network import Network
from construct.progress import Progress, silent
from construct.targets import evaluate_target
from construct.transformer.module import Transformer
from construct.validation import integer, invalid, one_of, positive_integer, positive_real

PARAMETERS = ("values", "all")
RATES = (1e-7, 1e-6, 1e-5, 1e-4)
NORMS = (2, 8, 32)
ADAM = 0.3  # share of the budget for the sweep of Adam; Gauss-Newton has the rest
LOOKS = 32
FLOOR = 1e-2  # of the damping of Gauss-Newton, in relative changes
POINTS = 128  # of which a part of the Jacobian is made at once
SEEDS_APART = 1_000_003  # between the seeds of samples, validation and measurement


@dataclass(frozen=True, eq=False)
class FineTuned:
    """A tuned copy and what it was worth.

    Attributes:
        net: the copy, sealed, without the claim and the certificate of the original.
        before, after: measured errors of the original and of the copy on the same points.
        variables: numbers that were trained.
        phase: what gave the best weights: "start" where nothing was better, else "adam RATE" or "gauss-newton-NORM".
        history: looks at the validation set, on the pairs of the first plan.
        seconds, steps: used.
    """

    net: Network
    before: Measurement
    after: Measurement
    variables: int
    phase: str
    history: tuple[Record, ...]
    seconds: float
    steps: int

    @property
    def gain(self) -> float:
        """Sup error before over after, >= 1."""
        return self.before.sup / self.after.sup if self.after.sup > 0 else math.inf


class OnPlan(nn.Module):
    """`net` at one point (D,), on the token pairs of a plan."""

    def __init__(self, net: Transformer, plan: PairPlan) -> None:
        super().__init__()
        self.net, self.plan = net, plan

    def forward(self, x: Tensor) -> Tensor:
        return self.plan.forward(self.net, x[None])[0]


class Tuner:
    """The relative changes `s` (V,) of the chosen weights of a network, with the loss and the looks."""

    def __init__(
        self, network: Network, parameters: str, data: tuple[Tensor, Tensor, Tensor, Tensor], limit: Budget
    ) -> None:
        net = network.transformer
        self.net, self.limit = net, limit
        self.x, self.y, self.x_validation, self.y_validation = data
        chosen = dict(net.named_parameters())
        if parameters == "values":
            chosen = {name: p for name, p in chosen.items() if name.endswith(".value")}
        net.requires_grad_(False)
        self.weights = {name: p.requires_grad_() for name, p in chosen.items() if bool((p != 0).any())}
        if not self.weights:
            raise invalid("net", "weights that are not zero", got="none to train")
        self.masks = {name: p != 0 for name, p in self.weights.items()}
        self.origin = {name: p.detach()[self.masks[name]] for name, p in self.weights.items()}
        count = sum(map(len, self.origin.values()))
        self.change = torch.zeros(count, dtype=net.dtype, device=net.device, requires_grad=True)
        self.plan = pair_plan(net, propagate(net, network.box))
        self.history: list[Record] = []
        self.best, self.best_sup, self.best_phase = self.change.detach().clone(), math.inf, "start"

    def write(self, change: Tensor) -> None:
        """theta = theta_0 (1 + change)."""
        parts = change.detach().to(self.net.dtype).split([len(part) for part in self.origin.values()])
        with torch.no_grad():
            for (name, weight), part in zip(self.weights.items(), parts, strict=True):
                weight[self.masks[name]] = self.origin[name] * (1 + part)

    def loss(self, x: Tensor, y: Tensor, unit: float) -> None:
        """Gradient of the mean of (error / unit)^2 in the changes, into `change.grad`."""
        self.write(self.change)
        value = ((self.plan.forward(self.net, x) - y) / unit).square().mean()
        gradients = torch.autograd.grad(value, list(self.weights.values()), materialize_grads=True)
        chosen = zip(gradients, self.masks.values(), self.origin.values(), strict=True)
        self.change.grad = torch.cat([gradient[mask] * origin for gradient, mask, origin in chosen])

    def look(self, phase: str) -> float:
        """Sup error on the validation set; recorded, and the change kept where it is the best so far."""
        self.write(self.change.detach())
        with torch.no_grad():
            error = (self.plan.forward(self.net, self.x_validation) - self.y_validation).abs().double()
        sup, rms = float(error.max()), float(error.square().mean().sqrt())
        if not math.isfinite(sup):
            return math.inf
        self.history.append(Record(phase, self.limit.meter.steps, self.limit.meter.seconds, rms, sup))
        if sup < self.best_sup:
            self.best, self.best_sup, self.best_phase = self.change.detach().clone(), sup, phase
        return sup

    def train(self, rates: Sequence[float], batch: int, seed: int, progress: Progress) -> None:
        """Adam with each of the rates, then Gauss-Newton with each of `NORMS`, within the limit."""
        self.look("start")
        generator = torch.Generator().manual_seed(seed)
        for rate in rates:
            progress(f"Adam, rate {rate:g}", self.limit.used)
            self.adam(rate, self.limit.part(ADAM / len(rates)), batch, generator)
        for norm in NORMS:
            progress(f"Gauss-Newton, norm {norm}", self.limit.used)
            self.gauss_newton(norm, self.limit.part((1 - ADAM) / len(NORMS)))

    def return_to(self, change: Tensor) -> None:
        with torch.no_grad():
            self.change.copy_(change)

    def adam(self, rate: float, limit: Budget, batch: int, generator: torch.Generator) -> None:
        """Adam from the best change so far, rates falling to 1 % along a cosine."""
        self.return_to(self.best)
        optimiser = torch.optim.Adam([self.change], lr=rate)
        unit = max(float(self.residuals(self.best).square().mean().sqrt()), torch.finfo(self.net.dtype).tiny)
        while not limit.over:
            optimiser.param_groups[0]["lr"] = rate * (0.01 + 0.99 * (1 + math.cos(math.pi * limit.used)) / 2)
            index = torch.randint(len(self.x), (batch,), generator=generator).to(self.x.device)
            self.loss(self.x[index], self.y[index], unit)
            optimiser.step()
            self.limit.meter.steps += 1
        self.look(f"adam {rate:g}")

    def gauss_newton(self, norm: int, limit: Budget) -> None:
        """Gauss-Newton on the norm-th powers of all errors, from the best change so far."""

        def look(change: Tensor) -> float:
            self.return_to(change)
            return self.look(f"gauss-newton-{norm}")

        start = self.best.double()
        gauss_newton(start, self.residuals, self.jacobian, norm, limit, looks=LOOKS, look=look, floor=FLOOR)

    def residuals(self, change: Tensor) -> Tensor:
        """Errors (n,) on the training points, in float64."""
        self.write(change)
        with torch.no_grad():
            return (self.plan.forward(self.net, self.x) - self.y).double()

    def jacobian(self, change: Tensor) -> Tensor:
        """Derivatives (n, V) of the residuals in the changes, by reverse mode at each point."""
        self.write(change)
        at = OnPlan(self.net, self.plan)
        fixed = {f"net.{name}": p.detach() for name, p in self.net.named_parameters()}

        def value(weights: dict[str, Tensor], x: Tensor) -> Tensor:
            return torch.func.functional_call(at, {**fixed, **weights}, (x,))

        weights = {f"net.{name}": p.detach() for name, p in self.weights.items()}
        per_point = torch.func.vmap(torch.func.grad(value), in_dims=(None, 0))
        rows = []
        for x in self.x.split(POINTS):
            gradients = per_point(weights, x)
            chosen = zip(gradients.values(), self.masks.values(), self.origin.values(), strict=True)
            rows.append(torch.cat([gradient[:, mask] * origin for gradient, mask, origin in chosen], dim=1).double())
        return torch.cat(rows)


def fine_tune(
    net: Network,
    target: Callable[..., Any],
    manifold: Manifold,
    *,
    seconds: float | None = 60.0,
    steps: int | None = None,
    learning_rates: tuple[float, ...] = RATES,
    samples: int = 4_000,
    batch: int = 500,
    seed: int = 0,
    parameters: str = "values",
    progress: Progress = silent,
) -> FineTuned:
    """Train a copy of `net` on the error against `target` over `manifold`; `net` itself is left alone.

    First Adam with each of the learning rates, then Gauss-Newton on the 2nd, 8th and 32nd powers of the error, which
    stand in for the sup, each from the best weights so far by sup error on as many other points.

    Args:
        seconds, steps: limits of the training (measuring comes on top); one may be None. A step is one gradient.
        learning_rates: of Adam, for the relative changes.
        samples: training points, and as many for validation.  batch: points of a step of Adam.
        parameters: "values" trains the non-zero entries of the value matrices, "all" every weight that is not zero.

    Raises:
        InputError: an argument of the wrong kind or range.
    """
    if not isinstance(net, Network):
        raise invalid("net", "a construct.Network", net)
    if not isinstance(manifold, Manifold) or manifold.ambient != net.ambient:
        raise invalid("manifold", f"a construct.manifolds.Manifold in R^{net.ambient}", manifold)
    one_of(parameters, "parameters", PARAMETERS)
    rates = [positive_real(rate, "learning_rates") for rate in learning_rates]
    if not rates:
        raise invalid("learning_rates", "at least one", got="none")
    seed, samples, batch = integer(seed, "seed"), positive_integer(samples, "samples"), positive_integer(batch, "batch")

    tuned = copy.deepcopy(net).requires_grad_(False).claimed(None)
    tuned.execution = "sparse"
    before = measure(tuned, target, manifold, seed=seed + 2 * SEEDS_APART)
    limit = budget(seconds, steps)
    data = points(net, target, manifold, samples, seed) + points(net, target, manifold, samples, seed + SEEDS_APART)
    start = tuned.state_dict()
    with torch.enable_grad():
        tuner = Tuner(tuned.requires_grad_(), parameters, data, limit)
        tuner.train(rates, batch, seed, progress)
    used, taken = limit.meter.seconds, limit.meter.steps
    tuner.write(tuner.best)
    tuned.requires_grad_(False)
    # from here on a plan of the new weights: nothing that the old pairs left out stays unseen
    after, phase = measure(tuned, target, manifold, seed=seed + 2 * SEEDS_APART), tuner.best_phase
    if not after.sup < before.sup:
        tuned.load_state_dict(start)
        after, phase = before, "start"
    return FineTuned(tuned, before, after, len(tuner.best), phase, tuple(tuner.history), used, taken)


def points(
    net: Network, target: Callable[..., Any], manifold: Manifold, count: int, seed: int
) -> tuple[Tensor, Tensor]:
    """Sample points (count, D) and values (count,) in the dtype and on the device of the network."""
    x = manifold.sample(count, seed).to(net.dtype)
    return x.to(net.device), evaluate_target(target, x.double()).to(dtype=net.dtype, device=net.device)
