"""Proved against measured errors: `construct.certify` on networks that the planner built, and the independent verifier.

For each manifold, target and epsilon: the measured sup error, the proved bound, their ratio, the part of the bound that gates
and rounding have, the number of cells, and how long planning, proving and verifying took. `--verify` lets the verifier of
`proofs_as_code` check every certificate in a process of its own.
"""

from __future__ import annotations

import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import construct
from benchmarks.tables import Row, Study, arguments
from construct import manifolds, targets

MANIFOLDS = ("circle", "sphere", "torus", "klein_bottle")
TARGETS = ("exp_sin", "runge")
EPSILONS = (1e-2, 1e-4)


def row(manifold: str, target: str, epsilon: float, bound: str, folder: Path, seed: int) -> Row:
    """Build, certify, save, and verify in a fresh process."""
    space, function = manifolds.get(manifold), targets.get(target)
    start = time.perf_counter()
    net = construct.approximate(function, space, epsilon=epsilon, bound=bound, seed=seed)
    built = time.perf_counter() - start
    start = time.perf_counter()
    certificate = net.certificate or construct.certify(net, function, space, seed=seed + 1)
    proved = time.perf_counter() - start
    network, document = folder / "network.safetensors", folder / "certificate.json"
    net.save(network)
    certificate.save(document)
    start = time.perf_counter()
    command = [sys.executable, "-m", "proofs_as_code", "verify", str(network), str(document)]
    verified = subprocess.run(command, capture_output=True, check=False).returncode == 0
    checked = time.perf_counter() - start
    measured = construct.measure(net, function, space, seed=seed + 1).sup
    return {
        "charts": net.architecture.charts,
        "degree": net.architecture.degree,
        "measured": f"{measured:.3e}",
        "proved": f"{certificate.bound:.3e}",
        "ratio": f"{certificate.bound / measured:.3f}",
        "gates_and_rounding": f"{certificate.error:.1e}",
        "cells": certificate.cells,
        "verified": verified,
        "seconds_build": f"{built:.1f}",
        "seconds_certify": f"{proved:.1f}",
        "seconds_verify": f"{checked:.1f}",
    }


def main() -> None:
    options = arguments(__doc__)
    folder = options.out / "certificates"
    study = Study("certificates", ("manifold", "target", "epsilon", "bound"), options)
    folder.mkdir(exist_ok=True)
    for epsilon in EPSILONS[:1] if options.quick else EPSILONS:
        for manifold in MANIFOLDS[:2] if options.quick else MANIFOLDS:
            for target in TARGETS:
                for bound in ("measured", "rigorous") if manifold in MANIFOLDS[:2] else ("measured",):
                    key = {"manifold": manifold, "target": target, "epsilon": epsilon, "bound": bound}
                    study.run(key, partial(row, manifold, target, epsilon, bound, folder, options.seed))
    notes = [
        "bound = measured: planned for the measured error, certified afterwards (tolerance 0.2). bound = rigorous: refined until",
        "the proved bound is at most epsilon. ratio: proved over measured (another seed than the builder's). gates_and_rounding:",
        "the part of the proved bound that is not approximation. Seconds are of one run on a shared machine.",
    ]
    study.markdown(notes)


if __name__ == "__main__":
    main()
