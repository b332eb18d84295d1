"""Every manifold, three targets each: is the measured error at most epsilon, and how much of epsilon is used?

The last manifolds are a user's own, known by their projections alone. Targets per manifold: `exp_sin` (entire), a sharp
but smooth feature and a Hölder one with beta = 0.5, the last with `smoothness=0.5`. Targets read the first three
coordinates; manifolds larger than the unit ball are scaled into the targets' range, so that the features lie on them.

Every network is measured with `SEEDS` seeds (`QUICK_SEEDS` with --quick), none of which planning or claiming used:
`worst` is the largest of these errors over epsilon, `exceeded` how many are above it. `resolution`: of the claim.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

import construct
from benchmarks.own import OWN
from benchmarks.tables import Row, Study, arguments
from construct.manifolds import Manifold

MANIFOLDS: dict[str, dict[str, Any]] = {
    "circle": {},
    "sphere": {"dim": 2, "ambient": 8},
    "flat_torus": {"dim": 2},
    "torus": {},
    "trefoil": {},
    "helix": {},
    "swiss_roll": {},
    "moebius": {},
    "klein_bottle": {},
    "so3": {},
    "cube": {"dim": 2},
    "product": {},
    "sphere3": {"dim": 3},
    "cube3": {"dim": 3},
}
TARGETS = ("exp_sin", "runge", "cusp")
SMOOTH_EPSILON = (1e-1, 1e-2, 1e-3, 1e-4)
SEEDS, QUICK_SEEDS = 20, 5
ROUGH_EPSILON = {1: (1e-1, 3e-2), 2: (2e-1,)}


def build_manifold(name: str) -> Manifold:
    """A manifold of the study by its key."""
    if name in OWN:
        return OWN[name]()
    options = dict(MANIFOLDS[name])
    if name == "product":
        return construct.manifolds.Product(construct.manifolds.Circle(), construct.manifolds.Cube(1))
    return construct.manifolds.manifold(name.rstrip("3") if name not in ("so3",) else name, **options)


def scaled(target: Callable[[Tensor], Tensor], manifold: Manifold) -> Callable[[Tensor], Tensor]:
    """target(x / size), size the largest coordinate of the manifold where that is above 1."""
    size = max(1.0, float(manifold.box.abs().max()))
    return lambda x: target(x / size)


def cases(quick: bool) -> list[tuple[str, str, float]]:
    """(manifold, target, epsilon) of the study."""
    result = []
    for name in (*MANIFOLDS, *OWN):
        dim = build_manifold(name).dim
        for target in TARGETS:
            rough = not construct.targets.target(target).smooth
            levels = ROUGH_EPSILON.get(dim, ()) if rough else SMOOTH_EPSILON[: 4 if dim <= 2 else 3]
            result += [(name, target, epsilon) for epsilon in levels[: 1 if quick else None]]
    return result


def evaluate(name: str, target_name: str, epsilon: float, seed: int, seeds: int) -> Row:
    """Build, measure with `seeds` seeds of other points than the builder's, and look off the manifold for NaN."""
    manifold, target = build_manifold(name), construct.targets.target(target_name)
    function = scaled(target, manifold)
    start = time.perf_counter()
    try:
        smoothness = None if target.smooth else target.smoothness
        net = construct.approximate(function, manifold, epsilon=epsilon, smoothness=smoothness, seed=seed)
    except construct.EpsilonNotReached as error:
        blank = dict.fromkeys(("charts", "cells", "degree", "blocks", "parameters", "nonzero", "kappa"), "")
        return {
            "outcome": type(error).__name__,
            "sup": f"{error.best:.3e}",
            "used": "",
            "worst": "",
            "exceeded": "",
            "resolution": "",
            **blank,
            "finite": "",
            "seconds": f"{time.perf_counter() - start:.1f}",
        }
    seconds = time.perf_counter() - start
    found = [construct.measure(net, function, manifold, seed=seed + k).sup for k in range(seeds)]
    sup = found[0]
    lower, upper = net.box
    share = torch.rand(500, net.ambient, generator=torch.Generator().manual_seed(seed), dtype=net.dtype)
    box = lower + (upper - lower) * share
    report, origin = net.architecture, net.origin
    assert origin is not None
    return {
        "outcome": "met" if max(found) <= epsilon else "MISSED",
        "sup": f"{sup:.3e}",
        "used": f"{sup / epsilon:.3f}",
        "worst": f"{max(found) / epsilon:.4f}",
        "exceeded": sum(one > epsilon for one in found),
        "resolution": "" if net.claim is None or net.claim.resolution is None else f"{net.claim.resolution:.2g}",
        "charts": origin.sizes.charts,
        "cells": origin.sizes.cells,
        "degree": origin.sizes.degree,
        "blocks": report.blocks,
        "parameters": report.parameters,
        "nonzero": report.nonzero_parameters,
        "kappa": f"{report.weight_bound:.4g}",
        "finite": bool(torch.isfinite(net(box)).all()),
        "seconds": f"{seconds:.1f}",
    }


def plot(study: Study) -> Figure:
    """Non-zero parameters against measured error, a line per manifold and target."""
    figure = Figure(figsize=(9, 6), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for axis, target in zip(axes, TARGETS[:2], strict=True):
        for number, name in enumerate((*MANIFOLDS, *OWN)):
            style = "o-" if number < 10 else "s--"  # ten colours, then other marks
            rows = [r for r in study.rows if r["manifold"] == name and r["target"] == target and r["nonzero"]]
            axis.loglog([float(r["sup"]) for r in rows], [int(r["nonzero"]) for r in rows], style, label=name)
        axis.set(title=target, xlabel="measured sup error")
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("non-zero parameters")
    axes[0].legend(fontsize=7)
    return figure


def main() -> None:
    """Run the study."""
    options = arguments(__doc__)
    seeds = QUICK_SEEDS if options.quick else SEEDS
    study = Study("coverage", ("manifold", "target", "epsilon"), options)
    for name, target, epsilon in cases(options.quick):
        key = {"manifold": name, "target": target, "epsilon": epsilon}
        study.run(key, partial(evaluate, name, target, epsilon, options.seed, seeds))
    built = [row for row in study.rows if row["used"]]
    used = sorted(float(row["used"]) for row in built)
    missed = sum(row["outcome"] == "MISSED" for row in built)
    notes = [
        f"{len(built)} networks built, {missed} with a measured error above epsilon with one of {seeds} seeds "
        f"({sum(int(row['exceeded']) for row in built)} of all measurements); "
        f"{len(study.rows) - len(built)} refused; median of error/epsilon {used[len(used) // 2]:.3f}."
    ]
    print(notes[0])
    study.markdown(notes)
    plot(study).savefig(options.out / "coverage.png", dpi=150)


if __name__ == "__main__":
    main()
