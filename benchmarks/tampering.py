"""Flipped bits: does the verifier refuse a network whose function is no longer what its certificate says?

Single bits of the weights of two certified networks are flipped, at random over all bits of all tensors. Most flips
change nothing that matters (a bit of a zero, or the last bits of a number). A flip *counts* when at one of the sample
points the flipped network is off by more than the certified bound: it changed the function by more than the slack that
the certificate leaves there, and the claim is false. Every flip that counts is given to `proofs_as_code.verifier`
twice: with digests, and by mathematics alone (`digests=False`), where the certificate is checked against the flipped
weights as if it had been made for them. `tried` is how many flips it took to find `count` such ones; `in the network`
are those refused on the way from the weights to the formula (its shape, the error of its evaluation), `in the cells`
the others.

Accepting one of them would be an error of the verifier: `missed` must be 0.
"""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load, save
from torch import Tensor

import construct
from benchmarks.tables import Row, Study, arguments
from construct.execution import DenseExecutor
from construct.expressions import Expression, exp, sin, variables
from construct.manifolds import Manifold, Sphere
from proofs_as_code.verifier import verify

POINTS = 16
CIRCLE, SPHERE = Sphere(dim=1, ambient=2), Sphere(dim=2, ambient=8)
x = variables(3)
CASES: dict[str, tuple[Manifold, Expression, float]] = {
    "circle": (CIRCLE, exp(x[0]) * sin(3 * x[1]), 1e-4),
    "sphere in R^8": (SPHERE, exp(x[0]) * sin(3 * x[1] + x[2]), 1e-1),
}


def flipped(array: np.ndarray, place: int, bit: int) -> np.ndarray:
    """A copy of a float64 array with one bit changed."""
    out = array.copy()
    out.reshape(-1).view(np.uint64)[place] ^= np.uint64(1 << bit)
    return out


def values(net: construct.Network, name: str, array: np.ndarray, points: Tensor) -> Tensor:
    """The dense network with another tensor in place of the one called `name`."""
    weight = net.transformer.get_parameter(name).data
    kept = weight.clone()
    weight.copy_(torch.from_numpy(array))
    out = DenseExecutor(net.transformer, net.box).forward(points)
    weight.copy_(kept)
    return out


def tamper(case: str, count: int, seed: int) -> Row:
    """Find `count` flips that count and let the verifier judge them."""
    manifold, target, epsilon = CASES[case]
    net = construct.approximate(target, manifold, epsilon=epsilon, construction="compact")
    found = construct.certify(net, target, manifold, tolerance=0.5)
    rng = np.random.default_rng(seed)
    points = manifold.sample(POINTS, seed=seed)
    goal = target(points)
    with tempfile.TemporaryDirectory() as folder:
        network, certificate = Path(folder) / "net.safetensors", Path(folder) / "net.json"
        net.save(network)
        found.save(certificate)
        whole = verify(network, certificate)
        assert whole.holds, whole.reason
        tensors = dict(sorted(load(network.read_bytes()).items()))
        names = sorted(name for name, array in tensors.items() if array.dtype == np.float64)
        sizes = np.array([tensors[name].size for name in names], dtype=np.float64)
        seconds: list[float] = []
        tried = digests = refused = 0
        steps: Counter[str] = Counter()
        while len(seconds) < count:
            tried += 1
            name = names[rng.choice(len(names), p=sizes / sizes.sum())]
            array = flipped(tensors[name], int(rng.integers(tensors[name].size)), int(rng.integers(64)))
            if bool(((values(net, name, array, points) - goal).abs() <= found.bound).all()):
                continue
            network.write_bytes(save({**tensors, name: array}))
            digests += not verify(network, certificate).holds
            start = time.perf_counter()
            report = verify(network, certificate, digests=False)
            seconds.append(time.perf_counter() - start)
            refused += not report.holds
            steps["cells" if report.reason.startswith("local: ") else "network"] += not report.holds
    weights = hashlib.sha256(b"".join(tensors[name].tobytes() for name in names)).hexdigest()
    return {
        "weights": int(sizes.sum()),
        "bound": f"{found.bound:.3e}",
        "tried": tried,
        "count": count,
        "by digest": digests,
        "by mathematics": refused,
        "in the network": steps["network"],
        "in the cells": steps["cells"],
        "missed": count - refused,
        "seconds, genuine": f"{whole.seconds:.2f}",
        "seconds, mean": f"{np.mean(seconds):.2f}",
        "seconds, largest": f"{max(seconds):.2f}",
        "sha256": weights[:12],
    }


def main() -> None:
    """Run the study."""
    options = arguments(__doc__)
    torch.set_num_threads(1)
    study = Study("tampering", ("case", "count asked"), options)
    count = 10 if options.quick else 100
    for case in CASES:
        study.run({"case": case, "count asked": count}, partial(tamper, case, count, options.seed))
    missed = sum(int(row["missed"]) for row in study.rows)
    total = sum(int(row["count"]) for row in study.rows)
    line = f"{total} flips that break the claim, {missed} accepted by the verifier without digests."
    print(line)
    study.markdown([line])


if __name__ == "__main__":
    main()
