"""Error against parameters, depth, arithmetic and time: ours and every rival, on five manifolds and a square.

Each row is one approximator: sup and RMS error on points that it has not seen, numbers (non-zero, stored, which adds
what was chosen besides, and dense), blocks or layers, multiply-adds of an evaluation, seconds to build or train, and
the time of an evaluation over that of a ReLU network 3 x 64 run beside it. Constructive methods are asked for an
epsilon; the others get sizes. Trained networks get `TRAINING` seconds each, the learning-rate sweep included; planners
get `LIMIT` seconds, and say so where that is short.
"""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
from scipy import stats

import construct
from benchmarks.problems import COLUMNS, Scaled, approximator_row, measured_row, problem
from benchmarks.tables import Row, Study, Task, arguments
from construct import baselines
from construct.baselines import Settings
from construct.errors import ConstructError

MANIFOLDS = ("sphere:8", "circle", "torus", "swiss_roll", "so3")
KINDS = ("smooth", "sharp", "rough")
CUBE = "cube:2"  # for the methods that need one: Yarotsky, sparse grids
MAIN = ("sphere:8", "smooth")  # the problem of the main picture, with the most rivals
TRAINING, TRAINING_MAIN, TRAINING_QUICK = 60.0, 120.0, 5.0
LIMIT, LIMIT_MAIN, LIMIT_QUICK = 120.0, 300.0, 10.0
SAMPLES, SAMPLES_QUICK = 10_000, 3_000
ORDERS = {  # fixed degree, more and more charts: theory -(p + 1)/d
    ("circle", 1): (6, 12, 24, 48, 96),
    ("circle", 3): (4, 8, 16, 32, 64),
    ("sphere:8", 1): (12, 32, 72, 162, 362),
    ("sphere:8", 3): (12, 32, 72, 162),
}
ROUGH_CELLS = {"circle": (4, 16, 64, 256), "sphere:8": (4, 8, 16, 32)}  # splines: theory -beta/d
FLOOR = 1e-12  # errors below are rounding
Sizes = dict[str, list[Settings]]


def epsilons(*exponents: float) -> list[Settings]:
    """{"epsilon": 10^-e} for each exponent."""
    return [{"epsilon": float(f"{10**-e:.3g}")} for e in exponents]


def points(*counts: int) -> list[Settings]:
    """{"points": n} for each n."""
    return [{"points": n} for n in counts]


def widths(*counts: int) -> list[Settings]:
    """{"width": w} for each w."""
    return [{"width": w} for w in counts]


def constructive(manifold: str, kind: str) -> Sizes:
    """Sizes of the constructive methods on a problem."""
    if kind == "rough":
        levels = {"circle": epsilons(0.5, 1, 1.5, 2), "sphere:8": epsilons(0.5, 0.7, 1, 1.3)}.get(manifold)
        levels = levels or epsilons(0.5, 0.7)
        return {
            "ridge": levels[:2],
            "lattice": levels,
            "compact": levels,
            "chen_improved": levels[:2],
            "chen": levels[:1],
        }
    if manifold == "so3":
        levels = epsilons(0.5, 1, 2) if kind == "smooth" else epsilons(0.5, 1)
        return {**ridges(levels), "compact": levels, "chen": epsilons(0.5)}
    if manifold == CUBE:
        return {
            **ridges(epsilons(1, 2, 3, 4, 6)),
            "compact": epsilons(1, 2, 3, 4, 6),
            "paper": epsilons(1),
            "yarotsky": epsilons(1, 2, 3),
            "chen_improved": epsilons(1, 2, 3),
        }
    if manifold == "circle":
        return {
            **ridges(epsilons(1, 2, 3, 4, 5, 6, 7, 8) if kind == "smooth" else epsilons(1, 2, 3, 4, 6, 8)),
            "compact": epsilons(1, 2, 3, 4, 5, 6, 7, 8) if kind == "smooth" else epsilons(1, 2, 3, 4, 6),
            "paper": epsilons(1, 2),
            "chen": epsilons(1, 2, 3),
            "chen_improved": epsilons(1, 2, 3, 4, 5, 6, 7, 8) if kind == "smooth" else epsilons(1, 2, 4),
        }
    if manifold == "sphere:8":
        return {
            **ridges(epsilons(1, 2, 3, 4, 5, 6, 7, 8) if kind == "smooth" else epsilons(1, 2, 3, 4)),
            "compact": epsilons(1, 2, 3, 4, 5, 6, 7) if kind == "smooth" else epsilons(1, 2, 3, 4),
            "paper": epsilons(1),
            "chen": epsilons(1, 2, 3, 4) if kind == "smooth" else epsilons(1),
            "chen_improved": epsilons(1, 2, 3, 4, 5) if kind == "smooth" else epsilons(1, 2),
        }
    analytic = ridges(epsilons(1, 2, 3, 4, 6) if kind == "smooth" else epsilons(1, 2, 3))
    return {**analytic, "compact": epsilons(1, 2, 3, 4), "chen": epsilons(1), "chen_improved": epsilons(1, 2)}


def ridges(levels: list[Settings]) -> Sizes:
    """The ridge construction of free width, of width 5 and with directions chosen for the target."""
    return {"ridge": levels, "ridge_5": levels, "ridge_sparse": levels}


def classical(manifold: str, kind: str) -> Sizes:
    """Sizes of the classical methods on a problem."""
    main = (manifold, kind) == MAIN
    degrees = {1: (2, 4, 6, 8, 12, 16, 24), 2: (2, 3, 4, 5, 6, 7, 8, 10, 12, 16), 3: (2, 3, 4, 6, 8)}[
        problem(manifold, kind)[0].dim
    ]
    sizes: Sizes = {
        "kernel_ridge": points(20, 50, 100, 300, 1000),
        "gaussian_process": points(20, 50, 100, 300),
        "rbf": points(20, 50, 100, 300, 1000),
        "nearest_neighbours": points(1000, 10_000),
        "global_polynomial": [{"degree": p} for p in degrees],
        "adaptive_chebyshev": constructive(manifold, kind)["compact"],
    }
    if manifold == CUBE:
        sizes["sparse_grid"] = points(100, 1000, 4000)
    if main:
        sizes["kernel_regression"] = points(20, 50, 100, 300)
    if manifold in ("circle", "sphere:8"):
        charts = 3 if manifold == "circle" else 6
        sizes["local_polynomials"] = [{"charts": charts, "degree": p} for p in (1, 2, 3, 4, 5, 6, 7, 8, 10, 12)]
    return sizes


def trained(manifold: str, kind: str) -> Sizes:
    """Architectures of the trained methods on a problem."""
    main = (manifold, kind) == MAIN
    sizes: Sizes = {"mlp": widths(64)}
    if kind == "smooth":
        sizes["tanh_mlp"] = widths(24)
    if manifold in ("sphere:8", "circle"):
        sizes |= {"mlp": widths(20, 64), "tanh_mlp": widths(16, 32)}
    if manifold == "sphere:8" or (manifold, kind) == ("circle", "smooth"):
        sizes |= {"softmax_transformer": widths(16), "crate": widths(8), "kan": widths(5)}
    if main:
        sizes |= {"mlp": widths(12, 20, 64, 128), "tanh_mlp": widths(4, 8, 12, 16, 24), "kan": widths(3, 5)}
    return sizes


def quick_sizes() -> dict[tuple[str, str], Sizes]:
    """A few seconds for each method, on two problems."""
    main: Sizes = {
        "ridge": epsilons(1, 2, 4, 6),
        "ridge_5": epsilons(2, 4),
        "ridge_sparse": epsilons(2, 4),
        "compact": epsilons(1, 2, 3),
        "chen": epsilons(0.5),
        "chen_improved": epsilons(1),
        "kernel_ridge": points(100, 300),
        "gaussian_process": points(100),
        "rbf": points(300),
        "nearest_neighbours": points(1000),
        "global_polynomial": [{"degree": p} for p in (4, 8)],
        "local_polynomials": [{"charts": 6, "degree": p} for p in (2, 4, 6)],
        "mlp": widths(20),
        "tanh_mlp": widths(16),
        "softmax_transformer": widths(8),
        "crate": widths(8),
    }
    circle: Sizes = {
        "ridge": epsilons(1, 2, 4, 6),
        "ridge_5": epsilons(2, 4),
        "compact": epsilons(1, 2, 4, 6),
        "chen": epsilons(1),
        "chen_improved": epsilons(1, 3),
        "kernel_ridge": points(100),
        "mlp": widths(20),
    }
    return {MAIN: main, ("circle", "smooth"): circle}


def all_sizes() -> dict[tuple[str, str], Sizes]:
    """Every problem of the full study."""
    problems = [(manifold, kind) for kind in KINDS for manifold in MANIFOLDS]
    return {
        (manifold, kind): {**constructive(manifold, kind), **classical(manifold, kind), **trained(manifold, kind)}
        for manifold, kind in [*problems, (CUBE, "smooth")]
    }


def tasks(options: Any) -> list[Task]:
    """Rows of the study."""
    result = []
    samples = SAMPLES_QUICK if options.quick else SAMPLES
    for (manifold, kind), methods in (quick_sizes() if options.quick else all_sizes()).items():
        training = TRAINING_MAIN if (manifold, kind) == MAIN else TRAINING
        limit = LIMIT_MAIN if (manifold, kind) == MAIN else LIMIT
        training, limit = (TRAINING_QUICK, LIMIT_QUICK) if options.quick else (training, limit)
        for method, sizes in methods.items():
            given: Settings = {"seconds": training} if method in baselines.method_names("trained") else {}
            for size in sizes:
                key = {"manifold": manifold, "kind": kind, "method": method, "size": json.dumps(size)}
                rest = (options.seed, options.device, limit, samples, given)
                result.append(Task(key, approximator_row, (manifold, kind, method, size, *rest)))
    return result


def fine_tuned_tasks(options: Any) -> list[Task]:
    """Compact networks before and after gradient descent."""
    seconds, samples = (TRAINING_QUICK, SAMPLES_QUICK) if options.quick else (TRAINING, SAMPLES)
    cases = [("circle", 1e-4), ("sphere:8", 1e-3)]
    result = []
    for manifold, epsilon in cases[:1] if options.quick else cases:
        for parameters in ("values", "all"):
            key = {"manifold": manifold, "kind": "smooth", "epsilon": epsilon, "parameters": parameters}
            arguments = (manifold, epsilon, parameters, options.seed, seconds, samples)
            result.append(Task(key, fine_tuned_row, arguments))
    return result


def fine_tuned_row(manifold: str, epsilon: float, parameters: str, seed: int, seconds: float, samples: int) -> Row:
    """A constructed network as initialisation: errors before and after, on the same points."""
    M, f = problem(manifold, "smooth")
    net = construct.approximate(f, M, epsilon, construction="compact", seed=seed)
    tuned = baselines.fine_tune(net, f, M, seconds=seconds, seed=seed, parameters=parameters)
    before, after = (construct.measure(one, f, M, samples=samples, seed=seed + 1) for one in (net, tuned.net))
    return {
        "nonzero": net.architecture.nonzero_parameters,
        "stored": net.architecture.stored_numbers,
        "trained_numbers": tuned.variables,
        "sup_before": f"{before.sup:.4e}",
        "sup_after": f"{after.sup:.4e}",
        "sup_gain": f"{before.sup / after.sup:.3f}",
        "rms_before": f"{before.rms:.4e}",
        "rms_after": f"{after.rms:.4e}",
        "rms_gain": f"{before.rms / after.rms:.3f}",
        "phase": tuned.phase,
        "steps": tuned.steps,
        "seconds": f"{tuned.seconds:.1f}",
    }


def order_tasks(options: Any) -> list[Task]:
    """Compact networks at a fixed degree with more and more charts, and splines with more and more cells."""
    result = []
    for (manifold, degree), counts in ORDERS.items():
        if options.quick and manifold != "circle":
            continue
        for charts in counts:
            size: Settings = {"charts": charts, "degree": degree}
            key = {"manifold": manifold, "target": "smooth", "family": f"degree {degree}", "size": json.dumps(size)}
            result.append(Task(key, order_row, (manifold, "smooth", size, -(degree + 1), options.seed)))
    for manifold, cells in ROUGH_CELLS.items():
        if options.quick and manifold != "circle":
            continue
        for count in cells:
            size = {"charts": 3 if manifold == "circle" else 4, "cells": count}
            key = {"manifold": manifold, "target": "rough", "family": "splines", "size": json.dumps(size)}
            result.append(Task(key, order_row, (manifold, "rough", size, -0.5, options.seed)))
    return result


def order_row(manifold: str, kind: str, size: Settings, order: float, seed: int) -> Row:
    """One network at a resolution given by hand."""
    M, f = problem(manifold, kind)
    blank = {**dict.fromkeys(COLUMNS, ""), "theory": ""}
    try:
        found = baselines.method("compact").fit(f, M, size, seed=seed)
    except ConstructError as error:
        return {**blank, "outcome": f"{type(error).__name__}: {error}"[:160]}
    row = measured_row(found, f, M, seed, SAMPLES)
    return {**row, "theory": f"{order / M.dim:g}"}


def fitted_order(rows: list[Row]) -> Row:
    """Slope of log sup against log non-zeros, its 95 % interval (Student), and R^2; needs three rows (`distinct`)."""
    x = np.log([float(row["nonzero"]) for row in rows])
    y = np.log([float(row["sup"]) for row in rows])
    found = stats.linregress(x, y)
    half = float(stats.t.ppf(0.975, len(x) - 2)) * float(found.stderr) if len(x) > 2 else math.nan
    return {
        "rows": len(rows),
        "exponent": f"{found.slope:.2f}",
        "interval": f"[{found.slope - half:.2f}, {found.slope + half:.2f}]",
        "R2": f"{found.rvalue**2:.3f}",
    }


def distinct(rows: list[Row]) -> list[Row]:
    """One row for each number of non-zeros (the best), without those at the rounding floor."""
    best: dict[str, Row] = {}
    for row in rows:
        if row["outcome"] == "built" and float(row["sup"]) > FLOOR:
            kept = best.get(row["nonzero"])
            best[row["nonzero"]] = row if kept is None or float(row["sup"]) < float(kept["sup"]) else kept
    return sorted(best.values(), key=lambda row: float(row["nonzero"]))


def exponents(orders: list[Row], rows: list[Row]) -> list[Row]:
    """Fitted exponents of the fixed-degree families with the theory's, then of every method with three sizes."""
    table: list[Row] = []
    for manifold, target, family in dict.fromkeys((r["manifold"], r["target"], r["family"]) for r in orders):
        here = [r for r in orders if (r["manifold"], r["target"], r["family"]) == (manifold, target, family)]
        here = distinct(here)
        if len(here) >= 3:
            first = {"manifold": manifold, "target": target, "method": f"compact, {family}"}
            table.append({**first, **fitted_order(here), "theory": here[0]["theory"]})
    for manifold, kind, method in dict.fromkeys((r["manifold"], r["kind"], r["method"]) for r in rows):
        here = [r for r in rows if (r["manifold"], r["kind"], r["method"]) == (manifold, kind, method)]
        here = distinct(here)
        if len(here) >= 3:
            theory = rough_theory(manifold, kind, method)
            first = {"manifold": manifold, "target": kind, "method": method}
            table.append({**first, **fitted_order(here), "theory": theory})
    return table


def rough_theory(manifold: str, kind: str, method: str) -> str:
    """-beta/d where the Hölder exponent decides; an analytic target has no power law in an hp method."""
    M, f = problem(manifold, kind)
    if isinstance(f, Scaled) and math.isfinite(f.smoothness):
        return f"{-f.smoothness / M.dim:g}" if method in ("compact", "paper", "chen", "chen_improved") else "-"
    fast = ("ridge", "ridge_5", "ridge_sparse", "compact", "chen_improved", "global_polynomial")
    return "faster than any power" if method in fast else "-"


def run(options: Any) -> None:
    """All rows, their tables and the fitted exponents."""
    main_study = Study("error_vs_parameters", ("manifold", "kind", "method", "size"), options)
    main_study.run_all(tasks(options))
    tuned = Study("fine_tuning", ("manifold", "kind", "epsilon", "parameters"), options)
    tuned.run_all(fine_tuned_tasks(options))
    orders = Study("orders", ("manifold", "target", "family", "size"), options)
    orders.run_all(order_tasks(options))
    main_study.markdown((__doc__ or "").splitlines())
    tuned.markdown(["Compact networks as initialisation of gradient descent; errors on the same fresh points."])
    orders.markdown(
        ["Compact networks at a fixed degree (more charts) and as splines (more cells), for the exponents."]
    )
    fits = Study("exponents", ("manifold", "target", "method"), options)
    fits.replace(exponents(orders.rows, main_study.rows))
    fits.markdown(["Slope of log sup error against log non-zero parameters, 95 % interval, and the theory's."])


if __name__ == "__main__":
    run(arguments(__doc__))
