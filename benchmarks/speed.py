"""Points per second of a network as a ratio to the direct evaluation of the same polynomials.

`net.approximator(x)` is the reference: linear forms and their Chebyshev polynomials, or the atlas, the partition and
its polynomials, in a few tensor operations. Network
and reference run in turns in one process, and medians are compared, so that a busy machine slows both. Building
networks of about 10^5 heads is timed against the fit of their coefficients, which runs just before.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from matplotlib.figure import Figure

import construct
from benchmarks.tables import Row, Study, arguments
from construct.atlas import atlas_for
from construct.local import PolynomialSpace, fit_charts
from construct.manifolds import Circle, Sphere
from construct.network import Approximator, Network
from construct.paper.planner import paper_parameters
from construct.paper.taylor import paper_atlas, taylor_approximator
from construct.theorem import network_of

RUNS = 7


def circle(**options: Any) -> Network:
    """exp(sin 3 theta) on the circle."""
    manifold = Circle()
    return construct.approximate(manifold.lift(lambda u: torch.exp(torch.sin(3 * u[..., 0]))), manifold, **options)


def sphere(**options: Any) -> Network:
    """exp_sin on the sphere in R^3."""
    return construct.approximate(construct.targets.target("exp_sin"), Sphere(2), **options)


# name: (builder, execution, points)
NETWORKS: dict[str, tuple[Callable[[], Network], str, int]] = {
    "compact, circle, 1e-6": (lambda: circle(epsilon=1e-6, construction="compact"), "sparse", 50_000),
    "compact, sphere, 1e-4": (lambda: sphere(epsilon=1e-4, construction="compact"), "sparse", 50_000),
    "compact, sphere, 12 charts of degree 8": (lambda: sphere(charts=12, degree=8), "sparse", 50_000),
    "paper, circle, 1e-2": (lambda: circle(epsilon=1e-2, construction="paper"), "sparse", 20_000),
    "paper, sphere, 1e-1 (8 cells, degree 1)": (lambda: sphere(cells=8, degree=1, construction="paper"), "sparse", 500),
    "dense, compact, circle, 1e-6": (lambda: circle(epsilon=1e-6, construction="compact"), "dense", 500),
    "dense, compact, sphere, 1e-1": (lambda: sphere(epsilon=1e-1, construction="compact"), "dense", 100),
    "ridge, circle, 1e-6": (lambda: circle(epsilon=1e-6, construction="ridge"), "sparse", 50_000),
    "ridge, sphere, 1e-4": (lambda: sphere(epsilon=1e-4, construction="ridge"), "sparse", 50_000),
    "ridge_5, sphere, 1e-2": (lambda: sphere(epsilon=1e-2, construction="ridge", embedding_dim=5), "sparse", 50_000),
    "dense, ridge, sphere, 1e-2": (lambda: sphere(epsilon=1e-2, construction="ridge"), "dense", 500),
}
BUILDS = ("paper, sphere, 10^5 heads", "compact, sphere, 10^5 heads")


def interleaved(first: Callable[[], Any], second: Callable[[], Any], runs: int) -> tuple[float, float]:
    """Median seconds of two functions called in turns, after one call each to warm up."""
    times: tuple[list[float], list[float]] = ([], [])
    first(), second()
    for _ in range(runs):
        for function, record in zip((first, second), times, strict=True):
            start = time.perf_counter()
            function()
            record.append(time.perf_counter() - start)
    return statistics.median(times[0]), statistics.median(times[1])


def row(net: Network, subject: str, points: int, seconds: float, reference: float) -> Row:
    """One line of the table: seconds of the subject and of the reference, and their ratio."""
    report = net.architecture
    return {
        "what": subject,
        "heads": report.total_heads,
        "tokens": report.tokens,
        "nonzero": report.nonzero_parameters,
        "stored": report.stored_numbers,
        "points": points,
        "seconds": f"{seconds:.4g}",
        "reference_seconds": f"{reference:.4g}",
        "points_per_second": f"{points / seconds:.4g}" if points else "",
        "reference_points_per_second": f"{points / reference:.4g}" if points else "",
        "ratio": f"{seconds / reference:.3g}",
    }


def evaluate(name: str, runs: int, seed: int) -> Row:
    """Forward against direct evaluation."""
    builder, execution, points = NETWORKS[name]
    net = builder()
    net.execution = execution
    x = net.manifold.sample(points, seed)
    with torch.no_grad():
        seconds, reference = interleaved(lambda: net(x), lambda: net.approximator(x), runs)
    return row(net, f"{execution} forward / direct evaluation", points, seconds, reference)


def build(name: str, heads: int = 100_000) -> Row:
    """Weights, bounds and token pairs of a large network against the fit of its coefficients."""
    target, manifold = construct.targets.target("exp_sin"), Sphere(2)
    start = time.perf_counter()
    approximator: Approximator
    if name.startswith("paper"):
        atlas = paper_atlas(manifold)
        cells = 1
        while paper_parameters(atlas, cells + 1, 1) <= 75 * heads:
            cells += 1
        approximator = taylor_approximator(target, atlas, cells=cells, degree=1)
    else:
        atlas = atlas_for(manifold, charts=max(12, heads // 62))
        approximator = fit_charts(target, atlas, PolynomialSpace(2, 8))
    middle = time.perf_counter()
    net = network_of(approximator)
    end = time.perf_counter()
    return row(net, "assembly / fit of the coefficients", 0, end - middle, middle - start)


def plot(rows: list[Row]) -> Figure:
    """Ratios as bars."""
    figure = Figure(figsize=(8, 4), layout="constrained")
    axis = figure.subplots()
    axis.barh([r["case"] for r in rows], [float(r["ratio"]) for r in rows])
    axis.set(xscale="log", xlabel="seconds of the network / seconds of the reference")
    axis.grid(alpha=0.3, axis="x")
    axis.invert_yaxis()
    return figure


def main() -> None:
    """Run the study."""
    options = arguments(__doc__)
    torch.set_num_threads(1)
    study = Study("speed", ("case",), options)
    for name in NETWORKS:
        if options.quick and name.startswith("paper, sphere"):
            continue
        study.run({"case": name}, partial(evaluate, name, 5 if options.quick else RUNS, options.seed))
    for name in BUILDS:
        heads = 10_000 if options.quick else 100_000
        study.run({"case": name}, partial(build, name, heads))
    study.markdown(
        ["`ratio`: seconds of the network divided by those of the reference beside it; medians of interleaved runs."]
    )
    plot(study.rows).savefig(options.out / "speed.png", dpi=150)


if __name__ == "__main__":
    main()
