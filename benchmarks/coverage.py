"""Every manifold, three targets each: is the measured error at most epsilon, and how much of epsilon is used?

The last manifolds are a user's own, known by their projections alone. Targets per manifold: `exp_sin` (entire), a sharp
but smooth feature and a Hölder one with beta = 0.5, the last with `smoothness=0.5`. Targets read the first three
coordinates; manifolds larger than the unit ball are scaled into the targets' range, so that the features lie on them.

Every case is planned twice: by default (of ridge and compact the network with the fewest stored numbers, `built` says
which) and with `construction="compact"`. The last lines compare: the non-zeros of compact over the stored numbers of
the default, the median over the analytic targets, and the rough ones (cusp) apart.

Every network is measured with `SEEDS` seeds (`QUICK_SEEDS` with --quick), none of which planning or claiming used:
`worst` is the largest of these errors over epsilon, `exceeded` how many are above it. `resolution`: of the claim.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

import construct
from benchmarks.own import OWN
from benchmarks.tables import Row, Study, parser
from construct.manifolds import Manifold
from construct.problem import Construction

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
CONSTRUCTIONS: dict[str, Construction | None] = {"default": None, "compact": "compact"}
BLANK = dict.fromkeys(
    ("built", "charts", "cells", "degree", "blocks", "width", "parameters", "nonzero", "stored", "kappa"), ""
)
AIM = 20.0  # the median of the ratios
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


def evaluate(name: str, target_name: str, epsilon: float, seed: int, seeds: int, construction: str = "default") -> Row:
    """Build, measure with `seeds` seeds of other points than the builder's, and look off the manifold for NaN."""
    manifold, target = build_manifold(name), construct.targets.target(target_name)
    function = scaled(target, manifold)
    start = time.perf_counter()
    try:
        smoothness = None if target.smooth else target.smoothness
        net = construct.approximate(
            function,
            manifold,
            epsilon=epsilon,
            smoothness=smoothness,
            construction=CONSTRUCTIONS[construction],
            seed=seed,
        )
    except construct.EpsilonNotReached as error:
        return {
            "outcome": type(error).__name__,
            "sup": f"{error.best:.3e}",
            "used": "",
            "worst": "",
            "exceeded": "",
            "resolution": "",
            **BLANK,
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
        "built": origin.construction,
        "charts": origin.sizes.charts,
        "cells": origin.sizes.cells,
        "degree": origin.sizes.degree,
        "blocks": report.blocks,
        "width": report.embedding_dim,
        "parameters": report.parameters,
        "nonzero": report.nonzero_parameters,
        "stored": report.stored_numbers,
        "kappa": f"{report.weight_bound:.4g}",
        "finite": bool(torch.isfinite(net(box)).all()),
        "seconds": f"{seconds:.1f}",
    }


def ratios(rows: Sequence[Row], *, rough: bool) -> list[tuple[Row, float]]:
    """(case of the default, non-zeros of compact over its stored numbers) where both were built, by the target."""
    compact = {case_of(row): row for row in rows if row["construction"] == "compact" and row["nonzero"]}
    found = []
    for row in rows:
        other = compact.get(case_of(row))
        analytic = construct.targets.target(row["target"]).smooth
        if row["construction"] == "default" and row["stored"] and other is not None and rough != analytic:
            found.append((row, float(other["nonzero"]) / float(row["stored"])))
    return found


def case_of(row: Row) -> tuple[str, ...]:
    """What both constructions were asked for."""
    return row["manifold"], row["target"], row["epsilon"]


def compared(rows: Sequence[Row]) -> list[str]:
    """The median ratio against its aim, the cases below 1, and the rough targets one by one."""
    analytic, rough = (ratios(rows, rough=kind) for kind in (False, True))
    lines = []
    if analytic:
        middle = median(ratio for _, ratio in analytic)
        lines.append(
            f"Non-zeros of compact over stored numbers of the default, median over {len(analytic)} cases with analytic "
            f"targets: {middle:.1f} (aim: at least {AIM:g}: {'met' if middle >= AIM else 'MISSED'})."
        )
        same = [" ".join(case_of(row)) for row, _ in analytic if row["built"] == "compact"]
        lines.append(f"Analytic targets for which the default is compact: {len(same)} ({'; '.join(same) or 'none'}).")
    if rough:
        text = "; ".join(f"{' '.join(case_of(row))} ({row['built']}) {ratio:.2g}" for row, ratio in rough)
        lines.append(f"Rough targets apart, median {median(ratio for _, ratio in rough):.2g}: {text}.")
    return lines


def plot(study: Study) -> Figure:
    """Stored numbers against measured error, a line per manifold and target: solid the default, faint compact."""
    figure = Figure(figsize=(9, 6), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for axis, target in zip(axes, TARGETS[:2], strict=True):
        for number, name in enumerate((*MANIFOLDS, *OWN)):
            style = "o-" if number < 10 else "s--"  # ten colours, then other marks
            for construction in CONSTRUCTIONS:
                wanted = {"manifold": name, "target": target, "construction": construction}
                rows = [r for r in study.rows if r["stored"] and all(r[k] == v for k, v in wanted.items())]
                main = construction == "default"
                axis.loglog(
                    [float(r["sup"]) for r in rows],
                    [int(r["stored"]) for r in rows],
                    style,
                    color=f"C{number % 10}",
                    alpha=1.0 if main else 0.25,
                    label=name if main else None,
                )
        axis.set(title=target, xlabel="measured sup error")
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("stored numbers")
    axes[0].legend(fontsize=7)
    return figure


def main() -> None:
    """Run the study."""
    command = parser(__doc__)
    command.add_argument("--seeds", type=int, help=f"measurements of each network, default {SEEDS}")
    options = command.parse_args()
    seeds = options.seeds or (QUICK_SEEDS if options.quick else SEEDS)
    study = Study("coverage", ("manifold", "target", "epsilon", "construction"), options)
    for name, target, epsilon in cases(options.quick):
        for construction in CONSTRUCTIONS:
            key = {"manifold": name, "target": target, "epsilon": epsilon, "construction": construction}
            study.run(key, partial(evaluate, name, target, epsilon, options.seed, seeds, construction))
    built = [row for row in study.rows if row["used"]]
    used = sorted(float(row["used"]) for row in built)
    missed = sum(row["outcome"] == "MISSED" for row in built)
    notes = [
        f"{len(built)} networks built, {missed} with a measured error above epsilon with one of {seeds} seeds "
        f"({sum(int(row['exceeded']) for row in built)} of all measurements); "
        f"{len(study.rows) - len(built)} refused; median of error/epsilon {used[len(used) // 2]:.3f}.",
        *compared(study.rows),
    ]
    print("\n".join(notes))
    study.markdown("\n\n".join(notes).splitlines())
    plot(study).savefig(options.out / "coverage.png", dpi=150)


if __name__ == "__main__":
    main()
