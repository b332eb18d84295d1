"""Rough and sharp targets: what do cells of several sizes cost? `python -m benchmarks.adaptivity [--quick] [--out
DIR]`.

Each row is a lattice network for an epsilon: coefficients, non-zeros, stored numbers (the integers of its tokens
counted), cells, the finest level, blocks, heads and FFN depth, the largest weight besides codes, seconds to plan, and
the largest error of `SEEDS` measurements with other seeds than the planner's. `compact` is planned beside it where that
ends within `LIMIT` seconds, and the adaptive Chebyshev tree as a rival.

For every case the slope of the error in the coefficients is fitted by least squares on log-log axes, with its 95 %
interval (Student's t), beside theory: `-beta/d` for targets that are rough everywhere, `-beta/d'` for a singular set of
dimension d' > 0, `-(q + 1)/d` for a point, q the degree that a cell's tokens span.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy import stats
from torch import Tensor

import construct
from benchmarks.problems import limited, problem
from benchmarks.tables import Row, Study, arguments
from construct.cells.approximator import CellApproximator
from construct.manifolds import Circle, Cube, Manifold, Sphere

SEEDS = 5
LIMIT, LIMIT_QUICK = 600.0, 60.0
FIT_FROM = 3  # rows that a slope takes
BLANK = dict.fromkeys(
    (
        "sup",
        "coefficients",
        "nonzero",
        "stored",
        "cells",
        "level",
        "blocks",
        "heads",
        "ffn_depth",
        "weight",
        "seconds",
        "outcome",
    ),
    "",
)


@dataclass(frozen=True)
class Case:
    """A target on a manifold, for some epsilons; `slope` of theory, None where there is none to compare with."""

    make: Callable[[], tuple[Manifold, Any]]
    epsilons: tuple[float, ...]
    slope: float | None = None
    resolution: float | None = None


def three_spikes(x: Tensor) -> Tensor:
    """sech^2(10 (t - .2)) + sech^4(100 (t - .4)) + sech^6(1000 (t - .6)), x in [-1, 1] mapped to t in [0, 1]."""
    t = (x[..., 0] + 1) / 2
    terms = [(10.0, 0.2, 2), (100.0, 0.4, 4), (1000.0, 0.6, 6)]
    parts = [torch.cosh((a * (t - c)).clamp(-300, 300)) ** -k for a, c, k in terms]
    return parts[0] + parts[1] + parts[2]


class Line:
    """sqrt|<x, a>| on the sphere, a oblique to all coordinates."""

    smoothness = 0.5

    def __init__(self, manifold: Manifold) -> None:
        a = torch.tensor([0.5, 0.7, -0.4], dtype=torch.float64)
        self.direction = manifold.embed((a / a.norm())[None])[0]

    def __call__(self, x: Tensor) -> Tensor:
        return (x @ self.direction.to(x)).abs().sqrt()


def _line() -> tuple[Manifold, Any]:
    manifold = Sphere(2, ambient=8)
    return manifold, Line(manifold)


def _everywhere(manifold: Manifold) -> tuple[Manifold, Any]:
    return manifold, construct.targets.weierstrass_all(manifold)


def _of_problem(manifold: str, kind: str) -> tuple[Manifold, Any]:
    return problem(manifold, kind)[:2]


CASES: dict[str, Case] = {
    "circle, cusp": Case(partial(_of_problem, "circle", "rough"), (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4), -3.0),
    "sphere:8, cusp": Case(partial(_of_problem, "sphere:8", "rough"), (1e-1, 5e-2, 3e-2, 2e-2, 1e-2), -1.5),
    "torus, cusp": Case(partial(_of_problem, "torus", "rough"), (1e-1, 5e-2)),
    "swiss_roll, root": Case(partial(_of_problem, "swiss_roll", "rough"), (1e-1, 3e-2, 1e-2)),
    "sphere:8, line": Case(_line, (1e-1, 7e-2, 5e-2, 3.5e-2), -0.5),
    "circle, spike of 1e-3": Case(lambda: (Circle(), construct.targets.spike(1e-3)), (1e-1, 1e-2, 1e-3)),
    "interval, three spikes": Case(lambda: (Cube(1), three_spikes), (1e-1, 1e-2, 1e-3)),
    "sphere, spike of 2e-3": Case(lambda: (Sphere(2), construct.targets.spike(2e-3)), (1e-1, 1e-2), resolution=1e-3),
    "circle, weierstrass_all": Case(partial(_everywhere, Circle()), (2e-1, 1e-1, 7e-2, 5e-2, 3.5e-2), -0.5),
    "sphere, weierstrass_all": Case(partial(_everywhere, Sphere(2)), (3e-1, 2e-1, 1.5e-1), -0.25),
}
METHODS = ("lattice", "compact")


def evaluate(name: str, method: str, epsilon: float, limit: float, seed: int) -> Row:
    """Plan, measure with other seeds."""
    case = CASES[name]
    manifold, target = case.make()
    start = time.perf_counter()
    try:
        net = construct.approximate(
            target,
            manifold,
            epsilon,
            construction=method,  # type: ignore[arg-type]
            smoothness=getattr(target, "smoothness", None) if method == "compact" else None,
            resolution=case.resolution,
            seed=seed,
            progress=limited(limit),
        )
    except construct.errors.ConstructError as error:
        return {**BLANK, "outcome": type(error).__name__, "seconds": f"{time.perf_counter() - start:.1f}"}
    seconds = time.perf_counter() - start
    sup = max(construct.measure(net, target, manifold, seed=seed + 1 + k).sup for k in range(SEEDS))
    counts, origin = net.architecture, net.origin
    assert origin is not None
    made = net.approximator
    level = int(made.basis.levels.max(initial=0)) if isinstance(made, CellApproximator) else ""
    return {
        "sup": f"{sup:.3e}",
        "coefficients": origin.nonzero_coefficients,
        "nonzero": counts.nonzero_parameters,
        "stored": counts.stored_numbers,
        "cells": origin.sizes.cells,
        "level": level,
        "blocks": counts.blocks,
        "heads": counts.total_heads,
        "ffn_depth": counts.ffn_depth,
        "weight": f"{_largest(net):.3g}",
        "seconds": f"{seconds:.1f}",
        "outcome": "met" if sup <= epsilon else "MISSED",
    }


def _largest(net: construct.Network) -> float:
    """The largest absolute value of a parameter; codes apart, and gate constants times codes."""
    made = net.approximator
    if not isinstance(made, CellApproximator):
        return net.architecture.weight_bound
    basis = made.basis
    fixed = max(4.0, basis.scale / basis.spacing, 1 / basis.spacing, basis.spacing)
    return max(fixed, float(made.coefficients.abs().max()))


def fitted(rows: Sequence[Row]) -> tuple[float, float] | None:
    """Slope of log error in log coefficients and half of its 95 % interval; None for fewer than `FIT_FROM` rows."""
    points = [(float(r["coefficients"]), float(r["sup"])) for r in rows if r["sup"]]
    if len(points) < FIT_FROM:
        return None
    x, y = np.log(np.array(points)).T
    found = stats.linregress(x, y)
    width = float(stats.t.ppf(0.975, len(points) - 2)) * float(found.stderr) if len(points) > 2 else math.inf
    return float(found.slope), width


def slopes(rows: Sequence[Row]) -> list[str]:
    """A line for each case whose slope theory knows."""
    lines = []
    for name, case in CASES.items():
        mine = [r for r in rows if r["case"] == name and r["method"] == "lattice"]
        found = fitted(mine)
        if case.slope is None or found is None:
            continue
        held = [float(r["coefficients"]) for r in mine if r["sup"]]
        octaves = math.log2(max(held) / min(held))
        lines.append(
            f"{name}: error ~ coefficients^{found[0]:.2f} +- {found[1]:.2f} over {octaves:.1f} octaves; "
            f"theory {case.slope:g}."
        )
    return lines


def plot(rows: Sequence[Row]) -> Figure:
    """Error against coefficients and against stored numbers; theory's slopes dashed."""
    figure = Figure(figsize=(11, 5), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for number, (name, case) in enumerate(CASES.items()):
        for method, style in (("lattice", "o-"), ("compact", "s:")):
            mine = [r for r in rows if r["case"] == name and r["method"] == method and r["sup"]]
            error = [float(r["sup"]) for r in mine]
            kept = {"color": f"C{number}", "alpha": 1.0 if method == "lattice" else 0.4}
            label = name if method == "lattice" else None
            left.loglog([float(r["coefficients"]) for r in mine], error, style, label=label, **kept)
            right.loglog([float(r["stored"]) for r in mine], error, style, **kept)
            if method == "lattice" and case.slope is not None and len(mine) > 1:
                x = np.array([float(mine[-1]["coefficients"]) / 4, float(mine[-1]["coefficients"])])
                left.loglog(x, error[-1] * (x / x[-1]) ** case.slope, "--", color=f"C{number}", linewidth=0.8)
    left.set(xlabel="coefficients", ylabel="measured sup error", title="lattice (dots), compact (squares)")
    right.set(xlabel="stored numbers")
    left.legend(fontsize=7)
    for axis in (left, right):
        axis.grid(alpha=0.3)
    return figure


def main() -> None:
    """Run the study."""
    options = arguments(__doc__)
    study = Study("adaptivity", ("case", "method", "epsilon"), options)
    limit = LIMIT_QUICK if options.quick else LIMIT
    for name, case in CASES.items():
        for method in METHODS:
            for epsilon in case.epsilons[: 1 if options.quick else None]:
                key = {"case": name, "method": method, "epsilon": epsilon}
                study.run(key, partial(evaluate, name, method, epsilon, limit, options.seed))
    notes = slopes(study.rows)
    print("\n".join(notes))
    study.markdown(notes)
    plot(study.rows).savefig(options.out / "adaptivity.png", dpi=150)


if __name__ == "__main__":
    main()
