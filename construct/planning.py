"""Planning: the search for the fewest numbers within epsilon, and what it remembers.

Every planner (compact, paper, the rivals in `construct.baselines`) hands its candidates to one `Search`. It keeps the
budget, the history of what was tried, the best plan, the pace of the work, and the texts of failure. `stoppable` turns
an end from outside (the deadline, Ctrl-C) into an exception that carries the best plan.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol, TypeVar

from torch import Tensor

from construct.errors import BudgetExceeded, DeadlinePassed, EpsilonNotReached, PlanningInterrupted, TimeoutReached
from construct.history import BestPlan, History, Trial
from construct.obstacle import log_ratio
from construct.problem import KEPT_OFFERS, Problem, Sizes
from construct.progress import Watch, current
from construct.validation import message

MARGIN = 0.98  # of epsilon, for what blending and rounding may add to a fit
MOST_GROWTH = 1e15
SHRINK = 0.97  # of the error that would do if the ratio of proved to planned stayed as it is
DEFAULT_BUDGET = 30_000_000  # dense parameters; 240 MB in float64
REFINEMENTS = 3  # in a row, after which a decay is judged
SLOW = 0.5  # of the order that was expected: slower is too slow
LONG = 4.0  # growth of the cells over those refinements that is needed to see an order
FORESIGHT = 50.0  # times the most work that was timed: beyond, its time is not predicted
PATIENCE = 2.0  # times the time that is left: what is predicted to take longer is not begun

Found = TypeVar("Found")


class Ranked(Protocol):
    """What `Search.cheapest` orders."""

    @property
    def cost(self) -> int: ...


Candidate = TypeVar("Candidate", bound=Ranked)


@dataclass
class Search:
    """One search for a problem: the fewest numbers within its epsilon, or, without one, the best within the budget.

    Attributes:
        problem: what is asked for.
        subject: who searches, for the texts: "the paper construction".
        budget: most parameters (of the planners the dense count), None: unlimited.
        margin: share of epsilon that a measured error may take.
        limit: the argument that the budget was given as.
        dearest: candidates of so many stored numbers or more are of no use, None: any.
        best_plan: the best candidate whose approximator is known.
        reason: why the search was given up before it had no candidate left.
        pace: for each kind of work that was timed, (seconds that a unit has taken at least, the most that was timed).
    """

    problem: Problem
    subject: str
    budget: int | None = None
    margin: float = MARGIN
    limit: str = "max_parameters"
    dearest: int | None = None
    trials: list[Trial] = field(default_factory=list, init=False)
    fewest_refused: tuple[int, str] | None = field(default=None, init=False)
    best_plan: BestPlan | None = field(default=None, init=False)
    reason: str = field(default="", init=False)
    pace: dict[str, tuple[float, float]] = field(default_factory=dict, init=False)

    @property
    def goal(self) -> float:
        """What a planned error may be."""
        return self.margin * self.problem.wanted

    @property
    def history(self) -> History:
        return History(tuple(self.trials))

    @property
    def best_error(self) -> float:
        """The smallest error measured, or, when nothing was good enough to be measured, the smallest on points.

        A fit within epsilon that was not measured is that of a candidate over the budget, which nobody can have; so is
        one whose parameters are known to be more.
        """
        for kind in ("measured", "sampled"):
            errors = [t.error for t in self.trials if t.kind == kind and t.error is not None and self._had(t)]
            if errors:
                return min(errors)
        above = [t for t in self.trials if t.kind == "fitted" and t.outcome == "above epsilon" and self._had(t)]
        fitted = [t.error for t in above if t.error is not None]
        return min(fitted, default=math.inf)

    def _had(self, trial: Trial) -> bool:
        """Whether a trial is not known to be over the budget."""
        return self.budget is None or trial.parameters is None or trial.parameters <= self.budget

    def record(
        self,
        sizes: Sizes,
        error: float,
        kind: str,
        *,
        parameters: int | None = None,
        cost: int | None = None,
        note: str = "",
        make: Callable[[], Any] | None = None,
    ) -> Trial:
        """Note a candidate whose error was found; `make` gives its approximator, if it is the best so far."""
        if self.problem.epsilon is None:
            outcome = "within budget"
        else:
            within = error <= (self.goal if kind == "measured" else self.problem.wanted)
            outcome = "within epsilon" if within else "above epsilon"
        trial = Trial(**asdict(sizes), parameters=parameters, cost=cost, error=error, kind=kind,
                      outcome=outcome, note=note)  # fmt: skip
        self.trials.append(trial)
        if make is not None and math.isfinite(error) and self._had(trial):
            plan = BestPlan(sizes, error, kind, parameters, None)
            if self.best_plan is None or plan.rank < self.best_plan.rank:
                self.best_plan = replace(plan, approximator=make())
                offer(self.best_plan)
        self.problem.progress(f"{_described(sizes, note)}: {kind} error {error:.2e}", None)
        return trial

    def affordable(self, sizes: Sizes, parameters: int, note: str = "") -> bool:
        """Whether a candidate of that count is within the budget; one that is not is noted."""
        if self.budget is None or parameters <= self.budget:
            return True
        if self.fewest_refused is None or parameters < self.fewest_refused[0]:
            self.fewest_refused = parameters, _described(sizes, note)
        self.trials.append(Trial(**asdict(sizes), parameters=parameters, cost=None, error=None, kind="-",
                                 outcome="over budget", note=note))  # fmt: skip
        return False

    def dear(self, sizes: Sizes, cost: int, note: str = "") -> bool:
        """Whether a candidate of that cost is of no use, since a smaller network is known; then it is noted."""
        if self.dearest is None or cost < self.dearest:
            return False
        self.trials.append(Trial(**asdict(sizes), parameters=None, cost=cost, error=None, kind="-", outcome="dearer",
                                 note=note))  # fmt: skip
        self.reason = f"a network of {self.dearest:,} stored numbers is known, and what is left has at least {cost:,}"
        return True

    def chosen(self, sizes: Sizes, note: str = "") -> History:
        """The history, with the last trial of these sizes and note marked as the one that was taken."""
        marked = list(self.trials)
        wanted = (*asdict(sizes).values(), note)
        same = [i for i, t in enumerate(marked) if (t.charts, t.cells, t.degree, t.note) == wanted]
        if same:
            marked[same[-1]] = replace(marked[same[-1]], outcome="chosen")
        return History(tuple(marked))

    def cheapest(
        self, rounds: Iterable[Iterable[Candidate]], settle: Callable[[Candidate], tuple[Found, int] | None]
    ) -> Found:
        """The cheapest of what `settle` makes of the candidates of the first round in which it succeeds.

        `settle` gives what was found and its cost, which may be above the candidate's; candidates are settled in the
        order of their costs, as long as these are below the best cost found.

        Raises:
            BudgetExceeded, EpsilonNotReached: no candidate of any round was settled.
        """
        for candidates in rounds:
            best: tuple[Found, int] | None = None
            for candidate in sorted(candidates, key=lambda c: c.cost):
                if best is not None and candidate.cost >= best[1]:
                    break
                found = settle(candidate)
                if found is not None and (best is None or found[1] < best[1]):
                    best = found
            if best is not None:
                return best[0]
        raise self.failure()

    def fewest(
        self,
        attempt: Callable[[int], tuple[Found, float] | None],
        *,
        order: float,
        goal: float,
        aim: float,
        first: int,
        most_steps: int,
        resolution: int = 16,
        obstacle: Callable[[], str] = str,
    ) -> tuple[Found, int] | None:
        """(Almost) the smallest number of cells whose error is at most `goal`, where errors fall like `N^-order`.

        Every error predicts the N whose error is `aim`, a little lower; failures and successes bracket it, until the
        bracket is a `resolution`-th of N. `attempt(N)` gives what was found and its error, or None when N is not to be
        tried. Where three refinements in a row gain less than half the order, `obstacle` is asked whether there is one
        (a feature that is not resolved yet looks the same), and what it says is the end.
        """
        failed, cells = 0, first
        found: tuple[Found, int] | None = None
        errors, sizes = list[float](), list[float]()
        for _ in range(most_steps):
            tried = attempt(cells)
            if tried is None:
                return found
            errors.append(tried[1])
            sizes.append(cells)
            slow = slow_decay(errors, sizes, order) if found is None and tried[1] > goal else None
            if slow is not None and (why := obstacle()):
                self.reason = f"three refinements from {sizes[-1 - REFINEMENTS]:g} to {cells:g} cells {slow}; {why}"
                return None
            if tried[1] <= goal:
                found = tried[0], cells
            else:
                failed = max(failed, cells)
            if found is not None and found[1] - failed <= max(1, found[1] // resolution):
                return found
            following = math.ceil(cells * growth(tried[1] / aim, order))
            if found is None:
                cells = min(max(following, cells + 1), 4 * cells)
            else:
                cells = following if failed < following < found[1] else (failed + found[1]) // 2
        return found

    @contextlib.contextmanager
    def timed(self, what: str, work: float, kind: str = "") -> Iterator[None]:
        """Work > 0 that is about to be done, in any unit that the time of this kind of work is proportional to.

        Raises:
            DeadlinePassed: the pace of earlier work that was not much smaller predicts that it takes `PATIENCE` times
                the time that is left.
        """
        watch = current()
        left, (pace, most) = watch.seconds_left, self.pace.get(kind, (0.0, 0.0))
        if work <= FORESIGHT * most and pace * work > PATIENCE * left:
            raise DeadlinePassed(f"about {pace * work:.2g} s for {what} with {left:.2g} s left", watch.tightest)
        start = watch.elapsed
        yield
        found = (watch.elapsed - start) / work
        self.pace[kind] = min(pace, found) if kind in self.pace else found, max(most, work)

    def failure(self) -> EpsilonNotReached:
        """What to raise when no candidate is left; carries the best error, measured on points of its own, and plan."""
        self._measure_best()
        best = self.problem.best_measured()
        best, plan = self.best_error if best == math.inf else best, self.best_plan
        if plan is not None and plan.error == self.problem.best.error:
            plan = replace(plan, error=max(best, plan.error))  # the same function, measured anew
        asked = "" if self.problem.asked is None else f" for epsilon = {self.problem.asked:g}"
        if self.fewest_refused is not None:
            needed, sizes = self.fewest_refused
            what = f"{sizes}, the smallest candidate of {self.subject} refused{asked} on {self.problem.manifold!r}"
            best = best if asked else math.inf
            return over_budget(needed, what, self.budget or 0, best, self.limit, plan=plan)
        if not asked:
            expected = f"a budget within which there is a candidate of {self.subject} on {self.problem.manifold!r}"
            return BudgetExceeded(message(self.limit, expected, self.budget), best, plan)
        who = f"{self.subject} reaches in {len(self.trials)} trials"
        return not_reached(self.problem, best, who, plan=plan, reason=self.reason)

    def _measure_best(self) -> None:
        """Measure the best plan, if nothing was: a fit says little of what is between its nodes."""
        plan = self.best_plan
        if plan is None or not callable(plan.approximator) or any(t.kind == "measured" for t in self.trials):
            return
        found = self.problem.search(plan.approximator)
        self.best_plan = replace(plan, error=found.sup, kind="measured")

    def given_up(self, reason: str) -> EpsilonNotReached:
        """What to raise when there is no use in going on; the budget has nothing to do with it."""
        self.reason, self.fewest_refused = reason, None
        return self.failure()


def _described(sizes: Sizes, note: str) -> str:
    return ", ".join(part for part in (str(sizes), note) if part)


def growth(factor: float, order: float) -> float:
    """By how much the number of cells has to grow for an error smaller by a factor, where errors fall like `N^-order`;
    at most 10^15."""
    try:
        return min(factor ** (1 / order), MOST_GROWTH)
    except OverflowError:
        return MOST_GROWTH


def tightened(planned: Problem, wanted: float, proved: float) -> Problem:
    """The problem to plan for next, when a network that was planned for one error was proved to have another."""
    return replace(planned, epsilon=planned.wanted * SHRINK * min(wanted / proved, 1.0))


def slow_decay(errors: Sequence[float], sizes: Sequence[float], order: float) -> str | None:
    """What is to be said of the last three refinements in a row if they gained less than half the order expected.

    errors: of the attempts so far; sizes: what they fall with, like `size^-order`; None where all is well, or where the
    sizes grew too little to tell.
    """
    if len(errors) <= REFINEMENTS:
        return None
    first, last = errors[-1 - REFINEMENTS], errors[-1]
    low, high = sizes[-1 - REFINEMENTS], sizes[-1]
    if high < LONG * low or not last > 0 or not math.isfinite(first):
        return None
    observed = log_ratio(first, last) / math.log(high / low)
    if observed >= SLOW * order:
        return None
    return f"lowered the error from {first:.2g} to {last:.2g}, where order {order:.2g} was expected"


# -- the end ---------------------------------------------------------------------------------------------


def offer(plan: BestPlan) -> None:
    """Keep a plan with the work that is going on, for whoever is told that it was stopped."""
    watch = current()
    known = [p for p in watch.offers if p.approximator is plan.approximator and plan.approximator is not None]
    kept = [p for p in watch.offers if p not in known]
    for other in known:  # one plan: of two errors of the same kind the larger one is nearer to the truth
        plan = min(plan, other, key=lambda p: (p.rank[0], -p.error))
    watch.offers = sorted([*kept, plan], key=lambda p: p.rank)[:KEPT_OFFERS]


def refute(problem: Problem, points: Tensor) -> None:
    """Raise the errors of all plans that are kept to what they are at points (n, D) that planning had not seen."""
    watch = current()
    watch.offers = sorted((looked_at(problem, plan, points) for plan in watch.offers), key=lambda p: p.rank)


def looked_at(problem: Problem, plan: BestPlan, points: Tensor) -> BestPlan:
    """A plan with the error that it has at points (n, D), where that is larger than what was known."""
    if not callable(plan.approximator) or plan.kind == "proved":
        return plan
    error = float(problem.error(plan.approximator)(points).nan_to_num(nan=math.inf).max())
    return replace(plan, error=error, kind="measured") if error > plan.error else plan


@contextlib.contextmanager
def stoppable(watch: Watch, subject: str) -> Iterator[None]:
    """The scope of a search that may be stopped; `subject` is what is searched, for the texts.

    Raises:
        TimeoutReached, PlanningInterrupted: instead of `DeadlinePassed` and `KeyboardInterrupt`, with the best plan.
    """
    try:
        yield
    except DeadlinePassed as passed:
        if passed.watch is not watch:
            raise  # the deadline of somebody around
        plan: BestPlan | None = next(iter(watch.offers), None)
        text = message("timeout", f"{passed.expected} for {subject}", got=f"{watch.timeout:g} s; {_best(plan)}")
        raise TimeoutReached(text, math.inf if plan is None else plan.error, plan) from None
    except KeyboardInterrupt as stopped:
        plan = next(iter(watch.offers), None)
        if plan is None and isinstance(stopped, PlanningInterrupted):
            raise  # a search within this one knows more
        text = f"{subject} was interrupted; {_best(plan)}"
        raise PlanningInterrupted(text, math.inf if plan is None else plan.error, plan) from stopped


def _best(plan: BestPlan | None) -> str:
    return "nothing was fitted so far" if plan is None else f"the best so far is {plan}"


def not_reached(
    problem: Problem, best: float, who: str, *, plan: BestPlan | None = None, reason: str = ""
) -> EpsilonNotReached:
    """What to raise when epsilon is missed: `who` says what reached the best error, `reason` why there is no better."""
    expected = f"an error that {who} on {problem.manifold!r}"
    got = f"{problem.asked:g}; {reached(best, plan)}{'; ' if reason else ''}{reason}"
    return EpsilonNotReached(message("epsilon", expected, got=got), best, plan)


def over_budget(
    needed: int,
    what: str,
    budget: int,
    best: float = math.inf,
    limit: str = "max_parameters",
    *,
    plan: BestPlan | None = None,
) -> BudgetExceeded:
    """What to raise when `what` needs more parameters than there may be; `limit` is the argument that said so."""
    expected = f"at least {needed:,}, the parameters of {what}"
    so_far = f"; {reached(best, plan)}" if math.isfinite(best) else ""
    return BudgetExceeded(message(limit, expected, got=f"{budget:,}{so_far}"), best, plan)


def reached(best: float, plan: BestPlan | None) -> str:
    """The best error that a search that failed has reached, in words."""
    if not math.isfinite(best):
        return "nothing could be measured"
    kind = f" ({plan.kind})" if plan is not None and plan.error == best else ""
    return f"the best sup error reached is {best:.3g}{kind}"
