"""Figures of the studies, drawn from their CSV files alone: `python -m benchmarks.draw --out DIR`.

Change `STYLE` or a function here and run it again; nothing is computed.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from benchmarks.tables import Row, read

# colour, marker, label; families share a line style
STYLE: dict[str, tuple[str, str, str]] = {
    "ridge": ("black", "*", "ridge transformer (ours)"),
    "ridge_5": ("dimgray", "*", "ridge transformer of width 5 (ours)"),
    "ridge_sparse": ("deepskyblue", "*", "ridge transformer, directions for f (ours)"),
    "lattice": ("black", "v", "lattice transformer (ours)"),
    "compact": ("black", "o", "compact transformer (ours)"),
    "paper": ("tab:blue", "o", "paper's transformer"),
    "chen": ("tab:red", "s", "Chen et al. ReLU"),
    "chen_improved": ("tab:orange", "s", "Chen et al. improved"),
    "same formula": ("firebrick", "s", "ReLU, same formula"),
    "ridge_relu": ("salmon", "s", "ReLU, ridge formula"),
    "ridge formula": ("salmon", "s", "ReLU, ridge formula"),
    "ridge formula, proved": ("darksalmon", "s", "ReLU, ridge formula, proved"),
    "same polynomials": ("tab:red", "v", "ReLU, same polynomials"),
    "yarotsky": ("tab:pink", "s", "Yarotsky ReLU"),
    "shallow_spline": ("tab:olive", "s", "shallow spline"),
    "mlp": ("tab:green", "^", "trained ReLU MLP"),
    "tanh_mlp": ("limegreen", "^", "trained tanh MLP"),
    "softmax_transformer": ("teal", "^", "trained softmax transformer"),
    "crate": ("darkcyan", "<", "trained CRATE"),
    "kan": ("turquoise", ">", "trained KAN"),
    "kernel_ridge": ("tab:purple", "D", "kernel ridge"),
    "kernel_regression": ("mediumorchid", "D", "kernel regression"),
    "gaussian_process": ("indigo", "D", "Gaussian process"),
    "rbf": ("violet", "D", "RBF interpolation"),
    "nearest_neighbours": ("tab:gray", "x", "nearest neighbours"),
    "global_polynomial": ("tab:brown", "P", "global polynomial"),
    "local_polynomials": ("goldenrod", "P", "local polynomials, no network"),
    "adaptive_chebyshev": ("sienna", "P", "adaptive Chebyshev tree"),
    "sparse_grid": ("darkkhaki", "P", "sparse grid"),
    "transformer": ("black", "o", "transformer, two heads"),
    "relu yarotsky": ("tab:red", "s", "ReLU, three squares"),
    "relu polar": ("tab:orange", "s", "ReLU, two squares"),
}
TRAINED = ("mlp", "tanh_mlp", "softmax_transformer", "crate", "kan")
MAIN = ("sphere:8", "smooth")
NAMES = {"sphere:8": "sphere in R^8", "swiss_roll": "Swiss roll", "so3": "SO(3)", "cube:2": "square"}
DPI = 100


def built(rows: Sequence[Row], **wanted: str) -> list[Row]:
    """Rows with these entries and an error."""
    return [r for r in rows if all(r[k] == v for k, v in wanted.items()) and r["sup"] and r["outcome"] == "built"]


def entry(row: Row, column: str) -> str:
    """A count or an error; of rows before choices were counted, the non-zeros are what is stored."""
    return row.get(column) or (row["nonzero"] if column == "stored" else "")


def curve(axes: Any, rows: Sequence[Row], x: str, y: str, method: str) -> None:
    """One method on log axes, in the order of x."""
    found = [(entry(r, x), entry(r, y)) for r in rows]
    points = sorted((float(a), float(b)) for a, b in found if a and float(a) > 0 and float(b) > 0)
    if not points:
        return
    colour, marker, label = STYLE[method]
    line = "--" if method in TRAINED else "-"
    axes.plot(*zip(*points, strict=True), line, color=colour, marker=marker, markersize=5, linewidth=1, label=label)


def panel(axes: Any, rows: Sequence[Row], x: str, xlabel: str, title: str = "", y: str = "sup") -> None:
    """Every method of some rows."""
    for method in STYLE:
        curve(axes, [r for r in rows if r["method"] == method], x, y, method)
    axes.set(xscale="log", yscale="log", xlabel=xlabel, ylabel="measured sup error" if y == "sup" else y, title=title)
    axes.grid(alpha=0.3)


def legend(figure: Figure, axes: Sequence[Any], columns: int = 5) -> None:
    """One legend for all panels, below them."""
    found: dict[str, Any] = {}
    for one in axes:
        found |= dict(zip(*reversed(one.get_legend_handles_labels()), strict=True))
    if found:
        figure.legend(list(found.values()), list(found), loc="outside lower center", ncols=columns, fontsize=8)


def main_picture(rows: Sequence[Row]) -> Figure:
    """Error against numbers, arithmetic and seconds on the main problem."""
    figure = Figure(figsize=(16, 6.2), layout="constrained")
    axes = figure.subplots(1, 3, sharey=True)
    here = built(rows, manifold=MAIN[0], kind=MAIN[1])
    panel(axes[0], here, "stored", "stored numbers")
    panel(axes[1], here, "multiply_adds", "multiply-adds of one evaluation")
    panel(axes[2], here, "seconds", "seconds to build, tune or train (one thread)")
    for one in axes[1:]:
        one.set_ylabel("")
    figure.suptitle("exp(x0) sin(3 x1 + x2) on the sphere in R^8")
    legend(figure, axes)
    return figure


def all_problems(rows: Sequence[Row], x: str, xlabel: str) -> Figure:
    """A panel for every manifold and target."""
    manifolds = list(dict.fromkeys(row["manifold"] for row in rows))
    kinds = list(dict.fromkeys(row["kind"] for row in rows))
    figure = Figure(figsize=(4 * len(manifolds), 3.4 * len(kinds) + 1.2), layout="constrained")
    grid = figure.subplots(len(kinds), len(manifolds), squeeze=False)
    for line, kind in zip(grid, kinds, strict=True):
        for axes, manifold in zip(line, manifolds, strict=True):
            title = f"{NAMES.get(manifold, manifold)}, {kind}"
            here = built(rows, manifold=manifold, kind=kind)
            axes.set_visible(bool(here))
            panel(axes, here, x, xlabel, title)
    legend(figure, list(grid.ravel()))
    return figure


def attention(rows: Sequence[Row], ratios: Sequence[Row]) -> Figure:
    """Counts against 1/epsilon, and the ratios."""
    problems = list(dict.fromkeys(row["what"] for row in rows))
    figure = Figure(figsize=(5 * len(problems), 12), layout="constrained")
    grid = figure.subplots(3, len(problems), squeeze=False)
    for column, what in enumerate(problems):
        here = [{**r, "inverse": str(1 / float(r["epsilon"]))} for r in rows if r["what"] == what and r["nonzero"]]
        for axes, (count, label) in zip(
            grid[:2, column], (("nonzero", "non-zero parameters"), ("depth", "blocks or layers")), strict=True
        ):
            for method in STYLE:
                curve(axes, [r for r in here if r["method"] == method], "inverse", count, method)
            axes.set(xscale="log", yscale="log", xlabel="1/epsilon", ylabel=label, title=NAMES.get(what, what))
            axes.grid(alpha=0.3)
        axes = grid[2, column]
        for one, rival in dict.fromkeys((r["transformer"], r["relu"]) for r in ratios if r["what"] == what):
            chosen = [
                r
                for r in sorted(ratios, key=lambda r: -float(r["epsilon"]))
                if (r["what"], r["transformer"], r["relu"]) == (what, one, rival)
            ]
            x = [1 / float(r["epsilon"]) for r in chosen]
            for name, line in (("nonzero ratio", "-"), ("dense ratio", ":")):
                y = [float(r[name]) for r in chosen]
                label = f"{rival} / {one}, {name.removesuffix(' ratio')}"
                axes.plot(x, y, line, marker="o", markersize=4, color=STYLE[rival][0], label=label)
        axes.set(xscale="log", yscale="log", xlabel="1/epsilon", ylabel="ReLU / transformer")
        axes.grid(alpha=0.3)
        if axes.get_lines():
            axes.legend(fontsize=7)
    legend(figure, list(grid[:2].ravel()), 3)
    return figure


def ambient(rows: Sequence[Row]) -> Figure:
    """Numbers and error against D."""
    figure = Figure(figsize=(12, 5.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes, y, label in ((left, "stored", "stored numbers"), (right, "sup", "sup error")):
        for method in STYLE:
            curve(axes, [r for r in rows if r["method"] == method and r["outcome"] == "built"], "ambient", y, method)
        axes.set(xscale="log", yscale="log", xlabel="D", ylabel=label)
        axes.grid(alpha=0.3)
    figure.suptitle("the same function on the sphere in R^D")
    legend(figure, (left, right))
    return figure


def depth(rows: Sequence[Row], levels: Sequence[Row]) -> Figure:
    """Blocks and layers against d, and against 1/epsilon for each d."""
    dims = list(dict.fromkeys(row["dim"] for row in levels))
    figure = Figure(figsize=(5 * (1 + len(dims)), 5.4), layout="constrained")
    axes = figure.subplots(1, 1 + len(dims), squeeze=False)[0]
    for number, (method, detail) in enumerate(dict.fromkeys((r["method"], r["detail"]) for r in rows)):
        here = [r for r in rows if (r["method"], r["detail"]) == (method, detail)]
        what = f"accuracy {detail}" if method == "yarotsky" else f"degree {detail}"
        colour, marker, _ = STYLE[method]
        line = {"4": "--", "8": ":", "0.0001": ":"}.get(detail, "-")
        here = sorted(here, key=lambda r: int(r["dim"]))
        x, y = [int(r["dim"]) for r in here], [int(r["depth"]) for r in here]
        width = max(1.0, 5.0 - 1.5 * number)  # curves that coincide stay visible
        axes[0].plot(x, y, line, color=colour, marker=marker, linewidth=width, label=f"{method}, {what}")
    axes[0].set(xlabel="d", ylabel="blocks or layers", title="cube, by dimension", ylim=(0, None))
    axes[0].set_xticks(sorted({int(row["dim"]) for row in rows}))
    axes[0].grid(alpha=0.3)
    axes[0].legend(fontsize=7)
    for one, dim in zip(axes[1:], dims, strict=True):
        here = [{**r, "inverse": str(1 / float(r["epsilon"]))} for r in built(levels, dim=dim)]
        for method in STYLE:
            curve(one, [r for r in here if r["method"] == method], "inverse", "depth", method)
        one.set(xscale="log", xlabel="1/epsilon", ylabel="blocks or layers", title=f"cube, d = {dim}", ylim=(0, None))
        one.grid(alpha=0.3)
    legend(figure, axes[1:], 6)
    return figure


def weights(rows: Sequence[Row]) -> Figure:
    """Error in each dtype."""
    figure = Figure(figsize=(13, 6), layout="constrained")
    axes = figure.subplots()
    here = [row for row in rows if row["outcome"] == "built"]
    for number, (dtype, colour) in enumerate(
        (("float64", "tab:blue"), ("float32", "tab:orange"), ("bfloat16", "tab:red"))
    ):
        points = [(i, r[f"sup {dtype}"]) for i, r in enumerate(here) if r[f"sup {dtype}"] not in ("", "not finite")]
        x, y = [i + 0.25 * (number - 1) for i, _ in points], [float(value) for _, value in points]
        axes.bar(x, y, width=0.25, color=colour, label=dtype, log=True)
    names = [f"{r['manifold']}, {r['method']}\n{r['epsilon']}, kappa {r['kappa']}" for r in here]
    axes.set_xticks(range(len(here)), names, rotation=60, ha="right", fontsize=7)
    axes.set(ylabel="sup error", title="weights and arithmetic rounded to a dtype")
    axes.grid(alpha=0.3, axis="y")
    axes.legend()
    return figure


def all_figures(folder: Path) -> list[Path]:
    """Every figure whose CSV is in the folder."""
    paths: list[Path] = []

    def save(name: str, figure: Figure) -> None:
        path = folder / f"{name}.png"
        figure.savefig(path, dpi=DPI)
        paths.append(path)

    rows = read(folder / "error_vs_parameters.csv")
    if rows:
        save("error_vs_parameters", main_picture(rows))
        save("error_vs_parameters_all", all_problems(rows, "stored", "stored numbers"))
        save("error_vs_depth", all_problems(rows, "depth", "blocks or layers"))
        save("error_vs_seconds", all_problems(rows, "seconds", "seconds to build, tune or train"))
        save("error_vs_multiply_adds", all_problems(rows, "multiply_adds", "multiply-adds of one evaluation"))
    pairs = read(folder / "attention_vs_relu.csv")
    if pairs:
        save("attention_vs_relu", attention(pairs, read(folder / "attention_vs_relu_ratios.csv")))
    dimensions = read(folder / "ambient_dimension.csv")
    if dimensions:
        save("ambient_dimension", ambient(dimensions))
    deep = read(folder / "depth.csv")
    if deep:
        save("depth", depth(deep, read(folder / "depth_epsilon.csv")))
    precision = read(folder / "weights.csv")
    if precision:
        save("weights", weights(precision))
    return paths


if __name__ == "__main__":
    command = argparse.ArgumentParser(description=__doc__)
    command.add_argument("--out", type=Path, default=Path("results"), help="folder of the CSV files")
    for path in all_figures(command.parse_args().out):
        print(path)
