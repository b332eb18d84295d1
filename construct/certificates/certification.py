"""`certify`: a proved sup-norm bound for a network that is there.

extract (weights -> formula, exact) -> substitute the manifold -> divide its parameter box until the bound is good
enough -> measure, for comparison -> certificate
"""

from __future__ import annotations

import math
import time
from itertools import pairwise, product
from typing import Any

import flint
import numpy as np
import torch
from flint import arb

from construct.certificates.cells import ORDERS, CellBounds, rounded_up, subdivide
from construct.certificates.certificate import CLAIM, FORMAT, Certificate, digest, from_document, weights_digest
from construct.certificates.charts import charts_of
from construct.certificates.extraction import extract
from construct.errors import BudgetExceeded, EpsilonNotReached, InputError
from construct.expressions import Expression
from construct.manifolds import Formula, Manifold
from construct.measurement import measure
from construct.progress import Progress, printed, silent
from construct.targets import Target
from construct.transformer import Transformer
from construct.validation import positive_integer, positive_real

PRECISION = 96
BOX_PIECES = {1: 256, 2: 24, 3: 8}
BOX_MARGIN = 1.05
LOCAL_MARGIN = 1 + 1e-9  # room for a checker that adds in another order
ERROR_MARGIN = 1.25
UNITS = {torch.float64: 2.0**-53, torch.float32: 2.0**-24}


def certify(
    net: Transformer,
    target: Any,
    manifold: Manifold,
    kind: str = "rigorous",
    *,
    epsilon: float | None = None,
    tolerance: float = 0.2,
    max_cells: int = 200_000,
    seed: int = 0,
    progress: bool | Progress | None = None,
) -> Certificate:
    """Prove a bound of `sup_M |net - target|`, the network's own rounding included.

    The function of the network is read from its weights by exact rational arithmetic: a telescoping partition of unity
    times one polynomial (or spline) per chart. On every cell of a subdivision of the parameter box, |P_n - f| is
    bounded by Taylor's theorem with an enclosed remainder, all in ball arithmetic (python-flint).

    Args:
        net: a network of the compact construction, in float64 or float32; weights may have been read from a file.
        target: an `Expression`, or a built-in target, whose expression is used.
        manifold: one with a `formula()`: all named ones, and a `ParametricManifold` with `formula`.
        kind: "rigorous"; for a measured error see `construct.measure`.
        epsilon: stop as soon as the bound is at most epsilon.
        tolerance: otherwise stop when the bound is within this share of an error that is attained by some P_n.
        max_cells: largest number of cells.
        seed: of the measured error that is given for comparison.
        progress: True prints stages to stderr; or a callable (stage, fraction or None).

    Raises:
        InputError: an argument of the wrong kind, a target or manifold without a formula, a network whose weights are
            not those of a telescoping partition of local polynomials, d > 3.
        EpsilonNotReached: the bound of what gates and rounding lose is above epsilon already (float32, huge networks).
        BudgetExceeded: no finite bound with `max_cells` cells.
    """
    formula = _checked(net, manifold, kind)
    expression = exact_target(target, manifold)
    tolerance, max_cells = positive_real(tolerance, "tolerance"), positive_integer(max_cells, "max_cells")
    wanted = 0.0 if epsilon is None else positive_real(epsilon, "epsilon")
    report: Progress = printed if progress is True else progress if callable(progress) else silent
    start = time.perf_counter()
    with flint.ctx.workprec(PRECISION):
        report("canonical box", None)
        box = canonical_box(formula)
        report("formula of the network from its weights", None)
        charts, error = _charts(net, manifold, box)
        if epsilon is not None and error >= epsilon:
            raise EpsilonNotReached(
                f"epsilon: {epsilon:g} cannot be proved, what gates and rounding in {net.dtype} lose is bounded by "
                f"{error:.3g} only",
                error,
            )
        report("cells", None)
        bounds = CellBounds(charts, expression, formula, manifold.frame.tolist(), ORDERS[formula.dim])
        found = subdivide(
            bounds, target=wanted / LOCAL_MARGIN - error, tolerance=tolerance, most_cells=max_cells, progress=report
        )
    if found.stuck is not None:
        raise InputError(
            f"net: expected a partition of unity that covers {manifold!r} and a bounded target; nothing can be proved "
            f"near u = {found.stuck.lower} (parameters of the manifold's formula)"
        )
    if not math.isfinite(found.bound):
        raise BudgetExceeded(
            f"max_cells: expected more than {max_cells:,} cells, with so many the bound on {manifold!r} is infinite",
            math.inf,
        )
    report("measuring", None)
    measured = measure(net, expression, manifold, seed=seed)
    seconds = time.perf_counter() - start
    local = found.bound * LOCAL_MARGIN
    document = {
        "format": FORMAT,
        "kind": kind,
        "claim": CLAIM,
        "network": {"sha256": weights_digest(net)},
        "arithmetic": {"dtype": str(net.dtype).removeprefix("torch."), "unit": UNITS[net.dtype]},
        "target": expression.to_json(),
        "manifold": {
            "text": repr(manifold),
            "formula": [component.to_json() for component in formula.components],
            "lower": list(formula.lower),
            "upper": list(formula.upper),
            "frame": manifold.frame.tolist(),
        },
        "canonical_box": box,
        "order": bounds.space.order,
        "precision": PRECISION,
        "tree": found.tree(),
        "local": local,
        "error": error,
        "bound": math.nextafter(local + error, math.inf),
        "measured": {"sup": measured.sup, "samples": measured.samples, "seed": seed},
        "cells": found.leaves,
        "seconds": round(seconds, 3),
    }
    document["digest"] = digest(document)
    return from_document(document)


def _charts(net: Transformer, manifold: Manifold, box: list[float]) -> tuple[Any, float]:
    """The formula of a network on a manifold, and a bound of the deviation of its floating-point evaluation."""
    half_widths = np.nextafter(np.abs(manifold.frame.numpy()) @ np.asarray(box) * (1 + 1e-12), np.inf)
    charts = charts_of(extract(net, half_widths, UNITS[net.dtype]), manifold.frame)
    return charts, rounded_up(charts.error * ERROR_MARGIN)


def canonical_box(formula: Formula) -> list[float]:
    """Bounds of |y_k| over the box of parameters, proved piece by piece, with a margin for coarser pieces."""
    pieces = BOX_PIECES[formula.dim]
    edges = []
    for low, high in zip(formula.lower, formula.upper, strict=True):
        cuts = [low + (high - low) * i / pieces for i in range(pieces)] + [high]
        edges.append([arb(a).union(arb(b)) for a, b in pairwise(cuts)])
    largest = [0.0] * len(formula.components)
    for piece in product(*edges):
        for k, component in enumerate(formula.components):
            largest[k] = max(largest[k], rounded_up(component.ball(piece).abs_upper()))
    return [value * BOX_MARGIN for value in largest]


def exact_target(target: Any, manifold: Manifold) -> Expression:
    """The expression of a target, on the coordinates that the manifold has; InputError if it has none."""
    if isinstance(target, Target):
        target = target.expression
    if not isinstance(target, Expression):
        raise InputError(
            "target: expected an Expression (construct.expressions) or a built-in target, whose values ball arithmetic "
            f"can enclose; got {type(target).__name__}"
        )
    return target.restricted(manifold.ambient)


def _checked(net: Any, manifold: Any, kind: str) -> Formula:
    if not isinstance(net, Transformer):
        raise InputError(f"net: expected a construct.Transformer, got {type(net).__name__}")
    if not isinstance(manifold, Manifold):
        raise InputError(f"manifold: expected a construct.manifolds.Manifold, got {type(manifold).__name__}")
    if kind != "rigorous":
        raise InputError(f"kind: expected 'rigorous' (construct.measure gives measured errors), got {kind!r}")
    if net.ambient != manifold.ambient:
        raise InputError(
            f"manifold: expected one in R^{net.ambient}, where the network reads, got R^{manifold.ambient}"
        )
    if net.dtype not in UNITS:
        raise InputError(f"net: expected float64 or float32 weights, got {net.dtype}")
    if manifold.dim not in ORDERS:
        raise InputError(f"manifold: expected d <= {max(ORDERS)}, cells are too many beyond; got d = {manifold.dim}")
    return manifold.formula()
