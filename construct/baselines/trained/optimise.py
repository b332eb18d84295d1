"""L-BFGS and Gauss-Newton inside a budget, with looks at the validation set."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from construct.baselines.trained.budget import Budget

ITERATIONS = 4  # of L-BFGS between two looks at the clock
DAMPING, LOWER, RAISE = 1e-2, 1 / 3, 4.0  # first damping; its factor after a success, after a failure
LEAST_DAMPING, MOST_DAMPING = 1e-14, 1e8


class _Over(Exception):
    """The budget is used up in the middle of a line search."""


def lbfgs(
    parameters: Iterable[Tensor],
    loss: Callable[[], Tensor],
    limit: Budget,
    *,
    history: int,
    looks: int,
    look: Callable[[], float],
) -> None:
    """Minimise until the budget is used or a line search finds nothing any more; ends at the smallest loss seen.

    Args:
        loss: computes the loss, its gradients into `.grad`, and returns it. Each call counts as a step.
        history: pairs of vectors that are kept.
        looks: calls of `look` in the course of the budget, and one at the end; it returns the sup error, and the
            search stops where that is infinite.
    """
    parameters = list(parameters)
    least, at_least = math.inf, [p.detach().clone() for p in parameters]
    optimiser = torch.optim.LBFGS(
        parameters,
        max_iter=ITERATIONS,
        max_eval=2 * ITERATIONS,
        history_size=history,
        line_search_fn="strong_wolfe",
        tolerance_grad=0,
        tolerance_change=0,
    )

    def restore() -> None:
        with torch.no_grad():
            for parameter, value in zip(parameters, at_least, strict=True):
                parameter.copy_(value)

    def closure() -> Tensor:
        nonlocal least, at_least
        if limit.over:
            raise _Over
        optimiser.zero_grad()
        limit.meter.steps += 1
        value = loss()
        if float(value) < least:
            least, at_least = float(value), [p.detach().clone() for p in parameters]
        return value

    seen = 0
    while not limit.over:
        before = limit.meter.steps
        try:
            optimiser.step(closure)
        except _Over:
            break
        if limit.used * looks >= seen + 1:
            seen = int(limit.used * looks)
            if math.isinf(look()):
                return
        if limit.meter.steps - before <= 1:
            break
    restore()
    look()


def gauss_newton(
    start: Tensor,
    residuals: Callable[[Tensor], Tensor],
    jacobian: Callable[[Tensor], Tensor],
    norm: int,
    limit: Budget,
    *,
    looks: int,
    look: Callable[[Tensor], float],
    floor: float = 1e-14,
) -> None:
    """Minimise sum_i |r_i|^norm over v from `start` (V,), damped as by Levenberg and Marquardt.

    With W = diag(|r|^(norm - 2)) gradient and Gauss-Newton Hessian are norm J^T W r and norm (norm - 1) J^T W J, so a
    step solves  (A + mu E) delta = -J^T W r / (norm - 1),  A = J^T W J,  E = diag A  (Marquardt 1963 for norm = 2).

    Args:
        residuals, jacobian: v (V,) -> r (n,) and J (n, V), in float64. A Jacobian counts as one step.
        norm: an even number >= 2.
        floor: the entries of E are at least this times the largest. Near 1 it keeps variables that the samples hardly
            see where they are (Levenberg); near 0 the steps do not depend on the units of the variables.
        looks: calls of `look(v)` in the course of the budget, and one at the end; infinite ends the search.
    """
    at, damping, seen = start.clone(), DAMPING, 0
    residual = residuals(at)
    while not limit.over and damping < MOST_DAMPING:
        largest = residual.abs().max()
        if not bool(torch.isfinite(largest)) or float(largest) == 0:
            break
        matrix = jacobian(at)
        limit.meter.steps += 1
        weight = (residual / largest).abs().pow(norm - 2)
        normal = matrix.T @ (weight[:, None] * matrix)
        gradient = matrix.T @ (weight * residual) / (norm - 1)
        diagonal = normal.diagonal()
        diagonal = diagonal.clamp(min=float(diagonal.max()) * floor + torch.finfo(diagonal.dtype).tiny)
        while damping < MOST_DAMPING and not limit.over:
            factor, failed = torch.linalg.cholesky_ex(normal + damping * diagonal.diag())
            if not int(failed):
                trial = at - torch.cholesky_solve(gradient[:, None], factor)[:, 0]
                after = residuals(trial)
                # in units of the largest residual before; written so that NaN is a failure
                if bool((after / largest).pow(norm).sum() < (residual / largest).pow(norm).sum()):
                    at, residual, damping = trial, after, max(LEAST_DAMPING, damping * LOWER)
                    break
            damping *= RAISE
        if limit.used * looks >= seen + 1:
            seen = int(limit.used * looks)
            if math.isinf(look(at)):
                return
    look(at)
