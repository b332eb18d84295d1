"""All rivals side by side: `python -m benchmarks [STUDY ...] [--quick] [--out DIR] [--device D] [--seed S] [--jobs N]`.

Runs the studies, then draws their figures from the CSV files (`python -m benchmarks.draw`) and writes `summary.md`
(`python -m benchmarks.summary`). Rows that are on disk are not computed again; interrupt it whenever you like.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

from benchmarks import (
    ambient_dimension,
    attention_vs_relu,
    depth,
    draw,
    equal_error,
    error_vs_parameters,
    special,
    summary,
    weights,
)
from benchmarks.tables import one_thread, parser

STUDIES: dict[str, Callable[[Any], None]] = {
    "error_vs_parameters": error_vs_parameters.run,
    "attention_vs_relu": attention_vs_relu.run,
    "ambient_dimension": ambient_dimension.run,
    "depth": depth.run,
    "weights": weights.run,
    "equal_error": equal_error.run,
    "special": special.run,
}


def main() -> None:
    """Studies, figures, summary."""
    command = parser(__doc__)
    command.formatter_class = argparse.RawDescriptionHelpFormatter
    command.add_argument("studies", nargs="*", metavar="STUDY", help=f"of {', '.join(STUDIES)}; default all")
    options = command.parse_args()
    unknown = sorted(set(options.studies) - set(STUDIES))
    if unknown:
        command.error(f"STUDY: expected some of {', '.join(STUDIES)}, got {', '.join(unknown)}")
    one_thread()
    for name in options.studies or STUDIES:
        start = time.perf_counter()
        STUDIES[name](options)
        print(f"{name}: {time.perf_counter() - start:.0f} s", flush=True)
    draw.all_figures(options.out)
    summary.write(options.out)
    print(f"figures and {options.out / 'summary.md'}", flush=True)


if __name__ == "__main__":
    main()
