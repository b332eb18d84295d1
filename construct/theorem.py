"""`approximate`: the theorem as a program. Theorem 2 of Havrilla and Liao (2024), stage by stage.

problem -> plan (atlas, local space, coefficients) -> program -> compile (weights) -> network -> measure on points that
planning has not seen -> claim, or plan again for a smaller error; with bound="rigorous" also -> certify, and plan again
until the proved bound is at most epsilon.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from construct.building import Bound, Choices, EmbeddingDim, built, network_of
from construct.certificates import certify, exact_target
from construct.claim import Claim
from construct.devices import on_cpu
from construct.errors import EpsilonNotReached
from construct.history import BestPlan
from construct.manifolds import Manifold
from construct.measurement import Measurement, Measuring
from construct.network import Network, PositionCodeName
from construct.planning import DEFAULT_BUDGET, looked_at, not_reached, offer, reached, refute, stoppable, tightened
from construct.problem import Construction, Problem, Sizes
from construct.progress import Progress, watching
from construct.rounding import refuse_rounding
from construct.validation import invalid

__all__ = ["approximate", "measured_for_claim", "network_of"]

MOST_PROOFS = 6
MOST_PLANS = 5  # plans for one claim
STRICTER = 0.9  # epsilon of the next plan of a lattice network
HOPELESS = 2.0  # a float32 network this far above epsilon is not planned again
MOST_SEEDS = 6  # measurements for one claim
GAP = 3.0  # how far above the largest of these another may come, in its distance from the second largest
AGREED = 10.0  # the same where there are fewer, in the distance from the smallest: two that agree so well are enough


@on_cpu
def approximate(
    target: Callable[..., Any],
    manifold: Manifold,
    epsilon: float | None = None,
    *,
    smoothness: float | None = None,
    construction: Construction | None = None,
    embedding_dim: EmbeddingDim | None = None,
    sparse: bool = False,
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
        construction: "ridge" (ours: Chebyshev polynomials of integer linear forms, one chart), "lattice" (ours: the
            same on the cells of lattices of several sizes, chosen for the target: for kinks, cusps and narrow
            features), "compact" (ours: a telescoping partition of unity, one polynomial or spline a chart) or "paper"
            (Havrilla and Liao lemma by lemma). None: of ridge and compact the one with the fewest stored numbers
            (`architecture.stored_numbers`); `net.origin.history` says which and why. With `charts`, `cells` or the
            trigonometric code that is compact, with `degree` alone ridge.
        embedding_dim: of ridge networks. "free" or None: the width of the fewest stored numbers, k + 4 for k
            coordinates that M spans; the others have the 5 of the theorem.
        sparse: choose the directions of a ridge network for the target, by orthogonal least squares: fewer, and a
            longer search.
        position_code: "integer" (ours, exact) or "trigonometric" (the paper's; not of ridge networks).
        charts, cells, degree: sizes by hand. In "ridge" `degree` is raised to the next product of twos and threes, all
            directions are used, and there is one chart. In "compact", `cells` > 1 means continuous piecewise-linear
            splines on cells^d cells per chart and excludes a degree other than 1; in "paper" it is the grid of every
            chart.
        bound: "measured": the measured error is at most epsilon. "rigorous": the *proved* one is (`construct.certify`):
            sizes are refined until a certificate says so, which then is `net.certificate`. Ridge (by default where M
            spans at most three dimensions) and compact construction, d <= 3, lattice, d <= 2, and a target and manifold
            that have a formula.
        max_parameters: budget on the dense count of each candidate; default 30 million.
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
        PrecisionError: the dtype cannot hold the position code or the gates, or the values of an `Expression` in
            float64 are off by more than a hundredth of epsilon (compared with ball arithmetic at some hundred points).
    """
    sizes, budget = Sizes(charts, cells, degree), DEFAULT_BUDGET if max_parameters is None else max_parameters
    choices = Choices(construction, position_code, sizes, bound, budget, dtype, device, embedding_dim, sparse)
    with watching(progress, timeout) as watch, stoppable(watch, "the network"):
        problem = Problem(target, manifold, epsilon, smoothness, seed, watch.stage, resolution)
        if not choices.sizes:
            if sizes and problem.epsilon is None:
                raise invalid("degree", "an integer >= 0 for construction='ridge' without epsilon", None)
            refuse_rounding(problem)
        if bound == "rigorous":
            return _proved(problem, choices)
        return _claimed(problem, problem, choices)


def _claimed(planned: Problem, problem: Problem, choices: Choices) -> Network:
    """A network whose claim holds: one that misses epsilon goes back into planning, for a smaller error and with the
    points at which it failed. Where the dtype rounds a ridge network too much, the default is compact."""
    best, plan, first = math.inf, None, planned
    for _ in range(1 if choices.sizes else MOST_PLANS):
        try:
            net = built(planned, choices)
        except EpsilonNotReached as error:
            if best < error.best:
                text = f"{error}; a network that was measured before had {best:.3g}"
                error.best, error.plan, error.args = best, plan, (text,)
            raise
        problem.progress("measuring", None)
        found, reserve, seeds = measured_for_claim(net, problem)
        problem.check_exact(found.worst_point[None], found.sup)
        missed = problem.epsilon is not None and found.sup > problem.epsilon
        reached_here = found.sup if missed else found.sup + reserve  # attained, or what keeps it from being claimed
        better = reached_here < best
        if better:
            best, plan = reached_here, _plan(net, reached_here)
        offer(_plan(net, found.sup))  # better or worse: what is known of this one is its claim
        if problem.epsilon is None or found.sup + reserve <= problem.epsilon:
            return net.claimed(Claim(problem.epsilon, found.sup, "measured", found.samples, found.resolution, seeds))
        seen = _looked_closer(problem, found.worst_point, best, plan)
        rounded = net.dtype != torch.float64
        hopeless = found.sup == math.inf or (rounded and found.sup > HOPELESS * problem.epsilon)
        other = _without_ridge(net, choices) if rounded and (hopeless or not better) else None
        if other is not None:
            return _claimed(first, problem, other)
        if hopeless:
            break  # what the dtype rounds, no plan mends
        refute(problem, seen)
        if plan is not None:
            plan = looked_at(problem, plan, seen)
            best = plan.error
        if net.origin is not None and net.origin.construction == "lattice":  # wrong at one place, which is watched now
            planned = replace(planned, epsilon=STRICTER * planned.wanted).watching(seen)
        else:
            planned = tightened(planned, problem.epsilon, found.sup + reserve).watching(seen)
    raise _missed(problem, best, choices, plan)


def _without_ridge(net: Network, choices: Choices) -> Choices | None:
    """The choices by which the default takes the compact network, where a ridge network does not do; None elsewhere."""
    if choices.construction is not None or choices.sizes or net.origin is None or net.origin.construction != "ridge":
        return None
    return replace(choices, construction="compact", embedding_dim=None, sparse=False)


def _looked_closer(problem: Problem, worst: Tensor, best: float, plan: BestPlan | None) -> Tensor:
    """The place (D,) where a claim failed, and both sides of the jumps of the target about it: points (n, D).

    Raises:
        EpsilonNotReached: one of them is higher than 2 epsilon, which no plan mends; `best` and `plan` go with it.
    """
    jumps = problem.jumps_near(worst)
    if (said := problem.too_high(jumps)) is not None:
        raise EpsilonNotReached(f"{said}; {reached(best, plan)}", best, plan)
    return torch.stack([worst, *(side for jump in jumps for side in (jump.left, jump.right))])


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
        certificate = certify(net, problem.target, problem.manifold, epsilon=problem.epsilon, seed=problem.seed)
        if problem.epsilon is None or certificate.bound <= problem.epsilon:
            claim = Claim(problem.epsilon, certificate.bound, "rigorous", certificate.cells)
            return net.claimed(claim, certificate)
        if choices.sizes:
            break
        planned = tightened(planned, problem.epsilon, certificate.bound)
    raise not_reached(problem, certificate.bound, "can be proved", plan=_plan(net, certificate.bound, "proved"))
