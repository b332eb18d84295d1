"""Proved against measured errors: `construct.certify` on networks that the planner built, and the independent verifier.

For each construction, manifold, target and epsilon: the measured sup error, the proved bound, their ratio, the part of
the bound that gates and rounding have, the number of cells, and how long planning and proving took; then the
independent verifier checks every certificate in a process of its own. What is refused says so in the column `outcome`.
"""

from __future__ import annotations

import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import construct
from benchmarks.tables import Row, Study, arguments
from construct import manifolds, targets
from construct.errors import ConstructError
from construct.problem import Construction

CONSTRUCTIONS: tuple[Construction, ...] = ("ridge", "compact")
COLUMNS = (
    "nonzero", "stored", "charts", "degree", "measured", "proved", "ratio", "gates_and_rounding", "cells",
    "seconds_build", "seconds_certify",
)  # fmt: skip
MANIFOLDS = ("circle", "sphere", "torus", "klein_bottle")
TARGETS = ("exp_sin", "sin_product")
EPSILONS = (1e-2, 1e-4)


Case = tuple[Construction, str, str, float, str]


def cases(quick: bool) -> list[Case]:
    """(construction, manifold, target, epsilon, bound): all at both epsilons; the sharp target and proved planning on
    curve and sphere."""
    small = MANIFOLDS[:2]
    found: list[tuple[str, str, float, str]] = []
    for epsilon in EPSILONS[:1] if quick else EPSILONS:
        for manifold in small if quick else MANIFOLDS:
            found += [(manifold, target, epsilon, "measured") for target in TARGETS]
            if manifold in small:
                found += [(manifold, "exp_sin", epsilon, "rigorous")]
    found += [(manifold, "runge", 1e-2, bound) for manifold in small for bound in ("measured", "rigorous")]
    return [(construction, *case) for construction in CONSTRUCTIONS for case in found]


def names(folder: Path, construction: str, manifold: str, target: str, epsilon: float, bound: str) -> tuple[Path, Path]:
    """Files of a network and its certificate."""
    stem = f"{construction}-{manifold}-{target}-{epsilon:g}-{bound}"
    return folder / f"{stem}.safetensors", folder / f"{stem}.json"


def prove(
    construction: Construction, manifold: str, target: str, epsilon: float, bound: str, folder: Path, seed: int
) -> Row:
    """Build, certify and save; what is refused is a row, too."""
    try:
        return _proved(construction, manifold, target, epsilon, bound, folder, seed)
    except ConstructError as error:
        return {**dict.fromkeys(COLUMNS, ""), "outcome": f"{type(error).__name__}: {error}".splitlines()[0][:160]}


def _proved(
    construction: Construction, manifold: str, target: str, epsilon: float, bound: Any, folder: Path, seed: int
) -> Row:
    space, function = manifolds.manifold(manifold), targets.target(target)
    start = time.perf_counter()
    net = construct.approximate(function, space, epsilon, construction=construction, bound=bound, seed=seed)
    built = time.perf_counter() - start
    certificate = net.certificate or construct.certify(net, function, space, seed=seed + 1)
    network, document = names(folder, construction, manifold, target, epsilon, bound)
    net.save(network)
    certificate.save(document)
    measured = construct.measure(net, function, space, seed=seed + 1).sup
    assert net.origin is not None
    return {
        "nonzero": net.architecture.nonzero_parameters,
        "stored": net.architecture.stored_numbers,
        "charts": net.origin.sizes.charts,
        "degree": net.origin.sizes.degree,
        "measured": f"{measured:.3e}",
        "proved": f"{certificate.bound:.3e}",
        "ratio": f"{certificate.bound / measured:.3f}",
        "gates_and_rounding": f"{certificate.error:.1e}",
        "cells": certificate.cells,
        "seconds_build": f"{built:.1f}",
        "seconds_certify": f"{certificate.seconds:.1f}",
        "outcome": "proved",
    }


def verify(construction: str, manifold: str, target: str, epsilon: float, bound: str, folder: Path) -> Row:
    """Let the verifier check a saved certificate in a process of its own."""
    network, document = names(folder, construction, manifold, target, epsilon, bound)
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
    keys = ("construction", "manifold", "target", "epsilon", "bound")
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
