"""Depth: blocks and layers against the dimension d = 1..6 at a fixed degree, and against epsilon at fixed d.

By dimension, on the cube [-1, 1]^d: counts of programs, no network is built. `ridge` and `ridge_5` at degree 4 and 9,
beside 2 + log2 4, 2 + log3 9 and d more in width 5; `compact` at degree 2, 4 and 8 (as far as it goes), `paper` at
degree 1 beside its `7 + p + ceil(log2 d)`, `yarotsky` at degree 1 with the compositions that its products need for a
loss of at most 1e-2 and 1e-4, measured against exact products. By epsilon, on the cubes of dimension 1 to 3: networks
that were built and measured.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

import construct
from benchmarks.problems import COLUMNS, approximator_row
from benchmarks.tables import Row, Study, Task, arguments
from construct.atlas import atlas_for
from construct.baselines.relu.yarotsky import yarotsky_network
from construct.compact.program import compact_program
from construct.local import PiecewiseApproximator, PolynomialSpace
from construct.manifolds import Cube
from construct.paper.layout import layout_without_target
from construct.paper.taylor import paper_atlas
from construct.program.compile import Program
from construct.ridge.approximator import RidgeApproximator, RidgeBasis
from construct.ridge.coordinates import coordinates_of
from construct.ridge.directions import Directions, Lattice
from construct.ridge.layouts import ridge_program
from construct.ridge.waves import Waves

DIMENSIONS, DIMENSIONS_QUICK = range(1, 7), range(1, 5)
DEGREES = (2, 4, 8)
RIDGE_DEGREES = {4: 2, 9: 2}  # and their numbers of maps T2, T3
POSITIONS = 512
ACCURACIES = (1e-2, 1e-4)
LIMIT, LIMIT_QUICK = 45.0, 8.0
SAMPLES = 4_000
POINTS = 2_000


def dimension_row(method: str, dim: int, detail: float) -> Row:
    """Blocks or layers of one design."""
    cube = Cube(dim)
    if method in ("ridge", "ridge_5"):
        theory = 2 + RIDGE_DEGREES[int(detail)] + (dim if method == "ridge_5" else 0)
        return {"depth": len(ridge_of(method, cube, int(detail)).stages), "theory": theory, "unit": "blocks"}
    if method == "compact":
        atlas, space = atlas_for(cube), PolynomialSpace(dim, int(detail))
        ones = torch.ones(atlas.count, space.count, dtype=torch.float64)
        program = compact_program(PiecewiseApproximator(atlas, space, ones))
        return {"depth": len(program.stages), "theory": "", "unit": "blocks"}
    if method == "paper":
        layout = layout_without_target(paper_atlas(cube), cells=1, degree=int(detail), doublings=1)
        theory = 7 if dim == 1 else 8 + math.ceil(math.log2(dim))
        return {"depth": layout.blocks, "theory": theory, "unit": "blocks"}
    target, x = construct.targets.target("polynomial"), cube.sample(POINTS, 0)
    exact = yarotsky_network(target, dim, cells=1, degree=1, compositions=None)
    for compositions in range(1, 27):
        network = exact.with_compositions(compositions)
        if float((network(x) - exact(x)).abs().max()) <= detail:
            break
    return {"depth": network.counts.depth, "theory": "", "unit": "layers"}


def ridge_of(method: str, cube: Cube, degree: int) -> Program:
    """The program of a ridge polynomial in all coordinates; its directions matter to no count here."""
    k = cube.dim
    free = method == "ridge"
    family: Directions = Lattice(k, degree) if free else Waves(tuple(range(1, k)), POSITIONS, k > 1)
    basis = RidgeBasis(cube, coordinates_of(cube, 0), degree, family, np.arange(1), np.full(k, 0.5 / (k * degree)))
    return ridge_program(RidgeApproximator(basis, torch.ones(1, dtype=torch.float64), 1.0))


def dimension_tasks(options: Any) -> list[Task]:
    """Rows by dimension."""
    result = []
    for dim in DIMENSIONS_QUICK if options.quick else DIMENSIONS:
        details = [(method, float(p)) for method in ("ridge", "ridge_5") for p in RIDGE_DEGREES]
        details += [("compact", float(p)) for p in DEGREES] + [("paper", 1.0)] + [("yarotsky", e) for e in ACCURACIES]
        for method, detail in details:
            key = {"method": method, "dim": dim, "detail": f"{detail:g}"}
            result.append(Task(key, dimension_row, (method, dim, detail)))
    return result


def epsilon_tasks(options: Any) -> list[Task]:
    """Rows by epsilon. In one dimension the target is `runge`, since the entire ones need a second coordinate."""
    result = []
    limit = LIMIT_QUICK if options.quick else LIMIT
    for dim in (1, 2) if options.quick else (1, 2, 3):
        levels = {1: (1, 2, 3, 4, 6), 2: (1, 2, 3, 4, 6), 3: (1, 2)}[dim]
        methods = (
            ["ridge", "ridge_5", "compact", "chen_improved", "yarotsky"]
            + ["shallow_spline"] * (dim == 1)
            + ["paper"] * (dim < 3)
        )
        for exponent in levels[: 2 if options.quick else None]:
            for method in methods:
                if method in ("yarotsky", "paper") and exponent > (4 if dim == 1 else 2):
                    continue
                epsilon = 10.0**-exponent
                kind = "sharp" if dim == 1 else "smooth"
                key = {"dim": dim, "method": method, "epsilon": f"{epsilon:.0e}"}
                rest: tuple[Any, ...] = (options.seed, options.device, limit, SAMPLES, {})
                size = {"epsilon": epsilon}
                result.append(Task(key, approximator_row, (f"cube:{dim}", kind, method, size, *rest)))
    return result


def run(options: Any) -> None:
    """Both tables."""
    study = Study("depth", ("method", "dim", "detail"), options)
    study.run_all(dimension_tasks(options))
    study.markdown((__doc__ or "").splitlines())
    levels = Study("depth_epsilon", ("dim", "method", "epsilon"), options)
    levels.run_all(epsilon_tasks(options))
    levels.markdown([f"Columns as in error_vs_parameters: {', '.join(COLUMNS)}; target runge for d = 1, else exp_sin."])


if __name__ == "__main__":
    run(arguments(__doc__))
