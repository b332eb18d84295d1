"""Size of weights and precision: the error that is left in float32 and bfloat16.

Every network is built (or trained) in float64; its weights are then rounded to the dtype and the dense formula is
evaluated in it, at points rounded to it (1,000, fewer where the dense formula is long). `floor` is the largest
difference from the float64 network at those points, `sup` the largest from the target: what the dtype costs, and what
is left. `kappa` is the largest weight, codes included, and `kappa_apart` without position codes. `library` says
whether the library accepts dtype and position code for this many tokens ("builds"); asked for an epsilon it then
measures the network and refuses one that misses it, as the trigonometric code in float32 does.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn

import construct
from benchmarks.problems import kappa, limited, problem
from benchmarks.tables import Row, Study, Task, arguments
from construct import baselines
from construct.baselines import Baseline
from construct.errors import ConstructError
from construct.execution.plans import block_weights
from construct.program.codes import position_code
from construct.transformer.counts import written_rows
from construct.validation import invalid

DTYPES = {"float64": torch.float64, "float32": torch.float32, "bfloat16": torch.bfloat16}
CASES = [
    ("circle", "ridge", 1e-2),
    ("circle", "ridge", 1e-6),
    ("circle", "ridge_5", 1e-2),
    ("circle", "ridge_5", 1e-6),
    ("circle", "compact, integer", 1e-2),
    ("circle", "compact, trigonometric", 1e-2),
    ("circle", "compact, integer", 1e-6),
    ("circle", "compact, trigonometric", 1e-6),
    ("circle", "paper, integer", 1e-1),
    ("circle", "paper, trigonometric", 1e-1),
    ("circle", "chen_improved", 1e-2),
    ("circle", "chen_improved", 1e-6),
    ("circle", "mlp", 0.0),
    ("circle", "tanh_mlp", 0.0),
    ("sphere:8", "ridge", 1e-2),
    ("sphere:8", "ridge", 1e-4),
    ("sphere:8", "ridge", 1e-6),
    ("sphere:8", "ridge_5", 1e-2),
    ("sphere:8", "ridge_5", 1e-4),
    ("sphere:8", "compact, integer", 1e-2),
    ("sphere:8", "compact, integer", 1e-4),
    ("sphere:8", "compact, trigonometric", 1e-4),
    ("sphere:8", "chen_improved", 1e-2),
    ("sphere:8", "chen_improved", 1e-4),
    ("sphere:8", "tanh_mlp", 0.0),
    ("torus", "ridge", 1e-2),
    ("so3", "ridge", 1e-1),
]
TRAINING, TRAINING_QUICK = 20.0, 2.0
LIMIT = 240.0
POINTS, FEWEST = 1_000, 8
HEAD = ("nonzero", "stored", "kappa", "kappa_apart", "points")
WORK = 3e9  # multiply-adds of the dense formula in one dtype


def module_of(manifold: str, method: str, epsilon: float, seed: int, training: float) -> nn.Module:
    """The float64 module of a case."""
    M, f = problem(manifold, "smooth")
    name, _, code = method.partition(", ")
    if code:
        integer = construct.approximate(f, M, epsilon, construction=name, seed=seed)
        if code == "integer":
            return integer
        assert integer.origin is not None
        planned = integer.origin.sizes  # the same resolution: the code changes no function
        sizes: dict[str, Any] = {"cells": planned.cells, "degree": planned.degree}
        if name == "compact":
            sizes = {"charts": planned.charts, "degree": planned.degree}
        return construct.approximate(f, M, construction=name, position_code=code, seed=seed, **sizes)
    if name in baselines.method_names("constructive"):
        found: Baseline = baselines.method(name).build(f, M, epsilon, seed=seed, progress=limited(LIMIT))
        model = found.model
        network: nn.Module = model if isinstance(model, construct.Network) else model.network()
        return network
    trained = baselines.method(name).fit(f, M, {"seconds": training}, seed=seed)
    module: nn.Module = trained.model.network
    return module


def refused(manifold: str, method: str, net: nn.Module, dtype: torch.dtype) -> str:
    """What the library says to building a transformer of this size in a dtype."""
    if not isinstance(net, construct.Network):
        return ""
    try:
        if dtype not in (torch.float64, torch.float32):
            raise invalid("dtype", "torch.float64 or torch.float32", dtype)
        code = method.partition(", ")[2]
        if code:
            position_code(code, len(net.transformer.hidden0)).check(dtype)
        else:
            assert net.program is not None
            net.program.layout.code.check(dtype)
    except ConstructError as error:
        return f"refused: {type(error).__name__}"
    return "builds"


def affordable(net: nn.Module) -> int:
    """Points at which the dense formula is evaluated."""
    if not isinstance(net, construct.Network):
        return POINTS
    return max(FEWEST, min(POINTS, int(WORK / net.multiply_adds("dense"))))


def apart_from_codes(net: construct.Network) -> float:
    """The largest weight that is no entry of a position code: heads, FFNs, initial registers."""
    formula = net.transformer
    blocks = [block_weights(block) for block in formula.stack]
    registers = formula.hidden0.detach()[:, written_rows(blocks, formula.hidden0.shape[1]).tolist()]
    weights = [p for block in formula.stack for p in block.parameters()]
    return max(float(t.detach().abs().max()) for t in (*weights, registers) if t.numel())


def values(net: nn.Module, x: Tensor) -> Tensor:
    """The dense formula, in the dtype of the network; no dtype is refused here."""
    with torch.no_grad():
        found = net.in_parts(x) if isinstance(net, construct.Transformer) else net(x)
        return found.double()


def weight_rows(manifold: str, method: str, epsilon: float, seed: int, training: float) -> Row:
    """One network in every dtype; columns of the dtype end in its name."""
    M, f = problem(manifold, "smooth")
    try:
        net = module_of(manifold, method, epsilon, seed, training)
    except ConstructError as error:
        names = ("sup", "floor", "library")
        blank = {f"{name} {dtype}": "" for dtype in DTYPES for name in names}
        return {**dict.fromkeys(HEAD, ""), **blank, "outcome": f"{type(error).__name__}: {error}"[:160]}
    points = M.sample(affordable(net), seed + 1)
    holder = Baseline("", "", {}, baselines.BaselineCounts(0, 0, 0, 0), 0.0, net, M, model=net)
    counts = net.architecture if isinstance(net, construct.Network) else None
    row: Row = {
        "nonzero": sum(int((p != 0).sum()) for p in net.parameters()) if counts is None else counts.nonzero_parameters,
        "stored": "" if counts is None else counts.stored_numbers,
        "kappa": kappa(holder),
        "kappa_apart": f"{apart_from_codes(net):.4g}" if isinstance(net, construct.Network) else "",
        "points": len(points),
    }
    formula = net.transformer if isinstance(net, construct.Network) else net
    for name, dtype in DTYPES.items():
        rounded = points.to(dtype)
        exact = values(formula, rounded.double())
        low = copy.deepcopy(formula).to(dtype)
        found = values(low, rounded)
        sup = float((found - f(rounded.double())).abs().max())
        floor = float((found - exact).abs().max())
        row[f"sup {name}"] = f"{sup:.3e}" if math.isfinite(sup) else "not finite"
        row[f"floor {name}"] = f"{floor:.3e}" if math.isfinite(floor) else "not finite"
        row[f"library {name}"] = refused(manifold, method, net, dtype)
    return {**row, "outcome": "built"}


def run(options: Any) -> None:
    """All rows and their table."""
    study = Study("weights", ("manifold", "method", "epsilon"), options)
    training = TRAINING_QUICK if options.quick else TRAINING
    cases = [case for case in CASES if case[0] == "circle"] if options.quick else CASES
    rows = []
    for manifold, method, epsilon in cases:
        key = {"manifold": manifold, "method": method, "epsilon": f"{epsilon:.0e}" if epsilon else "trained"}
        rows.append(Task(key, weight_rows, (manifold, method, epsilon, options.seed, training)))
    study.run_all(rows)
    study.markdown((__doc__ or "").splitlines())


if __name__ == "__main__":
    run(arguments(__doc__))
