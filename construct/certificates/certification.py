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

from construct.certificates.cells import ORDERS, CellBounds, rounded_up
from construct.certificates.certificate import ANGLES, Certificate, certificate_of
from construct.certificates.charts import NetworkCharts, charts_of
from construct.certificates.document import CLAIM, DEEPEST, FORMAT, LARGEST, RIGOROUS, depth, digest
from construct.certificates.extraction import extract
from construct.certificates.extraction.codes import has_trigonometric_code
from construct.certificates.polynomials import PRECISION
from construct.certificates.ridge_cells import RidgeBounds, order_of
from construct.certificates.ridges import NetworkRidges, ridges_of
from construct.certificates.subdivision import Subdivision, subdivide
from construct.certificates.weights import Evaluated, NetworkWeights, weights_digest, weights_of
from construct.certificates.window_cells import WINDOW_ORDERS, WindowBounds
from construct.certificates.windows import NetworkCells, cells_of
from construct.devices import on_cpu
from construct.errors import BudgetExceeded, EpsilonNotReached, PrecisionError
from construct.expressions import Expression
from construct.manifolds import Formula, Manifold
from construct.measurement import Measurement, check_exact, measure
from construct.progress import Progress, watching
from construct.targets import Target
from construct.validation import invalid, message, one_of, positive_integer, positive_real

BOX_PIECES = {1: 256, 2: 24, 3: 8}
BOX_MARGIN = 1.05
CENTRED = 1 / 16
LOCAL_MARGIN = 1 + 1e-9  # room for a checker that adds in another order
ERROR_MARGIN = 1.25
UNITS = {torch.float64: 2.0**-53, torch.float32: 2.0**-24}


@on_cpu
def certify(
    net: Evaluated,
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
    times one polynomial (or spline) per chart, or a sum of ridge functions, with or without windows. On every cell of
    a subdivision of the parameter box, |P_n - f| is bounded by Taylor's theorem with an enclosed remainder, all in ball
    arithmetic (python-flint; for ridge functions float64 with radii).

    Networks with a trigonometric code are proved here only, what their gates let through as a part of the error: the
    independent verifier takes exact gates alone, those of integer codes, and refuses their certificates, which say so
    (`Certificate.unverifiable`).

    Args:
        net: a network of the compact, the ridge or the lattice construction, in float64 or float32; weights may have
            been read from a file.
        target: an `Expression`, or a built-in target, whose expression is used.
        manifold: one with a `formula()`: all named ones, and a `ParametricManifold` with `formula`.
        kind: "rigorous"; for a measured error see `construct.measure`.
        epsilon: stop as soon as the bound is at most epsilon.
        tolerance: otherwise stop when the bound is within this share of an error that is attained by some P_n, or of
            the part of it that gates and rounding are responsible for, which no cells make smaller.
        max_cells: largest number of cells.
        seed: of the measured error that is given for comparison.
        progress: as in `construct.approximate`.

    Raises:
        InputError: an argument of the wrong kind, a target or manifold without a formula, a network whose weights are
            not those of a telescoping partition of local polynomials, d > 3.
        EpsilonNotReached: the bound of what gates and rounding lose is above epsilon already (float32, huge networks).
        BudgetExceeded: no finite bound with `max_cells` cells.
        PrecisionError: the network as it runs here is further from the target than what was proved of the dense formula
            in IEEE arithmetic; or, named as the target's, its float64 values are too far from the real ones.
    """
    start = time.perf_counter()
    one_of(kind, "kind", (RIGOROUS,))
    weights, formula, expression = _checked_weights(net, manifold), _formula(manifold), exact_target(target, manifold)
    tolerance, max_cells = positive_real(tolerance, "tolerance"), positive_integer(max_cells, "max_cells")
    epsilon = None if epsilon is None else positive_real(epsilon, "epsilon")
    with watching(progress) as watch:
        with flint.ctx.workprec(PRECISION):
            box = canonical_box(formula)
            watch.stage("formula of the network from its weights")
            network, error = _network(weights, manifold, box)
            local = _local_target(epsilon, error, weights, tolerance)
            watch.stage("cells")
            bounds = _bounds(network, expression, formula, manifold)
            found = subdivide(bounds, target=local, tolerance=tolerance, most_cells=max_cells, progress=watch.stage)
        _check_finite(found, bounds, manifold, max_cells)
        measured = measure(net, expression, manifold, seed=seed, exact=False)
    proof = _proof(box, bounds, found, error)
    _check_measured(measured, proof["bound"], expression)
    document = {
        **_statement(net, weights, expression, manifold, formula),
        **proof,
        "measured": {"sup": measured.sup, "samples": measured.samples, "seed": seed},
        "seconds": round(time.perf_counter() - start, 3),
    }
    unverifiable = ANGLES if has_trigonometric_code(weights) else None
    return certificate_of({**document, "digest": digest(document)}, unverifiable)


# -- arguments ---------------------------------------------------------------------------------------


def _checked_weights(net: Any, manifold: Any) -> NetworkWeights:
    """The weights of a network that reads the manifold's space in an arithmetic whose rounding is known."""
    weights = weights_of(net)
    if not isinstance(manifold, Manifold):
        raise invalid("manifold", "a construct.manifolds.Manifold", manifold)
    if weights.ambient != manifold.ambient:
        expected = f"one in R^{weights.ambient}, where the network reads"
        raise invalid("manifold", expected, got=f"one in R^{manifold.ambient}")
    if weights.dtype not in UNITS:
        raise invalid("net", "float64 or float32 weights", got=str(weights.dtype))
    return weights


def _formula(manifold: Manifold) -> Formula:
    """The formula of a manifold whose dimension leaves the cells few enough."""
    if manifold.dim not in ORDERS:
        raise invalid("manifold", f"d <= {max(ORDERS)}, cells are too many beyond", got=f"d = {manifold.dim}")
    formula = manifold.formula()
    for i, (low, high) in enumerate(zip(formula.lower, formula.upper, strict=True)):
        if not low < high:
            raise invalid("manifold", "a formula on a box with lower < upper", got=f"u_{i} from {low} to {high}")
    for component in formula.components:
        _check_depth(component, "manifold")
    return formula


def _check_depth(expression: Expression, name: str) -> None:
    """A certificate is JSON, which is read by recursion."""
    if depth(expression) > DEEPEST:
        expected = f"an expression of at most {DEEPEST} operations inside each other"
        raise invalid(name, expected, got=f"{depth(expression)}")


def exact_target(target: Any, manifold: Manifold) -> Expression:
    """The expression of a target, on the coordinates that the manifold has; InputError if it has none."""
    if isinstance(target, Target):
        target = target.expression
    if not isinstance(target, Expression):
        expected = "an Expression (construct.expressions) or a built-in target, which ball arithmetic encloses"
        raise invalid("target", expected, target)
    _check_depth(target, "target")
    return target.restricted(manifold.ambient)


# -- stages ------------------------------------------------------------------------------------------


def canonical_box(formula: Formula) -> list[list[float]]:
    """Ends of every y_k over the box of parameters, proved piece by piece, with a margin for coarser pieces.

    Around 0 where that costs little: then polynomials in y - middle are those in y.
    """
    pieces = BOX_PIECES[formula.dim]
    edges = []
    for low, high in zip(formula.lower, formula.upper, strict=True):
        cuts = [low + (high - low) * i / pieces for i in range(pieces)] + [high]
        edges.append([arb(a).union(arb(b)) for a, b in pairwise(cuts)])
    lowest, highest = ([sign * math.inf] * len(formula.components) for sign in (1, -1))
    for piece in product(*edges):
        for k, component in enumerate(formula.components):
            ball = component.ball(piece)
            lowest[k] = min(lowest[k], -rounded_up((-ball).upper()))
            highest[k] = max(highest[k], rounded_up(ball.upper()))
    box = []
    for low, high in zip(lowest, highest, strict=True):
        middle, largest = (low + high) / 2, max(-low, high)
        if abs(middle) <= CENTRED * (high - low):
            box.append([-largest * BOX_MARGIN, largest * BOX_MARGIN])
        else:
            box.append([middle + (end - middle) * BOX_MARGIN for end in (low, high)])
    return box


def _network(
    weights: NetworkWeights, manifold: Manifold, box: list[list[float]]
) -> tuple[NetworkCharts | NetworkRidges | NetworkCells, float]:
    """The formula of a network on a manifold, and a bound of the deviation of its floating-point evaluation."""
    lower, upper = np.asarray(box).T
    frame, half = manifold.frame.numpy(), (upper - lower) / 2
    middle, half = frame @ (lower + half) + manifold.offset.numpy(), np.abs(frame) @ half * (1 + 1e-12)
    margin = 1e-12 * np.abs(middle)
    inputs = np.stack([np.nextafter(middle - half - margin, -np.inf), np.nextafter(middle + half + margin, np.inf)])
    found = extract(weights, inputs, UNITS[weights.dtype])
    read = charts_of if found.weights else cells_of if found.windowed else ridges_of
    network = read(found, manifold.frame, manifold.offset)
    return network, rounded_up(network.error * ERROR_MARGIN)


def _bounds(
    network: NetworkCharts | NetworkRidges | NetworkCells, target: Expression, formula: Formula, manifold: Manifold
) -> CellBounds | RidgeBounds:
    """Bounds over cells, whose Taylor expansions go as far as the network's polynomials ask for."""
    most, given = ORDERS[formula.dim], (manifold.frame.tolist(), manifold.offset.tolist())
    if isinstance(network, NetworkCharts):
        return CellBounds(network, target, formula, given[0], most, given[1])
    if isinstance(network, NetworkCells):
        return WindowBounds(network, target, formula, given[0], WINDOW_ORDERS[formula.dim], given[1])
    order = order_of(formula.dim, network.degree, len(formula.components))
    return RidgeBounds(network, target, formula, given[0], order, given[1])


def _local_target(epsilon: float | None, error: float, weights: NetworkWeights, tolerance: float) -> float:
    """The bound of |T - f| in exact arithmetic that suffices for epsilon; without one that of which `error`, what gates
    and rounding lose, is all but a share: where T is f but for rounding, no cells would ever be fine enough."""
    if epsilon is None:
        return tolerance * error
    if error >= epsilon:
        expected = f"more than {error:.3g}, the bound on what gates and rounding in {weights.dtype} lose here"
        raise EpsilonNotReached(message("epsilon", expected, got=f"{epsilon:g}"), error)
    return epsilon / LOCAL_MARGIN - error


def _check_finite(found: Subdivision, bounds: CellBounds | RidgeBounds, manifold: Manifold, max_cells: int) -> None:
    """Refuse a subdivision on which nothing is proved: for the target, where it is to blame, or for the network."""
    if found.stuck is not None:
        if not bounds.target_is_finite(found.stuck):
            expected = f"a function whose values ball arithmetic proves to be finite everywhere on {manifold!r}"
            where = f"near u = {found.stuck.lower}, parameters of the manifold's formula"
            raise invalid("target", expected, got=f"one that is divided by 0, undefined or unbounded {where}")
        raise invalid(
            "net",
            f"a partition of unity that covers {manifold!r} and a bounded target",
            got=f"one that proves nothing near u = {found.stuck.lower}, parameters of the manifold's formula",
        )
    if not math.isfinite(found.bound):
        raise BudgetExceeded(
            message("max_cells", f"more cells for a finite bound on {manifold!r}", got=f"{max_cells:,}"),
            math.inf,
        )
    if found.bound > LARGEST:
        raise invalid(
            "target", f"values that are proved to be below {LARGEST:.0e}", got=f"a bound of {found.bound:.3g}"
        )


def _check_measured(measured: Measurement, bound: float, target: Expression) -> None:
    """A proof that is contradicted by what runs is about another arithmetic, the target's or the network's: nothing is
    certified."""
    if not measured.sup <= bound:
        check_exact(
            target, measured.worst_point[None], (measured.sup - bound) / 2, "half of what contradicts the proof"
        )
        raise PrecisionError(
            message(
                "net",
                f"an error of at most the proved {bound:.6g} (dense formula, IEEE 754 with gradual underflow)",
                got=f"{measured.sup:.6g} at {measured.worst_point.tolist()}"[:200],
            )
        )


# -- the document ------------------------------------------------------------------------------------


def _statement(
    net: Evaluated, weights: NetworkWeights, target: Expression, manifold: Manifold, formula: Formula
) -> dict[str, Any]:
    """What is claimed, of which network, target and manifold."""
    return {
        "format": FORMAT,
        "kind": RIGOROUS,
        "claim": CLAIM,
        "network": {"sha256": weights_digest(net)},
        "arithmetic": {"dtype": str(weights.dtype).removeprefix("torch."), "unit": UNITS[weights.dtype]},
        "target": target.to_json(),
        "manifold": {
            "text": _line(repr(manifold)),
            "formula": [component.to_json() for component in formula.components],
            "lower": list(formula.lower),
            "upper": list(formula.upper),
            "frame": manifold.frame.tolist(),
            "offset": manifold.offset.tolist(),
        },
    }


def _line(text: str) -> str:
    """A text of the user's as a line that any terminal shows."""
    return (text if text.isprintable() else ascii(text))[:1000]


def _proof(
    box: list[list[float]], bounds: CellBounds | RidgeBounds, found: Subdivision, error: float
) -> dict[str, Any]:
    """The bound, and what a checker needs to prove it again."""
    local = found.bound * LOCAL_MARGIN
    return {
        "canonical_box": box,
        "order": bounds.space.order,
        "precision": PRECISION,
        "tree": found.tree(),
        "local": local,
        "error": error,
        "bound": math.nextafter(local + error, math.inf),
        "cells": found.leaves,
    }
