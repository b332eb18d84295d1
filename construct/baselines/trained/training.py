"""Training: a sweep of learning rates and seeds, then Adam, then a second-order method, inside one limit.

1. *Sweep.* Successive halving (Jamieson and Talwalkar 2016, arXiv 1502.07943): every pair of a learning rate and a seed
   runs an annealed cycle of Adam, the better half by sup error goes on with a longer cycle, until one is left.
2. *Adam* (Kingma and Ba 2015, arXiv 1412.6980) from there: mini-batches, cosine decay, float32.
3. *Gauss-Newton* (Levenberg-Marquardt) for networks of up to `Protocol.newton` numbers, *L-BFGS* with strong Wolfe line
   search for larger ones, on a fixed set of samples in float64, which small errors need.
4. The same on the *8th powers* of the errors, which stand in for the sup.

Every phase is looked at now and then on validation points that are never trained on, and the weights with the smallest
sup error there are what is returned.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import torch

from construct.baselines.trained.budget import Budget, budget
from construct.baselines.trained.models import Model
from construct.baselines.trained.protocol import Protocol, Scaled, Training, TrainingDiverged
from construct.baselines.trained.trainer import Run, Trainer
from construct.manifolds import Manifold
from construct.progress import Progress, silent
from construct.validation import integer, message, positive_integer

Make = Callable[[torch.Generator], Model]

NORM = 8
GLANCE = 1000  # validation points that rank the runs of the sweep


def halvings(count: int) -> list[int]:
    """Runs alive in each round of the sweep: count, half of it rounded up, ..., 2; [1] where there is only one."""
    alive = [count]
    while alive[-1] > 2:
        alive.append((alive[-1] + 1) // 2)
    return alive


def warm_up() -> None:
    """Let torch import what its optimisers load on their first step (seconds), before the clock starts."""
    variable = torch.zeros(1, requires_grad=True)
    optimiser = torch.optim.Adam([variable], fused=True)
    variable.square().sum().backward()
    optimiser.step()
    torch.func.vmap(torch.func.grad(torch.sum))(torch.zeros(1, 1))


def initial_runs(make: Make, trainer: Trainer, protocol: Protocol, seed: int, device: torch.device) -> list[Run]:
    """The runs of the sweep: every learning rate with every seed of initial weights, in float32."""
    runs = []
    for number in range(protocol.seeds):
        for rate in protocol.learning_rates:
            model = make(torch.Generator().manual_seed(seed + number)).to(device)
            model.prepare(trainer.x)
            runs.append(Run(model.float(), rate, seed + number))
    return runs


def winner_of_sweep(trainer: Trainer, runs: list[Run], limit: Budget, protocol: Protocol, progress: Progress) -> Run:
    """Phase 1: the run that is left when the worse half has gone again and again."""
    sweep = limit.part(protocol.sweep)
    rounds = halvings(len(runs))
    for alive in rounds:
        for run in runs[:alive]:
            progress(f"sweep, rate {run.learning_rate:g}, seed {run.seed}", limit.used)
            trainer.adam(run, sweep.part(1 / (len(rounds) * alive)), "sweep", trainer.batch(protocol), 0)
            run.sup = trainer.errors(run, GLANCE)[0]
        runs = sorted(runs[:alive], key=lambda run: run.sup)
    return runs[0]


def refine_winner(trainer: Trainer, run: Run, limit: Budget, protocol: Protocol, progress: Progress) -> None:
    """Phases 2 to 4 of a run that was looked at; `trainer.best` holds the best weights, the run ends in float64."""
    progress("Adam", limit.used)
    newton = run.model.parameter_count <= protocol.newton
    share = protocol.adam_newton if newton else protocol.adam
    trainer.adam(run, limit.part(share), "adam", trainer.batch(protocol), protocol.looks)
    run.model.double()
    rest = 1 - protocol.sweep - share
    for norm, share in ((2, rest * protocol.squares), (NORM, 1.0)):
        if share > 0 and not limit.over:
            progress(f"second order, norm {norm}", limit.used)
            assert trainer.best is not None
            run.model.load_state_dict(trainer.best[3])
            trainer.second_order(run, limit.part(share), norm, protocol)


def train(
    make: Make,
    target: Callable[..., Any],
    manifold: Manifold,
    *,
    seconds: float | None = 60.0,
    steps: int | None = None,
    samples: int = 20_000,
    validation: int = 5_000,
    protocol: Protocol | None = None,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
    progress: Progress = silent,
) -> Training:
    """Train networks from `make(generator)` on samples of `manifold` and return the best one.

    Args:
        seconds, steps: limits of the whole, sampling and sweep included; one may be None. A step is one gradient,
            of a mini-batch (Adam) or of all samples (L-BFGS), or one Jacobian. A limit by steps alone is reproducible.
        samples, validation: points that are trained on, and other points by which weights are chosen.
        seed: of samples, initial weights and mini-batches.
        dtype: of the network that is returned.

    Raises:
        InputError: an argument of the wrong kind or range.
        TrainingDiverged: no run gave finite values.
    """
    warm_up()
    limit = budget(seconds, steps)
    protocol = protocol or Protocol()
    device, seed = torch.device(device), integer(seed, "seed")
    samples, validation = positive_integer(samples, "samples"), positive_integer(validation, "validation")
    trainer = Trainer(target, manifold, samples, validation, seed, device, limit.meter)
    runs = initial_runs(make, trainer, protocol, seed, device)
    run = winner_of_sweep(trainer, runs, limit, protocol, progress)
    if math.isinf(trainer.look(run, "sweep")):
        rates = f"{protocol.learning_rates}, all of which diverge"
        raise TrainingDiverged(message("learning_rates", "a rate with which training converges", got=rates))
    refine_winner(trainer, run, limit, protocol, progress)
    assert trainer.best is not None
    sup, rms, phase, state = trainer.best
    run.model.load_state_dict(state)
    network = Scaled(copy.deepcopy(run.model), trainer.mean, trainer.scale).to(dtype).requires_grad_(False)
    meter = limit.meter
    return Training(
        network, tuple(trainer.history), run.learning_rate, run.seed, phase, rms, sup, meter.seconds, meter.steps
    )
