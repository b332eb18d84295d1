"""Proved against measured errors: `construct.certify` on networks that the planner built, and the independent verifier.

For each manifold, target and epsilon: the measured sup error, the proved bound, their ratio, the part of the bound that
gates and rounding have, the number of cells, and how long planning and proving took; then the independent verifier
checks every certificate in a process of its own.
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
TARGETS = ("exp_sin", "sin_product")
EPSILONS = (1e-2, 1e-4)


def cases(quick: bool) -> list[tuple[str, str, float, str]]:
    """(manifold, target, epsilon, bound): all at both epsilons; the sharp target and proved planning on curve and
    sphere."""
    small = MANIFOLDS[:2]
    found = []
    for epsilon in EPSILONS[:1] if quick else EPSILONS:
        for manifold in small if quick else MANIFOLDS:
            found += [(manifold, target, epsilon, "measured") for target in TARGETS]
            if manifold in small:
                found += [(manifold, "exp_sin", epsilon, "rigorous")]
    return found + [(manifold, "runge", 1e-2, bound) for manifold in small for bound in ("measured", "rigorous")]


def names(folder: Path, manifold: str, target: str, epsilon: float, bound: str) -> tuple[Path, Path]:
    """Files of a network and its certificate."""
    stem = f"{manifold}-{target}-{epsilon:g}-{bound}"
    return folder / f"{stem}.safetensors", folder / f"{stem}.json"


def prove(manifold: str, target: str, epsilon: float, bound: str, folder: Path, seed: int) -> Row:
    """Build, certify and save."""
    space, function = manifolds.manifold(manifold), targets.target(target)
    start = time.perf_counter()
    net = construct.approximate(function, space, epsilon=epsilon, bound=bound, seed=seed)
    built = time.perf_counter() - start
    certificate = net.certificate or construct.certify(net, function, space, seed=seed + 1)
    network, document = names(folder, manifold, target, epsilon, bound)
    net.save(network)
    certificate.save(document)
    measured = construct.measure(net, function, space, seed=seed + 1).sup
    assert net.origin is not None
    return {
        "charts": net.origin.sizes.charts,
        "degree": net.origin.sizes.degree,
        "measured": f"{measured:.3e}",
        "proved": f"{certificate.bound:.3e}",
        "ratio": f"{certificate.bound / measured:.3f}",
        "gates_and_rounding": f"{certificate.error:.1e}",
        "cells": certificate.cells,
        "seconds_build": f"{built:.1f}",
        "seconds_certify": f"{certificate.seconds:.1f}",
    }


def verify(manifold: str, target: str, epsilon: float, bound: str, folder: Path) -> Row:
    """Let the verifier check a saved certificate in a process of its own."""
    network, document = names(folder, manifold, target, epsilon, bound)
    start = time.perf_counter()
    command = [sys.executable, "-m", "proofs_as_code", "verify", str(network), str(document)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = (done.stdout + done.stderr).strip().splitlines()
    return {
        "verified": done.returncode == 0,
        "seconds_verify": f"{time.perf_counter() - start:.1f}",
        "said": said[0].replace("|", "/") if said else "",
    }


def main() -> None:
    options = arguments(__doc__)
    folder = options.out / "certificates"
    keys = ("manifold", "target", "epsilon", "bound")
    proofs, checks = Study("certificates", keys, options), Study("verifications", keys, options)
    folder.mkdir(exist_ok=True)
    for case in cases(options.quick):
        key = dict(zip(keys, case, strict=True))
        proofs.run(key, partial(prove, *case, folder, options.seed))
        if names(folder, *case)[1].exists():
            checks.run(key, partial(verify, *case, folder))
    proofs.markdown(
        [
            "bound = measured: planned for the measured error, certified afterwards (tolerance 0.2). bound = rigorous:",
            "refined until the proved bound is at most epsilon. ratio: proved over measured (another seed than the",
            "builder's). gates_and_rounding: the part of the bound that is not approximation. seconds_build has the",
            "proofs where bound = rigorous. Seconds are of one run on a shared machine.",
        ]
    )
    checks.markdown(["The same certificates, checked by `python -m proofs_as_code verify` in a process each."])


if __name__ == "__main__":
    main()
