"""`approximate`: the theorem as a program. Theorem 2 of Havrilla and Liao (2024), stage by stage.

problem -> plan (atlas, local space, coefficients) -> program -> compile (weights) -> network -> measure on points that
planning has not seen -> claim, or plan again for a smaller error; with bound="rigorous" also -> certify, and plan again
until the proved bound is at most epsilon.
"""

from __future__ import annotations

import math
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
from construct.devices import on_cpu
from construct.errors import EpsilonNotReached
from construct.history import BestPlan, History
from construct.inputs import known_device
from construct.local import PiecewiseApproximator
from construct.manifolds import Manifold
from construct.measurement import Measurement, Measuring
from construct.network import Approximator, Network, PositionCodeName
from construct.origin import Construction, Origin
from construct.paper import planner as paper_planner
from construct.paper.grid import TaylorApproximator
from construct.paper.layout import paper_input_box
from construct.paper.program import paper_program
from construct.planning import DEFAULT_BUDGET, not_reached, offer, stoppable, tightened
from construct.problem import Problem, Sizes
from construct.program.codes import CODES
from construct.progress import Progress, silent, watching
from construct.rounding import refuse_rounding
from construct.validation import invalid, one_of, positive_integer

Bound = Literal["measured", "rigorous"]
CONSTRUCTIONS = ("compact", "paper")
BOUNDS = ("measured", "rigorous")
MOST_PROOFS = 6
MOST_PLANS = 5  # plans for one claim
HOPELESS = 2.0  # a float32 network this far above epsilon is not planned again
MOST_SEEDS = 6  # measurements for one claim
GAP = 3.0  # how far above the largest of these another may come, in its distance from the second largest
AGREED = 10.0  # the same where there are fewer, in the distance from the smallest: two that agree so well are enough


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


@on_cpu
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
    resolution: float | None = None,
    progress: bool | Progress | None = None,
) -> Network:
    """The transformer that approximates `target` on `manifold`, every weight assigned, nothing trained.

    Args:
        target: f, from points (n, D) to values (n,), torch or numpy; evaluated on the manifold only. The "paper"
            construction differentiates it, so it must be made of torch operations there. Its values are checked where
            it is evaluated: a NaN, infinity or jump in a region below the `resolution` of the claim is not seen,
            whatever epsilon is.
        manifold: M.
        epsilon: sup error asked for. The measured error of the network returned is at most epsilon, on points that
            planning has not seen. May be left out when sizes are given by hand.
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
        seed: of the error searches, from which `derived_seed` makes one for each purpose.
        resolution: covering radius, in the unit of x, of the points that the claim looks at; features of the target
            below that are not seen. None: what some 20,000 points give (or a quarter of the target's `length_scale`, or
            the narrow features of an `Expression`).
        progress: None shows a line (on a terminal) or a bar (in a notebook) after two seconds, erased at the end, and
            nothing elsewhere; False: nothing; True prints stages to stderr; or a callable (stage, share of it that is
            done or None).

    Returns:
        `Network`, with `.architecture`, `.claim` (kind as `bound`), `.origin`, `.program`, `.approximator` and
        `.certificate` (None when measured).

    Raises:
        InputError: an argument of the wrong kind or range, a target with a wrong shape, NaN or complex values at a
            point looked at, or a `resolution` that takes more than 4 million points.
        EpsilonNotReached, BudgetExceeded, TimeoutReached: epsilon cannot be met; `.best` is the smallest error found,
            `.plan` what has it (None: nothing was fitted), the text says why there is none better. At once where the
            target jumps by more than twice epsilon.
        PlanningInterrupted: Ctrl-C, a `KeyboardInterrupt` with `.best` and `.plan`.
        PrecisionError: the dtype cannot hold the position code or the gates.
    """
    sizes, budget = Sizes(charts, cells, degree), DEFAULT_BUDGET if max_parameters is None else max_parameters
    choices = Choices(construction, position_code, sizes, bound, budget, dtype, device)
    with watching(progress, timeout) as watch, stoppable(watch, "the network"):
        problem = Problem(target, manifold, epsilon, smoothness, seed, watch.stage, resolution)
        if not sizes:
            refuse_rounding(problem)
        if bound == "rigorous":
            return _proved(problem, choices)
        return _claimed(problem, problem, choices)


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


@on_cpu
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


def _claimed(planned: Problem, problem: Problem, choices: Choices) -> Network:
    """A network whose claim holds: one that misses epsilon goes back into planning, for a smaller error and with the
    points at which it failed."""
    best, plan = math.inf, None
    for _ in range(1 if choices.sizes else MOST_PLANS):
        try:
            net = _built(planned, choices)
        except EpsilonNotReached as error:
            if best < error.best:
                error.best, error.args = best, (f"{error}; a network that was measured before had {best:.3g}",)
            raise
        problem.progress("measuring", None)
        found, reserve, seeds = measured_for_claim(net, problem)
        if found.sup + reserve < best:
            best, plan = found.sup + reserve, _plan(net, found.sup)
            offer(plan)
        if problem.epsilon is None or found.sup + reserve <= problem.epsilon:
            return net.claimed(Claim(problem.epsilon, found.sup, "measured", found.samples, found.resolution, seeds))
        if net.dtype != torch.float64 and found.sup > HOPELESS * problem.epsilon:
            break  # what the dtype rounds, no plan mends
        planned = tightened(planned, problem.epsilon, found.sup + reserve).watching(found.worst_point[None])
    raise _missed(problem, best, choices, plan)


def measured_for_claim(net: Network, problem: Problem) -> tuple[Measurement, float, tuple[int, ...]]:
    """The largest of several measurements, all points counted, how far above it another may come, and their seeds.

    `construct.measure(net, f, M, seed=)` repeats each of them. The reserve is a multiple of the gap between the two
    largest, as in Robson and Whitlock's estimate of an endpoint (1964): nothing where the search finds the same hill
    every time, and more the rougher the error is. Two that agree well are enough.
    """
    one = Measuring(net, problem.target, problem.manifold, problem.cover, problem.watched)
    results: list[Measurement] = []
    for seed in (seeds := problem.claim_seeds(MOST_SEEDS)):
        results += one.results([seed], looks_at_cover=not results)
        worst, second = sorted([0.0, *(r.sup for r in results)], reverse=True)[:2]
        if worst == math.inf or (problem.epsilon is not None and worst > problem.epsilon):
            break
        agreed = worst + AGREED * (worst - min(r.sup for r in results))
        if len(results) > 1 and (problem.epsilon is None or agreed <= problem.epsilon):
            break
    gap = worst - second if len(results) > 1 and worst < math.inf else 0.0
    largest = max(results, key=lambda r: r.sup)
    found = replace(largest, samples=sum(r.samples for r in results), resolution=results[0].resolution)
    return found, GAP * gap, tuple(seeds[: len(results)])


def _missed(problem: Problem, best: float, choices: Choices, plan: BestPlan | None) -> EpsilonNotReached:
    hint = "; float64 has more room" if choices.dtype != torch.float64 else ""
    who = f"a network in {choices.dtype} with the {choices.position_code} code keeps{hint}"
    return not_reached(problem, best, who, plan=plan)


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
        net = _claimed(planned, problem, choices)
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
