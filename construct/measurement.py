"""Measured errors: a seeded sample of the manifold, then a search around the worst points.

A maximum over random points underestimates the supremum (theory, section 9): the error of a good
approximation has many narrow peaks, and on a manifold with an edge the largest sit on that edge. So the
sample is followed by local searches, which start from the worst point of every region of the manifold, so
that one broad hill does not hide a narrow one elsewhere, and from the worst points of all. The result is a
lower bound of the supremum and is called "measured", never "proved".
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from construct.manifolds import Manifold
from construct.progress import Progress, tick, watching
from construct.targets import evaluate_target
from construct.validation import integer, invalid, positive_integer

__all__ = ["Measurement", "absolute_error", "measure", "search_sup"]

CHUNK = 16_384  # points evaluated at once
REGIONS = 48  # regions, where no chart centres are given
MOST_REGIONS = 128  # regions searched, the worst first
CANDIDATES = 4096  # worst points among which hills are looked for
GROW, SHRINK = 1.3, 0.3  # radius of a search after a success, after a failure
TRIALS = 5  # steps tried in a round and start, times d + 1
STEPS = 10.0  # ratio of the longest to the shortest step of a round


@dataclass(frozen=True)
class Measurement:
    """What was measured: errors in the units of the target, `worst_point (D,)`, how many points were seen.

    `rms` is over the uniform sample alone, `sup` and `worst_point` over all points. A NaN or infinite error
    gives `sup = inf`, so that every comparison with an epsilon fails. `dtype` is the one in which the network
    ran.
    """

    sup: float
    rms: float
    worst_point: Tensor = field(repr=False)
    samples: int
    kind: str = "measured"
    dtype: torch.dtype = torch.float64

    def __str__(self) -> str:
        return f"sup {self.sup:.3e}, rms {self.rms:.3e} ({self.kind} on {self.samples:,} points)"


def measure(
    net: Callable[[Tensor], Tensor],
    target: Callable[..., Any],
    manifold: Manifold,
    samples: int = 20_000,
    seed: int = 0,
    *,
    rounds: int = 12,
    starts: int = 32,
    progress: bool | Progress | None = None,
) -> Measurement:
    """Measured `sup |net - target|` and root mean square over `manifold`.

    `net` and `target` map `x (n, D)` to `(n,)`; both are evaluated at the same points, rounded to the dtype
    of the parameters of `net`. Regions are those of the charts of `net` where it has an atlas. `progress` as in
    `construct.approximate`. Raises
    `InputError` for a `samples`, `rounds` or `starts` out of range, a target whose values are not finite
    reals of the right shape, or a `net` that returns another shape.
    """
    atlas = getattr(getattr(net, "approximator", None), "atlas", None)
    centres = None if atlas is None else atlas.centres
    error = absolute_error(net, target)
    with watching(progress) as watch:
        watch.stage("measuring")
        found = search_sup(error, manifold, samples, seed, rounds=rounds, starts=starts, centres=centres)
    return Measurement(found.sup, found.rms, found.worst_point, found.samples, dtype=_dtype_and_device(net)[0])


def absolute_error(function: Callable[[Tensor], Tensor], target: Callable[..., Any]) -> Callable[[Tensor], Tensor]:
    """`|function - target|`, (n, D) -> (n,): both at the points rounded to the dtype of the parameters of `function`.

    The result raises `InputError` for values of `function` of a wrong shape and for what `evaluate_target` refuses.
    """
    dtype, device = _dtype_and_device(function)

    def error(x: Tensor) -> Tensor:
        at = x.to(dtype=dtype, device=device)
        with torch.no_grad():
            values = function(at)
        if values.shape != x.shape[:-1]:
            raise invalid("net", f"values of shape {tuple(x.shape[:-1])}", tuple(values.shape))
        return (values.to(x) - evaluate_target(target, at.to(x))).abs()

    return error


def search_sup(
    error: Callable[[Tensor], Tensor],
    manifold: Manifold,
    samples: int,
    seed: int = 0,
    *,
    rounds: int = 12,
    starts: int = 32,
    centres: Tensor | None = None,
) -> Measurement:
    """Largest value of `error: (n, D) -> (n,) >= 0` (float64 in, real out) that a search finds.

    1. `samples` points of `manifold.sample(samples, seed)`; where there is an edge, half as many more, thrown
       outwards from them and projected back, so that the edge and its corners are seen.
    2. The `starts` highest hills (points no better than any of their neighbours), and the worst point of each
       region: of what is nearest to a row of `centres (k, D)`, by default `REGIONS` sample points far apart.
    3. `rounds` rounds of an evolution search from every start: `TRIALS (1 + d)` random steps within its own
       radius, projected back to the manifold; the worst is kept, the radius grows after a success and
       shrinks after a failure. `rounds = 0` measures the sample alone.

    Deterministic in `seed`. Raises `InputError` for `samples < 1`, `rounds < 0`, `starts < 1`.
    """
    samples, starts = positive_integer(samples, "samples"), positive_integer(starts, "starts")
    rounds, seed = integer(rounds, "rounds"), integer(seed, "seed")
    generator = torch.Generator().manual_seed(seed)
    sample = manifold.sample(samples, seed)
    errors = _evaluate(error, sample)
    rms = math.sqrt(float((errors**2).mean()))
    points, count = sample, samples
    if manifold.has_boundary:
        edge = _thrown_outwards(manifold, sample[: max(1, samples // 2)], generator)
        points = torch.cat([points, edge])
        errors = torch.cat([errors, _evaluate(error, edge)])
        count += edge.shape[0]
    position, value, radius = _starts(points, errors, starts, centres, manifold)
    trials = TRIALS * (1 + manifold.dim)
    for number in range(rounds):
        tick((number + 1) / (rounds + 1))
        step = _directions(position.shape[0] * trials, manifold, generator).reshape(-1, trials, manifold.ambient)
        length = STEPS ** -torch.rand(*step.shape[:2], 1, generator=generator, dtype=torch.float64)
        near = manifold.project(position[:, None] + radius[:, None, None] * length * step)
        found = _evaluate(error, near.reshape(-1, near.shape[-1])).reshape(near.shape[:2])
        count += found.numel()
        best, which = found.max(dim=1)
        better = best > value
        position = torch.where(better[:, None], near[torch.arange(len(which)), which], position)
        value = torch.where(better, best, value)
        radius = radius * torch.where(better, GROW, SHRINK)
    worst = int(value.argmax())
    return Measurement(float(value[worst]), rms, position[worst].clone(), count)


def _evaluate(error: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """`error` in chunks, as float64 on the CPU; NaN counts as infinite, so that it is the worst."""
    parts = []
    for part in x.split(CHUNK):
        tick()
        parts.append(error(part).detach().to("cpu", torch.float64))
    values = torch.cat(parts)
    return torch.where(torch.isfinite(values), values, math.inf)


def _thrown_outwards(manifold: Manifold, x: Tensor, generator: torch.Generator) -> Tensor:
    """The points nearest to `x + t v`, `v` a random vector, `t` from 1e-3 to 1 times the extent."""
    extent = float((x - x.mean(dim=0)).norm(dim=1).max()) + 1e-12
    t = extent * 10 ** (-3 * torch.rand(x.shape[0], 1, generator=generator, dtype=x.dtype))
    edge = manifold.project(x + t * _directions(len(x), manifold, generator))
    rounded = manifold.restrict(edge).numpy().round(9)
    return edge[np.sort(np.unique(rounded, axis=0, return_index=True)[1])]  # many land in the same corner


def _starts(
    points: Tensor, errors: Tensor, starts: int, centres: Tensor | None, manifold: Manifold
) -> tuple[Tensor, Tensor, Tensor]:
    """Start points, their errors, and as first radii the distances to their farthest neighbours."""
    if centres is None:
        centres = _spread(points[:CANDIDATES], REGIONS)
    region = torch.cat([torch.cdist(part, centres.to(part)).argmin(dim=1) for part in points.split(CHUNK)])
    lowest = torch.full((len(centres),), -math.inf, dtype=errors.dtype)
    worst = lowest.scatter_reduce(0, region, errors, "amax")
    index = torch.arange(len(errors))[errors == worst[region]]
    first = torch.full((len(centres),), len(errors)).scatter_reduce(0, region[index], index, "amin")
    of_regions = first[first < len(errors)]
    of_regions = of_regions[errors[of_regions].argsort(descending=True)[:MOST_REGIONS]]
    candidates = torch.cat([errors.topk(min(CANDIDATES, len(errors))).indices, of_regions])
    canonical = manifold.restrict(points).numpy()
    count = min(3 + 2 * manifold.dim, len(points))
    found = cKDTree(canonical).query(canonical[candidates.numpy()], k=range(1, count + 1))
    reach, neighbours = torch.from_numpy(found[0])[:, -1], torch.from_numpy(found[1])
    hill = errors[candidates] >= errors[neighbours].amax(dim=1)
    chosen = hill.nonzero()[:starts, 0]  # candidates come in the order of their errors
    chosen = torch.cat([chosen, torch.arange(len(candidates) - len(of_regions), len(candidates))])
    apart = reach[reach > 0]
    typical = float(apart.median()) if len(apart) else float(manifold.half_widths.norm())
    at = candidates[chosen]
    return points[at], errors[at], reach[chosen].clamp(min=typical)


def _spread(points: Tensor, count: int) -> Tensor:
    """Up to `count` of `points`, each the farthest from those before it."""
    chosen = [0]
    distance = (points - points[0]).norm(dim=1)
    while len(chosen) < min(count, len(points)):
        chosen.append(int(distance.argmax()))
        distance = torch.minimum(distance, (points - points[chosen[-1]]).norm(dim=1))
    return points[chosen]


def _directions(count: int, manifold: Manifold, generator: torch.Generator) -> Tensor:
    """Random vectors `(count, D)` of the canonical subspace, their tangent part of root mean square length 1.

    Their normal part moves the projection to second order only, so no tangent basis is needed; it would
    cost more than a projection.
    """
    direction = torch.randn(count, manifold.canonical, generator=generator, dtype=torch.float64)
    return manifold.embed(
        direction * math.sqrt(manifold.canonical / manifold.dim) / direction.norm(dim=1, keepdim=True)
    )


def _dtype_and_device(net: Any) -> tuple[torch.dtype, torch.device]:
    if isinstance(net, torch.nn.Module):
        for parameter in net.parameters():
            return parameter.dtype, parameter.device
    return torch.float64, torch.device("cpu")
