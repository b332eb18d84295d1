"""How many numbers does a rival need for the error that one of our networks has? On every analytic target.

Each of our networks (the ridge construction of free width, of width 5, and with directions chosen for the target) is
built for an epsilon and measured. Rivals get sizes on a grid with steps of at most 10 % (kernel ridge and Gaussian
process: centres; global polynomial: degree by degree) until the smallest error that is asked for is reached, or `MOST`
numbers or the time limit; `chen_improved` is built for the same epsilons. Two tables are made of these rows:

- `equal_error_measured`: the smallest size of each rival whose measured error is at most that of our network;
- `equal_error_epsilon`: the smallest whose measured error is at most the epsilon that our network was built for.

`> N`: no size up to N non-zeros reaches it. Non-zeros are compared, stored numbers stand beside them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from benchmarks.error_vs_parameters import LIMIT, LIMIT_QUICK, SAMPLES, SAMPLES_QUICK, epsilons
from benchmarks.problems import approximator_row, problem
from benchmarks.tables import Row, Study, Task, markdown_table, parser
from construct.baselines import Settings
from construct.ridge.coordinates import coordinates_of

OURS = ("ridge", "ridge_5", "ridge_sparse")
CENTRES = ("kernel_ridge", "gaussian_process")
RIVALS = (*CENTRES, "global_polynomial", "chen_improved")
PROBLEMS: dict[tuple[str, str], list[Settings]] = {
    ("sphere:8", "smooth"): epsilons(1, 2, 3, 4, 5, 6, 7, 8),
    ("circle", "smooth"): epsilons(1, 2, 3, 4, 5, 6, 7, 8),
    ("circle", "sharp"): epsilons(1, 2, 4, 6, 8),
    ("swiss_roll", "smooth"): epsilons(1, 2, 3, 4, 6),
    ("torus", "smooth"): epsilons(1, 2, 3, 4, 6, 8),
    ("so3", "smooth"): epsilons(1, 2),
    ("sphere:8", "sharp"): epsilons(1, 2, 3, 4),
}
QUICK: dict[tuple[str, str], list[Settings]] = {("circle", "smooth"): epsilons(1, 3)}
MOST = {"kernel_ridge": 4000, "gaussian_process": 1500, "global_polynomial": 64}
QUICK_MOST = {"kernel_ridge": 40, "gaussian_process": 40, "global_polynomial": 12}
FIRST, STEP = 5, 1.1  # centres: the first size, and the largest ratio of one to the next, where integers allow it
SHARE = 0.9  # of the rows in which the free width is to have fewer non-zeros than each kernel method
ABOVE_POLYNOMIAL = {"ridge": 60, "ridge_5": 130}  # non-zeros that these may have more than the global polynomial
FEW = 3  # coordinates for which that is asked


def grid(rival: str, most: int) -> Iterator[Settings]:
    """Sizes of a rival, the smallest first."""
    if rival == "global_polynomial":
        yield from ({"degree": p} for p in range(1, most + 1))
        return
    n = FIRST
    while n <= most:
        yield {"points": n}
        n = max(n + 1, int(n * STEP))


class EqualError:
    """Our networks and the sizes of their rivals, in two studies."""

    def __init__(self, options: Any) -> None:
        self.options = options
        self.problems, self.most = (QUICK, QUICK_MOST) if options.quick else (PROBLEMS, MOST)
        self.limit, self.samples = (LIMIT_QUICK, SAMPLES_QUICK) if options.quick else (LIMIT, SAMPLES)
        self.ours = Study("equal_error_ours", ("manifold", "kind", "method", "size"), options)
        self.rivals = Study("equal_error_rivals", ("manifold", "kind", "method", "size"), options)

    def task(self, manifold: str, kind: str, method: str, size: Settings) -> Task:
        """One approximator."""
        key = {"manifold": manifold, "kind": kind, "method": method, "size": json.dumps(size)}
        rest = (self.options.seed, self.options.device, self.limit, self.samples, {})
        return Task(key, approximator_row, (manifold, kind, method, size, *rest))

    def run(self) -> None:
        """Ours first, then one size more of every rival whose errors are still too large."""
        self.ours.run_all([
            self.task(*case, method, size) for case, sizes in self.problems.items() for method in OURS for size in sizes
        ])  # fmt: skip
        asked = [(case, "chen_improved", size) for case, sizes in self.problems.items() for size in sizes]
        self.rivals.run_all([self.task(*case, rival, size) for case, rival, size in asked])
        left = {(case, rival): grid(rival, most) for case in self.problems for rival, most in self.most.items()}
        while left:
            tasks = []
            for (case, rival), sizes in list(left.items()):
                size = next(sizes, None)
                if size is None or self.done(case, rival):
                    del left[case, rival]
                else:
                    tasks.append(self.task(*case, rival, size))
            self.rivals.run_all(tasks)

    def done(self, case: tuple[str, str], rival: str) -> bool:
        """Whether a rival has reached all that is asked for, or cannot be built any larger."""
        rows = of(self.rivals.rows, case, rival)
        goal = min((float(row["sup"]) for row in built(self.of_ours(case))), default=0.0)
        return any(float(row["sup"]) <= goal for row in built(rows)) or any(r["outcome"] != "built" for r in rows)

    def of_ours(self, case: tuple[str, str]) -> list[Row]:
        """Our rows of a problem."""
        return [row for method in OURS for row in of(self.ours.rows, case, method)]


def of(rows: Sequence[Row], case: tuple[str, str], method: str) -> list[Row]:
    """Rows of a method on a problem."""
    return [row for row in rows if (row["manifold"], row["kind"], row["method"]) == (*case, method)]


def built(rows: Sequence[Row]) -> list[Row]:
    """Those that have a network or a fit."""
    return [row for row in rows if row["outcome"] == "built"]


def smallest(rows: Sequence[Row], error: float) -> Row | None:
    """The one with the fewest non-zeros whose measured error is at most `error`."""
    enough = [row for row in built(rows) if float(row["sup"]) <= error]
    return min(enough, key=lambda row: int(row["nonzero"])) if enough else None


@cache
def coordinates(manifold: str) -> int:
    """k: what the manifold spans."""
    return coordinates_of(problem(manifold, "smooth")[0], 0).count


def compared(ours: Sequence[Row], rivals: Sequence[Row], *, measured: bool) -> list[Row]:
    """One line for each of our networks: its numbers, and those of every rival at its error or its epsilon.

    The columns of a rival: non-zeros, stored numbers and measured error of its smallest size; "> N" where no size that
    was tried, up to N non-zeros, is enough, empty where none was built.
    """
    table = []
    for row in built(ours):
        epsilon = json.loads(row["size"])["epsilon"]
        error = float(row["sup"]) if measured else epsilon
        case = (row["manifold"], row["kind"])
        line = {"manifold": case[0], "kind": case[1], "method": row["method"], "epsilon": f"{epsilon:.0e}",
                "k": coordinates(case[0]), "sup": row["sup"], "nonzero": row["nonzero"],
                "stored": row["stored"]}  # fmt: skip
        for rival in RIVALS:
            theirs = of(rivals, case, rival)
            found = smallest(theirs, error)
            most = max((int(r["nonzero"]) for r in built(theirs)), default=None)
            line[rival] = found["nonzero"] if found else "" if most is None else f"> {most}"
            line[f"{rival} stored"], line[f"{rival} sup"] = (found["stored"], found["sup"]) if found else ("", "")
        table.append(line)
    return table


def difference(line: Row, rival: str) -> tuple[float, bool] | None:
    """Our non-zeros less those of a rival, and whether that is exact or only an upper bound; None: not measured."""
    text = line[rival]
    if not text:
        return None
    return float(line["nonzero"]) - float(text.removeprefix("> ")), not text.startswith(">")


def verdicts(table: Sequence[Row]) -> list[str]:
    """What was to be shown, as numbers."""
    lines = []
    free = [line for line in table if line["method"] == "ridge"]
    for rival in CENTRES:
        lines.append(share_of(free, rival, SHARE))
    for method, more in ABOVE_POLYNOMIAL.items():
        here = [line for line in table if line["method"] == method and int(line["k"]) <= FEW]
        known = [(line, difference(line, "global_polynomial")) for line in here]
        exact = [(line, found[0]) for line, found in known if found is not None and found[1]]
        if not exact:
            lines.append(f"{method} less the global polynomial: not measured.")
            continue
        worst = max(exact, key=lambda pair: pair[1])
        beyond = [f"{named(line)} {value:+.0f}" for line, value in exact if value > more]
        lines.append(
            f"{method}, k <= {FEW}: non-zeros less the global polynomial's at most {worst[1]:+.0f} ({named(worst[0])}) "
            f"in {len(exact)} rows (aim: at most +{more}: {'MISSED: ' + '; '.join(beyond) if beyond else 'met'})."
        )
    lines.append(share_of(free, "chen_improved", 1.0))
    return lines


def share_of(table: Sequence[Row], rival: str, aim: float) -> str:
    """In how many rows we have fewer non-zeros, and the names of the others."""
    known = [(line, difference(line, rival)) for line in table]
    # a rival that no size up to ours reaches has more; one whose largest size is smaller than ours says nothing
    decided = [(line, found[0] < 0 or (found[0] == 0 and not found[1])) for line, found in known
               if found is not None and (found[1] or found[0] <= 0)]  # fmt: skip
    if not decided:
        return f"ridge against {rival}: not measured."
    fewer = sum(wins for _, wins in decided)
    others = "; ".join(f"{named(line)} ({line['nonzero']} against {line[rival]})" for line, wins in decided if not wins)
    share = fewer / len(decided)
    left = len(table) - len(decided)
    return (
        f"ridge has fewer non-zeros than {rival} in {fewer} of {len(decided)} rows, {share:.0%} (aim: {aim:.0%}: "
        f"{'met' if share >= aim else 'MISSED'}); the others: {others or 'none'}"
        + (f"; {left} rows are not decided." if left else ".")
    )


def named(line: Row) -> str:
    """A row in words."""
    return f"{line['manifold']} {line['kind']} {line['epsilon']}"


def tables(ours: Sequence[Row], rivals: Sequence[Row]) -> dict[str, tuple[list[Row], list[str]]]:
    """Both tables with their last lines."""
    found = {}
    for name in ("measured", "epsilon"):
        table = compared(ours, rivals, measured=name == "measured")
        found[f"equal_error_{name}"] = (table, verdicts(table))
    return found


def run(options: Any) -> None:
    """All rows, then both tables with their last lines."""
    study = EqualError(options)
    study.run()
    study.ours.markdown((__doc__ or "").splitlines())
    study.rivals.markdown(["Sizes of the rivals, for `equal_error_measured` and `equal_error_epsilon`."])
    for name, (table, lines) in tables(study.ours.rows, study.rivals.rows).items():
        kept = Study(name, ("manifold", "kind", "method", "epsilon"), options)
        kept.replace(table)
        text = [f"# {name}", "", *(__doc__ or "").splitlines(), "", *markdown_table(table), ""]
        kept.path.with_suffix(".md").write_text("\n".join([*text, *(f"- {line}" for line in lines)]) + "\n")
        print(f"{name}:", *lines, sep="\n  ")


if __name__ == "__main__":
    run(parser(__doc__).parse_args())
