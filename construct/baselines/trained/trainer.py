"""One training at work: its data, its looks at the validation set, and its phases."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from construct.baselines.sampling import with_edge
from construct.baselines.trained.budget import Budget, Meter, Record
from construct.baselines.trained.models import Model
from construct.baselines.trained.optimise import gauss_newton, lbfgs
from construct.baselines.trained.protocol import CHUNK, Protocol
from construct.manifolds import Manifold
from construct.targets import evaluate_target

VALIDATION_SEED = 1_000_003  # added to the seed of the training samples
FEWEST = 4096  # samples of the second-order phases


@dataclass
class Run:
    """One network of the sweep and its Adam state."""

    model: Model
    learning_rate: float
    seed: int
    sup: float = math.inf
    optimiser: torch.optim.Optimizer | None = None


class Trainer:
    """Data, validation, history and the best weights so far of one call of `train`."""

    def __init__(
        self,
        target: Callable[..., Any],
        manifold: Manifold,
        samples: int,
        validation: int,
        seed: int,
        device: torch.device,
        meter: Meter,
    ) -> None:
        def data(count: int, of: int) -> tuple[Tensor, Tensor]:
            x = with_edge(manifold, count, of)
            return x.to(device), evaluate_target(target, x).to(device)

        self.x, values = data(samples, seed)
        self.x_validation, self.y_validation = data(validation, seed + VALIDATION_SEED)
        self.mean = float(values.mean())
        self.scale = float(values.std(correction=0)) or 1.0
        self.y = (values - self.mean) / self.scale
        self.meter = meter
        self.generator = torch.Generator().manual_seed(seed)
        self.history: list[Record] = []
        self.best: tuple[float, float, str, dict[str, Tensor]] | None = None

    def batch(self, protocol: Protocol) -> int:
        """Points of a step of Adam."""
        return min(protocol.batch, len(self.x))

    def errors(self, run: Run, count: int) -> tuple[float, float]:
        """Sup and rms error on the first `count` validation points; both infinite where one is not finite."""
        dtype = next(run.model.parameters()).dtype
        with torch.no_grad():
            parts = [run.model(part) for part in self.x_validation[:count].to(dtype).split(CHUNK)]
        error = (self.mean + self.scale * torch.cat(parts).double() - self.y_validation[:count]).abs()
        sup, rms = float(error.max()), float(error.square().mean().sqrt())
        return (sup, rms) if math.isfinite(sup) and math.isfinite(rms) else (math.inf, math.inf)

    def look(self, run: Run, phase: str) -> float:
        """Sup error on the validation set; recorded, and the weights kept where it is the best so far."""
        sup, rms = self.errors(run, len(self.x_validation))
        run.sup = sup
        if math.isfinite(sup):
            self.history.append(Record(phase, self.meter.steps, self.meter.seconds, rms, sup))
            if self.best is None or sup < self.best[0]:
                state = {name: tensor.detach().clone().double() for name, tensor in run.model.state_dict().items()}
                self.best = (sup, rms, phase, state)
        return run.sup

    def adam(self, run: Run, limit: Budget, phase: str, batch: int, looks: int) -> None:
        """One annealed cycle: rates from the run's own to 1 % of it along a cosine. `looks = 0` looks at nothing."""
        if run.optimiser is None:
            parameters = [p for p in run.model.parameters() if p.requires_grad]
            run.optimiser = torch.optim.Adam(parameters, lr=run.learning_rate, fused=True)
        dtype = next(run.model.parameters()).dtype
        x, y = self.x.to(dtype), self.y.to(dtype)
        order, position, seen = torch.empty(0, dtype=torch.int64), 0, 0
        while not limit.over:
            used = limit.used
            if looks and used * looks >= seen + 1:
                seen = int(used * looks)
                if math.isinf(self.look(run, phase)):
                    return
            for group in run.optimiser.param_groups:
                group["lr"] = run.learning_rate * (0.01 + 0.99 * (1 + math.cos(math.pi * used)) / 2)
            if position + batch > len(order):
                order, position = torch.randperm(len(x), generator=self.generator), 0
            index = order[position : position + batch].to(x.device)
            position += batch
            run.optimiser.zero_grad()
            loss = (run.model(x[index]) - y[index]).square().mean()
            loss.backward()
            run.optimiser.step()
            self.meter.steps += 1
        if looks:
            self.look(run, phase)

    def second_order(self, run: Run, limit: Budget, norm: int, protocol: Protocol) -> None:
        """Gauss-Newton or L-BFGS on the mean of the norm-th powers of the errors, from the weights of `run`."""
        model, newton = run.model, run.model.parameter_count <= protocol.newton
        count = min(len(self.x), max(FEWEST, protocol.points * model.parameter_count))
        chunks = list(zip(self.x[:count].split(CHUNK), self.y[:count].split(CHUNK), strict=True))
        phase = f"{'gauss-newton' if newton else 'lbfgs'}-{norm}"
        parameters = [p for p in model.parameters() if p.requires_grad]
        if newton:
            free = {name: p for name, p in model.named_parameters() if p.requires_grad}

            def residuals(vector: Tensor) -> Tensor:
                nn.utils.vector_to_parameters(vector, parameters)
                with torch.no_grad():
                    return torch.cat([model(x) - y for x, y in chunks])

            def value(weights: dict[str, Tensor], x: Tensor) -> Tensor:
                return torch.func.functional_call(model, weights, (x[None],))[0]

            gradients = torch.func.vmap(torch.func.grad(value), in_dims=(None, 0))

            def jacobian(vector: Tensor) -> Tensor:
                nn.utils.vector_to_parameters(vector, parameters)
                weights = {name: p.detach() for name, p in free.items()}
                rows = [gradients(weights, x).values() for x, _ in chunks]
                return torch.cat([torch.cat([g.flatten(1) for g in row], dim=1) for row in rows])

            def look(vector: Tensor) -> float:
                nn.utils.vector_to_parameters(vector, parameters)
                return self.look(run, phase)

            start = nn.utils.parameters_to_vector(parameters).detach()
            gauss_newton(start, residuals, jacobian, norm, limit, looks=protocol.looks, look=look)
            return

        with torch.no_grad():
            error = torch.cat([(model(x) - y).abs() for x, y in chunks])
        # in units in which the loss starts near 1, so that powers neither vanish nor overflow
        unit = max(float(error.pow(2).mean().sqrt()) if norm == 2 else float(error.max()) / 2, 1e-300)

        def loss() -> Tensor:
            total = torch.zeros((), dtype=torch.float64, device=self.x.device)
            for x, y in chunks:
                part = ((model(x) - y) / unit).pow(norm).sum() / count
                part.backward()
                total += part.detach()
            return total

        history, looks = protocol.history, protocol.looks
        lbfgs(parameters, loss, limit, history=history, looks=looks, look=lambda: self.look(run, phase))
