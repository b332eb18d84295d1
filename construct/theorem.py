"""`approximate`: the theorem as a program. Theorem 2 of Havrilla and Liao (2024), stage by stage.

problem -> plan (atlas, local space, coefficients) -> program -> compile (weights) -> network -> measure -> claim; with
bound="rigorous" also -> certify, and plan again for a smaller error until the proved bound is at most epsilon.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch

from construct.certificates import certify, exact_target
from construct.certificates.weights import weights_digest
from construct.claim import Claim
from construct.compact import planner as compact_planner
from construct.compact.geometry import input_box
from construct.compact.program import compact_program
from construct.local import PiecewiseApproximator
from construct.manifolds import Manifold
from construct.measurement import measure
from construct.network import Approximator, Network, PositionCodeName, known_device
from construct.origin import Construction, Origin
from construct.paper import planner as paper_planner
from construct.paper.grid import TaylorApproximator
from construct.paper.layout import paper_input_box
from construct.paper.program import paper_program
from construct.planning import (
    DEFAULT_BUDGET,
    BestPlan,
    History,
    not_reached,
    offer,
    stoppable,
    tightened,
)
from construct.problem import Problem, Sizes
from construct.program.codes import CODES
from construct.progress import Progress, silent, watching
from construct.rounding import refuse_rounding
from construct.validation import invalid, one_of, positive_integer

Bound = Literal["measured", "rigorous"]
CONSTRUCTIONS = ("compact", "paper")
BOUNDS = ("measured", "rigorous")
MOST_PROOFS = 6


@dataclass(frozen=True)
class Choices:
    """What `approximate` is to build, besides the problem; checked."""

    construction: Construction
    position_code: PositionCodeName
    sizes: Sizes
    bound: Bound
    budget: int
    dtype: torch.dtype
    device: torch.device | str

    def __post_init__(self) -> None:
        one_of(self.construction, "construction", CONSTRUCTIONS)
        one_of(self.position_code, "position_code", tuple(CODES))
        one_of(self.bound, "bound", BOUNDS)
        positive_integer(self.budget, "max_parameters")
        known_device(self.device)
        if self.dtype not in (torch.float64, torch.float32):
            raise invalid("dtype", "torch.float64 or torch.float32", self.dtype)
        if self.bound == "rigorous" and self.construction != "compact":
            raise invalid("construction", "'compact' for bound='rigorous'", self.construction)


def approximate(
    target: Callable[..., Any],
    manifold: Manifold,
    epsilon: float | None = None,
    *,
    smoothness: float | None = None,
    construction: Construction = "compact",
    position_code: PositionCodeName = "integer",
    charts: int | None = None,
    cells: int | None = None,
    degree: int | None = None,
    bound: Bound = "measured",
    max_parameters: int | None = None,
    timeout: float | None = None,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
    seed: int = 0,
    progress: bool | Progress | None = None,
) -> Network:
    """The transformer that approximates `target` on `manifold`, every weight assigned, nothing trained.

    Args:
        target: f, from points (n, D) to values (n,), torch or numpy; evaluated on the manifold only. The "paper"
            construction differentiates it, so it must be made of torch operations there.
        manifold: M.
        epsilon: sup error asked for. The measured error of the network returned is at most epsilon. May be left out
            when sizes are given by hand.
        smoothness: Hölder exponent beta > 0 of a target that is not smooth (below 1 allowed); None: smooth.
        construction: "compact" (ours, the fewest parameters) or "paper" (Havrilla and Liao lemma by lemma).
        position_code: "integer" (ours, exact) or "trigonometric" (the paper's).
        charts, cells, degree: sizes by hand. In "compact", `cells` > 1 means continuous piecewise-linear splines
            on cells^d cells per chart and excludes a degree other than 1; in "paper" it is the grid of every chart.
        bound: "measured": the measured error is at most epsilon. "rigorous": the *proved* one is (`construct.certify`):
            sizes are refined until a certificate says so, which then is `net.certificate`. Compact
            construction, d <= 3, and a target and manifold that have a formula.
        max_parameters: budget on the dense count; default 30 million.
        timeout: seconds after which the search is given up; default: never. It is looked at between and within all
            steps, so that it ends soon after, and what is predicted to take much longer is not begun. It never changes
            what is built.
        dtype, device: of the network. Planning is done in float64 on the CPU.
        seed: of the error search.
        progress: None shows a line (on a terminal) or a bar (in a notebook) after two seconds, erased at the end, and
            nothing elsewhere; False: nothing; True prints stages to stderr; or a callable (stage, share of it that is
            done or None).

    Returns:
        `Network`, with `.architecture`, `.claim` (kind as `bound`), `.origin`, `.program`, `.approximator` and
        `.certificate` (None when measured).

    Raises:
        InputError: an argument of the wrong kind or range, or a target with a wrong shape, NaN or complex values.
        EpsilonNotReached, BudgetExceeded, TimeoutReached: epsilon cannot be met; `.best` is the smallest error found,
            `.plan` what has it (None: nothing was fitted), the text says why there is none better.
        PlanningInterrupted: Ctrl-C, a `KeyboardInterrupt` with `.best` and `.plan`.
        PrecisionError: the dtype cannot hold the position code or the gates.
    """
    sizes, budget = Sizes(charts, cells, degree), DEFAULT_BUDGET if max_parameters is None else max_parameters
    choices = Choices(construction, position_code, sizes, bound, budget, dtype, device)
    with watching(progress, timeout) as watch, stoppable(watch, "the network"):
        problem = Problem(target, manifold, epsilon, smoothness, seed, watch.stage)
        if not sizes:
            refuse_rounding(problem)
        if bound == "rigorous":
            return _proved(problem, choices)
        return _measured(_built(problem, choices), problem)


def _built(problem: Problem, choices: Choices) -> Network:
    """Plan, program, compile: the network, nothing said of its error yet."""
    planner = compact_planner if choices.construction == "compact" else paper_planner
    plan = (
        planner.by_hand(problem, choices.sizes, choices.budget)
        if choices.sizes
        else planner.plan(problem, choices.budget)
    )
    return network_of(
        plan.approximator,
        position_code=choices.position_code,
        dtype=choices.dtype,
        device=choices.device,
        history=plan.history,
        progress=problem.progress,
    )


def network_of(
    approximator: Approximator,
    *,
    position_code: PositionCodeName = "integer",
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
    history: History | None = None,
    progress: Progress = silent,
) -> Network:
    """The transformer that computes an approximator, exact up to rounding: of blended local approximators the compact
    one, of glued Taylor polynomials the paper's.

    Raises:
        InputError: an unknown position code, or a local space or degree that the network has no basis of.
        PrecisionError: the dtype cannot hold the position code or the gates.
    """
    one_of(position_code, "position_code", tuple(CODES))
    construction: Construction
    if isinstance(approximator, TaylorApproximator):
        construction, program = "paper", paper_program(approximator, position_code)
        box = paper_input_box(approximator.atlas).ends
        sizes = Sizes(approximator.atlas.count, approximator.cells, approximator.degree)
    elif isinstance(approximator, PiecewiseApproximator):
        construction, program = "compact", compact_program(approximator, position_code)
        box = input_box(approximator.atlas).ends
        sizes = compact_planner.sizes_of(approximator.atlas, approximator.space)
    else:
        raise invalid("approximator", "a PiecewiseApproximator or a TaylorApproximator", approximator)
    weights = program.compile(box, dtype, progress=progress)
    origin = Origin(
        construction=construction,
        source=program,
        sizes=sizes,
        coefficients=int(approximator.coefficients.numel()),
        nonzero_coefficients=int(approximator.coefficients.count_nonzero()),
        manifold=approximator.atlas.manifold,
        history=history or History(),
    )
    net = Network(weights, origin, approximator=approximator, dtype=dtype, device=device)
    net.origin = replace(origin, weights=weights_digest(net))
    return net


def _measured(net: Network, problem: Problem) -> Network:
    """Measure the network itself, claim that, and refuse a network that misses epsilon."""
    problem.progress("measuring", None)
    found = measure(net, problem.target, problem.manifold, seed=problem.seed)
    plan = _plan(net, found.sup)
    if problem.epsilon is not None and not found.sup <= problem.epsilon:
        code = "" if net.origin is None else f" with the {net.origin.code} code"
        hint = "; float64 has more room" if net.dtype != torch.float64 else ""
        raise not_reached(problem, found.sup, f"a network in {net.dtype}{code} keeps{hint}", plan=plan)
    offer(plan)
    return net.claimed(Claim(problem.epsilon, found.sup, "measured", found.samples))


def _plan(net: Network, error: float, kind: str = "measured") -> BestPlan:
    """A network that misses epsilon, as the best that there is."""
    assert net.origin is not None
    return BestPlan(net.origin.sizes, error, kind, net.architecture.parameters, net.approximator)


def _proved(problem: Problem, choices: Choices) -> Network:
    """Networks for smaller and smaller planned errors, until one is proved to be within epsilon."""
    exact_target(problem.target, problem.manifold)
    problem.manifold.formula()
    planned = problem
    for _ in range(MOST_PROOFS):
        net = _measured(_built(planned, choices), problem)
        certificate = certify(
            net,
            problem.target,
            problem.manifold,
            epsilon=problem.epsilon,
            seed=problem.seed,
        )
        if problem.epsilon is None or certificate.bound <= problem.epsilon:
            claim = Claim(problem.epsilon, certificate.bound, "rigorous", certificate.cells)
            return net.claimed(claim, certificate)
        if choices.sizes:
            break
        planned = tightened(planned, problem.epsilon, certificate.bound)
    raise not_reached(problem, certificate.bound, "can be proved", plan=_plan(net, certificate.bound, "proved"))
