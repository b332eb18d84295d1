"""The paper's rates: error against parameters at fixed degree s, slope -(s+1)/d, and blocks against d.

    python -m benchmarks.rates [--quick] [--out DIR]

`paper` construction, trapezoids. For a smooth target the sup error of the glued Taylor polynomials of degree s falls
like `N^-(s+1)` and the parameters grow like `N^d`; for a beta-Hölder target (s = 0, beta = 1/2) it falls like
`N^-beta`. Slopes are least squares on log-log axes over all N of a case, whose range is declared in CASES and spans
three octaves of parameters or more; they are fitted against the dense count P (whose overhead P0, what does not
depend on N, is below 2 % on the declared ranges) and, as a check, against P - P0.

The column `measured_on` says what the errors are of: "network" (all points through the network), "formula, network at
256 points" (the network was built and agrees with the formula there; column `difference`), or "formula" (too large
to build: the count is that of the program).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.figure import Figure
from torch import Tensor

from benchmarks.tables import Row, Study, arguments
from construct import targets
from construct.manifolds import Circle, Cube, Manifold, Sphere
from construct.measurement import Measurement
from construct.network import Network
from construct.paper.layout import layout_without_target
from construct.paper.program import paper_program, program_of, ramp_doublings
from construct.paper.taylor import TaylorApproximator, paper_atlas, taylor_approximator
from construct.problem import Problem
from construct.program.compile import Program
from construct.program.rules import Tokens
from construct.theorem import network_of
from construct.transformer.counts import Counts

SAMPLES, ROUNDS = 20_000, 12
WHOLE = 6_000  # heads up to which every point goes through the network
BUILT = 125_000  # heads up to which the network is built and compared with the formula
COMPARED = 256
TOLERANCE = 0.10  # of the slope
NODES = ("H", "U", "P")  # groups of tokens whose number grows with the nodes

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Case:
    """One curve: a target, a manifold, a degree and the declared range of N; `rate` is the order in N."""

    name: str
    manifold: Manifold
    target: str
    degree: int
    cells: tuple[int, ...]
    rate: float

    @property
    def slope(self) -> float:
        """Theory: sup error ~ P^slope."""
        return -self.rate / self.manifold.dim


OCTAVES_1 = (64, 91, 128, 181, 256, 362, 528)
OCTAVES_2 = (8, 11, 16, 23, 32, 45)
OCTAVES_S = (16, 19, 23, 27, 32, 38, 45, 54, 64)
CASES = [
    Case("s=0 d=1 circle", Circle(), "exp_sin", 0, OCTAVES_1, 1),
    Case("s=1 d=1 circle", Circle(), "exp_sin", 1, OCTAVES_1, 2),
    Case("s=3 d=1 circle", Circle(), "exp_sin", 3, OCTAVES_1, 4),
    Case("s=0 d=2 square", Cube(2), "exp_sin", 0, OCTAVES_2, 1),
    Case("s=1 d=2 square", Cube(2), "exp_sin", 1, OCTAVES_2, 2),
    Case("s=3 d=2 square", Cube(2), "exp_sin", 3, OCTAVES_2, 4),
    Case("s=0 d=2 sphere", Sphere(2), "exp_sin", 0, OCTAVES_S, 1),
    Case("s=1 d=2 sphere", Sphere(2), "exp_sin", 1, OCTAVES_S, 2),
    Case("s=3 d=2 sphere", Sphere(2), "exp_sin", 3, OCTAVES_S, 4),
    Case("beta=1/2 s=0 d=1 circle", Circle(), "weierstrass", 0, (64, 128, 256, 512, 1024, 2048), 0.5),
    Case("beta=1/2 s=0 d=1 interval", Cube(1), "root", 0, (128, 256, 512, 1024, 2048), 0.5),
]
DEPTH_DIMENSIONS = range(1, 7)


def quick(case: Case) -> Case:
    """The same range with one N in between."""
    cells = case.cells
    return replace(case, cells=(cells[0], cells[len(cells) // 2], cells[-1]))


def sup_error(function: Callable[[Tensor], Tensor], case: Case, seed: int) -> Measurement:
    """Measured sup error: random points, then a search around the worst."""
    problem = Problem(targets.target(case.target), case.manifold, seed=seed)
    return problem.search(function, samples=SAMPLES, rounds=ROUNDS)


def overhead(program: Program) -> int:
    """Dense parameters that do not depend on the nodes: those of heads that name no token of a node, of the FFNs, and
    the initial registers of the other tokens."""
    layout = program.layout
    of_nodes = np.concatenate([layout.tokens(group).ravel() for group in NODES if group in layout])

    def heads(side: object) -> Bools:
        assert isinstance(side, Tokens)
        return np.isin(side.numbers, of_nodes)

    rules = [rule for stage in program.stages for rule in program.rules(stage)]
    count = sum(int((heads(rule.target) | heads(rule.source)).sum()) for rule in rules)
    registers = np.count_nonzero(program.hidden0[np.ix_(of_nodes, list(layout.register_rows))])
    return program.parameters - 3 * layout.embedding_dim**2 * count - int(registers)


def counts_without_target(manifold: Manifold, cells: int, degree: int) -> Counts:
    """Sizes of the network on the paper's atlas, whatever the target."""
    atlas = paper_atlas(manifold)
    doublings = ramp_doublings(atlas.radius, atlas.default_inner_radius, cells, degree)
    layout = layout_without_target(atlas, cells=cells, degree=degree, doublings=doublings)
    return program_of(layout, np.ones((len(layout.nodes), len(layout.exponents)))).counts


def difference(net: Network, formula: TaylorApproximator, seed: int) -> float:
    """Largest difference between the network and its formula at random points."""
    x = formula.atlas.manifold.sample(COMPARED, seed)
    with torch.no_grad():
        return float((net(x) - formula(x)).abs().max())


def measure_row(case: Case, cells: int, built: int, seed: int) -> Row:
    """One point of a curve."""
    start = time.perf_counter()
    atlas = paper_atlas(case.manifold)
    approximator = taylor_approximator(targets.target(case.target), atlas, cells=cells, degree=case.degree)
    doublings = ramp_doublings(atlas.radius, approximator.inner_radius, cells, case.degree)
    approximator = replace(approximator, doublings=doublings)
    program = paper_program(approximator)
    counts = program.counts
    seconds, gap, where = float("nan"), float("nan"), "formula"
    function: Callable[[Tensor], Tensor] = approximator
    if counts.total_heads <= built:
        build = time.perf_counter()
        net = network_of(approximator)
        seconds = time.perf_counter() - build
        assert net.architecture.parameters == counts.parameters
        gap, where = difference(net, approximator, seed), f"formula, network at {COMPARED} points"
        if counts.total_heads <= WHOLE:
            function, where = net, "network"
    error = sup_error(function, case, seed)
    return {
        "s": case.degree,
        "d": case.manifold.dim,
        "target": case.target,
        "charts": atlas.count,
        "sup": f"{error.sup:.4e}",
        "parameters": counts.parameters,
        "overhead": overhead(program),
        "coefficients": approximator.coefficients.numel(),
        "heads": counts.total_heads,
        "tokens": counts.tokens,
        "blocks": counts.blocks,
        "ffn_depth": counts.ffn_depth,
        "measured_on": where,
        "difference": f"{gap:.1e}",
        "build_seconds": f"{seconds:.1f}",
        "seconds": f"{time.perf_counter() - start:.1f}",
    }


def depth_row(dim: int, built: int, seed: int) -> Row:
    """Blocks of the cube's network of degree 1, at the smallest and at a larger number of cells."""
    cube = Cube(dim)
    few, more = (counts_without_target(cube, cells, 1) for cells in (1, 3 if dim <= 3 else 2))
    row: Row = {
        "blocks": few.blocks,
        "blocks_more_cells": more.blocks,
        "theory": 7 if dim == 1 else 8 + math.ceil(math.log2(dim)),
        "heads": few.total_heads,
        "tokens": few.tokens,
        "parameters": few.parameters,
        "built": "no",
        "difference": "",
    }
    if few.total_heads <= built:
        formula = taylor_approximator(targets.target("polynomial"), paper_atlas(cube), cells=1, degree=1)
        net = network_of(formula)
        assert net.architecture.blocks == few.blocks
        row |= {"built": "yes", "difference": f"{difference(net, formula, seed):.1e}"}
    return row


def slope(x: list[float], y: list[float]) -> float:
    """Least squares on log-log axes."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def fits(rows: list[Row], cases: list[Case]) -> list[Row]:
    """Slopes of every case that has all its rows."""
    table = []
    for case in cases:
        here = rows_of(rows, case)
        if len(here) < len(case.cells):
            continue
        errors = [float(row["sup"]) for row in here]
        total = [float(row["parameters"]) for row in here]
        rest = [float(row["parameters"]) - float(row["overhead"]) for row in here]
        found = slope(total, errors)
        off = found / case.slope - 1
        table.append({
            "case": case.name,
            "N": f"{case.cells[0]}..{case.cells[-1]}",
            "octaves of P": f"{math.log2(total[-1] / total[0]):.2f}",
            "largest P0/P": f"{max(float(r['overhead']) / float(r['parameters']) for r in here):.2%}",
            "theory": f"{case.slope:g}",
            "slope in P": f"{found:.3f}",
            "slope in P - P0": f"{slope(rest, errors):.3f}",
            "off by": f"{off:+.1%}",
            "within 10 %": "yes" if abs(off) <= TOLERANCE else "NO",
            "blocks": ", ".join(sorted({row["blocks"] for row in here})),
        })  # fmt: skip
    return table


def rows_of(rows: list[Row], case: Case) -> list[Row]:
    """Rows of a case in the order of N, N in its declared range."""
    wanted = {str(n) for n in case.cells}
    here = [row for row in rows if row["case"] == case.name and row["cells"] in wanted]
    return sorted(here, key=lambda row: int(row["cells"]))


def markdown_lines(rows: list[Row]) -> list[str]:
    """A Markdown table."""
    if not rows:
        return []
    names = list(rows[0])
    lines = ["| " + " | ".join(names) + " |", "|" + " --- |" * len(names)]
    return lines + ["| " + " | ".join(str(row[name]) for name in names) + " |" for row in rows]


def plot(rows: list[Row], depth: list[Row], cases: list[Case]) -> Figure:
    """Error against parameters with the theory's slopes, and blocks against d."""
    figure = Figure(figsize=(12, 5), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(2, 1))
    for number, case in enumerate(cases):
        here = rows_of(rows, case)
        if not here:
            continue
        x, y = [float(r["parameters"]) for r in here], [float(r["sup"]) for r in here]
        left.loglog(x, y, "osD"[number % 3], color=f"C{number % 10}", label=f"{case.name} ({case.slope:g})")
        line = [y[0] * (value / x[0]) ** case.slope for value in x]
        left.loglog(x, line, "-", color=f"C{number % 10}", linewidth=0.8)
    left.set(xlabel="parameters (dense count)", ylabel="measured sup error", title="lines: slope -(s+1)/d")
    left.grid(alpha=0.3)
    left.legend(fontsize=7)
    dims = [int(row["dim"]) for row in depth]
    right.plot(dims, [int(row["blocks"]) for row in depth], "o", label="blocks, N = 1")
    right.plot(dims, [int(row["blocks_more_cells"]) for row in depth], "x", label="blocks, larger N")
    right.plot(dims, [9 + math.log2(d) for d in dims], "--", label="bound 9 + log2 d")
    right.set(xlabel="d", ylabel="blocks", title="paper construction, s = 1", ylim=(0, None))
    right.grid(alpha=0.3)
    right.legend(fontsize=8)
    return figure


def main() -> None:
    """Run the study."""
    options = arguments(__doc__)
    torch.set_num_threads(1)
    cases = [quick(case) for case in CASES] if options.quick else CASES
    built = WHOLE if options.quick else BUILT
    study = Study("rates", ("case", "cells"), options)
    for case in cases:
        for cells in case.cells:
            key = {"case": case.name, "cells": cells}
            study.run(key, partial(measure_row, case, cells, built, options.seed))
    depth = Study("rates_depth", ("dim",), options)
    for dim in DEPTH_DIMENSIONS:
        depth.run({"dim": dim}, partial(depth_row, dim, built, options.seed))
    table = markdown_lines(fits(study.rows, cases))
    print("\n".join(table))
    study.markdown([*(__doc__ or "").splitlines()[4:], "", *table])
    depth.markdown(
        ["Degree s = 1 on the cube: blocks do not depend on the number of cells; 7 for d = 1, then 8 + ceil(log2 d)."]
    )
    plot(study.rows, depth.rows, cases).savefig(options.out / "rates.png", dpi=150)


if __name__ == "__main__":
    main()
