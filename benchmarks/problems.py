"""The problems on which rivals meet: manifolds, targets, and one row for one approximator."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from itertools import pairwise
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

import construct
from benchmarks.tables import Row
from construct import baselines
from construct.baselines import Baseline, Settings
from construct.errors import ConstructError
from construct.manifolds import Circle, Cube, Manifold, SpecialOrthogonal3, Sphere, SwissRoll, Torus

TARGETS = {"smooth": "exp_sin", "sharp": "runge", "rough": "cusp"}
ROUGH_ON_ROLL = "root"  # the point of `cusp` is not on the Swiss roll
COUNTS = ("nonzero", "stored", "dense", "depth", "multiply_adds")
COLUMNS = ("sup", "rms", *COUNTS, "seconds", "evaluation", "kappa", "outcome", "settings")
POINTS = 2048
REPEATS = 15


def manifold_of(name: str) -> Manifold:
    """A manifold of the studies: a name, and for `sphere:8` the dimension of the space around it."""
    kind, _, ambient = name.partition(":")
    around = int(ambient) if ambient else None
    if kind == "circle":
        return Circle(ambient=around)
    if kind == "sphere":
        return Sphere(2, ambient=around)
    if kind == "cube":
        return Cube(int(ambient))
    return {"torus": Torus, "swiss_roll": SwissRoll, "so3": SpecialOrthogonal3}[kind]()


class Scaled:
    """target(x / size), size the largest canonical coordinate of the manifold where that is above 1.

    So that the features of the built-in targets lie on large manifolds, too. A class, since rows are sent between
    processes. `smoothness` is the target's.
    """

    def __init__(self, name: str, manifold: Manifold, *, canonical: bool = False) -> None:
        self.target = construct.targets.target(name)
        self.size = max(1.0, float(manifold.box.abs().max()))
        self.manifold = manifold if canonical else None
        self.smoothness = self.target.smoothness

    def __call__(self, x: Tensor) -> Tensor:
        y = x if self.manifold is None else self.manifold.restrict(x)
        return self.target(y / self.size)


def problem(manifold: str, target: str) -> tuple[Manifold, Scaled]:
    """Manifold and target of a row; target is one of `TARGETS` or the name of a built-in.

    `canonical TARGET` is the target of the canonical coordinates: the same function on M for every D.
    """
    M = manifold_of(manifold)
    kind, canonical = target.removeprefix("canonical "), target.startswith("canonical ")
    name = ROUGH_ON_ROLL if (manifold, kind) == ("swiss_roll", "rough") else TARGETS.get(kind, kind)
    # the singular point of a rough target has to be on M, whatever space M lies in
    return M, Scaled(name, M, canonical=canonical or kind == "rough")


class OutOfTime(ConstructError):
    """A planner was stopped by the clock."""


def limited(seconds: float) -> Callable[[str, float | None], None]:
    """A progress callable that raises `OutOfTime` when the time is up."""
    end = time.perf_counter() + seconds

    def progress(stage: str, fraction: float | None = None) -> None:
        if time.perf_counter() > end:
            raise OutOfTime(f"stopped after {seconds:g} s")

    return progress


def approximator_row(
    manifold: str,
    target: str,
    method: str,
    size: Settings,
    seed: int,
    device: str,
    seconds: float,
    samples: int,
    options: Settings,
) -> Row:
    """Build one approximator and measure it. `size` is {"epsilon": .}, or settings of the method.

    The error is measured on points that neither fit nor planner has seen. A method that cannot do it says so in
    the column `outcome`.
    """
    M, f = problem(manifold, target)
    try:
        maker = baselines.method(method, **options)
        maker.check(M)
        found = built(maker, f, M, size, seed, device, seconds)
    except (ConstructError, MemoryError) as error:
        best = getattr(error, "best", math.inf)
        said = f"{type(error).__name__}: {str(error).splitlines()[0][:160]}" if str(error) else type(error).__name__
        return {**dict.fromkeys(COLUMNS, ""), "sup": f"{best:.3e}" if math.isfinite(best) else "", "outcome": said}
    return measured_row(found, f, M, seed, samples)


def built(
    maker: baselines.Method, f: Any, M: Manifold, size: Settings, seed: int, device: str, seconds: float
) -> Baseline:
    """`build` for an epsilon, `fit` for settings; classical methods compute on the CPU."""
    options: dict[str, Any] = {"seed": seed, "progress": limited(seconds)}
    if maker.family != "classical":
        options["device"] = device
    if set(size) == {"epsilon"}:
        return maker.build(f, M, size["epsilon"], **options)
    return maker.fit(f, M, size, **options)


def measured_row(found: Baseline, f: Any, M: Manifold, seed: int, samples: int) -> Row:
    """Error on fresh points, counts, and what an evaluation costs beside the reference."""
    error = construct.measure(found, f, M, samples=samples, seed=seed + 1)
    counts = found.counts
    return {
        "sup": f"{error.sup:.4e}",
        "rms": f"{error.rms:.4e}",
        "nonzero": counts.nonzero,
        "stored": counts.stored,
        "dense": counts.dense,
        "depth": counts.depth,
        "multiply_adds": counts.multiply_adds,
        "seconds": f"{found.seconds:.2f}",
        "evaluation": f"{evaluation_ratio(found, M, seed):.3g}",
        "kappa": kappa(found),
        "outcome": "built",
        "settings": json.dumps(found.settings, default=str),
    }


def kappa(found: Baseline) -> str:
    """Largest weight, where there are weights."""
    model = found.model
    if isinstance(model, construct.Network):
        return f"{model.architecture.weight_bound:.4g}"
    weights = getattr(model, "network", model)  # a training holds its network
    if isinstance(weights, nn.Module):
        return f"{max(float(p.detach().abs().max()) for p in weights.parameters()):.4g}"
    bound = getattr(model, "weight_bound", None)
    return "" if bound is None else f"{float(bound):.4g}"


def evaluation_ratio(found: Baseline, M: Manifold, seed: int) -> float:
    """Time of `POINTS` evaluations over that of a ReLU network 3 x 64 in float64 run right after it; median of many.

    Other work on the machine disturbs it all the same: a factor of two means little.
    """
    x = M.sample(POINTS, seed).to(found.device)
    generator = torch.Generator().manual_seed(seed)
    sizes = (M.ambient, 64, 64, 64, 1)
    weights = [torch.randn(o, i, generator=generator, dtype=x.dtype).to(x) for i, o in pairwise(sizes)]

    def reference(h: Tensor) -> Tensor:
        for weight in weights[:-1]:
            h = torch.relu(h @ weight.T)
        return h @ weights[-1].T

    def clock(function: Callable[[Tensor], Tensor]) -> float:
        start = time.perf_counter()
        function(x)
        if x.is_cuda:
            torch.cuda.synchronize()
        return time.perf_counter() - start

    with torch.no_grad():
        pairs = [(clock(found), clock(reference)) for _ in range(REPEATS + 1)][1:]
    return median(one / other for one, other in pairs)
