"""Two versions of the library against each other: is anything slower than it was?

`python -m benchmarks.versus --old FOLDER` takes the root of another checkout, say of an earlier commit (`git worktree
add FOLDER COMMIT`). Each row of `benchmarks.speed` runs in both: for every pair of times two new processes, since how
memory falls in a process can change all of its times by a fifth, which are asked in turns, in an order that is drawn:
what disturbs the machine disturbs both. Networks have the same sizes (those that the old version plans), and the
table says whether their counts agree; rows that the old version does not have are empty. `ratio` is new seconds over
old ones, the geometric mean over pairs, `low` to `high` its 95 % interval by Student's t on the logarithms.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from scipy.stats import t as student

COLUMNS = ("non-zeros old", "non-zeros new", "pairs", "seconds old", "seconds new", "ratio", "low", "high")
ROOT = Path(__file__).resolve().parents[1]
ONE_POINT = "one point, "
SHORTEST = 0.2  # seconds that one time is taken over
TURNS = 2  # times of each process


# -- the process that is timed: it sees one version alone ---------------------------------------------


def task(case: str, sizes: dict[str, int], heads: int) -> tuple[Callable[[], Any], dict[str, Any]]:
    """What is timed in a row of `benchmarks.speed`, and what identifies its network."""
    from benchmarks import speed  # of the version that PYTHONPATH names
    from construct.theorem import network_of

    if case in speed.BUILDS:
        net = _built(speed, case, heads)
        return lambda: network_of(net.approximator), _identity(net)
    name = case.removeprefix(ONE_POINT)
    builder, execution, points = speed.NETWORKS[name]
    net = _by_hand(builder, sizes or _identity(builder())["sizes"])
    net.execution = execution
    x = net.manifold.sample(1 if case.startswith(ONE_POINT) else points, 0)

    def forward() -> None:
        with torch.no_grad():
            net(x)

    return forward, _identity(net)


def _built(speed: Any, case: str, heads: int) -> Any:
    """The network that a building row of `benchmarks.speed` makes."""
    plain, made = speed.network_of, []

    def kept(approximator: Any) -> Any:
        made.append(plain(approximator))
        return made[-1]

    speed.network_of = kept
    try:
        speed.build(case, heads)
    finally:
        speed.network_of = plain
    return made[0]


def _by_hand(builder: Callable[[], Any], sizes: dict[str, int]) -> Any:
    """The network of a row with these sizes instead of those that the planner finds for its epsilon."""
    import construct

    plan = construct.approximate

    def fixed(target: Any, manifold: Any, epsilon: float | None = None, **options: Any) -> Any:
        given = {name: value for name, value in options.items() if name not in ("charts", "cells", "degree")}
        return plan(target, manifold, **given, **sizes)

    construct.approximate = fixed
    try:
        return builder()
    finally:
        construct.approximate = plan


def _identity(net: Any) -> dict[str, Any]:
    sizes = {name: size for name, size in asdict(net.origin.sizes).items() if size is not None}
    if net.origin.construction != "paper" and sizes.get("cells") == 1:
        del sizes["cells"]
    counts = net.architecture
    return {"sizes": sizes, "heads": counts.total_heads, "nonzero": counts.nonzero_parameters}


def serve(case: str, sizes: dict[str, int], heads: int) -> None:
    """Answer each line of stdin with the seconds of one run: as many calls as take `SHORTEST` seconds."""
    from benchmarks import speed

    torch.set_num_threads(1)
    if case not in speed.BUILDS and case.removeprefix(ONE_POINT) not in speed.NETWORKS:
        print(json.dumps(None), flush=True)
        return
    run, identity = task(case, sizes, heads)
    run()
    print(json.dumps(identity), flush=True)
    for _ in sys.stdin:
        calls, start = 0, time.perf_counter()
        while calls == 0 or time.perf_counter() - start < SHORTEST:
            run()
            calls += 1
        print((time.perf_counter() - start) / calls, flush=True)


# -- the process that asks ----------------------------------------------------------------------------


class Version:
    """A process that times one row in one checkout."""

    def __init__(self, root: Path, case: str, sizes: dict[str, int], heads: int) -> None:
        command = [sys.executable, "-P", str(Path(__file__).resolve()), "--serve", case, "--heads", str(heads)]
        environment = os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [*command, "--sizes", json.dumps(sizes)],
            cwd=root,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.identity: dict[str, Any] | None = json.loads(self._line())  # None: a row that it does not have

    def _line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"the timed process ended with code {self.process.wait()}")
        return line

    def seconds(self) -> float:
        """One more time."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return float(self._line())

    def close(self) -> None:
        self.process.communicate()  # the end of its input ends it


def interval(ratios: list[float]) -> tuple[float, float, float]:
    """Geometric mean and 95 % interval of positive numbers, Student's t on their logarithms; at least two."""
    logs = [math.log(r) for r in ratios]
    mean, error = statistics.mean(logs), statistics.stdev(logs) / math.sqrt(len(logs))
    width = float(student.ppf(0.975, len(logs) - 1)) * error
    return math.exp(mean), math.exp(mean - width), math.exp(mean + width)


def compare(case: str, old_root: Path, pairs: int, heads: int, seed: int) -> dict[str, Any]:
    """One row: both versions in turns."""
    first = Version(old_root, case, {}, heads)
    first.close()
    if first.identity is None:
        return {**dict.fromkeys(COLUMNS, ""), "pairs": "not in the old version"}
    sizes = {} if heads_row(case) else first.identity["sizes"]
    times: dict[Path, list[float]] = {old_root: [], ROOT: []}
    counts: dict[Path, int] = {}
    order = random.Random(seed)
    for _ in range(pairs):
        versions = [(root, Version(root, case, sizes, heads)) for root in order.sample([old_root, ROOT], 2)]
        try:
            asked = [(root, version.seconds()) for _ in range(TURNS) for root, version in versions]
        finally:
            for _, version in versions:
                version.close()
        for root, version in versions:
            times[root].append(statistics.mean(seconds for which, seconds in asked if which == root))
            assert version.identity is not None
            counts[root] = version.identity["nonzero"]
    ratio, low, high = interval([b / a for a, b in zip(times[old_root], times[ROOT], strict=True)])
    return {
        "non-zeros old": counts[old_root],
        "non-zeros new": counts[ROOT],
        "pairs": pairs,
        "seconds old": f"{statistics.median(times[old_root]):.4g}",
        "seconds new": f"{statistics.median(times[ROOT]):.4g}",
        "ratio": f"{ratio:.3f}",
        "low": f"{low:.3f}",
        "high": f"{high:.3f}",
    }


def heads_row(case: str) -> bool:
    """Whether a row is about building a network, whose size is given in heads."""
    return case.endswith("heads")


def main() -> None:
    """Run the study, or, with --serve, be one of its two processes."""
    from benchmarks import speed
    from benchmarks.tables import Study, parser

    options = parser(__doc__)
    options.add_argument("--old", type=Path, required=True, help="root of the other checkout")
    options.add_argument("--pairs", type=int, default=9, help="pairs of times for each row")
    chosen = options.parse_args()
    study = Study("versus", ("case",), chosen)
    heads, pairs = (10_000, 3) if chosen.quick else (100_000, chosen.pairs)
    first = next(iter(speed.NETWORKS))
    for case in (ONE_POINT + first, *speed.NETWORKS, *speed.BUILDS):
        study.run({"case": case}, partial(compare, case, chosen.old.resolve(), pairs, heads, chosen.seed))
    study.markdown(["`ratio`: seconds of the new version over those of the old one; `low` to `high`: 95 % interval."])


if __name__ == "__main__":
    if "--serve" in sys.argv:
        served = argparse.ArgumentParser()
        served.add_argument("--serve")
        served.add_argument("--sizes", type=json.loads)
        served.add_argument("--heads", type=int)
        given = served.parse_args()
        serve(given.serve, given.sizes, given.heads)
    else:
        main()
