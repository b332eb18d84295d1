"""`compact` against `paper` at equal measured error, and `compact` alone at the smallest errors that are aimed at.

For each case the paper's network is planned for a nominal epsilon; `compact` is then asked for the error that was
measured on the paper's network, so that both columns compare networks of (at most) the same error. The trigonometric
code uses the resolution found with the integer code: it needs the same tokens and heads and loses precision only.
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
COUNTS = ("parameters", "nonzero", "tokens", "heads", "kappa")
BLANK = dict.fromkeys(
    ("parameters", "nonzero", "tokens", "heads", "widest", "blocks", "ffn_depth", "kappa", "charts", "cells", "degree"),
    "",
)
# (case, nominal epsilon, codes of the paper's network; none: compact alone)
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
        "tokens": report.tokens,
        "heads": report.total_heads,
        "widest": report.heads,
        "blocks": report.blocks,
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

    if not codes:
        study.run(key("compact", "integer"), lambda: evaluate(case, seed, epsilon=level))
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
    study.run(key("compact", "integer"), lambda: evaluate(case, seed, epsilon=float(paper["sup"])))


def ratios(rows: list[Row]) -> list[str]:
    """Markdown: paper divided by compact, for every case that has both."""
    lines = ["| case | epsilon | paper sup | compact sup | " + " | ".join(f"{n} ratio" for n in COUNTS) + " |"]
    lines.append("|" + " --- |" * (4 + len(COUNTS)))
    for case, level, _ in CASES:
        paper = find(rows, case, level, "paper", "integer")
        compact = find(rows, case, level, "compact", "integer")
        if paper and compact:
            shares = [f"{float(paper[n]) / float(compact[n]):.3g}" for n in COUNTS]
            lines.append(f"| {case} | {level:g} | {paper['sup']} | {compact['sup']} | " + " | ".join(shares) + " |")
    return lines


def plot(rows: list[Row]) -> Figure:
    """Dense parameters against measured error."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    axis = figure.subplots()
    for number, case in enumerate(dict.fromkeys(case for case, _, _ in CASES)):
        for construction, marker in (("paper", "s--"), ("compact", "o-")):
            here = [
                r for r in rows if r["case"] == case and r["construction"] == construction and r["code"] == "integer"
            ]
            here = sorted((r for r in here if r["parameters"]), key=lambda row: float(row["sup"]))
            x, y = [float(r["sup"]) for r in here], [int(r["parameters"]) for r in here]
            axis.loglog(x, y, marker, color=f"C{number}", label=f"{case}, {construction}")
    axis.set(xlabel="measured sup error", ylabel="parameters (dense count)")
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
    study.markdown(["Paper divided by compact, both with the integer code:", "", *lines])
    plot(study.rows).savefig(options.out / "constructions.png", dpi=150)


if __name__ == "__main__":
    main()
