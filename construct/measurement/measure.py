"""Measured errors of networks: against the target, at points of a known covering radius, and searched for the worst."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from construct.devices import on_cpu
from construct.manifolds import Manifold, Net
from construct.measurement.covers import cover_of
from construct.measurement.features import FINER
from construct.measurement.search import Measurement, search_sup
from construct.measurement.survey import survey
from construct.progress import Progress, watching
from construct.targets import evaluate_target
from construct.validation import integer, invalid, positive_integer

SAMPLES = 20_000
MOST_FOR_SCALE = 8  # times the samples: what a length scale may make of the cover


@runtime_checkable
class InParts(Protocol):
    """A module that knows how to evaluate many points in bounded memory."""

    def in_parts(self, x: Tensor) -> Tensor: ...


@on_cpu
def measure(
    net: Callable[[Tensor], Tensor],
    target: Callable[..., Any],
    manifold: Manifold,
    samples: int = SAMPLES,
    seed: int = 0,
    *,
    resolution: float | None = None,
    rounds: int = 12,
    starts: int = 32,
    progress: bool | Progress | None = None,
) -> Measurement:
    """Measured `sup |net - target|` and root mean square over `manifold`: `sup` is attained, so a lower bound.

    `net` and `target` map `x (n, D)` to `(n,)`; both are evaluated at the same points, rounded to the dtype
    of the parameters of `net`. Regions are those of the charts of `net` where it has an atlas.

    Looked at are `samples` random points, a net of the manifold of at most as many points, whose covering radius is the
    measurement's `resolution`, both sides of every jump of the target that is found, the narrow features of an
    `Expression`, and what the search finds from there. A target with a `length_scale` gets a net of a quarter of that,
    if it takes no more than 8 times as many points. `resolution` asks for a net of that covering radius, in the
    unit of x, at its price in points. `progress` is as in `construct.approximate`.

    Raises:
        InputError: a `samples`, `rounds`, `starts` or `seed` out of range; a `resolution` that takes more than 4
            million points; a target whose values are not finite reals of the right shape; a `net` that returns another
            shape.
    """
    _checked(samples, seed, rounds, starts)
    with watching(progress) as watch:
        watch.stage("measuring")
        cover = cover_for(target, manifold, samples, resolution)
        watched = survey(target, manifold, None if cover is None else cover.radius).watched
        return Measuring(net, target, manifold, cover, watched, samples, rounds, starts).results((seed,))[0]


def _checked(samples: int, seed: int, rounds: int, starts: int) -> None:
    """The arguments of a search, refused before anything is evaluated."""
    positive_integer(samples, "samples")
    positive_integer(starts, "starts")
    integer(rounds, "rounds")
    integer(seed, "seed")


def cover_for(
    target: Callable[..., Any], manifold: Manifold, samples: int = SAMPLES, resolution: float | None = None
) -> Net | None:
    """The net that a measurement looks at: as fine as was asked for, or as the target's length scale needs.

    Raises:
        InputError: as `cover_of`.
    """
    if resolution is not None:
        return cover_of(manifold, samples, resolution)
    cover, scale = cover_of(manifold, samples), getattr(target, "length_scale", None)
    if cover is None or not isinstance(scale, float) or cover.radius <= scale / FINER:
        return cover
    needed = len(cover.points) * (FINER * cover.radius / scale) ** manifold.dim
    return cover_of(manifold, MOST_FOR_SCALE * samples if needed > MOST_FOR_SCALE * samples else int(2 * needed))


@dataclass(frozen=True)
class Measuring:
    """What is the same in several measurements of one network.

    cover: the net to be looked at, None: none. watched: further points (m, D). The rest as in `measure`.
    """

    net: Callable[[Tensor], Tensor]
    target: Callable[..., Any]
    manifold: Manifold
    cover: Net | None
    watched: Tensor
    samples: int = SAMPLES
    rounds: int = 12
    starts: int = 32

    def results(self, seeds: Sequence[int], *, looks_at_cover: bool = True) -> list[Measurement]:
        """A measurement with each seed; the cover is looked at in the first at most, and its resolution said there."""
        atlas = getattr(getattr(self.net, "approximator", None), "atlas", None)
        centres = None if atlas is None else atlas.centres
        error, watched = absolute_error(self.net, self.target), self.manifold.restrict(self.watched)
        found = []
        for number, seed in enumerate(seeds):
            if self.cover is not None and looks_at_cover and number == 0:
                points, radius = torch.cat([self.cover.points, watched]), self.cover.radius
            else:
                points, radius = watched, None
            one = search_sup(
                error,
                self.manifold,
                self.samples,
                seed,
                rounds=self.rounds,
                starts=self.starts,
                centres=centres,
                watched=points,
            )
            found.append(replace(one, resolution=radius, dtype=_dtype_and_device(self.net)[0]))
        return found


def absolute_error(function: Callable[[Tensor], Tensor], target: Callable[..., Any]) -> Callable[[Tensor], Tensor]:
    """`|function - target|`, (n, D) -> (n,): both at the points rounded to the dtype of the parameters of `function`.

    A module with `in_parts` is evaluated by it. The result raises `InputError` for values of `function` of a wrong
    shape and for what `evaluate_target` refuses.
    """
    dtype, device = _dtype_and_device(function)
    evaluated = function.in_parts if isinstance(function, InParts) else function

    def error(x: Tensor) -> Tensor:
        at = x.to(dtype=dtype, device=device)
        with torch.no_grad():
            values = evaluated(at)
        if values.shape != x.shape[:-1]:
            raise invalid("net", f"values of shape {tuple(x.shape[:-1])}", tuple(values.shape))
        return (values.to(x) - evaluate_target(target, at.to(x))).abs()

    return error


def _dtype_and_device(net: Any) -> tuple[torch.dtype, torch.device]:
    if isinstance(net, torch.nn.Module):
        for parameter in net.parameters():
            return parameter.dtype, parameter.device
    return torch.float64, torch.device("cpu")
