"""The same function on the same sphere in R^D, D = 3 to 1000: ours, ReLU constructions, trained and classical rivals.

The target is a function of the sphere's canonical coordinates, so that it is the same for every D; points, weights and
whatever a method stores are in R^D. `yarotsky terms` is no network: it is the number of Taylor terms,
`(N + 1)^D (D + 1)` at N = 1 and degree 1, that a construction on the cube [-1, 1]^D would need at its coarsest.
"""

from __future__ import annotations

import math
from typing import Any

from benchmarks.problems import COLUMNS, approximator_row
from benchmarks.tables import Row, Study, Task, arguments
from construct.baselines import Settings

DIMENSIONS, DIMENSIONS_QUICK = (3, 30, 1000), (3, 30, 300)
TRAINING, TRAINING_QUICK = 60.0, 4.0
LIMIT, LIMIT_QUICK = 150.0, 10.0
SAMPLES, SAMPLES_QUICK = 10_000, 3_000
SOFTMAX_UP_TO = 100  # tokens: attention costs D^2 a point
METHODS: dict[str, Settings] = {
    "ridge": {"epsilon": 1e-3},
    "ridge_5": {"epsilon": 1e-3},
    "compact": {"epsilon": 1e-3},
    "chen_improved": {"epsilon": 1e-3},
    "chen": {"epsilon": 1e-1},
    "mlp": {"width": 64},
    "tanh_mlp": {"width": 24},
    "softmax_transformer": {"width": 8},
    "kernel_ridge": {"points": 300},
    "gaussian_process": {"points": 200},
    "global_polynomial": {"degree": 8},
}
QUICK = ("ridge", "compact", "tanh_mlp", "kernel_ridge", "global_polynomial")


def tasks(options: Any) -> list[Task]:
    """Rows of the study, the costly dimensions first."""
    result = []
    training, limit, samples = (TRAINING, LIMIT, SAMPLES)
    if options.quick:
        training, limit, samples = (TRAINING_QUICK, LIMIT_QUICK, SAMPLES_QUICK)
    for ambient in reversed(DIMENSIONS_QUICK if options.quick else DIMENSIONS):
        result.append(Task({"method": "yarotsky terms", "ambient": ambient}, terms_row, (ambient,)))
        for method, size in METHODS.items():
            if (options.quick and method not in QUICK) or (method == "softmax_transformer" and ambient > SOFTMAX_UP_TO):
                continue
            given: Settings = {"seconds": training} if method in ("mlp", "tanh_mlp", "softmax_transformer") else {}
            where = "sphere" if ambient == 3 else f"sphere:{ambient}"
            rest = (options.seed, options.device, limit, samples, given)
            key = {"method": method, "ambient": ambient}
            result.append(Task(key, approximator_row, (where, "canonical smooth", method, size, *rest)))
    return result


def terms_row(ambient: int) -> Row:
    """log10 of the number of terms on the cube of R^D."""
    digits = ambient * math.log10(2) + math.log10(ambient + 1)
    return {**dict.fromkeys(COLUMNS, ""), "outcome": f"10^{digits:.1f} terms, not built"}


def run(options: Any) -> None:
    """All rows and their table."""
    study = Study("ambient_dimension", ("method", "ambient"), options)
    study.run_all(tasks(options))
    study.markdown((__doc__ or "").splitlines())


if __name__ == "__main__":
    run(arguments(__doc__))
