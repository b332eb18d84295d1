"""Random inputs to `approximate`, `net`, `load`, `save`, `certify`, the verifier and the command line.

    python -m benchmarks.attack [--cases N | --minutes M | --quick] [--surface NAME] [--jobs 2] [--seed N] [--out DIR]
    python -m benchmarks.attack --surface NAME --number N        one case again, by its number

Every case is reproducible from (seed, surface, number). Its outcome is judged by oracles that do not use the library
(`oracles`, and closed forms in every surface's file): "right", "refused" in the library's dialect, or a finding.
`attack.jsonl` holds every chunk that is done, so an interrupted attack goes on where it was; `attack.csv` and
`attack.md` are made of it. Exit code 1 when something was found.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from benchmarks.attack.cases import Surface
from benchmarks.attack.engine import Attack
from benchmarks.attack.judge import judged
from benchmarks.attack.report import Log
from benchmarks.attack.surfaces import surfaces
from benchmarks.tables import Study, one_thread, parser

ALL = 1_000_000
QUICK = 2_000


def options() -> argparse.Namespace:
    """The command line."""
    line = parser(__doc__)
    line.formatter_class = argparse.RawDescriptionHelpFormatter
    line.add_argument("--cases", type=int, default=None, help="cases of all surfaces, default 10^6; one has its share")
    line.add_argument("--minutes", type=float, default=None, help="begin no more cases after so long")
    line.add_argument("--surface", default=None, help="this one alone")
    line.add_argument("--number", type=int, default=None, help="run this case of --surface alone and show it")
    return line.parse_args()


def counts(types: dict[str, type[Surface]], cases: int) -> dict[str, int]:
    """Cases of each surface, at least two of each."""
    whole = sum(surface.share for surface in surfaces())
    return {name: max(2, round(cases * surface.share / whole)) for name, surface in types.items()}


def show(surface: type[Surface], seed: int, number: int) -> int:
    """Run one case and print it; 1 if it is a finding."""
    one_thread()
    with tempfile.TemporaryDirectory() as folder:
        ready = surface(seed, Path(folder))
        case = ready.case(number)
        print(case.text)
        outcome = judged(ready, case)
    print(f"{outcome.kind}: {outcome.what}\n{outcome.detail}")
    return int(outcome.found)


def main() -> int:
    """Run the attack."""
    asked = options()
    types = {surface.name: surface for surface in surfaces() if asked.surface in (None, surface.name)}
    if not types:
        known = ", ".join(surface.name for surface in surfaces())
        raise SystemExit(f"--surface: expected one of {known}, got {asked.surface}")
    if asked.number is not None:
        return show(next(iter(types.values())), asked.seed, asked.number)
    os.environ["OMP_NUM_THREADS"] = "1"
    study = Study("attack", ("surface",), asked)
    log = Log(study.path.with_suffix(".jsonl"))
    if asked.fresh:
        log.path.unlink(missing_ok=True)
    log.read()
    cases = counts(types, asked.cases or (QUICK if asked.quick else ALL))
    seconds = asked.minutes * 60 if asked.minutes is not None else 60.0 if asked.quick else None
    attack = Attack(surfaces, cases, log, asked.seed, asked.jobs, seconds)
    try:
        attack.run()
    finally:
        rows = log.rows([surface.name for surface in surfaces()])
        study.replace(rows)
        notes = [f"Seed {asked.seed}: {rows[-1]['cases']:,} cases, {log.found:,} findings.", "", *log.groups()]
        print("\n".join(notes), flush=True)
        study.markdown(notes)
    return int(log.found > 0)


if __name__ == "__main__":
    sys.exit(main())
