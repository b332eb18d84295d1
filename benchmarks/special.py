"""What the ridge construction is to show case by case, each with its aim: `met` or `MISSED` and by what.

- forecast: the next sample of a signal of two frequencies from a window of 16, a linear function on a torus in R^16;
- harmonic: Y_24,10 on the sphere at 5e-2, with and without directions chosen for it;
- flat target: a linear function on the ring torus of radii 1 and 0.9, whose reach is 0.1;
- D: the same function on the sphere in R^D;
- planning: seconds on the sphere in R^8 from 1e-2 to 1e-8, and on SO(3) at 1e-2;
- float32: degrees by hand, in free width and in width 5.

`kappa_apart` is the largest weight without position codes; `float32` the largest difference between the dense formula
in float32 and in float64 over the largest |f|, at up to 1,000 points (fewer where the dense formula is long, none where
a point takes more than a billion multiplications), `refused`
what the library says to the network in float32. `seconds` are those of `approximate`, claim included. Every row is
computed in this process, one after the other.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from scipy.special import lpmv
from torch import Tensor

import construct
from benchmarks.problems import problem
from benchmarks.tables import Row, Study, one_thread, parser
from benchmarks.weights import affordable, apart_from_codes, values
from construct.arrays import Float
from construct.errors import ConstructError
from construct.manifolds import Manifold, ParametricManifold, Sphere, Torus
from construct.ridge.approximator import RidgeApproximator

Problem = tuple[Manifold, Callable[..., Any]]
COLUMNS = (
    "k", "degree", "width", "blocks", "heads", "tokens", "sup", "nonzero", "stored", "dense", "kappa_apart", "float32",
    "refused", "seconds",
)  # fmt: skip
WINDOW, TURNS, SIZES = 16, (0.61, 1.37), (1.0, 0.6)  # samples; radians a sample and amplitudes of the two frequencies
ORDER, DEGREE = 10, 24  # of the harmonic
FLOAT32 = 2e-5
LONG = 10**9  # multiply-adds of the dense formula at one point: not evaluated


@dataclass(frozen=True)
class Case:
    """A problem, what `approximate` is asked for, and the most that columns may hold."""

    problem: Callable[[], Problem]
    options: dict[str, Any]
    aim: dict[str, float] = field(default_factory=dict)


def windows() -> Problem:
    """Windows of a signal of two frequencies, all phases; the target is the sample that follows."""
    steps = torch.arange(WINDOW + 1, dtype=torch.float64)

    def signal(u: Tensor, at: Tensor) -> Tensor:
        parts = [
            size * torch.cos(u[..., [i]] + turn * at) for i, (turn, size) in enumerate(zip(TURNS, SIZES, strict=True))
        ]
        return parts[0] + parts[1]

    whole = 2 * math.pi
    M = ParametricManifold(
        lambda u: signal(u, steps[:-1]),
        [0.0, 0.0],
        [whole, whole],
        [True, True],
        reach="estimate",
        lipschitz="estimate",
    )
    phases = whole * torch.rand(200, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rows, following = signal(phases, steps[:-1]), signal(phases, steps[-1:])
    weights = torch.linalg.lstsq(rows, following, driver="gelsd").solution[:, 0]  # of the smallest norm
    return M, lambda x: x @ weights.to(x)


def harmonic() -> Problem:
    """The real spherical harmonic of degree 24 and order 10, scaled to largest value 1."""
    heights = np.linspace(-1.0, 1.0, 20_001)
    largest = float(np.abs(lpmv(ORDER, DEGREE, heights)).max())

    def f(x: Float) -> Float:
        turned = ORDER * np.arctan2(x[..., 1], x[..., 0])
        found: Float = lpmv(ORDER, DEGREE, np.clip(x[..., 2], -1.0, 1.0)) * np.cos(turned) / largest
        return found

    return Sphere(2), lambda x: f(x.numpy())


def thin_hole() -> Problem:
    """A linear target on the ring torus of radii 1 and 0.9."""
    slope = torch.tensor([0.5, -0.3, 0.8], dtype=torch.float64)
    return Torus(1.0, 0.9), lambda x: x @ slope.to(x)


def far(ambient: int) -> Problem:
    """exp_sin of the canonical coordinates of the sphere in R^ambient."""
    return problem("sphere" if ambient == 3 else f"sphere:{ambient}", "canonical smooth")


def cases() -> dict[str, Case]:
    """All of them by name."""
    found = {
        "forecast": Case(windows, {"epsilon": 1e-6}, {"stored": 130}),
        "harmonic": Case(harmonic, {"epsilon": 5e-2}, {"stored": 800}),
        "harmonic, degree 24": Case(harmonic, {"degree": DEGREE}, {"stored": 800}),
        "harmonic, sparse": Case(harmonic, {"epsilon": 5e-2, "sparse": True}, {"stored": 200}),
        "flat target": Case(thin_hole, {"epsilon": 1e-6}, {"stored": 100, "seconds": 10}),
    }
    for ambient in (3, 10, 100, 1000, 10_000):
        found[f"D = {ambient}"] = Case(partial(far, ambient), {"epsilon": 1e-3})
    for exponent in range(2, 9):
        size = {"epsilon": float(f"1e-{exponent}")}
        found[f"planning, 1e-{exponent}"] = Case(partial(problem, "sphere:8", "smooth"), size, {"seconds": 3})
    found["planning, SO(3)"] = Case(partial(problem, "so3", "smooth"), {"epsilon": 1e-2}, {"seconds": 60})
    for manifold in ("sphere:8", "circle", "torus", "so3"):
        for degree in (3, 6, 9) if manifold != "so3" else (3, 6):
            by_hand = Case(
                partial(problem, manifold, "smooth"), {"degree": degree}, {"kappa_apart": 32, "float32": FLOAT32}
            )
            found[f"float32, {manifold}, degree {degree}"] = by_hand
    for manifold, epsilon in (("sphere:8", 1e-2), ("sphere:8", 1e-4), ("circle", 1e-4), ("torus", 1e-2)):
        narrow = {"epsilon": epsilon, "embedding_dim": 5}
        aim = {"kappa_apart": 2048, "float32": FLOAT32}
        found[f"float32, width 5, {manifold}, {epsilon:.0e}"] = Case(partial(problem, manifold, "smooth"), narrow, aim)
    return found


def evaluate(case: Case, seed: int) -> Row:
    """Plan, build, measure, count, and evaluate in float32."""
    M, f = case.problem()
    options = {"construction": "ridge", **case.options}
    start = time.perf_counter()
    try:
        net = construct.approximate(f, M, seed=seed, **options)
    except ConstructError as error:
        return {**dict.fromkeys(COLUMNS, ""), "outcome": f"{type(error).__name__}: {error}".splitlines()[0][:160]}
    seconds = time.perf_counter() - start
    report, approximator = net.architecture, net.approximator
    assert isinstance(approximator, RidgeApproximator)
    row: Row = {
        "k": approximator.basis.coordinates.count,
        "degree": approximator.degree,
        "width": report.embedding_dim,
        "blocks": report.blocks,
        "heads": report.total_heads,
        "tokens": report.tokens,
        "sup": f"{construct.measure(net, f, M, seed=seed + 1).sup:.3e}",
        "nonzero": report.nonzero_parameters,
        "stored": report.stored_numbers,
        "dense": report.parameters,
        "kappa_apart": f"{apart_from_codes(net):.4g}",
        "float32": float32_share(net, f, M, seed),
        "refused": refused(net),
        "seconds": f"{seconds:.1f}",
    }
    return {**row, "outcome": verdict(row, case.aim)}


def verdict(row: Row, aim: dict[str, float]) -> str:
    """Whether no column is above its aim, and which were not measured."""
    if not aim:
        return "built"
    known = {name: most for name, most in aim.items() if row[name] != ""}
    beyond = [f"{name} {row[name]}, aim {most:g}" for name, most in known.items() if not float(row[name]) <= most]
    left = ", ".join(name for name in aim if name not in known)
    found = f"MISSED: {'; '.join(beyond)}" if beyond else "met"
    return f"{found}; not measured: {left}" if left else found


def float32_share(net: construct.Network, f: Callable[..., Any], M: Manifold, seed: int) -> str:
    """Largest difference of the dense formula in float32 from that in float64, over the largest |f|."""
    if net.multiply_adds("dense") > LONG:
        return ""
    x = M.sample(affordable(net), seed + 2).float()
    low = copy.deepcopy(net.transformer).to(torch.float32)
    largest = float(torch.as_tensor(f(M.sample(4000, seed + 3))).abs().max())
    return f"{float((values(low, x) - values(net.transformer, x.double())).abs().max()) / largest:.2e}"


def refused(net: construct.Network) -> str:
    """What the library says to the codes of this network in float32."""
    assert net.program is not None
    try:
        net.program.layout.code.check(torch.float32)
    except ConstructError as error:
        return type(error).__name__
    return ""


def run(options: Any) -> None:
    """All rows and their table."""
    one_thread()
    study = Study("special", ("case",), options)
    quick = ("forecast", "flat target", "planning, 1e-2")
    for name, case in cases().items():
        if not options.quick or name in quick:
            study.run({"case": name}, partial(evaluate, case, options.seed))
    missed = [
        f"{row['case']} ({row['outcome']})" for row in study.rows if not row["outcome"].startswith(("met", "built"))
    ]
    far_rows = [int(row["stored"]) for row in study.rows if row["case"].startswith("D = ") and row["stored"]]
    notes = [
        f"{len(study.rows)} rows, {len(missed)} that miss their aim or were refused: {'; '.join(missed) or 'none'}."
    ]
    if far_rows:
        notes.append(f"Stored numbers for all D: {min(far_rows)} to {max(far_rows)}.")
    print("\n".join(notes))
    study.markdown([*(__doc__ or "").splitlines(), "", *notes])


if __name__ == "__main__":
    run(parser(__doc__).parse_args())
