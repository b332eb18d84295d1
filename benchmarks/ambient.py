"""The same target on the same manifold in R^D for growing D: coefficients stay; what else grows, and how?

The target is a function of canonical coordinates, `x -> g(manifold.restrict(x))`, so that it is the same function on
the manifold for every D. Where D is much larger than the manifold's affine hull R^k, the compact construction begins
with a block that projects R^D to R^k (k D heads, once); for small D it reads the coordinates directly, which costs
(d + 1) D heads per chart but a block less. The column `projected` says which: slopes in D are taken among rows of one
kind.

`ridge` and `ridge_5` are the ridge construction of free width and of width 5: they read k of the D inputs, which
parametrise the affine hull, and no other, so that nothing grows with D (up to 10,000; `compact` up to 1000).

`resolution` "planned" lets the planner choose for each D. It minimises parameters, so where charts become dear (some
middling D) it may trade a chart for a degree; "same" fixes the charts and the degree that compact had for the smallest
D.
"""

from __future__ import annotations

import math
import time
from functools import partial
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

import construct
from benchmarks.tables import Row, Study, arguments
from construct.manifolds import Circle, Manifold, Sphere

EPSILON = 1e-3
RIDGE: dict[str, dict[str, Any]] = {
    "ridge": {"construction": "ridge"},
    "ridge_5": {"construction": "ridge", "embedding_dim": 5},
}
FAR = 10_000  # the ridge networks read k inputs of so many
DIMENSIONS = {"circle": (2, 3, 10, 30, 100, 300, 1000), "sphere": (3, 10, 30, 100, 300, 1000)}
ISSUE = {"circle": (2, 10, 100, 1000), "sphere": (3, 10, 100, 1000)}


def build_manifold(name: str, ambient: int) -> Manifold:
    """Circle or sphere, isometrically in R^ambient."""
    return Circle(ambient=ambient) if name == "circle" else Sphere(2, ambient=ambient)


def evaluate(name: str, ambient: int, epsilon: float, seed: int, **options: Any) -> Row:
    """Build for `exp_sin` of canonical coordinates, at the resolution given or planned for epsilon, and count."""
    options = {"construction": "compact", **options}
    manifold, base = build_manifold(name, ambient), construct.targets.target("exp_sin")

    def target(x: Tensor) -> Tensor:
        return base(manifold.restrict(x))

    start = time.perf_counter()
    net = construct.approximate(target, manifold, epsilon=epsilon, seed=seed, **options)
    seconds = time.perf_counter() - start
    report, found = net.architecture, construct.measure(net, target, manifold, seed=seed + 1)
    origin = net.origin
    assert origin is not None
    return {
        "coefficients": origin.coefficients,
        "nonzero_coefficients": origin.nonzero_coefficients,
        "rest_nonzero": report.nonzero_parameters - origin.nonzero_coefficients,
        "projected": "Y" in origin.layout,
        "charts": origin.sizes.charts,
        "degree": origin.sizes.degree,
        "parameters": report.parameters,
        "nonzero": report.nonzero_parameters,
        "stored": report.stored_numbers,
        "tokens": report.tokens,
        "heads": report.total_heads,
        "blocks": report.blocks,
        "kappa": f"{report.weight_bound:.4g}",
        "sup": f"{found.sup:.3e}",
        "seconds": f"{seconds:.1f}",
    }


def slopes(rows: list[Row], column: str) -> tuple[float, float, float]:
    """Least-squares slope of a column per D, largest relative residual, log-log slope between the two largest D."""
    d = np.array([float(row["D"]) for row in rows])
    y = np.array([float(row[column]) for row in rows])
    slope, offset = np.polyfit(d, y, 1)
    residual = float(np.abs(slope * d + offset - y).max() / y.max())
    last = math.log(y[-1] / y[-2]) / math.log(d[-1] / d[-2])
    return float(slope), residual, last


def selected(rows: list[Row], name: str, resolution: str) -> list[Row]:
    """Rows of a manifold and a resolution, by growing D."""
    here = [row for row in rows if (row["manifold"], row["resolution"]) == (name, resolution)]
    return sorted(here, key=lambda row: int(row["D"]))


def notes(rows: list[Row]) -> list[str]:
    """A line per manifold and resolution."""
    lines = []
    for name in DIMENSIONS:
        for resolution in ("planned", "same", *RIDGE):
            here = selected(rows, name, resolution)
            if not here:
                continue
            counts = sorted({int(row["coefficients"]) for row in here})
            line = f"{name}, {resolution}: coefficients {counts} over D = {[int(row['D']) for row in here]}"
            stored = sorted({int(row["stored"]) for row in here})
            line += f", stored numbers {stored if len(stored) < 4 else f'{stored[0]} to {stored[-1]}'}"
            projected = [row for row in here if row["projected"] == "True"]
            if len(projected) >= 2:
                line += f"; from D = {projected[0]['D']} on, where it projects,"
                for column in ("rest_nonzero", "parameters"):
                    slope, residual, last = slopes(projected, column)
                    line += (
                        f" {column} {slope:.2f} per D (deviation from the line at most {100 * residual:.2f} % of the "
                        f"largest, log-log slope of the last two {last:.3f});"
                    )
            lines.append(line.rstrip(";") + ".")
    return lines


def plot(rows: list[Row]) -> Figure:
    """Counts against D."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for axis, name in zip(axes, DIMENSIONS, strict=True):
        here = selected(rows, name, "same")
        for column in ("coefficients", "rest_nonzero", "tokens", "parameters"):
            axis.loglog([int(r["D"]) for r in here], [int(r[column]) for r in here], "o-", label=f"compact, {column}")
        for number, construction in enumerate(RIDGE):
            here, column = selected(rows, name, construction), "stored"
            style = ("^-", "v:")[number]
            axis.loglog([int(r["D"]) for r in here], [int(r[column]) for r in here], style, label=construction)
        axis.set(title=f"{name}, epsilon {EPSILON:g}", xlabel="ambient dimension D")
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    return figure


def main() -> None:
    """Run the study."""
    options = arguments(__doc__)
    torch.set_num_threads(1)
    study = Study("ambient", ("manifold", "resolution", "D"), options)
    for name, dimensions in (ISSUE if options.quick else DIMENSIONS).items():
        for resolution in ("planned", "same"):
            for ambient in dimensions:
                first = selected(study.rows, name, "planned")[:1]
                if resolution == "same" and not first:
                    continue
                given = {c: int(first[0][c]) for c in ("charts", "degree")} if resolution == "same" else {}
                key = {"manifold": name, "resolution": resolution, "D": ambient}
                study.run(key, partial(evaluate, name, ambient, EPSILON, options.seed, **given))
        for construction, chosen in RIDGE.items():
            for ambient in (*dimensions, *(() if options.quick else (FAR,))):
                key = {"manifold": name, "resolution": construction, "D": ambient}
                study.run(key, partial(evaluate, name, ambient, EPSILON, options.seed, **chosen))
    lines = notes(study.rows)
    print("\n".join(lines))
    study.markdown([f"Epsilon {EPSILON:g}.", "", *(f"- {line}" for line in lines)])
    plot(study.rows).savefig(options.out / "ambient.png", dpi=150)


if __name__ == "__main__":
    main()
