"""Newton's method on a parametrisation: nearest points and inverse charts.

The iterations with a stopping rule work on plain tensors, u (n, d). They also return the *chord matrix*, the
inverse of the Jacobian at their end, for `polish`: k differentiated steps with this constant matrix, from a
constant start, give every derivative up to order k right, each step one more, and they evaluate nothing but
the parametrisation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from construct.progress import tick

POLISH = 7
"""Differentiated steps, hence the highest order of derivative that is right."""

_MOST_STEPS = 50
_HALVINGS = 12
_CONTINUATION = 8

Function = Callable[[Tensor], Tensor]


class Parametrisation(NamedTuple):
    """A map of parameters (..., d) to points (..., k) with its derivatives.

    jacobian:  u -> point (..., k) and Jacobian (..., k, d);  bending:  u and r (..., k) -> (..., d, d), the second
    derivatives of <point, r> with r held fixed.
    """

    point: Function
    jacobian: Callable[[Tensor], tuple[Tensor, Tensor]]
    bending: Callable[[Tensor, Tensor], Tensor]


def _directions(u: Tensor) -> tuple[Tensor, Tensor]:
    """d copies of u and the d unit tangents, both (d, ..., d): one evaluation gives all partial
    derivatives."""
    d = u.shape[-1]
    shape = (d, *u.shape)
    units = torch.eye(d, dtype=u.dtype, device=u.device).reshape(d, *[1] * (u.ndim - 1), d)
    return u.unsqueeze(0).expand(shape).contiguous(), units.expand(shape).contiguous()


def jacobian(function: Function, u: Tensor) -> tuple[Tensor, Tensor]:
    """function(u), (..., k), and its Jacobian, (..., k, d), by forward mode."""
    copies, units = _directions(u)
    value, columns = torch.func.jvp(function, (copies,), (units,))[:2]
    return value[0], columns.movedim(0, -1)


def second(function: Function, u: Tensor) -> Tensor:
    """Second derivatives, (..., k, d, d), by nested forward mode."""
    copies, units = _directions(u)
    return torch.func.jvp(lambda v: jacobian(function, v)[1], (copies,), (units,))[1].movedim(0, -1)


def plain_jacobian(function: Function, u: Tensor, width: int) -> Tensor:
    """Jacobian (..., width, d) at plain tensors u (..., d), by one reverse pass over `width` copies of them.

    Of a long function of few points it takes a fraction of the time of forward mode, which goes through Python for
    every operation.
    """
    with torch.enable_grad():
        copies = u.detach().unsqueeze(0).repeat(width, *[1] * u.ndim).requires_grad_()
        units = torch.eye(width, dtype=u.dtype, device=u.device).reshape(width, *[1] * (u.ndim - 1), width)
        (rows,) = torch.autograd.grad((function(copies) * units).sum(), copies)
    return rows.movedim(0, -2)


def bending(function: Function, u: Tensor, r: Tensor) -> Tensor:
    """Second derivatives of <function(u), r>, (..., d, d), for plain tensors u (..., d) and r (..., k).

    By reverse mode: nested forward mode goes through Python for every operation, and imports a compiler first. Copies,
    since tensors of inference mode take no part in it.
    """
    with torch.inference_mode(False), torch.enable_grad():
        v, r = u.detach().clone().requires_grad_(), r.clone()
        (slope,) = torch.autograd.grad((function(v) * r).sum(), v, create_graph=True)
        if not slope.requires_grad:
            return u.new_zeros(*u.shape, u.shape[-1])
        parts = slope.unbind(-1)
        rows = [torch.autograd.grad(part.sum(), v, retain_graph=True, allow_unused=True)[0] for part in parts]
    return torch.stack([torch.zeros_like(u) if row is None else row for row in rows], dim=-2)


def range_basis(matrix: Tensor, d: int) -> Tensor:
    """Orthonormal bases (..., k, d) of the ranges of symmetric matrices (..., k, k) near projectors of rank d.

    Gram and Schmidt, each time with the longest column that is left, twice for rounding.
    """
    rest, found = matrix, list[Tensor]()
    for _ in range(d):
        lengths = rest.norm(dim=-2)
        longest = lengths.argmax(-1, keepdim=True)
        column = torch.take_along_dim(rest, longest.unsqueeze(-2), -1).squeeze(-1)
        for earlier in found:
            column = column - earlier * (earlier * column).sum(-1, keepdim=True)
        column = column / column.norm(dim=-1, keepdim=True).clamp_min(1e-300)
        found.append(column)
        rest = rest - column.unsqueeze(-1) * (column.unsqueeze(-2) @ rest)
    return torch.stack(found, dim=-1)


def columns(*entries: list[Tensor]) -> Tensor:
    """(..., k, d) from d lists of the k components."""
    return torch.stack([torch.stack(column, dim=-1) for column in entries], dim=-1)


def symmetric(uu: list[Tensor], uv: list[Tensor], vv: list[Tensor]) -> Tensor:
    """(..., k, 2, 2) from the k components of the three second derivatives."""
    a, b, c = (torch.stack(part, dim=-1) for part in (uu, uv, vv))
    return torch.stack([torch.stack([a, b], dim=-1), torch.stack([b, c], dim=-1)], dim=-2)


def apply(matrix: Tensor, vector: Tensor) -> Tensor:
    """matrix @ vector with batch dimensions, (..., m, n), (..., n) -> (..., m)."""
    return (matrix @ vector.unsqueeze(-1)).squeeze(-1)


def inverse(a: Tensor) -> Tensor:
    """a^-1 for a (..., d, d); matrices that are singular to rounding are replaced by the identity."""
    d = a.shape[-1]
    eye = torch.eye(d, dtype=a.dtype, device=a.device)
    scale = a.abs().amax(dim=(-1, -2), keepdim=True).clamp_min(1e-100)
    a = a / scale
    if d == 1:
        return 1 / torch.where(a.abs() > 0.5, a, 1.0) / scale
    if d > 2:
        regular = torch.linalg.det(a).abs() > 1e-14
        return torch.linalg.inv(torch.where(regular[..., None, None], a, eye)) / scale
    (p, q), (r, s) = (a[..., 0, 0], a[..., 0, 1]), (a[..., 1, 0], a[..., 1, 1])
    det = p * s - q * r
    regular = (det.abs() > 1e-14)[..., None, None]
    adjugate = torch.stack([s, -q, -r, p], dim=-1).unflatten(-1, (2, 2))
    return torch.where(regular, adjugate / torch.where(regular, det[..., None, None], 1.0), eye) / scale


def _positive_definite(h: Tensor) -> Tensor:
    if h.shape[-1] > 2:
        return torch.linalg.cholesky_ex(h).info == 0
    positive = h[..., 0, 0] > 0
    if h.shape[-1] == 2:
        positive = positive & (h[..., 0, 0] * h[..., 1, 1] > h[..., 0, 1] * h[..., 1, 0] * (1 + 1e-10))
    return positive


def _newton_step(p: Parametrisation, x: Tensor, u: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    """Step for |point(u) - x|^2/2; coordinates held at a bound drop out of the system."""
    point, j = p.jacobian(u)
    residual = point - x
    gradient, gram = apply(j.mT, residual), j.mT @ j
    hessian = gram + p.bending(u, residual)
    held = ((u <= lower) & (gradient > 0)) | ((u >= upper) & (gradient < 0))
    either = held.unsqueeze(-1) | held.unsqueeze(-2)
    eye = torch.eye(u.shape[-1], dtype=u.dtype, device=u.device)
    hessian, gram = torch.where(either, eye, hessian), torch.where(either, eye, gram)
    matrix = torch.where(_positive_definite(hessian)[:, None, None], hessian, gram)
    return -apply(inverse(matrix), torch.where(held, 0.0, gradient))


def nearest_parameters(p: Parametrisation, x: Tensor, u: Tensor, lower: Tensor, upper: Tensor, cap: Tensor) -> Tensor:
    """Local minimum of |point(u) - x|^2 over lower <= u <= upper, from the start u; plain (n, d) tensors.

    Projected Newton: an indefinite Hessian gives way to Gauss-Newton, steps are at most `cap` in every
    coordinate and are halved until the distance does not grow.
    """
    u = u.clamp(lower, upper)
    active = torch.arange(len(u), device=u.device)
    for _ in range(_MOST_STEPS):
        tick()
        v = u[active]
        step = _newton_step(p, x[active], v, lower, upper)
        step = step / (step.abs() / cap).amax(-1, keepdim=True).clamp_min(1.0)
        u[active], moved = _line_search(p.point, x[active], v, step, lower, upper)
        active = active[moved]
        if len(active) == 0:
            break
    return u


def _line_search(
    point: Function, x: Tensor, u: Tensor, step: Tensor, lower: Tensor, upper: Tensor
) -> tuple[Tensor, Tensor]:
    """The new u and whether to go on. Steps below 1e-5, unresolved by the distance, are taken as they are."""
    scale = 1 + u.abs()
    large = (step.abs() > 1e-5 * scale).any(-1)
    new = (u + step).clamp(lower, upper)
    waiting = large.nonzero().squeeze(-1)
    before = (point(u[waiting]) - x[waiting]).square().sum(-1)
    factor = 1.0
    for _ in range(_HALVINGS):
        worse = (point(new[waiting]) - x[waiting]).square().sum(-1) > before
        waiting, before = waiting[worse], before[worse]
        if len(waiting) == 0:
            break
        factor /= 2
        new[waiting] = (u[waiting] + factor * step[waiting]).clamp(lower, upper)
    new[waiting] = u[waiting]
    return new, ((new - u).abs() > 1e-9 * scale).any(-1)


def invert_chart(
    p: Parametrisation, centre: Tensor, normal: Tensor, y: Tensor, u: Tensor, cap: Tensor
) -> tuple[Tensor, Tensor]:
    """Parameters with normal^T (point(u) - centre) = y, on the branch that starts at u for y = 0, and the
    chord matrix.

    Plain (n, ..) tensors. The target moves from 0 to y along a segment, one Newton step at each of 8
    stations, then to convergence. Steps are at most `cap`, so that u is finite even where there is no
    solution; the chord matrix is 0 there.
    """
    u = u.clone()
    chord, solved = (
        torch.zeros_like(normal.mT @ normal),
        torch.zeros(len(u), dtype=torch.bool, device=u.device),
    )
    active = torch.arange(len(u), device=u.device)
    for station in [*range(1, _CONTINUATION), *[_CONTINUATION] * _MOST_STEPS]:
        tick()
        point, j = p.jacobian(u[active])
        frame = normal[active].mT
        chord[active] = inverse(frame @ j)
        missing = y[active] * (station / _CONTINUATION) - apply(frame, point - centre[active])
        step = apply(chord[active], missing)
        step = step / (step.abs() / cap).amax(-1, keepdim=True).clamp_min(1.0)
        u[active] += step
        if station == _CONTINUATION:
            going = (step.abs() > 1e-9 * (1 + u[active].abs())).any(-1)
            solved[active] = ~going & (missing.abs() <= 1e-6 * (1 + y[active].abs())).all(-1)
            active = active[going]
            if len(active) == 0:
                break
    return u, torch.where(solved[:, None, None], chord, 0.0)


def polish(point: Function, centre: Tensor, normal: Tensor, y: Tensor, u: Tensor, chord: Tensor) -> Tensor:
    """`POLISH` differentiated steps for normal^T (point(u) - centre) = y; normal, u and chord are
    constants."""
    for _ in range(POLISH):
        u = u + apply(chord, y - apply(normal.mT, point(u) - centre))
    return u
