"""`approximate`: the theorem as a program. Theorem 2 of Havrilla and Liao (2024), stage by stage.

validate -> plan (atlas, local space, coefficients) -> assemble (weights) -> measure -> claim; with bound="rigorous"
also -> certify, and plan again for a smaller error until the proved bound is at most epsilon
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch

from construct.architecture import Claim
from construct.atlas import atlas_for
from construct.certificates import certify, exact_target
from construct.compact.geometry import compact_counts, compact_network
from construct.compact.planner import MARGIN, Plan, Planner
from construct.errors import BudgetExceeded, EpsilonNotReached, InputError
from construct.local import PolynomialSpace, SplineSpace, fit_charts
from construct.manifolds import Manifold
from construct.measurement import Measurement, measure
from construct.program.codes import CODES
from construct.progress import Progress, printed, silent
from construct.targets import evaluate_target
from construct.transformer import Transformer

CONSTRUCTIONS = ("compact", "paper")
BOUNDS = ("measured", "rigorous")
MOST_PROOFS = 6
SHRINK = 0.97  # of the error that would do if the ratio of proved to planned stayed as it is
DEFAULT_BUDGET = 30_000_000  # dense parameters; 240 MB in float64
DEFAULT_DEGREE = 8


def approximate(
    target: Callable[..., Any],
    manifold: Manifold,
    epsilon: float | None = None,
    *,
    smoothness: float | None = None,
    construction: str = "compact",
    position_code: str = "integer",
    charts: int | None = None,
    cells: int | None = None,
    degree: int | None = None,
    bound: str = "measured",
    max_parameters: int | None = None,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
    seed: int = 0,
    progress: bool | Progress | None = None,
) -> Transformer:
    """The transformer that approximates `target` on `manifold`, every weight assigned, nothing trained.

    Args:
        target: f, from points (n, D) to values (n,), torch or numpy; evaluated on the manifold only. The "paper"
            construction differentiates it, so it must be made of torch operations there.
        manifold: M.
        epsilon: sup error asked for. The measured error of the network returned is at most epsilon. May be left out
            when the resolution is given by hand.
        smoothness: Hölder exponent beta > 0 of a target that is not smooth (below 1 allowed); None: smooth.
        construction: "compact" (ours, the fewest parameters) or "paper" (Havrilla and Liao lemma by lemma).
        position_code: "integer" (ours, exact) or "trigonometric" (the paper's).
        charts, cells, degree: resolution by hand. In "compact", `cells` > 1 means continuous piecewise-linear splines
            on cells^d cells per chart and excludes a degree other than 1; in "paper" it is the grid of every chart.
        bound: "measured": the measured error is at most epsilon. "rigorous": the *proved* one is (`construct.certify`):
            the resolution is refined until a certificate says so, which then is `net.certificate`. Compact
            construction, d <= 3, and a target and manifold that have a formula.
        max_parameters: budget on the dense count; default 30 million.
        dtype, device: of the network. Planning is done in float64 on the CPU.
        seed: of the error search.
        progress: True prints stages to stderr; or a callable (stage, fraction or None).

    Returns:
        `Transformer`, with `.architecture`, `.claim` (kind as `bound`), `.approximator`, `.manifold` and `.certificate`
        (None when measured).

    Raises:
        InputError: an argument of the wrong kind or range, or a target with a wrong shape, NaN or complex values.
        EpsilonNotReached, BudgetExceeded: epsilon cannot be met; `.best` is the smallest error found.
        PrecisionError: the dtype cannot hold the position code or the gates.
    """
    sizes = {"charts": charts, "cells": cells, "degree": degree, "max_parameters": max_parameters}
    _check(target, manifold, epsilon, smoothness, construction, position_code, sizes, dtype)
    _check_bound(bound, target, manifold, construction)
    report: Progress = printed if progress is True else progress if callable(progress) else silent
    budget = DEFAULT_BUDGET if max_parameters is None else max_parameters
    evaluate_target(target, manifold.sample(3, seed))
    by_hand = charts is not None or cells is not None or degree is not None
    if construction == "paper":
        from construct.paper.planner import paper_by_hand, paper_plan

        options: dict[str, Any] = {"position_code": position_code, "dtype": dtype, "device": device, "progress": report}
        if by_hand:
            net = paper_by_hand(
                target,
                manifold,
                epsilon,
                smoothness,
                charts=charts,
                cells=cells,
                degree=degree,
                budget=budget,
                **options,
            )
        else:
            assert epsilon is not None
            net = paper_plan(target, manifold, epsilon, smoothness, budget=budget, seed=seed, **options)
        return _claimed(net, target, manifold, epsilon, seed, report)
    planned = epsilon
    for _ in range(MOST_PROOFS):
        if by_hand:
            plan = _by_hand(target, manifold, smoothness, charts, cells, degree, budget)
        else:
            assert planned is not None
            plan = Planner(
                target, manifold, planned, smoothness=smoothness, max_parameters=budget, seed=seed, progress=report
            ).plan()
        net = compact_network(
            plan.approximator, position_code=position_code, dtype=dtype, device=device, progress=report
        )
        net = _claimed(net, target, manifold, epsilon, seed, report)
        if bound == "measured":
            return net
        proved = _proved(net, target, manifold, epsilon, seed, report)
        if epsilon is None or proved <= epsilon:
            return net
        if by_hand:
            break
        assert planned is not None
        planned *= SHRINK * min(epsilon / proved, 1.0)
    raise EpsilonNotReached(
        f"epsilon: {epsilon:g} was asked for as a proved bound, the best that was proved is {proved:.3g}", proved
    )


def _proved(
    net: Transformer, target: Any, manifold: Manifold, epsilon: float | None, seed: int, report: Progress
) -> float:
    """The proved bound of a network, which becomes its claim."""
    certificate = certify(net, target, manifold, epsilon=epsilon, seed=seed, progress=report)
    net.certificate = certificate
    net.labels["claim"] = asdict(Claim(epsilon, certificate.bound, certificate.kind, certificate.cells))
    return certificate.bound


def _check_bound(bound: str, target: Any, manifold: Manifold, construction: str) -> None:
    if bound not in BOUNDS:
        raise InputError(f"bound: expected one of {BOUNDS}, got {bound!r}")
    if bound == "rigorous":
        if construction != "compact":
            raise InputError(f"bound: 'rigorous' needs the compact construction, got {construction!r}")
        exact_target(target, manifold)
        manifold.formula()


def _by_hand(
    target: Callable[..., Any],
    manifold: Manifold,
    smoothness: float | None,
    charts: int | None,
    cells: int | None,
    degree: int | None,
    budget: int,
) -> Plan:
    """The approximator at a resolution given by hand; nothing is searched."""
    space: PolynomialSpace | SplineSpace
    if cells is not None and cells > 1:
        if degree not in (None, 1):
            raise InputError(
                f"degree: the compact construction has degree 1 when cells > 1, got degree={degree}, cells={cells}"
            )
        space = SplineSpace(manifold.dim, cells)
    else:
        space = PolynomialSpace(manifold.dim, DEFAULT_DEGREE if degree is None else degree)
    atlas = atlas_for(manifold, charts=charts)
    needed = compact_counts(atlas, space)[0]
    if needed > budget:
        raise BudgetExceeded(
            f"max_parameters: {atlas.count} charts with {space!r} need about {needed:,} parameters, "
            f"the budget is {budget:,}",
            math.inf,
        )
    approximator = fit_charts(target, atlas, space)
    return Plan(approximator, Measurement(float(approximator.error_bound), math.nan, atlas.centres[0], 0))


def _claimed(
    net: Transformer,
    target: Callable[..., Any],
    manifold: Manifold,
    epsilon: float | None,
    seed: int,
    report: Progress,
) -> Transformer:
    """Measure the network itself, write the claim, and refuse a network that misses epsilon."""
    report("measuring", None)
    found = measure(net, target, manifold, seed=seed)
    net.labels["claim"] = asdict(Claim(epsilon, found.sup, found.kind, found.samples))
    if epsilon is not None and not found.sup <= epsilon:
        hint = "; float64 has more room" if net.dtype != torch.float64 else ""
        raise EpsilonNotReached(
            f"epsilon: {epsilon:g} was asked for, the network in {net.dtype} with the {net.labels['position_code']} "
            f"code is off by {found.sup:.3g} (planned to at most {MARGIN * epsilon:.3g} in exact arithmetic){hint}",
            found.sup,
        )
    return net


def _check(
    target: Any,
    manifold: Any,
    epsilon: float | None,
    smoothness: float | None,
    construction: str,
    position_code: str,
    sizes: dict[str, int | None],
    dtype: torch.dtype,
) -> None:
    if not callable(target):
        raise InputError(f"target: expected a callable on points (n, D), got {type(target).__name__}")
    if not isinstance(manifold, Manifold):
        raise InputError(f"manifold: expected a construct.manifolds.Manifold, got {type(manifold).__name__}")
    _positive_number("epsilon", epsilon)
    _positive_number("smoothness", smoothness)
    for name, value in sizes.items():
        least = 0 if name == "degree" else 1
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
            raise InputError(f"{name}: expected an integer >= {least}, got {value!r}")
    if epsilon is None and all(sizes[name] is None for name in ("charts", "cells", "degree")):
        raise InputError("epsilon: expected a positive number unless charts, cells or degree is given, got None")
    if construction not in CONSTRUCTIONS:
        raise InputError(f"construction: expected one of {CONSTRUCTIONS}, got {construction!r}")
    if position_code not in CODES:
        raise InputError(f"position_code: expected one of {tuple(CODES)}, got {position_code!r}")
    if dtype not in (torch.float64, torch.float32):
        raise InputError(f"dtype: expected torch.float64 or torch.float32, got {dtype}")


def _positive_number(name: str, value: Any) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0 or not math.isfinite(value):
        raise InputError(f"{name}: expected a finite number > 0, got {value!r}")
