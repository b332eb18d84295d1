"""`ridge` and `compact` against `paper` at equal measured error, and the former at the smallest errors aimed at.

For each case the paper's network is planned for a nominal epsilon; `ridge` (free width, and width 5 as `ridge_5`) and
`compact` are then asked for the error that was measured on the paper's network, so that all columns compare networks
of (at most) the same error. Of the constructions the default takes the one with the fewest stored numbers. The
trigonometric code uses the resolution found with the integer code: it needs the same tokens and heads and loses
precision only.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import torch
from matplotlib.figure import Figure

import construct
from benchmarks.tables import Row, Study, arguments
from construct.manifolds import Circle, Manifold, Sphere
from construct.targets import Target

BUDGET = 60_000_000
COUNTS = ("parameters", "nonzero", "stored", "tokens", "heads", "kappa")
SHAPE = ("widest", "blocks", "width", "ffn_depth", "charts", "cells", "degree")
BLANK = dict.fromkeys((*COUNTS, *SHAPE), "")
OURS: dict[str, dict[str, Any]] = {
    "compact": {"construction": "compact"},
    "ridge": {"construction": "ridge"},
    "ridge_5": {"construction": "ridge", "embedding_dim": 5},
}
# (case, nominal epsilon, codes of the paper's network; none: ours alone)
CASES: list[tuple[str, float, tuple[str, ...]]] = [
    ("circle exp(sin 3t)", 1e-1, ("integer", "trigonometric")),
    ("circle exp(sin 3t)", 1e-2, ("integer", "trigonometric")),
    ("circle exp_sin", 1e-1, ("integer", "trigonometric")),
    ("circle exp_sin", 1e-2, ("integer", "trigonometric")),
    ("sphere exp_sin", 1e-1, ("integer", "trigonometric")),
    ("sphere in R^8 exp_sin", 1e-1, ("integer", "trigonometric")),
    ("sphere exp_sin", 1e-2, ("integer", "trigonometric")),
    ("sphere in R^8 exp_sin", 1e-2, ("integer",)),
    ("circle exp(sin 3t)", 1e-6, ()),
    ("sphere exp_sin", 1e-4, ()),
    ("sphere in R^8 exp_sin", 1e-4, ()),
]
# the aims once more with the charts and degree of a five-block layout, given by hand
BY_HAND: list[tuple[str, float, dict[str, int]]] = [
    ("circle exp(sin 3t)", 1e-6, {"charts": 8, "degree": 12}),
    ("sphere exp_sin", 1e-4, {"charts": 12, "degree": 8}),
]


def problem(case: str) -> tuple[Any, Manifold]:
    """Target and manifold of a case."""
    exp_sin: Target = construct.targets.target("exp_sin")
    if case == "circle exp(sin 3t)":
        circle = Circle()
        return circle.lift(lambda u: torch.exp(torch.sin(3 * u[..., 0]))), circle
    manifolds = {"circle exp_sin": Circle(), "sphere exp_sin": Sphere(2), "sphere in R^8 exp_sin": Sphere(2, ambient=8)}
    return exp_sin, manifolds[case]


def evaluate(case: str, seed: int, **options: Any) -> Row:
    """Build with `construct.approximate(**options)` and measure on points of our own."""
    target, manifold = problem(case)
    start = time.perf_counter()
    try:
        net = construct.approximate(target, manifold, seed=seed, max_parameters=BUDGET, **options)
    except (construct.EpsilonNotReached, construct.PrecisionError) as error:
        best = getattr(error, "best", float("nan"))
        return {"asked": options.get("epsilon", ""), "sup": f"{best:.3e}", **BLANK, "seconds": type(error).__name__}
    seconds = time.perf_counter() - start
    report, found = net.architecture, construct.measure(net, target, manifold, seed=seed + 1)
    asked, origin = options.get("epsilon"), net.origin
    assert origin is not None
    return {
        "asked": "" if asked is None else f"{asked:.3e}",
        "sup": f"{found.sup:.3e}",
        "parameters": report.parameters,
        "nonzero": report.nonzero_parameters,
        "stored": report.stored_numbers,
        "tokens": report.tokens,
        "heads": report.total_heads,
        "widest": report.heads,
        "blocks": report.blocks,
        "width": report.embedding_dim,
        "ffn_depth": report.ffn_depth,
        "kappa": f"{report.weight_bound:.4g}",
        "charts": origin.sizes.charts,
        "cells": origin.sizes.cells,
        "degree": origin.sizes.degree,
        "seconds": f"{seconds:.1f}",
    }


def find(rows: list[Row], case: str, level: float, construction: str, code: str) -> Row | None:
    """The row of a network that was built, or None."""
    for row in rows:
        if (row["case"], row["epsilon"], row["construction"], row["code"]) == (case, str(level), construction, code):
            return row if row["parameters"] else None
    return None


def run_case(study: Study, case: str, level: float, codes: tuple[str, ...], seed: int) -> None:
    """All rows of one case and one nominal epsilon."""

    def key(construction: str, code: str) -> Row:
        return {"case": case, "epsilon": level, "construction": construction, "code": code}

    def ours(epsilon: float) -> None:
        for name, chosen in OURS.items():
            study.run(key(name, "integer"), partial(evaluate, case, seed, epsilon=epsilon, **chosen))

    if not codes:
        ours(level)
        return
    study.run(
        key("paper", "integer"),
        lambda: evaluate(case, seed, epsilon=level, construction="paper", position_code="integer"),
    )
    paper = find(study.rows, case, level, "paper", "integer")
    if paper is None:
        return
    if "trigonometric" in codes:
        resolution = {"cells": int(paper["cells"]), "degree": int(paper["degree"])}
        study.run(
            key("paper", "trigonometric"),
            lambda: evaluate(case, seed, construction="paper", position_code="trigonometric", **resolution),
        )
    ours(float(paper["sup"]))


def ratios(rows: list[Row]) -> list[str]:
    """Markdown: paper divided by each of ours, and compact by the ridge ones, for every case that has both."""
    lines = ["| case | epsilon | divided | by | sup | sup | " + " | ".join(f"{n} ratio" for n in COUNTS) + " |"]
    lines.append("|" + " --- |" * (6 + len(COUNTS)))
    pairs = [("paper", name) for name in OURS] + [("compact", name) for name in OURS if name != "compact"]
    for case, level, _ in CASES:
        for above, below in pairs:
            one, other = (find(rows, case, level, name, "integer") for name in (above, below))
            if one and other:
                shares = [f"{float(one[n]) / float(other[n]):.3g}" for n in COUNTS]
                first = f"| {case} | {level:g} | {above} | {below} | {one['sup']} | {other['sup']} | "
                lines.append(first + " | ".join(shares) + " |")
    return lines


def plot(rows: list[Row]) -> Figure:
    """Stored numbers against measured error."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    axis = figure.subplots()
    for number, case in enumerate(dict.fromkeys(case for case, _, _ in CASES)):
        for construction, marker in (("paper", "s--"), ("compact", "o-"), ("ridge", "^-"), ("ridge_5", "v:")):
            here = [
                r for r in rows if r["case"] == case and r["construction"] == construction and r["code"] == "integer"
            ]
            here = sorted((r for r in here if r["parameters"]), key=lambda row: float(row["sup"]))
            x, y = [float(r["sup"]) for r in here], [int(r["stored"]) for r in here]
            axis.loglog(x, y, marker, color=f"C{number}", label=f"{case}, {construction}")
    axis.set(xlabel="measured sup error", ylabel="stored numbers")
    axis.grid(alpha=0.3)
    axis.legend(fontsize=7)
    return figure


def main() -> None:
    """Run the study."""
    options = arguments(__doc__)
    torch.set_num_threads(1)
    study = Study("constructions", ("case", "epsilon", "construction", "code"), options)
    for case, level, codes in CASES:
        if options.quick and case.startswith("sphere") and level == 1e-2:
            continue
        run_case(study, case, level, codes, options.seed)
    for case, level, resolution in BY_HAND:
        text = ", ".join(f"{name} {value}" for name, value in resolution.items())
        key = {"case": case, "epsilon": level, "construction": f"compact, {text}", "code": "integer"}
        study.run(key, partial(evaluate, case, options.seed, **resolution))
    lines = ratios(study.rows)
    print("\n".join(lines))
    study.markdown(["One construction divided by another, all with the integer code:", "", *lines])
    plot(study.rows).savefig(options.out / "constructions.png", dpi=150)


if __name__ == "__main__":
    main()
