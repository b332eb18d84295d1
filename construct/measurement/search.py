"""The search for the largest error: a seeded sample of the manifold, then a search around the worst points.

A maximum over random points underestimates the supremum (theory, section 9): the error of a good
approximation has many narrow peaks, and on a manifold with an edge the largest sit on that edge. So the
sample is followed by local searches, which start from the worst point of every region of the manifold, so
that one broad hill does not hide a narrow one elsewhere, and from the worst points of all. The result is a
lower bound of the supremum and is called "measured", never "proved".

All of it happens in the canonical form of the manifold, so that a large D costs one embedding an evaluation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from construct.manifolds import Manifold
from construct.manifolds.canonical import canonical_form
from construct.progress import tick
from construct.validation import integer, positive_integer

__all__ = ["Measurement", "search_sup"]

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

    `sup` is a lower bound of the supremum, `worst_point` where it was found. `rms` is over the uniform sample alone,
    `sup` over all points. A NaN or infinite error gives `sup = inf`, so that every comparison with an epsilon fails.
    `dtype` is the one in which the network ran. `resolution`: every point of M is within it of a point that was looked
    at, in the unit of x, so that features smaller than that are not seen; None: unknown.
    """

    sup: float
    rms: float
    worst_point: Tensor = field(repr=False)
    samples: int
    kind: str = "measured"
    dtype: torch.dtype = torch.float64
    resolution: float | None = None

    def __str__(self) -> str:
        unseen = "" if self.resolution is None else f"; features below {self.resolution:.2g} are not seen"
        return f"sup {self.sup:.3e}, rms {self.rms:.3e} ({self.kind} on {self.samples:,} points{unseen})"


def search_sup(
    error: Callable[[Tensor], Tensor],
    manifold: Manifold,
    samples: int,
    seed: int = 0,
    *,
    rounds: int = 12,
    starts: int = 32,
    centres: Tensor | None = None,
    watched: Tensor | None = None,
) -> Measurement:
    """Largest value of `error: (n, D) -> (n,) >= 0` (float64 in, real out) that a search finds.

    1. `samples` points of `manifold.sample(samples, seed)`; where there is an edge, half as many more, thrown
       outwards from them and projected back, so that the edge and its corners are seen; and the points
       `watched (m, k)`, in canonical coordinates.
    2. The `starts` highest hills (points no better than any of their neighbours), and the worst point of each
       region: of what is nearest to a row of `centres (c, D)`, by default `REGIONS` sample points far apart.
    3. `rounds` rounds of an evolution search from every start: `TRIALS (1 + d)` random steps within its own
       radius, projected back to the manifold; the worst is kept, the radius grows after a success and
       shrinks after a failure. `rounds = 0` measures the sample alone.

    Deterministic in `seed`. Raises `InputError` for `samples < 1`, `rounds < 0`, `starts < 1`.
    """
    samples, starts = positive_integer(samples, "samples"), positive_integer(starts, "starts")
    rounds, seed = integer(rounds, "rounds"), integer(seed, "seed")
    generator = torch.Generator().manual_seed(seed)
    flat = canonical_form(manifold)

    def at(y: Tensor) -> Tensor:
        return _evaluate(lambda part: error(manifold.embed(part)), y)

    points = flat.sample(samples, seed)
    errors = at(points)
    rms = math.sqrt(float((errors**2).mean()))
    more = [] if watched is None or not len(watched) else [watched]
    if flat.has_boundary:
        more.append(thrown_outwards(flat, points[: max(1, samples // 2)], generator))
    for added in more:
        points, errors = torch.cat([points, added]), torch.cat([errors, at(added)])
    centres = None if centres is None else manifold.restrict(centres)
    position, value, radius = _starts(points, errors, starts, centres, flat)
    count, trials = len(points), TRIALS * (1 + flat.dim)
    for number in range(rounds):
        tick((number + 1) / (rounds + 1))
        step = _directions(len(position) * trials, flat, generator).reshape(-1, trials, flat.ambient)
        length = STEPS ** -torch.rand(*step.shape[:2], 1, generator=generator, dtype=torch.float64)
        near = flat.project(position[:, None] + radius[:, None, None] * length * step)
        found = at(near.reshape(-1, near.shape[-1])).reshape(near.shape[:2])
        count += found.numel()
        best, which = found.max(dim=1)
        better = best > value
        position = torch.where(better[:, None], near[torch.arange(len(which)), which], position)
        value = torch.where(better, best, value)
        radius = radius * torch.where(better, GROW, SHRINK)
    worst = int(value.argmax())
    return Measurement(float(value[worst]), rms, manifold.embed(position[worst]), count)


def _evaluate(error: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """`error` in chunks, as float64 on the CPU; NaN counts as infinite, so that it is the worst."""
    parts = []
    for part in x.split(CHUNK):
        tick()
        parts.append(error(part).detach().to("cpu", torch.float64))
    values = torch.cat(parts)
    return torch.where(torch.isfinite(values), values, math.inf)


def thrown_outwards(manifold: Manifold, x: Tensor, generator: torch.Generator) -> Tensor:
    """The points nearest to `x + t v`, `v` a random vector, `t` from 1e-3 to 1 times the extent."""
    extent = float((x - x.mean(dim=0)).norm(dim=1).max()) + 1e-12
    t = extent * 10 ** (-3 * torch.rand(x.shape[0], 1, generator=generator, dtype=x.dtype))
    edge = manifold.project(x + t * _directions(len(x), manifold, generator))
    rounded = edge.numpy().round(9)
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
    canonical = points.numpy()
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
    """Random vectors `(count, k)`, their tangent part of root mean square length 1.

    Their normal part moves the projection to second order only, so no tangent basis is needed; it would
    cost more than a projection.
    """
    direction = torch.randn(count, manifold.canonical, generator=generator, dtype=torch.float64)
    return direction * math.sqrt(manifold.canonical / manifold.dim) / direction.norm(dim=1, keepdim=True)
