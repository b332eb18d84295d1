"""`summary.md`: tables, pictures, what the measurements say of the paper: `python -m benchmarks.summary --out DIR`.

Everything here is computed from the CSV files in the folder; a verdict is a comparison of numbers, never a sentence
that was written beforehand. What has no rows is reported as not measured.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.tables import Row, markdown_table, read

MAIN = ("sphere:8", "smooth")
LEVELS = (1e-2, 1e-3, 1e-4, 1e-6)
SLACK = 1.03
AIM = 100.0  # times fewer non-zeros than Chen et al.
OURS = ("ridge", "ridge_5", "ridge_sparse", "compact", "paper")
"""Our networks: of those that reach an error the one with the fewest stored numbers stands for all, as by default."""
TRAINED = ("mlp", "tanh_mlp", "softmax_transformer", "crate", "kan")
KERNELS = ("kernel_ridge", "kernel_regression", "gaussian_process", "rbf")
SHOWN = (
    "method",
    "size",
    "sup",
    "rms",
    "nonzero",
    "stored",
    "dense",
    "depth",
    "multiply_adds",
    "seconds",
    "evaluation",
    "outcome",
)


KEYS = ("manifold", "what", "kind", "target", "dim", "ambient", "method", "family", "size", "epsilon")


class Results:
    """The rows of a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.errors = read(folder / "error_vs_parameters.csv")

    def table(self, name: str) -> list[Row]:
        """Rows of one CSV."""
        return read(self.folder / f"{name}.csv")

    def main(self, *methods: str) -> list[Row]:
        """Rows of the main problem that were built, of some methods."""
        here = [r for r in self.errors if (r["manifold"], r["kind"]) == MAIN and r["outcome"] == "built"]
        return [r for r in here if not methods or r["method"] in methods]


def reaching(rows: Sequence[Row], epsilon: float, what: str = "nonzero") -> Row | None:
    """Of the rows that reach epsilon the one with the least of a count.

    A row was built on other points than those of its column `sup`: `SLACK` is what two measurements may differ by.
    """
    enough = [r for r in rows if float(r["sup"]) <= SLACK * epsilon]
    return min(enough, key=lambda r: float(r[what])) if enough else None


def stored(row: Row) -> float:
    """Stored numbers; of rows before choices were counted the non-zeros."""
    return float(row.get("stored") or row["nonzero"])


def smallest(rows: Sequence[Row], epsilon: float) -> Row | None:
    """Of the rows that reach epsilon the one with the fewest stored numbers."""
    enough = [r for r in rows if float(r["sup"]) <= SLACK * epsilon]
    return min(enough, key=stored) if enough else None


def best(rows: Sequence[Row]) -> Row | None:
    """The row with the smallest error."""
    return min(rows, key=lambda r: float(r["sup"])) if rows else None


def number(value: float) -> str:
    """Four digits, thousands apart."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


# -- equal error ------------------------------------------------------------------------------------------------------


def equal_error(results: Results) -> list[str]:
    """For each level the cheapest row of every method that reaches it, and what failed to."""
    rows = results.main()
    lines = []
    for epsilon in LEVELS:
        table: list[Row] = []
        for method in dict.fromkeys(r["method"] for r in rows):
            here = [r for r in rows if r["method"] == method]
            found = smallest(here, epsilon)
            if found is None:
                nearest = best(here)
                assert nearest is not None
                table.append({
                    "method": method,
                    "stored": f"not reached; best {float(nearest['sup']):.2e}",
                    "seconds": f"all sizes: {sum(float(r['seconds']) for r in here):.0f}",
                })  # fmt: skip
                continue
            quick = reaching(here, epsilon, "seconds")
            assert quick is not None
            table.append({
                "method": method,
                "sup": found["sup"],
                "stored": f"{stored(found):,.0f}",
                "non-zero": f"{int(found['nonzero']):,}",
                "dense": f"{int(found['dense']):,}",
                "multiply-adds": f"{int(found['multiply_adds']):,}",
                "depth": found["depth"],
                "seconds": f"{float(quick['seconds']):.1f}",
                "evaluation": found["evaluation"],
            })  # fmt: skip
        names = ("method", "sup", "stored", "non-zero", "dense", "multiply-adds", "depth", "seconds", "evaluation")
        table.sort(key=lambda r: float(r["stored"].replace(",", "")) if "sup" in r else math.inf)
        lines += ["", f"### Error at most {epsilon:.0e}", "", *markdown_table(table, names)]
    return lines


def equal_cost(results: Results, what: str, levels: Sequence[float]) -> list[str]:
    """The smallest error of each method among the rows that cost at most so much."""
    rows, table = results.main(), []
    for method in dict.fromkeys(r["method"] for r in rows):
        line: Row = {"method": method}
        for level in levels:
            cost = stored if what == "stored" else lambda r: float(r[what])
            found = best([r for r in rows if r["method"] == method and cost(r) <= level])
            line[f"at most {number(level)}"] = "-" if found is None else f"{float(found['sup']):.1e}"
        table.append(line)
    return markdown_table(table) if table else ["Not measured."]


def equal_numbers(results: Results) -> list[str]:
    """Smallest error within a number of stored numbers."""
    return equal_cost(results, "stored", (300, 1000, 3000, 10_000, 100_000))


def equal_seconds(results: Results) -> list[str]:
    """Smallest error within a time."""
    return equal_cost(results, "seconds", (1, 10, 60, 150, 400))


# -- statements -------------------------------------------------------------------------------------------------------


def against(results: Results, rival: str, epsilon: float) -> str:
    """One rival at one error: who needs fewer non-zeros, or who does not get there."""
    ours, theirs = results.main(*OURS), results.main(rival)
    first = f"- {rival} at {epsilon:.0e}: "
    if not theirs:
        return f"{first}not measured."
    found, mine = reaching(theirs, epsilon), smallest(ours, epsilon)
    asked = [json.loads(r["size"]).get("epsilon", 0.0) for r in theirs]
    if found is None and min(asked) > epsilon:
        return f"{first}not asked for; the smallest epsilon that it built was {min(asked):.0e}."
    if found is None:
        nearest = best(theirs)
        assert nearest is not None
        spent = sum(float(r["seconds"]) for r in theirs)
        text = (
            f"{first}not reached by {len(theirs)} sizes in {spent:.0f} s altogether; best {float(nearest['sup']):.2e} "
        )
        text += f"with {int(nearest['nonzero']):,}. "
        return text + ("Nor by ours." if mine is None else f"Ours: {size_of(mine)}.")
    if mine is None:
        return f"{first}**{size_of(found)}; ours does not reach it.**"
    ratio = float(found["nonzero"]) / float(mine["nonzero"])
    dense = float(found["dense"]) / float(mine["dense"])
    kept = stored(found) / stored(mine)
    who = "as many" if ratio == 1 else "ours is smaller" if ratio > 1 else "**the rival is smaller**"
    return (
        f"{first}{size_of(found)}; ours {size_of(mine)} ({mine['method']}): {number(ratio)} times our non-zeros, "
        f"{number(kept)} times our stored numbers, {number(dense)} times our dense weights: {who} in non-zeros."
    )


def size_of(row: Row) -> str:
    """Non-zeros and seconds."""
    return f"{int(row['nonzero']):,} in {float(row['seconds']):.1f} s"


def against_chen(results: Results) -> list[str]:
    """At least 100 times fewer non-zeros than Chen et al. at 1e-4."""
    lines = [against(results, rival, epsilon) for rival in ("chen", "chen_improved") for epsilon in LEVELS]
    ours, theirs = smallest(results.main(*OURS), 1e-4), reaching(results.main("chen"), 1e-4)
    aim = f"- **Aim (at least {AIM:.0f} times fewer non-zeros than Chen et al. at 1e-04): "
    if ours is None or theirs is None:
        return [*lines, f"{aim}not measured.**"]
    ratio = float(theirs["nonzero"]) / float(ours["nonzero"])
    verdict = "met" if ratio >= AIM else "MISSED"
    return [*lines, f"{aim}{verdict}, {number(ratio)} times.**"]


def against_trained(results: Results) -> list[str]:
    """Fewer parameters than the best trained network at 1e-4, and what happens at 1e-6."""
    return [against(results, method, epsilon) for epsilon in (1e-3, 1e-4, 1e-6) for method in TRAINED]


def against_kernels(results: Results) -> list[str]:
    """Fewer stored numbers than a kernel method, at its own best error; and its evaluation time."""
    lines = []
    for method in (*KERNELS, "global_polynomial", "local_polynomials", "nearest_neighbours"):
        found = best(results.main(method))
        if found is None:
            lines.append(f"- {method}: not measured.")
            continue
        first = f"- {method}: best {float(found['sup']):.2e} with {stored(found):,.0f} stored numbers, "
        ours = smallest(results.main(*OURS), float(found["sup"]))
        if ours is None:
            least = best(results.main(*OURS))
            reached = "nothing" if least is None else f"{float(least['sup']):.2e} with {stored(least):,.0f}"
            lines.append(f"{first}**more accurate than any network of ours here** (ours: {reached}).")
            continue
        fewer, same = stored(ours) < stored(found), stored(ours) == stored(found)
        speed = float(found["evaluation"]) / float(ours["evaluation"])
        lines.append(
            f"{first}ours needs {stored(ours):,.0f} for that error ({ours['method']}): "
            f"{'ours stores fewer' if fewer else 'as many' if same else '**it stores fewer**'}; its evaluation takes "
            f"{speed:.2g} times ours."
        )
    return lines


def about_logarithm(results: Results) -> list[str]:
    """The rebuttal's claim that transformers need fewer parameters by a factor that grows with 1/epsilon."""
    lines = []
    for row in results.table("attention_vs_relu_growth"):
        slope, half = (float(v) for v in row["nonzero ratio: per decade"].split(" +- "))
        verdict = "grows with 1/epsilon" if slope - half > 0 else "shrinks" if slope + half < 0 else "growth not shown"
        lines.append(
            f"- {row['what']}, {row['relu']} over {row['transformer']}: non-zeros {verdict} "
            f"({row['nonzero ratio: per decade']} per decade, power {row['nonzero ratio: power of log']} of the "
            f"logarithm); dense {row['dense ratio: per decade']} per decade, power {row['dense ratio: power of log']}."
        )
    for row in results.table("attention_vs_relu_decades"):
        lines.append(
            f"- {row['what']}, {row['method']}: a decade of epsilon takes {row['nonzero per decade']} non-zeros and "
            f"{row['depth per decade']} blocks or layers, from {row['nonzero, first']} and {row['depth, first']} on."
        )
    table = results.table("attention_vs_relu_ratios")
    for key in dict.fromkeys((r["what"], r["relu"], r["transformer"]) for r in table):
        here = [r for r in table if (r["what"], r["relu"], r["transformer"]) == key]
        first, last = here[0], here[-1]
        below = [r["epsilon"] for r in here if float(r["nonzero ratio"]) < 1]
        remark = f" **The ReLU network has fewer non-zeros at {', '.join(below)}.**" if below else ""
        lines.append(
            f"- {key[0]}, {key[1]} / {key[2]}: non-zeros {first['nonzero ratio']} at {first['epsilon']}, "
            f"{last['nonzero ratio']} at {last['epsilon']}; dense {first['dense ratio']}, {last['dense ratio']}; "
            f"depth {first['depth ratio']}, {last['depth ratio']}.{remark}"
        )
    return lines or ["- Not measured."]


def about_dimension(results: Results) -> list[str]:
    """The exponent sees d, never D: how the numbers grow with D."""
    lines = []
    rows = [r for r in results.table("ambient_dimension") if r["outcome"] == "built"]
    for method in dict.fromkeys(r["method"] for r in rows):
        here = sorted((r for r in rows if r["method"] == method), key=lambda r: int(r["ambient"]))
        if len(here) < 2:
            continue
        first, last = here[0], here[-1]
        per = (stored(last) - stored(first)) / (int(last["ambient"]) - int(first["ambient"]))
        lines.append(
            f"- {method}: {stored(first):,.0f} stored numbers at D = {first['ambient']}, {stored(last):,.0f} at "
            f"D = {last['ambient']} ({per:.1f} a dimension); sup error {float(first['sup']):.1e} and "
            f"{float(last['sup']):.1e}."
        )
    lines += [f"- {r['method']}, D = {r['ambient']}: {r['outcome']}." for r in results.table("ambient_dimension")
              if r["outcome"] != "built"]  # fmt: skip
    return lines or ["- Not measured."]


def about_depth(results: Results) -> list[str]:
    """Depth O(log d), the same for every epsilon at a fixed degree."""
    rows, lines = results.table("depth"), []
    for method, detail in dict.fromkeys((r["method"], r["detail"]) for r in rows):
        here = [r for r in rows if (r["method"], r["detail"]) == (method, detail)]
        here.sort(key=lambda r: int(r["dim"]))
        text = ", ".join(r["depth"] for r in here)
        theory = [r["theory"] for r in here if r["theory"]]
        remark = ""
        if theory:
            remark = (
                " = theory" if theory == [r["depth"] for r in here] else f" (theory {', '.join(theory)}: **differs**)"
            )
        lines.append(
            f"- {method}, {detail}: {text} {here[0]['unit']} for d = {here[0]['dim']}..{here[-1]['dim']}{remark}."
        )
    levels = [r for r in results.table("depth_epsilon") if r["outcome"] == "built"]
    for dim, method in dict.fromkeys((r["dim"], r["method"]) for r in levels):
        here = [r for r in levels if (r["dim"], r["method"]) == (dim, method)]
        here.sort(key=lambda r: -float(r["epsilon"]))
        text = ", ".join(f"{r['depth']} at {r['epsilon']}" for r in here)
        lines.append(f"- cube, d = {dim}, {method}: {text}.")
    return lines or ["- Not measured."]


def about_exponents(results: Results) -> list[str]:
    """Fitted exponents whose theory is a number: inside the interval or not."""
    lines, table = [], results.table("exponents")
    for row in table:
        try:
            theory = float(row["theory"])
        except ValueError:
            continue
        low, high = (float(v) for v in row["interval"].strip("[]").split(","))
        place = "inside" if low <= theory <= high else "**outside**"
        lines.append(
            f"- {row['manifold']}, {row['target']}, {row['method']}: {row['exponent']} {row['interval']} from "
            f"{row['rows']} networks, theory {theory:g}: {place} the interval."
        )
    return lines or ["- Not measured."]


def about_tuning(results: Results) -> list[str]:
    """Whether gradient descent improves a constructed network."""
    lines = []
    for row in results.table("fine_tuning"):
        lines.append(
            f"- {row['manifold']} at {row['epsilon']}, {row['parameters']} ({row['trained_numbers']} numbers, "
            f"{float(row['seconds']):.0f} s): sup {float(row['sup_before']):.3e} -> {float(row['sup_after']):.3e} "
            f"(factor {row['sup_gain']}), rms factor {row['rms_gain']}; best after {row['phase']}."
        )
    return lines or ["- Not measured."]


def about_precision(results: Results) -> list[str]:
    """Floors of the dtypes."""
    rows = [r for r in results.table("weights") if r["outcome"] == "built"]
    names = ["manifold", "method", "epsilon", "stored", "kappa", "kappa_apart", "points", "sup float64"]
    names += [f"{what} {dtype}" for dtype in ("float32", "bfloat16") for what in ("sup", "floor", "library")]
    return markdown_table(rows, names) if rows else ["Not measured."]


def missing(results: Results) -> list[str]:
    """Rows that were asked for and have no network, with the reason."""
    lines = []
    for name in ("error_vs_parameters", "attention_vs_relu", "ambient_dimension", "depth_epsilon", "weights", "orders"):
        for row in results.table(name):
            if row["outcome"] != "built" and "terms" not in row["outcome"]:
                known = [
                    v
                    for k, v in row.items()
                    if k in ("manifold", "what", "kind", "dim", "ambient", "method", "size", "epsilon") and v
                ]
                lines.append(f"- {name}: {', '.join(known)}: {row['outcome']}")
    return lines or ["- Everything that was asked for was built."]


def main_table(results: Results) -> list[str]:
    """All rows of the main problem."""
    here = [{**r, "size": sizes(r["size"])} for r in results.errors if (r["manifold"], r["kind"]) == MAIN]
    return markdown_table(here, SHOWN)


def sizes(text: str) -> str:
    """{"epsilon": 0.1} as epsilon 0.1."""
    return ", ".join(f"{name} {value:g}" for name, value in json.loads(text).items())


EQUAL_ERROR = (
    "Cheapest row of each method that reaches the error (3 % are allowed, since rows are built on other points than "
    "those they are measured on), by stored numbers: non-zeros and what was chosen besides. `evaluation` is the time "
    "of an evaluation over that of a ReLU network 3 x 64 in the same process. `seconds` are those of the quickest row, "
    "searches included."
)
LOGARITHM = "Fewer parameters than a feed-forward network by a factor that grows with 1/epsilon? (the paper's rebuttal)"
SECTIONS: tuple[tuple[str, str, Callable[[Results], list[str]]], ...] = (
    ("Equal error: sphere in R^8, exp_sin", EQUAL_ERROR, equal_error),
    (
        "Equal numbers: the same problem",
        "Smallest sup error with so many stored numbers.",
        equal_numbers,
    ),
    ("Equal seconds: the same problem", "Smallest sup error after so many seconds on one core.", equal_seconds),
    ("Against Chen et al. (2019)", "", against_chen),
    ("Against trained networks", "Seconds include the sweep of learning rates and seeds.", against_trained),
    ("Against classical methods, at their own best error", "", against_kernels),
    (LOGARITHM, "Supported where the slope per decade is above 0 with its 95 % interval.", about_logarithm),
    ("Parameters see d, not D", "", about_dimension),
    ("Depth O(log d), whatever epsilon", "", about_depth),
    ("Error against parameters: exponents -(s+1)/d and -beta/d", "", about_exponents),
    ("Does training improve a constructed network?", "", about_tuning),
    ("Precision", "", about_precision),
    ("Asked for and not built", "", missing),
    ("All rows of the main problem", "", main_table),
)
PICTURES = (
    "error_vs_parameters",
    "error_vs_parameters_all",
    "error_vs_depth",
    "error_vs_seconds",
    "error_vs_multiply_adds",
    "attention_vs_relu",
    "ambient_dimension",
    "depth",
    "weights",
)
HEAD = "Written by `python -m benchmarks.summary` from the CSV files beside it; no number here was typed."


def write(folder: Path) -> Path:
    """summary.md of a folder."""
    results = Results(folder)
    lines = ["# The rivals, side by side", "", HEAD, ""]
    for title, note, section in SECTIONS:
        lines += [f"## {title}", ""]
        lines += [note, ""] if note else []
        lines += [*section(results), ""]
    lines += ["## Pictures", ""]
    lines += [f"![{name}]({name}.png)" for name in PICTURES if (folder / f"{name}.png").exists()]
    path = folder / "summary.md"
    path.write_text("\n".join(lines) + "\n")
    return path


if __name__ == "__main__":
    command = argparse.ArgumentParser(description=__doc__)
    command.add_argument("--out", type=Path, default=Path("results"), help="folder of the CSV files")
    print(write(command.parse_args().out))
