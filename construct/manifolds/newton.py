"""Newton's method on a parametrisation: nearest points and inverse charts.

Functions of parameters act on batches, u (..., d) -> (..., k), and are differentiated in forward mode. The
iterations with a stopping rule work on plain tensors (n, d); the `polish` functions are a fixed number of
Newton steps to be differentiated: k steps from a converged and detached start give every derivative up to
order 2^k - 1.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

POLISH = 3
"""Differentiated steps: derivatives are right to order 2^3 - 1 = 7."""

_MOST_STEPS = 50
_HALVINGS = 12
_CONTINUATION = 8

Parametrisation = Callable[[Tensor], Tensor]


def _direction(u: Tensor, i: int) -> Tensor:
    return torch.eye(u.shape[-1], dtype=u.dtype, device=u.device)[i].expand(u.shape)


def partial(function: Parametrisation, u: Tensor, i: int) -> tuple[Tensor, Tensor]:
    """function(u) and its partial derivative in the i-th parameter, both (..., k)."""
    value_and_tangent = torch.func.jvp(function, (u,), (_direction(u, i),))
    return value_and_tangent[0], value_and_tangent[1]


def jacobian(function: Parametrisation, u: Tensor) -> tuple[Tensor, Tensor]:
    """function(u), (..., k), and its Jacobian, (..., k, d)."""
    columns = [partial(function, u, i) for i in range(u.shape[-1])]
    return columns[0][0], torch.stack([column for _, column in columns], dim=-1)


def curvature_term(function: Parametrisation, u: Tensor, normal: Tensor) -> Tensor:
    """<normal, d_i d_j function(u)>, (..., d, d)."""
    d = u.shape[-1]
    entries: dict[tuple[int, int], Tensor] = {}
    for i in range(d):

        def first(v: Tensor, i: int = i) -> Tensor:
            return partial(function, v, i)[1]

        for j in range(i + 1):
            entries[i, j] = entries[j, i] = (partial(first, u, j)[1] * normal).sum(-1)
    return torch.stack([torch.stack([entries[i, j] for j in range(d)], dim=-1) for i in range(d)], dim=-2)


def solve(a: Tensor, b: Tensor) -> Tensor:
    """a^-1 b for a (..., d, d), b (..., d); matrices that are singular to rounding are replaced by the
    identity."""
    d = a.shape[-1]
    if d > 2:
        scale = a.abs().amax(dim=(-1, -2)).clamp_min(torch.finfo(a.dtype).tiny)
        regular = (torch.linalg.det(a / scale[..., None, None]).abs() > 1e-12).detach()
        safe = torch.where(regular[..., None, None], a, torch.eye(d, dtype=a.dtype, device=a.device))
        return torch.linalg.solve(safe, b.unsqueeze(-1)).squeeze(-1)
    if d == 1:
        entry = a[..., 0]
        return b / torch.where(entry.abs() > 1e-100, entry, 1.0)
    (p, q), (r, s) = (a[..., 0, :].unbind(-1), a[..., 1, :].unbind(-1))
    det = p * s - q * r
    regular = det.abs() > 1e-14 * (p * s).abs().maximum((q * r).abs()).clamp_min(1e-100)
    det = torch.where(regular, det, 1.0)
    p, q, r, s = (torch.where(regular, e, c) for e, c in ((p, 1.0), (q, 0.0), (r, 0.0), (s, 1.0)))
    return torch.stack(
        [s * b[..., 0] - q * b[..., 1], p * b[..., 1] - r * b[..., 0]], dim=-1
    ) / det.unsqueeze(-1)


def _positive_definite(h: Tensor) -> Tensor:
    if h.shape[-1] > 2:
        return torch.linalg.cholesky_ex(h).info == 0
    positive = h[..., 0, 0] > 0
    if h.shape[-1] == 2:
        positive = positive & (h[..., 0, 0] * h[..., 1, 1] > h[..., 0, 1] * h[..., 1, 0] * (1 + 1e-10))
    return positive


def _newton_system(function: Parametrisation, u: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gradient (..., d), Hessian and Gauss-Newton matrix (..., d, d) of |function(u) - x|^2/2."""
    p, j = jacobian(function, u)
    residual = p - x
    gram = j.mT @ j
    gradient = (j.mT @ residual.unsqueeze(-1)).squeeze(-1)
    return gradient, gram + curvature_term(function, u, residual), gram


def nearest(
    function: Parametrisation, x: Tensor, u: Tensor, lower: Tensor, upper: Tensor, cap: Tensor
) -> Tensor:
    """Local minimum of |function(u) - x|^2 over lower <= u <= upper, from the start u; plain (n, d) tensors.

    Projected Newton: coordinates held at a bound drop out of the system, an indefinite Hessian gives way to
    Gauss-Newton, steps are at most `cap` in every coordinate and are halved until the distance does not grow.
    """
    u = u.clamp(lower, upper)
    eye = torch.eye(u.shape[-1], dtype=u.dtype, device=u.device)
    active = torch.arange(len(u), device=u.device)
    for _ in range(_MOST_STEPS):
        v, target = u[active], x[active]
        gradient, hessian, gram = _newton_system(function, v, target)
        held = ((v <= lower) & (gradient > 0)) | ((v >= upper) & (gradient < 0))
        gradient = torch.where(held, 0.0, gradient)
        either = held.unsqueeze(-1) | held.unsqueeze(-2)
        hessian, gram = torch.where(either, eye, hessian), torch.where(either, eye, gram)
        matrix = torch.where(_positive_definite(hessian)[:, None, None], hessian, gram)
        step = -solve(matrix, gradient)
        step = step / (step.abs() / cap).amax(-1, keepdim=True).clamp_min(1.0)
        new, moved = _line_search(function, target, v, step, lower, upper)
        u[active] = new
        active = active[moved]
        if len(active) == 0:
            break
    return u


def _line_search(
    function: Parametrisation, x: Tensor, u: Tensor, step: Tensor, lower: Tensor, upper: Tensor
) -> tuple[Tensor, Tensor]:
    """The new u and whether to go on: steps below 1e-5 are beyond the resolution of the distance and taken as
    they are."""
    scale = 1 + u.abs()
    small = (step.abs() <= 1e-5 * scale).all(-1)
    before = (function(u) - x).square().sum(-1)
    new = (u + step).clamp(lower, upper)
    waiting = (~small & ((function(new) - x).square().sum(-1) > before)).nonzero().squeeze(-1)
    factor = 1.0
    for _ in range(_HALVINGS):
        if len(waiting) == 0:
            break
        factor /= 2
        trial = (u[waiting] + factor * step[waiting]).clamp(lower, upper)
        new[waiting] = trial
        waiting = waiting[(function(trial) - x[waiting]).square().sum(-1) > before[waiting]]
    new[waiting] = u[waiting]
    return new, ((new - u).abs() > 1e-11 * scale).any(-1)


def polish_nearest(function: Parametrisation, x: Tensor, u: Tensor) -> Tensor:
    """`POLISH` differentiated Newton steps for a stationary point of |function(u) - x|^2."""
    for _ in range(POLISH):
        gradient, hessian, _ = _newton_system(function, u, x)
        u = u - solve(hessian, gradient)
    return u


Position = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(u, centre, frame) -> point, for parametrisations that may depend on the chart."""


def _chart_system(position: Position, c: Tensor, f: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """frame^T (position - centre), (..., d), and its Jacobian (..., d, d)."""
    p, j = jacobian(lambda v: position(v, c, f), u)
    return (f.mT @ (p - c).unsqueeze(-1)).squeeze(-1), f.mT @ j


def invert_chart(position: Position, c: Tensor, f: Tensor, y: Tensor, u: Tensor, cap: Tensor) -> Tensor:
    """Parameters with frame^T (position(u) - c) = y, on the branch that starts at u for y = 0; plain (n, ..)
    tensors.

    The target moves from 0 to y along a segment, two Newton steps at each of 8 stations, then to convergence.
    Steps are at most `cap`, so that the result is finite even where there is no solution.
    """
    u = u.clone()
    active = torch.arange(len(u), device=u.device)
    corrections = [station for station in range(1, _CONTINUATION + 1) for _ in range(2)]
    for station in corrections + [_CONTINUATION] * 30:
        now, a = _chart_system(position, c[active], f[active], u[active])
        step = solve(a, y[active] * (station / _CONTINUATION) - now)
        step = step / (step.abs() / cap).amax(-1, keepdim=True).clamp_min(1.0)
        u[active] += step
        if station == _CONTINUATION:
            active = active[(step.abs() > 1e-10 * (1 + u[active].abs())).any(-1)]
            if len(active) == 0:
                break
    return u


def polish_chart(position: Position, c: Tensor, f: Tensor, y: Tensor, u: Tensor) -> Tensor:
    """`POLISH` differentiated Newton steps for frame^T (position(u) - c) = y; none where u is not close to a
    solution."""
    close: Tensor | None = None
    for _ in range(POLISH):
        now, a = _chart_system(position, c, f, u)
        residual = y - now
        if close is None:
            size = 1e-5 * (1 + y.detach().abs().amax(-1, keepdim=True))
            close = residual.detach().abs().amax(-1, keepdim=True) <= size
            eye = torch.eye(a.shape[-1], dtype=a.dtype, device=a.device)
        a = torch.where(close.unsqueeze(-1), a, eye)
        u = u + solve(a, torch.where(close, residual, 0.0))
    return u
