"""What users claim of their manifolds, tried on random points, or estimated where they ask for that.

Estimates are of the kind "numeric". A reach is estimated by Federer's formula (1959, Theorem 4.18): it is the infimum
of |q - p|^2 / (2 dist(q - p, T_p)) over pairs of points, so that the smallest quotient of any finite number of pairs is
*above* the reach and falls to it as pairs are added. The best pairs of a sample are refined by a random search whose
steps shrink, down to pairs near each other, whose quotient is a radius of curvature; what is found is multiplied by
`REACH_SAFETY`. Narrow places that no pair of the sample is near are missed: then give the reach.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from construct.errors import ConstructError, InputError
from construct.manifolds.base import Manifold, Reach
from construct.manifolds.newton import bending, jacobian
from construct.manifolds.reach import federer_bound, federer_quotients
from construct.progress import tick
from construct.validation import invalid, positive_real

ESTIMATE = "estimate"
REACH_SAFETY = 0.9
SPEED_SAFETY = 1.02
CHECKED = 512
"""Random points on which the claims of a user's manifold are tried."""
_SAMPLES = 1500
_PAIRS = 64
_ROUNDS = 24
_TRIES = 16

Map = Callable[[Tensor], Tensor]


def as_reach(reach: object) -> Reach:
    """A `Reach`; a plain number counts as "numeric"."""
    return reach if isinstance(reach, Reach) else Reach(positive_real(reach, "reach", infinite=True), "numeric")


def evaluated(function: Map, name: str, x: Tensor, width: int | None = None) -> Tensor:
    """function(x) for x (n, m), if it is finite, of shape (n, width) and float64."""
    value = called(function, name, x)
    shown = f"{tuple(value.shape)}, {value.dtype}" if isinstance(value, Tensor) else repr(value)[:80]
    wanted = f"({len(x)}, {'k' if width is None else width})"
    if not isinstance(value, Tensor) or value.ndim != 2 or len(value) != len(x) or value.dtype != x.dtype:
        raise invalid(name, f"a map of {tuple(x.shape)} to {wanted} that keeps the dtype", got=shown)
    if width is not None and value.shape[1] != width:
        raise invalid(name, f"a map of {tuple(x.shape)} to {wanted}", got=shown)
    if not bool(torch.isfinite(value).all()):
        raise invalid(name, "finite values on its domain", got="NaN or infinite ones")
    return value


def called(function: Callable[..., Tensor], name: str, *arguments: object) -> Tensor:
    """function(*arguments); whatever a user's function raises becomes an InputError that names it."""
    if not callable(function):
        raise invalid(name, "a function of points, in torch operations", function)
    try:
        return function(*arguments)
    except ConstructError:
        raise
    except Exception as error:
        got = f"one that raised {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        raise invalid(name, "a function of points (n, D), in torch operations", got=got) from error


def check_differentiable(function: Map, name: str, x: Tensor, *, seen: bool = True) -> None:
    """Refuse a function that torch cannot differentiate at x (n, m), or, with `seen`, sees no dependence of."""
    try:
        slope = jacobian(function, x)[1]
        value = torch.func.vmap(function)(x)
        bend = bending(function, x, torch.ones_like(value))
    except ConstructError:
        raise
    except Exception as error:
        got = f"one that raised {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        raise invalid(name, "torch operations differentiable by torch.func (jvp, vmap)", got=got) from error
    if not bool(torch.isfinite(slope).all() and torch.isfinite(bend).all()):
        got = "one whose first or second derivatives are NaN or infinite there"
        raise invalid(name, "a function that is smooth near the manifold", got=got)
    if seen and not bool(slope.any()):
        raise invalid(name, "torch operations differentiable by torch.func", got="one whose derivative is 0 everywhere")


def check_reach(manifold: Manifold, points: Tensor) -> None:
    """Refuse a reach above Federer's quotient of two of the points (n, D)."""
    bound = federer_bound(points, manifold.basis_unchecked(points), closest_pairs(points))
    if not manifold.reach <= bound * (1 + 1e-6):
        got = f"{manifold.reach!r}; 'estimate' finds one"
        raise invalid("reach", f"at most {bound:.6g}, Federer's quotient of two points", got=got)


def closest_pairs(points: Tensor) -> float:
    """The distance below which points (n, D) bend less than they are rounded."""
    size = float((points.amax(0) - points.amin(0)).max())
    noise = 2.0**-52 * float(points.abs().max())
    return max(1e-3 * size, math.sqrt(1e7 * noise * size))


def estimated_reach(point: Map, basis: Map, moved: Callable[[Tensor, Tensor], Tensor], start: Tensor) -> Reach:
    """An estimate of the reach, see the module.

    point: handles (n, m) -> points (n, D) of M (parameters, or points themselves); basis: handles -> (n, D, d);
    moved: handles and steps (n, m), as a share of M's size -> handles; start: handles (n, m) of random points.
    """
    generator = torch.Generator().manual_seed(0)
    handles = start[:_SAMPLES]
    points, bases = point(handles), basis(handles)
    closest = closest_pairs(points)
    first, second = _smallest_pairs(points, bases, closest)
    p, q = handles[first], handles[second]
    best = federer_quotients(point(p), basis(p), point(q), closest)
    size = 0.1
    for _ in range(_ROUNDS):
        tick()
        n = len(p) * _TRIES
        steps = size * torch.randn(2, n, p.shape[1], generator=generator, dtype=torch.float64)
        near = torch.rand(n, 1, generator=generator, dtype=torch.float64) < 0.2  # some q close to p: curvature
        p_new = moved(p.repeat(_TRIES, 1), steps[0])
        q_new = moved(torch.where(near, p.repeat(_TRIES, 1), q.repeat(_TRIES, 1)), steps[1])
        found = federer_quotients(point(p_new), basis(p_new), point(q_new), closest).reshape(_TRIES, -1)
        value, row = found.min(0)
        better = value < best
        place = row * len(p) + torch.arange(len(p))
        p, q = (torch.where(better[:, None], new[place], old) for new, old in ((p_new, p), (q_new, q)))
        best = torch.minimum(best, value)
        size *= 0.75
    return Reach(REACH_SAFETY * float(best.min()), "numeric")


def _smallest_pairs(points: Tensor, bases: Tensor, closest: float) -> tuple[Tensor, Tensor]:
    """Numbers of the points (n, D) of the pairs with the smallest quotients."""
    values, partners = [], []
    for i in range(0, len(points), 100):
        tick()
        quotient = federer_quotients(points[i : i + 100, None], bases[i : i + 100, None], points[None], closest)
        value, partner = quotient.min(1)
        values.append(value)
        partners.append(partner)
    value, partner = torch.cat(values), torch.cat(partners)
    order = value.argsort()[:_PAIRS]
    return order, partner[order]


def estimated_speeds(speeds: Callable[[Tensor], Tensor], low: Tensor, high: Tensor, grid: Tensor) -> tuple[float, ...]:
    """Estimates of max |d_i point|: over a grid of parameters (n, d), refined around the largest, times
    `SPEED_SAFETY`; they rise to the maxima as the grid gets finer. speeds: (n, d) -> (n, d)."""
    generator, d = torch.Generator().manual_seed(0), grid.shape[1]
    largest = speeds(grid)
    found = []
    for i in range(d):
        best = grid[largest[:, i].topk(min(8, len(grid))).indices]
        value, size = largest[:, i].max(), 0.05
        for _ in range(12):
            tick()
            steps = size * (high - low) * torch.randn(16 * len(best), d, generator=generator, dtype=torch.float64)
            tried = (best.repeat(16, 1) + steps).clamp(low, high)
            values = speeds(tried)[:, i]
            best = torch.cat([best, tried])[torch.cat([speeds(best)[:, i], values]).topk(len(best)).indices]
            value, size = torch.maximum(value, values.max()), size / 2
        found.append(SPEED_SAFETY * float(value))
    if not all(math.isfinite(v) and v > 0 for v in found):
        raise _no_speed(found)
    return tuple(found)


def _no_speed(found: list[float]) -> InputError:
    return invalid("function", "one that moves with every parameter", got=f"largest speeds {found}")
